package cache

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

// A freshness says what to do with what the cache holds for a key.
//
//	age  0 ....... RefreshAfter ....... TTL ......... TTL+StaleFor
//	     fresh     due: serve, refresh  ended: load,  gone: load
//	                                    serve if that fails
//
// After a failed attempt a due value counts as fresh, and an ended one as
// paused, until the pause is over.
type freshness int

const (
	gone freshness = iota
	fresh
	due
	ended
	paused
)

// answers reports whether a caller gets the value without waiting.
func (f freshness) answers() bool { return f == fresh || f == due || f == paused }

func (l *Loading[K, V]) now() time.Duration { return time.Since(l.start) }

func (l *Loading[K, V]) freshness(held Loaded[V]) freshness {
	s := held.state
	if s == nil || s.refresh == 0 && s.ends == 0 {
		return fresh
	}
	now := l.now()
	waiting := now < time.Duration(s.retry.Load())
	switch {
	case s.ends != 0 && now-s.ends >= l.opts.StaleFor:
		return gone
	case s.ends != 0 && now >= s.ends && waiting:
		return paused
	case s.ends != 0 && now >= s.ends:
		return ended
	case s.refresh != 0 && now >= s.refresh && !waiting:
		return due
	}
	return fresh
}

// look reads the cache for a caller and counts what it finds.
func (l *Loading[K, V]) look(key K) (held Loaded[V], f freshness) {
	held, ok := l.fs.get(key)
	if ok {
		f = l.freshness(held)
	}
	switch {
	case !f.answers():
		l.misses.Add(1)
	case held.Err() != nil:
		l.negatives.Add(1)
	default:
		l.hits.Add(1)
		if f == paused {
			l.stale.Add(1)
		}
	}
	return held, f
}

// recheck is asked by the maker of a flight, see [flights.start].
func (l *Loading[K, V]) recheck(key K, settled bool) (V, error, bool) {
	held, ok := l.fs.peek(key)
	return held.Value, held.Err(), ok && settled && l.freshness(held).answers()
}

// fallback returns the value to serve in place of err, if there is one.
func (l *Loading[K, V]) fallback(held Loaded[V], f freshness, err error) (value V, ok bool) {
	if f != ended || l.isNegative(err) || l.freshness(held) == gone {
		return value, false
	}
	l.stale.Add(1)
	return held.Value, true
}

// background loads key unless a load is under way. There is nobody to tell of
// an error; it counts as a failed attempt.
func (l *Loading[K, V]) background(ctx context.Context, key K, load func(context.Context, K) (V, error)) {
	f, mine, err := l.fs.start(ctx, key, l.opts.Timeout, nil, func(ctx context.Context) (V, error) { return l.call(ctx, key, load) })
	switch {
	case err != nil: // closed
	case mine:
		// The load waits for itself, so callers who join and leave do not
		// cancel it.
		l.refreshes.Add(1)
	default:
		l.fs.leave(key, f)
	}
}

func (l *Loading[K, V]) isNegative(err error) bool {
	return errors.Is(err, ErrNotFound) || l.opts.IsNegative != nil && l.opts.IsNegative(err)
}

// call runs a loader and counts it, also if it panics.
func (l *Loading[K, V]) call(ctx context.Context, key K, load func(context.Context, K) (V, error)) (value V, err error) {
	defer l.count(time.Now(), &err)
	err = errGoexit
	value, err = load(ctx, key)
	return value, err
}

func (l *Loading[K, V]) count(began time.Time, err *error) {
	l.loads.Add(1)
	l.loadTime.Add(int64(time.Since(began)))
	if *err != nil && !l.isNegative(*err) {
		l.loadErrors.Add(1)
	}
}

// outcome is what the end of a load changes.
func (l *Loading[K, V]) outcome(key K, value V, err error) *change[Loaded[V]] {
	switch {
	case err == nil:
		ttl := l.opts.TTL
		if l.opts.Lifetime != nil {
			ttl = l.opts.Lifetime(key, value)
		}
		refresh := l.opts.RefreshAfter
		if ttl > 0 && l.opts.Jitter > 0 {
			keep := 1 - rand.Float64()*l.opts.Jitter
			ttl = max(1, time.Duration(float64(ttl)*keep))
			refresh = time.Duration(float64(refresh) * keep)
		}
		return l.entry(value, ttl, refresh)
	case l.isNegative(err):
		if l.opts.NegativeTTL == 0 {
			return &change[Loaded[V]]{}
		}
		return &change[Loaded[V]]{put: true, value: Loaded[V]{state: &loadedState{err: err}}, ttl: l.opts.NegativeTTL}
	}
	if held, ok := l.fs.peek(key); ok && held.state != nil {
		n := held.state.failed.Add(1)
		held.state.retry.Store(int64(l.now() + backoff(l.opts.RetryMin, l.opts.RetryMax, int(n)-1)))
	}
	return nil
}

// entry is the change that stores a value.
func (l *Loading[K, V]) entry(value V, ttl, refresh time.Duration) *change[Loaded[V]] {
	ch := &change[Loaded[V]]{put: true, value: Loaded[V]{Value: value}, ttl: ttl}
	if refresh == 0 && (ttl <= 0 || l.opts.StaleFor == 0) {
		return ch // the cache alone knows when it ends
	}
	state := &loadedState{}
	now := l.now()
	if refresh > 0 && (ttl <= 0 || refresh < ttl) {
		state.refresh = now + refresh
	}
	if ttl > 0 && ttl < math.MaxInt64-now {
		state.ends = now + ttl
		if ch.ttl = Forever; ttl < math.MaxInt64-l.opts.StaleFor {
			ch.ttl = ttl + l.opts.StaleFor
		}
	}
	ch.value.state = state
	return ch
}

// backoffBounds fills in the defaults.
func backoffBounds(least, most time.Duration) (time.Duration, time.Duration) {
	if least == 0 {
		least = time.Second
	}
	if most == 0 {
		most = time.Minute
	}
	return least, max(least, most)
}

// backoff is the pause after n+1 failures in a row.
func backoff(least, most time.Duration, n int) time.Duration {
	pause := most
	if n < 62 && least <= most>>n {
		pause = least << n
	}
	return pause - time.Duration(rand.Float64()/2*float64(pause))
}
