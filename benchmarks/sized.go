package main

import (
	"container/heap"
	"fmt"
	"math"
	"sync"

	"github.com/Yiling-J/theine-go"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/trace"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/maypok86/otter/v2"
)

// sized is a cache of objects whose sizes add up to at most its capacity.
type sized interface {
	Get(key uint64) (uint32, bool)
	Put(key uint64, size uint32)
}

// A sizedMaker makes a cache of that many bytes, and what ends it.
type sizedMaker struct {
	name string
	make func(bytes int) (sized, func())
}

// sizedPeers are two policies by the letter, which are LRU, as our lru is on one
// shard, and GDSF, and the peers that know costs, made to hold their bound
// before a call returns.
var sizedPeers = []sizedMaker{
	{"LRU", func(bytes int) (sized, func()) {
		return lru.New(bytes, &cache.Options[uint64, uint32]{Shards: 1, Cost: sizeOf}), none
	}},
	{"GDSF", func(bytes int) (sized, func()) { return &gdsf{capacity: bytes, held: map[uint64]*gdsfItem{}}, none }},
	{"otter-sync", func(bytes int) (sized, func()) {
		return sizedOtter{otter.Must(&otter.Options[uint64, uint32]{
			MaximumWeight: uint64(bytes), Weigher: func(_ uint64, size uint32) uint32 { return size }, Executor: func(f func()) { f() },
		})}, none
	}},
	{"theine+Wait", func(bytes int) (sized, func()) {
		c := must(theine.NewBuilder[uint64, uint32](int64(bytes)).Build())
		return sizedTheine{c}, c.Close
	}},
	{"ristretto+Wait", func(bytes int) (sized, func()) {
		c := must(ristretto.NewCache(&ristretto.Config[uint64, uint32]{
			NumCounters: 400_000, MaxCost: int64(bytes), BufferItems: 64, IgnoreInternalCost: true,
		}))
		return sizedRistretto{c}, c.Close
	}},
}

func sizeOf(_ uint64, size uint32) int64 { return int64(size) }

func sizedOurs(objective cache.Objective) sizedMaker {
	return sizedMaker{harness.Ours, func(bytes int) (sized, func()) {
		return tinylfu.New(bytes, &cache.Options[uint64, uint32]{Objective: objective, Cost: sizeOf}), none
	}}
}

type sizedOtter struct{ c *otter.Cache[uint64, uint32] }

func (o sizedOtter) Get(key uint64) (uint32, bool) { return o.c.GetIfPresent(key) }
func (o sizedOtter) Put(key uint64, size uint32)   { o.c.Set(key, size) }

type sizedTheine struct{ c *theine.Cache[uint64, uint32] }

func (t sizedTheine) Get(key uint64) (uint32, bool) { return t.c.Get(key) }

func (t sizedTheine) Put(key uint64, size uint32) {
	t.c.Set(key, size, int64(size))
	t.c.Wait()
}

type sizedRistretto struct {
	c *ristretto.Cache[uint64, uint32]
}

func (r sizedRistretto) Get(key uint64) (uint32, bool) { return r.c.Get(key) }

func (r sizedRistretto) Put(key uint64, size uint32) {
	r.c.Set(key, size, int64(size))
	r.c.Wait()
}

// sizedTrace is a trace of objects: a key that comes with another size is
// another object, as in Caffeine's reader of this trace.
type sizedTrace struct {
	keys  []uint64
	sizes []uint32
	total int // bytes of all objects
}

func newSizedTrace(t *trace.Trace) sizedTrace {
	type object struct {
		key  uint64
		size uint32
	}
	result := sizedTrace{keys: make([]uint64, len(t.Keys)), sizes: t.Sizes}
	ids := map[object]uint64{}
	for i, key := range t.Keys {
		o := object{key, t.Sizes[i]}
		id, ok := ids[o]
		if !ok {
			id = uint64(len(ids) + 1)
			ids[o] = id
			result.total += int(o.size)
		}
		result.keys[i] = id
	}
	return result
}

