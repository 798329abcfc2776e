package random

import (
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/cachecore"
)

// Options are the settings of a cache; nil means the defaults.
type Options[K comparable, V any] = cache.Options[K, V]

// A Cache holds entries until chance picks them. Create one with [New].
//
// A Cache is safe for concurrent use by multiple goroutines.
type Cache[K comparable, V any] struct {
	core *cachecore.Cache[K, V]
}

// New returns an empty cache that holds up to capacity entries, or, with
// Options.Cost, entries that cost up to capacity together. It panics if
// capacity is not positive or an option is out of range.
func New[K comparable, V any](capacity int, opts *Options[K, V]) *Cache[K, V] {
	return &Cache[K, V]{cachecore.New("random", capacity, opts, func(int64) cachecore.Policy {
		return newPolicy(rand.Uint64(), rand.Uint64())
	})}
}

// Get returns the value under key and whether it is there. It counts as a use
// of the entry, which for this policy only the statistics know. An entry whose lifetime is over is removed.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) { return c.core.Get(key) }

// Peek returns the value under key and whether it is there. It changes
// nothing, neither the order nor the statistics.
func (c *Cache[K, V]) Peek(key K) (value V, ok bool) { return c.core.Peek(key) }

// Put stores value under key with the default lifetime, Options.TTL. If the
// cache is full, an entry that chance picks leaves first.
//
// A value that costs more than a shard may hold is not stored, nor is a key
// that is not equal to itself (a NaN): OnRemoval is told, with the reason
// Rejected. An older value under the key is gone then, too.
func (c *Cache[K, V]) Put(key K, value V) { c.core.Put(key, value) }

// PutTTL is Put with a lifetime for this entry: a positive ttl ends after that
// time, 0 stands for the default, and a negative one (see [cache.Forever])
// never ends.
func (c *Cache[K, V]) PutTTL(key K, value V, ttl time.Duration) { c.core.PutTTL(key, value, ttl) }

// GetOrPut returns the value under key and true, or stores value and returns
// it and false. Nobody else can store one in between.
func (c *Cache[K, V]) GetOrPut(key K, value V) (actual V, loaded bool) {
	return c.core.GetOrPut(key, value)
}

// Delete removes key and reports whether it was there.
func (c *Cache[K, V]) Delete(key K) bool { return c.core.Delete(key) }

// Take removes key and returns the value it had, if it was there. It counts
// as a Get and a Delete.
func (c *Cache[K, V]) Take(key K) (value V, ok bool) { return c.core.Take(key) }

// TTL returns what is left of the lifetime of key, [cache.Forever] if it does
// not expire, and whether key is there. It is not a use of the entry.
func (c *Cache[K, V]) TTL(key K) (left time.Duration, ok bool) { return c.core.TTL(key) }

// SetTTL gives key a new lifetime from now on, read as PutTTL does, and
// reports whether it is there. It is not a use of the entry.
func (c *Cache[K, V]) SetTTL(key K, ttl time.Duration) bool { return c.core.SetTTL(key, ttl) }

// Len returns the number of entries held, which includes expired ones that
// nothing has touched yet. It takes no lock.
func (c *Cache[K, V]) Len() int { return c.core.Len() }

// Cost returns the sum of the costs of the entries held; without Options.Cost
// that is Len. It takes no lock.
func (c *Cache[K, V]) Cost() int64 { return c.core.Cost() }

// Capacity returns what the cache may hold: a number of entries, or a sum of
// costs with Options.Cost.
func (c *Cache[K, V]) Capacity() int { return c.core.Capacity() }

// Resize changes the capacity, evicts what is then too much and returns how
// many entries that were. The number of shards stays: Resize panics if
// capacity is below it.
func (c *Cache[K, V]) Resize(capacity int) (evicted int) { return c.core.Resize(capacity) }

// DeleteExpired removes every entry whose lifetime is over and returns how
// many there were. There is no need to call it: expired entries are never
// returned, and each write looks for a few of them. It takes time in
// proportion to Len, one shard at a time.
func (c *Cache[K, V]) DeleteExpired() int { return c.core.DeleteExpired() }

// Clear removes all entries and gives their memory back. It empties one shard
// after the other, so entries stored meanwhile may stay.
func (c *Cache[K, V]) Clear() { c.core.Clear() }

// All iterates over the entries in no particular order, a batch at a time: an
// entry that is there during the whole iteration is visited once, others may
// or may not be.
func (c *Cache[K, V]) All() iter.Seq2[K, V] { return c.core.All() }

// Keys iterates over the keys of All.
func (c *Cache[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for key := range c.All() {
			if !yield(key) {
				return
			}
		}
	}
}

// Scan visits about n entries and returns the cursor to go on from; begin
// with 0, and 0 means that the scan is over. An entry that is there during
// the whole scan is visited at least once, others may or may not be. If visit
// returns false Scan stops there, and the cursor goes on behind that entry. The
// cache keeps nothing of a scan, so one can be left at any time. A scan during
// which Resize makes the cache smaller may miss entries.
func (c *Cache[K, V]) Scan(cursor uint64, n int, visit func(key K, value V) bool) (next uint64) {
	return c.core.Scan(cursor, n, visit)
}

// Stats returns what happened since the cache was made.
func (c *Cache[K, V]) Stats() cache.Stats { return c.core.Stats() }

// Save writes a snapshot of the live entries to w, in the order in which they
// would be evicted, with what is left of their lifetimes as points in
// time. A nil codec handles integers, floats, strings, byte slices and
// booleans, and uses encoding/gob for everything else. The snapshot of each
// shard is consistent; entries stored meanwhile in others may be missing.
func (c *Cache[K, V]) Save(w io.Writer, codec cache.Codec[K, V]) error {
	return c.core.Save(w, codec)
}

// Load replaces the contents of the cache by a snapshot that Save wrote, made
// by any policy of ashlar with the same K, V and codec, and returns how many
// entries are held then. Entries that have expired since are left out, and a
// smaller cache keeps the ones that would be evicted last. The whole of r is
// read and verified first: if it is damaged, cut short, followed by something
// or no snapshot at all, Load returns an error that wraps
// [cache.ErrBadSnapshot] and leaves the cache as it was.
func (c *Cache[K, V]) Load(r io.Reader, codec cache.Codec[K, V]) (n int, err error) {
	return c.core.Load(r, codec)
}
