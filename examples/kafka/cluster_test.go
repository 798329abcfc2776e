package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// startCluster starts three brokers in one process.
func startCluster(t *testing.T, change ...func(*Config)) *System {
	t.Helper()
	c := Config{
		Env:  system.Env{Data: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: metrics.New()},
		Addr: "127.0.0.1:0", Brokers: 3, Sync: string(syncEach), Partitions: 3, Replicas: 3, Create: true,
		MaxConns: 500, MaxRequest: 16 << 20, MaxMemory: 128 << 20, Idle: 10 * time.Minute, Retain: time.Minute, Session: time.Second,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// image returns what one of the brokers knows.
func (s *System) anyImage() *image {
	best := newImage("")
	for _, b := range s.brokers() {
		if m := b.control.Image(); m.Version > best.Version {
			best = m
		}
	}
	return best
}

// whole says whether all brokers live and all replicas of a topic are in sync.
func (s *System) whole(topic string) bool {
	m := s.anyImage()
	t := m.Topics[topic]
	return t != nil && len(m.alive()) == len(s.nodes) &&
		!slices.ContainsFunc(t.Partitions, func(a assignment) bool { return len(a.ISR) < len(a.Replicas) || a.Leader < 0 })
}

func (s *System) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 90*time.Second, 20*time.Millisecond, what)
}

// A ledger knows what producers sent and what was acknowledged.
type ledger struct {
	t        *testing.T
	mu       sync.Mutex
	sent     map[string]bool
	acked    map[string]place
	failures int
}

// produce writes as several producers until ctx ends. Each record is written
// once: a producer that gets no acknowledgement does not know.
func (l *ledger) produce(ctx context.Context, addrs []string, topic string, producers *sync.WaitGroup) {
	for id := range 3 {
		opts := []kgo.Opt{
			kgo.SeedBrokers(addrs...), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(200), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
			kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
			kgo.RecordDeliveryTimeout(time.Minute), kgo.ProduceRequestTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(2 * time.Second),
		}
		client, err := kgo.NewClient(opts...)
		require.NoError(l.t, err)
		producers.Go(func() {
			defer client.Close()
			for i := 0; ctx.Err() == nil; i++ {
				value := fmt.Sprintf("%d:%d", id, i)
				l.mu.Lock()
				l.sent[value] = true
				l.mu.Unlock()
				client.Produce(context.Background(), kgo.StringRecord(value), func(r *kgo.Record, err error) {
					l.mu.Lock()
					defer l.mu.Unlock()
					if err != nil {
						l.failures++
						return
					}
					l.acked[value] = place{r.Partition, r.Offset}
				})
				time.Sleep(time.Millisecond)
			}
			if err := client.Flush(context.Background()); err != nil {
				l.t.Error(err)
			}
		})
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// judge reads the topic from its beginning and compares: nothing acknowledged is
// missing or at another place, nothing is there that nobody sent, or twice, and
// what one producer wrote to a partition is in its order.
func (l *ledger) judge(addrs []string, topic string) {
	t := l.t
	t.Helper()
	c := newClient(t, kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topic))
	ends, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	got := map[string]place{}
	last := map[string]int{}
	if left > 0 {
		poll(t, c, func(r *kgo.Record) bool {
			value := string(r.Value)
			if was, twice := got[value]; twice {
				t.Errorf("%s is there twice, at %v and %v", value, was, place{r.Partition, r.Offset})
			}
			got[value] = place{r.Partition, r.Offset}
			if !l.sent[value] {
				t.Errorf("%s was never sent", value)
			}
			id, text, _ := strings.Cut(value, ":")
			var n int
			fmt.Sscan(text, &n)
			key := fmt.Sprint(id, "/", r.Partition)
			if before, ok := last[key]; ok && n <= before {
				t.Errorf("%s comes after %d in partition %d", value, before, r.Partition)
			}
			last[key] = n
			left--
			return left == 0
		})
	}
	for value, at := range l.acked {
		if got[value] != at {
			t.Errorf("%s was acknowledged at %v; there is %v", value, at, got[value])
		}
	}
	t.Logf("%d sent, %d acknowledged, %d failed, %d there", len(l.sent), len(l.acked), l.failures, len(got))
	require.NotEmpty(t, l.acked)
}

// same compares the logs of all replicas, byte for byte but for what compaction
// and retention change, which this topic has none of.
func (s *System) same(t *testing.T, topic string) {
	t.Helper()
	id := s.anyImage().Topics[topic].ID
	s.await(t, "all replicas have everything", func() bool {
		for i := range s.anyImage().Topics[topic].Partitions {
			ends := map[int64]bool{}
			for _, b := range s.brokers() {
				p := b.partition(partitionKey{id, int32(i)})
				if p == nil {
					return false
				}
				ends[p.state().end] = true
			}
			if len(ends) > 1 {
				return false
			}
		}
		return true
	})
	for i := range s.anyImage().Topics[topic].Partitions {
		var want []byte
		for j, b := range s.brokers() {
			got, err := b.partition(partitionKey{id, int32(i)}).log.ReadBatches(nil, 0, 1<<30, false)
			require.NoError(t, err)
			if j == 0 {
				want = got
			}
			require.Equal(t, want, got, "partition %d, broker %d", i, b.ID)
		}
	}
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, sent: map[string]bool{}, acked: map[string]place{}}
}

