package occ_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// x = y in every commit. A body, also one that will abort, must never see
// anything else, and never two values of a key; both happens in anacrolix/stm.
func TestOpacityConcurrentSafe(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			s := open()
			put(t, s, "x", 0, "y", 0)
			var stop atomic.Bool
			var wg sync.WaitGroup
			var torn atomic.Int64
			look := func(tx *tx) error {
				x := get(tx, "x")
				runtime.Gosched()
				y := get(tx, "y")
				runtime.Gosched()
				if again := get(tx, "x"); x != y || again != x {
					torn.Add(1)
				}
				return nil
			}
			for range 2 {
				wg.Go(func() {
					for !stop.Load() {
						_ = s.Update(t.Context(), func(tx *tx) error {
							_ = look(tx)
							x := get(tx, "x")
							tx.Put("x", x+1)
							tx.Put("y", x+1)
							return nil
						})
					}
				})
				wg.Go(func() { // writes something else, so that it is validated
					for !stop.Load() {
						_ = s.Update(t.Context(), func(tx *tx) error {
							tx.Put("z", 1)
							return look(tx)
						})
					}
				})
				wg.Go(func() {
					for !stop.Load() {
						_ = s.View(t.Context(), look)
					}
				})
			}
			for s.Stats().Commits < 20_000 {
				runtime.Gosched()
			}
			stop.Store(true)
			wg.Wait()
			require.Zero(t, torn.Load())
			require.NoError(t, s.CheckInvariants())
		})
	}
}

// When the snapshot of a transaction moves forward, what is being read must be
// read once more: a commit may have changed it since, which the snapshot now
// includes. With read, the same schedule shows the hole that is left otherwise.
func extension(t *testing.T, read func(*tx, string) int) (x, y int) {
	s := occ.New[string, int](nil)
	put(t, s, "x", 0, "y", 0, "z", 0)
	extended := false
	s.BeforeExtend(func() {
		if !extended {
			extended = true
			put(t, s, "x", 2, "y", 2)
		}
	})
	attempts := 0
	require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
		if attempts++; attempts > 1 {
			return nil
		}
		get(tx, "z")
		put(t, s, "x", 1, "y", 1)
		x = read(tx, "x") // newer than the snapshot, so it moves; x = y = 2 before it does
		y = get(tx, "y")
		return nil
	}))
	require.True(t, extended)
	return x, y
}

func TestExtensionReadsAgain(t *testing.T) {
	x, y := extension(t, get)
	require.Equal(t, []int{2, 2}, []int{x, y})

	x, y = extension(t, (*tx).GetOnce)
	require.Equal(t, []int{1, 2}, []int{x, y}, "the schedule no longer shows the hole")
}

// A loop that has fetched its next keys when the snapshot moves must fetch
// them again: there may be a new one among them.
func TestLoopSeesKeysOfAMovedSnapshot(t *testing.T) {
	for _, backward := range []bool{false, true} {
		each(t, func(t *testing.T, s *occ.Store[string, int]) {
			put(t, s, "a", 0, "c", 0, "e", 0)
			var seen strings.Builder
			require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
				seq, first, middle := tx.Range("a", "f"), "a", "b"
				if backward {
					seq, first, middle = tx.Before("f"), "e", "d"
				}
				for key := range seq {
					if seen.WriteString(key); key == first {
						put(t, s, "c", 1, middle, 1) // c moves the snapshot, which includes the other then
					}
				}
				return nil
			}))
			require.Contains(t, []string{"abce", "edca"}, seen.String())
			require.EqualValues(t, 1, s.Stats().Extensions)
		})
	}
}

// The same where the keys that come next are the transaction's own.
func TestLoopSeesKeysBetweenOwnOnes(t *testing.T) {
	s := occ.New[string, int](nil)
	put(t, s, "a", 0)
	seen := ""
	attempts := 0
	require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
		seen = ""
		tx.Put("b", 1)
		tx.Put("d", 1)
		for key := range tx.All() {
			if seen += key; key == "b" && attempts == 0 {
				attempts++
				put(t, s, "c", 1, "z", 1)
				get(tx, "z") // moves the snapshot
			}
		}
		return nil
	}))
	require.Equal(t, "abcdz", seen)
	require.Zero(t, s.Stats().Aborts())
}

// A key that was absent when Apply was called is read later, after the snapshot has moved.
func TestReadAfterApplySeesTheMovedSnapshot(t *testing.T) {
	s := occ.New[string, int](nil)
	attempts := 0
	require.NoError(t, s.Update(t.Context(), func(tx *tx) error {
		tx.Apply("x", func(n int) int { return n + 1 })
		if attempts++; attempts == 1 {
			put(t, s, "x", 10, "y", 10)
		}
		y := get(tx, "y") // moves the snapshot
		require.Equal(t, y+1, get(tx, "x"))
		return nil
	}))
	require.Equal(t, 1, attempts)
	require.Equal(t, "x=11 y=10 ", state(s))
}
