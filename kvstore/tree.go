package kvstore

import (
	"slices"
	"sync/atomic"
)

// fan is the largest number of children of an inner node.
const fan = 64

// A node is an inner node: children in order and the keys between them. It is
// never changed once readers can see it; whoever changes it makes a copy, and
// a copy of every node above. Copies share heads and seps, which are replaced as
// a whole.
//
//	seps        k0    k1    k2        what is under kid i is < seps[i],
//	kids     0     1     2     3      and what is under kid i+1 is not
//
// The bottom nodes have leaves, the others nodes.
type node struct {
	gen    uint64
	prefix int // length of what all seps begin with
	heads  []uint64
	seps   []string
	nodes  []*node
	leaves []*leaf
}

// A tree is the directory of keys: a B+tree whose leaves one writer changes in
// place, and whose inner nodes it copies.
//
// Freezing takes constant time: every leaf made up to now is frozen, and a
// change of one of them copies it first, as if it were an inner node. A batch
// copies every leaf that it changes and publishes the new root at its end, so
// that readers see all of it or nothing.
//
// One goroutine may call the methods that change a tree at a time. Get may be
// called by any number of goroutines meanwhile.
type tree struct {
	root   atomic.Pointer[node]
	top    *node  // root, or what becomes it
	gen    uint64 // of the operation under way
	frozen uint64 // leaves up to this generation are not changed
	batch  bool   // publish at the end only
	count  atomic.Int64
}

func newTree() *tree {
	t := &tree{top: &node{leaves: []*leaf{{gen: 1}}}, gen: 1}
	t.root.Store(t.top)
	return t
}

