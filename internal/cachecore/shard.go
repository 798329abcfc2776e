package cachecore

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/cache"
)

// An entry is what a slot holds. Slots are numbered from 1; entries[0] is
// never used, so that slot 0 can mean none.
type entry[K comparable, V any] struct {
	key   K
	value V
}

// A shard is an independent cache behind a lock of its own.
//
//	hash -> table -> slot -> entries[slot]   key and value
//	                         marks[slot]     half of the hash
//	                         deadlines[slot] only once something expires
//	                         costs[slot]     only with Options.Cost
//	                         live, bit slot  set while the slot is in use
//	                         policy          whose turn it is to go
//
// Invariants, which checkInvariants verifies: used is the highest slot ever
// taken since the last shrink; each of 1..used is either live or in free; the
// table holds exactly the live slots, each where its key's hash leads; held
// is the sum of their costs and at most limit; timed counts the live slots
// with a deadline; the policy orders exactly the live slots.
type shard[K comparable, V any] struct {
	mu    sync.Mutex
	stats cache.Stats
	// length and held are written under mu and read without it.
	length atomic.Int64
	held   atomic.Int64

	table     table
	entries   []entry[K, V]
	marks     []uint32 // the high halves of the hashes, 0 in slot 0
	policy    Policy
	costs     []int64
	deadlines []int64
	live      []uint64
	free      []uint32
	used      uint32
	hand      uint32 // where the sweep for expired entries goes on
	timed     int    // entries with a deadline
	limit     int64
	seed      maphash.Seed

	_ [72]byte // ends a cache line, and keeps the next shard's lock out of it
}

// A removal is a value on its way out, to be reported once the lock is gone.
type removal[K comparable, V any] struct {
	key    K
	value  V
	reason cache.Reason
}

// removals are the values that one call removed. The first needs no
// allocation.
type removals[K comparable, V any] struct {
	first removal[K, V]
	more  []removal[K, V]
	n     int
}

func (r *removals[K, V]) add(key K, value V, reason cache.Reason) {
	if r.n == 0 {
		r.first = removal[K, V]{key, value, reason}
	} else {
		r.more = append(r.more, removal[K, V]{key, value, reason})
	}
	r.n++
}

func (r *removals[K, V]) report(to func(K, V, cache.Reason)) {
	if r.n == 0 || to == nil {
		return
	}
	if r.n > 1 {
		r.reportAll(to)
		return
	}
	to(r.first.key, r.first.value, r.first.reason)
}

// reportAll reports the first and the others, also if to panics for one.
func (r *removals[K, V]) reportAll(to func(K, V, cache.Reason)) {
	defer r.reportMore(to, 0)
	to(r.first.key, r.first.value, r.first.reason)
}

func (r *removals[K, V]) reportMore(to func(K, V, cache.Reason), i int) {
	defer func() {
		if i < len(r.more) {
			r.reportMore(to, i+1)
		}
	}()
	for ; i < len(r.more); i++ {
		to(r.more[i].key, r.more[i].value, r.more[i].reason)
	}
}

// spins is how often a waiting goroutine looks at the lock before it parks. A
// shard is held for tens of nanoseconds, far less than parking costs.
const spins = 100

func (s *shard[K, V]) lock() {
	if !s.mu.TryLock() {
		s.wait()
	}
}

func (s *shard[K, V]) wait() {
	for range spins {
		if s.mu.TryLock() {
			return
		}
	}
	s.mu.Lock()
}

// find returns the slot of key, or 0. It is the path of every call, written
// for it.
func (s *shard[K, V]) find(hash uint64, key K) uint32 {
	chunks := s.table.chunks
	mark := markOf(hash)
	at := s.table.home(mark)
	tags := tagOf(mark) * ones
	for range len(chunks) {
		c := &chunks[at]
		for m := zeroBytes(c.low ^ tags); m != 0; m &= m - 1 {
			slot := c.slots[bits.TrailingZeros64(m)>>3]
			if s.entries[slot].key == key {
				return slot
			}
		}
		for m := zeroBytes32(c.high ^ uint32(tags)); m != 0; m &= m - 1 {
			slot := c.slots[8+bits.TrailingZeros32(m)>>3&3]
			if s.entries[slot].key == key {
				return slot
			}
		}
		if c.spilled>>classOf(mark)&manySpilled == 0 {
			return 0
		}
		if at++; at == len(chunks) {
			at = 0
		}
	}
	return 0 // every chunk was passed once
}

