// Package tinylfu is a cache that finds out by itself how much to trust
// recency and how much frequency: W-TinyLFU, with a window and an admission
// rule that adapt. It is the default choice among the caches of ashlar.
//
// # When to use it
//
// Use tinylfu unless there is a reason not to. It holds against scans and
// loops, follows changes of interest, and is never far below plain LRU. An
// access costs about twice what one of package lru costs, and up to ten times
// in a cache of a few hundred entries, where every key is watched; where that
// matters more than the hit ratio, or where one exact order is wanted, use
// lru.
//
// # Model
//
// Storage is as in package lru. Each shard divides its slots into segments:
//
//	          +--------+   used more than    +-----------+    +-----------+
//	put ----> | window | --the victim?-----> | probation |<-->| protected |
//	          +--------+                     +-----------+    +-----------+
//	               | no                            |  use moves up, overflow down
//	               v                               v
//	            evicted                         evicted, remembered as a ghost
//
// What leaves the window has to have been used more often than what it would
// replace; a sketch of 4-bit counters knows that for keys in the cache and for
// others. Under some rules a key that comes back soon after its eviction, a
// ghost, skips the window.
//
// Which rule is best depends on the traffic. A tuner runs the candidates (how
// large the window is, whether ghosts and ties are let in; one of them is
// plain LRU) as shadows: small caches of hashes without values, fed with a
// sample of the keys. Whichever hits most becomes the rule of all shards, and
// segments drift to their new sizes a few slots at a time.
//
// With Options.Cost another policy is used, which weighs use against cost:
// Greedy-Dual-Size-Frequency with the frequencies of the sketch. See
// [cache.Objective].
//
// # Guarantees
//
// Those of package lru, numbers 1, 2, 4, 5 and 6: the bound is strict, a value
// just put is there, and admission never drops a Put: it is what left the
// window that may go.
//
//  3. No sequence of keys can be chosen to make keys collide in the sketch,
//     since hashes are seeded at random; and a newcomer that is often used is
//     let in once in a while even if it loses, so that nobody can fill the
//     cache with keys that were popular once.
//
// # Complexity
//
// Every operation takes constant time, amortised: the counters of a shard are
// halved after every 20 uses for each of its entries. With Cost it is
// logarithmic. An entry needs the size of its key and value, about 21 bytes of
// table and links, and of capacity 8 bytes of sketch, 4 of ghosts and up to 12
// of shadows; those of a cache of less than 4096 entries take 40 to 200 KB in
// all. With Cost, 20 bytes of heap and 16 of sketch take the place of the
// latter.
//
// # Source
//
// Einziger, Friedman, Manes: TinyLFU: A Highly Efficient Cache Admission
// Policy, 2017; and Einziger, Eytan, Friedman, Manes: Adaptive Software Cache
// Management, 2018. Cherkasova: Improving WWW Proxies Performance with
// Greedy-Dual-Size-Frequency Caching Policy, 1998. Where we deviate: shadows
// in place of hill climbing choose the window; ghosts, and whether ties are
// let in, are chosen as well; there is no doorkeeper; policy is applied under
// the shard's lock, without buffers that could lose a use or exceed the bound.
package tinylfu
