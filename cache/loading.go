package cache

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrNotFound is what a loader returns, alone or wrapped, for a key that has
// no value. It is an answer, not a failure: see [LoadingOptions].NegativeTTL.
var ErrNotFound = errors.New("cache: not found")

// A Loaded is what the cache under a [Loading] holds: a value, or the
// knowledge that there is none. Options.Cost and Options.OnRemoval of that
// cache see it.
//
// A Loaded that comes from a snapshot has no refresh or stale time: it is
// served until its lifetime in the cache is over. Encoding/gob, which snapshots
// use unless they are given a codec, keeps the knowledge that there is no value
// and the text of its error, which wraps ErrNotFound afterwards. A codec of
// one's own has to refuse a Loaded with an Err, or to use gob for it.
type Loaded[V any] struct {
	Value V
	state *loadedState // nil for a value that does not age
}

// Err returns the error that says that there is no value, or nil.
func (l Loaded[V]) Err() error {
	if l.state == nil {
		return nil
	}
	return l.state.err
}

// A loadedGob is what gob sees of a Loaded.
type loadedGob[V any] struct {
	Value   V
	Missing bool
	Text    string // of the error; empty for that of ErrNotFound
}

// GobEncode implements [encoding/gob.GobEncoder].
func (l Loaded[V]) GobEncode() ([]byte, error) {
	g := loadedGob[V]{Value: l.Value}
	if err := l.Err(); err != nil {
		g.Missing = true
		if err != ErrNotFound {
			g.Text = err.Error()
		}
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(&g)
	return b.Bytes(), err
}

// GobDecode implements [encoding/gob.GobDecoder].
func (l *Loaded[V]) GobDecode(data []byte) error {
	var g loadedGob[V]
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&g); err != nil {
		return err
	}
	*l = Loaded[V]{Value: g.Value}
	if g.Missing {
		l.state = &loadedState{err: ErrNotFound}
		if g.Text != "" {
			l.state.err = savedError(g.Text)
		}
	}
	return nil
}

// A savedError is an error that meant that there is no value, from a snapshot.
type savedError string

func (e savedError) Error() string { return string(e) }
func (e savedError) Unwrap() error { return ErrNotFound }

// A loadedState holds times since the Loading was made. The last two fields
// change without the entry being stored again.
type loadedState struct {
	err     error
	refresh time.Duration // 0 for never
	ends    time.Duration // 0 for never; after it the value is stale
	retry   atomic.Int64  // no attempt before it
	failed  atomic.Int32  // attempts in a row
}

// LoadingOptions are the settings of a [Loading]. A nil *LoadingOptions, like
// the zero value, leaves lifetimes to the cache and remembers no failure.
type LoadingOptions[K comparable, V any] struct {
	// TTL is the lifetime of a loaded value, 0 for the default of the cache.
	TTL time.Duration

	// Lifetime, if not nil, returns the lifetime of one value in place of
	// TTL, read like TTL if it is positive and like PutTTL otherwise.
	Lifetime func(key K, value V) time.Duration

	// Jitter shortens TTL, and RefreshAfter with it, by a random part of up
	// to this fraction, in [0, 1).
	Jitter float64

	// RefreshAfter is the age from which a value that is asked for is loaded
	// again in the background; the caller gets the old one at once. It must
	// be below TTL. 0 means never.
	RefreshAfter time.Duration

	// StaleFor is how long after the end of its lifetime a value may still
	// be served because loading it again fails, or does not end before the
	// caller's context does. It needs TTL or Lifetime. 0 means not at all.
	StaleFor time.Duration

	// RetryMin and RetryMax bound the pause after a failed load of a key that
	// has an old value to serve: it doubles with every failure in a row, less
	// a random part of up to half. 0 means 1 second and 1 minute.
	RetryMin, RetryMax time.Duration

	// NegativeTTL is how long the knowledge that a key has no value is kept;
	// calls for it get the loader's error meanwhile. 0 means not at all.
	NegativeTTL time.Duration

	// IsNegative, if not nil, names further errors that mean that there is no
	// value, beside those that wrap ErrNotFound; for example sql.ErrNoRows.
	IsNegative func(error) bool

	// LoadAll, if not nil, loads the keys that a GetAll misses in one call.
	// A key that is not in the map it returns has no value; one that was not
	// asked for is ignored.
	LoadAll func(ctx context.Context, keys []K) (map[K]V, error)

	// Timeout ends the context of each load. 0 means that a load may take as
	// long as somebody waits for it, and a background refresh for ever.
	Timeout time.Duration
}

