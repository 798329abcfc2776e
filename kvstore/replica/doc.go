// Package replica is what the nodes of a replicated key-value store say to each
// other about one key, as state machines: quorums of N, R and W, versions whose
// conflicts are kept or resolved, registers that are linearizable, and the
// three ways in which replicas that have missed something get it: read repair,
// hinted handoff and Merkle trees.
//
// Nothing here knows of a network, a clock or a goroutine, but for [Hints.Run],
// which says so: replies and times go in, requests come out. So the same code
// runs in a server and, with all that can go wrong, in a test. The store is
// that of the caller, for example a kvstore.Store.
//
// When not to use it: on one machine; where transactions span keys, which takes
// consensus on a log and not on keys; where a cache may forget, for which
// package consistenthash is enough.
//
// # Model
//
//	client ──► Coordinator.Write ── Store, Mint ──► Replica.Serve ──► its store
//	                 │        ◄──── replies ───────      │
//	                 │                                   ▼
//	                 └── For an owner that is away ──► Hints ── when it is back ──► Store
//
//	client ──► Coordinator.Read ─── Fetch ────────► Replica.Serve
//	                 └── Store, at those behind ───►
//
//	Tree ◄── Probe, Sums, Entries ──► Tree of another owner: the keys that differ ──► Fetch, Store
//
// A key has N owners, the first nodes in the order of a
// [consistenthash.Placement] ([Prefer]). Any node can coordinate an operation
// on it. What an owner has is an [Object]: versions and a vector of all that
// was seen. A [Policy] says what becomes of versions that do not know of each
// other.
//
// # What is promised
//
// It depends on the policy and on what the [Coordinator] waits for. "Always" is
// under lost, late, doubled and reordered messages, with any number of nodes
// that crash and return, and clocks that are wrong; the conditions are below.
//
//	                               a read sees                      two writers at once
//	R+W ≤ N, or Sloppy             some time what was written       as the policy says
//	R+W > N                        each write that has ended        as the policy says
//	R+W > N, Strict                … and what any read has seen     as the policy says
//	LastWriterWins, Strict         linearizable register            the later dot stays
//	Consensus                      linearizable, any change         one after the other
//
// The same, and more, in sentences:
//
//  1. Always: replicas that have heard of the same writes have the same object,
//     in whatever order and however often they heard. Merging is commutative,
//     associative and idempotent.
//  2. With Siblings no write that was acknowledged is lost: its version is
//     there until a write replaces it whose context had it. A client that
//     always writes without context adds one sibling for each write, until
//     their number or their bytes reach a bound (ErrSiblings), and one that has
//     read what is there leaves one, however many write at the same time.
//  3. LastWriterWins keeps one version and loses the others, although they were
//     acknowledged. R+W > N does not make it linearizable: of two reads during
//     a write the first may see the new value and the second the old one, and a
//     write with a slow clock is lost to one that had ended before it began.
//  4. Strict makes it so, by the method of Attiya, Bar-Noy and Dolev: a write
//     asks R replicas for the latest dot before it makes its own, and a read is
//     answered when W replicas have what it returns. It can tell nobody who
//     came first, so there is no conditional write.
//  5. Consensus has writers agree on each change in the way of CASPaxos.
//     [Coordinator.Update] writes a function of what is there, exactly once if
//     it returns without an error; such as a counter, or a write if absent.
//  6. With Siblings a conditional write is decided by the first owner alone,
//     which has heard what R replicas know. While placement is stable, of two
//     conditional writes that have read the same one fails; a write without
//     condition at the same time becomes a sibling of it. With Strict reads and
//     conditional writes only, a key is linearizable.
//  7. An operation that fails with a QuorumError whose Maybe is false has
//     written nothing. Otherwise it may take effect at any later time, once;
//     nothing is rolled back.
//  8. A hint that was added is delivered at least once, unless it gets too old;
//     a comparison of trees finds exactly the keys that differ.
//
// # Conditions
//
// For all of this: a replica stores what [Replica.Serve] says in one step for
// each key, and syncs it before it answers. An [Actor] stands for a memory that
// forgets nothing; see there when to take another. A node that lost its disk,
// or returns with what it had long ago, has to be filled before it counts as an
// owner again.
//
// For what overlap promises (R+W > N): all coordinators know the same owners.
// Compare fingerprints of the placement in each request, and refuse others.
// When owners change, [Moves] says who has to send which keys to whom, and
// until that is done, writes go to W of the owners before and to those after;
// Strict and Consensus are linearizable while the owners of a key stay, and
// over a change only if no write is under way from the time the old owners are
// read until the new ones have what was there.
//
// Deletes are versions without a value, remembered for a grace
// ([Object.Collect]). A replica, hint or message that is away for longer brings
// back what was deleted, so grace is longer than that. Expiry is by the clock
// of whoever reads: around that moment, a linearizable key is as linearizable
// as clocks agree.
//
// Vectors have an entry for each store that ever wrote the key. [Object.Prune]
// says what it costs to forget some.
//
// # Complexity and memory
//
// A read takes one round of messages, and another one if strict replicas
// differ; a write one, or two if it asks, mints or prepares first. Merging
// takes time in proportion to the versions and entries of both. An object takes
// 16 bytes for each entry of the vector that does not follow from a version,
// and 19 and more for each version, besides its data. Hints take memory for
// each key that waits: the key and about 50 bytes. A tree of depth 4 takes half
// a megabyte; a change touches 5 numbers of it.
//
// # Sources
//
// DeCandia et al.: Dynamo, 2007 (quorums, sloppy quorums, hinted handoff,
// Merkle trees). Preguiça et al.: Dotted Version Vectors, arXiv:1011.5808, and
// Almeida et al.: Scalable and Accurate Causality Tracking for Eventually
// Consistent Stores, 2014. Kulkarni et al.: Logical Physical Clocks, 2014.
// Attiya, Bar-Noy, Dolev: Sharing Memory Robustly in Message-Passing Systems,
// 1995. Rystsov: CASPaxos, arXiv:1802.07000. Howard et al.: Flexible Paxos,
// arXiv:1608.06696.
//
// Where we deviate: the counter of a dot is a hybrid time, so that a store
// which has collected a deleted key does not give a dot twice, and the order of
// dots is that of the last writer. An update under Consensus that is tried
// again does not run twice, because versions remember whose changes they are
// made of. Trees add hashes up, so that a change does not hash its way to the
// root.
package replica
