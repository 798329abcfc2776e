// Package lru is a least recently used cache: when it is full, the entry that
// was not used for the longest time makes room. It is exact, keeps no pointers
// of its own for the garbage collector to follow, and allocates nothing once
// it is full.
//
// # When to use it
//
// Use lru where recent use is what predicts the next one, where the order of
// eviction must be explained to somebody, or where the cost of an access
// matters more than the last points of hit ratio. Scans and loops that are
// larger than the cache empty it; package tinylfu is made for such traffic and
// is the better default. Package cache has read-through, write-behind and the
// vocabulary that the caches of ashlar share.
//
// # Model
//
// A cache is a power of two of shards, each behind a lock of its own, each an
// exact LRU of its part of the capacity:
//
//	hash of key -> shard
//	  table    chunks of 12 places, a byte of hash and a slot number each
//	  entries  [slot] key, value                 slots are numbers from 1
//	  links    [slot] previous, next             most recent <-> ... <-> oldest
//
// A lookup reads one chunk and compares one key; a use moves a slot to the
// front of the list. Entries, links and table are flat arrays, so a cache of
// plain keys and values is a few objects to the garbage collector, however
// many entries it holds.
//
// # Guarantees
//
//  1. Len never exceeds the capacity, nor Cost with Options.Cost, at no
//     instant and not by one, however many goroutines write.
//  2. A Get that begins after a Put has returned sees its value, until the
//     entry is evicted, deleted, replaced or over.
//  3. With Options.Shards = 1 eviction is in exact order of last use. With
//     more, it is exact within a shard. A small cache has one shard by
//     default.
//  4. An entry is not returned at or after its deadline.
//  5. OnRemoval hears of every value that leaves, once, after it has left,
//     with no lock held.
//  6. The counts in Stats add up, see [cache.Stats].
//
// # Complexity
//
// Get, Peek, Put, Delete and their like take constant time. An entry needs
// the size of its key and value, 8 bytes of links and about 12 of table; 8 more
// once an entry of its shard has a lifetime, 8 more with Options.Cost. Arrays
// double as the cache fills, up to its capacity.
//
// Expired entries are removed by the Get that meets them and by writes, each
// of which looks at a few slots; there is no goroutine, and nothing to close.
package lru
