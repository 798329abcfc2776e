package hitcounter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A Unique estimates how many different visitors a window had: a sketch for
// each slot, which are merged when somebody asks. Create one with [NewUnique].
//
// A Unique is safe for concurrent use by multiple goroutines.
type Unique struct {
	clock
	grid
	precision uint8

	mu      sync.Mutex
	slots   []uniqueSlot
	ledger  ledger
	scratch []*Sketch // for a reader
}

// A uniqueSlot is a row as a ring has them: what it holds belongs to one of the
// slots that share it, and they follow each other, never back.
type uniqueSlot struct {
	slot   int64 // empty if none
	hits   int64
	sketch Sketch
}

// NewUnique returns a counter of the different visitors in a window. Each of
// its slots is as long as Options.Resolution, by default a tenth of the window,
// and takes 2^precision bytes. It panics if the window is not positive or above
// 73 years, if the resolution is negative or above the window, if precision is
// not between 4 and 18, and if it would take more than 1 GB.
func NewUnique(window time.Duration, precision int, opts *Options) *Unique {
	if opts == nil {
		opts = &Options{}
	}
	checkPrecision("NewUnique", precision)
	u := &Unique{clock: newClock(opts), grid: newGrid("NewUnique", window, opts, 10), precision: uint8(precision)}
	u.init()
	return u
}

func (u *Unique) init() {
	rows := u.touched() + u.touched()/8 + 1
	if rows > 1<<30>>u.precision {
		panic(fmt.Sprintf("hitcounter: NewUnique with %d slots of precision %d", u.touched(), u.precision))
	}
	u.slots = make([]uniqueSlot, rows)
	registers := make([]uint8, rows<<u.precision)
	for i := range u.slots {
		u.slots[i].slot = empty
		u.slots[i].sketch = makeSketch(registers[i<<u.precision : (i+1)<<u.precision : (i+1)<<u.precision])
	}
	u.ledger = newLedger()
}

// Hit notes a visitor at the present.
func (u *Unique) Hit(visitor string) { u.add(u.clock.instant(), xxhash.Sum64String(visitor)) }

// HitAt notes a visitor at t. A late hit counts in its own slot. If that had to
// make room for another, which takes a hit that is later by a window and an
// eighth at least, the hit is dropped.
func (u *Unique) HitAt(t time.Time, visitor string) { u.add(instant(t), xxhash.Sum64String(visitor)) }

// HitHashAt notes a visitor by a hash of 64 bits, see [Sketch.AddHash].
func (u *Unique) HitHashAt(t time.Time, hash uint64) { u.add(instant(t), hash) }

func (u *Unique) add(at int64, hash uint64) {
	u.mu.Lock()
	if at < minTime || at > maxTime {
		u.ledger.outside(at, 1)
	} else if row := u.enter(u.slot(at)); row == nil {
		u.ledger.drop(u.end(u.slot(at)), 1)
	} else {
		row.hits = add(row.hits, 1)
		row.sketch.AddHash(hash)
	}
	u.mu.Unlock()
}

// row returns the row that a slot has or would have.
func (u *Unique) row(slot int64) *uniqueSlot {
	i := slot % int64(len(u.slots))
	if i < 0 {
		i += int64(len(u.slots))
	}
	return &u.slots[i]
}

// enter returns the row of a slot, after it has gone on to it if need be, and
// nil if it has gone on to a later one.
func (u *Unique) enter(slot int64) *uniqueSlot {
	row := u.row(slot)
	switch {
	case row.slot > slot:
		return nil
	case row.slot < slot:
		if row.slot != empty {
			u.ledger.expire(u.end(row.slot), row.hits)
			row.sketch.Clear()
		}
		row.slot, row.hits = slot, 0
	}
	return row
}

// Count returns CountAt of the present.
func (u *Unique) Count() int64 { return u.count(u.clock.instant()) }

// CountAt estimates how many different visitors came in the window that ends at
// t: those of the slot of t and of the slots between, and a share in proportion
// to time of those whom only the slot in which the window begins has seen. Its
// relative standard error is RelativeError and what comes of that share. It
// takes time in proportion to the number of registers and slots.
func (u *Unique) CountAt(t time.Time) int64 { return u.count(instant(t)) }

func (u *Unique) count(at int64) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	v := u.view(at)
	now, all := v.merge(u.precision)
	n := estimate(&now, u.precision)
	if v.begun != nil {
		n = add(n, share(max(0, estimate(&all, u.precision)-n), v.part, u.resolution))
	}
	return min(max(n, v.lo), v.hi)
}

// Bounds returns the certain interval of the number of different visitors in
// the window that ends at t, which is wide: lo is the number of registers that
// visitors who were in the window for certain have raised, and hi the number of
// hits that may have been in it, repeated ones too. What CountAt returns lies
// within, and is off by RelativeError.
//
// If the window begins before a hit that was dropped or had to make room, all
// such hits count for hi. That is never so if t is not before the latest hit.
func (u *Unique) Bounds(t time.Time) (lo, hi int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	v := u.view(instant(t))
	v.merge(u.precision)
	return v.lo, v.hi
}

// A view is what a window is made of.
type view struct {
	inside []*Sketch // of slots that are in the window
	begun  *Sketch   // of the slot in which the window begins
	part   int64     // how much of that slot is in the window
	open   *Sketch   // of the slot in which the window ends
	lo, hi int64
	hidden bool
}

