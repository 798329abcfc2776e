package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
)

// aReplica makes a topic on one broker and returns its only partition.
func aReplica(t *testing.T) (*broker, *partition) {
	b := startBroker(t)
	return b, b.partition(partitionKey{newTopic(t, b, "t", nil), 0})
}

// assign has a partition led by a broker in an epoch, 1 being the one it is on.
func assign(p *partition, leader, epoch int32) {
	p.adopt(assignment{Leader: leader, Epoch: epoch, Version: epoch, Replicas: []int32{1, 2}, ISR: []int32{leader}}, p.settings)
}

// A leader that was none for a while says nothing about what it took before,
// although it has others at those offsets, in sync and in its own epoch.
func TestALaterLeaderDoesNotAnswerForAnEarlier(t *testing.T) {
	_, p := aReplica(t)
	assign(p, 1, 5)
	lost := p.append(t.Context(), batchOf(t, "lost"), true)
	require.Nil(t, lost.err)
	assign(p, 2, 6) // which has not got it
	p.mu.Lock()
	require.NoError(t, p.truncate(lost.first))
	p.mu.Unlock()
	assign(p, 1, 7)
	kept := p.append(t.Context(), batchOf(t, "kept"), true)
	require.Nil(t, kept.err)
	require.Equal(t, lost.next, kept.next)
	require.Nil(t, p.commit(t.Context(), kept, true))
	require.Equal(t, kerr.NotLeaderForPartition, p.commit(t.Context(), lost, true))
	require.Equal(t, kerr.NotLeaderForPartition, p.commit(t.Context(), lost, false))
}

