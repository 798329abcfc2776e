package cachetest

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// testLifetimes probes lifetimes just before and at their end, extreme ones
// included: a cache that adds them to the time in 64 bits, or sorts them into
// buckets of 8, expires a long one at once or panics.
func (s *suite) testLifetimes(t *testing.T) {
	const never = math.MaxInt64
	for _, test := range []struct {
		name   string
		preset time.Duration // Options.TTL
		ttl    time.Duration // of PutTTL
		want   time.Duration
	}{
		{"none", 0, 0, never},
		{"own", 0, time.Second, time.Second},
		{"own over the default", time.Second, time.Minute, time.Minute},
		{"own under the default", time.Minute, time.Second, time.Second},
		{"default", time.Minute, 0, time.Minute},
		{"forever over the default", time.Minute, cache.Forever, never},
		{"forever", 0, cache.Forever, never},
		{"any negative is forever", time.Minute, math.MinInt64, never},
		{"a nanosecond", 0, 1, 1},
		{"millisecond and a bit", 0, time.Millisecond + 1, time.Millisecond + 1},
		{"28 days", 0, 28 * 24 * time.Hour, 28 * 24 * time.Hour},
		{"year", 0, 365 * 24 * time.Hour, 365 * 24 * time.Hour},
		{"century", 0, 100 * 365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour},
		{"longest", 0, math.MaxInt64, never},
		{"almost the longest", 0, math.MaxInt64 - 1, never},
		{"longest default", math.MaxInt64, 0, never},
	} {
		for _, age := range []time.Duration{0, 1, time.Hour} { // of the cache
			clock := &clock{}
			c := s.cache(8, options{TTL: test.preset, Now: clock.now})
			clock.advance(age)
			c.PutTTL(1, 11, test.ttl)
			if has, ok := c.(ttler); ok {
				left, found := has.TTL(1)
				if test.want != never && left != test.want || test.want == never && left != cache.Forever && left < math.MaxInt64-2*time.Hour || !found {
					t.Errorf("%s, cache aged %v: TTL = %v, %v", test.name, age, left, found)
				}
			}
			if test.want == never {
				clock.advance(200 * 365 * 24 * time.Hour)
				wantGet(t, c, 1, 11, true)
			} else {
				if test.want > 1 {
					clock.advance(test.want - 1)
					wantGet(t, c, 1, 11, true)
				}
				clock.advance(min(1, test.want))
				wantGet(t, c, 1, 0, false)
			}
			c.Put(2, 22)
			c.Delete(1)
			if t.Failed() {
				t.Fatalf("%s, cache aged %v", test.name, age)
			}
		}
	}
}

// testExpiredUnseen looks for expired entries through every method.
func (s *suite) testExpiredUnseen(t *testing.T) {
	for name, look := range map[string]func(c ints, key int) bool{
		"Get":    func(c ints, key int) bool { _, ok := c.Get(key); return ok },
		"Peek":   func(c ints, key int) bool { _, ok := c.Peek(key); return ok },
		"Delete": func(c ints, key int) bool { return c.Delete(key) },
		"All": func(c ints, key int) bool {
			_, ok := contents(t, c)[key]
			return ok
		},
		"Keys": func(c ints, key int) bool {
			if has, ok := c.(keyer); ok {
				for k := range has.Keys() {
					if k == key {
						return true
					}
				}
			}
			return false
		},
		"Scan": func(c ints, key int) (found bool) {
			if has, ok := c.(scanner); ok {
				for cursor := has.Scan(0, 10, func(k, _ int) bool { found = found || k == key; return true }); cursor != 0; {
					cursor = has.Scan(cursor, 10, func(k, _ int) bool { found = found || k == key; return true })
				}
			}
			return found
		},
		"Take": func(c ints, key int) bool {
			if has, ok := c.(taker); ok {
				_, ok := has.Take(key)
				return ok
			}
			return false
		},
		"GetOrPut": func(c ints, key int) bool {
			if has, ok := c.(getOrPuter); ok {
				_, loaded := has.GetOrPut(key, -1)
				return loaded
			}
			return false
		},
		"TTL": func(c ints, key int) bool {
			if has, ok := c.(ttler); ok {
				_, ok := has.TTL(key)
				return ok
			}
			return false
		},
		"SetTTL": func(c ints, key int) bool {
			if has, ok := c.(setTTLer); ok {
				return has.SetTTL(key, time.Hour)
			}
			return false
		},
	} {
		clock := &clock{}
		c := s.cache(roomy, options{TTL: time.Minute, Now: clock.now})
		for i := range 100 {
			c.Put(i, i)
			c.PutTTL(1000+i, i, time.Hour)
		}
		clock.advance(time.Minute)
		for i := range 100 {
			if look(c, i) {
				t.Errorf("%s finds the expired key %d", name, i)
			}
			if v, ok := c.Get(1000 + i); v != i || !ok {
				t.Errorf("%s: Get(%d) = %d, %v, want %d, true", name, 1000+i, v, ok, i)
			}
		}
	}
	// An update gives a new lifetime, and one that does not end takes the old away.
	clock := &clock{}
	c := s.cache(8, options{Now: clock.now})
	c.PutTTL(1, 11, time.Second)
	c.PutTTL(2, 21, time.Second)
	clock.advance(time.Second / 2)
	c.PutTTL(1, 12, time.Second)
	c.Put(2, 22)
	clock.advance(time.Second * 3 / 4)
	wantGet(t, c, 1, 12, true)
	wantGet(t, c, 2, 22, true)
	clock.advance(time.Second / 4)
	wantGet(t, c, 1, 0, false)
	wantGet(t, c, 2, 22, true)
}

