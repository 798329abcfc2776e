package occ_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
)

func accounts(n int) *occ.Store[int, int] {
	s := occ.New[int, int](nil)
	_ = s.Update(context.Background(), func(tx *occ.Tx[int, int]) error {
		for i := range n {
			tx.Put(i, 1000)
		}
		return nil
	})
	return s
}

// BenchmarkTransfer moves an amount between two of many accounts.
func BenchmarkTransfer(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			s := accounts(size)
			b.ReportAllocs()
			var seed atomic.Uint64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(1, seed.Add(1)))
				for pb.Next() {
					from, to := r.IntN(size), r.IntN(size)
					_ = s.Update(context.Background(), func(tx *occ.Tx[int, int]) error {
						a, _ := tx.Get(from)
						tx.Put(from, a-1)
						b, _ := tx.Get(to)
						tx.Put(to, b+1)
						return nil
					})
				}
			})
			b.ReportMetric(float64(s.Stats().Aborts())/float64(b.N), "aborts/op")
		})
		b.Run(fmt.Sprintf("impl=mutex/size=%d", size), func(b *testing.B) {
			m := make(map[int]int, size)
			for i := range size {
				m[i] = 1000
			}
			var mu sync.Mutex
			b.ReportAllocs()
			var seed atomic.Uint64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(1, seed.Add(1)))
				for pb.Next() {
					from, to := r.IntN(size), r.IntN(size)
					mu.Lock()
					m[from]--
					m[to]++
					mu.Unlock()
				}
			})
		})
	}
}

func TestUpdateAllocatesOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops what is pooled")
	}
	s := accounts(100)
	from := 0
	transfer := func(tx *occ.Tx[int, int]) error {
		a, _ := tx.Get(from)
		b, _ := tx.Get(from + 1)
		tx.Put(from, a-1)
		tx.Put(from+1, b+1)
		return nil
	}
	look := func(tx *occ.Tx[int, int]) error { tx.Get(from); return nil }
	for name, c := range map[string]struct {
		call func()
		want float64
	}{
		"Update": {func() { _ = s.Update(t.Context(), transfer) }, 1},
		"View":   {func() { _ = s.View(t.Context(), look) }, 1},
		"Load":   {func() { s.Load(from) }, 0},
	} {
		if n := testing.AllocsPerRun(1000, func() { from = (from + 7) % 99; c.call() }); n > c.want {
			t.Errorf("%s allocates %v times, want %v", name, n, c.want)
		}
	}
}

// BenchmarkView reads a few keys, or loops over many, beside nobody.
func BenchmarkView(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			s := accounts(10_000)
			b.ReportAllocs()
			for b.Loop() {
				_ = s.View(context.Background(), func(tx *occ.Tx[int, int]) error {
					for range tx.Range(0, size) {
					}
					return nil
				})
			}
		})
	}
}

// BenchmarkPut adds keys, in order.
func BenchmarkPut(b *testing.B) {
	b.Run("impl=ashlar/size=1", func(b *testing.B) {
		s := occ.New[int, int](nil)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			_ = s.Update(context.Background(), func(tx *occ.Tx[int, int]) error { tx.Put(i, i); return nil })
		}
	})
}

func BenchmarkHold(b *testing.B) {
	b.Run("impl=ashlar/size=2", func(b *testing.B) {
		h := occ.NewHolds[int, int](nil)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i += 2
			hold, _ := h.Hold(context.Background(), i%100, i%1000, i%1000+1)
			_ = h.Release(context.Background(), hold.Token)
		}
	})
}
