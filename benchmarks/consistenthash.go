package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/dgryski/go-rendezvous"
	"github.com/serialx/hashring"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	ch "github.com/ashlar-go/ashlar/consistenthash"
)

func init() {
	harness.Register(harness.Suite{Package: "consistenthash", Doc: "placement of keys: time, shares, movement, memory", Run: func(s *harness.Session) {
		keys := placementKeys(s.Pick(1<<15, 1<<15, 1<<10))
		for _, f := range placements {
			for _, n := range []int{10, 100, 1000} {
				f.lookup(s, keys, n)
			}
		}
		otherLookups(s, keys)
		allocations(s, keys)
		replicas(s, keys)
		building(s)
		shares(s)
		movement(s)
		boundedLoads(s)
		ringMemory(s)
	}})
}

// The floor is a division: nodes[xxhash(key) % n].
const floor = "hash % n"

// points is the number of virtual nodes of every ring, unless it says
// otherwise.
const points = 100

// placementKeys are too many for a processor to learn what becomes of each,
// and few enough to stay near it.
func placementKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%08d", i)
	}
	return keys
}

func nodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%03d.example.com", i)
	}
	return names
}

// A lookupLoop looks up n keys, from the start-th on, and returns something
// that depends on all results.
type lookupLoop func(keys []string, start, n int) int

// A placementFamily is measured against the floor and the peers of its kind.
type placementFamily struct {
	name  string
	ours  func(nodes []string) lookupLoop
	peers []placementPeer
	// bars by number of nodes: a lookup over one of the floor.
	bars map[int]float64
	// published are others, which cannot be had: lookups over those of the
	// floor for 10, 100 and 1000 nodes.
	published map[string][3]float64
}

type placementPeer struct {
	name string
	make func(nodes []string) lookupLoop
}

var placements = []placementFamily{
	{
		name: "Anchor", ours: anchorLoop, bars: map[int]float64{10: 1.3, 100: 1.3, 1000: 1.3},
		published: map[string][3]float64{"wdamron/go-anchorhash": {1.9, 1.75, 1.7}},
	},
	{
		name: "Maglev", ours: maglevLoop, bars: map[int]float64{10: 1.5, 100: 1.5, 1000: 1.5},
		published: map[string][3]float64{"dgryski/go-maglev": {1.9, 1.75, 1.6}},
	},
	{
		name: "JumpBack", ours: jumpBackLoop, bars: map[int]float64{10: 2.7, 100: 2.7, 1000: 2.7},
		peers: []placementPeer{{"dgryski/go-jump", goJumpLoop}},
	},
	{
		name: "Ring", ours: ringLoop, bars: map[int]float64{10: 2.2, 100: 2.2},
		peers: []placementPeer{{"golang/groupcache", groupcacheLoop}, {"serialx/hashring", serialxLoop}},
		published: map[string][3]float64{
			"stathat/consistent": {14.6, 14.7, 21.7}, "lafikl/consistent": {40, 43, 46},
			"buraksezer/consistent": {7, 7.1, 6.9}, "dgryski/go-mpchash": {74, 83, 86},
		},
	},
	{
		name: "Rendezvous", ours: rendezvousLoop,
		peers: []placementPeer{{"dgryski/go-rendezvous", goRendezvousLoop}},
	},
}

