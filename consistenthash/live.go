package consistenthash

import (
	"context"
	"iter"
	"sync/atomic"
)

// A Live holds the placement that is in force. Reading it is wait-free: a
// reader sees the placement before a change or the one after, whole. Changes
// are made one after the other. Create one with [NewLive].
//
// A Live is safe for concurrent use by multiple goroutines.
type Live[N comparable] struct {
	now atomic.Pointer[state[N]]
}

// A state is a placement and what tells those who wait that it is over.
type state[N comparable] struct {
	placement Placement[N]
	over      chan struct{}
}

// A Change is what became of a placement.
type Change[N comparable] struct{ Before, After Placement[N] }

// NewLive returns a holder of the placement. It panics if that is nil.
func NewLive[N comparable](p Placement[N]) *Live[N] {
	l := new(Live[N])
	l.now.Store(newState(p))
	return l
}

func newState[N comparable](p Placement[N]) *state[N] {
	if p == nil {
		panic("consistenthash: a Live of a nil placement")
	}
	return &state[N]{p, make(chan struct{})}
}

// Placement returns the placement in force. Whoever asks more than one
// question about the same nodes asks them of this.
func (l *Live[N]) Placement() Placement[N] { return l.now.Load().placement }

// Owner returns the node that owns key now; ok is false if there are no nodes.
func (l *Live[N]) Owner(key string) (node N, ok bool) { return l.Placement().Owner(key) }

// OwnerHash is Owner for a key whose hash is known.
func (l *Live[N]) OwnerHash(h uint64) (node N, ok bool) { return l.Placement().OwnerHash(h) }

// Owners iterates over the nodes in the order in which key prefers them now;
// changes made meanwhile do not show.
func (l *Live[N]) Owners(key string) iter.Seq[N] { return l.Placement().Owners(key) }

// Set puts p in force and returns what was before. It panics if p is nil.
func (l *Live[N]) Set(p Placement[N]) (before Placement[N]) {
	old := l.now.Swap(newState(p))
	close(old.over)
	return old.placement
}

// Update puts in force what change makes of the placement. If others change
// it meanwhile, change is called again, with what they made; so it should have
// no other effects. If it returns an error, so does Update, and nothing
// changes. No lock is held during the call, which may use l.
func (l *Live[N]) Update(change func(Placement[N]) (Placement[N], error)) error {
	for {
		old := l.now.Load()
		p, err := change(old.placement)
		if err != nil {
			return err
		}
		if l.now.CompareAndSwap(old, newState(p)) {
			close(old.over)
			return nil
		}
	}
}

// Add puts a placement with more nodes in force.
func (l *Live[N]) Add(nodes ...N) error {
	return l.Update(func(p Placement[N]) (Placement[N], error) { return p.With(nodes...) })
}

// Remove puts a placement with some nodes less in force.
func (l *Live[N]) Remove(nodes ...N) error {
	return l.Update(func(p Placement[N]) (Placement[N], error) { return p.Without(nodes...) })
}

// Watch iterates over the changes made after the call of Watch, until ctx is
// done; so who calls Watch, then asks for the placement, then begins the loop
// misses nothing. While the body is busy changes are joined into one: each
// begins where the last one ended, and the last one ends with what is in force.
func (l *Live[N]) Watch(ctx context.Context) iter.Seq[Change[N]] {
	from := l.now.Load()
	return func(yield func(Change[N]) bool) {
		for at := from; ; {
			select {
			case <-ctx.Done():
				return
			case <-at.over:
			}
			now := l.now.Load()
			if ctx.Err() != nil || !yield(Change[N]{at.placement, now.placement}) {
				return
			}
			at = now
		}
	}
}
