package consistenthash

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A family is a constructor and what holds for it.
type family struct {
	name     string
	make     func(nodes []string, opts *Options[string]) (Placement[string], error)
	anyOrder bool // the order of nodes does not matter
	anyLeave bool // any node may leave
	weighted bool
	stable   bool // no key moves between nodes that stay
	even     bool // shares are those of chance
}

// maker turns a constructor into one of placements.
func maker[P Placement[string]](f func([]string, *Options[string]) (P, error)) func([]string, *Options[string]) (Placement[string], error) {
	return func(nodes []string, opts *Options[string]) (Placement[string], error) { return result(f(nodes, opts)) }
}

var families = []family{
	{"ring", maker(NewRing[string]), true, true, true, true, false},
	{"rendezvous", maker(NewRendezvous[string]), true, true, true, true, true},
	{"maglev", maker(NewMaglev[string]), true, true, true, false, true},
	{"anchor", maker(NewAnchor[string]), false, true, false, true, true},
	{"jump", maker(NewJump[string]), false, false, false, true, true},
	{"jumpback", maker(NewJumpBack[string]), false, false, false, true, true},
	{"modulo", maker(NewModulo[string]), false, true, false, false, true},
}

// each runs a test for the families that it is about.
func each(t *testing.T, about func(family) bool, test func(*testing.T, family)) {
	for _, f := range families {
		if about == nil || about(f) {
			t.Run(f.name, func(t *testing.T) { test(t, f) })
		}
	}
}

func names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i)
	}
	return names
}

func keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	return keys
}

func must[P any](p P, err error) P {
	if err != nil {
		panic(err)
	}
	return p
}

func owner(p Placement[string], key string) string {
	node, ok := p.Owner(key)
	if !ok {
		return "nobody"
	}
	return node
}

func TestEmpty(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		for _, opts := range []*Options[string]{nil, {}, {Zone: func(n string) string { return n }}} {
			p, err := f.make(nil, opts)
			require.NoError(t, err)
			node, ok := p.Owner("key")
			require.False(t, ok)
			require.Empty(t, node)
			for node := range p.Owners("key") {
				t.Errorf("Owners has %q", node)
			}
			for node := range p.Nodes() {
				t.Errorf("Nodes has %q", node)
			}
			require.Zero(t, p.Len())
			q, err := p.Without()
			require.NoError(t, err)
			require.Equal(t, p.Fingerprint(), q.Fingerprint())
		}
		p := must(must(f.make([]string{"a"}, nil)).Without("a"))
		_, ok := p.Owner("key")
		require.False(t, ok)
		p = must(p.With("a"))
		require.Equal(t, "a", owner(p, "key"))
		require.Equal(t, []string{"a"}, slices.Collect(p.Owners("key")))
	})
}

func TestErrors(t *testing.T) {
	type test struct {
		name  string
		nodes []string
		opts  *Options[string]
		want  error
	}
	tests := []test{
		{"twice", []string{"a", "b", "a"}, nil, ErrDuplicate},
		{"same name", []string{"a", "b"}, &Options[string]{Name: func(string) string { return "x" }}, ErrDuplicate},
		{"too many", names(maxNodes + 1), nil, ErrFull},
	}
	for _, w := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e-10, 1e10} {
		tests = append(tests, test{fmt.Sprint("weight ", w), []string{"a"}, &Options[string]{Weight: func(string) float64 { return w }}, ErrWeight})
	}
	each(t, nil, func(t *testing.T, f family) {
		for _, test := range tests {
			p, err := f.make(test.nodes, test.opts)
			if !errors.Is(err, test.want) || p != nil {
				t.Errorf("%s: %v, %v, want %v", test.name, p, err, test.want)
			}
		}
		_, err := f.make([]string{"a"}, &Options[string]{Weight: func(string) float64 { return 2 }})
		require.Equal(t, f.weighted, err == nil)

		p := must(f.make([]string{"a", "b", "c"}, nil))
		_, err = p.With("b")
		if f.name == "anchor" {
			require.ErrorIs(t, err, ErrFull)
		} else {
			require.ErrorIs(t, err, ErrDuplicate)
		}
		_, err = p.Without("d")
		require.ErrorIs(t, err, ErrUnknown)
		_, err = p.Without("c", "c")
		require.ErrorIs(t, err, ErrUnknown)
		_, err = p.Without("a")
		require.Equal(t, f.anyLeave, err == nil)
		if !f.anyLeave {
			require.ErrorIs(t, err, ErrOrder)
		}
		p = must(p.Without("b", "c"))
		require.Equal(t, 1, p.Len())
	})
	for name, opts := range map[string]*Options[string]{
		"points": {Points: -1}, "size": {TableSize: 65536}, "negative size": {TableSize: -7}, "small": {TableSize: 2},
		"huge": {TableSize: 1<<31 - 1}, "one": {TableSize: 1}, "capacity": {Capacity: -1}, "large": {Capacity: maxNodes + 1}, "low": {Capacity: 2},
		"many": {Points: maxPoints}, "more": {Points: math.MaxInt},
	} {
		_, ring := NewRing([]string{"a", "b", "c"}, opts)
		_, maglev := NewMaglev([]string{"a", "b", "c"}, opts)
		_, anchor := NewAnchor([]string{"a", "b", "c"}, opts)
		if ring == nil && maglev == nil && anchor == nil {
			t.Errorf("%s: nobody minds", name)
		}
	}
}

