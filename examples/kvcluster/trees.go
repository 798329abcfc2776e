package kvcluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// treeDepth makes 4096 leaves. A leaf is the upper bits of a key's hash, and so a
// range of what the store has.
const (
	treeDepth = 3
	leafBits  = 4 * treeDepth
)

func leafStart(leaf uint32) uint64 { return uint64(leaf) << (64 - leafBits) }

// A forest has a Merkle tree for each other member, over the keys that both own under
// one ring. It is built part by part: writers wait only while theirs is built.
type forest struct {
	place *placement
	trees map[string]*replica.Tree
	built uint64 // hashes below it are in the trees; guarded by the store's world
	whole bool   // all are; guarded likewise
}

func newForest(p *placement, self string) *forest {
	f := &forest{place: p, trees: map[string]*replica.Tree{}}
	for name := range p.ring.Nodes() {
		if name != self {
			f.trees[name] = replica.NewTree(treeDepth)
		}
	}
	return f
}

// update tells the trees of a change.
func (f *forest) update(self string, key []byte, before, after replica.Object) {
	if !f.whole && consistenthash.Hash(string(key)) >= f.built {
		return // its part is still to be built
	}
	f.change(self, key, digest(before), digest(after))
}

func (f *forest) change(self string, key []byte, before, after uint64) {
	owners := f.place.owners(key)
	if !slices.Contains(owners, self) {
		return
	}
	for _, owner := range owners {
		if t := f.trees[owner]; t != nil {
			t.Update(key, before, after)
		}
	}
}

func digest(o replica.Object) uint64 {
	if o.IsZero() {
		return 0
	}
	return o.Digest()
}

// changed is called by the store, with its world held for reading.
func (m *mender) changed(key []byte, before, after replica.Object) {
	if f := m.trees.Load(); f != nil {
		f.update(m.node.config.Name, key, before, after)
	}
}

// grown returns the forest for a placement, which it builds if there is none, or nil
// if it could not.
func (m *mender) grown(p *placement) *forest {
	n := m.node
	if f := m.trees.Load(); f != nil && f.place.ring.Fingerprint() == p.ring.Fingerprint() {
		return f
	}
	f := newForest(p, n.config.Name)
	n.store.world.Lock()
	m.trees.Store(f)
	n.store.world.Unlock()
	for leaf := range uint32(1 << leafBits) {
		if n.ctx.Err() != nil {
			return nil
		}
		if err := m.grow(f, leaf); err != nil {
			n.log.Warn("no Merkle trees", "error", err)
			m.trees.Store(nil)
			return nil
		}
	}
	return f
}

// grow adds one leaf of the store to the trees, while nobody writes.
func (m *mender) grow(f *forest, leaf uint32) error {
	s := m.node.store
	s.world.Lock()
	defer s.world.Unlock()
	for o, err := range s.leaf(leaf, nil) {
		if err != nil {
			return err
		}
		f.change(m.node.config.Name, o.Key, 0, digest(o.Object))
	}
	if f.whole = leaf == 1<<leafBits-1; !f.whole {
		f.built = leafStart(leaf + 1)
	}
	return nil
}