// lookup emits a row of processor time, and one that compares with peers that
// cannot be had, as multiples of the floor.
func (f placementFamily) lookup(s *harness.Session, keys []string, n int) {
	time := harness.Spec{Group: "Lookup", Name: fmt.Sprintf("%s, %d nodes", f.name, n), Unit: harness.CPUTime}
	if limit, ok := f.bars[n]; ok {
		time.Bars = append(time.Bars, harness.AtMost(limit).Of(floor))
	}
	for _, p := range f.peers {
		time.Bars = append(time.Bars, harness.AtMost(1).Of(p.name))
	}
	others := harness.Spec{
		Group: "Lookup, over that of hash % n", Name: fmt.Sprintf("%s, %d nodes, over hash %% n", f.name, n), Unit: "×",
		Note: "published figures are of another run, with the same floor",
	}
	for _, name := range sortedNames(f.published) {
		others.Bars = append(others.Bars, harness.AtMost(1).Of(name))
	}
	wantTime, wantOthers := s.Want(time), len(f.published) > 0 && s.Want(others)
	if !wantTime && !wantOthers {
		return
	}
	nodes := nodeNames(n)
	impls := []harness.Impl{loopImpl(harness.Ours, keys, f.ours(nodes)), loopImpl(floor, keys, moduloLoop(nodes))}
	for _, p := range f.peers {
		impls = append(impls, loopImpl(p.name, keys, p.make(nodes)))
	}
	samples := harness.Interleave(s.Rounds(), s.Pick(1<<21, 1<<19, 1<<8), impls)
	if wantTime {
		s.Emit(time, s.Rounds(), harness.Timings(samples))
	}
	if wantOthers {
		var ours harness.Figure
		ours.Name = harness.Ours
		ours.Value, ours.Spread = harness.PerRound(samples[0], samples[1], func(ours, floor harness.Sample) float64 { return ours.CPU / floor.CPU })
		figures := []harness.Figure{ours}
		at := slices.Index([]int{10, 100, 1000}, n)
		for _, name := range sortedNames(f.published) {
			figures = append(figures, harness.Figure{Name: name, Value: f.published[name][at], Published: true})
		}
		s.Emit(others, s.Rounds(), figures)
	}
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var lookedUp int // keeps lookups from being optimised away

var _ = &lookedUp

func loopImpl(name string, keys []string, loop lookupLoop) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		start := 0
		return func(n int) {
			lookedUp += loop(keys, start, n)
			start += n
		}, none
	}}
}

// otherLookups emits rows of lookups that no bar is about.
func otherLookups(s *harness.Session, keys []string) {
	n := s.Pick(1<<20, 1<<18, 1<<8)
	nodes := nodeNames(100)
	s.Time(harness.Spec{Group: "Lookup", Name: "Jump, 100 nodes", Note: "the same arithmetic"}, n, []harness.Impl{
		loopImpl(harness.Ours, keys, jumpLoop(nodes)), loopImpl(floor, keys, moduloLoop(nodes)), loopImpl("dgryski/go-jump", keys, goJumpLoop(nodes)),
	})
	weighted := must(ch.NewRendezvous(nodes, &ch.Options[string]{Weight: func(node string) float64 { return float64(node[7]-'0') + 1 }}))
	live := ch.NewLive(must(ch.NewAnchor(nodes, nil)))
	bounded := ch.NewBounded(must(ch.NewAnchor(nodes, nil)), nil)
	for i := range 2000 {
		bounded.AcquireHash(uint64(i))
	}
	half := must(ch.NewAnchor(nodes, &ch.Options[string]{Capacity: 200}))
	for _, other := range []struct {
		name string
		loop lookupLoop
	}{
		{"Rendezvous with weights, 100 nodes", func(keys []string, start, n int) (sum int) {
			for i := start; i < start+n; i++ {
				node, _ := weighted.Owner(keys[i&(len(keys)-1)])
				sum += len(node)
			}
			return sum
		}},
		{"Anchor with room for 200, 100 nodes", func(keys []string, start, n int) (sum int) {
			for i := start; i < start+n; i++ {
				node, _ := half.Owner(keys[i&(len(keys)-1)])
				sum += len(node)
			}
			return sum
		}},
		{"Anchor in a Live, 100 nodes", func(keys []string, start, n int) (sum int) {
			for i := start; i < start+n; i++ {
				node, _ := live.Owner(keys[i&(len(keys)-1)])
				sum += len(node)
			}
			return sum
		}},
		{"a lease acquired and released, 100 nodes", func(keys []string, start, n int) (sum int) {
			for i := start; i < start+n; i++ {
				lease, _ := bounded.Acquire(keys[i&(len(keys)-1)])
				sum += len(lease.Node())
				lease.Release()
			}
			return sum
		}},
	} {
		s.Time(harness.Spec{Group: "Lookup", Name: other.name}, n, []harness.Impl{
			loopImpl(harness.Ours, keys, other.loop), loopImpl(floor, keys, moduloLoop(nodes)),
		})
	}
}

