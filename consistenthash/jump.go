package consistenthash

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// JumpHash returns the bucket, below n, of a key with the hash h: the jump
// consistent hash of Lamping and Veach, which other languages have too. When n
// grows by one, the keys that move all move to the new bucket, and they are as
// many as it needs. It takes time in proportion to the logarithm of n. It
// panics if n is not from 1 to 2^31-1.
func JumpHash(h uint64, n int) int {
	if n <= 0 || n > 1<<31-1 {
		panic(fmt.Sprintf("consistenthash: JumpHash of %d buckets", n))
	}
	bucket, next := int64(-1), int64(0)
	for next < int64(n) {
		bucket = next
		h = h*2862933555777941757 + 1
		next = int64(float64(bucket+1) * (float64(1<<31) / float64(int64(h>>33+1))))
	}
	return int(bucket)
}

// JumpBackHash does what [JumpHash] does, with other results, in constant time
// and with integers only: the method of Ertl. It panics if n is not positive.
//
// It stands for a row of coins: bucket b is active with the chance 1/(b+1),
// and the key belongs to the last active one below n, which makes every bucket
// as likely. Buckets are taken together in intervals from q to 2q-1, where q is
// a power of two. What is active in one can be had from numbers drawn below 2q:
// if the first is below q, none is, which has a chance of one half; otherwise
// it is the last active bucket, and the one before is the next number drawn
// that is less, as long as those are in the interval.
//
//	n = 11   q = 8   drawn 13, 9, 2   the last below 11 is 9
//	n = 11   q = 8   drawn 13, 5      none: look into the interval from 4 on
//
// So of the interval with n the first number below n counts, and of those
// before it the first number drawn. Whether that is below q is a bit of hash,
// which leads to the last interval that has an active bucket at once.
func JumpBackHash(h uint64, n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("consistenthash: JumpBackHash of %d buckets", n))
	}
	return jumpBack(h, uint64(n))
}

func jumpBack(h, n uint64) int {
	if n == 1 {
		return 0
	}
	// The interval with n-1, and the number drawn there. Four are cut from one
	// random number, if they fit, so that there is no branch to be mispredicted.
	x := fold(h ^ jumpSalt)
	width := bits.Len64(n - 1)
	q := uint64(1) << ((width - 1) & 63)
	below := 2*q - 1
	random := draw(x, q)
	v := x&q | random&(q-1)
	if width <= 16 {
		if v >= n {
			v = random >> 16 & below
		}
		if v >= n {
			v = random >> 32 & below
		}
		if v >= n {
			v = random >> 48 & below
		}
	}
	for v >= n {
		random = mix(random + golden)
		v = random & below
	}
	// The last active bucket of the intervals before; bucket 0 always is.
	low := uint64(1) << (bits.Len64(x&(q-1)) & 63) >> 1
	bucket := low | draw(x, low)&(low-min(low, 1))
	if v >= q {
		bucket = v
	}
	return int(bucket)
}

// jumpSalt keeps small hashes from being small factors.
const jumpSalt = 0xbf58476d1ce4e5b9

// draw returns a random number for the interval from q on: a product like that
// of fold, with another factor for each.
func draw(x, q uint64) uint64 {
	high, low := bits.Mul64(x, q*golden+jumpSalt)
	return high ^ low
}

// A Jump numbers its nodes in the order in which they are given, and places
// keys by [JumpHash]. Shares are as even as chance allows; nodes join and leave
// at the end only. It is for fixed shards, and for agreeing with other
// programs; [JumpBack] is faster. Make one with [NewJump].
//
// A Jump is safe for concurrent use by multiple goroutines.
type Jump[N comparable] struct{ numbered[N] }

// A JumpBack numbers its nodes in the order in which they are given, and
// places keys by [JumpBackHash]. Shares are as even as chance allows; nodes
// join and leave at the end only. It is for fixed shards. Make one with
// [NewJumpBack].
//
// A JumpBack is safe for concurrent use by multiple goroutines.
type JumpBack[N comparable] struct{ numbered[N] }

// numbered is what Jump and JumpBack share.
type numbered[N comparable] struct {
	members[N]
	seed uint64 // changes hashes; 0 for the default Options.Seed
}

func newNumbered[N comparable](family string, nodes []N, opts *Options[N]) (numbered[N], error) {
	m, err := newMembers(family, nodes, opts, false, false)
	n := numbered[N]{members: m}
	if m.opts.Seed != 0 {
		n.seed = mix(m.opts.Seed)
	}
	return n, err
}

