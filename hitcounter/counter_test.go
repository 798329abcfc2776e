package hitcounter

import (
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	_ Counter = (*Exact)(nil)
	_ Counter = (*Ring)(nil)
	_ Counter = (*Striped)(nil)
	_ Counter = (*Approx)(nil)
	_ Reader  = (*Unique)(nil)
)

// Slots of instants are those of exact arithmetic.
func TestSlots(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		window := 1 + r.Int64N(int64(maxWindow))>>r.IntN(61)
		g := makeGrid(window, 1+r.Int64N(window))
		if r.IntN(4) == 0 {
			g = makeGrid(window, 1<<r.IntN(62))
		}
		near := r.Int64N(maxTime) / g.resolution * g.resolution
		for _, at := range []int64{minTime, -1, 0, 1, maxTime, maxTime - r.Int64N(maxTime), -r.Int64N(maxTime), near, near + 1, max(near, 1) - 1, g.resolution, g.resolution + 1} {
			if at > maxTime {
				continue
			}
			// ceil(at / resolution)
			quotient, remainder := new(big.Int).DivMod(big.NewInt(at), big.NewInt(g.resolution), new(big.Int))
			want := quotient.Int64()
			if remainder.Sign() > 0 {
				want++
			}
			if got := g.slot(at); got != want {
				t.Fatalf("slot(%d) = %d, want %d with resolution %d", at, got, want, g.resolution)
			}
		}
	}
}

