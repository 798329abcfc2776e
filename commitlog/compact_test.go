package commitlog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
	"github.com/stretchr/testify/require"
)

// A table is what a compacted log says: the last record of each key.
type table map[string]string

func tableOf(l *commitlog.Log) (table, int, error) {
	got, n := table{}, 0
	last := int64(-1)
	for r, err := range l.Records(l.Start()) {
		if err != nil {
			return nil, 0, err
		}
		if r.Offset <= last {
			return nil, 0, fmt.Errorf("offset %d after %d", r.Offset, last)
		}
		last = r.Offset
		n++
		if r.Value == nil {
			delete(got, string(r.Key))
		} else {
			got[string(r.Key)] = fmt.Sprintf("%d %s", r.Offset, r.Value)
		}
	}
	return got, n, nil
}

func keyed(rng *rand.Rand, keys int) commitlog.Record {
	r := commitlog.Record{Key: fmt.Appendf(nil, "key %d", rng.IntN(keys)), Timestamp: time.UnixMilli(1000)}
	if rng.IntN(5) > 0 {
		r.Value = []byte(strings.Repeat("v", rng.IntN(100)))
	}
	return r
}

func TestCompact(t *testing.T) {
	for name, opts := range map[string]commitlog.Options{
		"plain":   {},
		"gzip":    {Codec: commitlog.GzipCodec(1)},
		"rounds":  {CompactKeys: 7},
		"batches": {IndexBytes: 400},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.UnixMilli(1_000_000)
			opts.SegmentBytes, opts.Sync = 8192, commitlog.SyncNever
			opts.Now = func() time.Time { return now }
			opts.TombstoneGrace = time.Hour
			opts.SegmentAge = time.Nanosecond
			dir := t.TempDir()
			l := open(t, dir, &opts)
			rng := rand.New(rand.NewPCG(3, 4))
			for range 1200 {
				_, err := l.Append(t.Context(), keyed(rng, 40))
				require.NoError(t, err)
			}
			_, err := l.Append(t.Context(), commitlog.Record{Value: []byte("no key")}, commitlog.Record{Key: []byte("gone")})
			require.NoError(t, err)
			now = now.Add(time.Second)
			require.NoError(t, l.Retain(t.Context())) // seals
			want, before, err := tableOf(l)
			require.NoError(t, err)
			end, size := l.End(), l.Stats().Size

			check := func(records int) {
				t.Helper()
				require.NoError(t, l.Compact(t.Context()))
				got, after, err := tableOf(l)
				require.NoError(t, err)
				require.Equal(t, want, got)
				require.Equal(t, records, after)
				require.Equal(t, end, l.End())
				require.NoError(t, l.Verify(t.Context()))
			}
			require.Greater(t, before, 1200)
			check(40 + 2)
			require.Less(t, l.Stats().Size, size/4)
			require.LessOrEqual(t, l.Stats().Segments, 3)
			now = now.Add(time.Hour - time.Millisecond)
			check(40 + 2)
			now = now.Add(time.Millisecond)
			check(len(want))
			require.NoError(t, l.Close())
			l = open(t, dir, &opts)
			check(len(want))
			_, ok := want[""]
			require.True(t, ok, "the record without a key stays")
			offset, ok, err := l.OffsetAt(time.UnixMilli(1001))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, int64(1200), offset)
		})
	}
}

func TestCompactNeedsTheCodec(t *testing.T) {
	opts := &commitlog.Options{SegmentAge: 1, Sync: commitlog.SyncNever}
	l := open(t, t.TempDir(), opts)
	b := commitlogBatch(t, 0, "x")
	b[22] |= byte(commitlog.LZ4)
	_, err := l.AppendBatch(t.Context(), resealed(b))
	require.NoError(t, err)
	require.NoError(t, l.Retain(t.Context()))
	require.ErrorIs(t, l.Compact(t.Context()), commitlog.ErrNoCodec)
	require.Equal(t, int64(1), l.End())
}

