package trace

import "math/bits"

// Optimum returns how many of the accesses hit in a cache of that many
// entries that knows the future. See [Oracle.Hits].
func Optimum(keys []uint64, capacity int) (hits int) { return NewOracle(keys).Hits(capacity) }

// An Oracle knows when each key of a trace is used next. Create one with
// [NewOracle]; it serves any number of capacities.
//
// An Oracle is safe for concurrent use by multiple goroutines.
type Oracle struct {
	next []uint32 // by access: the index of the next one of the same key, or never
}

// NewOracle looks through the accesses once, from the last to the first. It
// keeps 4 bytes for each, and panics if there are 2^32 or more.
func NewOracle(keys []uint64) *Oracle {
	never := uint32(len(keys))
	if uint64(never) != uint64(len(keys)) {
		panic("trace: too many accesses for an Oracle")
	}
	o := &Oracle{next: make([]uint32, len(keys))}
	last := make(map[uint64]uint32, len(keys)/8)
	for i := len(keys) - 1; i >= 0; i-- {
		at, ok := last[keys[i]]
		if !ok {
			at = never
		}
		o.next[i] = at
		last[keys[i]] = uint32(i)
	}
	return o
}

// Hits returns how many accesses hit under the algorithm of Belady (1966)
// with bypass: of what is held and what has just been asked for, that which is
// needed last gives way. No cache of that many entries has more hits, whether
// or not it must store what it is asked for. Hits takes time in proportion to
// the accesses and to the logarithm of their number.
func (o *Oracle) Hits(capacity int) (hits int) {
	if capacity <= 0 {
		return 0
	}
	// An entry is known by the index of its next access, so that the cache is
	// a set of indices, and the one to give up is the largest of them.
	held := newIndexSet(len(o.next))
	size := 0
	for i, next := range o.next {
		if held.has(uint32(i)) {
			held.remove(uint32(i))
			size--
			hits++
		}
		if int(next) == len(o.next) {
			continue
		}
		held.add(next)
		if size++; size > capacity {
			held.remove(held.max())
			size--
		}
	}
	return hits
}

// An indexSet is a set of small numbers. Each bit of a level says whether the
// word at its place in the level below has any bit set:
//
//	levels[1]  01000000…                   of which the highest set bit, 1,
//	levels[0]  00000000… 00100100… …       leads to word 1 and its highest, 5
type indexSet struct{ levels [][]uint64 }

func newIndexSet(n int) *indexSet {
	s := &indexSet{}
	for {
		n = (n + 63) / 64
		s.levels = append(s.levels, make([]uint64, n))
		if n <= 1 {
			return s
		}
	}
}

func (s *indexSet) has(i uint32) bool { return s.levels[0][i/64]>>(i%64)&1 != 0 }

func (s *indexSet) add(i uint32) {
	for _, level := range s.levels {
		word := &level[i/64]
		had := *word != 0
		*word |= 1 << (i % 64)
		if had {
			return
		}
		i /= 64
	}
}

func (s *indexSet) remove(i uint32) {
	for _, level := range s.levels {
		word := &level[i/64]
		*word &^= 1 << (i % 64)
		if *word != 0 {
			return
		}
		i /= 64
	}
}

// max returns the largest number of the set, which is not empty.
func (s *indexSet) max() uint32 {
	i := uint32(0)
	for l := len(s.levels) - 1; l >= 0; l-- {
		i = i*64 + uint32(bits.Len64(s.levels[l][i])-1)
	}
	return i
}
