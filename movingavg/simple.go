package movingavg

import "fmt"

// Integer are the types whose averages are exact.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

// Number are the types of the values of a [Simple].
type Number interface {
	Integer | ~float32 | ~float64
}

// maxWindow is the largest number of values of a Simple, so that an int of
// 32 bits can number the places of the ring.
const maxWindow = 1 << 30

// A Simple is the mean of the last values, as many as its window has: all of
// them until there are that many. Create one with NewSimple.
//
// Of integers it is the float64 that is nearest to the true mean. Of
// floating-point numbers it is off by at most 2^-48 times the mean of the
// magnitudes in the window. A NaN or an infinity shows in the mean for as long
// as it is in the window, and not after. A sum beyond the range of float64
// counts as an infinity, and passes when the values do that make it.
//
// A Simple is not safe for concurrent use; see [Locked].
type Simple[T Number] struct {
	ints   ints[T] // one of these two is used
	floats floats
}

// NewSimple returns an average of the last values, which takes up memory as they
// come. It panics if window is not from 1 to 2^30.
func NewSimple[T Number](window int) *Simple[T] {
	checkWindow(window)
	m := &Simple[T]{}
	m.init(window)
	return m
}

func checkWindow(window int) {
	if window < 1 || window > maxWindow {
		panic(fmt.Sprintf("movingavg: window of %d values", window))
	}
}

func (m *Simple[T]) init(window int) {
	if isFloat[T]() {
		m.floats = newFloats(window, nil)
	} else {
		m.ints = ints[T]{window: window}
	}
}

// Add takes a value in, and lets the oldest go if the window was full. It
// takes constant time, not only on average.
func (m *Simple[T]) Add(v T) {
	if isFloat[T]() {
		m.floats.add(float64(v))
	} else if len(m.ints.ring) == m.ints.window {
		m.ints.replace(v)
	} else {
		m.ints.grow(v)
	}
}

// Value returns the mean of the values in the window, and false if there are
// none.
func (m *Simple[T]) Value() (float64, bool) {
	if isFloat[T]() {
		if m.floats.count > 0 {
			return m.floats.mean(), true
		}
		return m.floats.meanOfFew()
	}
	n := len(m.ints.ring)
	if n == 0 {
		return 0, false
	}
	if m.ints.sum.small() {
		return float64(int64(m.ints.sum.lo)) / float64(n), true
	}
	return m.ints.sum.over(uint64(n)), true
}

// Len returns how many values the mean is of.
func (m *Simple[T]) Len() int {
	if isFloat[T]() {
		return m.floats.len()
	}
	return len(m.ints.ring)
}

// Window returns how many values the mean is of once they have come.
func (m *Simple[T]) Window() int {
	if isFloat[T]() {
		return m.floats.window
	}
	return m.ints.window
}

// Clear forgets all values, and keeps the memory for those to come.
func (m *Simple[T]) Clear() {
	if isFloat[T]() {
		m.floats.clear()
	} else {
		m.ints.clear()
	}
}

// isFloat reports whether T has fractions. For each T the compiler knows the
// answer.
func isFloat[T Number]() bool { return T(1)/T(2) != 0 }