func TestCompactBefore(t *testing.T) {
	opts := &commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever}
	l := open(t, t.TempDir(), opts)
	for range 1000 {
		_, err := l.Append(t.Context(), commitlog.Record{Key: []byte("k"), Value: []byte("some value")})
		require.NoError(t, err)
	}
	const limit = 500
	require.NoError(t, l.CompactBefore(t.Context(), limit))
	var got []int64
	for r, err := range l.Records(0) {
		require.NoError(t, err)
		got = append(got, r.Offset)
	}
	require.Less(t, got[0], int64(limit), "the last of those that could be compacted")
	for i, offset := range got[1:] {
		require.Equal(t, got[0]+1+int64(i), offset, "and all after it")
	}
	require.Equal(t, int64(999), got[len(got)-1])
	require.NoError(t, l.TruncateFrom(limit))
	want, _, err := tableOf(l)
	require.NoError(t, err)
	require.Len(t, want, 1)
}

// A crash at every call of a compaction leaves the table as it was.
func TestCrashDuringCompact(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	opts := commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever, SegmentAge: 1, TombstoneGrace: 1, Now: func() time.Time { return now }}
	build := vfs.NewMem()
	opts.FS = build
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 700 {
		_, err := l.Append(t.Context(), keyed(rng, 20))
		require.NoError(t, err)
	}
	now = now.Add(time.Second)
	require.NoError(t, l.Retain(t.Context()))
	want, _, err := tableOf(l)
	require.NoError(t, err)
	end := l.End()
	require.NoError(t, l.Close())
	names := segmentFiles(t, build)
	require.Greater(t, len(names), 3)

	report, err := crashtest.History(crashtest.Options{}, func(m *vfs.Mem) {
		for _, name := range names {
			b, err := build.ReadFile(name)
			require.NoError(t, err)
			require.NoError(t, m.WriteFile(name, b))
		}
		opts := opts
		opts.FS = m
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		for range 2 { // the second removes tombstones
			require.NoError(t, l.Compact(t.Context()))
		}
		require.NoError(t, l.Close())
	}, func() crashtest.Check {
		return func(found *vfs.Mem, _ crashtest.Point) error {
			opts := opts
			opts.FS = found
			l, err := commitlog.Open("", &opts)
			if err != nil {
				return err
			}
			defer l.Close()
			got, _, err := tableOf(l)
			if err != nil {
				return err
			}
			if l.End() != end || !maps.Equal(got, want) {
				return fmt.Errorf("end %d, want %d; table %v, want %v", l.End(), end, got, want)
			}
			return errors.Join(l.Compact(t.Context()), l.Verify(t.Context()))
		}
	})
	require.NoError(t, err)
	require.Greater(t, report.Crashes, 50)
}

func TestCompactConcurrentSafe(t *testing.T) {
	opts := &commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever, SegmentAge: 1, RetainBytes: 200_000}
	l := open(t, t.TempDir(), opts)
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		rng := rand.New(rand.NewPCG(7, 8))
		for range 1000 {
			if _, err := l.Append(t.Context(), keyed(rng, 30)); err != nil {
				t.Error(err)
			}
		}
		close(done)
	})
	for _, work := range []func() error{
		func() error { return l.Compact(t.Context()) },
		func() error { return l.Retain(t.Context()) },
		func() error { return l.TruncateFrom(max(l.End()-1, l.Start())) },
		func() error {
			_, _, err := tableOf(l)
			if errors.Is(err, commitlog.ErrOutOfRange) {
				return nil
			}
			return err
		},
	} {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := work(); err != nil && !errors.Is(err, commitlog.ErrOutOfRange) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, l.Verify(t.Context()))
}

// A countdown is a context that ends, or calls a function instead, when it is
// asked for the n-th time.
type countdown struct {
	context.Context
	left atomic.Int64
	then func()
}

func (c *countdown) Err() error {
	switch n := c.left.Add(-1); {
	case n == -1 && c.then != nil:
		c.then()
	case n < 0 && c.then == nil:
		return context.Canceled
	}
	return nil
}

func put(t *testing.T, l *commitlog.Log, key string, value []byte) {
	t.Helper()
	_, err := l.Append(context.Background(), commitlog.Record{Key: []byte(key), Value: value})
	require.NoError(t, err)
}

