package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"sync"
	"time"
)

// A Mutation is one change of one key: a value stored, or a deletion.
type Mutation[K comparable, V any] struct {
	Key     K
	Value   V         // zero for a deletion
	Expires time.Time // wall time at which Value ends; the zero Time means never
	Delete  bool
}

// A Record is a mutation with its place in a [Log].
type Record[K comparable, V any] struct {
	Seq uint64
	Mutation[K, V]
}

// A Log is where a [WriteBehind] writes every mutation before it acknowledges
// it. What an acknowledged mutation survives is what the log survives: with a
// log that syncs to disk in Append, a crash of the machine; with [MemoryLog],
// nothing but an eviction.
//
// A WriteBehind never calls Append concurrently with Append, and it hands over
// the mutations of concurrent callers in one call, so a log that syncs once
// per Append has group commit. It calls Checkpoint while an Append may be
// running. It calls Replay once, before anything else.
type Log[K comparable, V any] interface {
	// Append adds the mutations in order and returns the sequence number of
	// the last one. Those of one call are numbered without gaps; every number
	// is higher than all before it, also over a reopening of the log, and the
	// first is at least 1. When it returns nil, a later Replay yields the
	// mutations. When it fails none of them is acknowledged, and Replay may
	// yield them or not; a log that cannot tell where its end is must go on
	// failing. It must not keep the slice.
	Append(ctx context.Context, mutations []Mutation[K, V]) (last uint64, err error)

	// Replay yields what was appended after the last checkpoint, in order. It
	// may yield older records too, as long as none between is missing. An
	// error is yielded once and last.
	Replay(ctx context.Context) iter.Seq2[Record[K, V], error]

	// Checkpoint says that the store has accepted every mutation up to and
	// including seq, so that the log may forget them.
	Checkpoint(ctx context.Context, seq uint64) error
}

// A Store is the slow place that a [WriteBehind] stands in front of. Its
// methods are called concurrently, but Apply never concurrently with Apply.
type Store[K comparable, V any] interface {
	// Get returns the value of key and when it ends, or ok = false. A zero
	// expires means never.
	Get(ctx context.Context, key K) (value V, expires time.Time, ok bool, err error)

	// Apply makes the changes of a batch, in which no key occurs twice. When
	// it returns nil they must be as durable as the store is meant to be,
	// since the log then forgets them. A batch that failed, in part or as a
	// whole, is tried again, and after a crash changes are applied a second
	// time: Apply must be idempotent. It must not keep the slice.
	//
	// There is no way to refuse one mutation: as long as Apply fails, all
	// that follow wait. A store that will never take a mutation sets it
	// aside and returns nil.
	Apply(ctx context.Context, batch []Mutation[K, V]) error
}

var (
	// ErrClosed is returned by calls on a closed [WriteBehind] or [Loading].
	ErrClosed = errors.New("cache: closed")

	// ErrFull is returned by writes to a [WriteBehind] with
	// [WriteBehindOptions].FailWhenFull while its pending set is full, and by
	// a single call with more mutations than the pending set can ever hold.
	ErrFull = errors.New("cache: too many pending mutations")
)

// WriteBehindOptions are the settings of a [WriteBehind]. Nil and zero fields
// mean the defaults.
type WriteBehindOptions struct {
	// MaxPending bounds the mutations that are acknowledged, or about to be,
	// but not in the store yet; several for one key that wait there count as
	// one. Writes wait when it is reached. The default is 65536.
	MaxPending int

	// FailWhenFull makes such writes return ErrFull instead.
	FailWhenFull bool

	// MaxBatch bounds the mutations of one Apply. The default is 1024.
	MaxBatch int

	// Delay is how long a mutation waits for others to share a batch with,
	// and for later ones of its key to replace it. Flush, Close and a full
	// batch end the wait. The default is none: a batch is what has come in
	// while the one before was applied.
	Delay time.Duration

	// RetryMin and RetryMax bound the pause after a failed Apply: it doubles
	// with every failure in a row, less a random part of up to half. 0 means
	// 1 second and 1 minute.
	RetryMin, RetryMax time.Duration

	// Logger is told of failures of the store and of checkpoints. Nil
	// discards.
	Logger *slog.Logger
}

// WriteBehindStats counts what happened in a [WriteBehind].
type WriteBehindStats struct {
	Writes      uint64 // mutations acknowledged
	Appends     uint64 // calls of Append that succeeded; fewer than Writes where callers shared one
	Rejected    uint64 // mutations not acknowledged because Append failed
	Coalesced   uint64 // mutations replaced by a later one before they were applied
	Applied     uint64 // mutations that the store accepted
	Batches     uint64 // calls of Apply that succeeded
	Failures    uint64 // calls of Apply that failed
	Replayed    uint64 // mutations found in the log by OpenWriteBehind
	StoreReads  uint64 // reads of the store
	PendingHits uint64 // reads answered by a mutation that the cache no longer held
	Pending     int    // mutations that the store does not have yet; not a count of what happened
}

