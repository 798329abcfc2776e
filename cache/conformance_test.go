package cache_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/cachetest"
	"github.com/ashlar-go/ashlar/lru"
)

func TestShardedConformance(t *testing.T) {
	t.Run("a policy that knows only the interface", func(t *testing.T) {
		cachetest.Run(t, cachetest.Config{
			Without:     cachetest.Expiry | cachetest.Costs | cachetest.Callbacks,
			Partitioned: true,
			New: func(capacity int, _ *cache.Options[int, int]) cache.Cache[int, int] {
				return cache.NewSharded(3, capacity, newFIFO[int, int])
			},
		})
	})
	t.Run("one shard", func(t *testing.T) {
		cachetest.Run(t, cachetest.Config{
			Without:   cachetest.Callbacks, // they run under the lock of the shard
			ZeroAlloc: true,
			New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
				return cache.NewSharded(1, capacity, func(capacity int) cache.Cache[int, int] { return lru.New(capacity, opts) })
			},
		})
	})
}

// A loaded is a Loading seen as a cache: its loader finds nothing.
type loaded struct {
	*cache.Loading[int, int]
	store *lru.Cache[int, cache.Loaded[int]]
}

func (l loaded) Get(key int) (int, bool) {
	value, err := l.Loading.Get(context.Background(), key)
	return value, err == nil
}

func (l loaded) Delete(key int) bool {
	_, ok := l.Peek(key)
	l.Loading.Delete(key)
	return ok
}

func (l loaded) Len() int { return l.store.Len() }

func (l loaded) Stats() cache.LoadStats { return l.Loading.Stats() }

func (l loaded) All() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for key, value := range l.store.All() {
			if !yield(key, value.Value) {
				return
			}
		}
	}
}

// What a Loading does to its cache must not cost that a promise.
func TestLoadingConformance(t *testing.T) {
	cachetest.Run(t, cachetest.Config{
		Without: cachetest.Costs | cachetest.Callbacks,
		New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
			store := lru.New(capacity, &cache.Options[int, cache.Loaded[int]]{TTL: opts.TTL, Jitter: opts.Jitter, Shards: opts.Shards, Now: opts.Now})
			nothing := func(context.Context, int) (int, error) { return 0, cache.ErrNotFound }
			return loaded{cache.NewLoading(store, nothing, nil), store}
		},
	})
}

func TestShardedCapacity(t *testing.T) {
	for _, test := range []struct{ shards, capacity, want int }{
		{1, 1, 1}, {1, 100, 1}, {3, 100, 3}, {16, 7, 7}, {16, 16, 16}, {5, 5003, 5},
	} {
		var parts []int
		c := cache.NewSharded(test.shards, test.capacity, func(capacity int) cache.Cache[int, int] {
			parts = append(parts, capacity)
			return newFIFO[int, int](capacity)
		})
		sum := 0
		for _, part := range parts {
			sum += part
			require.InDelta(t, float64(test.capacity)/float64(test.want), part, 1)
		}
		require.Len(t, parts, test.want)
		require.Equal(t, test.capacity, sum)
		require.Equal(t, test.capacity, c.Capacity())
	}
	for _, test := range [][2]int{{0, 1}, {1, 0}, {-1, 1}, {1, -1}} {
		require.Panics(t, func() { cache.NewSharded(test[0], test[1], newFIFO[int, int]) })
	}
}

// Update is for what takes several steps.
func TestShardedUpdateConcurrentSafe(t *testing.T) {
	c := cache.NewSharded(4, 100, newFIFO[string, int])
	var started atomic.Int32
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			started.Add(1)
			for range 1000 {
				c.Update("n", func(shard cache.Cache[string, int]) {
					n, _ := shard.Get("n")
					shard.Put("n", n+1)
				})
			}
		}()
	}
	for range 4 {
		<-done
	}
	n, ok := c.Get("n")
	require.True(t, ok)
	require.Equal(t, 4000, n)
	require.Panics(t, func() { c.Update("n", func(cache.Cache[string, int]) { panic("f") }) })
	c.PutTTL("n", 1, time.Hour) // the lock was given back
	n, _ = c.Peek("n")
	require.Equal(t, 1, n)
}
