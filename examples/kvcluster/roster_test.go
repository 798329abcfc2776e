package kvcluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A node whose place was taken away while it was gone joins again, in whatever way it
// hears of that.
func TestForgottenNodeJoinsAgain(t *testing.T) {
	t.Parallel()
	r, err := newRoster(Member{Name: "n1", Addr: "a:1", Status: Joining, Version: 1}, 3)
	require.NoError(t, err)
	news, err := r.learn(Member{Name: "n1", Addr: "a:0", Status: Left, Version: 5})
	require.NoError(t, err)
	require.True(t, news)
	require.Equal(t, Member{Name: "n1", Addr: "a:1", Status: Joining, Version: 6}, r.own())

	c := newTestCluster(t, 4, func(s *Settings) { s.Timeout = time.Second })
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprint("key", i))
		require.NoError(t, c.client("n1").Set(t.Context(), keys[i], i, 0).Err())
	}
	back := func(name string) {
		t.Helper()
		c.revive(name)
		require.Equal(t, Joining, c.nodeOf(name).config.Status)
		c.await("it is an owner again", func() bool {
			return c.settled() && c.nodeOf(name).roster.own().Status == Up && c.whereTheyBelong(keys)
		})
	}
	require.NoError(t, c.Leave(t.Context(), "n4"))
	back("n4")
	c.kill("n3")
	c.await("its death is noticed", func() bool { return !slices.Contains(c.nodeOf("n1").gossip.reachable(), "n3") })
	require.NoError(t, c.client("n1").Do(t.Context(), "NODE", "FORGET", "n3").Err())
	require.NoError(t, c.Wipe("n3"))
	back("n3")
}
