package occ

import (
	"context"
	"runtime"
	"slices"
)

// A txn is what the attempts of a transaction work with. It is reused by later
// transactions.
//
// What it reads is what the newest commits up to rv have left. When it meets
// something newer it tries to move rv forward, which it may if all that it has
// read is still current; otherwise it is stale: it goes on with the snapshot
// that it has, so that its body sees nothing torn, and cannot commit writes.
//
// Invariants: entries have distinct keys. Every key of locks is locked by id,
// and so is every entry that is held. Between attempts there are no entries,
// spans and locks, and the slot is free.
type txn[K comparable, V any] struct {
	s     *Store[K, V]
	id    uint64 // in lock words; not 0
	ctx   context.Context
	slot  *slot // ours if taken, else a hint
	rv    uint64
	wv    uint64 // of the last commit, 0 if it wrote nothing
	wants []K    // to be locked before the next attempt

	entries []entry[K, V]
	byKey   map[K]int // into entries; used when there are many
	spans   []span[K]
	locks   []*record[K, V] // owned since before the commit
	highest uint64          // id among locks
	writes  []int           // into entries, at commit; by id of the record
	scanned []*record[K, V] // for validation
	handles []Tx[K, V]      // that no transaction has had
	work    int             // on moving rv forward
	commits uint            // with writes

	taken    bool // the slot is ours
	readonly bool // a View
	in       bool // past the gate
	alone    bool // owner of the gate
	applies  bool // an entry is or was of kind apply
	stale    bool
	denied   bool // Lock has asked for another attempt
	locking  bool // which is to begin with locks
	cause    cause
	conflict K     // why it is stale, or did not commit
	err      error // the context has ended, or the log has failed
}

// An entry is what a transaction did to a key.
type entry[K comparable, V any] struct {
	key   K
	rec   *record[K, V] // nil if there was none
	seen  *version[V]   // if read, what was read; nil if there was nothing
	value V             // of a put
	fns   []func(V) V   // of Apply
	kind  kind
	read  bool
	held  bool // locked by the commit
}

type kind uint8

const (
	none kind = iota // only read
	put
	remove
	apply
)

// A span is a part of the keys that a loop has read in full: the interval as
// far as the key through, in the direction of the loop.
type span[K comparable] struct {
	interval[K]
	backward bool
	reached  bool // through is set; otherwise nothing was read
	whole    bool // the end was reached
	through  K
}

const (
	fewEntries = 8 // are searched one by one

	// Moving the snapshot forward may cost freeWork checks, and after that
	// workRatio for every entry; a transaction that reads much while others
	// write much would otherwise spend its time on it.
	freeWork  = 1024
	workRatio = 8

	// A conflict is mostly over when the next attempt begins. Locks in the second
	// one already would lead to a queue that others join before it is empty.
	firstLocking = 3

	horizonEvery = 8 // commits of a txn

	handlesAtOnce = 16

	keptEntries = 1024 // more are not kept for the next transaction
	keptWants   = 64
)

func (s *Store[K, V]) acquire() *txn[K, V] {
	if t, ok := s.pool.Get().(*txn[K, V]); ok {
		return t
	}
	return &txn[K, V]{s: s, id: s.ids.Add(1)}
}

// handle returns a Tx of its own for every transaction, since the body may keep
// it. Some are allocated at once.
func (t *txn[K, V]) handle() *Tx[K, V] {
	if len(t.handles) == 0 {
		t.handles = make([]Tx[K, V], handlesAtOnce)
	}
	tx := &t.handles[0]
	t.handles = t.handles[1:]
	tx.t = t
	return tx
}

func (t *txn[K, V]) takeSlot() {
	t.slot, t.rv = t.s.snapshots.take(t.slot)
	t.taken = true
}

// begin begins an attempt, from the firstLocking on with locks on what the
// earlier ones have met others at.
func (t *txn[K, V]) begin(attempt int) error {
	t.takeSlot()
	if t.alone {
		t.slot.stats.escalations.inc()
		return nil
	}
	if len(t.wants) == 0 || attempt < firstLocking && !t.locking {
		return nil
	}
	if err := t.lockKeys(t.wants); err != nil {
		return err
	}
	t.moveTo(t.s.snapshots.clock.Load()) // nothing has been read yet
	return nil
}

func (t *txn[K, V]) moveTo(rv uint64) {
	t.rv = rv
	word := rv<<slotBits | slotTaken
	if t.in {
		word |= slotIn
	}
	t.slot.word.Store(word)
}

// enter passes the gate, after which the transaction may lock.
func (t *txn[K, V]) enter() error {
	if t.in || t.alone {
		return nil
	}
	if err := t.s.snapshots.enter(t.ctx, t.slot, t.rv); err != nil {
		return err
	}
	t.in = true
	return nil
}