// Nodes may be of any type that has a name.
func TestNames(t *testing.T) {
	type region string
	require.Equal(t, "eu", namesOf(t, region("eu"))[0])
	require.Equal(t, "-3", namesOf(t, int8(-3))[0])
	require.Equal(t, "18446744073709551615", namesOf(t, uint64(math.MaxUint64))[0])
	require.Equal(t, "10.0.0.1:80", namesOf(t, netip.MustParseAddrPort("10.0.0.1:80"))[0])

	type server struct{ host string }
	_, err := NewRing([]server{{"a"}}, nil)
	require.ErrorContains(t, err, "need Options.Name")
	_, err = NewRing([]any{"a", 1}, nil)
	require.ErrorContains(t, err, "need Options.Name")
	named := must(NewRing([]server{{"node-0"}, {"node-1"}}, &Options[server]{Name: func(s server) string { return s.host }}))
	plain := must(NewRing(names(2), nil))
	require.Equal(t, plain.Fingerprint(), named.Fingerprint())
	for _, key := range keys(100) {
		s, _ := named.Owner(key)
		if want := owner(plain, key); s.host != want {
			t.Errorf("Owner(%q) = %v, want %v", key, s, want)
		}
	}
}

func namesOf[N comparable](t *testing.T, node N) []string {
	m, err := newMembers("test", []N{node}, nil, true, true)
	require.NoError(t, err)
	return m.names
}

// The order of adding matters neither to owners nor to the fingerprint.
func TestOrderOfNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	each(t, func(f family) bool { return f.anyOrder }, func(t *testing.T, f family) {
		opts := &Options[string]{Weight: func(n string) float64 { return float64(len(n)) }}
		nodes := []string{"a", "1a", "11a", "b", "1b", "x", "xx", "xxx"}
		want := must(f.make(nodes, opts))
		for range 20 {
			shuffled := slices.Clone(nodes)
			r.Shuffle(len(nodes), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			got := must(f.make(shuffled[:3], opts))
			got = must(got.With(shuffled[3:]...))
			got = must(got.With("another"))
			got = must(got.Without("another"))
			require.Equal(t, want.Fingerprint(), got.Fingerprint())
			for _, key := range keys(200) {
				if w, g := slices.Collect(want.Owners(key)), slices.Collect(got.Owners(key)); !slices.Equal(w, g) {
					t.Fatalf("added as %v, Owners(%q) = %v, want %v", shuffled, key, g, w)
				}
			}
		}
	})
}

// change is a random change of a placement. It returns what joined and left.
func change(r *rand.Rand, f family, p Placement[string], next *int) (q Placement[string], joined, left map[string]bool) {
	joined, left = map[string]bool{}, map[string]bool{}
	q = p
	for range r.IntN(3) + 1 {
		switch n := q.Len(); {
		case n > 0 && r.IntN(2) == 0:
			var nodes []string
			for node := range q.Nodes() {
				nodes = append(nodes, node)
			}
			node := nodes[n-1]
			if f.anyLeave {
				node = nodes[r.IntN(n)]
			}
			q = must(q.Without(node))
			if !joined[node] {
				left[node] = true
			}
			delete(joined, node)
		case n < 40:
			node := fmt.Sprint("new-", *next)
			*next++
			q = must(q.With(node))
			joined[node] = true
		}
	}
	return q, joined, left
}

