package main

import (
	"fmt"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/internal/trace"
	"github.com/ashlar-go/ashlar/lru"
)

func init() { suites["lru"] = lruRows }

func lruRows(env harness.Env, emit func(harness.Row)) {
	makers := append([]maker{ours("lru")}, peers...)
	bar := func(ratio float64) harness.Bar { return harness.Bar{Ratio: ratio, Against: "hashicorp"} }
	speed(env, emit, "lru", makers, map[string]harness.Bar{
		"get, all hits": bar(.40), "75/25, all hits": bar(.27), "75/25, evicting": bar(.26), "set, updating": bar(.52), "set, evicting": bar(.22),
	})
	memory(env, emit, "lru", makers, 41)
	exactness(env, emit)
}

// exactness compares hits with those of exact LRU, which one pass over the
// trace gives for every capacity.
func exactness(env harness.Env, emit func(harness.Row)) {
	t := trace.Mixed(1, 600_000)
	for _, capacity := range []int{4096, 16384} {
		exact := 100 * float64(trace.LRUCurve(t.Keys, []int{capacity})[0]) / float64(len(t.Keys))
		for _, shards := range []int{1, 0} {
			name := fmt.Sprintf("hit ratio over exact LRU, %d entries, one shard", capacity)
			bar := harness.Bar{Value: 0, AtLeast: true}
			if shards == 0 {
				name = fmt.Sprintf("hit ratio over exact LRU, %d entries, default shards", capacity)
				bar.Value = -.3
			}
			if !env.Want(name) {
				continue
			}
			c := lru.New[int64, int64](capacity, &lru.Options[int64, int64]{Shards: shards})
			row := harness.Row{Package: "lru", Name: name, Unit: "points", Rounds: 1, Ours: hitRatio(c, t.Keys, capacity) - exact}
			row.Judge(bar)
			emit(row)
		}
	}
}