func allocations(s *harness.Session, keys []string) {
	s.Value(harness.Spec{
		Group: "Allocations", Name: "allocations of a lookup, 100 nodes", Unit: "allocs/op", Bars: []harness.Bar{harness.AtMost(0)},
		Note: "ours is the most of all placements",
	}, func() []harness.Figure {
		nodes := nodeNames(100)
		measure := func(loop lookupLoop) float64 {
			return harness.Allocs(1<<12, func(n int) { lookedUp += loop(keys, 0, n) })
		}
		most := measure(jumpLoop(nodes))
		var figures []harness.Figure
		for _, f := range placements {
			most = max(most, measure(f.ours(nodes)))
			for _, p := range f.peers {
				figures = append(figures, harness.Figure{Name: p.name, Value: measure(p.make(nodes))})
			}
		}
		for name, allocs := range map[string]float64{"stathat/consistent": 1, "buraksezer/consistent": 1, "dgryski/go-mpchash": 1} {
			figures = append(figures, harness.Figure{Name: name, Value: allocs, Published: true})
		}
		return append(figures, harness.Figure{Name: harness.Ours, Value: most})
	})
}

// replicas emits what it costs to find three nodes for a key.
func replicas(s *harness.Session, keys []string) {
	for _, n := range []int{10, 100, 1000} {
		nodes := nodeNames(n)
		spec := harness.Spec{Group: "Replicas", Name: fmt.Sprintf("three nodes of a ring of %d", n), Bars: []harness.Bar{harness.AtMost(1).Of("serialx/hashring")}}
		if !s.Want(spec) {
			continue
		}
		ring, peer := must(ch.NewRing(nodes, &ch.Options[string]{Points: points})), newSerialx(nodes)
		spec.Unit = harness.CPUTime
		s.Emit(spec, s.Rounds(), harness.Timings(harness.Interleave(s.Rounds(), s.Pick(1<<19, 1<<17, 1<<6), []harness.Impl{
			loopImpl(harness.Ours, keys, func(keys []string, start, n int) (sum int) {
				for i := start; i < start+n; i++ {
					left := 3
					for node := range ring.Owners(keys[i&(len(keys)-1)]) {
						sum += len(node)
						if left--; left == 0 {
							break
						}
					}
				}
				return sum
			}),
			loopImpl("serialx/hashring", keys, func(keys []string, start, n int) (sum int) {
				for i := start; i < start+n; i++ {
					nodes, _ := peer.GetNodes(keys[i&(len(keys)-1)], 3)
					for _, node := range nodes {
						sum += len(node)
					}
				}
				return sum
			}),
		})))
	}
}

// building emits what it takes to make a placement of 1000 nodes.
func building(s *harness.Session) {
	nodes := nodeNames(s.Pick(1000, 1000, 10))
	builder := func(name string, build func()) harness.Impl {
		return harness.Impl{Name: name, Start: func() (func(int), func()) {
			return func(n int) {
				for range n {
					build()
				}
			}, none
		}}
	}
	emit := func(spec harness.Spec, published map[string]float64, impls ...harness.Impl) {
		spec.Group, spec.Unit = "Building", "CPU ms"
		if !s.Want(spec) {
			return
		}
		figures := harness.Timings(harness.Interleave(s.Rounds(), s.Pick(8, 3, 1), impls))
		for i := range figures {
			figures[i].Value /= 1e6
		}
		for _, name := range sortedNames(published) {
			figures = append(figures, harness.Figure{Name: name, Value: published[name], Published: true})
		}
		s.Emit(spec, s.Rounds(), figures)
	}
	emit(harness.Spec{
		Name: "a ring of 1000 nodes × 100 points", Note: "published: with 20 and 10 points, and 23 partitions a node",
		Bars: []harness.Bar{harness.AtMost(20), harness.AtMost(1).Of("golang/groupcache", "serialx/hashring", "stathat/consistent", "lafikl/consistent", "buraksezer/consistent")},
	}, map[string]float64{"stathat/consistent": 1137, "lafikl/consistent": 231, "buraksezer/consistent": 765},
		builder(harness.Ours, func() { must(ch.NewRing(nodes, &ch.Options[string]{Points: points})) }),
		builder("golang/groupcache", func() { newGroupcache(nodes) }),
		builder("serialx/hashring", func() { newSerialx(nodes) }))
	emit(harness.Spec{Name: "a Maglev of 1000 nodes", Note: "ours has twice the entries"}, map[string]float64{"dgryski/go-maglev": 4},
		builder(harness.Ours, func() { must(ch.NewMaglev(nodes, nil)) }))
	emit(harness.Spec{Name: "a Rendezvous of 1000 nodes", Note: "the peer neither sorts names nor finds duplicates"}, nil,
		builder(harness.Ours, func() { must(ch.NewRendezvous(nodes, nil)) }),
		builder("dgryski/go-rendezvous", func() { rendezvous.New(nodes, xxhash.Sum64String) }))
	emit(harness.Spec{Name: "an Anchor of 1000 nodes"}, map[string]float64{"wdamron/go-anchorhash": .02},
		builder(harness.Ours, func() { must(ch.NewAnchor(nodes, nil)) }))
}

