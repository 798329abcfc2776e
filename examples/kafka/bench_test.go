package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkProduce is a producer of franz-go that does not wait for each
// record, and a broker that syncs before it acknowledges.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			broker := startBroker(b)
			c := benchClient(b, broker, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(200_000))
			value := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				c.Produce(b.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := c.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkProduceSync is a producer that waits for each record.
func BenchmarkProduceSync(b *testing.B) {
	b.Run("impl=ashlar/size=100", func(b *testing.B) {
		broker := startBroker(b)
		c := benchClient(b, broker, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0))
		value := make([]byte, 100)
		for b.Loop() {
			if err := c.ProduceSync(b.Context(), &kgo.Record{Value: value}).FirstErr(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkConsume reads a topic again and again.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			broker := startBroker(b)
			producer := benchClient(b, broker, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(200_000))
			records := (64 << 20) / size
			for range records {
				producer.Produce(b.Context(), &kgo.Record{Value: make([]byte, size)}, nil)
			}
			if err := producer.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			var c *kgo.Client
			left, buffered := 0, 0
			for b.Loop() {
				if left == 0 {
					if c != nil {
						c.Close()
					}
					c = benchClient(b, broker, kgo.ConsumeTopics("t"))
					left, buffered = records, 0
				}
				if buffered == 0 {
					fetches := c.PollFetches(b.Context())
					if err := fetches.Err(); err != nil {
						b.Fatal(err)
					}
					buffered = fetches.NumRecords()
				}
				buffered--
				left--
			}
		})
	}
}

func benchClient(b *testing.B, broker *broker, options ...kgo.Opt) *kgo.Client {
	b.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(addrOf(broker)), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}
