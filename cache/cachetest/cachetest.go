// Package cachetest is the conformance suite of ashlar's caches. A cache that
// passes [Run] keeps the promises of [cache.Cache] and [cache.Options], and of
// whatever else of the full method set it has. Call it from a test:
//
//	func TestConformance(t *testing.T) {
//		cachetest.Run(t, cachetest.Config{New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
//			return mycache.New(capacity, opts)
//		}})
//	}
//
// and [Fuzz] from a fuzz target. The suite checks, among much else:
//
//   - Len never exceeds the capacity, nor the sum of costs, not for a moment
//     and not with sixteen goroutines writing; a capacity is not rounded
//   - what was put is there: no Put is dropped, and none comes back after a
//     Delete
//   - OnRemoval hears of every value that leaves, once, with the reason, and
//     may call anything on the cache
//   - an entry is never seen after its lifetime, whatever the lifetime is
//   - the statistics add up, also after concurrent use
//   - iterators end while the cache changes under them
//   - a damaged snapshot, at whatever byte, is refused and changes nothing
//
// Methods beyond [cache.Cache] are recognised by these signatures:
//
//	Capacity() int
//	Cost() int64
//	DeleteExpired() int
//	GetOrPut(int, int) (int, bool)
//	Keys() iter.Seq[int]
//	Load(io.Reader, cache.Codec[int, int]) (int, error)
//	Resize(int) int
//	Save(io.Writer, cache.Codec[int, int]) error
//	Scan(uint64, int, func(int, int) bool) uint64
//	SetTTL(int, time.Duration) bool
//	Stats() cache.Stats
//	TTL(int) (time.Duration, bool)
//	Take(int) (int, bool)
//
// A missing one skips its tests, or, with [Config].Complete, fails them.
package cachetest

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// Config says what is tested and how much it promises.
type Config struct {
	// New returns an empty cache. opts is never nil.
	New func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int]

	// Without lists the options that the cache does not know; their tests
	// are skipped.
	Without Feature

	// Partitioned says that New makes caches which split their capacity, so
	// that they may evict before they are full, even with Options.Shards = 1.
	Partitioned bool

	// Complete says that the cache has every method in the package comment.
	Complete bool

	// ZeroAlloc says that Get, an update and an insert that evicts allocate
	// nothing once the cache has been full.
	ZeroAlloc bool
}

// A Feature is something that [cache.Options] offers and a cache may lack.
type Feature uint

const (
	// Expiry is Options.TTL, Options.Jitter and the lifetime of PutTTL.
	Expiry Feature = 1 << iota
	// Costs is Options.Cost.
	Costs
	// Callbacks is Options.OnRemoval, and that callbacks may call the cache.
	Callbacks
)

type (
	capacityer interface{ Capacity() int }
	coster     interface{ Cost() int64 }
	sweeper    interface{ DeleteExpired() int }
	getOrPuter interface {
		GetOrPut(key, value int) (int, bool)
	}
	keyer  interface{ Keys() iter.Seq[int] }
	loader interface {
		Load(r io.Reader, codec cache.Codec[int, int]) (int, error)
	}
	resizer interface{ Resize(capacity int) int }
	saver   interface {
		Save(w io.Writer, codec cache.Codec[int, int]) error
	}
	scanner interface {
		Scan(cursor uint64, n int, visit func(key, value int) bool) uint64
	}
	setTTLer interface {
		SetTTL(key int, ttl time.Duration) bool
	}
	stater interface{ Stats() cache.Stats }
	ttler  interface {
		TTL(key int) (time.Duration, bool)
	}
	taker interface{ Take(key int) (int, bool) }
)

// Run runs the suite as subtests of t, once with one shard and once with four.
func Run(t *testing.T, config Config) {
	for _, shards := range []int{1, 4} {
		s := &suite{Config: config, shards: shards}
		s.Partitioned = s.Partitioned || shards > 1
		t.Run(fmt.Sprintf("shards=%d", shards), s.run)
	}
}

type suite struct {
	Config
	shards int
}

