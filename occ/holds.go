package occ

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

var (
	// ErrTaken is wrapped by every [TakenError], and returned by
	// [Holds.HoldAny] when the choice is empty.
	ErrTaken = errors.New("occ: taken")

	// ErrLimit is returned when an owner would have more than
	// HoldOptions.MaxPerOwner resources.
	ErrLimit = errors.New("occ: limit of the owner reached")

	// ErrOver is returned for a token whose hold has expired or was released
	// or revoked, and for one that was never given out.
	ErrOver = errors.New("occ: the hold is over")

	// ErrConfirmed is returned by [Holds.Release] and [Holds.Extend] for a
	// hold that is confirmed.
	ErrConfirmed = errors.New("occ: the hold is confirmed")

	errNothing = errors.New("occ: nothing to hold")
	errNaN     = errors.New("occ: owner or resource is not equal to itself")
)

// A TakenError says which resources somebody has already. It wraps ErrTaken.
type TakenError[R comparable] struct {
	Resources []R // of those asked for, in that order
}

// Error names the resources.
func (e *TakenError[R]) Error() string { return fmt.Sprintf("occ: taken: %v", e.Resources) }

// Unwrap returns ErrTaken.
func (e *TakenError[R]) Unwrap() error { return ErrTaken }

// A Token names a hold, and fences: a token that is given out later is
// greater, also after a restart with the same log. A system that takes orders
// for a resource with a token, and refuses one that is lower than it has
// seen, is safe from those whose hold has passed to another without their noticing.
type Token uint64

// A Hold is a reservation of resources for an owner.
type Hold[R, O comparable] struct {
	Token     Token
	Owner     O
	Resources []R       // distinct, in the order in which they were named
	Until     time.Time // it is over then; zero once it is confirmed
}

// Confirmed reports whether the hold has no end.
func (h Hold[R, O]) Confirmed() bool { return h.Until.IsZero() }

// HoldOptions are the settings of [Holds]. Nil and zero fields mean the
// defaults.
type HoldOptions struct {
	TTL         time.Duration    // of a hold; 0 means 5 minutes
	MaxPerOwner int              // resources, held and confirmed; 0 means no limit
	Now         func() time.Time // nil means time.Now
}

// Hold reserves the resources, all or none, for the time of HoldOptions.TTL. A
// resource that is named twice counts once. If any of them is taken, be it by
// the same owner, the error is a [TakenError]; or else it may be [ErrLimit].
func (h *Holds[R, O]) Hold(ctx context.Context, owner O, resources ...R) (Hold[R, O], error) {
	return h.hold(ctx, owner, errNothing, func() []R { return resources })
}

// HoldAny is Hold with a choice that is made when nobody else can take
// anything: choose is given a function that tells what is free, and what it
// returns is reserved at once, so that a crowd which wants "any two seats
// together" is not told that what it saw a moment ago is taken. See [FirstFree] for
// the simple case. If choose returns nothing the error is [ErrTaken].
//
// Choose is called once, while everybody else waits. It must be short and must
// not call methods of h.
func (h *Holds[R, O]) HoldAny(ctx context.Context, owner O, choose func(free func(R) bool) []R) (Hold[R, O], error) {
	return h.hold(ctx, owner, ErrTaken, func() []R {
		return choose(func(r R) bool { return h.claims[r] == nil })
	})
}

// FirstFree returns a function for [Holds.HoldAny] that chooses the first n of
// the candidates that are free, and nothing if there are fewer. It panics if n is not positive.
func FirstFree[R comparable](n int, candidates iter.Seq[R]) func(free func(R) bool) []R {
	if n <= 0 {
		panic("occ: FirstFree of none")
	}
	return func(free func(R) bool) []R {
		var chosen []R
		for r := range candidates {
			if free(r) && !slices.Contains(chosen, r) {
				if chosen = append(chosen, r); len(chosen) == n {
					return chosen
				}
			}
		}
		return nil
	}
}

// hold reserves what choose returns; if that is nothing the error is none.
func (h *Holds[R, O]) hold(ctx context.Context, owner O, none error, choose func() []R) (Hold[R, O], error) {
	if owner != owner {
		return Hold[R, O]{}, errNaN
	}
	return h.replace(ctx, func(now time.Time) (old, next *held[R, O], err error) {
		chosen := choose()
		if len(chosen) == 0 {
			return nil, nil, none
		}
		resources, seen := make([]R, 0, len(chosen)), map[R]bool(nil)
		if len(chosen) > 1 {
			seen = make(map[R]bool, len(chosen))
		}
		var taken []R
		for _, r := range chosen {
			switch {
			case r != r:
				return nil, nil, errNaN
			case seen[r]:
				continue
			case h.claims[r] != nil:
				taken = append(taken, r)
			}
			resources = append(resources, r)
			if seen != nil {
				seen[r] = true
			}
		}
		if len(taken) > 0 {
			return nil, nil, &TakenError[R]{taken}
		}
		if h.most > 0 && h.owners[owner]+len(resources) > h.most {
			return nil, nil, ErrLimit
		}
		return nil, &held[R, O]{Hold: Hold[R, O]{Owner: owner, Resources: resources, Until: now.Add(h.ttl)}}, nil
	})
}

