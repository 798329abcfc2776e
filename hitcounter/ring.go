package hitcounter

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// A Ring adds up hits by slots of time, of which it holds those of a window and
// some more. It takes the same space whatever the number of hits. Create one
// with [NewRing].
//
// A Ring is safe for concurrent use by multiple goroutines.
type Ring struct {
	clock
	grid
	rows []row
	mask int64
	log  uint // of the number of rows

	// recent is the slot that a row went on to most recently, where the next
	// hit is likely to be.
	recent atomic.Int64
	_      [64]byte

	// mu is held while a row goes from one slot to a later one, and by readers,
	// who therefore see no row on its way.
	mu     sync.Mutex
	ledger ledger
}

// A row counts the hits of one slot. The slots that share a row are as many
// apart as there are rows, and follow each other in it, never back:
//
//	slot    number of the slot                                    63 ... 0
//	word    tag: the slot's turn in the row, lowest bits          63 .. 44
//	        hits                                                  43 ... 0
//
// A hit whose slot is in the row is added by comparing and swapping the word.
// The tag makes that fail when the row has gone on to another slot since the
// number was read. While a row goes on its slot is empty, and hits wait for the
// lock.
//
// Invariants: slot is empty, or row number slot & mask is this one and tag is
// that of the slot; the slots that a row has had increase.
type row struct {
	slot atomic.Int64
	word atomic.Uint64
}

const (
	empty    = math.MinInt64
	hitBits  = 44
	hitLimit = 1<<hitBits - 1
)

// NewRing returns a counter of hits in a window. Each of its slots is as long
// as Options.Resolution, and takes 16 bytes; there is room for those of the
// window and a quarter more. It panics if the window is not positive or above
// 73 years, if the resolution is negative or above the window, and if there
// would be more than 2^24 slots.
func NewRing(window time.Duration, opts *Options) *Ring {
	if opts == nil {
		opts = &Options{}
	}
	return newRing("NewRing", newGrid("NewRing", window, opts, 100), newClock(opts))
}

func newRing(name string, g grid, c clock) *Ring {
	n := g.rows(name)
	r := &Ring{clock: c, grid: g, rows: make([]row, n), mask: int64(n - 1), log: uint(bits.TrailingZeros(uint(n)))}
	r.Clear()
	return r
}

// Hit counts a hit at the present.
func (r *Ring) Hit() {
	if at := r.clock.instant(); !r.hit(at) {
		r.add(at, 1)
	}
}

// HitAt counts a hit at t. A late hit counts in its own slot. If that had to
// make room for another, which takes a hit that is later by a window and a
// quarter at least, the hit is dropped.
func (r *Ring) HitAt(t time.Time) {
	if at := instant(t); !r.hit(at) {
		r.add(at, 1)
	}
}

// hit counts a hit if its slot is the recent one. Most are, and to ask that
// first is not only less to compute: the processor finds the row before it
// knows the time.
func (r *Ring) hit(at int64) bool {
	slot := r.recent.Load()
	return uint64(r.end(slot)-at) < uint64(r.resolution) && r.rows[slot&r.mask].add(slot, r.tag(slot), 1)
}

// AddAt counts n hits at t, as HitAt does. It panics if n is negative.
func (r *Ring) AddAt(t time.Time, n int64) {
	if n <= 0 {
		atLeastZero(n)
		return
	}
	r.add(instant(t), n)
}

func (r *Ring) add(at, n int64) {
	if at < minTime || at > maxTime {
		r.addSlow(at, n)
		return
	}
	slot := r.grid.slot(at)
	row := &r.rows[slot&r.mask]
	tag := r.tag(slot)
	for row.slot.Load() == slot && fits(row.word.Load(), tag, uint64(n)) {
		if row.add(slot, tag, uint64(n)) {
			return
		}
	}
	r.addSlow(at, n)
}

// add adds hits to the row if it has the slot, if they fit, and if nobody else
// adds some at the same moment.
func (p *row) add(slot int64, tag, n uint64) bool {
	word := p.word.Load()
	return p.slot.Load() == slot && fits(word, tag, n) && p.word.CompareAndSwap(word, word+n)
}

// fits reports whether a word has the tag, and still has it with n more hits.
func fits(word, tag, n uint64) bool { return ((word^tag)|((word+n)^tag))>>hitBits == 0 }

// tag returns the tag of a slot where the word has it.
func (r *Ring) tag(slot int64) uint64 { return uint64(slot>>(r.log&63)) << hitBits }

func (r *Ring) addSlow(at, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at < minTime || at > maxTime {
		r.ledger.outside(at, n)
	} else if slot := r.grid.slot(at); !r.place(slot, n) {
		r.ledger.drop(r.end(slot), n)
	}
}

