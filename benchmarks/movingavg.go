package main

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"time"

	robin "github.com/RobinUS2/golang-moving-average"
	"github.com/VividCortex/ewma"
	"github.com/rcrowley/go-metrics"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/movingavg"
)

func init() {
	harness.Register(harness.Suite{Package: "movingavg", Doc: "moving averages: time to add and read, drift after 1e8 values", Run: func(s *harness.Session) {
		averageTimes(s)
		fadingTimes(s)
		averageDrift(s)
	}})
}

// A mean is a moving average of floating-point numbers, for one goroutine.
type mean interface {
	add(v float64)
	value() float64
}

type ourMean struct{ m *movingavg.Simple[float64] }

func (m ourMean) add(v float64)        { m.m.Add(v) }
func (m ourMean) value() (got float64) { got, _ = m.m.Value(); return got }

// A runningMean is what everybody writes: a running sum, of which what leaves
// is subtracted.
type runningMean struct {
	ring []float64
	next int
	sum  float64
}

func (m *runningMean) add(v float64) {
	m.sum += v - m.ring[m.next]
	m.ring[m.next] = v
	if m.next++; m.next == len(m.ring) {
		m.next = 0
	}
}

func (m *runningMean) value() float64 { return m.sum / float64(len(m.ring)) }

// A running32 is the same with half the bits.
type running32 struct {
	ring []float32
	next int
	sum  float32
}

func (m *running32) add(v float64) {
	m.sum += float32(v) - m.ring[m.next]
	m.ring[m.next] = float32(v)
	if m.next++; m.next == len(m.ring) {
		m.next = 0
	}
}

func (m *running32) value() float64 { return float64(m.sum) / float64(len(m.ring)) }

// A neumaierMean is a running sum with a second one of what rounding lost. It
// drifts as little as ours, but a NaN in it stays for ever.
type neumaierMean struct {
	ring      []float64
	next      int
	sum, lost float64
}

func (m *neumaierMean) add(v float64) {
	m.plus(v)
	m.plus(-m.ring[m.next])
	m.ring[m.next] = v
	if m.next++; m.next == len(m.ring) {
		m.next = 0
	}
}

func (m *neumaierMean) plus(v float64) {
	t := m.sum + v
	if math.Abs(m.sum) >= math.Abs(v) {
		m.lost += (m.sum - t) + v
	} else {
		m.lost += (v - t) + m.sum
	}
	m.sum = t
}

func (m *neumaierMean) value() float64 { return (m.sum + m.lost) / float64(len(m.ring)) }

type robinMean struct{ m *robin.MovingAverage }

func (m robinMean) add(v float64)  { m.m.Add(v) }
func (m robinMean) value() float64 { return m.m.Avg() }

var meanMakers = []struct {
	name string
	make func(window int) mean
}{
	{harness.Ours, func(window int) mean { return ourMean{movingavg.NewSimple[float64](window)} }},
	{"running sum", func(window int) mean { return &runningMean{ring: make([]float64, window)} }},
	{"Neumaier", func(window int) mean { return &neumaierMean{ring: make([]float64, window)} }},
	{"float32", func(window int) mean { return &running32{ring: make([]float32, window)} }},
	{"RobinUS2", func(window int) mean { return robinMean{robin.New(window)} }},
}

// averaged is where means go that nobody wants.
var averaged float64

var _ = &averaged

func averageTimes(s *harness.Session) {
	values := make([]float64, 1<<12)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range values {
		values[i] = r.Float64()
	}
	for _, window := range []int{10, 1000, 1_000_000} {
		var impls []harness.Impl
		for _, m := range meanMakers {
			if m.name == "RobinUS2" && window > 1000 {
				continue // it adds up the window to read it
			}
			impls = append(impls, harness.Impl{Name: m.name, Start: func() (func(int), func()) {
				average := m.make(window)
				for i := range 2 * window {
					average.add(values[i&(len(values)-1)])
				}
				return timeMean(average, values), func() {}
			}})
		}
		// Ours as it is called where there is no interface.
		impls[0].Start = func() (func(int), func()) {
			average := movingavg.NewSimple[float64](window)
			for i := range 2 * window {
				average.Add(values[i&(len(values)-1)])
			}
			return func(n int) {
				for i := range n {
					average.Add(values[i&(len(values)-1)])
					got, _ := average.Value()
					averaged += got
				}
			}, func() {}
		}
		impls = append(impls, harness.Impl{Name: "ashlar int64", Start: func() (func(int), func()) {
			average := movingavg.NewSimple[int64](window)
			for i := range 2 * window {
				average.Add(int64(i & 1023))
			}
			return func(n int) {
				for i := range n {
					average.Add(int64(i & 1023))
					got, _ := average.Value()
					averaged += got
				}
			}, func() {}
		}})
		n := s.Pick(2_000_000, 500_000, 100)
		if window == 1000 {
			n /= 10 // RobinUS2
		}
		s.Time(harness.Spec{
			Group: "Add and Value",
			Name:  fmt.Sprintf("simple, window of %d", window),
			Bars:  []harness.Bar{harness.AtMost(6)},
			Note:  "others than ours through an interface, which costs about 2 ns; a running sum drifts and stays poisoned",
		}, n, impls)
	}
}