// Confirm makes a hold one without an end, in one step with the check that it
// is not over: whoever gets nil has the resources. It may be called again.
func (h *Holds[R, O]) Confirm(ctx context.Context, token Token) error {
	_, err := h.change(ctx, token, func(next *held[R, O], _ time.Time) error {
		next.Until = time.Time{}
		return nil
	})
	return err
}

// Extend makes a hold last at least for ttl from now on, 0 meaning
// HoldOptions.TTL, and returns until when it does. It never makes a hold
// shorter. A hold that is over stays over, whether or not somebody else has taken
// the resources.
func (h *Holds[R, O]) Extend(ctx context.Context, token Token, ttl time.Duration) (until time.Time, err error) {
	if ttl == 0 {
		ttl = h.ttl
	}
	hold, err := h.change(ctx, token, func(next *held[R, O], now time.Time) error {
		if next.Confirmed() {
			return ErrConfirmed
		}
		if until := now.Add(ttl); until.After(next.Until) {
			next.Until = until
		}
		return nil
	})
	return hold.Until, err
}

// Release ends a hold that is not confirmed. It is [ErrConfirmed] for one that is, so
// that a late "never mind" of one who has paid does no harm; see [Holds.Revoke].
func (h *Holds[R, O]) Release(ctx context.Context, token Token) error {
	return h.end(ctx, token, false)
}

// Revoke ends a hold whether or not it is confirmed.
func (h *Holds[R, O]) Revoke(ctx context.Context, token Token) error { return h.end(ctx, token, true) }

func (h *Holds[R, O]) end(ctx context.Context, token Token, confirmed bool) error {
	_, err := h.replace(ctx, func(time.Time) (old, next *held[R, O], err error) {
		switch old := h.holds[token]; {
		case old == nil:
			return nil, nil, ErrOver
		case old.Confirmed() && !confirmed:
			return nil, nil, ErrConfirmed
		default:
			return old, nil, nil
		}
	})
	return err
}

func (h *Holds[R, O]) change(ctx context.Context, token Token, edit func(next *held[R, O], now time.Time) error) (Hold[R, O], error) {
	return h.replace(ctx, func(now time.Time) (old, next *held[R, O], err error) {
		if old = h.holds[token]; old == nil {
			return nil, nil, ErrOver
		}
		next = &held[R, O]{Hold: old.Hold}
		if err := edit(next, now); err != nil {
			return nil, nil, err
		}
		if next.Until.Equal(old.Until) {
			next = old
		}
		return old, next, nil
	})
}

// Lookup returns the hold of a token, unless it is over.
func (h *Holds[R, O]) Lookup(token Token) (hold Hold[R, O], ok bool) {
	defer h.lock().Unlock()
	return h.holds[token].copy()
}

// Holder returns the hold that a resource is in, and false if it is free.
func (h *Holds[R, O]) Holder(resource R) (hold Hold[R, O], ok bool) {
	defer h.lock().Unlock()
	return h.claims[resource].copy()
}

// All iterates over a snapshot of the holds that are not over, in ascending order
// of their tokens.
func (h *Holds[R, O]) All() iter.Seq[Hold[R, O]] {
	return h.snapshot(func(*held[R, O]) bool { return true })
}

// Of iterates like All over the holds of one owner.
func (h *Holds[R, O]) Of(owner O) iter.Seq[Hold[R, O]] {
	return h.snapshot(func(one *held[R, O]) bool { return one.Owner == owner })
}

func (h *Holds[R, O]) snapshot(wanted func(*held[R, O]) bool) iter.Seq[Hold[R, O]] {
	return func(yield func(Hold[R, O]) bool) {
		h.lock()
		var all []Hold[R, O]
		for _, one := range h.holds {
			if wanted(one) {
				hold, _ := one.copy()
				all = append(all, hold)
			}
		}
		h.mu.Unlock()
		slices.SortFunc(all, func(a, b Hold[R, O]) int {
			if a.Token < b.Token {
				return -1
			}
			return 1
		})
		for _, hold := range all {
			if !yield(hold) {
				return
			}
		}
	}
}

// NextExpiry returns when the next hold will be over, if nothing happens to it
// before, and false if none will. It is for those who want to tell others that
// something has become free.
func (h *Holds[R, O]) NextExpiry() (at time.Time, ok bool) {
	defer h.lock().Unlock()
	if len(h.expiry) == 0 {
		return time.Time{}, false
	}
	return h.expiry[0].Until, true
}

// Len returns the number of resources that are held or confirmed.
func (h *Holds[R, O]) Len() int {
	defer h.lock().Unlock()
	return len(h.claims)
}
