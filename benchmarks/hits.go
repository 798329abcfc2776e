package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/internal/trace"
)

// hitRatio replays keys, each put where it is missed, and returns the share of
// hits in percent and the most entries held after any call, if c can tell.
func hitRatio(c bounded, keys []uint64) (percent float64, most int) {
	counted, _ := c.(interface{ Len() int })
	hits := 0
	for _, key := range keys {
		if _, ok := c.Get(int64(key)); ok {
			hits++
		} else {
			c.Put(int64(key), 0)
		}
		if counted != nil {
			most = max(most, counted.Len())
		}
	}
	return 100 * float64(hits) / float64(len(keys)), most
}

// A blind cache does not tell how many entries it holds, where that takes long.
type blind struct{ bounded }

func replay(m maker, capacity int, keys []uint64) float64 {
	c, stop := m.make(capacity)
	defer stop()
	percent, _ := hitRatio(blind{c}, keys)
	return percent
}

// hitTable is what a suite finds out about hit ratios, row by row.
type hitTable struct {
	rows    []hitRow
	makers  []maker // the first one is ours
	results []hitResult
}

type hitResult struct {
	measured bool
	optimum  float64
	percent  []float64 // by maker
	most     int       // entries that ours ever held
	keys     int       // length of the trace
}

// replayed are the rows of a run: all those with published figures if the
// traces are there, without the long ones in a short run, and otherwise what
// can be generated.
func replayed(s *harness.Session) (rows []hitRow, real bool) {
	if _, ok := trace.Data("corda-vault"); !ok || s.Pick(0, 0, 1) == 1 {
		n := s.Pick(1, 1, 100)
		return []hitRow{{trace: generated, capacity: 400 / n}, {trace: generated, capacity: 2000 / n}, {trace: generated, capacity: 8000 / n}}, false
	}
	if s.Pick(0, 1, 0) == 0 {
		return hitRows, true
	}
	short := []string{"lirs-2pools", "lirs-sprite", "lirs-multi3", "lirs-gli", "cache2k-web12", "cache2k-web07", "webcdn-adaptsize", "corda-vault", "libcachesim-w92"}
	return slices.DeleteFunc(slices.Clone(hitRows), func(h hitRow) bool { return !slices.Contains(short, h.trace) }), true
}

// generated is the name of the trace that needs no file.
const generated = "mixed, generated"

// load returns the keys of a trace.
func load(s *harness.Session, name string) []uint64 {
	if name == generated {
		return trace.Mixed(1, s.Pick(600_000, 600_000, 3_000)).Keys
	}
	return must(trace.Load(name)).Keys
}

// measure replays the wanted rows, as many at a time as there are processors,
// and calls done for each in order.
func (t *hitTable) measure(s *harness.Session, wanted func(hitRow) bool, done func(i int)) {
	t.results = make([]hitResult, len(t.rows))
	for from := 0; from < len(t.rows); {
		to := from + 1
		for to < len(t.rows) && t.rows[to].trace == t.rows[from].trace {
			to++
		}
		if slices.ContainsFunc(t.rows[from:to], wanted) {
			keys := load(s, t.rows[from].trace)
			oracle := trace.NewOracle(keys)
			var jobs []func()
			for i := from; i < to; i++ {
				if wanted(t.rows[i]) {
					jobs = append(jobs, t.jobs(i, keys, oracle)...)
				}
			}
			parallel(jobs)
		}
		for i := from; i < to; i++ {
			if t.results[i].measured {
				done(i)
			}
		}
		from = to
	}
}