// timeMean is written for every implementation of mean at once, so that all are
// called alike.
func timeMean(average mean, values []float64) func(n int) {
	return func(n int) {
		for i := range n {
			average.add(values[i&(len(values)-1)])
			averaged += average.value()
		}
	}
}

func fadingTimes(s *harness.Session) {
	n := s.Pick(2_000_000, 500_000, 100)
	s.Time(harness.Spec{
		Group: "Add and Value", Name: "exponential",
		Bars: []harness.Bar{harness.AtMost(6)},
		Note: "VividCortex/ewma is wrong for its first ten values and after zeros; go-metrics does its arithmetic every five seconds",
	}, n, []harness.Impl{
		{Name: harness.Ours, Start: func() (func(int), func()) {
			e := movingavg.NewExp(movingavg.Span(30))
			return func(n int) {
				for i := range n {
					e.Add(float64(i & 1023))
					got, _ := e.Value()
					averaged += got
				}
			}, func() {}
		}},
		{Name: "VividCortex", Start: func() (func(int), func()) {
			e := ewma.NewMovingAverage(31)
			return func(n int) {
				for i := range n {
					e.Add(float64(i & 1023))
					averaged += e.Value()
				}
			}, func() {}
		}},
		{Name: "go-metrics", Start: func() (func(int), func()) {
			e := metrics.NewEWMA(.1)
			return func(n int) {
				for i := range n {
					e.Update(int64(i & 1023))
					averaged += e.Rate()
				}
			}, func() {}
		}},
	})
	s.Time(harness.Spec{
		Group: "Add and Value", Name: "over time, a value each millisecond",
		Note: "a TimedExp with a half-life of a second, a Window of a second with slots of 10 ms",
	}, n, []harness.Impl{
		{Name: harness.Ours, Start: func() (func(int), func()) {
			e := movingavg.NewTimedExp(time.Second, nil)
			t := time.Unix(1_700_000_000, 0)
			return func(n int) {
				for i := range n {
					t = t.Add(time.Millisecond)
					e.AddAt(t, float64(i&1023))
					got, _ := e.Value()
					averaged += got
				}
			}, func() {}
		}},
		{Name: "ashlar Window", Start: func() (func(int), func()) {
			w := movingavg.NewWindow(time.Second, nil)
			t := time.Unix(1_700_000_000, 0)
			return func(n int) {
				for i := range n {
					t = t.Add(time.Millisecond)
					w.AddAt(t, float64(i&1023))
					got, _ := w.ValueAt(t)
					averaged += got
				}
			}, func() {}
		}},
	})
}

// averageDrift shows how far means are from the truth after 1e8 values: the
// worst of a hundred looks, relative to the mean of the magnitudes.
func averageDrift(s *harness.Session) {
	const window = 1000
	n := s.Pick(100_000_000, 10_000_000, 10_000)
	for _, values := range []struct {
		name string
		draw func(r *rand.Rand) float64
	}{
		{"uniform", func(r *rand.Rand) float64 { return r.Float64() }},
		{"lognormal", func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) }},
		{"spikes of 1e9", func(r *rand.Rand) float64 {
			if r.Uint32()&0xffff == 0 {
				return 1e9
			}
			return r.Float64()
		}},
	} {
		s.Value(harness.Spec{
			Group: "Drift",
			Name:  fmt.Sprintf("%.0e values, %s", float64(n), values.name),
			Unit:  "relative error",
			Bars:  []harness.Bar{harness.AtMost(1e-14)},
			Note:  "the worst of 100 looks at a window of 1000, against exact sums",
		}, func() []harness.Figure {
			// Values are drawn once and used again and again, in blocks that
			// are no multiple of the window.
			r := rand.New(rand.NewPCG(5, 5))
			block := make([]float64, 1<<20+7)
			for i := range block {
				block[i] = values.draw(r)
			}
			var figures []harness.Figure
			for _, m := range meanMakers {
				if m.name == "RobinUS2" {
					continue
				}
				average, worst := m.make(window), 0.
				for i := range n {
					average.add(block[i%len(block)])
					if (i+1)%(n/100) == 0 {
						worst = max(worst, relativeError(average.value(), block, i, min(i+1, window), window))
					}
				}
				figures = append(figures, harness.Figure{Name: m.name, Value: worst})
			}
			return figures
		})
	}
}

// relativeError compares a mean with that of the last values up to number i,
// of which block has one after the other, again and again. Where there are
// fewer than a window, those who count zeros are right to do so.
func relativeError(got float64, block []float64, i, count, window int) float64 {
	if count < window {
		return 0
	}
	sum, magnitude := new(big.Float).SetPrec(500), 0.
	for k := range count {
		v := block[(i-k)%len(block)]
		sum.Add(sum, big.NewFloat(v))
		magnitude += math.Abs(v)
	}
	want := sum.Quo(sum, big.NewFloat(float64(count)))
	off, _ := want.Sub(want, big.NewFloat(got)).Float64()
	return math.Abs(off) / (magnitude / float64(count))
}
