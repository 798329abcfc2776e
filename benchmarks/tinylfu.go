package main

import (
	"fmt"
	"sync"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func init() {
	harness.Register(harness.Suite{Package: "tinylfu", Doc: "W-TinyLFU: hit ratio on real traces, the bound, time, memory", Run: func(s *harness.Session) {
		hitRatios(s, "tinylfu")
		heldOut(s, "tinylfu")
		sizedRatios(s)
		bounds(s, "tinylfu")
		makers := []maker{ours("tinylfu", nil), peerHashicorp, peer2Q, peerARC, peerOtter, peerTheine, peerRistretto}
		bar := func(ratio float64) []harness.Bar {
			return []harness.Bar{harness.AtMost(ratio).Of("hashicorp"), harness.AtMost(1).Of("otter", "theine", "ristretto")}
		}
		speed(s, makers, map[string][]harness.Bar{
			"get, all hits":   bar(.65),
			"75/25, all hits": bar(.6),
			"75/25, evicting": bar(.6),
			"set, updating":   bar(.7),
			"set, evicting":   bar(.6),
		})
		memory(s, makers, 52)
	}})
}

// bounds emits how much more than their capacity caches hold while goroutines
// write as fast as they can.
func bounds(s *harness.Session, pkg string) {
	makers := []maker{ours(pkg, nil), peerHashicorp, peerOtter, strictOtter, peerTheine}
	const writers = 16
	for _, capacity := range []int{100, 1000, 10_000} {
		spec := harness.Spec{
			Group: "Bound", Name: fmt.Sprintf("most held by a cache of %d, 16 writers", capacity), Unit: "× capacity",
			Bars: []harness.Bar{harness.AtMost(1)},
		}
		s.Repeated(spec, func(round int) []harness.Figure {
			var figures []harness.Figure
			for _, m := range makers {
				most := mostHeld(m, capacity, writers, s.Pick(20_000, 5_000, 100))
				figures = append(figures, harness.Figure{Name: m.name, Value: float64(most) / float64(capacity)})
			}
			return figures
		})
	}
}

// mostHeld returns the greatest Len that any of the writers saw, each after
// each of its n insertions.
func mostHeld(m maker, capacity, writers, n int) int {
	c, stop := m.make(capacity)
	defer stop()
	length := c.(interface{ Len() int })
	most := make([]int, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range n {
				c.Put(int64(w*n+i), 1)
				most[w] = max(most[w], length.Len())
			}
		})
	}
	wg.Wait()
	top := 0
	for _, m := range most {
		top = max(top, m)
	}
	return top
}
