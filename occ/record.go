package occ

import (
	"math"
	"slices"
	"sync/atomic"
)

// A record is the place of one key: a lock and the versions of its value, the
// newest first. Two versions have their place in the record; where more are
// needed, since old ones are still read, they are allocated.
//
//	record
//	+------+------+-----+-----+-----------+-----------+
//	| lock | head | id  | key | inline[0] | inline[1] |
//	|      |  |   |     |     |  ver 17   |  ver 12   |
//	+------+--|---+-----+-----+-----^-----+-----^-----+
//	          +---------------------+--- next --+--- next ──► nothing that matters
//
// Invariants: versions descend along next, as far as anybody reads: the list
// ends with the newest version that is not above the horizon, and what
// its next says means nothing. head changes only while the lock has the bit
// installing. No record that is dead is in the index, and none comes back to
// life. A key has at most one record in the index. A version in a record is
// written again only when the horizon has reached the version after it, that is,
// when no transaction can hold it or come upon it.
type record[K comparable, V any] struct {
	lock   lockWord
	head   atomic.Pointer[version[V]] // nil for a key that never had a value
	id     uint64                     // order of locking; unique in a store
	key    K
	inline [2]version[V]
}

// A version is a value that one commit gave to a key, or its deletion.
type version[V any] struct {
	next  atomic.Pointer[version[V]]
	ver   uint64 // of the commit; 0 for a place that was never used
	depth uint16 // at most that many are on the list from here on
	limit uint16 // depth at which the list is looked through
	gone  bool   // a deletion
	value V
}

// Once thinThreshold versions are on a list, those that no transaction can
// still read are unlinked also from its middle.
const thinThreshold = 32

// alive returns the version if it has a value, else nil.
func (v *version[V]) alive() *version[V] {
	if v == nil || v.gone {
		return nil
	}
	return v
}

// content returns the value of the version, if it has one.
func (v *version[V]) content() (value V, ver uint64, ok bool) {
	if v == nil || v.gone {
		return value, 0, false
	}
	return v.value, v.ver, true
}

// at returns the newest version of the list that is not above ver.
func (v *version[V]) at(ver uint64) *version[V] {
	for v != nil && v.ver > ver {
		v = v.next.Load()
	}
	return v
}

// install gives r, whose lock is held and says installing, a new version, and
// unlinks versions that nobody can read any more.
func (s *Store[K, V]) install(r *record[K, V], ver uint64, value V, gone bool) {
	old := r.head.Load()
	v := &r.inline[0]
	switch {
	case old == nil:
		v.depth = 1
	case old.ver <= s.snapshots.horizon.Load(): // nothing behind old is read
		if next := old.next.Load(); next != nil && next != &r.inline[0] && next != &r.inline[1] {
			old.next.Store(nil) // so that it is collected
		}
		if v == old {
			v = &r.inline[1]
		}
		if v.next.Load() != old { // it is, where commits take turns with the two
			v.next.Store(old)
		}
		v.depth = 2
	default:
		if v = &r.inline[1]; v.ver != 0 {
			v = new(version[V])
		}
		v.next.Store(old)
		v.depth = max(old.depth, old.depth+1) // stays at the maximum
	}
	v.ver, v.value, v.gone = ver, value, gone
	if v.limit = thinThreshold; v.depth > 2 {
		v.limit = old.limit
	}
	r.head.Store(v)
	if v.depth >= v.limit {
		kept := thin(v, s.snapshots.active())
		v.depth = uint16(min(kept, math.MaxUint16))
		v.limit = uint16(min(2*kept+thinThreshold, math.MaxUint16))
	}
}

// thin unlinks the versions behind head that none of the snapshots, in
// descending order, reads, and returns how many are left. A reader that stands
// on an unlinked version still finds what it looks for by its next.
func thin[V any](head *version[V], snapshots []uint64) (kept int) {
	kept = 1
	last := head // is kept
	for v := head.next.Load(); v != nil; v = v.next.Load() {
		// Snapshots from last.ver on read last or something newer.
		i, _ := slices.BinarySearchFunc(snapshots, last.ver, func(s, ver uint64) int {
			if s >= ver {
				return -1
			}
			return 1
		})
		if snapshots = snapshots[i:]; len(snapshots) == 0 {
			break
		}
		if v.ver <= snapshots[0] { // the newest that this snapshot may read
			last.next.Store(v)
			last = v
			kept++
		}
	}
	last.next.Store(nil)
	return kept
}
