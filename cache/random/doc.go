// Package random is a cache that evicts by chance: when it is full, any entry
// may make room, each with the same probability.
//
// # When to use it
//
// Random replacement keeps no order at all, so a use costs nothing beyond the
// lookup. It is hard to fool: a loop a little larger than the cache, which
// empties an LRU, still finds most of its entries. For most traffic packages
// lru and tinylfu hit more often.
//
// # Model
//
// Storage is as in package lru. The policy is an array of the slots in use,
// and for each slot its place there:
//
//	slots  [5 2 9 1]      place  [1]=3 [2]=1 [5]=0 [9]=2
//
// A removal moves the last slot into the gap. The generator is PCG, seeded by
// the system, one for each shard.
//
// # Guarantees
//
// Those of package lru, numbers 1, 2, 4, 5 and 6, and: the victim is uniform
// over the entries of the shard of the key that comes in.
//
// # Complexity
//
// Every operation takes constant time. An entry needs the size of its key and
// value, 8 bytes of policy and about 12 of table.
package random
