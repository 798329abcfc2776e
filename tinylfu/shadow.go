package tinylfu

import "math/bits"

// A shadow is a small cache of hashes without values that runs under a rule of
// its own, on the sampled keys only, to see what the rule would be worth.
type shadow struct {
	segments
	heads []uint32 // hash table: the first slot of each chain, 0 for none
	next  []uint32 // slot -> next of its chain
	shift int
	used  int
	score float64 // hits, older ones counting less
}

func newShadow(limit int, r rule) *shadow {
	s := &shadow{segments: newSegments(limit, r), next: make([]uint32, limit+1)}
	s.shift = 32 - bits.Len(uint(limit))
	s.heads = make([]uint32, 1<<(32-s.shift))
	s.Grow(limit)
	s.SetMarks(make([]uint32, limit+1))
	return s
}

// chain returns where the chain of hash begins.
func (s *shadow) chain(hash uint32) *uint32 { return &s.heads[hash*0x9e3779b1>>s.shift] }

// find returns the slot of hash, or 0.
func (s *shadow) find(hash uint32) uint32 {
	slot := *s.chain(hash)
	for slot != 0 && s.marks[slot] != hash {
		slot = s.next[slot]
	}
	return slot
}

// access looks hash up, stores it if it is missing, and counts a hit. It
// reports whether it was one.
func (s *shadow) access(hash uint32, uses *sketch) bool {
	slot := s.find(hash)
	if slot != 0 {
		s.score++
		s.hit(slot)
		return true
	}
	if s.used < s.limit {
		s.used++
		slot = uint32(s.used)
	} else {
		slot = s.victim(hash, uses)
		s.remove(slot)
		s.drop(slot)
	}
	first := s.chain(hash)
	s.next[slot] = *first
	*first = slot
	s.marks[slot] = hash
	s.insert(slot, hash)
	return false
}

// drop takes slot out of its chain.
func (s *shadow) drop(slot uint32) {
	at := s.chain(s.marks[slot])
	for *at != slot {
		at = &s.next[*at]
	}
	*at = s.next[slot]
}
