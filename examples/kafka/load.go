package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/examples/internal/crowd"
	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// load is a shop in front of the cluster: its web servers produce clicks and
// orders, and three services read them, each a consumer group of its own.
//
//	visitors ──► clicks (6 partitions) ──► analytics, 2 members
//	        └──► orders (3 partitions) ──► billing, 1 member
//	                                  └──► shipping, 1 member
type load struct {
	addrs    []string
	producer *kgo.Client
	latency  *latency
	log      *slog.Logger
	crowd    *crowd.Crowd
	groups   sync.WaitGroup
	cancel   context.CancelFunc
	paused   atomic.Bool // analytics reads nothing
}

const (
	loadRate = 300 // records a second at -load 1
	sluggish = "analytics"
)

// loadMember is a consumer of the load.
type loadMember struct{ group, topic string }

var loadMembers = []loadMember{{sluggish, "clicks"}, {sluggish, "clicks"}, {"billing", "orders"}, {"shipping", "orders"}}

// startLoad starts the shop, rate records a second.
func startLoad(ctx context.Context, addrs []string, rate float64, l *latency, log *slog.Logger) (*load, error) {
	producer, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ClientID("shop"), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	if err != nil {
		return nil, err
	}
	s := &load{addrs: addrs, producer: producer, latency: l, log: log}
	ctx, s.cancel = context.WithCancel(ctx)
	for i, m := range loadMembers {
		s.groups.Go(func() { s.consume(ctx, i, m) })
	}
	s.crowd = crowd.Start(ctx, crowd.Options{Users: 32, Rate: rate, Ramp: 2 * time.Second, Act: s.act})
	return s, nil
}

// act is what one visitor does: most look, some buy.
func (s *load) act(ctx context.Context, user int, r *rand.Rand) error {
	visitor := fmt.Sprintf("visitor-%d", r.IntN(5000))
	topic, event := "clicks", map[string]any{"visitor": visitor, "page": fmt.Sprintf("/product/%d", r.IntN(200)), "server": user}
	if r.IntN(8) == 0 {
		topic, event = "orders", map[string]any{"visitor": visitor, "product": r.IntN(200), "cents": 100 + r.IntN(20000)}
	}
	value, err := json.Marshal(event)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return s.producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(visitor), Value: value}).FirstErr()
}

// consume reads as a member of a group until ctx ends.
func (s *load) consume(ctx context.Context, i int, m loadMember) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.addrs...), kgo.ClientID(fmt.Sprintf("%s-%d", m.group, i)), kgo.ConsumerGroup(m.group), kgo.ConsumeTopics(m.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.AllowAutoTopicCreation(), kgo.AutoCommitInterval(time.Second), kgo.MetadataMaxAge(10*time.Second))
	if err != nil {
		s.log.Error("load", "group", m.group, "error", err)
		return
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		if m.group == sluggish && s.paused.Load() {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		fetches := client.PollRecords(ctx, 1000)
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { s.latency.observe(now.Sub(r.Timestamp)) })
	}
}

func (s *load) close() {
	s.cancel()
	s.crowd.Close()
	s.groups.Wait()
	s.producer.Close()
}

// latency measures the time from a record's making to its reading. It
// remembers the quantiles of each second for the plots.
type latency struct {
	all      *metrics.Histogram
	recent   atomic.Pointer[metrics.Histogram]
	p50, p99 atomic.Int64 // of the last second, in nanoseconds
}

func newLatency(m *metrics.Registry) *latency {
	l := &latency{all: m.Histogram("kafka_end_to_end_seconds", "Time from a record's timestamp to its reading by a consumer of the load.", nil)}
	l.recent.Store(metrics.NewHistogram(nil))
	m.GaugeFunc("kafka_end_to_end_p50_milliseconds", "Half of the records of the last second were read within this time.", func() float64 {
		return float64(l.p50.Load()) / 1e6
	})
	m.GaugeFunc("kafka_end_to_end_p99_milliseconds", "99 of 100 records of the last second were read within this time.", func() float64 {
		return float64(l.p99.Load()) / 1e6
	})
	return l
}

func (l *latency) observe(d time.Duration) {
	seconds := max(d, 0).Seconds()
	l.all.Observe(seconds)
	l.recent.Load().Observe(seconds)
}

// turn begins another second.
func (l *latency) turn() {
	past := l.recent.Swap(metrics.NewHistogram(nil))
	l.p50.Store(int64(past.Quantile(.5) * 1e9))
	l.p99.Store(int64(past.Quantile(.99) * 1e9))
}
