package consistenthash

import (
	"math"
	"slices"
)

// scale makes a number below 2^52 and a half a fraction between 0 and 1.
const scale = 1.0 / (1 << 52)

// best returns the number of the node that the key x prefers: that with the
// least score. There must be one.
//
// The score of a node that all others equal in weight is the product of x and
// the node's factor, modulo 2^64, with the node's number in place of the lower
// 16 bits. With weights it is -ln(u)/w, where u comes from the product: the
// least of such is that of each node in proportion to its weight.
func (m *members[N]) best(x uint64) int {
	if m.inverse != nil {
		_, i := m.nextWeighted(x, -1, 0)
		return i
	}
	// Two minima, so that one comparison need not wait for the other.
	a, b := ^uint64(0), ^uint64(0)
	factors := m.factors
	i := 0
	for ; i+4 <= len(factors); i += 4 {
		f := factors[i : i+4 : i+4]
		a = min(a, x*f[0]&^0xffff|uint64(i))
		b = min(b, x*f[1]&^0xffff|uint64(i+1))
		a = min(a, x*f[2]&^0xffff|uint64(i+2))
		b = min(b, x*f[3]&^0xffff|uint64(i+3))
	}
	for ; i < len(factors); i++ {
		a = min(a, x*factors[i]&^0xffff|uint64(i))
	}
	return int(min(a, b) & 0xffff)
}

// next returns the least score from low on, all ones if there is none.
func (m *members[N]) next(x, low uint64) uint64 {
	least := ^uint64(0)
	for i, f := range m.factors {
		score := x*f&^0xffff | uint64(i)
		if score < low {
			score = ^uint64(0)
		}
		least = min(least, score)
	}
	return least
}

// nextWeighted returns the least score, and whose it is, that comes behind
// that of the node last, which is after; last = -1 asks for the first. If
// there is none the node is -1.
func (m *members[N]) nextWeighted(x uint64, last int, after float64) (float64, int) {
	least, at := math.Inf(1), -1
	for i, f := range m.factors {
		g := (float64(x*f>>12) + .5) * scale
		if float64(g*m.inverse[i]) >= least {
			continue // the score is no less than that
		}
		score := float64(negLog(g) * m.inverse[i])
		if score >= least || last >= 0 && (score < after || score == after && i <= last) {
			continue
		}
		least, at = score, i
	}
	return least, at
}

// few is how many nodes are found by looking for the next one again and again,
// before all that are left are sorted.
const few = 8

// ranked yields the nodes in the order of their scores for the key x.
func (m *members[N]) ranked(x uint64, yield func(i int) bool) {
	if m.inverse != nil {
		m.rankedWeighted(x, yield)
		return
	}
	low := uint64(0)
	for n := range m.nodes {
		if n == few {
			m.rest(x, low, yield)
			return
		}
		score := m.next(x, low)
		if !yield(int(score & 0xffff)) {
			return
		}
		low = score + 1
	}
}

func (m *members[N]) rest(x, low uint64, yield func(i int) bool) {
	scores := make([]uint64, 0, len(m.factors))
	for i, f := range m.factors {
		if score := x*f&^0xffff | uint64(i); score >= low {
			scores = append(scores, score)
		}
	}
	slices.Sort(scores)
	for _, score := range scores {
		if !yield(int(score & 0xffff)) {
			return
		}
	}
}

func (m *members[N]) rankedWeighted(x uint64, yield func(i int) bool) {
	last, after := -1, 0.0
	for range min(few, len(m.nodes)) {
		after, last = m.nextWeighted(x, last, after)
		if !yield(last) {
			return
		}
	}
	if len(m.nodes) <= few {
		return
	}
	type scored struct {
		score float64
		i     int
	}
	var left []scored
	for i, f := range m.factors {
		score := float64(negLog((float64(x*f>>12)+.5)*scale) * m.inverse[i])
		if score > after || score == after && i > last {
			left = append(left, scored{score, i})
		}
	}
	slices.SortStableFunc(left, func(a, b scored) int {
		if a.score < b.score {
			return -1
		}
		if a.score > b.score {
			return 1
		}
		return 0
	})
	for _, s := range left {
		if !yield(s.i) {
			return
		}
	}
}

// preferences yields the owner of the key x, which some table knows, and then
// the other nodes as ranked does, zones permitting. So when a node leaves, what
// it owned gets another owner, and nobody else's place among the others
// changes.
func (m *members[N]) preferences(x uint64, owner int, yield func(N) bool) {
	for t := m.turns(); t.next(); {
		if t.skip(owner) || t.heard(yield(m.nodes[owner])) {
			m.ranked(x, func(i int) bool {
				return i == owner || t.skip(i) || t.heard(yield(m.nodes[i]))
			})
		}
	}
}

// Turns go through an order of nodes as often as it takes to hear the nodes of
// all zones in turn: the first of each zone in the first turn, the second of
// each in the next. Without zones one turn has all.
//
//	order   a1 a2 b1 a3 c1 b2        letters are zones
//	turn 0  a1 .. b1 .. c1           ends with the last of the zones
//	turn 1     a2          b2
//	turn 2           a3
type turns struct {
	zoneOf   []uint16
	zoneSize []int
	turn     int
	met      []int // by zone: nodes met in this turn
	left     int   // zones that have yet to be heard in this turn
	stopped  bool
}

func (m *members[N]) turns() turns {
	return turns{zoneOf: m.zoneOf, zoneSize: m.zoneSize, turn: -1}
}

// next begins the next turn, and reports whether there is one.
func (t *turns) next() bool {
	t.turn++
	if t.zoneOf == nil {
		return t.turn == 0
	}
	t.left = 0
	for _, size := range t.zoneSize {
		if size > t.turn {
			t.left++
		}
	}
	t.met = make([]int, len(t.zoneSize))
	return t.left > 0 && !t.stopped
}

// skip reports whether node i is not to be heard in this turn.
func (t *turns) skip(i int) bool {
	if t.zoneOf == nil {
		return false
	}
	z := t.zoneOf[i]
	t.met[z]++
	return t.met[z] != t.turn+1
}

// heard takes note of what came of a node that was not skipped, and reports
// whether the turn goes on.
func (t *turns) heard(more bool) bool {
	t.stopped = !more
	t.left--
	return more && (t.zoneOf == nil || t.left > 0)
}
