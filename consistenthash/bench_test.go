package consistenthash

import (
	"fmt"
	"testing"
)

// benchKeys are too many for a processor to learn what becomes of each.
var benchKeys = keys(1 << 15)

func BenchmarkOwner(b *testing.B) {
	for _, f := range families {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("impl=ashlar/family=%s/size=%d", f.name, n), func(b *testing.B) {
				p := must(f.make(names(n), nil))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					p.Owner(benchKeys[i&(len(benchKeys)-1)])
					i++
				}
			})
		}
	}
}

// BenchmarkOwners asks for three replicas.
func BenchmarkOwners(b *testing.B) {
	for _, f := range families {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("impl=ashlar/family=%s/size=%d", f.name, n), func(b *testing.B) {
				p := must(f.make(names(n), nil))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					left := 3
					for range p.Owners(benchKeys[i&(len(benchKeys)-1)]) {
						if left--; left == 0 {
							break
						}
					}
					i++
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for _, f := range families {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("impl=ashlar/family=%s/size=%d", f.name, n), func(b *testing.B) {
				names := names(n)
				b.ReportAllocs()
				for b.Loop() {
					must(f.make(names, nil))
				}
			})
		}
	}
}

func BenchmarkWeighted(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/family=rendezvous/size=%d", n), func(b *testing.B) {
			weight := func(node string) float64 { return 1 + float64(len(node)) + float64(node[len(node)-1]&7) }
			p := must(NewRendezvous(names(n), &Options[string]{Weight: weight}))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Owner(benchKeys[i&(len(benchKeys)-1)])
				i++
			}
		})
	}
}

func BenchmarkLease(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d", n), func(b *testing.B) {
			l := NewBounded(must(NewAnchor(names(n), nil)), nil)
			for i := range 20 * n {
				l.Acquire(fmt.Sprint(i))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				lease, _ := l.Acquire(benchKeys[i&(len(benchKeys)-1)])
				lease.Release()
				i++
			}
		})
	}
}

func BenchmarkLive(b *testing.B) {
	l := NewLive(must(NewAnchor(names(100), nil)))
	b.Run("impl=ashlar/size=100", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			l.Owner(benchKeys[i&(len(benchKeys)-1)])
			i++
		}
	})
}
