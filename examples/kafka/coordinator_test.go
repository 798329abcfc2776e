package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newClient(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// fill creates a topic and writes n records, "0" and so on, over its partitions.
func fill(t *testing.T, c *kgo.Client, topic string, partitions int32, n int) {
	t.Helper()
	_, err := kadm.NewClient(c).CreateTopic(t.Context(), partitions, -1, nil, topic)
	require.NoError(t, err)
	for i := range n {
		c.Produce(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, i), Partition: int32(i) % partitions}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, c.Flush(t.Context()))
}

// poll reads until done says so, and fails after a minute.
func poll(t *testing.T, c *kgo.Client, done func(*kgo.Record) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		fs := c.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "records are missing")
		for r := range fs.RecordsAll() {
			if done(r) {
				return
			}
		}
	}
}

// TestGroupRebalances has consumers of each assignor come, share, commit and
// leave; what the others read goes on where they stopped.
func TestGroupRebalances(t *testing.T) {
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) {
			t.Parallel()
			b := startBroker(t)
			seed := kgo.SeedBrokers(addrOf(b))
			producer := newClient(t, seed, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			fill(t, producer, "t", 4, 100)
			member := func(id string) *kgo.Client {
				return newClient(t, seed, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ClientID(id), kgo.Balancers(balancer),
					kgo.DisableAutoCommit(), kgo.HeartbeatInterval(100*time.Millisecond))
			}
			first := member("first")
			n := 0
			poll(t, first, func(*kgo.Record) bool { n++; return n == 100 })
			require.NoError(t, first.CommitUncommittedOffsets(t.Context()))

			second := member("second")
			admin := kadm.NewClient(producer)
			both := func() bool {
				second.PollFetches(expired()) // takes part in rebalances
				first.PollFetches(expired())
				d, err := admin.DescribeGroups(t.Context(), "g")
				require.NoError(t, err)
				return len(d["g"].Members) == 2 && d["g"].State == "Stable" && len(d.AssignedPartitions()["t"]) == 4 &&
					!slices.ContainsFunc(d["g"].Members, func(m kadm.DescribedGroupMember) bool {
						a, ok := m.Assigned.AsConsumer()
						return !ok || len(a.Topics) != 1 || len(a.Topics[0].Partitions) != 2
					})
			}
			require.Eventually(t, both, time.Minute, 50*time.Millisecond)
			first.Close() // leaves
			for i := range 8 {
				producer.Produce(t.Context(), &kgo.Record{Topic: "t", Value: fmt.Append(nil, 100+i), Partition: int32(i) % 4}, nil)
			}
			require.NoError(t, producer.Flush(t.Context()))
			seen := map[string]bool{}
			poll(t, second, func(r *kgo.Record) bool {
				require.Len(t, r.Value, 3, "what the first has committed is not read again: %s", r.Value)
				seen[string(r.Value)] = true
				return len(seen) == 8
			})
			require.NoError(t, second.CommitUncommittedOffsets(t.Context()))
			lag, err := admin.Lag(t.Context(), "g")
			require.NoError(t, err)
			require.NoError(t, lag.Error())
			require.Zero(t, lag["g"].Lag.Total())
		})
	}
}

// expired is a context for a poll that does not wait.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestGroupsSurviveARestart: offsets, generation and members are read again.
func TestGroupsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	start := func(t *testing.T) *broker {
		return startBroker(t, func(c *brokerConfig) {
			control, err := openAlone(dir, 1)
			require.NoError(t, err)
			c.Data, c.Control = dir, control
		})
	}
	var generation int32
	t.Run("before", func(t *testing.T) {
		b := start(t)
		c := newClient(t, kgo.SeedBrokers(addrOf(b)), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(), kgo.InstanceID("i"))
		fill(t, c, "t", 1, 10)
		n := 0
		poll(t, c, func(*kgo.Record) bool { n++; return n == 10 })
		require.NoError(t, c.CommitUncommittedOffsets(t.Context()))
		_, generation = c.GroupMetadata()
		require.Positive(t, generation)
	})
	t.Run("after", func(t *testing.T) {
		b := start(t)
		c := newClient(t, kgo.SeedBrokers(addrOf(b)))
		admin := kadm.NewClient(c)
		d, err := admin.DescribeGroups(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, "Stable", d["g"].State, "a static member keeps its place until its session ends")
		offsets, err := admin.FetchOffsets(t.Context(), "g")
		require.NoError(t, err)
		o, ok := offsets.Lookup("t", 0)
		require.True(t, ok)
		require.EqualValues(t, 10, o.At)
		g, _ := b.groups.find("g", false)
		require.Equal(t, generation, g.group.Generation())
	})
}

