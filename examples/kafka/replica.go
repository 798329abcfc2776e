package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// follow takes in what a follower's fetch says about it: it has everything
// below the offset that it asks for. It reports whether the follower has
// something else there, and puts where into the response.
func (f *fetch) follow(part *fetched, v view) (diverges bool, refused *kerr.Error) {
	p := part.p
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.followers[f.replica]
	if known == nil {
		return false, kerr.NotLeaderForPartition
	}
	if f.req.Version >= 12 && part.want.LastFetchedEpoch >= 0 {
		epoch, end := p.tracker.endOf(part.want.LastFetchedEpoch)
		if epoch < 0 { // nothing is known to compare with
			return false, kerr.OffsetOutOfRange
		}
		if epoch < part.want.LastFetchedEpoch || end < part.want.FetchOffset {
			part.resp.DivergingEpoch.Epoch, part.resp.DivergingEpoch.EndOffset = epoch, end
			f.hurry = true
			return true, nil
		}
	}
	at := time.Now()
	if part.want.FetchOffset > v.end {
		return false, kerr.OffsetOutOfRange
	}
	if part.want.FetchOffset >= v.safe {
		known.caughtUp = at
	} else if part.want.FetchOffset >= known.leaderAt {
		known.caughtUp = known.asked // it has all that there was when it asked before
	}
	known.end, known.asked, known.leaderAt = part.want.FetchOffset, at, v.safe
	p.advance()
	return false, nil
}

const (
	followWait  = 250 * time.Millisecond // of a follower's fetch for records
	followLimit = 8 << 20                // bytes of one response
	followPart  = 1 << 20                // bytes of one partition in it
	followPause = 100 * time.Millisecond // after something went wrong
	replicaLag  = 3 * time.Second        // who is behind for so long is not in sync
	isrEvery    = 100 * time.Millisecond
)

// replicate follows the leaders of the partitions that this broker has
// replicas of: one fetcher for each broker that leads some.
func (b *broker) replicate() {
	fetchers := map[int32]context.CancelFunc{}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		changed := b.control.Changed()
		leaders := map[int32]bool{}
		for _, t := range b.control.Image().Topics {
			for _, a := range t.Partitions {
				if a.Leader >= 0 && a.Leader != b.ID && slices.Contains(a.Replicas, b.ID) {
					leaders[a.Leader] = true
				}
			}
		}
		for id := range leaders {
			if fetchers[id] == nil {
				ctx, cancel := context.WithCancel(b.ctx)
				fetchers[id] = cancel
				f := &fetcher{b: b, ctx: ctx, leader: id, pauses: map[*partition]time.Time{}}
				running.Go(f.run)
			}
		}
		for id, cancel := range fetchers {
			if !leaders[id] {
				cancel()
				delete(fetchers, id)
			}
		}
		select {
		case <-changed:
		case <-b.closing:
			for _, cancel := range fetchers {
				cancel()
			}
			return
		}
	}
}

// A fetcher copies from one leader what this broker follows there.
//
//	End of our log ──► Fetch ──► batches as they are ──► appended, synced ──► next Fetch says so
//
// A fetcher belongs to one goroutine.
type fetcher struct {
	b           *broker
	ctx         context.Context
	leader      int32
	conn        net.Conn
	reader      *bufio.Reader
	correlation int32
	pauses      map[*partition]time.Time // until when to leave it alone
}

func (f *fetcher) run() {
	defer f.hangUp()
	for f.ctx.Err() == nil {
		asked := f.followed()
		if len(asked) == 0 {
			f.rest()
			continue
		}
		resp, err := f.fetch(asked)
		if err != nil {
			f.hangUp()
			f.rest()
			continue
		}
		f.store(asked, resp)
	}
}

func (f *fetcher) hangUp() {
	if f.conn != nil {
		f.conn.Close()
		f.conn = nil
	}
}

func (f *fetcher) rest() {
	select {
	case <-time.After(followPause):
	case <-f.ctx.Done():
	}
}

// A following is what a follower knows of its partition when it asks.
type following struct {
	p     *partition
	epoch int32 // of the leader
	from  int64
	last  int32 // epoch of the last record; -1 without any
}