func (s *suite) run(t *testing.T) {
	for _, test := range []struct {
		name  string
		needs Feature
		run   func(t *testing.T)
	}{
		{"Semantics", 0, s.testSemantics},
		{"CapacityIsExact", 0, s.testCapacity},
		{"ReadYourWrites", 0, s.testReadYourWrites},
		{"Take", 0, s.testTake},
		{"GetOrPut", 0, s.testGetOrPut},
		{"Clear", 0, s.testClear},
		{"Resize", 0, s.testResize},
		{"BadArguments", 0, s.testBadArguments},
		{"StatsAddUp", 0, s.testStats},
		{"Allocations", 0, s.testAllocations},
		{"All", 0, s.testAll},
		{"AllWhileChanging", 0, s.testAllWhileChanging},
		{"Scan", 0, s.testScan},
		{"ScanWhileChanging", 0, s.testScanWhileChanging},
		{"RemovalReasons", Callbacks, s.testReasons},
		{"RemovalOnce", Callbacks, s.testRemovalOnce},
		{"RemovalMayCallBack", Callbacks, s.testReentrant},
		{"RemovalSeesTheValueGone", Callbacks, s.testRemovalAfter},
		{"RemovalPanic", Callbacks, s.testRemovalPanic},
		{"Lifetimes", Expiry, s.testLifetimes},
		{"ExpiredIsNeverSeen", Expiry, s.testExpiredUnseen},
		{"SetTTL", Expiry, s.testSetTTL},
		{"DeleteExpired", Expiry, s.testDeleteExpired},
		{"Jitter", Expiry, s.testJitter},
		{"ClockOfPackageTime", Expiry, s.testBubble},
		{"Cost", Costs, s.testCost},
		{"CostTooLarge", Costs | Callbacks, s.testCostTooLarge},
		{"CostChanges", Costs, s.testCostChanges},
		{"CostIsAskedOnce", Costs | Callbacks, s.testCostOnce},
		{"SnapshotRoundTrip", 0, s.testSnapshot},
		{"SnapshotLifetimes", Expiry, s.testSnapshotLifetimes},
		{"SnapshotDamaged", 0, s.testSnapshotDamaged},
		{"SnapshotForeign", 0, s.testSnapshotForeign},
		{"ConcurrentSafeBound", 0, s.testConcurrentBound},
		{"ConcurrentSafeOwners", 0, s.testConcurrentOwners},
		{"ConcurrentSafeStats", 0, s.testConcurrentStats},
		{"ConcurrentSafeRemovalOnce", Callbacks, s.testConcurrentRemoval},
		{"ConcurrentSafeGetOrPut", 0, s.testConcurrentGetOrPut},
		{"ConcurrentSafeResizeClear", 0, s.testConcurrentResize},
	} {
		t.Run(test.name, func(t *testing.T) {
			if s.Without&test.needs != 0 {
				t.Skip("the cache has no such option")
			}
			test.run(t)
		})
	}
}

// cache makes the cache under test, with the suite's number of shards.
func (s *suite) cache(capacity int, opts cache.Options[int, int]) cache.Cache[int, int] {
	if opts.Shards == 0 {
		opts.Shards = s.shards
	}
	return s.New(capacity, &opts)
}

// need returns c as the interface T. Where c has no such method it skips the
// test, or fails it if the cache claims to be complete.
func need[T any](t testing.TB, s *suite, c cache.Cache[int, int]) T {
	t.Helper()
	has, ok := c.(T)
	if !ok {
		message := fmt.Sprintf("%T has no method set %T", c, (*T)(nil))
		if s.Complete {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return has
}

// patience is far above what a loaded machine needs: it is there to name the
// test that deadlocks.
var patience = 2 * time.Minute

// within fails the test if f hangs.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("deadlock: the cache did not answer")
	}
}

// A clock is moved by hand.
type clock struct{ offset atomic.Int64 }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (c *clock) now() time.Time          { return epoch.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// A removal is one call of OnRemoval.
type removal struct {
	key, value int
	reason     cache.Reason
}

func (r removal) String() string { return fmt.Sprintf("%d=%d %v", r.key, r.value, r.reason) }

// wantGet checks what Get and Peek say about key.
func wantGet(t *testing.T, c cache.Cache[int, int], key, want int, wantOK bool) {
	t.Helper()
	if got, ok := c.Peek(key); got != want || ok != wantOK {
		t.Errorf("Peek(%d) = %d, %v, want %d, %v", key, got, ok, want, wantOK)
	}
	if got, ok := c.Get(key); got != want || ok != wantOK {
		t.Errorf("Get(%d) = %d, %v, want %d, %v", key, got, ok, want, wantOK)
	}
}

func wantLen(t *testing.T, c cache.Cache[int, int], want int) {
	t.Helper()
	if got := c.Len(); got != want {
		t.Errorf("Len() = %d, want %d", got, want)
	}
}

// contents returns what All yields and fails if a key comes twice.
func contents(t *testing.T, c cache.Cache[int, int]) map[int]int {
	t.Helper()
	m := map[int]int{}
	for k, v := range c.All() {
		if _, twice := m[k]; twice {
			t.Errorf("All yields %d twice", k)
		}
		m[k] = v
	}
	return m
}

func sortedKeys(m map[int]int) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
