package movingavg

import (
	"iter"
	"math"
)

// An Average takes values in and tells their average. All types of this
// package are averages.
type Average[T any] interface {
	// Add takes a value in.
	Add(v T)
	// Value returns the average, and false if there is none yet.
	Value() (float64, bool)
	// Clear forgets all values.
	Clear()
}

// Over adds the values of seq to an average, one for each step of the
// iteration, and yields what the average then is: NaN where there is none. The
// body of the loop may use the average.
func Over[T any](average Average[T], seq iter.Seq[T]) iter.Seq[float64] {
	return func(yield func(float64) bool) {
		for v := range seq {
			average.Add(v)
			mean, ok := average.Value()
			if !ok {
				mean = math.NaN()
			}
			if !yield(mean) {
				return
			}
		}
	}
}