// ratios replays the trace and returns the shares of requests and of requested
// bytes that were hits, in percent.
func (t sizedTrace) ratios(m sizedMaker, capacity int) (objects, bytes float64) {
	c, stop := m.make(capacity)
	defer stop()
	var hits, hit, asked float64
	for i, key := range t.keys {
		size := t.sizes[i]
		asked += float64(size)
		if _, ok := c.Get(key); ok {
			hits++
			hit += float64(size)
		} else {
			c.Put(key, size)
		}
	}
	return 100 * hits / float64(len(t.keys)), 100 * hit / asked
}

// sizedRatios emits how many requests, and bytes, caches bounded in bytes hit.
func sizedRatios(s *harness.Session) {
	name, load := generated, func() sizedTrace { return newSizedTrace(trace.Mixed(2, s.Pick(200_000, 200_000, 2_000))) }
	if path, ok := trace.Data("webcdn-adaptsize.sizes"); ok && s.Pick(0, 0, 1) == 0 {
		name, load = "webcdn-adaptsize", func() sizedTrace { return newSizedTrace(must(trace.ReadFile(path))) }
	}
	load = sync.OnceValue(load)
	for _, percent := range []int{1, 5, 20} {
		for _, objective := range []cache.Objective{cache.ObjectHits, cache.ByteHits} {
			spec := harness.Spec{
				Group: "Hit ratio with sizes", Name: fmt.Sprintf("objects hit, %s, %d %% of the bytes", name, percent), Unit: "%", Higher: true,
				Bars: []harness.Bar{harness.AtLeast(0).Above("GDSF")},
			}
			if objective == cache.ByteHits {
				spec.Name = fmt.Sprintf("bytes hit, %s, %d %% of the bytes", name, percent)
				spec.Bars = []harness.Bar{harness.AtLeast(0).Above("LRU")}
			}
			s.Value(spec, func() []harness.Figure {
				var figures []harness.Figure
				for _, m := range append([]sizedMaker{sizedOurs(objective)}, sizedPeers...) {
					objects, bytes := load().ratios(m, load().total*percent/100)
					if objective == cache.ByteHits {
						objects = bytes
					}
					figures = append(figures, harness.Figure{Name: m.name, Value: objects})
				}
				return figures
			})
		}
	}
}

// gdsf is Greedy-Dual-Size-Frequency by the letter, as a reference.
type gdsf struct {
	capacity, used int
	clock          float64
	held           map[uint64]*gdsfItem
	queue          gdsfQueue
}

type gdsfItem struct {
	key      uint64
	size     uint32
	uses     float64
	priority float64
	at       int
}

func (g *gdsf) Get(key uint64) (uint32, bool) {
	item := g.held[key]
	if item == nil {
		return 0, false
	}
	item.uses++
	item.priority = g.clock + item.uses/math.Max(1, float64(item.size))
	heap.Fix(&g.queue, item.at)
	return item.size, true
}

func (g *gdsf) Put(key uint64, size uint32) {
	if int(size) > g.capacity {
		return
	}
	for g.used+int(size) > g.capacity {
		item := heap.Pop(&g.queue).(*gdsfItem)
		g.clock = item.priority
		g.used -= int(item.size)
		delete(g.held, item.key)
	}
	item := &gdsfItem{key: key, size: size, uses: 1, priority: g.clock + 1/math.Max(1, float64(size))}
	g.held[key] = item
	g.used += int(size)
	heap.Push(&g.queue, item)
}

type gdsfQueue []*gdsfItem

func (q gdsfQueue) Len() int           { return len(q) }
func (q gdsfQueue) Less(i, j int) bool { return q[i].priority < q[j].priority }
func (q gdsfQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].at, q[j].at = i, j }
func (q *gdsfQueue) Push(x any)        { x.(*gdsfItem).at = len(*q); *q = append(*q, x.(*gdsfItem)) }
func (q *gdsfQueue) Pop() any {
	old := *q
	item := old[len(old)-1]
	*q = old[:len(old)-1]
	return item
}
