package hitcounter

// Cells are a ring of slots without concurrency, a power of two of them. What a
// cell holds belongs to one of the slots that share it, which follow each
// other, never back.
type cells []cell

type cell struct{ slot, n int64 }

func (c cells) clear() {
	for i := range c {
		c[i] = cell{slot: empty}
	}
}

func (c cells) of(slot int64) *cell { return &c[slot&int64(len(c)-1)] }

// add adds hits to a slot, and returns false if its cell is at a later one. The
// ledger hears of the hits that make room.
func (c cells) add(g *grid, l *ledger, slot, n int64) bool {
	cell := c.of(slot)
	switch {
	case cell.slot > slot:
		return false
	case cell.slot < slot:
		if cell.slot != empty {
			l.expire(g.end(cell.slot), cell.n)
		}
		cell.slot, cell.n = slot, n
	default:
		cell.n = add(cell.n, n)
	}
	return true
}

// tally adds the hits in a window to y.
func (c cells) tally(g *grid, y *tally) {
	first, last := g.slot(y.after+1), g.slot(y.upTo)
	for slot := first; slot <= last; slot++ {
		if cell := c.of(slot); cell.slot == slot {
			y.slot(g.end(slot-1), g.end(slot), cell.n)
		}
	}
}

// latest returns the end of the last slot that has hits.
func (c cells) latest(g *grid) int64 {
	slot := int64(empty)
	for i := range c {
		slot = max(slot, c[i].slot)
	}
	if slot == empty {
		return tooEarly
	}
	return g.end(slot)
}

// held returns the hits of all slots.
func (c cells) held() (n int64) {
	for i := range c {
		n = add(n, c[i].n)
	}
	return n
}
