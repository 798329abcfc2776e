package occ

import (
	"math/bits"
	"sync/atomic"
)

// A table finds the record of a key by its hash. It is an array of buckets, each the
// size of a cache line where a pointer has 8 bytes:
//
//	 0            7   8                                     64
//	+--------------+---+--------------------------------------+
//	| tags 0-6     | - | records 0-6                          |
//	+--------------+---+--------------------------------------+
//
// A tag is a byte of the hash with the highest bit set. 0 is a place that was
// never used, which ends a search, and tagGone one that was given back. The low
// bits of the hash choose the bucket where a search begins.
//
// One changes the table at a time; any number read it meanwhile. A record is
// written before its tag, so who sees the tag sees it, or what has come into its place.
//
// Invariants: all of the buckets from that of a record's hash to that which
// has it are without a place that was never used, but for the last. At most
// mostUsed places of a bucket are used on average.
type table[K comparable, V any] struct {
	buckets []bucket[K, V] // a power of two
	used    int            // places that were ever used
}

type bucket[K comparable, V any] struct {
	tags    atomic.Uint64
	records [bucketPlaces]atomic.Pointer[record[K, V]]
}

const (
	bucketPlaces = 7
	mostUsed     = 5
	grownUsed    = 3 // at most, in a new table

	tagGone = 1
	ones    = 0x0001010101010101 // in the bytes that are tags
	highs   = ones << 7
)

func tagOf(hash uint64) uint64 { return hash>>57 | 0x80 }

// zeroBytes has the highest bit of the lowest tag that is 0, and of no tag below it.
func zeroBytes(tags uint64) uint64 { return (tags - ones) & ^tags & highs }

// newTable returns a table for n records.
func newTable[K comparable, V any](n int) *table[K, V] {
	size := 1
	for grownUsed*size < n {
		size *= 2
	}
	return &table[K, V]{buckets: make([]bucket[K, V], size)}
}

// search returns the record of key, or nil.
func (t *table[K, V]) search(hash uint64, key K) *record[K, V] {
	mask := uint64(len(t.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		b := &t.buckets[i]
		tags := b.tags.Load()
		for same := zeroBytes(tags ^ tagOf(hash)*ones); same != 0; same &= same - 1 {
			r := b.records[bits.TrailingZeros64(same)/8].Load()
			if r != nil && r.key == key {
				return r
			}
		}
		if zeroBytes(tags) != 0 {
			return nil
		}
	}
}

// full reports whether there is no room for one more record.
func (t *table[K, V]) full() bool { return t.used >= mostUsed*len(t.buckets) }

// add adds a record whose key, with that hash, is not in the table, which is
// not full.
func (t *table[K, V]) add(hash uint64, r *record[K, V]) {
	mask := uint64(len(t.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		b := &t.buckets[i]
		tags := b.tags.Load()
		for place := range bucketPlaces {
			shift := 8 * place
			tag := tags >> shift & 0xff
			if tag > tagGone {
				continue
			}
			if tag == 0 {
				t.used++
			}
			b.records[place].Store(r)
			b.tags.Store(tags&^(0xff<<shift) | tagOf(hash)<<shift)
			return
		}
	}
}

// remove removes a record, which is in the table, its key with that hash.
func (t *table[K, V]) remove(hash uint64, r *record[K, V]) {
	mask := uint64(len(t.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		b := &t.buckets[i]
		for place := range bucketPlaces {
			if b.records[place].Load() == r {
				shift := 8 * place
				b.tags.Store(b.tags.Load()&^(0xff<<shift) | tagGone<<shift)
				b.records[place].Store(nil)
				return
			}
		}
	}
}

// all iterates over the records.
func (t *table[K, V]) all(yield func(*record[K, V]) bool) {
	for i := range t.buckets {
		for place := range bucketPlaces {
			if r := t.buckets[i].records[place].Load(); r != nil && !yield(r) {
				return
			}
		}
	}
}
