package cachetest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

func (s *suite) testReasons(t *testing.T) {
	const evicted, expired, deleted, replaced, cleared = cache.Evicted, cache.Expired, cache.Deleted, cache.Replaced, cache.Cleared
	for _, test := range []struct {
		name string
		do   func(c ints, clock *clock)
		want []removal
	}{
		{"eviction", func(c ints, _ *clock) { c.Put(1, 11); c.Put(2, 12) }, []removal{{1, 11, evicted}}},
		{"update", func(c ints, _ *clock) { c.Put(1, 11); c.Put(1, 12) }, []removal{{1, 11, replaced}}},
		{"update by an equal value", func(c ints, _ *clock) { c.Put(1, 11); c.Put(1, 11) }, []removal{{1, 11, replaced}}},
		{"delete", func(c ints, _ *clock) { c.Put(1, 11); c.Delete(1); c.Delete(1) }, []removal{{1, 11, deleted}}},
		{"clear", func(c ints, _ *clock) { c.Put(1, 11); c.Clear(); c.Clear() }, []removal{{1, 11, cleared}}},
		{"get after expiry", func(c ints, clock *clock) {
			c.PutTTL(1, 11, time.Second)
			clock.advance(time.Second)
			c.Get(1)
			c.Get(1)
		}, []removal{{1, 11, expired}}},
		{"put after expiry", func(c ints, clock *clock) {
			c.PutTTL(1, 11, time.Second)
			clock.advance(time.Second)
			c.Put(1, 12)
		}, []removal{{1, 11, expired}}},
		{"put of another key after expiry", func(c ints, clock *clock) {
			c.PutTTL(1, 11, time.Second)
			clock.advance(time.Second)
			c.Put(2, 12)
		}, []removal{{1, 11, expired}}},
		{"delete after expiry", func(c ints, clock *clock) {
			c.PutTTL(1, 11, time.Second)
			clock.advance(time.Second)
			if c.Delete(1) {
				t.Error("Delete of an expired key = true")
			}
		}, []removal{{1, 11, expired}}},
		{"peek", func(c ints, _ *clock) { c.Put(1, 11); c.Peek(1); c.Get(1); c.Get(2) }, nil},
		{"take", func(c ints, _ *clock) {
			if has, ok := c.(taker); ok {
				c.Put(1, 11)
				has.Take(1)
				has.Take(1)
			}
		}, []removal{{1, 11, deleted}}},
	} {
		var got []removal
		clock := &clock{}
		c := s.New(1, &options{Now: clock.now, Shards: s.shards, OnRemoval: func(k, v int, r cache.Reason) {
			got = append(got, removal{k, v, r})
		}})
		if _, takes := c.(taker); test.name == "take" && !takes {
			continue
		}
		if s.Without&Expiry != 0 && len(test.want) > 0 && test.want[0].reason == expired {
			continue
		}
		test.do(c, clock)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: removals %v, want %v", test.name, got, test.want)
		}
	}
}

// A ledger follows a cache by its callbacks alone: in holds what was put and
// has not been reported as gone, which has to be what the cache holds.
type ledger struct {
	t  testing.TB
	in map[int]int // by value, which is unique: its key
}

func (l *ledger) put(key, value int) { l.in[value] = key }

func (l *ledger) removed(key, value int, reason cache.Reason) {
	if k, ok := l.in[value]; !ok || k != key {
		l.t.Errorf("OnRemoval(%d, %d, %v) of a value that is not in the cache", key, value, reason)
	}
	delete(l.in, value)
}

// check compares with what the cache holds, in which expired entries may be
// invisible.
func (l *ledger) check(c ints, expiry bool) {
	l.t.Helper()
	if n := c.Len(); n != len(l.in) {
		l.t.Errorf("Len() = %d, but %d values were put and not reported as removed", n, len(l.in))
	}
	visible := 0
	for value, key := range l.in {
		if v, ok := c.Peek(key); ok {
			visible++
			if v != value {
				l.t.Errorf("Peek(%d) = %d, but the callbacks say that it holds %d", key, v, value)
			}
		} else if !expiry {
			l.t.Errorf("Peek(%d) finds nothing, and OnRemoval was not told", key)
		}
	}
	for range c.All() {
		visible--
	}
	if visible != 0 {
		l.t.Errorf("All yields %d entries too many", -visible)
	}
}

func (s *suite) testRemovalOnce(t *testing.T) {
	for _, capacity := range []int{1, 3, 40} {
		clock := &clock{}
		l := &ledger{t: t, in: map[int]int{}}
		c := s.cache(capacity, options{Now: clock.now, OnRemoval: l.removed})
		rng := rand.New(rand.NewPCG(3, uint64(capacity)))
		for i := range 8000 {
			key := rng.IntN(2 * capacity)
			switch rng.IntN(12) {
			case 0:
				c.Delete(key)
			case 1:
				c.Get(key)
			case 2:
				l.put(key, i)
				c.PutTTL(key, i, time.Duration(1+rng.IntN(50)))
			case 3:
				if i%100 == 0 {
					c.Clear()
				}
			case 4:
				if has, ok := c.(resizer); ok && i%10 == 0 {
					has.Resize(s.shards + rng.IntN(2*capacity))
				}
			case 5:
				clock.advance(10)
			case 6:
				if has, ok := c.(sweeper); ok {
					has.DeleteExpired()
				}
			case 7:
				if has, ok := c.(taker); ok {
					has.Take(key)
				}
			default:
				l.put(key, i)
				c.Put(key, i)
			}
			if i%37 == 0 {
				l.check(c, true)
			}
			if t.Failed() {
				t.Fatalf("capacity %d, step %d", capacity, i)
			}
		}
		c.Clear()
		if len(l.in) != 0 {
			t.Errorf("capacity %d: %d values were never reported, not even by Clear", capacity, len(l.in))
		}
	}
}