// No key moves but from nodes that leave and to nodes that join.
func TestNothingMovesBetweenNodesThatStay(t *testing.T) {
	each(t, func(f family) bool { return f.stable }, func(t *testing.T, f family) {
		r := rand.New(rand.NewPCG(3, 4))
		next := 0
		opts := &Options[string]{Capacity: 50}
		if f.weighted {
			opts.Weight = func(node string) float64 { return 1 + float64(len(node)%3) + float64(node[len(node)-1]-'0')/10 }
		}
		p := must(f.make(names(20), opts))
		keys := keys(500)
		for range 40 {
			q, joined, left := change(r, f, p, &next)
			for move := range Diff(p, q, slices.Values(keys)) {
				if !move.New && !move.Gone && !left[move.From] && !joined[move.To] {
					t.Fatalf("%q moved from %s to %s; left %v, joined %v", move.Key, move.From, move.To, left, joined)
				}
			}
			for node := range joined {
				if owner(q, "key-0") == node && owner(p, "key-0") == node {
					t.Fatalf("%s owned a key before it joined", node)
				}
			}
			p = q
		}
	})
}

// Owners has every node once, begins with the owner, and when a node leaves,
// the first k nodes of a key change by that one and the one that replaces it.
func TestOwners(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		opts := &Options[string]{}
		if f.weighted {
			opts.Weight = func(node string) float64 { return float64(node[len(node)-1]-'0') + .5 }
		}
		for _, n := range []int{1, 2, 7, 8, 9, 30, 1100} {
			p := must(f.make(names(n), opts))
			gone := names(n)[n-1]
			if f.anyLeave {
				gone = names(n)[n/2]
			}
			q := must(p.Without(gone))
			for _, key := range keys(min(100, 2000/n)) {
				all := slices.Collect(p.Owners(key))
				if len(all) != n || all[0] != owner(p, key) {
					t.Fatalf("%d nodes: Owners(%q) has %d nodes from %s on, the owner is %s", n, key, len(all), all[0], owner(p, key))
				}
				if sorted := slices.Sorted(slices.Values(all)); len(slices.Compact(sorted)) != n {
					t.Fatalf("%d nodes: Owners(%q) has a node twice: %v", n, key, all)
				}
				if again := slices.Collect(p.OwnersHash(Hash(key))); !slices.Equal(all, again) {
					t.Fatalf("Owners(%q) = %v, then %v", key, all, again)
				}
				for k := range min(n, 12) { // stopping early gives a prefix
					some := first(p, key, k)
					if !slices.Equal(some, all[:k]) {
						t.Fatalf("the first %d owners of %q are %v, and %v without stopping", k, key, some, all)
					}
					if f.stable && k > 0 {
						replaced(t, some, first(q, key, k), gone, 1)
					}
				}
				if f.name == "ring" || f.name == "rendezvous" {
					want := slices.DeleteFunc(slices.Clone(all), func(node string) bool { return node == gone })
					if got := slices.Collect(q.Owners(key)); !slices.Equal(got, want) {
						t.Fatalf("without %s, Owners(%q) = %v, want %v", gone, key, got, want)
					}
				}
			}
		}
	})
}

