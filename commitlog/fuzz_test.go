package commitlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

// An entry is what the plain twin of a log knows of a record.
type entry struct {
	offset  int64
	millis  int64
	key     string // "" for nil
	value   string
	nothing bool // the value is nil
}

// A twin is a log as a slice.
type twin struct {
	entries    []entry
	start, end int64
}

func (w *twin) append(millis int64, key, value string, nothing bool) commitlog.Record {
	w.entries = append(w.entries, entry{w.end, millis, key, value, nothing})
	w.end++
	r := commitlog.Record{Timestamp: time.UnixMilli(millis), Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	if nothing {
		r.Value = nil
	}
	return r
}

func (w *twin) cut(start, end int64) {
	w.entries = slices.DeleteFunc(slices.Clone(w.entries), func(e entry) bool { return e.offset < start || e.offset >= end })
	w.start, w.end = start, end
}

// at returns the first entry at or after an offset.
func (w *twin) at(offset int64) []entry {
	i, _ := slices.BinarySearchFunc(w.entries, offset, func(e entry, o int64) int { return int(e.offset - o) })
	return w.entries[i:]
}

// explains reports whether a compacted log can be what is left of the twin:
// the same records or fewer, with the last of each key among them.
func (w *twin) explains(got []entry) error {
	last := map[string]int64{}
	for _, e := range w.entries {
		if e.key != "" {
			last[e.key] = e.offset
		}
	}
	left := w.entries
	for _, e := range got {
		i := slices.Index(left, e)
		if i < 0 {
			return fmt.Errorf("%+v was not appended there", e)
		}
		for _, gone := range left[:i] {
			if gone.key == "" || last[gone.key] == gone.offset {
				return fmt.Errorf("%+v is gone", gone)
			}
		}
		left = left[i+1:]
	}
	for _, gone := range left {
		if gone.key == "" || last[gone.key] == gone.offset {
			return fmt.Errorf("%+v is gone", gone)
		}
	}
	return nil
}

// A machine runs the operations that bytes say on a log and on its twin.
type machine struct {
	t    *testing.T
	opts commitlog.Options
	m    *vfs.Mem
	l    *commitlog.Log
	twin twin
	in   []byte
	rng  *rand.Rand
}

func (x *machine) byte() int {
	if len(x.in) == 0 {
		return 0
	}
	b := x.in[0]
	x.in = x.in[1:]
	return int(b)
}

func (x *machine) open() {
	x.opts.FS = x.m
	l, err := commitlog.Open("", &x.opts)
	require.NoError(x.t, err)
	x.l = l
}

func (x *machine) records() []commitlog.Record {
	var records []commitlog.Record
	for range 1 + x.byte()%3 {
		b := x.byte()
		key := ""
		if b%3 > 0 {
			key = fmt.Sprint("key ", b%7)
		}
		size := b * b / 20
		value := strings.Repeat(string(rune('a'+b%26)), size)
		records = append(records, x.twin.append(int64(1000+x.byte()*10), key, value, b%11 == 0))
		if b%11 == 0 {
			x.twin.entries[len(x.twin.entries)-1].value = ""
		}
	}
	return records
}

func (x *machine) step() {
	t, ctx := x.t, x.t.Context()
	first := x.twin.end
	some := func() int64 { // an offset between start and end
		return x.twin.start + int64(x.byte())*(x.twin.end-x.twin.start)/255
	}
	switch x.byte() % 12 {
	case 0, 1, 2, 3:
		got, err := x.l.Append(ctx, x.records()...)
		require.NoError(t, err)
		require.Equal(t, first, got)
	case 4:
		b, err := commitlog.AppendBatchTo(nil, 5, commitlog.GzipCodec(1), x.records()...)
		require.NoError(t, err)
		got, err := x.l.AppendBatch(ctx, b)
		require.NoError(t, err)
		require.Equal(t, first, got)
	case 5:
		gap := int64(x.byte() % 5)
		x.twin.end += gap
		b, err := commitlog.AppendBatchTo(nil, first+gap, nil, x.records()...)
		require.NoError(t, err)
		end, err := x.l.AppendReplica(ctx, b)
		require.NoError(t, err)
		require.Equal(t, x.twin.end, end)
	case 6:
		at := some()
		require.NoError(t, x.l.TruncateFrom(at))
		x.twin.cut(x.twin.start, at)
	case 7:
		at := some()
		require.NoError(t, x.l.DeleteBefore(at))
		x.twin.cut(at, x.twin.end)
	case 8:
		require.NoError(t, x.l.Retain(ctx)) // begins a segment
		require.NoError(t, x.l.Compact(ctx))
	case 9:
		require.NoError(t, x.l.Close())
		x.open()
	case 10: // a power loss
		require.NoError(t, x.l.Sync(ctx))
		lost := x.m.Crash(x.rng)
		require.NoError(t, x.l.Close())
		x.m = lost
		x.open()
	case 11:
		at := x.twin.start + int64(x.byte())
		require.NoError(t, x.l.Reset(at))
		x.twin = twin{start: at, end: at}
	}
}

// checkInvariants compares all that can be asked with the twin, from an offset
// of the log on.
func (x *machine) checkInvariants() {
	t := x.t
	require.Equal(t, [2]int64{x.twin.start, x.twin.end}, [2]int64{x.l.Start(), x.l.End()})
	require.LessOrEqual(t, x.l.Durable(), x.l.End())
	var got []entry
	for r, err := range x.l.Records(x.l.Start()) {
		require.NoError(t, err)
		got = append(got, entry{r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value), r.Value == nil})
	}
	if err := x.twin.explains(got); err != nil {
		t.Fatalf("%v\nwant %v\ngot  %v", err, x.twin.entries, got)
	}
	x.twin.entries = got // what compaction has removed stays so
	require.NoError(t, x.l.Verify(t.Context()))

	for range 3 {
		from := x.twin.start + x.rng.Int64N(x.twin.end-x.twin.start+1)
		want := x.twin.at(from)
		b, err := x.l.ReadBatches([]byte("before"), from, x.rng.IntN(2000), false)
		require.NoError(t, err)
		require.Equal(t, "before", string(b[:6]))
		var read []entry
		for batch, err := range commitlog.Batches(b[6:]) {
			require.NoError(t, err)
			for r, err := range batch.Records() {
				require.NoError(t, err)
				if r.Offset >= from {
					read = append(read, entry{r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value), r.Value == nil})
				}
			}
		}
		require.LessOrEqual(t, len(read), len(want))
		require.Equal(t, want[:len(read):len(read)], append(want[:0:0], read...))

		at := int64(1000 + x.rng.IntN(2600))
		offset, ok, err := x.l.OffsetAt(time.UnixMilli(at))
		require.NoError(t, err)
		i := slices.IndexFunc(x.twin.entries, func(e entry) bool { return e.millis >= at })
		require.Equal(t, i >= 0, ok, "OffsetAt(%d)", at)
		if ok {
			require.Equal(t, x.twin.entries[i].offset, offset, "OffsetAt(%d)", at)
		}
	}
	for _, wrong := range []int64{x.twin.start - 1, x.twin.end + 1} {
		_, err := x.l.ReadBatches(nil, wrong, 100, false)
		out, ok := errors.AsType[*commitlog.OutOfRangeError](err)
		require.True(t, ok)
		require.Equal(t, commitlog.OutOfRangeError{Offset: wrong, Start: x.twin.start, End: x.twin.end}, *out)
	}
}

