package store

import (
	"encoding/binary"
	"math/bits"
)

// A filter is a bloom filter: ten bits for each word and seven of them set, so
// that one word in a hundred is found that is not there. All of a word's bits
// come of its hash, by double hashing.
//
//	┌────────┬──────────────┐
//	│ number │ bits         │
//	│ 4      │ (number+7)/8 │
//	└────────┴──────────────┘
type filter []byte

const (
	bitsPerWord = 10
	bitsSet     = 7
)

func newFilter(words map[uint64]struct{}) filter {
	n := max(len(words)*bitsPerWord, 64)
	f := make(filter, 4+(n+7)/8)
	binary.BigEndian.PutUint32(f, uint32(n))
	for w := range words {
		for i := range uint64(bitsSet) {
			bit := place32(w, i, uint64(n))
			f[4+bit/8] |= 1 << (bit % 8)
		}
	}
	return f
}

// place32 returns the i-th bit of a word.
func place32(w, i, n uint64) uint64 {
	hi, _ := bits.Mul64(w+i*(w>>32|w<<32|1)*0x9e3779b97f4a7c15, n)
	return hi
}

// has reports whether a word may be in the filter. A filter that is damaged has
// everything.
func (f filter) has(w uint64) bool {
	if len(f) < 5 {
		return true
	}
	n := uint64(binary.BigEndian.Uint32(f))
	if n == 0 || uint64(len(f)-4) != (n+7)/8 {
		return true
	}
	for i := range uint64(bitsSet) {
		bit := place32(w, i, n)
		if f[4+bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}
