package observer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/observer"
)

func Example() {
	var saved observer.Subject[string]
	log := saved.Subscribe(func(name string) { fmt.Println("log:", name) })
	saved.Subscribe(func(name string) { fmt.Println("index:", name) })

	saved.Publish("a.txt")
	log.Cancel()
	saved.Publish("b.txt")
	// Output:
	// log: a.txt
	// index: a.txt
	// index: b.txt
}

// A Status is how far an order has come.
type Status int

const (
	Received Status = iota
	Assigned
	PickedUp
	Delivered
)

func (s Status) String() string {
	return [...]string{"received", "assigned", "picked up", "delivered"}[s]
}

// An Order tells those who want to know of each change of its status.
type Order struct {
	ID       int
	Expected time.Time
	Courier  string
	status   Status
	changed  observer.Subject[*Order]
}

// Assign gives the order to a courier.
func (o *Order) Assign(courier string) {
	o.Courier = courier
	o.SetStatus(Assigned)
}

// SetStatus changes the status and tells everybody.
func (o *Order) SetStatus(status Status) {
	o.status = status
	o.changed.Publish(o)
}

// An OrderManager looks after orders, each of which it observes once.
type OrderManager struct {
	orders map[*Order]*observer.Subscription
}

// Add takes an order in, and reports whether it is new.
func (m *OrderManager) Add(o *Order) bool {
	if m.orders[o] != nil {
		return false
	}
	if m.orders == nil {
		m.orders = map[*Order]*observer.Subscription{}
	}
	m.orders[o] = o.changed.Subscribe(func(o *Order) {
		fmt.Printf("order #%d: %v\n", o.ID, o.status)
		if o.status == Delivered {
			m.orders[o].Cancel() // also while it is told of something
		}
	})
	o.SetStatus(Received)
	return true
}

// An order manager follows an order from the kitchen to the door, and so does
// the customer.
func ExampleSubject_orders() {
	var manager OrderManager
	order := &Order{ID: 1, Expected: time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)}
	manager.Add(order)
	fmt.Println("new:", manager.Add(order))

	order.changed.Subscribe(func(o *Order) {
		if o.status == Assigned {
			fmt.Println("customer:", o.Courier, "brings it at", o.Expected.Format(time.Kitchen))
		}
	})
	order.Assign("Ada")
	order.SetStatus(PickedUp)
	order.SetStatus(Delivered)
	order.SetStatus(Received) // nobody listens any more but the customer
	// Output:
	// order #1: received
	// new: false
	// order #1: assigned
	// customer: Ada brings it at 12:30PM
	// order #1: picked up
	// order #1: delivered
}

func ExampleSubject_PublishErr() {
	var saved observer.Subject[string]
	saved.SubscribeFunc(func(string) error { return errors.New("disk full") }, nil)
	saved.Subscribe(func(name string) { fmt.Println("index:", name) })
	fmt.Println("error:", saved.PublishErr("a.txt"))
	// Output:
	// index: a.txt
	// error: disk full
}

// The priority of a handler goes before the order of subscriptions.
func ExampleSubject_SubscribeFunc() {
	var shutdown observer.Subject[struct{}]
	shutdown.Subscribe(func(struct{}) { fmt.Println("close the database") })
	shutdown.SubscribeFunc(func(struct{}) error {
		fmt.Println("take no more requests")
		return nil
	}, &observer.SubscribeOptions{Priority: 1, Once: true})
	shutdown.Publish(struct{}{})
	// Output:
	// take no more requests
	// close the database
}

func ExampleBus() {
	var bus observer.Bus[int]
	bus.Subscribe("order.*", func(e observer.Event[int]) { fmt.Println("one segment:", e.Topic, e.Value) })
	bus.Subscribe("order.#", func(e observer.Event[int]) { fmt.Println("any number:", e.Topic, e.Value) })

	bus.Publish("order.created", 1)
	bus.Publish("order.line.added", 2)
	bus.Publish("reorder.created", 3)
	// Output:
	// one segment: order.created 1
	// any number: order.created 1
	// any number: order.line.added 2
}

func ExampleStream() {
	prices := observer.NewStream[int](16)
	sum := 0
	prices.Subscribe(func(price int) { sum += price }, nil) // in its own goroutine
	for price := range 100 {
		if err := prices.Publish(context.Background(), price); err != nil {
			fmt.Println(err)
		}
	}
	// Close waits until all is delivered.
	fmt.Println(prices.Close(context.Background()), sum)
	// Output: <nil> 4950
}

// Somebody who only wants the latest does not hold up the others.
func ExampleReaderOptions() {
	prices := observer.NewStream[int](3)
	latest := prices.Reader(&observer.ReaderOptions{OnFull: observer.DropOldest})
	for price := range 10 {
		_ = prices.Publish(context.Background(), price)
	}
	_ = prices.Close(context.Background())
	for {
		price, err := latest.Next(context.Background())
		if err != nil {
			break
		}
		fmt.Println(price)
	}
	fmt.Println("missed:", latest.Stats().Dropped)
	// Output:
	// 7
	// 8
	// 9
	// missed: 7
}

func ExampleStream_Events() {
	prices := observer.NewStream[int](16)
	for price := range 5 {
		_ = prices.Publish(context.Background(), price)
	}
	_ = prices.Close(context.Background())
	for price := range prices.Events(context.Background(), &observer.ReaderOptions{Replay: 3}) {
		fmt.Println(price)
	}
	// Output:
	// 2
	// 3
	// 4
}
