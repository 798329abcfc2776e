package movingavg

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * 1e9)) }

func TestWindow(t *testing.T) {
	w := NewWindow(10*time.Second, &TimedOptions{Resolution: time.Second})
	require.Equal(t, 10*time.Second, w.Length())
	require.Equal(t, time.Second, w.Resolution())
	s := w.SummaryAt(at(0))
	require.Zero(t, s.Count)
	require.Zero(t, s.Sum)
	require.True(t, math.IsNaN(s.Mean) && math.IsNaN(s.Min) && math.IsNaN(s.Max) && math.IsNaN(s.Variance))
	_, ok := w.ValueAt(at(0))
	require.False(t, ok)

	for i, v := range []float64{2, 4, 4, 4, 5, 5, 7, 9} {
		w.AddAt(at(float64(i)+.5), v)
	}
	s = w.SummaryAt(at(8))
	require.Equal(t, Summary{Count: 8, Sum: 40, Mean: 5, Min: 2, Max: 9, Variance: 4, Window: 10 * time.Second}, s)
	require.Equal(t, 2.0, s.StdDev())
	require.Equal(t, .8, s.Rate())

	// The slot of 2, which is over at 1, leaves with the slot that is over at
	// 11 and begins behind 10.
	require.EqualValues(t, 8, w.SummaryAt(at(10)).Count)
	s = w.SummaryAt(at(10.01))
	require.EqualValues(t, 7, s.Count)
	require.Equal(t, 4.0, s.Min)
	w.AddAt(at(.5), 1)
	require.EqualValues(t, 1, w.Dropped())
	w.AddAt(at(1.5), 1) // late
	s = w.SummaryAt(at(10.02))
	require.EqualValues(t, 8, s.Count)
	require.Equal(t, 1.0, s.Min)
	require.EqualValues(t, 8, w.SummaryAt(at(3)).Count, "time does not go back")

	require.Zero(t, w.SummaryAt(at(100)).Count)
	w.AddAt(at(99.5), 3)
	mean, ok := w.ValueAt(at(100))
	require.True(t, ok)
	require.Equal(t, 3.0, mean)
	w.Clear()
	require.Zero(t, w.Dropped())
	w.AddAt(at(0), 1)
	require.EqualValues(t, 1, w.SummaryAt(at(0)).Count)
}

// A variance far from zero, where the difference of two large sums has no
// digits left.
func TestVarianceFarFromZero(t *testing.T) {
	for _, offset := range []float64{0, 1e9, -1e12} {
		w := NewWindow(time.Second, &TimedOptions{Resolution: time.Millisecond})
		for i := range 5000 {
			w.AddAt(at(float64(i)/1000), offset+float64(i%2))
		}
		require.InDelta(t, .25, w.SummaryAt(at(5)).Variance, 1e-5, "offset %v", offset)
	}
}

func TestWindowHeals(t *testing.T) {
	w := NewWindow(10*time.Second, &TimedOptions{Resolution: time.Second})
	for i := range 40 {
		v := 1.0
		if i == 15 {
			v = math.NaN()
		}
		if i == 16 {
			v = math.Inf(1)
		}
		w.AddAt(at(float64(i)), v)
		s := w.SummaryAt(at(float64(i)))
		if i >= 15 && i < 26 {
			require.False(t, s.Mean < 1e300, "it shows")
			require.True(t, math.IsNaN(s.Variance))
			continue
		}
		require.Equal(t, 1.0, s.Mean)
		require.Equal(t, 1.0, s.Max)
		require.Zero(t, s.Variance)
	}
}

func TestWindowOfHugeValues(t *testing.T) {
	w := NewWindow(time.Minute, nil)
	for range 3 {
		w.AddAt(at(0), math.MaxFloat64)
	}
	s := w.SummaryAt(at(0))
	require.Equal(t, math.MaxFloat64, s.Mean)
	require.True(t, math.IsInf(s.Sum, 1))
}

func TestWindowUsesItsClock(t *testing.T) {
	now := start
	w := NewWindow(time.Second, &TimedOptions{Now: func() time.Time { return now }})
	w.Add(1)
	require.EqualValues(t, 1, w.Summary().Count)
	got, ok := w.Value()
	require.True(t, ok)
	require.Equal(t, 1.0, got)
	now = now.Add(time.Second)
	require.Zero(t, w.Summary().Count)
	for range 500 { // a slot more each time
		now = now.Add(10 * time.Millisecond)
		w.Add(1)
	}
	require.Zero(t, testing.AllocsPerRun(500, func() {
		now = now.Add(10 * time.Millisecond)
		w.Add(1)
		_, _ = w.Value()
	}))
	require.LessOrEqual(t, cap(w.slots), 512)
	require.Equal(t, time.Duration(1), NewWindow(50, nil).Resolution())
}

