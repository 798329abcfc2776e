package kvstore

import (
	"bytes"
	"runtime/debug"
	"slices"
	"sort"
)

// With Options.DirectoryKeys some segments are cold: the directory does not
// have their keys, and who does not find a key there looks into their hints. The
// newest record of a key is
//
//	the one that the directory points to, else
//	the one with the largest LSN in the hints of cold segments.
//
// A delete of a key that a cold segment has is therefore in the directory, too,
// as a place with the index buried.
const buried = maxInBlock - 1

// dead reports whether the place is that of a delete.
func (p place) dead() bool { return p.index() == buried }

// coldSegments returns the segments that are cold now. Look into the directory
// before.
func (s *Store) coldSegments() []*segment {
	if cold := s.cold.Load(); cold != nil {
		return *cold
	}
	return nil
}

// findCold returns the newest entry that segments have of a key.
func (s *Store) findCold(segments []*segment, key []byte) (g *segment, e entry, ok bool, err error) {
	if len(segments) == 0 {
		return nil, e, false, nil
	}
	defer s.catch(debug.SetPanicOnFault(true), nil, &err)
	hash := hashKey(key)
	for _, other := range segments {
		found, there, err := other.hint.find(key, hash)
		if err != nil {
			return nil, e, false, err
		}
		if there && (!ok || found.lsn > e.lsn) {
			g, e, ok = other, found, true
		}
	}
	return g, e, ok, nil
}

// place returns where the record of an entry is.
func (e *entry) place(g *segment) place {
	if e.kind == kindDelete {
		return newPlace(g.slot, buried, e.offset)
	}
	return newPlace(g.slot, e.index, e.offset)
}

// newest returns where the newest record of a key is: in the tree below root,
// else in cold segments, which cold returns after the tree has been searched. A
// delete is none.
func (s *Store) newest(root *node, cold func() []*segment, key []byte) (at place, size uint32, ok bool, err error) {
	if at, size, ok = find(root, key); ok {
		return at, size, !at.dead(), nil
	}
	g, e, ok, err := s.findCold(cold(), key)
	if !ok || err != nil || e.kind == kindDelete {
		return 0, 0, false, err
	}
	return e.place(g), e.size, true, nil
}

// uncover is called for a write of a key that the directory does not have. It
// notes that the newest record in a cold segment is dead now, and reports whether
// it was a put, or whether that is not known as a hint cannot be read. The lock is
// held.
func (s *Store) uncover(key []byte) (live, unsure bool) {
	g, e, ok, err := s.findCold(s.coldSegments(), key)
	if err != nil {
		s.opts.Logger.Warn("kvstore: searching a hint", "error", err)
		return false, true
	}
	if !ok || e.kind != kindPut {
		return false, false
	}
	s.enliven(g, -int64(e.size))
	return true, false
}

// limitDirectory empties the directory of the keys in full segments if it has
// more than it should. The work lock is held.
func (s *Store) limitDirectory() error {
	if s.opts.DirectoryKeys == 0 || s.dir.count.Load() <= int64(s.opts.DirectoryKeys) {
		return nil
	}
	s.mu.Lock()
	cold := slices.Clone(s.coldSegments())
	var fresh []*segment
	for _, g := range s.version.segments {
		if g.sealed && !g.cold.Load() {
			g.cold.Store(true)
			fresh = append(fresh, g)
		}
	}
	cold = append(cold, fresh...)
	s.cold.Store(&cold) // from here on nothing is missed that is taken out below
	s.mu.Unlock()
	for _, g := range fresh {
		if err := s.takeOut(g); err != nil {
			return err
		}
	}
	return nil
}

// takeOut removes from the directory what points to a cold segment.
func (s *Store) takeOut(g *segment) error {
	var c hintCursor
	err := s.mapped(func() error { return c.first(g.hint) })
	for err == nil && c.valid() {
		s.mu.Lock()
		for n := 0; n < repointAtOnce && err == nil && c.valid(); n++ {
			if at, _, ok := find(s.dir.top, c.key); ok && at == c.place(g) {
				s.dir.delete(c.key)
			}
			err = s.mapped(c.next)
		}
		s.mu.Unlock()
	}
	return err
}

// A coldCursor walks through a hint in either direction, keeping a block at a
// time.
type coldCursor struct {
	h     *hint
	block int
	at    int
	list  []coldEntry
	keys  []byte
	c     hintCursor
}

