package consistenthash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestLive(t *testing.T) {
	one := must(NewRendezvous([]string{"a"}, nil))
	l := NewLive(one)
	node, ok := l.Owner("key")
	require.True(t, ok)
	require.Equal(t, "a", node)
	require.NoError(t, l.Add("b", "c"))
	require.Equal(t, 3, l.Placement().Len())
	require.NoError(t, l.Remove("a", "c"))
	node, _ = l.OwnerHash(1)
	require.Equal(t, "b", node)
	require.Equal(t, []string{"b"}, slices.Collect(l.Owners("key")))

	before := l.Placement()
	require.ErrorIs(t, l.Remove("a"), ErrUnknown)
	require.ErrorIs(t, l.Add("b"), ErrDuplicate)
	failed := errors.New("failed")
	require.Equal(t, failed, l.Update(func(Placement[string]) (Placement[string], error) { return nil, failed }))
	require.Same(t, before, l.Placement())
	require.Same(t, before, l.Set(one))

	const nilPlacement = "consistenthash: a Live of a nil placement"
	require.PanicsWithValue(t, nilPlacement, func() { NewLive[string](nil) })
	require.PanicsWithValue(t, nilPlacement, func() { l.Set(nil) })
	require.PanicsWithValue(t, nilPlacement, func() {
		l.Update(func(Placement[string]) (Placement[string], error) { return nil, nil })
	})
	require.Same(t, one, l.Placement())
}

// A change may itself make one; the outer one then begins again.
func TestLiveUpdateWithinAnUpdate(t *testing.T) {
	l := NewLive(must(NewRing([]string{"a"}, nil)))
	calls := 0
	require.NoError(t, l.Update(func(p Placement[string]) (Placement[string], error) {
		if calls++; calls == 1 {
			require.NoError(t, l.Add("b"))
		}
		return p.With("c")
	}))
	require.Equal(t, 2, calls)
	require.Equal(t, []string{"a", "b", "c"}, nodesOf(l.Placement()))
}

func nodesOf(p Placement[string]) (nodes []string) {
	for node := range p.Nodes() {
		nodes = append(nodes, node)
	}
	return nodes
}

// All changes count, and every reader sees a whole placement.
func TestLiveConcurrentSafe(t *testing.T) {
	l := NewLive(must(NewRing(names(3), &Options[string]{Points: 10})))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				node := fmt.Sprint("new-", g, "-", i)
				if err := l.Add(node); err != nil {
					t.Errorf("Add(%s): %v", node, err)
				}
				if i%2 == 1 {
					if err := l.Remove(node); err != nil {
						t.Errorf("Remove(%s): %v", node, err)
					}
				}
			}
		})
		wg.Go(func() {
			for i := range 2000 {
				p := l.Placement()
				h := mix(uint64(i))
				node, ok := p.OwnerHash(h)
				if !ok || !slices.Contains(nodesOf(p), node) {
					t.Errorf("OwnerHash(%#x) = %q, %v", h, node, ok)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 3+4*25, l.Placement().Len())
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLive(must(NewRing([]string{"a"}, nil)))
		first := l.Placement()
		early := l.Watch(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		var last Placement[string]
		go func() {
			for change := range l.Watch(ctx) {
				if last != nil && change.Before != last {
					t.Error("a change does not begin where the last one ended")
				}
				last = change.After
				seen = append(seen, fmt.Sprint(nodesOf(change.Before), nodesOf(change.After)))
				if len(seen) == 2 {
					// Busy while two more happen: they are one.
					if err := errors.Join(l.Add("d"), l.Remove("a")); err != nil {
						t.Error(err)
					}
				}
			}
			seen = append(seen, "over")
		}()
		synctest.Wait()
		require.Empty(t, seen)
		require.NoError(t, l.Add("b"))
		synctest.Wait()
		require.Equal(t, []string{"[a] [a b]"}, seen)
		require.NoError(t, l.Add("c"))
		synctest.Wait()
		require.Equal(t, []string{"[a] [a b]", "[a b] [a b c]", "[a b c] [b c d]"}, seen)
		cancel()
		synctest.Wait()
		require.Equal(t, "over", seen[len(seen)-1])

		// From the call of Watch on; and one may leave, and begin again.
		for range 2 {
			n := 0
			for change := range early {
				require.Same(t, first, change.Before)
				require.Same(t, last, change.After)
				n++
				break
			}
			require.Equal(t, 1, n)
		}
		done := l.Watch(ctx)
		require.NoError(t, l.Add("e"))
		for range done {
			t.Error("the context is done")
		}
	})
}
