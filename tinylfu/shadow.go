package tinylfu

// A shadow is a small cache of hashes without values that runs under a rule of
// its own, on the sampled keys only, to see what the rule would be worth.
type shadow struct {
	segments
	table []uint32 // open addressing by hash, 0 is empty
	used  int
	score float64 // hits, older ones counting less
}

func newShadow(limit int, r rule) *shadow {
	s := &shadow{segments: newSegments(limit, r)}
	s.table = make([]uint32, limit+limit/3+2)
	s.Grow(limit)
	s.SetMarks(make([]uint32, limit+1))
	return s
}

func (s *shadow) home(hash uint32) int {
	return int(uint64(hash*0x9e3779b1) * uint64(len(s.table)) >> 32)
}

// find returns the slot of hash, or 0, and where in the table it is or would
// be.
func (s *shadow) find(hash uint32) (slot uint32, at int) {
	for at = s.home(hash); s.table[at] != 0; at = s.next(at) {
		if s.marks[s.table[at]] == hash {
			return s.table[at], at
		}
	}
	return 0, at
}

func (s *shadow) next(at int) int {
	if at++; at == len(s.table) {
		return 0
	}
	return at
}

// access looks hash up, stores it if it is missing, and counts a hit.
func (s *shadow) access(hash uint32, uses *sketch) {
	slot, at := s.find(hash)
	if slot != 0 {
		s.score++
		s.hit(slot)
		return
	}
	if s.used < s.limit {
		s.used++
		slot = uint32(s.used)
	} else {
		slot = s.victim(hash, uses)
		s.remove(slot)
		s.drop(slot)
		_, at = s.find(hash)
	}
	s.table[at] = slot
	s.marks[slot] = hash
	s.insert(slot, hash)
}

// drop takes slot out of the table and closes the gap.
func (s *shadow) drop(slot uint32) {
	at := s.home(s.marks[slot])
	for s.table[at] != slot {
		at = s.next(at)
	}
	for probe := s.next(at); s.table[probe] != 0; probe = s.next(probe) {
		// An entry may move into the gap unless its home lies between.
		home := s.home(s.marks[s.table[probe]])
		if (probe-home+len(s.table))%len(s.table) >= (probe-at+len(s.table))%len(s.table) {
			s.table[at] = s.table[probe]
			at = probe
		}
	}
	s.table[at] = 0
}
