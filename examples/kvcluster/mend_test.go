package kvcluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A node that has lost its disk is filled again by its neighbours, without a read and
// without a hint.
func TestLostDiskIsFilledAgain(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5, func(s *Settings) { s.NoHints, s.NoRepair = true, true })
	keys := make([]string, 300)
	r := c.client("n1")
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
		require.NoError(t, r.Set(t.Context(), keys[i], i, 0).Err())
	}
	c.await("every copy has arrived", func() bool { return c.whereTheyBelong(keys) })
	c.kill("n2")
	require.NoError(t, c.Wipe("n2"))
	require.NoError(t, r.Set(t.Context(), "key1", "changed", 0).Err())
	require.NoError(t, r.Del(t.Context(), "key2").Err())
	c.revive("n2")
	c.await("every copy is there again", func() bool { return c.whereTheyBelong(keys) })
	c.await("no node differs from another", c.equal)
	require.NotZero(t, c.nodeOf("n2").counts.mended.Load()+c.nodeOf("n1").counts.mended.Load())
}

// A node that has lost its disk does not count until it has everything back: with
// another that has missed a write it would make a quorum that knows nothing of it.
func TestLostDiskDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.NoHints, s.NoRepair, s.Timeout = true, true, 2*time.Second })
	c.pause("n3")
	require.NoError(t, c.client("n1", at("linearizable")).Set(t.Context(), "key", "value", 0).Err())
	c.kill("n2")
	c.pause("n1")
	c.resume("n3")
	require.NoError(t, c.Wipe("n2"))
	c.revive("n2")
	r := c.client("n3", at("linearizable"))
	for range 3 { // n1 has the only copy, and says nothing
		require.ErrorContains(t, r.Get(t.Context(), "key").Err(), "CLUSTERDOWN")
	}
	c.resume("n1")
	c.await("the value is found again", func() bool { return r.Get(t.Context(), "key").Val() == "value" })
	c.await("the node counts again", func() bool { return !c.nodeOf("n2").filling.on.Load() })
	c.pause("n1")
	c.await("it answers", func() bool { return r.Get(t.Context(), "key").Val() == "value" })
	c.resume("n1")
}

// equal reports whether all nodes have the same under every key that they share.
func (c *testCluster) equal() bool {
	digests := map[string]uint64{}
	for _, n := range c.running() {
		for o, err := range n.store.from(0) {
			if err != nil {
				return false
			}
			d := digest(o.Object)
			if other, ok := digests[string(o.Key)]; ok && other != d {
				return false
			}
			digests[string(o.Key)] = d
		}
	}
	return true
}

// The trees that changes keep up to date are those that a new look at all data gives.
func TestTreesFollowTheData(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Memory = true })
	r := c.client("n1")
	for i := range 200 {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("key", i%50), i, 0).Err())
		if i%7 == 0 {
			require.NoError(t, r.Del(t.Context(), fmt.Sprint("key", i%50)).Err())
		}
	}
	c.await("the trees are there and the data at rest", func() bool {
		for _, n := range c.running() {
			kept := n.mend.trees.Load()
			if kept == nil || !c.equal() {
				return false
			}
			fresh := newForest(kept.place, n.config.Name)
			fresh.whole = true
			for o, err := range n.store.from(0) {
				require.NoError(t, err)
				fresh.change(n.config.Name, o.Key, 0, digest(o.Object))
			}
			for name, tree := range fresh.trees {
				if tree.Digest() != kept.trees[name].Digest() {
					return false
				}
			}
		}
		return true
	})
}
