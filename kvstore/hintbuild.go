package kvstore

import (
	"bytes"
	"cmp"
	"slices"
)

// buildHint walks through a segment up to end and returns its hint file.
func buildHint(g *segment, end int64, known codecs) ([]byte, error) {
	type item struct {
		entry
		from uint32 // key, in keys
		n    uint16
	}
	type ref struct {
		head uint64 // of what no other key begins with
		item uint32
	}
	const typical = 128 // bytes of a record
	items := make([]item, 0, end/typical)
	keys := make([]byte, 0, end/typical*16)
	at, reason, err := g.walk(headerBytes, end, known, func(offset int64, index int, size uint32, r *record) error {
		it := item{entry: entry{kind: r.kind, index: index, size: size, offset: offset, expires: r.expires, lsn: r.lsn}, from: uint32(len(keys)), n: uint16(len(r.key))}
		if g.kind == logSegment {
			it.lsn = g.lsn(offset)
		}
		keys = append(keys, r.key...)
		items = append(items, it)
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return nil, g.corrupt(at, reason)
	}
	key := func(it *item) []byte { return keys[it.from : it.from+uint32(it.n)] }
	shared := 0
	for i := range items {
		if k := key(&items[i]); i == 0 {
			shared = len(k)
		} else {
			shared = common(key(&items[0])[:shared], k)
		}
	}
	order := make([]ref, len(items))
	for i := range items {
		order[i] = ref{headOf(key(&items[i])[shared:]), uint32(i)}
	}
	slices.SortFunc(order, func(a, b ref) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		x, y := &items[a.item], &items[b.item]
		if c := bytes.Compare(key(x)[shared:], key(y)[shared:]); c != 0 {
			return c
		}
		return cmp.Compare(y.lsn, x.lsn) // the newest first
	})
	w := newHintWriter(g)
	for i, r := range order {
		it := &items[r.item]
		if i > 0 && bytes.Equal(key(it), key(&items[order[i-1].item])) {
			continue
		}
		w.add(key(it), &it.entry)
	}
	return w.finish(end), nil
}

// A hintMerge walks through several hints at once, in the order of the keys,
// and shows the newest entry of each key.
type hintMerge struct {
	heap []*hintRun
	key  []byte
	top  entry
	g    *segment // of top, or of the hint with the error
}

type hintRun struct {
	hintCursor
	head uint64
}

// below orders runs by key, and newer entries first.
func (a *hintRun) below(b *hintRun) bool {
	if a.head != b.head {
		return a.head < b.head
	}
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.lsn > b.lsn
}

// newHintMerge begins with the first key that is not below from.
func newHintMerge(hints []*hint, from []byte) (*hintMerge, error) {
	m := &hintMerge{}
	for _, h := range hints {
		r := &hintRun{}
		if err := r.seek(h, from); err != nil {
			m.g = h.g
			return m, err
		}
		if r.valid() {
			r.head = headOf(r.key)
			m.heap = append(m.heap, r)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

// next goes to the next key; ok is false at the end.
func (m *hintMerge) next() (ok bool, err error) {
	if len(m.heap) == 0 {
		return false, nil
	}
	r := m.heap[0]
	m.key = append(m.key[:0], r.key...)
	m.top, m.g = r.entry, r.h.g
	for len(m.heap) > 0 && bytes.Equal(m.heap[0].key, m.key) {
		if err := m.advance(); err != nil {
			m.g = m.heap[0].h.g
			return false, err
		}
	}
	return true, nil
}

// advance moves the first run on.
func (m *hintMerge) advance() error {
	r := m.heap[0]
	if err := r.next(); err != nil {
		return err
	}
	if r.valid() {
		r.head = headOf(r.key)
	} else {
		n := len(m.heap) - 1
		m.heap[0] = m.heap[n]
		m.heap = m.heap[:n]
	}
	m.sink(0)
	return nil
}

func (m *hintMerge) sink(i int) {
	for {
		kid := 2*i + 1
		if kid >= len(m.heap) {
			return
		}
		if kid+1 < len(m.heap) && m.heap[kid+1].below(m.heap[kid]) {
			kid++
		}
		if !m.heap[kid].below(m.heap[i]) {
			return
		}
		m.heap[i], m.heap[kid] = m.heap[kid], m.heap[i]
		i = kid
	}
}