// Offsets that a truncation takes away and appends give again are of other
// records than those that a compaction has seen.
func TestCompactWhileTruncated(t *testing.T) {
	pad := bytes.Repeat([]byte("p"), 600)
	for n := 0; ; n++ {
		l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192})
		put(t, l, "k", []byte("old"))
		for i := range 24 {
			put(t, l, fmt.Sprint("x", i%3), pad)
		}
		put(t, l, "k", []byte("doomed"))
		for i := range 14 {
			put(t, l, fmt.Sprint("x", i%3), pad)
		}
		ctx := &countdown{Context: t.Context()}
		ctx.left.Store(int64(n))
		ctx.then = func() {
			if err := l.TruncateFrom(10); err != nil {
				t.Errorf("TruncateFrom: %v", err)
			}
			put(t, l, "k", []byte("new"))
			for i := range 30 {
				put(t, l, fmt.Sprint("y", i), pad)
			}
		}
		require.NoError(t, l.Compact(ctx))
		if ctx.left.Load() >= 0 {
			require.Greater(t, n, 40)
			require.NoError(t, l.Close())
			return
		}
		kept, _, err := tableOf(l)
		require.NoError(t, err)
		require.Equal(t, "10 new", kept["k"], "truncated at step %d", n)
		require.NoError(t, l.Close())
	}
}

// A truncation copies the segment that it cuts while a compaction may be making
// a new one for the same place.
func TestCompactBesideTruncate(t *testing.T) {
	pad := bytes.Repeat([]byte("p"), 600)
	l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192})
	done := make(chan struct{})
	var compacting sync.WaitGroup
	compacting.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := l.Compact(t.Context()); err != nil {
				t.Errorf("Compact: %v", err)
				return
			}
		}
	})
	for range 300 {
		for i := range 40 {
			put(t, l, fmt.Sprint("k", i%3), pad)
		}
		require.NoError(t, l.TruncateFrom(3))
	}
	close(done)
	compacting.Wait()
	require.NoError(t, l.Verify(t.Context()))
	require.EqualValues(t, 3, l.End())
}

// A tombstone of which a round of a compaction knows only older records stays
// for the round that removes those.
func TestInterruptedCompactKeepsTombstones(t *testing.T) {
	now := time.UnixMilli(1e12)
	l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192, CompactKeys: 4, TombstoneGrace: time.Hour, Now: func() time.Time { return now }})
	pad := bytes.Repeat([]byte("p"), 300)
	put(t, l, "k", pad)
	for i := range 8 {
		put(t, l, fmt.Sprint("a", i), pad)
	}
	put(t, l, "k", nil)
	for i := range 20 {
		put(t, l, fmt.Sprint("b", i), pad)
	}
	for n := 0; ; n++ {
		ctx := &countdown{Context: t.Context()}
		ctx.left.Store(int64(n))
		err := l.Compact(ctx)
		kept, _, bad := tableOf(l)
		require.NoError(t, bad)
		require.NotContains(t, kept, "k", "interrupted at step %d", n)
		now = now.Add(2 * time.Hour)
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, l.Close())
}

// Who appends a batch that nobody can decompress does not end compaction, nor
// bring back what may be deleted in it.
func TestCompactAroundABadBatch(t *testing.T) {
	now := time.UnixMilli(1e12)
	l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192, TombstoneGrace: time.Hour, Now: func() time.Time { return now }})
	put(t, l, "k", []byte("first"))
	bad, err := commitlog.AppendBatchTo(nil, 0, commitlog.GzipCodec(1), commitlog.Record{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 100)})
	require.NoError(t, err)
	bad[len(bad)-9] ^= 0xff
	_, err = l.AppendBatch(t.Context(), resealed(bad))
	require.NoError(t, err)
	put(t, l, "k", nil)
	for i := range 40 {
		put(t, l, fmt.Sprint("x", i%3), bytes.Repeat([]byte("p"), 300))
	}
	for range 3 {
		require.NoError(t, l.Compact(t.Context()))
		now = now.Add(2 * time.Hour)
	}
	var kept []int64
	for b, err := range l.AllBatches(0, false) {
		require.NoError(t, err)
		kept = append(kept, b.BaseOffset())
	}
	require.Equal(t, []int64{1, 2}, kept[:2], "the batch, and the tombstone behind it")
	require.Less(t, len(kept), 30)
	require.NoError(t, l.Close())
}

// produced is a batch of a producer with a sequence number.
func produced(t *testing.T, id int64, sequence int32, codec commitlog.Codec, records ...commitlog.Record) commitlog.Batch {
	t.Helper()
	b, err := commitlog.AppendBatchTo(nil, 0, codec, records...)
	require.NoError(t, err)
	binary.BigEndian.PutUint64(b[43:], uint64(id))
	binary.BigEndian.PutUint16(b[51:], 3)
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[17:], commitlog.Checksum(b[21:]))
	return b
}

