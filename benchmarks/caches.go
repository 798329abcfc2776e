package main

import (
	"sync"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/random"
	"github.com/ashlar-go/ashlar/lfu"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
	"github.com/dgraph-io/ristretto/v2"
	groupcache "github.com/golang/groupcache/lru"
	"github.com/hashicorp/golang-lru/arc/v2"
	hashicorp "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
)

// bounded is what the workloads need of a cache.
type bounded interface {
	Get(key int64) (int64, bool)
	Put(key, value int64)
}

// settler is a cache that has work left after a call returns; settle does it.
type settler interface{ settle() }

// A maker makes a cache of that capacity, and what ends it.
type maker struct {
	name string
	make func(capacity int) (c bounded, stop func())
}

func none() {}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ours makes the cache of a package of ashlar.
func ours(pkg string, opts *cache.Options[int64, int64]) maker {
	return maker{harness.Ours, func(capacity int) (bounded, func()) {
		switch pkg {
		case "lru":
			return lru.New(capacity, opts), none
		case "lfu":
			return lfu.New(capacity, opts), none
		case "cache/random":
			return random.New(capacity, opts), none
		case "tinylfu":
			return tinylfu.New(capacity, opts), none
		}
		panic("no cache in " + pkg)
	}}
}

// The peers that can be had from the module proxy, with their defaults.
var (
	peerHashicorp = maker{"hashicorp", func(capacity int) (bounded, func()) {
		return hashicorpLRU{must(hashicorp.New[int64, int64](capacity))}, none
	}}
	peer2Q = maker{"hashicorp-2q", func(capacity int) (bounded, func()) {
		return hashicorp2Q{must(hashicorp.New2Q[int64, int64](capacity))}, none
	}}
	peerARC = maker{"hashicorp-arc", func(capacity int) (bounded, func()) {
		return hashicorpARC{must(arc.NewARC[int64, int64](capacity))}, none
	}}
	peerGroupcache = maker{"groupcache", func(capacity int) (bounded, func()) {
		return &locked{cache: groupcache.New(capacity)}, none
	}}
	peerOtter = maker{"otter", func(capacity int) (bounded, func()) {
		return otterCache{otter.Must(&otter.Options[int64, int64]{MaximumSize: capacity})}, none
	}}
	peerTheine = maker{"theine", func(capacity int) (bounded, func()) {
		c := must(theine.NewBuilder[int64, int64](int64(capacity)).Build())
		return theineCache{c}, c.Close
	}}
	// Ristretto drops what is put while its buffer is full, so that it is timed
	// at fewer writes than the others.
	peerRistretto = maker{"ristretto", func(capacity int) (bounded, func()) {
		c := newRistretto(capacity)
		return ristrettoCache{c}, c.Close
	}}
)

// The peers that bound their size in the background, made to do so before a
// call returns: otherwise they hold several times what they are told to.
var (
	strictOtter = maker{"otter-sync", func(capacity int) (bounded, func()) {
		return otterCache{otter.Must(&otter.Options[int64, int64]{
			MaximumSize: capacity, InitialCapacity: capacity, Executor: func(f func()) { f() },
		})}, none
	}}
	strictTheine = maker{"theine+Wait", func(capacity int) (bounded, func()) {
		c := must(theine.NewBuilder[int64, int64](int64(capacity)).Build())
		return waitingTheine{theineCache{c}}, c.Close
	}}
	strictRistretto = maker{"ristretto+Wait", func(capacity int) (bounded, func()) {
		c := newRistretto(capacity)
		return waitingRistretto{ristrettoCache{c}}, c.Close
	}}
)

// The peers with a lifetime for all entries, of an hour.
var expiring = []maker{
	{"hashicorp-expirable", func(capacity int) (bounded, func()) {
		c := expirable.NewLRU[int64, int64](capacity, nil, time.Hour)
		return hashicorpTTL{c}, c.Purge // its goroutine cannot be stopped, and holds on to it
	}},
	{"ttlcache", func(capacity int) (bounded, func()) {
		return ttlCache{ttlcache.New(
			ttlcache.WithTTL[int64, int64](time.Hour), ttlcache.WithCapacity[int64, int64](uint64(capacity)), ttlcache.WithDisableTouchOnHit[int64, int64](),
		)}, none
	}},
	{"otter", func(capacity int) (bounded, func()) {
		c := otter.Must(&otter.Options[int64, int64]{MaximumSize: capacity, ExpiryCalculator: otter.ExpiryWriting[int64, int64](time.Hour)})
		return otterCache{c}, func() { c.StopAllGoroutines() }
	}},
	{"theine", func(capacity int) (bounded, func()) {
		c := must(theine.NewBuilder[int64, int64](int64(capacity)).Build())
		return theineTTL{c}, c.Close
	}},
	{"ristretto", func(capacity int) (bounded, func()) {
		c := newRistretto(capacity)
		return ristrettoTTL{c}, c.Close
	}},
}

