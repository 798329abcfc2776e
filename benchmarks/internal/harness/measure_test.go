package harness

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestMedianAndSpread(t *testing.T) {
	for _, test := range []struct {
		values         []float64
		median, spread float64
	}{
		{nil, 0, 0},
		{[]float64{7}, 7, 0},
		{[]float64{3, 1, 2}, 2, 1},
		{[]float64{4, 1, 2, 3}, 2.5, 1.2},
		{[]float64{-1, -2, -4}, -2, 1.5},
		{[]float64{0, 0, 5}, 0, 0},
	} {
		before := slices.Clone(test.values)
		if m, s := Median(test.values), Spread(test.values); m != test.median || math.Abs(s-test.spread) > 1e-12 {
			t.Errorf("%v: median %v, spread %v, want %v, %v", test.values, m, s, test.median, test.spread)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("%v became %v", before, test.values)
		}
	}
}

// Everyone takes a turn in every round, every round begins with another one,
// and none always comes after the same.
func TestTurns(t *testing.T) {
	for n := 1; n <= 7; n++ {
		before := map[int]map[int]bool{}
		for round := range 2 * n {
			order := turns(round, n)
			if order[0] != round%n {
				t.Errorf("round %d of %d begins with %d", round, n, order[0])
			}
			if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, turns(0, n)) {
				t.Errorf("round %d of %d is %v", round, n, order)
			}
			for i := 1; i < n; i++ {
				if before[order[i]] == nil {
					before[order[i]] = map[int]bool{}
				}
				before[order[i]][order[i-1]] = true
			}
		}
		for i := range n {
			if n > 2 && len(before[i]) < 2 {
				t.Errorf("of %d, %d only ever comes after %v", n, i, before[i])
			}
		}
	}
}

func TestInterleave(t *testing.T) {
	var log []string
	impl := func(name string) Impl {
		return Impl{Name: name, Start: func() (func(int), func()) {
			log = append(log, "start "+name)
			return func(n int) { log = append(log, fmt.Sprint(name, " ", n)) }, func() { log = append(log, "stop "+name) }
		}}
	}
	samples := Interleave(3, 400, []Impl{impl("a"), impl("b"), impl("c")})
	want := "start a, a 100, start b, b 100, start c, c 100, " + // warm-up
		"a 400, b 400, c 400, b 400, a 400, c 400, c 400, a 400, b 400, " +
		"stop c, stop b, stop a"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("did\n%s\nwant\n%s", got, want)
	}
	for i, name := range []string{"a", "b", "c"} {
		if s := samples[i]; s.Name != name || len(s.Samples) != 3 {
			t.Errorf("samples %d: %+v", i, s)
		}
	}
	log = nil
	Interleave(1, 1, []Impl{impl("a")})
	if got := strings.Join(log, ", "); got != "start a, a 1, a 1, stop a" {
		t.Errorf("did %s", got)
	}
}

// What is started is stopped, also when a turn panics.
func TestInterleaveStopsAfterPanic(t *testing.T) {
	stopped := false
	if !panics(func() {
		Interleave(1, 8, []Impl{{Start: func() (func(int), func()) {
			return func(int) { panic("turn") }, func() { stopped = true }
		}}})
	}) || !stopped {
		t.Error("not stopped")
	}
}

var sink []byte

func TestTimings(t *testing.T) {
	all := Timings([]Samples{
		{Ours, []Sample{{CPU: 10, Wall: 5, Allocs: .0005, Bytes: .05}, {CPU: 30, Wall: 8}, {CPU: 20, Wall: 6}}},
		{"peer", []Sample{{CPU: 20, Wall: 9, Allocs: 2, Bytes: 32}, {CPU: 60, Wall: 7, Allocs: 2, Bytes: 32}, {CPU: 40, Wall: 8, Allocs: 1, Bytes: 16}}},
	})
	if f := all[0]; f.Value != 20 || *f.Timing != (Timing{CPUMin: 10, Wall: 6, WallMin: 5}) {
		t.Errorf("ours %+v, %+v", f, f.Timing)
	}
	if f := all[1]; f.Value != 40 || f.Ratio != .5 || *f.Timing != (Timing{CPUMin: 20, Wall: 8, WallMin: 7, Allocs: 2, Bytes: 32}) {
		t.Errorf("peer %+v, %+v", f, f.Timing)
	}
}

func TestPerRound(t *testing.T) {
	a := Samples{Samples: []Sample{{Wall: 2}, {Wall: 6}, {Wall: 40}}}
	b := Samples{Samples: []Sample{{Wall: 1}, {Wall: 3}, {Wall: 10}}}
	median, spread := PerRound(a, b, func(a, b Sample) float64 { return a.Wall / b.Wall })
	if median != 2 || spread != 1 {
		t.Errorf("%v, %v, want 2, 1", median, spread)
	}
}

// A turn counts what its operations take, and not what happens beside it.
func TestTurnCounts(t *testing.T) {
	s := turn(1000, func(n int) {
		for range n {
			sink = make([]byte, 64)
		}
	})
	if s.Allocs < 1 || s.Allocs > 1.5 || s.Bytes < 64 || s.Bytes > 128 || s.Wall <= 0 || s.CPU < 0 {
		t.Errorf("%+v of 1 allocation of 64 bytes", s)
	}
	if a := Allocs(10_000, func(int) {}); a != 0 {
		t.Errorf("%v allocations of nothing", a)
	}
	if a := Allocs(100, func(n int) {
		for range 2 * n {
			sink = make([]byte, 64)
		}
	}); a < 2 || a > 3 {
		t.Errorf("%v allocations of two", a)
	}
}

func TestHeap(t *testing.T) {
	sink = nil
	before := Heap()
	sink = make([]byte, 8<<20)
	if grown := Heap() - before; grown < 8<<20 || grown > 9<<20 {
		t.Errorf("the heap grew by %v, of 8 MiB", grown)
	}
	sink = nil
	if left := Heap() - before; left > 1<<20 {
		t.Errorf("%v left", left)
	}
}
