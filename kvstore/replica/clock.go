package replica

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

// An Actor is the identity of whoever makes versions: of a store, where
// siblings are kept, or of a coordinator, where the last writer wins.
//
// It stands for a memory that forgets nothing, because of two versions of one
// actor the later is taken to have seen the earlier. So take another one with
// NewActor when the memory is lost: when a store is made, restored from a
// backup, has given keys away, or comes back without writes that it let out
// before they were synced; and whenever a coordinator starts.
//
// An Actor is a value and safe for concurrent use.
type Actor uint64

// NewActor returns an actor drawn at random, never zero.
func NewActor() Actor {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails
		if a := binary.LittleEndian.Uint64(b[:]); a != 0 {
			return Actor(a)
		}
	}
}

// String returns the actor as 16 hexadecimal digits.
func (a Actor) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// A Time is hybrid: milliseconds since 1970 in the upper 48 bits, and below
// them a count of what happened within one. Zero is before all that happened.
//
// A Time is a value and safe for concurrent use.
type Time uint64

const (
	countBits = 16
	endOfTime = ^Time(0) // no version is that late, so that there is always a later time
)

// TimeOf returns the first Time of t's millisecond, and zero for times before
// 1970.
func TimeOf(t time.Time) Time {
	ms := t.UnixMilli()
	switch {
	case ms <= 0:
		return 0
	case ms >= 1<<(64-countBits):
		return endOfTime - 1
	}
	return Time(ms) << countBits
}

// Wall returns the time of the clock that it was made from, to the millisecond.
func (t Time) Wall() time.Time { return time.UnixMilli(int64(t >> countBits)) }

// String returns the wall time and the count.
func (t Time) String() string {
	return fmt.Sprintf("%s+%d", t.Wall().UTC().Format("2006-01-02T15:04:05.000Z"), t&(1<<countBits-1))
}

// A Clock is a hybrid logical clock: it follows the wall clock, yet never gives
// a time twice or runs backwards, and what it gives is later than what it has
// been shown. So a version is later than those that whoever wrote it had read,
// however wrong the wall clocks are. The zero Clock is ready to use; it reads
// no clock itself.
//
// A Clock is safe for concurrent use by multiple goroutines.
type Clock struct{ last atomic.Uint64 }

// Next returns a time that is later than all it has returned, later than after,
// and not before wall.
func (c *Clock) Next(wall time.Time, after Time) Time {
	for {
		last := c.last.Load()
		next := max(uint64(TimeOf(wall)), last+1, uint64(after)+1)
		if c.last.CompareAndSwap(last, next) {
			return Time(next)
		}
	}
}

// Seen lets Next return times later than t only. Use it when a store is opened.
func (c *Clock) Seen(t Time) {
	for {
		last := c.last.Load()
		if last >= uint64(t) || t == endOfTime || c.last.CompareAndSwap(last, uint64(t)) {
			return
		}
	}
}
