// Package cache holds what the caches of ashlar share, and what is composed
// of them. The caches themselves, one policy each, are in
//
//	github.com/ashlar-go/ashlar/tinylfu       the default choice: adapts to the work
//	github.com/ashlar-go/ashlar/lru           exact least recently used
//	github.com/ashlar-go/ashlar/lfu           exact least frequently used, ageing optional
//	github.com/ashlar-go/ashlar/cache/random  no order kept at all
//
// They have one set of methods and one type of [Options], so that one can take
// the place of another, and pass the conformance suite in cache/cachetest.
//
// # What to use
//
// A cache alone answers Get with "not here" and leaves the rest to you. Beyond
// that:
//
//   - [Loading] gets what is missing from a function: a database, a service, a
//     computation. Use it when the truth is elsewhere and others change it.
//   - [WriteBehind] takes writes as well, and brings them to a slow store
//     later. Use it when this process is the only one that writes to the store.
//   - [Sharded] makes a policy of your own, written for one goroutine, safe and
//     parallel. The caches above have that built in.
//
// Do not use any of them where a plain map would do: when everything fits into
// memory for good, or where an answer that is a moment old is wrong. A Loading
// is only as fresh as its TTL and the calls of [Loading.Delete] make it. A
// WriteBehind with a [Log] in memory loses what is pending in a crash.
//
// # How they fit together
//
//	   Loading                         WriteBehind
//	Get │    ▲ value                Put │        │ Get
//	    ▼    │                          ▼        ▼
//	┌────────────┐               ┌─────┐ ┌────────────┐
//	│   Cache    │               │ Log │ │   Cache    │
//	└────────────┘               └─────┘ └────────────┘
//	    │    ▲ one flight           │        │    ▲ one flight
//	    ▼    │ a key                ▼        ▼    │ a key
//	┌────────────┐               ┌──────────┐     │
//	│ your loader│               │ pending  │─────┤
//	└────────────┘               └──────────┘     │
//	                                │ batches     │
//	                                ▼             │
//	                             ┌────────────────────┐
//	                             │    your Store      │
//	                             └────────────────────┘
//
// The [Cache] in the middle is an interface of eight methods: one of the
// policies, a Sharded, or a cache from elsewhere.
//
// # Guarantees
//
// Of every cache, held by cache/cachetest:
//
//  1. Len, or the sum of costs, is never above the capacity, at no instant.
//  2. What was put is seen by every Get that begins after Put has returned,
//     until it is replaced, deleted, evicted or over. No Put is dropped.
//  3. OnRemoval is told of every value that leaves, once, with no lock held.
//  4. A value is never returned after its lifetime.
//  5. Statistics add up, see [Stats].
//
// Of a Loading:
//
//  6. At most one load of a key runs that anybody waits for. A caller leaves
//     when its own context ends; the load is cancelled when all have left.
//  7. A value stored, or a key deleted, wins over a load that began before. A
//     Get that begins after Delete has returned sees no older result.
//  8. A panic of the loader, or of a callback during a load, is an error to
//     those who wait, and leaves nothing behind.
//
// Of a WriteBehind:
//
//  9. A mutation is acknowledged when the log has it, and the log may forget
//     it only when the store has it. In between it is read from memory, also
//     if the cache evicts it.
//  10. Mutations of a key are applied in the order of the log, of which one
//     that waits may be left out if a later one of the key waits, too.
//  11. What is pending is bounded; writers wait, or are told.
//
// # Cost
//
// A hit costs a Get of the cache and, in a Loading, a count; the clock is read
// for values that age. Nothing is allocated. A miss allocates its flight and
// starts a goroutine. A write of a WriteBehind is one Append, shared by those
// who wait at the same time, and memory for the mutation until the store has
// it.
//
// Goroutines run only for loads under way and for the worker of a WriteBehind;
// both have a Close.
//
// # Sources
//
// One flight per key is known from groupcache's singleflight; here a waiter
// has a context of its own. Refresh-ahead and the rules by which writes win
// over loads follow Caffeine's. Serving stale values while the source fails is
// RFC 5861's stale-if-error. Waiting between attempts with random pauses
// follows Brooker, "Exponential Backoff And Jitter" (2015). Leader and
// followers of an Append are group commit as in DeWitt et al.,
// "Implementation Techniques for Main Memory Database Systems" (1984).
package cache
