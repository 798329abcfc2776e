package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/kvstore"
)

// A source numbers what it sends.
type source struct {
	mu    sync.Mutex // held while packets of it are stored
	users int        // calls that have it; guarded by sourcesMu

	lastMu sync.Mutex
	last   sourced
}

// sourced is the last packet of a source that is stored: its sequence number
// and its offset, both -1 if there is none.
type sourced struct{ sequence, offset int64 }

var unknown = sourced{-1, -1}

func (s *source) stored(sequence, offset int64) {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	s.last.sequence, s.last.offset = max(s.last.sequence, sequence), max(s.last.offset, offset)
}

func (s *source) latest() sourced {
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	return s.last
}

// append encodes it for the index.
func (p sourced) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(p.sequence)), uint64(p.offset))
}

// parseSourced decodes what append made. An index of before has no offset: such
// a source is taken for one that has sent at the end.
func parseSourced(b []byte, end int64) (p sourced, ok bool) {
	switch len(b) {
	case 8:
		return sourced{int64(binary.BigEndian.Uint64(b)), end}, true
	case 16:
		return sourced{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, true
	}
	return sourced{}, false
}

// enlist returns what is known of a source, which is not forgotten before
// release.
func (s *Store) enlist(name string) (*source, error) {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	src, err := s.source(name)
	if err == nil {
		src.users++
	}
	return src, err
}

func (s *Store) release(name string, src *source) {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	if src.users--; src.users == 0 && src.latest() == unknown {
		delete(s.sources, name) // nothing of it was taken
	}
}

// source returns what is known of a source, for which others may have to go. It
// is called with sourcesMu held.
func (s *Store) source(name string) (*source, error) {
	src := s.sources[name]
	if src == nil {
		if len(s.sources) >= s.options.MaxSources {
			if err := s.forgetSome(); err != nil {
				return nil, err
			}
		}
		src = &source{last: unknown}
		s.sources[name] = src
	}
	return src, nil
}

// noted brings a source up to a packet, which matters when the log is read
// again after a restart.
func (s *Store) noted(name string, p sourced) error {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	src, err := s.source(name)
	if err == nil {
		src.stored(p.sequence, p.offset)
	}
	return err
}

// Last returns the sequence number of the last packet of a source that is
// stored, or -1 if none is known.
func (s *Store) Last(name string) int64 {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	if src := s.sources[name]; src != nil {
		return src.latest().sequence
	}
	return -1
}

// forgetSome forgets a sixteenth of the sources, those whose last packet came
// longest ago: so many at a time that a flood of names costs no look at all of
// them for each. It is called with sourcesMu held.
func (s *Store) forgetSome() error {
	type idle struct {
		name   string
		offset int64
	}
	var list []idle
	for name, src := range s.sources {
		if src.users == 0 {
			list = append(list, idle{name, src.latest().offset})
		}
	}
	slices.SortFunc(list, func(a, b idle) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, x := range list[:min(len(list), s.options.MaxSources/16+1)] {
		names = append(names, x.name)
	}
	if len(names) > 0 {
		s.options.Logger.Warn("sources are forgotten, as there are too many", "forgotten", len(names), "most", s.options.MaxSources)
	}
	return s.forgetSources(names)
}

// forgetOld forgets the sources of which no packet is kept.
func (s *Store) forgetOld() error {
	s.mu.RLock()
	floor := s.head.From
	for _, b := range s.blocks {
		floor = min(floor, b.From)
	}
	s.mu.RUnlock()
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	var names []string
	for name, src := range s.sources {
		if src.users == 0 && src.latest().offset < floor {
			names = append(names, name)
		}
	}
	return s.forgetSources(names)
}

// forgetSources forgets sources. It is called with sourcesMu held.
func (s *Store) forgetSources(names []string) error {
	var batch kvstore.Batch
	for _, name := range names {
		delete(s.sources, name)
		batch.Delete([]byte(sourcePrefix + name))
	}
	if len(names) == 0 {
		return nil
	}
	if err := s.kv.Apply(&batch, nil); err != nil && !errors.Is(err, kvstore.ErrFull) {
		return fmt.Errorf("store: index: %w", err)
	}
	return nil // those that the disk had no room to forget are forgotten again after the next Open
}
