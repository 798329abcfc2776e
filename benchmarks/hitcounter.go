package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RussellLuo/slidingwindow"
	"github.com/VividCortex/ewma"
	"github.com/paulbellamy/ratecounter"
	"github.com/rcrowley/go-metrics"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/hitcounter"
)

func init() {
	harness.Register(harness.Suite{Package: "hitcounter", Doc: "hits in a window: time of a hit and of a count, accuracy, visitors", Run: func(s *harness.Session) {
		hitTimes(s)
		countTimes(s)
		hitAccuracy(s)
		uniqueVisitors(s)
	}})
}

// each is an implementation whose turns call hit n times.
func each(name string, hit func()) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			for range n {
				hit()
			}
		}, func() {}
	}}
}

// hitStart is where the times of hits begin.
var hitStart = time.Unix(1_700_000_000, 0)

// givenTimes are the times of hits that have come by the time they are counted,
// ten microseconds apart.
var givenTimes = func() (times [4096]time.Time) {
	for i := range times {
		times[i] = hitStart.Add(time.Duration(i) * 10 * time.Microsecond)
	}
	return times
}()

// The notes' counters, as they stand there, with a lock.
type (
	notesQueue struct {
		mu    sync.Mutex
		times []time.Time
	}
	notesArrays struct {
		mu    sync.Mutex
		hits  [60]int
		times [60]int64
	}
)

func (q *notesQueue) HitAt(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.times = append(q.times, t)
	for t.Sub(q.times[0]) >= time.Minute {
		q.times = q.times[1:]
	}
}

func (a *notesArrays) HitAt(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	second := t.Unix()
	if i := second % 60; a.times[i] != second {
		a.times[i] = second
		a.hits[i] = 1
	} else {
		a.hits[i]++
	}
}

func (a *notesArrays) CountAt(t time.Time) (count int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.times {
		if t.Unix()-a.times[i] < 60 {
			count += int64(a.hits[i])
		}
	}
	return count
}

var (
	bySecond  = &hitcounter.Options{Resolution: time.Second}
	hitAtBars = []harness.Bar{
		harness.AtMost(5),
		// The same in units of an atomic addition, which took 2.35 ns where the
		// bar was set.
		harness.AtMost(2.1).Of("atomic.Add"),
	}
	peersWithoutTime = []harness.Impl{
		{Name: "atomic.Add", Start: func() (func(int), func()) {
			var sum atomic.Int64
			return func(n int) {
				for range n {
					sum.Add(1)
				}
			}, func() {}
		}},
		{Name: "ratecounter", Start: func() (func(int), func()) {
			c := ratecounter.NewRateCounter(time.Minute)
			return func(n int) {
				for range n {
					c.Incr(1)
				}
			}, func() {}
		}},
		{Name: "ewma", Start: func() (func(int), func()) {
			var e ewma.SimpleEWMA // for one goroutine, and no window
			return func(n int) {
				for range n {
					e.Add(1)
				}
			}, func() {}
		}},
	}
	peersWithClock = []harness.Impl{
		{Name: "time.Since", Start: func() (func(int), func()) {
			base, sum := time.Now(), time.Duration(0)
			return func(n int) {
				for range n {
					sum += time.Since(base)
				}
				elapsed.Store(int64(sum))
			}, func() {}
		}},
		{Name: "time.Since, atomic.Add", Start: func() (func(int), func()) {
			base, sum := time.Now(), atomic.Int64{}
			return func(n int) {
				for range n {
					sum.Add(int64(time.Since(base)))
				}
			}, func() {}
		}},
		{Name: "slidingwindow", Start: func() (func(int), func()) {
			l, stop := slidingLimiter(time.Minute, 1<<60)
			return func(n int) {
				for range n {
					l.Allow()
				}
			}, stop
		}},
		{Name: "go-metrics", Start: func() (func(int), func()) {
			m := metrics.NewMeter()
			return func(n int) {
				for range n {
					m.Mark(1)
				}
			}, m.Stop
		}},
	}
	elapsed atomic.Int64 // what a compiler might otherwise leave out
)