// NewJump returns a placement on the nodes: the first is that of bucket 0. The
// order matters; With appends, and Without takes the last nodes only, and gives
// ErrOrder for others. Without a seed, OwnerHash(h) is the node numbered
// JumpHash(h, n).
//
// Shares are those of [NewRendezvous]. It returns an error if a node or its
// name is there twice, a weight is not 1, or there are more than 65,535 nodes.
func NewJump[N comparable](nodes []N, opts *Options[N]) (*Jump[N], error) {
	n, err := newNumbered("jump", nodes, opts)
	if err != nil {
		return nil, err
	}
	return &Jump[N]{n}, nil
}

// NewJumpBack returns a placement on the nodes: the first is that of bucket 0.
// The order matters; With appends, and Without takes the last nodes only, and
// gives ErrOrder for others. Without a seed, OwnerHash(h) is the node numbered
// JumpBackHash(h, n).
//
// Shares are those of [NewRendezvous]. It returns an error if a node or its
// name is there twice, a weight is not 1, or there are more than 65,535 nodes.
func NewJumpBack[N comparable](nodes []N, opts *Options[N]) (*JumpBack[N], error) {
	n, err := newNumbered("jumpback", nodes, opts)
	if err != nil {
		return nil, err
	}
	return &JumpBack[N]{n}, nil
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes time in proportion to the logarithm of the number of nodes and
// allocates nothing.
func (j *Jump[N]) Owner(key string) (node N, ok bool) {
	return j.OwnerHash(xxhash.Sum64String(key))
}

// OwnerHash is Owner for a key whose hash is known.
func (j *Jump[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(j.nodes) == 0 {
		return node, false
	}
	return j.nodes[JumpHash(h^j.seed, len(j.nodes))], true
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes constant time and allocates nothing.
func (j *JumpBack[N]) Owner(key string) (node N, ok bool) {
	return j.OwnerHash(xxhash.Sum64String(key))
}

// OwnerHash is Owner for a key whose hash is known.
func (j *JumpBack[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(j.nodes) == 0 {
		return node, false
	}
	return j.nodes[jumpBack(h^j.seed, uint64(len(j.nodes)))], true
}

// Owners iterates over all nodes: the owner, then the others in the order in
// which a [Rendezvous] would have them, or with Options.Zone as is said there.
//
// Each of the first eight takes time in proportion to the number of nodes,
// those behind are sorted.
func (j *Jump[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { j.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (j *Jump[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { j.owners(h, yield) }
}

func (j *Jump[N]) owners(h uint64, yield func(N) bool) {
	if len(j.nodes) > 0 {
		j.preferences(j.key(h), JumpHash(h^j.seed, len(j.nodes)), yield)
	}
}

// Owners iterates over all nodes: the owner, then the others in the order in
// which a [Rendezvous] would have them, or with Options.Zone as is said there.
//
// Each of the first eight takes time in proportion to the number of nodes,
// those behind are sorted.
func (j *JumpBack[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { j.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (j *JumpBack[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { j.owners(h, yield) }
}

func (j *JumpBack[N]) owners(h uint64, yield func(N) bool) {
	if len(j.nodes) > 0 {
		j.preferences(j.key(h), JumpBackHash(h^j.seed, len(j.nodes)), yield)
	}
}

// With returns a placement with more nodes behind the ones that are there.
func (j *Jump[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewJump(j.with(nodes), &j.opts))
}

// With returns a placement with more nodes behind the ones that are there.
func (j *JumpBack[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewJumpBack(j.with(nodes), &j.opts))
}

// Without returns a placement without the last nodes, which must be those
// named, in any order.
func (j *Jump[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := j.shorten("jump", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewJump(left, &j.opts))
}

// Without returns a placement without the last nodes, which must be those
// named, in any order.
func (j *JumpBack[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := j.shorten("jumpback", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewJumpBack(left, &j.opts))
}

// shorten is without for nodes that must be the last.
func (n *numbered[N]) shorten(family string, nodes []N) ([]N, error) {
	left, err := n.without(family, nodes)
	if err != nil {
		return nil, err
	}
	for i, node := range left {
		if n.nodes[i] != node {
			return nil, n.errorf(family, n.names[i], ErrOrder, "%d are behind it", len(n.nodes)-1-i)
		}
	}
	return left, nil
}
