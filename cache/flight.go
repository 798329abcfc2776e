package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A PanicError is what every waiter gets when a loader panics, or a function
// that is called with what it loaded: Lifetime, IsNegative, and Cost and
// OnRemoval of the cache. The panic does not go on in the goroutine of the
// load, where nothing could recover it and one bad key would end the process,
// nor in each waiter, which did not call the loader.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of the goroutine of the load
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("cache: panic during a load: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("cache: runtime.Goexit was called during a load")

// A change is what is to happen to one key of a cache: a value stored, or, if
// put is false, the key deleted.
type change[S any] struct {
	put   bool
	value S
	ttl   time.Duration
}

// A turn is the time in which one goroutine changes a key.
type turn[S any] struct {
	put  bool       // what it began with stores a value
	next *change[S] // what others left
}

// A load is one call of a loader, for one key or for several.
type load struct {
	cancel  context.CancelFunc // nil until it is launched
	wanted  int                // flights that somebody waits for
	aborted bool               // before it was launched
}

// abort ends the context of the load. The caller holds the mutex of flights.
func (l *load) abort() {
	l.aborted = true
	if l.cancel != nil {
		l.cancel()
	}
}

// unwanted takes one flight less to wait for into account. The caller holds
// the mutex of flights.
func (l *load) unwanted() {
	if l.wanted--; l.wanted == 0 {
		l.abort()
	}
}

// A flight is the load of one key and what came of it.
type flight[V any] struct {
	load    *load
	done    chan struct{} // closed when value and err are set
	value   V
	err     error
	waiters int  // background loads wait for themselves
	dropped bool // a write came in between, or everybody left: not stored
	landed  bool // over, nobody can leave any more
	during  bool // began during a change, which the cache may not show yet
	yields  bool // began while a value was put: not stored, since Put wins
}

// flights is the part that compositions share: at most one load per key at a
// time, and an order of the changes to a cache without holding a lock while
// the cache runs callbacks.
//
// Changes to one key happen one at a time. Whoever finds the key busy leaves
// the change with the goroutine that is at it and returns; until that one has
// caught up, readers find the change in busy. So a write never waits, not even
// one from a callback of the cache, and is visible when it returns:
//
//	no turn             the cache is right
//	a turn, next nil    the cache is about to change, by this one change
//	a turn, next set    the cache is behind, next is the truth
//
// A result is stored before its flight ends, so that whoever comes too late
// for the flight finds it in the cache.
type flights[K comparable, V, S any] struct {
	cache Cache[K, S]

	// outcome is the change that the end of a load makes, nil for none.
	outcome func(key K, value V, err error) *change[S]

	mu     sync.Mutex
	inAir  map[K]*flight[V]
	busy   map[K]turn[S]
	left   atomic.Int64 // turns with a next
	loads  map[*load]struct{}
	closed bool
	idle   chan struct{} // closed when the last load of a closed composition ends

	superseded atomic.Uint64 // results that a write made worthless
}

func newFlights[K comparable, V, S any](cache Cache[K, S], outcome func(K, V, error) *change[S]) *flights[K, V, S] {
	return &flights[K, V, S]{
		cache:   cache,
		outcome: outcome,
		inAir:   map[K]*flight[V]{},
		busy:    map[K]turn[S]{},
		loads:   map[*load]struct{}{},
		idle:    make(chan struct{}),
	}
}

// get returns what the cache holds, or is about to.
func (fs *flights[K, V, S]) get(key K) (value S, ok bool) {
	if ch := fs.pending(key); ch != nil {
		return ch.value, ch.put
	}
	return fs.cache.Get(key)
}

func (fs *flights[K, V, S]) peek(key K) (value S, ok bool) {
	if ch := fs.pending(key); ch != nil {
		return ch.value, ch.put
	}
	return fs.cache.Peek(key)
}

func (fs *flights[K, V, S]) pending(key K) *change[S] {
	if fs.left.Load() == 0 {
		return nil
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.busy[key].next
}

// checkKey panics, as a map does, if key is an interface that holds what cannot
// be a key of a map. It is called before a lock is taken or a log written.
func checkKey[K comparable](key K) { _ = map[K]struct{}(nil)[key] }

// write makes a change that wins over the loads of key under way.
func (fs *flights[K, V, S]) write(key K, ch change[S]) {
	checkKey(key)
	fs.mu.Lock()
	fs.drop(key)
	mine := fs.begin(key, &ch)
	fs.mu.Unlock()
	if mine {
		fs.settle(key, &ch)
	}
}

// clear empties the cache, and wins like write.
func (fs *flights[K, V, S]) clear() {
	fs.mu.Lock()
	for key := range fs.inAir {
		fs.drop(key)
	}
	for key := range fs.busy {
		fs.begin(key, &change[S]{})
	}
	fs.mu.Unlock()
	fs.cache.Clear()
}

// drop makes the flight of key, if there is one, end without being stored or
// joined. The caller holds mu.
func (fs *flights[K, V, S]) drop(key K) {
	if f := fs.inAir[key]; f != nil {
		f.dropped = true
		delete(fs.inAir, key)
		fs.superseded.Add(1)
	}
}

// begin makes the caller the one who changes key, or leaves ch with whoever
// is. The caller holds mu.
func (fs *flights[K, V, S]) begin(key K, ch *change[S]) (mine bool) {
	turn, taken := fs.busy[key]
	switch {
	case !taken:
		turn.put = ch.put
	case turn.next == nil:
		fs.left.Add(1)
		fallthrough
	default:
		turn.next = ch
	}
	fs.busy[key] = turn
	return !taken
}

// settle makes ch and what others leave meanwhile. The caller began.
func (fs *flights[K, V, S]) settle(key K, ch *change[S]) {
	defer func() {
		// Only here after the loop if a callback of the cache panicked.
		if ch != nil {
			if next := fs.next(key, ch); next != nil {
				fs.settle(key, next)
			}
		}
	}()
	for ch != nil {
		if ch.put {
			fs.cache.PutTTL(key, ch.value, ch.ttl)
		} else {
			fs.cache.Delete(key)
		}
		ch = fs.next(key, ch)
	}
}

// next returns what was left after done, or gives key free.
func (fs *flights[K, V, S]) next(key K, done *change[S]) *change[S] {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	ch := fs.busy[key].next
	if ch != nil && ch != done {
		return ch
	}
	if ch != nil {
		fs.left.Add(-1)
	}
	delete(fs.busy, key)
	return nil
}

// join returns the flight of key. If mine is set it is a new one of load l,
// and the caller has to land it. The caller holds mu.
func (fs *flights[K, V, S]) join(key K, l *load) (f *flight[V], mine bool) {
	if f = fs.inAir[key]; f != nil {
		f.waiters++
		return f, false
	}
	turn, taken := fs.busy[key]
	f = &flight[V]{load: l, done: make(chan struct{}), waiters: 1}
	f.during = taken && turn.next == nil
	f.yields = f.during && turn.put
	fs.inAir[key] = f
	l.wanted++
	return f, true
}

// start joins the flight of key or launches one. before is asked when a new
// one is in place: a load that ended just before it has stored its value by
// then, and makes it needless. During a change it is told that the cache is
// unsettled: what that holds may be what the change is about to remove, and
// those who join the flight may come after the change.
func (fs *flights[K, V, S]) start(ctx context.Context, key K, timeout time.Duration, before func(settled bool) (V, error, bool), call func(context.Context) (V, error)) (f *flight[V], mine bool, err error) {
	checkKey(key)
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return nil, false, ErrClosed
	}
	l := &load{}
	if f, mine = fs.join(key, l); !mine {
		fs.mu.Unlock()
		return f, false, nil
	}
	fs.loads[l] = struct{}{}
	fs.mu.Unlock()
	if before != nil {
		if value, err, ok := before(!f.during); ok {
			fs.land(key, f, value, err, false)
			fs.close(l)
			return f, false, nil
		}
	}
	ctx = fs.open(ctx, timeout, l)
	go func() {
		var value V
		err := errGoexit
		defer fs.close(l)
		defer func() { fs.land(key, f, value, err, true) }()
		defer recoverTo(&err)
		value, err = call(ctx)
	}()
	return f, true, nil
}

// startAll is start for several keys, none twice, that one call loads. A key
// that is missing in what it returns ends with the error absent.
func (fs *flights[K, V, S]) startAll(ctx context.Context, keys []K, timeout time.Duration, before func(key K, settled bool) (V, error, bool), call func(context.Context, []K) (map[K]V, error), absent error) (all []*flight[V], mine []bool, err error) {
	l := &load{}
	all, mine = make([]*flight[V], len(keys)), make([]bool, len(keys))
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return nil, nil, ErrClosed
	}
	for i, key := range keys {
		all[i], mine[i] = fs.join(key, l)
	}
	if l.wanted == 0 {
		fs.mu.Unlock()
		return all, mine, nil
	}
	l.wanted++ // so that flights which land at once do not abort it
	fs.loads[l] = struct{}{}
	fs.mu.Unlock()

	var rest []K
	var group []*flight[V]
	for i, key := range keys {
		if !mine[i] {
			continue
		}
		if before != nil {
			if value, err, ok := before(key, !all[i].during); ok {
				fs.land(key, all[i], value, err, false)
				mine[i] = false
				continue
			}
		}
		rest, group = append(rest, key), append(group, all[i])
	}
	fs.mu.Lock()
	l.unwanted()
	fs.mu.Unlock()
	if len(rest) == 0 {
		fs.close(l)
		return all, mine, nil
	}
	ctx = fs.open(ctx, timeout, l)
	go func() {
		var values map[K]V
		err := errGoexit
		defer fs.close(l)
		defer fs.landAll(rest, group, &values, &err, absent)
		defer recoverTo(&err)
		values, err = call(ctx, slices.Clone(rest)) // the loader may sort them
	}()
	return all, mine, nil
}

