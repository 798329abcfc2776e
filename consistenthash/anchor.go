package consistenthash

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// An Anchor has a bucket for each of as many nodes as there will ever be.
// Buckets without a node pass their keys on, so that any node may leave, and
// others join, without a key moving between those that stay. Shares are as even
// as chance allows, and a lookup reads four bytes a step. It is for backends that fail and come back. Make one with
// [NewAnchor].
//
// Its placement depends on the order in which nodes joined and left: all who
// use it must hear of the same changes in the same order. Compare Fingerprints.
//
// An Anchor is safe for concurrent use by multiple goroutines.
type Anchor[N comparable] struct {
	members[N]          // in the order of their buckets
	byBucket   []N      // the node of each bucket in use
	number     []uint16 // and what members call it

	// The algorithm keeps the buckets in order: those in use first, then those
	// without a node, the last removed first. When one is removed it is
	// exchanged with the last that is in use.
	//
	//	order    w[0]  w[1]  ...  w[used-1] | ...
	//
	//	w  what is at a place; l  the place of a bucket
	//	k  what came to the place that a removed bucket had
	//	a  how many were in use right after a bucket was removed; 0 if it is
	//	   in use
	//	removed  a stack of the buckets without a node
	//
	// A key that meets a bucket that is not in use goes on to one of the a
	// that were in use when that one was removed; k leads to it from the place
	// it had.
	chain   []link
	w, l    []uint16
	removed []uint16
}

// link is the part of a bucket's state that lookups need.
type link struct{ a, k uint16 }

// NewAnchor returns a placement on the nodes with the buckets of
// Options.Capacity; the nodes have the first of them in the order given.
//
// A node that joins gets the bucket that was removed last: one that left and
// returns has its keys again if all that left after it returned before it. A
// lookup takes about 1 + ln(capacity/nodes) steps.
//
// Shares are those of [NewRendezvous]. It returns an error if a node or its
// name is there twice, a weight is not 1, or there are more nodes than the
// capacity or a capacity of more than 65,535.
func NewAnchor[N comparable](nodes []N, opts *Options[N]) (*Anchor[N], error) {
	capacity := len(nodes)
	if opts != nil && opts.Capacity != 0 {
		capacity = opts.Capacity
	}
	if capacity < 0 || capacity > maxNodes {
		return nil, fmt.Errorf("consistenthash: anchor: %w: the capacity is %d, and the most is %d", ErrFull, capacity, maxNodes)
	}
	if len(nodes) > capacity {
		return nil, fmt.Errorf("consistenthash: anchor: %w: %d, and the capacity is %d", ErrFull, len(nodes), capacity)
	}
	p := &Anchor[N]{
		byBucket: make([]N, capacity),
		chain:    make([]link, capacity),
		w:        make([]uint16, capacity),
		l:        make([]uint16, capacity),
	}
	copy(p.byBucket, nodes)
	for b := range capacity {
		p.chain[b].k, p.w[b], p.l[b] = uint16(b), uint16(b), uint16(b)
	}
	for b := capacity - 1; b >= len(nodes); b-- {
		p.chain[b].a = uint16(b)
		p.removed = append(p.removed, uint16(b))
	}
	if opts != nil {
		p.opts = *opts
	}
	p.opts.Capacity = capacity
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p, nil
}

