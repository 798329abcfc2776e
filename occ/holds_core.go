package occ

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Claim is what the log of a [Holds] has for a resource.
type Claim[O comparable] struct {
	Owner O
	Token Token
	Until time.Time // zero once confirmed
}

// Holds reserves resources for owners: seats for buyers, machines for jobs. A
// hold takes all that was asked for or nothing, ends by itself, and has a token
// by which it is confirmed, extended or released. Create one with [NewHolds] or [OpenHolds].
//
//	             ┌── Extend ──┐
//	Hold,        │            ▼
//	HoldAny ──► held until t ──── Confirm ──► confirmed
//	             │     │                         │
//	  Release, Revoke  │ t has come            Revoke
//	             ▼     ▼                         │
//	             over, and free  ◄───────────────┘
//
// A hold is over when the time is Until, not a moment later, whether or not
// anybody looks. Nothing runs meanwhile: calls find out what is over. A clock that goes
// backward does not bring a hold back.
//
// Calls are serialised by a mutex. With a log, calls that change something also wait
// for each other's Append; others do not.
//
// A Holds is safe for concurrent use by multiple goroutines.
type Holds[R, O comparable] struct {
	ttl  time.Duration
	most int // resources of an owner; 0 means no limit
	now  func() time.Time
	log  Log[R, Claim[O]] // or nil

	changing chan struct{} // with a log: holds a token while a change is decided and appended

	// Invariants: claims has the resources of holds, each in one of them.
	// owners has the number of resources of each owner that has any. expiry
	// has the holds that are not confirmed, but for one that is about to be
	// replaced. No token is above version.
	mu      sync.Mutex
	claims  map[R]*held[R, O]
	holds   map[Token]*held[R, O]
	owners  map[O]int
	expiry  expiry[R, O]
	version uint64
	latest  time.Time // that the clock has said
}

// A held is a hold that is not over. Its Hold does not change.
type held[R, O comparable] struct {
	Hold[R, O]
	at int // in the heap, -1 if not
}

func (h *held[R, O]) copy() (Hold[R, O], bool) {
	if h == nil {
		return Hold[R, O]{}, false
	}
	hold := h.Hold
	hold.Resources = slices.Clone(hold.Resources)
	return hold, true
}

