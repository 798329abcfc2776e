package trace

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lru"
)

// bruteForce tries, after every access, every set of keys that a cache could
// hold. Keys are below 32.
func bruteForce(keys []uint64, capacity int) int {
	best := map[uint32]int{0: 0} // by what is held: most hits so far
	for _, key := range keys {
		next := map[uint32]int{}
		for held, hits := range best {
			bit := uint32(1) << key
			if held&bit != 0 {
				hits++
			}
			// What may be held next is any part of what is at hand.
			hand := held | bit
			for part := hand; ; part = (part - 1) & hand {
				if bits.OnesCount32(part) <= capacity {
					next[part] = max(next[part], hits)
				}
				if part == 0 {
					break
				}
			}
		}
		best = next
	}
	most := 0
	for _, hits := range best {
		most = max(most, hits)
	}
	return most
}

func TestOptimumIsThatOfBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		keys := make([]uint64, r.IntN(16))
		for i := range keys {
			keys[i] = r.Uint64N(6)
		}
		oracle := NewOracle(keys)
		for capacity := range 7 {
			if got, want := oracle.Hits(capacity), bruteForce(keys, capacity); got != want {
				t.Fatalf("Hits of %v at %d = %d, want %d", keys, capacity, got, want)
			}
		}
	}
	require.Zero(t, Optimum([]uint64{1, 1}, -1))
}

func TestIndexSet(t *testing.T) {
	for _, n := range []int{1, 64, 65, 4096, 4097, 300000} {
		s, twin := newIndexSet(n), map[uint32]bool{}
		r := rand.New(rand.NewPCG(uint64(n), 2))
		for range 500 {
			i := uint32(r.IntN(n))
			if r.IntN(3) > 0 {
				s.add(i)
				twin[i] = true
			} else {
				s.remove(i)
				delete(twin, i)
			}
			if s.has(i) != twin[i] {
				t.Fatalf("n=%d: has(%d) = %v", n, i, s.has(i))
			}
			largest := uint32(0)
			for j := range twin {
				largest = max(largest, j)
			}
			if len(twin) > 0 && s.max() != largest {
				t.Fatalf("n=%d: max = %d, want %d", n, s.max(), largest)
			}
		}
	}
}

// The published optimum of real traces, in hundredths of a percent.
func TestOptimumOfPublishedTraces(t *testing.T) {
	if len(Names()) == 0 {
		t.Skip("the shared traces are not there")
	}
	for _, row := range []struct {
		name     string
		capacity int
		optimum  string
		lru      string
	}{
		{"arc-oltp", 1868, "59.76", "41.63"}, {"arc-oltp", 37376, "79.14", "71.97"},
		{"corda-vault", 904, "33.33", "33.33"}, {"lirs-sprite", 70, "42.32", "16.33"}, {"lirs-gli", 1264, "57.54", "21.25"},
		{"webcdn-adaptsize", 1840, "42.93", "30.95"}, {"cache2k-web12", 137, "58.50", "39.70"},
		{Composite, 512, "44.53", "11.64"}, {Composite, 2048, "76.71", "76.58"},
	} {
		tr, err := Load(row.name)
		require.NoError(t, err)
		percent := func(hits int) string { return fmt.Sprintf("%.2f", 100*float64(hits)/float64(len(tr.Keys))) }
		if got := percent(Optimum(tr.Keys, row.capacity)); got != row.optimum {
			t.Errorf("the optimum of %s at %d is %s, published %s", row.name, row.capacity, got, row.optimum)
		}
		if got := percent(LRUCurve(tr.Keys, []int{row.capacity})[0]); got != row.lru {
			t.Errorf("LRU on %s at %d has %s, published %s", row.name, row.capacity, got, row.lru)
		}
	}
}

func TestLRUCurveIsThatOfReplays(t *testing.T) {
	capacities := []int{-1, 0, 1, 2, 10, 100, 999, 100000}
	for _, tr := range []*Trace{Mixed(1, 20000), Loop(5000, 100), Zipf(3, 20000, 3000, 0.8), {Keys: []uint64{}}, {Keys: []uint64{1}}} {
		curve := LRUCurve(tr.Keys, capacities)
		for i, capacity := range capacities {
			want := 0
			if capacity > 0 {
				c := lru.New(capacity, &lru.Options[uint64, struct{}]{Shards: 1})
				for _, key := range tr.Keys {
					if _, ok := c.Get(key); !ok {
						c.Put(key, struct{}{})
					}
				}
				want = int(c.Stats().Hits)
			}
			if curve[i] != want {
				t.Errorf("%s at %d: %d hits, want %d", tr.Name, capacity, curve[i], want)
			}
		}
	}
}

func TestBound(t *testing.T) {
	// With one size for all, no bound may be below the optimum, and with room
	// for everything it is exact.
	tr := &Trace{Keys: Mixed(2, 20000).Keys}
	unique, _ := tr.Unique()
	for _, capacity := range []int{1, 10, 100, 1000, unique} {
		hits, bytes := tr.Bound(int64(capacity))
		if optimum := Optimum(tr.Keys, capacity); hits < optimum || int64(hits) != bytes {
			t.Errorf("at %d the bound is %d hits and %d bytes, the optimum %d", capacity, hits, bytes, optimum)
		}
	}
	hits, _ := tr.Bound(int64(unique))
	require.Equal(t, len(tr.Keys)-unique, hits)

	// An entry larger than the cache never hits; a smaller one does.
	sized := &Trace{Keys: []uint64{1, 1, 2, 2}, Sizes: []uint32{100, 100, 5, 5}}
	hits, bytes := sized.Bound(50)
	require.Equal(t, 1, hits)
	require.Equal(t, int64(5), bytes)
}