// disturb runs a load while disturb breaks and mends brokers, and judges.
func disturb(t *testing.T, breaks func(t *testing.T, s *System, progress func())) {
	t.Parallel()
	s := startCluster(t)
	admin := newClient(t, kgo.SeedBrokers(s.Addrs()...))
	two := "2"
	_, err := kadm.NewClient(admin).CreateTopic(t.Context(), 3, 3, map[string]*string{"min.insync.replicas": &two}, "t")
	require.NoError(t, err)
	s.await(t, "the topic is there", func() bool { return s.whole("t") })
	l := newLedger(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var producers sync.WaitGroup
	l.produce(ctx, s.Addrs(), "t", &producers)
	progress := func() {
		t.Helper()
		from := l.count()
		s.await(t, "acknowledgements go on", func() bool { return l.count() > from+50 })
	}
	progress()
	breaks(t, s, progress)
	cancel()
	producers.Wait()
	s.await(t, "all replicas are in sync again", func() bool { return s.whole("t") })
	l.judge(s.Addrs(), "t")
	s.same(t, "t")
}

func TestABrokerDies(t *testing.T) {
	disturb(t, func(t *testing.T, s *System, progress func()) {
		for _, id := range victims(s) {
			require.NoError(t, s.kill(id))
			progress()
			require.NoError(t, s.restart(t.Context(), id))
			s.await(t, "the broker is back", func() bool { return s.whole("t") })
			progress()
		}
	})
}

// victims are brokers to break one after the other: the controller, or all if
// ASHLAR_LONG is set.
func victims(s *System) []int32 {
	if os.Getenv("ASHLAR_LONG") != "" {
		return []int32{1, 2, 3}
	}
	return []int32{s.brokers()[0].control.Leader()}
}

func TestABrokerIsHeld(t *testing.T) {
	disturb(t, func(t *testing.T, s *System, progress func()) {
		for _, id := range victims(s) {
			s.fabric.pause(id)
			s.await(t, "it is taken for dead", func() bool {
				return slices.ContainsFunc(s.brokers(), func(b *broker) bool { return b.ID != id && !b.control.Image().isAlive(id) })
			})
			progress()
			s.fabric.resume(id)
			s.await(t, "the broker is back", func() bool { return s.whole("t") })
			progress()
		}
	})
}

func TestABrokerIsCutOff(t *testing.T) {
	disturb(t, func(t *testing.T, s *System, progress func()) {
		for _, id := range victims(s) {
			s.cutOff(id)
			s.await(t, "it is taken for dead", func() bool {
				return slices.ContainsFunc(s.brokers(), func(b *broker) bool { return b.ID != id && !b.control.Image().isAlive(id) })
			})
			progress()
			s.fabric.heal()
			s.await(t, "the broker is back", func() bool { return s.whole("t") })
			progress()
		}
	})
}

// TestOneLinkIsCut: two brokers do not see each other, the third sees both, so
// nobody is taken for dead; who cannot follow is not in sync.
func TestOneLinkIsCut(t *testing.T) {
	disturb(t, func(t *testing.T, s *System, progress func()) {
		for _, link := range [][2]int32{{1, 2}, {2, 3}}[:min(2, len(victims(s)))] {
			s.fabric.cut(link[0], link[1])
			s.await(t, "a replica is not in sync", func() bool { return !s.whole("t") })
			progress()
			s.fabric.heal()
			s.await(t, "all replicas are in sync again", func() bool { return s.whole("t") })
			progress()
		}
	})
}

// TestGroupsMove: the coordinator of a group dies; another one goes on with the
// same generation, members and offsets.
func TestGroupsMove(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	producer := newClient(t, kgo.SeedBrokers(s.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	fill(t, producer, "t", 2, 20)
	var mu sync.Mutex
	seen := map[string]int{}
	member := func() *kgo.Client {
		return newClient(t, kgo.SeedBrokers(s.Addrs()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
			kgo.HeartbeatInterval(200*time.Millisecond), kgo.SessionTimeout(10*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	}
	c := member()
	read := func(total int) {
		poll(t, c, func(r *kgo.Record) bool {
			mu.Lock()
			defer mu.Unlock()
			seen[string(r.Value)]++
			return len(seen) == total
		})
		require.NoError(t, c.CommitUncommittedOffsets(t.Context()))
	}
	read(20)
	s.await(t, "all replicas are in sync", func() bool { return s.whole("t") && s.whole(offsetsTopic) })
	id, generation := c.GroupMetadata()
	for round := range len(victims(s)) {
		coordinator := s.anyImage().Topics[offsetsTopic].Partitions[shardOf("g", offsetsPartitions)].Leader
		require.NoError(t, s.kill(coordinator))
		for i := range 10 {
			producer.Produce(t.Context(), &kgo.Record{Topic: "t", Value: fmt.Append(nil, "round ", round, " ", i), Partition: int32(i) % 2}, nil)
		}
		require.NoError(t, producer.Flush(t.Context()))
		read(30 + 10*round)
		require.NoError(t, s.restart(t.Context(), coordinator))
		s.await(t, "all replicas are in sync again", func() bool { return s.whole("t") && s.whole(offsetsTopic) })
	}
	for value, n := range seen {
		require.Equal(t, 1, n, "%s was read again, although committed", value)
	}
	again, later := c.GroupMetadata()
	require.Equal(t, id, again, "the member never had to join as a new one")
	require.GreaterOrEqual(t, later, generation)
}
