package occ

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
)

// An index finds the record of a key, and records in order.
//
//	get ──► table: by hash, read without a lock ─┐
//	                                             ├──► record
//	scan ─► tree: B-tree by key, behind mu ──────┘
//
// Invariants: table and tree hold the same records, none of them dead, except
// within a change, which holds mu.
type index[K comparable, V any] struct {
	seed    maphash.Seed
	compare func(a, b K) int
	table   atomic.Pointer[table[K, V]]

	mu   sync.RWMutex
	tree *btree.BTreeG[*record[K, V]]
	last uint64 // id of a record
}

func (x *index[K, V]) init(compare func(a, b K) int) {
	x.seed = maphash.MakeSeed()
	x.compare = compare
	x.table.Store(newTable[K, V](0))
	x.tree = btree.NewG(32, func(a, b *record[K, V]) bool { return compare(a.key, b.key) < 0 })
}

// get returns the record of key, or nil. Every key that a commit up to the
// caller's snapshot gave a value is found, since a record enters the index
// before its commit takes a version.
func (x *index[K, V]) get(key K) *record[K, V] {
	return x.table.Load().search(x.hash(key), key)
}

func (x *index[K, V]) hash(key K) uint64 { return maphash.Comparable(x.seed, key) }

// getOrAdd returns the record of key. A new one is locked with the word lock.
func (x *index[K, V]) getOrAdd(key K, lock uint64) (r *record[K, V], added bool) {
	if r = x.get(key); r != nil && r.lock.Load()&dead == 0 {
		return r, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if r = x.get(key); r != nil {
		return r, false // alive, since mu is held
	}
	if key != key {
		panic("occ: the key is not equal to itself")
	}
	x.last++
	r = &record[K, V]{id: x.last, key: key}
	r.lock.Store(lock)
	x.tree.ReplaceOrInsert(r)
	t := x.table.Load()
	if t.full() {
		t = newTable[K, V](x.tree.Len())
		for old := range x.table.Load().all {
			t.add(x.hash(old.key), old)
		}
		t.add(x.hash(key), r)
		x.table.Store(t)
	} else {
		t.add(x.hash(key), r)
	}
	return r, true
}

// remove takes a record out of the index; the caller holds mu.
func (x *index[K, V]) remove(r *record[K, V]) {
	x.tree.Delete(r)
	x.table.Load().remove(x.hash(r.key), r)
}

// An interval is a set of keys: from lo, inclusive, to hi, exclusive, each nil
// where there is no bound.
type interval[K comparable] struct{ lo, hi *K }

// endsBefore reports whether the whole interval is below the key.
func (i interval[K]) endsBefore(key K, compare func(a, b K) int) bool {
	return i.hi != nil && compare(key, *i.hi) >= 0
}

// scan appends to dst up to n records of the interval, in ascending order or
// from its end, without the key after, which the last call ended with.
func (x *index[K, V]) scan(dst []*record[K, V], i interval[K], after *K, backward bool, n int) []*record[K, V] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	full := len(dst) + n
	add := func(r *record[K, V]) bool {
		switch {
		case after != nil && x.compare(r.key, *after) == 0:
			return true
		case backward && i.hi != nil && x.compare(r.key, *i.hi) >= 0:
			return true // the bound itself
		case backward && i.lo != nil && x.compare(r.key, *i.lo) < 0, !backward && i.endsBefore(r.key, x.compare):
			return false
		}
		dst = append(dst, r)
		return len(dst) < full
	}
	bound := after
	if bound == nil && backward {
		bound = i.hi
	} else if bound == nil {
		bound = i.lo
	}
	var from *record[K, V]
	if bound != nil {
		from = &record[K, V]{key: *bound}
	}
	switch {
	case from == nil && backward:
		x.tree.Descend(add)
	case from == nil:
		x.tree.Ascend(add)
	case backward:
		x.tree.DescendLessOrEqual(from, add)
	default:
		x.tree.AscendGreaterOrEqual(from, add)
	}
	return dst
}
