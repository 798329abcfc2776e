package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// fan is how many children a node of a Tree has, and fanBits its logarithm.
const (
	fan     = 16
	fanBits = 4
)

// A Tree is a Merkle tree over the keys that two replicas both own, by which
// they find those that differ without sending what they have. Keys are spread
// over the leaves by their hash.
//
//	level 0                    sum of all                   a key adds the hash of itself and the
//	level 1        16 sums, by the first 4 bits of the      digest of its object to one node of
//	level 2        hash of the key, 256 by the first 8 …    each level
//
// Sums and not hashes of hashes make a change of one key a change of one number
// on each level, whatever else is there. Whoever can choose keys and values can
// make trees equal that are not: it is not meant to convince an adversary.
//
// Make one with NewTree for each other node. It has to hear of every change,
// with what was there before: hold the lock under which the object is replaced
// while calling Update, or two changes of a key may be taken for others.
//
// A Tree is safe for concurrent use by multiple goroutines; a comparison during
// changes may find keys that are equal again, or find them the next time only.
type Tree struct {
	levels [][]atomic.Uint64
}

// NewTree returns a tree of 16^depth leaves, for depth from 1 to 6. It panics
// for others. 4, which takes half a megabyte, suits up to some million keys.
func NewTree(depth int) *Tree {
	if depth < 1 || depth > 6 {
		panic(fmt.Sprintf("replica: tree of depth %d", depth))
	}
	t := &Tree{levels: make([][]atomic.Uint64, depth+1)}
	for i := range t.levels {
		t.levels[i] = make([]atomic.Uint64, 1<<(fanBits*i))
	}
	return t
}

// Depth returns the number of levels below the root.
func (t *Tree) Depth() int { return len(t.levels) - 1 }

// Digest returns the sum of all keys: replicas whose trees have the same depth
// and digest have the same versions, but for a chance of 2^-64.
func (t *Tree) Digest() uint64 { return t.levels[0][0].Load() }

// Leaf returns the leaf of a key, which is the same in all trees of the depth:
// the first bits of its XXH64, which is consistenthash.Hash. So a store in the
// order of hashes has the keys of a leaf side by side.
func (t *Tree) Leaf(key []byte) uint32 { return t.leaf(xxhash.Sum64(key)) }

func (t *Tree) leaf(hash uint64) uint32 { return uint32(hash >> (64 - fanBits*t.Depth())) }

// Update tells the tree that the object under a key, of which the digest was
// before, has the digest after; 0 stands for no object. It takes time in
// proportion to the depth and allocates nothing.
func (t *Tree) Update(key []byte, before, after uint64) {
	if before == after {
		return
	}
	hash := xxhash.Sum64(key)
	change := share(hash, after) - share(hash, before)
	leaf := t.leaf(hash)
	for i := range t.levels {
		t.levels[i][leaf>>(fanBits*(t.Depth()-i))].Add(change)
	}
}

// share returns what a key adds to the sums.
func share(hash, digest uint64) uint64 {
	if digest == 0 {
		return 0
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], hash)
	binary.LittleEndian.PutUint64(b[8:], digest)
	return xxhash.Sum64(b[:])
}

// A Probe asks for the sums of the children of some nodes of a level.
//
// A Probe that is not changed is safe for concurrent use by multiple
// goroutines.
type Probe struct {
	Level int
	Nodes []uint32 // ascending
}

// Sums answer a Probe: 16 for each of its nodes, in order.
//
// Sums that are not changed are safe for concurrent use by multiple goroutines.
type Sums []uint64

// probeNodes is how many nodes a Probe asks for at most, so that Sums take half
// a megabyte.
const probeNodes = 4096

// Answer returns the sums that a probe asks for, or an error wrapping ErrRules
// if the tree has no such nodes or it asks for more than 4096.
func (t *Tree) Answer(p Probe) (Sums, error) {
	if p.Level < 0 || p.Level >= t.Depth() || len(p.Nodes) > probeNodes {
		return nil, fmt.Errorf("%w: probe of %d nodes of level %d, in a tree of depth %d", ErrRules, len(p.Nodes), p.Level, t.Depth())
	}
	sums := make(Sums, 0, fan*len(p.Nodes))
	for _, node := range p.Nodes {
		if int(node) >= len(t.levels[p.Level]) {
			return nil, fmt.Errorf("%w: probe of node %d of level %d", ErrRules, node, p.Level)
		}
		for i := range uint32(fan) {
			sums = append(sums, t.levels[p.Level+1][node*fan+i].Load())
		}
	}
	return sums, nil
}

