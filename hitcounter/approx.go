package hitcounter

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// An Approx counts hits with a proven relative error, in space that grows with
// the logarithm of their number: an exponential histogram. Create one with
// [NewApprox].
//
// An Approx is safe for concurrent use by multiple goroutines.
type Approx struct {
	clock
	window int64
	keep   int64 // how long hits are held, counted from the latest
	eps    float64

	mu      sync.Mutex
	buckets []bucket // those from head on are held
	head    int
	full    int   // number of held buckets at which some are united
	total   int64 // hits in held buckets
	ledger  ledger
}

// A bucket is a number of hits at instants of which only the first and the last
// are known:
//
//	 first  last     first=last   first last
//	    +-----+           |         +---+        | | | |
//	    |  9  |           7         | 3 |        1 1 2 1
//	----+-----+-----------+---------+---+--------+-+-+-+----> time
//	 old                                               new
//
// When the start of a window lies within a bucket, how many of its hits are in
// the window is not known, except that the last is and the first is not. The
// others are at most twice eps times the hits that are in the window for
// certain, so half of them is a good enough guess.
//
// Invariants: a bucket begins where the one before it ends, or later. A bucket
// has at least one hit, and two if first and last differ. The newest has one
// instant. With hits that come in order of time, a bucket with more than one
// instant has at most 2 + 2*floor(eps*(1 + the hits in all newer ones)).
type bucket struct{ first, last, n int64 }

// NewApprox returns a counter whose CountAt is off by eps times the true number
// at most, if hits come in order of time. It holds about ln(2*eps*n)/eps
// buckets of 24 bytes for n hits. It panics if the window is not positive or
// above 73 years, or if eps is not above 0 and below 1.
func NewApprox(window time.Duration, eps float64, opts *Options) *Approx {
	if opts == nil {
		opts = &Options{}
	}
	checkWindow("NewApprox", window)
	if !(eps > 0 && eps < 1) {
		panic(fmt.Sprintf("hitcounter: NewApprox with a relative error of %v", eps))
	}
	a := &Approx{clock: newClock(opts), window: int64(window), keep: int64(window) + int64(window)/8, eps: eps}
	a.Clear()
	return a
}

// Hit counts a hit at the present.
func (a *Approx) Hit() { a.add(a.clock.instant(), 1) }

// HitAt counts a hit at t. A late hit, one before others that were counted, is
// placed in the bucket of its time. Bounds takes that into account; the error
// of CountAt may grow by half a hit for each late one. One that is older than
// the latest by a window and an eighth is dropped.
func (a *Approx) HitAt(t time.Time) { a.add(instant(t), 1) }

// AddAt counts n hits at t, as HitAt does. It panics if n is negative.
func (a *Approx) AddAt(t time.Time, n int64) {
	if n <= 0 {
		atLeastZero(n)
		return
	}
	a.add(instant(t), n)
}

func (a *Approx) add(at, n int64) {
	a.mu.Lock()
	if at < minTime || at > maxTime {
		a.ledger.outside(at, n)
	} else {
		a.place(at, n)
	}
	a.mu.Unlock()
}

func (a *Approx) place(at, n int64) {
	newest := len(a.buckets) - 1
	switch {
	case newest < a.head || at > a.buckets[newest].last:
		a.expire(at - a.keep)
		if len(a.buckets)-a.head >= a.full {
			a.unite()
		}
		if n = a.room(at, n); n > 0 {
			a.push(bucket{at, at, n})
		}
	case at == a.buckets[newest].last:
		a.grow(newest, n)
	case at <= a.buckets[newest].last-a.keep:
		a.ledger.drop(at, n)
	default:
		a.late(at, n)
	}
}

// late places hits before the newest bucket.
func (a *Approx) late(at, n int64) {
	i := a.search(at)
	if b := a.buckets[i]; b.first <= at {
		a.grow(i, n)
		return
	}
	if len(a.buckets)-a.head >= a.full {
		a.unite()
		i = a.search(at)
		if a.buckets[i].first <= at {
			a.grow(i, n)
			return
		}
	}
	if n = a.room(at, n); n > 0 {
		a.buckets = slices.Insert(a.buckets, i, bucket{at, at, n})
	}
}

// grow adds hits to a bucket.
func (a *Approx) grow(i int, n int64) {
	a.buckets[i].n += a.room(a.buckets[i].last, n)
}

// room adds as many of n hits up to an instant to the total as fit, and returns
// how many those are.
func (a *Approx) room(upTo, n int64) int64 {
	if n > math.MaxInt64-a.total {
		n = math.MaxInt64 - a.total
		a.ledger.clip(upTo)
	}
	a.total += n
	return n
}

// search returns the index of the first bucket that ends at an instant or after
// it, len(buckets) if there is none.
func (a *Approx) search(at int64) int {
	held := a.buckets[a.head:]
	return a.head + sort.Search(len(held), func(i int) bool { return held[i].last >= at })
}

// expire removes the buckets that end at an instant or before it.
func (a *Approx) expire(upTo int64) {
	for a.head < len(a.buckets) && a.buckets[a.head].last <= upTo {
		a.ledger.expire(a.buckets[a.head].last, a.buckets[a.head].n)
		a.total -= a.buckets[a.head].n
		a.head++
	}
}