// checkInvariants holds w against the drawing at its declaration.
func (w *Window) checkInvariants(t *testing.T) {
	t.Helper()
	if w.head > w.mid && len(w.slots) > 0 || w.mid > len(w.slots) {
		t.Fatalf("head %d, mid %d of %d", w.head, w.mid, len(w.slots))
	}
	for i := w.head; i < len(w.slots); i++ {
		s := w.slots[i]
		if i > w.head && s.number <= w.slots[i-1].number || s.number > w.present || s.number <= w.present-w.slotCount {
			t.Fatalf("slot %d in a window that ends with %d", s.number, w.present)
		}
		if s.values.count == 0 || i < w.mid && s.tail.count == 0 {
			t.Fatalf("slot %d is empty", s.number)
		}
	}
}

// FuzzWindow holds a Window against all values with their times.
func FuzzWindow(f *testing.F) {
	f.Add(uint8(10), []byte("times and values, late ones and early ones, and questions"))
	f.Add(uint8(0), []byte{9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 255, 2})
	f.Fuzz(func(t *testing.T, size uint8, program []byte) {
		slots := int64(size)%20 + 1
		w := NewWindow(time.Duration(slots)*10+time.Duration(size)%10, &TimedOptions{Resolution: 10})
		slots = int64(w.length) / 10
		type value struct {
			slot int64
			v    float64
		}
		var values []value
		now, latest := int64(0), int64(math.MinInt64)
		var dropped uint64
		for i := 0; i+2 <= len(program); i += 2 {
			op, arg := program[i], program[i+1]
			now += int64(arg % 16)
			when := now - int64(op)
			slot := int64(math.Ceil(float64(when) / 10))
			v := float64(int8(arg)) * math.Exp(float64(op%40))
			if op > 250 {
				v = math.NaN()
			}
			if latest != math.MinInt64 && slot <= latest-slots {
				dropped++
			} else {
				values = append(values, value{slot, v})
				latest = max(latest, slot)
			}
			w.AddAt(time.Unix(0, when), v)
			w.checkInvariants(t)
			if arg%7 == 0 {
				restart(t, w, NewWindow(w.length, &TimedOptions{Resolution: 10}))
			}
			if arg%3 == 0 {
				continue // ask now and then
			}
			latest = max(latest, int64(math.Ceil(float64(now)/10)))
			got := w.SummaryAt(time.Unix(0, now))
			var in []float64
			for _, v := range values {
				if v.slot > latest-slots {
					in = append(in, v.v)
				}
			}
			w.checkInvariants(t)
			if got.Count != int64(len(in)) || w.Dropped() != dropped {
				t.Fatalf("%d values, %d dropped, want %d and %d", got.Count, w.Dropped(), len(in), dropped)
			}
			if len(in) == 0 {
				continue
			}
			least, greatest, nan := in[0], in[0], false
			for _, v := range in {
				least, greatest = min(least, v), max(greatest, v)
				nan = nan || math.IsNaN(v)
			}
			if nan {
				if !math.IsNaN(got.Mean) || !math.IsNaN(got.Min) || !math.IsNaN(got.Variance) {
					t.Fatalf("%+v of %v", got, in)
				}
				continue
			}
			if got.Min != least || got.Max != greatest {
				t.Fatalf("from %v to %v, want %v and %v", got.Min, got.Max, least, greatest)
			}
			checkMean(t, got.Mean, in)
			mean, _ := exactMean(in)
			squares := new(big.Float).SetPrec(4000)
			for _, v := range in {
				d := new(big.Float).SetPrec(4000).SetFloat64(v)
				d.Sub(d, mean)
				squares.Add(squares, d.Mul(d, d))
			}
			variance, _ := squares.Quo(squares, new(big.Float).SetInt64(int64(len(in)))).Float64()
			spread := greatest - least
			if math.Abs(got.Variance-variance) > spread*spread*1e-12+1e-12*max(greatest*greatest, least*least)*1e-12 {
				t.Fatalf("variance %v, want %v, of %v", got.Variance, variance, in)
			}
		}
	})
}

// Many values, so that slots come and go, against the same by brute force.
func TestWindowLong(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	w := NewWindow(100, &TimedOptions{Resolution: 1})
	type value struct {
		at int64
		v  float64
	}
	var values []value
	now := int64(0)
	for range 20_000 {
		now += r.Int64N(4)
		when := now - r.Int64N(3)
		v := r.NormFloat64() + 1e6
		w.AddAt(time.Unix(0, when), v)
		values = append(values, value{when, v})
		for len(values) > 0 && values[0].at <= now-110 {
			values = values[1:]
		}
		s := w.SummaryAt(time.Unix(0, now))
		var in []float64
		for _, v := range values {
			if v.at > now-100 {
				in = append(in, v.v)
			}
		}
		if s.Count != int64(len(in)) {
			t.Fatalf("%d values, want %d", s.Count, len(in))
		}
		if r.IntN(50) == 0 {
			checkMean(t, s.Mean, in)
		}
	}
}
