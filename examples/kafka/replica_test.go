package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
)

// calm has the brokers wait longer until they take one for dead, for tests that
// say who leads: it must not be another because the machine is busy.
func calm(c *Config) { c.Session = 3 * time.Second }

// bury kills a broker and has another say so, which they all would in a while.
func (s *System) bury(t *testing.T, id int32) {
	t.Helper()
	require.NoError(t, s.kill(id))
	_, err := s.brokers()[0].control.Propose(t.Context(), command{Fence: &fence{id}})
	require.NoError(t, err)
}

// oneTopic creates a topic of one partition on all brokers, led by the first
// of placement.
func oneTopic(t *testing.T, s *System, placement []int32, config map[string]string) {
	t.Helper()
	c := newClient(t, kgo.SeedBrokers(s.Addrs()...))
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "t", -1, -1
	rt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: placement}}
	for name, value := range config {
		rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: &value})
	}
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	resp, err := req.RequestWith(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode))
	s.await(t, "the topic is there", func() bool { return s.whole("t") && s.stateOf(placement[0]).leading })
}

// stateOf returns how a broker's replica of the partition that oneTopic made is.
func (s *System) stateOf(id int32) state {
	if p := s.replicaOf(id); p != nil {
		return p.state()
	}
	return state{}
}

// replicaOf returns a broker's replica, or nil.
func (s *System) replicaOf(id int32) *partition {
	t := s.anyImage().Topics["t"]
	for _, b := range s.brokers() {
		if p := b.partition(partitionKey{t.ID, 0}); b.ID == id && p != nil {
			return p
		}
	}
	return nil
}

// put appends to one broker's replica, as a producer connected to it would.
func (s *System) put(t *testing.T, id int32, value string, all bool) (appended, *partition) {
	t.Helper()
	p := s.replicaOf(id)
	return p.append(t.Context(), batchOf(t, value), all), p
}

// batchOf returns a batch with one record, as producers send it.
func batchOf(t *testing.T, value string) []byte {
	t.Helper()
	batch, err := commitlog.AppendBatchTo(nil, 0, nil, commitlog.Record{Timestamp: time.Now(), Value: []byte(value)})
	require.NoError(t, err)
	return batch
}

// valuesOf returns the values in a replica.
func valuesOf(t *testing.T, p *partition) []string {
	t.Helper()
	var list []string
	for r, err := range p.log.Records(p.log.Start()) {
		require.NoError(t, err)
		list = append(list, string(r.Value))
	}
	return list
}

// TestATailThatNobodyHasIsForgotten: a leader that is cut off takes records that
// it can acknowledge to nobody who waits for all. The others go on without; when
// it is back, it forgets them and has the same as all.
func TestATailThatNobodyHasIsForgotten(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	oneTopic(t, s, []int32{1, 2, 3}, nil)
	a, p := s.put(t, 1, "before", true)
	require.Nil(t, a.err)
	require.Nil(t, p.commit(t.Context(), a, true))
	s.cutOff(1)
	a, p = s.put(t, 1, "alone", true)
	require.Nil(t, a.err, "it does not know yet")
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Equal(t, kerr.RequestTimedOut, p.commit(short, a, true), "nobody else has it")
	require.EqualValues(t, 1, p.state().high, "and consumers do not see it")
	next := int32(0)
	s.await(t, "another leads", func() bool {
		next = s.anyImage().Topics["t"].Partitions[0].Leader
		return next > 1 && s.stateOf(next).leading
	})
	a, p = s.put(t, next, "after", true)
	require.Nil(t, a.err)
	require.Nil(t, p.commit(t.Context(), a, true), "the others are enough")
	s.fabric.heal()
	s.await(t, "all are in sync again", func() bool { return s.whole("t") })
	s.same(t, "t")
	require.Equal(t, []string{"before", "after"}, valuesOf(t, s.replicaOf(1)))
}

// TestAFollowerThatMissedTooMuchStartsOver: what the leader deletes while a
// follower is away is gone for that, too.
func TestAFollowerThatMissedTooMuchStartsOver(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	oneTopic(t, s, []int32{1, 2, 3}, nil)
	write := func(from, to int) {
		for i := from; i < to; i++ {
			a, p := s.put(t, 1, fmt.Sprint(i), true)
			require.Nil(t, a.err)
			require.Nil(t, p.commit(t.Context(), a, true))
		}
	}
	write(0, 10)
	s.bury(t, 3)
	s.await(t, "it is out", func() bool { return !s.whole("t") })
	write(10, 20)
	start, err := s.replicaOf(1).deleteBefore(15)
	require.Nil(t, err)
	require.EqualValues(t, 15, start)
	require.NoError(t, s.restart(t.Context(), 3))
	s.await(t, "it is in sync again", func() bool { return s.whole("t") })
	require.Equal(t, []string{"15", "16", "17", "18", "19"}, valuesOf(t, s.replicaOf(3)))
	s.await(t, "all have deleted it", func() bool { return s.stateOf(2).start == 15 })
}