func (t *hitTable) jobs(i int, keys []uint64, oracle *trace.Oracle) []func() {
	result, capacity := &t.results[i], t.rows[i].capacity
	result.measured, result.keys = true, len(keys)
	result.percent = make([]float64, len(t.makers))
	jobs := []func(){
		func() { result.optimum = 100 * float64(oracle.Hits(capacity)) / float64(len(keys)) },
		func() {
			c, stop := t.makers[0].make(capacity)
			defer stop()
			result.percent[0], result.most = hitRatio(c, keys)
		},
	}
	for k := 1; k < len(t.makers); k++ {
		jobs = append(jobs, func() { result.percent[k] = replay(t.makers[k], capacity, keys) })
	}
	return jobs
}

func parallel(jobs []func()) {
	next := make(chan func())
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for job := range next {
				job()
			}
		})
	}
	for _, job := range jobs {
		next <- job
	}
	close(next)
	wg.Wait()
}

// figures are those of a row, ours first.
func (t *hitTable) figures(i int) []harness.Figure {
	h, result := t.rows[i], t.results[i]
	var figures []harness.Figure
	for k, m := range t.makers {
		figures = append(figures, harness.Figure{Name: m.name, Value: result.percent[k]})
	}
	if h.s3fifo > 0 {
		figures = append(figures,
			harness.Figure{Name: "s3-fifo", Value: h.s3fifo, Published: true},
			harness.Figure{Name: "sieve", Value: h.sieve, Published: true})
	}
	return figures
}

// note says what could be reached, and of a row that is short why it may be.
func (t *hitTable) note(i int) string {
	result := t.results[i]
	note := fmt.Sprintf("optimum %.2f", result.optimum)
	best := slices.MaxFunc(t.figures(i)[1:], func(a, b harness.Figure) int { return cmp.Compare(a.Value, b.Value) })
	if best.Value-result.percent[0] <= .5 {
		return note
	}
	turnovers := float64(result.keys) * (100 - result.percent[0]) / 100 / float64(t.rows[i].capacity)
	switch {
	case turnovers < 30:
		return note + fmt.Sprintf("; the trace turns the cache over %.0f times, in which the shadows have little time to tell the rules apart", turnovers)
	case t.rows[i].capacity < 600:
		return note + "; in so small a cache the shadows are small too, and what they say is noisy"
	}
	return note + "; none of the candidate rules is that peer's"
}

// hitRatios emits a row for each trace and capacity, and what they come to.
func hitRatios(s *harness.Session, pkg string) {
	rows, real := replayed(s)
	t := &hitTable{rows: rows, makers: []maker{ours(pkg, nil), peerHashicorp, peer2Q, peerARC, strictOtter, strictTheine, strictRistretto}}
	specs := map[hitRow]harness.Spec{}
	for _, h := range rows {
		spec := harness.Spec{
			Group: "Hit ratio", Name: fmt.Sprintf("%s, %d entries", h.trace, h.capacity), Unit: "%", Higher: true,
			Bars: []harness.Bar{harness.AtLeast(-.5).Above()},
		}
		if s.Want(spec) {
			specs[h] = spec
		}
	}
	group := "Hit ratio over all of these"
	mean := harness.Spec{Group: group, Name: fmt.Sprintf("mean of %d rows", len(rows)), Unit: "%", Higher: true}
	if len(rows) == len(hitRows) && real {
		mean.Bars = []harness.Bar{harness.AtLeast(48.6)}
	}
	under := harness.Spec{Group: group, Name: "rows more than 0.5 under the best strict peer", Unit: "rows", Bars: []harness.Bar{harness.AtMost(0)}}
	worst := harness.Spec{Group: group, Name: "worst row against hashicorp's LRU", Unit: "points", Higher: true, Bars: []harness.Bar{harness.AtLeast(-.5)}}
	over := harness.Spec{Group: group, Name: "rows in which more than the capacity was held after any call", Unit: "rows", Bars: []harness.Bar{harness.AtMost(0)}}
	sums := map[string]bool{}
	for _, spec := range []harness.Spec{mean, under, worst, over} {
		sums[spec.Name] = s.Want(spec)
	}
	anySum := sums[mean.Name] || sums[under.Name] || sums[worst.Name] || sums[over.Name]
	wanted := func(h hitRow) bool { _, ok := specs[h]; return ok || anySum }
	t.measure(s, wanted, func(i int) {
		if spec, ok := specs[t.rows[i]]; ok {
			spec.Note = t.note(i)
			s.Emit(spec, 1, t.figures(i))
		}
	})
	if !anySum {
		return
	}
	sum := t.sums()
	if best := sum.bestPerRow; sums[mean.Name] {
		mean.Note = fmt.Sprintf("stretch 49.1; best peer of each row %.2f; optimum %.2f", best, sum.optimum)
		s.Emit(mean, 1, sum.means)
	}
	emit := func(spec harness.Spec, value float64) {
		if sums[spec.Name] {
			s.Emit(spec, 1, []harness.Figure{{Name: harness.Ours, Value: value}})
		}
	}
	under.Note = fmt.Sprintf("%d rows at or above it", sum.ahead)
	emit(under, float64(sum.under))
	worst.Note = sum.worstName
	emit(worst, sum.worst)
	emit(over, float64(sum.over))
}

