package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/commitlog/group"
)

const (
	offsetsTopic      = "__consumer_offsets"
	offsetsPartitions = 8
	offsetRetention   = 7 * 24 * time.Hour
	maxOffsetMetadata = 4096
	sweepEvery        = time.Minute
	groupDelay        = 500 * time.Millisecond // for which a new group waits for more members
)

// A coordinator looks after the consumer groups whose records this broker
// leads.
//
//	group ── hash ──► partition of __consumer_offsets ── its leader ──► coordinator
//
// A group lives where its partition of the internal topic is led. Whatever it
// has to remember is a record there, which all in-sync replicas have before
// anybody is told. When the partition gets another leader, that one reads the
// records and continues; see [group.Group].
//
// Lock order: coordinator.mu, shard, groupOf, partition, coordinator.taskMu. A coordinator is safe
// for concurrent use by multiple goroutines.
type coordinator struct {
	broker *broker
	opts   *group.Options

	mu     sync.Mutex
	closed bool
	shards map[int32]*shard

	taskMu  sync.Mutex // the last of all
	stopped bool
	tasks   sync.WaitGroup
}

// A shard is one partition of the internal topic that this broker leads, with
// its groups.
type shard struct {
	c      *coordinator
	p      *partition
	epoch  int32
	ctx    context.Context // ends with the leadership
	cancel context.CancelFunc

	mu     sync.Mutex
	loaded bool
	failed bool
	groups map[string]*groupOf
}

// A groupOf is a group and everybody who waits for it.
//
//	step ──► records appended ──► queue: waits until they are replicated ──► answers
//
// The queue keeps the order of the steps, so that no answer tells of a state that is
// not yet safe.
type groupOf struct {
	shard *shard

	mu      sync.Mutex
	group   *group.Group
	offsets group.Offsets
	tickets group.Ticket
	waits   map[group.Ticket]chan group.Reply
	queue   []parcel
	sending bool
	timer   *time.Timer
	wake    time.Time // when timer fires; zero if it does not
}

// A parcel waits until the log is replicated up to next; -1 waits for nothing
// but the parcels before it.
type parcel struct {
	next  int64
	after func(*kerr.Error) // called with the group's mutex held
}

func newCoordinator(b *broker) *coordinator {
	return &coordinator{broker: b, opts: &group.Options{InitialDelay: groupDelay}, shards: map[int32]*shard{}}
}

// run looks for offsets that are not needed any more, until the broker closes.
func (c *coordinator) run() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.sweep(time.Now())
		case <-c.broker.closing:
			c.close()
			return
		}
	}
}

// close gives all groups up.
func (c *coordinator) close() {
	c.mu.Lock()
	c.closed = true
	shards := c.shards
	c.shards = map[int32]*shard{}
	c.mu.Unlock()
	for _, s := range shards {
		s.shut()
	}
	c.taskMu.Lock()
	c.stopped = true
	c.taskMu.Unlock()
	c.tasks.Wait()
}

// start runs f in a goroutine that close waits for, or, once it does, in one
// that ends soon.
func (c *coordinator) start(f func()) {
	c.taskMu.Lock()
	defer c.taskMu.Unlock()
	if c.stopped {
		go f()
		return
	}
	c.tasks.Go(f)
}

// adopted is called when the leader of a partition or its epoch changed, in
// the order of the changes.
func (b *broker) adopted(p *partition, _, is assignment) {
	if p.name != offsetsTopic {
		return
	}
	c := b.groups
	c.mu.Lock()
	old := c.shards[p.index]
	delete(c.shards, p.index)
	var s *shard
	if is.Leader == b.ID && !c.closed {
		s = &shard{c: c, p: p, epoch: is.Epoch, groups: map[string]*groupOf{}}
		s.ctx, s.cancel = context.WithCancel(b.ctx)
		c.shards[p.index] = s
	}
	c.mu.Unlock()
	if old != nil {
		old.shut()
	}
	if s != nil {
		c.start(s.load)
	}
}

// shut gives the groups of a shard up: clients look for another coordinator.
func (s *shard) shut() {
	s.cancel()
	s.mu.Lock()
	groups := s.groups
	s.groups, s.failed = nil, true
	s.mu.Unlock()
	for _, g := range groups {
		g.mu.Lock()
		g.disarm()
		g.deliver(g.group.Abandon(time.Now()).Replies)
		g.mu.Unlock()
	}
}

