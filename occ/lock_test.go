package occ_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// Lock keeps others out of Update, in the order in which they came, and nobody
// out of View.
func TestLockIsExclusiveAndFair(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open()
				put(t, s, "x", 0, "y", 0)
				release := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					_ = s.Update(t.Context(), func(tx *tx) error {
						if err := tx.Lock("y", "x", "absent", "x"); err != nil {
							t.Error(err)
						}
						tx.Put("x", 1)
						<-release
						return nil
					})
				})
				synctest.Wait()
				names := []string{"lock", "get", "put", "apply", "swap"}
				for i, name := range names {
					wg.Go(func() {
						err := s.Update(t.Context(), func(tx *tx) error {
							tx.Put(name, i)
							switch name {
							case "lock":
								_ = tx.Lock("x")
							case "get":
								get(tx, "x")
							case "apply":
								tx.Apply("x", func(n int) int { return n })
								return nil
							case "swap":
								get(tx, "x") // as CompareAndSwap does
							}
							tx.Put("x", i)
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				gone, cancel := context.WithCancel(t.Context())
				for _, body := range []func(tx *tx) error{
					func(tx *tx) error { return tx.Lock("x") },
					func(tx *tx) error { _ = tx.Lock("x"); return nil }, // has ended all the same
					func(tx *tx) error {
						get(tx, "x")
						if !errors.Is(tx.Err(), context.Canceled) || !errors.Is(tx.Lock("other"), context.Canceled) {
							t.Error(tx.Err())
						}
						return nil
					},
					func(tx *tx) error { tx.Put("x", 9); return nil },
				} {
					wg.Go(func() {
						if err := s.Update(gone, body); !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				require.Equal(t, "x=0 y=0 ", state(s), "a View does not wait")
				value, _, _ := s.Load("x")
				require.Zero(t, value)
				put(t, s, "z", 1)
				cancel()
				synctest.Wait()
				close(release)
				wg.Wait()
				last := uint64(0)
				for _, name := range names {
					_, version, _ := s.Load(name)
					require.Greater(t, version, last, name)
					last = version
				}
				require.Equal(t, "apply=3 get=1 lock=0 put=2 swap=4 x=4 y=0 z=1 ", state(s))
				require.Zero(t, s.Stats().Aborts())
				require.NoError(t, s.CheckInvariants())
			})
		})
	}
}

// A Lock that cannot wait, since it would be out of order, fails, and the next
// attempt begins with it.
func TestLockAsksForAnotherAttempt(t *testing.T) {
	for _, obedient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := kinds["memory"]()
			put(t, s, "a", 0) // a is before b in the order of locks
			put(t, s, "b", 0)
			held, release := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				_ = s.Update(t.Context(), func(tx *tx) error {
					_ = tx.Lock("a")
					close(held)
					<-release
					return nil
				})
			})
			<-held
			var failed error
			attempts := 0
			require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
				attempts++
				require.NoError(t, tx.Lock("b"))
				err := tx.Lock("a")
				if err != nil {
					failed = err
					close(release)
					require.ErrorIs(t, tx.Lock("c"), occ.ErrConflict)
				}
				if obedient {
					return err
				}
				return nil
			}))
			wg.Wait()
			require.ErrorIs(t, failed, occ.ErrConflict)
			require.Equal(t, 2, attempts)
			require.EqualValues(t, 1, s.Stats().LockAborts)
			require.NoError(t, s.CheckInvariants())
		})
	}
}

// Sums are kept, whatever bodies do and however they meet.
func TestTransfersKeepTheSumConcurrentSafe(t *testing.T) {
	for name, open := range map[string]func() *occ.Store[int, int]{
		"memory":          func() *occ.Store[int, int] { return occ.New[int, int](nil) },
		"log":             func() *occ.Store[int, int] { return open(new(memoryLog[int, int])) },
		"escalating soon": func() *occ.Store[int, int] { return occ.New[int, int](&occ.Options{EscalateAfter: 1}) },
		"never":           func() *occ.Store[int, int] { return occ.New[int, int](&occ.Options{EscalateAfter: -1}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			const accounts, workers, transfers = 8, 8, 300
			require.NoError(t, s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
				for i := range accounts {
					tx.Put(i, 100)
				}
				return nil
			}))
			sum := func(tx *occ.Tx[int, int]) (sum int) {
				for _, value := range tx.All() {
					sum += value
				}
				return sum
			}
			var wg sync.WaitGroup
			var most atomic.Int64
			for worker := range workers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(worker), 1))
					for range transfers {
						from, to, how := r.IntN(accounts), r.IntN(accounts), r.IntN(6)
						attempts := int64(0)
						err := s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
							attempts++
							switch how {
							case 0:
								if err := tx.Lock(from, to); err != nil {
									return err
								}
							case 1:
								if err := tx.Lock(from); err != nil {
									return err
								}
								if err := tx.Lock(to); err != nil {
									return err
								}
							case 2:
								tx.Apply(from, add(0)) // doubles
								tx.Apply(from, func(n int) int { return n/2 - 1 })
								tx.Apply(to, func(n int) int { return n + 1 })
								return nil
							case 3:
								if got := sum(tx); got != accounts*100 {
									t.Errorf("an Update sees %d", got)
								}
							}
							a, _ := tx.Get(from)
							runtime.Gosched()
							tx.Put(from, a-1)
							b, _ := tx.Get(to)
							if tx.Put(to, b+1); from != to && a == 50 { // move the account
								tx.Delete(from)
								tx.Put(from, a-1)
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
						for {
							old := most.Load()
							if old >= attempts || most.CompareAndSwap(old, attempts) {
								break
							}
						}
						_ = s.View(t.Context(), func(tx *occ.Tx[int, int]) error {
							if got := sum(tx); got != accounts*100 {
								t.Errorf("a View sees %d", got)
							}
							return nil
						})
					}
				})
			}
			wg.Wait()
			require.NoError(t, s.CheckInvariants())
			limit := int64(5)
			if name == "escalating soon" {
				limit = 2
			}
			if name != "never" {
				require.LessOrEqual(t, most.Load(), limit, "attempts of one transaction")
			}
			t.Logf("%+v", s.Stats())
		})
	}
}

