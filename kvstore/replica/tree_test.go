package replica_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/kvstore/replica"
	"github.com/stretchr/testify/require"
)

// entries returns what a replica has, ascending by key.
func entries(have map[string]uint64) iter.Seq2[replica.Entry, error] {
	return func(yield func(replica.Entry, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(have)) {
			if !yield(replica.Entry{Key: []byte(key), Digest: have[key]}, nil) {
				return
			}
		}
	}
}

// differing compares two replicas over the wire and returns the keys that
// differ, and how many exchanges it took.
func differing(t *testing.T, mine, theirs *replica.Tree, my, their map[string]uint64) (keys []string, exchanges int) {
	t.Helper()
	c := mine.Compare()
	for p, more := c.Next(); more; p, more = c.Next() {
		exchanges++
		again, _ := c.Next()
		require.Equal(t, p, again, "a probe stays until it is answered")
		asked, err := replica.DecodeProbe(replica.AppendProbe(nil, p))
		require.NoError(t, err)
		sums, err := theirs.Answer(asked)
		require.NoError(t, err)
		sums, err = replica.DecodeSums(replica.AppendSums(nil, sums))
		require.NoError(t, err)
		require.NoError(t, c.Take(sums))
	}
	wire := replica.AppendLeaves(nil, c.Leaves())
	leaves, n, err := replica.DecodeLeaves(wire)
	require.NoError(t, err)
	require.Len(t, wire, n)
	var theirEntries []replica.Entry
	for e := range theirs.In(leaves, entries(their)) {
		theirEntries = append(theirEntries, e)
	}
	theirEntries, err = replica.DecodeEntries(replica.AppendEntries(nil, theirEntries))
	require.NoError(t, err)
	there := func(yield func(replica.Entry, error) bool) {
		for _, e := range theirEntries {
			if !yield(e, nil) {
				return
			}
		}
	}
	for d, err := range replica.Differences(mine.In(leaves, entries(my)), there) {
		require.NoError(t, err)
		require.NotEqual(t, d.Mine, d.Theirs)
		require.Equal(t, my[string(d.Key)], d.Mine)
		require.Equal(t, their[string(d.Key)], d.Theirs)
		keys = append(keys, string(d.Key))
	}
	return keys, exchanges
}

func TestTreesFindExactlyTheKeysThatDiffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct{ depth, keys, changes int }{
		{1, 0, 0}, {1, 10, 1}, {2, 1000, 3}, {3, 5000, 0}, {3, 5000, 1}, {3, 5000, 40}, {4, 20000, 7}, {4, 3000, 3000}, {6, 2000, 100},
	} {
		t.Run(fmt.Sprintf("depth=%d/keys=%d/changes=%d", c.depth, c.keys, c.changes), func(t *testing.T) {
			a, b := replica.NewTree(c.depth), replica.NewTree(c.depth)
			my, their := map[string]uint64{}, map[string]uint64{}
			set := func(tree *replica.Tree, have map[string]uint64, key string, digest uint64) {
				tree.Update([]byte(key), have[key], digest)
				if have[key] = digest; digest == 0 {
					delete(have, key)
				}
			}
			for i := range c.keys {
				key, digest := fmt.Sprintf("key %d", i), rng.Uint64()|1
				set(a, my, key, rng.Uint64()) // what came in between does not count
				set(a, my, key, digest)
				set(b, their, key, digest)
			}
			require.Equal(t, a.Digest(), b.Digest())
			for range c.changes {
				key := fmt.Sprintf("key %d", rng.IntN(c.keys*5/4))
				digest := rng.Uint64() | 1
				switch rng.IntN(4) {
				case 0:
					set(a, my, key, digest)
				case 1:
					set(b, their, key, digest)
				case 2:
					set(b, their, key, 0)
				case 3:
					set(a, my, key, 0)
				}
			}
			var want []string
			for key := range maps.Keys(my) {
				if my[key] != their[key] {
					want = append(want, key)
				}
			}
			for key := range maps.Keys(their) {
				if _, both := my[key]; !both {
					want = append(want, key)
				}
			}
			slices.Sort(want)
			got, exchanges := differing(t, a, b, my, their)
			require.Equal(t, want, got)
			if len(want) < 1000 {
				require.LessOrEqual(t, exchanges, c.depth)
			}
			if len(want) == 0 {
				require.Equal(t, 1, exchanges)
			}
			for _, key := range got { // mend, and nothing is left
				digest := max(my[key], their[key])
				set(a, my, key, digest)
				set(b, their, key, digest)
			}
			require.Equal(t, a.Digest(), b.Digest())
			got, _ = differing(t, b, a, their, my)
			require.Empty(t, got)

			scanned := replica.NewTree(c.depth)
			for e := range entries(my) {
				scanned.Update(e.Key, 0, e.Digest)
			}
			require.Equal(t, a.Digest(), scanned.Digest(), "a scan makes the tree that changes made")
		})
	}
}

