package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/tinylfu"
	hashicorp "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

func init() {
	harness.Register(harness.Suite{Package: "cache", Doc: "Loading, Sharded and WriteBehind", Run: func(s *harness.Session) {
		loadingTimes(s)
		flights(s)
		shardedTimes(s)
		writeBehind(s)
	}})
}

// loading is a cache that gets what it does not hold from a loader.
type loading interface {
	Get(ctx context.Context, key int64) (int64, error)
}

type loader func(ctx context.Context, key int64) (int64, error)

// A loadingMaker makes a loading cache, and what ends it.
type loadingMaker struct {
	name string
	make func(capacity int, load loader) (loading, func())
}

var loadingMakers = []loadingMaker{
	{harness.Ours, func(capacity int, load loader) (loading, func()) {
		return cache.NewLoading(tinylfu.New[int64, cache.Loaded[int64]](capacity, nil), load, nil), none
	}},
	{"otter", func(capacity int, load loader) (loading, func()) {
		c := otter.Must(&otter.Options[int64, int64]{MaximumSize: capacity})
		return &otterLoading{c, otter.LoaderFunc[int64, int64](load)}, none
	}},
	{"theine", func(capacity int, load loader) (loading, func()) {
		c := must(theine.NewBuilder[int64, int64](int64(capacity)).BuildWithLoader(func(ctx context.Context, key int64) (theine.Loaded[int64], error) {
			v, err := load(ctx, key)
			return theine.Loaded[int64]{Value: v, Cost: 1}, err
		}))
		return c, c.Close
	}},
	{"ttlcache", func(capacity int, load loader) (loading, func()) {
		once := ttlcache.NewSuppressedLoader(ttlcache.LoaderFunc[int64, int64](func(c *ttlcache.Cache[int64, int64], key int64) *ttlcache.Item[int64, int64] {
			v, err := load(context.Background(), key)
			if err != nil {
				return nil
			}
			return c.Set(key, v, ttlcache.NoTTL)
		}), nil)
		return ttlLoading{ttlcache.New(ttlcache.WithCapacity[int64, int64](uint64(capacity)), ttlcache.WithLoader[int64, int64](once))}, none
	}},
	{"hashicorp+singleflight", func(capacity int, load loader) (loading, func()) {
		return &flightLRU{cache: must(hashicorp.New[int64, int64](capacity)), load: load}, none
	}},
}

type otterLoading struct {
	c    *otter.Cache[int64, int64]
	load otter.Loader[int64, int64]
}

func (o *otterLoading) Get(ctx context.Context, key int64) (int64, error) {
	return o.c.Get(ctx, key, o.load)
}

type ttlLoading struct {
	c *ttlcache.Cache[int64, int64]
}

func (t ttlLoading) Get(_ context.Context, key int64) (int64, error) {
	item := t.c.Get(key)
	if item == nil {
		return 0, cache.ErrNotFound
	}
	return item.Value(), nil
}

// flightLRU is what one writes by hand.
type flightLRU struct {
	cache *hashicorp.Cache[int64, int64]
	group singleflight.Group
	load  loader
}

func (f *flightLRU) Get(ctx context.Context, key int64) (int64, error) {
	if v, ok := f.cache.Get(key); ok {
		return v, nil
	}
	v, err, _ := f.group.Do(strconv.FormatInt(key, 10), func() (any, error) {
		v, err := f.load(ctx, key)
		if err == nil {
			f.cache.Add(key, v)
		}
		return v, err
	})
	if err != nil {
		return 0, err
	}
	return v.(int64), nil
}

// loadingCache lets the workloads read through a loading cache.
type loadingCache struct {
	c   loading
	ctx context.Context
}

func (l *loadingCache) Put(key, _ int64) { l.Get(key) }

func (l *loadingCache) Get(key int64) (int64, bool) {
	v, err := l.c.Get(l.ctx, key)
	return v, err == nil
}

// loadingTimes emits what it takes to read through a loading cache whose
// loader takes no time.
func loadingTimes(s *harness.Session) {
	var makers []maker
	for _, m := range loadingMakers {
		makers = append(makers, maker{m.name, func(capacity int) (bounded, func()) {
			ctx, cancel := context.WithCancel(context.Background())
			c, stop := m.make(capacity, func(_ context.Context, key int64) (int64, error) { return key, nil })
			return &loadingCache{c, ctx}, func() { stop(); cancel() }
		}})
	}
	for _, w := range []workload{
		{"read through, all hits", 65536, small, 0},
		{"read through, evicting", 100_000, large, 0},
	} {
		for _, g := range []int{2, 16} {
			spec := harness.Spec{Group: "Loading", Name: fmt.Sprintf("%s, %d goroutines", w.name, g), Unit: harness.CPUTime}
			if w.keys == large {
				spec.Note = "our loads have a goroutine and a context each, so that a caller may leave and the others keep their load; those of the peers run in the first caller, and end with it"
			}
			if s.Want(spec) {
				samples := w.scaled(s).interleave(s.Rounds(), s.Pick(1<<20, 1<<17, 1<<9), makers, []int{g})
				s.Emit(spec, s.Rounds(), harness.Timings(samples[g]))
			}
		}
	}
}