func (s *shard[K, V]) isLive(slot uint32) bool { return s.live[slot>>6]>>(slot&63)&1 != 0 }

func (s *shard[K, V]) cost(slot uint32) int64 {
	if s.costs == nil {
		return 1
	}
	return s.costs[slot]
}

func (s *shard[K, V]) hash(slot uint32) uint64 {
	return maphash.Comparable(s.seed, s.entries[slot].key)
}

// expired reports whether the entry in slot has a deadline that is over.
func (s *shard[K, V]) expired(slot uint32, now int64) bool {
	return s.deadlines != nil && s.deadlines[slot] != 0 && s.deadlines[slot] <= now
}

// setDeadline sets the deadline of slot, 0 for none. The array for deadlines
// exists from the first one on.
func (s *shard[K, V]) setDeadline(slot uint32, deadline int64) {
	if s.deadlines == nil {
		if deadline == 0 {
			return
		}
		s.deadlines = make([]int64, len(s.entries))
	}
	if s.deadlines[slot] != 0 {
		s.timed--
	}
	if deadline != 0 {
		s.timed++
	}
	s.deadlines[slot] = deadline
}

// take removes the entry in slot and adds it to out, which may be nil when
// nobody listens. The slot goes on the free list unless keep is set.
func (s *shard[K, V]) take(slot uint32, reason cache.Reason, out *removals[K, V], keep bool) {
	e := &s.entries[slot]
	s.table.remove(s.marks[slot], slot)
	s.policy.Remove(slot)
	if out != nil {
		out.add(e.key, e.value, reason)
	}
	*e = entry[K, V]{}
	if s.deadlines != nil {
		s.setDeadline(slot, 0)
	}
	switch reason {
	case cache.Evicted:
		s.stats.Evictions++
	case cache.Expired:
		s.stats.Expirations++
	case cache.Deleted:
		s.stats.Deletes++
	}
	if keep {
		return
	}
	s.held.Add(-s.cost(slot))
	s.length.Add(-1)
	s.live[slot>>6] &^= 1 << (slot & 63)
	s.free = append(s.free, slot)
}

// sweep looks at a few slots behind the hand and removes those whose lifetime
// is over, so that a cache in use gives up expired entries without a
// goroutine: the hand comes round once in used/sweepSlots writes.
func (s *shard[K, V]) sweep(now int64, out *removals[K, V]) {
	for range sweepSlots {
		if s.hand++; s.hand > s.used {
			s.hand = 1
		}
		if s.hand <= s.used && s.isLive(s.hand) && s.expired(s.hand, now) {
			s.take(s.hand, cache.Expired, out, false)
		}
	}
}

const sweepSlots = 2

// insert stores a new entry and makes room for it first. The caller has made
// sure that key is not there and that cost is at most limit.
func (s *shard[K, V]) insert(hash uint64, key K, value V, cost, deadline int64, out *removals[K, V]) uint32 {
	slot := uint32(0)
	if s.costs == nil && s.length.Load() == s.limit {
		// The usual case of a full cache: one leaves, one comes, and
		// neither the length nor the slot in use changes.
		slot = s.policy.Victim(hash, cost)
		s.take(slot, cache.Evicted, out, true)
	} else {
		for s.held.Load() > s.limit-cost {
			s.take(s.policy.Victim(hash, cost), cache.Evicted, out, false)
		}
		slot = s.newSlot()
		s.live[slot>>6] |= 1 << (slot & 63)
		s.length.Add(1)
		s.held.Add(cost)
	}
	s.entries[slot] = entry[K, V]{key, value}
	if s.costs != nil {
		s.costs[slot] = cost
	}
	if s.deadlines != nil || deadline != 0 {
		s.setDeadline(slot, deadline)
	}
	s.marks[slot] = markOf(hash)
	s.table.add(s.marks[slot], slot)
	s.policy.Insert(slot, hash, cost)
	s.stats.Inserts++
	return slot
}

