package consistenthash

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every test here is a defect of another package, or a complaint of its users,
// that this one must not have.

// dgryski/go-rendezvous: Remove panics whatever is removed, and Lookup did
// when there was nothing.
func TestTrapRemoveAnyNode(t *testing.T) {
	each(t, func(f family) bool { return f.anyLeave }, func(t *testing.T, f family) {
		for i := range 5 {
			p := must(f.make(names(5), nil))
			for k := range 5 {
				p = must(p.Without(fmt.Sprint("node-", (i+k)%5)))
			}
			_, ok := p.Owner("key")
			require.False(t, ok)
		}
	})
}

// stathat/consistent: the points of "1a" and "a" collide ("1"+"1a" is
// "11"+"a"), so that the order of adding matters, and a node that comes and goes
// leaves 3.7 % of keys elsewhere for ever.
func TestTrapNamesThatLookAlike(t *testing.T) {
	each(t, func(f family) bool { return f.anyOrder }, func(t *testing.T, f family) {
		a := must(f.make([]string{"a", "1a"}, nil))
		b := must(f.make([]string{"1a", "a"}, nil))
		c := must(must(must(f.make([]string{"a"}, nil)).With("1a")).Without("1a"))
		for _, key := range keys(20_000) {
			if owner(a, key) != owner(b, key) {
				t.Fatalf("%q is on %s or on %s", key, owner(a, key), owner(b, key))
			}
			if owner(c, key) != "a" {
				t.Fatalf("%q is on %s", key, owner(c, key))
			}
		}
	})
}

// stathat/consistent: after adding a node twice, asking for two nodes loops
// for ever. Here adding it twice is an error, and asking for more nodes than
// there are ends.
func TestTrapTwice(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		_, err := f.make([]string{"a", "a"}, nil)
		require.ErrorIs(t, err, ErrDuplicate)
		p := must(f.make([]string{"a"}, &Options[string]{Capacity: 2}))
		_, err = p.With("a")
		require.ErrorIs(t, err, ErrDuplicate)
		require.Equal(t, []string{"a"}, first(p, "key", 2))
	})
}

// lafikl/consistent: the load of a host that is removed still counts, so that
// the cap stays at 125 where 15 is right and bounds nothing.
func TestTrapLoadOfANodeThatLeft(t *testing.T) {
	b := NewBounded(must(NewRing(names(10), nil)), nil)
	for i := range 1000 {
		b.Acquire(fmt.Sprint(i))
	}
	for i := 1; i < 10; i++ {
		_, err := b.Remove(fmt.Sprint("node-", i))
		require.NoError(t, err)
	}
	left := b.Loads()
	require.Len(t, left, 1)
	require.Equal(t, b.Len(), left[0].Leases)
	require.LessOrEqual(t, left[0].Leases, 125)
	require.Equal(t, mostLeases(b.Len(), 1, 25), left[0].Cap)
}

// lafikl/consistent: the average is rounded down before it is multiplied, so
// that a cap is below the average of few leases on many nodes.
func TestTrapFewLeasesOnManyNodes(t *testing.T) {
	b := NewBounded(must(NewRing(names(100), nil)), nil)
	for i := range 199 {
		_, ok := b.Acquire(fmt.Sprint(i))
		require.True(t, ok)
	}
	for _, load := range b.Loads() {
		require.Equal(t, 3, load.Cap) // of 1.25 × 1.99
	}
}

// dgryski/go-maglev: New hangs without nodes, and with a size that is not
// prime.
func TestTrapMaglevHangs(t *testing.T) {
	_, ok := must(NewMaglev[string](nil, nil)).Owner("key")
	require.False(t, ok)
	for _, size := range []int{4, 100, 65536, 65535, -1} {
		_, err := NewMaglev(names(3), &Options[string]{TableSize: size})
		require.ErrorContains(t, err, "not a prime")
	}
}

// dgryski/go-maglev: Rebuild([2, 1]) keeps a dead node, since it expects them
// in order.
func TestTrapLeaveInAnyOrder(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		p := must(f.make(names(4), nil))
		for _, gone := range [][]string{{"node-2", "node-3"}, {"node-3", "node-2"}} {
			q := must(p.Without(gone...))
			for _, key := range keys(1000) {
				if slices.Contains(gone, owner(q, key)) {
					t.Fatalf("%v left, and %q is on %s", gone, key, owner(q, key))
				}
			}
		}
	})
}

// buraksezer/consistent: a load factor below 1 panics in New, far from where
// it comes from; nodes beyond the number of partitions stay idle.
func TestTrapIdleNodes(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		p := must(f.make(names(1000), nil))
		busy := map[string]bool{}
		for i := range uint64(100_000) {
			node, _ := p.OwnerHash(mix(i))
			busy[node] = true
		}
		require.Len(t, busy, 1000)
	})
}

// serialx/hashring: with one point for each node by default, the first of 1000
// nodes has 6.45 times the average, and some have nothing.
func TestTrapSkewByDefault(t *testing.T) {
	hashes := make([]uint64, 200_000)
	for i := range hashes {
		hashes[i] = Hash(fmt.Sprint("k", i))
	}
	each(t, nil, func(t *testing.T, f family) {
		peak, _ := share(must(f.make(names(100), nil)), hashes)
		require.Less(t, peak, 1.4)
	})
}

// ringpop-go: the nodes of a key come in the order of a Go map, so that
// processes disagree about replicas.
func TestTrapOrderOfReplicas(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		p := must(f.make(names(20), nil))
		want := slices.Collect(p.Owners("key"))
		for range 50 {
			q := must(f.make(names(20), nil))
			require.Equal(t, want, slices.Collect(q.Owners("key")))
		}
	})
}

// mailgun/groupcache: peers with different lists of members pass a request to
// each other until both wait. A fingerprint in the request tells.
func TestTrapPeersThatDisagree(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		a := must(f.make([]string{"a", "b", "c"}, nil))
		b := must(f.make([]string{"a", "b"}, nil))
		require.NotEqual(t, a.Fingerprint(), b.Fingerprint())
		if f.anyOrder {
			again := must(b.With("c"))
			require.Equal(t, a.Fingerprint(), again.Fingerprint())
		}
	})
}
