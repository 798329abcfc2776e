package tinylfu

import "github.com/ashlar-go/ashlar/internal/cachecore"

// policy is W-TinyLFU for one shard: segments under the rule that the tuner of
// all shards has found best, and a sketch that remembers how often keys were
// used, also those that are not in the cache.
type policy struct {
	segments
	uses  sketch
	tuner *tuner
	best  uint32 // the rule in use, as an index in candidates
}

func newPolicy(limit int64, t *tuner) cachecore.Policy {
	return &policy{segments: newSegments(int(limit), candidates[firstCandidate]), uses: newSketch(int(limit)), tuner: t, best: firstCandidate}
}

// count counts a use in the sketch and shows it to the tuner.
func (p *policy) count(hash uint64) {
	p.uses.add(hashBits(hash))
	if p.tuner.samples(hash) {
		p.tuner.access(hash)
	}
}

func (p *policy) Insert(slot uint32, hash uint64, _ int64) {
	p.count(hash)
	if best := p.tuner.best.Load(); best != p.best {
		p.best = best
		p.use(candidates[best])
	}
	p.insert(slot, hashBits(hash))
}

func (p *policy) Hit(slot uint32, hash uint64) {
	p.count(hash)
	p.hit(slot)
}

func (p *policy) Update(slot uint32, hash uint64, _ int64) { p.Hit(slot, hash) }

func (p *policy) Victim(hash uint64, _ int64) uint32 { return p.victim(hashBits(hash), &p.uses) }

func (p *policy) Remove(slot uint32) { p.remove(slot) }

func (p *policy) Move(from, to uint32) {
	p.Lists.Move(from, to)
	p.in[to] = p.in[from]
}

// Resize starts the sketch and the ghosts anew, since both are sized for the
// capacity.
func (p *policy) Resize(limit int64) {
	delta := int(limit) - p.limit
	if delta == 0 {
		return
	}
	p.limit = int(limit)
	p.ghosts = newGhosts(p.limit)
	p.uses = newSketch(p.limit)
	p.use(p.rule)
	p.tuner.resize(delta)
}

func (p *policy) Clear() {
	p.segments.Clear()
	p.uses.clear()
}

// Ascend visits the main part before the window, as a filling cache would
// have met them.
func (p *policy) Ascend(visit func(uint32) bool) {
	_ = p.Backward(probation, visit) && p.Backward(window, visit) && p.Backward(protected, visit)
}

func (p *policy) Descend(visit func(uint32) bool) {
	_ = p.Forward(protected, visit) && p.Forward(window, visit) && p.Forward(probation, visit)
}

// Weight and SetWeight carry the estimates of the sketch through a snapshot.
func (p *policy) Weight(_ uint32, hash uint64) uint64 { return uint64(p.uses.estimate(hashBits(hash))) }

func (p *policy) SetWeight(slot uint32, hash uint64, uses uint64) {
	for h := hashBits(hash); uint64(p.uses.estimate(h)) < min(uses, maxCount); {
		p.uses.add(h)
	}
	if uses > 1 {
		p.hit(slot)
	}
}