// place adds n hits to a slot, and returns false if its row has gone on to a
// later one. The caller has the lock.
func (r *Ring) place(slot, n int64) bool {
	row := &r.rows[slot&r.mask]
	held := row.slot.Load()
	switch {
	case held > slot:
		return false
	case held == slot:
		for {
			word := row.word.Load()
			sum := r.clip(slot, add(int64(word&hitLimit), n))
			if row.word.CompareAndSwap(word, sum) {
				return true
			}
		}
	default:
		// Empty first, so that nobody begins to add to the word; then the word
		// is swapped, and what it had is all that was added.
		row.slot.Store(empty)
		word := row.word.Swap(r.clip(slot, n))
		if held != empty {
			r.ledger.expire(r.end(held), int64(word&hitLimit))
		}
		row.slot.Store(slot)
		r.recent.Store(slot)
		return true
	}
}

// clip returns the word of a slot with n hits.
func (r *Ring) clip(slot, n int64) uint64 {
	if n > hitLimit {
		n = hitLimit
		r.ledger.clip(r.end(slot))
	}
	return r.tag(slot) | uint64(n)
}

// Count returns CountAt of the present.
func (r *Ring) Count() int64 { return r.count(r.clock.instant()) }

// CountAt estimates the hits in the window that ends at t: all of the slot of
// t, of the slots between, and of the slot in which the window begins a share
// in proportion to time. It takes time in proportion to the slots of a window.
func (r *Ring) CountAt(t time.Time) int64 { return r.count(instant(t)) }

func (r *Ring) count(at int64) int64 {
	y := r.tally(at)
	return y.count()
}

// Bounds returns the certain interval of the number of hits in the window that
// ends at t. What may be in it or not are the hits of two slots: that of t, if
// it is not over at t, and the one in which the window begins. So when t is a
// multiple of the resolution, and the window is too, the two bounds are the
// same.
//
// If the window begins before a hit that was dropped or had to make room, all
// such hits count for hi. That is never so if t is not before the latest hit.
func (r *Ring) Bounds(t time.Time) (lo, hi int64) {
	y := r.tally(instant(t))
	return y.bounds()
}

func (r *Ring) tally(at int64) tally {
	y := tallyAt(at, r.window)
	r.tallyInto(&y)
	return y
}

// tallyInto adds what the ring knows of a window to a tally.
func (r *Ring) tallyInto(y *tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, last := r.slot(y.after+1), r.slot(y.upTo)
	y.slot(r.end(first-1), r.end(first), r.held(first))
	if last > first {
		y.slot(r.end(last-1), r.end(last), r.held(last))
	}
	between := int64(0) // at most 2^24 times 2^44
	for slot := first + 1; slot < last; slot++ {
		between += r.held(slot)
	}
	y.certain = add(y.certain, between)
	y.settle(&r.ledger)
}

// held returns the hits of a slot, if its row holds it.
func (r *Ring) held(slot int64) int64 {
	row := &r.rows[slot&r.mask]
	if row.slot.Load() != slot {
		return 0
	}
	return int64(row.word.Load() & hitLimit)
}

// Stats returns what happened since the ring was made or cleared.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := int64(0)
	for i := range r.rows {
		if r.rows[i].slot.Load() != empty {
			held = add(held, int64(r.rows[i].word.Load()&hitLimit))
		}
	}
	return r.ledger.stats(held)
}

// Clear forgets all hits, the dropped ones and the latest time too. Hits that
// come meanwhile are forgotten or not.
func (r *Ring) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rows {
		r.rows[i].slot.Store(empty)
		r.rows[i].word.Store(0)
	}
	r.ledger = newLedger()
}

// Window returns the length of the window.
func (r *Ring) Window() time.Duration { return time.Duration(r.window) }

// Resolution returns the length of a slot.
func (r *Ring) Resolution() time.Duration { return time.Duration(r.resolution) }

// Snapshot returns what the ring holds now.
func (r *Ring) Snapshot() *Snapshot {
	s := &Snapshot{grid: r.grid, ledger: newLedger()}
	r.snapshotInto(s)
	s.tidy()
	return s
}

func (r *Ring) snapshotInto(s *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rows {
		if slot := r.rows[i].slot.Load(); slot != empty {
			if n := int64(r.rows[i].word.Load() & hitLimit); n > 0 {
				s.spans = append(s.spans, span{slot, slot, n})
			}
		}
	}
	s.ledger.merge(r.ledger)
}

// Merge adds the hits of a snapshot, each to its slot, as if all had been
// counted here in order of time. It returns an error that wraps [ErrMismatch]
// if the window or the resolution of the snapshot is another.
func (r *Ring) Merge(s *Snapshot) error {
	if err := s.fits(&r.grid); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.merge(s.ledger)
	for _, span := range s.spans {
		if !r.place(span.first, span.n) {
			r.ledger.expire(r.end(span.first), span.n)
		}
	}
	return nil
}
