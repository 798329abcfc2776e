package main

import (
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/axiomhq/hyperloglog"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/hitcounter"
)

// arrivals are times of hits, in order.
type arrivals []time.Time

// steady are hits at a rate of 5000 a second.
func steady(seconds int) (all arrivals) {
	for i := range 5000 * seconds {
		all = append(all, hitStart.Add(time.Duration(i)*200*time.Microsecond))
	}
	return all
}

// bursts are hits that come by the hundred or not at all.
func bursts(seconds int) (all arrivals) {
	r := rand.New(rand.NewPCG(1, 2))
	for at := hitStart; at.Before(hitStart.Add(time.Duration(seconds) * time.Second)); {
		at = at.Add(time.Duration(r.ExpFloat64() * float64(20*time.Millisecond)))
		for range r.IntN(200) {
			at = at.Add(time.Duration(r.IntN(2000)))
			all = append(all, at)
		}
	}
	return all
}

// in returns how many hits up to the i-th are in the window that ends at t.
func (all arrivals) in(t time.Time, window time.Duration) int64 {
	upTo := func(t time.Time) int { return sort.Search(len(all), func(i int) bool { return all[i].After(t) }) }
	return int64(upTo(t) - upTo(t.Add(-window)))
}

// replay counts all hits, asks now and then, and returns the largest error in
// percent, the sum of widths of Bounds in percent over the number of questions,
// and how often the truth was not within.
func (all arrivals) replay(c hitcounter.Counter, window time.Duration) (worst, width, outside float64) {
	asked := 0.
	for i, at := range all {
		c.HitAt(at)
		if i%97 != 0 || at.Sub(hitStart) < window {
			continue
		}
		want := float64(all[:i+1].in(at, window))
		lo, hi := c.Bounds(at)
		worst = max(worst, 100*math.Abs(float64(c.CountAt(at))-want)/want)
		width += 100 * float64(hi-lo) / want
		asked++
		if want < float64(lo) || want > float64(hi) {
			outside++
		}
	}
	return worst, width / asked, outside
}

