package commitlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/stretchr/testify/require"
)

var samples = []commitlog.Record{
	{Timestamp: time.UnixMilli(1_700_000_000_000), Key: []byte("key"), Value: []byte("value")},
	{Timestamp: time.UnixMilli(1_700_000_000_500), Value: []byte{}, Headers: []commitlog.Header{{"a", []byte("1")}, {"", nil}, {"b", []byte{}}}},
	{Timestamp: time.UnixMilli(-5), Key: []byte{}, Value: nil},
	{Timestamp: time.UnixMilli(1_800_000_000_000), Value: bytes.Repeat([]byte("long "), 1000)},
}

func decoded(t *testing.T, b commitlog.Batch) (got []commitlog.Record) {
	t.Helper()
	for r, err := range b.Records() {
		require.NoError(t, err)
		got = append(got, r)
	}
	return got
}

func TestBatchRoundTrip(t *testing.T) {
	for _, codec := range []commitlog.Codec{nil, commitlog.GzipCodec(1), commitlog.GzipCodec(9)} {
		b, err := commitlog.AppendBatchTo([]byte("before"), 42, codec, samples...)
		require.NoError(t, err)
		require.Equal(t, "before", string(b[:6]))
		batch := commitlog.Batch(b[6:])
		require.NoError(t, batch.Verify())
		require.Equal(t, int64(42), batch.BaseOffset())
		require.Equal(t, int64(45), batch.LastOffset())
		require.Equal(t, 4, batch.Count())
		require.Equal(t, len(batch), batch.Len())
		require.Equal(t, samples[3].Timestamp, batch.MaxTimestamp())
		require.Equal(t, samples[0].Timestamp, batch.BaseTimestamp())
		require.Equal(t, int64(-1), batch.ProducerID())
		require.Equal(t, int16(-1), batch.ProducerEpoch())
		require.Equal(t, int32(-1), batch.BaseSequence())
		require.False(t, batch.Control() || batch.Transactional() || batch.LogAppendTime())
		want := slices.Clone(samples)
		for i := range want {
			want[i].Offset = 42 + int64(i)
		}
		require.Equal(t, want, decoded(t, batch))
	}
}

// The bytes of a batch as the Kafka protocol guide describes them.
func TestBatchBytes(t *testing.T) {
	b, err := commitlog.AppendBatchTo(nil, 7, nil, commitlog.Record{Timestamp: time.UnixMilli(1000), Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	require.Equal(t, "0000000000000007"+"0000003a"+"ffffffff"+"02"+fmt.Sprintf("%08x", crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))+
		"0000"+"00000000"+"00000000000003e8"+"00000000000003e8"+"ffffffffffffffff"+"ffff"+"ffffffff"+"00000001"+
		"10"+"00"+"00"+"00"+"02"+"6b"+"02"+"76"+"00", fmt.Sprintf("%x", b))
}

// resealed sets length and checksum right after a change.
func resealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], commitlog.Checksum(b[21:]))
	return b
}

// A producer that lies about the latest timestamp would make retention remove
// records early, or never, and searches by time pass over them.
func TestAppendBatchKeepsTheLatestTimestampTrue(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	at := time.UnixMilli(5000)
	for _, lie := range []uint64{0, 1 << 40} {
		b, err := commitlog.AppendBatchTo(nil, 0, nil, commitlog.Record{Value: []byte("a"), Timestamp: at}, commitlog.Record{Value: []byte("b"), Timestamp: at.Add(-time.Second)})
		require.NoError(t, err)
		binary.BigEndian.PutUint64(b[35:], lie)
		_, err = l.AppendBatch(t.Context(), resealed(b))
		require.NoError(t, err)
	}
	for b, err := range l.AllBatches(0, false) {
		require.NoError(t, err)
		require.NoError(t, b.Verify())
		require.Equal(t, at, b.MaxTimestamp())
	}
	offset, ok, err := l.OffsetAt(at)
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, offset)
	_, ok, err = l.OffsetAt(at.Add(1))
	require.NoError(t, err)
	require.False(t, ok)
}