// batchesOf lists the batches as producer:sequence+last delta=records.
func batchesOf(t *testing.T, l *commitlog.Log) (list []string) {
	t.Helper()
	for b, err := range l.AllBatches(l.Start(), false) {
		require.NoError(t, err)
		list = append(list, fmt.Sprintf("%d:%d+%d=%d", b.ProducerID(), b.BaseSequence(), b.LastOffset()-b.BaseOffset(), b.Count()))
	}
	return list
}

// The last batch of each producer stays, empty if need be, so that a replica that
// begins with a compacted log knows which sequence number comes next.
func TestCompactRemembersProducers(t *testing.T) {
	for name, opts := range map[string]commitlog.Options{"plain": {}, "rounds": {CompactKeys: 1}} {
		times := 1
		if opts.CompactKeys > 0 {
			times = 2 // a round sees the last batch of some; the next Compact removes what that has left
		}
		for codecName, codec := range map[string]commitlog.Codec{"none": nil, "gzip": commitlog.GzipCodec(1)} {
			t.Run(name+" "+codecName, func(t *testing.T) {
				now := time.UnixMilli(1_000_000)
				opts.SegmentBytes, opts.SegmentAge, opts.TombstoneGrace = 1<<20, 1, time.Hour
				opts.Now = func() time.Time { return now }
				l, m := openMem(t, opts)
				put := func(id int64, sequence int32, keys ...string) {
					records := make([]commitlog.Record, len(keys))
					for i, key := range keys {
						records[i] = commitlog.Record{Timestamp: now, Key: []byte(key), Value: []byte("value")}
					}
					_, err := l.AppendBatch(t.Context(), produced(t, id, sequence, codec, records...))
					require.NoError(t, err)
				}
				found := func(l *commitlog.Log) []string { return batchesOf(t, l) }
				compact := func() {
					now = now.Add(time.Second)
					require.NoError(t, l.Retain(t.Context())) // seals
					for range times {
						require.NoError(t, l.Compact(t.Context()))
					}
					require.NoError(t, l.Verify(t.Context()))
				}
				put(7, 0, "a")
				put(7, 1, "b", "c", "c")
				put(8, 0, "a")
				put(8, 1, "b", "c")
				put(9, 0, "a")
				compact()
				require.Equal(t, []string{"7:1+2=0", "8:1+1=2", "9:0+0=1"}, found(l))
				got, n, err := tableOf(l)
				require.NoError(t, err)
				require.Equal(t, 3, n)
				require.Equal(t, table{"a": "7 value", "b": "5 value", "c": "6 value"}, got)
				at, ok, err := l.OffsetAt(time.UnixMilli(0))
				require.NoError(t, err)
				require.True(t, ok)
				require.EqualValues(t, 5, at, "an empty batch has no record")

				raw, err := l.ReadBatches(nil, 0, 1<<20, false)
				require.NoError(t, err)
				replica, _ := openMem(t, opts)
				_, err = replica.AppendReplica(t.Context(), raw)
				require.NoError(t, err)
				require.Equal(t, found(l), found(replica))
				require.NoError(t, replica.Close())

				compact()
				require.Equal(t, []string{"7:1+2=0", "8:1+1=2", "9:0+0=1"}, found(l), "again")
				put(7, 4, "a")
				compact()
				require.Equal(t, []string{"8:1+1=2", "9:0+0=0", "7:4+0=1"}, found(l))
				require.NoError(t, l.Close())
				opts.FS = m
				l, err = commitlog.Open("", &opts)
				require.NoError(t, err)
				require.Equal(t, []string{"8:1+1=2", "9:0+0=0", "7:4+0=1"}, found(l))

				now = now.Add(opts.TombstoneGrace)
				compact()
				require.Equal(t, []string{"8:1+1=2", "7:4+0=1"}, found(l), "not for ever")
				require.NoError(t, l.DeleteBefore(l.End()))
				compact()
				require.Empty(t, found(l))
				require.NoError(t, l.Close())
			})
		}
	}
}

