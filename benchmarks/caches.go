package main

import (
	"math/rand"
	"sync"

	"github.com/Yiling-J/theine-go"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/random"
	"github.com/ashlar-go/ashlar/lfu"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/arc/v2"
	hashicorp "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"
)

// bounded is what the workloads need of a cache.
type bounded interface {
	Get(key int64) (int64, bool)
	Put(key, value int64)
}

// A maker makes a cache of that capacity, and what ends it.
type maker struct {
	name string
	make func(capacity int) (c bounded, stop func())
}

func none() {}

func ours(pkg string) maker {
	return maker{harness.Ours, func(capacity int) (bounded, func()) {
		switch pkg {
		case "lru":
			return lru.New[int64, int64](capacity, nil), none
		case "lfu":
			return lfu.New[int64, int64](capacity, nil), none
		case "random":
			return random.New[int64, int64](capacity, nil), none
		}
		return tinylfu.New[int64, int64](capacity, nil), none
	}}
}

type added[C interface {
	Get(int64) (int64, bool)
	Add(int64, int64)
}] struct{ c C }

func (a added[C]) Get(key int64) (int64, bool) { return a.c.Get(key) }
func (a added[C]) Put(key, value int64)        { a.c.Add(key, value) }

type hashicorpLRU struct{ *hashicorp.Cache[int64, int64] }

func (c hashicorpLRU) Put(key, value int64) { c.Add(key, value) }

type otterCache struct{ c *otter.Cache[int64, int64] }

func (o otterCache) Get(key int64) (int64, bool) { return o.c.GetIfPresent(key) }
func (o otterCache) Put(key, value int64)        { o.c.Set(key, value) }

type theineCache struct{ c *theine.Cache[int64, int64] }

func (t theineCache) Get(key int64) (int64, bool) { return t.c.Get(key) }
func (t theineCache) Put(key, value int64)        { t.c.Set(key, value, 1) }

type ristrettoCache struct {
	c *ristretto.Cache[int64, int64]
}

