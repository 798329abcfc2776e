package movingavg_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-go/ashlar/movingavg"
)

// values are drawn once for all benchmarks.
var values = func() []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 1<<12)
	for i := range values {
		values[i] = r.Float64()
	}
	return values
}()

var sink float64

func BenchmarkSimple(b *testing.B) {
	for _, size := range []int{10, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("impl=ashlar/type=float64/size=%d", size), func(b *testing.B) {
			m := movingavg.NewSimple[float64](size)
			for i := range 2 * size {
				m.Add(values[i&(len(values)-1)])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				m.Add(values[i&(len(values)-1)])
				mean, _ := m.Value()
				sink += mean
				i++
			}
		})
		b.Run(fmt.Sprintf("impl=ashlar/type=int64/size=%d", size), func(b *testing.B) {
			m := movingavg.NewSimple[int64](size)
			for i := range 2 * size {
				m.Add(int64(i))
			}
			b.ReportAllocs()
			i := int64(0)
			for b.Loop() {
				m.Add(i & 1023)
				mean, _ := m.Value()
				sink += mean
				i++
			}
		})
	}
}
