// Package cachecore is the storage engine of ashlar's caches: shards of flat
// arrays, in which an entry is a number, so that a cache of plain values holds
// no pointer for the garbage collector to follow and a full one allocates
// nothing. What differs from cache to cache is the [Policy].
package cachecore

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// A Cache is the engine behind every policy. It is safe for concurrent use by
// multiple goroutines.
type Cache[K comparable, V any] struct {
	shards []shard[K, V]
	mask   uint64
	seed   maphash.Seed
	opts   cache.Options[K, V]
	start  time.Time
	name   string
	resize chan struct{} // held while the capacity changes
	// capacity is guarded by resize.
	capacity int
}

// New returns an empty cache. name is the package that panics are prefixed
// with and newPolicy makes the policy of one shard, which may hold limit.
func New[K comparable, V any](name string, capacity int, opts *cache.Options[K, V], newPolicy func(limit int64) Policy) *Cache[K, V] {
	c := &Cache[K, V]{seed: maphash.MakeSeed(), name: name, start: time.Now(), resize: make(chan struct{}, 1), capacity: capacity}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Now != nil {
		c.start = c.opts.Now()
	}
	o := &c.opts
	switch {
	case capacity <= 0:
		panic(fmt.Sprintf("%s: capacity %d is not positive", name, capacity))
	case o.TTL < 0:
		panic(fmt.Sprintf("%s: Options.TTL %v is negative", name, o.TTL))
	case !(o.Jitter >= 0 && o.Jitter < 1):
		panic(fmt.Sprintf("%s: Options.Jitter %v is not in [0, 1)", name, o.Jitter))
	case o.Objective > cache.ByteHits:
		panic(fmt.Sprintf("%s: Options.Objective %d is unknown", name, o.Objective))
	case o.Shards < 0:
		panic(fmt.Sprintf("%s: Options.Shards %d is negative", name, o.Shards))
	case o.Cost == nil && capacity > maxSlots:
		panic(fmt.Sprintf("%s: capacity %d is over %d entries", name, capacity, maxSlots))
	}
	n := o.Shards
	if n == 0 {
		n = shardsFor(capacity, o.Cost != nil)
	}
	n = min(1<<bits.Len(uint(min(n, maxShards)-1)), 1<<(bits.Len(uint(capacity))-1))
	c.shards = make([]shard[K, V], n)
	c.mask = uint64(n - 1)
	for i := range c.shards {
		s := &c.shards[i]
		s.seed = c.seed
		s.limit = c.share(i, capacity)
		if o.Cost != nil {
			s.costs = []int64{}
		}
		s.policy = newPolicy(s.limit)
		s.clear(nil)
	}
	return c
}

const (
	maxSlots  = 1 << 30
	maxShards = 1 << 12
	// A shard of fewer entries evicts from too small a choice, and one of
	// less cost may be too small for a single entry.
	minShardEntries = 1 << 9
	minShardCost    = 1 << 26
)

// shardsFor chooses the number of shards. Two goroutines that meet at a lock
// cost each other far more than a lookup does, so there are many more shards
// than processors.
func shardsFor(capacity int, weighted bool) int {
	if weighted {
		return max(1, min(capacity/minShardCost, runtime.GOMAXPROCS(0)))
	}
	if capacity < 8*minShardEntries {
		return 1
	}
	return max(1, min(capacity/minShardEntries, 16*runtime.GOMAXPROCS(0)))
}

// share is the part of capacity that shard i may hold; the shares add up to
// capacity.
func (c *Cache[K, V]) share(i, capacity int) int64 {
	n := len(c.shards)
	part := capacity / n
	if i < capacity%n {
		part++
	}
	return int64(part)
}

func (c *Cache[K, V]) at(hash uint64) *shard[K, V] { return &c.shards[hash>>8&c.mask] }

// out returns where removals go, nil when nobody listens.
func (c *Cache[K, V]) out(r *removals[K, V]) *removals[K, V] {
	if c.opts.OnRemoval == nil {
		return nil
	}
	return r
}

