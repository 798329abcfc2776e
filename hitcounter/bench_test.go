package hitcounter_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/hitcounter"
)

var start = time.Unix(1_700_000_000, 0)

func counters(slots int) map[string]hitcounter.Counter {
	opts := &hitcounter.Options{Resolution: time.Minute / time.Duration(slots)}
	return map[string]hitcounter.Counter{
		"ring":    hitcounter.NewRing(time.Minute, opts),
		"striped": hitcounter.NewStriped(time.Minute, opts),
		"exact":   hitcounter.NewExact(time.Minute, opts),
		"approx":  hitcounter.NewApprox(time.Minute, 1/float64(slots), nil),
	}
}

func BenchmarkHitAt(b *testing.B) {
	for _, slots := range []int{60, 1000} {
		for _, name := range []string{"ring", "striped", "exact", "approx"} {
			b.Run(fmt.Sprintf("impl=ashlar/counter=%s/size=%d", name, slots), func(b *testing.B) {
				c := counters(slots)[name]
				b.ReportAllocs()
				at := start
				for b.Loop() {
					at = at.Add(time.Microsecond)
					c.HitAt(at)
				}
			})
		}
	}
}

func BenchmarkHit(b *testing.B) {
	b.Run("impl=clock/size=0", func(b *testing.B) {
		base := time.Now()
		for b.Loop() {
			time.Since(base)
		}
	})
	b.Run("impl=ashlar/size=100", func(b *testing.B) {
		c := hitcounter.NewRing(time.Minute, nil)
		for b.Loop() {
			c.Hit()
		}
	})
}

func BenchmarkCountAt(b *testing.B) {
	for _, slots := range []int{60, 1000} {
		for _, name := range []string{"ring", "striped", "exact", "approx"} {
			b.Run(fmt.Sprintf("impl=ashlar/counter=%s/size=%d", name, slots), func(b *testing.B) {
				c := counters(slots)[name]
				at := start
				for range 120_000 {
					at = at.Add(time.Millisecond)
					c.HitAt(at)
				}
				b.ReportAllocs()
				for b.Loop() {
					c.CountAt(at)
				}
			})
		}
	}
}

func BenchmarkParallel(b *testing.B) {
	for _, name := range []string{"ring", "striped"} {
		b.Run(fmt.Sprintf("impl=ashlar/counter=%s/size=60", name), func(b *testing.B) {
			c := counters(60)[name]
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.HitAt(start)
				}
			})
		})
	}
}

func BenchmarkUnique(b *testing.B) {
	for _, precision := range []int{10, 14} {
		c := hitcounter.NewUnique(time.Minute, precision, nil)
		at := start
		b.Run(fmt.Sprintf("impl=ashlar/op=hit/size=%d", 1<<precision), func(b *testing.B) {
			hash := uint64(1)
			for b.Loop() {
				at = at.Add(time.Microsecond)
				hash *= 0x9e3779b97f4a7c15
				c.HitHashAt(at, hash)
			}
		})
		b.Run(fmt.Sprintf("impl=ashlar/op=count/size=%d", 1<<precision), func(b *testing.B) {
			for b.Loop() {
				c.CountAt(at)
			}
		})
	}
}

func BenchmarkKeyed(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", keys), func(b *testing.B) {
			c := hitcounter.NewKeyed[int](time.Minute, keys, nil)
			b.ReportAllocs()
			at, key := start, 0
			for b.Loop() {
				at = at.Add(time.Microsecond)
				key = (key*5 + 1) % (keys + keys/8)
				c.HitAt(at, key)
			}
		})
	}
}