// A batch that claims to be compressed and is not is stored, since nobody
// unpacks it. It stands for its first record, and hides none behind it.
func TestOffsetAtPassesWhatCannotBeRead(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	at := time.UnixMilli(5000)
	for i, broken := range []bool{false, true, false} {
		b, err := commitlog.AppendBatchTo(nil, 0, nil, commitlog.Record{Value: []byte("a"), Timestamp: at}, commitlog.Record{Value: []byte("b"), Timestamp: at.Add(time.Second)})
		require.NoError(t, err)
		if broken {
			b[22] |= byte(commitlog.Gzip)
		}
		first, err := l.AppendBatch(t.Context(), resealed(b))
		require.NoError(t, err)
		require.EqualValues(t, 2*i, first)
		at = at.Add(2 * time.Second)
	}
	for seconds, want := range map[int]int64{5: 0, 6: 1, 7: 2, 8: 2, 9: 4, 10: 5} {
		offset, ok, err := l.OffsetAt(time.Unix(int64(seconds), 0))
		if err != nil || !ok || offset != want {
			t.Errorf("OffsetAt(%d s) = %d, %v, %v, want %d", seconds, offset, ok, err, want)
		}
	}
}

func TestAppendBatchRefuses(t *testing.T) {
	l := open(t, t.TempDir(), &commitlog.Options{MaxBatchBytes: 10_000})
	good, err := commitlog.AppendBatchTo(nil, 0, nil, samples[:3]...)
	require.NoError(t, err)
	for name, change := range map[string]func(b []byte) []byte{
		"empty":            func(b []byte) []byte { return nil },
		"less than header": func(b []byte) []byte { return b[:60] },
		"cut off":          func(b []byte) []byte { return b[:len(b)-1] },
		"bytes behind":     func(b []byte) []byte { return append(b, 0) },
		"two batches":      func(b []byte) []byte { return append(b, b...) },
		"checksum":         func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"checksum field":   func(b []byte) []byte { b[17] ^= 1; return b },
		"magic 1":          func(b []byte) []byte { b[16] = 1; return b },
		"negative length":  func(b []byte) []byte { b[8] = 0x80; return b },
		"huge length":      func(b []byte) []byte { b[8] = 0x7f; return b },
		"count too large":  func(b []byte) []byte { b[60]++; return resealed(b) },
		"count too small":  func(b []byte) []byte { b[60]--; return resealed(b) },
		"count huge":       func(b []byte) []byte { b[57] = 0x7f; b[23] = 0x7f; return resealed(b) },
		"count negative":   func(b []byte) []byte { b[57] = 0x80; return resealed(b) },
		"last offset":      func(b []byte) []byte { b[26] = 9; return resealed(b) },
		"delete horizon":   func(b []byte) []byte { b[22] |= 1 << 6; return resealed(b) },
		"codec 5":          func(b []byte) []byte { b[22] |= 5; return resealed(b) },
		"record length":    func(b []byte) []byte { b[61] += 2; return resealed(b) },
		"record cut":       func(b []byte) []byte { return resealed(b[:len(b)-3]) },
		"offset delta":     func(b []byte) []byte { b[64] = 2; return resealed(b) },
		"header count":     func(b []byte) []byte { b[len(b)-1] = 0x7e; return resealed(b) },
	} {
		_, err := l.AppendBatch(t.Context(), change(bytes.Clone(good)))
		if !errors.Is(err, commitlog.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
		if l.End() != 0 {
			t.Fatalf("%s: was appended", name)
		}
	}
	big, err := commitlog.AppendBatchTo(nil, 0, nil, value(strings.Repeat("x", 10_000)))
	require.NoError(t, err)
	_, err = l.AppendBatch(t.Context(), big)
	require.ErrorIs(t, err, commitlog.ErrTooLarge)
	_, err = l.Append(t.Context(), value(strings.Repeat("x", 10_000)))
	require.ErrorIs(t, err, commitlog.ErrTooLarge)
	_, err = l.Append(t.Context())
	require.ErrorIs(t, err, commitlog.ErrBadBatch)

	l.SetLeaderEpoch(9)
	for i := range 3 {
		first, err := l.AppendBatch(t.Context(), good)
		require.NoError(t, err)
		require.Equal(t, int64(3*i), first)
	}
	stored, err := l.ReadBatches(nil, 4, 0, false)
	require.NoError(t, err)
	require.Equal(t, int32(9), commitlog.Batch(stored).LeaderEpoch())
	require.Equal(t, int64(3), commitlog.Batch(stored).BaseOffset())
	require.Equal(t, good[16:], stored[16:], "verbatim")
}

func TestAppendReplica(t *testing.T) {
	leader := open(t, t.TempDir(), &commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever})
	follower := open(t, t.TempDir(), &commitlog.Options{SegmentBytes: 9000, Sync: commitlog.SyncNever})
	leader.SetLeaderEpoch(3)
	want := fill(t, leader, 0, 500)
	for follower.End() < leader.End() {
		batches, err := leader.ReadBatches(nil, follower.End(), 3000, false)
		require.NoError(t, err)
		_, err = follower.AppendReplica(t.Context(), batches)
		require.NoError(t, err)
	}
	require.Equal(t, want, values(t, follower, 0))
	for b, err := range follower.AllBatches(0, false) {
		require.NoError(t, err)
		require.Equal(t, int32(3), b.LeaderEpoch())
	}
	old, err := leader.ReadBatches(nil, 0, 0, false)
	require.NoError(t, err)
	_, err = follower.AppendReplica(t.Context(), old)
	require.ErrorIs(t, err, commitlog.ErrOutOfRange)

	gap, err := commitlog.AppendBatchTo(nil, 1000, nil, value("a"), value("b"))
	require.NoError(t, err)
	end, err := follower.AppendReplica(t.Context(), gap)
	require.NoError(t, err)
	require.Equal(t, int64(1002), end)
	require.Equal(t, []string{"a", "b"}, values(t, follower, 700), "the next after a gap")
	require.Equal(t, append(want, "a", "b"), values(t, follower, 0))
	end, err = follower.AppendReplica(t.Context(), append(resealed(commitlogBatch(t, 1002, "c")), 1, 2, 3))
	require.ErrorIs(t, err, commitlog.ErrBadBatch)
	require.Equal(t, int64(1003), end, "what came before the bad bytes is there")
	require.NoError(t, follower.Verify(t.Context()))

	require.ErrorIs(t, follower.Reset(-1), commitlog.ErrOutOfRange)
	for _, at := range []int64{5000, 5000, 6000} {
		require.NoError(t, follower.Reset(at))
		require.Equal(t, []int64{at, at, at}, []int64{follower.Start(), follower.End(), follower.Durable()})
		_, err := follower.AppendReplica(t.Context(), commitlogBatch(t, at, "new"))
		require.NoError(t, err)
		require.Equal(t, []string{"new"}, values(t, follower, at))
	}
	require.NoError(t, follower.Reset(6000))
	require.Equal(t, int64(6000), follower.End())
}

