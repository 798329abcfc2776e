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
	// After so many uses shown to the shadows they are shown the sure keys
	// again, so that what is used all the time does not grow old in them.
	sureFor = 16
)

// A tuner runs a shadow of the cache under every candidate, on a sample of the
// keys, and tells all shards which rule does best. Two more shadows run at
// half and at twice the capacity.
//
// Where few keys get most of the uses, as is usual, one of these may be among
// the sampled ones. It would have every shadow find it, again and again, and
// teach nothing: the rules do not differ in keys that are used all the time.
// So the last few keys that all shadows had are sure hits, which are only
// counted.
type tuner struct {
	best atomic.Uint32 // index in candidates
	// mask chooses the sampled keys.
	mask atomic.Uint64
	sure [4]atomic.Uint32 // keys that all shadows had, 0 for none

	_ [88]byte // keeps what every use reads apart from what the sampled ones write

	hits     atomic.Uint32 // of sure keys, to be added to seen, accesses and all scores
	mu       sync.Mutex
	shown    uint // uses shown to the shadows
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
	t.hits.Store(0)
	t.doubt()
}

// doubt makes all keys be shown to the shadows again.
func (t *tuner) doubt() {
	for i := range t.sure {
		t.sure[i].Store(0)
	}
}

// samples reports whether the key with this hash is one that shadows see.
func (t *tuner) samples(hash uint64) bool { return hash>>20&t.mask.Load() == 0 }

// access runs a use of a sampled key through the shadows.
func (t *tuner) access(hash uint64) {
	h := hashBits(hash)
	for i := range t.sure {
		if t.sure[i].Load() == h && h != 0 {
			t.hits.Add(1)
			return
		}
	}
	if !t.mu.TryLock() {
		return // nobody waits, with the lock of a shard, to be watched
	}
	defer t.mu.Unlock()
	t.uses.add(h)
	all := true
	for _, s := range t.shadows {
		all = s.access(h, &t.uses) && all
	}
	if t.shown++; t.shown%sureFor == 0 {
		t.doubt()
	}
	if all {
		t.sure[t.shown%uint(len(t.sure))].Store(h)
	}
	hits := t.hits.Swap(0)
	for _, s := range t.shadows {
		s.score += float64(hits)
	}
	t.accesses += 1 + float64(hits)
	if t.seen += 1 + int(hits); t.seen*decisions >= t.shadows[0].limit {
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