func (u *Unique) view(at int64) view {
	y := tallyAt(at, u.window)
	v := view{inside: u.scratch[:0], hidden: y.hidden}
	first, last := u.slot(y.after+1), u.slot(y.upTo)
	for slot := first; slot <= last; slot++ {
		row := u.row(slot)
		if row.slot != slot || row.hits == 0 {
			continue
		}
		start, end := u.end(slot-1), u.end(slot)
		y.slot(start, end, row.hits)
		switch {
		case start < y.after:
			v.begun, v.part = &row.sketch, end-y.after
		case end > y.upTo:
			v.open = &row.sketch
		default:
			v.inside = append(v.inside, &row.sketch)
		}
	}
	y.settle(&u.ledger)
	_, v.hi = y.bounds()
	u.scratch = v.inside
	return v
}

// merge finds lo and, for the registers of all sketches together, how many have
// each rank: without the slot in which the window begins, and with it.
func (v *view) merge(precision uint8) (now, all [maxRank + 1]uint32) {
	if v.begun == nil && v.open == nil && len(v.inside) == 1 {
		now = v.inside[0].counts
		if !v.hidden {
			v.lo = int64(1<<precision - now[0])
		}
		return now, all
	}
	var lanes, begun [8][maxRank + 3]uint32
	var block [64]uint64
	for from := 0; from < 1<<precision; from += 8 * len(block) {
		upTo := min(from+8*len(block), 1<<precision)
		words := block[:(upTo-from)/8]
		clear(words)
		for _, sketch := range v.inside {
			raise(words, sketch.registers[from:upTo])
		}
		for _, word := range words {
			v.lo += int64(bits.OnesCount64((word + lowBits) & highBits))
		}
		if v.open != nil {
			raise(words, v.open.registers[from:upTo])
		}
		tallyLanes(&lanes, words)
		if v.begun != nil {
			raise(words, v.begun.registers[from:upTo])
			tallyLanes(&begun, words)
		}
	}
	for i := range lanes {
		for rank := range now {
			now[rank] += lanes[i][rank]
			all[rank] += begun[i][rank]
		}
	}
	if v.hidden {
		v.lo = 0
	}
	return now, all
}

const (
	lowBits  = 0x7f7f7f7f7f7f7f7f
	highBits = 0x8080808080808080
)

// raise replaces each byte of the words by that of the registers, if it is
// higher. All have to be below 128.
func raise(words []uint64, registers []uint8) {
	for i := range words {
		a, b := words[i], binary.LittleEndian.Uint64(registers[8*i:8*i+8])
		notLess := ((a | highBits) - b) & highBits // the high bit, where a >= b
		notLess = notLess<<1 - notLess>>7          // all bits of those
		words[i] = b ^ (a^b)&notLess
	}
}

// tallyLanes counts each byte of a word in a table of its own, so that equal
// bytes do not wait for each other.
func tallyLanes(lanes *[8][maxRank + 3]uint32, words []uint64) {
	for _, word := range words {
		lanes[0][word&63]++
		lanes[1][word>>8&63]++
		lanes[2][word>>16&63]++
		lanes[3][word>>24&63]++
		lanes[4][word>>32&63]++
		lanes[5][word>>40&63]++
		lanes[6][word>>48&63]++
		lanes[7][word>>56&63]++
	}
}

// RelativeError returns the standard error of the estimate of a number of
// visitors in proportion to it: 1.04 divided by the root of the number of
// registers.
func (u *Unique) RelativeError() float64 { return relativeError(u.precision) }

// Stats returns what happened since the counter was made or cleared. Hits are
// those of all visitors, repeated ones too.
func (u *Unique) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	held := int64(0)
	for i := range u.slots {
		held = add(held, u.slots[i].hits)
	}
	return u.ledger.stats(held)
}

// Clear forgets all visitors, the dropped ones and the latest time too.
func (u *Unique) Clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.slots {
		u.slots[i].slot, u.slots[i].hits = empty, 0
		u.slots[i].sketch.Clear()
	}
	u.ledger = newLedger()
}

// Window returns the length of the window.
func (u *Unique) Window() time.Duration { return time.Duration(u.window) }

// Resolution returns the length of a slot.
func (u *Unique) Resolution() time.Duration { return time.Duration(u.resolution) }

// Merge notes all visitors that another counter holds, each in the slot of the
// same number, so that somebody who was seen by both counts once. It returns an
// error that wraps [ErrMismatch] if window, resolution or precision are not the
// same.
func (u *Unique) Merge(other *Unique) error {
	if u.window != other.window || u.resolution != other.resolution || u.precision != other.precision {
		return fmt.Errorf("%w: visitors of a window of %v by %v with precision %d, want %v by %v with %d", ErrMismatch,
			other.Window(), other.Resolution(), other.precision, u.Window(), u.Resolution(), u.precision)
	}
	copied := other.clone() // so that only one lock is held at a time
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ledger.merge(copied.ledger)
	for i := range copied.slots {
		from := &copied.slots[i]
		if from.slot == empty {
			continue
		}
		if row := u.enter(from.slot); row == nil {
			u.ledger.expire(u.end(from.slot), from.hits)
		} else {
			row.hits = add(row.hits, from.hits)
			for register, rank := range from.sketch.registers {
				row.sketch.raise(register, rank)
			}
		}
	}
	return nil
}

// clone returns a copy of what the counter holds.
func (u *Unique) clone() *Unique {
	c := &Unique{grid: u.grid, precision: u.precision}
	c.init()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.slots {
		from, to := &u.slots[i], &c.slots[i]
		to.slot, to.hits = from.slot, from.hits
		copy(to.sketch.registers, from.sketch.registers)
		to.sketch.counts = from.sketch.counts
	}
	c.ledger = u.ledger
	return c
}