// NewHolds returns a Holds without any. It panics if an option is negative.
func NewHolds[R, O comparable](opts *HoldOptions) *Holds[R, O] {
	if opts == nil {
		opts = &HoldOptions{}
	}
	if opts.TTL < 0 || opts.MaxPerOwner < 0 {
		panic("occ: negative HoldOptions")
	}
	h := &Holds[R, O]{
		ttl: opts.TTL, most: opts.MaxPerOwner, now: opts.Now,
		changing: make(chan struct{}, 1),
		claims:   map[R]*held[R, O]{}, holds: map[Token]*held[R, O]{}, owners: map[O]int{},
	}
	if h.ttl == 0 {
		h.ttl = 5 * time.Minute
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// OpenHolds returns a Holds with what the log replays, that appends to the log.
// The log must not be used by anybody else. It panics if log is nil or an option is negative.
func OpenHolds[R, O comparable](ctx context.Context, log Log[R, Claim[O]], opts *HoldOptions) (*Holds[R, O], error) {
	if log == nil {
		panic("occ: nil log")
	}
	h := NewHolds[R, O](opts)
	for c, err := range log.Replay(ctx) {
		if err != nil {
			return nil, fmt.Errorf("occ: replay: %w", err)
		}
		if c.Version <= h.version {
			return nil, fmt.Errorf("occ: replay: version %d after %d", c.Version, h.version)
		}
		h.version = c.Version
		for _, change := range c.Changes {
			if err := h.restore(change); err != nil {
				return nil, fmt.Errorf("occ: replay: version %d: %w", c.Version, err)
			}
		}
	}
	h.log = log
	return h, nil
}

func (h *Holds[R, O]) restore(c Change[R, Claim[O]]) error {
	if c.Key != c.Key || c.Value.Owner != c.Value.Owner {
		return errNaN
	}
	if c.Value.Token > Token(h.version) {
		return fmt.Errorf("token %d", c.Value.Token)
	}
	old := h.claims[c.Key]
	if old != nil && (c.Delete || old.Token != c.Value.Token) {
		// Released with all the rest, or another hold could begin since this one was over.
		h.remove(old)
	}
	if c.Delete {
		return nil
	}
	next := &held[R, O]{Hold: Hold[R, O]{Token: c.Value.Token, Owner: c.Value.Owner, Until: c.Value.Until}}
	if one := h.holds[next.Token]; one != nil {
		if one.Owner != next.Owner {
			return fmt.Errorf("token %d has two owners", next.Token)
		}
		next.Resources = one.Resources
		h.remove(one)
	}
	if !slices.Contains(next.Resources, c.Key) {
		next.Resources = append(next.Resources, c.Key)
	}
	h.insert(next)
	return nil
}

// replace puts next in the place of old, as decide has it; either may be nil.
// A next without a token is given one.
func (h *Holds[R, O]) replace(ctx context.Context, decide func(now time.Time) (old, next *held[R, O], err error)) (Hold[R, O], error) {
	if err := ctx.Err(); err != nil {
		return Hold[R, O]{}, err
	}
	if h.log != nil {
		select {
		case h.changing <- struct{}{}:
			defer func() { <-h.changing }()
		case <-ctx.Done():
			return Hold[R, O]{}, ctx.Err()
		}
	}
	defer h.lock().Unlock()
	old, next, err := decide(h.latest)
	if err == nil && old != next {
		h.version++
		if next != nil && next.Token == 0 {
			next.Token = Token(h.version)
		}
		if h.log != nil {
			err = h.append(ctx, old, next)
		}
		if err == nil && old != nil {
			h.remove(old)
		}
		if err == nil && next != nil {
			h.insert(next)
		}
	}
	if err != nil {
		return Hold[R, O]{}, err
	}
	hold, _ := next.copy()
	return hold, nil
}

// append brings a replacement to the log, with mu released. Old does not expire
// meanwhile: it was decided upon when it was not over.
func (h *Holds[R, O]) append(ctx context.Context, old, next *held[R, O]) error {
	c := Commit[R, Claim[O]]{Version: h.version}
	if next != nil {
		for _, r := range next.Resources {
			c.Changes = append(c.Changes, Change[R, Claim[O]]{Key: r, Value: Claim[O]{next.Owner, next.Token, next.Until}})
		}
	} else {
		for _, r := range old.Resources {
			c.Changes = append(c.Changes, Change[R, Claim[O]]{Key: r, Delete: true})
		}
	}
	if old != nil && old.at >= 0 {
		heap.Remove(&h.expiry, old.at)
	}
	appended := false
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		if old != nil && !appended && !old.Confirmed() {
			heap.Push(&h.expiry, old)
		}
	}()
	if err := h.log.Append(ctx, []Commit[R, Claim[O]]{c}); err != nil {
		return fmt.Errorf("occ: log: %w", err)
	}
	appended = true
	return nil
}

// lock locks mu and removes what is over by the time of latest, which does not
// go backward.
func (h *Holds[R, O]) lock() *sync.Mutex {
	now := h.now()
	h.mu.Lock()
	if now.After(h.latest) {
		h.latest = now
	}
	for len(h.expiry) > 0 && !h.latest.Before(h.expiry[0].Until) {
		h.remove(h.expiry[0])
	}
	return &h.mu
}

func (h *Holds[R, O]) insert(one *held[R, O]) {
	h.holds[one.Token] = one
	h.owners[one.Owner] += len(one.Resources)
	for _, r := range one.Resources {
		h.claims[r] = one
	}
	if one.at = -1; !one.Confirmed() {
		heap.Push(&h.expiry, one)
	}
}

func (h *Holds[R, O]) remove(one *held[R, O]) {
	delete(h.holds, one.Token)
	if h.owners[one.Owner] -= len(one.Resources); h.owners[one.Owner] == 0 {
		delete(h.owners, one.Owner)
	}
	for _, r := range one.Resources {
		delete(h.claims, r)
	}
	if one.at >= 0 {
		heap.Remove(&h.expiry, one.at)
	}
}

// expiry is a heap of holds by Until.
type expiry[R, O comparable] []*held[R, O]

func (e expiry[R, O]) Len() int           { return len(e) }
func (e expiry[R, O]) Less(i, j int) bool { return e[i].Until.Before(e[j].Until) }
func (e expiry[R, O]) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].at, e[j].at = i, j
}

// Push implements heap.Interface.
func (e *expiry[R, O]) Push(x any) {
	one := x.(*held[R, O])
	one.at = len(*e)
	*e = append(*e, one)
}

// Pop implements heap.Interface.
func (e *expiry[R, O]) Pop() any {
	last := len(*e) - 1
	one := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	one.at = -1
	return one
}
