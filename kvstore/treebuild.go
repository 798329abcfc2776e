package kvstore

import "slices"

// A builder makes a tree of keys that come in ascending order.
type builder struct {
	leaves []*leaf
	seps   []string // seps[i] is the first key of leaves[i]
	cur    *leaf
	keys   []byte // of cur, one after the other
	ends   [leafCap]int
	count  int64
}

// fill is how many keys a builder puts into a leaf: some room is left so that
// the first keys to come do not split every leaf.
const fill = leafCap * 9 / 10

// add appends key.
func (b *builder) add(key []byte, p place, size uint32) {
	if b.cur == nil {
		b.cur = &leaf{gen: 1}
	}
	i := int(b.cur.n)
	b.keys = append(b.keys, key...)
	b.ends[i] = len(b.keys)
	b.cur.items[i].at, b.cur.items[i].size = p, size
	b.cur.n++
	b.count++
	if i+1 == fill {
		b.flush()
	}
}

// flush finishes the leaf at hand.
func (b *builder) flush() {
	l := b.cur
	if l == nil {
		return
	}
	n := int(l.n)
	first := b.keys[:b.ends[0]]
	last := first
	if n > 1 {
		last = b.keys[b.ends[n-2]:b.ends[n-1]]
	}
	prefix := common(first, last)
	need := prefix
	for i, at := 0, 0; i < n; i, at = i+1, b.ends[i] {
		if rest := b.ends[i] - at - prefix - 8; rest > 0 {
			need += 2 + rest
		}
	}
	l.arena = append(make([]byte, 0, need), first[:prefix]...)
	l.setPrefix(prefix)
	for i, at := 0, 0; i < n; i, at = i+1, b.ends[i] {
		l.set(i, b.keys[at+prefix:b.ends[i]], l.items[i].at, l.items[i].size)
	}
	b.leaves = append(b.leaves, l)
	b.seps = append(b.seps, string(first))
	b.cur, b.keys = nil, b.keys[:0]
}

// tree returns the tree of what was added.
func (b *builder) tree() *tree {
	b.flush()
	if len(b.leaves) == 0 {
		return newTree()
	}
	const wide = fan * 9 / 10
	var level []*node
	firsts := make([]string, 0, len(b.seps)/wide+1)
	for at := 0; at < len(b.leaves); at += wide {
		end := min(at+wide, len(b.leaves))
		n := &node{gen: 1, leaves: slices.Clone(b.leaves[at:end]), seps: slices.Clone(b.seps[at+1 : end])}
		n.index()
		level, firsts = append(level, n), append(firsts, b.seps[at])
	}
	for len(level) > 1 {
		var up []*node
		var upFirsts []string
		for at := 0; at < len(level); at += wide {
			end := min(at+wide, len(level))
			n := &node{gen: 1, nodes: slices.Clone(level[at:end]), seps: slices.Clone(firsts[at+1 : end])}
			n.index()
			up, upFirsts = append(up, n), append(upFirsts, firsts[at])
		}
		level, firsts = up, upFirsts
	}
	t := &tree{top: level[0], gen: 1}
	t.count.Store(b.count)
	t.root.Store(t.top)
	return t
}