// testReentrant calls everything from OnRemoval, for each reason. Caches that
// call it under their lock hang here.
func (s *suite) testReentrant(t *testing.T) {
	within(t, func() {
		var c ints
		depth, calls := 0, 0
		clock := &clock{}
		c = s.cache(16, options{Now: clock.now, OnRemoval: func(key, value int, _ cache.Reason) {
			calls++
			if depth >= 3 {
				return
			}
			depth++
			defer func() { depth-- }()
			c.Get(key)
			c.Peek(key)
			c.Put(key+100, value)
			c.PutTTL(key+200, value, time.Second)
			c.Delete(key + 300)
			c.Len()
			for range c.All() {
				break
			}
			if has, ok := c.(getOrPuter); ok {
				has.GetOrPut(key+400, value)
			}
			if has, ok := c.(stater); ok {
				has.Stats()
			}
			if has, ok := c.(resizer); ok && calls%50 == 0 {
				has.Resize(16)
			}
			if calls%97 == 0 {
				c.Clear()
			}
		}})
		for i := range 200 {
			c.Put(i%40, i)
			c.PutTTL(i%7, i, time.Second)
			clock.advance(300 * time.Millisecond)
			c.Get(i % 5)
			c.Delete(i % 11)
			if has, ok := c.(taker); ok {
				has.Take(i % 3)
			}
			if has, ok := c.(sweeper); ok {
				has.DeleteExpired()
			}
			if has, ok := c.(resizer); ok && i%20 == 0 {
				has.Resize(8)
				has.Resize(16)
			}
			if n := c.Len(); n > 16 {
				t.Errorf("Len() = %d, want at most 16", n)
			}
		}
		c.Clear()
		if calls == 0 {
			t.Error("OnRemoval was never called")
		}
	})
}

// testRemovalAfter checks that the value has left by the time of the call.
func (s *suite) testRemovalAfter(t *testing.T) {
	var c ints
	told := 0
	c = s.cache(4, options{OnRemoval: func(key, value int, reason cache.Reason) {
		told++
		if v, ok := c.Peek(key); ok && v == value {
			t.Errorf("OnRemoval(%d, %d, %v) while Peek still finds it", key, value, reason)
		}
		if n := c.Len(); n > 4 {
			t.Errorf("Len() = %d in OnRemoval, want at most 4", n)
		}
	}})
	for i := range 100 {
		c.Put(i%9, i)
		c.Put(i%4, 1000+i)
		c.Delete(i % 5)
	}
	if told == 0 {
		t.Error("OnRemoval was never called")
	}
}

// testRemovalPanic checks that a callback that panics takes no lock with it
// and leaves a cache that works.
func (s *suite) testRemovalPanic(t *testing.T) {
	within(t, func() {
		angry := true
		c := s.cache(4, options{OnRemoval: func(int, int, cache.Reason) {
			if angry {
				panic("OnRemoval")
			}
		}})
		for i := range 40 {
			catch(func() { c.Put(i, i) })
			if n := c.Len(); n > 4 {
				t.Errorf("Len() = %d, want at most 4", n)
			}
			wantGet(t, c, i, i, true) // it was stored before the callback ran
		}
		catch(func() { c.Put(39, -39) })
		wantGet(t, c, 39, -39, true)
		catch(func() { c.Delete(39) })
		wantGet(t, c, 39, 0, false)
		catch(c.Clear)
		angry = false
		c.Clear()
		wantLen(t, c, 0)
		c.Put(1, 2)
		wantGet(t, c, 1, 2, true)
	})

	// One call that removes many reports all of them, whichever panic.
	for angry := range 10 {
		var told []int
		calm := true
		c := s.cache(100, options{OnRemoval: func(key, _ int, _ cache.Reason) {
			told = append(told, key)
			if !calm && (len(told) == angry || len(told) == 7) {
				panic("OnRemoval")
			}
		}})
		for i := range 100 {
			c.Put(i, i)
		}
		told, calm = nil, false
		before := contents(t, c)
		resize := need[resizer](t, s, c).Resize
		catch(func() { resize(4) })
		after := contents(t, c)
		if len(told) != len(before)-len(after) {
			t.Errorf("OnRemoval that panics was told of %d removals of %d", len(told), len(before)-len(after))
		}
		for _, key := range told {
			if _, ok := after[key]; ok {
				t.Errorf("OnRemoval was told of %d, which is still there", key)
			}
		}
	}
}
