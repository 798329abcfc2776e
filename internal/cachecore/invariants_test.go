package cachecore

import "fmt"

// CheckInvariants verifies what shard and table promise of their insides.
func (c *Cache[K, V]) CheckInvariants() error {
	total := int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.lock()
		err := s.check()
		total += s.limit
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	if total != int64(c.capacity) {
		return fmt.Errorf("shards may hold %d together, the cache %d", total, c.capacity)
	}
	return nil
}

func (s *shard[K, V]) check() error {
	state := make([]int, int(s.used)+1) // times seen: live, free, ordered
	live, held, timed := 0, int64(0), 0
	for slot := uint32(1); slot <= s.used; slot++ {
		if !s.isLive(slot) {
			continue
		}
		state[slot]++
		live++
		held += s.cost(slot)
		if s.deadlines != nil && s.deadlines[slot] != 0 {
			timed++
		}
		if got := s.find(s.hash(slot), s.entries[slot].key); got != slot {
			return fmt.Errorf("the key in slot %d is found in slot %d", slot, got)
		}
	}
	for _, slot := range s.free {
		if slot > s.used || state[slot] != 0 {
			return fmt.Errorf("slot %d is free and in use or unknown", slot)
		}
		state[slot] = 1
		if any(s.entries[slot]) != any(entry[K, V]{}) {
			return fmt.Errorf("free slot %d still holds something", slot)
		}
	}
	for slot := uint32(1); slot <= s.used; slot++ {
		if state[slot] != 1 {
			return fmt.Errorf("slot %d is neither live nor free", slot)
		}
	}
	ordered := map[uint32]bool{}
	var order []uint32
	s.policy.Ascend(func(slot uint32) bool { ordered[slot] = true; order = append(order, slot); return true })
	if len(ordered) != live || len(order) != live {
		return fmt.Errorf("the policy orders %d slots, %d of them different, of %d", len(order), len(ordered), live)
	}
	n := live
	s.policy.Descend(func(slot uint32) bool { n--; return n >= 0 && order[n] == slot })
	if n != 0 {
		return fmt.Errorf("Descend is not Ascend backwards at %d", n)
	}
	if int64(live) != s.length.Load() || held != s.held.Load() || held > s.limit || timed != s.timed {
		return fmt.Errorf("live %d length %d, held %d counted %d limit %d, timed %d counted %d", live, s.length.Load(), held, s.held.Load(), s.limit, timed, s.timed)
	}
	st := s.stats
	if st.Inserts-st.Evictions-st.Expirations-st.Deletes-st.Clears != uint64(live) {
		return fmt.Errorf("%+v does not add up to %d", st, live)
	}
	return s.checkTable(live)
}

func (s *shard[K, V]) checkTable(live int) error {
	n := len(s.table.chunks)
	spilled := make([][8]uint32, n)
	entered := 0
	for at := range s.table.chunks {
		c := &s.table.chunks[at]
		for place := range c.slots {
			if c.tag(place) == 0 {
				continue
			}
			entered++
			mark := markOf(s.hash(c.slots[place]))
			if s.marks[c.slots[place]] != mark || uint64(c.tag(place)) != tagOf(mark) {
				return fmt.Errorf("tag of slot %d", c.slots[place])
			}
			for home := s.table.home(mark); home != at; home = (home + 1) % n {
				spilled[home][classOf(mark)/4]++
			}
		}
	}
	for at := range spilled {
		for class, want := range spilled[at] {
			if got := s.table.chunks[at].spilled >> (4 * class) & manySpilled; got != want && got != manySpilled {
				return fmt.Errorf("chunk %d counts %d spilled of class %d, there are %d", at, got, class, want)
			}
		}
	}
	if entered != live {
		return fmt.Errorf("the table holds %d, the shard %d", entered, live)
	}
	return nil
}
