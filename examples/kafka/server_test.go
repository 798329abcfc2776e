package kafka

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// startBroker starts a broker that is a cluster of its own.
func startBroker(t testing.TB, change ...func(*brokerConfig)) *broker {
	t.Helper()
	b, err := tryBroker(t, change...)
	require.NoError(t, err)
	t.Cleanup(func() { // closing twice is no error
		if err := b.close(); err != nil && b.check() == nil {
			t.Error(err)
		}
	})
	return b
}

// tryBroker is startBroker where it may fail.
func tryBroker(t testing.TB, change ...func(*brokerConfig)) (*broker, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	config := brokerConfig{
		ID: 1, Listener: ln, Host: "127.0.0.1", Data: t.TempDir(), Sync: syncEach, Limits: defaultLimits,
		Defaults: topicDefaults{partitions: 3, replicas: 1, create: true},
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: metrics.New(), RetainEvery: time.Minute,
	}
	for _, f := range change {
		f(&config)
	}
	if config.Control, err = openAlone(config.Data, 1); err != nil {
		t.Fatal(err)
	}
	return newBroker(t.Context(), config)
}

func TestProduceAndConsume(t *testing.T) {
	b := startBroker(t)
	seed := kgo.SeedBrokers(addrOf(b))
	c, err := kgo.NewClient(seed, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("words"))
	require.NoError(t, err)
	defer c.Close()
	for i := range 1000 {
		c.Produce(t.Context(), kgo.StringRecord(fmt.Sprint("word ", i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, c.Flush(t.Context()))
	consumer, err := kgo.NewClient(seed, kgo.ConsumeTopics("words"))
	require.NoError(t, err)
	defer consumer.Close()
	got := 0
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for got < 1000 && ctx.Err() == nil {
		fs := consumer.PollFetches(ctx)
		require.NoError(t, fs.Err())
		got += fs.NumRecords()
	}
	require.Equal(t, 1000, got)
	admin := kadm.NewClient(c)
	ends, err := admin.ListEndOffsets(t.Context(), "words")
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	sum := int64(0)
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	require.EqualValues(t, 1000, sum)
	consumer.Close()
	require.Eventually(t, func() bool { return b.budget.used() == 0 }, 20*time.Second, 10*time.Millisecond, "memory is given back")
}

// inDir makes a broker keep its data in a directory.
func inDir(dir string) func(*brokerConfig) { return func(c *brokerConfig) { c.Data = dir } }

// removeSnapshots makes a broker find out from its logs what it knew.
func removeSnapshots(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*", "*.state*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
}

func castagnoliSum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }
