package occ_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// The anomalies by the names that the literature gives them. In most of these
// tests a transaction runs within the body of another, the first time round, so
// that the schedule is always the same.

// P0: of two transactions that write x and y, each key keeps another's value.
func TestNoDirtyWrite(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
			tx.Put("x", 1)
			if attempts++; attempts == 1 {
				put(t, s, "x", 2, "y", 2)
			}
			tx.Put("y", 1)
			return nil
		}))
		require.Equal(t, "x=1 y=1 ", state(s))
		require.Equal(t, 1, attempts, "what is only written does not conflict")
	})
}

// G1a, G1b: a value is read that is rolled back, or replaced before its commit.
func TestNoDirtyRead(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		sorry := errors.New("sorry")
		err := s.Update(t.Context(), func(writing *tx) error {
			writing.Put("x", 1)
			require.NoError(t, s.Update(t.Context(), func(reading *tx) error {
				require.Equal(t, 0, get(reading, "x"))
				return nil
			}))
			require.Equal(t, "x=0 y=0 ", state(s))
			writing.Put("x", 2)
			require.Equal(t, 2, get(writing, "x"), "but its own writes it sees")
			return sorry
		})
		require.Equal(t, sorry, err)
		require.Equal(t, "x=0 y=0 ", state(s))
	})
}

// G1c: two transactions read what the other has written.
func TestNoCircularInformationFlow(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts, seen, other := 0, 0, 0
		require.NoError(t, s.Update(t.Context(), func(one *tx) error {
			one.Put("x", 1)
			if attempts++; attempts == 1 {
				require.NoError(t, s.Update(t.Context(), func(two *tx) error {
					two.Put("y", 2)
					other = get(two, "x")
					return nil
				}))
			}
			seen = get(one, "y")
			return nil
		}))
		require.Equal(t, 0, other)
		require.Equal(t, 2, seen)
	})
}

// P4: two increments, and one of them is lost.
func TestNoLostUpdate(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
			x := get(tx, "x")
			if attempts++; attempts == 1 {
				put(t, s, "x", 10)
			}
			tx.Put("x", x+1)
			return nil
		}))
		require.Equal(t, "x=11 y=0 ", state(s))
		require.Equal(t, 2, attempts)
		require.EqualValues(t, 1, s.Stats().Aborts())
	})
}

// P2: the same key is read twice, with two values.
func TestNoNonRepeatableRead(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		body := func(tx *tx) error {
			x := get(tx, "x")
			put(t, s, "x", x+1)
			require.Equal(t, x, get(tx, "x"))
			for key, value := range tx.All() {
				if key == "x" {
					require.Equal(t, x, value)
				}
			}
			return nil
		}
		require.NoError(t, s.Update(t.Context(), body))
		require.NoError(t, s.View(t.Context(), body))
		require.Zero(t, s.Stats().Aborts(), "who only reads does not abort, in an Update neither")
	})
}

// A5A: one half of another's transaction is seen.
func TestNoReadSkew(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		n := 0
		body := func(tx *tx) error {
			x := get(tx, "x")
			n++
			put(t, s, "x", n, "y", n)
			require.Equal(t, x, get(tx, "y"))
			return nil
		}
		require.NoError(t, s.Update(t.Context(), body))
		require.NoError(t, s.View(t.Context(), body))
	})
}

// A5B, G2-item: two read x and y, and each writes one of them.
func TestNoWriteSkew(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		put(t, s, "x", 1, "y", 1) // on call: one of them must stay
		leave := func(tx *tx, who string, meanwhile func()) error {
			onCall := get(tx, "x") + get(tx, "y")
			meanwhile()
			if onCall == 2 {
				tx.Put(who, 0)
			}
			return nil
		}
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(one *tx) error {
			return leave(one, "x", func() {
				if attempts++; attempts == 1 {
					require.NoError(t, s.Update(t.Context(), func(two *tx) error { return leave(two, "y", func() {}) }))
				}
			})
		}))
		require.Equal(t, "x=1 y=0 ", state(s))
	})
}

