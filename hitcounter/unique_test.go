package hitcounter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// check verifies the invariants in the comment of Sketch.
func (s *Sketch) check() error {
	var counts [maxRank + 1]uint32
	for i, rank := range s.registers {
		if int(rank) > 64-int(s.precision)+1 {
			return fmt.Errorf("register %d has rank %d", i, rank)
		}
		counts[rank]++
	}
	if counts != s.counts {
		return fmt.Errorf("counts %v of registers that have %v", s.counts, counts)
	}
	return nil
}

func (u *Unique) check() error {
	for i := range u.slots {
		row := &u.slots[i]
		switch {
		case row.slot != empty && u.row(row.slot) != row:
			return fmt.Errorf("row %d has slot %d", i, row.slot)
		case (row.slot == empty) != (row.hits == 0) || row.hits == 0 && int(row.sketch.counts[0]) != len(row.sketch.registers):
			return fmt.Errorf("row %d has %d hits and slot %d", i, row.hits, row.slot)
		}
		if err := row.sketch.check(); err != nil {
			return err
		}
	}
	return nil
}

func runUniqueScript(data []byte) error {
	s := script{data: data, now: epoch}
	shape := windows[s.byte()%len(windows)]
	s.grid = shape.resolution
	precision := 4 + s.byte()%3
	w := &twin{window: shape.window}
	opts := &Options{Resolution: shape.resolution}
	u := NewUnique(shape.window, precision, opts)
	hosts := []*Unique{NewUnique(shape.window, precision, opts), NewUnique(shape.window, precision, opts)}
	for step := 0; len(s.data) > 0 && step < 300; step++ {
		e := s.next(false)
		e.n = 1
		e.key = e.key*16 + s.byte()%16
		w.add(e)
		visitor := strconv.Itoa(e.key)
		u.HitAt(e.at, visitor)
		hosts[step%2].HitAt(e.at, visitor)
		if err := u.check(); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		if step%7 != 0 && len(s.data) > 0 {
			continue
		}
		if stats := u.Stats(); stats.Hits+stats.Dropped != int64(step+1) {
			return fmt.Errorf("step %d: %+v", step, stats)
		}
		merged := NewUnique(shape.window, precision, opts)
		for _, host := range hosts {
			data, _ := host.MarshalBinary()
			read := NewUnique(shape.window, precision, opts)
			if err := read.UnmarshalBinary(data); err != nil {
				return err
			}
			if again, _ := read.MarshalBinary(); string(again) != string(data) {
				return fmt.Errorf("encoded as %x and then as %x", data, again)
			}
			if err := merged.Merge(read); err != nil {
				return err
			}
		}
		for _, t := range s.questions() {
			want := w.distinct(t)
			for name, u := range map[string]*Unique{"one": u, "merged": merged} {
				lo, hi := u.Bounds(t)
				if n := u.CountAt(t); lo > want || hi < want || n < lo || n > hi {
					return fmt.Errorf("step %d, %s: Bounds(%v) = %d, %d and CountAt %d, true count %d", step, name, t, lo, hi, n, want)
				}
			}
			if !t.Before(w.latest) && u.CountAt(t) != merged.CountAt(t) {
				return fmt.Errorf("step %d: CountAt(%v) = %d, of two hosts %d", step, t, u.CountAt(t), merged.CountAt(t))
			}
		}
	}
	return nil
}

func FuzzUnique(f *testing.F) {
	for i := range byte(7) {
		f.Add([]byte{i, i, 2, 50, 1, 3, 4, 2, 18, 7, 3, 4, 0, 4, 3, 200, 5, 2, 9, 6, 4, 0, 7, 8, 60, 1, 12, 3, 1})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := runUniqueScript(data); err != nil {
			t.Fatal(err)
		}
	})
}

func TestUniqueModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		data := make([]byte, 500)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		data[0], data[1] = byte(i), byte(i/7)
		require.NoError(t, runUniqueScript(data), "script %d: %x", i, data)
	}
}

// The error of many sketches is what theory says, from few to many visitors.
func TestSketchError(t *testing.T) {
	const precision, sketches = 10, 60
	r := rand.New(rand.NewPCG(5, 6))
	sizes := []int{1, 10, 100, 500, 1024, 2560, 5000, 20_000}
	squares := make([]float64, len(sizes))
	for range sketches {
		s := NewSketch(precision)
		added := 0
		for i, size := range sizes {
			for ; added < size; added++ {
				hash := r.Uint64()
				s.AddHash(hash)
				s.AddHash(hash) // again changes nothing
			}
			off := float64(s.Count())/float64(size) - 1
			squares[i] += off * off / sketches
		}
	}
	want := NewSketch(precision).RelativeError()
	require.InDelta(t, .0325, want, .0001)
	for i, size := range sizes {
		if rms := math.Sqrt(squares[i]); rms > want*1.3 {
			t.Errorf("%d visitors: error %.4f, want %.4f", size, rms, want)
		}
	}
}

