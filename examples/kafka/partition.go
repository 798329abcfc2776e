package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A partition is one broker's replica of a partition: a log, what the tracker
// knows of it, and the part that this replica has at present.
//
//	start            high watermark          durable           end
//	  ├──────────────────────┼────────────────────┼─────────────┤
//	  │ consumers see        │ synced here        │ appended    │
//
// The high watermark of a leader is the least durable end of the in-sync
// replicas: what lies below it survives the loss of all of them but one. What
// does not is never deleted for its age or for the size of the log, so that a
// follower can fetch it.
//
// Lock order: mu is held while the log is appended to, so that sequence
// numbers are checked in the order of the log, and never while it is synced or
// while a caller waits. A partition is safe for concurrent use by multiple
// goroutines.
type partition struct {
	name  string
	id    topicID
	index int32
	self  int32 // this broker
	file  string
	log   *commitlog.Log
	sync  syncMode
	slog  *slog.Logger

	mu        sync.Mutex
	assigned  assignment // as adopted last
	settings  topicSettings
	leading   bool
	high      int64         // set by setHigh
	held      *atomic.Int64 // high for the log, which does not wait for mu
	tracker   *tracker
	saved     int64               // tracker.End of the last snapshot
	before    int64               // and of the one before it, 0 if that is not known
	cuts      int                 // how often truncate was called
	followers map[int32]*follower // of a leader
	counted   []int32             // replicas that the high watermark waits for
	proposed  []int32             // replicas that may be in sync already, see changeISR
	unsure    bool                // whether what was proposed ever will be
	safe      int64               // safeEnd as those who watch know it
	failure   error               // of the log; nothing more is stored
	closed    bool
	watchers  map[*watcher]struct{}
	flushing  bool // a goroutine syncs what nobody waits for
	idle      sync.WaitGroup
}

// A follower is what a leader knows about another replica.
type follower struct {
	end      int64     // everything below is durable there
	caughtUp time.Time // when it last had all that the leader had
	asked    time.Time // when it last fetched
	leaderAt int64     // the leader's end at that time
}

// A syncMode says when an acknowledgement is given.
type syncMode string

const (
	syncEach     syncMode = "each"     // once the records are on disk
	syncInterval syncMode = "interval" // at once; the disk follows every second
)

var syncModes = []syncMode{syncEach, syncInterval}

// A watcher waits for a partition to change: its high watermark, its leader,
// its end.
type watcher struct{ c chan struct{} }

func newWatcher() *watcher { return &watcher{c: make(chan struct{}, 1)} }

// watch lets the partition wake w until unwatch.
func (p *partition) watch(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[w] = struct{}{}
}

func (p *partition) unwatch(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watchers, w)
}

// wake is called with mu held.
func (p *partition) wake() {
	for w := range p.watchers {
		select {
		case w.c <- struct{}{}:
		default: // it has not yet seen the last
		}
	}
}

// newPartition takes a log that was opened and reads what the snapshot does
// not know of it. The log's retention must stay below high, which the partition
// sets.
func newPartition(t *topic, index, self int32, log *commitlog.Log, high *atomic.Int64, file string, mode syncMode, logger *slog.Logger) (*partition, error) {
	p := &partition{
		name: t.Name, id: t.ID, index: index, self: self, file: file, log: log, held: high, sync: mode, slog: logger,
		settings: t.settings(), followers: map[int32]*follower{}, watchers: map[*watcher]struct{}{},
		assigned: assignment{Leader: -1, Epoch: -1},
	}
	// What was written before a crash and not synced may be lost in the next.
	if err := log.Sync(context.Background()); err != nil {
		return nil, err
	}
	var err error
	if err = p.recall(log.End()); err == nil {
		err = p.catchUp()
	}
	if err != nil {
		return nil, err
	}
	p.setHigh(min(max(p.tracker.High, log.Start()), log.End()))
	return p, nil
}

// setHigh moves the high watermark. It is called with mu held.
func (p *partition) setHigh(offset int64) {
	p.high = offset
	p.held.Store(offset)
}

// fail notes that the log does not take any more. It is called with mu held.
func (p *partition) fail(err error) *kerr.Error {
	if p.failure == nil && !errors.Is(err, context.Canceled) {
		p.failure = err
		p.slog.Error("a partition takes no more records", "topic", p.name, "partition", p.index, "error", err)
		p.wake()
	}
	return kerr.KafkaStorageError
}