// Sub returns what happened between the earlier stats o and s, with the
// Pending of s.
func (s WriteBehindStats) Sub(o WriteBehindStats) WriteBehindStats {
	return WriteBehindStats{
		Writes:      s.Writes - o.Writes,
		Appends:     s.Appends - o.Appends,
		Rejected:    s.Rejected - o.Rejected,
		Coalesced:   s.Coalesced - o.Coalesced,
		Applied:     s.Applied - o.Applied,
		Batches:     s.Batches - o.Batches,
		Failures:    s.Failures - o.Failures,
		Replayed:    s.Replayed - o.Replayed,
		StoreReads:  s.StoreReads - o.StoreReads,
		PendingHits: s.PendingHits - o.PendingHits,
		Pending:     s.Pending,
	}
}

// A WriteBehind is a cache in front of a slow store. A write is acknowledged
// when it is in the log; a goroutine takes it to the store later, in batches.
// Open one with [OpenWriteBehind] and close it with Close.
//
//	Put ──► log.Append ──► pending ──► cache ──► return
//	                          │
//	                          └──► store.Apply ──► log.Checkpoint
//
//	Get ──► cache ──► pending ──► store.Get
//
// Mutations of one key reach the store in the order in which the log has
// them, except that one which is still waiting is replaced by the next.
// Between keys there is no order: a later mutation of a key that was already
// waiting overtakes others. The checkpoint is always below the oldest
// mutation that waits, so nothing acknowledged is lost, whether the store
// fails, the process dies, or the cache evicts what the store does not have.
//
// The cache must be safe for concurrent use, and nobody else may write to it,
// to the log or to the store. Its OnRemoval may call the WriteBehind, except
// for Get, which can wait for the very read that OnRemoval was called by. A
// key must be equal to itself, which a NaN is not.
//
// A WriteBehind is safe for concurrent use by multiple goroutines.
type WriteBehind[K comparable, V any] struct {
	fs    *flights[K, stored[V], V]
	log   Log[K, V]
	store Store[K, V]
	opts  WriteBehindOptions

	ctx    context.Context // of Append, Apply and Checkpoint; ends when Close gives up
	cancel context.CancelFunc
	done   chan struct{} // closed when the worker has ended

	committing chan struct{} // holds a token while one commit is appended

	mu      sync.Mutex
	open    *commit[K, V]        // collects mutations for the next Append
	commits int                  // not appended yet
	dirty   map[K]*pending[K, V] // the newest mutation of each key that the store lacks
	queue   []*pending[K, V]     // in the order of seq; without the batch that is being applied
	held    int                  // in the queue, in the batch, and on the way to the log
	last    uint64               // the highest seq in the log
	applied uint64               // everything up to it is in the store
	urgent  uint64               // somebody waits for all up to it: no Delay
	closed  bool
	waiting int           // writers that wait for room
	room    chan struct{} // closed when held falls and a writer waits
	moved   chan struct{} // closed when applied grows
	wake    chan struct{} // the worker has something to look at
	err     error         // of the last Apply
	stats   WriteBehindStats
}

// stored is what a store has for a key.
type stored[V any] struct {
	value   V
	expires time.Time
	ok      bool
}

// live returns a stored value whose time has not come.
func (s stored[V]) live() (V, bool) {
	if !s.ok || !s.expires.IsZero() && !time.Now().Before(s.expires) {
		var zero V
		return zero, false
	}
	return s.value, true
}

// A pending is a mutation that the store does not have yet.
type pending[K comparable, V any] struct {
	Mutation[K, V]
	first uint64    // seq of the oldest mutation that this one stands for
	since time.Time // when that was acknowledged; only with Delay
	taken bool      // into the batch that is being applied, no longer to be changed
}

// A commit is the mutations of one Append. Whoever puts the first into it
// appends it, for all.
type commit[K comparable, V any] struct {
	mutations []Mutation[K, V]
	done      chan struct{} // closed when err is set
	err       error
}

