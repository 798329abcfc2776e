package occ

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// snapshots knows the transactions that are under way: which snapshots they
// read, so that older versions can be given up, and which of them hold locks,
// so that one that has escalated can wait until it is alone.
//
//	          slot       slot       slot            slot
//	chunk  +----------+----------+----------+     +----------+
//	       | 41 in    | free     | 38       | ... | free     | ──► chunk ──► nil
//	       +----------+----------+----------+     +----------+
//
// The handshake, for a snapshot as for the gate, is that each side writes first
// and looks then. A transaction writes its snapshot to its slot and looks at
// proposed, and takes a newer snapshot if it is below; whoever wants to raise
// the horizon writes proposed and looks at the slots. So at least one of the two
// sees the other.
//
// Invariants: horizon is at most the snapshot of every transaction, of those
// under way and those to come. While gate is set and its owner runs, no slot is in.
type snapshots struct {
	clock    atomic.Uint64 // version of the newest commit that a snapshot includes
	_        [56]byte
	proposed atomic.Uint64
	horizon  atomic.Uint64
	gate     atomic.Pointer[gate]
	turn     chan struct{} // holds a token while there is a gate
	first    slotChunk
}

// Slots are searched from the first on, so those that were ever taken are the
// first ones, and nobody need look at the others.
type slotChunk struct {
	used  atomic.Uint64 // slots from here on were never taken
	next  atomic.Pointer[slotChunk]
	_     [112]byte
	slots [32]slot
}

// A slot is where a transaction under way can be seen.
type slot struct {
	// word is 0 if the slot is free, else snapshot<<2 | in<<1 | 1.
	word  atomic.Uint64
	stats counters // of all transactions that used the slot
	_     [128 - 8 - counterBytes%128]byte
}

const (
	slotTaken = 1
	slotIn    = 2
	slotBits  = 2
)

// A gate keeps commits and locks out while a transaction that has escalated runs.
type gate struct {
	open chan struct{} // closed when it ends
}

func (s *snapshots) init() { s.turn = make(chan struct{}, 1) }

// take claims a slot, preferably hint, for a snapshot of what is committed now.
func (s *snapshots) take(hint *slot) (*slot, uint64) {
	rv := s.clock.Load()
	if hint == nil || !hint.word.CompareAndSwap(0, rv<<slotBits|slotTaken) {
		hint = s.search(rv)
	}
	for s.proposed.Load() > rv {
		rv = s.clock.Load()
		hint.word.Store(rv<<slotBits | slotTaken)
	}
	return hint, rv
}

// search claims any slot.
func (s *snapshots) search(rv uint64) *slot {
	for chunk := &s.first; ; chunk = chunk.next.Load() {
		for i := range chunk.slots {
			slot := &chunk.slots[i]
			if slot.word.Load() == 0 && slot.word.CompareAndSwap(0, rv<<slotBits|slotTaken) {
				raise(&chunk.used, uint64(i+1))
				return slot
			}
		}
		if chunk.next.Load() == nil {
			chunk.next.CompareAndSwap(nil, new(slotChunk))
		}
	}
}

// all iterates over the slots that were ever taken.
func (s *snapshots) all(yield func(*slot) bool) {
	for chunk := &s.first; chunk != nil; chunk = chunk.next.Load() {
		for i := range chunk.used.Load() {
			if !yield(&chunk.slots[i]) {
				return
			}
		}
	}
}

// propose announces that versions below the clock of now may be given up, and
// returns that clock.
func (s *snapshots) propose() uint64 {
	now := s.clock.Load()
	raise(&s.proposed, now)
	return now
}

// advance raises the horizon as far as the transactions under way allow.
func (s *snapshots) advance() uint64 {
	least := s.propose()
	for slot := range s.all {
		if w := slot.word.Load(); w != 0 {
			least = min(least, w>>slotBits)
		}
	}
	raise(&s.horizon, least)
	return least
}

// active returns the snapshots that are read, by transactions under way and by
// those that begin from now on, in descending order.
func (s *snapshots) active() []uint64 {
	all := []uint64{s.propose()}
	for slot := range s.all {
		if w := slot.word.Load(); w != 0 {
			all = append(all, w>>slotBits)
		}
	}
	slices.SortFunc(all, func(a, b uint64) int {
		if a > b {
			return -1
		} else if a < b {
			return 1
		}
		return 0
	})
	raise(&s.horizon, all[len(all)-1])
	return slices.Compact(all)
}

func raise(a *atomic.Uint64, to uint64) {
	for {
		now := a.Load()
		if now >= to || a.CompareAndSwap(now, to) {
			return
		}
	}
}

// enter marks the slot of a transaction with that snapshot as one that commits
// or holds locks; it waits while there is a gate.
func (s *snapshots) enter(ctx context.Context, slot *slot, rv uint64) error {
	for {
		slot.word.Store(rv<<slotBits | slotIn | slotTaken)
		g := s.gate.Load()
		if g == nil {
			return nil
		}
		slot.word.Store(rv<<slotBits | slotTaken)
		select {
		case <-g.open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeGate waits for its turn and until nobody is in. Until openGate nobody
// else is.
func (s *snapshots) closeGate(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.gate.Store(&gate{make(chan struct{})})
	for slot := range s.all {
		for spins := 0; slot.word.Load()&slotIn != 0; spins++ {
			if err := ctx.Err(); err != nil {
				s.openGate()
				return err
			}
			pause(spins)
		}
	}
	return nil
}

func (s *snapshots) openGate() {
	g := s.gate.Swap(nil)
	<-s.turn
	close(g.open)
}

// pause lets others run, longer if it was called often.
func pause(spins int) {
	if spins < 100 {
		runtime.Gosched()
	} else {
		time.Sleep(time.Duration(min(spins, math.MaxInt16)) * time.Microsecond / 2)
	}
}
