package cachetest

import (
	"math/rand/v2"
	"testing"

	"github.com/ashlar-go/ashlar/cache"
)

// byValue makes the value of an entry its cost.
func byValue(_, value int) int64 { return int64(value) }

func (s *suite) testCost(t *testing.T) {
	const capacity = 16_000
	c := s.cache(capacity, options{Cost: byValue})
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 20_000 {
		key := int(rng.ExpFloat64() * 200)
		switch rng.IntN(10) {
		case 0:
			c.Delete(key)
		case 1, 2, 3:
			c.Get(key)
		default:
			// Up to a sixteenth of the whole fits into any part.
			cost := rng.IntN(capacity/16 + 1)
			c.Put(key, cost)
			wantGet(t, c, key, cost, true)
		}
		if i%16 == 0 {
			s.wantCost(t, c, capacity)
		}
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
	c.Clear()
	s.wantCost(t, c, 0)

	// What costs nothing does not count.
	c = s.cache(capacity, options{Cost: func(_, value int) int64 { return int64(min(value, 0)) }})
	for i := range 1000 {
		c.Put(i, -i)
	}
	wantLen(t, c, 1000)
}

// wantCost checks the sum of costs where the value is the cost.
func (s *suite) wantCost(t *testing.T, c ints, capacity int) {
	t.Helper()
	sum := 0
	for _, v := range c.All() {
		sum += v
	}
	if sum > capacity {
		t.Errorf("the entries cost %d, want at most %d", sum, capacity)
	}
	if has, ok := c.(coster); ok && has.Cost() != int64(sum) {
		t.Errorf("Cost() = %d, want the sum of the entries, %d", has.Cost(), sum)
	}
}

// testCostTooLarge: what does not fit is refused at once, pushes nobody out,
// and does not leave the value before it to be found.
func (s *suite) testCostTooLarge(t *testing.T) {
	const capacity = 1000
	var got []removal
	c := s.cache(capacity, options{Cost: byValue, OnRemoval: func(k, v int, r cache.Reason) { got = append(got, removal{k, v, r}) }})
	c.Put(1, 10)
	c.Put(2, capacity+1)
	if len(got) != 1 || got[0] != (removal{2, capacity + 1, cache.Rejected}) {
		t.Errorf("removals %v after a Put that is too large, want 2=1001 rejected", got)
	}
	wantGet(t, c, 2, 0, false)
	wantGet(t, c, 1, 10, true)

	got = nil
	c.Put(1, capacity+1)
	wantGet(t, c, 1, 0, false)
	wantLen(t, c, 0)
	reasons := map[removal]int{}
	for _, r := range got {
		r.reason = min(r.reason, cache.Rejected)
		reasons[r]++
	}
	if len(got) != 2 || reasons[removal{1, capacity + 1, cache.Rejected}] != 1 {
		t.Errorf("removals %v after an update that is too large, want the old value gone and the new one rejected", got)
	}
	s.wantCost(t, c, capacity)
	if has, ok := c.(stater); ok {
		st := has.Stats()
		wantSum(t, c, st)
		if st.Rejections != 2 {
			t.Errorf("Stats().Rejections = %d, want 2", st.Rejections)
		}
	}

	if !s.Partitioned { // the largest entry that fits takes the whole cache
		c.Put(3, 10)
		c.Put(4, capacity)
		wantGet(t, c, 4, capacity, true)
		wantLen(t, c, 1)
	}
}

// testCostChanges updates entries in place.
func (s *suite) testCostChanges(t *testing.T) {
	const capacity = 3200
	c := s.cache(capacity, options{Cost: byValue})
	for i := range 10 {
		c.Put(i, 10)
	}
	wantLen(t, c, 10)
	for _, cost := range []int{100, 1, 0, 200, 10} {
		c.Put(3, cost)
		wantGet(t, c, 3, cost, true)
		s.wantCost(t, c, capacity)
		wantLen(t, c, 10) // there was room all along
	}
	for i := range 200 { // full now
		c.Put(i, 100)
	}
	for i := range 200 {
		if _, ok := c.Peek(i); ok {
			c.Put(i, 190)
			wantGet(t, c, i, 190, true)
			s.wantCost(t, c, capacity)
			c.Put(i, 2)
			wantGet(t, c, i, 2, true)
		}
	}
	resize := need[resizer](t, s, c).Resize
	resize(capacity / 4)
	s.wantCost(t, c, capacity/4)
	resize(capacity)
	for i := range 200 {
		c.Put(i, 100)
		wantGet(t, c, i, 100, true)
	}
	s.wantCost(t, c, capacity)
}

// testCostOnce also calls the cache from Options.Cost, which deadlocks if a
// lock is held.
func (s *suite) testCostOnce(t *testing.T) {
	within(t, func() {
		var c ints
		asked := 0
		c = s.cache(100, options{Cost: func(key, value int) int64 {
			asked++
			if c != nil {
				c.Peek(key)
				c.Len()
			}
			return 1
		}})
		for i := range 1000 {
			c.Put(i%150, i)
			c.Get(i % 7)
			c.Delete(i % 11)
		}
		if asked != 1000 {
			t.Errorf("Options.Cost was called %d times for 1000 values", asked)
		}
	})
}
