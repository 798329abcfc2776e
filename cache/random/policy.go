package random

import (
	"math/rand/v2"

	"github.com/ashlar-go/ashlar/internal/cachecore"
)

// policy keeps the slots in use in a dense array, in no order, and for each
// slot its place in it.
type policy struct {
	slots []uint32 // the slots in use
	place []uint32 // slot -> index in slots
	rand  *rand.PCG
}

func newPolicy(seed1, seed2 uint64) cachecore.Policy { return &policy{rand: rand.NewPCG(seed1, seed2)} }

func (p *policy) Grow(slots int) {
	place := make([]uint32, slots+1)
	copy(place, p.place)
	p.place = place
	p.slots = append(make([]uint32, 0, slots), p.slots...)
}

func (p *policy) Insert(slot uint32, _ uint64, _ int64) {
	p.place[slot] = uint32(len(p.slots))
	p.slots = append(p.slots, slot)
}

func (p *policy) Remove(slot uint32) {
	at, last := p.place[slot], uint32(len(p.slots)-1)
	moved := p.slots[last]
	p.slots[at], p.place[moved] = moved, at
	p.slots = p.slots[:last]
}

func (p *policy) Move(from, to uint32) {
	p.place[to] = p.place[from]
	p.slots[p.place[to]] = to
}

// Victim scales 32 random bits to the number of slots. No slot is likelier
// than another by more than one part in 2^32 divided by their number.
func (p *policy) Victim(uint64, int64) uint32 {
	return p.slots[p.rand.Uint64()>>32*uint64(len(p.slots))>>32]
}

func (p *policy) Hit(uint32, uint64)           {}
func (p *policy) Update(uint32, uint64, int64) {}
func (p *policy) Resize(int64)                 {}
func (p *policy) Clear()                       { p.slots, p.place = nil, nil }

func (p *policy) Ascend(visit func(uint32) bool) {
	for _, slot := range p.slots {
		if !visit(slot) {
			return
		}
	}
}

func (p *policy) Descend(visit func(uint32) bool) {
	for i := len(p.slots) - 1; i >= 0; i-- {
		if !visit(p.slots[i]) {
			return
		}
	}
}
