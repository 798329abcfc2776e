package hitcounter

import (
	"math"
	"time"
)

// A Reader tells how many hits lie in the window that ends at a time: those at
// instants after t - window, up to and including t.
type Reader interface {
	// Count is CountAt of the present.
	Count() int64
	// CountAt returns the best estimate of the hits in the window, which lies
	// within Bounds.
	CountAt(t time.Time) int64
	// Bounds returns the certain interval of the number of hits in the window,
	// whatever the order in which they came. A hi of math.MaxInt64 stands for
	// that many or more.
	Bounds(t time.Time) (lo, hi int64)
}

// A Counter counts hits and tells how many of them lie in a window. [Exact],
// [Ring], [Striped] and [Approx] are counters.
type Counter interface {
	Reader
	// Hit is HitAt of the present.
	Hit()
	// HitAt counts a hit at t.
	HitAt(t time.Time)
	// AddAt counts n hits at t. It panics if n is negative.
	AddAt(t time.Time, n int64)
	// Stats returns what happened since the counter was made or cleared.
	Stats() Stats
}

// Options are the settings of a counter; nil means the defaults. A setting that
// a counter has no use for is ignored.
type Options struct {
	// Resolution is the length of a slot: all that a counter knows of the time
	// of a hit is its slot. The default is the window divided by 100, or by 10
	// for Unique and Keyed, rounded up, and a nanosecond for Exact. Approx has
	// no slots.
	Resolution time.Duration

	// Stripes is the number of parts of a Striped, and of a Keyed, that do not
	// wait for each other. The default is the number of processors that Go
	// uses, up to the next power of two; for a Keyed, one for each 256 keys of
	// capacity, up to 16.
	Stripes int

	// Now tells the present to Hit and Count. By default it is what the wall
	// clock said when the counter was made, plus the time that has passed since
	// by the monotonic clock. That never goes back; it does not follow when
	// somebody sets the wall clock or, on most systems, when the machine
	// sleeps. time.Now does.
	Now func() time.Time
}

// Stats are counts of what happened to hits since a counter was made or
// cleared.
type Stats struct {
	Hits    int64 // counted, whether or not they are in a window still
	Dropped int64 // not counted, since they came too late to be placed
}

// Sub returns what happened since earlier.
func (s Stats) Sub(earlier Stats) Stats {
	return Stats{s.Hits - earlier.Hits, s.Dropped - earlier.Dropped}
}

// The instants that counters tell apart are the nanoseconds from minTime to
// maxTime, from November 1823 to February 2116; sums of two of them, or of one
// and a window, do not overflow. Those before and after have the names tooEarly
// and tooLate.
const (
	maxSeconds = 1 << 62 / int64(time.Second)
	maxTime    = maxSeconds*int64(time.Second) - 1
	minTime    = -maxSeconds * int64(time.Second)
	tooEarly   = math.MinInt64
	tooLate    = math.MaxInt64

	maxWindow = time.Duration(1) << 61 // 73 years
)

// instant returns the nanoseconds from the start of 1970 to t.
func instant(t time.Time) int64 {
	seconds := t.Unix()
	if uint64(seconds+maxSeconds) >= uint64(2*maxSeconds) {
		if seconds < 0 {
			return tooEarly
		}
		return tooLate
	}
	return seconds*int64(time.Second) + int64(t.Nanosecond())
}

// A clock tells the present.
type clock struct {
	base time.Time
	at   int64 // base as an instant
	now  func() time.Time
}

func newClock(opts *Options) clock {
	if opts.Now != nil {
		return clock{now: opts.Now}
	}
	base := time.Now()
	return clock{base: base, at: instant(base)}
}

func (c *clock) instant() int64 {
	if c.now != nil {
		return instant(c.now())
	}
	return c.at + int64(time.Since(c.base))
}

// A ledger knows of the hits that a counter does not hold any more, or never
// placed.
type ledger struct {
	expired int64 // were counted, and left to make room
	late    int64 // came too late to be placed
	upTo    int64 // no hit of these two kinds is after this instant
	beyond  int64 // hits after maxTime
	clipped int64 // slots up to this instant may have had more hits than they could count
}

func newLedger() ledger { return ledger{upTo: tooEarly, clipped: tooEarly} }

// expire notes that n hits up to the instant have left.
func (l *ledger) expire(upTo, n int64) {
	if n > 0 {
		l.expired = add(l.expired, n)
		l.upTo = max(l.upTo, upTo)
	}
}

// drop notes that n hits up to the instant were not placed.
func (l *ledger) drop(upTo, n int64) {
	l.late = add(l.late, n)
	l.upTo = max(l.upTo, upTo)
}

// outside notes n hits at an instant that has no name.
func (l *ledger) outside(at, n int64) {
	if at > maxTime {
		l.beyond = add(l.beyond, n)
	} else {
		l.drop(minTime-1, n)
	}
}

// merge takes over what another ledger knows.
func (l *ledger) merge(other ledger) {
	l.expired = add(l.expired, other.expired)
	l.late = add(l.late, other.late)
	l.beyond = add(l.beyond, other.beyond)
	l.upTo = max(l.upTo, other.upTo)
	l.clipped = max(l.clipped, other.clipped)
}

// clip notes that a slot that ends at the instant cannot count any further.
func (l *ledger) clip(upTo int64) { l.clipped = max(l.clipped, upTo) }

// stats returns the counts for a counter that holds so many hits.
func (l *ledger) stats(held int64) Stats {
	return Stats{Hits: add(held, l.expired), Dropped: add(l.late, l.beyond)}
}

// add returns a+b for values that are not negative, and math.MaxInt64 where
// that overflows.
func add(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return math.MaxInt64
}

// atLeastZero panics if n is negative.
func atLeastZero(n int64) {
	if n < 0 {
		panic("hitcounter: negative number of hits")
	}
}
