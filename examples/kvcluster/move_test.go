package kvcluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keysAt returns the keys that a node has.
func (c *testCluster) keysAt(name string) map[string]bool {
	c.t.Helper()
	keys := map[string]bool{}
	for o, err := range c.nodeOf(name).store.from(0) {
		require.NoError(c.t, err)
		keys[string(o.Key)] = true
	}
	return keys
}

// whereTheyBelong reports whether each key is with its owners and nowhere else.
func (c *testCluster) whereTheyBelong(keys []string) bool {
	for _, h := range c.Hosts() {
		if h.Node == nil {
			continue
		}
		have := c.keysAt(h.Name)
		for _, key := range keys {
			if have[key] != slices.Contains(c.owners(key), h.Name) {
				return false
			}
		}
	}
	return true
}

// When a node joins or leaves, only the keys move whose owners change, no acknowledged
// write is missing at any time, and afterwards each key is with its owners alone.
func TestJoinAndLeaveMoveWhatMustMove(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 4, func(s *Settings) { s.Timeout, s.Memory = time.Second, true })
	const n = 400
	keys := make([]string, n)
	r := c.client("n1")
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
		require.NoError(t, r.Set(t.Context(), keys[i], i, 0).Err())
	}
	c.await("every copy has arrived", func() bool { return c.whereTheyBelong(keys) })
	before := map[string][]string{}
	for _, key := range keys {
		before[key] = c.owners(key)
	}
	reads := func(at string) {
		t.Helper()
		r := c.client(at)
		for i, key := range keys {
			got, err := r.Get(t.Context(), key).Result()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), got)
		}
	}
	pushed := func() (sum uint64) {
		for _, node := range c.running() {
			sum += node.counts.pushed.Load()
		}
		return sum
	}

	require.NoError(t, c.Add("n5"))
	c.await("the new node is up", func() bool { return c.settled() && c.nodeOf("n5").roster.own().Status == Up })
	reads("n5")
	moved := 0
	for _, key := range keys {
		now := c.owners(key)
		for _, owner := range now {
			if owner != "n5" && !slices.Contains(before[key], owner) {
				t.Errorf("%s moved to %s, which was there before", key, owner)
			}
		}
		if slices.Contains(now, "n5") {
			moved++
		}
	}
	require.Greater(t, moved, n/3, "a fifth node of three owners each has about 3/5 of the keys")
	require.Less(t, moved, n*4/5)
	// Each of three owners pushes what the new one will own, and nothing else.
	require.LessOrEqual(t, pushed(), uint64(3*moved))
	require.GreaterOrEqual(t, pushed(), uint64(moved))
	c.await("every key is with its owners alone", func() bool { return c.whereTheyBelong(keys) })

	require.NoError(t, c.Leave(t.Context(), "n2"))
	c.await("nobody counts on the one that left", func() bool {
		return !slices.ContainsFunc(c.running(), func(node *Node) bool { return node.roster.placement().ring.Len() != 4 })
	})
	reads("n3")
	c.await("every key is with its owners alone", func() bool { return c.whereTheyBelong(keys) })

	// One that is gone for ever is given up by another node.
	c.kill("n4")
	c.await("its death is noticed", func() bool { return !c.nodeOf("n1").gossip.isAlive("n4") })
	require.NoError(t, c.client("n1").Do(t.Context(), "NODE", "FORGET", "n4").Err())
	c.await("nobody counts on the one that died", func() bool {
		return !slices.ContainsFunc(c.running(), func(node *Node) bool { return node.roster.placement().ring.Len() != 3 })
	})
	reads("n5")
}

// A cluster can be brought back from a backup of all nodes, and what was written since
// stays.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Timeout = 2 * time.Second })
	r := c.client("n1")
	for i := range 50 {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("key", i), "old", 0).Err())
	}
	require.ErrorContains(t, r.Do(t.Context(), "NODE", "BACKUPALL", "../elsewhere").Err(), "no name for a backup")
	require.NoError(t, r.Do(t.Context(), "NODE", "BACKUPALL", "monday").Err())
	require.ErrorContains(t, r.Do(t.Context(), "NODE", "BACKUPALL", "monday").Err(), "already")
	require.NoError(t, r.Set(t.Context(), "key1", "new", 0).Err())
	require.ErrorContains(t, r.Do(t.Context(), "NODE", "RESTOREALL", "tuesday").Err(), "no such backup")
	// All disks lose their stores, not their backups.
	for _, h := range c.Hosts() {
		c.kill(h.Name)
	}
	for _, h := range c.Hosts() {
		require.NoError(t, removeStore(c.dir, h.Name))
		c.revive(h.Name)
	}
	c.await("the nodes have found nothing to be filled with", func() bool {
		return c.settled() && !slices.ContainsFunc(c.running(), func(n *Node) bool { return n.filling.on.Load() })
	})
	r = c.client("n2")
	require.EqualValues(t, 0, r.DBSize(t.Context()).Val())
	require.NoError(t, r.Set(t.Context(), "key2", "newest", 0).Err())
	require.NoError(t, r.Do(t.Context(), "NODE", "RESTOREALL", "monday").Err())
	require.EqualValues(t, 50, r.DBSize(t.Context()).Val())
	require.Equal(t, "old", r.Get(t.Context(), "key1").Val())
	require.Equal(t, "newest", r.Get(t.Context(), "key2").Val(), "of two siblings a client sees the later")
}

// What a node hands over because it does not own it any more is what it had, with
// engines that use the bytes of an entry again for the next one.
func TestKeysThatMoveKeepTheirValues(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Timeout, s.Mend = 2*time.Second, 0 })
	r := c.client("n1")
	var keys []string
	want := map[string]string{}
	for i := range 40 {
		key := fmt.Sprint("key", i)
		keys = append(keys, key)
		want[key] = strings.Repeat(string(rune('a'+i%26)), 10+i)
		require.NoError(t, r.Set(t.Context(), key, want[key], 0).Err())
	}
	require.NoError(t, c.Add("n4"))
	c.await("every key is with its owners alone", func() bool { return c.settled() && c.nodeOf("n4").roster.own().Status == Up && c.whereTheyBelong(keys) })
	for _, key := range keys {
		for _, owner := range c.owners(key) {
			o, err := c.nodeOf(owner).store.get([]byte(key))
			require.NoError(t, err)
			v, ok := o.Latest(time.Now())
			require.True(t, ok)
			require.Equal(t, want[key], string(v.Data), "%s at %s", key, owner)
		}
	}
}
