package consistenthash

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A twin finds owners by looking at everything, from the definition of its
// family.
type twin interface {
	owner(h uint64) string
	change(p Placement[string]) // p is what With or Without made
}

// ringTwin looks at all points for the one behind the key.
type ringTwin struct{ r *Ring[string] }

func (w *ringTwin) change(p Placement[string]) { w.r = p.(*Ring[string]) }

func (w *ringTwin) order(h uint64) []string {
	type arrival struct {
		distance uint32
		name     string
	}
	at := uint32(w.r.key(h) >> 32)
	points := w.r.opts.Points
	if points == 0 {
		points = 100
	}
	var arrivals []arrival
	for i, name := range w.r.names {
		hash := mix(Hash(name) ^ mix(w.r.opts.Seed))
		best := uint32(math.MaxUint32)
		for k := range max(1, int(math.Round(w.r.weight(i)*float64(points)))) {
			best = min(best, uint32(mix(hash+uint64(k)*golden)>>32)-at)
		}
		arrivals = append(arrivals, arrival{best, name})
	}
	slices.SortFunc(arrivals, func(a, b arrival) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, a := range arrivals {
		names = append(names, a.name)
	}
	return names
}

func (w *ringTwin) owner(h uint64) string { return w.order(h)[0] }

// check verifies what is said of the fields of a Ring.
func (r *Ring[N]) check() error {
	if len(r.buckets) != 2*len(r.points) || !slices.IsSorted(r.points) {
		return fmt.Errorf("%d buckets of %d points, sorted: %v", len(r.buckets), len(r.points), slices.IsSorted(r.points))
	}
	n := uint64(len(r.buckets))
	at := 0
	for b, bucket := range r.buckets {
		from := at
		for at < len(r.points) && r.points[at]>>32*n>>32 == uint64(b) {
			at++
		}
		after := uint16(r.points[at%len(r.points)])
		if at-from > 1 {
			if uint16(bucket>>16) != crowded || int(bucket>>32) != from {
				return fmt.Errorf("bucket %d with points %d to %d is %#x", b, from, at, bucket)
			}
			continue
		}
		if uint16(bucket>>16) != after {
			return fmt.Errorf("bucket %d has %d behind it, want %d", b, uint16(bucket>>16), after)
		}
		if at == from && uint16(bucket) != after {
			return fmt.Errorf("bucket %d without a point has two owners", b)
		}
		if at > from && (uint16(bucket) != uint16(r.points[from]) || bucket>>32 != r.points[from]>>32*n&math.MaxUint32) {
			return fmt.Errorf("bucket %d is %#x, its point %#x", b, bucket, r.points[from])
		}
	}
	if at != len(r.points) {
		return fmt.Errorf("%d of %d points are in buckets", at, len(r.points))
	}
	return nil
}

// rendezvousTwin computes logarithms by package math.
type rendezvousTwin struct{ r *Rendezvous[string] }

func (w *rendezvousTwin) change(p Placement[string]) { w.r = p.(*Rendezvous[string]) }

func (w *rendezvousTwin) score(h uint64, name string, weight float64) float64 {
	factor := mix(mix(Hash(name)^mix(w.r.opts.Seed))+golden) | 1
	return -math.Log1p(-(float64(w.r.key(h)*factor>>12)+.5)/(1<<52)) / weight
}

func (w *rendezvousTwin) owner(h uint64) string {
	best, owner := math.Inf(1), ""
	for name, weight := range w.r.Nodes() {
		if s := w.score(h, name, weight); s < best {
			best, owner = s, name
		}
	}
	return owner
}

// anchorTwin is the algorithm as the paper explains it: a removed bucket
// remembers which were in use right after.
type anchorTwin struct {
	p       *Anchor[string]
	inUse   []int
	history [][]int       // what was in use before each removal that still counts
	removed []int         // what was removed then
	after   map[int][]int // what was in use right after
	names   map[int]string
}

func newAnchorTwin(p *Anchor[string], nodes []string, capacity int) *anchorTwin {
	w := &anchorTwin{p: p, after: map[int][]int{}, names: map[int]string{}}
	for b := range capacity {
		w.inUse = append(w.inUse, b)
	}
	for b := capacity - 1; b >= len(nodes); b-- {
		w.remove(b)
	}
	for b, name := range nodes {
		w.names[b] = name
	}
	return w
}

func (w *anchorTwin) remove(b int) {
	w.history = append(w.history, w.inUse)
	last := len(w.inUse) - 1
	left := slices.Clone(w.inUse)
	left[slices.Index(left, b)] = left[last]
	w.inUse = left[:last]
	w.after[b] = w.inUse
	w.removed = append(w.removed, b)
	delete(w.names, b)
}

func (w *anchorTwin) add(name string) {
	last := len(w.removed) - 1
	b := w.removed[last]
	w.inUse = w.history[last]
	w.removed, w.history = w.removed[:last], w.history[:last]
	delete(w.after, b)
	w.names[b] = name
}

func (w *anchorTwin) change(p Placement[string]) {
	w.p = p.(*Anchor[string])
	var gone []int
	for b, name := range w.names {
		if !slices.Contains(w.p.nodes, name) {
			gone = append(gone, b)
		}
	}
	for _, b := range gone {
		w.remove(b)
	}
	for _, name := range w.p.nodes {
		known := false
		for _, n := range w.names {
			known = known || n == name
		}
		if !known {
			w.add(name)
		}
	}
}

func (w *anchorTwin) owner(h uint64) string {
	x := w.p.key(h)
	b := reduce(x, len(w.p.chain))
	for w.names[b] == "" {
		x = mix(x + golden)
		b = w.after[b][reduce(x, len(w.after[b]))]
	}
	return w.names[b]
}

// check verifies what is said of the fields of an Anchor.
func (p *Anchor[N]) check() error {
	used := len(p.nodes)
	if used+len(p.removed) != len(p.chain) {
		return fmt.Errorf("%d nodes and %d removed of %d buckets", used, len(p.removed), len(p.chain))
	}
	for i, b := range p.w[:used] {
		if int(p.l[b]) != i || p.chain[b].a != 0 || p.chain[b].k != b {
			return fmt.Errorf("bucket %d at place %d in use: place %d, link %v", b, i, p.l[b], p.chain[b])
		}
		if p.nodes[p.number[b]] != p.byBucket[b] {
			return fmt.Errorf("bucket %d has the number %d", b, p.number[b])
		}
	}
	for i, b := range p.removed {
		if left := len(p.chain) - i - 1; int(p.chain[b].a) != left {
			return fmt.Errorf("bucket %d was removed when %d were left, and says %d", b, left, p.chain[b].a)
		}
	}
	return nil
}

// maglevTwin fills the table as the paper does, with all permutations at hand.
type maglevTwin struct {
	g     *Maglev[string]
	table []string
}

func (w *maglevTwin) change(p Placement[string]) {
	w.g = p.(*Maglev[string])
	n, size := len(w.g.nodes), len(w.g.table)
	w.table = make([]string, size)
	likes := make([][]int, n)
	for i, name := range w.g.names {
		hash := mix(Hash(name) ^ mix(w.g.opts.Seed))
		offset, skip := reduce(mix(hash+golden), size), 1
		if size > 2 {
			skip += reduce(mix(hash-golden), size-1)
		}
		for j := range size {
			likes[i] = append(likes[i], (offset+j*skip)%size)
		}
	}
	turns := make([]float64, n)
	if n == 0 {
		return
	}
	for range size {
		next := 0
		for i := range n {
			if turns[i]/w.g.weight(i) < turns[next]/w.g.weight(next) {
				next = i
			}
		}
		turns[next]++
		for w.table[likes[next][0]] != "" {
			likes[next] = likes[next][1:]
		}
		w.table[likes[next][0]] = w.g.names[next]
	}
}

func (w *maglevTwin) owner(h uint64) string { return w.table[reduce(w.g.key(h), len(w.table))] }

// twinOf returns the twin of a placement, which had these nodes when it was
// made, and nil if it has none here.
func twinOf(p Placement[string], nodes []string) twin {
	var w twin
	switch p := p.(type) {
	case *Ring[string]:
		w = new(ringTwin)
	case *Rendezvous[string]:
		w = new(rendezvousTwin)
	case *Maglev[string]:
		w = new(maglevTwin)
	case *Anchor[string]:
		return newAnchorTwin(p, nodes, len(p.chain))
	default:
		return nil
	}
	w.change(p)
	return w
}

// checkPlacement holds a placement against its twin and its invariants.
func checkPlacement(p Placement[string], w twin, hashes []uint64) error {
	switch p := p.(type) {
	case *Ring[string]:
		if err := p.check(); err != nil {
			return err
		}
	case *Anchor[string]:
		if err := p.check(); err != nil {
			return err
		}
	}
	for _, h := range hashes {
		got, ok := p.OwnerHash(h)
		if ok != (p.Len() > 0) {
			return fmt.Errorf("%d nodes: OwnerHash(%#x) = %q, %v", p.Len(), h, got, ok)
		}
		owners := slices.Collect(p.OwnersHash(h))
		if len(owners) != p.Len() {
			return fmt.Errorf("%d nodes: OwnersHash(%#x) = %v", p.Len(), h, owners)
		}
		if !ok {
			continue
		}
		if owners[0] != got {
			return fmt.Errorf("OwnerHash(%#x) = %q, OwnersHash = %v", h, got, owners)
		}
		if w != nil && w.owner(h) != got {
			return fmt.Errorf("OwnerHash(%#x) = %q, want %q", h, got, w.owner(h))
		}
		if r, ok := w.(*ringTwin); ok && !slices.Equal(owners, r.order(h)) {
			return fmt.Errorf("OwnersHash(%#x) = %q, want %q", h, owners, r.order(h))
		}
	}
	return nil
}

// FuzzPlacement makes a placement and lets nodes join and leave: the first
// bytes choose the family and its options, each other is a change.
func FuzzPlacement(f *testing.F) {
	for family := range families {
		f.Add(uint8(family), uint8(3), uint8(0), []byte{1, 2, 3, 200, 201, 4, 202, 250, 0, 1, 2})
		f.Add(uint8(family), uint8(0), uint8(7), []byte{7, 77, 177, 207, 17, 27, 37, 250, 240, 230})
		f.Add(uint8(family), uint8(9), uint8(13), []byte("join and leave and join again"))
	}
	f.Fuzz(func(t *testing.T, which, n, how uint8, changes []byte) {
		fam := families[int(which)%len(families)]
		nodes := names(int(n) % 12)
		opts := &Options[string]{
			Seed: uint64(how), Points: 1 + int(how)%50,
			TableSize: []int{61, 101, 251}[how%3], Capacity: 12 + int(how)%20,
		}
		if fam.weighted && how&1 == 1 {
			opts.Weight = func(node string) float64 { return float64(node[len(node)-1]%5) + .5 }
		}
		p := must(fam.make(nodes, opts))
		w := twinOf(p, nodes)
		hashes := make([]uint64, 24)
		for i := range hashes {
			hashes[i] = mix(uint64(how)<<32 + uint64(i))
		}
		hashes = append(hashes, 0, 1, math.MaxUint64, 1<<63)
		if err := checkPlacement(p, w, hashes); err != nil {
			t.Fatal(err)
		}
		for i, op := range changes[:min(len(changes), 30)] {
			before := p
			node, joined := "", false
			if op < 128 && p.Len() < 12 {
				node, joined = fmt.Sprint("new-", op, "-", i), true
				p = must(p.With(node))
			} else if p.Len() > 0 {
				var there []string
				for node := range p.Nodes() {
					there = append(there, node)
				}
				node = there[int(op)%len(there)]
				if !fam.anyLeave {
					node = there[len(there)-1]
				}
				p = must(p.Without(node))
			}
			if w != nil {
				w.change(p)
			}
			if err := checkPlacement(p, w, hashes); err != nil {
				t.Fatalf("after change %d of %s (joined: %v): %v", i, node, joined, err)
			}
			for _, h := range hashes {
				from, had := before.OwnerHash(h)
				to, has := p.OwnerHash(h)
				if fam.stable && had && has && from != to && from != node && to != node {
					t.Fatalf("change %d of %s moved %#x from %s to %s", i, node, h, from, to)
				}
			}
		}
	})
}

// A node that leaves an Anchor and returns first has its keys again.
func TestAnchorReturns(t *testing.T) {
	p := must(NewAnchor(names(20), &Options[string]{Capacity: 30}))
	q := must(must(p.Without("node-3", "node-11")).With("node-11", "node-3"))
	for _, key := range keys(1000) {
		if a, b := owner(p, key), owner(q, key); a != b {
			t.Fatalf("%q was on %s and is on %s", key, a, b)
		}
	}
	require.Equal(t, p.Fingerprint(), q.Fingerprint())
}

// What half of an Anchor's nodes leave is shared out evenly.
func TestAnchorStaysEven(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	hashes := make([]uint64, 200_000)
	for i := range hashes {
		hashes[i] = uint64(i)
	}
	for _, capacity := range []int{100, 1000} {
		var p Placement[string] = must(NewAnchor(names(100), &Options[string]{Capacity: capacity}))
		for range 90 {
			var there []string
			for node := range p.Nodes() {
				there = append(there, node)
			}
			p = must(p.Without(there[r.IntN(len(there))]))
			_, chi := share(p, hashes[:20_000])
			if random := float64(p.Len() - 1); chi > random+6*math.Sqrt(2*random) {
				t.Errorf("%d of %d buckets in use: chi-square is %v", p.Len(), capacity, chi)
			}
		}
	}
}

// The price of Maglev's even table: keys that move between nodes that stay.
func TestMaglevMoves(t *testing.T) {
	for _, n := range []int{10, 100, 1000} {
		p := must(NewMaglev(names(n), nil))
		q := must(p.Without("node-5"))
		large := must(NewMaglev(names(n), &Options[string]{TableSize: 1048583}))
		smaller := must(large.Without("node-5"))
		hashes := 100_000
		moved, movedLarge := 0, 0
		for i := range uint64(hashes) {
			a, _ := p.OwnerHash(i)
			b, _ := q.OwnerHash(i)
			if a != b && a != "node-5" {
				moved++
			}
			a, _ = large.OwnerHash(i)
			b, _ = smaller.OwnerHash(i)
			if a != b && a != "node-5" {
				movedLarge++
			}
		}
		t.Logf("%d nodes: %v of keys moved needlessly, %v with a large table", n, float64(moved)/float64(hashes), float64(movedLarge)/float64(hashes))
		if moved > hashes/100 {
			t.Errorf("%d nodes: %d of %d keys moved between nodes that stay", n, moved, hashes)
		}
		if movedLarge > moved {
			t.Errorf("%d nodes: %d keys moved with a large table, %d with the default", n, movedLarge, moved)
		}
	}
}

// The table is shared out to within one entry, and by weight.
func TestMaglevTable(t *testing.T) {
	g := must(NewMaglev(names(7), &Options[string]{TableSize: 101}))
	counts := map[uint16]int{}
	for _, i := range g.table {
		counts[i]++
	}
	for i, n := range counts {
		if n != 14 && n != 15 {
			t.Errorf("node %d has %d entries of 101", i, n)
		}
	}
	// All but one hardly weigh anything, yet have an entry each; and it does
	// not take for ever.
	g = must(NewMaglev(names(1000), &Options[string]{Weight: func(node string) float64 {
		if node == "node-0" {
			return maxWeight
		}
		return minWeight
	}}))
	light := 0
	for _, i := range g.table {
		if g.names[i] != "node-0" {
			light++
		}
	}
	require.Equal(t, 999, light)
	for _, size := range []int{2, 3} {
		g = must(NewMaglev(names(2), &Options[string]{TableSize: size}))
		require.ElementsMatch(t, []uint16{0, 1}, slices.Compact(slices.Sorted(slices.Values(g.table))))
	}
}

// Positions on a ring that two nodes share belong to the first by name.
func TestRingTies(t *testing.T) {
	r := must(NewRing([]string{"a", "b", "c"}, &Options[string]{Points: 50}))
	for i := range r.hashes {
		r.hashes[i] = 42 // as if all names had the same hash
	}
	r.place([]int{50, 50, 50}, 150)
	require.NoError(t, r.check())
	for _, key := range keys(1000) {
		if got := slices.Collect(r.Owners(key)); !slices.Equal(got, []string{"a", "b", "c"}) || owner(r, key) != "a" {
			t.Fatalf("Owners(%q) = %v, the owner is %s", key, got, owner(r, key))
		}
	}
}

func TestNegLog(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	check := func(g float64) {
		got, want := negLog(g), -math.Log1p(-g)
		if math.Abs(got/want-1) > 1e-14 || got < g {
			t.Errorf("negLog(%v) = %v, want %v", g, got, want)
		}
	}
	for range 100_000 {
		check((float64(r.Uint64()>>(12+r.IntN(50))) + .5) * scale)
	}
	check(.5 * scale)
	check((1<<52 - .5) * scale)
}