func TestGroupAdministration(t *testing.T) {
	b := startBroker(t)
	c := newClient(t, kgo.SeedBrokers(addrOf(b)))
	fill(t, c, "t", 2, 10)
	fill(t, c, "u", 1, 1)
	admin := kadm.NewClient(c)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "t", Partition: 1, At: 3, LeaderEpoch: -1, Metadata: "m"})
	offsets.Add(kadm.Offset{Topic: "u", Partition: 0, At: 1, LeaderEpoch: -1})
	_, err := admin.CommitOffsets(t.Context(), "g", offsets)
	require.NoError(t, err)
	listed, err := admin.ListGroups(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"g"}, listed.Groups())
	require.Equal(t, "Empty", listed["g"].State)
	missing := kadm.Offsets{}
	missing.Add(kadm.Offset{Topic: "nowhere", Partition: 0, At: 1})
	responses, err := admin.CommitOffsets(t.Context(), "g", missing)
	require.NoError(t, err)
	require.ErrorIs(t, responses.Error(), kerr.UnknownTopicOrPartition)

	_, err = admin.DeleteOffsets(t.Context(), "g", kadm.TopicsSet{"t": {1: {}}})
	require.NoError(t, err)
	_, err = admin.DeleteTopics(t.Context(), "u")
	require.NoError(t, err)
	b.groups.sweep(time.Now())
	left, err := admin.FetchOffsets(t.Context(), "g")
	require.NoError(t, err)
	require.Empty(t, left, "one was deleted, the other's topic is gone")

	reader := newClient(t, kgo.SeedBrokers(addrOf(b)), kgo.ConsumerGroup("h"), kgo.ConsumeTopics("t"))
	poll(t, reader, func(*kgo.Record) bool { return true })
	deleted, err := admin.DeleteGroups(t.Context(), "g", "h", "nobody")
	require.NoError(t, err)
	require.NoError(t, deleted["g"].Err)
	require.ErrorIs(t, deleted["h"].Err, kerr.NonEmptyGroup)
	require.ErrorIs(t, deleted["nobody"].Err, kerr.GroupIDNotFound)
	kept, err := admin.DeleteOffsets(t.Context(), "h", kadm.TopicsSet{"t": {1: {}}})
	require.NoError(t, err)
	require.ErrorIs(t, kept["t"][1], kerr.GroupSubscribedToTopic)
}

// TestFencedCommit: who is of an earlier generation commits nothing.
func TestFencedCommit(t *testing.T) {
	b := startBroker(t)
	c := newClient(t, kgo.SeedBrokers(addrOf(b)), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	fill(t, c, "t", 1, 1)
	poll(t, c, func(*kgo.Record) bool { return true })
	id, generation := c.GroupMetadata()
	for _, try := range []struct {
		id         string
		generation int32
		want       *kerr.Error
	}{
		{id, generation, nil}, {id, generation - 1, kerr.IllegalGeneration}, {"other", generation, kerr.UnknownMemberID}, {"", -1, kerr.UnknownMemberID},
	} {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.MemberID, req.Generation = "g", try.id, try.generation
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
		req.Topics[0].TopicID = b.control.Image().Topics["t"].ID
		resp, err := req.RequestWith(t.Context(), c)
		require.NoError(t, err)
		if try.want == nil {
			require.NoError(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
			continue
		}
		require.ErrorIs(t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode), try.want)
	}
}

func TestKcatGroup(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	fill(t, newClient(t, kgo.SeedBrokers(addrOf(b)), kgo.RecordPartitioner(kgo.ManualPartitioner())), "t", 3, 30)
	args := []string{"-G", "g", "-X", "auto.offset.reset=earliest", "-e", "-q", "t"}
	require.Len(t, strings.Fields(kcat(t, addrOf(b), "", args...)), 30)
	require.Empty(t, kcat(t, addrOf(b), "", args...), "committed when it left")
}

func TestSaramaGroup(t *testing.T) {
	b := startBroker(t)
	fill(t, newClient(t, kgo.SeedBrokers(addrOf(b)), kgo.RecordPartitioner(kgo.ManualPartitioner())), "t", 3, 30)
	h := &saramaHandler{seen: map[string]int{}, all: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var members sync.WaitGroup
	for range 2 {
		config := saramaConfig(sarama.DefaultVersion)
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
		g, err := sarama.NewConsumerGroup([]string{addrOf(b)}, "g", config)
		require.NoError(t, err)
		members.Go(func() {
			for ctx.Err() == nil {
				if err := g.Consume(ctx, []string{"t"}, h); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case <-h.all:
	case <-ctx.Done():
		t.Error("records are missing")
	}
	cancel()
	members.Wait()
}

// saramaHandler counts until it has seen 30 records.
type saramaHandler struct {
	mu   sync.Mutex
	seen map[string]int
	all  chan struct{}
}

func (*saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			h.mu.Lock()
			if h.seen[string(m.Value)]++; len(h.seen) == 30 && h.seen[string(m.Value)] == 1 {
				close(h.all)
			}
			h.mu.Unlock()
			s.MarkMessage(m, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func TestShardsAreKafkas(t *testing.T) {
	// Java: Utils.abs("my-group".hashCode()) % 50
	require.EqualValues(t, 12, shardOf("my-group", 50))
	require.EqualValues(t, 0, shardOf("", 50))
}
