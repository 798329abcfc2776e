package commitlog_test

import (
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/stretchr/testify/require"
)

func TestTopic(t *testing.T) {
	dir := t.TempDir()
	opts := &commitlog.TopicOptions{Log: commitlog.Options{Sync: commitlog.SyncNever}}
	topic, err := commitlog.OpenTopic(dir, 3, opts)
	require.NoError(t, err)
	_, err = commitlog.OpenTopic(dir, 3, opts)
	require.ErrorIs(t, err, commitlog.ErrLocked)
	home := map[string]int{}
	for i := range 300 {
		key := fmt.Sprint(i % 20)
		partition, offset, err := topic.Append(t.Context(), commitlog.Record{Key: []byte(key), Value: []byte("v")})
		require.NoError(t, err)
		if before, ok := home[key]; ok {
			require.Equal(t, before, partition)
		}
		home[key] = partition
		require.Equal(t, topic.Partition(partition).End()-1, offset)
	}
	require.NoError(t, topic.Sync(t.Context()))
	require.NoError(t, topic.Retain(t.Context()))
	require.NoError(t, topic.Compact(t.Context()))
	require.NoError(t, topic.Verify(t.Context()))
	require.NoError(t, topic.Close())
	require.NoError(t, topic.Close())

	_, err = commitlog.OpenTopic(dir, 2, opts)
	require.ErrorContains(t, err, "3 partitions, more than 2")
	_, err = commitlog.OpenTopic(dir, -1, opts)
	require.Error(t, err)
	topic, err = commitlog.OpenTopic(dir, 0, opts)
	require.NoError(t, err)
	require.Equal(t, 3, topic.Len())
	total := int64(0)
	for i := range topic.Len() {
		total += topic.Partition(i).End()
	}
	require.Equal(t, int64(300), total)
	require.NoError(t, topic.Close())
	topic, err = commitlog.OpenTopic(dir, 5, opts)
	require.NoError(t, err)
	require.Equal(t, 5, topic.Len())
	require.NoError(t, topic.Close())
	_, _, err = topic.Append(t.Context(), value("x"))
	require.ErrorIs(t, err, commitlog.ErrClosed)
}

// The values are those of the tests of Kafka's Java client.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(commitlog.Murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitioners(t *testing.T) {
	r := &commitlog.Record{Value: make([]byte, 10)}
	robin := commitlog.RoundRobin()
	for i := range 7 {
		require.Equal(t, i%3, robin.Partition(r, 3))
	}
	keyed := commitlog.HashByKey(robin)
	require.Equal(t, 7%3, keyed.Partition(r, 3))
	require.Equal(t, int(uint32(479470107)&0x7fffffff)%3, keyed.Partition(&commitlog.Record{Key: []byte("abc")}, 3))

	sticky := commitlog.Sticky(100)
	counts := map[int]int{}
	runs, before := 0, -1
	for range 10_000 {
		p := sticky.Partition(r, 4)
		counts[p]++
		if p != before {
			runs, before = runs+1, p
		}
	}
	require.InDelta(t, 1000, runs, 2)
	for p := range 4 {
		require.InDelta(t, 2500, counts[p], 600)
	}
	for range 100 {
		require.Zero(t, sticky.Partition(r, 1))
	}
	require.Panics(t, func() { commitlog.Sticky(0) })
}
