package observer

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// What went wrong in others.

// asaskevich/EventBus: of two that listen once and one that listens always the
// wrong one was removed.
func TestTrapOnceRemovesItself(t *testing.T) {
	var s Subject[int]
	var calls [3]int
	for i := range calls {
		s.SubscribeFunc(func(int) error { calls[i]++; return nil }, &SubscribeOptions{Once: i < 2})
	}
	for range 3 {
		s.Publish(0)
	}
	require.Equal(t, [3]int{1, 1, 3}, calls)
}

// asaskevich/EventBus: to unsubscribe a closure removed its sibling, which has
// the same code.
func TestTrapClosuresAreNotEqual(t *testing.T) {
	var s Subject[int]
	var calls [3]int
	var subs [3]*Subscription
	for i := range calls {
		subs[i] = s.Subscribe(func(int) { calls[i]++ })
	}
	subs[1].Cancel()
	s.Publish(0)
	require.Equal(t, [3]int{1, 0, 1}, calls)
}

// mustafaturan/bus: a handler that left while it was called made another be
// called twice.
func TestTrapLeavingWhileCalled(t *testing.T) {
	var s Subject[int]
	var calls [4]int
	var subs [4]*Subscription
	for i := range calls {
		subs[i] = s.Subscribe(func(int) { calls[i]++; subs[i].Cancel() })
	}
	s.Publish(0)
	require.Equal(t, [4]int{1, 1, 1, 1}, calls)
	require.Zero(t, s.Len())
}

// mustafaturan/bus: patterns were regular expressions without anchors.
func TestTrapPatternsAreWhole(t *testing.T) {
	var b Bus[int]
	n := 0
	b.Subscribe("order.created", func(Event[int]) { n++ })
	for _, topic := range []string{"reorder.created", "orderXcreated", "order.created.late", "Order.created"} {
		b.Publish(topic, 0)
	}
	require.Zero(t, n)
}

// asaskevich/EventBus, samber/ro: to publish, subscribe or cancel in a handler
// waited for ever. See also TestReentrancy.
func TestTrapEverythingInAHandler(t *testing.T) {
	var b Bus[int]
	n := 0
	b.Subscribe("a", func(e Event[int]) {
		sub := b.Subscribe("#", func(Event[int]) { n++ })
		b.Publish("b", 0)
		sub.Cancel()
		_ = b.Len()
		_ = b.Matches("a")
		b.Clear()
	})
	b.Publish("a", 0)
	require.Equal(t, 1, n)
}

// kelindar/event: goroutines stayed behind after Close, a second Close
// panicked, and Publish after it waited for ever once the buffer was full.
// synctest fails if a goroutine is left.
func TestTrapClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](2)
		for range 100 {
			s.Subscribe(func(int) {}, nil)
		}
		publish(t, s, 0, 10)
		require.NoError(t, s.Close(t.Context()))
		require.NoError(t, s.Close(t.Context()))
		for range 100 {
			require.ErrorIs(t, s.Publish(t.Context(), 1), ErrClosed)
		}
	})
}

// cskr/pubsub: one reader that stalled stopped all others, and those who
// wanted to subscribe.
func TestTrapStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](4)
		release := make(chan struct{})
		for _, policy := range []Policy{DropOldest, DropNewest, Disconnect} {
			s.Subscribe(func(int) { <-release }, &ReaderOptions{OnFull: policy})
		}
		n := 0
		s.Subscribe(func(int) { n++ }, nil)
		publish(t, s, 0, 1000)
		s.Subscribe(func(int) {}, nil).Cancel()
		synctest.Wait()
		require.Equal(t, 1000, n)
		close(release)
		require.NoError(t, s.Close(t.Context()))
	})
}

// samber/ro: handlers were called in the order of a map.
func TestTrapOrderOfHandlers(t *testing.T) {
	var s Subject[int]
	var got strings.Builder
	for i := range 26 {
		s.Subscribe(func(int) { got.WriteByte(byte('a' + i)) })
	}
	s.Publish(0)
	require.Equal(t, "abcdefghijklmnopqrstuvwxyz", got.String())
}
