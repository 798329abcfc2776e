package budget

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClaimsWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, time.Minute)
		first := b.Claim()
		require.NoError(t, first.Take(t.Context(), 80))
		var mu sync.Mutex
		var order []int
		for i, n := range []int64{50, 10, 100} { // the second would fit, and waits for its turn
			go func() {
				c := b.Claim()
				if err := c.Take(t.Context(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				c.Release()
			}()
			synctest.Wait()
		}
		require.Equal(t, 3, b.Waiting())
		require.False(t, b.Claim().Try(1), "before those who wait")
		first.Release()
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 2, order[2])
		require.Zero(t, b.Used())
		require.EqualValues(t, 100, b.Peak())
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, time.Minute)
		first, second, third := b.Claim(), b.Claim(), b.Claim()
		require.NoError(t, first.Take(t.Context(), 1000), "more than there is: all of it")
		require.EqualValues(t, 100, b.Used())
		require.ErrorIs(t, second.Take(t.Context(), 1), ErrFull)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, third.Take(ctx, 1), context.DeadlineExceeded)
		second.Release()
		third.Release()
		first.Keep()
		first.Release()
		require.EqualValues(t, 100, b.Used(), "it has another holder")
		first.Give(30)
		first.Release()
		require.Zero(t, b.Used())
		now := New(10, 0)
		require.NoError(t, now.Claim().Take(t.Context(), 10))
		require.ErrorIs(t, now.Claim().Take(t.Context(), 1), ErrFull, "without patience")
	})
}

// Claims that all have something and all need more come to their ends, one after the
// other, and only one of them is beyond the budget at a time.
func TestGrowingClaimsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, time.Hour)
		var done sync.WaitGroup
		for range 20 {
			done.Go(func() {
				c := b.Claim()
				defer c.Release()
				for range 5 {
					if err := c.Take(t.Context(), 20); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
			})
		}
		done.Wait()
		require.Zero(t, b.Used())
		require.LessOrEqual(t, b.Peak(), int64(100+80))
	})
}

func TestClaimsConcurrentSafe(t *testing.T) {
	b := New(1000, time.Minute)
	var done sync.WaitGroup
	for i := range 16 {
		done.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				c := b.Claim()
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(300))*time.Microsecond)
				for range rng.IntN(4) {
					c.Take(ctx, rng.Int64N(400))
					c.Give(rng.Int64N(100))
				}
				cancel()
				c.Release()
			}
		})
	}
	done.Wait()
	require.Zero(t, b.Used())
	require.Zero(t, b.Waiting())
	require.LessOrEqual(t, b.Peak(), int64(1000+3*400))
}
