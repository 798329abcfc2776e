package consistenthash

import (
	"iter"

	"github.com/cespare/xxhash/v2"
)

// A Rendezvous lets every node draw a number for the key, and the best one
// owns it: highest random weight. Shares are as even as chance allows, exactly
// in proportion to weights, and a node is nothing but its name; the price is
// that a lookup asks all nodes. Make one with [NewRendezvous].
//
// A Rendezvous is safe for concurrent use by multiple goroutines.
type Rendezvous[N comparable] struct{ members[N] }

// NewRendezvous returns a placement on the nodes, in whatever order they are
// given. The node with the most keys has as many as chance gives one of so
// many: of a million keys, 1.01 times the average with 10 nodes, 1.04 with 100
// and 1.12 with 1000.
//
// It returns an error if a node or its name is there twice, a weight is
// out of range, or there are more than 65,535 nodes.
func NewRendezvous[N comparable](nodes []N, opts *Options[N]) (*Rendezvous[N], error) {
	m, err := newMembers("rendezvous", nodes, opts, true, true)
	if err != nil {
		return nil, err
	}
	return &Rendezvous[N]{m}, nil
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes time in proportion to the number of nodes and allocates nothing.
func (r *Rendezvous[N]) Owner(key string) (node N, ok bool) {
	return r.OwnerHash(xxhash.Sum64String(key))
}

// OwnerHash is Owner for a key whose hash is known.
func (r *Rendezvous[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(r.nodes) == 0 {
		return node, false
	}
	return r.nodes[r.best(r.key(h))], true
}

// Owners iterates over all nodes from the best number drawn for the key to the
// worst, or with Options.Zone as is said there. When a node joins or leaves,
// the others keep their order.
//
// Each of the first eight takes as long as Owner, those behind are sorted.
func (r *Rendezvous[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { r.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (r *Rendezvous[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { r.owners(h, yield) }
}

func (r *Rendezvous[N]) owners(h uint64, yield func(N) bool) {
	for t := r.turns(); t.next(); {
		r.ranked(r.key(h), func(i int) bool { return t.skip(i) || t.heard(yield(r.nodes[i])) })
	}
}

// With returns a placement with more nodes, under the same options.
func (r *Rendezvous[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewRendezvous(r.with(nodes), &r.opts))
}

// Without returns a placement with some nodes less.
func (r *Rendezvous[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := r.without("rendezvous", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewRendezvous(left, &r.opts))
}