// now is the time since the cache was made.
func (c *Cache[K, V]) now() int64 {
	if c.opts.Now != nil {
		return int64(c.opts.Now().Sub(c.start))
	}
	return int64(time.Since(c.start))
}

// deadline is when an entry stored now with ttl expires, 0 for never.
func (c *Cache[K, V]) deadline(ttl time.Duration) int64 {
	if ttl == 0 {
		ttl = c.opts.TTL
		if ttl == 0 {
			return 0
		}
		if c.opts.Jitter > 0 {
			ttl = max(1, ttl-time.Duration(rand.Float64()*c.opts.Jitter*float64(ttl)))
		}
	}
	if ttl < 0 {
		return 0
	}
	now := c.now()
	d := now + int64(ttl)
	if now > 0 && d < now {
		return math.MaxInt64
	}
	if d == 0 {
		d = 1 // 0 means none; a clock that runs backwards may get here
	}
	return d
}

// Get returns the value under key and counts as a use of it.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	s.lock()
	slot := s.find(hash, key)
	if slot != 0 && (s.timed == 0 || !c.overdue(s, slot)) {
		value = s.entries[slot].value
		s.policy.Hit(slot, hash)
		s.stats.Hits++
		s.mu.Unlock()
		return value, true
	}
	s.stats.Misses++
	if slot == 0 {
		s.mu.Unlock()
		return value, false
	}
	c.expire(s, slot)
	return value, false
}

// overdue reports whether the entry in slot has expired. It reads the clock
// only for an entry that can.
func (c *Cache[K, V]) overdue(s *shard[K, V], slot uint32) bool {
	return s.deadlines[slot] != 0 && s.deadlines[slot] <= c.now()
}

// expire removes the entry in slot of the locked shard s, unlocks s and
// reports it.
func (c *Cache[K, V]) expire(s *shard[K, V], slot uint32) {
	var r removals[K, V]
	s.take(slot, cache.Expired, c.out(&r), false)
	s.mu.Unlock()
	r.report(c.opts.OnRemoval)
}

// Peek returns the value under key without counting as a use of it.
func (c *Cache[K, V]) Peek(key K) (value V, ok bool) {
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	s.lock()
	defer s.mu.Unlock()
	if slot := s.find(hash, key); slot != 0 && (s.timed == 0 || !c.overdue(s, slot)) {
		return s.entries[slot].value, true
	}
	return value, false
}

// Put stores value under key with the default lifetime.
func (c *Cache[K, V]) Put(key K, value V) { c.PutTTL(key, value, 0) }

// PutTTL stores value under key with a lifetime of its own.
func (c *Cache[K, V]) PutTTL(key K, value V, ttl time.Duration) {
	cost, deadline := int64(1), int64(0)
	if c.opts.Cost != nil {
		cost = max(0, c.opts.Cost(key, value))
	}
	if ttl != 0 || c.opts.TTL != 0 {
		deadline = c.deadline(ttl)
	}
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	var r removals[K, V]
	s.lock()
	c.put(s, hash, key, value, cost, deadline, c.out(&r))
	s.mu.Unlock()
	r.report(c.opts.OnRemoval)
}

// put stores value in the locked shard s.
func (c *Cache[K, V]) put(s *shard[K, V], hash uint64, key K, value V, cost, deadline int64, out *removals[K, V]) {
	if s.timed > 0 {
		s.sweep(c.now(), out)
	}
	if slot := s.find(hash, key); slot != 0 {
		switch {
		case s.timed > 0 && c.overdue(s, slot):
			s.take(slot, cache.Expired, out, false)
		case s.held.Load()-s.cost(slot) <= s.limit-cost: // a sum of costs may overflow, this cannot
			c.update(s, slot, hash, value, cost, deadline, out)
			return
		case cost <= s.limit:
			c.grow(s, slot, hash, value, cost, deadline, out)
			return
		default:
			s.take(slot, cache.Replaced, out, false)
			s.stats.Deletes++
		}
	}
	if cost > s.limit || key != key {
		s.stats.Rejections++
		if out != nil {
			out.add(key, value, cache.Rejected)
		}
		return
	}
	s.insert(hash, key, value, cost, deadline, out)
}