// Against all decisions that a cache with sizes could take.
func TestBoundIsAboveBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		tr := &Trace{Keys: make([]uint64, 12), Sizes: make([]uint32, 12)}
		for i := range tr.Keys {
			tr.Keys[i] = r.Uint64N(5)
			tr.Sizes[i] = uint32(tr.Keys[i]*tr.Keys[i] + 1)
		}
		for _, capacity := range []int64{1, 5, 12, 20} {
			hits, bytes := tr.Bound(capacity)
			mostHits, mostBytes := bruteForceSized(tr, capacity)
			if hits < mostHits || bytes < mostBytes {
				t.Fatalf("Bound(%d) of %v = %d, %d, but %d, %d can be had", capacity, tr.Keys, hits, bytes, mostHits, mostBytes)
			}
		}
	}
}

// bruteForceSized is bruteForce with sizes, which depend on the key alone.
func bruteForceSized(tr *Trace, capacity int64) (hits int, bytes int64) {
	type score struct {
		hits  int
		bytes int64
	}
	size := map[int]int64{}
	for i, key := range tr.Keys {
		size[int(key)] = int64(tr.Sizes[i])
	}
	best := map[uint32]score{0: {}}
	for _, key := range tr.Keys {
		next := map[uint32]score{}
		for held, s := range best {
			bit := uint32(1) << key
			if held&bit != 0 {
				s.hits++
				s.bytes += size[int(key)]
			}
			hand := held | bit
			for part := hand; ; part = (part - 1) & hand {
				sum := int64(0)
				for k := range 32 {
					if part>>k&1 != 0 {
						sum += size[k]
					}
				}
				if sum <= capacity {
					// The two bests need not come from the same decisions.
					n := next[part]
					next[part] = score{max(n.hits, s.hits), max(n.bytes, s.bytes)}
				}
				if part == 0 {
					break
				}
			}
		}
		best = next
	}
	for _, s := range best {
		hits, bytes = max(hits, s.hits), max(bytes, s.bytes)
	}
	return hits, bytes
}

func TestGeneratorsRepeatThemselves(t *testing.T) {
	for name, make := range map[string]func(seed uint64) *Trace{
		"zipf":   func(s uint64) *Trace { return Zipf(s, 5000, 500, 0.9) },
		"zipf 1": func(s uint64) *Trace { return Zipf(s, 5000, 500, 1) },
		"phases": func(s uint64) *Trace { return Phases(s, 5000, 500, 0.9, 3) },
		"scans":  func(s uint64) *Trace { return Scans(s, 5000, 500, 0.9, 900, 100) },
		"mixed":  func(s uint64) *Trace { return Mixed(s, 5000) },
	} {
		a, b, c := make(1), make(1), make(2)
		if !slices.Equal(a.Keys, b.Keys) || !slices.Equal(a.Sizes, b.Sizes) {
			t.Errorf("%s: two traces of one seed differ", name)
		}
		if slices.Equal(a.Keys, c.Keys) {
			t.Errorf("%s: the seed changes nothing", name)
		}
		if len(a.Keys) != 5000 {
			t.Errorf("%s: %d accesses", name, len(a.Keys))
		}
	}
}

func TestGeneratorsAreWhatTheySay(t *testing.T) {
	counts := func(keys []uint64) []int {
		byKey := map[uint64]int{}
		for _, key := range keys {
			byKey[key]++
		}
		var list []int
		for _, n := range byKey {
			list = append(list, -n)
		}
		slices.Sort(list)
		return list
	}
	for _, skew := range []float64{0.7, 1, 1.2} {
		c := counts(Zipf(1, 200000, 1000, skew).Keys)
		require.LessOrEqual(t, len(c), 1000)
		require.Greater(t, len(c), 900, "some keys never come up")
		// Twice the rank, 2^skew times rarer; over a range of ranks, as single
		// ones are coarse.
		sum := func(from, to int) (n float64) {
			for _, v := range c[from:to] {
				n -= float64(v)
			}
			return n
		}
		ratio := sum(50, 100) / sum(100, 200) * 2
		if want := math.Pow(2, skew); ratio < want*0.9 || ratio > want*1.1 {
			t.Errorf("skew %v: ranks 50 to 100 are asked for %.2f times as often as 100 to 200, want %.2f", skew, ratio, want)
		}
	}
	require.Equal(t, []int{0, 1, 2, 0, 1}, func() (list []int) {
		for _, key := range Loop(5, 3).Keys {
			list = append(list, int(key-1<<40))
		}
		return list
	}())
	scans := Scans(1, 1000, 10, 0.9, 90, 10)
	require.Len(t, counts(scans.Keys), 10+100)

	sizes := Lognormal(1, Zipf(1, 100000, 50000, 0.7).Keys, 3000, 1.2)
	slices.Sort(sizes)
	if median := sizes[len(sizes)/2]; median < 2000 || median > 4500 {
		t.Errorf("the median size is %d, want about 3000", median)
	}
}

func BenchmarkOptimum(b *testing.B) {
	keys := Mixed(1, 600_000).Keys
	oracle := NewOracle(keys)
	for b.Loop() {
		oracle.Hits(5000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(keys)), "ns/access")
}
