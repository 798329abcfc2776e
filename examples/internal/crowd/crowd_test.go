package crowd

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRateIsKept(t *testing.T) {
	for _, test := range []struct {
		users int
		rate  float64
	}{{1, 10}, {7, 10}, {20, 2000}, {3, 0.5}} {
		synctest.Test(t, func(t *testing.T) {
			c := Start(t.Context(), Options{Users: test.users, Rate: test.rate, Act: func(context.Context, int, *rand.Rand) error { return nil }})
			defer c.Close()
			time.Sleep(100 * time.Second)
			synctest.Wait()
			s := c.Stats()
			want := test.rate * 100
			if got := float64(s.Done); math.Abs(got-want) > float64(test.users)+1 {
				t.Errorf("%d users at %v/s: %v actions in 100 s, want %v", test.users, test.rate, got, want)
			}
			require.Equal(t, test.users, s.Users)
			require.Zero(t, s.Late)
			require.Zero(t, s.Failed)
		})
	}
}

func TestUsersJoinOverTheRampAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := Start(ctx, Options{Users: 10, Rate: 1, Ramp: 10 * time.Second, Act: func(context.Context, int, *rand.Rand) error { return nil }})
		for second := range 10 {
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			require.Equal(t, second+1, c.Stats().Users)
			time.Sleep(500 * time.Millisecond)
		}
		cancel()
		synctest.Wait()
		require.Zero(t, c.Stats().Users)
		c.Close()
	})
}

func TestPauseAndNewRateActAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t.Context(), Options{Users: 4, Rate: 0.001, Act: func(context.Context, int, *rand.Rand) error { return nil }})
		defer c.Close()
		time.Sleep(time.Second)
		c.SetRate(100) // nobody waits for the action planned in an hour
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 1000, float64(c.Stats().Done), 8)
		c.SetRate(0)
		synctest.Wait()
		paused := c.Stats().Done
		time.Sleep(time.Hour)
		require.Equal(t, paused, c.Stats().Done)
		c.SetRate(100)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 1000, float64(c.Stats().Done-paused), 8)
		require.Zero(t, c.Stats().Late, "a pause is not lateness")
	})
}

func TestSlowSystemMakesActionsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t.Context(), Options{Users: 1, Rate: 10, Act: func(context.Context, int, *rand.Rand) error {
			time.Sleep(time.Second)
			return nil
		}})
		time.Sleep(100*time.Second + time.Millisecond)
		synctest.Wait()
		s := c.Stats()
		c.Close()
		require.InDelta(t, 100, float64(s.Done), 2)
		require.InDelta(t, 900, float64(s.Late), 20, "what was asked for and not done")
		require.InDelta(t, 1, s.P50.Seconds(), 0.61)
	})
}

func TestFailuresAreCountedAndTheEndIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("no")
		c := Start(t.Context(), Options{Users: 2, Rate: 10, Act: func(ctx context.Context, user int, _ *rand.Rand) error {
			if user == 0 {
				return failure
			}
			<-ctx.Done() // interrupted by Close
			return ctx.Err()
		}})
		time.Sleep(10 * time.Second)
		c.Close()
		s := c.Stats()
		require.InDelta(t, 50, float64(s.Failed), 1)
		require.Equal(t, s.Done, s.Failed)
		require.Equal(t, failure, s.Err)
	})
}

func TestSeedRepeatsTheUsers(t *testing.T) {
	draw := func(seed uint64) (drawn [2]uint64) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			c := Start(t.Context(), Options{Users: 2, Rate: 10, Seed: seed, Act: func(_ context.Context, user int, random *rand.Rand) error {
				mu.Lock()
				defer mu.Unlock()
				drawn[user] = drawn[user]*31 + random.Uint64()
				return nil
			}})
			time.Sleep(5 * time.Second)
			c.Close()
		})
		return drawn
	}
	require.Equal(t, draw(1), draw(1))
	require.NotEqual(t, draw(1), draw(2))
}

func TestBadOptionsPanic(t *testing.T) {
	act := func(context.Context, int, *rand.Rand) error { return nil }
	require.Panics(t, func() { Start(t.Context(), Options{Act: act}) })
	require.Panics(t, func() { Start(t.Context(), Options{Users: 1}) })
	require.Panics(t, func() { Start(t.Context(), Options{Users: 1, Rate: -1, Act: act}) })
	require.Panics(t, func() { Start(t.Context(), Options{Users: 1, Rate: math.NaN(), Act: act}) })
}
