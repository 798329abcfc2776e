package cache_test

import (
	"bytes"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/random"
	"github.com/ashlar-go/ashlar/lfu"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
)

// A policy is one of ashlar's caches.
type policy interface {
	cache.Cache[int, int]
	Save(io.Writer, cache.Codec[int, int]) error
	Load(io.Reader, cache.Codec[int, int]) (int, error)
}

func policies(opts *cache.Options[int, int]) map[string]func(capacity int) policy {
	return map[string]func(int) policy{
		"lru":     func(n int) policy { return lru.New(n, opts) },
		"lfu":     func(n int) policy { return lfu.New(n, opts) },
		"random":  func(n int) policy { return random.New(n, opts) },
		"tinylfu": func(n int) policy { return tinylfu.New(n, opts) },
	}
}

// A snapshot has its best entries last. A smaller cache keeps those, whatever
// its policy would make of entries that come one after the other.
func TestLoadIntoASmallerCacheKeepsTheBest(t *testing.T) {
	for _, opts := range []*cache.Options[int, int]{nil, {Cost: func(int, int) int64 { return 1 }}} {
		for name, make := range policies(opts) {
			const capacity = 1000
			c := make(capacity)
			for i := range 50 * capacity {
				key := i * i * 7919 % 3001
				if i%3 == 0 {
					key = i % 1500
				}
				if _, ok := c.Get(key); !ok {
					c.Put(key, key)
				}
			}
			var file bytes.Buffer
			require.NoError(t, c.Save(&file, nil))
			order := lru.New[int, int](capacity, nil) // tells in which order they come
			n, err := order.Load(bytes.NewReader(file.Bytes()), nil)
			require.NoError(t, err)
			require.Equal(t, capacity, n)
			best := slices.Collect(order.Keys())
			for _, size := range []int{capacity, capacity / 2, capacity / 10, 1} {
				small := make(size)
				n, err := small.Load(bytes.NewReader(file.Bytes()), nil)
				require.NoError(t, err)
				require.Equal(t, size, n)
				kept := 0
				for _, key := range best[:size] {
					if _, ok := small.Peek(key); ok {
						kept++
					}
				}
				if kept != size {
					t.Errorf("%s, weighted %v: of the best %d entries %d are left", name, opts != nil, size, kept)
				}
			}
		}
	}
}

// Cost is asked once for an entry that is loaded, and one that is too large is
// rejected.
func TestLoadWithCosts(t *testing.T) {
	free := lru.New[int, int](10, nil)
	for i, cost := range []int{9, math.MaxInt, 5, 4, math.MaxInt, 0, 3} { // the last is the best
		free.Put(i, cost)
	}
	var file bytes.Buffer
	require.NoError(t, free.Save(&file, nil))
	asked, rejected := map[int]int{}, 0
	for name, make := range policies(&cache.Options[int, int]{
		Shards: 1,
		Cost:   func(key, value int) int64 { asked[key]++; return int64(value) },
		OnRemoval: func(_, _ int, reason cache.Reason) {
			if reason == cache.Rejected {
				rejected++
			}
		},
	}) {
		clear(asked)
		rejected = 0
		c := make(10)
		n, err := c.Load(bytes.NewReader(file.Bytes()), nil)
		require.NoError(t, err)
		require.Equal(t, 3, n, name)
		for _, key := range []int{6, 5, 3} {
			_, ok := c.Peek(key)
			require.True(t, ok, "%s: %d is missing", name, key)
		}
		require.Equal(t, map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1}, asked)
		require.Equal(t, 2, rejected)
	}
}
