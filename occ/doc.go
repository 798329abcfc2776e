// Package occ is a typed key-value store in memory with serializable
// transactions under optimistic concurrency control: a transaction reads and
// writes without locks, and when it commits, checks that what it has read is
// still current; if not, it starts over. [Holds], beside it, are reservations
// that end by themselves.
//
// # When to use it
//
// Use a [Store] where several keys change together and most transactions touch
// different ones: orders and stock, accounts, inventories, configuration. Bodies
// may take their time, wait for something in between, or read a lot; they
// hold up nobody. A [Store.View] reads one consistent state, however long it takes.
//
// Do not use it where a mutex is enough. For bodies of a few instructions a map
// behind one mutex costs a fraction of a transaction, at any contention, and a mutex
// for each key costs less and runs in parallel; the benchmarks of this module show
// by how much. Optimism pays when bodies are long enough that others must not wait for them. If most
// of these want the same few keys, use [Tx.Lock], for pessimistic
// transactions: the work of an abort is lost, and waiting costs nothing but time. Use
// [Tx.Apply] for counters and sums, which need neither.
//
// It is one process's memory. With a [Log] it survives that process; all keys and values
// still have to fit into memory. It is no database, and no replication.
//
// # Model
//
//	Update(body) ── reads ─► versions up to a moment of the clock
//	     │          writes ► kept aside
//	     ▼
//	commit: lock what it writes ─► clock + 1 ─► validate what it read ─► install, unlock
//	             │                                      │
//	             └──────────── conflict ◄───────────────┘
//	                              │
//	   attempts 1, 2: as it is    │   3, 4: begin with locks on what was
//	   5: alone                   ▼      in conflict
//
// Every key has a list of versions, each with the number of the commit that
// made it. A transaction reads the newest versions up to its moment. When an
// Update meets a newer one, it moves its moment forward if all that it has read is still
// current; otherwise it goes on with the past that it has seen, since what it
// reads must fit together to the end, and starts over when it tries to commit.
//
// Locks are taken in one order, so that nobody waits in a circle. A range is
// validated by looking at it once more: whoever added, changed or removed a key
// there is found.
//
// # Guarantees
//
//  1. Strict serializability: commits and Views take effect one after the other, in
//     an order that agrees with time and with the versions that [Store.Load] returns.
//  2. Opacity: a body, also one that will not commit, sees the store as it was at one
//     moment. No invariant that every commit keeps is ever seen broken.
//  3. No phantoms: 1 holds for ranges and for absent keys, too.
//  4. A View never aborts and keeps no commit waiting. An Update that neither
//     writes nor locks never aborts.
//  5. An Update commits after at most Options.EscalateAfter aborts, as long as
//     bodies end and the log works.
//  6. Transactions that only Apply to the same keys do not abort each other.
//  7. A body that returns an error, panics or ends its goroutine leaves the
//     store as it was, with no lock held.
//  8. With a log: what is visible or acknowledged is in the log, in the same
//     order; a store opened from it has the same keys, values and versions.
//  9. Of Holds: a resource is in one hold at most; a hold is taken as a whole or not at
//     all; it is over at its time, for good; and tokens grow.
//
// # Complexity
//
// Get and Put take constant time, but for keys of a first Put, which are added to
// a tree in the time of the logarithm of the number of keys. A loop over n keys takes
// that and n; its validation as much again. A commit takes time in proportion to what
// the transaction has read and written.
//
// On a 64-bit machine a key takes 72 bytes besides itself and two values, the
// current one and the one before, and about 30 in the index. Of older
// values a key keeps at most 32 and twice as many as there are transactions under
// way that read different moments. A deleted key is given up some commits
// after nobody reads it any more. A transaction of a few keys allocates once, and
// for each write to a key whose value before the last is still read.
//
// There is no goroutine, and nothing to close.
//
// # Sources
//
// Commits are those of TL2 (Dice, Shalev, Shavit, 2006), with the timestamp
// extension of Riegel, Felber and Fetzer (2006) and with multiple versions for readers, as in
// Larson et al., "High-Performance Concurrency Control Mechanisms for Main-Memory
// Databases" (2011). Locking what was in conflict follows MOCC (Wang and Kimura, 2016); commit-time
// updates follow STOv2 (Huang et al., 2020). Unlike TL2, a doomed
// body is not unwound by a panic but goes on with its old snapshot, and ranges
// are read again where Silo (Tu et al., 2013) watches the nodes of a tree.
package occ
