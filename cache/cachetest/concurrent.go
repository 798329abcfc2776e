package cachetest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// writers goroutines hunt each race; more than the processors of most
// machines, so that some are stopped in the middle of what they do.
const writers = 16

// crowd runs f in writers goroutines and waits for them.
func crowd(f func(writer int, rng *rand.Rand)) {
	var wg sync.WaitGroup
	start := make(chan struct{}) // so that the first is not done before the last begins
	for w := range writers {
		wg.Go(func() {
			<-start
			f(w, rand.New(rand.NewPCG(uint64(w), 99)))
		})
	}
	close(start)
	wg.Wait()
}

// testConcurrentBound watches Len from outside while everybody writes. Caches
// that evict in the background overshoot.
func (s *suite) testConcurrentBound(t *testing.T) {
	for _, capacity := range []int{1, 10, 70, 512} {
		c := s.cache(capacity, options{})
		var done atomic.Bool
		var watcher sync.WaitGroup
		watcher.Go(func() {
			for worst := capacity; !done.Load(); {
				if n := c.Len(); n > worst {
					worst = n
					t.Errorf("Len() = %d, want at most %d", n, capacity)
				}
			}
		})
		crowd(func(w int, rng *rand.Rand) {
			for i := range 1500 {
				key := rng.IntN(4 * capacity)
				if i%8 == 0 {
					c.Delete(key)
				} else {
					c.Put(key, w)
				}
				if n := c.Len(); n > capacity {
					t.Errorf("Len() = %d, want at most %d", n, capacity)
					return
				}
			}
		})
		done.Store(true)
		watcher.Wait()
		if n := len(contents(t, c)); n != c.Len() {
			t.Errorf("All yields %d entries, Len() = %d", n, c.Len())
		}
	}
}

// testConcurrentOwners gives each goroutine keys that only it writes, in a
// cache with room for all: what it put is there, what it deleted is not, and
// readers of others' keys see each key only advance.
func (s *suite) testConcurrentOwners(t *testing.T) {
	const keys = 8
	c := s.cache(roomy, options{})
	crowd(func(w int, rng *rand.Rand) {
		held := [keys]int{}
		seen := [writers * keys]int{}
		for i := 1; i <= 2000; i++ {
			slot := rng.IntN(keys)
			key := w*keys + slot
			switch rng.IntN(4) {
			case 0:
				if deleted := c.Delete(key); deleted != (held[slot] != 0) {
					t.Errorf("Delete(%d) = %v, held %d", key, deleted, held[slot])
					return
				}
				held[slot] = 0
			case 1:
				other := rng.IntN(writers * keys)
				if v, ok := c.Get(other); ok {
					if v < seen[other] {
						t.Errorf("Get(%d) = %d after %d", other, v, seen[other])
						return
					}
					seen[other] = v
				}
			default:
				c.Put(key, i)
				held[slot] = i
			}
			if v, ok := c.Get(key); v != held[slot] || ok != (held[slot] != 0) {
				t.Errorf("Get(%d) = %d, %v, but its only writer holds %d", key, v, ok, held[slot])
				return
			}
		}
	})
}

func (s *suite) testConcurrentStats(t *testing.T) {
	c := s.cache(64, options{TTL: 50 * time.Microsecond})
	stats := need[stater](t, s, c).Stats
	var gets, puts, deletes, hits atomic.Uint64
	crowd(func(w int, rng *rand.Rand) {
		for i := range 2000 {
			key := rng.IntN(200)
			switch rng.IntN(4) {
			case 0:
				if c.Delete(key) {
					deletes.Add(1)
				}
			case 1, 2:
				gets.Add(1)
				if _, ok := c.Get(key); ok {
					hits.Add(1)
				}
			default:
				c.Put(key, i)
				puts.Add(1)
			}
			if i == 1000 && w == 0 {
				c.Clear()
			}
		}
	})
	got := stats()
	if got.Hits+got.Misses != gets.Load() || got.Hits != hits.Load() || got.Inserts+got.Updates != puts.Load() || got.Deletes != deletes.Load() {
		t.Errorf("Stats() = %+v after %d gets with %d hits, %d puts, %d deletes", got, gets.Load(), hits.Load(), puts.Load(), deletes.Load())
	}
	wantSum(t, c, got)
}

// testConcurrentRemoval counts, under pressure, that every value put is
// either held or was reported, once.
func (s *suite) testConcurrentRemoval(t *testing.T) {
	const each = 2000
	var reported [writers * each]atomic.Uint32
	c := s.cache(100, options{TTL: 100 * time.Microsecond, OnRemoval: func(_, value int, _ cache.Reason) { reported[value].Add(1) }})
	crowd(func(w int, rng *rand.Rand) {
		for i := range each {
			c.Put(rng.IntN(250), w*each+i)
			c.Delete(rng.IntN(250))
			c.Get(rng.IntN(250))
			if i == each/2 && w%4 == 0 {
				c.Clear()
			}
		}
	})
	held := c.Len()
	missing := 0
	for value := range reported {
		switch n := reported[value].Load(); n {
		case 0:
			missing++
		case 1:
		default:
			t.Errorf("OnRemoval was called %d times for one value", n)
		}
	}
	if missing != held {
		t.Errorf("%d values were put and not reported, Len() = %d", missing, held)
	}
}

func (s *suite) testConcurrentGetOrPut(t *testing.T) {
	const keys = 300
	c := s.cache(roomy, options{})
	getOrPut := need[getOrPuter](t, s, c).GetOrPut
	var winners [keys]atomic.Uint32
	crowd(func(w int, _ *rand.Rand) {
		for key := range keys {
			if v, loaded := getOrPut(key, w); !loaded {
				winners[key].Add(1)
				if v != w {
					t.Errorf("GetOrPut(%d, %d) = %d, false", key, w, v)
				}
			}
		}
	})
	for key := range keys {
		if n := winners[key].Load(); n != 1 {
			t.Errorf("GetOrPut(%d) stored %d times, want once", key, n)
		}
	}
}

// testConcurrentResize mixes the calls that touch the whole cache into the
// others. The bound in force is the larger of the two while one replaces the
// other.
func (s *suite) testConcurrentResize(t *testing.T) {
	const large, small = 200, 20
	c := s.cache(large, options{})
	resize := need[resizer](t, s, c).Resize
	crowd(func(w int, rng *rand.Rand) {
		for i := range 800 {
			switch {
			case w == 0 && i%8 == 0:
				resize(small)
				resize(large)
			case w == 1 && i%32 == 0:
				c.Clear()
			case w == 2 && i%16 == 0:
				for range c.All() {
				}
			default:
				c.Put(rng.IntN(2*large), i)
				c.Get(rng.IntN(2 * large))
			}
			if n := c.Len(); n > large {
				t.Errorf("Len() = %d, want at most %d", n, large)
				return
			}
		}
	})
	resize(small)
	if n := c.Len(); n > small {
		t.Errorf("Len() = %d after Resize(%d)", n, small)
	}
	if has, ok := c.(stater); ok {
		wantSum(t, c, has.Stats())
	}
}