func (s *suite) testSetTTL(t *testing.T) {
	clock := &clock{}
	c := s.cache(roomy, options{TTL: time.Minute, Now: clock.now})
	set, ttl := need[setTTLer](t, s, c).SetTTL, need[ttler](t, s, c).TTL
	if set(1, time.Second) {
		t.Error("SetTTL of a missing key = true")
	}
	if left, ok := ttl(1); left != 0 || ok {
		t.Errorf("TTL of a missing key = %v, %v", left, ok)
	}
	for _, test := range []struct{ ttl, want time.Duration }{
		{time.Hour, time.Hour}, {time.Second, time.Second}, {cache.Forever, cache.Forever}, {0, time.Minute}, {1, 1},
	} {
		c.Put(1, 11)
		clock.advance(time.Second)
		if !set(1, test.ttl) {
			t.Errorf("SetTTL(1, %v) = false", test.ttl)
		}
		if left, ok := ttl(1); left != test.want || !ok {
			t.Errorf("TTL(1) = %v, %v after SetTTL(1, %v), want %v", left, ok, test.ttl, test.want)
		}
		wantGet(t, c, 1, 11, true)
	}
	clock.advance(1)
	if set(1, time.Hour) {
		t.Error("SetTTL brings an expired entry back")
	}
	wantGet(t, c, 1, 0, false)
}

func (s *suite) testDeleteExpired(t *testing.T) {
	clock := &clock{}
	c := s.cache(roomy, options{Now: clock.now})
	sweep := need[sweeper](t, s, c).DeleteExpired
	if n := sweep(); n != 0 {
		t.Errorf("DeleteExpired of an empty cache = %d", n)
	}
	for i := range 300 {
		c.PutTTL(i, i, time.Duration(1+i%3)*time.Second)
		c.Put(1000+i, i)
	}
	for round, want := range []int{100, 100, 100, 0} {
		clock.advance(time.Second)
		if n := sweep(); n != want {
			t.Errorf("DeleteExpired in second %d = %d, want %d", round+1, n, want)
		}
	}
	wantLen(t, c, 300)
}

func (s *suite) testJitter(t *testing.T) {
	const ttl, jitter, n = 1000 * time.Second, 0.25, 400
	clock := &clock{}
	c := s.cache(roomy, options{TTL: ttl, Jitter: jitter, Now: clock.now})
	for i := range n {
		c.Put(i, i)
		c.PutTTL(n+i, i, ttl) // a lifetime of its own is taken as it is
	}
	alive := func(from int) (count int) {
		for i := range n {
			if _, ok := c.Peek(from + i); ok {
				count++
			}
		}
		return count
	}
	clock.advance(time.Duration(float64(ttl)*(1-jitter)) - 1)
	if got := alive(0); got != n {
		t.Errorf("%d of %d entries live until ttl*(1-jitter), want all", got, n)
	}
	clock.advance(time.Duration(float64(ttl) * jitter / 2))
	if got := alive(0); got < n/4 || got > 3*n/4 {
		t.Errorf("%d of %d entries are alive in the middle of the jitter, want about half", got, n)
	}
	clock.advance(time.Duration(float64(ttl) * jitter / 2))
	if got := alive(n); got != n {
		t.Errorf("%d of %d entries with their own lifetime are alive before its end, want all", got, n)
	}
	clock.advance(1)
	if got := alive(0) + alive(n); got != 0 {
		t.Errorf("%d entries are alive after their lifetime", got)
	}
}

// testBubble uses the clock of package time, which synctest moves.
func (s *suite) testBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := s.cache(8, options{TTL: time.Minute})
		c.Put(1, 11)
		time.Sleep(time.Second)
		c.PutTTL(2, 22, time.Second)
		time.Sleep(time.Second - 1)
		wantGet(t, c, 2, 22, true)
		time.Sleep(time.Nanosecond)
		wantGet(t, c, 2, 0, false)
		time.Sleep(58*time.Second - 1)
		wantGet(t, c, 1, 11, true)
		time.Sleep(time.Nanosecond)
		wantGet(t, c, 1, 0, false)
	})
}