func slidingLimiter(size time.Duration, limit int64) (*slidingwindow.Limiter, func()) {
	l, stop := slidingwindow.NewLimiter(size, limit, func() (slidingwindow.Window, slidingwindow.StopFunc) {
		return slidingwindow.NewLocalWindow()
	})
	return l, stop
}

// given is an implementation that is told the times.
func given(name string, hitAt func(time.Time)) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			for i := range n {
				hitAt(givenTimes[i&4095])
			}
		}, func() {}
	}}
}

// advancing is an implementation that is told times that go on.
func advancing(name string, step time.Duration, hitAt func(time.Time)) harness.Impl {
	at := hitStart
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			for range n {
				at = at.Add(step)
				hitAt(at)
			}
		}, func() {}
	}}
}

// shared has goroutines share the operations of each turn.
func shared(goroutines int, name string, hit func()) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for range n / goroutines {
						hit()
					}
				})
			}
			wg.Wait()
		}, func() {}
	}}
}

// hitTimes emits what a hit costs.
func hitTimes(s *harness.Session) {
	n := s.Pick(1<<22, 1<<20, 1<<12)
	spec := func(name, note string, bars ...harness.Bar) harness.Spec {
		return harness.Spec{Group: "Hit", Name: name, Bars: bars, Note: note}
	}
	ring := harness.Impl{Name: harness.Ours, Start: func() (func(int), func()) {
		c := hitcounter.NewRing(time.Minute, bySecond)
		return func(n int) {
			for i := range n {
				c.HitAt(givenTimes[i&4095])
			}
		}, func() {}
	}}
	s.Time(spec("hit at a given time, Ring", "atomic.Add, ratecounter and ewma are not told a time; ewma is for one goroutine", hitAtBars...), n,
		append([]harness.Impl{ring, given("the notes' arrays", new(notesArrays).HitAt)}, peersWithoutTime...))
	s.Time(spec("hit at the present, Ring", "time.Since is the clock alone", harness.AtMost(5).Above("time.Since")), n/4,
		append([]harness.Impl{{Name: harness.Ours, Start: func() (func(int), func()) {
			c := hitcounter.NewRing(time.Minute, bySecond)
			return func(n int) {
				for range n {
					c.Hit()
				}
			}, func() {}
		}}}, peersWithClock...))

	queue := func() harness.Impl { return advancing("the notes' queue", time.Millisecond, new(notesQueue).HitAt) }
	arrays := func() harness.Impl { return advancing("the notes' arrays", time.Millisecond, new(notesArrays).HitAt) }
	limiter := func() harness.Impl {
		l, _ := slidingLimiter(time.Minute, 1<<60)
		return advancing("slidingwindow", time.Millisecond, func(t time.Time) { l.AllowN(t, 1) })
	}
	for _, c := range []struct {
		name  string
		hitAt func(time.Time)
	}{
		{"Ring", hitcounter.NewRing(time.Minute, bySecond).HitAt},
		{"Striped", hitcounter.NewStriped(time.Minute, bySecond).HitAt},
		{"Exact", hitcounter.NewExact(time.Minute, nil).HitAt},
		{"Approx, 1 %", hitcounter.NewApprox(time.Minute, .01, nil).HitAt},
	} {
		s.Time(spec("hit a millisecond after the other, "+c.name, "with the arithmetic of the caller, which adds the millisecond"), n/4,
			[]harness.Impl{advancing(harness.Ours, time.Millisecond, c.hitAt), queue(), arrays(), limiter()})
	}
	for _, goroutines := range []int{2, 8} {
		now := hitStart
		var sum atomic.Int64
		rate := ratecounter.NewRateCounter(time.Minute)
		ring, striped := hitcounter.NewRing(time.Minute, bySecond), hitcounter.NewStriped(time.Minute, bySecond)
		name := map[int]string{2: "hit at a given time, 2 goroutines, Striped", 8: "hit at a given time, 8 goroutines, Striped"}[goroutines]
		s.Time(spec(name, "all at the same time; Ring is ours too"), n/4, []harness.Impl{
			shared(goroutines, harness.Ours, func() { striped.HitAt(now) }),
			shared(goroutines, "Ring", func() { ring.HitAt(now) }),
			shared(goroutines, "atomic.Add", func() { sum.Add(1) }),
			shared(goroutines, "ratecounter", func() { rate.Incr(1) }),
		})
	}
	hitAllocations(s)
}

