package cachetest

import (
	"math"
	"testing"

	"github.com/ashlar-go/ashlar/cache"
)

func (s *suite) testAll(t *testing.T) {
	c := s.cache(roomy, options{})
	want := map[int]int{}
	same(t, "All of an empty cache", contents(t, c), want)
	for i := range 700 {
		c.Put(i, -i)
		want[i] = -i
	}
	for i := 0; i < 700; i += 3 {
		c.Delete(i)
		delete(want, i)
	}
	same(t, "All", contents(t, c), want)
	same(t, "a second All", contents(t, c), want)
	if has, ok := c.(keyer); ok {
		keys := map[int]int{}
		for k := range has.Keys() {
			keys[k] = -k
		}
		same(t, "Keys", keys, want)
	}

	for _, stop := range []int{1, 2, 300} {
		n := 0
		for range c.All() {
			n++
			if n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("a loop over All that breaks after %d entries saw %d", stop, n)
		}
	}
	c.Put(-1, 1) // no lock was left held
	wantGet(t, c, -1, 1, true)
}

// testAllWhileChanging calls everything in the body of a loop. Whatever All
// makes of that, it ends, and yields nothing that was never stored.
func (s *suite) testAllWhileChanging(t *testing.T) {
	for name, body := range map[string]func(c ints, key int){
		"update":       func(c ints, key int) { c.Put(key, 10*key) },
		"delete":       func(c ints, key int) { c.Delete(key) },
		"delete ahead": func(c ints, key int) { c.Delete(key + 1) },
		"insert":       func(c ints, key int) { c.Put(key+1000, 10*(key+1000)) },
		"clear":        func(c ints, _ int) { c.Clear() },
		"get":          func(c ints, key int) { c.Get(key) },
		"nested": func(c ints, _ int) {
			for range c.All() {
				c.Len()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.cache(300, options{})
			for i := range 300 {
				c.Put(i, 10*i)
			}
			within(t, func() {
				n := 0
				for k, v := range c.All() {
					if v != 10*k {
						t.Errorf("All yields %d = %d", k, v)
					}
					body(c, k)
					if n++; n > 100_000 {
						t.Error("All does not end")
						return
					}
				}
			})
			if n := c.Len(); n > 300 {
				t.Errorf("Len() = %d, want at most 300", n)
			}
		})
	}
}

// ints is a cache under test.
type ints = cache.Cache[int, int]

func (s *suite) testScan(t *testing.T) {
	c := s.cache(roomy, options{})
	scan := need[scanner](t, s, c).Scan
	if next := scan(0, 10, func(int, int) bool { t.Error("Scan of an empty cache visits something"); return true }); next != 0 {
		t.Errorf("Scan of an empty cache = %d, want 0", next)
	}
	want := map[int]int{}
	for i := range 1000 {
		c.Put(i, -i)
		want[i] = -i
	}
	for _, n := range []int{1, 7, 100, 5000} {
		got := map[int]int{}
		calls := 0
		for cursor := uint64(0); ; {
			seen := 0
			cursor = scan(cursor, n, func(k, v int) bool {
				got[k] = v
				seen++
				c.Get(k) // the body may call back
				return true
			})
			if calls++; calls > 20_000 {
				t.Fatalf("Scan(…, %d) does not end", n)
			}
			if n < 100 && seen > 50*n {
				t.Errorf("Scan(…, %d) visits %d entries in one call", n, seen)
			}
			if cursor == 0 {
				break
			}
		}
		same(t, "Scan", got, want)
	}

	// Stopped after every third entry, and gone on with from there.
	got, calls, left := map[int]int{}, 0, 0
	for cursor := uint64(0); ; {
		stopped := false
		cursor = scan(cursor, 100, func(k, v int) bool {
			if stopped {
				t.Fatal("Scan goes on after visit has returned false")
			}
			got[k] = v
			left++
			stopped = left%3 == 0
			return !stopped
		})
		if cursor == 0 {
			break
		}
		if calls++; calls > 2000 {
			t.Fatal("Scan that is stopped now and then does not end")
		}
	}
	same(t, "Scan that is stopped now and then", got, want)
	if left != len(want) {
		t.Errorf("Scan that is stopped now and then visits %d entries of %d", left, len(want))
	}
	for _, cursor := range []uint64{1 << 63, math.MaxUint64} {
		if next := scan(cursor, 10, func(int, int) bool { return true }); next != 0 {
			t.Errorf("Scan from a cursor that none returned = %d, want 0", next)
		}
	}
}

// testScanWhileChanging holds Scan to its promise: what is there from the
// first call to the last is visited.
func (s *suite) testScanWhileChanging(t *testing.T) {
	c := s.cache(roomy, options{})
	scan := need[scanner](t, s, c).Scan
	const stay = 400
	for i := range stay {
		c.Put(i, i)
		c.Put(stay+i, i)
	}
	seen := map[int]bool{}
	next := 2 * stay
	for cursor, calls := uint64(0), 0; ; calls++ {
		cursor = scan(cursor, 3, func(k, v int) bool {
			seen[k] = true
			return true
		})
		if cursor == 0 {
			break
		}
		if calls > 20_000 {
			t.Fatal("Scan does not end")
		}
		c.Put(calls%stay, calls) // an update does not move an entry out of sight
		c.Delete(stay + calls%stay)
		if calls < 1000 { // growth moves entries in some tables
			for range 3 {
				c.Put(next, next)
				next++
			}
		}
	}
	for i := range stay {
		if !seen[i] {
			t.Errorf("Scan does not visit %d, which was there all the time", i)
		}
	}
}