// peak returns the most keys on a node over the average.
func peak(keys []string, n int, owner func(key string) string) float64 {
	counts := map[string]int{}
	most := 0
	for _, key := range keys {
		node := owner(key)
		counts[node]++
		most = max(most, counts[node])
	}
	return float64(most) * float64(n) / float64(len(keys))
}

func ownerOf(p ch.Placement[string]) func(string) string {
	return func(key string) string {
		node, _ := p.Owner(key)
		return node
	}
}

// shares emits how many keys the node with the most has, over the average.
func shares(s *harness.Session) {
	keys := placementKeys(s.Pick(1_000_000, 200_000, 10_000))
	promises := map[string][3]float64{
		"Anchor": {1.01, 1.04, 1.13}, "Maglev": {1.01, 1.04, 1.13}, "JumpBack": {1.01, 1.04, 1.13}, "Rendezvous": {1.01, 1.04, 1.13}, "Ring": {1.4, 1.4, 1.4},
	}
	published := map[string]map[string][3]float64{
		"Anchor":     {"wdamron/go-anchorhash": {1.007, 1.04, 1.11}},
		"Maglev":     {"dgryski/go-maglev": {1.005, 1.02, 1.11}},
		"JumpBack":   {"dgryski/go-jump": {1.007, 1.04, 1.11}},
		"Rendezvous": {"dgryski/go-rendezvous": {1.007, 1.04, 1.11}},
		"Ring":       {"stathat/consistent": {1.31, 2.15, 3.4}, "lafikl/consistent": {1.59, 2.09, 2.19}, "buraksezer/consistent": {1.26, 1.28, 1.36}},
	}
	for at, n := range []int{10, 100, 1000} {
		nodes := nodeNames(n)
		for _, f := range []struct {
			name string
			make func() ch.Placement[string]
		}{
			{"Anchor", func() ch.Placement[string] { return must(ch.NewAnchor(nodes, nil)) }},
			{"Maglev", func() ch.Placement[string] { return must(ch.NewMaglev(nodes, nil)) }},
			{"JumpBack", func() ch.Placement[string] { return must(ch.NewJumpBack(nodes, nil)) }},
			{"Rendezvous", func() ch.Placement[string] { return must(ch.NewRendezvous(nodes, nil)) }},
			{"Ring", func() ch.Placement[string] { return must(ch.NewRing(nodes, nil)) }},
		} {
			spec := harness.Spec{
				Group: "Shares", Name: fmt.Sprintf("%s, %d nodes, most keys over the average", f.name, n), Unit: "×",
				Note: "of chance alone: 1.005, 1.03 and 1.11 for 10, 100 and 1000 nodes and a million keys",
			}
			if s.Pick(1, 0, 0) == 1 { // the promise is for a million keys
				spec.Bars = []harness.Bar{harness.AtMost(promises[f.name][at])}
			}
			s.Value(spec, func() []harness.Figure {
				figures := []harness.Figure{{Name: harness.Ours, Value: peak(keys, n, ownerOf(f.make()))}}
				for _, name := range sortedNames(published[f.name]) {
					figures = append(figures, harness.Figure{Name: name, Value: published[f.name][name][at], Published: true})
				}
				if f.name == "Ring" {
					few := hashring.New(nodes)
					figures = append(figures,
						harness.Figure{Name: "golang/groupcache", Value: peak(keys, n, newGroupcache(nodes).Get)},
						harness.Figure{Name: "serialx/hashring", Value: peak(keys, n, serialxOwner(newSerialx(nodes)))},
						harness.Figure{Name: "serialx/hashring, its default", Value: peak(keys, n, serialxOwner(few))})
				}
				return figures
			})
		}
	}
	s.Value(harness.Spec{
		Group: "Shares", Name: "real URLs on 31 nodes, most over the average", Unit: "×", Bars: []harness.Bar{harness.AtMost(1).Of("hash*31+c % n")},
	}, func() []harness.Figure {
		urls := realURLs()
		nodes := nodeNames(31)
		return []harness.Figure{
			{Name: harness.Ours, Value: peak(urls, 31, ownerOf(must(ch.NewJumpBack(nodes, nil))))},
			{Name: floor, Value: peak(urls, 31, func(key string) string { return nodes[xxhash.Sum64String(key)%31] })},
			{Name: "hash*31+c % n", Value: peak(urls, 31, func(key string) string { return nodes[ch.Hash31(key)%31] })},
		}
	})
}

