package hitcounter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fullest returns the most hits in a window, whatever its end.
func (w *twin) fullest() (most int64) {
	for _, e := range w.events {
		// A fullest window can be moved on until a hit is about to leave, or
		// back until one is at its end.
		most = max(most, w.count(e.at, anyKey), w.count(e.at.Add(w.window-1), anyKey))
	}
	return most
}

// A hundred are a hundred in every window of a second, at worst times: all at
// the end of one second and at the beginning of the next.
func TestNeverMoreThanTheLimit(t *testing.T) {
	for _, resolution := range []time.Duration{1, time.Millisecond, 30 * time.Millisecond} {
		x := NewExact(time.Second, &Options{Resolution: resolution})
		w := &twin{window: time.Second}
		at := time.Unix(1000, 0)
		for i := range 4000 {
			switch {
			case i%2000 == 1000:
				at = at.Add(900 * time.Millisecond)
			default:
				at = at.Add(100 * time.Microsecond)
			}
			if x.AllowAt(at, 1, 100) {
				w.add(event{at: at, n: 1})
			}
		}
		if most := w.fullest(); most > 100 || resolution == 1 && most < 100 {
			t.Errorf("resolution %v: %d hits in a window", resolution, most)
		}
	}
}

func runAllowScript(data []byte) error {
	s := script{data: data, now: epoch}
	shape := windows[s.byte()%len(windows)]
	s.grid = shape.resolution
	resolution := shape.resolution
	fine := s.byte()%2 == 0
	if fine {
		resolution = 1
	}
	limit := int64(1 + s.byte()%12)
	w := &twin{window: shape.window}
	x := NewExact(shape.window, &Options{Resolution: resolution})
	for step := 0; len(s.data) > 0 && step < 200; step++ {
		e := s.next(false)
		e.n = min(e.n, 13)
		before := x.Stats()
		latest := w.latest
		allowed := x.AllowAt(e.at, e.n, limit)
		if after := x.Stats().Sub(before); !allowed && after != (Stats{}) || allowed && after != (Stats{Hits: e.n}) {
			return fmt.Errorf("step %d: AllowAt = %v changed %+v", step, allowed, after)
		}
		inRange := instant(e.at) >= minTime && instant(e.at) <= maxTime
		if !allowed && fine && inRange && !e.at.Before(latest) && w.count(e.at, anyKey)+e.n <= limit {
			return fmt.Errorf("step %d: %d refused with %d of %d", step, e.n, w.count(e.at, anyKey), limit)
		}
		if allowed {
			w.add(e)
		}
		if most := w.fullest(); most > limit {
			return fmt.Errorf("step %d: %d hits in a window, the limit is %d", step, most, limit)
		}
		if err := x.check(); err != nil {
			return err
		}
	}
	return nil
}

func FuzzAllow(f *testing.F) {
	for i := range byte(7) {
		f.Add([]byte{i, i, i, 2, 50, 3, 4, 18, 7, 4, 0, 3, 200, 2, 9, 4, 0, 4, 0, 6, 1, 6, 1, 8, 60, 12, 3})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := runAllowScript(data); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAllowModel(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for i := range 100 {
		data := make([]byte, 400)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		data[0], data[1] = byte(i), byte(i/7)
		require.NoError(t, runAllowScript(data), "script %d: %x", i, data)
	}
}

// What cannot be known is refused.
func TestAllowWhatIsNotKnown(t *testing.T) {
	x := NewExact(time.Second, nil)
	require.True(t, x.AllowAt(epoch, 5, 5))
	require.True(t, x.AllowAt(epoch, 0, 5), "nothing is always allowed")
	require.False(t, x.AllowAt(epoch, 6, 5))
	require.False(t, x.AllowAt(epoch.Add(time.Second-1), 1, 5))
	require.False(t, x.AllowAt(epoch.Add(-time.Second+1), 1, 5), "it would be in a window with those after it")
	require.True(t, x.AllowAt(epoch.Add(-time.Second), 1, 5))
	require.True(t, x.AllowAt(epoch.Add(3*time.Second), 1, 5))
	require.False(t, x.AllowAt(epoch.Add(time.Second), 1, 5), "too late to be placed")
	require.False(t, x.AllowAt(time.Time{}, 1, 5))
	require.False(t, x.AllowAt(time.Unix(1<<50, 0), 1, 5))
	require.True(t, x.AllowAt(epoch.Add(3*time.Second-time.Millisecond), 1, 5), "a little late is early enough")

	now := epoch
	x = NewExact(time.Second, &Options{Now: func() time.Time { return now }})
	require.True(t, x.Allow(2))
	require.True(t, x.Allow(2))
	require.False(t, x.Allow(2))
	require.False(t, x.Allow(0))
	now = now.Add(time.Second)
	require.True(t, x.Allow(2))
}

// The queue takes the space of what it holds, not of what it once held.
func TestExactMemory(t *testing.T) {
	x := NewExact(time.Second, nil)
	at := epoch
	for range 100_000 {
		at = at.Add(time.Microsecond)
		x.HitAt(at)
	}
	require.Equal(t, 100_000, x.Len())
	for range 400_000 {
		at = at.Add(10 * time.Millisecond)
		x.HitAt(at)
	}
	require.Equal(t, 113, x.Len(), "a window and an eighth")
	require.Less(t, cap(x.queue), 2000)
	for range 1000 {
		x.HitAt(at)
	}
	require.Equal(t, 113, x.Len(), "one entry for one time")
}

// The histogram takes logarithmic space.
func TestApproxMemory(t *testing.T) {
	a := NewApprox(time.Hour, .01, nil)
	at := epoch
	for range 1_000_000 {
		at = at.Add(time.Microsecond)
		a.HitAt(at)
	}
	require.Less(t, a.Len(), 2000)
	require.NoError(t, a.checkOrderly())
	require.Equal(t, .01, a.RelativeError())
	n := a.CountAt(at.Add(time.Hour - 500*time.Millisecond))
	require.InDelta(t, 500_000, n, 5000)
}

// Late hits by the thousand break nothing, and are known to Bounds.
func TestApproxOfLateHits(t *testing.T) {
	for _, eps := range []float64{.01, .1, .9} {
		const window = 10_000
		a, w := NewApprox(window, eps, nil), &twin{window: window}
		r := rand.New(rand.NewPCG(17, 18))
		at := epoch
		for i := range 3000 {
			if i%10 == 0 {
				at = at.Add(time.Duration(r.IntN(30)))
			}
			e := event{at: at.Add(-time.Duration(r.IntN(window))), n: 1 + r.Int64N(3)}
			w.add(e)
			a.AddAt(e.at, e.n)
			require.NoError(t, a.check())
			if i%100 == 0 {
				c := subject{name: "approx", Counter: a, eps: eps}
				for back := range 20 {
					require.NoError(t, c.ask(w, at.Add(-time.Duration(back*500))), "hit %d", i)
				}
			}
		}
	}
}
