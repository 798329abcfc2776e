package tinylfu

import (
	"sync"
	"sync/atomic"
)

// candidates are the rules to choose from. They differ in how much room
// recency gets against frequency, from a scan-proof cache to plain LRU.
var candidates = []rule{
	{window: 0.01},
	{window: 0.01, ghosts: true},
	{window: 0.01, ties: true},
	{window: 0.1},
	{window: 0.1, ghosts: true},
	{window: 0.3},
	{window: 0.3, ghosts: true},
	{window: 0.6},
	{window: 0.6, ghosts: true},
	{window: 1},
}

const (
	firstCandidate = 4
	// minShadow is how many entries a shadow has at least, as long as the
	// cache has as many. Of coarse keys one is sampled, and fewer only if
	// shadows of largeShadow entries are left.
	minShadow   = 128
	coarse      = 32
	largeShadow = 1024
	// In a turn, as many uses as a shadow has entries, there are some
	// decisions, at each of which scores fade by decay. What is remembered
	// then comes to that of memory turns.
	decisions = 4
	decay     = 0.98726 // 0.95 a turn
	memory    = 20
	// Another rule takes over when it would have saved lead of the misses,
	// and patience of a turn as long as nothing is remembered: to change
	// costs about that many, and the first turns may say little of those to
	// come.
	lead     = 0.01
	patience = 0.3
)

// A tuner runs a shadow of the cache under every candidate, on a sample of the
// keys, and tells all shards which rule does best. Two more shadows run at
// half and at twice the capacity.
type tuner struct {
	best atomic.Uint32 // index in candidates
	// mask chooses the sampled keys.
	mask atomic.Uint64

	mu       sync.Mutex
	limit    int
	uses     sketch
	shadows  []*shadow
	seen     int
	accesses float64 // sampled, older ones counting less
}

func newTuner(capacity int) *tuner {
	t := &tuner{}
	t.best.Store(firstCandidate)
	t.resize(capacity)
	return t
}

// resize starts the shadows anew for another capacity.
func (t *tuner) resize(delta int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit += delta
	sampling := 1
	for least := minShadow; t.limit/(2*sampling) >= least; {
		if sampling *= 2; sampling >= coarse {
			least = largeShadow
		}
	}
	t.mask.Store(uint64(sampling - 1))
	limit := max(1, t.limit/sampling)
	t.uses = newSketch(2 * limit)
	t.uses.period = sampleFactor * limit
	t.shadows = t.shadows[:0]
	for _, r := range candidates {
		t.shadows = append(t.shadows, newShadow(limit, r))
	}
	curve := candidates[firstCandidate]
	t.shadows = append(t.shadows, newShadow(max(1, limit/2), curve), newShadow(2*limit, curve))
	t.seen, t.accesses = 0, 0
}

// samples reports whether the key with this hash is one that shadows see.
func (t *tuner) samples(hash uint64) bool { return hash>>20&t.mask.Load() == 0 }

// access runs a use of a sampled key through the shadows.
func (t *tuner) access(hash uint64) {
	h := hashBits(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uses.add(h)
	for _, s := range t.shadows {
		s.access(h, &t.uses)
	}
	t.accesses++
	if t.seen++; t.seen*decisions >= t.shadows[0].limit {
		t.seen = 0
		t.choose()
	}
}

// choose takes the rule with the best score and lets scores fade.
func (t *tuner) choose() {
	best := int(t.best.Load())
	current := t.shadows[best].score
	for i := range candidates {
		if t.shadows[i].score > t.shadows[best].score {
			best = i
		}
	}
	turn := float64(t.shadows[0].limit)
	if t.shadows[best].score > current+lead*(t.accesses-current)+patience*max(0, turn-t.accesses/memory) {
		t.best.Store(uint32(best))
	}
	for _, s := range t.shadows {
		s.score *= decay
	}
	t.accesses *= decay
}

// predictions are what Curve returns.
func (t *tuner) predictions() []Point {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accesses < float64(t.shadows[0].limit) {
		return nil
	}
	n := len(candidates)
	best := t.shadows[t.best.Load()].score
	reference := max(t.shadows[firstCandidate].score, 1)
	point := func(capacity int, score float64) Point {
		return Point{Capacity: capacity, HitRatio: min(1, score/t.accesses)}
	}
	// The two other shadows run the first candidate: what they say is scaled
	// by how much better the rule in force does than that.
	return []Point{
		point(t.limit/2, t.shadows[n].score*best/reference),
		point(t.limit, best),
		point(2*t.limit, max(best, t.shadows[n+1].score)),
	}
}