// settings are options under which the same operations have the same results.
var settings = []commitlog.Options{
	{SegmentBytes: 8192, Sync: commitlog.SyncNever},
	{SegmentBytes: 1 << 20, Sync: commitlog.SyncEach, IndexBytes: 100},
	{SegmentBytes: 16384, Sync: commitlog.SyncBytes, SyncBytes: 500, WriteThrough: true, IndexBytes: 1},
	{SegmentBytes: 10_000, Sync: commitlog.SyncNever, Codec: commitlog.GzipCodec(1), CompactKeys: 2, BufferBytes: 300},
}

func run(t *testing.T, setting int, in []byte) []entry {
	opts := settings[setting]
	now := time.UnixMilli(5000)
	opts.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
	opts.SegmentAge = 1
	x := &machine{t: t, opts: opts, m: vfs.NewMem(), in: in, rng: rand.New(rand.NewPCG(1, uint64(len(in))))}
	x.open()
	for steps := 0; len(x.in) > 0 && steps < 200; steps++ {
		x.step()
		x.checkInvariants()
	}
	require.NoError(t, x.l.Close())
	require.Empty(t, x.m.Open())
	x.open()
	x.checkInvariants()
	require.NoError(t, x.l.Close())
	return x.twin.entries
}

func FuzzLog(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 9))
	for setting := range settings {
		for range 3 {
			in := make([]byte, 300)
			for i := range in {
				in[i] = byte(rng.Uint32())
			}
			f.Add(byte(setting), in)
		}
	}
	f.Fuzz(func(t *testing.T, setting byte, in []byte) {
		run(t, int(setting)%len(settings), in[:min(len(in), 1000)])
	})
}