// flights emits how often a key is loaded that many ask for at once.
func flights(s *harness.Session) {
	const callers = 64
	spec := harness.Spec{
		Group: "One flight", Name: fmt.Sprintf("most loads of a key that %d callers miss at once", callers), Unit: "loads",
		Bars: []harness.Bar{harness.AtMost(1)},
	}
	keys := s.Pick(500, 100, 5)
	s.Value(spec, func() []harness.Figure {
		var figures []harness.Figure
		for _, m := range loadingMakers {
			figures = append(figures, harness.Figure{Name: m.name, Value: float64(mostLoads(m, keys, callers))})
		}
		return figures
	})
}

func mostLoads(m loadingMaker, keys, callers int) (most int64) {
	loads := make([]atomic.Int64, keys)
	c, stop := m.make(2*keys, func(_ context.Context, key int64) (int64, error) {
		loads[key].Add(1)
		time.Sleep(time.Millisecond) // so that the others come while it runs
		return key, nil
	})
	defer stop()
	for key := range int64(keys) {
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				<-start
				must(c.Get(context.Background(), key))
			})
		}
		close(start)
		wg.Wait()
		most = max(most, loads[key].Load())
	}
	return most
}

// shardedTimes emits what Sharded makes of a policy written for one goroutine,
// beside the lock that its own package puts around it.
func shardedTimes(s *harness.Session) {
	makers := []maker{
		{harness.Ours, func(capacity int) (bounded, func()) {
			return cache.NewSharded(16, capacity, func(capacity int) cache.Cache[int64, int64] {
				return simple{must(simplelru.NewLRU[int64, int64](capacity, nil))}
			}), none
		}},
		peerHashicorp,
	}
	for _, g := range []int{2, 16} {
		w := workloads[2]
		spec := harness.Spec{Group: "Sharded", Name: fmt.Sprintf("golang-lru's simplelru in Sharded, %s, %d goroutines", w.name, g), Unit: harness.CPUTime}
		if s.Want(spec) {
			samples := w.scaled(s).interleave(s.Rounds(), s.Pick(1<<20, 1<<18, 1<<9), makers, []int{g})
			s.Emit(spec, s.Rounds(), harness.Timings(samples[g]))
		}
	}
}

// simple makes a cache.Cache of hashicorp's LRU for one goroutine.
type simple struct {
	*simplelru.LRU[int64, int64]
}

func (c simple) Put(key, value int64)                     { c.Add(key, value) }
func (c simple) PutTTL(key, value int64, _ time.Duration) { c.Add(key, value) }
func (c simple) Delete(key int64) bool                    { return c.Remove(key) }
func (c simple) Clear()                                   { c.Purge() }
func (c simple) All() iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		for _, key := range c.Keys() {
			if v, ok := c.Peek(key); ok && !yield(key, v) {
				return
			}
		}
	}
}

// writeBehind emits how many writes reach a store of which each takes a while.
func writeBehind(s *harness.Session) {
	spec := harness.Spec{Group: "WriteBehind", Name: "writes that reach the store, skewed keys", Unit: "a Put"}
	s.Repeated(spec, func(int) []harness.Figure {
		n := s.Pick(200_000, 50_000, 500)
		store := &slowStore{}
		w := must(cache.OpenWriteBehind(context.Background(), tinylfu.New[int64, int64](10_000, nil), &cache.MemoryLog[int64, int64]{}, store, nil))
		for _, key := range small.draw()[:n] {
			if err := w.Put(context.Background(), key, key); err != nil {
				panic(err)
			}
		}
		if err := w.Close(context.Background()); err != nil {
			panic(err)
		}
		return []harness.Figure{{Name: harness.Ours, Value: float64(store.applied) / float64(n)}}
	})
}

// slowStore counts the mutations it is brought. Apply is never called
// concurrently.
type slowStore struct{ applied int }

func (*slowStore) Get(context.Context, int64) (value int64, expires time.Time, ok bool, err error) {
	return 0, time.Time{}, false, nil
}

func (s *slowStore) Apply(_ context.Context, batch []cache.Mutation[int64, int64]) error {
	time.Sleep(5 * time.Millisecond)
	s.applied += len(batch)
	return nil
}
