// Package crowd simulates users.
//
// A Crowd is open: its users act when it is time, whether or not the system
// keeps up, as people do. What could not be started in time is counted as
// late, so that a system which slows down does not hide it by being asked
// less.
package crowd

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// Options describe a crowd.
type Options struct {
	// Users is how many act at the same time; each waits for its own action
	// to end before its next. At least 1.
	Users int

	// Rate is the number of actions a second of all users together. At least
	// 0, which pauses.
	Rate float64

	// Ramp is the time over which users join, one after the other.
	Ramp time.Duration

	// Seed makes the users' random numbers repeatable: user u draws from a
	// generator seeded with Seed and u.
	Seed uint64

	// Act is one action of a user, numbered from 0. An error counts as a
	// failure, unless ctx has ended.
	Act func(ctx context.Context, user int, random *rand.Rand) error
}

// A Crowd is a number of simulated users. Create one with [Start]. A Crowd is
// safe for concurrent use by multiple goroutines.
type Crowd struct {
	options Options
	cancel  context.CancelFunc
	users   sync.WaitGroup
	rate    atomic.Uint64 // bits of a float64
	change  atomic.Pointer[chan struct{}]
	joined  atomic.Int64
	done    atomic.Uint64
	failed  atomic.Uint64
	late    atomic.Uint64
	err     atomic.Pointer[error]
	latency *metrics.Histogram
}

// Stats are what a crowd did so far.
type Stats struct {
	Users  int           // that have joined
	Rate   float64       // asked for, actions a second
	Done   uint64        // actions that ended, failures included
	Failed uint64        // actions that returned an error
	Late   uint64        // actions given up because their time had long passed
	P50    time.Duration // of an action
	P99    time.Duration
	Err    error // the latest failure
}

// Start starts a crowd that acts until ctx ends or Close is called. It panics
// if an option is out of its range.
func Start(ctx context.Context, options Options) *Crowd {
	switch {
	case options.Users < 1:
		panic("crowd: Users must be at least 1")
	case options.Act == nil:
		panic("crowd: Act is missing")
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Crowd{options: options, cancel: cancel, latency: metrics.NewHistogram(nil)}
	c.change.Store(new(make(chan struct{})))
	c.SetRate(options.Rate)
	for user := range options.Users {
		c.users.Go(func() { c.live(ctx, user) })
	}
	return c
}

// SetRate changes the number of actions a second of all users together; 0
// pauses. It panics if rate is negative or not finite.
func (c *Crowd) SetRate(rate float64) {
	if !(rate >= 0) || math.IsInf(rate, 0) {
		panic("crowd: Rate must be at least 0")
	}
	c.rate.Store(math.Float64bits(rate))
	close(*c.change.Swap(new(make(chan struct{}))))
}

// Rate returns the number of actions a second that was asked for last.
func (c *Crowd) Rate() float64 { return math.Float64frombits(c.rate.Load()) }

// Stats returns what the crowd did so far.
func (c *Crowd) Stats() Stats {
	s := Stats{
		Users:  int(c.joined.Load()),
		Rate:   c.Rate(),
		Done:   c.done.Load(),
		Failed: c.failed.Load(),
		Late:   c.late.Load(),
		P50:    time.Duration(c.latency.Quantile(0.5) * float64(time.Second)),
		P99:    time.Duration(c.latency.Quantile(0.99) * float64(time.Second)),
	}
	if err := c.err.Load(); err != nil {
		s.Err = *err
	}
	return s
}

// Latency returns the histogram of the time that actions took, in seconds.
func (c *Crowd) Latency() *metrics.Histogram { return c.latency }

// Close sends the users home and returns when their last actions have ended.
func (c *Crowd) Close() {
	c.cancel()
	c.users.Wait()
}

// patience is how far behind its schedule a user can be before it gives up
// what it has missed.
const patience = time.Second

// live is the life of one user.
func (c *Crowd) live(ctx context.Context, user int) {
	random := rand.New(rand.NewPCG(c.options.Seed, uint64(user)))
	join := c.options.Ramp * time.Duration(user) / time.Duration(c.options.Users)
	if !sleep(ctx, join, nil) {
		return
	}
	c.joined.Add(1)
	defer c.joined.Add(-1)
	next := time.Now()
	first := true
	for ctx.Err() == nil {
		change := *c.change.Load()
		rate := c.Rate()
		if rate == 0 {
			select {
			case <-ctx.Done():
			case <-change:
			}
			next, first = time.Now(), true
			continue
		}
		interval := time.Duration(float64(c.options.Users) / rate * float64(time.Second))
		if first {
			first = false
			next = next.Add(time.Duration(random.Float64() * float64(interval))) // or they would all act in step
		}
		now := time.Now()
		if wait := next.Sub(now); wait > 0 {
			if !sleep(ctx, wait, change) {
				next, first = time.Now(), true // the end, or a new rate
				continue
			}
		} else if -wait > patience {
			missed := max(-wait/max(interval, 1), 1)
			c.late.Add(uint64(missed))
			next = next.Add(missed * interval)
		}
		next = next.Add(interval)
		c.act(ctx, user, random)
	}
}

// sleep waits for d and reports whether it came to the end of it.
func sleep(ctx context.Context, d time.Duration, change <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-change:
		return false
	}
}

func (c *Crowd) act(ctx context.Context, user int, random *rand.Rand) {
	start := time.Now()
	err := c.options.Act(ctx, user, random)
	if err != nil && (ctx.Err() != nil || errors.Is(err, context.Canceled)) {
		return
	}
	c.latency.Since(start)
	c.done.Add(1)
	if err != nil {
		c.failed.Add(1)
		c.err.Store(&err)
	}
}
