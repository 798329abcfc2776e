package hitcounter

import (
	"math"
	"sort"
	"sync"
	"time"
)

// An Exact is a queue of the times of hits, with the hits at the same time as
// one entry: it knows the number of hits in a window exactly, and grows with
// the number of different times. It can also hold a limit, see AllowAt. Create
// one with [NewExact].
//
// An Exact is safe for concurrent use by multiple goroutines.
type Exact struct {
	clock
	grid
	keep int64 // slots that are held, counted from the latest

	mu     sync.Mutex
	queue  []entry // entries from head on are held
	head   int
	before uint64 // sum of the entry before head
	ledger ledger
}

// An entry is a slot that has hits.
//
//	slot    3    4    9   12        in increasing order
//	sum     2   12   13   20        2 hits in slot 3, 10 in 4, 1 in 9, 7 in 12
//
// Invariants: slots of held entries increase, and are above that of the last
// one minus keep. Sums are modulo 2^64, and increase by no more than
// math.MaxInt64 in all.
type entry struct {
	slot int64
	sum  uint64 // of all hits up to this slot
}

// NewExact returns a counter that is exact for times rounded up to
// Options.Resolution, a nanosecond by default. It takes 16 to 32 bytes for each
// different time in the last window and an eighth. It panics if the window is
// not positive or above 73 years, or if the resolution is negative or above the
// window.
func NewExact(window time.Duration, opts *Options) *Exact {
	if opts == nil {
		opts = &Options{}
	}
	x := &Exact{clock: newClock(opts), grid: newGrid("NewExact", window, opts, int64(window)), ledger: newLedger()}
	x.keep = x.touched() + x.touched()/8 + 1
	return x
}

// Hit counts a hit at the present.
func (x *Exact) Hit() { x.add(x.clock.instant(), 1) }

// HitAt counts a hit at t. A late hit, one before others that were counted, is
// placed among them, which takes time in proportion to how many different times
// come after it. One that is older than the latest by a window and an eighth is
// dropped.
func (x *Exact) HitAt(t time.Time) { x.add(instant(t), 1) }

// AddAt counts n hits at t, as HitAt does. It panics if n is negative.
func (x *Exact) AddAt(t time.Time, n int64) {
	if n <= 0 {
		atLeastZero(n)
		return
	}
	x.add(instant(t), n)
}

func (x *Exact) add(at, n int64) {
	x.mu.Lock()
	if at < minTime || at > maxTime {
		x.ledger.outside(at, n)
	} else {
		x.place(x.slot(at), n)
	}
	x.mu.Unlock()
}

// place adds n hits to a slot.
func (x *Exact) place(slot, n int64) {
	latest, any := x.latest()
	switch {
	case !any || slot > latest:
		x.expire(slot - x.keep)
		n = x.room(slot, n)
		x.push(entry{slot, x.sum(len(x.queue)) + uint64(n)})
	case slot == latest:
		x.queue[len(x.queue)-1].sum += uint64(x.room(slot, n))
	case slot <= latest-x.keep:
		x.ledger.drop(x.end(slot), n)
	default:
		n = x.room(slot, n)
		i := x.search(slot)
		if x.queue[i].slot != slot {
			i -= x.head
			x.push(entry{})
			i += x.head
			copy(x.queue[i+1:], x.queue[i:])
			x.queue[i] = entry{slot, x.sum(i)}
		}
		for ; i < len(x.queue); i++ {
			x.queue[i].sum += uint64(n)
		}
	}
}

// latest returns the last slot that has hits, if there is one.
func (x *Exact) latest() (slot int64, any bool) {
	if x.head == len(x.queue) {
		return 0, false
	}
	return x.queue[len(x.queue)-1].slot, true
}

// search returns the index of the first entry of a slot or of a later one,
// len(queue) if there is none.
func (x *Exact) search(slot int64) int {
	held := x.queue[x.head:]
	return x.head + sort.Search(len(held), func(i int) bool { return held[i].slot >= slot })
}

// sum returns the sum of the entries before an index.
func (x *Exact) sum(i int) uint64 {
	if i == x.head {
		return x.before
	}
	return x.queue[i-1].sum
}

// room returns as many of n hits as the sums can tell apart.
func (x *Exact) room(slot, n int64) int64 {
	held := int64(x.sum(len(x.queue)) - x.before)
	if n > math.MaxInt64-held {
		x.ledger.clip(x.end(slot))
		return math.MaxInt64 - held
	}
	return n
}

// expire removes the entries up to a slot.
func (x *Exact) expire(upTo int64) {
	if x.head == len(x.queue) || x.queue[x.head].slot > upTo {
		return
	}
	i := x.head + 1 // most often it is one, and looking for more costs more than that
	if i < len(x.queue) && x.queue[i].slot <= upTo {
		i = x.search(upTo + 1)
	}
	x.ledger.expire(x.end(x.queue[i-1].slot), int64(x.sum(i)-x.before))
	x.before = x.sum(i)
	x.head = i
}

// push appends an entry. Where there is no room, the held entries move to the
// front, if that makes much; the array becomes smaller if it is almost empty.
func (x *Exact) push(e entry) {
	if len(x.queue) == cap(x.queue) && x.head > 0 && x.head >= len(x.queue)/2 {
		held := x.queue[x.head:]
		to := x.queue[:0]
		if cap(x.queue) > 1024 && len(held) < cap(x.queue)/8 {
			to = make([]entry, 0, cap(x.queue)/4)
		}
		x.queue = append(to, held...)
		x.head = 0
	}
	x.queue = append(x.queue, e)
}

