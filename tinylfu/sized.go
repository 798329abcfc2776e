package tinylfu

import (
	"cmp"
	"math"
	"slices"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/cachecore"
)

// sizedPolicy weighs use against cost. It evicts by least hit density
// (Beckmann, Chen and Cidon, LHD, NSDI 2018): the hits that an entry may hope
// for, over the room and the time that it takes up until then.
//
//	value = expected hits / (expected time * cost)     to hit many objects
//	value = expected hits /  expected time             to hit much cost
//
// What to expect is not assumed but learned, by sizedModel, from what became
// of earlier entries of the same class and age. The class is how often the
// sketch has seen the key, which it also knows of a key that was not in the
// cache, and how soon the entry was used last.
//
// Values change as time goes by, so they are not kept in order: the victim is
// the least of a sample.
//
//	entries  0     1     2     3       in use, in no order
//	        +-----+-----+-----+-----+
//	        |     |     |slot |     |
//	        +-----+-----+-----+-----+
//	place    slot -> 2
//
// Invariants: entries holds each slot in use once; place leads from a slot to
// its entry; every class is one of the model's.
type sizedPolicy struct {
	objective cache.Objective
	uses      sketch
	model     sizedModel
	entries   []sizedEntry
	place     []uint32
	now       uint32 // uses so far; ages are differences, so it may wrap around
	learnAt   uint32
	random    uint64
}

// A sizedEntry is what is known of a slot in use.
type sizedEntry struct {
	slot uint32
	used uint32 // when it was used last
	// worth is what the value of a hit is multiplied by, as a float32. Its
	// last bits are the class.
	worth uint32
}

const (
	sizedClassBits = 5
	sizedClassMask = 1<<sizedClassBits - 1

	// The sample consists of runs of neighbours, since the next entry is in
	// the same cache line.
	sizedRuns = 4
	sizedRun  = 16

	// The model learns once in as many uses as there are entries, or more
	// seldom when those are few.
	sizedLearnEvery = 1 << 10
	// sizedCensus is how many entries in use it takes into account.
	sizedCensus = 1 << 9
)

func newSizedPolicy(objective cache.Objective) cachecore.Policy {
	p := &sizedPolicy{objective: objective, random: 88172645463325252}
	p.Clear()
	return p
}

func (p *sizedPolicy) Clear() {
	p.uses = newSketch(wordsPerBlock)
	p.model = newSizedModel()
	p.entries, p.place = nil, nil
	p.learnAt = p.now + sizedLearnEvery
}

// Grow keeps what the sketch knows when the number of slots doubles, as it
// does while a cache grows.
func (p *sizedPolicy) Grow(slots int) {
	place := make([]uint32, slots+1)
	copy(place, p.place)
	p.place = place
	p.entries = slices.Grow(p.entries, slots-len(p.entries))
	for len(p.uses.words) < slots {
		p.uses.double()
	}
}

// Resize needs to do nothing: neither the model nor the order depends on the
// capacity.
func (p *sizedPolicy) Resize(int64) {}

func (p *sizedPolicy) Insert(slot uint32, hash uint64, cost int64) {
	p.tick()
	p.place[slot] = uint32(len(p.entries))
	p.entries = append(p.entries, sizedEntry{slot: slot})
	p.use(slot, hash, p.worth(cost), sizedNew)
}

func (p *sizedPolicy) Hit(slot uint32, hash uint64) {
	e := &p.entries[p.place[slot]]
	p.reuse(e, hash, e.worth)
}

func (p *sizedPolicy) Update(slot uint32, hash uint64, cost int64) {
	p.reuse(&p.entries[p.place[slot]], hash, p.worth(cost))
}

// reuse counts a use of an entry that was there.
func (p *sizedPolicy) reuse(e *sizedEntry, hash uint64, worth uint32) {
	p.tick()
	age := p.now - e.used
	p.model.hit(e.class(), age)
	when := sizedSoon
	if int(age) > len(p.entries)/sizedSoonShare {
		when = sizedLate
	}
	p.use(e.slot, hash, worth, when)
}

