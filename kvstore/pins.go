package kvstore

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// pins let readers use segments without counting references to each: a reader
// counts itself in one of many counters of the present phase, and who wants
// to release a segment starts the other phase and waits until the counters
// of the first are zero. Whoever enters later does not find the segment any
// more.
type pins struct {
	phase  atomic.Uint32
	stripe [2][pinStripes]struct {
		n atomic.Int64
		_ [56]byte // a cache line for each
	}
}

const pinStripes = 32

// A pin is what enter gives and leave takes.
type pin struct{ n *atomic.Int64 }

func (p *pins) enter() pin {
	i := rand.Uint32() % pinStripes
	for {
		phase := p.phase.Load() & 1
		n := &p.stripe[phase][i].n
		n.Add(1)
		if p.phase.Load()&1 == phase {
			return pin{n}
		}
		n.Add(-1)
	}
}

func (p pin) leave() { p.n.Add(-1) }

// drain returns when all who had entered before have left. One goroutine may
// call it at a time.
func (p *pins) drain() {
	old := (p.phase.Add(1) - 1) & 1
	for i := range p.stripe[old] {
		for tries := 0; p.stripe[old][i].n.Load() != 0; tries++ {
			if tries < 100 {
				runtime.Gosched()
			} else {
				time.Sleep(50 * time.Microsecond)
			}
		}
	}
}