// LoadStats counts what happened in a [Loading]. Every key of a Get,
// GetOrLoad or GetAll is one of Hits, Negatives and Misses.
type LoadStats struct {
	Hits       uint64        // answered with a value that was there
	Negatives  uint64        // answered by the knowledge that there is none
	Misses     uint64        // waited for a load
	Coalesced  uint64        // of the misses and Refreshes, those that joined the load of another
	Stale      uint64        // answers with a value past its lifetime
	Loads      uint64        // calls of loaders that have ended
	LoadErrors uint64        // of these, failures: neither a value nor ErrNotFound
	LoadTime   time.Duration // sum over Loads
	Refreshes  uint64        // background loads begun
	Superseded uint64        // results not stored, since Put, Delete or Clear came in between
}

// Sub returns what happened between the earlier stats o and s.
func (s LoadStats) Sub(o LoadStats) LoadStats {
	return LoadStats{
		Hits:       s.Hits - o.Hits,
		Negatives:  s.Negatives - o.Negatives,
		Misses:     s.Misses - o.Misses,
		Coalesced:  s.Coalesced - o.Coalesced,
		Stale:      s.Stale - o.Stale,
		Loads:      s.Loads - o.Loads,
		LoadErrors: s.LoadErrors - o.LoadErrors,
		LoadTime:   s.LoadTime - o.LoadTime,
		Refreshes:  s.Refreshes - o.Refreshes,
		Superseded: s.Superseded - o.Superseded,
	}
}

// A Loading is a cache that loads what it does not hold. Create one with
// [NewLoading].
//
// A load runs in a goroutine of its own, so that every caller can leave when
// its context ends while the others go on waiting. Put, Delete and Clear win
// over a load that began before them: its waiters get the result, the cache
// does not.
//
// The cache under a Loading must be safe for concurrent use, and nobody else
// may write to it. Its OnRemoval may call Put, Delete and Peek, but nothing
// that loads, which can wait for the very load that OnRemoval was called by.
// A key must be equal to itself, which a NaN is not.
//
// A Loading is safe for concurrent use by multiple goroutines.
type Loading[K comparable, V any] struct {
	fs    *flights[K, V, Loaded[V]]
	load  func(context.Context, K) (V, error)
	opts  LoadingOptions[K, V]
	start time.Time

	hits                                                              counter
	negatives, misses, coalesced, stale, loads, loadErrors, refreshes atomic.Uint64
	loadTime                                                          atomic.Int64
}

// NewLoading returns a Loading that keeps its values in store, for example an
// lru.New[K, cache.Loaded[V]], and gets missing ones from load. It panics if
// an option is out of range.
//
// The context of load has the values of the context of the caller who asked
// first. It ends when the last caller who waits has left.
func NewLoading[K comparable, V any](store Cache[K, Loaded[V]], load func(ctx context.Context, key K) (V, error), opts *LoadingOptions[K, V]) *Loading[K, V] {
	l := &Loading[K, V]{load: load, start: time.Now()}
	if opts != nil {
		l.opts = *opts
	}
	o := &l.opts
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", o.TTL}, {"RefreshAfter", o.RefreshAfter}, {"StaleFor", o.StaleFor}, {"RetryMin", o.RetryMin},
		{"RetryMax", o.RetryMax}, {"NegativeTTL", o.NegativeTTL}, {"Timeout", o.Timeout},
	} {
		if d.value < 0 {
			panic(fmt.Sprintf("cache: LoadingOptions.%s %v is negative", d.name, d.value))
		}
	}
	switch {
	case !(o.Jitter >= 0 && o.Jitter < 1):
		panic(fmt.Sprintf("cache: LoadingOptions.Jitter %v is not in [0, 1)", o.Jitter))
	case o.RefreshAfter > 0 && o.TTL > 0 && o.RefreshAfter >= o.TTL:
		panic(fmt.Sprintf("cache: LoadingOptions.RefreshAfter %v is not below TTL %v", o.RefreshAfter, o.TTL))
	case o.StaleFor > 0 && o.TTL == 0 && o.Lifetime == nil:
		panic("cache: LoadingOptions.StaleFor needs TTL or Lifetime")
	}
	o.RetryMin, o.RetryMax = backoffBounds(o.RetryMin, o.RetryMax)
	l.fs = newFlights(store, l.outcome)
	return l
}

