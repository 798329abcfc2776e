package occ_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

func TestArguments(t *testing.T) {
	require.PanicsWithValue(t, "occ: nil compare", func() { occ.NewFunc[string, int](nil, nil) })
	require.PanicsWithValue(t, "occ: negative MaxAttempts", func() { occ.New[string, int](&occ.Options{MaxAttempts: -1}) })
	require.PanicsWithValue(t, "occ: nil log", func() { _, _ = occ.Open[string, int](t.Context(), nil, nil) })
	s := occ.New[float64, int](nil)
	err := s.Update(t.Context(), func(tx *occ.Tx[float64, int]) error {
		tx.Put(math.Inf(-1), 1)
		tx.Put(0, 2)
		_, ok := tx.Get(math.NaN())
		require.False(t, ok)
		tx.Put(math.Copysign(0, -1), 3)
		for _, write := range []func(){
			func() { tx.Put(math.NaN(), 4) },
			func() { tx.Delete(math.NaN()) },
			func() { tx.Apply(math.NaN(), func(n int) int { return n }) },
			func() { _ = tx.Lock(math.NaN()) },
		} {
			require.PanicsWithValue(t, "occ: the key is not equal to itself", write)
		}
		return nil
	})
	require.NoError(t, err)
	value, _, _ := s.Load(0)
	require.Equal(t, 3, value, "0 and -0 are equal")
	require.Equal(t, 2, s.Len())
	require.NoError(t, s.CheckInvariants())
}

// An order of one's own, and keys and values of any size.
func TestNewFunc(t *testing.T) {
	type seat struct{ row, number int }
	s := occ.NewFunc[seat, struct{}](func(a, b seat) int {
		return cmp.Or(cmp.Compare(b.row, a.row), cmp.Compare(a.number, b.number))
	}, nil)
	require.NoError(t, s.Update(t.Context(), func(tx *occ.Tx[seat, struct{}]) error {
		for i := range 6 {
			tx.Put(seat{i % 2, i}, struct{}{})
		}
		seen := []int{}
		for seat := range tx.Range(seat{1, 2}, seat{0, 4}) {
			seen = append(seen, seat.number)
		}
		require.Equal(t, []int{3, 5, 0, 2}, seen)
		return nil
	}))

	one := occ.NewFunc[struct{}, [100]byte](func(a, b struct{}) int { return 0 }, nil)
	require.NoError(t, one.Update(t.Context(), func(tx *occ.Tx[struct{}, [100]byte]) error {
		tx.Put(struct{}{}, [100]byte{1})
		return nil
	}))
	value, version, ok := one.Load(struct{}{})
	require.True(t, ok && version > 0 && value[0] == 1)
}

// Bodies end in every way that there is, and leave nothing behind.
func TestBodiesThatFail(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		sorry := errors.New("sorry")
		write := func(tx *tx) {
			require.NoError(t, tx.Lock("x", "new"))
			tx.Put("x", 1)
			tx.Put("new", 1)
			tx.Delete("y")
			tx.Apply("more", func(n int) int { return n + 1 })
		}
		require.Equal(t, sorry, s.Update(t.Context(), func(tx *tx) error { write(tx); return sorry }))
		require.PanicsWithValue(t, "body", func() { _ = s.Update(t.Context(), func(tx *tx) error { write(tx); panic("body") }) })
		require.PanicsWithValue(t, "apply", func() {
			_ = s.Update(t.Context(), func(tx *tx) error {
				write(tx)
				tx.Apply("x2", func(int) int { panic("apply") })
				return nil
			})
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = s.Update(t.Context(), func(tx *tx) error { write(tx); runtime.Goexit(); return nil })
		})
		wg.Wait()
		require.PanicsWithValue(t, "view", func() { _ = s.View(t.Context(), func(*tx) error { panic("view") }) })
		require.Equal(t, sorry, s.View(t.Context(), func(*tx) error { return sorry }))
		require.PanicsWithValue(t, "loop", func() {
			_ = s.Update(t.Context(), func(tx *tx) error {
				tx.Put("z", 1)
				for range tx.All() {
					panic("loop")
				}
				return nil
			})
		})
		require.Equal(t, "x=0 y=0 ", state(s))
		require.EqualValues(t, 5, s.Stats().Errors)
		put(t, s, "x", 2)
		require.Equal(t, "x=2 y=0 ", state(s))
		own := fmt.Errorf("mine: %w", occ.ErrConflict)
		require.Equal(t, own, s.Update(t.Context(), func(tx *tx) error { return own }), "only those of tx repeat")
	})
}

func TestTransactionIsOver(t *testing.T) {
	s := kinds["memory"]()
	var kept *tx
	var loop func(func(string, int) bool)
	for _, run := range []func(context.Context, func(*tx) error) error{s.Update, s.View} {
		require.NoError(t, run(t.Context(), func(tx *tx) error {
			kept, loop = tx, tx.All()
			return nil
		}))
		for _, use := range []func(){
			func() { kept.Get("x") },
			func() { kept.Put("x", 1) },
			func() { _ = kept.Err() },
			func() { loop(func(string, int) bool { return true }) },
		} {
			require.PanicsWithValue(t, "occ: the transaction is over", use)
		}
	}
	require.NoError(t, s.View(t.Context(), func(tx *tx) error {
		require.PanicsWithValue(t, "occ: Put in a View", func() { tx.Put("x", 1) })
		require.PanicsWithValue(t, "occ: Delete in a View", func() { tx.Delete("x") })
		require.PanicsWithValue(t, "occ: Apply in a View", func() { tx.Apply("x", nil) })
		require.PanicsWithValue(t, "occ: Lock in a View", func() { _ = tx.Lock("x") })
		require.NoError(t, tx.Err())
		return nil
	}))
}

func TestContext(t *testing.T) {
	s := kinds["memory"]()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(*tx) error { t.Error("ran"); return nil }
	require.ErrorIs(t, s.Update(ended, never), context.Canceled)
	require.ErrorIs(t, s.View(ended, never), context.Canceled)
	_, _, err := s.CompareAndSwap(ended, "x", 0, 1)
	require.ErrorIs(t, err, context.Canceled)

	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	err = s.Update(ctx, func(tx *tx) error {
		get(tx, "x")
		put(t, s, "x", 1)
		attempts++
		cancel()
		tx.Put("x", 2)
		return nil
	})
	require.Equal(t, 1, attempts)
	require.ErrorIs(t, err, context.Canceled)
}

// What the body cannot commit any more it can ask for, and leave early.
func TestErr(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
			x := get(tx, "x")
			if attempts++; attempts == 1 {
				require.NoError(t, tx.Err())
				put(t, s, "x", 5, "y", 5)
				require.Zero(t, get(tx, "y"))
				require.ErrorIs(t, tx.Err(), occ.ErrConflict)
				return fmt.Errorf("given up: %w", tx.Err())
			}
			tx.Put("y", x+1)
			return tx.Err()
		}))
		require.Equal(t, "x=5 y=6 ", state(s))
		require.Equal(t, 2, attempts)
	})
}

func TestMaxAttempts(t *testing.T) {
	s := occ.New[string, int](&occ.Options{MaxAttempts: 3, EscalateAfter: -1})
	attempts := 0
	keys := []string{"a", "b", "c"}
	err := s.Update(t.Context(), func(tx *tx) error {
		key := keys[attempts]
		attempts++
		x := get(tx, key)
		put(t, s, key, attempts)
		tx.Put("sum", x)
		return nil
	})
	conflict, ok := errors.AsType[*occ.ConflictError[string]](err)
	require.True(t, ok)
	require.Equal(t, occ.ConflictError[string]{Key: "c", Attempts: 3}, *conflict)
	require.ErrorIs(t, err, occ.ErrConflict)
	require.Equal(t, 3, attempts)
	_, _, ok = s.Load("sum")
	require.False(t, ok)
	require.NoError(t, s.CheckInvariants())
}

func TestLoadAndCompareAndSwap(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		_, version, ok := s.Load("page")
		require.True(t, !ok && version == 0)
		v1, swapped, err := s.CompareAndSwap(t.Context(), "page", 0, 1)
		require.True(t, err == nil && swapped && v1 > 0)
		version, swapped, _ = s.CompareAndSwap(t.Context(), "page", 0, 2)
		require.True(t, !swapped && version == v1)
		v2, swapped, _ := s.CompareAndSwap(t.Context(), "page", v1, 1)
		require.True(t, swapped && v2 > v1, "the same value, another version")
		_, swapped, _ = s.CompareAndSwap(t.Context(), "page", v1, 3)
		require.False(t, swapped)
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error { tx.Delete("page"); return nil }))
		version, swapped, _ = s.CompareAndSwap(t.Context(), "page", v2, 3)
		require.True(t, !swapped && version == 0)
		v3, swapped, _ := s.CompareAndSwap(t.Context(), "page", 0, 4)
		require.True(t, swapped && v3 > v2, "versions are never used again")
		value, version, ok := s.Load("page")
		require.True(t, value == 4 && version == v3 && ok)
	})
}

func TestApply(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		inc := func(n int) int { return n + 1 }
		attempts := 0
		require.NoError(t, s.Update(t.Context(), func(one *tx) error {
			attempts++
			one.Apply("x", inc)
			one.Apply("x", inc)
			require.NoError(t, s.Update(t.Context(), func(two *tx) error {
				two.Apply("x", inc)
				two.Apply("y", inc)
				require.Equal(t, 1, get(two, "y"), "own ones are seen")
				two.Apply("y", inc)
				two.Put("z", 10)
				two.Apply("z", inc)
				two.Apply("w", inc)
				two.Delete("w")
				two.Apply("v", inc)
				return nil
			}))
			for range one.From("y") {
			}
			return nil
		}))
		require.Equal(t, 1, attempts, "Apply does not conflict with Apply")
		require.Equal(t, "v=1 x=3 y=2 z=11 ", state(s))
	})
}

