package harness

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// An Impl is one implementation of a workload. Start makes it ready and
// returns what runs n operations and what ends it.
type Impl struct {
	Name  string
	Start func() (run func(n int), stop func())
}

// A Sample is what one turn took, per operation.
type Sample struct {
	CPU, Wall     float64 // nanoseconds
	Allocs, Bytes float64
}

// Samples are those of one implementation, one a round.
type Samples struct {
	Name    string
	Samples []Sample
}

// Interleave starts all implementations, warms each up with a quarter of a
// turn, and has them take turns of n operations, round after round. Every
// round begins with another one, and every other round goes backwards, so
// that none always runs after the same.
func Interleave(rounds, n int, impls []Impl) []Samples {
	runs := make([]func(int), len(impls))
	result := make([]Samples, len(impls))
	for i, impl := range impls {
		run, stop := impl.Start()
		defer stop()
		runs[i], result[i].Name = run, impl.Name
		run(max(1, n/4))
	}
	for round := range rounds {
		for _, i := range turns(round, len(impls)) {
			result[i].Samples = append(result[i].Samples, turn(n, runs[i]))
		}
	}
	return result
}

// turns returns the order of n implementations in a round.
func turns(round, n int) []int {
	order := make([]int, n)
	for i := range order {
		step := i
		if round%2 == 1 {
			step = n - i // one back
		}
		order[i] = (round + step) % n
	}
	return order
}

func turn(n int, run func(int)) Sample {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	run(n)
	wall := time.Since(start)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	ops := float64(n)
	return Sample{
		CPU: float64(cpu) / ops, Wall: float64(wall) / ops,
		Allocs: float64(after.Mallocs-before.Mallocs) / ops, Bytes: float64(after.TotalAlloc-before.TotalAlloc) / ops,
	}
}

// Timings turns samples into figures of processor time.
func Timings(all []Samples) []Figure {
	names := make([]string, len(all))
	cpu := make([][]float64, len(all))
	for i, s := range all {
		names[i], cpu[i] = s.Name, s.column(func(s Sample) float64 { return s.CPU })
	}
	result := figures(names, cpu)
	for i, s := range all {
		wall := s.column(func(s Sample) float64 { return s.Wall })
		result[i].Timing = &Timing{
			CPUMin: slices.Min(cpu[i]), Wall: Median(wall), WallMin: slices.Min(wall),
			Allocs: settle(Median(s.column(func(s Sample) float64 { return s.Allocs })), 0.001),
			Bytes:  settle(Median(s.column(func(s Sample) float64 { return s.Bytes })), 0.1),
		}
	}
	return result
}

// settle takes as zero what the runtime itself allocates now and then.
func settle(x, least float64) float64 {
	if x < least {
		return 0
	}
	return x
}

// column returns a part of every sample, in the order of the rounds.
func (s Samples) column(part func(Sample) float64) []float64 {
	column := make([]float64, len(s.Samples))
	for i, sample := range s.Samples {
		column[i] = part(sample)
	}
	return column
}

// PerRound combines two implementations' samples of the same round, as for
// the throughput of one over that of the other, and returns the median over
// rounds and the spread.
func PerRound(a, b Samples, f func(a, b Sample) float64) (median, spread float64) {
	values := make([]float64, len(a.Samples))
	for i := range values {
		values[i] = f(a.Samples[i], b.Samples[i])
	}
	return Median(values), Spread(values)
}

// figures makes figures of values by implementation and round: medians, and
// for the peers the ratio of ours to theirs.
func figures(names []string, values [][]float64) []Figure {
	mine := slices.Index(names, Ours)
	result := make([]Figure, len(names))
	for i, name := range names {
		result[i] = Figure{Name: name, Value: Median(values[i]), Spread: Spread(values[i])}
		if i == mine || mine < 0 || slices.Contains(values[i], 0) {
			continue
		}
		ratios := make([]float64, len(values[i]))
		for round := range ratios {
			ratios[round] = values[mine][round] / values[i][round]
		}
		result[i].Ratio, result[i].Spread = Median(ratios), Spread(ratios)
	}
	return result
}

// Median returns the median of values, and 0 if there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread returns (max-min)/median, and 0 if the median is 0.
func Spread(values []float64) float64 {
	m := Median(values)
	if m == 0 {
		return 0
	}
	return (slices.Max(values) - slices.Min(values)) / math.Abs(m)
}

// Heap returns the bytes in use on the heap after everything dead was
// collected.
func Heap() float64 {
	runtime.GC()
	runtime.GC() // the first one may only have queued finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// Allocs returns the allocations of one of n operations, which run performs;
// less than one in a thousand counts as none.
func Allocs(n int, run func(n int)) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	run(n)
	runtime.ReadMemStats(&after)
	return settle(float64(after.Mallocs-before.Mallocs)/float64(n), 0.001)
}

// Collection returns the least time of a forced collection in milliseconds:
// of as many as fit into half a second, and of five at least. Others on
// the machine only ever make one take longer.
func Collection() float64 {
	least, begun := math.Inf(1), time.Now()
	for n := 0; n < 5 || n < 1000 && time.Since(begun) < 500*time.Millisecond; n++ {
		start := time.Now()
		runtime.GC()
		least = min(least, float64(time.Since(start))/1e6)
	}
	return least
}