func serialxOwner(p *hashring.HashRing) func(string) string {
	return func(key string) string {
		node, _ := p.GetNode(key)
		return node
	}
}

// realURLs reads those of the shared data, or makes some up if it is not there.
func realURLs() (urls []string) {
	if root, err := command.Repository(); err == nil {
		file, err := os.Open(filepath.Join(root, "..", "shared", "data", "commerce", "urls_kasztp.txt.gz"))
		if err == nil {
			defer file.Close()
			unzip := must(gzip.NewReader(file))
			for lines := bufio.NewScanner(unzip); lines.Scan(); {
				urls = append(urls, strings.Clone(lines.Text()))
			}
			return urls
		}
	}
	for i := range 48_010 {
		urls = append(urls, fmt.Sprintf("https://example.com/articles/%d/%d.html", i%97, i))
	}
	return urls
}

// moved returns the part of the keys that change owners, and the part that
// does so between nodes that stay.
func moved(keys []string, before, after func(string) string, changed string) (all, between float64) {
	for _, key := range keys {
		from, to := before(key), after(key)
		if from != to {
			all++
			if from != changed && to != changed {
				between++
			}
		}
	}
	return all / float64(len(keys)), between / float64(len(keys))
}

// movement emits how many keys move when a node joins or leaves.
func movement(s *harness.Session) {
	keys := placementKeys(s.Pick(1_000_000, 200_000, 10_000))
	ten, eleven := nodeNames(10), nodeNames(11)
	s.Value(harness.Spec{
		Group: "Movement", Name: "keys that move when an eleventh node joins", Unit: "%", Bars: []harness.Bar{harness.AtMost(.11).Of(floor)},
		Note: "ours is JumpBack; 9.09 % have to",
	}, func() []harness.Figure {
		ours, _ := moved(keys, ownerOf(must(ch.NewJumpBack(ten, nil))), ownerOf(must(ch.NewJumpBack(eleven, nil))), eleven[10])
		modulo, _ := moved(keys, ownerOf(must(ch.NewModulo(ten, nil))), ownerOf(must(ch.NewModulo(eleven, nil))), eleven[10])
		return []harness.Figure{{Name: harness.Ours, Value: 100 * ours}, {Name: floor, Value: 100 * modulo}}
	})
	for _, f := range []struct {
		name string
		make func(nodes []string) ch.Placement[string]
		last bool // only the last node may leave
		bar  float64
	}{
		{"Anchor", func(nodes []string) ch.Placement[string] { return must(ch.NewAnchor(nodes, nil)) }, false, 0},
		{"JumpBack", func(nodes []string) ch.Placement[string] { return must(ch.NewJumpBack(nodes, nil)) }, true, 0},
		{"Jump", func(nodes []string) ch.Placement[string] { return must(ch.NewJump(nodes, nil)) }, true, 0},
		{"Ring", func(nodes []string) ch.Placement[string] { return must(ch.NewRing(nodes, nil)) }, false, 0},
		{"Rendezvous", func(nodes []string) ch.Placement[string] { return must(ch.NewRendezvous(nodes, nil)) }, false, 0},
		{"Maglev", func(nodes []string) ch.Placement[string] { return must(ch.NewMaglev(nodes, nil)) }, false, 1},
	} {
		spec := harness.Spec{
			Group: "Movement", Name: f.name + ", keys that move between nodes that stay, one of 100 leaves", Unit: "%",
			Bars: []harness.Bar{harness.AtMost(f.bar)},
		}
		s.Value(spec, func() []harness.Figure {
			nodes := nodeNames(100)
			gone := nodes[50]
			if f.last {
				gone = nodes[99]
			}
			p := f.make(nodes)
			_, between := moved(keys, ownerOf(p), ownerOf(must(p.Without(gone))), gone)
			figures := []harness.Figure{{Name: harness.Ours, Value: 100 * between}}
			if f.name == "Maglev" {
				figures = append(figures, harness.Figure{Name: "dgryski/go-maglev", Value: .59, Published: true})
			}
			return figures
		})
	}
}