// A Comparison finds the leaves in which a tree differs from that of another
// replica, as a state machine:
//
//	c := tree.Compare()
//	for p, more := c.Next(); more; p, more = c.Next() {
//	        sums := the other's tree.Answer(p)
//	        err := c.Take(sums)
//	}
//	c.Leaves()
//
// If few keys differ, there are as many exchanges as the tree is deep; if many
// do, one more for each 4096 nodes that differ.
//
// A Comparison is not safe for concurrent use.
type Comparison struct {
	tree   *Tree
	probe  Probe      // that waits for its answer
	differ [][]uint32 // nodes of each level that differ and are to be probed
	leaves []uint32
}

// Compare returns a comparison that has done nothing yet.
func (t *Tree) Compare() *Comparison {
	c := &Comparison{tree: t, differ: make([][]uint32, t.Depth())}
	c.differ[0] = []uint32{0}
	return c
}

// Next returns the next probe to be sent; more is false if there is none. Until
// it is answered, it is the same.
func (c *Comparison) Next() (p Probe, more bool) {
	if c.probe.Nodes != nil {
		return c.probe, true
	}
	for level, nodes := range c.differ { // the highest first: it collects those of the next
		if len(nodes) > 0 {
			n := min(len(nodes), probeNodes)
			c.probe = Probe{level, nodes[:n:n]}
			c.differ[level] = nodes[n:]
			return c.probe, true
		}
	}
	return Probe{}, false
}

// Take takes the answer to the last probe. The error wraps ErrRules if it is
// none.
func (c *Comparison) Take(sums Sums) error {
	if c.probe.Nodes == nil || len(sums) != fan*len(c.probe.Nodes) {
		return fmt.Errorf("%w: %d sums for %d nodes", ErrRules, len(sums), len(c.probe.Nodes))
	}
	own, err := c.tree.Answer(c.probe)
	if err != nil {
		return err
	}
	below := c.probe.Level + 1
	for i, sum := range sums {
		if sum == own[i] {
			continue
		}
		child := c.probe.Nodes[i/fan]*fan + uint32(i%fan)
		if below == c.tree.Depth() {
			c.leaves = append(c.leaves, child)
		} else {
			c.differ[below] = append(c.differ[below], child)
		}
	}
	c.probe = Probe{}
	return nil
}

// Leaves returns the leaves that differ, ascending, once there are no more
// probes.
func (c *Comparison) Leaves() []uint32 {
	slices.Sort(c.leaves)
	return c.leaves
}

// An Entry is a key and the digest of its object.
//
// An Entry that is not changed is safe for concurrent use by multiple
// goroutines.
type Entry struct {
	Key    []byte
	Digest uint64
}

// In returns those of the entries that are in one of some leaves, which are
// ascending.
func (t *Tree) In(leaves []uint32, entries iter.Seq2[Entry, error]) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range entries {
			if err == nil {
				if _, found := slices.BinarySearch(leaves, t.Leaf(e.Key)); !found {
					continue
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// A Difference is a key of which two replicas have different objects; a digest
// of 0 says that there is none.
//
// A Difference that is not changed is safe for concurrent use by multiple
// goroutines.
type Difference struct {
	Key          []byte
	Mine, Theirs uint64
}

// Differences goes through the entries of two replicas, both ascending by key,
// and returns those that differ. The first error of either ends it. The key is
// good until the next step, as those of the entries are.
func Differences(mine, theirs iter.Seq2[Entry, error]) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		next, stop := iter.Pull2(theirs)
		defer stop()
		their, err, more := next()
		for my, myErr := range mine {
			if myErr != nil {
				yield(Difference{}, myErr)
				return
			}
			for ; more && err == nil && bytes.Compare(their.Key, my.Key) < 0; their, err, more = next() {
				if !yield(Difference{Key: their.Key, Theirs: their.Digest}, nil) {
					return
				}
			}
			if err != nil {
				break
			}
			d := Difference{Key: my.Key, Mine: my.Digest}
			if more && bytes.Equal(their.Key, my.Key) {
				d.Theirs = their.Digest
				their, err, more = next()
			}
			if d.Mine != d.Theirs && !yield(d, nil) {
				return
			}
		}
		for ; more && err == nil; their, err, more = next() {
			if !yield(Difference{Key: their.Key, Theirs: their.Digest}, nil) {
				return
			}
		}
		if err != nil {
			yield(Difference{}, err)
		}
	}
}
