package observer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"order.created", []string{"order.created"}, []string{"reorder.created", "order.created.x", "order", "", "order.create"}},
		{"order.*", []string{"order.created", "order."}, []string{"order", "order.line.added", "reorder.created"}},
		{"*.created", []string{"order.created", ".created"}, []string{"created", "a.order.created"}},
		{"order.#", []string{"order", "order.created", "order.line.added"}, []string{"reorder.created", "orders"}},
		{"#", []string{"", "a", "a.b.c"}, nil},
		{"#.#", []string{"", "a", "a.b.c"}, nil},
		{"*", []string{"", "a"}, []string{"a.b"}},
		{"#.added", []string{"added", "line.added", "order.line.added", "added.added"}, []string{"order.added.x"}},
		{"a.#.b", []string{"a.b", "a.x.b", "a.x.y.b", "a.b.b"}, []string{"a", "b", "a.x", "x.a.b"}},
		{"a.#.*", []string{"a.b", "a.b.c"}, []string{"a", "b.a"}},
		{"#.a.#.b.#", []string{"a.b", "x.a.b", "a.x.b.y", "a.a.b.b"}, []string{"b.a", "a"}},
		{"", []string{""}, []string{"a", "."}},
	} {
		require.NoError(t, CheckPattern(test.pattern))
		for _, topic := range test.yes {
			if !Match(test.pattern, topic) {
				t.Errorf("Match(%q, %q) = false", test.pattern, topic)
			}
		}
		for _, topic := range test.no {
			if Match(test.pattern, topic) {
				t.Errorf("Match(%q, %q) = true", test.pattern, topic)
			}
		}
	}
	for _, pattern := range []string{"a*", "*a", "a.b#", "##", "**", "a.*#.b"} {
		require.ErrorIs(t, CheckPattern(pattern), ErrBadPattern)
		require.Panics(t, func() { new(Bus[int]).Subscribe(pattern, func(Event[int]) {}) })
	}
}

func TestBus(t *testing.T) {
	var b Bus[int]
	var got []string
	b.Publish("a", 1)
	require.Zero(t, b.Len())
	heard := func(name string) func(Event[int]) {
		return func(e Event[int]) { got = append(got, fmt.Sprint(name, "=", e.Topic, e.Value)) }
	}
	all := b.Subscribe("#", heard("all"))
	b.Subscribe("order.*", heard("star"))
	exact := b.Subscribe("order.created", heard("exact"))
	b.SubscribeFunc("order.#", func(e Event[int]) error { heard("first")(e); return nil }, &SubscribeOptions{Priority: 1})
	require.Equal(t, 4, b.Len())
	require.Equal(t, 4, b.Matches("order.created"))
	require.Equal(t, 1, b.Matches("reorder.created"))

	b.Publish("order.created", 1)
	require.Equal(t, "first=order.created1 all=order.created1 star=order.created1 exact=order.created1", take(&got))
	b.Publish("reorder.created", 2)
	require.Equal(t, "all=reorder.created2", take(&got))
	all.Cancel()
	exact.Cancel()
	exact.Cancel()
	b.Publish("order.created", 3)
	require.Equal(t, "first=order.created3 star=order.created3", take(&got))
	b.Clear()
	b.Publish("order.created", 4)
	require.Empty(t, got)
	require.Zero(t, b.Len())
	require.Empty(t, b.root.children)
}

func TestBusErrorsAndReentrancy(t *testing.T) {
	var b Bus[int]
	var got []string
	failed := errors.New("failed")
	var behind *Subscription
	b.Subscribe("a", func(e Event[int]) {
		if e.Value == 1 {
			b.Publish("b", 2)
			b.Subscribe("a", func(e Event[int]) { got = append(got, "new") })
			behind.Cancel()
		}
	})
	behind = b.Subscribe("a", func(Event[int]) { got = append(got, "behind") })
	b.SubscribeFunc("*", func(e Event[int]) error { got = append(got, e.Topic); return failed }, nil)
	b.Subscribe("a", func(Event[int]) { panic("p") })
	err := b.PublishErr("a", 1)
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "handler panicked: p")
	require.Equal(t, "b a", take(&got))
	require.Panics(t, func() { b.Publish("a", 2) })
	require.Equal(t, "a new", take(&got))
	require.NoError(t, b.PublishErr("none.at.all", 1))
}