func TestSketchEnds(t *testing.T) {
	for _, precision := range []int{4, 11, 18} {
		s := NewSketch(precision)
		require.Zero(t, s.Count())
		s.AddHash(0) // the highest rank of register 0
		s.AddHash(math.MaxUint64)
		require.NoError(t, s.check())
		require.EqualValues(t, 2, s.Count())
		require.EqualValues(t, 64-precision+1, s.registers[0], "all bits are 0")
		require.EqualValues(t, 1, s.registers[len(s.registers)-1])
		for i := range s.registers {
			s.AddHash(uint64(i) << (64 - precision))
		}
		require.NoError(t, s.check())
		require.Equal(t, int64(math.MaxInt64), s.Count(), "all registers are full")
		s.Clear()
		require.NoError(t, s.check())
		require.Zero(t, s.Count())
	}
}

// Merging is telling one of all visitors.
func TestSketchMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	a, b, both := NewSketch(6), NewSketch(6), NewSketch(6)
	for range 300 {
		x, y := strconv.Itoa(r.IntN(200)), strconv.Itoa(r.IntN(1000))
		a.Add(x)
		b.Add(y)
		both.Add(x)
		both.Add(y)
	}
	require.NoError(t, a.Merge(b))
	require.NoError(t, a.check())
	require.Equal(t, both, a)
	require.ErrorIs(t, a.Merge(NewSketch(7)), ErrMismatch)
}

// Hosts that are to be merged have to agree on hashes, today's with
// yesterday's.
func TestSketchIsTheSameEverywhere(t *testing.T) {
	s := NewSketch(4)
	for _, visitor := range []string{"ada", "grace", "edsger", "barbara", "", "donald"} {
		s.Add(visitor)
	}
	data, err := s.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, "686368310405040200000003000000000000000302005ab73240cccd9282", fmt.Sprintf("%x", data))
}

// A sketch that counts registers one by one has the same answer.
func TestUniqueMergesSketches(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	u := NewUnique(time.Second, 8, nil)
	all, without := NewSketch(8), NewSketch(8)
	end := epoch.Add(50 * time.Millisecond) // in the middle of a slot
	for range 5000 {
		at := end.Add(-time.Duration(r.Int64N(int64(time.Second))))
		hash := r.Uint64()
		u.HitHashAt(at, hash)
		u.HitHashAt(at, hash) // or the number of hits would limit the estimate
		all.AddHash(hash)
		if at.After(end.Add(-950 * time.Millisecond)) {
			without.AddHash(hash)
		}
	}
	require.Equal(t, without.Count()+(all.Count()-without.Count())/2, u.CountAt(end))
	require.EqualValues(t, 100*time.Millisecond, u.Resolution())
}

// The sums of the estimate are those of the paper, term by term.
func TestEstimateSums(t *testing.T) {
	for _, x := range []float64{0, 1e-9, .001, .1, .3, .5, .9, .99, .9999} {
		want := x
		for k := 1; k < 60; k++ {
			want += math.Pow(x, math.Pow(2, float64(k))) * math.Pow(2, float64(k-1))
		}
		require.InEpsilon(t, 1+want, 1+sigma(x), 1e-12, "sigma(%v)", x)
	}
	require.True(t, math.IsInf(sigma(1), 1))
	for _, x := range []float64{1e-9, .001, .1, .3, .5, .9, .99} {
		want := 1 - x
		for k := 1; k < 60; k++ {
			want -= math.Pow(1-math.Pow(x, math.Pow(2, -float64(k))), 2) * math.Pow(2, -float64(k))
		}
		require.InEpsilon(t, want/3, tau(x), 1e-9, "tau(%v)", x)
	}
	require.Zero(t, tau(0))
	require.Zero(t, tau(1))
}

// Where a window is made of whole slots, all registers that were raised are
// known to have been raised in it.
func TestUniqueBoundsOfWholeSlots(t *testing.T) {
	u := NewUnique(10*time.Second, 8, &Options{Resolution: time.Second})
	for i := range 30 {
		for range 3 {
			u.HitHashAt(time.Unix(int64(i), 0), uint64(i)<<56)
		}
	}
	for i := int64(19); i < 30; i++ {
		lo, hi := u.Bounds(time.Unix(i+10, 0)) // those after i
		require.Equal(t, [2]int64{29 - i, 3 * (29 - i)}, [2]int64{lo, hi}, i)
		require.EqualValues(t, 29-i, u.CountAt(time.Unix(i+10, 0)))
	}
	// A window beyond all time may begin after everything.
	for hits := range int64(3) {
		u = NewUnique(10, 8, nil)
		for i := range hits {
			u.HitHashAt(time.Unix(0, maxTime-i), uint64(i)<<56)
		}
		lo, hi := u.Bounds(time.Unix(0, maxTime))
		require.Equal(t, [2]int64{hits, hits}, [2]int64{lo, hi})
		lo, hi = u.Bounds(time.Unix(1<<40, 0))
		require.Equal(t, [2]int64{0, hits}, [2]int64{lo, hi})
	}
}