// followed lists what this broker follows at the leader. A fetch says that all
// before it is durable: what another fetcher was about to sync when it ended,
// because the leader is another now, is synced first.
func (f *fetcher) followed() []following {
	var list []following
	for _, p := range f.b.all() {
		if time.Now().Before(f.pauses[p]) {
			continue
		}
		one, ok := p.following(f.leader)
		if !ok || p.flush(f.ctx, p.log.End()) != nil {
			continue
		}
		list = append(list, one)
	}
	return list
}

// following says where this replica stands, if it follows a leader.
func (p *partition) following(leader int32) (following, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading || p.closed || p.failure != nil || p.assigned.Leader != leader {
		return following{}, false
	}
	return following{p, p.assigned.Epoch, p.log.End(), p.tracker.lastEpoch()}, true
}

// lastEpoch returns the epoch of the last record, -1 if there is none.
func (t *tracker) lastEpoch() int32 {
	for _, e := range slices.Backward(t.Epochs) {
		if e.Start < t.End {
			return e.Epoch
		}
	}
	return -1
}

// fetch asks the leader.
func (f *fetcher) fetch(asked []following) (*kmsg.FetchResponse, error) {
	if err := f.connect(); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.Version = 12
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = f.b.ID, int32(followWait.Milliseconds()), 1, followLimit
	req.SessionID, req.SessionEpoch = 0, -1
	for _, one := range asked {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != one.p.name {
			t := kmsg.NewFetchRequestTopic()
			t.Topic = one.p.name
			req.Topics = append(req.Topics, t)
		}
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.CurrentLeaderEpoch, part.FetchOffset = one.p.index, one.epoch, one.from
		part.LastFetchedEpoch, part.LogStartOffset, part.PartitionMaxBytes = one.last, one.p.log.Start(), followPart
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, part)
	}
	f.correlation++
	data := kmsg.NewRequestFormatter(kmsg.FormatterClientID("broker-"+strconv.Itoa(int(f.b.ID)))).AppendRequest(nil, req, f.correlation)
	f.conn.SetDeadline(time.Now().Add(followWait + callTimeout))
	if _, err := f.conn.Write(data); err != nil {
		return nil, err
	}
	return f.receive(req)
}

func (f *fetcher) connect() error {
	if f.conn != nil {
		return nil
	}
	leader := f.b.control.Image().Brokers[f.leader]
	if leader == nil || !leader.Alive {
		return errNoLeader
	}
	ctx, cancel := context.WithTimeout(f.ctx, callTimeout)
	defer cancel()
	c, err := f.b.Fabric.dial(ctx, f.b.ID, f.leader, net.JoinHostPort(leader.Host, strconv.Itoa(int(leader.Port))))
	if err != nil {
		return err
	}
	context.AfterFunc(f.ctx, func() { c.Close() })
	f.conn, f.reader = c, bufio.NewReaderSize(c, 64<<10)
	return nil
}

func (f *fetcher) receive(req *kmsg.FetchRequest) (*kmsg.FetchResponse, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.reader, head[:]); err != nil {
		return nil, err
	}
	// One batch comes whole, whatever the limits; headers come on top.
	size := binary.BigEndian.Uint32(head[:])
	if size < 5 || size > followLimit+largestBatch+(1<<20) {
		return nil, fmt.Errorf("%w: a response of %d bytes", errMalformed, size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f.reader, data); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(data)); got != f.correlation {
		return nil, fmt.Errorf("%w: a response to request %d instead of %d", errMalformed, got, f.correlation)
	}
	body, err := skipTags(data[4:])
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if err := resp.ReadFrom(body); err != nil {
		return nil, err
	}
	return resp, kerr.ErrorForCode(resp.ErrorCode)
}

// store takes in a response, all partitions at the same time where they wait
// for the disk.
func (f *fetcher) store(asked []following, resp *kmsg.FetchResponse) {
	var syncs sync.WaitGroup
	defer syncs.Wait()
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			got := &t.Partitions[i]
			at := slices.IndexFunc(asked, func(one following) bool { return one.p.name == t.Topic && one.p.index == got.Partition })
			if at < 0 {
				continue
			}
			one := asked[at]
			wait, err := one.p.take(f.ctx, one, got)
			if err != nil {
				f.pauses[one.p] = time.Now().Add(followPause)
				if f.ctx.Err() == nil && !errors.Is(err, errMoved) {
					f.b.log.Warn("replica", "topic", t.Topic, "partition", got.Partition, "leader", f.leader, "error", err)
				}
				continue
			}
			if wait {
				syncs.Go(func() {
					if err := one.p.syncLog(f.ctx); err != nil && f.ctx.Err() == nil {
						f.b.log.Warn("replica", "topic", one.p.name, "partition", one.p.index, "error", err)
					}
				})
			}
		}
	}
}