// grow replaces the value in slot by one that needs others to leave. The old
// one must not be counted meanwhile, nor be among them, so the entry leaves
// first and comes back: to the same slot, where a Scan under way finds it, and
// with the uses that the policy knew of.
func (c *Cache[K, V]) grow(s *shard[K, V], slot uint32, hash uint64, value V, cost, deadline int64, out *removals[K, V]) {
	key, uses := s.entries[slot].key, uint64(0)
	weigher, _ := s.policy.(Weigher)
	if weigher != nil {
		uses = weigher.Weight(slot, hash) + 1
	}
	s.take(slot, cache.Replaced, out, false)
	at := len(s.free) - 1
	for s.held.Load() > s.limit-cost {
		s.take(s.policy.Victim(hash, cost), cache.Evicted, out, false)
	}
	last := len(s.free) - 1
	s.free[at], s.free[last] = s.free[last], s.free[at] // insert takes the last
	s.insert(hash, key, value, cost, deadline, out)
	if weigher != nil && weigher.Weight(slot, hash) < uses {
		weigher.SetWeight(slot, hash, uses)
	}
	s.stats.Updates++
	s.stats.Inserts-- // insert has counted it
}

// update replaces the value in slot.
func (c *Cache[K, V]) update(s *shard[K, V], slot uint32, hash uint64, value V, cost, deadline int64, out *removals[K, V]) {
	e := &s.entries[slot]
	if out != nil {
		out.add(e.key, e.value, cache.Replaced)
	}
	e.value = value
	if s.costs != nil {
		s.held.Add(cost - s.costs[slot])
		s.costs[slot] = cost
	}
	if s.deadlines != nil || deadline != 0 {
		s.setDeadline(slot, deadline)
	}
	s.policy.Update(slot, hash, cost)
	s.stats.Updates++
}

// GetOrPut returns the value under key, or stores value if there is none.
func (c *Cache[K, V]) GetOrPut(key K, value V) (actual V, loaded bool) {
	cost, deadline := int64(1), int64(0)
	if c.opts.Cost != nil {
		cost = max(0, c.opts.Cost(key, value))
	}
	if c.opts.TTL != 0 {
		deadline = c.deadline(0)
	}
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	var r removals[K, V]
	s.lock()
	if slot := s.find(hash, key); slot != 0 && (s.timed == 0 || !c.overdue(s, slot)) {
		actual = s.entries[slot].value
		s.policy.Hit(slot, hash)
		s.stats.Hits++
		s.mu.Unlock()
		return actual, true
	}
	s.stats.Misses++
	c.put(s, hash, key, value, cost, deadline, c.out(&r))
	s.mu.Unlock()
	r.report(c.opts.OnRemoval)
	return value, false
}

// Delete removes key and reports whether it was there.
func (c *Cache[K, V]) Delete(key K) bool {
	_, ok := c.remove(key, false)
	return ok
}

// Take removes key and returns the value it had.
func (c *Cache[K, V]) Take(key K) (V, bool) { return c.remove(key, true) }

func (c *Cache[K, V]) remove(key K, count bool) (value V, ok bool) {
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	var r removals[K, V]
	s.lock()
	if slot := s.find(hash, key); slot != 0 {
		reason := cache.Expired
		if s.timed == 0 || !c.overdue(s, slot) {
			value, ok, reason = s.entries[slot].value, true, cache.Deleted
		}
		s.take(slot, reason, c.out(&r), false)
	}
	if count && ok {
		s.stats.Hits++
	} else if count {
		s.stats.Misses++
	}
	s.mu.Unlock()
	r.report(c.opts.OnRemoval)
	return value, ok
}

// TTL returns what is left of the lifetime of key, [cache.Forever] if it does
// not expire.
func (c *Cache[K, V]) TTL(key K) (time.Duration, bool) {
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	s.lock()
	defer s.mu.Unlock()
	slot := s.find(hash, key)
	if slot == 0 {
		return 0, false
	}
	if s.deadlines == nil || s.deadlines[slot] == 0 {
		return cache.Forever, true
	}
	left := time.Duration(s.deadlines[slot] - c.now())
	return max(0, left), left > 0
}