// use marks slot as used now.
func (p *sizedPolicy) use(slot uint32, hash uint64, worth uint32, when int) {
	h := hashBits(hash)
	p.uses.add(h)
	e := &p.entries[p.place[slot]]
	e.used = p.now
	e.worth = worth&^sizedClassMask | sizedClass(p.uses.estimate(h), when)
}

// worth is what a hit on an entry of this cost counts. One that costs nothing
// is kept, as its eviction makes no room.
func (p *sizedPolicy) worth(cost int64) uint32 {
	switch {
	case cost <= 0:
		return math.Float32bits(1e30)
	case p.objective == cache.ByteHits:
		return math.Float32bits(1)
	}
	return math.Float32bits(1 / float32(cost))
}

func (e *sizedEntry) class() uint32 { return e.worth & sizedClassMask }

// value is what keeping the entry promises.
func (p *sizedPolicy) value(e *sizedEntry) float32 {
	return p.model.density(e.class(), p.now-e.used) * math.Float32frombits(e.worth)
}

func (p *sizedPolicy) Victim(uint64, int64) uint32 {
	least := &p.entries[0]
	lowest := float32(math.Inf(1))
	if n := len(p.entries); n <= sizedRuns*sizedRun {
		least, _ = p.least(p.entries, least, lowest)
	} else {
		for range sizedRuns {
			at := p.pick()
			end := min(at+sizedRun, n)
			least, lowest = p.least(p.entries[at:end], least, lowest)
			least, lowest = p.least(p.entries[:at+sizedRun-end], least, lowest)
		}
	}
	p.model.evict(least.class(), p.now-least.used)
	return least.slot
}

// least returns the entry of the least value among some more and the least so
// far.
func (p *sizedPolicy) least(more []sizedEntry, least *sizedEntry, lowest float32) (*sizedEntry, float32) {
	for i := range more {
		if v := p.value(&more[i]); v < lowest {
			least, lowest = &more[i], v
		}
	}
	return least, lowest
}

// pick chooses the index of an entry at random.
func (p *sizedPolicy) pick() int {
	p.random ^= p.random << 13
	p.random ^= p.random >> 7
	p.random ^= p.random << 17
	return int(p.random >> 32 * uint64(len(p.entries)) >> 32)
}

// tick lets time go by, and the model learn now and then.
func (p *sizedPolicy) tick() {
	if p.now++; p.now != p.learnAt {
		return
	}
	p.learnAt = p.now + uint32(max(sizedLearnEvery, len(p.entries)))
	n := min(len(p.entries), sizedCensus)
	p.model.beginLearn()
	for i := range n {
		if n < len(p.entries) {
			i = p.pick()
		}
		e := &p.entries[i]
		p.model.resident(e.class(), p.now-e.used, float32(len(p.entries))/float32(n))
	}
	p.model.learn()
}

func (p *sizedPolicy) Remove(slot uint32) {
	at, last := p.place[slot], len(p.entries)-1
	p.entries[at] = p.entries[last]
	p.place[p.entries[at].slot] = at
	p.entries = p.entries[:last]
}

func (p *sizedPolicy) Move(from, to uint32) {
	p.place[to] = p.place[from]
	p.entries[p.place[to]].slot = to
}

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

// sorted returns the slots in use, the one of the least value first.
func (p *sizedPolicy) sorted() []uint32 {
	entries := slices.Clone(p.entries)
	slices.SortFunc(entries, func(a, b sizedEntry) int {
		return cmp.Or(cmp.Compare(p.value(&a), p.value(&b)), cmp.Compare(a.slot, b.slot))
	})
	slots := make([]uint32, len(entries))
	for i, e := range entries {
		slots[i] = e.slot
	}
	return slots
}

// Weight and SetWeight carry the estimates of the sketch through a snapshot.
func (p *sizedPolicy) Weight(_ uint32, hash uint64) uint64 {
	return uint64(p.uses.estimate(hashBits(hash)))
}

func (p *sizedPolicy) SetWeight(slot uint32, hash uint64, uses uint64) {
	h := hashBits(hash)
	for range maxCount {
		if uint64(p.uses.estimate(h)) >= uses {
			break
		}
		p.uses.add(h)
	}
	e := &p.entries[p.place[slot]]
	e.worth = e.worth&^sizedClassMask | sizedClass(p.uses.estimate(h), sizedNew)
}