var errMoved = errors.New("kafka: the partition has another leader")

// take stores what a leader sent to this replica, or forgets what the leader
// does not have. It reports whether there is something to sync.
func (p *partition) take(ctx context.Context, one following, got *kmsg.FetchResponseTopicPartition) (wait bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leading || p.closed || p.failure != nil || p.assigned.Epoch != one.epoch {
		return false, errMoved
	}
	switch failure := kerr.ErrorForCode(got.ErrorCode); {
	case errors.Is(failure, kerr.OffsetOutOfRange):
		return false, p.startOver(got.LogStartOffset)
	case errors.Is(failure, kerr.NotLeaderForPartition) || errors.Is(failure, kerr.FencedLeaderEpoch) || errors.Is(failure, kerr.UnknownLeaderEpoch) ||
		errors.Is(failure, kerr.LeaderNotAvailable) || errors.Is(failure, kerr.UnknownTopicOrPartition):
		return false, errMoved
	case failure != nil:
		return false, failure
	case got.DivergingEpoch.Epoch >= 0:
		return false, p.diverge(got.DivergingEpoch.Epoch, got.DivergingEpoch.EndOffset)
	}
	for b := range batches(got.RecordBatches) {
		if b.LastOffset() < p.log.End() {
			continue
		}
		if b.BaseOffset() < p.log.End() { // compaction at the leader has put batches together
			if err := p.truncate(b.BaseOffset()); err != nil {
				return false, err
			}
		}
		if _, err := p.log.AppendReplica(ctx, b); err != nil {
			p.refused(err)
			return false, err
		}
		p.tracker.see(b)
		wait = p.sync == syncEach
	}
	if high := min(got.HighWatermark, p.log.End()); high > p.high {
		p.setHigh(high)
		p.wake()
	}
	if start := min(got.LogStartOffset, p.high); start > p.log.Start() {
		if err := p.log.DeleteBefore(start); err != nil {
			return wait, err
		}
		p.tracker.deletedBefore(start)
	}
	return wait, nil
}

// diverge forgets what this replica has and the leader does not: everything
// behind the end of the last epoch that both know. It is called with mu held.
func (p *partition) diverge(epoch int32, end int64) error {
	_, mine := p.tracker.endOf(epoch)
	to := max(min(end, mine), p.log.Start())
	if to < p.high {
		p.slog.Error("a replica had records that its leader has not, and consumers may have seen them",
			"topic", p.name, "partition", p.index, "high", p.high, "to", to)
	}
	p.slog.Info("a replica forgets what its leader has not", "topic", p.name, "partition", p.index, "from", to, "end", p.log.End())
	return p.truncate(to)
}

// truncate drops records from an offset on. Snapshots that tell of them go
// first: after a crash the log may be as long again, with others. From one that
// does not the tracker goes on, so that not the whole log is read. A replica
// that cannot read what it has left fails: what it says to a leader would not
// be so. It is called with mu held.
func (p *partition) truncate(to int64) error {
	p.cuts++
	if err := p.recall(to); err != nil {
		return err
	}
	failed := p.log.TruncateFrom(to)
	if failed == nil {
		p.setHigh(min(p.high, to))
	}
	err := p.catchUp()
	if err != nil {
		p.fail(err)
	}
	return errors.Join(failed, err)
}