// hitAllocations emits what a hit allocates, at most, of all that there is.
func hitAllocations(s *harness.Session) {
	s.Value(harness.Spec{Group: "Hit", Name: "allocations of a hit, the most of all counters", Unit: "allocs/op", Bars: []harness.Bar{harness.AtMost(0)}}, func() []harness.Figure {
		keyed, unique := hitcounter.NewKeyed[string](time.Minute, 100, nil), hitcounter.NewUnique(time.Minute, 14, nil)
		most := 0.
		for _, hitAt := range []func(time.Time){
			hitcounter.NewRing(time.Minute, bySecond).HitAt,
			hitcounter.NewStriped(time.Minute, bySecond).HitAt,
			hitcounter.NewExact(time.Minute, nil).HitAt,
			hitcounter.NewApprox(time.Minute, .01, nil).HitAt,
			func(t time.Time) { keyed.HitAt(t, "key") },
			func(t time.Time) { unique.HitAt(t, "visitor") },
		} {
			run, _ := advancing("", time.Millisecond, hitAt).Start()
			run(s.Pick(1<<18, 1<<18, 1<<17)) // a window and more
			most = max(most, harness.Allocs(1<<14, run))
		}
		return []harness.Figure{{Name: harness.Ours, Value: most}}
	})
}

// countTimes emits what it costs to ask.
func countTimes(s *harness.Session) {
	n := s.Pick(1<<18, 1<<16, 1<<9)
	fill := func(hitAt func(time.Time)) time.Time {
		at := hitStart
		for range 70_000 {
			at = at.Add(time.Millisecond)
			hitAt(at)
		}
		return at
	}
	arrays := new(notesArrays)
	at := fill(arrays.HitAt)
	rate := ratecounter.NewRateCounter(time.Minute)
	peers := []harness.Impl{each("the notes' arrays", func() { arrays.CountAt(at) }), each("ratecounter", func() { rate.Rate() })}
	for _, c := range []struct {
		name string
		hitcounter.Counter
	}{
		{"Ring of 60 slots", hitcounter.NewRing(time.Minute, bySecond)},
		{"Exact of 60,000 times", hitcounter.NewExact(time.Minute, nil)},
		{"Approx, 1 %", hitcounter.NewApprox(time.Minute, .01, nil)},
	} {
		fill(c.HitAt)
		s.Time(harness.Spec{Group: "Count", Name: "count of a minute, " + c.name, Note: "ratecounter reads what its goroutine has counted"}, n,
			append([]harness.Impl{each(harness.Ours, func() { c.CountAt(at) })}, peers...))
	}
	keyed := func() []harness.Impl {
		k := hitcounter.NewKeyed[int](time.Minute, 1<<14, nil)
		byKey, mu := map[int]*notesArrays{}, sync.Mutex{}
		registry := metrics.NewRegistry()
		at, r := hitStart, rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<14-1)
		keys, names := make([]int, 1<<12), make([]string, 1<<12)
		for i := range keys {
			keys[i] = int(r.Uint64())
			names[i] = time.Duration(keys[i]).String()
		}
		next := 0
		return []harness.Impl{
			each(harness.Ours, func() {
				next++
				at = at.Add(time.Millisecond)
				k.HitAt(at, keys[next&4095])
			}),
			each("map of the notes' arrays", func() {
				next++
				at = at.Add(time.Millisecond)
				mu.Lock()
				c := byKey[keys[next&4095]]
				if c == nil {
					c = new(notesArrays)
					byKey[keys[next&4095]] = c
				}
				mu.Unlock()
				c.HitAt(at)
			}),
			each("go-metrics", func() {
				next++
				metrics.GetOrRegisterMeter(names[next&4095], registry).Mark(1)
			}),
		}
	}
	s.Time(harness.Spec{Group: "Count", Name: "hit of one of 16,384 keys, Keyed", Note: "the map grows for ever; go-metrics takes names and the time"}, n, keyed())
}