func TestInstants(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Unix(0, 0), 0},
		{time.Unix(0, -1), -1},
		{time.Unix(12, 34), 12_000_000_034},
		{time.Time{}, tooEarly},
		{time.Unix(maxSeconds, 0), tooLate},
		{time.Unix(maxSeconds-1, 999_999_999), maxTime},
		{time.Unix(-maxSeconds, 0), minTime},
		{time.Unix(-maxSeconds, -1), tooEarly},
		{time.Unix(math.MaxInt64, 0), tooLate},
		{time.Unix(math.MinInt64, 0), tooEarly},
		{time.Date(1823, 12, 1, 0, 0, 0, 0, time.UTC), -4_610_044_800_000_000_000},
		{time.Date(2116, 2, 1, 0, 0, 0, 0, time.UTC), 4_609_958_400_000_000_000},
	} {
		if got := instant(c.at); got != c.want {
			t.Errorf("instant(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}

// The notes' hit counter of 300 seconds: whole seconds are exact.
func TestWholeSeconds(t *testing.T) {
	for _, c := range subjects(300*time.Second, time.Second) {
		second := func(n int64) time.Time { return time.Unix(n, 0) }
		for _, n := range []int64{1, 2, 3} {
			c.HitAt(second(n))
		}
		require.EqualValues(t, 3, c.CountAt(second(4)), c.name)
		c.HitAt(second(300))
		for at, want := range map[int64]int64{300: 4, 301: 3, 302: 2, 303: 1, 599: 1, 600: 0} {
			lo, hi := c.Bounds(second(at))
			if n := c.CountAt(second(at)); n != want || lo != want || hi != want {
				t.Errorf("%s: %d of %d to %d at %d s, want %d", c.name, n, lo, hi, at, want)
			}
		}
	}
}

// A read tells of the time that it asks about, not of when something in the
// background last had a processor.
func TestNoStaleReads(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	for _, c := range subjects(200*time.Millisecond, 2*time.Millisecond) {
		for range 1000 {
			c.HitAt(epoch)
		}
		require.EqualValues(t, 1000, c.CountAt(epoch.Add(198*time.Millisecond)), c.name)
		require.EqualValues(t, 0, c.CountAt(epoch.Add(276*time.Millisecond)), c.name)
		require.EqualValues(t, 1000, c.CountAt(epoch), "%s: nothing was removed by asking about later", c.name)
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
}

// Late hits count where they belong as long as there is a place for them, and
// otherwise are dropped and counted as such; they never count in the slot that
// has taken their place.
func TestLateHits(t *testing.T) {
	const window, slot = 64 * time.Second, time.Second
	for _, c := range subjects(window, slot) {
		now := epoch.Add(1000 * window)
		c.AddAt(now, 10)
		c.AddAt(now.Add(-window/2), 5)
		c.AddAt(now.Add(-window), 3) // in the window of a second ago, not of now
		require.EqualValues(t, 15, c.CountAt(now), c.name)
		require.EqualValues(t, 8, c.CountAt(now.Add(-slot)), c.name)
		require.Zero(t, c.Stats().Dropped, c.name)

		// Slots that share a row with the latest, and others.
		for i := range 40 {
			c.AddAt(now.Add(-time.Duration(i+2)*window), 1000)
		}
		require.EqualValues(t, 15, c.CountAt(now), c.name)
		require.GreaterOrEqual(t, c.Stats().Dropped, int64(1000), c.name)
		lo, hi := c.Bounds(now)
		require.Equal(t, [2]int64{15, 15}, [2]int64{lo, hi}, c.name)
		lo, hi = c.Bounds(now.Add(-2 * window))
		require.LessOrEqual(t, lo, int64(1000), c.name)
		require.GreaterOrEqual(t, hi, int64(1000), c.name)
		require.EqualValues(t, 40_018, c.Stats().Hits+c.Stats().Dropped, c.name)
	}
}

// A clock that goes back does not bring back what it had counted before.
func TestNothingIsResurrected(t *testing.T) {
	for _, c := range subjects(10*time.Second, time.Second) {
		for i := range 100 {
			c.AddAt(epoch.Add(time.Duration(i)*time.Second), 1)
		}
		for _, back := range []int{50, 33, 17, 99} {
			at := epoch.Add(time.Duration(back) * time.Second)
			lo, _ := c.Bounds(at)
			c.HitAt(at)
			if after, _ := c.Bounds(at); after > lo+1 {
				t.Errorf("%s: one hit raised lo from %d to %d", c.name, lo, after)
			}
		}
		require.EqualValues(t, 11, c.CountAt(epoch.Add(99*time.Second)), c.name)
	}
}

// A hit that was held up while its row went on, however far, finds that out.
func TestRingHitHeldUp(t *testing.T) {
	r := NewRing(16, &Options{Resolution: 1})
	at := instant(epoch)
	r.add(at, 1)
	slot, tag := r.slot(at), r.tag(r.slot(at))
	row := &r.rows[slot&r.mask]
	require.True(t, row.add(slot, tag, 1))
	for _, turns := range []int64{1, 2, 1 << 20} { // after the last, tags are the same again
		r.add(at+turns<<r.log, 5)
		r.recent.Store(slot)
		require.False(t, r.hit(at))
		require.False(t, row.add(slot, tag, 1))
		require.EqualValues(t, 5, r.count(at+turns<<r.log))
	}
	r.add(at, 1)
	require.Equal(t, Stats{Hits: 2 + 3*5, Dropped: 1}, r.Stats())
	r.Clear()
	require.False(t, r.hit(at))
	require.False(t, row.add(slot, tag, 1))
}

// One hit from a wrong future takes a row of a ring, no more.
func TestRingSurvivesAWrongClock(t *testing.T) {
	r := NewRing(time.Minute, &Options{Resolution: time.Second})
	r.HitAt(epoch.Add(1000 * time.Hour))
	for i := range 60 {
		r.HitAt(epoch.Add(time.Duration(i) * time.Second))
	}
	require.GreaterOrEqual(t, r.CountAt(epoch.Add(59*time.Second)), int64(59))
	require.LessOrEqual(t, r.Stats().Dropped, int64(1))
}

// Clear is the way back from a wrong future.
func TestClear(t *testing.T) {
	type clearer interface{ Clear() }
	for _, c := range subjects(time.Minute, time.Second) {
		c.HitAt(epoch.Add(1000 * time.Hour))
		c.AddAt(epoch, 7)
		c.HitAt(time.Time{})
		c.HitAt(time.Unix(1<<50, 0))
		c.Counter.(clearer).Clear()
		require.Zero(t, c.Stats(), c.name)
		_, hi := c.Bounds(time.Unix(1<<50, 0))
		require.Zero(t, hi, c.name)
		c.AddAt(epoch, 7)
		require.EqualValues(t, 7, c.CountAt(epoch), c.name)
		require.Equal(t, Stats{Hits: 7}, c.Stats().Sub(Stats{}), c.name)
	}
}

// Counts beyond what fits are at least not wrong.
func TestOverflow(t *testing.T) {
	for _, c := range subjects(time.Minute, time.Second) {
		for range 3 {
			c.AddAt(epoch, math.MaxInt64)
			c.AddAt(epoch.Add(time.Second), math.MaxInt64-5)
		}
		now := epoch.Add(2 * time.Second)
		lo, hi := c.Bounds(now)
		require.Positive(t, lo, c.name)
		require.Equal(t, int64(math.MaxInt64), hi, c.name)
		n := c.CountAt(now)
		require.True(t, lo <= n && n <= hi, c.name)

		// It does not last.
		now = now.Add(2 * time.Minute)
		c.AddAt(now, 3)
		lo, hi = c.Bounds(now)
		require.Equal(t, [2]int64{3, 3}, [2]int64{lo, hi}, c.name)
	}
	r := NewRing(time.Minute, nil)
	r.AddAt(epoch, hitLimit-1)
	r.HitAt(epoch)
	_, hi := r.Bounds(epoch.Add(time.Second))
	require.Equal(t, int64(hitLimit), hi, "as many as fit are exact")
	r.HitAt(epoch)
	lo, hi := r.Bounds(epoch.Add(time.Second))
	require.Equal(t, [2]int64{hitLimit, math.MaxInt64}, [2]int64{lo, hi})
}

func TestAddNothing(t *testing.T) {
	for _, c := range subjects(time.Minute, time.Second) {
		c.AddAt(epoch, 0)
		require.Zero(t, c.Stats(), c.name)
		require.Zero(t, c.CountAt(epoch), c.name)
		require.PanicsWithValue(t, "hitcounter: negative number of hits", func() { c.AddAt(epoch, -1) }, c.name)
	}
	k := NewKeyed[int](time.Minute, 1, nil)
	k.AddAt(epoch, 1, 0)
	require.Zero(t, k.Len())
	require.Panics(t, func() { k.AddAt(epoch, 1, -1) })
	require.Panics(t, func() { NewExact(time.Minute, nil).AllowAt(epoch, -1, 10) })
}

func TestArguments(t *testing.T) {
	bad := map[string]func(){
		"NewRing with a window of 0s":                          func() { NewRing(0, nil) },
		"NewRing with a window of -1s":                         func() { NewRing(-time.Second, nil) },
		"NewRing with a resolution of -1ns":                    func() { NewRing(time.Second, &Options{Resolution: -1}) },
		"NewRing with a resolution of 2s in a window of 1s":    func() { NewRing(time.Second, &Options{Resolution: 2 * time.Second}) },
		"NewRing with 3600000000000 slots":                     func() { NewRing(time.Hour, &Options{Resolution: 1}) },
		"NewExact with a window of":                            func() { NewExact(math.MaxInt64, nil) },
		"NewStriped with -1 stripes":                           func() { NewStriped(time.Second, &Options{Stripes: -1}) },
		"NewStriped with 5000 stripes":                         func() { NewStriped(time.Second, &Options{Stripes: 5000}) },
		"NewApprox with a window of 0s":                        func() { NewApprox(0, .1, nil) },
		"NewApprox with a relative error of 0":                 func() { NewApprox(time.Second, 0, nil) },
		"NewApprox with a relative error of 1":                 func() { NewApprox(time.Second, 1, nil) },
		"NewApprox with a relative error of NaN":               func() { NewApprox(time.Second, math.NaN(), nil) },
		"NewSketch with a precision of 3":                      func() { NewSketch(3) },
		"NewSketch with a precision of 19":                     func() { NewSketch(19) },
		"NewUnique with a precision of 0":                      func() { NewUnique(time.Second, 0, nil) },
		"NewUnique with 100001 slots of precision 18":          func() { NewUnique(time.Second, 18, &Options{Resolution: 10 * time.Microsecond}) },
		"NewKeyed with a capacity of 0":                        func() { NewKeyed[int](time.Second, 0, nil) },
		"NewKeyed with 3 stripes for 2 keys":                   func() { NewKeyed[int](time.Second, 2, &Options{Stripes: 3}) },
		"NewKeyed with a resolution of 1m0s in a window of 1s": func() { NewKeyed[int](time.Second, 2, &Options{Resolution: time.Minute}) },
	}
	for want, make := range bad {
		func() {
			defer func() {
				got, _ := recover().(string)
				if len(got) < len(want)+12 || got[:len(want)+12] != "hitcounter: "+want {
					t.Errorf("panic %q, want %q", got, "hitcounter: "+want)
				}
			}()
			make()
		}()
	}
}

func TestDefaults(t *testing.T) {
	require.Equal(t, 600*time.Millisecond, NewRing(time.Minute, nil).Resolution())
	require.Equal(t, 600*time.Millisecond, NewStriped(time.Minute, &Options{}).Resolution())
	require.Equal(t, time.Nanosecond, NewRing(3, nil).Resolution())
	require.Equal(t, time.Nanosecond, NewExact(time.Minute, nil).Resolution())
	require.Equal(t, 6*time.Second, NewUnique(time.Minute, 14, nil).Resolution())
	require.Equal(t, 6*time.Second, NewKeyed[int](time.Minute, 14, nil).Resolution())
	require.Equal(t, time.Minute, NewApprox(time.Minute, .1, nil).Window())
}

// The present is what the clock says, and by default goes on by itself.
func TestPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed[string](time.Minute, 10, nil)
		u := NewUnique(time.Minute, 10, nil)
		counters := []Counter{NewRing(time.Minute, nil), NewStriped(time.Minute, nil), NewExact(time.Minute, nil), NewApprox(time.Minute, .1, nil)}
		time.Sleep(3 * time.Second) // away from where a slot ends
		for _, c := range counters {
			c.Hit()
		}
		u.Hit("ada")
		u.Hit("ada")
		k.Hit("a")
		time.Sleep(59 * time.Second)
		for _, c := range counters {
			if n := c.Count(); n != 1 {
				t.Errorf("%T: %d a second before", c, n)
			}
			if n := c.CountAt(time.Now()); n != 1 {
				t.Errorf("%T: %d at the present", c, n)
			}
		}
		require.EqualValues(t, 1, u.Count())
		require.EqualValues(t, 1, k.Count("a"))
		time.Sleep(8 * time.Second) // a minute and a slot later
		for _, c := range counters {
			if n := c.Count(); n != 0 {
				t.Errorf("%T: %d after", c, n)
			}
		}
		require.Zero(t, u.Count())
		require.Zero(t, k.Count("a"))
	})
	now := time.Unix(100, 0)
	r := NewRing(time.Minute, &Options{Now: func() time.Time { return now }})
	r.Hit()
	require.EqualValues(t, 1, r.CountAt(time.Unix(100, 0)))
	now = time.Unix(161, 0)
	require.Zero(t, r.Count())
}

// What a steady rate is estimated at: no bias of half a slot.
func TestSteadyRate(t *testing.T) {
	for _, c := range subjects(time.Second, time.Second/20) {
		at := epoch
		for range 2000 {
			at = at.Add(time.Millisecond)
			c.HitAt(at)
		}
		for i := range 100 {
			at = at.Add(time.Millisecond)
			c.HitAt(at)
			lo, hi := c.Bounds(at)
			n := c.CountAt(at)
			if off := math.Abs(float64(n - 1000)); off > 10+c.eps*1000 || lo > 1000 || hi < 1000 {
				t.Errorf("%s: %d of %d to %d after %d ms, want about 1000", c.name, n, lo, hi, i)
			}
		}
	}
}

// Bounds and counts allocate nothing, nor do hits once there is room.
func TestAllocations(t *testing.T) {
	at := epoch
	check := func(name string, f func()) {
		if n := testing.AllocsPerRun(2000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, c := range subjects(time.Second, time.Second/10) {
		for range 20_000 {
			at = at.Add(time.Millisecond)
			c.HitAt(at)
		}
		if c.name != "striped" || !raceEnabled {
			check(c.name+" hit", func() {
				at = at.Add(time.Millisecond)
				c.HitAt(at)
			})
		}
		check(c.name+" count", func() {
			c.CountAt(at)
			c.Bounds(at)
		})
	}
	u, k := NewUnique(time.Second, 10, nil), NewKeyed[string](time.Second, 10, nil)
	keys := []string{"ada", "grace", "edsger", "barbara"}
	for range 2000 {
		at = at.Add(time.Millisecond)
		u.HitAt(at, keys[at.UnixMilli()%4])
		k.HitAt(at, keys[at.UnixMilli()%4])
		u.CountAt(at)
	}
	check("unique", func() {
		at = at.Add(time.Millisecond)
		u.HitAt(at, keys[at.UnixMilli()%4])
		u.CountAt(at)
		u.Bounds(at)
	})
	check("keyed", func() {
		at = at.Add(time.Millisecond)
		k.HitAt(at, keys[at.UnixMilli()%4])
		k.CountAt(at, "ada")
		k.Bounds(at, "ada")
	})
}
