package cachetest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// options is short for the options of the caches under test.
type options = cache.Options[int, int]

// roomy is a capacity at which a few hundred keys fit however they fall on
// the parts of a partitioned cache.
const roomy = 8192

func (s *suite) testSemantics(t *testing.T) {
	c := s.cache(roomy, options{})
	wantGet(t, c, 1, 0, false)
	wantLen(t, c, 0)
	if c.Delete(1) {
		t.Error("Delete(1) of an empty cache = true")
	}

	for _, key := range []int{0, 1, -1, math.MaxInt, math.MinInt} {
		c.Put(key, key^7)
		wantGet(t, c, key, key^7, true)
	}
	wantLen(t, c, 5)

	c.Put(1, 100)
	wantGet(t, c, 1, 100, true)
	c.PutTTL(1, 0, time.Hour)
	wantGet(t, c, 1, 0, true)
	wantLen(t, c, 5)

	if !c.Delete(1) {
		t.Error("Delete(1) = false, want true")
	}
	wantGet(t, c, 1, 0, false)
	if c.Delete(1) {
		t.Error("second Delete(1) = true")
	}
	wantLen(t, c, 4)
	c.Put(1, 101)
	wantGet(t, c, 1, 101, true)
	wantGet(t, c, 0, 7, true)
}

// fill puts keys from first on until c holds n, or ought to.
func fill(c ints, first, n int) {
	for key := first; c.Len() < n && key < first+1000; key++ {
		c.Put(key, key)
	}
}

// testCapacity also guards against capacities that are rounded, as by caches
// that hold 96 entries when asked for 70.
func (s *suite) testCapacity(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 5, 7, 10, 70, 100, 129, 1000} {
		c := s.cache(capacity, options{})
		for i := range 8 * capacity {
			c.Put(i, i)
			if n := c.Len(); n > capacity || n == 0 {
				t.Fatalf("capacity %d: Len() = %d after Put(%d)", capacity, n, i)
			}
			wantGet(t, c, i, i, true)
			c.Get(i / 2)
			c.Put(i/3, i)
			if n := c.Len(); n > capacity {
				t.Fatalf("capacity %d: Len() = %d after the update of %d", capacity, n, i/3)
			}
		}
		fill(c, 8*capacity, capacity)
		if n := c.Len(); n != capacity {
			t.Errorf("capacity %d: Len() = %d however many keys it gets, want it full", capacity, n)
		}
		if has, ok := c.(capacityer); ok && has.Capacity() != capacity {
			t.Errorf("Capacity() = %d, want %d", has.Capacity(), capacity)
		}
		if s.Partitioned {
			continue
		}
		c = s.cache(capacity, options{})
		for i := range capacity {
			c.Put(i, i)
		}
		for i := range capacity {
			if _, ok := c.Peek(i); !ok {
				t.Errorf("capacity %d: key %d was evicted before the cache was full", capacity, i)
			}
		}
	}
}

func (s *suite) testReadYourWrites(t *testing.T) {
	for _, capacity := range []int{1, 2, 17, 512} {
		c := s.cache(capacity, options{})
		rng := rand.New(rand.NewPCG(1, uint64(capacity)))
		for i := range 20_000 {
			key := int(rng.ExpFloat64() * float64(capacity))
			switch rng.IntN(8) {
			case 0:
				c.Delete(key)
				wantGet(t, c, key, 0, false)
			case 1, 2, 3:
				c.Get(key)
			default:
				c.Put(key, i)
				wantGet(t, c, key, i, true)
			}
			if t.Failed() {
				t.Fatalf("capacity %d, step %d", capacity, i)
			}
		}
	}
}

func (s *suite) testTake(t *testing.T) {
	c := s.cache(roomy, options{})
	take := need[taker](t, s, c).Take
	if v, ok := take(1); v != 0 || ok {
		t.Errorf("Take(1) of an empty cache = %d, %v", v, ok)
	}
	c.Put(1, 11)
	if v, ok := take(1); v != 11 || !ok {
		t.Errorf("Take(1) = %d, %v, want 11, true", v, ok)
	}
	if v, ok := take(1); v != 0 || ok {
		t.Errorf("second Take(1) = %d, %v", v, ok)
	}
	wantLen(t, c, 0)
}