// landAll lands the flights of a load of several keys.
func (fs *flights[K, V, S]) landAll(keys []K, group []*flight[V], values *map[K]V, err *error, absent error) {
	i := 0
	defer func() {
		// Only here before the end if landing called runtime.Goexit.
		if i < len(keys) {
			fs.landAll(keys[i+1:], group[i+1:], values, err, absent)
		}
	}()
	for ; i < len(keys); i++ {
		value, ok := (*values)[keys[i]]
		if *err == nil && !ok {
			fs.land(keys[i], group[i], value, absent, true)
		} else {
			fs.land(keys[i], group[i], value, *err, true)
		}
	}
}

// recoverTo is deferred around a loader, and around what is done with its
// result.
func recoverTo(err *error) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r, Stack: debug.Stack()}
	}
}

// open returns the context of a load. It has the values of ctx but ends only
// with the timeout, or when nobody waits for any of the load's flights.
func (fs *flights[K, V, S]) open(ctx context.Context, timeout time.Duration, l *load) context.Context {
	ctx = context.WithoutCancel(ctx)
	var cancel context.CancelFunc
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if l.cancel = cancel; l.aborted {
		cancel()
	}
	return ctx
}

// close is called when a load is over and its flights have landed.
func (fs *flights[K, V, S]) close(l *load) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	l.abort()
	delete(fs.loads, l)
	if fs.closed && len(fs.loads) == 0 {
		close(fs.idle)
	}
}

