package consistenthash

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A Ring is a circle of positions on which every node has virtual nodes, its
// points, and owns what lies between each of them and the point before. A node
// that joins takes a little from many others, and one that leaves gives its
// own to many. Make one with [NewRing].
//
// A Ring is safe for concurrent use by multiple goroutines.
type Ring[N comparable] struct {
	members[N]

	// Positions are the numbers below 2^32. The circle is cut into buckets of
	// equal length, so that a position times the number of buckets has the
	// bucket in its upper 32 bits, and in the lower ones how far into the
	// bucket it is.
	//
	//	points          .   1       2 .         . 3  4  5  .         .
	//	buckets  |  0   |   1   |   2    |   3  |    4     |    5   |
	//
	// A bucket is packed into a number. One with a point, or none, says how
	// far into it the point is and who owns what is before and behind it:
	//
	//	 63            32 31     16 15      0
	//	| into the bucket | behind | before |
	//
	// One with more has crowded as its upper half of the owners, and the
	// number of its first point in place of the distance. Points are sorted,
	// with the position in the upper half and the node in the lower; so of
	// points in one place that of the first node by name counts.
	buckets []uint64
	points  []uint64
}

// crowded marks a bucket with more than one point: no node has that number.
const crowded = 1<<16 - 1

// maxPoints is a limit to the memory that numbers from outside can ask for.
const maxPoints = 1 << 24

const defaultPoints = 100

// NewRing returns a ring of the nodes, in whatever order they are given. A
// node has Options.Points points times its weight, rounded, but at least one.
//
// With the default of 100 points, the node with the most keys has 1.2 to 1.4
// times as many as the average, for 10 to 1000 nodes; with 1000 points, 1.05
// to 1.15 times. The standard deviation of shares is one in the square root of
// points.
//
// It returns an error if a node or its name is there twice, a weight is
// out of range, or there are more than 65,535 nodes or 16 million
// points.
func NewRing[N comparable](nodes []N, opts *Options[N]) (*Ring[N], error) {
	const family = "ring"
	each := defaultPoints
	if opts != nil && opts.Points != 0 {
		each = opts.Points
	}
	if each < 0 {
		return nil, fmt.Errorf("consistenthash: ring: Options.Points is %d", each)
	}
	m, err := newMembers(family, nodes, opts, true, true, uint64(each))
	if err != nil {
		return nil, err
	}
	counts := make([]int, len(m.nodes))
	total := 0
	for i := range counts {
		n := max(1, math.Round(m.weight(i)*float64(each)))
		if n > maxPoints || total+int(n) > maxPoints {
			return nil, m.errorf(family, m.names[i], ErrFull, "more than %d points", maxPoints)
		}
		counts[i] = int(n)
		total += counts[i]
	}
	r := &Ring[N]{members: m}
	r.place(counts, total)
	return r, nil
}

