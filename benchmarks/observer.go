package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	eventbus "github.com/asaskevich/EventBus"
	"github.com/cskr/pubsub/v2"
	"github.com/samber/ro"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/observer"
)

func init() {
	harness.Register(harness.Suite{Package: "observer", Doc: "events to 1, 10 and 100 handlers: in Publish, and by goroutines", Run: func(s *harness.Session) {
		publishTimes(s)
		busTimes(s)
		streamTimes(s)
	}})
}

var fanOuts = []int{1, 10, 100}

// A plainLoop is the least that has to be done: a call for each handler.
type plainLoop struct{ handlers []func(int) }

func (l *plainLoop) publish(event int) {
	for _, handle := range l.handlers {
		handle(event)
	}
}

func publishTimes(s *harness.Session) {
	for _, fanOut := range fanOuts {
		handle := func(sum *int) func(int) { return func(event int) { *sum += event } }
		s.Time(harness.Spec{
			Group: "Publish of a Subject",
			Name:  fmt.Sprintf("publish, %d handlers", fanOut),
			Bars:  []harness.Bar{harness.AtMost(2 * float64(fanOut)).Above("plain loop"), harness.AtMost(.5).Of("samber/ro", "EventBus")},
			Note:  "2 ns for each call of a handler; a plain loop does not survive a panic",
		}, s.Pick(4_000_000, 1_000_000, 1000)/fanOut, []harness.Impl{
			{Name: harness.Ours, Start: func() (func(int), func()) {
				var subject observer.Subject[int]
				sum := new(int)
				for range fanOut {
					subject.Subscribe(handle(sum))
				}
				return func(n int) {
					for range n {
						subject.Publish(1)
					}
				}, func() {}
			}},
			{Name: "plain loop", Start: func() (func(int), func()) {
				var loop plainLoop
				sum := new(int)
				for range fanOut {
					loop.handlers = append(loop.handlers, handle(sum))
				}
				return func(n int) {
					for range n {
						loop.publish(1)
					}
				}, func() {}
			}},
			{Name: "samber/ro", Start: func() (func(int), func()) {
				subject := ro.NewPublishSubject[int]()
				sum := new(int)
				for range fanOut {
					subject.Subscribe(ro.OnNext(handle(sum)))
				}
				return func(n int) {
					for range n {
						subject.Next(1)
					}
				}, func() {}
			}},
			eventBus(fanOut, "order"),
		})
	}
}

func eventBus(fanOut int, topic string) harness.Impl {
	return harness.Impl{Name: "EventBus", Start: func() (func(int), func()) {
		bus := eventbus.New()
		sum := new(int)
		for range fanOut {
			if err := bus.Subscribe(topic, func(event int) { *sum += event }); err != nil {
				panic(err)
			}
		}
		return func(n int) {
			for range n {
				bus.Publish(topic, 1)
			}
		}, func() {}
	}}
}

func busTimes(s *harness.Session) {
	for _, fanOut := range fanOuts {
		s.Time(harness.Spec{
			Group: "Publish of a Bus",
			Name:  fmt.Sprintf("publish on a topic, %d handlers", fanOut),
			Bars:  []harness.Bar{harness.AtMost(.5).Of("EventBus")},
			Note:  "ours by a pattern, EventBus by the topic itself; mustafaturan/bus, which cannot be had, took about as long as EventBus for 1 handler",
		}, s.Pick(2_000_000, 500_000, 1000)/fanOut, []harness.Impl{
			{Name: harness.Ours, Start: func() (func(int), func()) {
				var bus observer.Bus[int]
				sum := new(int)
				for range fanOut {
					bus.Subscribe("order.*", func(e observer.Event[int]) { *sum += e.Value })
				}
				return func(n int) {
					for range n {
						bus.Publish("order.created", 1)
					}
				}, func() {}
			}},
			eventBus(fanOut, "order.created"),
		})
	}
}

// A crowd counts events at a number of handlers, and knows when all have all.
type crowd struct {
	members []member
	due     atomic.Int64 // events for each member since the start
	missing sync.WaitGroup
}

type member struct {
	crowd *crowd
	got   int64
	_     [48]byte // so that members do not share cache lines
}

func newCrowd(n int) *crowd {
	c := &crowd{members: make([]member, n)}
	for i := range c.members {
		c.members[i].crowd = c
	}
	return c
}

func (m *member) handle(int) {
	m.got++
	if m.got == m.crowd.due.Load() {
		m.crowd.missing.Done()
	}
}

// turn returns a turn in which events are published, until all have them.
func (c *crowd) turn(publish func(int)) func(n int) {
	return func(n int) {
		c.missing.Add(len(c.members))
		c.due.Add(int64(n))
		for range n {
			publish(1)
		}
		c.missing.Wait()
	}
}

func streamTimes(s *harness.Session) {
	// kelindar/event cannot be had. What it took where it was measured was 0.67,
	// 0.26 and 0.20 of a channel for each handler.
	kelindar := map[int]float64{1: .67, 10: .26, 100: .2}
	for _, fanOut := range fanOuts {
		s.Time(harness.Spec{
			Group: "Stream: until all handlers have the event",
			Name:  fmt.Sprintf("stream, %d handlers", fanOut),
			Bars: []harness.Bar{
				harness.AtMost(1).Of("cskr/pubsub", "channel for each"),
				harness.AtMost(kelindar[fanOut]).Of("channel for each"),
			},
			Note: "the second bar is what kelindar/event reached, which cannot be had here",
		}, s.Pick(1_000_000, 300_000, 1000)/fanOut, []harness.Impl{
			{Name: harness.Ours, Start: func() (func(int), func()) {
				c := newCrowd(fanOut)
				stream := observer.NewStream[int](4096)
				for i := range c.members {
					stream.Subscribe(c.members[i].handle, nil)
				}
				ctx := context.Background()
				return c.turn(func(event int) {
					if err := stream.Publish(ctx, event); err != nil {
						panic(err)
					}
				}), func() { _ = stream.Close(ctx) }
			}},
			{Name: "channel for each", Start: func() (func(int), func()) {
				c := newCrowd(fanOut)
				channels := make([]chan int, fanOut)
				for i := range channels {
					channels[i] = make(chan int, 4096)
					go func() {
						for event := range channels[i] {
							c.members[i].handle(event)
						}
					}()
				}
				return c.turn(func(event int) {
						for _, ch := range channels {
							ch <- event
						}
					}), func() {
						for _, ch := range channels {
							close(ch)
						}
					}
			}},
			{Name: "cskr/pubsub", Start: func() (func(int), func()) {
				c := newCrowd(fanOut)
				ps := pubsub.New[string, int](4096)
				for i := range c.members {
					ch := ps.Sub("order")
					go func() {
						for event := range ch {
							c.members[i].handle(event)
						}
					}()
				}
				return c.turn(func(event int) { ps.Pub(event, "order") }), ps.Shutdown
			}},
		})
	}
}
