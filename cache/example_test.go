package cache_test

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// A user's page shows a name that a database has. Concurrent requests for the
// same user share one query, and unknown users are remembered for a while.
func ExampleLoading() {
	queries := 0
	query := func(_ context.Context, id int) (string, error) {
		queries++
		if id == 42 {
			return "Ada", nil
		}
		return "", fmt.Errorf("user %d: %w", id, cache.ErrNotFound)
	}
	users := cache.NewLoading(lru.New[int, cache.Loaded[string]](10_000, nil), query, &cache.LoadingOptions[int, string]{
		TTL:         time.Hour,
		NegativeTTL: time.Minute,
	})
	ctx := context.Background()
	for range 3 {
		fmt.Println(users.Get(ctx, 42))
	}
	_, err := users.Get(ctx, 7)
	_, again := users.Get(ctx, 7)
	fmt.Println(errors.Is(err, cache.ErrNotFound), errors.Is(again, cache.ErrNotFound), queries)
	// Output:
	// Ada <nil>
	// Ada <nil>
	// Ada <nil>
	// true true 2
}

// After a change of the source Delete makes the next Get load again. It wins
// over a load that is under way and may have seen the old state.
func ExampleLoading_Delete() {
	source := map[string]int{"stock": 5}
	stock := cache.NewLoading(lru.New[string, cache.Loaded[int]](100, nil), func(_ context.Context, key string) (int, error) {
		return source[key], nil
	}, nil)
	ctx := context.Background()
	fmt.Println(stock.Get(ctx, "stock"))
	source["stock"] = 4
	fmt.Println(stock.Get(ctx, "stock"))
	stock.Delete("stock")
	fmt.Println(stock.Get(ctx, "stock"))
	// Output:
	// 5 <nil>
	// 5 <nil>
	// 4 <nil>
}

// One query loads what a page needs and the cache does not have.
func ExampleLoading_GetAll() {
	rows := map[int]string{1: "Ada", 2: "Grace", 3: "Barbara"}
	users := cache.NewLoading(lru.New[int, cache.Loaded[string]](100, nil),
		func(_ context.Context, id int) (string, error) { return rows[id], nil },
		&cache.LoadingOptions[int, string]{
			LoadAll: func(_ context.Context, ids []int) (map[int]string, error) {
				slices.Sort(ids)
				fmt.Println("SELECT … WHERE id IN", ids)
				return rows, nil
			},
		})
	ctx := context.Background()
	users.Get(ctx, 2)
	fmt.Println(users.GetAll(ctx, []int{1, 2, 3, 99}))
	// Output:
	// SELECT … WHERE id IN [1 3 99]
	// map[1:Ada 2:Grace 3:Barbara] <nil>
}

// What is asked for is refreshed before it ends, and served longer than that
// while the source is down.
func ExampleLoadingOptions() {
	rates := cache.NewLoading(lru.New[string, cache.Loaded[float64]](100, nil), func(context.Context, string) (float64, error) {
		return 1.08, nil
	}, &cache.LoadingOptions[string, float64]{
		TTL:          10 * time.Minute,
		Jitter:       0.1,
		RefreshAfter: 8 * time.Minute,
		StaleFor:     24 * time.Hour,
		Timeout:      5 * time.Second,
	})
	defer rates.Close(context.Background())
	fmt.Println(rates.Get(context.Background(), "EURUSD"))
	// Output: 1.08 <nil>
}

// A memoryStore stands for something slow.
type memoryStore struct {
	mu   sync.Mutex
	rows map[string]int
}

func (s *memoryStore) Get(_ context.Context, key string) (value int, expires time.Time, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok = s.rows[key]
	return value, time.Time{}, ok, nil
}

func (s *memoryStore) Apply(_ context.Context, batch []cache.Mutation[string, int]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		if m.Delete {
			delete(s.rows, m.Key)
		} else {
			s.rows[m.Key] = m.Value
		}
	}
	return nil
}

// Counters are kept in memory and brought to the store in batches.
func ExampleWriteBehind() {
	ctx := context.Background()
	store := &memoryStore{rows: map[string]int{"visits": 41}}
	log := &cache.MemoryLog[string, int]{} // a log on disk would survive a crash
	counters, err := cache.OpenWriteBehind(ctx, lru.New[string, int](1000, nil), log, store, nil)
	if err != nil {
		panic(err)
	}
	visits, _, _ := counters.Get(ctx, "visits")
	counters.Put(ctx, "visits", visits+1)
	fmt.Println(counters.Get(ctx, "visits"))
	if err := counters.Close(ctx); err != nil {
		panic(err)
	}
	fmt.Println(store.rows)
	// Output:
	// 42 true <nil>
	// map[visits:42]
}

// A fifo evicts what came first. It knows nothing of goroutines, lifetimes or
// costs.
type fifo[K comparable, V any] struct {
	capacity int
	order    *list.List // of K
	items    map[K]*fifoItem[V]
}

type fifoItem[V any] struct {
	value V
	place *list.Element
}

func newFIFO[K comparable, V any](capacity int) cache.Cache[K, V] {
	return &fifo[K, V]{capacity: capacity, order: list.New(), items: map[K]*fifoItem[V]{}}
}

func (f *fifo[K, V]) Get(key K) (value V, ok bool) { return f.Peek(key) }

func (f *fifo[K, V]) Peek(key K) (value V, ok bool) {
	if it := f.items[key]; it != nil {
		return it.value, true
	}
	return value, false
}

func (f *fifo[K, V]) PutTTL(key K, value V, _ time.Duration) { f.Put(key, value) }

func (f *fifo[K, V]) Put(key K, value V) {
	if it := f.items[key]; it != nil {
		it.value = value
		return
	}
	if len(f.items) == f.capacity {
		f.Delete(f.order.Front().Value.(K))
	}
	f.items[key] = &fifoItem[V]{value, f.order.PushBack(key)}
}

func (f *fifo[K, V]) Delete(key K) bool {
	it := f.items[key]
	if it != nil {
		f.order.Remove(it.place)
		delete(f.items, key)
	}
	return it != nil
}

func (f *fifo[K, V]) Len() int { return len(f.items) }

func (f *fifo[K, V]) Clear() {
	f.order.Init()
	clear(f.items)
}

func (f *fifo[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, it := range f.items {
			if !yield(key, it.value) {
				return
			}
		}
	}
}

// A policy of your own, written for one goroutine, becomes one for all.
func ExampleSharded() {
	c := cache.NewSharded(16, 1000, newFIFO[int, string])
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				c.Put(i*1000+j, "value")
			}
		})
	}
	wg.Wait()
	fmt.Println(c.Len(), c.Capacity())
	// Output: 1000 1000
}