// OpenWriteBehind returns a WriteBehind over an empty cache; it clears one
// that is not. What the log has for the store is pending then, or applied
// already where it is more than MaxPending. ctx bounds the opening only. It
// panics if an option is out of range.
func OpenWriteBehind[K comparable, V any](ctx context.Context, cache Cache[K, V], log Log[K, V], store Store[K, V], opts *WriteBehindOptions) (*WriteBehind[K, V], error) {
	w := &WriteBehind[K, V]{
		log:        log,
		store:      store,
		done:       make(chan struct{}),
		committing: make(chan struct{}, 1),
		dirty:      map[K]*pending[K, V]{},
		room:       make(chan struct{}),
		moved:      make(chan struct{}),
		wake:       make(chan struct{}, 1),
	}
	if opts != nil {
		w.opts = *opts
	}
	o := &w.opts
	if o.MaxPending < 0 || o.MaxBatch < 0 || o.Delay < 0 || o.RetryMin < 0 || o.RetryMax < 0 {
		panic(fmt.Sprintf("cache: WriteBehindOptions %+v has a negative field", *o))
	}
	o.MaxPending = cmp.Or(o.MaxPending, 65536)
	o.MaxBatch = cmp.Or(o.MaxBatch, 1024)
	o.RetryMin, o.RetryMax = backoffBounds(o.RetryMin, o.RetryMax)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w.fs = newFlights(cache, w.outcome)
	cache.Clear()
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := w.replay(ctx); err != nil {
		w.cancel()
		return nil, err
	}
	go w.work()
	return w, nil
}

// Get returns the value of key and whether it has one, from the cache, from
// the mutations that the store does not have yet, or from the store. The
// error is the store's, or ctx.Err() if ctx ends first, or [ErrClosed] if the
// store would be needed after Close. Concurrent calls share one read of the
// store, whose context ends when the last of them has left.
func (w *WriteBehind[K, V]) Get(ctx context.Context, key K) (value V, ok bool, err error) {
	if value, ok = w.fs.get(key); ok {
		return value, true, nil
	}
	return w.read(ctx, key)
}

// Peek returns the value of key if it can be had without the store. It counts
// as no use.
func (w *WriteBehind[K, V]) Peek(key K) (value V, ok bool) {
	if value, ok = w.fs.peek(key); ok {
		return value, true
	}
	s, _ := w.lacking(key)
	return s.live()
}

// Put stores value under key for ever. When it returns nil the mutation is in
// the log, and visible. ctx bounds only the wait for room among the pending
// mutations: once a mutation is on its way to the log, Put waits for the
// answer, without which nobody could tell whether it was written.
func (w *WriteBehind[K, V]) Put(ctx context.Context, key K, value V) error {
	return w.write(ctx, Mutation[K, V]{Key: key, Value: value})
}

// PutTTL is Put with a lifetime, which goes on over a restart. A ttl of 0 or
// less means for ever.
func (w *WriteBehind[K, V]) PutTTL(ctx context.Context, key K, value V, ttl time.Duration) error {
	m := Mutation[K, V]{Key: key, Value: value}
	if ttl > 0 {
		m.Expires = time.Now().Add(ttl).Round(0)
	}
	return w.write(ctx, m)
}

// Delete removes key, which need not be there. It returns like Put.
func (w *WriteBehind[K, V]) Delete(ctx context.Context, key K) error {
	return w.write(ctx, Mutation[K, V]{Key: key, Delete: true})
}

// Write makes several mutations with one Append, so that all of them or none
// is acknowledged; readers see them one after the other. It returns like Put,
// and ErrFull if there are more than MaxPending.
func (w *WriteBehind[K, V]) Write(ctx context.Context, mutations ...Mutation[K, V]) error {
	return w.write(ctx, mutations...)
}

// Flush waits until everything acknowledged before it was called is in the
// store. It returns ctx.Err() if ctx ends first and [ErrClosed] if Close gave
// up before.
func (w *WriteBehind[K, V]) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for target := w.last; w.applied < target; {
		w.urgent = max(w.urgent, target)
		w.signal()
		moved := w.moved
		w.mu.Unlock()
		var err error
		select {
		case <-moved:
		case <-ctx.Done():
			err = ctx.Err()
		case <-w.done:
			err = ErrClosed
		}
		w.mu.Lock()
		if err != nil && w.applied < target {
			return err
		}
	}
	return nil
}

// Close refuses further writes with [ErrClosed], waits until the store has
// everything, and for the reads under way. If ctx ends first, Close cancels
// what is running and returns an error that wraps ctx.Err(); what the store
// does not have is in the log and comes back with the next OpenWriteBehind.
// Close may be called again. It closes neither the log nor the store.
func (w *WriteBehind[K, V]) Close(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.room) // whoever waits for room is refused
	}
	w.urgent = math.MaxUint64
	w.signal()
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.cancel()
	}
	readers := w.fs.shut(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held > 0 {
		return fmt.Errorf("cache: closed with %d mutations in the log that are not in the store: %w", w.held, cmp.Or(ctx.Err(), w.err, ErrClosed))
	}
	w.cancel()
	return readers
}

// Err returns the error of the last Apply, nil if the store accepted it.
func (w *WriteBehind[K, V]) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stats returns what happened since the WriteBehind was opened.
func (w *WriteBehind[K, V]) Stats() WriteBehindStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Pending = w.held
	return s
}
