package group

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOwnership(t *testing.T) {
	var o Ownership
	p, q := TopicPartition{"t", 0}, TopicPartition{"t", 1}
	a, b := Owner{"a", 1}, Owner{"b", 1}
	require.NoError(t, o.Claim(p, a))
	require.NoError(t, o.Claim(p, a), "twice is once")
	err := o.Claim(p, b)
	require.ErrorIs(t, err, ErrOwned)
	require.EqualError(t, err, "group: t-0 is owned by a in generation 1; claimed by b in 1")
	require.NoError(t, o.Claim(p, Owner{"b", 2}), "a new generation fences the old")
	require.False(t, o.Release(p, a))
	require.Error(t, o.Claim(p, a))
	require.True(t, o.Release(p, Owner{"b", 2}))
	require.Zero(t, o.Len())

	require.NoError(t, o.Replace(3, Plan{"a": {p}, "b": {q}}))
	require.ErrorIs(t, o.Replace(4, Plan{"a": {p, q}, "b": {q}}), ErrOwned)
	require.ErrorIs(t, o.Replace(2, Plan{"b": {p, q}}), ErrOwned, "late")
	require.Equal(t, map[TopicPartition]Owner{p: {"a", 3}, q: {"b", 3}}, maps.Collect(o.All()))
	require.NoError(t, o.Replace(4, Plan{"a": {q, p}}))
	require.Equal(t, []TopicPartition{p, q}, o.Owned("a"))
	require.Empty(t, o.Owned("b"))
	owner, ok := o.Owner(q)
	require.True(t, ok)
	require.Equal(t, Owner{"a", 4}, owner)
	for p, owner := range o.All() {
		o.Release(p, owner)
	}
	require.Zero(t, o.Len())
}

func TestOffsets(t *testing.T) {
	var o Offsets
	p := TopicPartition{"t", 0}
	require.True(t, o.Put(p, Committed{Offset: 5, Position: 10}))
	require.False(t, o.Put(p, Committed{Offset: 3, Position: 9}), "it was committed before")
	require.True(t, o.Put(p, Committed{Offset: 1, Position: 11}), "offsets may go back")
	c, ok := o.Get(p)
	require.True(t, ok)
	require.Equal(t, int64(1), c.Offset)
	require.Equal(t, 1, o.Len())
	for p := range o.All() {
		require.True(t, o.Delete(p))
	}
	require.False(t, o.Delete(p))
	_, ok = o.Get(p)
	require.False(t, ok)
}

func TestOffsetsExpire(t *testing.T) {
	const retention = time.Hour
	t0, t1, u := TopicPartition{"t", 0}, TopicPartition{"t", 1}, TopicPartition{"u", 0}
	metadata, err := AppendSubscription(nil, Subscription{Topics: []string{"t"}})
	require.NoError(t, err)
	r := newRig(t, noDelay)
	var o Offsets
	o.Put(t0, Committed{Time: r.now})
	o.Put(t1, Committed{Time: r.now.Add(30 * time.Minute)})
	o.Put(u, Committed{Time: r.now, Expires: r.now.Add(time.Minute)})
	expired := func() []TopicPartition { return o.Expired(r.g, r.now, retention) }
	require.Empty(t, expired())
	r.pass(time.Minute)
	require.Equal(t, []TopicPartition{u}, expired(), "as its commit asked for")
	r.pass(59 * time.Minute)
	require.Equal(t, []TopicPartition{t0, u}, expired(), "no member ever was: by the time of the commit")

	r.join("", "a", func(r *JoinRequest) { r.Protocols = []Protocol{{"range", metadata}} })
	r.sync("a", 1, nil)
	require.True(t, r.g.Subscribed("t"))
	require.False(t, r.g.Subscribed("u"))
	require.Equal(t, []TopicPartition{u}, expired(), "nobody reads u")
	_, err = r.g.Leave(r.now, "a", "")
	require.NoError(t, err)
	require.Equal(t, []TopicPartition{u}, expired(), "kept from when the group became empty")
	r.pass(retention)
	require.Equal(t, []TopicPartition{t0, t1, u}, expired())
	require.NoError(t, r.g.Delete(r.now))
	o.Put(t0, Committed{Time: r.now})
	require.Len(t, expired(), 3, "a dead group needs none")
}

func TestOtherProtocolsReadEverything(t *testing.T) {
	r := newRig(t, noDelay)
	r.join("", "a", func(r *JoinRequest) { r.ProtocolType = "connect" })
	require.True(t, r.g.Subscribed("t"))
}
