package hitcounter

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A grid divides time into slots of one length, the resolution. Slots are
// numbered from 1970 on and, like the window, include the end, not the start:
//
//	      slot 0       slot 1       slot 2
//	----------------]------------]------------]----> time
//	   -resolution  0   resolution    2 x resolution
//
// So a window that ends where a slot ends begins where one begins, if it is a
// multiple of the resolution.
type grid struct {
	window     int64
	resolution int64
	magic      uint64 // 2^(63+shift) / resolution, rounded up
	shift      uint
}

const maxSlots = 1 << 24

// newGrid checks what a constructor was given. Its slots are the window divided
// by the parts, if nothing else was asked for.
func newGrid(name string, window time.Duration, opts *Options, parts int64) grid {
	checkWindow(name, window)
	resolution := int64(opts.Resolution)
	switch {
	case resolution < 0 || opts.Resolution > window:
		panic(fmt.Sprintf("hitcounter: %s with a resolution of %v in a window of %v", name, opts.Resolution, window))
	case resolution == 0:
		resolution = (int64(window)-1)/parts + 1
	}
	return makeGrid(int64(window), resolution)
}

func checkWindow(name string, window time.Duration) {
	if window <= 0 || window > maxWindow {
		panic(fmt.Sprintf("hitcounter: %s with a window of %v", name, window))
	}
}

func makeGrid(window, resolution int64) grid {
	g := grid{window: window, resolution: resolution, magic: 1 << 63}
	if resolution > 1 {
		// Granlund and Montgomery: n*magic >> (63+shift) is n/resolution for
		// every n below 2^63.
		g.shift = uint(bits.Len64(uint64(resolution - 1)))
		quotient, remainder := bits.Div64(1<<(g.shift-1), 0, uint64(resolution))
		if remainder != 0 {
			quotient++
		}
		g.magic = quotient
	}
	return g
}

// slot returns the number of the slot of an instant.
func (g *grid) slot(at int64) int64 {
	if at <= 0 {
		return -(-at / g.resolution)
	}
	high, _ := bits.Mul64(uint64(at-1)<<1, g.magic)
	return int64(high>>(g.shift&63)) + 1
}

// end returns the last instant of a slot.
func (g *grid) end(slot int64) int64 { return slot * g.resolution }

// touched returns the most slots that a window has instants of.
func (g *grid) touched() int64 {
	if g.window == 1 {
		return 1
	}
	return (g.window-2)/g.resolution + 2
}

// rows returns for how many slots a counter needs room, a power of two, so that
// it holds those of a window and at least a quarter more. It panics if that is
// too much.
func (g *grid) rows(name string) int {
	rows := g.touched() + g.touched()/4 + 2
	if rows > maxSlots {
		panic(fmt.Sprintf("hitcounter: %s with %d slots", name, g.touched()))
	}
	return 1 << bits.Len64(uint64(rows-1))
}

// A tally adds up what is known of the hits in a window, the instants after its
// start up to its end.
type tally struct {
	after, upTo int64
	hidden      bool // the window ends at an unknown instant after upTo

	certain int64 // are in the window
	partial int64 // may be in it
	likely  int64 // how many of those are taken to be in it
}

// tallyAt begins a tally for the window that ends at an instant.
func tallyAt(at, window int64) tally {
	switch {
	case at < minTime:
		at = minTime - 1
	case at > maxTime:
		return tally{after: maxTime - window, upTo: maxTime, hidden: true}
	}
	return tally{after: at - window, upTo: at}
}

// slot counts n hits that are after the one instant, up to the other.
func (y *tally) slot(after, upTo, n int64) {
	switch {
	case upTo <= y.after || after >= y.upTo:
	case after >= y.after && upTo <= y.upTo:
		y.certain = add(y.certain, n)
	default:
		y.partial = add(y.partial, n)
		// A slot that is not over when the window ends counts in full, since as
		// a rule that is the present, and there are no later hits. One that had
		// begun before the window counts by its share.
		if after < y.after {
			n = share(n, upTo-y.after, upTo-after)
		}
		y.likely = add(y.likely, n)
	}
}

// bucket counts n hits, the first and the last of which are at these instants.
func (y *tally) bucket(first, last, n int64) {
	starts, ends := first > y.after, last <= y.upTo
	switch {
	case last <= y.after || first > y.upTo:
	case starts && ends:
		y.certain = add(y.certain, n)
	default:
		n -= 2
		y.partial = add(y.partial, n)
		if starts || ends {
			y.certain = add(y.certain, 1)
			n /= 2
		} else {
			n = share(n, y.upTo-y.after, last-first)
		}
		y.likely = add(y.likely, n)
	}
}

// share returns n times a part of a whole, rounded.
func share(n, part, whole int64) int64 {
	high, low := bits.Mul64(uint64(n), uint64(part))
	low, carry := bits.Add64(low, uint64(whole/2), 0)
	quotient, _ := bits.Div64(high+carry, low, uint64(whole))
	return int64(quotient)
}

// settle adds what is known from the ledger, after everything else. Hits that a
// counter does not hold can only be in a window that begins before the last of
// them.
func (y *tally) settle(l *ledger) {
	if y.hidden {
		y.partial = add(add(y.partial, y.certain), l.beyond)
		y.certain, y.likely = 0, 0
	}
	if y.after < l.upTo {
		y.partial = add(y.partial, add(l.expired, l.late))
	}
	if y.after < l.clipped {
		y.partial = math.MaxInt64
	}
}

func (y *tally) count() int64           { return add(y.certain, y.likely) }
func (y *tally) bounds() (lo, hi int64) { return y.certain, add(y.certain, y.partial) }