// refused says in the terms of the protocol why the log did not take a batch.
// It is called with mu held.
func (p *partition) refused(err error) *kerr.Error {
	switch {
	case errors.Is(err, commitlog.ErrBadBatch):
		return kerr.CorruptMessage
	case errors.Is(err, commitlog.ErrTooLarge):
		return kerr.MessageTooLarge
	case errors.Is(err, commitlog.ErrPoisoned) || errors.Is(err, commitlog.ErrClosed):
		return p.fail(err)
	}
	// Nothing was appended, as on a disk that is full: it may do better next time.
	p.slog.Warn("a batch was not stored", "topic", p.name, "partition", p.index, "error", err)
	return kerr.KafkaStorageError
}

// refusal is why this replica does not serve clients, or nil. epoch is the
// leader's as the client knows it, -1 if it does not. mu is held.
func (p *partition) refusal(epoch int32) *kerr.Error {
	switch {
	case p.closed:
		return kerr.UnknownTopicOrPartition
	case epoch >= 0 && epoch < p.assigned.Epoch:
		return kerr.FencedLeaderEpoch
	case epoch > p.assigned.Epoch:
		return kerr.UnknownLeaderEpoch
	case !p.leading:
		return kerr.NotLeaderForPartition
	}
	return nil
}

// An appended batch, or why it was not.
type appended struct {
	epoch int32 // of the leader
	first int64
	next  int64 // the offset behind it
	start int64 // of the log
	time  int64 // the broker's, if the topic keeps that, else -1
	err   *kerr.Error
}

// append stores one batch of a producer, behind all others. It is not
// durable yet, see commit. data is changed where the broker has the say, and
// not kept.
func (p *partition) append(ctx context.Context, data []byte, all bool) appended {
	if err := checkBatch(data); err != nil {
		return appended{first: -1, err: err}
	}
	b := commitlog.Batch(data)
	p.mu.Lock()
	defer p.mu.Unlock()
	refused := func(err *kerr.Error) appended { return appended{first: -1, start: p.log.Start(), err: err} }
	switch err := p.refusal(-1); {
	case err != nil:
		return refused(err)
	case p.failure != nil:
		return refused(kerr.KafkaStorageError)
	case len(b) > p.settings.maxMessage:
		return refused(kerr.MessageTooLarge)
	case all && len(p.assigned.ISR) < p.settings.minISR:
		return refused(kerr.NotEnoughReplicas)
	}
	if p.settings.compacts {
		if err := checkKeys(b); err != nil {
			return refused(err)
		}
	}
	known, err := p.tracker.check(b)
	switch {
	case err != nil:
		return refused(err)
	case known != nil:
		return appended{epoch: p.assigned.Epoch, first: known.Base, next: known.Next, start: p.log.Start(), time: -1}
	}
	now := int64(-1)
	if p.settings.appendTime {
		if b.Verify() != nil {
			return refused(kerr.CorruptMessage)
		}
		now = time.Now().UnixMilli()
		stamp(b, now)
	}
	first, failure := p.log.AppendBatch(ctx, b)
	if failure != nil {
		return refused(p.refused(failure))
	}
	p.tracker.see(b)
	p.advance()
	return appended{epoch: p.assigned.Epoch, first: first, next: p.tracker.End, start: p.log.Start(), time: now}
}

// commit waits until a batch is as safe as the producer asked for: on this
// broker's disk, or, with all set, on those of all in-sync replicas. A leader
// that has been none for a while may have forgotten the batch and have others
// in its place, so it speaks only for those of its present epoch. ctx ends when
// the producer waits no longer.
func (p *partition) commit(ctx context.Context, a appended, all bool) *kerr.Error {
	if err := p.flush(ctx, a.next); err != nil {
		return err
	}
	if !all {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.assigned.Epoch != a.epoch {
			return kerr.NotLeaderForPartition
		}
		return nil
	}
	w := newWatcher()
	p.watch(w)
	defer p.unwatch(w)
	for {
		p.mu.Lock()
		high, refusal, safe := p.high, p.refusal(-1), len(p.assigned.ISR) >= p.settings.minISR
		same := p.assigned.Epoch == a.epoch
		p.mu.Unlock()
		switch {
		case refusal != nil:
			return refusal
		case !same:
			return kerr.NotLeaderForPartition
		case high >= a.next && !safe:
			return kerr.NotEnoughReplicasAfterAppend
		case high >= a.next:
			return nil
		}
		select {
		case <-w.c:
		case <-ctx.Done():
			return kerr.RequestTimedOut
		}
	}
}

