package main

import (
	"math/rand/v2"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache/random"
)

func init() {
	harness.Register(harness.Suite{Package: "cache/random", Doc: "random replacement: time, memory, exactness", Run: func(s *harness.Session) {
		makers := []maker{ours("cache/random", nil), peerHashicorp, peerOtter, peerTheine, peerRistretto}
		speed(s, makers, nil)
		memory(s, makers, 0)
		// Two runs of random replacement differ, also of the same one.
		exactness(s, func(capacity, shards int) bounded {
			return random.New(capacity, &random.Options[int64, int64]{Shards: shards})
		}, .3, .3, randomHits)
	}})
}

// randomHits returns the hits of a cache that evicts any of its keys, all with
// the same chance.
func randomHits(keys []uint64, capacity int) int {
	r := rand.New(rand.NewPCG(1, 2))
	at := map[uint64]int{}
	var held []uint64
	hits := 0
	for _, key := range keys {
		switch _, ok := at[key]; {
		case ok:
			hits++
		case len(held) < capacity:
			at[key] = len(held)
			held = append(held, key)
		default:
			i := r.IntN(len(held))
			delete(at, held[i])
			held[i] = key
			at[key] = i
		}
	}
	return hits
}