func (s *suite) testGetOrPut(t *testing.T) {
	c := s.cache(roomy, options{})
	getOrPut := need[getOrPuter](t, s, c).GetOrPut
	if v, loaded := getOrPut(1, 11); v != 11 || loaded {
		t.Errorf("GetOrPut(1, 11) = %d, %v, want 11, false", v, loaded)
	}
	if v, loaded := getOrPut(1, 12); v != 11 || !loaded {
		t.Errorf("GetOrPut(1, 12) = %d, %v, want 11, true", v, loaded)
	}
	wantGet(t, c, 1, 11, true)
	c.Delete(1)
	if v, loaded := getOrPut(1, 13); v != 13 || loaded {
		t.Errorf("GetOrPut(1, 13) after Delete = %d, %v, want 13, false", v, loaded)
	}
}

func (s *suite) testClear(t *testing.T) {
	c := s.cache(100, options{})
	c.Clear()
	for round := range 3 {
		for i := range 300 {
			c.Put(i, i+round)
		}
		c.Clear()
		wantLen(t, c, 0)
		if m := contents(t, c); len(m) != 0 {
			t.Errorf("All yields %d entries after Clear", len(m))
		}
		for i := range 300 {
			wantGet(t, c, i, 0, false)
		}
	}
	c.Put(7, 8)
	wantGet(t, c, 7, 8, true)
	wantLen(t, c, 1)
}

func (s *suite) testResize(t *testing.T) {
	c := s.cache(100, options{})
	resize := need[resizer](t, s, c).Resize
	next := 0
	for _, capacity := range []int{100, 10, 9, 250, 1000, 37, 37, 4, 5000, 64} {
		before := c.Len()
		evicted := resize(capacity)
		if n := c.Len(); n > capacity || n != before-evicted {
			t.Errorf("Resize(%d) = %d: Len() = %d, was %d", capacity, evicted, n, before)
		}
		if before <= capacity && !s.Partitioned && evicted != 0 {
			t.Errorf("Resize(%d) evicts %d of %d entries", capacity, evicted, before)
		}
		if has, ok := c.(capacityer); ok && has.Capacity() != capacity {
			t.Errorf("Capacity() = %d after Resize(%d)", has.Capacity(), capacity)
		}
		for k, v := range contents(t, c) {
			wantGet(t, c, k, v, true)
		}
		for range 8 * capacity {
			next++
			c.Put(next, -next)
			if n := c.Len(); n > capacity {
				t.Fatalf("Len() = %d after Resize(%d)", n, capacity)
			}
			wantGet(t, c, next, -next, true)
		}
		fill(c, next+1, capacity)
		if n := c.Len(); n != capacity {
			t.Errorf("Len() = %d after Resize(%d) however many keys it gets, want it full", n, capacity)
		}
	}
}

// testBadArguments runs only for complete caches: the interface says nothing
// of constructors.
func (s *suite) testBadArguments(t *testing.T) {
	if !s.Complete {
		t.Skip("the cache does not claim to be complete")
	}
	for _, test := range []struct {
		name     string
		capacity int
		opts     options
	}{
		{"no capacity", 0, options{}},
		{"negative capacity", -1, options{}},
		{"negative TTL", 1, options{TTL: -time.Second}},
		{"negative jitter", 1, options{TTL: time.Second, Jitter: -0.1}},
		{"jitter of 1", 1, options{TTL: time.Second, Jitter: 1}},
		{"jitter that is not a number", 1, options{TTL: time.Second, Jitter: math.NaN()}},
		{"negative shards", 1, options{Shards: -1}},
		{"unknown objective", 1, options{Objective: 200}},
	} {
		if recovered := catch(func() { s.New(test.capacity, &test.opts) }); recovered == nil {
			t.Errorf("%s: New does not panic", test.name)
		} else if _, ok := recovered.(string); !ok {
			t.Errorf("%s: New panics with %v (%[2]T), want a string with the prefix of the package", test.name, recovered)
		}
	}
	c := s.cache(8, options{})
	if recovered := catch(func() { need[resizer](t, s, c).Resize(0) }); recovered == nil {
		t.Error("Resize(0) does not panic")
	}
	c.Put(1, 1)
	wantGet(t, c, 1, 1, true)
}

