package occ

import (
	"fmt"
)

// CheckInvariants returns what is wrong with a store that nobody uses.
func (s *Store[K, V]) CheckInvariants() error {
	x := &s.index
	t := x.table.Load()
	inTree, live := 0, 0
	var last *record[K, V]
	ids := map[uint64]bool{}
	for r := range x.tree.Ascend {
		inTree++
		switch {
		case last != nil && x.compare(last.key, r.key) >= 0:
			return fmt.Errorf("%v before %v in the tree", last.key, r.key)
		case x.get(r.key) != r:
			return fmt.Errorf("%v is not in the table", r.key)
		case r.lock.Load() != 0:
			return fmt.Errorf("%v is locked: %b", r.key, r.lock.Load())
		case ids[r.id]:
			return fmt.Errorf("%v: id %d twice", r.key, r.id)
		}
		ids[r.id] = true
		last = r
		head := r.head.Load()
		if head.alive() != nil {
			live++
		}
		if head != nil && head.ver > s.snapshots.clock.Load() {
			return fmt.Errorf("%v: version %d after the clock", r.key, head.ver)
		}
		length := 0
		for v := head; v != nil; v = v.next.Load() {
			length++
			if v.ver <= s.snapshots.horizon.Load() {
				break
			}
			if n := v.next.Load(); n != nil && n.ver >= v.ver {
				return fmt.Errorf("%v: version %d before %d", r.key, v.ver, n.ver)
			}
		}
		if head != nil && length > int(head.depth) {
			return fmt.Errorf("%v: %d versions, depth %d", r.key, length, head.depth)
		}
	}
	used, inTable := 0, 0
	for i := range t.buckets {
		b := &t.buckets[i]
		for place := range bucketPlaces {
			tag, r := b.tags.Load()>>(8*place)&0xff, b.records[place].Load()
			if tag != 0 {
				used++
			}
			if r != nil {
				inTable++
			}
			if (r != nil) != (tag > tagGone) || r != nil && tag != tagOf(x.hash(r.key)) {
				return fmt.Errorf("place %d of bucket %d has tag %x and record %v", place, i, tag, r)
			}
		}
	}
	switch {
	case inTable != inTree:
		return fmt.Errorf("%d records in the table, %d in the tree", inTable, inTree)
	case used != t.used || used > mostUsed*len(t.buckets):
		return fmt.Errorf("%d places of %d buckets used, %d counted", used, len(t.buckets), t.used)
	case live != s.Len():
		return fmt.Errorf("%d keys have a value, Len %d", live, s.Len())
	case s.snapshots.gate.Load() != nil || len(s.snapshots.turn) != 0:
		return fmt.Errorf("the gate is closed")
	case s.snapshots.horizon.Load() > s.snapshots.proposed.Load():
		return fmt.Errorf("horizon %d above %d", s.snapshots.horizon.Load(), s.snapshots.proposed.Load())
	case s.queue.appending || len(s.queue.batch) != 0:
		return fmt.Errorf("the queue is not empty")
	}
	for slot := range s.snapshots.all {
		if w := slot.word.Load(); w != 0 {
			return fmt.Errorf("a slot is taken: %b", w)
		}
	}
	for i := range s.parking.places {
		if n := len(s.parking.places[i].waiters); n != 0 {
			return fmt.Errorf("%d transactions wait", n)
		}
	}
	for _, r := range s.garbage.records {
		if r.lock.Load()&dead == 0 && x.get(r.key) != r {
			return fmt.Errorf("%v: garbage that is neither dead nor in the index", r.key)
		}
	}
	return nil
}

// Records returns how many records there are, with those that have no value, and
// Versions how many versions the key has.
func (s *Store[K, V]) Records() int { return s.index.tree.Len() }

// Versions returns how many versions of a key are kept.
func (s *Store[K, V]) Versions(key K) (n int) {
	last := ^uint64(0)
	for v := s.index.get(key).head.Load(); v != nil && v.ver < last; v = v.next.Load() {
		last = v.ver
		n++
	}
	return n
}

// BeforeExtend has f called whenever a transaction is about to move its
// snapshot forward.
func (s *Store[K, V]) BeforeExtend(f func()) { s.beforeExtend = f }

// GetOnce is Tx.Get with the hole that extension invites: what was read before
// the snapshot moved is returned after it has moved.
func (tx *Tx[K, V]) GetOnce(key K) (value V) {
	t := tx.t
	r := t.s.index.get(key)
	v := t.s.settled(r)
	value = v.value
	if v.ver > t.rv && !t.extend(key) {
		panic("no extension, so no hole")
	}
	e := t.add(key, r)
	e.seen, e.read = v, true
	return value
}

// CheckInvariants returns what is wrong with h.
func (h *Holds[R, O]) CheckInvariants() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	owners, resources, ends := map[O]int{}, 0, 0
	for token, one := range h.holds {
		if token != one.Token || token > Token(h.version) {
			return fmt.Errorf("token %d under %d, version %d", one.Token, token, h.version)
		}
		for _, r := range one.Resources {
			if h.claims[r] != one {
				return fmt.Errorf("%v is not claimed by %d", r, token)
			}
		}
		resources += len(one.Resources)
		owners[one.Owner] += len(one.Resources)
		if one.Confirmed() != (one.at < 0) {
			return fmt.Errorf("token %d: confirmed %v, place %d in the heap", token, one.Confirmed(), one.at)
		}
		if one.at >= 0 {
			ends++
		}
	}
	if resources != len(h.claims) || ends != len(h.expiry) || len(owners) != len(h.owners) {
		return fmt.Errorf("%d resources, %d claims; %d ends, %d in the heap; %d owners, %d counted", resources, len(h.claims), ends, len(h.expiry), len(owners), len(h.owners))
	}
	for owner, n := range owners {
		if h.owners[owner] != n {
			return fmt.Errorf("%v has %d, counted %d", owner, n, h.owners[owner])
		}
	}
	for i, one := range h.expiry {
		if one.at != i || i > 0 && one.Until.Before(h.expiry[(i-1)/2].Until) {
			return fmt.Errorf("heap broken at %d", i)
		}
	}
	return nil
}
