package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A fetch is a request for records while it waits for them.
//
// There are no fetch sessions: the response names none, and a client that
// learns this says with each request all that it wants. That is a few bytes
// more for each of a few partitions, and a broker without memory of its
// clients.
type fetch struct {
	broker  *broker
	conn    *conn
	least   int // bytes for which it waits
	req     *kmsg.FetchRequest
	replica int32 // the broker that asks, -1 for a consumer
	until   time.Time
	parts   []fetched
	bytes   int
	buf     []byte // behind the records of all partitions
	hurry   bool   // there is something to say that is no record
}

// A fetch that waits holds what it has found so far. Clients can ask for more
// patience than a broker has memory for.
const (
	longestPoll = time.Minute
	mostAwaited = 1 << 20 // bytes
)

// A fetched partition is one of a fetch.
type fetched struct {
	topic   int // index in the request
	want    *kmsg.FetchRequestTopicPartition
	p       *partition
	err     *kerr.Error
	next    int64    // offset to read next
	size    int      // bytes of records
	records [][]byte // what was read, in pieces
	resp    kmsg.FetchResponseTopicPartition
}

func (b *broker) fetch(_ context.Context, c *conn, message kmsg.Request) answer {
	req := message.(*kmsg.FetchRequest)
	f := &fetch{broker: b, conn: c, req: req, replica: req.ReplicaID, least: min(int(req.MinBytes), mostAwaited)}
	f.until = time.Now().Add(min(time.Duration(max(req.MaxWaitMillis, 0))*time.Millisecond, longestPoll))
	if req.Version >= 15 {
		f.replica = req.ReplicaState.ID
	}
	if req.Version >= 7 && req.SessionID != 0 {
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.ErrorCode = kerr.FetchSessionIDNotFound.Code
		return now(resp)
	}
	m := b.control.Image()
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p, _, err := b.find(m, t.Topic, t.TopicID, req.Version >= 13, t.Partitions[j].Partition)
			part := fetched{topic: i, want: &t.Partitions[j], p: p, err: err, next: t.Partitions[j].FetchOffset}
			part.resp = kmsg.NewFetchResponseTopicPartition()
			part.resp.Partition, part.resp.HighWatermark, part.resp.RecordBatches = part.want.Partition, -1, []byte{}
			f.parts = append(f.parts, part)
		}
	}
	return f.answer
}

// answer waits until there are enough records, the time is up, or something
// else is to be told.
func (f *fetch) answer(ctx context.Context) kmsg.Response {
	most := f.broker.limits.fetch
	if f.req.Version >= 3 {
		most = min(max(int(f.req.MaxBytes), 1), most)
	}
	w := newWatcher()
	watching := false
	defer func() {
		if watching {
			f.watch(w, (*partition).unwatch)
		}
	}()
	timer := time.NewTimer(time.Until(f.until))
	defer timer.Stop()
	for {
		if err := f.collect(ctx, most); err != nil {
			return f.response() // with what there is
		}
		if f.hurry || f.bytes >= f.least || !time.Now().Before(f.until) {
			return f.response()
		}
		if !watching { // and look once more, for what came in between
			f.watch(w, (*partition).watch)
			watching = true
			continue
		}
		select {
		case <-w.c:
		case <-timer.C:
		case <-ctx.Done():
			f.until = time.Now()
		case <-f.broker.closing:
			f.until = time.Now()
		}
	}
}

func (f *fetch) watch(w *watcher, how func(*partition, *watcher)) {
	for i := range f.parts {
		if f.parts[i].p != nil {
			how(f.parts[i].p, w)
		}
	}
}

// collect adds what there is to what it found before. It takes from the
// budget what may become of it, and leaves what did in the hands of the
// connection until it is sent.
func (f *fetch) collect(ctx context.Context, most int) error {
	wanted := max(most-f.bytes, 0)
	taken, err := f.broker.budget.take(ctx, int64(wanted))
	if err != nil {
		return err
	}
	before := f.bytes
	for i := range f.parts {
		part := &f.parts[i]
		err := part.err
		if err == nil {
			limit := min(most-f.bytes, int(part.want.PartitionMaxBytes)-part.size)
			if f.bytes == 0 && f.req.Version >= 3 {
				limit = max(limit, 1) // the first batch comes whole, or a large one would never
			}
			err = f.read(part, limit)
		}
		if err != nil {
			part.resp.ErrorCode = err.Code
			f.hurry = true
		}
	}
	got := min(int64(f.bytes-before), taken)
	f.broker.budget.give(taken - got)
	f.conn.held += got
	return nil
}

