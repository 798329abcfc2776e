// Package ashlar is the map of its sub-packages: small building blocks for
// large systems, each one the Go implementation of a single core algorithm or
// data structure. There is nothing to import here.
//
// # Caches
//
//   - [github.com/ashlar-go/ashlar/tinylfu]: W-TinyLFU with an adaptive window; the default choice
//   - [github.com/ashlar-go/ashlar/lru]: least recently used, exact and allocation-free
//   - [github.com/ashlar-go/ashlar/lfu]: least frequently used in constant time, with optional ageing
//   - [github.com/ashlar-go/ashlar/cache]: what caches share, and what composes: sharding, loading, write-behind
//   - [github.com/ashlar-go/ashlar/cache/random]: random replacement
//   - [github.com/ashlar-go/ashlar/cache/cachetest]: the conformance suite that all of them pass
//
// # Counting
//
//   - [github.com/ashlar-go/ashlar/hitcounter]: hits in a sliding window: exact, in constant space, unique, by key
//   - [github.com/ashlar-go/ashlar/movingavg]: averages over the last values, the last minutes, or with the past fading
//
// # Placement, notification, transactions
//
//   - [github.com/ashlar-go/ashlar/observer]: who wants to know: in the same call, by topic, or from a bounded log
//   - [github.com/ashlar-go/ashlar/consistenthash]: which node owns a key, so that few keys move when nodes come and go
//   - [github.com/ashlar-go/ashlar/occ]: transactions over keys in memory, optimistic; reservations that end by themselves
//
// # Commerce and codes
//
//   - [github.com/ashlar-go/ashlar/cart]: what somebody wants to buy, on several hosts, and what it costs to the cent
//   - [github.com/ashlar-go/ashlar/shortener]: short links: codes, which URLs, expiry and limits, who visits
//   - [github.com/ashlar-go/ashlar/shortener/storetest]: the conformance suite for stores of links
//
// # Storage
//
//   - [github.com/ashlar-go/ashlar/commitlog]: an append-only log on disk, of record batches as Kafka has them; topics of several
//   - [github.com/ashlar-go/ashlar/commitlog/group]: consumer groups: who reads which partition, in which generation, and how far
//   - [github.com/ashlar-go/ashlar/kvstore]: an embedded, ordered store of keys and values: a log and a directory of all keys
//   - [github.com/ashlar-go/ashlar/kvstore/replica]: what replicas of a key-value store say to each other: quorums, conflicts, hints, repair
//
// # Imports
//
// A package imports the standard library, at most the four libraries that
// go.mod names (google/btree, cespare/xxhash, golang/geo, and testify in
// tests), and the siblings listed here. A test holds this map against the
// code.
//
//	package             may import
//	cache               -
//	cache/cachetest     cache
//	cache/random        cache internal/cachecore
//	cart                -
//	commitlog           internal/groupcommit internal/vfs
//	commitlog/group     -
//	consistenthash      -
//	hitcounter          -
//	internal/cachecore  cache
//	internal/groupcommit -
//	internal/trace      -
//	internal/vfs        -
//	internal/vfs/crashtest internal/vfs
//	kvstore             cache internal/groupcommit internal/vfs tinylfu
//	kvstore/replica     commitlog consistenthash internal/vfs
//	lfu                 cache internal/cachecore
//	lru                 cache internal/cachecore
//	movingavg           -
//	observer            -
//	occ                 -
//	shortener           hitcounter
//	shortener/storetest shortener
//	tinylfu             cache internal/cachecore
//
// Tests may import any sibling.
//
// # Conventions
//
// Constructors are New(required…, *Options), where nil Options and zero
// fields mean the defaults, and panic when an argument makes no sense; Open
// and everything that is fed by users return errors. The verbs mean the same
// everywhere: Get, Peek, Put, Delete, Len, Clear, All, Stats, Close. Absence
// is the second result, not an error. Every exported type says whether it is
// safe for concurrent use. Nothing starts a goroutine that was not asked for.
package ashlar