// What is left of a producer never tells a sequence number that is older than its
// last: neither when the empty batch that tells it has had its time, nor when
// a marker, which has none, comes behind it.
func TestCompactTellsNoOldSequence(t *testing.T) {
	for name, opts := range map[string]commitlog.Options{"plain": {}, "rounds": {CompactKeys: 1}} {
		t.Run(name, func(t *testing.T) {
			now := time.UnixMilli(1_000_000)
			opts.SegmentAge, opts.TombstoneGrace = 1, time.Hour
			opts.Now = func() time.Time { return now }
			l, _ := openMem(t, opts)
			put := func(id int64, sequence int32, key string, attributes byte) {
				b := produced(t, id, sequence, nil, commitlog.Record{Timestamp: now, Key: []byte(key), Value: []byte("value")})
				b[22] |= attributes
				_, err := l.AppendBatch(t.Context(), resealed(b))
				require.NoError(t, err)
			}
			compacted := func() []string {
				now = now.Add(time.Second)
				require.NoError(t, l.Retain(t.Context())) // seals
				for range 2 {
					require.NoError(t, l.Compact(t.Context()))
				}
				return batchesOf(t, l)
			}
			const control = 1 << 5
			put(7, 0, "a", 0)
			put(7, 1, "b", 0)
			put(8, 0, "b", 0)
			put(9, 5, "c", 0)
			put(9, -1, "marker", control)
			put(8, 1, "c", 0)
			require.Equal(t, []string{"7:0+0=1", "7:1+0=0", "8:0+0=1", "9:5+0=0", "9:-1+0=1", "8:1+0=1"}, compacted())
			now = now.Add(opts.TombstoneGrace)
			require.Equal(t, []string{"7:0+0=1", "7:1+0=0", "8:0+0=1", "9:-1+0=1", "8:1+0=1"}, compacted())
			put(8, 2, "a", 0)
			require.Equal(t, []string{"8:0+0=1", "9:-1+0=1", "8:1+0=1", "8:2+0=1"}, compacted(), "nothing older is left")
			require.NoError(t, l.Close())
		})
	}
}

// A time that only an empty batch has is the time of no record, so a search for it
// does not go through all that comes behind.
func TestOffsetAtPassesEmptyBatches(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	l, m := openMem(t, commitlog.Options{SegmentBytes: 64 << 10, SegmentAge: 1, IndexBytes: 4096, Now: func() time.Time { return now }})
	put := func(id int64, at time.Time, key string) {
		_, err := l.AppendBatch(t.Context(), produced(t, id, 0, nil, commitlog.Record{Timestamp: at, Key: []byte(key), Value: make([]byte, 1000)}))
		require.NoError(t, err)
	}
	late := now.Add(time.Hour)
	put(7, late, "a")
	put(8, now, "a")
	for i := range int64(300) {
		put(9+i, now, fmt.Sprint(i))
	}
	now = now.Add(time.Second)
	require.NoError(t, l.Retain(t.Context())) // seals
	require.NoError(t, l.Compact(t.Context()))
	require.Equal(t, "7:0+0=0", batchesOf(t, l)[0])
	replica, copied := openMem(t, commitlog.Options{SegmentBytes: 64 << 10, IndexBytes: 4096})
	raw, err := l.ReadBatches(nil, 0, 1<<30, false)
	require.NoError(t, err)
	_, err = replica.AppendReplica(t.Context(), raw)
	require.NoError(t, err)
	for log, disk := range map[*commitlog.Log]*vfs.Mem{l: m, replica: copied} {
		for _, at := range []time.Time{now, late} { // the first makes the indexes known
			reads := 0
			disk.Hook(func(c vfs.Call) error {
				if c.Op == vfs.OpRead {
					reads++
				}
				return nil
			})
			_, ok, err := log.OffsetAt(at)
			require.NoError(t, err)
			require.False(t, ok)
			if at == late {
				require.LessOrEqual(t, reads, 2)
			}
		}
		disk.Hook()
		require.NoError(t, log.Close())
	}
}

