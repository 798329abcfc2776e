package main

import (
	"container/list"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/lfu"
)

func init() {
	harness.Register(harness.Suite{Package: "lfu", Doc: "least frequently used: time, memory, exactness", Run: func(s *harness.Session) {
		// The peers that count uses; none of them is plain LFU.
		makers := []maker{ours("lfu", nil), peerHashicorp, peerOtter, peerTheine, peerRistretto}
		speed(s, makers, nil)
		memory(s, makers, 0)
		exactness(s, func(capacity, shards int) bounded {
			return lfu.New(capacity, &lfu.Options[int64, int64]{Shards: shards})
		}, 0, .5, lfuHits)
	}})
}

// lfuHits returns the hits of LFU as Shah, Mitra and Matani wrote it down, ties
// by recency: one list of keys for each frequency.
func lfuHits(keys []uint64, capacity int) int {
	type entry struct{ key, uses uint64 }
	held := map[uint64]*list.Element{}
	byUses := map[uint64]*list.List{}
	push := func(e entry) *list.Element {
		if byUses[e.uses] == nil {
			byUses[e.uses] = list.New()
		}
		return byUses[e.uses].PushFront(e)
	}
	least, hits := uint64(1), 0
	for _, key := range keys {
		if element := held[key]; element != nil {
			hits++
			e := element.Value.(entry)
			byUses[e.uses].Remove(element)
			if e.uses == least && byUses[e.uses].Len() == 0 {
				least++
			}
			held[key] = push(entry{key, e.uses + 1})
			continue
		}
		if len(held) == capacity {
			oldest := byUses[least].Back()
			byUses[least].Remove(oldest)
			delete(held, oldest.Value.(entry).key)
		}
		least = 1
		held[key] = push(entry{key, 1})
	}
	return hits
}