// fail shuts a shard whose records cannot be stored: what it told nobody is
// forgotten.
func (s *shard) fail(err *kerr.Error) {
	if s.ctx.Err() == nil {
		s.c.broker.log.Warn("groups given up", "partition", s.p.index, "error", err)
	}
	s.shut()
}

// load reads the records of a shard that this broker has come to lead.
func (s *shard) load() {
	err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx.Err() != nil:
	case err != nil:
		s.failed = true
		s.c.broker.log.Error("groups cannot be read", "partition", s.p.index, "error", err)
	default:
		s.loaded = true
		for _, g := range s.groups {
			g.mu.Lock()
			g.arm()
			g.mu.Unlock()
		}
	}
}

func (s *shard) read() error {
	if err := s.p.syncLog(s.ctx); err != nil {
		return err
	}
	at := s.p.state()
	snapshots := map[string]group.Snapshot{}
	offsets := map[string]*group.Offsets{}
	var buf []byte
	for from := at.start; from < at.end && s.ctx.Err() == nil; {
		var next int64
		var err error
		if buf, next, err = s.p.readBelow(buf[:0], from, at.end, 1<<20); err != nil {
			return err
		}
		if next == from { // compaction has left nothing
			break
		}
		for b := range batches(buf) {
			for r, err := range b.Records(codecs...) {
				if err != nil {
					return err
				}
				s.replay(r, snapshots, offsets)
			}
		}
		from = next
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, snapshot := range snapshots {
		s.add(id, group.Restore(id, snapshot, time.Now(), s.c.opts))
	}
	for id, o := range offsets {
		if o.Len() == 0 {
			continue
		}
		g := s.groups[id]
		if g == nil {
			g = s.add(id, group.New(id, time.Now(), s.c.opts))
		}
		g.offsets = *o
	}
	return nil
}

// replay takes in one record. One that cannot be read is passed over: there
// may be kinds that are not known here.
func (s *shard) replay(r commitlog.Record, snapshots map[string]group.Snapshot, offsets map[string]*group.Offsets) {
	key, err := group.DecodeKey(r.Key)
	switch {
	case err != nil:
	case !key.Offset && r.Value == nil:
		delete(snapshots, key.Group)
	case !key.Offset:
		var snapshot group.Snapshot
		if snapshot, err = group.DecodeSnapshot(slices.Clone(r.Value)); err == nil {
			snapshots[key.Group] = snapshot
		}
	default:
		if offsets[key.Group] == nil {
			offsets[key.Group] = &group.Offsets{}
		}
		if r.Value == nil {
			offsets[key.Group].Delete(key.Partition)
			return
		}
		var c group.Committed
		if c, err = group.DecodeCommitted(r.Value); err == nil {
			c.Position = r.Offset
			offsets[key.Group].Put(key.Partition, c)
		}
	}
	if err != nil {
		s.c.broker.log.Warn("a record of the groups is passed over", "partition", s.p.index, "offset", r.Offset, "error", err)
	}
}

// add is called with mu held.
func (s *shard) add(id string, g *group.Group) *groupOf {
	of := &groupOf{shard: s, group: g, waits: map[group.Ticket]chan group.Reply{}}
	s.groups[id] = of
	return of
}

// shardOf returns the partition of the internal topic that a group belongs to:
// the one that Kafka chooses.
func shardOf(id string, partitions int) int32 {
	var hash int32
	for _, unit := range utf16.Encode([]rune(id)) {
		hash = 31*hash + int32(unit)
	}
	if hash < 0 {
		hash = max(0, -hash) // the least number has no opposite
	}
	return hash % int32(partitions)
}

// find returns the group with an id, and makes one if create is set; it
// returns nil if there is none.
func (c *coordinator) find(id string, create bool) (*groupOf, *kerr.Error) {
	t := c.broker.control.Image().Topics[offsetsTopic]
	switch {
	case id == "":
		return nil, kerr.InvalidGroupID
	case t == nil:
		return nil, kerr.NotCoordinator
	}
	c.mu.Lock()
	s := c.shards[shardOf(id, len(t.Partitions))]
	c.mu.Unlock()
	if s == nil {
		return nil, kerr.NotCoordinator
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed:
		return nil, kerr.CoordinatorNotAvailable
	case !s.loaded:
		return nil, kerr.CoordinatorLoadInProgress
	}
	g := s.groups[id]
	if g == nil && create {
		g = s.add(id, group.New(id, time.Now(), c.opts))
	}
	return g, nil
}

// all lists the groups that this broker looks after, and whether some are
// still being read.
func (c *coordinator) all() (groups []*groupOf, loading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.shards {
		s.mu.Lock()
		loading = loading || !s.loaded && !s.failed
		if s.loaded {
			for _, g := range s.groups {
				groups = append(groups, g)
			}
		}
		s.mu.Unlock()
	}
	return groups, loading
}

// store appends records for a group. It is called with the group's mutex held,
// so that records are in the order of the steps.
func (g *groupOf) store(records ...commitlog.Record) appended {
	at := time.Now()
	for i := range records {
		records[i].Timestamp = at
	}
	batch, err := commitlog.AppendBatchTo(nil, 0, nil, records...)
	if err != nil {
		return appended{err: kerr.UnknownServerError}
	}
	return g.shard.p.append(g.shard.ctx, batch, true)
}

// record returns the record of the group's snapshot.
func (g *groupOf) record() (commitlog.Record, error) {
	key, err := group.AppendKey(nil, group.Key{Group: g.group.ID()})
	value, err2 := group.AppendSnapshot(nil, g.group.Snapshot())
	return commitlog.Record{Key: key, Value: value}, errors.Join(err, err2)
}

// took does what a step of the group asks for. It is called with mu held.
func (g *groupOf) took(out group.Output) {
	next := int64(-1)
	if out.Save {
		record, err := g.record()
		a := appended{err: kerr.UnknownServerError}
		if err == nil {
			a = g.store(record)
		}
		if next = a.next; a.err != nil {
			replies := slices.Concat(out.Replies, g.group.Abandon(time.Now()).Replies)
			g.deliver(dead(replies))
			g.shard.c.start(func() { g.shard.fail(a.err) }) // takes the locks before this one
			return
		}
	}
	if next >= 0 || len(out.Replies) > 0 {
		g.enqueue(next, func(err *kerr.Error) {
			if err != nil {
				out.Replies = dead(out.Replies)
			}
			g.deliver(out.Replies)
		})
	}
	g.arm()
}

// dead turns replies into one and the same refusal.
func dead(replies []group.Reply) []group.Reply {
	replies = slices.Clone(replies)
	for i := range replies {
		replies[i].Err = group.ErrDead
	}
	return replies
}

// deliver hands replies to the requests that wait. It is called with mu held.
func (g *groupOf) deliver(replies []group.Reply) {
	for _, r := range replies {
		if c := g.waits[r.Ticket]; c != nil {
			c <- r // it has room
			delete(g.waits, r.Ticket)
		}
	}
}

// enqueue calls after when everything before next, and the parcels before, are
// replicated, or cannot be. It is called with mu held.
func (g *groupOf) enqueue(next int64, after func(*kerr.Error)) {
	if next < 0 && !g.sending {
		after(nil)
		return
	}
	g.queue = append(g.queue, parcel{next, after})
	if !g.sending {
		g.sending = true
		g.shard.c.start(g.send)
	}
}

func (g *groupOf) send() {
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			g.sending = false
			g.mu.Unlock()
			return
		}
		one := g.queue[0]
		g.queue = g.queue[1:]
		g.mu.Unlock()
		var err *kerr.Error
		if one.next >= 0 {
			err = g.shard.p.commit(g.shard.ctx, appended{epoch: g.shard.epoch, next: one.next}, true)
		}
		if err != nil {
			g.shard.fail(err)
			err = kerr.NotCoordinator
		}
		g.mu.Lock()
		one.after(err)
		g.mu.Unlock()
	}
}

// arm sets the timer for what the group does by itself. A heartbeat that puts
// it off is not worth setting it again: it then fires for nothing. It is
// called with mu held.
func (g *groupOf) arm() {
	next, ok := g.group.Next()
	if !ok || !g.wake.IsZero() && !next.Before(g.wake) {
		return
	}
	g.wake = next
	if g.timer == nil {
		g.timer = time.AfterFunc(time.Until(next), g.tick)
		return
	}
	g.timer.Reset(time.Until(next))
}

func (g *groupOf) disarm() {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.wake = time.Time{}
}

func (g *groupOf) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wake = time.Time{}
	if g.shard.ctx.Err() == nil {
		g.took(g.group.Tick(time.Now()))
	}
}
