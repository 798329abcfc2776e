package movingavg

import (
	"math"
	"math/bits"
)

// ints is a Simple of integers: the values in a ring, and their exact sum.
type ints[T Number] struct {
	ring   []T // as long as there are values
	next   int // the place of the oldest if the ring is full, else 0
	window int
	sum    wide
}

// replace lets the oldest value make room.
func (n *ints[T]) replace(v T) {
	old := n.ring[n.next]
	n.ring[n.next] = v
	n.sum = n.sum.plus(widen(v)).minus(widen(old))
	n.next++
	if n.next == len(n.ring) {
		n.next = 0
	}
}

// grow adds a value to a window that is not full.
func (n *ints[T]) grow(v T) {
	if len(n.ring) == cap(n.ring) {
		n.ring = append(make([]T, 0, min(n.window, max(8, 2*cap(n.ring)))), n.ring...)
	}
	n.ring = append(n.ring, v)
	n.sum = n.sum.plus(widen(v))
}

func (n *ints[T]) clear() { *n = ints[T]{ring: n.ring[:0], window: n.window} }

// A wide is an integer of 128 bits, in two's complement. The sum of 2^31
// values of 64 bits, signed or not, fits in.
type wide struct {
	hi, lo uint64
}

func widen[T Number](v T) wide {
	w := wide{0, uint64(v)}
	if T(0)-1 < 0 { // T is signed
		w.hi = uint64(int64(v) >> 63)
	}
	return w
}

func (w wide) plus(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, _ := bits.Add64(w.hi, v.hi, carry)
	return wide{hi, lo}
}

func (w wide) minus(v wide) wide {
	lo, borrow := bits.Sub64(w.lo, v.lo, 0)
	hi, _ := bits.Sub64(w.hi, v.hi, borrow)
	return wide{hi, lo}
}

// small reports whether w is an int64 that a float64 can be.
func (w wide) small() bool {
	const limit = 1 << 53
	return w.hi+w.lo>>63 == 0 && w.lo+limit <= 2*limit
}

// over returns the float64 that is nearest to w/n, and of two the one with the
// even mantissa. The quotient must have less than 2^64 before the point, as that of a
// sum of n values has.
func (w wide) over(n uint64) float64 {
	switch {
	case w.small():
		return float64(int64(w.lo)) / float64(n)
	case int64(w.hi) < 0:
		return -wide{}.minus(w).quotient(n)
	}
	return w.quotient(n)
}

// quotient returns w/n for a w that is not negative, and at least 2^53.
func (w wide) quotient(n uint64) float64 {
	whole, rest := bits.Div64(w.hi, w.lo, n)
	fraction, rest := bits.Div64(rest, 0, n)
	// The 64 bits from the first one on are rounded by the conversion; what
	// comes after them matters only if it decides between two float64s in
	// whose middle those are.
	shift := bits.LeadingZeros64(whole)
	mantissa := whole<<shift | fraction>>(64-shift)
	if fraction<<shift|rest != 0 {
		mantissa |= 1
	}
	return math.Ldexp(float64(mantissa), -shift)
}
