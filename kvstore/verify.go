package kvstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
)

// Verify reads everything that is on the disk and returns what is wrong with it,
// joined: each a [*CorruptError]. It checks every record of every segment, dead or
// not, every hint against its segment, and that every key can be read. Reads and
// writes go on meanwhile; it sees the store as it was when it began.
func (s *Store) Verify(ctx context.Context) error {
	n, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer n.Close()
	if err := s.log.wait(s.log.gc.Appended().Pos, Written); err != nil {
		return err
	}
	var found error
	for _, g := range n.version.segments {
		if err := s.verifySegment(ctx, g); err != nil {
			found = errors.Join(found, err)
		}
	}
	for _, err := range n.All() { // stops at the first, which is in found already
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(found, fmt.Errorf("kvstore: verify: %w", err))
		}
	}
	return found
}

func (s *Store) verifySegment(ctx context.Context, g *segment) (err error) {
	defer s.catch(debug.SetPanicOnFault(true), nil, &err)
	s.keeper.work.Lock()
	h := g.hint
	s.keeper.work.Unlock()
	end := g.size() // final if there is a hint
	header := make([]byte, headerBytes)
	if _, err := g.file.ReadAt(header, 0); err != nil {
		return fmt.Errorf("kvstore: %s: %w", g.name(), err)
	}
	if want := g.header(); !slices.Equal(header, want) {
		return g.corrupt(0, "bad header")
	}
	at, reason, err := g.walk(headerBytes, end, s.codecs, func(int64, int, uint32, *record) error { return ctx.Err() }, nil)
	if err != nil {
		return fmt.Errorf("kvstore: verify: %w", err)
	}
	if reason != "" {
		return g.corrupt(at, reason)
	}
	if h == nil {
		return nil
	}
	want, err := buildHint(g, end, s.codecs)
	if err != nil {
		return err
	}
	got, err := h.read(0, int(h.size), new([]byte))
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return h.corrupt(int64(at), "hint does not agree with its segment")
	}
	return nil
}