// Without compaction, whose work depends on the sizes of segments, the same
// operations leave the same records whatever the options are.
func TestSameUnderAllOptions(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	for range 5 {
		in := make([]byte, 300)
		for i := range in {
			if in[i] = byte(rng.Uint32()); in[i]%12 == 8 {
				in[i]++
			}
		}
		want := run(t, 0, in)
		for setting := 1; setting < len(settings); setting++ {
			require.Equal(t, want, run(t, setting, in), "setting %d", setting)
		}
	}
}

// Any bytes are a batch that can be walked over, or an error.
func FuzzBatch(f *testing.F) {
	for _, codec := range []commitlog.Codec{nil, commitlog.GzipCodec(1)} {
		b, err := commitlog.AppendBatchTo(nil, 3, codec, samples...)
		require.NoError(f, err)
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, seal bool) {
		in = bytes.Clone(in)
		if seal && len(in) >= 61 { // so that what is behind the checksum is reached
			in[16] = 2
			resealed(in)
		}
		b, rest, err := commitlog.NextBatch(in)
		if err != nil {
			if !errors.Is(err, commitlog.ErrBadBatch) {
				t.Fatalf("%v is no ErrBadBatch", err)
			}
			return
		}
		if len(b)+len(rest) != len(in) {
			t.Fatal("bytes got lost")
		}
		if len(b) == 0 {
			return
		}
		var records []commitlog.Record
		last, latest := int64(-1), int64(math.MinInt64)
		skipped, refused := commitlog.CheckRecords(b)
		for r, err := range b.Records() {
			if plain := b.Compression() == commitlog.None; plain && err != nil && refused == nil {
				t.Fatalf("read: %v, skipped without an error", err)
			}
			if err != nil {
				return
			}
			latest = max(latest, r.Timestamp.UnixMilli())
			if r.Offset <= last || r.Offset < b.BaseOffset() || r.Offset > b.LastOffset() {
				t.Fatalf("offset %d after %d", r.Offset, last)
			}
			last = r.Offset
			records = append(records, r)
		}
		if len(records) != b.Count() {
			t.Fatalf("%d records, %d counted", len(records), b.Count())
		}
		if len(records) > 0 && b.Compression() == commitlog.None && (refused != nil || skipped != latest) {
			t.Fatalf("latest %d, skipping found %d, %v", latest, skipped, refused)
		}
	})
}

// Open of any bytes in the place of a segment returns a log or an error.
func FuzzOpen(f *testing.F) {
	m := vfs.NewMem()
	l, err := commitlog.Open("", &commitlog.Options{FS: m})
	require.NoError(f, err)
	_, err = l.Append(f.Context(), value("a"), value("b"))
	require.NoError(f, err)
	require.NoError(f, l.Close())
	b, err := m.ReadFile("00000000000000000000.log")
	require.NoError(f, err)
	f.Add(b, uint16(0))
	f.Add(b[:4096], uint16(600))
	f.Add([]byte("nothing"), uint16(0))
	f.Fuzz(func(t *testing.T, in []byte, fix uint16) {
		if at := int(fix); at+80 <= len(in) && at > 0 { // make a checkpoint pass its checksum
			in = bytes.Clone(in)
			binary.BigEndian.PutUint32(in[at:], commitlog.Checksum(in[at+4:at+80]))
		}
		m := vfs.NewMem()
		if err := m.WriteFile("00000000000000000000.log", in); err != nil {
			t.Fatal(err)
		}
		opts := &commitlog.Options{FS: m}
		l, err := commitlog.Open("", opts)
		if err != nil {
			if _, err := commitlog.Repair("", opts); err != nil {
				t.Fatalf("repair: %v", err)
			}
			if l, err = commitlog.Open("", opts); err != nil {
				t.Fatalf("repaired, and still: %v", err)
			}
		}
		defer l.Close()
		for _, err := range l.Records(l.Start()) {
			if err != nil {
				break
			}
		}
		if _, err := l.Append(t.Context(), value("more")); err != nil {
			t.Fatal(err)
		}
	})
}
