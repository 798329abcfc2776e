package observer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// note returns a handler that appends name and event to a list.
func note(list *[]string, name string) func(int) {
	return func(event int) { *list = append(*list, fmt.Sprint(name, event)) }
}

// take returns a list and empties it.
func take(list *[]string) string {
	s := strings.Join(*list, " ")
	*list = nil
	return s
}

func TestZeroSubject(t *testing.T) {
	var s Subject[int]
	s.Publish(1)
	require.NoError(t, s.PublishErr(1))
	require.Zero(t, s.Len())
	s.Clear()
	require.Panics(t, func() { s.Subscribe(nil) })
	require.Panics(t, func() { s.SubscribeFunc(nil, nil) })
}

func TestOrder(t *testing.T) {
	var s Subject[int]
	var got []string
	try := func(name string) func(int) error {
		return func(event int) error { note(&got, name)(event); return nil }
	}
	s.Subscribe(note(&got, "a"))
	late := s.SubscribeFunc(try("late"), &SubscribeOptions{Priority: -1})
	s.Subscribe(note(&got, "b"))
	first := s.SubscribeFunc(try("first"), &SubscribeOptions{Priority: 2})
	s.SubscribeFunc(try("second"), &SubscribeOptions{Priority: 2})
	s.Subscribe(note(&got, "c"))
	s.Publish(1)
	require.Equal(t, "first1 second1 a1 b1 c1 late1", take(&got))
	require.Equal(t, 6, s.Len())
	require.True(t, first.Active())
	first.Cancel()
	first.Cancel()
	late.Cancel()
	require.False(t, first.Active())
	require.Equal(t, 4, s.Len())
	s.Publish(2)
	require.Equal(t, "second2 a2 b2 c2", take(&got))
	s.Clear()
	s.Publish(3)
	require.Empty(t, got)
	require.Zero(t, s.Len())
}

// One function, subscribed twice, is two handlers, each with its own end.
func TestSameFunctionTwice(t *testing.T) {
	var s Subject[int]
	n := 0
	count := func(int) { n++ }
	a, b := s.Subscribe(count), s.Subscribe(count)
	s.Publish(0)
	require.Equal(t, 2, n)
	a.Cancel()
	a.Cancel()
	s.Publish(0)
	require.Equal(t, 3, n)
	require.True(t, b.Active())
}

func TestReentrancy(t *testing.T) {
	t.Run("publish", func(t *testing.T) {
		var s Subject[int]
		var got []string
		s.Subscribe(note(&got, "a"))
		s.Subscribe(func(event int) {
			note(&got, "b")(event)
			if event < 3 {
				s.Publish(event + 1)
			}
		})
		s.Subscribe(note(&got, "c"))
		s.Publish(1)
		require.Equal(t, "a1 b1 a2 b2 a3 b3 c3 c2 c1", take(&got), "the inner event goes to all first")
	})
	t.Run("subscribe", func(t *testing.T) {
		var s Subject[int]
		var got []string
		s.Subscribe(func(event int) {
			note(&got, "a")(event)
			s.Subscribe(note(&got, "new"))
			if event == 1 {
				s.Publish(2)
			}
		})
		s.Publish(1)
		require.Equal(t, "a1 a2 new2", take(&got), "the next event is the inner one")
		s.Publish(3)
		require.Equal(t, "a3 new3 new3", take(&got))
	})
	t.Run("cancel", func(t *testing.T) {
		var s Subject[int]
		var got []string
		subs := make([]*Subscription, 5)
		for i := range subs {
			subs[i] = s.Subscribe(func(event int) {
				note(&got, fmt.Sprint(i, ":"))(event)
				if i == 2 { // one before, itself, one behind
					subs[1].Cancel()
					subs[2].Cancel()
					subs[3].Cancel()
				}
			})
		}
		s.Publish(7)
		require.Equal(t, "0:7 1:7 2:7 4:7", take(&got))
		s.Publish(8)
		require.Equal(t, "0:8 4:8", take(&got))
	})
	t.Run("clear", func(t *testing.T) {
		var s Subject[int]
		var got []string
		s.Subscribe(func(event int) { note(&got, "a")(event); s.Clear() })
		s.Subscribe(note(&got, "b"))
		s.Publish(1)
		s.Publish(2)
		require.Equal(t, "a1", take(&got))
	})
	t.Run("replace", func(t *testing.T) {
		var s Subject[int]
		var got []string
		var b *Subscription
		s.Subscribe(func(int) { b.Cancel(); b = s.Subscribe(note(&got, "b")) })
		b = s.Subscribe(note(&got, "b"))
		s.Subscribe(note(&got, "c"))
		s.Publish(1)
		require.Equal(t, "c1", take(&got), "the old b is cancelled, the new one gets the next event")
		s.Publish(2)
		require.Equal(t, "c2", take(&got))
	})
}

