package occ

import (
	"sync/atomic"
	"unsafe"
)

// Stats counts what happened in a [Store].
type Stats struct {
	Commits uint64 // transactions of Update and CompareAndSwap that succeeded, with or without writes
	Views   uint64 // transactions of View, and calls of Load
	Errors  uint64 // transactions of Update whose body returned an error, or panicked

	// Aborts are attempts of Update that had to be repeated, by cause.
	ReadAborts  uint64 // a key that was read has changed
	RangeAborts uint64 // a range that was read has changed
	LockAborts  uint64 // a key to be written, or locked, was locked by another transaction

	Extensions  uint64 // snapshots that were moved forward instead of an abort
	Waits       uint64 // for the lock of a key
	Escalations uint64 // attempts that ran alone
}

// Aborts returns the number of attempts that had to be repeated.
func (s Stats) Aborts() uint64 { return s.ReadAborts + s.RangeAborts + s.LockAborts }

// Sub returns what happened between the earlier stats o and s.
func (s Stats) Sub(o Stats) Stats {
	return Stats{
		Commits:     s.Commits - o.Commits,
		Views:       s.Views - o.Views,
		Errors:      s.Errors - o.Errors,
		ReadAborts:  s.ReadAborts - o.ReadAborts,
		RangeAborts: s.RangeAborts - o.RangeAborts,
		LockAborts:  s.LockAborts - o.LockAborts,
		Extensions:  s.Extensions - o.Extensions,
		Waits:       s.Waits - o.Waits,
		Escalations: s.Escalations - o.Escalations,
	}
}

// Stats returns what happened since the store was made. Counts of transactions
// under way may be in it in part.
func (s *Store[K, V]) Stats() Stats {
	var sum Stats
	for slot := range s.snapshots.all {
		c := &slot.stats
		sum.Commits += c.commits.Load()
		sum.Views += c.views.Load()
		sum.Errors += c.errors.Load()
		sum.ReadAborts += c.aborts[causeRead].Load()
		sum.RangeAborts += c.aborts[causeRange].Load()
		sum.LockAborts += c.aborts[causeLock].Load()
		sum.Extensions += c.extensions.Load()
		sum.Waits += c.waits.Load()
		sum.Escalations += c.escalations.Load()
	}
	return sum
}

// counters are written by the transaction that has the slot alone.
type counters struct {
	commits, views, errors         counter
	aborts                         [causes]counter
	extensions, waits, escalations counter
}

const counterBytes = int(unsafe.Sizeof(counters{}))

// A counter has one writer at a time.
type counter struct{ atomic.Uint64 }

func (c *counter) inc() { c.Store(c.Load() + 1) }

// A cause is why an attempt has to be repeated.
type cause uint8

const (
	causeRead cause = iota
	causeRange
	causeLock
	causes
)