// reset ends an attempt and leaves nothing of it.
func (t *txn[K, V]) reset() {
	s := t.s
	t.releaseHeld()
	for _, r := range t.locks {
		s.parking.release(r, t.id)
		s.discardDead(r)
	}
	if t.taken {
		t.slot.word.Store(0)
	}
	if t.alone {
		s.snapshots.openGate()
	}
	if cap(t.entries) > keptEntries {
		t.entries, t.byKey = nil, nil
	}
	if len(t.entries) > fewEntries {
		clear(t.byKey)
	}
	clear(t.entries)
	clear(t.spans)
	clear(t.locks)
	t.entries, t.spans, t.locks, t.writes = t.entries[:0], t.spans[:0], t.locks[:0], t.writes[:0]
	t.highest, t.work = 0, 0
	t.taken, t.in, t.alone, t.applies, t.stale, t.denied = false, false, false, false, false, false
}

// finish is reset at the end of the transaction.
func (t *txn[K, V]) finish() {
	t.reset()
	var zero K
	clear(t.wants)
	clear(t.scanned[:cap(t.scanned)])
	t.wants, t.conflict, t.ctx, t.err, t.readonly, t.locking, t.wv = t.wants[:0], zero, nil, nil, false, false, 0
}

// find returns the entry of key, or nil. It is valid until the next add.
func (t *txn[K, V]) find(key K) *entry[K, V] {
	if len(t.entries) > fewEntries {
		if i, ok := t.byKey[key]; ok {
			return &t.entries[i]
		}
		return nil
	}
	for i := range t.entries {
		if t.entries[i].key == key {
			return &t.entries[i]
		}
	}
	return nil
}

// add adds the entry of a key that has none.
func (t *txn[K, V]) add(key K, r *record[K, V]) *entry[K, V] {
	n := len(t.entries)
	if n < cap(t.entries) {
		t.entries = t.entries[:n+1] // what is there has been cleared
	} else {
		t.entries = append(t.entries, entry[K, V]{})
	}
	e := &t.entries[n]
	e.key, e.rec = key, r
	switch n++; {
	case n == fewEntries+1:
		if t.byKey == nil {
			t.byKey = make(map[K]int)
		}
		for i := range t.entries {
			t.byKey[t.entries[i].key] = i
		}
	case n > fewEntries:
		t.byKey[key] = n - 1
	}
	return e
}

// get returns what the transaction sees under key, and the version of the
// commit that it is from, 0 if it is its own.
func (t *txn[K, V]) get(key K) (value V, ver uint64, ok bool) {
	var v *version[V]
	if t.readonly {
		if r := t.s.index.get(key); r != nil {
			v = t.read(r, false)
		}
		return v.content()
	}
	e := t.find(key)
	if e == nil {
		return t.load(key).seen.content()
	}
	switch e.kind {
	case none:
		return e.seen.content()
	case apply: // becomes a put of what it makes of the value read
		t.readEntry(e)
		fns := e.fns
		value, _, _ := e.seen.content()
		for _, fn := range fns {
			value = fn(value)
		}
		t.write(key, put, value)
		return value, 0, true
	}
	return e.value, 0, e.kind == put
}

// load adds an entry with what is read under key.
func (t *txn[K, V]) load(key K) *entry[K, V] {
	e := t.add(key, nil)
	t.readEntry(e)
	return e
}

// readEntry reads the key of an entry, which takes part in validation only
// after that. Its record is looked up once more: one that came into being
// since is part of a snapshot that has moved.
func (t *txn[K, V]) readEntry(e *entry[K, V]) {
	if e.rec = t.s.index.get(e.key); e.rec != nil {
		e.seen = t.read(e.rec, true)
	}
	e.read = true
}

func (t *txn[K, V]) write(key K, kind kind, value V) {
	e := t.find(key)
	if e == nil {
		if key != key {
			panic("occ: the key is not equal to itself")
		}
		e = t.add(key, t.s.index.get(key))
	}
	e.kind, e.value, e.fns = kind, value, nil
}

func (t *txn[K, V]) apply(key K, fn func(V) V) {
	switch e := t.find(key); {
	case e != nil && e.kind == apply:
		e.fns = append(e.fns, fn)
	case e != nil: // has been read or written
		old, _, _ := t.get(key)
		t.write(key, put, fn(old))
	default:
		var zero V
		t.write(key, apply, zero)
		t.find(key).fns = []func(V) V{fn}
		t.applies = true
	}
}

// settled returns the newest version of r. If a commit is being installed there that
// a snapshot taken before may include, it waits for it.
func (s *Store[K, V]) settled(r *record[K, V]) *version[V] {
	if s.log == nil {
		for spins := 0; r.lock.Load()&installing != 0; spins++ {
			if spins > 20 {
				runtime.Gosched()
			}
		}
	}
	return r.head.Load()
}

