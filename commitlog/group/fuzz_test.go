package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzDecode: whatever decodes encodes again to something that decodes to the
// same, and no input makes a decoder panic.
func FuzzDecode(f *testing.F) {
	add := func(b []byte, err error) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(AppendSubscription(nil, Subscription{Version: 3, Topics: []string{"a", "b"}, UserData: []byte("u"), Owned: parts("a0", "b2"), Generation: 7, Rack: "r"}))
	add(AppendAssignment(nil, Assignment{Partitions: parts("a0", "a1", "b0")}))
	add(AppendStickyData(nil, parts("a0"), 3))
	add(AppendKey(nil, Key{"g", true, TopicPartition{"a", 2}}))
	add(AppendKey(nil, Key{Group: "g"}))
	add(AppendCommitted(nil, Committed{Offset: 1, LeaderEpoch: 2, Metadata: "m", Time: time.UnixMilli(3)}))
	add(AppendSnapshot(nil, Snapshot{ProtocolType: "consumer", Protocol: "range", Leader: "m", Generation: 4, Members: []MemberSnapshot{{ID: "m", InstanceID: "i"}}}))
	f.Fuzz(func(t *testing.T, src []byte) {
		if s, err := DecodeSubscription(src); err == nil && s.Version <= 3 {
			b, err := AppendSubscription(nil, s)
			require.NoError(t, err)
			again, err := DecodeSubscription(b)
			require.NoError(t, err)
			require.Equal(t, s.Topics, again.Topics)
			require.ElementsMatch(t, s.Owned, again.Owned)
			require.Equal(t, s.Generation, again.Generation)
		}
		if a, err := DecodeAssignment(src); err == nil {
			b, err := AppendAssignment(nil, a)
			require.NoError(t, err)
			again, err := DecodeAssignment(b)
			require.NoError(t, err)
			require.ElementsMatch(t, a.Partitions, again.Partitions)
		}
		if owned, generation, err := DecodeStickyData(src); err == nil {
			b, err := AppendStickyData(nil, owned, generation)
			require.NoError(t, err)
			again, g, err := DecodeStickyData(b)
			require.NoError(t, err)
			require.ElementsMatch(t, owned, again)
			require.Equal(t, generation, g)
		}
		if k, err := DecodeKey(src); err == nil {
			b, err := AppendKey(nil, k)
			require.NoError(t, err)
			again, err := DecodeKey(b)
			require.NoError(t, err)
			require.Equal(t, k, again)
		}
		if c, err := DecodeCommitted(src); err == nil {
			b, err := AppendCommitted(nil, c)
			require.NoError(t, err)
			again, err := DecodeCommitted(b)
			require.NoError(t, err)
			require.Equal(t, c.Offset, again.Offset)
			require.Equal(t, c.Time.UnixMilli(), again.Time.UnixMilli())
		}
		if s, err := DecodeSnapshot(src); err == nil {
			b, err := AppendSnapshot(nil, s)
			require.NoError(t, err)
			again, err := DecodeSnapshot(b)
			require.NoError(t, err)
			require.Len(t, again.Members, len(s.Members))
			g := Restore("g", s, epoch, nil)
			require.Equal(t, s.Generation, g.Generation())
			g.Tick(epoch.Add(time.Hour * 24 * 365))
		}
	})
}

// FuzzGroup lets any sequence of requests of three members loose on a group,
// and checks its invariants, and that each request is answered once, after each.
func FuzzGroup(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 0, 30, 60, 0, 1, 2, 90, 120, 150})
	f.Add([]byte{0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30})
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 200 {
			return
		}
		now := epoch
		w := newWorld(3, 1<<30, len(src)%2 == 0, noDelay)
		if len(src)%3 == 0 {
			w = newWorld(3, 1<<30, len(src)%2 == 0, nil)
		}
		for _, b := range src {
			moves := w.moves()
			m := moves[int(b)%len(moves)]
			m.do(w, nil)
			require.NoError(t, w.broken, "after %s at %v", m.name, now)
		}
		require.NoError(t, w.settle(nil, map[string]bool{}))
	})
}
