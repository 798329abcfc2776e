package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// write produces records with the values "record 0", "record 1" … to a topic.
func write(t *testing.T, b *broker, topic string, from, to int, stamp func(int) time.Time) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addrOf(b)), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())
	require.NoError(t, err)
	defer c.Close()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		r := kgo.KeyStringRecord(fmt.Sprint("key ", i%17), fmt.Sprint("record ", i))
		r.Headers = []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}
		r.Timestamp = stamp(i)
		records = append(records, r)
	}
	require.NoError(t, c.ProduceSync(t.Context(), records...).FirstErr())
}

// readAll returns the records of a topic up to its present end, by partition.
func readAll(t *testing.T, b *broker, topic string) map[int32][]*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addrOf(b)), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	want, got := int64(0), int64(0)
	ends.Each(func(o kadm.ListedOffset) { want += max(o.Offset, 0) })
	parts := map[int32][]*kgo.Record{}
	for got < want {
		fetches := c.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			parts[r.Partition] = append(parts[r.Partition], r)
			got++
		})
	}
	return parts
}

// A mirror that is stopped again and again copies every record at least once,
// into the partition of the same number, and what it copies twice it copies in
// order.
func TestMirror(t *testing.T) {
	t.Parallel()
	source, target := startBroker(t), startBroker(t)
	start := time.Now()
	stamp := func(i int) time.Time {
		return start.Add(time.Duration(i) * time.Millisecond).Truncate(time.Millisecond)
	}
	write(t, source, "t", 0, 300, stamp)
	run := func(records uint64) {
		m, err := newMirror(mirrorOptions{from: []string{addrOf(source)}, to: []string{addrOf(target)}, topics: "^[^_].*", group: "mirror", log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := m.run(ctx); err != nil {
				t.Error(err)
			}
		})
		require.Eventually(t, func() bool { return m.records.Load() >= records }, time.Minute, time.Millisecond)
		cancel()
		running.Wait()
	}
	run(300)
	write(t, source, "t", 300, 500, stamp)
	write(t, source, "u", 0, 50, stamp)
	run(250)
	same, err := newMirror(mirrorOptions{from: []string{addrOf(source)}, to: []string{addrOf(source)}, topics: ".*", group: "loop"})
	require.NoError(t, err)
	require.ErrorContains(t, same.run(t.Context()), "same cluster")
	for topic, n := range map[string]int{"t": 500, "u": 50} {
		want, got := readAll(t, source, topic), readAll(t, target, topic)
		sum := 0
		for p, records := range want {
			sum += len(records)
			seen := map[string]bool{}
			next := 0
			for _, r := range got[p] {
				if seen[string(r.Value)] {
					continue // at least once
				}
				seen[string(r.Value)] = true
				require.Less(t, next, len(records))
				w := records[next]
				next++
				require.Equal(t, string(w.Value), string(r.Value))
				require.Equal(t, w.Key, r.Key)
				require.Equal(t, w.Headers, r.Headers)
				require.Equal(t, w.Timestamp, r.Timestamp)
			}
			require.Equal(t, len(records), next, "partition %d of %s", p, topic)
		}
		require.Equal(t, n, sum)
	}
}

// A loader that is stopped at any moment leaves files that have each record
// exactly once, in the hour of its timestamp; hours that are over are marked.
func TestHourlyFiles(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	dir := t.TempDir()
	first := time.Date(2026, 11, 28, 9, 50, 0, 0, time.UTC)
	stamp := func(i int) time.Time { return first.Add(time.Duration(i) * 10 * time.Second) }
	random := rand.New(rand.NewPCG(7, 7))
	options := hourlyOptions{
		brokers: []string{addrOf(b)}, topics: []string{"t"}, dir: dir, every: time.Millisecond, most: 1 << 20, grace: time.Minute,
		log: slog.New(slog.NewTextHandler(t.Output(), nil)), now: time.Now,
	}
	written := func() int64 {
		sum := int64(0)
		for p := range int32(3) {
			state, err := (&hourly{hourlyOptions: options}).state("t", p)
			require.NoError(t, err)
			sum += state.Next
		}
		return sum
	}
	total := 0
	for round := range 4 {
		write(t, b, "t", total, total+250, stamp)
		total += 250
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := runHourly(ctx, options); err != nil {
				t.Error(err)
			}
		})
		require.Eventually(t, func() bool { return written() >= int64(total) }, time.Minute, time.Millisecond)
		cancel()
		running.Wait()
		if round < 3 { // as if it had been killed between the files and the offset
			p := random.IntN(3)
			stray := filepath.Join(dir, "t", "2026-11-28T10", hourlyName(int32(p), 1<<40, 1<<41))
			require.NoError(t, os.MkdirAll(filepath.Dir(stray), 0o755))
			require.NoError(t, writeGzip(stray, []byte(`{"offset":1}`)))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := runHourly(ctx, options); err != nil {
			t.Error(err)
		}
	})
	marks := func() int {
		list, _ := filepath.Glob(filepath.Join(dir, "t", "*", hourlyMark))
		return len(list)
	}
	require.Eventually(t, func() bool { return marks() == 4 }, time.Minute, time.Millisecond)
	cancel()
	running.Wait()

	found := map[string]int{}
	hours, err := filepath.Glob(filepath.Join(dir, "t", "2*"))
	require.NoError(t, err)
	for _, hour := range hours {
		files, err := filepath.Glob(filepath.Join(hour, "*"+hourlyExt))
		require.NoError(t, err)
		for _, file := range files {
			records, err := readHourly(file)
			require.NoError(t, err)
			for _, r := range records {
				require.Equal(t, filepath.Base(hour), r.Time.Format(hourLayout))
				found[*r.Value]++
			}
		}
	}
	for i := range total {
		if n := found[fmt.Sprint("record ", i)]; n != 1 {
			t.Errorf("record %d is there %d times", i, n)
		}
	}
	require.Len(t, slices.Collect(maps.Keys(found)), total)
}
