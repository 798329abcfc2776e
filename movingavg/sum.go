package movingavg

// A sum is hi+lo: what adding up gave, and what it lost by rounding. Its error
// grows with the square of the precision of a float64 only.
//
// Where hi is not finite, lo may be NaN, and hi is what plain addition of the
// same values gives.
type sum struct{ hi, lo float64 }

// plus returns s+v. This is Knuth's TwoSum: t and the error of it are exactly
// hi+v.
func (s sum) plus(v float64) sum {
	t := s.hi + v
	b := t - s.hi
	return sum{t, s.lo + ((s.hi - (t - b)) + (v - b))}
}

// merge returns s+other.
func (s sum) merge(other sum) sum {
	s = s.plus(other.hi)
	s.lo += other.lo
	return s
}

// value returns the sum, rounded.
func (s sum) value() float64 { return rounded(s.hi, s.lo) }

// rounded returns hi+lo, and hi where it is not finite.
func rounded(hi, lo float64) float64 {
	if both := hi + lo; both == both {
		return both
	}
	return hi
}