func TestOnce(t *testing.T) {
	var s Subject[int]
	var got []string
	once := func(name string) *Subscription {
		return s.SubscribeFunc(func(event int) error { note(&got, name)(event); return nil }, &SubscribeOptions{Once: true})
	}
	s.Subscribe(note(&got, "a"))
	x := once("x")
	once("y")
	never := once("never")
	never.Cancel()
	s.SubscribeFunc(func(event int) error {
		note(&got, "z")(event)
		s.Publish(event + 1) // is not called again with it
		return nil
	}, &SubscribeOptions{Once: true})
	s.Publish(1)
	require.Equal(t, "a1 x1 y1 z1 a2", take(&got))
	require.False(t, x.Active())
	require.Equal(t, 1, s.Len())
}

func TestPanics(t *testing.T) {
	var s Subject[int]
	var got []string
	cause := errors.New("cause")
	s.Subscribe(note(&got, "a"))
	s.Subscribe(func(int) { panic(cause) })
	s.Subscribe(note(&got, "b"))

	func() {
		defer func() {
			p, ok := recover().(*PanicError)
			require.True(t, ok)
			require.Equal(t, cause, p.Value)
			require.ErrorIs(t, p, cause)
			require.Contains(t, string(p.Stack), "TestPanics", "where it was")
			require.ErrorContains(t, p, "handler panicked: cause")
		}()
		s.Publish(1)
	}()
	require.Equal(t, "a1 b1", take(&got))

	s.Subscribe(func(int) { panic("last") })
	func() {
		defer func() {
			err, ok := recover().(error)
			require.True(t, ok)
			require.ErrorIs(t, err, cause)
			require.ErrorContains(t, err, "handler panicked: last")
		}()
		s.Publish(2)
	}()
	require.Equal(t, "a2 b2", take(&got))

	failed := errors.New("failed")
	s.SubscribeFunc(func(int) error { return failed }, nil)
	s.Subscribe(note(&got, "c"))
	err := s.PublishErr(3)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "handler panicked: last")
	require.Equal(t, "a3 b3 c3", take(&got))

	// A panic on its way through another subject keeps its first stack.
	var outer Subject[int]
	outer.Subscribe(func(event int) { s.Publish(event) })
	require.ErrorIs(t, outer.PublishErr(4), cause)
	require.Panics(t, func() { outer.Publish(4) })
}

func TestErrorsOfHandlers(t *testing.T) {
	var s Subject[int]
	failed := errors.New("failed")
	s.SubscribeFunc(func(event int) error {
		if event%2 == 0 {
			return failed
		}
		return nil
	}, nil)
	require.NoError(t, s.PublishErr(1))
	require.Equal(t, failed, s.PublishErr(2), "a single error is as it is")
	require.NotPanics(t, func() { s.Publish(2) })
}

// A handler that ends its goroutine, as t.FailNow does, lets the others be
// called, and what they panic with is not lost.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	var s Subject[int]
	var got []string
	s.Subscribe(func(int) { runtime.Goexit() })
	s.Subscribe(note(&got, "a"))
	s.Subscribe(func(int) { runtime.Goexit() })
	s.Subscribe(note(&got, "b"))
	returned := false
	var wg sync.WaitGroup
	wg.Go(func() {
		s.Publish(1)
		returned = true
	})
	wg.Wait()
	require.False(t, returned)
	require.Equal(t, "a1 b1", take(&got))
}

func TestPublishAllocatesNothing(t *testing.T) {
	var s Subject[[4]int]
	n := 0
	for range 10 {
		s.Subscribe(func(e [4]int) { n += e[0] })
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { s.Publish([4]int{1}) }))
	var b Bus[[4]int]
	b.Subscribe("a.*", func(e Event[[4]int]) { n += e.Value[0] })
	require.Zero(t, testing.AllocsPerRun(100, func() { b.Publish("a.b", [4]int{1}) }))
}

func TestSubjectEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Subject[int]
		events := s.Events(t.Context(), 4, nil)
		require.Zero(t, s.Len(), "not before the loop")
		go func() {
			synctest.Wait()
			for i := range 100 {
				s.Publish(i)
			}
		}()
		want := 0
		for event := range events {
			require.Equal(t, want, event)
			if want++; want == 50 {
				break
			}
		}
		require.Zero(t, s.Len(), "not after it")
		synctest.Wait() // the publisher goes on
	})
}

func TestSubjectEventsEndWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Subject[int]
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []int)
		go func() {
			got := []int{}
			for event := range s.Events(ctx, 2, &ReaderOptions{OnFull: DropOldest}) {
				got = append(got, event)
				cancel() // while there is more
			}
			done <- got
		}()
		synctest.Wait()
		for i := range 5 {
			s.Publish(i)
		}
		require.Len(t, <-done, 1) // which one, is a matter of who was faster
		require.Zero(t, s.Len())
	})
}

// The loop is left by a panic: its handler must not stay.
func TestSubjectEventsEndWithPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Subject[int]
		go func() {
			synctest.Wait()
			s.Publish(1)
			s.Publish(2)
		}()
		require.Panics(t, func() {
			for range s.Events(t.Context(), 1, nil) {
				panic("body")
			}
		})
		require.Zero(t, s.Len())
	})
}

func TestSubjectConcurrentSafe(t *testing.T) {
	var s Subject[int]
	var calls, once atomic.Int64
	for range 3 {
		s.Subscribe(func(int) { calls.Add(1) })
	}
	const publishers, events = 4, 300
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for i := range events {
				s.Publish(i)
			}
		})
		wg.Go(func() {
			for range events {
				sub := s.Subscribe(func(int) {})
				s.SubscribeFunc(func(int) error { once.Add(1); return nil }, &SubscribeOptions{Once: true, Priority: 1})
				sub.Cancel()
				sub.Cancel()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 3*publishers*events, calls.Load())
	s.Publish(0)
	require.EqualValues(t, publishers*events, once.Load(), "each once, and none left")
	require.Equal(t, 3, s.Len())
}

// FuzzSubject holds a Subject against a plain list of handlers; events make
// handlers subscribe, cancel and publish.
func FuzzSubject(f *testing.F) {
	f.Add([]byte("abcdefgh"))
	f.Add([]byte{0, 1, 2, 3, 3, 3, 4, 4, 8, 12, 16, 20, 255, 254, 253})
	f.Fuzz(func(t *testing.T, program []byte) {
		type twin struct {
			id, priority int
			once, over   bool
		}
		var s Subject[int]
		var model []*twin
		var subs []*Subscription
		var twins []*twin
		var got, want []string
		var act func(id, event int) // what a handler does besides noting
		var publish func(event int)
		depth := 0
		add := func(priority int, once bool) {
			id := len(twins)
			tw := &twin{id: id, priority: priority, once: once}
			twins = append(twins, tw)
			at := len(model)
			for at > 0 && model[at-1].priority < priority {
				at--
			}
			model = slices.Insert(slices.Clone(model), at, tw)
			subs = append(subs, s.SubscribeFunc(func(event int) error {
				got = append(got, fmt.Sprint(id, ":", event))
				act(id, event)
				return nil
			}, &SubscribeOptions{Priority: priority, Once: once}))
		}
		drop := func(id int) {
			twins[id].over = true
			model = slices.DeleteFunc(slices.Clone(model), func(tw *twin) bool { return tw.id == id })
		}
		cancel := func(id int) { subs[id].Cancel(); drop(id) }
		// The subject runs; each call of a handler is checked against what the
		// model says is next, which keeps a stack of lists under way.
		type frame struct {
			list  []*twin
			at    int
			event int
		}
		var stack []frame
		expect := func() (string, bool) {
			top := &stack[len(stack)-1]
			for top.at < len(top.list) && top.list[top.at].over {
				top.at++
			}
			if top.at == len(top.list) {
				return "", false
			}
			tw := top.list[top.at]
			top.at++
			if tw.once {
				drop(tw.id)
			}
			return fmt.Sprint(tw.id, ":", top.event), true
		}
		publish = func(event int) {
			stack = append(stack, frame{model, 0, event})
			s.Publish(event)
			if next, more := expect(); more {
				t.Fatalf("%s was not called", next)
			}
			stack = stack[:len(stack)-1]
		}
		step := func(op byte) {
			switch op % 5 {
			case 0:
				add(int(op/5)%3, false)
			case 1:
				add(int(op/5)%3, true)
			case 2:
				if len(subs) > 0 {
					cancel(int(op/5) % len(subs))
				}
			case 3, 4:
				if depth < 3 {
					depth++
					publish(int(op))
					depth--
				}
			}
		}
		act = func(id, event int) {
			next, more := expect()
			last := got[len(got)-1]
			if !more || next != last {
				t.Fatalf("%s was called, want %q", last, next)
			}
			want = append(want, next)
			if len(program) > 0 && (event+id)%2 == 0 {
				op := program[0]
				program = program[1:]
				step(op)
			}
		}
		for len(program) > 0 && len(twins) < 100 {
			op := program[0]
			program = program[1:]
			step(op)
			if s.Len() != len(model) {
				t.Fatalf("%d handlers, want %d", s.Len(), len(model))
			}
		}
		require.Equal(t, want, got)
	})
}
