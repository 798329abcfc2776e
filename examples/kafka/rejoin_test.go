package kafka

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Brokers that begin together with what one of them kept have what it kept,
// whichever it is and whoever was to lead: a disk that was exchanged is not in
// sync with anything.
func TestDirectoriesAreGone(t *testing.T) {
	t.Parallel()
	for _, gone := range [][]int32{{3}, {2, 3}, {1, 3}, {1, 2}} {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			t.Parallel()
			s := startCluster(t, calm)
			oneTopic(t, s, []int32{3, 1, 2}, nil)
			var want []string
			for i := range 20 {
				a, p := s.put(t, 3, fmt.Sprint(i), true)
				require.Nil(t, a.err)
				require.Nil(t, p.commit(t.Context(), a, true))
				want = append(want, fmt.Sprint(i))
			}
			require.NoError(t, s.Close())
			for _, id := range gone {
				require.NoError(t, os.RemoveAll(s.node(id).data))
			}
			s, err := New(t.Context(), s.config)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			s.await(t, "all are in sync", func() bool { return s.whole("t") })
			s.same(t, "t")
			for id := range int32(3) {
				require.Equal(t, want, valuesOf(t, s.replicaOf(id+1)))
			}
		})
	}
}

// A broker that comes back with nothing is not in sync, also where it was the
// only one that was: the others have more. With no others it leads.
func TestABrokerWithNothing(t *testing.T) {
	m := newImage("c")
	apply := func(c command) {
		t.Helper()
		var r result
		m, r = m.apply(c)
		require.Zero(t, r.Code, r.Message)
	}
	register := func(id int32, empty bool) { apply(command{Register: &registration{member{ID: id}, empty}}) }
	for id := range int32(3) {
		register(id+1, true)
	}
	place := func(name string, id byte, replicas ...int32) {
		apply(command{Topic: &createTopic{Name: name, ID: topicID{id}, Placement: [][]int32{replicas}}})
	}
	place("t", 1, 3, 2, 1)
	place("lone", 2, 3)
	at := func(name string) assignment { return m.Topics[name].Partitions[0] }
	require.Empty(t, at("t").Empty)

	apply(command{Fence: &fence{1}})
	apply(command{Fence: &fence{2}})
	register(2, true)
	apply(command{Fence: &fence{3}})
	require.Equal(t, []int32{3}, at("t").ISR)
	require.EqualValues(t, -1, at("t").Leader, "2 has nothing")
	register(3, true)
	require.Equal(t, []int32{1}, at("t").ISR, "which may be behind, but has something")
	require.EqualValues(t, -1, at("t").Leader)
	require.EqualValues(t, 3, at("lone").Leader)
	register(1, false)
	require.EqualValues(t, 1, at("t").Leader)
	require.ElementsMatch(t, []int32{2, 3}, at("t").Empty)

	p := at("t")
	apply(command{ISR: &alterISR{Topic: topicID{1}, Leader: 1, Epoch: p.Epoch, Version: p.Version, ISR: []int32{1, 2}}})
	require.Equal(t, []int32{3}, at("t").Empty, "2 has what 1 has")
	register(1, true)
	require.EqualValues(t, 2, at("t").Leader)
	register(2, true)
	require.EqualValues(t, 2, at("t").Leader, "nobody has anything any more")
}
