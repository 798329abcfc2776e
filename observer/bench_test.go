package observer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/observer"
)

func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		sum := 0
		handle := func(event int) { sum += event }
		b.Run(fmt.Sprintf("impl=loop/size=%d", size), func(b *testing.B) {
			handlers := make([]func(int), size)
			for i := range handlers {
				handlers[i] = handle
			}
			for b.Loop() {
				for _, h := range handlers {
					h(1)
				}
			}
		})
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			var s observer.Subject[int]
			for range size {
				s.Subscribe(handle)
			}
			for b.Loop() {
				s.Publish(1)
			}
		})
		b.Run(fmt.Sprintf("impl=ashlar-bus/size=%d", size), func(b *testing.B) {
			var bus observer.Bus[int]
			for range size {
				bus.Subscribe("order.*", func(e observer.Event[int]) { sum += e.Value })
			}
			for b.Loop() {
				bus.Publish("order.created", 1)
			}
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			s := observer.NewStream[int](4096)
			sums := make([]struct {
				sum int
				_   [56]byte
			}, size)
			for i := range size {
				s.Subscribe(func(event int) { sums[i].sum += event }, nil)
			}
			for b.Loop() {
				if err := s.Publish(context.Background(), 1); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