// leaf iterates over the objects of a leaf, behind a key of the engine if there is
// one.
func (s *store) leaf(leaf uint32, after []byte) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		from := leafStart(leaf)
		if len(after) >= hashSize {
			from = max(from, binary.BigEndian.Uint64(after))
		}
		for o, err := range s.from(from) {
			if err == nil && o.Hash>>(64-leafBits) != uint64(leaf) {
				return
			}
			if err == nil && after != nil && bytes.Compare(engineKey(nil, o.Key), after) <= 0 {
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// What a member is asked about trees: each begins with the ring's fingerprint.
const (
	askSums    = iota + 1 // a probe
	askEntries            // digests of a leaf's keys, behind one
	askObjects            // objects of some keys
)

// The most of what is answered at a time.
const (
	mostEntries = 2000
	mostKeys    = 256
	mostBytes   = 4 << 20
)

func (m *mender) handleTree(from string, b []byte) ([]byte, error) {
	d := decoder{b: b}
	ring, what := d.uint64(), d.byte()
	f := m.trees.Load()
	if f == nil || f.place.ring.Fingerprint() != ring {
		return nil, errRing
	}
	m.node.store.world.RLock()
	whole := f.whole
	m.node.store.world.RUnlock()
	tree := f.trees[from]
	if !whole || tree == nil {
		return nil, errRing
	}
	switch what {
	case askSums:
		probe, err := replica.DecodeProbe(d.b)
		if err != nil {
			return nil, err
		}
		sums, err := tree.Answer(probe)
		return replica.AppendSums(nil, sums), err
	case askEntries:
		leaf, after := uint32(d.uvarint()), d.bytes()
		if err := d.err(); err != nil || leaf >= 1<<leafBits {
			return nil, errMessage
		}
		var entries []replica.Entry
		for e, err := range m.entries(f, from, leaf, after) {
			if err != nil {
				return nil, err
			}
			if entries = append(entries, e); len(entries) == mostEntries {
				break
			}
		}
		return replica.AppendEntries(nil, entries), nil
	case askObjects:
		return m.handleFetch(&d)
	}
	return nil, errMessage
}

// handleFetch answers with the objects of keys: as many as fit, in their order.
func (m *mender) handleFetch(d *decoder) ([]byte, error) {
	var e encoder
	for d.more() && len(e) < mostBytes {
		o, err := m.node.store.get(d.bytes())
		if err != nil {
			return nil, err
		}
		e.bytes(replica.AppendObject(nil, o))
	}
	return e, nil
}

// entries iterates over what this node has in a leaf that another owns too. Their
// keys are those of the engine, and so in the order of both.
func (m *mender) entries(f *forest, other string, leaf uint32, after []byte) iter.Seq2[replica.Entry, error] {
	self := m.node.config.Name
	if len(after) == 0 {
		after = nil
	}
	return func(yield func(replica.Entry, error) bool) {
		for o, err := range m.node.store.leaf(leaf, after) {
			if err != nil {
				yield(replica.Entry{}, err)
				return
			}
			owners := f.place.owners(o.Key)
			if !slices.Contains(owners, self) || !slices.Contains(owners, other) {
				continue
			}
			if !yield(replica.Entry{Key: engineKey(nil, o.Key), Digest: digest(o.Object)}, nil) {
				return
			}
		}
	}
}

// theirEntries are those of another node, from which they come in parts.
func (m *mender) theirEntries(ctx context.Context, f *forest, to peer.Node, leaf uint32) iter.Seq2[replica.Entry, error] {
	return func(yield func(replica.Entry, error) bool) {
		var after []byte
		for {
			e := f.ask(askEntries)
			e.uvarint(uint64(leaf))
			e.bytes(after)
			b, err := m.node.endpoint.Call(ctx, to, methodTree, e)
			var entries []replica.Entry
			if err == nil {
				entries, err = replica.DecodeEntries(b)
			}
			if err != nil {
				yield(replica.Entry{}, err)
				return
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
			if len(entries) < mostEntries {
				return
			}
			after = entries[len(entries)-1].Key
		}
	}
}

func (f *forest) ask(what byte) encoder {
	var e encoder
	e.uint64(f.place.ring.Fingerprint())
	e.byte(what)
	return e
}

// compareWith finds the leaves in which this node and another differ, and mends them.
func (m *mender) compareWith(ctx context.Context, f *forest, other Member) error {
	n := m.node
	tree := f.trees[other.Name]
	if tree == nil {
		return nil
	}
	c := tree.Compare()
	for probe, more := c.Next(); more; probe, more = c.Next() {
		b, err := n.endpoint.Call(ctx, other.node(), methodTree, replica.AppendProbe(f.ask(askSums), probe))
		if err != nil {
			return err
		}
		sums, err := replica.DecodeSums(b)
		if err != nil {
			return err
		}
		if err := c.Take(sums); err != nil {
			return err
		}
	}
	leaves := c.Leaves()
	m.found(other.Name, len(leaves))
	for i, leaf := range leaves {
		if err := m.mendLeaf(ctx, f, other, leaf); err != nil {
			return err
		}
		m.found(other.Name, len(leaves)-i-1)
	}
	return nil
}

// mendLeaf brings both sides to the same objects in one leaf.
func (m *mender) mendLeaf(ctx context.Context, f *forest, other Member, leaf uint32) error {
	n := m.node
	b := n.newBatcher(ctx)
	var wanted [][]byte // keys of which the other has something
	for d, err := range replica.Differences(m.entries(f, other.Name, leaf, nil), m.theirEntries(ctx, f, other.node(), leaf)) {
		if err != nil {
			return err
		}
		if len(d.Key) < hashSize {
			return errMessage
		}
		key := slices.Clone(d.Key[hashSize:])
		if d.Theirs == 0 {
			o, err := n.store.get(key)
			if err != nil {
				return err
			}
			if !o.IsZero() {
				b.add(other.Name, key, o)
				n.counts.mended.Add(1)
			}
			continue
		}
		if wanted = append(wanted, key); len(wanted) == mostKeys {
			if err := m.fetch(ctx, f, other, wanted, b); err != nil {
				return err
			}
			wanted = wanted[:0]
		}
	}
	if err := m.fetch(ctx, f, other, wanted, b); err != nil {
		return err
	}
	return b.flush()
}

// fetch merges what another node has under some keys, and sends back what it lacks.
func (m *mender) fetch(ctx context.Context, f *forest, other Member, keys [][]byte, b *batcher) error {
	n := m.node
	for len(keys) > 0 {
		e := f.ask(askObjects)
		for _, key := range keys {
			e.bytes(key)
		}
		reply, err := n.endpoint.Call(ctx, other.node(), methodTree, e)
		if err != nil {
			return err
		}
		d, got := decoder{b: reply}, 0
		for ; d.more() && got < len(keys); got++ {
			key := keys[got]
			theirs, err := decodeObject(key, d.bytes())
			if err != nil {
				return err
			}
			if theirs.IsZero() {
				continue // it is gone meanwhile
			}
			if err := n.store.merge(ctx, key, theirs); err != nil {
				return err
			}
			n.counts.mended.Add(1)
			mine, err := n.store.get(key)
			if err != nil {
				return err
			}
			if !mine.IsZero() && digest(mine) != digest(theirs) {
				b.add(other.Name, key, mine)
			}
		}
		if err := d.err(); err != nil || got == 0 {
			return fmt.Errorf("%w from %s", errMessage, other.Name)
		}
		keys = keys[got:]
	}
	return nil
}
