// Package harness measures implementations side by side in one process: they
// take turns, round after round, and what is reported is how they compare.
package harness

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// A Row is one line of a report: a figure of ours beside those of the peers.
type Row struct {
	Package  string  `json:"package"`
	Name     string  `json:"row"`
	Unit     string  `json:"unit"`
	Ours     float64 `json:"ours"`
	Peer     float64 `json:"peer"`      // of the best peer, or of the one that the bar names
	BestPeer string  `json:"best_peer"` // its name
	Ratio    float64 `json:"ratio"`     // ours / peer; 0 without a peer
	Bar      string  `json:"bar"`       // what is asked for, empty for a figure that is only shown
	Met      bool    `json:"met"`
	Rounds   int     `json:"rounds"`
	Spread   float64 `json:"spread"` // of ours: (max-min)/median over the rounds
	Note     string  `json:"note,omitempty"`

	// Peers has every peer's figure, for the table.
	Peers []Figure `json:"peers,omitempty"`
}

// A Figure is what one implementation reached.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Wall  float64 `json:"wall,omitempty"` // elapsed time where Value is processor time
	Min   float64 `json:"min,omitempty"`
}

// Env are the settings of a run.
type Env struct {
	Rounds int
	Short  bool
	Want   func(row string) bool // which rows to measure
}

// A Bar says what a row must reach. The zero Bar asks for nothing.
type Bar struct {
	// Ratio is the most that ours may be of Against, or of the best peer
	// where that is empty. AtLeast turns it round.
	Ratio   float64
	Against string
	// Value bounds ours itself, from above or, with AtLeast, from below.
	Value   float64
	AtLeast bool
}

// String says what the bar asks for.
func (b Bar) String() string {
	sign := "≤"
	if b.AtLeast {
		sign = "≥"
	}
	switch {
	case b.Ratio != 0 && b.Against != "":
		return fmt.Sprintf("%s %.2f × %s", sign, b.Ratio, b.Against)
	case b.Ratio != 0:
		return fmt.Sprintf("%s %.2f × best peer", sign, b.Ratio)
	case b.Value != 0 || b.AtLeast:
		return fmt.Sprintf("%s %g", sign, b.Value)
	case b.Against == "0":
		return "0"
	}
	return ""
}

// Zero is the bar for what must not happen at all.
var Zero = Bar{Against: "0"}

// Judge fills in what follows from the figures of a row: the peer to compare
// with, the ratio and whether the bar is met. Lower is better unless the bar
// says otherwise.
func (r *Row) Judge(bar Bar) {
	r.Bar = bar.String()
	better := func(a, b Figure) int { return cmp.Compare(a.Value, b.Value) }
	if bar.AtLeast {
		better = func(a, b Figure) int { return cmp.Compare(b.Value, a.Value) }
	}
	if len(r.Peers) > 0 {
		best := slices.MinFunc(r.Peers, better)
		if i := slices.IndexFunc(r.Peers, func(f Figure) bool { return f.Name == bar.Against }); i >= 0 {
			best = r.Peers[i]
		}
		r.Peer, r.BestPeer = best.Value, best.Name
		if best.Value != 0 {
			r.Ratio = r.Ours / best.Value
		}
	}
	limit := func(x, bound float64) bool {
		if bar.AtLeast {
			return x >= bound
		}
		return x <= bound
	}
	switch {
	case bar == Zero:
		r.Met = r.Ours == 0
	case bar.Ratio != 0:
		r.Met = len(r.Peers) > 0 && limit(r.Ratio, bar.Ratio)
	case bar.Value != 0 || bar.AtLeast:
		r.Met = limit(r.Ours, bar.Value)
	default:
		r.Met = true
	}
}

// An Impl is an implementation of a workload: Start makes it ready and returns
// what runs it n times, and what ends it.
type Impl struct {
	Name  string
	Start func() (run func(n int), stop func())
}

// Ours is the name of our implementation.
const Ours = "ashlar"

// Time runs a workload with each implementation in turn, round after round,
// and returns the row of processor time per operation: the median over rounds
// of our time, and of each peer's; ratios are of the same round.
func Time(env Env, pkg, name string, n int, impls []Impl, bar Bar) Row {
	row := Row{Package: pkg, Name: name, Unit: "CPU ns/op", Rounds: env.Rounds}
	runs := make([]func(int), len(impls))
	for i, impl := range impls {
		run, stop := impl.Start()
		defer stop()
		runs[i] = run
		run(n / 4) // warm
	}
	cpu := make([][]float64, len(impls))
	wall := make([][]float64, len(impls))
	for round := range env.Rounds {
		for k := range impls {
			i := (k + round) % len(impls)
			runtime.GC()
			c, w := measure(func() { runs[i](n) })
			cpu[i] = append(cpu[i], c/float64(n))
			wall[i] = append(wall[i], w/float64(n))
		}
	}
	mine := slices.IndexFunc(impls, func(impl Impl) bool { return impl.Name == Ours })
	ratios := map[string]float64{}
	for i, impl := range impls {
		f := Figure{Name: impl.Name, Value: Median(cpu[i]), Wall: Median(wall[i]), Min: slices.Min(cpu[i])}
		if i == mine {
			row.Ours, row.Spread = f.Value, Spread(cpu[i])
			row.Note = fmt.Sprintf("wall %.1f, min %.1f", f.Wall, f.Min)
			continue
		}
		row.Peers = append(row.Peers, f)
		perRound := make([]float64, env.Rounds)
		for r := range perRound {
			perRound[r] = cpu[mine][r] / cpu[i][r]
		}
		ratios[impl.Name] = Median(perRound)
	}
	row.Judge(bar)
	if ratio, ok := ratios[row.BestPeer]; ok && bar.Ratio != 0 {
		row.Ratio = ratio
		row.Met = ratio <= bar.Ratio
	}
	return row
}

// measure returns how much processor time and time f took, in nanoseconds.
func measure(f func()) (cpu, wall float64) {
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	start := time.Now()
	f()
	wall = float64(time.Since(start))
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	return float64(after.Utime.Nano()+after.Stime.Nano()) - float64(before.Utime.Nano()+before.Stime.Nano()), wall
}

// Median returns the median of values, which must not be empty.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread returns (max-min)/median.
func Spread(values []float64) float64 {
	m := Median(values)
	if m == 0 {
		return 0
	}
	return (slices.Max(values) - slices.Min(values)) / m
}

// HeapAfter returns the bytes that the heap grew by while f ran, which must
// return what it made.
func HeapAfter(f func() any) (bytes float64, made any) {
	before := heap()
	made = f()
	after := heap()
	return math.Max(0, float64(after)-float64(before)), made
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Allocs returns the allocations of one of n operations.
func Allocs(n int, op func(n int)) float64 {
	op(n / 4)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	op(n)
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / float64(n)
	if per < 0.001 { // the runtime's own
		return 0
	}
	return per
}

// Collect returns the least time of a forced collection, in milliseconds.
func Collect(times int) float64 {
	least := math.Inf(1)
	for range times {
		start := time.Now()
		runtime.GC()
		least = min(least, float64(time.Since(start))/1e6)
	}
	return least
}