// Nodes of patterns that nobody has any more are gone, and lists of topics do
// not pile up.
func TestBusMemory(t *testing.T) {
	var b Bus[int]
	var subs []*Subscription
	for i := range 100 {
		subs = append(subs, b.Subscribe(fmt.Sprintf("a.%d.*.b.#", i), func(Event[int]) {}))
	}
	for i := range 3 * maxTopics {
		b.Publish(fmt.Sprint("topic.", i), 0)
	}
	n := 0
	b.lists.Load().byTopic.Range(func(any, any) bool { n++; return true })
	require.LessOrEqual(t, n, maxTopics)
	for _, sub := range subs {
		sub.Cancel()
	}
	require.Empty(t, b.root.children)
}

func TestBusConcurrentSafe(t *testing.T) {
	var b Bus[int]
	var calls atomic.Int64
	b.Subscribe("a.*", func(Event[int]) { calls.Add(1) })
	const events = 300
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range events {
				b.Publish(fmt.Sprint("a.", i%7), i)
				_ = b.Matches("a.b")
			}
		})
		wg.Go(func() {
			for i := range events {
				sub := b.Subscribe(fmt.Sprint("*.", (g+i)%7), func(Event[int]) {})
				sub.Cancel()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 4*events, calls.Load())
	require.Equal(t, 1, b.Len())
	require.Equal(t, 1, b.Matches("a.1"))
}

// FuzzMatch holds patterns against regular expressions made of them, and a Bus
// of two patterns against each of them alone.
func FuzzMatch(f *testing.F) {
	f.Add("a.#.b", "*.b", "a.c.b")
	f.Add("#.#.*", "a", "a..b")
	f.Add("*.*", "#", ".")
	f.Fuzz(func(t *testing.T, one, two, topic string) {
		if CheckPattern(one) != nil || CheckPattern(two) != nil || strings.ContainsAny(topic, "*#\x00") || strings.Contains(one+two, "\x00") || len(one)+len(two) > 60 {
			return
		}
		matches := 0
		for _, pattern := range []string{one, two} {
			// Segments of a topic each begin with a slash here.
			var expr strings.Builder
			expr.WriteString("^")
			for segment := range strings.SplitSeq(pattern, ".") {
				switch segment {
				case "*":
					expr.WriteString(`/[^/]*`)
				case "#":
					expr.WriteString(`(/[^/]*)*`)
				default:
					expr.WriteString("/" + regexp.QuoteMeta(strings.ReplaceAll(segment, "/", "\x00")))
				}
			}
			slashed := "/" + strings.ReplaceAll(strings.ReplaceAll(topic, "/", "\x00"), ".", "/")
			re, err := regexp.Compile("(?s)" + expr.String() + "$")
			if err != nil {
				return // no UTF-8
			}
			if want := re.MatchString(slashed); Match(pattern, topic) != want {
				t.Fatalf("Match(%q, %q) = %t, want %t", pattern, topic, !want, want)
			} else if want {
				matches++
			}
		}
		var b Bus[int]
		calls := 0
		a := b.Subscribe(one, func(Event[int]) { calls++ })
		c := b.Subscribe(two, func(Event[int]) { calls++ })
		for range 2 {
			b.Publish(topic, 1)
		}
		if calls != 2*matches {
			t.Fatalf("patterns %q and %q, topic %q: %d calls, want %d", one, two, topic, calls, 2*matches)
		}
		a.Cancel()
		c.Cancel()
		if len(b.root.children) > 0 || b.Matches(topic) > 0 {
			t.Fatal("something is left")
		}
	})
}