// land ends a flight: it stores the outcome if there is one to store, and
// then lets the waiters go, also if a callback panics.
func (fs *flights[K, V, S]) land(key K, f *flight[V], value V, err error, store bool) {
	f.value, f.err = value, err
	defer fs.landed(key, f)
	if store {
		defer recoverTo(&f.err)
		fs.store(key, f)
	}
}

// store makes the change that the end of a flight asks for, if any.
func (fs *flights[K, V, S]) store(key K, f *flight[V]) {
	fs.mu.Lock()
	store := !f.dropped && !f.yields
	fs.mu.Unlock()
	if !store {
		return
	}
	if ch := fs.outcome(key, f.value, f.err); ch != nil {
		fs.mu.Lock()
		mine := !f.dropped && fs.begin(key, ch)
		fs.mu.Unlock()
		if mine {
			fs.settle(key, ch)
		}
	}
}

// landed takes a flight out of the air.
func (fs *flights[K, V, S]) landed(key K, f *flight[V]) {
	fs.mu.Lock()
	if fs.inAir[key] == f {
		delete(fs.inAir, key)
	}
	f.landed = true
	if f.waiters > 0 {
		f.load.unwanted()
	}
	fs.mu.Unlock()
	close(f.done)
}

// wait waits for a flight that the caller has joined, as long as ctx allows.
func (fs *flights[K, V, S]) wait(ctx context.Context, key K, f *flight[V]) (value V, err error) {
	select {
	case <-f.done:
		return f.value, f.err
	default:
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		fs.leave(key, f)
		return value, ctx.Err()
	}
}

// leave gives up waiting. The last one to leave cancels the load.
func (fs *flights[K, V, S]) leave(key K, f *flight[V]) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.waiters--; f.waiters > 0 || f.landed {
		return
	}
	f.dropped = true
	if fs.inAir[key] == f {
		delete(fs.inAir, key)
	}
	f.load.unwanted()
}

// shut refuses new loads and waits for those under way, which it cancels when
// ctx ends.
func (fs *flights[K, V, S]) shut(ctx context.Context) error {
	fs.mu.Lock()
	if !fs.closed {
		fs.closed = true
		if len(fs.loads) == 0 {
			close(fs.idle)
		}
	}
	fs.mu.Unlock()
	select {
	case <-fs.idle:
		return nil
	default:
	}
	select {
	case <-fs.idle:
		return nil
	case <-ctx.Done():
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for l := range fs.loads {
		l.abort()
	}
	return ctx.Err()
}