// push appends a bucket, and moves the held ones to the front where there is no
// room, if that makes much.
func (a *Approx) push(b bucket) {
	if len(a.buckets) == cap(a.buckets) && a.head > len(a.buckets)/4 {
		a.buckets = slices.Delete(a.buckets, 0, a.head)
		a.head = 0
	}
	a.buckets = append(a.buckets, b)
}

// unite makes as few buckets as the invariants allow: from the newest on, each
// takes in the older ones next to it as long as it may. Then there is room for
// half as many more until it has to be done again.
func (a *Approx) unite() {
	held := a.buckets[a.head:]
	to := len(held) - 1
	newer := int64(0)
	for i := to - 1; i >= 0; i-- {
		b, older := &held[to], held[i]
		if n := b.n + older.n; to < len(held)-1 && n-2 <= a.allowance(newer) {
			b.first, b.n = older.first, n
		} else {
			newer += b.n
			to--
			held[to] = older
		}
	}
	a.buckets = append(a.buckets[:0], held[to:]...)
	a.head = 0
	a.full = max(minBuckets, len(a.buckets)+len(a.buckets)/2)
}

const minBuckets = 64

// allowance returns how many hits besides the first and the last a bucket may
// have, an even number, if that many are newer.
func (a *Approx) allowance(newer int64) int64 {
	return 2 * int64(min(a.eps*(float64(newer)+1)*(1-1e-12), 1<<61))
}

// Count returns CountAt of the present.
func (a *Approx) Count() int64 { return a.count(a.clock.instant()) }

// CountAt estimates the hits in the window that ends at t. If hits came in
// order of time and t is not before the latest, it is off by at most eps times
// the true number. It takes time in proportion to the number of buckets, and
// much less at the present.
func (a *Approx) CountAt(t time.Time) int64 { return a.count(instant(t)) }

func (a *Approx) count(at int64) int64 {
	y := a.tally(at)
	return y.count()
}

// Bounds returns the certain interval of the number of hits in the window that
// ends at t. What may be in it or not are the hits, except for one or two, of
// the buckets in which the window begins and ends.
//
// If the window begins before a hit that was dropped or has expired, all such
// hits count for hi. That is never so if t is not before the latest hit.
func (a *Approx) Bounds(t time.Time) (lo, hi int64) {
	y := a.tally(instant(t))
	return y.bounds()
}

func (a *Approx) tally(at int64) tally {
	y := tallyAt(at, a.window)
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.search(y.after + 1)
	switch {
	case i == len(a.buckets):
	case a.buckets[len(a.buckets)-1].last <= y.upTo:
		// All from the i-th on are in the window, but that it may begin in the
		// i-th. There are few before it.
		inside := a.total
		for _, b := range a.buckets[a.head:i] {
			inside -= b.n
		}
		if b := a.buckets[i]; b.first <= y.after {
			inside -= b.n
			y.bucket(b.first, b.last, b.n)
		}
		y.certain = add(y.certain, inside)
	default:
		for _, b := range a.buckets[i:] {
			y.bucket(b.first, b.last, b.n)
		}
	}
	y.settle(&a.ledger)
	return y
}

// Len returns the number of buckets held.
func (a *Approx) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.buckets) - a.head
}

// RelativeError returns eps.
func (a *Approx) RelativeError() float64 { return a.eps }

// Stats returns what happened since the counter was made or cleared.
func (a *Approx) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ledger.stats(a.total)
}

// Clear forgets all hits, the dropped ones and the latest time too.
func (a *Approx) Clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buckets, a.head, a.total, a.full, a.ledger = nil, 0, 0, minBuckets, newLedger()
}

// Window returns the length of the window.
func (a *Approx) Window() time.Duration { return time.Duration(a.window) }

// Snapshot returns what the counter holds now. Its Resolution is 0.
func (a *Approx) Snapshot() *Snapshot {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &Snapshot{grid: grid{window: a.window}, ledger: a.ledger}
	for _, b := range a.buckets[a.head:] {
		s.spans = append(s.spans, span(b))
	}
	s.tidy()
	return s
}

// Restore replaces what the counter holds by a snapshot of an Approx, for
// example its own of before a restart. It returns an error that wraps
// [ErrMismatch] if the snapshot is not one of an Approx with that window, or if
// snapshots were merged in it: their buckets overlap.
func (a *Approx) Restore(s *Snapshot) error {
	if err := s.fits(&grid{window: a.window}); err != nil {
		return err
	}
	buckets := make([]bucket, len(s.spans))
	total := int64(0)
	for i, span := range s.spans {
		if buckets[i] = bucket(span); i > 0 && span.first < buckets[i-1].last || span.n > math.MaxInt64-total {
			return fmt.Errorf("%w: buckets that overlap", ErrMismatch)
		}
		total += span.n
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buckets, a.head, a.total, a.full, a.ledger = buckets, 0, total, max(minBuckets, len(buckets)), s.ledger
	return nil
}
