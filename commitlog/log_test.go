package commitlog_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string, opts *commitlog.Options) *commitlog.Log {
	t.Helper()
	l, err := commitlog.Open(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func values(t *testing.T, l *commitlog.Log, from int64) (got []string) {
	t.Helper()
	for r, err := range l.Records(from) {
		require.NoError(t, err)
		got = append(got, string(r.Value))
	}
	return got
}

func value(text string) commitlog.Record { return commitlog.Record{Value: []byte(text)} }

func fill(t *testing.T, l *commitlog.Log, from, n int) (want []string) {
	t.Helper()
	for i := from; i < from+n; i++ {
		text := fmt.Sprintf("record %d", i)
		first, err := l.Append(t.Context(), value(text))
		require.NoError(t, err)
		require.Equal(t, int64(i), first)
		want = append(want, text)
	}
	return want
}

func TestAppendAndRead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	at := time.UnixMilli(1234567)
	records := []commitlog.Record{
		{Timestamp: at, Key: []byte("k"), Value: []byte("v"), Headers: []commitlog.Header{{"h", []byte("x")}, {"n", nil}}},
		{Timestamp: at.Add(time.Second), Key: nil, Value: nil},
		{Timestamp: at.Add(-time.Hour), Key: []byte{}, Value: []byte{}},
	}
	first, err := l.Append(t.Context(), records...)
	require.NoError(t, err)
	require.Zero(t, first)
	require.Equal(t, []int64{0, 3, 3}, []int64{l.Start(), l.End(), l.Durable()})
	check := func(l *commitlog.Log) {
		i := 0
		for r, err := range l.Records(0) {
			require.NoError(t, err)
			want := records[i]
			want.Offset = int64(i)
			require.Equal(t, want, r)
			i++
		}
		require.Equal(t, 3, i)
	}
	check(l)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err = l.Append(t.Context(), value("x"))
	require.ErrorIs(t, err, commitlog.ErrClosed)
	check(open(t, dir, nil))
}

func TestSegmentsAndReopen(t *testing.T) {
	for _, policy := range []commitlog.SyncPolicy{commitlog.SyncEach, commitlog.SyncNever} {
		dir := t.TempDir()
		opts := &commitlog.Options{SegmentBytes: 8192, Sync: policy}
		l := open(t, dir, opts)
		want := fill(t, l, 0, 500)
		require.Equal(t, want, values(t, l, 0))
		require.GreaterOrEqual(t, l.Stats().Segments, 3)
		require.Equal(t, want[123:], values(t, l, 123))
		require.NoError(t, l.Close())
		l = open(t, dir, opts)
		require.Equal(t, want, values(t, l, 0))
		want = append(want, fill(t, l, 500, 300)...)
		require.Equal(t, want, values(t, l, 0))
		require.NoError(t, l.Verify(t.Context()))
	}
}

func TestTruncateDelete(t *testing.T) {
	dir := t.TempDir()
	opts := &commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever}
	l := open(t, dir, opts)
	want := fill(t, l, 0, 1000)
	for _, cut := range []int{999, 990, 600, 599, 300, 200} {
		require.NoError(t, l.TruncateFrom(int64(cut)))
		require.Equal(t, want[:cut], values(t, l, 0))
		require.Equal(t, int64(cut), l.End())
		if cut == 300 {
			require.NoError(t, l.Close())
			l = open(t, dir, opts)
			require.Equal(t, want[:cut], values(t, l, 0))
		}
	}
	want = slices.Concat(want[:200], fill(t, l, 200, 800))
	require.Equal(t, want, values(t, l, 0))
	for _, start := range []int{1, 100, 101, 700, 1000} {
		require.NoError(t, l.DeleteBefore(int64(start)))
		require.Equal(t, int64(start), l.Start())
		require.Equal(t, want[start:], append([]string{}, values(t, l, int64(start))...))
		require.NoError(t, l.Close())
		l = open(t, dir, opts)
		require.Equal(t, int64(start), l.Start())
	}
	require.Equal(t, 1, l.Stats().Segments)
	fill(t, l, 1000, 10)
	_, err := l.ReadBatches(nil, 999, 100, false)
	require.ErrorIs(t, err, commitlog.ErrOutOfRange)
}

func TestTail(t *testing.T) {
	l := open(t, t.TempDir(), &commitlog.Options{Sync: commitlog.SyncNever})
	r := l.NewReader(0, nil)
	done := make(chan string)
	go func() {
		for range 3 {
			rec, err := r.Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			done <- string(rec.Value)
		}
		close(done)
	}()
	for i := range 3 {
		fill(t, l, i, 1)
		require.Equal(t, fmt.Sprintf("record %d", i), <-done)
	}
}
