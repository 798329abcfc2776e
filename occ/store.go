package occ

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Options are the settings of a [Store]. Nil and zero fields mean the defaults.
type Options struct {
	// EscalateAfter is the number of aborts after which the next attempt of an
	// Update runs alone: no other transaction commits until it has ended, so
	// it cannot be aborted. 0 means 4; negative means never, and then nothing
	// but luck ends the retries.
	EscalateAfter int

	// MaxAttempts is the number of attempts after which Update gives up with
	// a [ConflictError]. 0 means no limit.
	MaxAttempts int
}

// A Store holds values by key, and changes them in transactions. Create one
// with [New], [NewFunc], [Open] or [OpenFunc].
//
// Values are handed out as they were stored. A value that refers to memory, as
// slices, maps and pointers do, must not be changed once it is in the store: put
// a changed copy.
//
// A Store is safe for concurrent use by multiple goroutines.
type Store[K comparable, V any] struct {
	escalateAfter int // negative means never
	maxAttempts   int // 0 means no limit

	snapshots snapshots
	index     index[K, V]
	parking   parkingLot[K, V]
	garbage   garbage[K, V]
	live      atomic.Int64 // keys that have a value
	ids       atomic.Uint64
	pool      sync.Pool // of *txn[K, V]

	log   Log[K, V] // or nil
	queue queue[K, V]

	beforeExtend func() // for tests
}

// New returns an empty store whose keys have their natural order. A NaN cannot
// be a key: to put one panics. New panics if Options.MaxAttempts is negative.
func New[K cmp.Ordered, V any](opts *Options) *Store[K, V] {
	return NewFunc[K, V](cmp.Compare[K], opts)
}

// NewFunc is New for keys with an order of their own. Compare returns a
// negative number if a comes before b, a positive one if after, and 0 if and only
// if a == b. It panics if compare is nil.
func NewFunc[K comparable, V any](compare func(a, b K) int, opts *Options) *Store[K, V] {
	if compare == nil {
		panic("occ: nil compare")
	}
	if opts == nil {
		opts = &Options{}
	}
	if opts.MaxAttempts < 0 {
		panic("occ: negative MaxAttempts")
	}
	s := &Store[K, V]{escalateAfter: opts.EscalateAfter, maxAttempts: opts.MaxAttempts}
	if s.escalateAfter == 0 {
		s.escalateAfter = 4
	}
	s.snapshots.init()
	s.index.init(compare)
	return s
}

// Update runs fn in a transaction, and again as long as it conflicts with
// others: twice as it is, then with locks on the keys where the conflicts were,
// and after Options.EscalateAfter aborts alone. When it returns nil, all that
// fn did in its last run is in the store, in one step; else nothing is.
//
// An error of fn ends the transaction and is returned as it is, and a panic goes
// on. What fn has read then was true at one moment, too. An error that
// wraps [ErrConflict], from [Tx.Err] or [Tx.Lock], starts the next attempt
// instead. When ctx ends, Update returns its error at the latest before the
// next attempt. With Options.MaxAttempts it may return a [ConflictError].
//
// Since fn may run several times, it must have no effects but those on tx. It
// must not call Update or CompareAndSwap of the same store, nor wait for
// somebody who does: they may wait for the locks that the transaction holds, or, when
// it runs alone, for its end. View and Load may be called.
func (s *Store[K, V]) Update(ctx context.Context, fn func(tx *Tx[K, V]) error) error {
	_, err := s.update(ctx, fn)
	return err
}

// update returns the version of the commit, too; 0 if there was none because
// nothing was written.
func (s *Store[K, V]) update(ctx context.Context, fn func(tx *Tx[K, V]) error) (version uint64, err error) {
	t := s.acquire()
	t.ctx = ctx
	tx := t.handle()
	done := false
	defer func() {
		tx.t = nil
		if !done && t.taken { // an error, a panic, or runtime.Goexit
			t.slot.stats.errors.inc()
		}
		t.finish()
		s.pool.Put(t)
	}()
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if s.escalateAfter > 0 && attempt > s.escalateAfter {
			if err := s.snapshots.closeGate(ctx); err != nil {
				return 0, err
			}
			t.alone = true
		}
		if err := t.begin(attempt); err != nil {
			return 0, err
		}
		if err := fn(tx); err != nil && !(t.stale && errors.Is(err, ErrConflict)) {
			return 0, err
		} else if t.err != nil {
			return 0, t.err
		} else if err == nil && t.commit() {
			done = true
			t.slot.stats.commits.inc()
			return t.wv, nil
		} else if t.err != nil {
			return 0, t.err
		}
		t.slot.stats.aborts[t.cause].inc()
		if attempt == s.maxAttempts {
			return 0, &ConflictError[K]{t.conflict, attempt}
		}
		t.reset()
	}
}

// View runs fn in a transaction that only reads: the store as it was at one
// moment after the call of View. It is run once, never aborts, takes no lock and holds
// up nobody. It waits only while a commit that it must see is being installed.
//
// View returns the error of fn, or that of ctx if it has ended before fn began.
// Methods of tx that write panic.
func (s *Store[K, V]) View(ctx context.Context, fn func(tx *Tx[K, V]) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := s.acquire()
	t.readonly = true
	tx := t.handle()
	defer func() {
		tx.t = nil
		t.slot.stats.views.inc()
		t.finish()
		s.pool.Put(t)
	}()
	t.takeSlot()
	return fn(tx)
}

// Load returns the value of key, the version of the commit that gave it, and
// whether there is one. Versions are positive and grow with every commit; that
// of an absent key is 0. A version is for [Store.CompareAndSwap], now or
// later: it is what an HTTP server gives out as an ETag.
func (s *Store[K, V]) Load(key K) (value V, version uint64, ok bool) {
	t := s.acquire()
	t.readonly = true
	t.takeSlot()
	value, version, ok = t.get(key)
	t.slot.stats.views.inc()
	t.finish()
	s.pool.Put(t)
	return value, version, ok
}

// CompareAndSwap stores value under key if the version of key is still old, as
// returned by [Store.Load], and returns the new version and true; otherwise
// it returns the version that there is, and false. With old = 0 it adds a key
// that is absent.
func (s *Store[K, V]) CompareAndSwap(ctx context.Context, key K, old uint64, value V) (version uint64, swapped bool, err error) {
	committed, err := s.update(ctx, func(tx *Tx[K, V]) error {
		_, version, _ = tx.t.get(key)
		swapped = version == old
		if swapped {
			tx.Put(key, value)
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	if swapped {
		version = committed
	}
	return version, swapped, nil
}

// Len returns the number of keys that have a value. It does not wait for
// commits under way, of which it may count a part.
func (s *Store[K, V]) Len() int { return int(s.live.Load()) }
