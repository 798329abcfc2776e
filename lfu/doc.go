// Package lfu is a least frequently used cache: when it is full, the entry
// that was used least often makes room, and among equals the one that was not
// used for longest. Every operation takes constant time.
//
// # When to use it
//
// Use lfu where popularity is stable: a few entries are wanted all the time.
// A plain LFU never forgets, so yesterday's favourites stay; [NewAgeing]
// halves all frequencies now and then, and should be the choice unless the
// popular is popular for ever. New entries start at the bottom and are the
// first to go, which hurts traffic that likes what is new. Package tinylfu
// has neither weakness and is the better default.
//
// # Model
//
// Storage is as in package lru. The policy is a list of frequencies, each with
// the slots that were used so often:
//
//	1 use ----- 3 uses ----- 4 uses
//	  |           |            |
//	 c a          b          f d e        most recent first
//
// A use moves a slot to the next frequency, making it if it is not there. The
// victim is the last slot of the first frequency. Ageing halves the
// frequencies in place and joins those that become equal.
//
// # Guarantees
//
// Those of package lru, where "order of last use" reads "order of frequency,
// then of last use"; and that an entry's Frequency is the number of its uses
// since it was stored, halved by ageing.
//
// # Complexity
//
// Every operation takes constant time; with ageing, one use in period·Len
// takes time in proportion to its shard. An entry needs the size of its key
// and value, 12 bytes of policy and about 12 of table, and 24 more for each
// different frequency.
//
// # Source
//
// Shah, Mitra, Matani: An O(1) algorithm for implementing the LFU cache
// eviction scheme, 2010. Slots are numbers in arrays in place of nodes on the
// heap, and a frequency that has one slot is raised in place.
package lfu