// read looks at one partition and adds up to limit bytes of records.
func (f *fetch) read(part *fetched, limit int) *kerr.Error {
	epoch := int32(-1)
	if f.req.Version >= 9 {
		epoch = part.want.CurrentLeaderEpoch
	}
	resp := &part.resp
	v, err := part.p.view(epoch)
	resp.HighWatermark, resp.LastStableOffset, resp.LogStartOffset = v.high, v.high, v.start
	if err != nil {
		resp.CurrentLeader.LeaderID, resp.CurrentLeader.LeaderEpoch = v.assigned.Leader, v.assigned.Epoch
		return err
	}
	end := v.high
	if f.replica >= 0 {
		if diverges, err := f.follow(part, v); err != nil || diverges {
			return err
		}
		end = v.safe
	}
	switch {
	case part.next < v.start || part.next > v.end:
		return kerr.OffsetOutOfRange
	case part.next >= end || limit <= 0:
		return nil
	}
	if f.buf == nil {
		f.buf = takeBuffer()
	}
	before := len(f.buf)
	var failure error
	f.buf, part.next, failure = part.p.readBelow(f.buf, part.next, end, limit)
	if read := f.buf[before:]; len(read) > 0 {
		part.records = append(part.records, read)
		part.size += len(read)
		f.bytes += len(read)
	}
	switch {
	case errors.Is(failure, errPassed):
		return kerr.OffsetOutOfRange
	case failure != nil:
		f.broker.log.Error("read", "topic", part.p.name, "partition", part.p.index, "error", failure)
		return kerr.KafkaStorageError
	}
	return nil
}

// response puts the partitions together.
func (f *fetch) response() kmsg.Response {
	resp := f.req.ResponseKind().(*kmsg.FetchResponse)
	v := &vectored{FetchResponse: resp, buf: f.buf}
	m := f.broker.control.Image()
	plain := true
	next := 0 // in f.parts, which has the order of the topics
	for i := range f.req.Topics {
		t := kmsg.NewFetchResponseTopic()
		t.Topic, t.TopicID = f.req.Topics[i].Topic, f.req.Topics[i].TopicID
		for ; next < len(f.parts) && f.parts[next].topic == i; next++ {
			part := &f.parts[next]
			plain = plain && part.resp.ErrorCode == 0 && part.resp.DivergingEpoch.Epoch == -1
			t.Partitions = append(t.Partitions, part.resp)
			v.records = append(v.records, part.records)
			if f.replica < 0 {
				for _, data := range part.records {
					f.broker.countOut(data)
				}
			}
			if l := m.Brokers[part.resp.CurrentLeader.LeaderID]; l != nil && f.req.Version >= 16 &&
				!slices.ContainsFunc(resp.Brokers, func(b kmsg.FetchResponseBroker) bool { return b.NodeID == l.ID }) {
				resp.Brokers = append(resp.Brokers, kmsg.FetchResponseBroker{NodeID: l.ID, Host: l.Host, Port: l.Port})
			}
		}
		resp.Topics = append(resp.Topics, t)
	}
	if plain {
		return v
	}
	v.join()
	return resp
}

func (b *broker) countOut(data []byte) {
	for one := range batches(data) {
		b.count(&b.out, one)
	}
}

// A view is what a fetch needs to know of a partition.
type view struct {
	assigned               assignment
	start, high, safe, end int64
}

// view returns how the partition is, and why it cannot be read from here.
func (p *partition) view(epoch int32) (view, *kerr.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return view{assigned: p.assigned, start: -1, high: -1}, kerr.UnknownTopicOrPartition
	}
	return view{p.assigned, p.log.Start(), p.high, p.safeEnd(), p.log.End()}, p.refusal(epoch)
}

// errPassed says that what was asked for is no longer kept.
var errPassed = errors.New("kafka: offset out of range")

// readBelow appends whole batches from the one with from on, none of which
// reaches end, to dst: up to limit bytes, but at least one. It returns the
// offset behind them.
func (p *partition) readBelow(dst []byte, from, end int64, limit int) ([]byte, int64, error) {
	at := len(dst)
	dst, err := p.log.ReadBatches(dst, from, limit, p.sync == syncEach)
	if err != nil {
		if errors.Is(err, commitlog.ErrOutOfRange) {
			err = errPassed
		}
		return dst[:at], from, err
	}
	whole := at
	for b := range batches(dst[at:]) {
		next := b.LastOffset() + 1
		if next > end {
			break
		}
		from = next
		whole += len(b)
	}
	return dst[:whole], from, nil
}