// Sixty-four buyers, one copy.
func TestLastCopyConcurrentSafe(t *testing.T) {
	type shop func(s *occ.Store[string, int], buyer int) (bought bool, err error)
	for name, buy := range map[string]shop{
		"optimistic": func(s *occ.Store[string, int], buyer int) (bought bool, err error) {
			err = s.Update(t.Context(), func(tx *tx) error {
				bought = false
				n := get(tx, "stock")
				runtime.Gosched()
				if n > 0 {
					tx.Put("stock", n-1)
					tx.Put(fmt.Sprint("order", buyer), 1)
					bought = true
				}
				return nil
			})
			return bought, err
		},
		"pessimistic": func(s *occ.Store[string, int], buyer int) (bought bool, err error) {
			err = s.Update(t.Context(), func(tx *tx) error {
				if err := tx.Lock("stock"); err != nil {
					return err
				}
				n := get(tx, "stock")
				runtime.Gosched()
				if bought = n > 0; bought {
					tx.Put("stock", n-1)
					tx.Put(fmt.Sprint("order", buyer), 1)
				}
				return nil
			})
			return bought, err
		},
		"by version": func(s *occ.Store[string, int], buyer int) (bought bool, err error) {
			for {
				n, version, _ := s.Load("stock")
				if n == 0 {
					return false, nil
				}
				runtime.Gosched()
				if _, ok, err := s.CompareAndSwap(t.Context(), "stock", version, n-1); ok || err != nil {
					return ok, err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := kinds["memory"]()
			put(t, s, "stock", 1)
			var sold atomic.Int64
			var wg sync.WaitGroup
			for buyer := range 64 {
				wg.Go(func() {
					bought, err := buy(s, buyer)
					if err != nil {
						t.Error(err)
					}
					if bought {
						sold.Add(1)
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, 1, sold.Load())
			stock, _, _ := s.Load("stock")
			require.Zero(t, stock)
			require.NoError(t, s.CheckInvariants())
		})
	}
}

// Apply never conflicts with Apply, and none is lost.
func TestApplyConcurrentSafe(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			s := open()
			var wg sync.WaitGroup
			const workers, each = 8, 1000
			for worker := range workers {
				wg.Go(func() {
					for i := range each {
						err := s.Update(t.Context(), func(tx *tx) error {
							tx.Apply("hits", func(n int) int { return n + 1 })
							if (i+worker)%2 == 0 {
								tx.Apply("even", func(n int) int { runtime.Gosched(); return n + 1 })
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, fmt.Sprintf("even=%d hits=%d ", workers*each/2, workers*each), state(s))
			require.Zero(t, s.Stats().Aborts())
		})
	}
}

// Keys come into being and go away while others read, lock and loop over them.
func TestKeysComeAndGoConcurrentSafe(t *testing.T) {
	for name, open := range map[string]func() *occ.Store[int, int]{
		"memory": func() *occ.Store[int, int] { return occ.New[int, int](nil) },
		"log":    func() *occ.Store[int, int] { return open(new(memoryLog[int, int])) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			const keys = 64 // of pairs: 2k is there if and only if 2k+1 is
			var wg sync.WaitGroup
			for worker := range 4 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(worker), 1))
					for i := range 3000 {
						key := 2 * r.IntN(keys)
						err := s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
							if i%5 == 0 {
								if err := tx.Lock(key+1, key); err != nil {
									return err
								}
							}
							if _, ok := tx.Get(key); ok {
								tx.Delete(key)
								tx.Delete(key + 1)
							} else {
								tx.Put(key+1, i)
								tx.Put(key, i)
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
						lo := key / 2
						look := func(tx *occ.Tx[int, int]) error {
							seen := map[int]bool{}
							for key := range tx.Range(lo, lo+20) {
								seen[key] = true
							}
							for key := lo; key < lo+20; key++ {
								_, ok := tx.Get(key)
								_, also := tx.Get(key ^ 1)
								if ok != also || ok != seen[key] {
									t.Errorf("%d is there: %v, %d: %v; the loop saw it: %v", key, ok, key^1, also, seen[key])
								}
							}
							return nil
						}
						if i%10 == 0 {
							_ = s.View(t.Context(), look)
							_ = s.Update(t.Context(), look)
						}
					}
				})
			}
			wg.Wait()
			require.NoError(t, s.CheckInvariants())
			require.Less(t, s.Records(), 2*keys+200)
		})
	}
}

// Thousands of transactions at the same time.
func TestManyTransactionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kinds["memory"]()
		var wg sync.WaitGroup
		hold := make(chan struct{})
		for i := range 3000 {
			wg.Go(func() {
				err := s.Update(t.Context(), func(tx *tx) error {
					tx.Put(fmt.Sprint(i), i)
					<-hold
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		put(t, s, "x", 1)
		close(hold)
		wg.Wait()
		require.Equal(t, 3001, s.Len())
		require.EqualValues(t, 3001, s.Stats().Commits)
		require.NoError(t, s.CheckInvariants())
	})
}
