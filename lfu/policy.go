package lfu

import "github.com/ashlar-go/ashlar/internal/cachecore"

// policy orders slots by frequency, and by recency among equals:
//
//	nodes   1 use ------- 3 uses ------- 4 uses     ascending
//	          |              |              |
//	slots   c a            b              f d e     most recent first
//
// A node holds the slots of one frequency in a ring of their own. A use moves
// a slot from its node to the next one, which is made if it is not there, so
// every operation takes constant time.
//
// Invariants: nodes are linked in strictly ascending order of uses; a linked
// node has at least one slot; slots[s].node is the node whose ring s is in.
type policy struct {
	slots []slotLink // slot 0 is not used
	nodes []node     // node 0 is the head of the list of nodes
	spare uint32     // first node not in use, linked by next
	count int        // slots in use

	period int64 // uses per slot between halvings; 0 for none
	since  int64 // uses since the last halving
}

// maxPeriod times a number of slots does not overflow.
const maxPeriod = 1 << 30

type slotLink struct{ prev, next, node uint32 }

type node struct {
	uses       uint64
	first      uint32 // the most recent slot; its prev is the least recent
	prev, next uint32
}

func newPolicy(period int) cachecore.Policy {
	p := &policy{period: int64(min(period, maxPeriod))}
	p.Clear()
	return p
}

func (p *policy) Clear() {
	p.slots, p.nodes, p.spare, p.count, p.since = nil, make([]node, 1, 8), 0, 0, 0
}

func (p *policy) Grow(slots int) {
	grown := make([]slotLink, slots+1)
	copy(grown, p.slots)
	p.slots = grown
}

func (p *policy) Insert(slot uint32, _ uint64, _ int64) {
	first := p.nodes[0].next
	if first == 0 || p.nodes[first].uses != 1 {
		first = p.addNode(0, 1)
	}
	p.push(first, slot)
	p.count++
	p.age()
}

func (p *policy) Hit(slot uint32, _ uint64) {
	p.raise(slot)
	p.age()
}

func (p *policy) Update(slot uint32, hash uint64, _ int64) { p.Hit(slot, hash) }

// raise moves slot to the node of one use more.
func (p *policy) raise(slot uint32) {
	at := p.slots[slot].node
	n := &p.nodes[at]
	uses, next := n.uses+1, n.next
	found := next != 0 && p.nodes[next].uses == uses
	if !found && p.slots[slot].next == slot { // alone: its node can take the new count
		n.uses = uses
		return
	}
	if !found {
		next = p.addNode(at, uses)
	}
	p.unlink(slot)
	p.push(next, slot)
}

func (p *policy) Victim(uint64, int64) uint32 {
	return p.slots[p.nodes[p.nodes[0].next].first].prev
}

func (p *policy) Remove(slot uint32) {
	p.unlink(slot)
	p.count--
}

func (p *policy) Move(from, to uint32) {
	s := p.slots[from]
	if s.next == from { // alone in its ring
		s.prev, s.next = to, to
	}
	p.slots[to] = s
	p.slots[s.prev].next = to
	p.slots[s.next].prev = to
	if n := &p.nodes[s.node]; n.first == from {
		n.first = to
	}
}

func (p *policy) Resize(int64) {}

func (p *policy) frequency(slot uint32) int { return int(p.nodes[p.slots[slot].node].uses) }

// Weight and SetWeight carry frequencies through a snapshot.
func (p *policy) Weight(slot uint32, _ uint64) uint64 { return p.nodes[p.slots[slot].node].uses }

// SetWeight finds the node from the top, since a snapshot comes in ascending
// order. Snapshots of other policies may have no weight: 0 counts as one use.
func (p *policy) SetWeight(slot uint32, _ uint64, uses uint64) {
	uses = max(1, uses)
	p.unlink(slot)
	below := p.nodes[0].prev
	for below != 0 && p.nodes[below].uses > uses {
		below = p.nodes[below].prev
	}
	if below == 0 || p.nodes[below].uses != uses {
		below = p.addNode(below, uses)
	}
	p.push(below, slot)
}

func (p *policy) Ascend(visit func(uint32) bool) {
	for n := p.nodes[0].next; n != 0; n = p.nodes[n].next {
		last := p.slots[p.nodes[n].first].prev
		for slot := last; ; {
			if !visit(slot) {
				return
			}
			if slot = p.slots[slot].prev; slot == last {
				break
			}
		}
	}
}

func (p *policy) Descend(visit func(uint32) bool) {
	for n := p.nodes[0].prev; n != 0; n = p.nodes[n].prev {
		first := p.nodes[n].first
		for slot := first; ; {
			if !visit(slot) {
				return
			}
			if slot = p.slots[slot].next; slot == first {
				break
			}
		}
	}
}

// push makes slot, which is in no ring, the most recent one of node n.
func (p *policy) push(n, slot uint32) {
	s, first := &p.slots[slot], p.nodes[n].first
	s.node = n
	if first == 0 {
		s.prev, s.next = slot, slot
	} else {
		last := p.slots[first].prev
		s.prev, s.next = last, first
		p.slots[last].next = slot
		p.slots[first].prev = slot
	}
	p.nodes[n].first = slot
}

// unlink takes slot out of its ring, and the node out of the list if it was
// the last one there.
func (p *policy) unlink(slot uint32) {
	s := p.slots[slot]
	if s.next == slot {
		p.dropNode(s.node)
		return
	}
	p.slots[s.prev].next = s.next
	p.slots[s.next].prev = s.prev
	if n := &p.nodes[s.node]; n.first == slot {
		n.first = s.next
	}
}

// addNode links a node for uses behind the node after and returns it.
func (p *policy) addNode(after uint32, uses uint64) uint32 {
	n := p.spare
	if n != 0 {
		p.spare = p.nodes[n].next
	} else {
		n = uint32(len(p.nodes))
		p.nodes = append(p.nodes, node{})
	}
	next := p.nodes[after].next
	p.nodes[n] = node{uses: uses, prev: after, next: next}
	p.nodes[after].next = n
	p.nodes[next].prev = n
	return n
}

func (p *policy) dropNode(n uint32) {
	prev, next := p.nodes[n].prev, p.nodes[n].next
	p.nodes[prev].next = next
	p.nodes[next].prev = prev
	p.nodes[n] = node{next: p.spare}
	p.spare = n
}

// age counts a use and halves all frequencies when it is time. That takes time
// in proportion to the slots, once in period uses of each.
func (p *policy) age() {
	if p.period == 0 {
		return
	}
	if p.since++; p.since < p.period*int64(p.count) {
		return
	}
	p.since = 0
	for n := p.nodes[0].next; n != 0; {
		p.nodes[n].uses = max(1, p.nodes[n].uses/2)
		below, next := p.nodes[n].prev, p.nodes[n].next
		if below != 0 && p.nodes[below].uses == p.nodes[n].uses {
			p.merge(below, n)
		}
		n = next
	}
}

// merge moves the slots of node from before those of node into: they were
// used more often.
func (p *policy) merge(into, from uint32) {
	first, second := p.nodes[from].first, p.nodes[into].first
	lastFirst, lastSecond := p.slots[first].prev, p.slots[second].prev
	for slot := first; ; slot = p.slots[slot].next {
		p.slots[slot].node = into
		if slot == lastFirst {
			break
		}
	}
	p.slots[lastFirst].next, p.slots[second].prev = second, lastFirst
	p.slots[lastSecond].next, p.slots[first].prev = first, lastSecond
	p.nodes[into].first = first
	p.dropNode(from)
}
