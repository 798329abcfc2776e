package hitcounter

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Striped is a Ring for many processors: several rings, of which each
// processor, as a rule, adds to one of its own, and which are added up when
// somebody asks. It takes the space of that many rings. Create one with
// [NewStriped].
//
// A Striped is safe for concurrent use by multiple goroutines.
type Striped struct {
	clock
	grid
	rings []*Ring
	mine  sync.Pool // of *Ring, all of them in rings; what a processor puts back it gets again
	turn  atomic.Uint32
}

const maxStripes = 1 << 12

// stripes returns the number of parts that options ask for.
func (o *Options) stripes(name string, otherwise int) int {
	n := o.Stripes
	if n < 0 || n > maxStripes {
		panic(fmt.Sprintf("hitcounter: %s with %d stripes", name, n))
	}
	if n == 0 {
		n = otherwise
	}
	return n
}

// NewStriped returns a counter of hits in a window that is spread over
// Options.Stripes rings. It panics where [NewRing] does, and if there would be
// less than none or more than 4096 of them.
func NewStriped(window time.Duration, opts *Options) *Striped {
	if opts == nil {
		opts = &Options{}
	}
	s := &Striped{clock: newClock(opts), grid: newGrid("NewStriped", window, opts, 100)}
	n := opts.stripes("NewStriped", min(maxStripes, 1<<bits.Len(uint(runtime.GOMAXPROCS(0)-1))))
	for range n {
		s.rings = append(s.rings, newRing("NewStriped", s.grid, s.clock))
	}
	s.mine.New = func() any { return s.rings[s.turn.Add(1)%uint32(n)] }
	return s
}

// Hit counts a hit at the present.
func (s *Striped) Hit() { s.add(s.clock.instant(), 1) }

// HitAt counts a hit at t. A late hit counts in its own slot, or is dropped, as
// in a [Ring].
func (s *Striped) HitAt(t time.Time) { s.add(instant(t), 1) }

// AddAt counts n hits at t, as HitAt does. It panics if n is negative.
func (s *Striped) AddAt(t time.Time, n int64) {
	if n <= 0 {
		atLeastZero(n)
		return
	}
	s.add(instant(t), n)
}

func (s *Striped) add(at, n int64) {
	ring := s.mine.Get().(*Ring)
	if n != 1 || !ring.hit(at) {
		ring.add(at, n)
	}
	s.mine.Put(ring)
}

// Count returns CountAt of the present.
func (s *Striped) Count() int64 { return s.count(s.clock.instant()) }

// CountAt estimates the hits in the window that ends at t, as that of a [Ring]
// does. It takes time in proportion to the slots of a window and the number of
// stripes.
func (s *Striped) CountAt(t time.Time) int64 { return s.count(instant(t)) }

func (s *Striped) count(at int64) int64 {
	y := s.tally(at)
	return y.count()
}

// Bounds returns the certain interval of the number of hits in the window that
// ends at t, as that of a [Ring] does.
func (s *Striped) Bounds(t time.Time) (lo, hi int64) {
	y := s.tally(instant(t))
	return y.bounds()
}

func (s *Striped) tally(at int64) tally {
	y := tallyAt(at, s.window)
	for _, ring := range s.rings {
		ring.tallyInto(&y)
	}
	return y
}

// Stats returns what happened since the counter was made or cleared.
func (s *Striped) Stats() Stats {
	var sum Stats
	for _, ring := range s.rings {
		stats := ring.Stats()
		sum.Hits = add(sum.Hits, stats.Hits)
		sum.Dropped = add(sum.Dropped, stats.Dropped)
	}
	return sum
}

// Clear forgets all hits, the dropped ones and the latest time too. Hits that
// come meanwhile are forgotten or not.
func (s *Striped) Clear() {
	for _, ring := range s.rings {
		ring.Clear()
	}
}

// Window returns the length of the window.
func (s *Striped) Window() time.Duration { return time.Duration(s.window) }

// Resolution returns the length of a slot.
func (s *Striped) Resolution() time.Duration { return time.Duration(s.resolution) }

// Snapshot returns what the counter holds, one stripe after the other.
func (s *Striped) Snapshot() *Snapshot {
	sum := &Snapshot{grid: s.grid, ledger: newLedger()}
	for _, ring := range s.rings {
		ring.snapshotInto(sum)
	}
	sum.tidy()
	return sum
}

// Merge adds the hits of a snapshot, as that of a [Ring] does.
func (s *Striped) Merge(snapshot *Snapshot) error { return s.rings[0].Merge(snapshot) }
