package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// mirrorOptions say what a mirror copies.
type mirrorOptions struct {
	from, to []string // brokers
	topics   string   // regular expression
	group    string   // whose offsets in the source say how far it is
	log      *slog.Logger
}

// A mirror copies topics of one cluster to another, record by record, into
// partitions of the same numbers, with the time, key and headers that they
// have.
//
//	source ──fetch──► mirror ──produce, acks=all──► target
//	   ▲                 │
//	   └──commit offset──┘ once the target has acknowledged
//
// How far it has come is the offset of a consumer group in the source. It is
// committed behind what the target has acknowledged, so that a mirror which is
// killed and started again loses nothing; what was acknowledged and not yet
// committed is copied twice. Several mirrors of one group share the
// partitions.
type mirror struct {
	mirrorOptions
	source, target *kgo.Client
	admin          *kadm.Client
	records, bytes atomic.Uint64
	known          map[string]int // partitions of the topics of the target
}

func newMirror(o mirrorOptions) (*mirror, error) {
	m := &mirror{mirrorOptions: o, known: map[string]int{}}
	var err error
	if m.source, err = kgo.NewClient(kgo.SeedBrokers(o.from...), kgo.ClientID("mirror"), kgo.ConsumeRegex(), kgo.ConsumeTopics(o.topics),
		kgo.ConsumerGroup(o.group), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMaxAge(10*time.Second)); err != nil {
		return nil, err
	}
	if m.target, err = kgo.NewClient(kgo.SeedBrokers(o.to...), kgo.ClientID("mirror"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression())); err != nil {
		m.source.Close()
		return nil, err
	}
	m.admin = kadm.NewClient(m.target)
	return m, nil
}

// run copies until ctx ends.
func (m *mirror) run(ctx context.Context) error {
	defer m.source.Close()
	defer m.target.Close()
	if err := m.differ(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetches := m.source.PollRecords(ctx, 10_000)
		fetches.EachError(func(topic string, p int32, err error) {
			if ctx.Err() == nil {
				m.log.Warn("mirror: a partition cannot be read", "topic", topic, "partition", p, "error", err)
			}
		})
		if records := fetches.Records(); len(records) > 0 {
			for try := time.Second; ; try = min(2*try, 30*time.Second) {
				err := m.copy(ctx, records)
				if err == nil || ctx.Err() != nil {
					break
				}
				m.log.Warn("mirror: the target does not take the records", "error", err)
				pause(ctx, try)
			}
		}
		m.source.AllowRebalance()
	}
	return nil
}

// differ refuses to copy a cluster to itself, which would have no end.
func (m *mirror) differ(ctx context.Context) error {
	source, err := kadm.NewClient(m.source).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	target, err := m.admin.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if source.Cluster == target.Cluster {
		return fmt.Errorf("kafka: source and target of the mirror are the same cluster, %s", source.Cluster)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// copy gives records to the target and, once it has them all, commits their
// offsets.
func (m *mirror) copy(ctx context.Context, records []*kgo.Record) error {
	copies := make([]*kgo.Record, len(records))
	size := 0
	for i, r := range records {
		if err := m.prepare(ctx, r.Topic, int(r.Partition)); err != nil {
			return err
		}
		copies[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
		size += len(r.Key) + len(r.Value)
	}
	if err := m.target.ProduceSync(ctx, copies...).FirstErr(); err != nil {
		return err
	}
	if err := m.source.CommitRecords(ctx, records...); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	m.records.Add(uint64(len(records)))
	m.bytes.Add(uint64(size))
	return nil
}

// prepare makes sure that the target has a partition: a topic is created with
// as many as the source has and its settings, and grows when that one does.
func (m *mirror) prepare(ctx context.Context, topic string, partition int) error {
	if partition < m.known[topic] {
		return nil
	}
	source := kadm.NewClient(m.source)
	topics, err := source.ListTopics(ctx, topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	want := max(len(topics[topic].Partitions), partition+1)
	settings := map[string]*string{}
	configs, err := source.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	for _, c := range configs {
		for _, setting := range c.Configs {
			if setting.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				settings[setting.Key] = setting.Value
			}
		}
	}
	_, err = m.admin.CreateTopic(ctx, int32(want), -1, settings, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("target: %w", err)
	}
	if err != nil {
		have, err := m.admin.ListTopics(ctx, topic)
		if err == nil {
			err = have.Error()
		}
		if err == nil && len(have[topic].Partitions) < want {
			var answers kadm.CreatePartitionsResponses
			if answers, err = m.admin.UpdatePartitions(ctx, want, topic); err == nil {
				err = answers.Error()
			}
		}
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
	}
	m.known[topic] = want
	return nil
}