type coldEntry struct {
	entry
	from, to int // key, in keys
}

func (c *coldCursor) valid() bool { return c.at >= 0 && c.at < len(c.list) }
func (c *coldCursor) key() []byte { return c.keys[c.list[c.at].from:c.list[c.at].to] }

// open reads a block; there may be none of that number.
func (c *coldCursor) open(block int) error {
	c.block, c.list, c.keys = block, c.list[:0], c.keys[:0]
	c.c.h = c.h
	if err := c.c.open(block); err != nil || c.c.ended {
		return err
	}
	for len(c.c.rest) > 0 {
		if err := c.c.decode(); err != nil {
			return err
		}
		from := len(c.keys)
		c.keys = append(c.keys, c.c.key...)
		c.list = append(c.list, coldEntry{c.c.entry, from, len(c.keys)})
	}
	return nil
}

// seek goes to the first key that is not below key or, backward, to the last
// that is; without a key, to the first or the last.
func (c *coldCursor) seek(key []byte, backward bool) error {
	blocks := len(c.h.firsts)
	if backward && key == nil {
		err := c.open(blocks - 1)
		c.at = len(c.list) - 1
		return err
	}
	block := sort.Search(blocks, func(i int) bool { return bytes.Compare(c.h.firsts[i], key) > 0 }) - 1
	if err := c.open(max(block, 0)); err != nil {
		return err
	}
	c.at = sort.Search(len(c.list), func(i int) bool {
		return bytes.Compare(c.keys[c.list[i].from:c.list[i].to], key) >= 0
	})
	if backward {
		return c.step(true)
	}
	if c.at == len(c.list) {
		c.at--
		return c.step(false)
	}
	return nil
}

// step goes on in a direction.
func (c *coldCursor) step(backward bool) error {
	if backward {
		if c.at--; c.at < 0 && c.block > 0 {
			err := c.open(c.block - 1)
			c.at = len(c.list) - 1
			return err
		}
		return nil
	}
	if c.at++; c.at >= len(c.list) && c.block < len(c.h.firsts)-1 {
		c.at = 0
		return c.open(c.block + 1)
	}
	return nil
}

// A coldWalk walks through the directory and the hints of cold segments at
// once and shows the newest record of each key.
type coldWalk struct {
	hints []coldCursor
	key   []byte
	at    place
	size  uint32

	hotKey []byte
}

func newColdWalk(cold []*segment) *coldWalk {
	w := &coldWalk{}
	for _, g := range cold {
		w.hints = append(w.hints, coldCursor{h: g.hint})
	}
	return w
}

func (w *coldWalk) seek(key []byte, backward bool) error {
	for i := range w.hints {
		if err := w.hints[i].seek(key, backward); err != nil {
			return err
		}
	}
	return nil
}

// next finds the next key of the directory's cursor and all hints, and moves
// them past it; ok is false at the end.
func (w *coldWalk) next(hot *cursor, backward bool) (ok bool, err error) {
	before := func(a, b []byte) bool { return (bytes.Compare(a, b) < 0) != backward }
	if ok = hot.valid(); ok {
		w.key = hot.leaf.appendKey(w.key[:0], hot.at)
	}
	for i := range w.hints {
		if c := &w.hints[i]; c.valid() && (!ok || before(c.key(), w.key)) {
			w.key, ok = append(w.key[:0], c.key()...), true
		}
	}
	if !ok {
		return false, nil
	}
	w.size = 0
	var lsn int64
	for i := range w.hints {
		c := &w.hints[i]
		if !c.valid() || !bytes.Equal(c.key(), w.key) {
			continue
		}
		if e := &c.list[c.at].entry; w.size == 0 || e.lsn > lsn {
			w.at, w.size, lsn = e.place(c.h.g), e.size, e.lsn
		}
		if err := c.step(backward); err != nil {
			return false, err
		}
	}
	if hot.valid() {
		w.hotKey = hot.leaf.appendKey(w.hotKey[:0], hot.at)
	}
	if hot.valid() && bytes.Equal(w.hotKey, w.key) {
		w.at, w.size = hot.leaf.items[hot.at].at, hot.leaf.items[hot.at].size
		if backward {
			hot.prev()
		} else {
			hot.next()
		}
	}
	return true, nil
}
