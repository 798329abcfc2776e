package cachetest

import (
	"bytes"
	"io"
	"iter"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// A subject is a sound cache, for faults to be built into.
type subject struct{ *lru.Cache[int, int] }

func sound(capacity int, opts *options) subject { return subject{lru.New(capacity, opts)} }

func newSubject(capacity int, opts *options) cache.Cache[int, int] { return sound(capacity, opts) }

func TestSoundCachePasses(t *testing.T) {
	Run(t, Config{New: newSubject, Complete: true, ZeroAlloc: true})
}

func FuzzSoundCache(f *testing.F) { Fuzz(f, Config{New: newSubject, Complete: true}) }

// faults are caches with one fault each, of kinds seen in real ones, by the
// test that has to find it.
var faults = []struct {
	found string
	name  string
	new   func(capacity int, opts *options) cache.Cache[int, int]
}{
	{"CapacityIsExact", "rounds the capacity", func(capacity int, opts *options) cache.Cache[int, int] {
		return sound((capacity+31)/32*32, opts)
	}},
	{"Semantics", "Delete does nothing", func(capacity int, opts *options) cache.Cache[int, int] {
		return lazyDelete{sound(capacity, opts)}
	}},
	{"ReadYourWrites", "drops a Put now and then", func(capacity int, opts *options) cache.Cache[int, int] {
		return &dropper{subject: sound(capacity, opts)}
	}},
	{"ConcurrentSafeOwners", "a Put comes back after Delete", func(capacity int, opts *options) cache.Cache[int, int] {
		return &lagging{subject: sound(capacity, opts)}
	}},
	{"ConcurrentSafeBound", "overshoots while it writes", func(capacity int, opts *options) cache.Cache[int, int] {
		return &overshooting{subject: sound(capacity, opts)}
	}},
	{"ConcurrentSafeGetOrPut", "GetOrPut in two steps", func(capacity int, opts *options) cache.Cache[int, int] {
		return twoSteps{sound(capacity, opts)}
	}},
	{"Clear", "Clear leaves something", func(capacity int, opts *options) cache.Cache[int, int] {
		return forgetful{sound(capacity, opts)}
	}},
	{"Resize", "Resize does nothing", func(capacity int, opts *options) cache.Cache[int, int] {
		return rigid{sound(capacity, opts)}
	}},
	{"BadArguments", "accepts every option", func(capacity int, _ *options) cache.Cache[int, int] {
		return sound(max(1, capacity), nil)
	}},
	{"StatsAddUp", "counts evictions twice", func(capacity int, opts *options) cache.Cache[int, int] {
		return boasting{sound(capacity, opts)}
	}},
	{"Allocations", "Get allocates", func(capacity int, opts *options) cache.Cache[int, int] {
		return wasteful{sound(capacity, opts)}
	}},
	{"AllWhileChanging", "All holds a lock", func(capacity int, opts *options) cache.Cache[int, int] {
		return &locked{subject: sound(capacity, opts)}
	}},
	{"All", "All yields an entry twice", func(capacity int, opts *options) cache.Cache[int, int] {
		return stuttering{sound(capacity, opts)}
	}},
	{"ScanWhileChanging", "Scan loses entries", func(capacity int, opts *options) cache.Cache[int, int] {
		return hasty{sound(capacity, opts)}
	}},
	{"RemovalReasons", "expired is called evicted", rewrite(func(_ int, r cache.Reason) []cache.Reason {
		if r == cache.Expired {
			r = cache.Evicted
		}
		return []cache.Reason{r}
	})},
	{"RemovalOnce", "loses a removal now and then", rewrite(func(v int, r cache.Reason) []cache.Reason {
		if v%50 == 7 {
			return nil
		}
		return []cache.Reason{r}
	})},
	{"ConcurrentSafeRemovalOnce", "tells of removals twice", rewrite(func(v int, r cache.Reason) []cache.Reason {
		if v%50 == 7 {
			return []cache.Reason{r, r}
		}
		return []cache.Reason{r}
	})},
	{"RemovalMayCallBack", "OnRemoval runs under a lock", func(capacity int, opts *options) cache.Cache[int, int] {
		return &locked{subject: sound(capacity, opts)}
	}},
	{"RemovalPanic", "a panic leaves a lock behind", func(capacity int, opts *options) cache.Cache[int, int] {
		return &locked{subject: sound(capacity, opts)}
	}},
	{"RemovalSeesTheValueGone", "OnRemoval runs too early", func(capacity int, opts *options) cache.Cache[int, int] {
		return early{sound(capacity, opts), opts.OnRemoval}
	}},
	{"ExpiredIsNeverSeen", "never expires", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Now = (&clock{}).now
		return sound(capacity, &o)
	}},
	{"Lifetimes", "a long lifetime overflows", func(capacity int, opts *options) cache.Cache[int, int] {
		return overflowing{sound(capacity, opts)}
	}},
	{"Lifetimes", "expires at the next full second", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Now = func() time.Time { return opts.Now().Truncate(time.Second) }
		return sound(capacity, &o)
	}},
	{"Jitter", "no jitter", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Jitter = 0
		return sound(capacity, &o)
	}},
	{"ClockOfPackageTime", "a clock that stands still", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Now = (&clock{}).now
		return sound(capacity, &o)
	}},
	{"Cost", "ignores costs", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Cost = nil
		return sound(capacity, &o)
	}},
	{"CostIsAskedOnce", "asks for costs twice", func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.Cost = func(k, v int) int64 { return opts.Cost(k, v) + opts.Cost(k, v) }
		return sound(capacity, &o)
	}},
	{"CostTooLarge", "a refused value leaves the old one", func(capacity int, opts *options) cache.Cache[int, int] {
		return clinging{sound(capacity, opts), capacity}
	}},
	{"SnapshotDamaged", "Load believes everything", func(capacity int, opts *options) cache.Cache[int, int] {
		return gullible{sound(capacity, opts)}
	}},
	{"SnapshotDamaged", "Load clears before it looks", func(capacity int, opts *options) cache.Cache[int, int] {
		return eager{sound(capacity, opts)}
	}},
	{"SnapshotRoundTrip", "Save loses an entry", func(capacity int, opts *options) cache.Cache[int, int] {
		return leaky{sound(capacity, opts)}
	}},
}