func TestLoopsSeeOwnWrites(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		put(t, s, "a", 1, "c", 3)
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
			tx.Put("b", 2)
			tx.Delete("x")
			tx.Put("y", 25)
			tx.Apply("z", func(int) int { return 26 })
			want := map[string]int{"a": 1, "b": 2, "c": 3, "y": 25, "z": 26}
			require.Equal(t, want, maps.Collect(tx.All()))
			require.Equal(t, want, maps.Collect(tx.Backward()))
			var seen strings.Builder
			for key := range tx.Backward() {
				seen.WriteString(key)
				tx.Delete("b") // not reached yet
				for inner := range tx.Range("a", "d") {
					seen.WriteString(strings.ToUpper(inner))
				}
			}
			require.Equal(t, "zACyACcACaAC", seen.String())
			for range tx.Range("z", "a") {
				t.Error("an empty range")
			}
			for range tx.Range("a", "a") {
				t.Error("an empty range")
			}
			return nil
		}))
		require.Equal(t, "a=1 c=3 y=25 z=26 ", state(s))
	})
}

// The snapshot moves in the body for the last key; there is another key then.
func TestLoopSeesKeysBehindTheLast(t *testing.T) {
	s := kinds["memory"]()
	put(t, s, "a", 0)
	var seen strings.Builder
	require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
		for key := range tx.All() {
			if seen.WriteString(key); key == "a" {
				put(t, s, "b", 1, "c", 1)
				get(tx, "c")
			}
		}
		return nil
	}))
	require.Equal(t, "abc", seen.String())
}

// A View reads its moment for as long as it likes, and what nobody reads is
// not kept.
func TestVersionsAreKeptForSnapshots(t *testing.T) {
	s := occ.New[int, int](nil)
	const keys, rounds = 4, 5000
	write := func(n int) {
		require.NoError(t, s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
			for key := range keys {
				tx.Put(key, n)
			}
			return nil
		}))
	}
	write(0)
	var views func(n int)
	views = func(n int) {
		require.NoError(t, s.View(t.Context(), func(tx *occ.Tx[int, int]) error {
			for i := range rounds {
				write(n*rounds + i + 1)
			}
			if n < 10 {
				views(n + 1)
			}
			for key, value := range tx.All() {
				if value != n*rounds {
					t.Errorf("view %d: key %d is %d", n, key, value)
				}
			}
			return nil
		}))
	}
	views(0)
	for key := range keys {
		if n := s.Versions(key); n > 100 {
			t.Errorf("%d versions of key %d are kept for 11 snapshots", n, key)
		}
	}
	for range 100 {
		write(1)
	}
	for key := range keys {
		if n := s.Versions(key); n > 40 {
			t.Errorf("%d versions of key %d are kept for nobody", n, key)
		}
	}
	require.NoError(t, s.CheckInvariants())
}

// Keys that come and go, and keys that were only asked for or locked, leave no records.
func TestRecordsAreGivenBack(t *testing.T) {
	each(t, func(t *testing.T, s *occ.Store[string, int]) {
		sorry := errors.New("sorry")
		for i := range 20_000 {
			key := fmt.Sprint("key", i)
			put(t, s, key, i)
			_ = s.Update(t.Context(), func(tx *tx) error {
				tx.Delete(key)
				tx.Delete(key + " never was there")
				tx.Get("nor was " + key)
				return nil
			})
			_ = s.Update(t.Context(), func(tx *tx) error {
				_ = tx.Lock("lock " + key)
				tx.Put("back "+key, i)
				return sorry
			})
		}
		require.Equal(t, 2, s.Len())
		require.Less(t, s.Records(), 300)
	})
}

func TestManyKeys(t *testing.T) {
	s := occ.New[int, int](nil)
	const n = 20_000
	require.NoError(t, s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
		for i := range n {
			tx.Put(i*7919%n, i)
		}
		return nil
	}))
	require.NoError(t, s.CheckInvariants())
	require.NoError(t, s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
		next := 0
		for key, value := range tx.All() {
			if key != next || value*7919%n != key {
				t.Fatalf("%d = %d, want key %d", key, value, next)
			}
			next++
			if key%2 == 0 {
				tx.Delete(key)
			}
		}
		for key := range tx.Backward() {
			if next -= 2; key != next+1-next%2 && key != next+1 {
				t.Fatalf("%d backward, near %d", key, next)
			}
		}
		return nil
	}))
	require.Equal(t, n/2, s.Len())
	for i := range n {
		if _, version, ok := s.Load(i); ok != (i%2 == 1) || ok != (version > 0) {
			t.Fatalf("Load(%d): %v", i, ok)
		}
	}
	require.NoError(t, s.CheckInvariants())
}

func TestStats(t *testing.T) {
	s := kinds["memory"]()
	put(t, s, "x", 1)
	before := s.Stats()
	put(t, s, "x", 2)
	state(s)
	s.Load("x")
	once := false
	_ = s.Update(t.Context(), func(tx *tx) error {
		get(tx, "x")
		if !once {
			once = true
			put(t, s, "x", 3)
		}
		tx.Put("x", 4)
		return nil
	})
	_ = s.Update(t.Context(), func(tx *tx) error { return errors.New("no") })
	require.Equal(t, occ.Stats{Commits: 3, Views: 2, Errors: 1, ReadAborts: 1}, s.Stats().Sub(before))
}
