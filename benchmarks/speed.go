package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/internal/trace"
)

// A workload is a mix of reads and writes of keys with skewed popularity.
type workload struct {
	name     string
	capacity int
	keys     population
	writes   int // percent
}

// A population is a number of keys, of which the k-th is asked for in
// proportion to 1/k^skew.
type population struct {
	size int
	skew float64
}

// All of the small one fits into every cache, also into one that splits its
// capacity. The large one has ten times the keys that fit, and a skew at which
// a cache hits not quite half of them, so that evictions are what is measured.
var (
	small = population{58_000, 1.01}
	large = population{1_000_000, .7}
)

var workloads = []workload{
	{"get, all hits", 65536, small, 0},
	{"75/25, all hits", 65536, small, 25},
	{"75/25, evicting", 100_000, large, 25},
	{"set, updating", 65536, small, 100},
	{"set, evicting", 100_000, large, 100},
}

// scaled is the workload for a run of that size, since caches that are not
// full say nothing.
func (w workload) scaled(s *harness.Session) workload {
	divisor := s.Pick(1, 1, 64)
	w.capacity /= divisor
	w.keys.size /= divisor
	return w
}

const period = 1 << 20 // after which the keys come again

var (
	drawn   = map[population][]int64{}
	drawing sync.Mutex
)

// draw returns a period of keys, the same each time.
func (p population) draw() []int64 {
	drawing.Lock()
	defer drawing.Unlock()
	keys := drawn[p]
	if keys == nil {
		for _, key := range trace.Zipf(1, period, p.size, p.skew).Keys {
			keys = append(keys, int64(key))
		}
		drawn[p] = keys
	}
	return keys
}

// fill puts as many of the workload's keys as there is room for, in no order
// that popularity has to do with, and no faster than the cache takes them.
func (w workload) fill(c bounded) {
	seen := map[int64]bool{}
	var distinct []int64
	for _, key := range w.keys.draw() {
		if !seen[key] {
			seen[key] = true
			distinct = append(distinct, key)
		}
	}
	if len(distinct) > w.capacity {
		distinct = distinct[:w.capacity]
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(distinct), func(i, j int) { distinct[i], distinct[j] = distinct[j], distinct[i] })
	slow, _ := c.(settler)
	for i, key := range distinct {
		c.Put(key, key)
		if slow != nil && (i%256 == 255 || i == len(distinct)-1) {
			slow.settle()
		}
	}
}

// run performs n operations on c, shared out to the goroutines, each of which
// begins elsewhere among the keys: from the start-th, and from as far behind
// each other as the period allows.
func (w workload) run(c bounded, goroutines, start, n int) {
	keys := w.keys.draw()
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { w.work(c, keys, start+g*(period/goroutines), n/goroutines) })
	}
	wg.Wait()
}

func (w workload) work(c bounded, keys []int64, from, n int) {
	for i := from; i < from+n; i++ {
		key := keys[i&(period-1)]
		if i*37%100 < w.writes { // 37 and 100 have no common factor, so writes are spread
			c.Put(key, int64(i))
		} else {
			c.Get(key)
		}
	}
}

// goroutines are the numbers that each workload is run with.
var goroutines = []int{2, 1, 4, 16}

// speed emits rows of processor time for every workload and number of
// goroutines, and how throughput holds with many of them. The bars are for two
// goroutines, by workload.
func speed(s *harness.Session, makers []maker, bars map[string][]harness.Bar) {
	n := s.Pick(1<<20, 1<<18, 1<<9)
	var scaling []func()
	for i, w := range workloads {
		specs := map[int]harness.Spec{}
		for _, g := range goroutines {
			spec := harness.Spec{Group: "Time", Name: fmt.Sprintf("%s, %d goroutines", w.name, g), Unit: harness.CPUTime}
			if w.writes > 0 && slices.ContainsFunc(makers, func(m maker) bool { return m.name == peerRistretto.name }) {
				spec.Note = "ristretto drops writes that find its buffer full"
			}
			if g == 1 {
				spec.Name = w.name + ", 1 goroutine"
			}
			if g == 2 {
				spec.Bars = bars[w.name]
			} else if s.Pick(0, 1, 0) == 1 && i != 2 {
				continue // one workload says enough in a short run
			}
			if s.Want(spec) {
				specs[g] = spec
			}
		}
		scale := harness.Spec{
			Group: "Many goroutines", Name: w.name + ", throughput of 16 goroutines over 2",
			Unit: "×", Higher: true, Bars: []harness.Bar{harness.AtLeast(.7)},
		}
		scaled := s.Pick(0, 1, 0) == 0 || i == 2
		scaled = scaled && s.Want(scale)
		var at []int
		for _, g := range goroutines {
			if _, ok := specs[g]; ok || scaled && (g == 2 || g == 16) {
				at = append(at, g)
			}
		}
		if len(at) == 0 {
			continue
		}
		samples := w.scaled(s).interleave(s.Rounds(), n, makers, at)
		for _, g := range at {
			if spec, ok := specs[g]; ok {
				s.Emit(spec, s.Rounds(), harness.Timings(samples[g]))
			}
		}
		if scaled {
			scaling = append(scaling, func() { s.Emit(scale, s.Rounds(), throughput(samples[16], samples[2])) })
		}
	}
	for _, emit := range scaling {
		emit()
	}
}

// throughput returns how much of that of the second samples is left in the
// first.
func throughput(many, few []harness.Samples) []harness.Figure {
	var figures []harness.Figure
	for i := range few {
		f := harness.Figure{Name: few[i].Name}
		f.Value, f.Spread = harness.PerRound(few[i], many[i], func(few, many harness.Sample) float64 { return few.Wall / many.Wall })
		figures = append(figures, f)
	}
	return figures
}

// interleave runs the workload with every maker's cache and every number of
// goroutines in turn; samples are by number of goroutines.
func (w workload) interleave(rounds, n int, makers []maker, goroutines []int) map[int][]harness.Samples {
	var impls []harness.Impl
	for _, m := range makers {
		c, stop := m.make(w.capacity)
		defer stop()
		w.fill(c)
		for _, g := range goroutines {
			impls = append(impls, harness.Impl{Name: m.name, Start: func() (func(int), func()) {
				start := 0 // a turn goes on where the last one ended, or it would meet the same keys
				return func(n int) {
					w.run(c, g, start, n)
					start += n / g
				}, none
			}})
		}
	}
	samples := map[int][]harness.Samples{}
	for i, of := range harness.Interleave(rounds, n, impls) {
		g := goroutines[i%len(goroutines)]
		samples[g] = append(samples[g], of)
	}
	return samples
}
