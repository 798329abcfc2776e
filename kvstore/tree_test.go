package kvstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// checkTree verifies the invariants that are stated at node and leaf.
func checkTree(t testing.TB, tr *tree) {
	t.Helper()
	var count int
	var last []byte
	var walk func(n *node, depth int, low, high *string)
	depths := map[int]bool{}
	walk = func(n *node, depth int, low, high *string) {
		if len(n.seps) != n.kids()-1 || len(n.heads) != len(n.seps) || n.kids() > fan || (n.nodes != nil) == (n.leaves != nil) {
			t.Fatalf("node with %d seps, %d heads, %d nodes, %d leaves", len(n.seps), len(n.heads), len(n.nodes), len(n.leaves))
		}
		for i := range n.kids() {
			lo, hi := low, high
			if i > 0 {
				lo = &n.seps[i-1]
			}
			if i < len(n.seps) {
				hi = &n.seps[i]
			}
			if lo != nil && hi != nil && *lo >= *hi {
				t.Fatalf("separators %q and %q", *lo, *hi)
			}
			if n.nodes != nil {
				walk(n.nodes[i], depth+1, lo, hi)
				continue
			}
			depths[depth] = true
			l := n.leaves[i]
			for j := range int(l.n) {
				key := l.appendKey(nil, j)
				if count > 0 && bytes.Compare(last, key) >= 0 {
					t.Fatalf("key %q after %q", key, last)
				}
				if lo != nil && string(key) < *lo || hi != nil && string(key) >= *hi {
					t.Fatalf("key %q not between its separators", key)
				}
				last = key
				count++
			}
		}
	}
	walk(tr.top, 0, nil, nil)
	require.Len(t, depths, 1, "leaves at several depths")
	require.Equal(t, int(tr.count.Load()), count)
	require.Same(t, tr.top, tr.root.Load())
}

func treeKeys(root *node) []string {
	var keys []string
	var c cursor
	for c.seek(root, nil); c.valid(); c.next() {
		keys = append(keys, string(c.leaf.appendKey(nil, c.at)))
	}
	return keys
}

// keyMaker returns a maker of keys of some shape, so that heads tie often,
// seldom or never.
func keyMaker(shape int, rng *rand.Rand) func() []byte {
	switch shape {
	case 0:
		return func() []byte { return fmt.Appendf(nil, "key-%012d", rng.IntN(5000)) }
	case 1:
		return func() []byte { return bytes.Repeat([]byte{byte(rng.IntN(2))}, rng.IntN(30)) }
	case 2:
		return func() []byte {
			return fmt.Appendf(nil, "user:%d:%s", rng.IntN(300), []string{"", "profile-name", "profile-mail", "p", "profile-mail\x00"}[rng.IntN(5)])
		}
	default:
		return func() []byte {
			b := make([]byte, rng.IntN(4)*5)
			for i := range b {
				b[i] = byte(rng.IntN(3))
			}
			return b
		}
	}
}

