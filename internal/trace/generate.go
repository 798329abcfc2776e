package trace

import (
	"math"
	"math/rand/v2"
)

// Zipf returns n accesses to universe keys, of which the k-th is asked for in
// proportion to 1/k^skew, about: the distribution is drawn from as if it were
// continuous. The same arguments give the same trace, here and in the other
// generators.
func Zipf(seed uint64, n, universe int, skew float64) *Trace {
	r := rand.New(rand.NewPCG(seed, 1))
	t := &Trace{Name: "zipf", Keys: make([]uint64, n)}
	for i := range t.Keys {
		t.Keys[i] = scatter(rank(r, universe, skew))
	}
	return t
}

// rank draws a number below universe by inversion.
func rank(r *rand.Rand, universe int, skew float64) uint64 {
	var x float64
	if skew == 1 {
		x = math.Pow(float64(universe+1), r.Float64())
	} else {
		top := math.Pow(float64(universe+1), 1-skew)
		x = math.Pow(1+r.Float64()*(top-1), 1/(1-skew))
	}
	return min(uint64(universe), max(1, uint64(x))) - 1
}

// scatter hides the rank of a key.
func scatter(rank uint64) uint64 { return (rank + 1) * 0x9e3779b97f4a7c15 >> 8 }

// Loop returns n accesses that go round and round over length keys.
func Loop(n, length int) *Trace {
	t := &Trace{Name: "loop", Keys: make([]uint64, n)}
	for i := range t.Keys {
		t.Keys[i] = uint64(i%length) + 1<<40
	}
	return t
}

// Phases returns n accesses like those of [Zipf] whose favourites change all
// at once: in each of the phases, which are equally long, other keys of the
// universe are popular.
func Phases(seed uint64, n, universe int, skew float64, phases int) *Trace {
	r := rand.New(rand.NewPCG(seed, 4))
	t := &Trace{Name: "phases", Keys: make([]uint64, n)}
	for i := range t.Keys {
		phase := uint64(i) * uint64(phases) / uint64(n)
		shift := phase * uint64(universe) / uint64(phases)
		t.Keys[i] = scatter((rank(r, universe, skew) + shift) % uint64(universe))
	}
	return t
}

// Scans returns n accesses like those of [Zipf], interrupted after every
// interval of them by length accesses to new keys.
func Scans(seed uint64, n, universe int, skew float64, interval, length int) *Trace {
	r := rand.New(rand.NewPCG(seed, 5))
	t := &Trace{Name: "scans", Keys: make([]uint64, n)}
	fresh := uint64(1 << 41)
	for i := range t.Keys {
		if i%(interval+length) >= interval {
			fresh++
			t.Keys[i] = fresh
			continue
		}
		t.Keys[i] = scatter(rank(r, universe, skew))
	}
	return t
}

// Mixed returns n accesses as a shop and its database might see them: keys of
// skewed popularity whose favourites drift, returns to what was used just now,
// scans that read many keys once, and a report that loops. Sizes are those of
// [Lognormal] with a median of 3 kB.
func Mixed(seed uint64, n int) *Trace {
	const universe = 40000
	r := rand.New(rand.NewPCG(seed, 2))
	t := &Trace{Name: "mixed", Keys: make([]uint64, n)}
	shift, scan, loop := uint64(0), 0, 0
	fresh := uint64(1 << 41)
	var recent [64]uint64
	for i := range t.Keys {
		if r.IntN(300) == 0 {
			shift++
		}
		if scan == 0 && r.IntN(40000) == 0 {
			scan = 4000
		}
		if loop == 0 && r.IntN(60000) == 0 {
			loop = 9000
		}
		var key uint64
		switch x := r.IntN(10); {
		case scan > 0 && x < 6:
			scan--
			fresh++
			key = fresh
		case loop > 0 && x < 5:
			loop--
			key = 1<<42 + uint64(loop%1500)
		case x < 2 && i > len(recent):
			key = recent[r.IntN(len(recent))]
		default:
			key = scatter((rank(r, universe, 0.9) + shift) % universe)
		}
		recent[i%len(recent)] = key
		t.Keys[i] = key
	}
	t.Sizes = Lognormal(seed, t.Keys, 3000, 1.2)
	return t
}

// Lognormal returns a size for each access, which depends on seed and key
// alone. The logarithms of the sizes of keys are normally distributed around
// that of median, in bytes, with the standard deviation sigma. All are from 1
// to 2^32-1.
func Lognormal(seed uint64, keys []uint64, median, sigma float64) []uint32 {
	sizes := make([]uint32, len(keys))
	var source rand.PCG
	r := rand.New(&source)
	for i, key := range keys {
		source.Seed(seed, mix(key+1))
		sizes[i] = uint32(min(math.MaxUint32, max(1, median*math.Exp(sigma*r.NormFloat64()))))
	}
	return sizes
}