// SetTTL gives key a new lifetime, as PutTTL would, and reports whether it is
// there. It does not count as a use.
func (c *Cache[K, V]) SetTTL(key K, ttl time.Duration) bool {
	deadline := c.deadline(ttl)
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	s.lock()
	slot := s.find(hash, key)
	if slot == 0 {
		s.mu.Unlock()
		return false
	}
	if s.timed > 0 && c.overdue(s, slot) {
		c.expire(s, slot)
		return false
	}
	s.setDeadline(slot, deadline)
	s.mu.Unlock()
	return true
}

// Len returns the number of entries held.
func (c *Cache[K, V]) Len() int {
	n := int64(0)
	for i := range c.shards {
		n += c.shards[i].length.Load()
	}
	return int(n)
}

// Cost returns the sum of the costs of the entries held.
func (c *Cache[K, V]) Cost() int64 {
	n := int64(0)
	for i := range c.shards {
		n += c.shards[i].held.Load()
	}
	return n
}

// Capacity returns what the cache may hold.
func (c *Cache[K, V]) Capacity() int {
	c.resize <- struct{}{}
	defer func() { <-c.resize }()
	return c.capacity
}

// Resize changes the capacity, evicts what is too much and returns how many
// entries that were.
func (c *Cache[K, V]) Resize(capacity int) (evicted int) {
	if capacity < len(c.shards) || c.opts.Cost == nil && capacity > maxSlots {
		panic(fmt.Sprintf("%s: Resize(%d): the capacity of a cache of %d shards must be at least that", c.name, capacity, len(c.shards)))
	}
	var r removals[K, V]
	c.resize <- struct{}{}
	for i := range c.shards {
		s := &c.shards[i]
		s.lock()
		before := s.stats.Evictions
		s.setLimit(c.share(i, capacity), c.out(&r))
		evicted += int(s.stats.Evictions - before)
		s.mu.Unlock()
	}
	c.capacity = capacity
	<-c.resize
	r.report(c.opts.OnRemoval)
	return evicted
}

// DeleteExpired removes all entries whose lifetime is over and returns how
// many there were.
func (c *Cache[K, V]) DeleteExpired() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		var r removals[K, V]
		s.lock()
		if s.timed > 0 {
			now := c.now()
			for slot := uint32(1); slot <= s.used; slot++ {
				if s.isLive(slot) && s.expired(slot, now) {
					s.take(slot, cache.Expired, c.out(&r), false)
					n++
				}
			}
		}
		s.mu.Unlock()
		r.report(c.opts.OnRemoval)
	}
	return n
}

// Clear removes all entries.
func (c *Cache[K, V]) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		var r removals[K, V]
		s.lock()
		s.clear(c.out(&r))
		s.mu.Unlock()
		r.report(c.opts.OnRemoval)
	}
}

// Stats returns the counts since the cache was made.
func (c *Cache[K, V]) Stats() cache.Stats {
	var sum cache.Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.lock()
		sum = sum.Sub(cache.Stats{}.Sub(s.stats))
		s.mu.Unlock()
	}
	return sum
}

// Shards returns the number of shards.
func (c *Cache[K, V]) Shards() int { return len(c.shards) }

// Do calls f with the policy of shard i under its lock.
func (c *Cache[K, V]) Do(i int, f func(p Policy)) {
	s := &c.shards[i]
	s.lock()
	defer s.mu.Unlock()
	f(s.policy)
}

// With calls f with the policy and the slot of key under the lock of its
// shard, and reports whether key is there.
func (c *Cache[K, V]) With(key K, f func(p Policy, slot uint32)) bool {
	hash := maphash.Comparable(c.seed, key)
	s := c.at(hash)
	s.lock()
	defer s.mu.Unlock()
	slot := s.find(hash, key)
	if slot == 0 || s.timed > 0 && c.overdue(s, slot) {
		return false
	}
	f(s.policy, slot)
	return true
}