func first(p Placement[string], key string, k int) (nodes []string) {
	for node := range p.Owners(key) {
		if len(nodes) == k {
			break
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// replaced checks that when a node leaves, only lists that it was in change,
// and by that node and so many in all at most.
func replaced(t *testing.T, before, after []string, gone string, most int) {
	t.Helper()
	missing := 0
	for _, node := range before {
		if !slices.Contains(after, node) {
			missing++
		}
	}
	if !slices.Contains(before, gone) {
		most = 0
	}
	if missing > most {
		t.Errorf("%d nodes of %v were replaced when %s left: %v", missing, before, gone, after)
	}
}

func TestZones(t *testing.T) {
	zone := func(node string) string { return node[:1] }
	nodes := []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"}
	each(t, nil, func(t *testing.T, f family) {
		p := must(f.make(nodes, &Options[string]{Zone: zone}))
		plain := must(f.make(nodes, nil))
		require.NotEqual(t, plain.Fingerprint(), p.Fingerprint())
		for _, key := range keys(300) {
			got := slices.Collect(p.Owners(key))
			var want []string // the definition, from the order without zones
			order := slices.Collect(plain.Owners(key))
			for turn := range 4 {
				met := map[string]int{}
				for _, node := range order {
					if met[zone(node)] == turn {
						want = append(want, node)
					}
					met[zone(node)]++
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("Owners(%q) = %v, want %v", key, got, want)
			}
			if got[0] != owner(plain, key) {
				t.Fatalf("zones change the owner of %q from %s to %s", key, owner(plain, key), got[0])
			}
			if f.stable {
				gone := nodes[len(nodes)-1]
				if f.anyLeave {
					gone = got[len(key)%3]
				}
				q := must(p.Without(gone))
				for k := range 6 {
					most := 1
					if !f.anyOrder {
						most = 2 // the new owner, and one of its zone
					}
					replaced(t, got[:k+1], first(q, key, k+1), gone, most)
				}
			}
			for k := range 7 {
				if some := first(p, key, k); !slices.Equal(some, want[:k]) {
					t.Fatalf("the first %d owners of %q are %v, want %v", k, key, some, want)
				}
			}
		}
	})
}

// Fingerprints tell placements apart by everything that placement depends on.
func TestFingerprint(t *testing.T) {
	seen := map[uint64]string{}
	add := func(what string, p Placement[string]) {
		if other, ok := seen[p.Fingerprint()]; ok {
			t.Errorf("%s and %s have the same fingerprint", what, other)
		}
		seen[p.Fingerprint()] = what
	}
	for _, f := range families {
		add(f.name+" empty", must(f.make(nil, nil)))
		add(f.name, must(f.make([]string{"a", "b"}, nil)))
		add(f.name+" fewer", must(f.make([]string{"a"}, nil)))
		add(f.name+" others", must(f.make([]string{"ab", ""}, nil)))
		add(f.name+" seed", must(f.make([]string{"a", "b"}, &Options[string]{Seed: 1})))
		add(f.name+" zone", must(f.make([]string{"a", "b"}, &Options[string]{Zone: func(s string) string { return s }})))
		add(f.name+" one zone", must(f.make([]string{"a", "b"}, &Options[string]{Zone: func(s string) string { return "" }})))
		if f.weighted {
			add(f.name+" weight", must(f.make([]string{"a", "b"}, &Options[string]{Weight: func(s string) float64 { return float64(s[0]) }})))
		}
		if !f.anyOrder {
			add(f.name+" order", must(f.make([]string{"b", "a"}, nil)))
		}
	}
	add("points", must(NewRing([]string{"a", "b"}, &Options[string]{Points: 7})))
	add("size", must(NewMaglev([]string{"a", "b"}, &Options[string]{TableSize: 7})))
	add("capacity", must(NewAnchor([]string{"a", "b"}, &Options[string]{Capacity: 7})))
	add("history", must(must(must(NewAnchor([]string{"a", "b", "c", "d"}, nil)).Without("c", "d")).With("c", "d")))
	add("other history", must(must(must(NewAnchor([]string{"a", "b", "c", "d"}, nil)).Without("a", "d")).With("a", "d")))
	explicit := must(NewRing([]string{"a", "b"}, &Options[string]{Points: 100, Weight: func(string) float64 { return 1 }}))
	require.Equal(t, "ring", seen[explicit.Fingerprint()], "the defaults, said aloud")
}

func TestDiff(t *testing.T) {
	two := must(NewRendezvous([]string{"a", "b"}, nil))
	none := must(two.Without("a", "b"))
	three := must(two.With("c"))
	all := keys(3000)
	n := 0
	for move := range Diff(two, three, slices.Values(all)) {
		n++
		if move.To != "c" || move.From != owner(two, move.Key) || move.New || move.Gone {
			t.Errorf("%+v", move)
		}
	}
	require.InDelta(t, 1000, n, 100)
	for move := range Diff(none, two, slices.Values(all)) {
		require.Equal(t, Move[string]{Key: "key-0", To: owner(two, "key-0"), New: true}, move)
		break
	}
	for move := range Diff(two, none, slices.Values(all)) {
		require.Equal(t, Move[string]{Key: "key-0", From: owner(two, "key-0"), Gone: true}, move)
		break
	}
	for move := range Diff(none, none, slices.Values(all)) {
		t.Errorf("%+v", move)
	}
}

func TestOwnerAllocatesNothing(t *testing.T) {
	each(t, nil, func(t *testing.T, f family) {
		p := must(f.make(names(50), nil))
		allocs := testing.AllocsPerRun(100, func() { p.Owner("some key") })
		require.Zero(t, allocs)
	})
	r := must(NewRing(names(50), nil))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n := 0
		for range r.Owners("some key") {
			if n++; n == 3 {
				break
			}
		}
	}), "three replicas of a ring")
	a := must(NewAnchor(names(50), nil))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n := 0
		for range a.OwnersHash(77) {
			if n++; n == 3 {
				break
			}
		}
	}), "three replicas of an anchor")
}