// P3, G2: two count a range and insert into it. Badger lets both commit.
func TestNoPhantom(t *testing.T) {
	ranges := map[string]func(tx *tx) func(func(string, int) bool){
		"All":      func(tx *tx) func(func(string, int) bool) { return tx.All() },
		"Backward": func(tx *tx) func(func(string, int) bool) { return tx.Backward() },
		"From":     func(tx *tx) func(func(string, int) bool) { return tx.From("a") },
		"Before":   func(tx *tx) func(func(string, int) bool) { return tx.Before("m") },
		"Range":    func(tx *tx) func(func(string, int) bool) { return tx.Range("b", "e") },
	}
	for name, of := range ranges {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *occ.Store[string, int]) {
				insert := func(tx *tx, key string, meanwhile func()) error {
					n := 0
					for range of(tx) {
						n++
					}
					meanwhile()
					tx.Put(key, n)
					return nil
				}
				attempts := 0
				require.NoError(t, s.Update(t.Context(), func(one *tx) error {
					return insert(one, "c", func() {
						if attempts++; attempts == 1 {
							require.NoError(t, s.Update(t.Context(), func(two *tx) error { return insert(two, "d", func() {}) }))
						}
					})
				}))
				c, _, _ := s.Load("c")
				d, _, _ := s.Load("d")
				require.Equal(t, d+1, c, "the second counts the first")
				require.EqualValues(t, 1, s.Stats().RangeAborts)
			})
		})
	}
}

// A loop is validated as far as it went, and no farther.
func TestPhantomsCountOnlyWhereTheLoopWas(t *testing.T) {
	for _, c := range []struct {
		insert            string
		forward, backward uint64 // aborts
	}{{"a", 1, 0}, {"b", 1, 0}, {"bb", 1, 0}, {"c", 1, 1}, {"cc", 0, 1}, {"d", 0, 1}, {"z", 0, 1}} {
		for _, backward := range []bool{false, true} {
			s := kinds["memory"]()
			put(t, s, "b", 1, "c", 2, "d", 3)
			aborts := c.forward
			if backward { // from the end down to c
				aborts = c.backward
			}
			once := false
			require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
				seq := tx.All()
				if backward {
					seq = tx.Backward()
				}
				for key := range seq {
					if key == "c" {
						break
					}
				}
				if !once {
					once = true
					put(t, s, c.insert, 10)
				}
				tx.Put("other", 1)
				return nil
			}))
			if got := s.Stats().Aborts(); got != aborts {
				t.Errorf("insert %q, backward %v: %d aborts, want %d", c.insert, backward, got, aborts)
			}
		}
	}
}

// Long fork: two readers see two writes in different orders. Here every reader sees
// all commits up to a moment, however long it takes.
func TestNoLongFork(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		var seen []int
		var read func(n int)
		read = func(n int) {
			require.NoError(t, s.View(t.Context(), func(tx *tx) error {
				if n < 8 {
					put(t, s, []string{"x", "y"}[n%2], n+1)
					read(n + 1)
				}
				// Those that began later have ended by now.
				seen = append(seen, 10*get(tx, "x")+get(tx, "y"))
				return nil
			}))
		}
		read(0)
		slices.Reverse(seen)
		require.Equal(t, []int{0, 10, 12, 32, 34, 54, 56, 76, 78}, seen)
	})
}

// Fekete, O'Neil, O'Neil (2004): with snapshot isolation a reader shows that two
// writers have no serial order.
func TestNoReadOnlyAnomaly(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts, report := 0, ""
		require.NoError(t, s.Update(t.Context(), func(withdraw *tx) error {
			x, y := get(withdraw, "x"), get(withdraw, "y")
			if attempts++; attempts == 1 {
				require.NoError(t, s.Update(t.Context(), func(deposit *tx) error {
					deposit.Put("y", get(deposit, "y")+20)
					return nil
				}))
				report = state(s) // the deposit is there, the withdrawal is not
			}
			if x+y < 10 {
				x-- // a fee
			}
			withdraw.Put("x", x-10)
			return nil
		}))
		require.Equal(t, "x=0 y=20 ", report)
		require.Equal(t, "x=-10 y=20 ", state(s), "no fee, since the report has the deposit first")
	})
}

// Keys that are absent are read, too.
func TestNoWriteSkewOnAbsentKeys(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(one *tx) error {
			_, ok := one.Get("b")
			if attempts++; attempts == 1 {
				require.NoError(t, s.Update(t.Context(), func(two *tx) error {
					if _, ok := two.Get("a"); !ok {
						two.Put("b", 1)
					}
					return nil
				}))
			}
			if !ok {
				one.Put("a", 1)
			}
			return nil
		}))
		require.Equal(t, "b=1 x=0 y=0 ", state(s))
	})
}
