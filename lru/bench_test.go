package lru_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-go/ashlar/lru"
)

// keys are zipf-like, drawn once for all benchmarks.
var keys = func() []int64 {
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.01, 1, 1<<20-1)
	keys := make([]int64, 1<<18)
	for i := range keys {
		keys[i] = int64(z.Uint64())
	}
	return keys
}()

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 16} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			c := lru.New[int64, int64](size, nil)
			for _, key := range keys {
				c.Put(key, key)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c.Get(keys[i&(len(keys)-1)])
				i++
			}
		})
	}
}

func BenchmarkGetElsePut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 16} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", size), func(b *testing.B) {
			c := lru.New[int64, int64](size, nil)
			b.ReportAllocs()
			hits, i := 0, 0
			for b.Loop() {
				key := keys[i&(len(keys)-1)]
				if _, ok := c.Get(key); ok {
					hits++
				} else {
					c.Put(key, key)
				}
				i++
			}
			b.ReportMetric(float64(hits)/float64(i), "hits/op")
		})
	}
}

func BenchmarkParallel(b *testing.B) {
	b.Run("impl=ashlar/size=65536", func(b *testing.B) {
		c := lru.New[int64, int64](1<<16, nil)
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(keys)); pb.Next(); i++ {
				key := keys[i&(len(keys)-1)]
				if _, ok := c.Get(key); !ok {
					c.Put(key, key)
				}
			}
		})
	})
}
