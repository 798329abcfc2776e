package occ_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

type tx = occ.Tx[string, int]

// kinds are the ways of a store to commit.
var kinds = map[string]func() *occ.Store[string, int]{
	"memory":          func() *occ.Store[string, int] { return occ.New[string, int](nil) },
	"log":             func() *occ.Store[string, int] { return open(new(memoryLog[string, int])) },
	"escalating soon": func() *occ.Store[string, int] { return occ.New[string, int](&occ.Options{EscalateAfter: 1}) },
}

func open[K ~int | ~string, V any](log occ.Log[K, V]) *occ.Store[K, V] {
	s, err := occ.Open(context.Background(), log, nil)
	if err != nil {
		panic(err)
	}
	return s
}

// each runs f with every kind of store, which has x = y = 0.
func each(t *testing.T, f func(t *testing.T, s *occ.Store[string, int])) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			s := open()
			put(t, s, "x", 0, "y", 0)
			f(t, s)
			require.NoError(t, s.CheckInvariants())
		})
	}
}

// put commits keys and values.
func put(t *testing.T, s *occ.Store[string, int], pairs ...any) {
	t.Helper()
	err := s.Update(t.Context(), func(tx *tx) error {
		for i := 0; i < len(pairs); i += 2 {
			tx.Put(pairs[i].(string), pairs[i+1].(int))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// state returns all that is in the store.
func state(s *occ.Store[string, int]) (all string) {
	_ = s.View(context.Background(), func(tx *tx) error {
		for key, value := range tx.All() {
			all += fmt.Sprint(key, "=", value, " ")
		}
		return nil
	})
	return all
}

func get(tx *tx, key string) int {
	value, _ := tx.Get(key)
	return value
}

// A memoryLog is a log in memory.
type memoryLog[K comparable, V any] struct {
	mu      sync.Mutex
	commits []occ.Commit[K, V]
	appends int
	before  func([]occ.Commit[K, V]) error // called by Append, if set
	failed  error                          // by Replay
}

func (l *memoryLog[K, V]) Append(_ context.Context, commits []occ.Commit[K, V]) error {
	if !l.mu.TryLock() {
		panic("concurrent Append")
	}
	defer l.mu.Unlock()
	l.appends++
	if l.before != nil {
		if err := l.before(commits); err != nil {
			return err
		}
	}
	for _, c := range commits {
		if n := len(l.commits); n > 0 && l.commits[n-1].Version >= c.Version || len(c.Changes) == 0 {
			return errors.New("a commit that is not after the one before, or empty")
		}
		c.Changes = slices.Clone(c.Changes)
		l.commits = append(l.commits, c)
	}
	return nil
}

func (l *memoryLog[K, V]) Replay(context.Context) iter.Seq2[occ.Commit[K, V], error] {
	return func(yield func(occ.Commit[K, V], error) bool) {
		for _, c := range l.commits {
			if !yield(c, nil) {
				return
			}
		}
		if l.failed != nil {
			yield(occ.Commit[K, V]{}, l.failed)
		}
	}
}
