package replica

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Dot names a version: who made it, and when by that actor's clock. An actor
// makes at most one version of a key at one time. The zero Dot names none.
//
// A Dot is a value and safe for concurrent use.
type Dot struct {
	Actor Actor
	Time  Time
}

// Compare orders dots by time, and by actor where times are equal: the order in
// which the last writer wins.
func (d Dot) Compare(e Dot) int {
	return cmp.Or(cmp.Compare(d.Time, e.Time), cmp.Compare(d.Actor, e.Actor))
}

// String returns actor@time.
func (d Dot) String() string { return fmt.Sprintf("%v@%v", d.Actor, d.Time) }

// A Vector is a version vector: for each actor, the time up to which everything
// it wrote under a key has been seen.
//
//	[ {a 7} {c 3} ]   covers a's versions up to 7 and c's up to 3, and nothing of b
//
// It is sorted by actor, with one dot for each. The nil Vector has seen
// nothing. What is done with it takes time in proportion to its length, and
// Covers the logarithm of that.
//
// A Vector that is not changed is safe for concurrent use by multiple
// goroutines; no method changes it.
type Vector []Dot

// find returns where the entry of an actor is or would be.
func (v Vector) find(a Actor) (int, bool) {
	return slices.BinarySearchFunc(v, a, func(d Dot, a Actor) int { return cmp.Compare(d.Actor, a) })
}

// At returns the time up to which the actor's versions have been seen, or zero.
func (v Vector) At(a Actor) Time {
	if i, ok := v.find(a); ok {
		return v[i].Time
	}
	return 0
}

// Covers says whether the version that d names has been seen.
func (v Vector) Covers(d Dot) bool { return v.At(d.Actor) >= d.Time }

// CoversAll says whether v has seen all that u has.
func (v Vector) CoversAll(u Vector) bool {
	for _, d := range u {
		if !v.Covers(d) {
			return false
		}
	}
	return true
}

// Equal says whether both have seen the same.
func (v Vector) Equal(u Vector) bool { return slices.Equal(v, u) }

// Concurrent says whether each has seen something that the other has not.
func (v Vector) Concurrent(u Vector) bool { return !v.CoversAll(u) && !u.CoversAll(v) }

// With returns a vector that covers d besides.
func (v Vector) With(d Dot) Vector {
	i, ok := v.find(d.Actor)
	switch {
	case d == Dot{} || ok && v[i].Time >= d.Time:
		return v
	case ok:
		v = slices.Clone(v)
		v[i] = d
		return v
	}
	joined := make(Vector, 0, len(v)+1)
	return append(append(append(joined, v[:i]...), d), v[i:]...)
}

// Join returns a vector that has seen what either has.
func (v Vector) Join(u Vector) Vector {
	switch {
	case v.CoversAll(u):
		return v
	case u.CoversAll(v):
		return u
	}
	joined := make(Vector, 0, len(v)+len(u))
	for len(v) > 0 && len(u) > 0 {
		switch c := cmp.Compare(v[0].Actor, u[0].Actor); {
		case c < 0:
			joined, v = append(joined, v[0]), v[1:]
		case c > 0:
			joined, u = append(joined, u[0]), u[1:]
		default:
			joined = append(joined, Dot{v[0].Actor, max(v[0].Time, u[0].Time)})
			v, u = v[1:], u[1:]
		}
	}
	return append(append(joined, v...), u...)
}

// Last returns the latest time in v.
func (v Vector) Last() Time {
	var last Time
	for _, d := range v {
		last = max(last, d.Time)
	}
	return last
}

// String returns the dots in brackets.
func (v Vector) String() string {
	words := make([]string, len(v))
	for i, d := range v {
		words[i] = d.String()
	}
	return "[" + strings.Join(words, " ") + "]"
}
