package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestABrokerDiesWhileAnotherIsCutOff: of three replicas one is out of sync,
// since it cannot reach the leader, when the leader dies; who is left has all
// that was acknowledged, and two of them are enough to go on.
func TestABrokerDiesWhileAnotherIsCutOff(t *testing.T) {
	disturb(t, func(t *testing.T, s *System, progress func()) {
		s.fabric.cut(1, 3)
		s.await(t, "neither follows the other", func() bool {
			for _, a := range s.anyImage().Topics["t"].Partitions {
				if a.Leader != 2 && len(a.ISR) > 2 {
					return false
				}
			}
			return true
		})
		progress()
		require.NoError(t, s.kill(1))
		progress()
		s.fabric.heal()
		require.NoError(t, s.restart(t.Context(), 1))
		s.await(t, "the broker is back", func() bool { return s.whole("t") })
	})
}

// TestACoordinatorDiesInARebalance: members come while who coordinates them
// goes. In the end they share the partitions, and have read everything.
func TestACoordinatorDiesInARebalance(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	producer := newClient(t, kgo.SeedBrokers(s.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	fill(t, producer, "t", 4, 40)
	var mu sync.Mutex
	seen := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	var members sync.WaitGroup
	defer members.Wait()
	defer cancel()
	join := func() {
		c := newClient(t, kgo.SeedBrokers(s.Addrs()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.AutoCommitInterval(100*time.Millisecond),
			kgo.HeartbeatInterval(100*time.Millisecond), kgo.SessionTimeout(10*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
		members.Go(func() {
			for {
				fetches := c.PollFetches(ctx)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				for r := range fetches.RecordsAll() {
					seen[string(r.Value)] = true
				}
				mu.Unlock()
			}
		})
	}
	read := func(n int) {
		t.Helper()
		s.await(t, "all is read", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == n })
	}
	join()
	read(40)
	s.await(t, "all replicas are in sync", func() bool { return s.whole("t") && s.whole(offsetsTopic) })
	coordinator := s.anyImage().Topics[offsetsTopic].Partitions[shardOf("g", offsetsPartitions)].Leader
	join()
	admin := kadm.NewClient(producer)
	s.await(t, "the group makes room", func() bool {
		d, err := admin.DescribeGroups(t.Context(), "g")
		return err == nil && (d["g"].State != "Stable" || len(d["g"].Members) == 2)
	})
	require.NoError(t, s.kill(coordinator))
	for i := range 8 {
		producer.Produce(t.Context(), &kgo.Record{Topic: "t", Value: fmt.Append(nil, "later ", i), Partition: int32(i) % 4}, nil)
	}
	require.NoError(t, producer.Flush(t.Context()))
	read(48)
	s.await(t, "both have their share", func() bool {
		d, err := admin.DescribeGroups(t.Context(), "g")
		return err == nil && d["g"].State == "Stable" && len(d["g"].Members) == 2 && len(d.AssignedPartitions()["t"]) == 4
	})
	require.NoError(t, s.restart(t.Context(), coordinator))
}