type lazyDelete struct{ subject }

func (c lazyDelete) Delete(key int) bool { _, ok := c.Peek(key); return ok }

type dropper struct {
	subject
	n int
}

func (c *dropper) Put(key, value int) {
	if c.n++; c.n%1000 != 0 {
		c.subject.Put(key, value)
	}
}

// lagging puts a value in again after the next Delete of any key.
type lagging struct {
	subject
	last atomic.Int64
}

func (c *lagging) Put(key, value int) { c.last.Store(int64(key)); c.subject.Put(key, value) }

func (c *lagging) Delete(key int) bool {
	last := c.last.Load()
	ok := c.subject.Delete(key)
	if int64(key) == last {
		c.subject.Put(key, 1)
	}
	return ok
}

type overshooting struct {
	subject
	extra atomic.Int64
}

func (c *overshooting) Put(key, value int) {
	c.extra.Add(1)
	runtime.Gosched()
	c.subject.Put(key, value)
	c.extra.Add(-1)
}

func (c *overshooting) Len() int { return c.subject.Len() + int(c.extra.Load()) }

type twoSteps struct{ subject }

func (c twoSteps) GetOrPut(key, value int) (int, bool) {
	if v, ok := c.Get(key); ok {
		return v, true
	}
	for range 100 {
		runtime.Gosched() // the others come in between
	}
	c.Put(key, value)
	return value, false
}

type forgetful struct{ subject }

func (c forgetful) Clear() {
	for k, v := range c.subject.All() {
		c.subject.Clear()
		c.subject.Put(k, v)
		return
	}
}

type rigid struct{ subject }

func (c rigid) Resize(int) int { return 0 }

type boasting struct{ subject }

func (c boasting) Stats() cache.Stats {
	st := c.subject.Stats()
	st.Evictions *= 2
	return st
}

var sink *int

type wasteful struct{ subject }

func (c wasteful) Get(key int) (int, bool) {
	sink = new(key)
	return c.subject.Get(key)
}

type locked struct {
	subject
	mu sync.Mutex
}

