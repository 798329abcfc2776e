package movingavg

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// weighted returns the mean of values with weights, by definition.
func weighted(values, weights []float64) float64 {
	var sum, weight float64
	for i, v := range values {
		sum += v * weights[i]
		weight += weights[i]
	}
	return sum / weight
}

func TestExp(t *testing.T) {
	for _, alpha := range []float64{1, .5, .1, Span(9), HalfLife(3), 1e-6} {
		e := NewExp(alpha)
		_, ok := e.Value()
		require.False(t, ok)
		require.InDelta(t, alpha, e.Alpha(), 1e-15)
		r := rand.New(rand.NewPCG(1, 1))
		var values, weights []float64
		for i := range 300 {
			for j := range weights {
				weights[j] *= 1 - alpha
			}
			v := r.NormFloat64() * 100
			values, weights = append(values, v), append(weights, 1)
			e.Add(v)
			got, ok := e.Value()
			require.True(t, ok)
			require.InDelta(t, weighted(values, weights), got, 1e-10, "alpha %v after %d values", alpha, i+1)
		}
		e.Clear()
		_, ok = e.Value()
		require.False(t, ok)
	}
}

// VividCortex/ewma took a value of zero for none: after a thousand zeros the
// next value became the average.
func TestTrapZeroIsAValue(t *testing.T) {
	e := NewExp(Span(30))
	for range 1000 {
		e.Add(0)
	}
	e.Add(100)
	got, _ := e.Value()
	require.InDelta(t, 100*2/31., got, 1e-9)
	m := NewSimple[float64](30)
	for range 30 {
		m.Add(0)
	}
	m.Add(30)
	got, _ = m.Value()
	require.Equal(t, 1.0, got)
}

// VividCortex/ewma said 0 for the first ten values, and others begin at 0 and
// come from below.
func TestTrapFirstValues(t *testing.T) {
	e, x, w := NewExp(Span(30)), NewTimedExp(time.Minute, nil), NewWindow(time.Minute, nil)
	m := NewSimple[int](30)
	for range 5 {
		e.Add(42)
		x.Add(42)
		w.Add(42)
		m.Add(42)
		for _, average := range []interface{ Value() (float64, bool) }{e, x, w, m} {
			got, ok := average.Value()
			require.True(t, ok)
			require.Equal(t, 42.0, got)
		}
	}
}

func TestExpSkipsWhatIsNotFinite(t *testing.T) {
	e, x := NewExp(.5), NewTimedExp(time.Second, nil)
	at := time.Unix(1000, 0)
	for _, v := range []float64{math.NaN(), 1, math.Inf(1), math.NaN(), math.Inf(-1), 1} {
		e.Add(v)
		x.AddAt(at, v)
	}
	got, _ := e.Value()
	require.Equal(t, 1.0, got)
	require.EqualValues(t, 4, e.Skipped())
	got, _ = x.Value()
	require.Equal(t, 1.0, got)
	require.EqualValues(t, 4, x.Skipped())
	x.Clear()
	e.Clear()
	require.Zero(t, e.Skipped()+x.Skipped())
}

func TestExpLiesBetweenItsValues(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		e, x := NewExp(1-r.Float64()), NewTimedExp(time.Second, nil)
		least, greatest := math.Inf(1), math.Inf(-1)
		for range 50 {
			v := math.Ldexp(r.Float64()*2-1, r.IntN(2000)-976)
			if r.IntN(5) == 0 {
				v = math.Copysign(math.MaxFloat64, v)
			}
			least, greatest = min(least, v), max(greatest, v)
			e.Add(v)
			x.AddAt(time.Unix(0, r.Int64N(1e11)), v)
			for _, average := range []interface{ Value() (float64, bool) }{e, x} {
				got, _ := average.Value()
				if !(got >= least && got <= greatest) {
					t.Fatalf("%v is not from %v to %v", got, least, greatest)
				}
			}
		}
	}
}

// A value counts by its time, whatever the order.
func TestTimedExp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const halfLife = 10 * time.Second
	start := time.Unix(1_700_000_000, 0)
	x := NewTimedExp(halfLife, nil)
	require.Equal(t, halfLife, x.HalfLife())
	var values []float64
	var times []time.Duration
	var latest time.Duration
	for range 300 {
		at := latest + time.Duration(r.Int64N(int64(4*time.Second))) - time.Second
		latest = max(latest, at)
		v := r.NormFloat64() * 100
		values, times = append(values, v), append(times, at)
		x.AddAt(start.Add(at), v)
		weights := make([]float64, len(times))
		for i, at := range times {
			weights[i] = math.Exp2(-(latest - at).Seconds() / halfLife.Seconds())
		}
		got, ok := x.Value()
		require.True(t, ok)
		require.InDelta(t, weighted(values, weights), got, 1e-9)
	}
}

// Times at the ends of what there is, and pauses in which all weight is lost.
func TestTimedExpFarTimes(t *testing.T) {
	x := NewTimedExp(1, nil)
	for i, at := range []time.Time{time.Unix(0, 0), time.Unix(1, 0), {}, time.Unix(1<<62, 0), time.Unix(-1<<62, 0), time.Unix(0, 5)} {
		x.AddAt(at, float64(i))
		got, ok := x.Value()
		require.True(t, ok)
		require.Equal(t, []float64{0, 1, 1, 3, 3, 3}[i], got)
	}
}

func TestTimedExpUsesItsClock(t *testing.T) {
	now := time.Unix(1000, 0)
	x := NewTimedExp(time.Second, &TimedOptions{Now: func() time.Time { return now }})
	x.Add(3)
	now = now.Add(time.Second)
	x.Add(0)
	got, _ := x.Value()
	require.Equal(t, 1.0, got) // 3 counts half as much as 0
	require.Zero(t, testing.AllocsPerRun(100, func() { x.Add(1); _, _ = x.Value() }))
	e := NewExp(.1)
	require.Zero(t, testing.AllocsPerRun(100, func() { e.Add(1); _, _ = e.Value() }))
}