// small has segments with one record of large, of which retention keeps a few.
func small(more map[string]string) map[string]string {
	config := map[string]string{"segment.bytes": "16384", "retention.ms": "-1"}
	maps.Copy(config, more)
	return config
}

// TestRetentionWaitsForTheHighWatermark: records that a follower may not have
// are not deleted for their age or for their size, nor because somebody asks for
// it.
func TestRetentionWaitsForTheHighWatermark(t *testing.T) {
	for name, test := range map[string]struct {
		config map[string]string
		left   int64 // records, of 20
	}{
		"bytes": {map[string]string{"retention.bytes": "30000"}, 3},
		"age":   {map[string]string{"retention.ms": "60000"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var disks sync.Map
			b := startBroker(t, onMem(&disks))
			id := newTopic(t, b, "t", small(test.config))
			p := b.partition(partitionKey{id, 0})
			p.adopt(assignment{Leader: 1, Epoch: 5, Version: 7, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}, p.settings)
			at := func(end int64) state {
				p.mu.Lock()
				p.followers[2].end = end // as its next fetch says
				p.advance()
				p.mu.Unlock()
				require.NoError(t, p.retain(t.Context()))
				st := p.state()
				require.Equal(t, end, st.high)
				require.LessOrEqual(t, st.start, st.high)
				return st
			}
			for i := range int64(20) {
				a := p.append(t.Context(), large(t, i), false)
				require.Nil(t, a.err)
				require.Nil(t, p.commit(t.Context(), a, false))
			}
			require.Zero(t, at(0).start, "nobody else has anything")
			require.EqualValues(t, 10, at(10).start, "it has these")
			_, err := p.deleteBefore(11)
			require.Equal(t, kerr.OffsetOutOfRange, err)
			require.EqualValues(t, 10, p.state().start)
			start, err := p.deleteBefore(-1)
			require.Nil(t, err)
			require.EqualValues(t, 10, start)
			require.EqualValues(t, 12, at(12).start)
			require.EqualValues(t, 20-test.left, at(20).start)
		})
	}
}

// TestRetentionOfALeaderThatIsCutOff: a leader whose followers are away keeps
// what it has from where they left; when they are back, all have the same.
func TestRetentionOfALeaderThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	oneTopic(t, s, []int32{1, 2, 3}, small(map[string]string{"retention.bytes": "30000"}))
	p := s.replicaOf(1)
	write := func(all bool) {
		for range 10 {
			a := p.append(t.Context(), large(t, 1000), all)
			require.Nil(t, a.err)
			require.Nil(t, p.commit(t.Context(), a, all))
		}
	}
	write(true)
	s.cutOff(1)
	write(false)
	require.NoError(t, p.retain(t.Context()))
	st := p.state()
	require.EqualValues(t, 10, st.high)
	require.EqualValues(t, 20, st.end)
	require.LessOrEqual(t, st.start, int64(10))
	require.Greater(t, st.start, int64(0), "it goes as far as it may")
	s.fabric.heal()
	s.await(t, "all are in sync again", func() bool { return s.whole("t") })
	s.await(t, "all have the same", func() bool {
		end := s.stateOf(1).end
		return end >= 10 && s.stateOf(2).end == end && s.stateOf(3).end == end
	})
}

// TestTooFewInSync: acks=all needs min.insync.replicas; others do not.
func TestTooFewInSync(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	oneTopic(t, s, []int32{1, 2, 3}, map[string]string{"min.insync.replicas": "3"})
	s.bury(t, 3)
	s.await(t, "it is out", func() bool { return len(s.stateOf(1).assigned.ISR) == 2 })
	a, _ := s.put(t, 1, "x", true)
	require.Equal(t, kerr.NotEnoughReplicas, a.err)
	a, p := s.put(t, 1, "y", false)
	require.Nil(t, a.err)
	require.Nil(t, p.commit(t.Context(), a, false))
}

