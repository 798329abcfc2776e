package main

import (
	"time"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/trace"
	"github.com/ashlar-go/ashlar/lru"
)

func init() {
	harness.Register(harness.Suite{Package: "lru", Doc: "least recently used: time, memory, exactness", Run: func(s *harness.Session) {
		makers := []maker{ours("lru", nil), peerHashicorp, peerGroupcache, peerOtter, peerTheine, peerRistretto}
		// The bars are what phuslu/lru, which cannot be had, was measured at.
		bar := func(ratio float64) []harness.Bar { return []harness.Bar{harness.AtMost(ratio).Of("hashicorp")} }
		speed(s, makers, map[string][]harness.Bar{
			"get, all hits":   bar(.40),
			"75/25, all hits": bar(.27),
			"75/25, evicting": bar(.26),
			"set, updating":   bar(.52),
			"set, evicting":   bar(.22),
		})
		memory(s, makers, 41)
		exactness(s, func(capacity, shards int) bounded {
			return lru.New(capacity, &lru.Options[int64, int64]{Shards: shards})
		}, 0, .3, func(keys []uint64, capacity int) int { return trace.LRUCurve(keys, []int{capacity})[0] })
		lifetimes(s) // last, since one of the peers leaves memory behind
	}})
}

// lifetimes emits what it costs when entries expire.
func lifetimes(s *harness.Session) {
	makers := append([]maker{ours("lru", &cache.Options[int64, int64]{TTL: time.Hour})}, expiring...)
	for _, w := range []workload{workloads[0], workloads[2]} {
		spec := harness.Spec{Group: "Time with a lifetime", Name: w.name + ", expiring, 2 goroutines", Unit: harness.CPUTime}
		if s.Want(spec) {
			samples := w.scaled(s).interleave(s.Rounds(), s.Pick(1<<20, 1<<18, 1<<9), makers, []int{2})
			s.Emit(spec, s.Rounds(), harness.Timings(samples[2]))
		}
	}
}