// Whatever is done to a log, what is left of a producer tells its last sequence
// number, or nothing is left and it has had its time.
func TestCompactedProducersByChance(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 9))
		now := time.UnixMilli(1_000_000)
		opts := commitlog.Options{SegmentBytes: 8192, SegmentAge: 1, TombstoneGrace: time.Hour, CompactKeys: 1 + int(seed%4)*3, Sync: commitlog.SyncNever}
		opts.Now = func() time.Time { return now }
		l, m := openMem(t, opts)
		type written struct {
			id       int64
			sequence int32
			next     int64 // the offset behind it
			at       time.Time
		}
		var history []written
		sequences := map[int64]int32{}
		safe := int64(0) // no truncation goes further
		for step := range 150 {
			now = now.Add(time.Duration(rng.IntN(10)) * time.Minute)
			switch rng.IntN(12) {
			default:
				id := rng.Int64N(5)
				records := make([]commitlog.Record, 1+rng.IntN(3))
				for i := range records {
					records[i] = keyed(rng, 12)
				}
				sequence, attributes := sequences[id], byte(0)
				switch rng.IntN(12) {
				case 0:
					sequence, attributes = -1, 1<<5
				case 1:
					if seed%2 == 0 {
						attributes = 1 << 4
					}
				}
				b := produced(t, id, sequence, nil, records...)
				b[22] |= attributes
				_, err := l.AppendBatch(t.Context(), resealed(b))
				require.NoError(t, err)
				if sequence >= 0 {
					history = append(history, written{id, sequence, l.End(), now})
					sequences[id] += int32(len(records))
				}
			case 0, 1, 2:
				require.NoError(t, l.Retain(t.Context()))
				safe = max(safe, l.Start()+rng.Int64N(l.End()-l.Start()+1))
				require.NoError(t, l.CompactBefore(t.Context(), safe))
			case 3:
				for len(history) > 1 && rng.IntN(2) == 0 && history[len(history)-2].next >= max(safe, l.Start()) {
					history = history[:len(history)-1]
				}
				if len(history) > 0 && history[len(history)-1].next >= max(safe, l.Start()) {
					require.NoError(t, l.TruncateFrom(history[len(history)-1].next))
				}
				clear(sequences)
				for _, w := range history {
					sequences[w.id] = w.sequence + 1000 // a gap does no harm
				}
			case 4:
				if rng.IntN(4) == 0 {
					require.NoError(t, l.DeleteBefore(l.Start()+(l.End()-l.Start())/8))
				}
			case 5:
				require.NoError(t, l.Close())
				opts.FS = m
				var err error
				l, err = commitlog.Open("", &opts)
				require.NoError(t, err)
			}
			last := map[int64]written{}
			for _, w := range history {
				last[w.id] = w
			}
			found := map[int64]written{}
			for b, err := range l.AllBatches(l.Start(), false) {
				require.NoError(t, err)
				if !b.Control() {
					found[b.ProducerID()] = written{sequence: b.BaseSequence(), next: b.LastOffset() + 1}
				}
			}
			for id, w := range last {
				if got, ok := found[id]; ok {
					require.Equal(t, w.sequence, got.sequence, "seed %d, step %d, producer %d", seed, step, id)
					require.Equal(t, w.next, got.next)
				} else {
					require.True(t, w.next <= l.Start() || now.Sub(w.at) >= opts.TombstoneGrace, "seed %d, step %d, producer %d", seed, step, id)
				}
			}
		}
		require.NoError(t, l.Verify(t.Context()))

		now = now.Add(time.Second)
		require.NoError(t, l.Retain(t.Context()))
		for range 4 {
			require.NoError(t, l.Compact(t.Context()))
			now = now.Add(opts.TombstoneGrace)
		}
		before, left := batchesOf(t, l), map[int64]int{}
		names := segmentFiles(t, m)
		files := map[string][]byte{}
		for _, name := range names {
			var err error
			files[name], err = m.ReadFile(name)
			require.NoError(t, err)
		}
		for b, err := range l.AllBatches(l.Start(), false) {
			require.NoError(t, err)
			if b.Count() == 0 {
				require.Positive(t, left[b.ProducerID()], "seed %d: %q", seed, before)
			}
			if !b.Control() {
				left[b.ProducerID()] += b.Count()
			}
		}
		require.NoError(t, l.Compact(t.Context()))
		require.Equal(t, names, segmentFiles(t, m))
		for _, name := range names {
			data, err := m.ReadFile(name)
			require.NoError(t, err)
			require.True(t, bytes.Equal(files[name], data), "seed %d: a compaction with nothing to do", seed)
		}
		require.NoError(t, l.Close())
	}
}