type hitSums struct {
	means               []harness.Figure
	bestPerRow, optimum float64
	under, ahead, over  int
	worst               float64
	worstName           string
}

func (t *hitTable) sums() hitSums {
	var sum hitSums
	n := float64(len(t.rows))
	for i, h := range t.rows {
		figures := t.figures(i)
		if i == 0 {
			sum.means = slices.Clone(figures)
			for k := range sum.means {
				sum.means[k].Value = 0
			}
		}
		best := 0.0
		for k, f := range figures {
			sum.means[k].Value += f.Value / n
			if k > 0 {
				best = max(best, f.Value)
			}
		}
		sum.bestPerRow += best / n
		sum.optimum += t.results[i].optimum / n
		ours, plain := figures[0].Value, figures[1].Value
		switch {
		case ours < best-.5:
			sum.under++
		case ours >= best:
			sum.ahead++
		}
		if t.results[i].most > h.capacity {
			sum.over++
		}
		if d := ours - plain; i == 0 || d < sum.worst {
			sum.worst, sum.worstName = d, fmt.Sprintf("%s, %d entries", h.trace, h.capacity)
		}
	}
	return sum
}

// exactness emits how far from a reference the hit ratio of a policy is: not
// at all on one shard, where the policy is free of chance, and by little on as
// many as it chooses. Model returns the hits of the reference.
func exactness(s *harness.Session, make func(capacity, shards int) bounded, oneShard, sharded float64, model func(keys []uint64, capacity int) int) {
	names := []string{generated}
	if _, ok := trace.Data("arc-oltp"); ok && s.Pick(0, 0, 1) == 0 {
		names = []string{"arc-oltp", "cloudphysics-w106"}
	}
	for _, name := range names {
		keys := sync.OnceValue(func() []uint64 { return load(s, name) })
		for _, capacity := range []int{s.Pick(2048, 2048, 64), s.Pick(16384, 16384, 512)} {
			exact := sync.OnceValue(func() float64 { return 100 * float64(model(keys(), capacity)) / float64(len(keys())) })
			for _, shards := range []int{1, 0} {
				spec := harness.Spec{
					Group: "Exactness", Name: fmt.Sprintf("%s, %d entries, one shard, distance", name, capacity),
					Unit: "points", Bars: []harness.Bar{harness.AtMost(oneShard)},
				}
				if shards == 0 {
					spec.Name = fmt.Sprintf("%s, %d entries, shards by default, distance", name, capacity)
					spec.Bars = []harness.Bar{harness.AtMost(sharded)}
				}
				s.Value(spec, func() []harness.Figure {
					percent, _ := hitRatio(blind{make(capacity, shards)}, keys())
					return []harness.Figure{{Name: harness.Ours, Value: max(percent-exact(), exact()-percent)}}
				})
			}
		}
	}
}
