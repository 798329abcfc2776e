package occ_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

type (
	holds    = occ.Holds[string, string]
	holdsLog = memoryLog[string, occ.Claim[string]]
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A clock stands until it is moved.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newHolds(opts occ.HoldOptions) (*holds, *clock) {
	c := &clock{epoch}
	opts.Now = c.Now
	return occ.NewHolds[string, string](&opts), c
}

func free(h *holds, resources ...string) (free []string) {
	for _, r := range resources {
		if _, ok := h.Holder(r); !ok {
			free = append(free, r)
		}
	}
	return free
}

func TestHoldsArguments(t *testing.T) {
	require.PanicsWithValue(t, "occ: negative HoldOptions", func() { newHolds(occ.HoldOptions{TTL: -1}) })
	require.PanicsWithValue(t, "occ: negative HoldOptions", func() { newHolds(occ.HoldOptions{MaxPerOwner: -1}) })
	require.PanicsWithValue(t, "occ: nil log", func() { _, _ = occ.OpenHolds[int, int](t.Context(), nil, nil) })
	require.PanicsWithValue(t, "occ: FirstFree of none", func() { occ.FirstFree(0, slices.Values([]int{1})) })
	h := occ.NewHolds[float64, float64](nil)
	_, err := h.Hold(t.Context(), 1)
	require.EqualError(t, err, "occ: nothing to hold")
	_, err = h.Hold(t.Context(), 1, []float64{}...)
	require.EqualError(t, err, "occ: nothing to hold")
	_, err = h.Hold(t.Context(), math.NaN(), 1)
	require.EqualError(t, err, "occ: owner or resource is not equal to itself")
	_, err = h.Hold(t.Context(), 1, 1, math.NaN())
	require.EqualError(t, err, "occ: owner or resource is not equal to itself")
	require.Zero(t, h.Len())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Hold(ended, 1, 1)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAllOrNothing(t *testing.T) {
	h, _ := newHolds(occ.HoldOptions{})
	first, err := h.Hold(t.Context(), "ann", "b", "a", "b")
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a"}, first.Resources, "distinct, in the order named")
	require.Equal(t, epoch.Add(5*time.Minute), first.Until)
	_, err = h.Hold(t.Context(), "bob", "c", "b", "d", "a")
	taken, ok := errors.AsType[*occ.TakenError[string]](err)
	require.True(t, ok)
	require.Equal(t, []string{"b", "a"}, taken.Resources)
	require.ErrorIs(t, err, occ.ErrTaken)
	require.Equal(t, []string{"c", "d"}, free(h, "a", "b", "c", "d"))
	_, err = h.Hold(t.Context(), "ann", "a")
	require.ErrorIs(t, err, occ.ErrTaken, "by oneself")
	require.NoError(t, h.Release(t.Context(), first.Token))
	second, err := h.Hold(t.Context(), "bob", "c", "b", "d", "a")
	require.NoError(t, err)
	require.Greater(t, second.Token, first.Token)

	first.Resources[0], second.Resources[0] = "x", "x" // are the caller's
	holder, ok := h.Holder("c")
	require.True(t, ok)
	require.Equal(t, "c", holder.Resources[0])
	require.NoError(t, h.CheckInvariants())
}

// A hold is over when the time is Until, not a moment sooner or later, and a
// clock that goes back does not bring it back.
func TestExpiry(t *testing.T) {
	h, clock := newHolds(occ.HoldOptions{TTL: time.Minute})
	one, err := h.Hold(t.Context(), "ann", "a", "b")
	require.NoError(t, err)
	at, ok := h.NextExpiry()
	require.True(t, ok && at.Equal(epoch.Add(time.Minute)))

	clock.now = epoch.Add(time.Minute - 1)
	require.Empty(t, free(h, "a", "b"))
	_, ok = h.Lookup(one.Token)
	require.True(t, ok)
	clock.now = epoch.Add(time.Minute)
	require.Equal(t, []string{"a", "b"}, free(h, "a", "b"))
	clock.now = epoch
	require.Equal(t, []string{"a", "b"}, free(h, "a", "b"), "no resurrection")
	for name, call := range map[string]func() error{
		"Confirm": func() error { return h.Confirm(t.Context(), one.Token) },
		"Extend":  func() error { _, err := h.Extend(t.Context(), one.Token, time.Hour); return err },
		"Release": func() error { return h.Release(t.Context(), one.Token) },
		"Revoke":  func() error { return h.Revoke(t.Context(), one.Token) },
	} {
		require.ErrorIs(t, call(), occ.ErrOver, name)
	}
	_, ok = h.Lookup(one.Token)
	require.False(t, ok)
	_, ok = h.NextExpiry()
	require.False(t, ok)

	two, err := h.Hold(t.Context(), "bob", "a")
	require.NoError(t, err)
	require.Equal(t, epoch.Add(2*time.Minute), two.Until, "time does not go back")
	require.NoError(t, h.CheckInvariants())
}

func TestConfirmExtendRelease(t *testing.T) {
	h, clock := newHolds(occ.HoldOptions{TTL: time.Minute})
	one, err := h.Hold(t.Context(), "ann", "a")
	require.NoError(t, err)
	until, err := h.Extend(t.Context(), one.Token, time.Second)
	require.NoError(t, err)
	require.Equal(t, one.Until, until, "never shorter")
	until, err = h.Extend(t.Context(), one.Token, -time.Second)
	require.NoError(t, err)
	require.Equal(t, one.Until, until)
	clock.now = epoch.Add(30 * time.Second)
	until, err = h.Extend(t.Context(), one.Token, 0)
	require.NoError(t, err)
	require.Equal(t, epoch.Add(90*time.Second), until)
	clock.now = epoch.Add(80 * time.Second)

	require.NoError(t, h.Confirm(t.Context(), one.Token))
	require.NoError(t, h.Confirm(t.Context(), one.Token), "the gateway has answered twice")
	clock.now = epoch.Add(time.Hour)
	require.ErrorIs(t, h.Release(t.Context(), one.Token), occ.ErrConfirmed, "a late never mind")
	_, err = h.Extend(t.Context(), one.Token, 0)
	require.ErrorIs(t, err, occ.ErrConfirmed)
	confirmed, ok := h.Holder("a")
	require.True(t, ok && confirmed.Confirmed() && confirmed.Owner == "ann")
	_, ok = h.NextExpiry()
	require.False(t, ok)
	require.NoError(t, h.Revoke(t.Context(), one.Token))
	require.ErrorIs(t, h.Revoke(t.Context(), one.Token), occ.ErrOver)
	require.Equal(t, []string{"a"}, free(h, "a"))
	require.ErrorIs(t, h.Confirm(t.Context(), 999), occ.ErrOver, "never given out")
	require.NoError(t, h.CheckInvariants())
}

func TestLimitPerOwner(t *testing.T) {
	h, clock := newHolds(occ.HoldOptions{MaxPerOwner: 3, TTL: time.Minute})
	one, err := h.Hold(t.Context(), "ann", "a", "b", "a")
	require.NoError(t, err)
	_, err = h.Hold(t.Context(), "ann", "c", "d")
	require.ErrorIs(t, err, occ.ErrLimit)
	_, err = h.Hold(t.Context(), "bob", "c", "d", "e", "f")
	require.ErrorIs(t, err, occ.ErrLimit)
	require.NoError(t, h.Confirm(t.Context(), one.Token))
	two, err := h.Hold(t.Context(), "ann", "c")
	require.NoError(t, err)
	_, err = h.HoldAny(t.Context(), "ann", occ.FirstFree(1, slices.Values([]string{"e"})))
	require.ErrorIs(t, err, occ.ErrLimit, "what is confirmed counts")
	clock.now = two.Until
	_, err = h.Hold(t.Context(), "ann", "e")
	require.NoError(t, err, "what is over does not")
	var mine []string
	for hold := range h.Of("ann") {
		mine = append(mine, hold.Resources...)
	}
	require.Equal(t, []string{"a", "b", "e"}, mine)
	require.NoError(t, h.CheckInvariants())
}

func TestHoldAny(t *testing.T) {
	h, _ := newHolds(occ.HoldOptions{})
	seats := []string{"a1", "a2", "a3", "a3", "a4"}
	hold, err := h.HoldAny(t.Context(), "ann", occ.FirstFree(2, slices.Values(seats)))
	require.NoError(t, err)
	require.Equal(t, []string{"a1", "a2"}, hold.Resources)
	hold, err = h.HoldAny(t.Context(), "bob", occ.FirstFree(2, slices.Values(seats)))
	require.NoError(t, err)
	require.Equal(t, []string{"a3", "a4"}, hold.Resources)
	_, err = h.HoldAny(t.Context(), "cat", occ.FirstFree(1, slices.Values(seats)))
	require.Equal(t, occ.ErrTaken, err)
	_, err = h.HoldAny(t.Context(), "cat", func(free func(string) bool) []string {
		require.False(t, free("a1"))
		require.True(t, free("b1"))
		return []string{"b1", "a1"}
	})
	require.ErrorIs(t, err, occ.ErrTaken, "a choice that was not free")
	require.PanicsWithValue(t, "choose", func() {
		_, _ = h.HoldAny(t.Context(), "cat", func(func(string) bool) []string { panic("choose") })
	})
	require.Equal(t, 4, h.Len())
	require.NoError(t, h.CheckInvariants())
}

// A rush for any seat: as long as one is free, nobody is refused.
func TestRushConcurrentSafe(t *testing.T) {
	for name, logged := range map[string]bool{"memory": false, "log": true} {
		t.Run(name, func(t *testing.T) {
			h, _ := newHolds(occ.HoldOptions{})
			if logged {
				var err error
				h, err = occ.OpenHolds(t.Context(), new(holdsLog), nil)
				require.NoError(t, err)
			}
			var seats []string
			for i := range 100 {
				seats = append(seats, fmt.Sprint(i))
			}
			var wg sync.WaitGroup
			var sold, refused atomic.Int64
			for buyer := range 64 {
				wg.Go(func() {
					for range 2 {
						_, err := h.HoldAny(t.Context(), fmt.Sprint(buyer), occ.FirstFree(1, slices.Values(seats)))
						if runtime.Gosched(); err == nil {
							sold.Add(1)
						} else if errors.Is(err, occ.ErrTaken) {
							refused.Add(1)
						} else {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, 100, sold.Load())
			require.EqualValues(t, 28, refused.Load())
			require.Equal(t, 100, h.Len())
			require.NoError(t, h.CheckInvariants())
		})
	}
}

// Whoever is told that a hold is confirmed has it, also when it ends at that
// very moment and others wait for the resource.
func TestConfirmIsOneStepConcurrentSafe(t *testing.T) {
	for range 200 {
		var nanos atomic.Int64
		h := occ.NewHolds[string, string](&occ.HoldOptions{TTL: 100, Now: func() time.Time { return epoch.Add(time.Duration(nanos.Add(1))) }})
		hold, err := h.Hold(t.Context(), "ann", "seat")
		require.NoError(t, err)
		var owners atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for nanos.Load() < 95 {
				runtime.Gosched()
			}
			if h.Confirm(t.Context(), hold.Token) == nil {
				owners.Add(1)
			}
		})
		wg.Go(func() {
			for nanos.Load() < 200 {
				if other, err := h.Hold(t.Context(), "bob", "seat"); err == nil {
					if h.Confirm(t.Context(), other.Token) == nil {
						owners.Add(1)
					}
					return
				}
			}
		})
		wg.Wait()
		require.EqualValues(t, 1, owners.Load())
	}
}

func TestHoldsReplay(t *testing.T) {
	log := new(holdsLog)
	clock := &clock{epoch}
	opts := &occ.HoldOptions{TTL: time.Minute, MaxPerOwner: 4, Now: clock.Now}
	open := func() *holds {
		h, err := occ.OpenHolds(t.Context(), log, opts)
		require.NoError(t, err)
		require.NoError(t, h.CheckInvariants())
		return h
	}
	h := open()
	must := func(hold occ.Hold[string, string], err error) occ.Hold[string, string] {
		require.NoError(t, err)
		return hold
	}
	paid := must(h.Hold(t.Context(), "ann", "a", "b"))
	require.NoError(t, h.Confirm(t.Context(), paid.Token))
	lapsed := must(h.Hold(t.Context(), "bob", "c", "d"))
	clock.now = epoch.Add(30 * time.Second)
	waiting := must(h.Hold(t.Context(), "cat", "e"))
	_, err := h.Extend(t.Context(), waiting.Token, time.Hour)
	require.NoError(t, err)
	gone := must(h.Hold(t.Context(), "dan", "f", "g"))
	require.NoError(t, h.Release(t.Context(), gone.Token))
	clock.now = epoch.Add(time.Minute)
	next := must(h.Hold(t.Context(), "eve", "c"))

	clock.now = epoch // a clock that is wrong after the restart
	again := open()
	require.Equal(t, slices.Collect(h.All()), slices.Collect(again.All()))
	require.Equal(t, []string{"d", "f", "g"}, free(again, "a", "b", "c", "d", "e", "f", "g"), "bob's is over since eve has c")
	_, ok := again.Lookup(lapsed.Token)
	require.False(t, ok)
	newer := must(again.Hold(t.Context(), "fay", "d"))
	require.Greater(t, newer.Token, next.Token)
	_, err = again.Hold(t.Context(), "ann", "x", "y", "z")
	require.ErrorIs(t, err, occ.ErrLimit)

	for _, wrong := range []*holdsLog{
		{failed: errors.New("torn")},
		{commits: []occ.Commit[string, occ.Claim[string]]{{Version: 2}, {Version: 1}}},
		{commits: []occ.Commit[string, occ.Claim[string]]{{Version: 1, Changes: []occ.Change[string, occ.Claim[string]]{{Key: "a", Value: occ.Claim[string]{Token: 2}}}}}},
		{commits: []occ.Commit[string, occ.Claim[string]]{{Version: 1, Changes: []occ.Change[string, occ.Claim[string]]{
			{Key: "a", Value: occ.Claim[string]{Token: 1, Owner: "ann"}}, {Key: "b", Value: occ.Claim[string]{Token: 1, Owner: "bob"}},
		}}}},
	} {
		_, err := occ.OpenHolds(t.Context(), wrong, nil)
		require.ErrorContains(t, err, "occ: replay: ")
	}
}

// Nothing is visible before the log has it; readers do not wait; what fails
// has not happened; and a hold does not expire under a Confirm that was in time.
func TestHoldsLogFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(holdsLog)
		h, err := occ.OpenHolds(t.Context(), log, nil)
		require.NoError(t, err)
		slow := func(err error) func([]occ.Commit[string, occ.Claim[string]]) error {
			return func([]occ.Commit[string, occ.Claim[string]]) error { time.Sleep(10 * time.Minute); return err }
		}
		log.before = slow(nil)
		done := make(chan error)
		var hold occ.Hold[string, string]
		start := func(f func() error) { go func() { done <- f() }(); synctest.Wait() }

		log.before = func([]occ.Commit[string, occ.Claim[string]]) error { time.Sleep(time.Minute); return nil }
		start(func() (err error) { hold, err = h.Hold(t.Context(), "ann", "a"); return err })
		require.Equal(t, []string{"a"}, free(h, "a"))
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = h.Hold(gone, "bob", "b")
		require.ErrorIs(t, err, context.DeadlineExceeded, "it has waited for ann's")
		require.NoError(t, <-done)
		require.Empty(t, free(h, "a"))

		log.before = slow(errors.New("disk full"))
		start(func() error { return h.Confirm(t.Context(), hold.Token) })
		require.ErrorContains(t, <-done, "occ: log: disk full")
		require.Equal(t, []string{"a"}, free(h, "a"), "it is over meanwhile")
		require.NoError(t, h.CheckInvariants())

		log.before = nil
		hold, err = h.Hold(t.Context(), "ann", "a")
		require.NoError(t, err)
		log.before = slow(nil)
		start(func() error { return h.Confirm(t.Context(), hold.Token) })
		time.Sleep(6 * time.Minute)
		require.Empty(t, free(h, "a"), "its end has come, but it was confirmed before")
		require.NoError(t, <-done)
		confirmed, ok := h.Holder("a")
		require.True(t, ok && confirmed.Confirmed())

		log.before = func([]occ.Commit[string, occ.Claim[string]]) error { panic("log") }
		require.PanicsWithValue(t, "log", func() { _ = h.Revoke(t.Context(), hold.Token) })
		require.Empty(t, free(h, "a"))
		require.NoError(t, h.CheckInvariants())
		log.before = nil
		require.NoError(t, h.Revoke(t.Context(), hold.Token))
		require.Zero(t, h.Len())
		require.NoError(t, h.CheckInvariants())
	})
}

// Random calls from many goroutines leave every resource in one hold at most.
func TestHoldsConcurrentSafe(t *testing.T) {
	h := occ.NewHolds[int, int](&occ.HoldOptions{TTL: time.Microsecond * 50})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			var mine []occ.Token
			for range 2000 {
				if hold, err := h.Hold(t.Context(), worker, r.IntN(20), r.IntN(20)); err == nil {
					mine = append(mine, hold.Token)
				}
				if len(mine) > 0 {
					token := mine[r.IntN(len(mine))]
					switch r.IntN(4) {
					case 0:
						_ = h.Confirm(t.Context(), token)
					case 1:
						_, _ = h.Extend(t.Context(), token, 0)
					case 2:
						_ = h.Revoke(t.Context(), token)
					}
				}
				seen := map[int]bool{}
				for hold := range h.All() {
					for _, r := range hold.Resources {
						if seen[r] {
							t.Errorf("%d is in two holds", r)
						}
						seen[r] = true
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, h.CheckInvariants())
}
