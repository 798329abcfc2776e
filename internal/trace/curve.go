package trace

import (
	"cmp"
	"slices"
)

// LRUCurve returns the hits of an LRU of each of the capacities, in entries.
// One pass over the trace serves all of them, by the stack distances of
// Mattson, Gecsei, Slutz and Traiger (1970): an access hits in an LRU of c
// entries if fewer than c other keys were used since the last one of its key.
// It takes O(n log n) time and 4 bytes an access, besides the keys.
func LRUCurve(keys []uint64, capacities []int) []int {
	// In a Fenwick tree over time, the latest access of each key counts 1.
	latest := make([]int32, len(keys)+1)
	add := func(i int, d int32) {
		for i++; i < len(latest); i += i & -i {
			latest[i] += d
		}
	}
	before := func(i int) (sum int32) {
		for ; i > 0; i -= i & -i {
			sum += latest[i]
		}
		return sum
	}
	last := make(map[uint64]int, len(keys)/8)
	var distances []int // how many accesses have that stack distance
	for i, key := range keys {
		if at, ok := last[key]; ok {
			d := len(last) - int(before(at)) // keys used since, its own among them
			if d >= len(distances) {
				distances = append(distances, make([]int, d+1-len(distances))...)
			}
			distances[d]++
			add(at, -1)
		}
		add(i, 1)
		last[key] = i
	}
	for d := 1; d < len(distances); d++ {
		distances[d] += distances[d-1]
	}
	hits := make([]int, len(capacities))
	for i, capacity := range capacities {
		if len(distances) > 0 && capacity > 0 {
			hits[i] = distances[min(capacity, len(distances)-1)]
		}
	}
	return hits
}

// Bound returns numbers of hits and of hit bytes that no cache of capacity
// bytes exceeds on t. What a cache can reach may be well below; to compute it
// is NP-hard once sizes differ.
//
// To hit, an entry must lie in the cache from one access of its key to the
// next, which takes its size in bytes times the accesses in between. There
// are capacity times all accesses of that to give away. Bound gives it to the
// hits that need the least of it, and to the hit bytes that do, as if room
// left at one time could be used at another.
func (t *Trace) Bound(capacity int64) (hits int, bytes int64) {
	type stay struct{ room, size float64 }
	var stays []stay
	last := make(map[uint64]int, len(t.Keys)/8)
	for i, key := range t.Keys {
		if at, ok := last[key]; ok {
			// Where the size of a key changes, the cache may hold either.
			if held := min(t.size(at), t.size(i)); int64(held) <= capacity {
				stays = append(stays, stay{float64(held) * float64(i-at), float64(t.size(i))})
			}
		}
		last[key] = i
	}
	all := float64(capacity) * float64(len(t.Keys))
	slices.SortFunc(stays, func(a, b stay) int { return cmp.Compare(a.room, b.room) })
	for left := all; hits < len(stays) && left > 0; hits++ {
		left -= stays[hits].room
	}
	slices.SortFunc(stays, func(a, b stay) int { return cmp.Compare(a.room*b.size, b.room*a.size) })
	left := all
	for _, s := range stays {
		if left <= 0 {
			break
		}
		left -= s.room
		bytes += int64(s.size)
	}
	return hits, bytes
}