// AllowAt counts n hits at t and returns true, unless some window, whatever its
// end, would then have more than limit hits; in that case it returns false and
// counts nothing. So as long as all hits are counted by AllowAt or Allow, with
// one limit, no window has more than that.
//
// It also returns false where it cannot know, since hits around t were dropped
// or have expired: never if t is not before the latest hit, always if it is a
// window and an eighth before it. With a resolution above a nanosecond it
// refuses what might be too much, for all that is known of times. It panics if
// n is negative.
func (x *Exact) AllowAt(t time.Time, n, limit int64) bool {
	atLeastZero(n)
	at := instant(t)
	if n == 0 || n > limit || at < minTime || at > maxTime {
		return n == 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.allow(x.slot(at), n, limit)
}

// Allow is AllowAt for one hit at the present.
func (x *Exact) Allow(limit int64) bool {
	at := x.clock.instant()
	if limit < 1 || at < minTime || at > maxTime {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.allow(x.slot(at), 1, limit)
}

// allow looks at the windows that have the slot and end with it or with a later
// entry, which are the fullest.
func (x *Exact) allow(slot, n, limit int64) bool {
	latest, any := x.latest()
	if any && slot <= latest-x.keep {
		return false
	}
	length := x.touched()
	fits := func(last int64) bool {
		start := x.end(last - length)
		return start >= x.ledger.upTo && start >= x.ledger.clipped && x.between(last-length, last) <= limit-n
	}
	if !fits(slot) {
		return false
	}
	if any && slot < latest {
		for _, e := range x.queue[x.search(slot+1):] {
			if e.slot >= slot+length {
				break
			}
			if !fits(e.slot) {
				return false
			}
		}
	}
	x.place(slot, n)
	return true
}

// between returns the hits after one slot, up to another.
func (x *Exact) between(after, upTo int64) int64 {
	return int64(x.sumUpTo(upTo) - x.sumUpTo(after))
}

func (x *Exact) sumUpTo(slot int64) uint64 {
	if latest, any := x.latest(); !any || slot >= latest {
		return x.sum(len(x.queue))
	}
	return x.sum(x.search(slot + 1))
}

// Count returns CountAt of the present.
func (x *Exact) Count() int64 { return x.count(x.clock.instant()) }

// CountAt returns the number of hits in the window that ends at t. It takes
// time in proportion to the logarithm of the number of entries. With a
// resolution above a nanosecond it is an estimate, as that of a [Ring].
func (x *Exact) CountAt(t time.Time) int64 { return x.count(instant(t)) }

func (x *Exact) count(at int64) int64 {
	y := x.tally(at)
	return y.count()
}

// Bounds returns the certain interval of the number of hits in the window that
// ends at t. The two bounds are the same, with two exceptions. With a
// resolution above a nanosecond hits in the slots in which the window begins
// and ends may be in it or not. And if the window begins before a hit that was
// dropped or has expired, all such hits count for hi. That is never so if t is
// not before the latest hit.
func (x *Exact) Bounds(t time.Time) (lo, hi int64) {
	y := x.tally(instant(t))
	return y.bounds()
}

func (x *Exact) tally(at int64) tally {
	y := tallyAt(at, x.window)
	x.mu.Lock()
	defer x.mu.Unlock()
	first, last := x.slot(y.after+1), x.slot(y.upTo)
	if start := x.end(first - 1); start < y.after {
		y.slot(start, x.end(first), x.between(first-1, first))
		first++
	}
	if end := x.end(last); first <= last && end > y.upTo {
		y.slot(x.end(last-1), end, x.between(last-1, last))
		last--
	}
	if first <= last {
		y.certain = add(y.certain, x.between(first-1, last))
	}
	y.settle(&x.ledger)
	return y
}

// Len returns the number of entries held.
func (x *Exact) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue) - x.head
}

// Stats returns what happened since the counter was made or cleared.
func (x *Exact) Stats() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.stats(int64(x.sum(len(x.queue)) - x.before))
}

// Clear forgets all hits, the dropped ones and the latest time too, and gives
// the memory back.
func (x *Exact) Clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue, x.head, x.before, x.ledger = nil, 0, 0, newLedger()
}

// Window returns the length of the window.
func (x *Exact) Window() time.Duration { return time.Duration(x.window) }

// Resolution returns the length of a slot.
func (x *Exact) Resolution() time.Duration { return time.Duration(x.resolution) }

// Snapshot returns what the counter holds now.
func (x *Exact) Snapshot() *Snapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.snapshot()
}

func (x *Exact) snapshot() *Snapshot {
	s := &Snapshot{grid: x.grid, ledger: x.ledger}
	for i := x.head; i < len(x.queue); i++ {
		if n := int64(x.queue[i].sum - x.sum(i)); n > 0 {
			s.spans = append(s.spans, span{x.queue[i].slot, x.queue[i].slot, n})
		}
	}
	return s
}

// Merge adds the hits of a snapshot, each to its slot, as if all had been
// counted here in order of time. It returns an error that wraps [ErrMismatch]
// if the window or the resolution of the snapshot is another.
func (x *Exact) Merge(s *Snapshot) error {
	if err := s.fits(&x.grid); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := x.snapshot()
	if err := sum.Merge(s); err != nil {
		return err
	}
	x.queue, x.head, x.before, x.ledger = x.queue[:0], 0, 0, sum.ledger
	for _, span := range sum.spans {
		x.place(span.first, span.n)
	}
	return nil
}