// A producer does not wait for a sync that has been: the log syncs the end of a
// segment by itself.
func TestWhatTheLogHasSyncedIsAcknowledged(t *testing.T) {
	_, p := aReplica(t)
	a := p.append(t.Context(), batchOf(t, "a"), true)
	require.Nil(t, a.err)
	require.NoError(t, p.log.Sync(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.Nil(t, p.commit(ctx, a, true))
}

// A snapshot does not outlive what it tells of: a log that was cut and has
// grown to its old length again has the producers and leaders of its batches.
func TestASnapshotEndsWithItsRecords(t *testing.T) {
	_, p := aReplica(t)
	assign(p, 1, 5)
	for i := range int32(3) {
		require.Nil(t, p.append(t.Context(), newBatch(t, 7, 0, i, values("a")...), false).err)
	}
	require.Nil(t, p.syncLog(t.Context()))
	require.NoError(t, p.checkpoint(t.Context()))
	assign(p, 2, 6)
	p.mu.Lock()
	require.NoError(t, p.truncate(1))
	p.mu.Unlock()
	assign(p, 1, 7)
	for range 4 {
		require.Nil(t, p.append(t.Context(), batchOf(t, "b"), false).err)
	}
	require.Nil(t, p.syncLog(t.Context()))
	after := &partition{log: p.log, file: p.file} // as after a crash
	require.NoError(t, after.recall(p.log.End()))
	require.NoError(t, after.catchUp())
	require.Equal(t, p.tracker.Producers, after.tracker.Producers)
	require.Equal(t, p.tracker.Epochs, after.tracker.Epochs)
	require.Len(t, after.tracker.Producers[7].Recent, 1)
}

// A follower asks its next leader only for what lies behind records that it
// has on its disk, also if it was interrupted before it had synced them.
func TestAFollowerAsksBehindWhatIsDurable(t *testing.T) {
	b, p := aReplica(t)
	assign(p, 2, 5)
	batch := commitlog.Batch(batchOf(t, "a"))
	batch.SetLeaderEpoch(5)
	_, err := p.log.AppendReplica(t.Context(), batch)
	require.NoError(t, err)
	require.Zero(t, p.log.Durable())
	assign(p, 3, 6)
	f := &fetcher{b: b, ctx: t.Context(), leader: 3}
	asked := f.followed()
	require.Len(t, asked, 1)
	require.EqualValues(t, 1, asked[0].from)
	require.EqualValues(t, 1, p.log.Durable())
	// One that comes to lead makes it durable without a producer.
	_, err = p.log.AppendReplica(t.Context(), func() commitlog.Batch { batch.SetBaseOffset(1); return batch }())
	require.NoError(t, err)
	assign(p, 1, 7)
	p.flushLater()
	require.Eventually(t, func() bool { return p.state().high == 2 }, 20*time.Second, time.Millisecond)
}

// Who is forgotten among too many producers is not for timestamps to say.
func TestAProducerOfOldRecordsIsNotForgotten(t *testing.T) {
	tracker := newTracker(0)
	write := func(id int64, sequence int32, at time.Time) {
		b := commitlog.Batch(newBatch(t, id, 0, sequence, commitlog.Record{Value: []byte("v"), Timestamp: at}))
		b.SetBaseOffset(tracker.End)
		tracker.see(b)
	}
	now := time.UnixMilli(1_700_000_000_000)
	for i := range int64(mostProducers + 2) {
		if i%100 == 0 {
			write(0, int32(i/100), time.UnixMilli(1)) // it copies what is old
		}
		write(i+1, 0, now)
	}
	require.LessOrEqual(t, len(tracker.Producers), mostProducers)
	require.Len(t, tracker.Producers[0].Recent, recentBatches)
	require.Nil(t, tracker.Producers[1])
}

// All replicas are killed under one another and one starts before the others:
// what all three had is there.
func TestAllBrokersStartAgain(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	oneTopic(t, s, []int32{1, 2, 3}, map[string]string{"min.insync.replicas": "2"})
	var want []string
	for i := range 50 {
		a, p := s.put(t, 1, fmt.Sprint(i), true)
		require.Nil(t, a.err)
		require.Nil(t, p.commit(t.Context(), a, true))
		want = append(want, fmt.Sprint(i))
	}
	for _, id := range []int32{2, 1, 3} {
		require.NoError(t, s.kill(id))
	}
	errs := make(chan error, 3) // one alone is no majority, and waits for another
	for _, id := range []int32{3, 2, 1} {
		go func() { errs <- s.restart(context.WithoutCancel(t.Context()), id) }()
	}
	for range 3 {
		require.NoError(t, <-errs)
	}
	s.await(t, "all are in sync again", func() bool { return s.whole("t") })
	s.same(t, "t")
	require.Equal(t, want, valuesOf(t, s.replicaOf(2)))
}

// An unsureControl does not say whether the first commands were applied, which
// they are, or not.
type unsureControl struct {
	controller
	left    int
	applies bool
}

func (c *unsureControl) Propose(ctx context.Context, cmd command) (result, error) {
	if c.left--; c.left < 0 {
		return c.controller.Propose(ctx, cmd)
	}
	if c.applies {
		_, _ = c.controller.Propose(ctx, cmd)
	}
	return result{}, errors.New("leadership lost")
}

// So does one that creates a topic, which may be there already.
func TestCreateAgain(t *testing.T) {
	t.Parallel()
	b, _ := aReplica(t)
	for _, applies := range []bool{true, false} {
		again := &broker{brokerConfig: b.brokerConfig, control: &unsureControl{b.control, 2, applies}, closing: make(chan struct{})}
		name := fmt.Sprint("u", applies)
		r, err := again.create(t.Context(), createTopic{Name: name, Partitions: 1, Replicas: 1})
		require.NoError(t, err)
		require.Zero(t, r.Code, r.Message)
		r, err = again.create(t.Context(), createTopic{Name: name, Partitions: 1, Replicas: 1})
		require.NoError(t, err)
		require.Equal(t, kerr.TopicAlreadyExists.Code, r.Code)
	}
}

// A broker that starts while the cluster changes its leader tries again.
func TestRegisterAgain(t *testing.T) {
	b, _ := aReplica(t)
	again := &broker{brokerConfig: b.brokerConfig, control: &unsureControl{controller: b.control, left: 3}}
	require.NoError(t, again.register(t.Context()))
}