// route returns the index of the child that key belongs to.
func (n *node) route(key []byte) int {
	if len(n.seps) == 0 {
		return 0
	}
	p := n.seps[0][:n.prefix]
	if len(key) < len(p) || string(key[:len(p)]) != p {
		if string(key) < p {
			return 0
		}
		return len(n.seps)
	}
	head := headOf(key[n.prefix:])
	lo, hi := 0, len(n.heads)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.heads[mid] < head {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for lo < len(n.seps) && n.heads[lo] == head && n.seps[lo] <= string(key) {
		lo++
	}
	return lo
}

// index computes heads from seps.
func (n *node) index() {
	n.prefix = 0
	n.heads = make([]uint64, 0, len(n.seps))
	if len(n.seps) == 0 {
		return
	}
	first, last := n.seps[0], n.seps[len(n.seps)-1]
	for n.prefix < min(len(first), len(last)) && first[n.prefix] == last[n.prefix] {
		n.prefix++
	}
	for _, s := range n.seps {
		s = s[n.prefix:]
		n.heads = append(n.heads, headOf([]byte(s[:min(len(s), 8)])))
	}
}

func inserted(seps []string, i int, sep string) []string {
	return slices.Concat(seps[:i], []string{sep}, seps[i:])
}

func deleted(seps []string, i int) []string { return slices.Concat(seps[:i], seps[i+1:]) }

func (n *node) kids() int { return max(len(n.nodes), len(n.leaves)) }

// get returns where the record of key is.
func (t *tree) get(key []byte) (p place, size uint32, ok bool) {
	return find(t.root.Load(), key)
}

// find is get in the tree below n.
func find(n *node, key []byte) (p place, size uint32, ok bool) {
	for n.nodes != nil {
		n = n.nodes[n.route(key)]
	}
	l := n.leaves[n.route(key)]
	l.mu.RLock()
	i, ok := l.find(key)
	if ok {
		p, size = l.items[i].at, l.items[i].size
	}
	l.mu.RUnlock()
	return p, size, ok
}

// freeze makes the present state immutable and returns it. It stays valid for
// as long as somebody holds it.
func (t *tree) freeze() *node {
	t.frozen = t.gen
	return t.root.Load()
}

// begin starts a batch, which publish ends.
func (t *tree) begin() {
	t.gen++
	t.batch = true
}

// publish shows what was changed to readers.
func (t *tree) publish() {
	t.batch = false
	if t.top != t.root.Load() {
		t.root.Store(t.top)
	}
}

// A step is one node on the way from the root, and the child taken.
type step struct {
	n   *node
	kid int
}

// descend returns the way to the leaf of key, and the leaf.
func (t *tree) descend(path []step, key []byte) ([]step, *leaf) {
	n := t.top
	for {
		kid := n.route(key)
		path = append(path, step{n, kid})
		if n.nodes == nil {
			return path, n.leaves[kid]
		}
		n = n.nodes[kid]
	}
}

// start begins an operation that changes the tree.
func (t *tree) start() {
	if !t.batch {
		t.gen++
	}
}

// finish ends what start began.
func (t *tree) finish() {
	if !t.batch && t.top != t.root.Load() {
		t.root.Store(t.top)
	}
}

// put stores a place for key and returns the one it had.
func (t *tree) put(key []byte, p place, size uint32) (old place, oldSize uint32, had bool) {
	t.start()
	defer t.finish()
	var space [12]step
	path, l := t.descend(space[:0], key)
	i, found := l.find(key)
	if !found {
		t.count.Add(1)
		if int(l.n) == leafCap {
			t.split(path, l, i, key, p, size)
			return 0, 0, false
		}
	}
	l = t.own(path, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if found {
		old, oldSize = l.items[i].at, l.items[i].size
		l.items[i].at, l.items[i].size = p, size
		return old, oldSize, true
	}
	l.insert(i, key, p, size)
	return 0, 0, false
}

// delete removes key and returns the place it had.
func (t *tree) delete(key []byte) (old place, oldSize uint32, had bool) {
	t.start()
	defer t.finish()
	var space [12]step
	path, l := t.descend(space[:0], key)
	i, found := l.find(key)
	if !found {
		return 0, 0, false
	}
	t.count.Add(-1)
	old, oldSize = l.items[i].at, l.items[i].size
	l = t.own(path, l)
	l.mu.Lock()
	l.remove(i)
	n := int(l.n)
	l.mu.Unlock()
	if n < leafCap/4 {
		t.shrink(path, n)
	}
	return old, oldSize, true
}

// own returns the leaf at the end of path, or a copy that may be changed.
func (t *tree) own(path []step, l *leaf) *leaf {
	if l.gen == t.gen || l.gen > t.frozen && !t.batch {
		return l
	}
	c := l.clone(t.gen)
	t.ownNode(path, len(path)-1).leaves[path[len(path)-1].kid] = c
	return c
}

// ownNode makes path[level].n a node that this operation may change, along
// with those above it.
func (t *tree) ownNode(path []step, level int) *node {
	n := path[level].n
	if n.gen == t.gen {
		return n
	}
	c := &node{gen: t.gen, prefix: n.prefix, heads: n.heads, seps: n.seps, nodes: slices.Clone(n.nodes), leaves: slices.Clone(n.leaves)}
	path[level].n = c
	if level == 0 {
		t.top = c
	} else {
		t.ownNode(path, level-1).nodes[path[level-1].kid] = c
	}
	return c
}

// split divides the full leaf l around key, which belongs at index i. Where keys
// come in ascending or descending order the full leaf stays as it is.
func (t *tree) split(path []step, l *leaf, i int, key []byte, p place, size uint32) {
	left, right := l, &leaf{gen: t.gen}
	var sep []byte
	switch i {
	case leafCap:
		right.insert(0, key, p, size)
		sep = key
	case 0:
		left, right = right, l
		left.insert(0, key, p, size)
		sep = l.appendKey(nil, 0)
	default:
		left = &leaf{gen: t.gen}
		mid := leafCap / 2
		left.take(l, 0, mid)
		right.take(l, mid, leafCap)
		sep = right.appendKey(nil, 0)
		if i <= mid {
			left.insert(i, key, p, size)
		} else {
			right.insert(i-mid, key, p, size)
		}
	}
	level := len(path) - 1
	kid := path[level].kid
	n := t.ownNode(path, level)
	n.leaves[kid] = left
	n.leaves = slices.Insert(n.leaves, kid+1, right)
	n.seps = inserted(n.seps, kid, string(sep))
	n.index()
	t.splitNodes(path, level)
}

// splitNodes divides nodes that are too large, from level up to the root.
func (t *tree) splitNodes(path []step, level int) {
	for ; level >= 0; level-- {
		n := path[level].n
		if n.kids() <= fan {
			return
		}
		mid := n.kids() / 2
		if path[level].kid >= n.kids()-2 {
			mid = n.kids() - 2 // ascending keys
		}
		sep := n.seps[mid-1]
		right := &node{gen: t.gen, seps: slices.Clone(n.seps[mid:])}
		if n.nodes != nil {
			right.nodes = slices.Clone(n.nodes[mid:])
			clear(n.nodes[mid:])
			n.nodes = n.nodes[:mid]
		} else {
			right.leaves = slices.Clone(n.leaves[mid:])
			clear(n.leaves[mid:])
			n.leaves = n.leaves[:mid]
		}
		n.seps = slices.Clone(n.seps[:mid-1])
		n.index()
		right.index()
		if level == 0 {
			t.top = &node{gen: t.gen, seps: []string{sep}, nodes: []*node{n, right}}
			t.top.index()
			return
		}
		up := t.ownNode(path, level-1)
		kid := path[level-1].kid
		up.nodes = slices.Insert(up.nodes, kid+1, right)
		up.seps = inserted(up.seps, kid, sep)
		up.index()
	}
}

// shrink removes the leaf at the end of path if it has no keys left, or joins
// it with a neighbour if both are small.
func (t *tree) shrink(path []step, left int) {
	level := len(path) - 1
	n, kid := path[level].n, path[level].kid
	if len(n.leaves) == 1 {
		if left == 0 {
			t.drop(path, level)
		}
		return
	}
	if left == 0 {
		t.drop(path, level)
		return
	}
	a := min(kid, len(n.leaves)-2) // join a and a+1
	l, r := n.leaves[a], n.leaves[a+1]
	if int(l.n)+int(r.n) > leafCap/2 {
		return
	}
	joined := &leaf{gen: t.gen}
	joined.take(l, 0, int(l.n))
	joined.take(r, 0, int(r.n))
	n = t.ownNode(path, level)
	n.leaves[a] = joined
	path[level].kid = a + 1
	t.drop(path, level)
}

// drop removes the child at the end of path, and nodes that become empty.
func (t *tree) drop(path []step, level int) {
	for ; ; level-- {
		n, kid := path[level].n, path[level].kid
		if n.kids() == 1 {
			if level == 0 { // the last leaf: the tree is empty
				t.top = &node{gen: t.gen, leaves: []*leaf{{gen: t.gen}}}
				return
			}
			continue
		}
		n = t.ownNode(path, level)
		if n.nodes != nil {
			n.nodes = slices.Delete(n.nodes, kid, kid+1)
		} else {
			n.leaves = slices.Delete(n.leaves, kid, kid+1)
		}
		n.seps = deleted(n.seps, max(kid-1, 0))
		n.index()
		t.joinNodes(path, level)
		for len(t.top.nodes) == 1 {
			t.top = t.top.nodes[0]
		}
		return
	}
}

// joinNodes joins the node at level with a neighbour if both are small.
func (t *tree) joinNodes(path []step, level int) {
	for ; level > 0 && path[level].n.kids() < fan/4; level-- {
		up := path[level-1].n
		if len(up.nodes) == 1 {
			return
		}
		a := min(path[level-1].kid, len(up.nodes)-2)
		l, r := up.nodes[a], up.nodes[a+1]
		if l.kids()+r.kids() > fan/2 {
			return
		}
		joined := &node{gen: t.gen, seps: slices.Concat(l.seps, []string{up.seps[a]}, r.seps),
			nodes: slices.Concat(l.nodes, r.nodes), leaves: slices.Concat(l.leaves, r.leaves)}
		joined.index()
		up = t.ownNode(path, level-1)
		up.nodes[a] = joined
		up.nodes = slices.Delete(up.nodes, a+1, a+2)
		up.seps = deleted(up.seps, a)
		up.index()
	}
}
