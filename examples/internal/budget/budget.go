// Package budget bounds how many bytes a server holds for its clients at a time.
//
// Each command has a [Claim], which takes what the command needs and waits while
// there is not enough. Claims that hold nothing yet are served in order of arrival.
// A claim that holds something already and needs more would, if it waited for others
// that do the same, wait for ever; so one claim at a time may go beyond the budget
// for what it needs in addition. It is always the one that can come to its end.
//
// What holds: the bytes taken are never more than the budget and what one claim
// has taken beyond its first part.
package budget

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrFull tells that not enough was given back in time.
var ErrFull = errors.New("budget: no memory became free in time")

// A Budget is a number of bytes that claims share. Create one with [New]. A
// Budget is safe for concurrent use by multiple goroutines.
type Budget struct {
	mu       sync.Mutex
	most     int64
	used     int64
	peak     int64
	patience time.Duration
	beyond   *Claim   // that may go beyond the budget; nil: none does
	waiting  []*waits // in order of arrival
}

type waits struct {
	claim *Claim
	n     int64
	ready chan struct{} // closed once n is taken
}

// New returns a budget of so many bytes, for which claims wait as long as patience
// lasts. With no patience they do not wait.
func New(bytes int64, patience time.Duration) *Budget {
	return &Budget{most: bytes, patience: patience}
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Peak returns how many bytes were taken at most at a time.
func (b *Budget) Peak() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peak
}

// Waiting returns how many wait.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Most returns how large the budget is.
func (b *Budget) Most() int64 { return b.most }

// A Claim is what one command has taken from a budget. It may have several
// holders, and what it has taken is given back when all have released it. The nil
// Claim counts nothing. A Claim is safe for concurrent use by multiple
// goroutines.
type Claim struct {
	b       *Budget
	n       int64 // guarded by the budget's mutex
	holders int   // likewise
}

// Claim returns a claim that has taken nothing and has one holder.
func (b *Budget) Claim() *Claim { return &Claim{b: b, holders: 1} }

// Take takes n bytes more, or, if the claim has none, all there are if n is more
// than that. It waits for them until the context or the budget's patience
// ends.
func (c *Claim) Take(ctx context.Context, n int64) error {
	if c == nil || n <= 0 {
		return nil
	}
	b := c.b
	b.mu.Lock()
	w := &waits{claim: c, n: n, ready: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.serve()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	default:
	}
	patience := time.NewTimer(b.patience)
	defer patience.Stop()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-patience.C:
		err = ErrFull
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // in the last moment
		return nil
	default:
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(o *waits) bool { return o == w })
	b.serve() // those behind it may fit
	return err
}

// Try takes n bytes more if that can be done without waiting.
func (c *Claim) Try(n int64) bool {
	if c == nil || n <= 0 {
		return true
	}
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 || !b.fits(c, n) {
		return false
	}
	b.grant(c, n)
	return true
}

// Give gives n of the bytes back, or all if n is more.
func (c *Claim) Give(n int64) {
	if c == nil || n <= 0 {
		return
	}
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give(c, n)
}

// Held returns how many bytes the claim has taken.
func (c *Claim) Held() int64 {
	if c == nil {
		return 0
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.n
}

// Keep adds a holder and returns the claim.
func (c *Claim) Keep() *Claim {
	if c != nil {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		c.holders++
	}
	return c
}

// Release takes a holder away. Each may release the claim once.
func (c *Claim) Release() {
	if c == nil {
		return
	}
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.holders--; c.holders == 0 {
		b.give(c, c.n)
	}
}

func (b *Budget) fits(c *Claim, n int64) bool {
	return b.used+n <= b.most || c.n == 0 && b.used == 0
}

func (b *Budget) grant(c *Claim, n int64) {
	if c.n == 0 {
		n = min(n, b.most)
	}
	c.n += n
	b.used += n
	b.peak = max(b.peak, b.used)
}

func (b *Budget) give(c *Claim, n int64) {
	n = min(n, c.n)
	c.n -= n
	b.used -= n
	if b.beyond == c && (b.used <= b.most || c.n == 0) {
		b.beyond = nil
	}
	b.serve()
}

// serve gives to those who wait: to claims that have something already what fits, to
// one of them also what does not, and to the others in their order.
func (b *Budget) serve() {
	for {
		i := slices.IndexFunc(b.waiting, func(w *waits) bool { return w.claim.n > 0 && b.fits(w.claim, w.n) })
		if i < 0 {
			i = slices.IndexFunc(b.waiting, func(w *waits) bool { return w.claim.n > 0 && (b.beyond == nil || b.beyond == w.claim) })
			if i >= 0 && b.patience > 0 {
				b.beyond = b.waiting[i].claim
			} else {
				i = -1
			}
		}
		if i < 0 && len(b.waiting) > 0 && b.fits(b.waiting[0].claim, b.waiting[0].n) {
			i = 0
		}
		if i < 0 {
			return
		}
		w := b.waiting[i]
		b.waiting = slices.Delete(b.waiting, i, i+1)
		b.grant(w.claim, w.n)
		close(w.ready)
	}
}

type key struct{}

// With returns a context that carries a claim.
func With(ctx context.Context, c *Claim) context.Context { return context.WithValue(ctx, key{}, c) }

// From returns the claim that a context carries, or nil.
func From(ctx context.Context) *Claim {
	c, _ := ctx.Value(key{}).(*Claim)
	return c
}
