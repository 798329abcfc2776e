// Package consistenthash says which node owns a key, in such a way that few
// keys move when nodes come and go, and everybody who knows the nodes finds the
// same owner without asking anybody.
//
// # When to use it
//
// Use it to share out keys to caches, shards, partitions or backends. Where
// every key can be at any node, a queue or a load balancer that looks at actual
// load is simpler. Where keys must be in order, or move for reasons of their
// own, a table of ranges is what you need.
//
// Which placement:
//
//	            lookup    state        joins and leaves   weights  shares
//	JumpBack    O(1)      none         at the end         no       as even as chance
//	Anchor      O(1)      12 B/node    any, in one order  no       as even as chance
//	Maglev      O(1)      2 B/entry    any                yes      the most even
//	Ring        O(1)      24 B/point   any                yes      uneven by a quarter
//	Rendezvous  O(n)      none         any                yes      as even as chance
//	Jump        O(log n)  none         at the end         no       as even as chance
//
// For shards whose number grows take [JumpBack], or plain [JumpBackHash]. For
// backends that fail and return, where all who route learn of it in one
// order, [Anchor]. For a load balancer that can bear that a few keys move
// without need, [Maglev]. For up to about 20 nodes, or exact weights,
// [Rendezvous]. For members as they are found, with weights, zones and
// replicas, [Ring]. To agree with other programs, [Jump]. To see what all this
// is for, [Modulo].
//
// [Bounded] puts leases on top, so that no node has much more than its share
// even if keys are not equally popular. [Live] holds the placement that is in
// force while it changes.
//
// # Model
//
// A [Placement] is immutable. It maps the hash of a key to a node:
//
//	key ──XXH64──> hash ──mixed with the seed──> x ──┬─ Ring        the next point on a circle
//	                                                 ├─ Rendezvous  the least of a number a node
//	                                                 ├─ Maglev      the entry of a table
//	                                                 ├─ Anchor      a bucket, or where it leads
//	                                                 └─ JumpBack    the last of a row of coins
//
// Nodes may be of any comparable type; what counts is their name (see
// [Options]). With and Without make another placement, [Diff] tells which keys
// have another owner under it, and Fingerprint tells two placements apart:
// carry it in requests, so that peers with other lists of members notice.
//
// # Guarantees
//
//  1. Owner and OwnerHash allocate nothing and take no lock.
//  2. The same nodes and options give the same owners in every process, on
//     every machine and in every release; the tests hold this against a file of
//     owners.
//  3. The order in which nodes are given, join and leave is without effect on
//     Ring, Rendezvous and Maglev. Jump, JumpBack and Modulo number nodes in
//     order. An Anchor depends on the order of changes. In all cases placements
//     with the same fingerprint agree.
//  4. When nodes join or leave, no key moves between two nodes that stay, and
//     when a weight changes, keys move only to or from its node. Maglev moves
//     some, see [NewMaglev]; Modulo moves nearly all.
//  5. Owners has every node once, the owner first. When one node leaves, of the
//     first k nodes of a key that one is replaced and no other (but for Maglev
//     and Modulo); on a Ring and a Rendezvous all others keep their order.
//     Options.Zone changes which nodes follow, and never the owner; where the
//     table above says "no" for weights, one node of the new owner's zone may
//     then be replaced as well.
//  6. Without nodes there is no owner: ok is false. Nodes that are there twice,
//     or have the same name, and weights that make no sense are errors.
//  7. The greatest share of keys is what the constructor's comment says, for
//     hashes that are hashes, and for serial numbers given to OwnerHash.
//  8. A lease of a Bounded is given only where it leaves the node within its
//     cap, ceil((1+ε)·leases/nodes) with equal weights, and leases that have
//     ended, for whatever reason, are not counted.
//
// # Complexity
//
// With and Without make everything anew, but for Anchor's buckets: time in
// proportion to points, table or nodes, and n log n for sorting names. A Ring
// of a thousand nodes takes a few milliseconds. Replicas beyond the owner are
// found by going on around a Ring, and by ranking all nodes elsewhere. A node
// takes what its value takes, its name, and 16 bytes, 16 more where weights
// differ, and what the table above says.
//
// # Source
//
// Karger et al.: Consistent Hashing and Random Trees, 1997 (Ring). Thaler,
// Ravishankar: Using Name-Based Mappings to Increase Hit Rates, 1998, and
// Schindelhauer, Schomaker: Weighted Distributed Hash Tables, 2005
// (Rendezvous). Eisenbud et al.: Maglev, 2016. Mendelson et al.: AnchorHash,
// arXiv:1812.09674. Lamping, Veach: A Fast, Minimal Memory, Consistent Hash
// Algorithm, arXiv:1406.2294 (Jump). Ertl: JumpBackHash, arXiv:2403.18682.
// Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads,
// arXiv:1608.01350.
//
// Where we deviate: the Ring is cut into buckets, so that a lookup is one read
// and not a search, and positions have 32 bits. The numbers drawn in a
// Rendezvous are products with a factor for each node. Maglev shares entries
// out by weight, in order of the time when a node's next entry is due.
// JumpBackHash draws its random numbers in another way, so that results differ
// from those of other implementations. A key that finds its owner at its cap
// goes to the owner of another hash, and not to the owner's neighbour, who
// would be the next to be full.
package consistenthash
