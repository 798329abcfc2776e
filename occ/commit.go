package occ

import (
	"errors"
	"runtime"
	"slices"
	"sync"
)

// inOrder reports whether the transaction may wait for the lock of r.
func (t *txn[K, V]) inOrder(r *record[K, V]) bool {
	return len(t.locks) == 0 || r.id > t.highest
}

// own waits for the lock of r, for the rest of the attempt. It returns errDead,
// or the error of the context, which makes the attempt the last.
func (t *txn[K, V]) own(r *record[K, V]) error {
	err := t.enter()
	if err == nil && !r.lock.try(t.id, owned) {
		t.slot.stats.waits.inc()
		err = t.s.parking.wait(t.ctx, r, t.id, t.s.log == nil)
	}
	switch {
	case err == nil:
		t.locks = append(t.locks, r)
		t.highest = max(t.highest, r.id)
	case !errors.Is(err, errDead):
		t.err, t.stale = err, true
	}
	return err
}

// lockKeys locks keys for the rest of the attempt.
func (t *txn[K, V]) lockKeys(keys []K) error {
	if t.err != nil {
		return t.err
	}
	if t.stale {
		return errRestart
	}
	if t.alone {
		return nil // nobody else locks or commits
	}
	var records []*record[K, V]
	for _, key := range keys {
		r, _ := t.s.index.getOrAdd(key, 0)
		records = append(records, r)
	}
	sortByID(records)
	for i := 0; i < len(records); i++ {
		r := records[i]
		if heldBy(r.lock.Load(), t.id) {
			continue
		}
		var err error
		if t.inOrder(r) {
			err = t.own(r)
		} else {
			err = t.tryOwn(r)
		}
		switch {
		case err == nil:
		case errors.Is(err, errDead): // its successor has a higher id
			records[i], _ = t.s.index.getOrAdd(r.key, 0)
			sortByID(records[i:])
			i--
		case t.denied:
			for _, key := range keys {
				t.setConflict(causeLock, key)
			}
			t.setConflict(causeLock, r.key)
			return err
		default:
			return err
		}
	}
	return nil
}

// tryOwn is own without waiting.
func (t *txn[K, V]) tryOwn(r *record[K, V]) error {
	if r.lock.try(t.id, owned) {
		t.locks = append(t.locks, r)
		t.highest = max(t.highest, r.id)
		return nil
	}
	if r.lock.Load()&dead != 0 {
		return errDead
	}
	t.stale, t.denied, t.locking = true, true, true
	return errRestart
}

func sortByID[K comparable, V any](records []*record[K, V]) {
	slices.SortFunc(records, func(a, b *record[K, V]) int {
		if a.id < b.id {
			return -1
		} else if a.id > b.id {
			return 1
		}
		return 0
	})
}

// commit makes the writes of the attempt visible in one step, if nothing that
// it has read has changed, and reports whether it did. A false without t.err means that
// the attempt has to be repeated.
//
// The moment of the commit is that at which it takes its version: all that it
// writes is locked by then, so whoever reads or writes the same and takes a
// version later will see it, and validation, which comes after it, sees
// everybody who took one before.
func (t *txn[K, V]) commit() bool {
	if t.denied {
		return false
	}
	for i := range t.entries {
		if t.entries[i].kind != none {
			t.writes = append(t.writes, i)
		}
	}
	if len(t.writes) == 0 {
		return true // what it read was true at the moment of its snapshot
	}
	if t.stale {
		return false
	}
	if err := t.enter(); err != nil {
		t.err = err
		return false
	}
	if t.s.log != nil {
		return t.commitLogged()
	}
	if !t.lockFast() {
		if !t.lockSlow() {
			return false
		}
		t.markInstalling()
	} else if len(t.locks) > 0 {
		t.markInstalling()
	}
	t.wv = t.s.snapshots.clock.Add(1)
	if t.wv != t.rv+1 && !t.validate(true) { // else nobody has committed since
		t.wv = 0
		return false
	}
	if t.applies {
		t.evaluate()
	}
	t.installAll()
	return true
}

// fewSpins is how often a commit looks whether another has installed what it
// wants to lock.
const fewSpins = 50

// lockFast locks the writes as installing right away; all or none. It does not
// wait for anybody but commits that are being installed, and not for long.
func (t *txn[K, V]) lockFast() bool {
	t.resolve(installing)
	for _, i := range t.writes {
		e := &t.entries[i]
		if e.held || heldBy(e.rec.lock.Load(), t.id) {
			continue
		}
		for spins := 0; !e.rec.lock.try(t.id, installing); spins++ {
			if spins == fewSpins || e.rec.lock.Load()&(owned|dead) != 0 {
				t.releaseHeld()
				return false
			}
			if spins > fewSpins/2 {
				runtime.Gosched()
			}
		}
		e.held = true
	}
	return true
}

// resolve finds or makes the records of the writes, and sorts these by id. New
// records are locked with state, if that is not 0.
func (t *txn[K, V]) resolve(state uint64) {
	word := uint64(0)
	if state != 0 {
		word = t.id<<lockBits | state
	}
	for _, i := range t.writes {
		e := &t.entries[i]
		if e.rec == nil || e.rec.lock.Load()&dead != 0 {
			e.rec, e.held = t.s.index.getOrAdd(e.key, word)
			e.held = e.held && state != 0
		}
	}
	t.sortWrites(t.writes)
}

