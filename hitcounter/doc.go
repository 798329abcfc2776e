// Package hitcounter counts hits in a sliding window, as in "requests in the
// last minute": exactly, in constant space, on many processors, within a proven
// error, by different visitors, and by key. Every counter can also say how far
// the truth may be from its answer.
//
// # Which one
//
//	          knows                    space for a window       use it for
//	Exact     the number               a time of a hit each     limits, rare or bulky hits, tests
//	Ring      all but two slots        a slot each              rates of anything, the default choice
//	Striped   as Ring                  stripes times that       hits of many processors at once
//	Approx    within eps               logarithm of the hits    bursts, long windows, a promised error
//	Unique    within 1.04/sqrt(2^p)    2^p bytes a slot         visitors, addresses, sessions
//	Keyed     as Ring, by key          slots a key, n keys      pages, customers, the most active
//
// When not to use it: a total that never expires is an atomic.Int64; an average
// that fades is package movingavg's; and a limit for which a burst every now
// and then is fine, a token bucket as golang.org/x/time/rate, needs less.
//
// # Model
//
// A hit has an instant, a nanosecond. The window that ends at t has the
// instants after t - window, up to and including t. Nothing happens between
// calls: there is no goroutine and no timer, and a hit leaves a window since
// time passes. Slots have numbers that count from 1970, so that those of all
// hosts are the same:
//
//	            t - window                             t
//	                |=================================>|
//	]-------]-------]-------]-------]-------]-------]-------]---> time
//	   101     102     103     104     105     106     107        slots, Ring
//	   no     begun     all     all     all     all   running
//
// Slots, like windows, include their end and not their start. So if t and the
// window are multiples of the resolution, the window is made of whole slots and
// the count is exact: for example at whole seconds, with slots of a second.
//
// CountAt estimates. The running slot counts in full, since as a rule t is the
// present and nothing comes after it; the begun one by its share of time.
// Bounds is certain: hits of slots that are in the window for lo, and those of
// begun and running slots too for hi.
//
// # Time
//
// HitAt and CountAt take the time, so they can replay a log and be tested
// without waiting. Hit and Count take the present, of a clock that never goes
// back. Times do not have to be in order:
//
//   - A late hit, one before others that were counted, counts in its own slot
//     as long as that is held: until there is a hit that is later by a window
//     and an eighth, at least.
//   - One that comes later than that is dropped, and counted in Stats. It never
//     counts in the slot that has taken the place of its own.
//   - One far in the future makes those of the present late: in a Ring, a
//     Striped, a Unique and a Keyed only where it takes the place of their
//     slot, in an Exact and an Approx all of them. Clear starts again.
//   - CountAt may ask about any time. Where the window begins more than a
//     window and an eighth before the latest hit, its answer lacks what has
//     made room, and hi of Bounds includes that.
//
// # Guarantees
//
//  1. The true number of hits in the window is within Bounds, for every t,
//     every order of hits, and numbers that overflow.
//  2. CountAt is within Bounds. For a window of whole slots that begins after
//     all hits that have made room, the three are the same number; that of an
//     Exact has whole slots, of a nanosecond each. Visitors are estimated even
//     then.
//  3. For hits in order, CountAt of an Approx is off by eps times the truth at
//     most, at the time of the latest hit or later.
//  4. AllowAt and Allow of an Exact never admit more than the limit to any
//     window, wherever it begins.
//  5. Snapshots of hosts add up: to the slots that one counter of all their
//     hits would have, and for an Approx to a count with the same error.
//  6. A hit allocates nothing, unless a Keyed meets a new key, an Exact or an
//     Approx grows with what its window holds, or the garbage collector has
//     emptied the pool of a Striped.
//  7. What UnmarshalBinary accepts is what AppendBinary would write, bit by
//     bit. Damage and lies about sizes are errors, and cost no memory.
//  8. With goroutines that hit while others read and slots come and go, no hit
//     is lost or counted twice or in another slot. A read tells of some moment
//     during the call for each slot.
//
// "Every t" includes times that have no instant, before November 1823 and after
// February 2116: hits then are dropped, and Bounds knows of them.
//
// # Cost
//
// A hit takes constant time: an atomic operation in a Ring, a lock in the
// others, and in an Approx, amortised, a few comparisons. A late hit of an
// Exact or an Approx is inserted among later ones. A count takes time in
// proportion to slots and stripes, of a Unique to slots times registers, of an
// Exact to the logarithm of its entries, and of an Approx to its buckets. The
// time of day costs more than a hit: who knows it already should call HitAt.
//
// # Sources
//
// Approx: Datar, Gionis, Indyk, Motwani: Maintaining Stream Statistics over
// Sliding Windows, 2002. Where we deviate: buckets have any size, not powers of
// two, and know their first hit as well as their last; hits come by the number
// and late; buckets are united now and then, as many as the bound allows,
// instead of with each hit. Unique: Flajolet, Fusy, Gandouet, Meunier:
// HyperLogLog, 2007, with the estimate of Ertl: New Cardinality Estimation
// Algorithms for HyperLogLog Sketches, 2017, from counts of ranks that are kept
// up to date. Numbers of slots: Granlund, Montgomery: Division by Invariant
// Integers using Multiplication, 1994.
package hitcounter
