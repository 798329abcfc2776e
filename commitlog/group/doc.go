// Package group divides the partitions of topics among the members of a
// consumer group: who is in the group, who owns what, how far the group has
// read, and what happens when members come and go. It speaks of them as Kafka's
// clients and brokers do, bytes included, and does no I/O of its own: time,
// requests and ids come in, answers and what has to be saved go out.
//
//	Group             the coordinator of a group: join, sync, heartbeat, leave, timeouts
//	Assignor          Range, RoundRobin, Sticky, CooperativeSticky
//	Ownership         which member owns which partition, in which generation
//	Offsets           how far the group has come in each partition
//	Subscription …    what members and leader tell each other through the coordinator
//	Key, Snapshot …   records of the log in which a coordinator keeps all that
//
// When not to use it: workers that may take any message in any order need a
// queue with leases and no assignment; a program that is alone can read all
// partitions; and a client of a Kafka cluster finds all this in its client
// library. Groups of the newer protocol, in which the broker assigns (KIP-848),
// are not here.
//
// # Model
//
// A group goes through generations. In each, every partition has at most one
// owner, and what belongs to an earlier generation is refused: that is
// what keeps a consumer that slept, or was cut off, from committing what others
// have taken over. A generation begins with a rebalance:
//
//	               last member leaves; offsets may stay
//	      ┌──────────────────────────────────────────────────┐
//	      ▼                                                  │
//	   Empty ── a member joins ──►  PreparingRebalance ──────┘
//	      │                          │    ▲         ▲
//	   Delete          all joined or │    │         │ a member joins, leaves or falls silent,
//	      │          the time is over│    │         │ or the leader asks for it
//	      ▼       (generation + 1)   ▼    │         │
//	    Dead               CompletingRebalance      │
//	                                 │              │
//	               the leader's sync │              │
//	                                 ▼              │
//	                              Stable ───────────┘
//
//	member        group
//	  │ ── join ──► │   waits until all have joined, or the rebalance timeout is over
//	  │ ◄────────── │   generation, leader; the leader also gets all subscriptions
//	  │ ── sync ──► │   waits for the leader, whose request carries the assignments
//	  │ ◄────────── │   its partitions
//	  │ heartbeat ► │   "rebalance in progress" sends it back to join
//
// A static member, one with an instance id, keeps its place and partitions when
// it comes back within its session; its earlier process is fenced.
//
// # How to drive a Group
//
// Whoever keeps a group calls [Group.Join], [Group.Sync] and so on as requests
// come, and [Group.Tick] at the time that [Group.Next] gives. If the [Output]
// says Save, it appends [Group.Snapshot] to a log and waits until that is
// durable; then it sends the replies. After a failure, [Restore] continues from
// the last snapshot in the log. Offsets are checked with [Group.CheckCommit],
// appended to the same log, and entered in [Offsets] with their position there
// when they are durable.
//
// # Guarantees
//
//  1. Every join and every sync is answered exactly once, whatever happens.
//  2. In a generation a partition has at most one owner, as long as the leader
//     assigns it to one; the assignors here do.
//  3. The generation never goes back, also over Restore, if Save is heeded.
//  4. Only a member of the present generation can commit, and none between the
//     end of the joining and the leader's sync.
//  5. No group is stuck: if requests and answers arrive from some time on, it
//     becomes stable with exactly the members that live.
//  6. Answers that were lost are given again: a repeated join or sync changes
//     nothing, unless it is the leader's of a stable group, who wants a rebalance
//     then.
//  7. Decoders take any input: they return a [MalformedError] with the position,
//     and allocate no more than in proportion to the input.
//
// The tests prove 1 to 6 by visiting every state that two or three clients can
// bring a group into, with answers lost, clients that crash, leave and return,
// timers in any order, and failovers of the coordinator.
//
// # Cost
//
// A group takes memory in proportion to what its members send for their
// protocols, and their assignments. Heartbeats and commits take constant time;
// Next and Tick time in proportion to the members; a join, since it may end the
// joining, too. So a rebalance of n members takes time in proportion to n².
//
// # Sources
//
// Kreps, Narkhede, Rao: Kafka: a Distributed Messaging System for Log
// Processing, 2011, has the registries of owners and offsets, in ZooKeeper. The
// protocol is the one of Kafka's group coordinator since 0.9, with KIP-62
// (rebalance timeout), KIP-134 (initial delay), KIP-211 (expiry of offsets),
// KIP-345 and KIP-814 (static members), KIP-394 (member ids first) and KIP-429
// (cooperative). Where we deviate: a generation is saved when it begins, and not only
// when partitions are assigned, so that no number is used twice; a request that
// another of the same member supersedes is answered, and not forgotten; a static
// member that returns with other topics has the group rebalance; and [Sticky] reaches the
// most even loads that uneven subscriptions allow, over chains of members.
package group