// flush makes everything below next durable on this broker, unless the disk
// follows by itself.
func (p *partition) flush(ctx context.Context, next int64) *kerr.Error {
	if p.sync != syncEach {
		return nil
	}
	if p.log.Durable() < next {
		return p.syncLog(ctx)
	}
	// Somebody else has synced it, and that may be the log itself, at the end
	// of a segment, which does not say so here.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance()
	return nil
}

// syncLog makes what was appended so far durable and visible.
func (p *partition) syncLog(ctx context.Context) *kerr.Error {
	err := p.log.Sync(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			return kerr.RequestTimedOut
		}
		return p.fail(err)
	}
	p.advance()
	return nil
}

// flushLater makes what was appended durable in the background, for records
// whose producer does not wait.
func (p *partition) flushLater() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sync != syncEach || p.flushing || !p.leading {
		return
	}
	p.flushing = true
	p.idle.Go(func() {
		for {
			err := p.syncLog(context.Background())
			p.mu.Lock()
			if err != nil || p.log.Durable() >= p.log.End() {
				p.flushing = false
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	})
}

// safeEnd is the offset below which this replica has everything, as safe as
// the broker's sync mode makes it.
func (p *partition) safeEnd() int64 {
	if p.sync == syncEach {
		return p.log.Durable()
	}
	return p.log.End()
}

// advance moves the high watermark of a leader to the least end of the
// replicas that count. It is called with mu held.
func (p *partition) advance() {
	if !p.leading {
		return
	}
	high := p.safeEnd()
	if high != p.safe { // followers wait for that
		p.safe = high
		p.wake()
	}
	for _, id := range p.counted {
		if id == p.self {
			continue
		}
		f := p.followers[id]
		if f == nil {
			return
		}
		high = min(high, f.end)
	}
	if high > p.high {
		p.setHigh(high)
		p.wake()
	}
}

// adopt takes in what the cluster has agreed about the partition. It reports
// whether the leader or its epoch changed.
func (p *partition) adopt(a assignment, settings topicSettings) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = a.Epoch != p.assigned.Epoch || a.Leader != p.assigned.Leader
	led, synced := p.leading, p.assigned.ISR
	if a.Version != p.assigned.Version {
		p.proposed, p.unsure = nil, false // what was proposed for the version before is applied or never will be
	}
	p.assigned, p.settings = a, settings
	p.leading = a.Leader == p.self
	p.count()
	for _, id := range synced { // who is out may have lost what it had, and has to ask anew
		if f := p.followers[id]; f != nil && !slices.Contains(a.ISR, id) {
			*f = follower{caughtUp: time.Now()}
		}
	}
	if changed {
		p.followers = map[int32]*follower{}
		now := time.Now()
		for _, id := range a.Replicas {
			if p.leading && id != p.self {
				p.followers[id] = &follower{caughtUp: now}
			}
		}
		if p.leading {
			p.tracker.lead(a.Epoch)
			p.log.SetLeaderEpoch(a.Epoch)
		}
	}
	p.advance()
	if changed || led != p.leading {
		p.wake()
	}
	return changed
}

// A state is how a partition is at a moment.
type state struct {
	assigned assignment
	leading  bool
	start    int64
	high     int64
	end      int64
	failure  error
}

func (p *partition) state() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	return state{p.assigned, p.leading, p.log.Start(), p.high, p.log.End(), p.failure}
}

// deleteBefore drops records for good, up to an offset that is at most the
// high watermark; -1 stands for it. It returns the new start.
func (p *partition) deleteBefore(offset int64) (int64, *kerr.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refusal(-1); err != nil {
		return -1, err
	}
	if offset == -1 {
		offset = p.high
	}
	if offset < 0 || offset > p.high {
		return -1, kerr.OffsetOutOfRange
	}
	if offset > p.log.Start() {
		if err := p.log.DeleteBefore(offset); err != nil {
			return -1, p.fail(err)
		}
	}
	p.tracker.deletedBefore(p.log.Start())
	return p.log.Start(), nil
}

// close ends the partition; its log is durable afterwards.
func (p *partition) close() error {
	p.mu.Lock()
	again := p.closed
	p.leading = false
	p.mu.Unlock()
	if again {
		return nil
	}
	p.idle.Wait()
	err := p.log.Sync(context.Background())
	if err == nil {
		err = p.checkpoint(context.Background())
	}
	p.mu.Lock()
	p.closed = true
	p.wake()
	p.mu.Unlock()
	return errors.Join(err, p.log.Close())
}
