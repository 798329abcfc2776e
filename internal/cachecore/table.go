package cachecore

import "math/bits"

// A table finds the slot of a key by its hash. It is an array of chunks, each
// the size of a cache line:
//
//	 0        8     12       16                            64
//	+--------+-----+--------+-----------------------------+
//	| tags 0-7 8-11 | spilled| slots 0-11, 4 bytes each    |
//	+--------+-----+--------+-----------------------------+
//
// All that the table is told of a key is a mark, 32 bits of its hash. Its high
// bits choose the home chunk, its low byte is the tag, and three bits between
// them the class. Tag 0 means an empty place, and there is no tag 1, for the
// sake of zeroBytes. An entry that finds its home full goes to the next chunk
// with room, and every chunk that it passed counts it in spilled, which has
// four bits for each class: a search goes on only while one of its class did,
// and a removal leaves no tombstone.
//
// Invariants: an occupied place of chunk c at distance d behind its home is
// counted, in its class, by each of the d chunks before c; spilled counts
// nothing else. A count that has reached its maximum no longer changes, which
// costs time but does not mislead.
type table struct {
	chunks []chunk
}

const (
	chunkPlaces = 12
	ones        = 0x0101010101010101
	highs       = 0x8080808080808080
)

type chunk struct {
	low     uint64
	high    uint32
	spilled uint32 // four bits for each of eight classes
	slots   [chunkPlaces]uint32
}

// manySpilled is a count that stays.
const manySpilled = 15

// classOf is where the count of a mark's class begins in spilled.
func classOf(mark uint32) uint32 { return mark >> 6 & 28 }

// spill adds 1 or -1 to the count of a class.
func (c *chunk) spill(class uint32, by int32) {
	if c.spilled>>class&manySpilled != manySpilled {
		c.spilled += uint32(by) << class
	}
}

// newTable returns a table for slots 1 to slots, at most two thirds full.
// Entries that found their home full stay where they are when room comes up
// there, so that a fuller table would in time send most searches on to a
// second chunk.
func newTable(slots int) table {
	return table{chunks: make([]chunk, (slots+slots/2+chunkPlaces-1)/chunkPlaces+1)}
}

func markOf(hash uint64) uint32 { return uint32(hash >> 32) }

func tagOf(mark uint32) uint64 {
	tag := uint64(mark & 0xff)
	if tag < 2 {
		tag += 2
	}
	return tag
}

// home returns the index of the first chunk to look in: the high half of the
// hash scaled to the number of chunks, which need not be a power of two.
func (t *table) home(mark uint32) int {
	return int(uint64(mark) * uint64(len(t.chunks)) >> 32)
}

// zeroBytes has the high bit set in each byte of x that is 0. It may also set
// it in a byte of 1 above a zero byte: the lowest bit set is always right. Of
// others, when x is the difference from a tag, the place is taken: an empty
// one differs by the tag, which is not 1. A search compares keys, a removal
// slots.
func zeroBytes(x uint64) uint64 { return (x - ones) &^ x & highs }

func zeroBytes32(x uint32) uint32 {
	return (x - ones&0xffffffff) &^ x & (highs & 0xffffffff)
}

// add enters slot under hash. The table has room for every slot.
func (t *table) add(mark, slot uint32) {
	at := t.home(mark)
	for {
		c := &t.chunks[at]
		place := -1
		if m := zeroBytes(c.low); m != 0 {
			place = bits.TrailingZeros64(m) >> 3
		} else if m := zeroBytes32(c.high); m != 0 {
			place = 8 + bits.TrailingZeros32(m)>>3
		}
		if place >= 0 {
			c.setTag(place, tagOf(mark))
			c.slots[place] = slot
			return
		}
		c.spill(classOf(mark), 1)
		if at++; at == len(t.chunks) {
			at = 0
		}
	}
}

// remove takes out slot, which was entered under hash, and takes it off the
// count of each chunk that it passed.
func (t *table) remove(mark, slot uint32) {
	at := t.home(mark)
	tags := tagOf(mark) * ones
	for range len(t.chunks) {
		c := &t.chunks[at]
		for m := zeroBytes(c.low ^ tags); m != 0; m &= m - 1 {
			if at := bits.TrailingZeros64(m) & 56; c.slots[at>>3] == slot {
				c.low &^= 0xff << at
				return
			}
		}
		for m := zeroBytes32(c.high ^ uint32(tags)); m != 0; m &= m - 1 {
			if at := bits.TrailingZeros32(m) & 24; c.slots[8+at>>3] == slot {
				c.high &^= 0xff << at
				return
			}
		}
		c.spill(classOf(mark), -1)
		if at++; at == len(t.chunks) {
			at = 0
		}
	}
	panic("cachecore: a slot is missing from the table")
}

func (c *chunk) tag(place int) uint8 {
	if place < 8 {
		return uint8(c.low >> (8 * uint(place)))
	}
	return uint8(c.high >> (8 * uint(place-8)))
}

func (c *chunk) setTag(place int, tag uint64) {
	if place < 8 {
		shift := 8 * uint(place)
		c.low = c.low&^(0xff<<shift) | tag<<shift
		return
	}
	shift := 8 * uint(place-8)
	c.high = c.high&^(0xff<<shift) | uint32(tag)<<shift
}