// What was good before a bad batch is as safe, and as visible, as without it.
func TestAppendReplicaBeforeABadBatch(t *testing.T) {
	l, m := openMem(t, commitlog.Options{})
	woken := make(chan error, 1)
	go func() { woken <- l.Wait(t.Context(), 1, true) }()
	bad := commitlogBatch(t, 2, "c")
	bad[len(bad)-1] ^= 1
	end, err := l.AppendReplica(t.Context(), append(commitlogBatch(t, 0, "a", "b"), bad...))
	require.ErrorIs(t, err, commitlog.ErrBadBatch)
	require.Equal(t, int64(2), end)
	require.Equal(t, int64(2), l.Durable())
	require.NoError(t, <-woken)
	opens(t, m.Crash(nil), commitlog.Options{}, 0, []string{"a", "b"})
	require.NoError(t, l.Close())
}

// A batch that appends share is not larger than one may be, and a follower
// takes what its leader has stored.
func TestMaxBatchBytes(t *testing.T) {
	l, _ := openMem(t, commitlog.Options{MaxBatchBytes: 500, Sync: commitlog.SyncNever})
	for range 50 {
		_, err := l.Append(t.Context(), value(strings.Repeat("v", 100)))
		require.NoError(t, err)
	}
	stored, err := l.ReadBatches(nil, 0, 1<<20, false)
	require.NoError(t, err)
	n := 0
	for b, err := range commitlog.Batches(stored) {
		require.NoError(t, err)
		require.LessOrEqual(t, len(b), 500)
		n++
	}
	require.Less(t, n, 50, "they share")
	require.NoError(t, l.Close())
	for _, opts := range []commitlog.Options{{MaxBatchBytes: 100}, {MaxBatchBytes: 100, SegmentBytes: 8192}} {
		follower, _ := openMem(t, opts)
		_, err = follower.AppendReplica(t.Context(), stored)
		require.NoError(t, err)
		require.Equal(t, int64(50), follower.End())
		require.NoError(t, follower.Close())
	}

	noise := make([]byte, 970)
	rand.NewChaCha8([32]byte{}).Read(noise)
	l, _ = openMem(t, commitlog.Options{MaxBatchBytes: 1061, Codec: commitlog.GzipCodec(9)})
	_, err = l.Append(t.Context(), commitlog.Record{Value: noise})
	require.ErrorIs(t, err, commitlog.ErrTooLarge, "compression has made it larger")
	require.Zero(t, l.End())
	require.NoError(t, l.Close())
}

