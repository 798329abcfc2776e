package tinylfu

import "github.com/ashlar-go/ashlar/internal/cachecore"

// The lists of a cache, and the segment that a slot is in.
const (
	window uint32 = iota
	probation
	protected
)

// A rule is one way to run the cache: the candidates that the tuner compares.
type rule struct {
	window float64 // share of the capacity that is the window
	ghosts bool    // a key that was evicted lately skips the window
	ties   bool    // a newcomer that is used as often as the victim wins
}

// segments are the lists that W-TinyLFU keeps, over slots that hold keys known
// by the high halves of their hashes:
//
//	new --> window --(used more than the victim?)--> probation <--> protected
//	           |  no                                     |
//	           v                                         v
//	        evicted                                   evicted
//
// Each list has its most recent slot at the front. The caller says when a slot
// is new, used or gone; segments says which one to give up. The cache itself
// and each of the tuner's shadows are segments.
//
// Invariants: every slot in use is in the list that its segment names; size
// counts the lists; at most protectedMax slots are protected, and the window
// holds at most windowMax once settled.
type segments struct {
	cachecore.Lists
	marks  []uint32 // slot -> high half of the hash; owned by whoever owns the keys
	in     []uint8  // slot -> segment
	size   [3]int
	ghosts ghosts
	rule   rule
	limit  int
	windowMax,
	protectedMax int
	random uint32
}

const (
	protectedShare = 0.8
	// A newcomer that lost is let in all the same once in a while if it was
	// used at least this often: else a flood of keys that an attacker made
	// popular once could keep everybody out (Manes, Caffeine).
	luckyUses = 6
	luckyMask = 127
	// settleSteps bounds how many slots one call moves when the window is
	// given another size.
	settleSteps = 8
)

func newSegments(limit int, r rule) segments {
	s := segments{Lists: cachecore.NewLists(3), limit: limit, ghosts: newGhosts(limit), random: 2463534242}
	s.use(r)
	return s
}

// use changes the rule. The lists get their new sizes a few slots at a time.
func (s *segments) use(r rule) {
	s.rule = r
	s.windowMax = min(s.limit, max(1, int(r.window*float64(s.limit)+.5)))
	s.protectedMax = int(protectedShare * float64(s.limit-s.windowMax))
}

func (s *segments) Grow(slots int) {
	s.Lists.Grow(slots)
	in := make([]uint8, slots+1)
	copy(in, s.in)
	s.in = in
}

func (s *segments) Clear() {
	s.Lists.Clear()
	s.size = [3]int{}
	s.ghosts.clear()
}

// SetMarks sets where the marks are. See cachecore.Marked.
func (s *segments) SetMarks(marks []uint32) { s.marks = marks }

// hashBits are the bits of a hash that the policy works with: its mark.
func hashBits(hash uint64) uint32 { return uint32(hash >> 32) }

// insert puts a new slot, whose mark is hash, where its key belongs.
func (s *segments) insert(slot, hash uint32) {
	segment := window
	if s.rule.ghosts && s.ghosts.has(hash) {
		segment = probation
		s.ghosts.forget(hash)
	} else {
		for s.size[window] > 0 && s.size[window] >= s.windowMax {
			s.shift(s.Back(window), probation)
		}
	}
	s.in[slot] = uint8(segment)
	s.PushFront(segment, slot)
	s.size[segment]++
	s.settle()
}

// hit moves a slot that was used.
func (s *segments) hit(slot uint32) {
	segment := uint32(s.in[slot])
	if segment != probation {
		s.MoveToFront(segment, slot)
		return
	}
	s.shift(slot, protected)
	if s.size[protected] > s.protectedMax {
		s.shift(s.Back(protected), probation)
	}
}

// shift moves slot to the front of another segment.
func (s *segments) shift(slot, segment uint32) {
	s.size[s.in[slot]]--
	s.size[segment]++
	s.in[slot] = uint8(segment)
	s.MoveToFront(segment, slot)
}

// settle moves a few slots towards the sizes that the rule asks for. Slots keep
// the order that they are in: where the window ends, the protected begin, and
// then those on probation.
func (s *segments) settle() {
	for range settleSteps {
		short := s.size[window] < s.windowMax && s.size[window]+s.size[probation]+s.size[protected] >= s.limit
		switch {
		case short && s.size[protected] > s.protectedMax:
			s.append(s.Front(protected), window)
		case short && s.size[probation] > 0:
			s.append(s.Front(probation), window)
		case s.size[protected] > s.protectedMax:
			s.shift(s.Back(protected), probation)
		case s.size[window] > s.windowMax:
			s.shift(s.Back(window), probation)
		default:
			return
		}
	}
}

// append moves slot to the back of another segment.
func (s *segments) append(slot, segment uint32) {
	s.size[s.in[slot]]--
	s.size[segment]++
	s.in[slot] = uint8(segment)
	s.Remove(slot)
	s.PushBack(segment, slot)
}

// remove takes slot out.
func (s *segments) remove(slot uint32) {
	s.size[s.in[slot]]--
	s.Remove(slot)
}

// victim chooses the slot that makes room for a key with this hash, and
// remembers its key among the ghosts.
func (s *segments) victim(hash uint32, uses *sketch) uint32 {
	slot := s.choose(hash, uses)
	s.ghosts.add(s.marks[slot])
	return slot
}

func (s *segments) choose(hash uint32, uses *sketch) uint32 {
	newcomer, old := s.Back(window), s.Back(probation)
	if old == 0 {
		old = s.Back(protected)
	}
	switch {
	case old == 0:
		return newcomer
	case newcomer == 0:
		return old
	case s.size[window] < s.windowMax:
		return old
	case s.rule.ghosts && s.size[window] == s.windowMax && s.ghosts.has(hash):
		return old // the key goes to the main part and leaves the window alone
	case !s.admit(s.marks[newcomer], s.marks[old], uses):
		return newcomer
	}
	s.shift(newcomer, probation)
	return old
}

// admit reports whether the newcomer should stay rather than the old key.
func (s *segments) admit(newcomer, old uint32, uses *sketch) bool {
	n, o := uses.estimate(newcomer), uses.estimate(old)
	if n != o || s.rule.ties {
		return n >= o || n >= luckyUses && s.lucky()
	}
	return n >= luckyUses && s.lucky()
}

// lucky is true once in luckyMask+1 times.
func (s *segments) lucky() bool {
	s.random ^= s.random << 13
	s.random ^= s.random >> 17
	s.random ^= s.random << 5
	return s.random&luckyMask == 0
}