// read returns the newest version of r that the snapshot includes, after it has
// moved the snapshot forward if it can. With wait it waits for an owner of the lock,
// since that one is about to write, and becomes the next.
func (t *txn[K, V]) read(r *record[K, V], wait bool) *version[V] {
	if t.readonly {
		return t.s.settled(r).at(t.rv)
	}
	for {
		word := r.lock.Load()
		if word == 0 { // mostly, and what follows does the same in more steps
			if v := r.head.Load(); v == nil || v.ver <= t.rv {
				return v
			}
		}
		if word != 0 && wait && !t.stale && !heldBy(word, t.id) && t.inOrder(r) {
			if word&dead == 0 && (word&installing == 0 || t.s.log != nil) {
				t.own(r)
			}
		}
		v := t.s.settledFor(r, t.id)
		if v == nil || v.ver <= t.rv {
			return v
		}
		// The version read is of no use to the new snapshot: there may be a
		// newer one by then. So the record is read once more.
		if t.stale || !t.extend(r.key) {
			return v.at(t.rv)
		}
	}
}

// settledFor is settled for a transaction that may hold the lock itself.
func (s *Store[K, V]) settledFor(r *record[K, V], id uint64) *version[V] {
	if heldBy(r.lock.Load(), id) {
		return r.head.Load()
	}
	return s.settled(r)
}

// extend moves the snapshot to now, since key has a newer version, and reports
// whether that was possible. If something that was read has changed, the
// transaction is stale.
func (t *txn[K, V]) extend(key K) bool {
	if t.s.beforeExtend != nil {
		t.s.beforeExtend()
	}
	now := t.s.snapshots.clock.Load()
	if now == t.rv {
		return false // the newer version is not visible yet
	}
	if t.work > freeWork+workRatio*len(t.entries) {
		t.setConflict(causeRead, key)
		t.stale = true
		return false
	}
	if !t.validate(false) {
		t.stale = true
		return false
	}
	t.moveTo(now)
	t.slot.stats.extensions.inc()
	return true
}

// setConflict notes why the attempt has to be repeated. What it was about is
// locked before the next one.
func (t *txn[K, V]) setConflict(c cause, key K) {
	t.cause, t.conflict = c, key
	if len(t.wants) < keptWants && !slices.Contains(t.wants, key) {
		t.wants = append(t.wants, key)
	}
}

// validate reports whether everything read is still current. At commit, when
// the locks of all writes are held as installing, a commit of another that is
// being installed counts as a change; before, it is waited for.
func (t *txn[K, V]) validate(commit bool) bool {
	t.work += len(t.entries)
	for i := range t.entries {
		if e := &t.entries[i]; e.read && !t.unchanged(e, commit) {
			t.setConflict(causeRead, e.key)
			return false
		}
	}
	for i := range t.spans {
		if !t.spanUnchanged(&t.spans[i], commit) {
			return false
		}
	}
	return true
}

func (t *txn[K, V]) unchanged(e *entry[K, V], commit bool) bool {
	r := e.rec
	if r == nil || r.lock.Load()&dead != 0 { // absent when it was read
		if r = t.s.index.get(e.key); r == nil || r.lock.Load()&dead != 0 {
			return true
		}
	}
	v, ok := t.current(r, commit)
	return ok && (v == e.seen || v.alive() == nil && e.seen.alive() == nil)
}

// current returns the newest version of r, or false if it is about to change.
func (t *txn[K, V]) current(r *record[K, V], commit bool) (*version[V], bool) {
	if !commit {
		return t.s.settledFor(r, t.id), true
	}
	if word := r.lock.Load(); word&installing != 0 && !heldBy(word, t.id) {
		return nil, false
	}
	return r.head.Load(), true
}

func (t *txn[K, V]) spanUnchanged(s *span[K], commit bool) bool {
	var after *K
	for s.reached || s.whole {
		t.scanned = t.s.index.scan(t.scanned[:0], s.interval, after, s.backward, chunk)
		t.work += len(t.scanned)
		for _, r := range t.scanned {
			if !s.whole {
				order := t.s.index.compare(r.key, s.through)
				if s.backward {
					order = -order
				}
				if order > 0 {
					return true
				}
			}
			if v, ok := t.current(r, commit); !ok || v != nil && v.ver > t.rv {
				t.setConflict(causeRange, r.key)
				return false
			}
		}
		if len(t.scanned) < chunk {
			return true
		}
		after = &t.scanned[chunk-1].key
	}
	return true
}

// beginSpan adds a span of which nothing is read yet and returns its index, -1
// in a View.
func (t *txn[K, V]) beginSpan(in interval[K], backward bool) int {
	if t.readonly {
		return -1
	}
	t.spans = append(t.spans, span[K]{interval: in, backward: backward})
	return len(t.spans) - 1
}

func (t *txn[K, V]) reach(at int, key K) {
	if at >= 0 {
		t.spans[at].through, t.spans[at].reached = key, true
	}
}

func (t *txn[K, V]) endSpan(at int) {
	if at >= 0 {
		t.spans[at].whole = true
	}
}
