package movingavg

import (
	"fmt"
	"math"
	"time"
)

// An Exp is an exponentially weighted moving average of values that come at
// regular intervals: each value counts 1-alpha times as much as the next. Create
// one with NewExp.
//
// It is the weighted mean of the values that came, from the first on, and not of
// zeros before them: with n values v1 … vn,
//
//	      vn + vn-1·(1-α) + vn-2·(1-α)² + … + v1·(1-α)ⁿ⁻¹
//	mean = ──────────────────────────────────────────────
//	      1  + (1-α)      + (1-α)²      + … + (1-α)ⁿ⁻¹
//
// A NaN or an infinity is not taken in; see Skipped.
//
// An Exp is not safe for concurrent use; see [Locked].
type Exp struct {
	decay   float64 // 1-alpha
	weight  float64 // of all values, that of the last being 1; 0 without any
	share   float64 // 1/weight
	mean    float64
	skipped uint64
}

// NewExp returns an average in which a value has the share alpha, once there
// are many. It panics if alpha is not above 0 and at most 1. See [Span] and
// [HalfLife] for other ways to say it.
func NewExp(alpha float64) *Exp {
	if !(alpha > 0 && alpha <= 1) {
		panic(fmt.Sprintf("movingavg: alpha is %v, not above 0 and at most 1", alpha))
	}
	return &Exp{decay: 1 - alpha}
}

// Span returns the alpha with which values have the same mean age as in a
// window of n: 2/(n+1). It panics if n is not at least 1.
func Span(n float64) float64 {
	if !(n >= 1) {
		panic(fmt.Sprintf("movingavg: span of %v values", n))
	}
	return 2 / (n + 1)
}

// HalfLife returns the alpha with which a value counts half as much as one
// that comes n values later. It panics if n is not positive.
func HalfLife(n float64) float64 {
	if !(n > 0) {
		panic(fmt.Sprintf("movingavg: half-life of %v values", n))
	}
	return -math.Expm1(-math.Ln2 / n)
}

// Add takes a value in.
func (e *Exp) Add(v float64) {
	if v-v != 0 {
		e.skipped++
		return
	}
	if weight := e.weight*e.decay + 1; weight != e.weight {
		e.weight, e.share = weight, 1/weight
	}
	e.mean = toward(e.mean, v, e.share)
}

// toward returns what is that share of the way from mean to v, and never
// beyond either, whatever is rounded.
func toward(mean, v, share float64) float64 {
	d := v - mean
	if d-d != 0 { // too far apart for a float64
		return mean*(1-share) + v*share
	}
	next := mean + d*share
	if d > 0 {
		return min(next, v)
	}
	return max(next, v)
}

// Value returns the average, and false if there were no values.
func (e *Exp) Value() (float64, bool) { return e.mean, e.weight > 0 }

// Alpha returns the share of a value, once there are many.
func (e *Exp) Alpha() float64 { return 1 - e.decay }

// Skipped returns the number of values that were not finite.
func (e *Exp) Skipped() uint64 { return e.skipped }

// Clear forgets all values.
func (e *Exp) Clear() { *e = Exp{decay: e.decay} }

// A TimedExp is an exponentially weighted moving average of values that come at
// any time: each counts half as much as one that is later by the half-life.
// Create one with NewTimedExp.
//
// A value counts by its own time, in whatever order values come. Since all lose
// weight alike, the average stays as it is until the next value. A NaN or an
// infinity is not taken in; see Skipped.
//
// A TimedExp is not safe for concurrent use; see [Locked].
type TimedExp struct {
	halfLife time.Duration
	now      func() time.Time

	last    int64   // instant of the latest value
	weight  float64 // of all values, that of one at last being 1; 0 without any
	mean    float64
	skipped uint64
}

// NewTimedExp returns an average with a half-life. It panics if that is not
// positive.
func NewTimedExp(halfLife time.Duration, opts *TimedOptions) *TimedExp {
	if halfLife <= 0 {
		panic(fmt.Sprintf("movingavg: half-life of %v", halfLife))
	}
	return &TimedExp{halfLife: halfLife, now: opts.clock()}
}

// TimedOptions are the settings of a [TimedExp] and of a [Window]. Nil and zero
// fields mean the defaults.
type TimedOptions struct {
	// Resolution is the length of the slots of a Window: all values of a slot
	// leave the window together. The default is a hundredth of the window, but
	// at least a nanosecond. A TimedExp has no use for it.
	Resolution time.Duration

	// Now tells the present to Add and Value. By default it is what the wall
	// clock said when the average was made, plus the time that has passed since
	// by the monotonic clock, so that it never goes back.
	Now func() time.Time
}

func (o *TimedOptions) clock() func() time.Time {
	if o != nil && o.Now != nil {
		return o.Now
	}
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}

// instant returns a time as nanoseconds since 1970, or the nearest that there
// is.
func instant(t time.Time) int64 {
	const limit = 1 << 62
	switch seconds := t.Unix(); {
	case seconds < -limit/1_000_000_000:
		return -limit
	case seconds > limit/1_000_000_000:
		return limit
	}
	return min(max(t.UnixNano(), -limit), limit)
}

// Add takes a value in, of the present.
func (e *TimedExp) Add(v float64) { e.AddAt(e.now(), v) }

// AddAt takes a value in, of a time.
func (e *TimedExp) AddAt(t time.Time, v float64) {
	if v-v != 0 {
		e.skipped++
		return
	}
	at := instant(t)
	if e.weight == 0 {
		e.last, e.weight, e.mean = at, 1, v
		return
	}
	weight := 1.
	if at >= e.last {
		e.weight *= e.faded(at, e.last)
		e.last = at
	} else {
		weight = e.faded(e.last, at)
	}
	e.weight += weight
	e.mean = toward(e.mean, v, weight/e.weight)
}

// faded returns the weight that a value has at a later instant.
func (e *TimedExp) faded(later, instant int64) float64 {
	if later == instant {
		return 1
	}
	age := uint64(later) - uint64(instant) // which may be more than an int64
	return math.Exp2(-float64(age) / float64(e.halfLife))
}

// Value returns the average, and false if there were no values.
func (e *TimedExp) Value() (float64, bool) { return e.mean, e.weight > 0 }

// HalfLife returns the half-life.
func (e *TimedExp) HalfLife() time.Duration { return e.halfLife }

// Skipped returns the number of values that were not finite.
func (e *TimedExp) Skipped() uint64 { return e.skipped }

// Clear forgets all values.
func (e *TimedExp) Clear() { *e = TimedExp{halfLife: e.halfLife, now: e.now} }
