package kvstore

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// A keeper does what is to be done in the background: it makes full log
// segments durable and indexes them, and merges segments. Its goroutine runs
// while there is something to do.
type keeper struct {
	mu      sync.Mutex
	changed sync.Cond // a step is done, or the goroutine has ended
	running bool
	due     bool
	waiting int // writers
	closed  bool
	err     error // of the last attempt; writers do not wait for a keeper that cannot work
	wg      sync.WaitGroup

	work  sync.Mutex   // held by whoever seals, merges or writes the manifest
	check atomic.Int64 // garbage at which to look again
	stop  chan struct{}
}

// maintain starts the keeper if there is enough garbage that it may find
// something to do.
func (s *Store) maintain() {
	if s.garbage() >= s.keeper.check.Load() {
		s.wake()
	}
}

// wake starts the keeper, or has it look once more.
func (s *Store) wake() {
	k := &s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.due = true
	if k.running || k.closed {
		return
	}
	k.running = true
	k.wg.Go(s.keep)
}

// keep is the goroutine.
func (s *Store) keep() {
	k := &s.keeper
	for {
		k.mu.Lock()
		if !k.due || k.closed {
			k.running = false
			k.changed.Broadcast()
			k.mu.Unlock()
			return
		}
		k.due = false
		k.mu.Unlock()
		err := s.keepOnce()
		k.mu.Lock()
		if err != nil && !errors.Is(err, ErrClosed) {
			s.opts.Logger.Error("kvstore: background work failed", "error", err)
		}
		k.err = err
		k.changed.Broadcast()
		k.mu.Unlock()
		s.expectGarbage()
	}
}

// expectGarbage says from how much garbage on the keeper may find something to
// do that it does not find now.
func (s *Store) expectGarbage() {
	g := s.garbage()
	s.keeper.check.Store(g + max(1<<20, g/8, s.liveBytes.Load()/32))
}

// keepOnce does all there is to do.
func (s *Store) keepOnce() error {
	for !s.stopping() {
		s.keeper.work.Lock()
		more, err := s.sealFull()
		s.keeper.work.Unlock()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if s.opts.ManualMerge {
			return nil
		}
		if more, err = s.mergeSome(); err != nil || !more {
			return err
		}
		s.keeper.mu.Lock()
		s.keeper.changed.Broadcast()
		s.keeper.mu.Unlock()
	}
	return nil
}

// stopping reports whether Close waits.
func (s *Store) stopping() bool {
	select {
	case <-s.keeper.stop:
		return true
	default:
		return false
	}
}

// sealFull seals the log segments that are full; more is false if there are
// none. The work lock is held.
func (s *Store) sealFull() (more bool, err error) {
	if s.closed.Load() {
		return false, ErrClosed // the directory may be another's by now
	}
	s.mu.Lock()
	var full []*segment
	for _, g := range s.version.segments {
		if !g.sealed && g.end.Load() != 0 {
			full = append(full, g)
		}
	}
	s.mu.Unlock()
	if len(full) == 0 {
		return false, nil
	}
	return true, s.seal(full)
}

// seal makes full log segments durable, indexes them, and enters them into the
// manifest. The work lock is held.
func (s *Store) seal(full []*segment) error {
	for _, g := range full {
		end := g.end.Load()
		if err := s.log.wait(g.lsn(end), Synced); err != nil {
			return err
		}
		s.log.forget(g)
		if g.hint == nil {
			if err := s.withBallast(func() error { return s.makeHint(g, end) }); err != nil {
				return err
			}
		}
		if err := g.file.Truncate(end); err != nil { // gives back what was allocated
			return fmt.Errorf("kvstore: %s: %w", g.name(), err)
		}
		g.remap()
	}
	for _, g := range full {
		g.sealed = true
	}
	if err := s.storeManifest(nil); err != nil {
		for _, g := range full {
			g.sealed = false
		}
		return err
	}
	s.keepBallast()
	return s.limitDirectory()
}

// buildHint is buildHint where the segment may be mapped.
func (s *Store) buildHint(g *segment, end int64) (data []byte, err error) {
	defer s.catch(debug.SetPanicOnFault(true), nil, &err)
	return buildHint(g, end, s.codecs)
}

// makeHint writes and opens the hint of a segment that is durable up to end.
func (s *Store) makeHint(g *segment, end int64) error {
	data, err := s.buildHint(g, end)
	if err != nil {
		return err
	}
	if err := writeHint(s.fs, g.id, data); err != nil {
		return err
	}
	g.hint, err = openHint(s.fs, g)
	return err
}

// storeManifest writes the manifest of the present segments, without those
// in gone. The work lock is held.
func (s *Store) storeManifest(gone []*segment, extra ...*segment) error {
	s.mu.Lock()
	m := manifest{next: s.nextID, durable: s.log.durable.Load()}
	segments := append(slices.Clone(s.version.segments), extra...)
	s.mu.Unlock()
	for _, g := range segments {
		switch {
		case slices.Contains(gone, g):
		case g.sealed:
			m.segments = append(m.segments, manifestSegment{g.kind, g.id, g.end.Load()})
		case m.log == 0:
			m.log = g.id
			if err := s.log.keepHeader(g); err != nil {
				return err
			}
		}
	}
	return s.withBallast(func() error { return m.store(s.fs) })
}

// release gives up a version, and the segments that no other version has.
func (s *Store) release(v *version) {
	if v.refs.Add(-1) != 0 {
		return
	}
	for _, g := range v.segments {
		if g.refs.Add(-1) == 0 {
			s.discard(g)
		}
	}
}

// newVersion makes a list of segments the present version and returns the
// one before, which the caller releases. The lock is held.
func (s *Store) newVersion(segments []*segment) (old *version) {
	v := &version{segments: segments}
	v.refs.Store(1)
	for _, g := range segments {
		g.refs.Add(1)
	}
	old, s.version = s.version, v
	return old
}

// discard closes a segment that nobody uses, and removes its files if it was
// merged away.
func (s *Store) discard(g *segment) {
	err := g.close()
	if g.hint != nil {
		err = errors.Join(err, g.hint.close())
	}
	if g.dropped.Load() {
		err = errors.Join(err, ignoreMissing(s.fs.Remove(g.name())), ignoreMissing(s.fs.Remove(hintName(g.id))))
	}
	if err != nil {
		s.opts.Logger.Warn("kvstore: closing a segment", "file", g.name(), "error", err)
	}
	s.freeSlot(g)
}

// freeSlot lets another segment have the slot of g.
func (s *Store) freeSlot(g *segment) {
	s.slotMu.Lock()
	defer s.slotMu.Unlock()
	table := slices.Clone(*s.slots.Load())
	table[g.slot] = nil
	s.slots.Store(&table)
	s.free = append(s.free, g.slot)
}

// takeSlot gives a segment a number and a slot.
func (s *Store) takeSlot(g *segment) error {
	s.slotMu.Lock()
	defer s.slotMu.Unlock()
	table := slices.Clone(*s.slots.Load())
	if n := len(s.free); n > 0 {
		g.slot = s.free[n-1]
		s.free = s.free[:n-1]
		table[g.slot] = g
	} else {
		if len(table) == maxSlots {
			return fmt.Errorf("kvstore: more than %d segments", maxSlots)
		}
		g.slot = uint32(len(table))
		table = append(table, g)
	}
	s.slots.Store(&table)
	return nil
}

// newLog gives the log's next segment a number; the lock is held.
func (s *Store) newLog(g *segment) error {
	g.id = s.nextID
	if err := s.takeSlot(g); err != nil {
		return err
	}
	s.nextID++
	return nil
}
