package hitcounter

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"
)

// hammer has goroutines call what they are given, each with its own number.
func hammer(goroutines, times int, call func(goroutine, i int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range times {
				call(g, i)
			}
		})
	}
	wg.Wait()
}

// While rows go on from slot to slot under everybody's feet, no hit is lost,
// none is counted twice, and none in another slot than its own.
func TestRingConcurrentSafe(t *testing.T) {
	for _, name := range []string{"ring", "striped", "exact", "exact, coarse", "approx 0.1"} {
		t.Run(name, func(t *testing.T) {
			const goroutines, times, slots = 8, 4000, 400
			var c subject
			for _, c = range subjects(16, 2) {
				if c.name == name {
					break
				}
			}
			var made [goroutines][slots + 1]int64
			base := epoch
			hammer(goroutines, times, func(g, i int) {
				slot := min(slots, max(1, i*slots/times+rand.IntN(20)-10))
				n := int64(1 + g)
				c.AddAt(base.Add(time.Duration(slot)*2), n)
				made[g][slot] += n
				if i%16 == 0 {
					at := base.Add(time.Duration(slot) * 2)
					lo, hi := c.Bounds(at)
					if lo > hi || lo < 0 {
						t.Errorf("Bounds = %d, %d", lo, hi)
					}
					c.CountAt(at)
				}
			})
			if err := c.check(); err != nil {
				t.Error(err)
			}
			var total, window int64
			at := func(slot int) time.Time { return base.Add(time.Duration(slot) * 2) }
			for slot := 1; slot <= slots; slot++ {
				sum := int64(0)
				for g := range made {
					sum += made[g][slot]
				}
				total += sum
				if slot > slots-8 {
					window += sum
				}
			}
			if stats := c.Stats(); stats.Hits+stats.Dropped != total {
				t.Errorf("%+v of %d", stats, total)
			}
			// Those of the last slots came within the last moments, so none had
			// to be dropped.
			if lo, hi := c.Bounds(at(slots)); lo > window || hi < window || c.eps == 0 && lo != hi {
				t.Errorf("Bounds = %d, %d, true count %d", lo, hi, window)
			}
			for end, n := range c.snapshot().All() {
				slot := int(end.Sub(base) / 2)
				sum := int64(0)
				for g := range made {
					sum += made[g][max(0, slot)]
				}
				if c.eps == 0 && n > sum {
					t.Errorf("slot %d has %d hits of %d", slot, n, sum)
				}
			}
		})
	}
}

// One that only ever grows is never seen to shrink.
func TestReadersConcurrentSafe(t *testing.T) {
	for _, c := range subjects(time.Hour, time.Minute) {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				last := int64(0)
				for {
					n := c.CountAt(epoch.Add(30 * time.Minute))
					lo, hi := c.Bounds(epoch.Add(30 * time.Minute))
					if n < last-c.allowed(n) || lo > hi {
						t.Errorf("%s: %d after %d, bounds %d, %d", c.name, n, last, lo, hi)
					}
					last = n
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		hammer(4, 1500, func(g, i int) { c.HitAt(epoch.Add(time.Duration(i*4+g) * 100 * time.Millisecond)) })
		close(stop)
		wg.Wait()
		if n := c.CountAt(epoch.Add(30 * time.Minute)); n != 6000 {
			t.Errorf("%s: %d hits of 6000", c.name, n)
		}
	}
}

// allowed is how much an estimate may be off.
func (s *subject) allowed(n int64) int64 { return int64(2 * s.eps * float64(n)) }

func TestEverythingConcurrentSafe(t *testing.T) {
	ring, striped, exact, approx := NewRing(100, nil), NewStriped(100, nil), NewExact(100, nil), NewApprox(100, .1, nil)
	u, other := NewUnique(100, 6, nil), NewUnique(100, 6, nil)
	k := NewKeyed[int](100, 20, &Options{Stripes: 3})
	hammer(6, 700, func(g, i int) {
		at := epoch.Add(time.Duration(i + g))
		for _, c := range []Counter{ring, striped, exact, approx} {
			c.HitAt(at)
			c.Hit()
			c.Count()
			c.Stats()
		}
		exact.AllowAt(at, 1, 10)
		exact.Allow(10)
		u.HitAt(at, strconv.Itoa(i))
		other.Hit(strconv.Itoa(i))
		k.HitAt(at, (i*i+g)%64)
		switch i % 50 {
		case 10:
			ring.Merge(exact.Snapshot())
			striped.Merge(ring.Snapshot())
			exact.Merge(striped.Snapshot())
			approx.Restore(approx.Snapshot())
		case 20:
			u.Merge(other)
			other.Merge(u)
			u.Merge(u)
		case 30:
			data, _ := u.MarshalBinary()
			if err := other.UnmarshalBinary(data); err != nil {
				t.Error(err)
			}
			u.CountAt(at)
			u.Bounds(at)
			u.Stats()
		case 40:
			for key, n := range k.Top(at, 3) {
				k.AddAt(at, key, n) // no lock is held
			}
			for key := range k.All(at) {
				k.CountAt(at, key)
			}
			k.ForgetIdle(at)
			k.Stats()
			k.Len()
		case 49:
			if g == 0 {
				ring.Clear()
				striped.Clear()
				exact.Clear()
				approx.Clear()
				u.Clear()
				k.Clear()
			}
		}
	})
	for _, err := range []error{ring.check(), striped.check(), exact.check(), approx.check(), u.check(), other.check(), k.parts[0].check(), k.parts[1].check(), k.parts[2].check()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// Goroutines that ask at once for the rest of a limit get no more than it.
func TestAllowConcurrentSafe(t *testing.T) {
	x := NewExact(time.Second, nil)
	var allowed [8]int
	hammer(8, 500, func(g, i int) {
		if x.AllowAt(epoch.Add(time.Duration(i+g)*time.Microsecond), 1, 1000) {
			allowed[g]++
		}
	})
	sum := 0
	for _, n := range allowed {
		sum += n
	}
	if sum != 1000 {
		t.Errorf("allowed %d of 1000", sum)
	}
}
