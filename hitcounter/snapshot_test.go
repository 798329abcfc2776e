package hitcounter

import (
	"encoding"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

var (
	_ encoding.BinaryAppender    = (*Snapshot)(nil)
	_ encoding.BinaryMarshaler   = (*Snapshot)(nil)
	_ encoding.BinaryUnmarshaler = (*Snapshot)(nil)
	_ encoding.BinaryAppender    = (*Sketch)(nil)
	_ encoding.BinaryMarshaler   = (*Sketch)(nil)
	_ encoding.BinaryUnmarshaler = (*Sketch)(nil)
	_ encoding.BinaryAppender    = (*Unique)(nil)
	_ encoding.BinaryMarshaler   = (*Unique)(nil)
	_ encoding.BinaryUnmarshaler = (*Unique)(nil)
)

type merger interface {
	Counter
	Snapshot() *Snapshot
	Merge(*Snapshot) error
}

// Hits shared out to hosts add up to what one counter of all of them knows:
// merged as snapshots, and merged into a counter.
func TestMergeOfHostsIsExact(t *testing.T) {
	opts := &Options{Resolution: 100, Stripes: 2}
	for name, newCounter := range map[string]func() merger{
		"ring":    func() merger { return NewRing(1600, opts) },
		"striped": func() merger { return NewStriped(1600, opts) },
		"exact":   func() merger { return NewExact(1600, opts) },
	} {
		r := rand.New(rand.NewPCG(1, 2))
		one := newCounter()
		hosts := []merger{newCounter(), newCounter(), newCounter()}
		at := epoch
		for i := range 3000 {
			at = at.Add(time.Duration(r.IntN(40) - 10))
			one.HitAt(at)
			hosts[r.IntN(3)].HitAt(at)
			if i%500 != 499 {
				continue
			}
			var sum Snapshot
			var sent []*Snapshot
			for _, host := range hosts {
				data, err := host.Snapshot().MarshalBinary()
				require.NoError(t, err)
				sent = append(sent, new(Snapshot))
				require.NoError(t, sent[len(sent)-1].UnmarshalBinary(data))
			}
			require.NoError(t, sum.Merge(sent...))
			into := newCounter()
			for _, s := range sent {
				require.NoError(t, into.Merge(s))
			}
			for ask := at.Add(40); ask.Before(at.Add(2000)); ask = ask.Add(7) {
				lo, hi := one.Bounds(ask)
				for who, got := range map[string]Reader{"merged": readSnapshot{&sum}, "into": into} {
					gotLo, gotHi := got.Bounds(ask)
					off := one.CountAt(ask) - got.CountAt(ask)
					if gotLo != lo || gotHi != hi || off > 1 || off < -1 {
						t.Fatalf("%s, %s: %d of %d to %d, want %d of %d to %d", name, who, got.CountAt(ask), gotLo, gotHi, one.CountAt(ask), lo, hi)
					}
				}
			}
			require.Equal(t, one.Stats().Hits, into.Stats().Hits, name)
			require.Equal(t, one.Stats(), sum.Stats(), name)
		}
	}
}

type readSnapshot struct{ *Snapshot }

func (readSnapshot) Count() int64 { return 0 }

func TestMergeRefusesWhatDoesNotFit(t *testing.T) {
	ring := NewRing(time.Minute, nil)
	ring.HitAt(epoch)
	good := ring.Snapshot()
	for name, s := range map[string]*Snapshot{
		"window":     NewRing(time.Hour, &Options{Resolution: ring.Resolution()}).Snapshot(),
		"resolution": NewRing(time.Minute, &Options{Resolution: time.Second}).Snapshot(),
		"approx":     NewApprox(time.Minute, .1, nil).Snapshot(),
	} {
		require.ErrorIs(t, ring.Merge(s), ErrMismatch, name)
		require.ErrorIs(t, NewStriped(time.Minute, nil).Merge(s), ErrMismatch, name)
		require.ErrorIs(t, NewExact(time.Minute, nil).Merge(s), ErrMismatch, name)
		var sum Snapshot
		require.ErrorIs(t, sum.Merge(good, s), ErrMismatch, name)
		require.Equal(t, Snapshot{}, sum, "unchanged")
	}
	require.ErrorIs(t, ring.Merge(&Snapshot{}), ErrMismatch)
	require.EqualValues(t, 1, ring.CountAt(epoch))
	require.ErrorIs(t, NewApprox(time.Minute, .1, nil).Restore(good), ErrMismatch)

	u := NewUnique(time.Minute, 10, nil)
	for _, other := range []*Unique{NewUnique(time.Hour, 10, nil), NewUnique(time.Minute, 11, nil), NewUnique(time.Minute, 10, &Options{Resolution: time.Second})} {
		require.ErrorIs(t, u.Merge(other), ErrMismatch)
		data, err := other.MarshalBinary()
		require.NoError(t, err)
		require.ErrorIs(t, u.UnmarshalBinary(data), ErrMismatch)
	}
}

func TestZeroSnapshot(t *testing.T) {
	var s, other Snapshot
	require.NoError(t, s.Merge(&other, &s))
	require.Zero(t, s.CountAt(epoch))
	lo, hi := s.Bounds(epoch)
	require.Zero(t, lo)
	require.Zero(t, hi)
	require.Zero(t, s.Stats())
	_, err := s.MarshalBinary()
	require.Error(t, err)
	_, err = new(Sketch).MarshalBinary()
	require.Error(t, err)
	for range s.All() {
		t.Error("something in the zero Snapshot")
	}
}

func TestSnapshotAll(t *testing.T) {
	ring := NewRing(time.Minute, &Options{Resolution: time.Second})
	ring.AddAt(time.Unix(1000, 1), 2)
	ring.AddAt(time.Unix(1003, 0), 5)
	ring.HitAt(time.Unix(1001, 0))
	var ends, hits []int64
	for end, n := range ring.Snapshot().All() {
		ends = append(ends, end.Unix())
		hits = append(hits, n)
	}
	require.Equal(t, []int64{1001, 1003}, ends)
	require.Equal(t, []int64{3, 5}, hits)
	for range ring.Snapshot().All() {
		break
	}
}

// An Approx goes on from where it was, and sums of several keep their bounds.
func TestApproxSnapshots(t *testing.T) {
	const window, eps = 10_000, .05
	w := &twin{window: window}
	r := rand.New(rand.NewPCG(3, 4))
	a, b := NewApprox(window, eps, nil), NewApprox(window, eps, nil)
	at := epoch
	for i := range 6000 {
		at = at.Add(time.Duration(r.IntN(6)))
		w.add(event{at: at, n: 1})
		[]*Approx{a, b}[r.IntN(2)].HitAt(at)
		if i%600 != 0 {
			continue
		}
		restored := NewApprox(window, eps, nil)
		require.NoError(t, restored.Restore(a.Snapshot()))
		require.NoError(t, restored.check())
		a = restored
		sum := a.Snapshot()
		require.NoError(t, sum.Merge(b.Snapshot()))
		require.NoError(t, sum.check())
		want := w.count(at, anyKey)
		lo, hi := sum.Bounds(at)
		n := sum.CountAt(at)
		if lo > want || hi < want || math.Abs(float64(n-want)) > eps*float64(want) {
			t.Errorf("hit %d: %d of %d to %d, want %d", i, n, lo, hi, want)
		}
	}
	sum := a.Snapshot()
	require.NoError(t, sum.Merge(b.Snapshot()))
	require.ErrorIs(t, a.Restore(sum), ErrMismatch, "buckets overlap")
}

// encodings are of every kind.
func encodings(t testing.TB) map[byte][]byte {
	ring, approx := NewRing(time.Minute, nil), NewApprox(time.Minute, .3, nil)
	u, s := NewUnique(time.Minute, 6, nil), NewSketch(6)
	at := epoch
	for i := range 300 {
		at = at.Add(time.Second)
		ring.AddAt(at, int64(i))
		approx.AddAt(at, int64(i))
		u.HitHashAt(at, xxhash.Sum64(binary.AppendVarint(nil, int64(i))))
		if i < 14 {
			s.AddHash(uint64(i) << 59)
		}
	}
	ring.HitAt(epoch)
	ring.HitAt(time.Unix(1<<50, 0))
	all := map[byte][]byte{}
	for kind, m := range map[byte]encoding.BinaryMarshaler{'s': ring.Snapshot(), 'b': approx.Snapshot(), 'u': u, 'h': s} {
		data, err := m.MarshalBinary()
		require.NoError(t, err)
		all[kind] = data
	}
	return all
}

type coder interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

func receiver(kind byte) coder {
	switch kind {
	case 'h':
		return new(Sketch)
	case 'u':
		return NewUnique(time.Minute, 6, nil)
	}
	return new(Snapshot)
}

// Every bit that is changed, missing or too much is found.
func TestDamage(t *testing.T) {
	for kind, data := range encodings(t) {
		for i := range data {
			for bit := range 8 {
				damaged := slices.Clone(data)
				damaged[i] ^= 1 << bit
				if err := receiver(kind).UnmarshalBinary(damaged); err == nil {
					t.Fatalf("%c: bit %d of byte %d of %d does not matter", kind, bit, i, len(data))
				}
			}
			require.ErrorIs(t, receiver(kind).UnmarshalBinary(data[:i]), ErrBadEncoding)
			if i < len(data)-8 {
				require.ErrorIs(t, receiver(kind).UnmarshalBinary(seal(data[:i])), ErrBadEncoding, "%c cut at %d, with a checksum", kind, i)
			}
		}
		require.ErrorIs(t, receiver(kind).UnmarshalBinary(append(slices.Clone(data), 0)), ErrBadEncoding)
		require.ErrorIs(t, receiver(kind).UnmarshalBinary(seal(append(slices.Clone(data[:len(data)-8]), 0))), ErrBadEncoding)
		for other, foreign := range encodings(t) {
			if receiver(kind) != nil && kind != other && !(kind == 's' && other == 'b') && !(kind == 'b' && other == 's') {
				require.ErrorIs(t, receiver(kind).UnmarshalBinary(foreign), ErrBadEncoding, "%c as %c", other, kind)
			}
		}
		prefix := []byte("prefix")
		again := receiver(kind)
		require.NoError(t, again.UnmarshalBinary(data))
		appended, err := again.AppendBinary(prefix)
		require.NoError(t, err)
		require.Equal(t, "prefix"+string(data), string(appended))
	}
}

// seal gives content a valid checksum.
func seal(content []byte) []byte {
	content = slices.Clip(content)
	return binary.LittleEndian.AppendUint64(content, xxhash.Sum64(content))
}

// An error leaves everything as it was, and a lie about a size allocates
// nothing.
func TestLies(t *testing.T) {
	head := func(kind string, numbers ...uint64) []byte {
		data := []byte("hc" + kind + "1")
		for _, n := range numbers {
			data = binary.AppendUvarint(data, n)
		}
		return data
	}
	for name, content := range map[string][]byte{
		"window 0":               head("s", 0, 1, 0, 0, 0, 0, 0),
		"window too long":        head("s", 1<<62, 1, 0, 0, 0, 0, 0),
		"resolution 0":           head("s", 100, 0, 0, 0, 0, 0, 0),
		"resolution too long":    head("s", 100, 101, 0, 0, 0, 0, 0),
		"2^60 slots":             head("s", 100, 1, 0, 0, 0, 0, 1<<60),
		"2^63 hits":              head("s", 100, 1, 0, 0, 0, 0, 1, 2, 1<<63),
		"no hits":                head("s", 100, 1, 0, 0, 0, 0, 1, 2, 0),
		"a long number":          append(head("s", 100, 1, 0, 0, 0, 0, 1, 2), 0x81, 0),
		"a slot out of range":    head("s", 100, 1, 0, 0, 0, 0, 1, 1<<63+2, 1),
		"slots out of range":     head("s", 100, 1, 0, 0, 0, 0, 2, 1<<63-2, 1, 5, 1),
		"a mark of 2":            head("s", 100, 1, 0, 0, 0, 2, 0),
		"lost at no time":        head("s", 100, 1, 1, 0, 0, 1<<63+1<<62+2, 0, 0),
		"one hit from 1 to 2":    head("b", 100, 0, 0, 0, 0, 1, 2, 1, 1),
		"buckets out of order":   head("b", 100, 0, 0, 0, 0, 2, 2, 3, 2, 0, 2, 2),
		"an instant twice":       head("b", 100, 0, 0, 0, 0, 2, 2, 0, 2, 0, 0, 2),
		"2^58 buckets":           head("b", 100, 0, 0, 0, 0, 1<<58),
		"precision 3":            head("h", 3, 0),
		"precision 60":           head("h", 60, 0),
		"more registers than is": head("h", 4, 17, 0),
		"rank 62":                head("h", 4, 1, 0, 62),
		"rank 0":                 head("h", 4, 1, 0, 0),
		"register 16":            head("h", 4, 1, 16, 1),
		"register 17":            head("h", 4, 2, 15, 1, 0, 1),
		"few as many":            append(head("h", 4, 5), make([]byte, 16)...),
		"row of another":         head("u", 60e9, 6e9, 6, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 12, 1, 1, 0, 1),
		"more ranks than hits":   head("u", 60e9, 6e9, 6, 0, 0, 0, 0, 1, 0, 1, 2, 0, 1, 0, 1),
		"hits without a rank":    head("u", 60e9, 6e9, 6, 0, 0, 0, 0, 1, 0, 1, 0),
		"too many slots":         head("u", 60e9, 6e9, 6, 0, 0, 0, 0, 14),
	} {
		data := seal(content)
		c := receiver(content[2])
		if err := c.UnmarshalBinary(encodings(t)[content[2]]); err != nil {
			t.Fatal(err)
		}
		before, _ := c.AppendBinary(nil)
		require.ErrorIs(t, c.UnmarshalBinary(data), ErrBadEncoding, name)
		after, _ := c.AppendBinary(nil)
		require.Equal(t, before, after, name)
	}
	// The same without the lie.
	for _, content := range [][]byte{
		head("s", 100, 1, 0, 0, 0, 0, 1, 2, 1),
		head("b", 100, 0, 0, 0, 0, 2, 2, 3, 2, 0, 3, 2),
		head("h", 4, 1, 15, 61),
		head("u", 60e9, 6e9, 6, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 11, 1, 1, 0, 1),
	} {
		require.NoError(t, receiver(content[2]).UnmarshalBinary(seal(content)), "%q", content)
	}
}

// What is accepted is encoded as it was, and has the invariants.
func FuzzUnmarshal(f *testing.F) {
	for _, data := range encodings(f) {
		f.Add(data[:len(data)-8])
	}
	f.Add([]byte("hcs1d\x01\x01\x02\x03\x04\x01\x05\x02\x02\x01\x00\x07"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) < 4 {
			return
		}
		c := receiver(content[2])
		if err := c.UnmarshalBinary(content); err == nil && len(content) < 12 {
			t.Fatal("accepted without a checksum")
		}
		data := seal(content)
		if err := c.UnmarshalBinary(data); err != nil {
			return
		}
		if again, err := c.AppendBinary(nil); err != nil || string(again) != string(data) {
			t.Fatalf("encoded as %x, %v, read from %x", again, err, data)
		}
		var err error
		switch c := c.(type) {
		case *Snapshot:
			err = c.check()
			lo, hi := c.Bounds(epoch)
			if n := c.CountAt(epoch); n < lo || n > hi {
				t.Fatalf("%d of %d to %d", n, lo, hi)
			}
			ring := NewRing(c.Window(), &Options{Resolution: max(c.Resolution(), c.Window()/1000)})
			if ring.Merge(c) == nil && err == nil {
				err = ring.check()
			}
			exact := NewExact(c.Window(), &Options{Resolution: max(c.Resolution(), 1)})
			if exact.Merge(c) == nil && err == nil {
				err = exact.check()
			}
			approx := NewApprox(c.Window(), .1, nil)
			if approx.Restore(c) == nil && err == nil {
				approx.HitAt(epoch)
			}
			c.Merge(c)
		case *Sketch:
			err = c.check()
			c.Count()
		case *Unique:
			err = c.check()
			c.CountAt(epoch)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