// boundedLoads emits how even a Bounded is, and what that costs.
func boundedLoads(s *harness.Session) {
	keys := placementKeys(s.Pick(100_000, 100_000, 2_000))
	const epsilon = .05
	assign := func(p ch.Placement[string]) map[string]string {
		b := ch.NewBounded(p, &ch.BoundedOptions{Epsilon: epsilon})
		owners := map[string]string{}
		for _, key := range keys {
			lease, _ := b.Acquire(key)
			owners[key] = lease.Node()
		}
		return owners
	}
	p := must(ch.NewRendezvous(nodeNames(100), nil))
	s.Value(harness.Spec{
		Group: "Bounded", Name: "most leases over the average, ε = 0.05, 100 nodes", Unit: "×", Bars: []harness.Bar{harness.AtMost(1.051)},
	}, func() []harness.Figure {
		owners := assign(p)
		return []harness.Figure{{Name: harness.Ours, Value: peak(keys, 100, func(key string) string { return owners[key] })}}
	})
	s.Value(harness.Spec{
		Group: "Bounded", Name: "keys that change nodes over those of the node that left, ε = 0.05", Unit: "×", Bars: []harness.Bar{harness.AtMost(1.05)},
		Note: "published: the walk to the next point of a ring with 20, 100 and 1000 points",
	}, func() []harness.Figure {
		gone := nodeNames(100)[50]
		before, after := assign(p), assign(must(p.Without(gone)))
		all, had := 0, 0
		for _, key := range keys {
			if before[key] != after[key] {
				all++
			}
			if before[key] == gone {
				had++
			}
		}
		return []harness.Figure{
			{Name: harness.Ours, Value: float64(all) / float64(had)},
			{Name: "walk, 20 points", Value: 2, Published: true}, {Name: "walk, 100 points", Value: 1.54, Published: true}, {Name: "walk, 1000 points", Value: 1.08, Published: true},
		}
	})
}

// ringMemory emits what a ring of 1000 nodes keeps.
func ringMemory(s *harness.Session) {
	n := s.Pick(1000, 1000, 10)
	s.Value(harness.Spec{
		Group: "Memory", Name: "a ring of 1000 nodes × 100 points", Unit: "KB", Bars: []harness.Bar{harness.AtMost(1).Of("golang/groupcache", "serialx/hashring")},
	}, func() []harness.Figure {
		nodes := nodeNames(n)
		measure := func(name string, build func() any) harness.Figure {
			before := harness.Heap()
			built := build()
			f := harness.Figure{Name: name, Value: (harness.Heap() - before) / 1024}
			keep = built
			return f
		}
		return []harness.Figure{
			measure(harness.Ours, func() any { return must(ch.NewRing(nodes, &ch.Options[string]{Points: points})) }),
			measure("golang/groupcache", func() any { return newGroupcache(nodes) }),
			measure("serialx/hashring", func() any { return newSerialx(nodes) }),
		}
	})
}

var keep any // so that what is measured is not collected before that is over

var _ = &keep
