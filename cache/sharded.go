package cache

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"sync"
	"time"
)

// A Sharded makes caches that know nothing of concurrency into one that does:
// each key belongs to one of several shards, and each shard is a cache of its
// own behind a lock. Create one with [NewSharded]. It is meant for policies
// written elsewhere; those of ashlar are sharded already.
//
// A shard evicts when it is full, whether or not the others are. The order of
// eviction is the policy's within a shard and by chance between them, so a
// shard should have room for some hundred entries.
//
// Callbacks of a shard run under its lock, since the shard calls them: they
// must not call the Sharded.
//
// A Sharded is safe for concurrent use by multiple goroutines.
type Sharded[K comparable, V any] struct {
	shards   []lockedShard[K, V]
	seed     maphash.Seed
	capacity int
}

// A lockedShard fills a cache line, so that processors which work on
// different shards do not take it from each other.
type lockedShard[K comparable, V any] struct {
	mu    sync.Mutex
	cache Cache[K, V]
	_     [40]byte
}

// NewSharded returns a cache of the given number of shards, fewer if there
// would not be one unit of capacity for each. It calls newShard for every
// shard with its part of capacity; the parts add up to capacity. It panics if
// shards or capacity is not positive.
func NewSharded[K comparable, V any](shards, capacity int, newShard func(capacity int) Cache[K, V]) *Sharded[K, V] {
	if shards <= 0 || capacity <= 0 {
		panic(fmt.Sprintf("cache: NewSharded with %d shards for a capacity of %d", shards, capacity))
	}
	s := &Sharded[K, V]{seed: maphash.MakeSeed(), capacity: capacity}
	s.shards = make([]lockedShard[K, V], min(shards, capacity))
	for i := range s.shards {
		part := capacity / len(s.shards)
		if i < capacity%len(s.shards) {
			part++
		}
		s.shards[i].cache = newShard(part)
	}
	return s
}

// lock returns the locked shard of key.
func (s *Sharded[K, V]) lock(key K) *lockedShard[K, V] {
	i, _ := bits.Mul64(maphash.Comparable(s.seed, key), uint64(len(s.shards)))
	shard := &s.shards[i]
	shard.mu.Lock()
	return shard
}

// Get returns the value under key and whether it is there.
func (s *Sharded[K, V]) Get(key K) (value V, ok bool) {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	return shard.cache.Get(key)
}

// Peek is Get without counting as a use.
func (s *Sharded[K, V]) Peek(key K) (value V, ok bool) {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	return shard.cache.Peek(key)
}

// Put stores value under key.
func (s *Sharded[K, V]) Put(key K, value V) {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	shard.cache.Put(key, value)
}

// PutTTL stores value under key with a lifetime of its own.
func (s *Sharded[K, V]) PutTTL(key K, value V, ttl time.Duration) {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	shard.cache.PutTTL(key, value, ttl)
}

// Delete removes key and reports whether it was there.
func (s *Sharded[K, V]) Delete(key K) bool {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	return shard.cache.Delete(key)
}

// Update calls f with the cache that key belongs to, under its lock, for what
// takes several steps or methods beyond [Cache]. f must not touch other keys,
// keep the cache, or call the Sharded.
func (s *Sharded[K, V]) Update(key K, f func(shard Cache[K, V])) {
	shard := s.lock(key)
	defer shard.mu.Unlock()
	f(shard.cache)
}

// Len returns the number of entries held. It takes one lock after the other,
// and is never above the capacity.
func (s *Sharded[K, V]) Len() int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].length()
	}
	return n
}

func (s *lockedShard[K, V]) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cache.Len()
}

// Capacity returns what NewSharded was told.
func (s *Sharded[K, V]) Capacity() int { return s.capacity }

// Clear empties one shard after the other.
func (s *Sharded[K, V]) Clear() {
	for i := range s.shards {
		s.shards[i].clear()
	}
}

func (s *lockedShard[K, V]) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.Clear()
}

// All iterates over one shard after the other, each in the order of its All.
// The entries of a shard are copied when it is reached, so the body may call
// back in.
func (s *Sharded[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		var keys []K
		var values []V
		for i := range s.shards {
			keys, values = s.shards[i].appendTo(keys[:0], values[:0])
			for j, key := range keys {
				if !yield(key, values[j]) {
					return
				}
			}
		}
	}
}

func (s *lockedShard[K, V]) appendTo(keys []K, values []V) ([]K, []V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range s.cache.All() {
		keys, values = append(keys, key), append(values, value)
	}
	return keys, values
}
