package kvstore

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
)

// loadDirectory fills the directory from hints, a part of the keys on each
// processor.
func (s *Store) loadDirectory(hints []*hint) error {
	cold := s.startCold(hints)
	bounds := divide(hints, runtime.GOMAXPROCS(0))
	parts := make([]loader, len(bounds)+1)
	var wg sync.WaitGroup
	for i := range parts {
		p := &parts[i]
		p.cold, p.limited, p.live = cold, s.opts.DirectoryKeys > 0, map[*segment]int64{}
		if i > 0 {
			p.from = bounds[i-1]
		}
		if i < len(bounds) {
			p.to = bounds[i]
		}
		wg.Go(func() { p.err = p.load(hints) })
	}
	wg.Wait()
	var all builder
	for _, p := range parts {
		if p.err != nil {
			return p.err
		}
		p.b.flush()
		all.leaves = append(all.leaves, p.b.leaves...)
		all.seps = append(all.seps, p.b.seps...)
		all.count += p.b.count
		s.keys.Add(p.keys)
		for g, n := range p.live {
			s.enliven(g, n)
		}
	}
	s.dir = all.tree()
	return nil
}

// startCold makes all full segments cold if they have more keys than the
// directory should.
func (s *Store) startCold(hints []*hint) bool {
	count := 0
	var cold []*segment
	for _, h := range hints {
		if count += h.count; h.g.sealed {
			cold = append(cold, h.g)
		}
	}
	if s.opts.DirectoryKeys == 0 || count <= s.opts.DirectoryKeys {
		return false
	}
	for _, g := range cold {
		g.cold.Store(true)
	}
	s.cold.Store(&cold)
	return true
}

// divide returns keys that divide those of the hints into so many parts of
// about the same size.
func divide(hints []*hint, parts int) [][]byte {
	const worthIt = 64 // blocks
	var firsts [][]byte
	for _, h := range hints {
		firsts = append(firsts, h.firsts...)
	}
	parts = min(parts, len(firsts)/worthIt)
	slices.SortFunc(firsts, bytes.Compare)
	var bounds [][]byte
	for i := 1; i < parts; i++ {
		if b := firsts[len(firsts)*i/parts]; len(bounds) == 0 || !bytes.Equal(bounds[len(bounds)-1], b) {
			bounds = append(bounds, b)
		}
	}
	return bounds
}

// A loader fills a part of the directory.
type loader struct {
	from, to []byte // nil for no bound
	b        builder
	live     map[*segment]int64
	keys     int64
	cold     bool // full segments are cold
	limited  bool // they may become so: deletes in others hide older records
	err      error
}

func (l *loader) load(hints []*hint) error {
	m, err := newHintMerge(hints, l.from)
	if err != nil {
		return err
	}
	var last *segment // most of the keys in a row are in one
	var live int64
	for {
		ok, err := m.next()
		if err != nil {
			return err
		}
		if !ok || l.to != nil && bytes.Compare(m.key, l.to) >= 0 {
			break
		}
		g, e := m.g, &m.top
		if g != last {
			if last != nil {
				l.live[last] += live
			}
			last, live = g, 0
		}
		if e.kind == kindDelete && g.kind == tableSegment {
			live += int64(e.size) // it stays until what it hides is gone
		}
		// What has expired is there until a merge has seen that: the clock may go back.
		hot := !l.cold && e.kind == kindPut || l.limited && !g.sealed
		if hot {
			l.b.add(m.key, e.place(g), e.size)
		}
		if e.kind == kindPut && (l.cold || hot) {
			g.expiry.add(e.expires, e.size)
			live += int64(e.size)
			l.keys++
		}
	}
	if last != nil {
		l.live[last] += live
	}
	return nil
}