func (c *locked) Put(key, value int) {
	c.mu.Lock()
	c.subject.Put(key, value)
	c.mu.Unlock()
}

func (c *locked) Get(key int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subject.Get(key)
}

func (c *locked) All() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.subject.All()(yield)
	}
}

type stuttering struct{ subject }

func (c stuttering) All() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for k, v := range c.subject.All() {
			if !yield(k, v) || k%100 == 1 && !yield(k, v) {
				return
			}
		}
	}
}

type hasty struct{ subject }

func (c hasty) Scan(cursor uint64, n int, visit func(int, int) bool) uint64 {
	next := c.subject.Scan(cursor, n, visit)
	if next > 1<<8 {
		next++
	}
	return next
}

// rewrite makes a cache that tells OnRemoval something else.
func rewrite(f func(value int, reason cache.Reason) []cache.Reason) func(int, *options) cache.Cache[int, int] {
	return func(capacity int, opts *options) cache.Cache[int, int] {
		o := *opts
		o.OnRemoval = func(k, v int, reason cache.Reason) {
			for _, r := range f(v, reason) {
				opts.OnRemoval(k, v, r)
			}
		}
		return sound(capacity, &o)
	}
}

type early struct {
	subject
	tell func(int, int, cache.Reason)
}

func (c early) Delete(key int) bool {
	if v, ok := c.Peek(key); ok {
		c.tell(key, v, cache.Deleted)
	}
	return c.subject.Delete(key)
}

type overflowing struct{ subject }

func (c overflowing) PutTTL(key, value int, ttl time.Duration) {
	c.subject.PutTTL(key, value, max(ttl, ttl<<8>>8))
	if ttl<<8>>8 != ttl && ttl > 0 {
		c.subject.PutTTL(key, value, 1)
	}
}

type clinging struct {
	subject
	capacity int
}

func (c clinging) Put(key, value int) {
	old, ok := c.Peek(key)
	c.subject.Put(key, value)
	if ok && value > c.capacity {
		c.subject.Put(key, old)
	}
}

type gullible struct{ subject }

func (c gullible) Load(r io.Reader, codec cache.Codec[int, int]) (int, error) {
	n, _ := c.subject.Load(r, codec)
	return n, nil
}

type eager struct{ subject }

func (c eager) Load(r io.Reader, codec cache.Codec[int, int]) (int, error) {
	c.Clear()
	return c.subject.Load(r, codec)
}

type leaky struct{ subject }

func (c leaky) Save(w io.Writer, codec cache.Codec[int, int]) error {
	copied := sound(roomy, nil)
	for k, v := range c.All() {
		if k != -1000+8 {
			copied.Put(k, v)
		}
	}
	return copied.Save(w, codec)
}

// TestFaultyCache is run by TestFaultsAreFound in a process of its own, where
// it has to fail.
func TestFaultyCache(t *testing.T) {
	name := os.Getenv("CACHETEST_FAULT")
	if name == "" {
		t.Skip("TestFaultsAreFound runs this")
	}
	patience = 200 * time.Millisecond // what hangs here is meant to
	for _, fault := range faults {
		if fault.name == name {
			Run(t, Config{New: fault.new, Complete: true, ZeroAlloc: true})
		}
	}
}

// A suite that finds nothing would pass every test of the caches.
func TestFaultsAreFound(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			if raceEnabled && fault.found == "Allocations" {
				t.Skip("allocations are not tested under the race detector")
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFaultyCache$/^shards=1$/^"+fault.found+"$")
			cmd.Env = append(os.Environ(), "CACHETEST_FAULT="+fault.name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s", out)
			if !bytes.Contains(out, []byte("--- FAIL: TestFaultyCache/shards=1/"+fault.found)) {
				t.Errorf("the fault was not found by %s:\n%s", fault.found, out)
			}
		})
	}
}

// What a cache does not have is skipped, unless it claims to be complete.
func TestSmallCacheSkips(t *testing.T) {
	Run(t, Config{
		Without: Expiry | Costs | Callbacks,
		New: func(capacity int, _ *options) cache.Cache[int, int] {
			return struct{ cache.Cache[int, int] }{lru.New[int, int](capacity, nil)}
		},
	})
}
