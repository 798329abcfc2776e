package consistenthash

import (
	"iter"

	"github.com/cespare/xxhash/v2"
)

// A Modulo places a key at its hash modulo the number of nodes. It is what
// everybody tries first, and is here to be measured against: nearly all keys
// move when a node joins or leaves. Make one with [NewModulo].
//
// A Modulo is safe for concurrent use by multiple goroutines.
type Modulo[N comparable] struct{ members[N] }

// NewModulo returns a placement on the nodes, whose order matters. OwnerHash
// uses the hash as it is, so that a poor one shows, such as [Hash31]; the seed
// is without effect on owners.
//
// It returns an error if a node or its name is there twice, a weight is not
// 1, or there are more than 65,535 nodes.
func NewModulo[N comparable](nodes []N, opts *Options[N]) (*Modulo[N], error) {
	m, err := newMembers("modulo", nodes, opts, false, false)
	if err != nil {
		return nil, err
	}
	return &Modulo[N]{m}, nil
}

// Owner returns the node that owns key; ok is false if there are no nodes.
func (m *Modulo[N]) Owner(key string) (node N, ok bool) {
	return m.OwnerHash(xxhash.Sum64String(key))
}

// OwnerHash is Owner for a key whose hash is known.
func (m *Modulo[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(m.nodes) == 0 {
		return node, false
	}
	return m.nodes[h%uint64(len(m.nodes))], true
}

// Owners iterates over all nodes: the owner, then those that follow it.
func (m *Modulo[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { m.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (m *Modulo[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { m.owners(h, yield) }
}

func (m *Modulo[N]) owners(h uint64, yield func(N) bool) {
	if len(m.nodes) == 0 {
		return
	}
	n := len(m.nodes)
	owner := int(h % uint64(n))
	for t := m.turns(); t.next(); {
		for i := range n {
			if i = (owner + i) % n; !t.skip(i) && !t.heard(yield(m.nodes[i])) {
				break
			}
		}
	}
}

// With returns a placement with more nodes behind the ones that are there.
func (m *Modulo[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewModulo(m.with(nodes), &m.opts))
}

// Without returns a placement with some nodes less.
func (m *Modulo[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := m.without("modulo", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewModulo(left, &m.opts))
}