// place computes points and buckets, by sorting points into buckets first.
func (r *Ring[N]) place(counts []int, total int) {
	if total == 0 {
		return
	}
	n := 2 * uint64(total) // buckets
	starts := make([]uint32, n+1)
	drawn := make([]uint64, 0, total)
	for i, count := range counts {
		for k := range uint64(count) {
			position := mix(r.hashes[i]+k*golden) >> 32
			drawn = append(drawn, position<<32|uint64(i))
			starts[position*n>>32+1]++
		}
	}
	for i := range n {
		starts[i+1] += starts[i]
	}
	r.points = make([]uint64, total)
	next := slices.Clone(starts[:n])
	for _, point := range drawn {
		bucket := point >> 32 * n >> 32
		r.points[next[bucket]] = point
		next[bucket]++
	}
	for i := range n {
		if from, to := starts[i], starts[i+1]; to-from > 1 {
			slices.Sort(r.points[from:to])
		}
	}
	r.buckets = make([]uint64, n)
	behind := r.points[0] & 0xffff // the owner of what is behind the bucket's last point
	for i := int(n) - 1; i >= 0; i-- {
		from, to := starts[i], starts[i+1]
		switch to - from {
		case 0:
			r.buckets[i] = behind<<16 | behind
			continue
		case 1:
			into := r.points[from] >> 32 * n & (1<<32 - 1)
			r.buckets[i] = into<<32 | behind<<16 | r.points[from]&0xffff
		default:
			r.buckets[i] = uint64(from)<<32 | crowded<<16
		}
		behind = r.points[from] & 0xffff
	}
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes constant time and allocates nothing.
func (r *Ring[N]) Owner(key string) (node N, ok bool) {
	if len(r.buckets) == 0 {
		return node, false
	}
	position := r.key(xxhash.Sum64String(key)) >> 32
	place := position * uint64(len(r.buckets)) // as owner does, without a call
	bucket := r.buckets[place>>32]
	if uint16(bucket>>16) == crowded {
		return r.nodes[r.owner(position)], true
	}
	behind := (bucket>>32 - place&(1<<32-1)) >> 63
	return r.nodes[uint16(bucket>>(behind*16&63))], true
}

// OwnerHash is Owner for a key whose hash is known.
func (r *Ring[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(r.buckets) == 0 {
		return node, false
	}
	return r.nodes[r.owner(r.key(h)>>32)], true
}

// owner returns the number of the node that owns a position.
func (r *Ring[N]) owner(position uint64) uint16 {
	place := position * uint64(len(r.buckets))
	bucket := r.buckets[place>>32]
	if uint16(bucket>>16) == crowded {
		return uint16(r.points[r.first(position)])
	}
	// A branch would be mispredicted more often than not: this is 1 if the
	// key is further into the bucket than its point, else 0.
	behind := (bucket>>32 - place&(1<<32-1)) >> 63
	return uint16(bucket >> (behind * 16 & 63))
}

// first returns the number of the first point at or behind position.
func (r *Ring[N]) first(position uint64) int {
	place := position * uint64(len(r.buckets))
	bucket := r.buckets[place>>32]
	if uint16(bucket>>16) != crowded {
		i, _ := slices.BinarySearch(r.points, position<<32)
		return i % len(r.points)
	}
	i := int(bucket >> 32)
	for i < len(r.points) && r.points[i]>>32 < position {
		i++
	}
	return i % len(r.points)
}

// Owners iterates over all nodes in the order in which they are met on the way
// around the ring, or with Options.Zone as is said there. When a node joins or
// leaves, the others keep their order.
func (r *Ring[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { r.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (r *Ring[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { r.owners(h, yield) }
}

func (r *Ring[N]) owners(h uint64, yield func(N) bool) {
	for t := r.turns(); t.next(); {
		r.walk(h, func(i int) bool { return t.skip(i) || t.heard(yield(r.nodes[i])) })
	}
}

// walk yields the nodes in the order of their first points behind the key.
func (r *Ring[N]) walk(h uint64, yield func(i int) bool) {
	if len(r.points) == 0 {
		return
	}
	var few [16]uint64 // a bit for each node, enough for most rings
	seen := few[:]
	if len(r.nodes) > 64*len(few) {
		seen = make([]uint64, (len(r.nodes)+63)/64)
	}
	at := r.first(r.key(h) >> 32)
	for left := len(r.nodes); left > 0; at++ {
		if at == len(r.points) {
			at = 0
		}
		i := r.points[at] & 0xffff
		if seen[i/64]>>(i%64)&1 == 1 {
			continue
		}
		seen[i/64] |= 1 << (i % 64)
		left--
		if !yield(int(i)) {
			return
		}
	}
}

// Points iterates over the points in the order of their positions on a circle of
// 2^32, with their nodes. A node owns the positions from behind the point before
// its own up to its own; those behind the last point belong to the first. Of
// points in one place the first counts.
func (r *Ring[N]) Points() iter.Seq2[uint32, N] {
	return func(yield func(uint32, N) bool) {
		for _, p := range r.points {
			if !yield(uint32(p>>32), r.nodes[p&0xffff]) {
				return
			}
		}
	}
}

// Position returns where key is on the circle of [Ring.Points].
func (r *Ring[N]) Position(key string) uint32 { return uint32(r.key(Hash(key)) >> 32) }

// With returns a ring with more nodes, under the same options.
func (r *Ring[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewRing(r.with(nodes), &r.opts))
}

// Without returns a ring with some nodes less.
func (r *Ring[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := r.without("ring", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewRing(left, &r.opts))
}

// result keeps a nil pointer from becoming a placement.
func result[N comparable, P Placement[N]](p P, err error) (Placement[N], error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