// Scan visits about n live entries from cursor on and returns the cursor to
// go on from, 0 at the end. It stops at once if visit returns false.
func (c *Cache[K, V]) Scan(cursor uint64, n int, visit func(K, V) bool) (next uint64) {
	if cursor>>32 >= uint64(len(c.shards)) {
		return 0
	}
	n = min(max(n, 1), 1<<30)
	batch := make([]entry[K, V], 0, min(n, 1024))
	slots := make([]uint32, 0, cap(batch))
	for i, slot := int(cursor>>32), uint32(cursor); i < len(c.shards); {
		from := uint64(i) << 32
		batch, slots, slot = c.batch(i, slot, batch[:0], slots[:0])
		if slot == 0 {
			i++
		}
		for j, e := range batch {
			if !visit(e.key, e.value) {
				return from | uint64(slots[j]+1)
			}
		}
		if n -= len(batch); n <= 0 && i < len(c.shards) {
			return uint64(i)<<32 | uint64(max(slot, 1))
		}
	}
	return 0
}

// batch appends live entries of shard i from slot on to dst, up to its
// capacity, and their slots to slots if that is not nil. It returns the slot
// to go on from, 0 at the end of the shard.
func (c *Cache[K, V]) batch(i int, slot uint32, dst []entry[K, V], slots []uint32) ([]entry[K, V], []uint32, uint32) {
	s := &c.shards[i]
	s.lock()
	defer s.mu.Unlock()
	now := int64(0)
	if s.timed > 0 {
		now = c.now()
	}
	for slot = max(slot, 1); slot <= s.used; slot++ {
		if len(dst) == cap(dst) {
			return dst, slots, slot
		}
		if s.isLive(slot) && (s.timed == 0 || !s.expired(slot, now)) {
			dst = append(dst, s.entries[slot])
			if slots != nil {
				slots = append(slots, slot)
			}
		}
	}
	return dst, slots, 0
}

// All iterates over the live entries in no particular order, a batch at a
// time.
func (c *Cache[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		batch := make([]entry[K, V], 0, 256)
		for i := range c.shards {
			for slot := uint32(1); slot != 0; {
				batch, _, slot = c.batch(i, slot, batch[:0], nil)
				for _, e := range batch {
					if !yield(e.key, e.value) {
						return
					}
				}
			}
		}
	}
}

// Ordered iterates over a snapshot of the live entries in the order of the
// policy: the one to keep longest first, or, if ascending, the one to give up
// first. Shards take turns.
func (c *Cache[K, V]) Ordered(ascending bool) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		lists := make([][]entry[K, V], len(c.shards))
		longest := 0
		for i := range c.shards {
			lists[i] = c.ordered(i, ascending)
			longest = max(longest, len(lists[i]))
		}
		for rank := range longest {
			for _, list := range lists {
				if rank < len(list) && !yield(list[rank].key, list[rank].value) {
					return
				}
			}
		}
	}
}

func (c *Cache[K, V]) ordered(i int, ascending bool) []entry[K, V] {
	s := &c.shards[i]
	s.lock()
	defer s.mu.Unlock()
	list := make([]entry[K, V], 0, s.length.Load())
	now := int64(0)
	if s.timed > 0 {
		now = c.now()
	}
	visit := func(slot uint32) bool {
		if s.timed == 0 || !s.expired(slot, now) {
			list = append(list, s.entries[slot])
		}
		return true
	}
	if ascending {
		s.policy.Ascend(visit)
	} else {
		s.policy.Descend(visit)
	}
	return list
}

func (c *Cache[K, V]) hashOf(key K) uint64 { return maphash.Comparable(c.seed, key) }

// End returns the first live entry in the order of the policy, ascending or
// descending, of the first shard that has one.
func (c *Cache[K, V]) End(ascending bool) (key K, value V, ok bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.lock()
		visit := func(slot uint32) bool {
			if s.timed == 0 || !c.overdue(s, slot) {
				key, value, ok = s.entries[slot].key, s.entries[slot].value, true
			}
			return !ok
		}
		if ascending {
			s.policy.Ascend(visit)
		} else {
			s.policy.Descend(visit)
		}
		s.mu.Unlock()
		if ok {
			return key, value, true
		}
	}
	return key, value, false
}
