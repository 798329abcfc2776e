package kafka

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A budget bounds how many bytes are held for requests and responses at one
// time. Who wants more waits for others to give back, in order of arrival. A
// budget is safe for concurrent use by multiple goroutines.
type budget struct {
	mu      sync.Mutex
	free    int64
	most    int64
	waiting []*claim
}

type claim struct {
	n     int64
	ready chan struct{} // closed once n is taken from the budget
}

var errBudget = errors.New("kafka: no memory became free in time")

// budgetPatience is how long a request waits for memory. Without a bound,
// clients that each hold a part and wait for more would wait for ever.
const budgetPatience = 10 * time.Second

func newBudget(bytes int64) *budget { return &budget{free: bytes, most: bytes} }

// take takes n bytes, or all there are if n is more. It returns how many it
// took, which the caller gives back.
func (b *budget) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, b.most)
	b.mu.Lock()
	if len(b.waiting) == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return n, nil
	}
	c := &claim{n: n, ready: make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	patience := time.NewTimer(budgetPatience)
	defer patience.Stop()
	select {
	case <-c.ready:
		return n, nil
	case <-ctx.Done():
		b.withdraw(c)
		return 0, ctx.Err()
	case <-patience.C:
		b.withdraw(c)
		return 0, errBudget
	}
}

// withdraw gives up a claim, or gives back what it got in the meantime.
func (b *budget) withdraw(c *claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.ready:
		b.free += c.n
	default:
		for i := range b.waiting {
			if b.waiting[i] == c {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.serve()
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.serve()
}

func (b *budget) serve() {
	for len(b.waiting) > 0 && b.waiting[0].n <= b.free {
		c := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.free -= c.n
		close(c.ready)
	}
}

// used is how many bytes are taken.
func (b *budget) used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most - b.free
}