func newRistretto(capacity int) *ristretto.Cache[int64, int64] {
	return must(ristretto.NewCache(&ristretto.Config[int64, int64]{
		NumCounters: int64(capacity) * 10, MaxCost: int64(capacity), BufferItems: 64, IgnoreInternalCost: true,
	}))
}

// What follows gives the peers the names of our methods. Each is a struct of
// one pointer with a concrete type, so that a call costs what a call of the
// pointer does: a type parameter would put another indirect call in between.

type hashicorpLRU struct {
	c *hashicorp.Cache[int64, int64]
}

func (h hashicorpLRU) Get(key int64) (int64, bool) { return h.c.Get(key) }
func (h hashicorpLRU) Put(key, value int64)        { h.c.Add(key, value) }
func (h hashicorpLRU) Len() int                    { return h.c.Len() }

type hashicorp2Q struct {
	c *hashicorp.TwoQueueCache[int64, int64]
}

func (h hashicorp2Q) Get(key int64) (int64, bool) { return h.c.Get(key) }
func (h hashicorp2Q) Put(key, value int64)        { h.c.Add(key, value) }
func (h hashicorp2Q) Len() int                    { return h.c.Len() }

type hashicorpARC struct {
	c *arc.ARCCache[int64, int64]
}

func (h hashicorpARC) Get(key int64) (int64, bool) { return h.c.Get(key) }
func (h hashicorpARC) Put(key, value int64)        { h.c.Add(key, value) }
func (h hashicorpARC) Len() int                    { return h.c.Len() }

type hashicorpTTL struct {
	c *expirable.LRU[int64, int64]
}

func (h hashicorpTTL) Get(key int64) (int64, bool) { return h.c.Get(key) }
func (h hashicorpTTL) Put(key, value int64)        { h.c.Add(key, value) }
func (h hashicorpTTL) Len() int                    { return h.c.Len() }

type otterCache struct{ c *otter.Cache[int64, int64] }

func (o otterCache) Get(key int64) (int64, bool) { return o.c.GetIfPresent(key) }
func (o otterCache) Put(key, value int64)        { o.c.Set(key, value) }
func (o otterCache) Len() int                    { return o.c.EstimatedSize() }
func (o otterCache) settle()                     { o.c.CleanUp() }

type theineCache struct{ c *theine.Cache[int64, int64] }

func (t theineCache) Get(key int64) (int64, bool) { return t.c.Get(key) }
func (t theineCache) Put(key, value int64)        { t.c.Set(key, value, 1) }
func (t theineCache) Len() int                    { return t.c.Len() }
func (t theineCache) settle()                     { t.c.Wait() }

type waitingTheine struct{ theineCache }

func (t waitingTheine) Put(key, value int64) {
	t.c.Set(key, value, 1)
	t.c.Wait()
}

type theineTTL struct{ c *theine.Cache[int64, int64] }

func (t theineTTL) Get(key int64) (int64, bool) { return t.c.Get(key) }
func (t theineTTL) Put(key, value int64)        { t.c.SetWithTTL(key, value, 1, time.Hour) }
func (t theineTTL) settle()                     { t.c.Wait() }

type ristrettoCache struct {
	c *ristretto.Cache[int64, int64]
}

func (r ristrettoCache) Get(key int64) (int64, bool) { return r.c.Get(key) }
func (r ristrettoCache) Put(key, value int64)        { r.c.Set(key, value, 1) }
func (r ristrettoCache) settle()                     { r.c.Wait() }

type waitingRistretto struct{ ristrettoCache }

func (r waitingRistretto) Put(key, value int64) {
	r.c.Set(key, value, 1)
	r.c.Wait()
}

type ristrettoTTL struct {
	c *ristretto.Cache[int64, int64]
}

func (r ristrettoTTL) Get(key int64) (int64, bool) { return r.c.Get(key) }
func (r ristrettoTTL) Put(key, value int64)        { r.c.SetWithTTL(key, value, 1, time.Hour) }
func (r ristrettoTTL) settle()                     { r.c.Wait() }

type ttlCache struct {
	c *ttlcache.Cache[int64, int64]
}

func (t ttlCache) Put(key, value int64) { t.c.Set(key, value, ttlcache.DefaultTTL) }
func (t ttlCache) Len() int             { return t.c.Len() }

func (t ttlCache) Get(key int64) (int64, bool) {
	item := t.c.Get(key)
	if item == nil {
		return 0, false
	}
	return item.Value(), true
}

// locked makes groupcache's list safe for concurrent use, as groupcache does.
type locked struct {
	mu    sync.Mutex
	cache *groupcache.Cache
}

func (l *locked) Get(key int64) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.cache.Get(key)
	if !ok {
		return 0, false
	}
	return v.(int64), true
}

func (l *locked) Put(key, value int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cache.Add(key, value)
}

func (l *locked) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache.Len()
}
