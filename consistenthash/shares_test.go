package consistenthash

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// share returns the greatest part of keys on a node, times the number of
// nodes, and chi-square against the weights.
func share(p Placement[string], hashes []uint64) (peak, chi float64) {
	counts := map[string]int{}
	for _, h := range hashes {
		node, _ := p.OwnerHash(h)
		counts[node]++
	}
	total := 0.0
	for _, w := range p.Nodes() {
		total += w
	}
	for node, w := range p.Nodes() {
		want := float64(len(hashes)) * w / total
		got := float64(counts[node])
		peak = max(peak, got/want)
		chi += (got - want) * (got - want) / want
	}
	return peak, chi
}

// The shares that constructors promise.
func TestShares(t *testing.T) {
	if race {
		t.Skip("many keys, and nothing to race for")
	}
	many := make([]uint64, 1_000_000)
	for i := range many {
		many[i] = Hash(fmt.Sprintf("key-%d", i))
	}
	each(t, nil, func(t *testing.T, f family) {
		for _, test := range []struct {
			n          int
			even, ring float64
		}{{10, 1.01, 1.4}, {100, 1.04, 1.4}, {1000, 1.13, 1.4}} {
			limit := test.even
			if f.name == "ring" {
				limit = test.ring
			}
			p := must(f.make(names(test.n), nil))
			peak, chi := share(p, many)
			t.Logf("%d nodes: peak %.4f, chi-square %.0f", test.n, peak, chi)
			if peak > limit && f.name != "modulo" { // which promises nothing
				t.Errorf("%d nodes: peak of %v times the average, want at most %v", test.n, peak, limit)
			}
			// Maglev's table adds up to a half entry in 65 to each share.
			if random := float64(test.n - 1); f.even && f.name != "maglev" && chi > random+5*math.Sqrt(2*random) {
				t.Errorf("%d nodes: chi-square is %v", test.n, chi)
			}
		}
	})
	for _, n := range []int{10, 100, 1000} {
		peak, _ := share(must(NewRing(names(n), &Options[string]{Points: 1000})), many)
		t.Logf("ring of 1000 points, %d nodes: peak %.4f", n, peak)
		if limit := 1.15 + .1*float64(n/1000); peak > limit {
			t.Errorf("ring of 1000 points, %d nodes: peak of %v", n, peak)
		}
	}
}

// OwnerHash does well with numbers that are no hashes.
func TestSerialNumbers(t *testing.T) {
	for _, shift := range []int{0, 20, 40} {
		serial := make([]uint64, 100_000)
		for i := range serial {
			serial[i] = uint64(i) << shift
		}
		each(t, func(f family) bool { return f.name != "modulo" }, func(t *testing.T, f family) {
			for _, n := range []int{3, 16, 100} {
				peak, chi := share(must(f.make(names(n), nil)), serial)
				if peak > 1.4 {
					t.Errorf("%d nodes, steps of 2^%d: peak of %v", n, shift, peak)
				}
				if random := float64(n - 1); f.even && chi > random+6*math.Sqrt(2*random) {
					t.Errorf("%d nodes, steps of 2^%d: chi-square is %v", n, shift, chi)
				}
			}
		})
	}
}

// Nodes get keys, first and second, in proportion to their weights, and a
// weight that changes moves keys to or from that node alone.
func TestWeights(t *testing.T) {
	weights := map[string]float64{"node-0": 1, "node-1": 2, "node-2": 4, "node-3": .5, "node-4": 2.5}
	hashes := make([]uint64, 200_000)
	for i := range hashes {
		hashes[i] = mix(uint64(i))
	}
	each(t, func(f family) bool { return f.weighted }, func(t *testing.T, f family) {
		opts := &Options[string]{Weight: func(node string) float64 { return weights[node] }, Points: 1000}
		p := must(f.make(names(5), opts))
		for node, w := range p.Nodes() {
			require.Equal(t, weights[node], w)
		}
		counts, second := map[string]float64{}, map[string]float64{}
		for _, h := range hashes {
			n := 0
			for node := range p.OwnersHash(h) {
				if n++; n == 1 {
					counts[node]++
					continue
				}
				second[node]++
				break
			}
		}
		for node, w := range weights {
			want := w / 10
			next := 0.0 // the chance of being second
			for other, o := range weights {
				if other != node {
					next += o / 10 * w / (10 - o)
				}
			}
			slack := .02
			if f.name == "ring" {
				slack = .1
			}
			if got := counts[node] / float64(len(hashes)); math.Abs(got/want-1) > slack {
				t.Errorf("%s of weight %v has %v of the keys, want %v", node, w, got, want)
			}
			if got := second[node] / float64(len(hashes)); math.Abs(got/next-1) > slack {
				t.Errorf("%s of weight %v is second for %v of the keys, want %v", node, w, got, next)
			}
		}
		heavier := must(f.make(names(5), &Options[string]{Points: 1000, Weight: func(node string) float64 {
			if node == "node-3" {
				return 1
			}
			return weights[node]
		}}))
		for move := range Diff(p, heavier, slices.Values(keys(10_000))) {
			if f.stable && move.To != "node-3" {
				t.Fatalf("%q moved from %s to %s", move.Key, move.From, move.To)
			}
		}
	})
}

// Placements with different seeds have nothing to do with each other.
func TestSeed(t *testing.T) {
	each(t, func(f family) bool { return f.name != "modulo" }, func(t *testing.T, f family) {
		outer := must(f.make(names(10), nil))
		inner := must(f.make(names(10), &Options[string]{Seed: 1}))
		counts := map[string]int{}
		n := 0
		for _, key := range keys(20_000) {
			if owner(outer, key) == "node-3" {
				counts[owner(inner, key)]++
				n++
			}
		}
		for node, got := range counts {
			if want := float64(n) / 10; math.Abs(float64(got)-want) > .5*want {
				t.Errorf("of %d keys on one node, %d are on %s under another seed", n, got, node)
			}
		}
		require.Len(t, counts, 10)
	})
}