func TestTreeIsAMap(t *testing.T) {
	for shape := range 4 {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(shape)))
			tr, model := newTree(), map[string]place{}
			makeKey := keyMaker(shape, rng)
			type frozen struct {
				root *node
				keys []string
			}
			var snaps []frozen
			sorted := func() []string {
				keys := make([]string, 0, len(model))
				for k := range model {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				return keys
			}
			for i := range 30000 {
				key := makeKey()
				want, had := model[string(key)]
				got, _, ok := tr.get(key)
				if got != want || ok != had {
					t.Fatalf("get(%q) = %d, %v, want %d, %v", key, got, ok, want, had)
				}
				grow := i/6000%2 == 0
				if rng.IntN(10) < 7 == grow {
					old, _, ok := tr.put(key, place(i+1), 1)
					if old != want || ok != had {
						t.Fatalf("put(%q) = %d, %v, want %d, %v", key, old, ok, want, had)
					}
					model[string(key)] = place(i + 1)
				} else {
					old, _, ok := tr.delete(key)
					if old != want || ok != had {
						t.Fatalf("delete(%q) = %d, %v, want %d, %v", key, old, ok, want, had)
					}
					delete(model, string(key))
				}
				switch rng.IntN(400) {
				case 0:
					snaps = append(snaps, frozen{tr.freeze(), sorted()})
				case 1:
					tr.begin()
					before := tr.root.Load()
					for j := range rng.IntN(300) {
						key := makeKey()
						if j%3 == 0 {
							tr.delete(key)
							delete(model, string(key))
						} else {
							tr.put(key, place(j+1), 1)
							model[string(key)] = place(j + 1)
						}
					}
					require.Same(t, before, tr.root.Load(), "published early")
					tr.publish()
				case 2:
					checkTree(t, tr)
				}
			}
			checkTree(t, tr)
			require.Equal(t, sorted(), append([]string{}, treeKeys(tr.root.Load())...))
			for _, s := range snaps {
				require.Equal(t, s.keys, append([]string{}, treeKeys(s.root)...))
			}
			for key := range model {
				tr.delete([]byte(key))
			}
			checkTree(t, tr)
		})
	}
}

func TestCursorBothWays(t *testing.T) {
	for shape := range 4 {
		rng := rand.New(rand.NewPCG(2, uint64(shape)))
		makeKey := keyMaker(shape, rng)
		seen := map[string]bool{}
		for range 3000 {
			seen[string(makeKey())] = true
		}
		var keys []string
		for k := range seen {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		var b builder
		for i, k := range keys {
			b.add([]byte(k), place(i+1), 1)
		}
		built := b.tree()
		checkTree(t, built)
		grown := newTree()
		for _, i := range rng.Perm(len(keys)) {
			grown.put([]byte(keys[i]), place(i+1), 1)
		}
		for _, tr := range []*tree{built, grown} {
			root := tr.freeze()
			require.Equal(t, keys, treeKeys(root))
			var c cursor
			c.end(root)
			for i := range slices.Backward(keys) {
				c.prev()
				require.Equal(t, keys[i], string(c.leaf.appendKey(nil, c.at)))
			}
			c.prev()
			require.False(t, c.valid())
			for range 1000 {
				key := string(makeKey())
				want, _ := slices.BinarySearch(keys, key)
				c.seek(root, []byte(key))
				require.Equal(t, want < len(keys), c.valid())
				if c.valid() {
					require.Equal(t, keys[want], string(c.leaf.appendKey(nil, c.at)))
				}
				c.prev()
				require.Equal(t, want > 0, c.valid())
				if c.valid() {
					require.Equal(t, keys[want-1], string(c.leaf.appendKey(nil, c.at)))
				}
			}
		}
	}
}

func TestLeafFillsItsSizeClass(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(leaf{}), uintptr(1536))
}

// TestMemoryOfKeys counts what the package comment says of the memory of keys.
func TestMemoryOfKeys(t *testing.T) {
	for _, length := range []int{8, 16, 32, 100, 1000} {
		rng := rand.New(rand.NewPCG(1, uint64(length)))
		tr := newTree()
		const n = 5000
		key := make([]byte, length)
		for i := range n {
			for j := range key {
				key[j] = byte(rng.Uint32())
			}
			tr.put(key, newPlace(0, 0, int64(i)), 1)
		}
		total := 0
		last := (*leaf)(nil)
		var c cursor
		for c.seek(tr.freeze(), nil); c.valid(); c.next() {
			if c.leaf != last {
				last = c.leaf
				total += int(unsafe.Sizeof(leaf{})) + cap(last.arena) + length + 32 // and in the node above
			}
		}
		if per, most := total/n, 45+length+max(0, length-16)/3; per > most {
			t.Errorf("a key of %d bytes takes %d, want at most %d", length, per, most)
		}
	}
}