func (r ristrettoCache) Get(key int64) (int64, bool) { return r.c.Get(key) }
func (r ristrettoCache) Put(key, value int64)        { r.c.Set(key, value, 1) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// peers are the caches that can be had and bound their number of entries.
var peers = []maker{
	{"hashicorp", func(capacity int) (bounded, func()) {
		return hashicorpLRU{must(hashicorp.New[int64, int64](capacity))}, none
	}},
	{"hashicorp-2q", func(capacity int) (bounded, func()) {
		return added[*hashicorp.TwoQueueCache[int64, int64]]{must(hashicorp.New2Q[int64, int64](capacity))}, none
	}},
	{"hashicorp-arc", func(capacity int) (bounded, func()) {
		return added[*arc.ARCCache[int64, int64]]{must(arc.NewARC[int64, int64](capacity))}, none
	}},
	{"otter", func(capacity int) (bounded, func()) {
		return otterCache{otter.Must(&otter.Options[int64, int64]{MaximumSize: capacity})}, none
	}},
	{"theine", func(capacity int) (bounded, func()) {
		c := must(theine.NewBuilder[int64, int64](int64(capacity)).Build())
		return theineCache{c}, c.Close
	}},
	{"ristretto", func(capacity int) (bounded, func()) {
		c := must(ristretto.NewCache(&ristretto.Config[int64, int64]{NumCounters: int64(capacity) * 10, MaxCost: int64(capacity), BufferItems: 64, IgnoreInternalCost: true}))
		return ristrettoCache{c}, c.Close
	}},
}

// otterSync runs otter's maintenance in the caller, without which it holds
// several times its bound.
var otterSync = maker{"otter-sync", func(capacity int) (bounded, func()) {
	return otterCache{otter.Must(&otter.Options[int64, int64]{MaximumSize: capacity, InitialCapacity: capacity, Executor: func(f func()) { f() }})}, none
}}

// A workload is a mix of reads and writes of zipf-distributed keys.
type workload struct {
	name     string
	capacity int
	universe uint64
	writes   int // percent
}

// The universe of the first three fits into every cache, also into one that
// splits its capacity; that of the others is ten times the capacity.
var workloads = []workload{
	{"get, all hits", 65536, 58000, 0},
	{"75/25, all hits", 65536, 58000, 25},
	{"75/25, evicting", 100000, 1000000, 25},
	{"set, updating", 65536, 58000, 100},
	{"set, evicting", 100000, 1000000, 100},
}

const zipfSkew = 1.01

func zipfKeys(seed int64, n int, universe uint64) []int64 {
	z := rand.NewZipf(rand.New(rand.NewSource(seed)), zipfSkew, 1, universe-1)
	keys := make([]int64, n)
	for i := range keys {
		keys[i] = int64(z.Uint64())
	}
	return keys
}

// impls sets a workload up for each maker, n operations over the goroutines.
func (w workload) impls(makers []maker, goroutines int) []harness.Impl {
	const period = 1 << 19
	keys := make([][]int64, goroutines)
	for g := range keys {
		keys[g] = zipfKeys(int64(g+1), period, w.universe)
	}
	var impls []harness.Impl
	for _, m := range makers {
		impls = append(impls, harness.Impl{Name: m.name, Start: func() (func(int), func()) {
			c, stop := m.make(w.capacity)
			for i := range int64(w.universe) {
				c.Put(i, i)
			}
			return func(n int) {
				var wg sync.WaitGroup
				for g := range goroutines {
					wg.Go(func() { w.work(c, keys[g], n/goroutines) })
				}
				wg.Wait()
			}, stop
		}})
	}
	return impls
}

func (w workload) work(c bounded, keys []int64, n int) {
	for i := range n {
		key := keys[i%len(keys)]
		if i*37%100 < w.writes {
			c.Put(key, int64(i))
		} else {
			c.Get(key)
		}
	}
}

// speed emits a row for each workload, two goroutines, and for each of the
// numbers of goroutines one that says what they cost against two.
func speed(env harness.Env, emit func(harness.Row), pkg string, makers []maker, bars map[string]harness.Bar) {
	n := 2 << 20
	if env.Short {
		n = 1 << 19
	}
	for _, w := range workloads {
		name := w.name + ", 2 goroutines"
		if env.Want(name) {
			emit(harness.Time(env, pkg, name, n, w.impls(makers, 2), bars[w.name]))
		}
	}
	for _, g := range []int{1, 4, 16} {
		name := "75/25, evicting, goroutines: " + map[int]string{1: "1", 4: "4", 16: "16"}[g]
		if env.Want(name) {
			emit(harness.Time(env, pkg, name, n, workloads[2].impls(makers, g), harness.Bar{}))
		}
	}
}

// memory emits bytes per entry, the time of a collection and allocations.
func memory(env harness.Env, emit func(harness.Row), pkg string, makers []maker, perEntry float64) {
	const entries = 1_000_000
	rows := map[string]*harness.Row{}
	names := []string{"memory, 1M int64 to int64", "forced collection with 1M entries", "allocations, get", "allocations, update", "allocations, insert with eviction"}
	for i, name := range names {
		rows[name] = &harness.Row{Package: pkg, Name: name, Unit: []string{"B/entry", "ms", "allocs/op", "allocs/op", "allocs/op"}[i], Rounds: 1}
	}
	for _, m := range makers {
		var stop func()
		bytes, made := harness.HeapAfter(func() any {
			c, end := m.make(entries)
			stop = end
			for i := range int64(entries) {
				c.Put(i, i)
			}
			return c
		})
		c := made.(bounded)
		held := 0
		for i := range int64(entries) {
			if _, ok := c.Get(i); ok {
				held++
			}
		}
		figures := map[string]float64{names[0]: bytes / float64(max(1, held)), names[1]: harness.Collect(5)}
		figures[names[2]] = harness.Allocs(200_000, func(n int) {
			for i := range n {
				c.Get(int64(i))
			}
		})
		figures[names[3]] = harness.Allocs(200_000, func(n int) {
			for i := range n {
				c.Put(int64(entries-1-i%1000), 1)
			}
		})
		next := int64(entries)
		for range 2 * entries { // every shard full, every sketch halved
			c.Put(next, next)
			next++
		}
		figures[names[4]] = harness.Allocs(200_000, func(n int) {
			for range n {
				c.Put(next, next)
				next++
			}
		})
		for name, v := range figures {
			if m.name == harness.Ours {
				rows[name].Ours = v
			} else {
				rows[name].Peers = append(rows[name].Peers, harness.Figure{Name: m.name, Value: v})
			}
		}
		stop()
	}
	bars := []harness.Bar{{Value: perEntry}, {Value: 2}, harness.Zero, harness.Zero, harness.Zero}
	for i, name := range names {
		if env.Want(name) {
			rows[name].Judge(bars[i])
			emit(*rows[name])
		}
	}
}

// hitRatio replays keys and returns the share of hits in percent. It panics if
// the cache ever holds more than its capacity, where it can tell.
func hitRatio(c bounded, keys []uint64, capacity int) float64 {
	counted, _ := c.(interface{ Len() int })
	hits := 0
	for _, key := range keys {
		if _, ok := c.Get(int64(key)); ok {
			hits++
		} else {
			c.Put(int64(key), 0)
		}
		if counted != nil && counted.Len() > capacity {
			panic("over the bound")
		}
	}
	return 100 * float64(hits) / float64(len(keys))
}

var _ cache.Cache[int64, int64] = (*lru.Cache[int64, int64])(nil)