func TestLastOffsets(t *testing.T) {
	l, m := openMem(t, commitlog.Options{})
	_, err := l.AppendReplica(t.Context(), commitlogBatch(t, math.MaxInt64, "x"))
	require.ErrorIs(t, err, commitlog.ErrBadBatch)
	require.NoError(t, l.Reset(math.MaxInt64-2))
	_, err = l.AppendBatch(t.Context(), commitlogBatch(t, 0, "x", "y", "z"))
	require.ErrorIs(t, err, commitlog.ErrTooLarge)
	_, err = l.Append(t.Context(), value("x"), value("y"), value("z"))
	require.ErrorIs(t, err, commitlog.ErrTooLarge)
	first, err := l.Append(t.Context(), value("x"), value("y"))
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64-2), first)
	_, err = l.Append(t.Context(), value("z"))
	require.ErrorIs(t, err, commitlog.ErrTooLarge)
	require.Equal(t, int64(math.MaxInt64), l.End())
	require.NoError(t, l.Close())
	l, err = commitlog.Open("", &commitlog.Options{FS: m})
	require.NoError(t, err)
	require.Equal(t, []string{"x", "y"}, values(t, l, math.MaxInt64-2))
	require.NoError(t, l.Close())
}

func commitlogBatch(t *testing.T, base int64, texts ...string) []byte {
	t.Helper()
	var records []commitlog.Record
	for _, text := range texts {
		records = append(records, value(text))
	}
	b, err := commitlog.AppendBatchTo(nil, base, nil, records...)
	require.NoError(t, err)
	return b
}

// A batch that is compressed as nobody here can is stored, served, and an
// error for readers of records.
func TestForeignCodec(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	b, err := commitlog.AppendBatchTo(nil, 0, nil, samples[:2]...)
	require.NoError(t, err)
	b[22] |= byte(commitlog.Zstd)
	resealed(b)
	_, err = l.AppendBatch(t.Context(), b)
	require.NoError(t, err)
	fill(t, l, 2, 1)
	stored, err := l.ReadBatches(nil, 0, 0, true)
	require.NoError(t, err)
	require.Equal(t, b, stored)
	r := l.NewReader(1, nil)
	_, err = r.Next(t.Context())
	missing, ok := errors.AsType[*commitlog.CodecError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, commitlog.CodecError{commitlog.Zstd, 0}, *missing)
	_, err = r.Next(t.Context())
	require.ErrorIs(t, err, commitlog.ErrNoCodec, "it tries again")
	r.SeekTo(2)
	rec, err := r.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, "record 2", string(rec.Value))
	require.NoError(t, l.Verify(t.Context()))
	require.ErrorIs(t, l.TruncateFrom(1), commitlog.ErrNoCodec)
	require.Equal(t, int64(3), l.End(), "nothing was removed")
}

func TestDecompressionIsBounded(t *testing.T) {
	dir := t.TempDir()
	bomb := commitlog.Record{Value: make([]byte, 1<<20)}
	l := open(t, dir, &commitlog.Options{Codec: commitlog.GzipCodec(9)})
	_, err := l.Append(t.Context(), bomb)
	require.NoError(t, err)
	require.Less(t, l.Stats().Size, int64(20_000))
	require.NoError(t, l.Close())
	l = open(t, dir, &commitlog.Options{MaxDecompressed: 1 << 19})
	for _, err := range l.Records(0) {
		require.ErrorContains(t, err, "more than 524288 bytes")
	}
	require.NoError(t, l.Close())
	l = open(t, dir, &commitlog.Options{MaxDecompressed: math.MaxInt})
	require.Len(t, values(t, l, 0)[0], 1<<20)
}

func TestLogAppendTime(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	b, err := commitlog.AppendBatchTo(nil, 0, nil, samples...)
	require.NoError(t, err)
	b[22] |= 8
	binary.BigEndian.PutUint64(b[35:], 5_000_000)
	_, err = l.AppendBatch(t.Context(), resealed(b))
	require.NoError(t, err)
	for r, err := range l.Records(0) {
		require.NoError(t, err)
		require.Equal(t, time.UnixMilli(5_000_000), r.Timestamp)
	}
	offset, ok, err := l.OffsetAt(time.UnixMilli(4_999_999))
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, offset)
}

func TestControlBatchesAreSkipped(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	fill(t, l, 0, 1)
	b, err := commitlog.AppendBatchTo(nil, 0, nil, value("marker"))
	require.NoError(t, err)
	b[22] |= 0x30
	_, err = l.AppendBatch(t.Context(), resealed(b))
	require.NoError(t, err)
	fill(t, l, 2, 1)
	require.Equal(t, []string{"record 0", "record 2"}, values(t, l, 0))
}
