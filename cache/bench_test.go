package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// hits are the paths that must stay about as cheap as the cache itself.
func hits(tb testing.TB) map[string]func(key int) bool {
	ctx := tb.Context()
	plain := lru.New[int, int](1024, nil)
	sharded := cache.NewSharded(16, 2048, func(capacity int) cache.Cache[int, int] { return lru.New[int, int](capacity, nil) })
	identity := func(_ context.Context, key int) (int, error) { return key, nil }
	loading := cache.NewLoading(lru.New[int, cache.Loaded[int]](1024, nil), identity, nil)
	ageing := cache.NewLoading(lru.New[int, cache.Loaded[int]](1024, nil), identity, &cache.LoadingOptions[int, int]{TTL: time.Hour, RefreshAfter: time.Minute})
	behind, err := cache.OpenWriteBehind(ctx, lru.New[int, int](1024, nil), &cache.MemoryLog[int, int]{}, nowhere{}, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { behind.Close(context.Background()) })
	for key := range 1024 {
		plain.Put(key, key)
		sharded.Put(key, key)
		loading.Put(key, key)
		ageing.Put(key, key)
		require.NoError(tb, behind.Put(ctx, key, key))
	}
	return map[string]func(key int) bool{
		"lru":         func(key int) bool { _, ok := plain.Get(key); return ok },
		"Sharded":     func(key int) bool { _, ok := sharded.Get(key); return ok },
		"Loading":     func(key int) bool { _, err := loading.Get(ctx, key); return err == nil },
		"Loading-TTL": func(key int) bool { _, err := ageing.Get(ctx, key); return err == nil },
		"WriteBehind": func(key int) bool { _, ok, err := behind.Get(ctx, key); return ok && err == nil },
	}
}

// nowhere accepts everything and has nothing.
type nowhere struct{}

func (nowhere) Get(context.Context, int) (int, time.Time, bool, error) {
	return 0, time.Time{}, false, nil
}

func (nowhere) Apply(context.Context, []cache.Mutation[int, int]) error { return nil }

func TestHitsDoNotAllocate(t *testing.T) {
	for name, get := range hits(t) {
		key := 0
		if n := testing.AllocsPerRun(1000, func() {
			if key++; !get(key & 1023) {
				t.Errorf("%s: no hit", name)
			}
		}); n != 0 {
			t.Errorf("%s: a hit allocates %v times", name, n)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	for name, get := range hits(b) {
		b.Run("impl="+name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for key := 0; pb.Next(); key += 7 {
					get(key & 1023)
				}
			})
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	l := cache.NewLoading(lru.New[int, cache.Loaded[int]](1024, nil), func(_ context.Context, key int) (int, error) { return key, nil }, nil)
	b.ReportAllocs()
	for key := 0; b.Loop(); key++ {
		l.Get(b.Context(), key)
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := cache.OpenWriteBehind(b.Context(), lru.New[int, int](1024, nil), &cache.MemoryLog[int, int]{}, nowhere{}, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for key := 0; pb.Next(); key += 7 {
			w.Put(b.Context(), key&4095, key)
		}
	})
	b.StopTimer()
	require.NoError(b, w.Close(context.Background()))
}