func (t *txn[K, V]) sortWrites(writes []int) {
	if len(writes) == 2 { // the most common of all, without a call of the function below
		if t.entries[writes[0]].rec.id > t.entries[writes[1]].rec.id {
			writes[0], writes[1] = writes[1], writes[0]
		}
		return
	}
	slices.SortFunc(writes, func(a, b int) int {
		if t.entries[a].rec.id < t.entries[b].rec.id {
			return -1
		}
		return 1
	})
}

// lockSlow locks the writes as owned, and waits for the locks where it may and
// where that is not in vain.
func (t *txn[K, V]) lockSlow() bool {
	t.resolve(0)
	for at := 0; at < len(t.writes); at++ {
		e := &t.entries[t.writes[at]]
		r := e.rec
		if heldBy(r.lock.Load(), t.id) {
			continue
		}
		if !r.lock.try(t.id, owned) {
			if e.read || !t.inOrder(r) { // an owner is about to change it
				if !t.tryInstalling(r) {
					t.setConflict(causeLock, e.key)
					return false
				}
			} else {
				t.slot.stats.waits.inc()
				err := t.s.parking.wait(t.ctx, r, t.id, t.s.log == nil)
				if errors.Is(err, errDead) { // its successor has a higher id
					e.rec, _ = t.s.index.getOrAdd(e.key, 0)
					t.sortWrites(t.writes[at:])
					at--
					continue
				} else if err != nil {
					t.err = err
					return false
				}
			}
		}
		e.held = true
	}
	return true
}

// tryInstalling locks r as owned after a commit that is being installed there,
// but waits for nobody else.
func (t *txn[K, V]) tryInstalling(r *record[K, V]) bool {
	for range fewSpins {
		if r.lock.try(t.id, owned) {
			return true
		}
		if t.s.log != nil || r.lock.Load()&(owned|dead) != 0 {
			return false
		}
		runtime.Gosched()
	}
	return false
}

// markInstalling says in all locks of writes that the commit is about to take
// its version.
func (t *txn[K, V]) markInstalling() {
	for _, i := range t.writes {
		if lock := &t.entries[i].rec.lock; lock.Load()&installing == 0 {
			lock.Or(installing)
		}
	}
}

// evaluate makes what Apply installs. The writes are locked.
func (t *txn[K, V]) evaluate() {
	for _, i := range t.writes {
		e := &t.entries[i]
		if e.kind != apply {
			continue
		}
		value, _, _ := e.rec.head.Load().content()
		for _, fn := range e.fns {
			value = fn(value)
		}
		e.value = value
	}
}

// installAll makes the writes visible under the version wv and releases their locks.
func (t *txn[K, V]) installAll() {
	s := t.s
	change, rest := int64(0), false
	for _, i := range t.writes {
		e := &t.entries[i]
		r := e.rec
		old := r.head.Load().alive()
		if e.kind == remove && old == nil {
			rest = true // nothing to remove
			continue
		}
		if e.kind != remove && old == nil {
			change++
		} else if e.kind == remove {
			change--
		}
		s.install(r, t.wv, e.value, e.kind == remove)
		if e.held && e.kind != remove {
			s.parking.release(r, t.id)
			e.held = false
		} else {
			rest = true
		}
	}
	if change != 0 {
		s.live.Add(change)
	}
	if rest {
		t.releaseHeld()
	}
	t.writes = t.writes[:0]
	if t.commits++; t.commits%horizonEvery == 0 {
		s.snapshots.advance()
	}
}

// releaseHeld releases the locks of the commit.
func (t *txn[K, V]) releaseHeld() {
	for _, i := range t.writes {
		if e := &t.entries[i]; e.held {
			t.s.parking.release(e.rec, t.id)
			e.held = false
			t.s.discardDead(e.rec)
		} else if e.rec != nil { // locked by the body, if at all
			if w := e.rec.lock.Load(); heldBy(w, t.id) && w&installing != 0 {
				e.rec.lock.And(^uint64(installing))
			}
		}
	}
}

// garbage are records that have no value, until they can leave the index: when
// no snapshot reads what was there before.
type garbage[K comparable, V any] struct {
	mu      sync.Mutex
	records []*record[K, V]
	limit   int
}

const leastGarbage = 64

// discardDead gives r, which the caller has just released, up if it has no value.
func (s *Store[K, V]) discardDead(r *record[K, V]) {
	if r.head.Load().alive() != nil {
		return
	}
	g := &s.garbage
	g.mu.Lock()
	defer g.mu.Unlock()
	g.records = append(g.records, r)
	if len(g.records) >= max(g.limit, leastGarbage) {
		g.records = s.collect(g.records)
		g.limit = 2 * len(g.records)
	}
}

// collect takes records out of the index and returns those that have to stay.
func (s *Store[K, V]) collect(records []*record[K, V]) []*record[K, V] {
	const collector = 0 // is nobody's id
	horizon := s.snapshots.advance()
	x := &s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	kept := records[:0]
	for _, r := range records {
		if r.lock.Load()&dead != 0 {
			continue // listed twice
		}
		if !r.lock.try(collector, owned) {
			kept = append(kept, r)
			continue
		}
		switch v := r.head.Load(); {
		case v.alive() != nil: // not garbage any more
		case v != nil && v.ver > horizon:
			kept = append(kept, r)
		case r.lock.CompareAndSwap(owned, dead):
			x.remove(r)
			continue
		default: // somebody waits for it
			kept = append(kept, r)
		}
		s.parking.release(r, collector)
	}
	clear(records[len(kept):])
	return kept
}
