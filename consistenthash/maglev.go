package consistenthash

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A Maglev is a table in which every node has as many entries as any other, or
// as its weight says, to within one. Lookups read one entry and shares are the
// most even of all, but when a node joins or leaves, a few keys move between
// the others. Make one with [NewMaglev].
//
// A Maglev is safe for concurrent use by multiple goroutines.
type Maglev[N comparable] struct {
	members[N]

	// Every node has a preference among the entries: a permutation that
	// begins at its offset and goes on in steps of its skip, modulo the size,
	// which is prime. Nodes take turns, and each takes the entry that it
	// likes best of those that are free.
	//
	//	entry     0  1  2  3  4  5  6
	//	a likes   2. 6. 3. 0. 4. 1. 5.     by rank
	//	table     b  a  b  a  b  a  b
	table []uint16
}

// tableSizes are primes, of which the first is that of the paper.
var tableSizes = []int{65537, 131101, 262147, 524309, 1048583, 2097169, 4194319, 8388617}

// maxTable is a limit to the memory that numbers from outside can ask for.
const maxTable = 1 << 24

// NewMaglev returns a placement on the nodes, in whatever order they are
// given. Entries are shared out to within one, so that with equal weights and
// the default size, of a million keys the node with the most has 1.01 times
// the average with 10 nodes, 1.04 with 100 and 1.13 with 1000.
//
// When one of n nodes joins or leaves, the n-th part of keys has to move. Of
// the others, up to one in a hundred moves as well with the default size, and
// less with a larger one.
//
// It returns an error if a node or its name is there twice, a weight is
// out of range, there are more than 65,535 nodes, or Options.TableSize
// is not a prime from the number of nodes to 16 million.
func NewMaglev[N comparable](nodes []N, opts *Options[N]) (*Maglev[N], error) {
	size := 0
	if opts != nil {
		size = opts.TableSize
	}
	if size == 0 {
		for _, size = range tableSizes {
			if size >= 100*len(nodes) {
				break
			}
		}
	} else if size < len(nodes) || size > maxTable || !prime(size) {
		return nil, fmt.Errorf("consistenthash: maglev: Options.TableSize of %d nodes is %d, not a prime from there to %d", len(nodes), size, maxTable)
	}
	m, err := newMembers("maglev", nodes, opts, true, true, uint64(size))
	if err != nil {
		return nil, err
	}
	g := &Maglev[N]{members: m}
	if len(m.nodes) > 0 {
		g.fill(size)
	}
	return g, nil
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// fill makes the table, in time in proportion to its size, and to the
// logarithm of the number of nodes where weights differ.
func (g *Maglev[N]) fill(size int) {
	const free = maxNodes
	g.table = make([]uint16, size)
	for i := range g.table {
		g.table[i] = free
	}
	type preference struct{ next, skip int }
	preferences := make([]preference, len(g.nodes))
	for i, hash := range g.hashes {
		preferences[i].next = reduce(mix(hash+golden), size)
		preferences[i].skip = 1
		if size > 2 {
			preferences[i].skip += reduce(mix(hash-golden), size-1)
		}
	}
	take := func(i int) {
		p := &preferences[i]
		for {
			at := p.next
			if p.next += p.skip; p.next >= size {
				p.next -= size
			}
			if g.table[at] == free {
				g.table[at] = uint16(i)
				return
			}
		}
	}
	if g.inverse == nil {
		for n := range size {
			take(n % len(g.nodes))
		}
		return
	}
	q := newQueue(g.inverse)
	for range size {
		take(q.next())
	}
}

// reduce returns a number below n, of which each is as likely.
func reduce(x uint64, n int) int {
	high, _ := bits.Mul64(x, uint64(n))
	return int(high)
}

// A queue says whose turn it is where some have turns more often: the k-th
// turn of a node of weight w comes at the time k/w, and all begin at 0. It is a
// heap by time, then by number.
type queue struct {
	inverse []float64
	turns   []float64 // had by each node
	heap    []int
}

func newQueue(inverse []float64) *queue {
	q := &queue{inverse: inverse, turns: make([]float64, len(inverse)), heap: make([]int, len(inverse))}
	for i := range q.heap {
		q.heap[i] = i // all are due at once, so this is a heap
	}
	return q
}

func (q *queue) less(a, b int) bool {
	at, bt := float64(q.turns[a]*q.inverse[a]), float64(q.turns[b]*q.inverse[b])
	return at < bt || at == bt && a < b
}

func (q *queue) next() int {
	first := q.heap[0]
	q.turns[first]++
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(q.heap) {
			break
		}
		if child+1 < len(q.heap) && q.less(q.heap[child+1], q.heap[child]) {
			child++
		}
		if !q.less(q.heap[child], q.heap[i]) {
			break
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
	return first
}

// Owner returns the node that owns key; ok is false if there are no nodes. It
// takes constant time and allocates nothing.
func (g *Maglev[N]) Owner(key string) (node N, ok bool) {
	if len(g.table) == 0 {
		return node, false
	}
	return g.nodes[g.table[reduce(g.key(xxhash.Sum64String(key)), len(g.table))]], true
}

// OwnerHash is Owner for a key whose hash is known.
func (g *Maglev[N]) OwnerHash(h uint64) (node N, ok bool) {
	if len(g.table) == 0 {
		return node, false
	}
	return g.nodes[g.table[reduce(g.key(h), len(g.table))]], true
}

// Owners iterates over all nodes: the owner, then the others in the order in
// which a [Rendezvous] would have them, or with Options.Zone as is said there.
//
// Each of the first eight takes time in proportion to the number of nodes,
// those behind are sorted.
func (g *Maglev[N]) Owners(key string) iter.Seq[N] {
	return func(yield func(N) bool) { g.owners(Hash(key), yield) }
}

// OwnersHash is Owners for a key whose hash is known.
func (g *Maglev[N]) OwnersHash(h uint64) iter.Seq[N] {
	return func(yield func(N) bool) { g.owners(h, yield) }
}

func (g *Maglev[N]) owners(h uint64, yield func(N) bool) {
	if len(g.table) == 0 {
		return
	}
	x := g.key(h)
	g.preferences(x, int(g.table[reduce(x, len(g.table))]), yield)
}

// With returns a placement with more nodes, under the same options.
func (g *Maglev[N]) With(nodes ...N) (Placement[N], error) {
	return result(NewMaglev(g.with(nodes), &g.opts))
}

// Without returns a placement with some nodes less.
func (g *Maglev[N]) Without(nodes ...N) (Placement[N], error) {
	left, err := g.without("maglev", nodes)
	if err != nil {
		return nil, err
	}
	return result(NewMaglev(left, &g.opts))
}
