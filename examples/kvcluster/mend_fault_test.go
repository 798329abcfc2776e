package kvcluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A wound is what a node has missed while it was away.
type wound struct {
	*testCluster
	node string   // that was away
	keys []string // that it owns, and were written, or deleted, meanwhile
}

// wounded kills an owner of some keys, changes them, and brings it back. With
// hints, those who keep them crash and return first.
func wounded(t *testing.T, change func(*Settings)) *wound {
	t.Helper()
	c := newTestCluster(t, 5, func(s *Settings) {
		s.Timeout, s.Patience = 2*time.Second, 500*time.Millisecond
		change(s)
	})
	w := &wound{testCluster: c, node: "n3"}
	for i := 0; len(w.keys) < 40; i++ {
		if key := fmt.Sprint("key", i); slices.Contains(c.owners(key), w.node) {
			w.keys = append(w.keys, key)
		}
	}
	r := c.client("n1")
	for _, key := range w.keys[:20] {
		w.try(func() error { return r.Set(t.Context(), key, "old", 0).Err() })
	}
	c.await("every copy has arrived", func() bool { return c.whereTheyBelong(w.keys[:20]) })
	c.kill(w.node)
	for i, key := range w.keys {
		if i%5 == 0 {
			w.try(func() error { return r.Del(t.Context(), key).Err() })
		} else {
			w.try(func() error { return r.Set(t.Context(), key, "new", 0).Err() })
		}
	}
	if !c.settings.NoHints {
		c.await("there is a hint for each", func() bool {
			hints := 0
			for _, n := range c.running() {
				_, per := n.mend.waiting()
				hints += per[w.node]
			}
			return hints >= len(w.keys)-4 // a key that never was need not be deleted
		})
		for _, name := range []string{"n1", "n2", "n4", "n5"} {
			c.kill(name)
			c.revive(name)
			c.await("it is back", func() bool { return c.client(name).Ping(t.Context()).Err() == nil })
		}
	}
	c.revive(w.node)
	c.await("all see it", c.settled)
	return w
}

// try does something until it succeeds, as clients do while a failure has not
// been noticed by all.
func (w *wound) try(f func() error) {
	w.t.Helper()
	w.await("a command succeeds", func() bool { return f() == nil })
}

// read reads a key, through a node that has missed nothing.
func (w *wound) read(key string) {
	w.t.Helper()
	w.try(func() error {
		if err := w.client("n2").Get(w.t.Context(), key).Err(); err != redis.Nil {
			return err
		}
		return nil
	})
}

// open returns the keys under which the node has something else than another
// owner.
func (w *wound) open() (keys []string) {
	w.t.Helper()
	for _, key := range w.keys {
		own, err := w.nodeOf(w.node).store.get([]byte(key))
		require.NoError(w.t, err)
		for _, owner := range w.owners(key) {
			other, err := w.nodeOf(owner).store.get([]byte(key))
			require.NoError(w.t, err)
			if w.settings.Policy.Merge(own, other).Digest() != own.Digest() {
				keys = append(keys, key)
				break
			}
		}
	}
	return keys
}

// healed returns by what, in all.
func (w *wound) healed() (hints, repairs, trees uint64) {
	for _, n := range w.running() {
		hints += n.counts.handed.Load()
		repairs += n.counts.repaired.Load()
		trees += n.counts.mended.Load()
	}
	return hints, repairs, trees
}

var healers = []replica.Policy{replica.Siblings, replica.LastWriterWins}

// Without all three a wound stays: what the other tests see healed does not
// heal by itself.
func TestAWoundStaysOpenByItself(t *testing.T) {
	t.Parallel()
	w := wounded(t, func(s *Settings) { s.NoHints, s.NoRepair, s.Mend = true, true, 0 })
	open := w.open()
	require.Greater(t, len(open), 30)
	for _, key := range w.keys {
		w.read(key)
	}
	time.Sleep(5 * w.settings.Sweep)
	require.Equal(t, open, w.open())
}

func TestHintsAloneHealAWound(t *testing.T) {
	t.Parallel()
	for _, policy := range healers {
		for _, sloppy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/sloppy=%t", policy, sloppy), func(t *testing.T) {
				t.Parallel()
				w := wounded(t, func(s *Settings) { s.NoRepair, s.Mend, s.Policy, s.Sloppy = true, 0, policy, sloppy })
				w.await("nothing is missing", func() bool { return len(w.open()) == 0 })
				w.await("the hints are counted", func() bool { hints, _, _ := w.healed(); return hints > 30 })
				_, repairs, trees := w.healed()
				require.Zero(t, repairs)
				require.Zero(t, trees)
			})
		}
	}
}

func TestReadsAloneHealAWound(t *testing.T) {
	t.Parallel()
	for _, policy := range healers {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			w := wounded(t, func(s *Settings) { s.NoHints, s.Mend, s.Policy = true, 0, policy })
			open := w.open()
			require.Greater(t, len(open), 30)
			unread := open[len(open)/2:]
			for _, key := range open[:len(open)/2] {
				w.read(key)
			}
			w.await("what was read is healed", func() bool { return len(w.open()) == len(unread) })
			require.Equal(t, unread, w.open(), "and nothing else")
			w.await("the repairs are counted", func() bool { _, repairs, _ := w.healed(); return repairs > 15 })
			hints, _, trees := w.healed()
			require.Zero(t, hints)
			require.Zero(t, trees)
		})
	}
}

func TestTreesAloneHealAWound(t *testing.T) {
	t.Parallel()
	for _, policy := range healers {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			w := wounded(t, func(s *Settings) { s.NoHints, s.NoRepair, s.Policy = true, true, policy })
			w.await("nothing is missing", func() bool { return len(w.open()) == 0 })
			w.await("no node differs from another", w.equal)
			w.await("what was mended is counted", func() bool { _, _, trees := w.healed(); return trees > 30 })
			hints, repairs, _ := w.healed()
			require.Zero(t, hints)
			require.Zero(t, repairs)
		})
	}
}