// hitAccuracy emits how far counts are off, and what a limit lets through.
func hitAccuracy(s *harness.Session) {
	const window = time.Second
	seconds := s.Pick(8, 4, 2)
	ring := func(slots int64) hitcounter.Counter {
		return hitcounter.NewRing(window, &hitcounter.Options{Resolution: window / time.Duration(slots)})
	}
	figures := func(ours float64, peers ...harness.Figure) []harness.Figure {
		return append([]harness.Figure{{Name: harness.Ours, Value: ours}}, peers...)
	}
	rate := harness.Figure{Name: "ratecounter", Value: 8.6, Published: true}
	for _, c := range []struct {
		name  string
		make  func() hitcounter.Counter
		hits  func(int) arrivals
		bar   float64
		peers []harness.Figure
	}{
		{"worst error of a count at a steady rate, Ring of 60 slots", func() hitcounter.Counter { return ring(60) }, steady, 1.67, []harness.Figure{rate}},
		{"worst error of a count at a steady rate, Ring of 1000 slots", func() hitcounter.Counter { return ring(1000) }, steady, .1, []harness.Figure{rate}},
		{"worst error of a count at a steady rate, Approx, 1 %", func() hitcounter.Counter { return hitcounter.NewApprox(window, .01, nil) }, steady, 1, []harness.Figure{rate}},
		{"worst error of a count in bursts, Approx, 1 %", func() hitcounter.Counter { return hitcounter.NewApprox(window, .01, nil) }, bursts, 1, nil},
		{"worst error of a count in bursts, Exact", func() hitcounter.Counter { return hitcounter.NewExact(window, nil) }, bursts, 0, nil},
		{"worst error of a count in bursts, Ring of 60 slots", func() hitcounter.Counter { return ring(60) }, bursts, -1, nil},
	} {
		spec := harness.Spec{Group: "Accuracy", Name: c.name, Unit: "%"}
		if c.bar >= 0 {
			spec.Bars = []harness.Bar{harness.AtMost(c.bar)}
		} else {
			spec.Note = "no error is promised, which is what Bounds is for"
		}
		if len(c.peers) > 0 {
			spec.Note = "ratecounter was measured with 20 slots and its ticker"
		}
		s.Value(spec, func() []harness.Figure {
			worst, _, _ := c.hits(seconds).replay(c.make(), window)
			return figures(worst, c.peers...)
		})
	}
	s.Value(harness.Spec{Group: "Accuracy", Name: "true counts outside Bounds, of all counters", Unit: "counts", Bars: []harness.Bar{harness.AtMost(0)}}, func() []harness.Figure {
		sum := 0.
		for _, hits := range []arrivals{steady(seconds), bursts(seconds)} {
			for _, c := range []hitcounter.Counter{ring(60), ring(7), hitcounter.NewStriped(window, nil), hitcounter.NewExact(window, nil), hitcounter.NewApprox(window, .01, nil)} {
				_, _, outside := hits.replay(c, window)
				sum += outside
			}
		}
		return figures(sum)
	})
	s.Value(harness.Spec{Group: "Accuracy", Name: "buckets of Approx, 1 %, for 5000 hits", Unit: "buckets", Note: "EH is the textbook's histogram with buckets of powers of two"}, func() []harness.Figure {
		c := hitcounter.NewApprox(window, .01, nil)
		most := 0
		for i, at := range steady(4) {
			if c.HitAt(at); i > 5000 {
				most = max(most, c.Len())
			}
		}
		return figures(float64(most), harness.Figure{Name: "EH", Value: 304, Published: true})
	})
	s.Value(harness.Spec{Group: "Accuracy", Name: "most hits admitted to a second, with a limit of 100", Unit: "hits", Bars: []harness.Bar{harness.AtMost(100)}}, func() []harness.Figure {
		l, _ := slidingLimiter(window, 100)
		exact := hitcounter.NewExact(window, nil)
		return figures(mostAdmitted(func(t time.Time) bool { return exact.AllowAt(t, 1, 100) }),
			harness.Figure{Name: "slidingwindow", Value: mostAdmitted(func(t time.Time) bool { return l.AllowN(t, 1) })})
	})
	s.Value(harness.Spec{Group: "Accuracy", Name: "counted 276 ms after 1000 hits, in a window of 200 ms, while processors are busy", Unit: "hits", Bars: []harness.Bar{harness.AtMost(0)}}, func() []harness.Figure {
		c := hitcounter.NewRing(200*time.Millisecond, nil)
		c.AddAt(hitStart, 1000)
		return figures(float64(c.CountAt(hitStart.Add(276*time.Millisecond))), harness.Figure{Name: "ratecounter", Value: 1000, Published: true})
	})
}

// mostAdmitted asks for many more than the limit of a hundred, at the end of
// one second and from the beginning of the next on, and returns the most that a
// window of a second got.
func mostAdmitted(allow func(time.Time) bool) float64 {
	var admitted arrivals
	for _, from := range []time.Duration{990, 1000, 1100, 1500, 1900, 2000, 2500, 2990} {
		for i := range 1000 {
			if at := hitStart.Add(from*time.Millisecond + time.Duration(i)*8*time.Microsecond); allow(at) {
				admitted = append(admitted, at)
			}
		}
	}
	for at := time.Duration(3000); at < 4500; at++ {
		if t := hitStart.Add(at * time.Millisecond); allow(t) {
			admitted = append(admitted, t)
		}
	}
	most := int64(0)
	for _, at := range admitted {
		most = max(most, admitted.in(at, time.Second))
	}
	return float64(most)
}

