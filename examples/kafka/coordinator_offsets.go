package kafka

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/commitlog/group"
)

// A commit is an offset that goes into the log.
type offsetRecord struct {
	at        group.TopicPartition
	committed group.Committed
	response  *kmsg.OffsetCommitResponseTopicPartition
}

func (b *broker) offsetCommit(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.OffsetCommitRequest)
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	wants := b.offsetsOf(req, resp)
	g, err := b.groups.find(req.Group, req.Generation < 0 && req.MemberID == "")
	if err == nil && g == nil {
		err = kerr.IllegalGeneration
	}
	refuse := func(err *kerr.Error) {
		for _, w := range wants {
			w.response.ErrorCode = err.Code
		}
	}
	if err != nil {
		refuse(err)
		return now(resp)
	}
	done := make(chan struct{})
	g.mu.Lock()
	if err := g.commit(req, wants, func(err *kerr.Error) {
		if err != nil {
			refuse(err)
		}
		close(done)
	}); err != nil {
		refuse(err)
		close(done)
	}
	g.mu.Unlock()
	return func(ctx context.Context) kmsg.Response {
		select {
		case <-done:
			return resp
		case <-ctx.Done():
			return nil
		}
	}
}

// offsetsOf lists the offsets of a request, with the places for their outcome.
// Those that cannot be committed have their error already.
func (b *broker) offsetsOf(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) []offsetRecord {
	m := b.control.Image()
	at := time.Now().Truncate(time.Millisecond)
	var wants []offsetRecord
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		rt := &resp.Topics[i]
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		known, unknown := m.Topics[t.Topic], kerr.UnknownTopicOrPartition
		if req.Version >= 10 {
			known, unknown = m.byID(t.TopicID), kerr.UnknownTopicID
		}
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			rp.Partition = p.Partition
			c := group.Committed{Offset: p.Offset, LeaderEpoch: -1, Metadata: deref(p.Metadata), Time: at}
			if req.Version >= 6 {
				c.LeaderEpoch = p.LeaderEpoch
			}
			if req.Version <= 4 && req.RetentionTimeMillis >= 0 {
				c.Expires = at.Add(time.Duration(min(req.RetentionTimeMillis, 1<<40)) * time.Millisecond)
			}
			switch {
			case known == nil || p.Partition < 0 || int(p.Partition) >= len(known.Partitions):
				rp.ErrorCode = unknown.Code
			case len(c.Metadata) > maxOffsetMetadata:
				rp.ErrorCode = kerr.OffsetMetadataTooLarge.Code
			default:
				wants = append(wants, offsetRecord{group.TopicPartition{Topic: known.Name, Partition: p.Partition}, c, rp})
			}
		}
	}
	return wants
}

// commit appends offsets and enters them once they are replicated; then it
// calls after. It is called with mu held, and after is, too.
func (g *groupOf) commit(req *kmsg.OffsetCommitRequest, wants []offsetRecord, after func(*kerr.Error)) *kerr.Error {
	if err := g.group.CheckCommit(time.Now(), req.MemberID, deref(req.InstanceID), req.Generation); err != nil {
		return groupError(err)
	}
	if len(wants) == 0 {
		after(nil)
		return nil
	}
	records := make([]commitlog.Record, len(wants))
	for i, w := range wants {
		var err, err2 error
		records[i].Key, err = group.AppendKey(nil, group.Key{Group: g.group.ID(), Offset: true, Partition: w.at})
		records[i].Value, err2 = group.AppendCommitted(nil, w.committed)
		if err != nil || err2 != nil {
			return kerr.InvalidRequest
		}
	}
	a := g.store(records...)
	if a.err != nil {
		return moved(a.err)
	}
	g.enqueue(a.next, func(err *kerr.Error) {
		if err == nil {
			for i, w := range wants {
				w.committed.Position = a.first + int64(i)
				g.offsets.Put(w.at, w.committed)
			}
		}
		after(err)
	})
	return nil
}

