package cache

import (
	"context"
	"time"
)

// A miss is a key that a GetAll waits for.
type miss[K comparable, V any] struct {
	key   K
	held  Loaded[V] // what to fall back on
	state freshness
}

// GetAll returns the values of keys, of which some may occur twice. Keys that
// have no value are missing in the map. What is not there is loaded, by one
// call of LoadingOptions.LoadAll if there is one and otherwise by one call a
// key, all at the same time; a key that another caller is loading is waited
// for and not loaded again.
//
// The error is the first one that a key had, in the order of keys, and the
// map holds the values of the others.
func (l *Loading[K, V]) GetAll(ctx context.Context, keys []K) (map[K]V, error) {
	found := make(map[K]V, len(keys))
	seen := make(map[K]struct{}, len(keys))
	var misses []miss[K, V]
	var again []K
	for _, key := range keys {
		if _, twice := seen[key]; twice {
			continue
		}
		seen[key] = struct{}{}
		held, state := l.look(key)
		switch {
		case !state.answers():
			misses = append(misses, miss[K, V]{key, held, state})
			continue
		case state == due:
			again = append(again, key)
		}
		if held.Err() == nil {
			found[key] = held.Value
		}
	}
	l.backgroundAll(ctx, again)
	if len(misses) == 0 {
		return found, nil
	}
	if err := ctx.Err(); err != nil {
		return found, err
	}
	return found, l.await(ctx, misses, found)
}

// await loads the misses into found and returns the first error.
func (l *Loading[K, V]) await(ctx context.Context, misses []miss[K, V], found map[K]V) (first error) {
	keys := make([]K, len(misses))
	for i := range misses {
		keys[i] = misses[i].key
	}
	all, mine, closed := l.startEach(ctx, keys, true)
	for i, m := range misses {
		value, err := *new(V), closed
		if closed == nil {
			if !mine[i] {
				l.coalesced.Add(1)
			}
			value, err = l.fs.wait(ctx, m.key, all[i])
		}
		if err != nil {
			var ok bool
			if value, ok = l.fallback(m.held, m.state, err); !ok {
				if first == nil && !l.isNegative(err) {
					first = err
				}
				continue
			}
		}
		found[m.key] = value
	}
	return first
}

// startEach joins or launches the flights of keys, with LoadAll if there is
// one. If recheck is set it looks at the cache again first.
func (l *Loading[K, V]) startEach(ctx context.Context, keys []K, recheck bool) (all []*flight[V], mine []bool, err error) {
	if l.opts.LoadAll != nil {
		var before func(K, bool) (V, error, bool)
		if recheck {
			before = l.recheck
		}
		return l.fs.startAll(ctx, keys, l.opts.Timeout, before, l.callAll, ErrNotFound)
	}
	all, mine = make([]*flight[V], len(keys)), make([]bool, len(keys))
	for i, key := range keys {
		var before func(bool) (V, error, bool)
		if recheck {
			before = func(settled bool) (V, error, bool) { return l.recheck(key, settled) }
		}
		all[i], mine[i], err = l.fs.start(ctx, key, l.opts.Timeout, before, func(ctx context.Context) (V, error) { return l.call(ctx, key, l.load) })
		if err != nil {
			for j := range i {
				l.fs.leave(keys[j], all[j])
			}
			return nil, nil, err
		}
	}
	return all, mine, nil
}

// callAll is call for LoadAll.
func (l *Loading[K, V]) callAll(ctx context.Context, keys []K) (values map[K]V, err error) {
	defer l.count(time.Now(), &err)
	err = errGoexit
	values, err = l.opts.LoadAll(ctx, keys)
	return values, err
}

// backgroundAll is background for several keys.
func (l *Loading[K, V]) backgroundAll(ctx context.Context, keys []K) {
	if len(keys) == 0 {
		return
	}
	all, mine, err := l.startEach(ctx, keys, false)
	if err != nil {
		return // closed
	}
	for i, key := range keys {
		if mine[i] {
			l.refreshes.Add(1)
		} else {
			l.fs.leave(key, all[i])
		}
	}
}
