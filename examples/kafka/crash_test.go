package kafka

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// asProgram is the environment variable that makes the test binary what it
// tests: a process can be killed, and this one need not be built again.
const asProgram = "ASHLAR_KAFKA_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(launcher.Main(context.Background(), launcher.Registry{Define}, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Setenv(asProgram, "1") // for the processes that tests start
	os.Exit(m.Run())
}

// program is the system as a command.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("kills processes")
	}
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// A place is where a record is in a topic.
type place struct {
	partition int32
	offset    int64
}

// kill -9 loses nothing that was acknowledged and stores nothing twice: the
// real program is written to by several idempotent producers, killed again and
// again while they go on, and read at the end. The producers are the same all
// the time, so what they send again after a restart has the sequence numbers
// of before.
func TestKillLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	binary := program(t)
	dir, addr := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
	start := func() *services.Process {
		return services.Start(t, addr, binary, "kafka", "-addr", "127.0.0.1:0", "-kafka", addr, "-brokers", "1", "-data", dir)
	}
	server := start()
	admin, err := kgo.NewClient(kgo.SeedBrokers(addr))
	require.NoError(t, err)
	defer admin.Close()
	small := "65536" // segments end often
	_, err = kadm.NewClient(admin).CreateTopic(t.Context(), 3, 1, map[string]*string{"segment.bytes": &small}, "t")
	require.NoError(t, err)

	var mu sync.Mutex
	acknowledged := map[string]place{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var producers sync.WaitGroup
	for id := range 4 {
		client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("t"), kgo.MaxBufferedRecords(200), kgo.MetadataMinAge(50*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
		require.NoError(t, err)
		producers.Go(func() {
			defer client.Close()
			for i := 0; ctx.Err() == nil; i++ {
				value := fmt.Sprintf("producer %d, record %d", id, i)
				client.Produce(context.Background(), kgo.StringRecord(value), func(r *kgo.Record, err error) {
					if err != nil {
						t.Errorf("%s: %v", value, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					acknowledged[value] = place{r.Partition, r.Offset}
				})
				if i%100 == 99 {
					time.Sleep(time.Millisecond)
				}
			}
			if err := client.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	for range 4 {
		enough := count() + 500
		require.Eventually(t, func() bool { return count() >= enough }, time.Minute, time.Millisecond)
		server.Kill()
		server = start()
	}
	cancel()
	producers.Wait()
	server.Kill()
	start()

	consumer, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("t"))
	require.NoError(t, err)
	defer consumer.Close()
	found := map[string]place{}
	for len(found) < len(acknowledged) {
		poll, stop := context.WithTimeout(t.Context(), 20*time.Second)
		fetches := consumer.PollFetches(poll)
		stop()
		if fetches.NumRecords() == 0 {
			break // there are no more
		}
		fetches.EachRecord(func(r *kgo.Record) {
			value := string(r.Value)
			if before, twice := found[value]; twice {
				t.Errorf("%s is at %v and at %d of partition %d", value, before, r.Offset, r.Partition)
			}
			found[value] = place{r.Partition, r.Offset}
		})
	}
	ends, err := kadm.NewClient(consumer).ListEndOffsets(t.Context(), "t")
	require.NoError(t, err)
	t.Logf("%d records acknowledged, %d found, ends %v", len(acknowledged), len(found), ends)
	for value, at := range acknowledged {
		if found[value] != at {
			t.Errorf("%s is at %v, it was acknowledged at %v", value, found[value], at)
		}
	}
}