// moved returns what a client of a group has to know when its records cannot
// be stored.
func moved(err *kerr.Error) *kerr.Error {
	switch err {
	case kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownTopicOrPartition:
		return kerr.NotCoordinator
	case kerr.NotEnoughReplicas:
		return kerr.CoordinatorNotAvailable
	}
	return err
}

func (b *broker) offsetFetch(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.OffsetFetchRequest)
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version >= 8 {
		for _, rg := range once(req.Groups, func(g kmsg.OffsetFetchRequestGroup) string { return g.Group }) {
			resp.Groups = append(resp.Groups, b.fetchOffsets(rg, req.Version))
		}
		return now(resp)
	}
	one := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	for _, t := range req.Topics {
		one.Topics = append(one.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	if req.Topics != nil && one.Topics == nil {
		one.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	got := b.fetchOffsets(one, req.Version)
	resp.ErrorCode = got.ErrorCode
	for _, t := range got.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return now(resp)
}

// fetchOffsets returns the offsets of one group, of all partitions if none are
// named. Partitions without one have -1.
func (b *broker) fetchOffsets(want kmsg.OffsetFetchRequestGroup, version int16) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = want.Group
	g, err := b.groups.find(want.Group, false)
	if err != nil {
		resp.ErrorCode = err.Code
	}
	var offsets group.Offsets
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		offsets = g.offsets
	}
	m := b.control.Image()
	if want.Topics == nil {
		want.Topics = topicsOf(m, &offsets, version)
	}
	for _, t := range want.Topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		name := t.Topic
		unknown := false
		if version >= 10 {
			known := m.byID(t.TopicID)
			if unknown = known == nil; !unknown {
				name = known.Name
			}
		}
		for _, partition := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = partition, -1, -1, new(string)
			if unknown {
				rp.ErrorCode = kerr.UnknownTopicID.Code
			}
			if err != nil && version < 2 {
				rp.ErrorCode = err.Code
			}
			if c, ok := offsets.Get(group.TopicPartition{Topic: name, Partition: partition}); ok {
				rp.Offset, rp.LeaderEpoch, rp.Metadata = c.Offset, c.LeaderEpoch, &c.Metadata
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func topicsOf(m *image, offsets *group.Offsets, version int16) []kmsg.OffsetFetchRequestGroupTopic {
	var topics []kmsg.OffsetFetchRequestGroupTopic
	for p := range offsets.All() {
		if n := len(topics); n == 0 || topics[n-1].Topic != p.Topic {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic = p.Topic
			if known := m.Topics[p.Topic]; known != nil {
				t.TopicID = known.ID
			} else if version >= 10 {
				continue // it has no ID any more
			}
			topics = append(topics, t)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, p.Partition)
	}
	return topics
}

// forget appends tombstones for offsets, and for the group itself if it is
// deleted, and removes them once that is replicated. It is called with mu held,
// and after is, too.
func (g *groupOf) forget(ps []group.TopicPartition, deleted bool, after func(*kerr.Error)) *kerr.Error {
	var records []commitlog.Record
	for _, p := range ps {
		key, err := group.AppendKey(nil, group.Key{Group: g.group.ID(), Offset: true, Partition: p})
		if err != nil {
			return kerr.InvalidRequest
		}
		records = append(records, commitlog.Record{Key: key})
	}
	if deleted {
		key, err := group.AppendKey(nil, group.Key{Group: g.group.ID()})
		if err != nil {
			return kerr.InvalidRequest
		}
		records = append(records, commitlog.Record{Key: key})
	}
	if len(records) == 0 {
		after(nil)
		return nil
	}
	a := g.store(records...)
	if a.err != nil {
		return moved(a.err)
	}
	for _, p := range ps {
		g.offsets.Delete(p)
	}
	g.enqueue(a.next, after)
	return nil
}

func (b *broker) deleteGroups(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DeleteGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	waits := make([]chan struct{}, len(req.Groups))
	for i, id := range req.Groups {
		rg := &resp.Groups[i]
		rg.Group = id
		waits[i] = make(chan struct{})
		if err := b.groups.delete(id, func(err *kerr.Error) {
			if err != nil {
				rg.ErrorCode = err.Code
			}
			close(waits[i])
		}); err != nil {
			rg.ErrorCode = err.Code
			close(waits[i])
		}
	}
	return func(ctx context.Context) kmsg.Response {
		for _, w := range waits {
			select {
			case <-w:
			case <-ctx.Done():
				return nil
			}
		}
		return resp
	}
}

// delete removes a group without members, and its offsets.
func (c *coordinator) delete(id string, after func(*kerr.Error)) *kerr.Error {
	g, err := c.find(id, false)
	switch {
	case err != nil:
		return err
	case g == nil:
		return kerr.GroupIDNotFound
	}
	s := g.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.groups[id] != g {
		return kerr.GroupIDNotFound
	}
	if err := g.group.Delete(time.Now()); err != nil {
		return groupError(err)
	}
	g.disarm()
	delete(s.groups, id)
	return g.forget(slices.Collect(maps.Keys(maps.Collect(g.offsets.All()))), true, after)
}

func (b *broker) offsetDelete(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.OffsetDeleteRequest)
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	g, err := b.groups.find(req.Group, false)
	if err == nil && g == nil {
		err = kerr.GroupIDNotFound
	}
	if err != nil {
		resp.ErrorCode = err.Code
		return now(resp)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if kind, _ := g.group.Protocol(); g.group.Len() > 0 && kind != group.ConsumerProtocol {
		resp.ErrorCode = kerr.NonEmptyGroup.Code
		return now(resp)
	}
	var gone []group.TopicPartition
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			at := group.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if g.group.Subscribed(t.Topic) {
				rp.ErrorCode = kerr.GroupSubscribedToTopic.Code
			} else if _, ok := g.offsets.Get(at); ok {
				gone = append(gone, at)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	done := make(chan struct{})
	if err := g.forget(gone, false, func(err *kerr.Error) {
		if err != nil {
			resp.ErrorCode = err.Code
		}
		close(done)
	}); err != nil {
		resp.ErrorCode = err.Code
		close(done)
	}
	return func(ctx context.Context) kmsg.Response {
		select {
		case <-done:
			return resp
		case <-ctx.Done():
			return nil
		}
	}
}

// sweep forgets offsets that expired or whose topic is gone, and groups of
// which nothing is left.
func (c *coordinator) sweep(at time.Time) {
	m := c.broker.control.Image()
	groups, _ := c.all()
	for _, g := range groups {
		g.mu.Lock()
		gone := g.offsets.Expired(g.group, at, offsetRetention)
		for p := range g.offsets.All() {
			if m.partition(p.Topic, p.Partition) == nil && !slices.Contains(gone, p) {
				gone = append(gone, p)
			}
		}
		if err := g.forget(gone, false, func(*kerr.Error) {}); err != nil {
			c.broker.log.Warn("offsets are not forgotten", "group", g.group.ID(), "error", err)
		}
		idle, id := g.idle(), g.group.ID()
		empty := g.group.State() == group.Empty && g.offsets.Len() == 0 && at.Sub(g.group.Since()) > offsetRetention
		g.mu.Unlock()
		if idle {
			g.shard.drop(id, g)
		} else if empty {
			_ = c.delete(id, func(*kerr.Error) {}) // somebody may have joined meanwhile
		}
	}
}

// drop removes a group that nothing is known of, unless that has changed.
func (s *shard) drop(id string, g *groupOf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.groups[id] == g && g.idle() && g.group.Delete(time.Now()) == nil {
		delete(s.groups, id)
	}
}
