package consistenthash

import (
	"fmt"
	"math"
	"slices"
	"sync"
)

// BoundedOptions are the settings of a [Bounded]; nil means the defaults.
type BoundedOptions struct {
	// Epsilon is how much more than its share a node may have: 0.25, the
	// default, stands for a quarter more. Less of it is a more even load, and
	// more keys that are not with their owner.
	Epsilon float64
}

// A Bounded gives out leases on the nodes of a placement and counts them: a
// key's lease is on its owner, or, while that has too many, on the next node
// that has not. So one popular key cannot drown a node. Create one with
// [NewBounded].
//
// The cap of a node is its share of all leases times 1+Epsilon, rounded up:
// with equal weights, ceil((1+ε)·leases/nodes). A lease is given only where
// the node, with it, is within its cap; there always is such a node. Leases
// count as long as they are held and their node is in the placement. When
// others are released or nodes leave, caps get lower, and nothing is taken
// away from those who hold a lease: see Rebalance.
//
// OwnerHash of the placement is called with a lock held, so one of your own
// must not call the Bounded.
//
// A Bounded is safe for concurrent use by multiple goroutines.
type Bounded[N comparable] struct {
	slack float64 // 1+Epsilon

	mu         sync.Mutex
	placement  Placement[N]
	generation uint64 // of the placement
	nodes      []bounds[N]
	number     map[N]int
	weight     float64 // of all nodes
	total      int     // leases

	// Leases are slots in an array. Those that are held make a list for each
	// node, the last one given first; those that are not make one list. Slot
	// 0 is the end of every list.
	slots []slot
	free  uint32
}

// bounds is what is known of a node.
type bounds[N comparable] struct {
	node   N
	weight float64
	leases int
	first  uint32 // slot
}

type slot struct {
	hash       uint64
	version    uint32 // counts the leases that had this slot
	node       int32  // -1 if it is free
	prev, next uint32
}

// A Lease is a place on a node for a key. The zero Lease is one that is not
// held.
//
// A Lease is safe for concurrent use by multiple goroutines, as are copies.
type Lease[N comparable] struct {
	bounded *Bounded[N]
	node    N
	hash    uint64
	slot    uint32
	version uint32
}

// NewBounded returns a Bounded of the placement, without leases. It panics if
// p is nil, or Epsilon is negative, not a number or infinite.
func NewBounded[N comparable](p Placement[N], opts *BoundedOptions) *Bounded[N] {
	epsilon := 0.25
	if opts != nil && opts.Epsilon != 0 {
		epsilon = opts.Epsilon
	}
	if !(epsilon > 0) || math.IsInf(epsilon, 0) {
		panic(fmt.Sprintf("consistenthash: BoundedOptions.Epsilon is %v", epsilon))
	}
	b := &Bounded[N]{slack: 1 + epsilon, slots: make([]slot, 1)}
	b.Set(p)
	return b
}

// Acquire returns a lease for key on its owner, or on another node if that is
// at its cap; ok is false if there are no nodes. It allocates nothing but, now
// and then, room for more leases.
func (b *Bounded[N]) Acquire(key string) (lease Lease[N], ok bool) { return b.AcquireHash(Hash(key)) }

// AcquireHash is Acquire for a key whose hash is known.
func (b *Bounded[N]) AcquireHash(h uint64) (lease Lease[N], ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.choose(h)
	if i < 0 {
		return lease, false
	}
	s := b.take(i, h)
	return Lease[N]{b, b.nodes[i].node, h, s, b.slots[s].version}, true
}

// tries is how many nodes are asked before the one with the most room is
// taken. Keys that have found the same node full go on to different ones: the
// next is the owner of another hash, and not the owner's neighbour, who would
// be the next to be full.
const tries = 64

// choose returns the node for a key, -1 if there are no nodes.
func (b *Bounded[N]) choose(h uint64) int {
	if len(b.nodes) == 0 {
		return -1
	}
	for range tries {
		node, ok := b.placement.OwnerHash(h)
		if !ok {
			break
		}
		if i, ok := b.number[node]; ok && b.nodes[i].leases < b.limit(i, b.total+1) {
			return i
		}
		h = mix(h + golden)
	}
	most, room := 0, math.MinInt
	for i := range b.nodes {
		if r := b.limit(i, b.total+1) - b.nodes[i].leases; r > room {
			most, room = i, r
		}
	}
	return most
}

// limit returns the cap of a node among so many leases. Rounding may make the
// product too large by a hair, which must not count as one more.
func (b *Bounded[N]) limit(i, total int) int {
	most := math.Ceil(b.slack * float64(total) * (b.nodes[i].weight / b.weight) * (1 - 1e-12))
	if most >= math.MaxInt {
		return math.MaxInt
	}
	return int(most)
}

// take puts a lease on a node.
func (b *Bounded[N]) take(node int, h uint64) uint32 {
	s := b.free
	if s == 0 {
		b.slots = append(b.slots, slot{})
		s = uint32(len(b.slots) - 1)
	} else {
		b.free = b.slots[s].next
	}
	at := &b.nodes[node]
	b.slots[s] = slot{hash: h, version: b.slots[s].version + 1, node: int32(node), next: at.first}
	if at.first != 0 {
		b.slots[at.first].prev = s
	}
	at.first = s
	at.leases++
	b.total++
	return s
}

// drop takes a lease off its node.
func (b *Bounded[N]) drop(s uint32) {
	l := &b.slots[s]
	at := &b.nodes[l.node]
	if l.prev == 0 {
		at.first = l.next
	} else {
		b.slots[l.prev].next = l.next
	}
	if l.next != 0 {
		b.slots[l.next].prev = l.prev
	}
	at.leases--
	b.total--
	l.node, l.prev, l.next = -1, 0, b.free
	b.free = s
}