// catch returns what f panics with.
func catch(f func()) (recovered any) {
	defer func() { recovered = recover() }()
	f()
	return nil
}

func (s *suite) testStats(t *testing.T) {
	clock := &clock{}
	c := s.cache(50, options{Now: clock.now})
	stats := need[stater](t, s, c).Stats
	if got := stats(); got != (cache.Stats{}) {
		t.Errorf("Stats() of a new cache = %+v", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var want struct{ hits, misses, puts, deletes uint64 }
	for i := range 30_000 {
		key := rng.IntN(100)
		switch rng.IntN(16) {
		case 0:
			if c.Delete(key) {
				want.deletes++
			}
		case 1:
			if has, ok := c.(taker); ok {
				if _, taken := has.Take(key); taken {
					want.hits++
					want.deletes++
				} else {
					want.misses++
				}
			}
		case 2:
			c.PutTTL(key, i, time.Duration(1+rng.IntN(100)))
			want.puts++
			clock.advance(1)
		case 3:
			if i%500 == 0 {
				c.Clear()
			}
			c.Peek(key)
		case 4, 5, 6, 7:
			c.Put(key, i)
			want.puts++
		default:
			if _, ok := c.Get(key); ok {
				want.hits++
			} else {
				want.misses++
			}
		}
		got := stats()
		if got.Hits != want.hits || got.Misses != want.misses || got.Inserts+got.Updates != want.puts || got.Deletes != want.deletes {
			t.Fatalf("step %d: Stats() = %+v, want %+v", i, got, want)
		}
		wantSum(t, c, got)
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
}

// wantSum checks that what came in and did not leave is what is held.
func wantSum(t testing.TB, c cache.Cache[int, int], st cache.Stats) {
	t.Helper()
	if held := st.Inserts - st.Evictions - st.Expirations - st.Deletes - st.Clears; held != uint64(c.Len()) {
		t.Errorf("Inserts - Evictions - Expirations - Deletes - Clears = %d, want Len() = %d: %+v", int64(held), c.Len(), st)
	}
}

func (s *suite) testAllocations(t *testing.T) {
	if !s.ZeroAlloc {
		t.Skip("the cache does not claim it")
	}
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const capacity = 1000
	for name, opts := range map[string]options{
		"plain":    {},
		"lifetime": {TTL: time.Hour},
		"cost":     {Cost: func(int, int) int64 { return 1 }},
		"callback": {OnRemoval: func(int, int, cache.Reason) {}},
	} {
		if opts.TTL != 0 && s.Without&Expiry != 0 || opts.Cost != nil && s.Without&Costs != 0 || opts.OnRemoval != nil && s.Without&Callbacks != 0 {
			continue
		}
		c := s.cache(capacity, opts)
		for i := range 10 * capacity {
			c.Put(i, i)
		}
		last := 10*capacity - 1
		next := 10 * capacity
		for _, op := range []struct {
			name string
			run  func()
		}{
			{"Get of a key", func() { c.Get(last) }},
			{"Get of no key", func() { c.Get(-1) }},
			{"Peek", func() { c.Peek(last) }},
			{"update", func() { c.Put(last, 1) }},
			{"update with a lifetime", func() { c.PutTTL(last, 1, time.Minute) }},
			{"insert that evicts", func() { c.Put(next, 1); next++ }},
			{"Delete and Put", func() { c.Delete(next - 1); c.Put(next-1, 1) }},
		} {
			if n := testing.AllocsPerRun(2*capacity, op.run); n != 0 {
				t.Errorf("%s, %s: %v allocations, want 0", name, op.name, n)
			}
		}
	}
}

// same reports whether two maps hold the same, for messages that stay short.
func same(t *testing.T, what string, got, want map[int]int) {
	t.Helper()
	if a, b := sortedKeys(got), sortedKeys(want); !slices.Equal(a, b) {
		t.Errorf("%s has keys %v, want %v", what, a, b)
		return
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s has %d = %d, want %d", what, k, got[k], v)
		}
	}
}