// uniqueVisitors emits what it costs to count visitors, and how well it is
// done.
func uniqueVisitors(s *harness.Session) {
	const precision, visitors = 14, 100_000
	group := func(name string, bars ...harness.Bar) harness.Spec {
		return harness.Spec{Group: "Visitors", Name: name, Bars: bars}
	}
	hashes := func(seed uint64) []uint64 {
		r := rand.New(rand.NewPCG(seed, 1))
		hashes := make([]uint64, visitors)
		for i := range hashes {
			hashes[i] = r.Uint64()
		}
		return hashes
	}
	ours, dense := hitcounter.NewSketch(precision), hyperloglog.NewNoSparse()
	window := hitcounter.NewUnique(time.Minute, precision, &hitcounter.Options{Resolution: 6 * time.Second})
	var slots [10]*hyperloglog.Sketch
	for i := range slots {
		slots[i] = hyperloglog.NewNoSparse()
	}
	all := hashes(1)
	for i, hash := range all {
		ours.AddHash(hash)
		dense.InsertHash(hash)
		slot := i % 10
		slots[slot].InsertHash(hash)
		window.HitHashAt(hitStart.Add(time.Duration(slot)*6*time.Second+time.Second), hash)
	}
	end := hitStart.Add(58 * time.Second)
	s.Time(group("estimate of 100,000 visitors, precision 14", harness.AtMost(.02).Of("axiomhq")), s.Pick(1<<14, 1<<12, 8), []harness.Impl{
		each(harness.Ours, func() { ours.Count() }),
		each("axiomhq", func() { dense.Estimate() }),
	})
	s.Time(group("estimate of a window of 10 slots, precision 14"), s.Pick(1<<9, 1<<7, 2), []harness.Impl{
		each(harness.Ours, func() { window.CountAt(end) }),
		each("axiomhq merged", func() {
			sum := hyperloglog.NewNoSparse()
			for _, slot := range slots {
				if err := sum.Merge(slot); err != nil {
					panic(err)
				}
			}
			sum.Estimate()
		}),
	})
	i := 0
	s.Time(group("visitor by hash, Sketch"), s.Pick(1<<20, 1<<18, 1<<9), []harness.Impl{
		each(harness.Ours, func() { i++; ours.AddHash(all[i%visitors]) }),
		each("axiomhq", func() { i++; dense.InsertHash(all[i%visitors]) }),
		{Name: "map", Start: func() (func(int), func()) {
			seen := map[uint64]struct{}{}
			return func(n int) {
				for range n {
					i++
					seen[all[i%visitors]] = struct{}{}
				}
			}, func() {}
		}},
	})
	s.Time(group("visitor by hash at a given time, Unique"), s.Pick(1<<20, 1<<18, 1<<9), []harness.Impl{
		each(harness.Ours, func() { i++; window.HitHashAt(givenTimes[i&4095], all[i%visitors]) }),
	})
	for _, size := range []int{1000, 30_000, 100_000} {
		name := map[int]string{1000: "error (rms) of 1,000 visitors, precision 14", 30_000: "error (rms) of 30,000 visitors, precision 14", 100_000: "error (rms) of 100,000 visitors, precision 14"}[size]
		spec := group(name, harness.AtMost(1.05).Of("axiomhq"))
		spec.Unit, spec.Note = "%", "theory: 0.81 %"
		s.Value(spec, func() []harness.Figure {
			var ours, theirs float64
			runs := s.Pick(200, 60, 3)
			for run := range runs {
				a, b := hitcounter.NewSketch(precision), hyperloglog.NewNoSparse()
				for _, hash := range hashes(uint64(run) + 2)[:size] {
					a.AddHash(hash)
					b.InsertHash(hash)
				}
				square := func(n float64) float64 { return math.Pow(n/float64(size)-1, 2) / float64(runs) }
				ours += square(float64(a.Count()))
				theirs += square(float64(b.Estimate()))
			}
			return []harness.Figure{{Name: harness.Ours, Value: 100 * math.Sqrt(ours)}, {Name: "axiomhq", Value: 100 * math.Sqrt(theirs)}}
		})
	}
}