// finish computes what follows from the buckets.
func (p *Anchor[N]) finish() (err error) {
	free := make([]bool, len(p.chain))
	parameters := []uint64{uint64(len(p.chain))}
	for _, b := range p.removed {
		free[b] = true
		parameters = append(parameters, uint64(b))
	}
	var nodes []N
	p.number = make([]uint16, len(p.chain))
	for b, link := range p.chain {
		parameters = append(parameters, uint64(link.a)<<16|uint64(link.k))
		if !free[b] {
			p.number[b] = uint16(len(nodes))
			nodes = append(nodes, p.byBucket[b])
		}
	}
	p.members, err = newMembers("anchor", nodes, &p.opts, false, false, parameters...)
	return err
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes constant time and allocates nothing.
func (p *Anchor[N]) Owner(key string) (node N, ok bool) {
	if len(p.nodes) == 0 {
		return node, false
	}
	x := p.key(xxhash.Sum64String(key))
	b := reduce(x, len(p.chain)) // as bucket does, without a call
	if p.chain[b].a > 0 {
		b = follow(p.chain, x, b)
	}
	return p.byBucket[b], true
}

// OwnerHash is Owner for a key whose hash is known.
func (p *Anchor[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(p.nodes) == 0 {
		return node, false
	}
	return p.byBucket[p.bucket(p.key(h))], true
}

// bucket returns that of the key x.
func (p *Anchor[N]) bucket(x uint64) int {
	return follow(p.chain, x, reduce(x, len(p.chain)))
}

// follow returns the bucket in use that a key gets to from b, perhaps b itself.
func follow(chain []link, x uint64, b int) int {
	for chain[b].a > 0 {
		a := chain[b].a
		x = mix(x + golden)
		next := reduce(x, int(a))
		for chain[next].a >= a {
			next = int(chain[next].k)
		}
		b = next
	}
	return b
}

// Owners iterates over all nodes: the owner, then the others in the order in
// which a [Rendezvous] would have them, or with Options.Zone as is said there.
// When a node joins or leaves, the first n of a key change by one at most.
//
// Each of the first eight takes time in proportion to the number of nodes,
// those behind are sorted.
func (p *Anchor[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { p.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (p *Anchor[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { p.owners(h, yield) }
}

func (p *Anchor[N]) owners(h uint64, yield func(N) bool) {
	if len(p.nodes) > 0 {
		x := p.key(h)
		p.preferences(x, int(p.number[p.bucket(x)]), yield)
	}
}

// With returns a placement with more nodes, which join in the order given. It
// returns ErrFull if there is no bucket for one of them.
func (p *Anchor[N]) With(nodes ...N) (Placement[N], error) {
	c := p.clone()
	for i, node := range nodes {
		if len(c.removed) == 0 {
			return nil, fmt.Errorf("consistenthash: anchor: %w: %d, and the capacity is %d; see Options.Capacity",
				ErrFull, len(p.nodes)+len(nodes), len(p.chain))
		}
		used := len(p.nodes) + i
		last := len(c.removed) - 1
		b := c.removed[last]
		c.removed = c.removed[:last]
		c.byBucket[b] = node
		c.chain[b].a = 0
		c.l[c.w[used]] = uint16(used)
		c.w[c.l[b]], c.chain[b].k = b, b
	}
	return result(c, c.finish())
}

// Without returns a placement with some nodes less, which leave in the order
// given.
func (p *Anchor[N]) Without(nodes ...N) (Placement[N], error) {
	if _, err := p.without("anchor", nodes); err != nil {
		return nil, err
	}
	c := p.clone()
	for i, node := range nodes {
		used := len(p.nodes) - i - 1
		b := c.w[slices.IndexFunc(c.w[:used+1], func(b uint16) bool { return c.byBucket[b] == node })]
		c.removed = append(c.removed, b)
		c.byBucket[b] = *new(N)
		last := c.w[used]
		c.chain[b].a = uint16(used)
		c.w[c.l[b]], c.chain[b].k = last, last
		c.l[last] = c.l[b]
	}
	return result(c, c.finish())
}

func (p *Anchor[N]) clone() *Anchor[N] {
	return &Anchor[N]{
		members:  members[N]{opts: p.opts},
		byBucket: slices.Clone(p.byBucket),
		chain:    slices.Clone(p.chain),
		w:        slices.Clone(p.w),
		l:        slices.Clone(p.l),
		removed:  slices.Clone(p.removed),
	}
}
