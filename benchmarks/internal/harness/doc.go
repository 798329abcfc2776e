// Package harness measures implementations side by side in one process and
// judges ours by bars that were set beforehand.
//
// # Model
//
//	Suite ──Run──> Session ──Time, Value, Emit──> Row ──> text, JSON, RESULTS.md
//	                  │                            ^
//	                  └─ Interleave: rounds x implementations ─┘
//
// A suite is what is measured of one package; it declares its rows one after
// the other, and measures those that are wanted. A row has our figure, those
// of the peers, and bars: an absolute limit, a ratio to peers by name or to
// the best of them, or a distance from them.
//
// # Why these numbers
//
// Machines are shared and differ. So implementations take turns within each
// round, in an order that changes from round to round; a collection runs before
// each turn; a ratio compares figures of the same round, and the median over
// rounds is what counts. Time is that of the processors the process used,
// which other processes disturb less than elapsed time and which charges an
// implementation for its own goroutines and for the collections that run within
// its turns.
//
// # What they do not say
//
// All implementations of a row are alive at once. A collection within a turn
// marks what the others hold too, but runs the more seldom for it, so that a
// byte of garbage costs about as much as it would alone. A turn that makes less
// garbage than lies on the heap pays for none of it. Work that an
// implementation leaves to its goroutines when a turn ends is mostly done
// during the collection before the next turn, and nobody is charged for it.
package harness
