package tinylfu

// ghosts remember which keys were evicted lately, without the keys: sets of
// four entries, the key's hash chooses the set.
//
//	entry  31        16 15         0
//	      +------------+------------+
//	      | print of   | age stamp  |   0 is an empty entry
//	      | the hash   |            |
//	      +------------+------------+
//
// The stamp is the number of evictions so far, in units of unit, so that the
// memory of span evictions is some thousands of units long. A set that is
// full forgets its oldest entry.
type ghosts struct {
	entries []uint32
	evicted uint64
	span    uint64
	shift   uint // a unit is 1<<shift evictions
}

const ghostWays = 4

// newGhosts returns a memory of about half as many evictions as the cache has
// entries: a key that comes back sooner would have been a hit in a cache half
// as large again.
func newGhosts(entries int) ghosts {
	span := max(1, entries/2)
	sets := max(1, (entries+ghostWays-1)/ghostWays)
	g := ghosts{entries: make([]uint32, sets*ghostWays), span: uint64(span)}
	for g.span>>g.shift > 1<<13 {
		g.shift++
	}
	return g
}

func (g *ghosts) set(hash uint32) []uint32 {
	x := uint64(hash) * 0xd1342543de82ef95
	sets := uint64(len(g.entries) / ghostWays)
	at := (x >> 32 * sets >> 32) * ghostWays
	return g.entries[at : at+ghostWays : at+ghostWays]
}

// fingerprint never is 0, so that an entry in use is not either.
func fingerprint(hash uint32) uint32 { return (hash*0x85ebca6b)>>16 | 1 }

func (g *ghosts) age(entry uint32) uint64 {
	return uint64(uint16(g.evicted>>g.shift) - uint16(entry))
}

// add remembers that the key was evicted now.
func (g *ghosts) add(hash uint32) {
	g.evicted++
	set, tag := g.set(hash), fingerprint(hash)
	oldest, most := 0, uint64(0)
	for i, entry := range set {
		if entry == 0 || entry>>16 == tag {
			oldest = i
			break
		}
		if age := g.age(entry); age >= most {
			oldest, most = i, age
		}
	}
	set[oldest] = tag<<16 | uint32(uint16(g.evicted>>g.shift))
}

// has reports whether the key was evicted within the span.
func (g *ghosts) has(hash uint32) bool {
	tag := fingerprint(hash)
	for _, entry := range g.set(hash) {
		if entry>>16 == tag && g.age(entry) < max(1, g.span>>g.shift) {
			return true
		}
	}
	return false
}

// forget drops the key.
func (g *ghosts) forget(hash uint32) {
	set, tag := g.set(hash), fingerprint(hash)
	for i, entry := range set {
		if entry>>16 == tag {
			set[i] = 0
			return
		}
	}
}

func (g *ghosts) clear() {
	clear(g.entries)
	g.evicted = 0
}
