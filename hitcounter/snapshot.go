package hitcounter

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// ErrMismatch is what errors wrap that come of merging what does not fit
// together: other windows, resolutions or precisions, or another kind.
var ErrMismatch = errors.New("hitcounter: mismatch")

// A Snapshot is what a counter held at some moment: its slots by their absolute
// numbers, or the buckets of an [Approx]. Those of several hosts can be added
// up, and a snapshot can be sent and stored. The zero Snapshot is there to be
// unmarshalled into, and to be merged into: it takes the form of the first
// snapshot that has one.
//
// A Snapshot is safe for concurrent use by multiple goroutines as long as none
// of them changes it, by Merge or UnmarshalBinary.
type Snapshot struct {
	grid   // without a resolution, spans are buckets; without a window, it is the zero Snapshot
	spans  []span
	ledger ledger
}

// A span is n hits: of a slot, whose number is first and last, or of a bucket,
// and then first and last are the instants of its first and last hit.
//
// Invariants: n is positive, and at least 2 if first and last differ. Spans are
// in order of first, last and n. Those of slots differ. Slots and instants are
// of the range that counters tell apart.
type span struct{ first, last, n int64 }

// Window returns the length of the window.
func (s *Snapshot) Window() time.Duration { return time.Duration(s.window) }

// Resolution returns the length of a slot, 0 for a snapshot of an [Approx].
func (s *Snapshot) Resolution() time.Duration { return time.Duration(s.resolution) }

// CountAt returns what the counter's CountAt would have returned, or the sum
// for what was merged.
func (s *Snapshot) CountAt(t time.Time) int64 {
	y := s.tally(t)
	return y.count()
}

// Bounds returns the certain interval of the number of hits in the window that
// ends at t, among those that were counted before the snapshot was made.
func (s *Snapshot) Bounds(t time.Time) (lo, hi int64) {
	y := s.tally(t)
	return y.bounds()
}

func (s *Snapshot) tally(t time.Time) tally {
	if s.window == 0 {
		return tally{}
	}
	y := tallyAt(instant(t), s.window)
	for _, span := range s.spans {
		if s.resolution == 0 {
			y.bucket(span.first, span.last, span.n)
		} else {
			y.slot(s.end(span.first-1), s.end(span.first), span.n)
		}
	}
	y.settle(&s.ledger)
	return y
}

// Stats returns what happened to the hits up to the snapshot.
func (s *Snapshot) Stats() Stats {
	held := int64(0)
	for _, span := range s.spans {
		held = add(held, span.n)
	}
	return s.ledger.stats(held)
}

// All iterates over the slots that have hits, in order of time: the end of the
// slot, which belongs to it, and the hits. For an [Approx] it is the last hit
// of each bucket. Besides those of a window there may be some older slots.
func (s *Snapshot) All() iter.Seq2[time.Time, int64] {
	return func(yield func(time.Time, int64) bool) {
		for _, span := range s.spans {
			at := span.last
			if s.resolution != 0 {
				at = s.end(span.last)
			}
			if !yield(time.Unix(0, at), span.n) {
				return
			}
		}
	}
}

// Merge adds the hits of other snapshots, of other hosts or of other times
// without overlap. Slots add up exactly, each with the one of the same number.
// Buckets stay apart, so that each host's relative error remains what it was,
// and with it that of the sum. If one of the snapshots has another window or
// resolution, Merge returns an error that wraps [ErrMismatch], and changes
// nothing.
func (s *Snapshot) Merge(others ...*Snapshot) error {
	form := s.grid
	for _, other := range others {
		if form.window == 0 {
			form = other.grid
		} else if other.window != 0 {
			if err := other.fits(&form); err != nil {
				return err
			}
		}
	}
	if form.window == 0 {
		return nil
	}
	if s.window == 0 {
		s.grid, s.ledger = form, newLedger()
	}
	for _, other := range others {
		if other.window != 0 {
			s.spans = append(s.spans, other.spans...)
			s.ledger.merge(other.ledger)
		}
	}
	s.tidy()
	return nil
}

// fits returns an error if the snapshot does not have the form of a counter.
func (s *Snapshot) fits(g *grid) error {
	if s.window != g.window || s.resolution != g.resolution {
		return fmt.Errorf("%w: snapshot of a window of %v by %v, want %v by %v", ErrMismatch,
			s.Window(), s.Resolution(), time.Duration(g.window), time.Duration(g.resolution))
	}
	return nil
}

// tidy puts spans in order, and adds those of the same slot or instant.
func (s *Snapshot) tidy() {
	slices.SortFunc(s.spans, compareSpans)
	kept := s.spans[:0]
	for _, next := range s.spans {
		if i := len(kept) - 1; i >= 0 && kept[i].last == next.first && kept[i].first == next.last {
			kept[i].n = add(kept[i].n, next.n)
		} else {
			kept = append(kept, next)
		}
	}
	s.spans = kept
}

func compareSpans(a, b span) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last), cmp.Compare(a.n, b.n))
}
