package occ_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// However unlucky, a transaction commits after EscalateAfter aborts, since
// nobody else does meanwhile.
func TestEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := occ.New[int, int](nil)
		var wg sync.WaitGroup
		attempts := 0
		var order []string
		err := s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
			key := attempts // another one each time, so that no lock helps
			attempts++
			tx.Get(key)
			rival := func(tx *occ.Tx[int, int]) error { tx.Put(key, 1); return nil }
			if attempts <= 4 {
				require.NoError(t, s.Update(t.Context(), rival))
			} else {
				wg.Go(func() {
					if err := s.Update(t.Context(), rival); err != nil {
						t.Error(err)
					}
					order = append(order, "rival")
				})
				wg.Go(func() {
					_ = s.View(t.Context(), func(tx *occ.Tx[int, int]) error { order = append(order, "view"); return nil })
				})
				gone, cancel := context.WithCancel(t.Context())
				wg.Go(func() {
					if err := s.Update(gone, rival); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
				synctest.Wait() // the rivals are at the gate
				cancel()
				synctest.Wait()
				order = append(order, "escalated")
			}
			tx.Put(100, attempts)
			return nil
		})
		require.NoError(t, err)
		wg.Wait()
		require.Equal(t, 5, attempts)
		require.Equal(t, []string{"view", "escalated", "rival"}, order)
		stats := s.Stats()
		require.EqualValues(t, 1, stats.Escalations)
		require.EqualValues(t, 4, stats.ReadAborts)
		require.NoError(t, s.CheckInvariants())
	})
}

// An escalated transaction waits for those who hold locks, and they for nobody.
func TestEscalationWaitsForLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := occ.New[string, int](&occ.Options{EscalateAfter: 1})
		hold := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = s.Update(t.Context(), func(tx *tx) error {
				_ = tx.Lock("a")
				<-hold
				tx.Put("a", 1)
				return nil
			})
		})
		synctest.Wait()
		var seen atomic.Int64
		escalate := func(ctx context.Context) error {
			attempts := 0
			return s.Update(ctx, func(tx *tx) error {
				get(tx, "b")
				if attempts++; attempts == 1 {
					put(t, s, "b", 1)
				}
				tx.Put("b", 2)
				seen.Add(int64(get(tx, "c")))
				return nil
			})
		}
		gone, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := escalate(gone); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel() // while it waits
		time.Sleep(time.Second)
		wg.Go(func() {
			if err := escalate(t.Context()); err != nil {
				t.Error(err)
			}
		})
		close(hold)
		wg.Wait()
		require.Equal(t, "a=1 b=2 ", state(s))
		require.NoError(t, s.CheckInvariants())
	})
}