// newSlot returns a slot that is not in use.
func (s *shard[K, V]) newSlot() uint32 {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot
	}
	if int(s.used) == len(s.entries)-1 {
		slots := max(minSlots, 2*int(s.used))
		if s.costs == nil {
			slots = int(min(int64(slots), s.limit))
		}
		s.resize(slots)
	}
	s.used++
	return s.used
}

const minSlots = 8

// resize gives the shard room for slots 1 to slots, of which none above is in
// use, and builds its table anew.
func (s *shard[K, V]) resize(slots int) {
	s.entries = sized(s.entries, slots+1)
	s.marks = sized(s.marks, slots+1)
	if s.costs != nil {
		s.costs = sized(s.costs, slots+1)
	}
	if s.deadlines != nil {
		s.deadlines = sized(s.deadlines, slots+1)
	}
	s.live = sized(s.live, slots>>6+1)
	s.policy.Grow(slots)
	s.tellMarks()
	s.table = newTable(slots)
	for slot := uint32(1); slot <= s.used; slot++ {
		if s.isLive(slot) {
			s.table.add(s.marks[slot], slot)
		}
	}
}

// tellMarks hands the marks to a policy that wants them.
func (s *shard[K, V]) tellMarks() {
	if p, ok := s.policy.(Marked); ok {
		p.SetMarks(s.marks)
	}
}

// sized returns a copy of src that is n long.
func sized[T any](src []T, n int) []T {
	dst := make([]T, n)
	copy(dst, src)
	return dst
}

// setLimit changes how much the shard may hold and evicts what is too much.
// When most of its room is unused afterwards, the shard gives it back: the
// entries move to the lowest slots.
func (s *shard[K, V]) setLimit(limit int64, out *removals[K, V]) {
	s.limit = limit
	for s.held.Load() > limit {
		s.take(s.policy.Victim(0, 0), cache.Evicted, out, false)
	}
	s.policy.Resize(limit)
	if s.costs != nil || int64(len(s.entries)-1) <= max(minSlots, limit) {
		return
	}
	free := uint32(1)
	for slot := uint32(1); slot <= s.used; slot++ {
		if !s.isLive(slot) {
			continue
		}
		if free < slot {
			s.move(slot, free)
		}
		free++
	}
	s.used = free - 1
	s.free = nil
	s.hand = 0
	s.resize(int(limit))
}

// move moves the entry in slot from to the free slot to. The table is not
// told: resize builds it anew.
func (s *shard[K, V]) move(from, to uint32) {
	s.entries[to], s.entries[from] = s.entries[from], entry[K, V]{}
	s.marks[to] = s.marks[from]
	if s.deadlines != nil {
		s.deadlines[to], s.deadlines[from] = s.deadlines[from], 0
	}
	s.policy.Move(from, to)
	s.live[from>>6] &^= 1 << (from & 63)
	s.live[to>>6] |= 1 << (to & 63)
}

// clear empties the shard and gives its memory back.
func (s *shard[K, V]) clear(out *removals[K, V]) {
	if out != nil {
		s.policy.Descend(func(slot uint32) bool {
			out.add(s.entries[slot].key, s.entries[slot].value, cache.Cleared)
			return true
		})
	}
	s.stats.Clears += uint64(s.length.Load())
	s.policy.Clear()
	s.entries = make([]entry[K, V], 1)
	s.marks = make([]uint32, 1)
	s.tellMarks()
	s.live = make([]uint64, 1)
	s.free, s.used, s.hand = nil, 0, 0
	s.deadlines, s.timed = nil, 0
	if s.costs != nil {
		s.costs = make([]int64, 1)
	}
	s.table = newTable(0)
	s.length.Store(0)
	s.held.Store(0)
}