// Get returns the value of key, loading it if it is not there. The error is
// that of the loader, or ctx.Err() if ctx ends first, or [ErrClosed] if a
// load would be needed after Close.
func (l *Loading[K, V]) Get(ctx context.Context, key K) (V, error) {
	return l.GetOrLoad(ctx, key, l.load)
}

// GetOrLoad is Get with a loader of its own. It joins a load of the same key
// that is under way, whatever its loader is.
func (l *Loading[K, V]) GetOrLoad(ctx context.Context, key K, load func(ctx context.Context, key K) (V, error)) (V, error) {
	held, state := l.look(key)
	if state.answers() {
		if state == due {
			l.background(ctx, key, load)
		}
		return held.Value, held.Err()
	}
	if err := ctx.Err(); err != nil {
		var zero V
		return zero, err
	}
	f, mine, err := l.fs.start(ctx, key, l.opts.Timeout, func(settled bool) (V, error, bool) { return l.recheck(key, settled) }, func(ctx context.Context) (V, error) { return l.call(ctx, key, load) })
	if err == nil {
		if !mine {
			l.coalesced.Add(1)
		}
		var value V
		if value, err = l.fs.wait(ctx, key, f); err == nil {
			return value, nil
		}
	}
	if value, ok := l.fallback(held, state, err); ok {
		return value, nil
	}
	var zero V
	return zero, err
}

// Peek returns the value of key if it is there and its lifetime is not over.
// It loads nothing and counts as no use.
func (l *Loading[K, V]) Peek(key K) (value V, ok bool) {
	held, ok := l.fs.peek(key)
	if !ok || held.Err() != nil {
		return value, false
	}
	if f := l.freshness(held); f != fresh && f != due {
		return value, false
	}
	return held.Value, true
}

// Put stores value under key as if it had been loaded now.
func (l *Loading[K, V]) Put(key K, value V) {
	l.fs.write(key, *l.outcome(key, value, nil))
}

// PutTTL is Put with a lifetime for this value, read as by [Cache]; 0 stands
// for what the options say.
func (l *Loading[K, V]) PutTTL(key K, value V, ttl time.Duration) {
	if ttl == 0 {
		l.Put(key, value)
		return
	}
	l.fs.write(key, *l.entry(value, ttl, l.opts.RefreshAfter))
}

// Delete forgets key, so that the next Get loads it. Call it after changing
// the source: a load that began before is not stored, nor joined by calls
// that come after.
func (l *Loading[K, V]) Delete(key K) { l.fs.write(key, change[Loaded[V]]{}) }

// Clear forgets everything, as Delete does.
func (l *Loading[K, V]) Clear() { l.fs.clear() }

// Refresh loads key again although it is there, and returns what came of it;
// other callers get the old value meanwhile. It joins a load under way. If
// the load fails the old value stays.
func (l *Loading[K, V]) Refresh(ctx context.Context, key K) (V, error) {
	f, mine, err := l.fs.start(ctx, key, l.opts.Timeout, nil, func(ctx context.Context) (V, error) { return l.call(ctx, key, l.load) })
	if err != nil {
		var zero V
		return zero, err
	}
	if !mine {
		l.coalesced.Add(1)
	}
	return l.fs.wait(ctx, key, f)
}

// Stats returns what happened since the Loading was made. It is not a
// snapshot of one instant.
func (l *Loading[K, V]) Stats() LoadStats {
	return LoadStats{
		Hits:       l.hits.Load(),
		Negatives:  l.negatives.Load(),
		Misses:     l.misses.Load(),
		Coalesced:  l.coalesced.Load(),
		Stale:      l.stale.Load(),
		Loads:      l.loads.Load(),
		LoadErrors: l.loadErrors.Load(),
		LoadTime:   time.Duration(l.loadTime.Load()),
		Refreshes:  l.refreshes.Load(),
		Superseded: l.fs.superseded.Load(),
	}
}

// Close refuses further loads with [ErrClosed] and waits for those under way:
// background refreshes, and loads that all callers have left. If ctx ends
// first it cancels them, and returns ctx.Err() without waiting longer. What
// the cache holds is still served. Close may be called again.
func (l *Loading[K, V]) Close(ctx context.Context) error { return l.fs.shut(ctx) }
