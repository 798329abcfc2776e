package tinylfu

import (
	"slices"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/cachecore"
)

// sizedPolicy weighs use against cost. It is Greedy-Dual-Size-Frequency
// (Cherkasova 1998) with the frequencies of the sketch, which remembers keys
// that are not in the cache, in place of a count since the entry came:
//
//	priority = clock + uses/cost     to hit many objects
//	priority = clock + uses          to hit much cost
//
// The entry of least priority goes, and the clock is set to it, so that an
// entry that is no longer used falls behind.
//
// Invariants: heap is a binary heap of the slots in use, by priority; place
// is its inverse; no priority is below clock.
type sizedPolicy struct {
	objective cache.Objective
	uses      sketch
	clock     float64
	heap      []uint32
	place     []uint32 // slot -> index in heap
	priority  []float64
	worth     []float32 // slot -> what one use adds
}

// sketchShare is how many words of the sketch there are for each slot: small
// entries come and go by the thousand while a large one stays, so that more
// keys than slots have to be told apart.
const sketchShare = 2

func newSizedPolicy(objective cache.Objective) cachecore.Policy {
	p := &sizedPolicy{objective: objective}
	p.Clear()
	return p
}

func (p *sizedPolicy) Clear() {
	p.uses = newSketch(wordsPerBlock)
	p.clock = 0
	p.heap, p.place, p.priority, p.worth = nil, nil, nil, nil
}

// Grow keeps what the sketch knows when the number of slots doubles, as it
// does while a cache grows.
func (p *sizedPolicy) Grow(slots int) {
	p.place = grown(p.place, slots+1)
	p.priority = grown(p.priority, slots+1)
	p.worth = grown(p.worth, slots+1)
	p.heap = slices.Grow(p.heap, slots-len(p.heap))
	for len(p.uses.words) < sketchShare*slots {
		p.uses.double()
	}
}

func grown[T any](src []T, n int) []T {
	dst := make([]T, n)
	copy(dst, src)
	return dst
}

func (p *sizedPolicy) Insert(slot uint32, hash uint64, cost int64) {
	p.weigh(slot, cost)
	p.place[slot] = uint32(len(p.heap))
	p.heap = append(p.heap, slot)
	p.use(slot, hash)
	p.up(p.place[slot])
}

func (p *sizedPolicy) Hit(slot uint32, hash uint64) {
	p.use(slot, hash)
	p.fix(p.place[slot])
}

func (p *sizedPolicy) Update(slot uint32, hash uint64, cost int64) {
	p.weigh(slot, cost)
	p.Hit(slot, hash)
}

// weigh sets what one use of the entry in slot is worth.
func (p *sizedPolicy) weigh(slot uint32, cost int64) {
	p.worth[slot] = 1
	if p.objective == cache.ObjectHits {
		p.worth[slot] = 1 / float32(max(1, cost))
	}
}

// use counts a use of slot and sets its priority.
func (p *sizedPolicy) use(slot uint32, hash uint64) {
	h := hashBits(hash)
	p.uses.add(h)
	p.priority[slot] = p.clock + float64(p.uses.estimate(h))*float64(p.worth[slot])
}

func (p *sizedPolicy) Victim(uint64, int64) uint32 {
	p.clock = p.priority[p.heap[0]]
	return p.heap[0]
}

func (p *sizedPolicy) Remove(slot uint32) {
	at, last := p.place[slot], uint32(len(p.heap)-1)
	p.swap(at, last)
	p.heap = p.heap[:last]
	if at < last {
		p.fix(at)
	}
}

func (p *sizedPolicy) Move(from, to uint32) {
	p.place[to], p.priority[to], p.worth[to] = p.place[from], p.priority[from], p.worth[from]
	p.heap[p.place[to]] = to
}

func (p *sizedPolicy) Resize(int64) {}

func (p *sizedPolicy) Ascend(visit func(uint32) bool) {
	for _, slot := range p.sorted() {
		if !visit(slot) {
			return
		}
	}
}

func (p *sizedPolicy) Descend(visit func(uint32) bool) {
	for _, slot := range slices.Backward(p.sorted()) {
		if !visit(slot) {
			return
		}
	}
}

func (p *sizedPolicy) sorted() []uint32 {
	slots := slices.Clone(p.heap)
	slices.SortFunc(slots, func(a, b uint32) int {
		switch {
		case p.priority[a] < p.priority[b]:
			return -1
		case p.priority[a] > p.priority[b]:
			return 1
		}
		return int(a) - int(b)
	})
	return slots
}

// Weight and SetWeight carry the estimates of the sketch through a snapshot.
func (p *sizedPolicy) Weight(_ uint32, hash uint64) uint64 {
	return uint64(p.uses.estimate(hashBits(hash)))
}

func (p *sizedPolicy) SetWeight(slot uint32, hash uint64, uses uint64) {
	for h := hashBits(hash); uint64(p.uses.estimate(h))+1 < min(uses, maxCount); {
		p.uses.add(h)
	}
	if uses > 1 {
		p.Hit(slot, hash)
	}
}

func (p *sizedPolicy) less(a, b uint32) bool { return p.priority[p.heap[a]] < p.priority[p.heap[b]] }

func (p *sizedPolicy) swap(a, b uint32) {
	p.heap[a], p.heap[b] = p.heap[b], p.heap[a]
	p.place[p.heap[a]], p.place[p.heap[b]] = a, b
}

// fix restores the heap after the priority at index at changed.
func (p *sizedPolicy) fix(at uint32) {
	if !p.down(at) {
		p.up(at)
	}
}

func (p *sizedPolicy) up(at uint32) {
	for at > 0 && p.less(at, (at-1)/2) {
		p.swap(at, (at-1)/2)
		at = (at - 1) / 2
	}
}

func (p *sizedPolicy) down(at uint32) (moved bool) {
	for {
		child := 2*at + 1
		if child >= uint32(len(p.heap)) {
			return moved
		}
		if child+1 < uint32(len(p.heap)) && p.less(child+1, child) {
			child++
		}
		if !p.less(child, at) {
			return moved
		}
		p.swap(at, child)
		at, moved = child, true
	}
}