// startOver drops everything, since the leader keeps nothing of it, and
// continues at the leader's start: in one step, or a follower that the leader
// takes for in sync could have an end that is before the high watermark. It is
// called with mu held.
func (p *partition) startOver(at int64) error {
	p.slog.Info("a replica starts over", "topic", p.name, "partition", p.index, "end", p.log.End(), "at", at)
	start, end := p.log.Start(), p.log.End()
	if at < start {
		return fmt.Errorf("kafka: the leader has nothing from offset %d on, where this replica begins", start)
	}
	p.cuts++
	for _, path := range p.snapshots() {
		if err := removeFile(path); err != nil {
			return err
		}
	}
	if err := p.log.Reset(at); err != nil {
		if p.log.End() != end {
			p.fail(err)
		}
		return err
	}
	p.tracker, p.saved, p.before = newTracker(at), at, 0
	p.setHigh(at)
	return nil
}

// attend looks after the in-sync replicas of the partitions that this broker
// leads, and after its own place in the cluster.
func (b *broker) attend() {
	tick := time.NewTicker(isrEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.closing:
			return
		}
		if me := b.control.Image().Brokers[b.ID]; me != nil && !me.Alive {
			ctx, cancel := context.WithTimeout(b.ctx, callTimeout)
			if err := b.register(ctx); err == nil {
				b.log.Info("back in the cluster")
			}
			cancel()
			continue
		}
		for _, p := range b.all() {
			if change, ok := p.changeISR(b.control.Image(), time.Now()); ok {
				b.proposeISR(p, change)
			}
		}
	}
}

// changeISR returns what has to change about the in-sync replicas of a
// partition that this broker leads. From then on until settleISR those who
// come in count for the high watermark: the cluster may take them for in sync
// before this broker learns that it does.
func (p *partition) changeISR(m *image, at time.Time) (alterISR, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leading || p.closed || p.failure != nil || len(p.assigned.Replicas) < 2 {
		return alterISR{}, false
	}
	began := int64(0)
	if n := len(p.tracker.Epochs); n > 0 {
		began = p.tracker.Epochs[n-1].Start
	}
	var isr []int32
	for _, id := range p.assigned.Replicas {
		f := p.followers[id]
		switch {
		case id == p.self:
			isr = append(isr, id)
		case f == nil:
		case slices.Contains(p.assigned.ISR, id):
			if at.Sub(f.caughtUp) <= replicaLag {
				isr = append(isr, id)
			}
		case m.isAlive(id) && !f.asked.IsZero() && at.Sub(f.asked) < replicaLag && f.end >= p.high && f.end >= began:
			isr = append(isr, id)
		}
	}
	was := slices.Sorted(slices.Values(p.assigned.ISR))
	if slices.Equal(slices.Sorted(slices.Values(isr)), was) && !p.unsure {
		return alterISR{}, false
	}
	for _, id := range isr {
		if !slices.Contains(p.proposed, id) {
			p.proposed = append(p.proposed, id)
		}
	}
	p.count()
	return alterISR{Topic: p.id, Partition: p.index, Leader: p.self, Epoch: p.assigned.Epoch, Version: p.assigned.Version, ISR: isr}, true
}

// count sets which replicas the high watermark waits for. It is called with
// mu held.
func (p *partition) count() {
	p.counted = slices.Clone(p.assigned.ISR)
	for _, id := range p.proposed {
		if !slices.Contains(p.counted, id) {
			p.counted = append(p.counted, id)
		}
	}
}

// proposeISR asks the cluster to agree. If nobody knows whether it has or
// will, whom it named goes on counting until the assignment has a later
// version, for which the next proposal cares.
func (b *broker) proposeISR(p *partition, change alterISR) {
	ctx, cancel := context.WithTimeout(b.ctx, callTimeout)
	defer cancel()
	p.mu.Lock()
	before := len(p.assigned.ISR)
	p.mu.Unlock()
	r, err := b.control.Propose(ctx, command{ISR: &change})
	if err == nil && r.Code == 0 {
		level := slog.LevelDebug // a replica is back, as many are after a start
		if len(change.ISR) < before {
			level = slog.LevelInfo
		}
		b.log.Log(ctx, level, "in-sync replicas", "topic", p.name, "partition", p.index, "isr", change.ISR)
		return // adopt takes it in
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.assigned.Version != change.Version:
	case err != nil:
		b.log.Debug("in-sync replicas", "topic", p.name, "partition", p.index, "error", err)
		p.unsure = true
	case !p.unsure: // it was refused, so it never will be
		p.proposed = nil
		p.count()
		p.advance()
	}
}