// TestWhoIsNotInSyncNeverLeads: with the only in-sync replica away there is no
// leader; when it is back, everything is there.
func TestWhoIsNotInSyncNeverLeads(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	oneTopic(t, s, []int32{1, 2}, nil)
	s.bury(t, 2)
	s.await(t, "it is out", func() bool { return slices.Equal(s.anyImage().Topics["t"].Partitions[0].ISR, []int32{1}) })
	s.await(t, "the leader knows", func() bool { return len(s.stateOf(1).assigned.ISR) == 1 })
	a, p := s.put(t, 1, "only there", true)
	require.Nil(t, a.err)
	require.Nil(t, p.commit(t.Context(), a, true))
	require.NoError(t, s.kill(1))
	require.NoError(t, s.restart(t.Context(), 2)) // now there is a majority to say so
	_, err := s.brokers()[0].control.Propose(t.Context(), command{Fence: &fence{1}})
	require.NoError(t, err)
	s.await(t, "nobody leads", func() bool {
		m := s.anyImage()
		return m.isAlive(2) && !m.isAlive(1) && m.Topics["t"].Partitions[0].Leader == -1
	})
	require.NoError(t, s.restart(t.Context(), 1))
	s.await(t, "all are in sync", func() bool { return s.whole("t") })
	require.Equal(t, []string{"only there"}, valuesOf(t, s.replicaOf(2)))
}

// TestCommandsFromEverywhere: each broker can propose, all get the same image,
// and one that starts again has it.
func TestCommandsFromEverywhere(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	for i, b := range s.brokers() {
		r, err := b.create(t.Context(), createTopic{Name: fmt.Sprint("t", i), Partitions: 2, Replicas: 3})
		require.NoError(t, err)
		require.Zero(t, r.Code, r.Message)
		require.NotNil(t, b.control.Image().Topics[fmt.Sprint("t", i)], "applied here when it returns")
		r, err = b.create(t.Context(), createTopic{Name: "t0", Partitions: 2, Replicas: 3})
		require.NoError(t, err)
		require.Equal(t, kerr.TopicAlreadyExists.Code, r.Code)
	}
	require.NoError(t, s.stop(t.Context(), 2))
	require.NoError(t, s.restart(t.Context(), 2))
	ids := map[string]bool{}
	s.await(t, "all have the same", func() bool {
		versions := map[uint64]bool{}
		for _, b := range s.brokers() {
			m := b.control.Image()
			versions[m.Version], ids[m.ClusterID] = true, true
			if len(m.Topics) != 3 || len(m.alive()) != 3 {
				return false
			}
		}
		return len(versions) == 1
	})
	require.Len(t, ids, 1)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(s.Addrs()...)))
	m, err := admin.BrokerMetadata(t.Context())
	require.NoError(t, err)
	require.Len(t, m.Brokers, 3)
	require.Positive(t, m.Controller)
}

// TestForeignData: a broker does not join a cluster with the data of another,
// of which it would remove what the cluster does not know.
func TestForeignData(t *testing.T) {
	t.Parallel()
	s := startCluster(t, calm)
	require.NoError(t, s.stop(t.Context(), 1))
	require.NoError(t, replaceFile(s.node(1).data+"/cluster.id", []byte("other")))
	err := s.restart(t.Context(), 1)
	require.ErrorContains(t, err, `has the data of cluster "other"`)
	require.NoError(t, replaceFile(s.node(1).data+"/cluster.id", []byte(s.anyImage().ClusterID)))
	require.NoError(t, s.restart(t.Context(), 1))

	c := s.config
	c.Brokers = 1
	_, err = New(t.Context(), c)
	require.ErrorContains(t, err, "of a broker among several")
}

// TestWhoMayBeInSyncCounts: from the moment a replica is proposed, until the
// cluster has said no, the high watermark waits for it.
func TestWhoMayBeInSyncCounts(t *testing.T) {
	b := startBroker(t)
	_, err := b.create(t.Context(), createTopic{Name: "t", Partitions: 1, Replicas: 1})
	require.NoError(t, err)
	m := b.control.Image()
	p := b.partition(partitionKey{m.Topics["t"].ID, 0})
	at := assignment{Leader: 1, Epoch: 5, Version: 7, Replicas: []int32{1, 2}, ISR: []int32{1}}
	p.adopt(at, p.settings)
	alive := &image{Brokers: map[int32]*member{1: {ID: 1, Alive: true}, 2: {ID: 2, Alive: true}}}
	now := time.Now()
	_, ok := p.changeISR(alive, now)
	require.False(t, ok, "broker 2 has not asked for anything")
	p.mu.Lock()
	p.followers[2].asked, p.followers[2].caughtUp, p.followers[2].end = now, now, p.log.End()
	p.mu.Unlock()
	change, ok := p.changeISR(alive, now)
	require.True(t, ok)
	require.Equal(t, alterISR{Topic: p.id, Leader: 1, Epoch: 5, Version: 7, ISR: []int32{1, 2}}, change)

	a := p.append(t.Context(), batchOf(t, "x"), true)
	require.Nil(t, a.err)
	require.Nil(t, p.flush(t.Context(), a.next))
	require.Zero(t, p.state().high, "broker 2 may be a leader already, for all we know")
	p.adopt(at, p.settings) // another image with the same assignment tells nothing
	require.Zero(t, p.state().high)
	at.Version++ // an image in which it is not
	p.adopt(at, p.settings)
	require.EqualValues(t, 1, p.state().high)

	at.Version, at.ISR = at.Version+1, []int32{1, 2}
	p.adopt(at, p.settings)
	change, ok = p.changeISR(alive, now.Add(2*replicaLag))
	require.True(t, ok, "it is silent")
	require.Equal(t, []int32{1}, change.ISR)
	require.Equal(t, []int32{1, 2}, p.counted, "it counts until the cluster has agreed")
}