func TestTreesRefuseNonsense(t *testing.T) {
	require.Panics(t, func() { replica.NewTree(0) })
	require.Panics(t, func() { replica.NewTree(7) })
	tree := replica.NewTree(2)
	for _, p := range []replica.Probe{{Level: -1}, {Level: 2}, {Level: 0, Nodes: []uint32{1}}, {Level: 1, Nodes: []uint32{16}}, {Level: 1, Nodes: make([]uint32, 5000)}} {
		_, err := tree.Answer(p)
		require.ErrorIs(t, err, replica.ErrRules)
	}
	c := tree.Compare()
	require.ErrorIs(t, c.Take(make(replica.Sums, 16)), replica.ErrRules, "nothing was asked")
	_, _ = c.Next()
	require.ErrorIs(t, c.Take(make(replica.Sums, 15)), replica.ErrRules)

	bad := errors.New("disk")
	failing := func(yield func(replica.Entry, error) bool) {
		if yield(replica.Entry{Key: []byte("a"), Digest: 1}, nil) {
			yield(replica.Entry{}, bad)
		}
	}
	for _, sides := range [][2]iter.Seq2[replica.Entry, error]{{failing, entries(nil)}, {entries(nil), failing}, {entries(map[string]uint64{"b": 1}), failing}} {
		var last error
		for d, err := range replica.Differences(sides[0], sides[1]) {
			require.NoError(t, last)
			if last = err; err == nil {
				require.Equal(t, "a", string(d.Key))
			}
		}
		require.ErrorIs(t, last, bad)
	}
}

func TestTreeConcurrentSafe(t *testing.T) {
	a, b := replica.NewTree(3), replica.NewTree(3)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range uint64(500) {
				key := fmt.Appendf(nil, "%d/%d", g, i%50)
				a.Update(key, i/50, i/50+1)
				if i%100 == 0 {
					c := a.Compare()
					p, _ := c.Next()
					sums, _ := b.Answer(p)
					if err := c.Take(sums); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for g := range 4 {
		for i := range 50 {
			b.Update(fmt.Appendf(nil, "%d/%d", g, i), 0, 10)
		}
	}
	require.Equal(t, b.Digest(), a.Digest())
}

func FuzzDecodeTree(f *testing.F) {
	f.Add(replica.AppendProbe(nil, replica.Probe{Level: 2, Nodes: []uint32{0, 1, 17, 1<<32 - 1}}))
	f.Add(replica.AppendSums(nil, replica.Sums{1, 2, 3}))
	f.Add(replica.AppendLeaves(nil, []uint32{5, 6, 900}))
	f.Add(replica.AppendEntries(nil, []replica.Entry{{Key: []byte("a"), Digest: 7}, {Key: []byte{}, Digest: 0}}))
	tree := replica.NewTree(2)
	f.Fuzz(func(t *testing.T, src []byte) {
		if p, err := replica.DecodeProbe(src); err == nil {
			if !bytes.Equal(replica.AppendProbe(nil, p), src) {
				t.Fatalf("probe %x is %v", src, p)
			}
			if sums, err := tree.Answer(p); err == nil && len(sums) != 16*len(p.Nodes) {
				t.Fatalf("%v has %d sums", p, len(sums))
			}
		} else if !errors.Is(err, replica.ErrCorrupt) {
			t.Fatal(err)
		}
		if s, err := replica.DecodeSums(src); err == nil && !bytes.Equal(replica.AppendSums(nil, s), src) {
			t.Fatalf("sums %x are %v", src, s)
		}
		if l, n, err := replica.DecodeLeaves(src); err == nil && (!bytes.Equal(replica.AppendLeaves(nil, l), src[:n]) || !slices.IsSorted(l)) {
			t.Fatalf("leaves %x are %v", src, l)
		}
		if e, err := replica.DecodeEntries(src); err == nil && !bytes.Equal(replica.AppendEntries(nil, e), src) {
			t.Fatalf("entries %x are %v", src, e)
		}
	})
}