// Node returns the node that the lease is on, or was.
func (l Lease[N]) Node() N { return l.node }

// Hash returns the hash of the key that the lease is for, with which
// AcquireHash gets another one.
func (l Lease[N]) Hash() uint64 { return l.hash }

// Held reports whether the lease is held: not released, its node not gone from
// the placement, and not ended by Rebalance.
func (l Lease[N]) Held() bool {
	if l.bounded == nil {
		return false
	}
	l.bounded.mu.Lock()
	defer l.bounded.mu.Unlock()
	return l.held()
}

func (l Lease[N]) held() bool {
	s := &l.bounded.slots[l.slot]
	return s.node >= 0 && s.version == l.version
}

// Release gives the lease back, and reports whether it was held. To release
// it, or a copy, again does nothing.
func (l Lease[N]) Release() bool {
	if l.bounded == nil {
		return false
	}
	l.bounded.mu.Lock()
	defer l.bounded.mu.Unlock()
	if !l.held() {
		return false
	}
	l.bounded.drop(l.slot)
	return true
}

// Placement returns the placement in force.
func (b *Bounded[N]) Placement() Placement[N] {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.placement
}

// Len returns the number of leases that are held.
func (b *Bounded[N]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// A Load is what a node has and may have.
type Load[N comparable] struct {
	Node   N
	Leases int
	Cap    int // for as many leases as there are now
}

// Loads returns the load of every node, in the order of Placement.Nodes, all
// of the same moment.
func (b *Bounded[N]) Loads() []Load[N] {
	b.mu.Lock()
	defer b.mu.Unlock()
	loads := make([]Load[N], len(b.nodes))
	for i, at := range b.nodes {
		loads[i] = Load[N]{at.node, at.leases, b.limit(i, b.total)}
	}
	return loads
}

// Set puts another placement in force. Leases on nodes that it does not have
// end; Set returns them, so that they can be had on other nodes. It panics if
// p is nil.
func (b *Bounded[N]) Set(p Placement[N]) (ended []Lease[N]) {
	if p == nil {
		panic("consistenthash: a Bounded of a nil placement")
	}
	nodes, number, weight := collect(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set(p, nodes, number, weight)
}

// collect asks a placement for its nodes, which runs code of others and needs
// no lock.
func collect[N comparable](p Placement[N]) (nodes []bounds[N], number map[N]int, weight float64) {
	number = make(map[N]int, p.Len())
	for node, w := range p.Nodes() {
		number[node] = len(nodes)
		nodes = append(nodes, bounds[N]{node: node, weight: w})
		weight += w
	}
	return nodes, number, weight
}

func (b *Bounded[N]) set(p Placement[N], nodes []bounds[N], number map[N]int, weight float64) (ended []Lease[N]) {
	for i := range b.nodes {
		at := &b.nodes[i]
		to, stays := number[at.node]
		if !stays {
			for at.first != 0 {
				ended = append(ended, b.end(at.first))
			}
			continue
		}
		nodes[to].leases, nodes[to].first = at.leases, at.first
		for s := at.first; s != 0; s = b.slots[s].next {
			b.slots[s].node = int32(to)
		}
	}
	b.placement, b.nodes, b.number, b.weight = p, nodes, number, weight
	b.generation++
	return ended
}

// end drops a lease and returns it.
func (b *Bounded[N]) end(s uint32) Lease[N] {
	l := b.slots[s]
	lease := Lease[N]{b, b.nodes[l.node].node, l.hash, s, l.version}
	b.drop(s)
	return lease
}

// Update puts in force what change makes of the placement, as Set does. If
// others change it meanwhile, change is called again, with what they made; so
// it should have no other effects. If it returns an error, so does Update, and
// nothing changes. No lock is held during the call, which may use b.
func (b *Bounded[N]) Update(change func(Placement[N]) (Placement[N], error)) (ended []Lease[N], err error) {
	for {
		b.mu.Lock()
		old, generation := b.placement, b.generation
		b.mu.Unlock()
		p, err := change(old)
		if err != nil {
			return nil, err
		}
		if p == nil {
			panic("consistenthash: a Bounded of a nil placement")
		}
		nodes, number, weight := collect(p)
		b.mu.Lock()
		if b.generation == generation {
			defer b.mu.Unlock()
			return b.set(p, nodes, number, weight), nil
		}
		b.mu.Unlock()
	}
}

// Add puts a placement with more nodes in force.
func (b *Bounded[N]) Add(nodes ...N) error {
	_, err := b.Update(func(p Placement[N]) (Placement[N], error) { return p.With(nodes...) })
	return err
}

// Remove puts a placement with some nodes less in force. Leases on them end;
// Remove returns them.
func (b *Bounded[N]) Remove(nodes ...N) (ended []Lease[N], err error) {
	return b.Update(func(p Placement[N]) (Placement[N], error) { return p.Without(nodes...) })
}

// Rebalance ends leases on nodes that are above their caps, those given last
// first, until no node is, and returns them, so that they can be had on other
// nodes. As fewer leases make caps lower, it goes on until all is within
// them.
func (b *Bounded[N]) Rebalance() (ended []Lease[N]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		before := len(ended)
		for i := range b.nodes {
			at := &b.nodes[i]
			for at.leases > b.limit(i, b.total) {
				ended = append(ended, b.end(at.first))
			}
		}
		if len(ended) == before {
			return slices.Clip(ended)
		}
	}
}