// Who was taken out of the in-sync replicas comes in again for what it asks
// for afterwards, not for what it had before: it may have lost that.
func TestWhoHasRestartedAsksAgain(t *testing.T) {
	_, p := aReplica(t)
	at := assignment{Leader: 1, Epoch: 5, Version: 7, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	p.adopt(at, p.settings)
	alive := &image{Brokers: map[int32]*member{1: {ID: 1, Alive: true}, 2: {ID: 2, Alive: true}}}
	now := time.Now()
	p.mu.Lock()
	p.followers[2].asked, p.followers[2].caughtUp = now, now
	p.mu.Unlock()
	at.Version, at.ISR = 8, []int32{1}
	p.adopt(at, p.settings)
	_, ok := p.changeISR(alive, now)
	require.False(t, ok)
	p.mu.Lock()
	p.followers[2].asked, p.followers[2].caughtUp = now, now // as its next fetch says
	p.mu.Unlock()
	change, ok := p.changeISR(alive, now)
	require.True(t, ok)
	require.Equal(t, []int32{1, 2}, change.ISR)
}

// A follower that starts over is where the leader begins, also after a crash,
// so that it never gives an offset a second time if it comes to lead.
func TestWhoStartsOverIsWhereTheLeaderBegins(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, inDir(dir))
	id := newTopic(t, b, "t", nil)
	p := b.partition(partitionKey{id, 0})
	for range 3 {
		require.Nil(t, p.append(t.Context(), newBatch(t, 7, 0, 0, values("a")...), false).err)
	}
	require.Nil(t, p.syncLog(t.Context()))
	require.NoError(t, p.checkpoint(t.Context()))
	assign(p, 2, 5)
	one, ok := p.following(2)
	require.True(t, ok)
	answer := kmsg.NewFetchResponseTopicPartition()
	answer.ErrorCode, answer.LogStartOffset, answer.HighWatermark = kerr.OffsetOutOfRange.Code, 10, 10
	_, err := p.take(t.Context(), one, &answer)
	require.NoError(t, err)
	is := func(p *partition) {
		t.Helper()
		st := p.state()
		require.Equal(t, []int64{10, 10, 10}, []int64{st.start, st.high, st.end})
		require.Empty(t, p.tracker.Producers)
	}
	is(p)
	one, ok = p.following(2)
	require.True(t, ok)
	require.EqualValues(t, 10, one.from)
	require.NoError(t, b.close())
	is(startBroker(t, inDir(dir)).partition(partitionKey{id, 0}))
}

// A follower that has all is not told to start over because what it has last
// is deleted at the leader, which has another epoch by now.
func TestAFollowerOfWhatIsDeleted(t *testing.T) {
	b, p := aReplica(t)
	assign(p, 1, 5)
	for range 3 {
		require.Nil(t, p.append(t.Context(), batchOf(t, "a"), false).err)
	}
	require.Nil(t, p.syncLog(t.Context()))
	_, failure := p.deleteBefore(-1)
	require.Nil(t, failure)
	assign(p, 1, 6)
	at := func(offset int64) kmsg.FetchResponseTopicPartition {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.ReplicaID, req.SessionEpoch, req.MaxBytes = 12, 2, -1, 1<<20
		rt, want := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		rt.Topic, want.FetchOffset, want.LastFetchedEpoch, want.CurrentLeaderEpoch, want.PartitionMaxBytes = "t", offset, 5, 6, 1<<20
		rt.Partitions = append(rt.Partitions, want)
		req.Topics = append(req.Topics, rt)
		resp := ask[*kmsg.FetchResponse](dial(t, b), req, 12)
		return resp.Topics[0].Partitions[0]
	}
	got := at(3)
	require.NoError(t, kerr.ErrorForCode(got.ErrorCode))
	require.EqualValues(t, -1, got.DivergingEpoch.Epoch)
	got = at(4) // which nobody has
	require.NoError(t, kerr.ErrorForCode(got.ErrorCode))
	require.EqualValues(t, 3, got.DivergingEpoch.EndOffset)
	got = at(2)
	require.Equal(t, kerr.OffsetOutOfRange.Code, got.ErrorCode)
}
