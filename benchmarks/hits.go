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
	rounds  int     // replays, of which the median counts
	results []hitResult
}

type hitResult struct {
	measured bool
	optimum  float64
	percent  [][]float64 // by maker and round
	most     []int       // entries that ours ever held, by round
	keys     int         // length of the trace
}

// replays is how often a run replays a trace: hashes are seeded anew for every
// cache, and on short traces the seed alone moves the hit ratio by points.
func replays(s *harness.Session) int { return s.Pick(3, 1, 1) }

// once are the peers that replay a trace once: nothing in the first three
// depends on a seed, and the others take longer than all the rest, since they
// wait for a goroutine after every Put.
var once = []string{peerHashicorp.name, peer2Q.name, peerARC.name, strictTheine.name, strictRistretto.name}

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
	return slices.DeleteFunc(slices.Clone(hitRows), func(h hitRow) bool { return !slices.Contains(shortTraces, h.trace) }), true
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
	result.measured, result.keys, result.most = true, len(keys), make([]int, t.rounds)
	jobs := []func(){func() { result.optimum = 100 * float64(oracle.Hits(capacity)) / float64(len(keys)) }}
	for k, m := range t.makers {
		percent := make([]float64, t.rounds)
		result.percent = append(result.percent, percent)
		if slices.Contains(once, m.name) {
			jobs = append(jobs, func() {
				same := replay(m, capacity, keys)
				for round := range percent {
					percent[round] = same
				}
			})
			continue
		}
		for round := range percent {
			jobs = append(jobs, func() {
				if k > 0 {
					percent[round] = replay(m, capacity, keys)
					return
				}
				c, stop := m.make(capacity)
				defer stop()
				percent[round], result.most[round] = hitRatio(c, keys)
			})
		}
	}
	return jobs
}

// percent returns the hit ratio of a maker's cache in a row.
func (t *hitTable) percent(i, k int) float64 { return harness.Median(t.results[i].percent[k]) }

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
	h := t.rows[i]
	var figures []harness.Figure
	for k, m := range t.makers {
		// No ratio within rounds, as of times: seeds have no round in common.
		figures = append(figures, harness.Figure{Name: m.name, Value: t.percent(i, k), Spread: harness.Spread(t.results[i].percent[k])})
	}
	if h.s3fifo > 0 {
		figures = append(figures,
			harness.Figure{Name: "s3-fifo", Value: h.s3fifo, Published: true},
			harness.Figure{Name: "sieve", Value: h.sieve, Published: true})
	}
	return figures
}

// note says what could be reached, and of a row that is short what may have to
// do with it.
func (t *hitTable) note(i int) string {
	ours := t.percent(i, 0)
	note := fmt.Sprintf("optimum %.2f", t.results[i].optimum)
	best := slices.MaxFunc(t.figures(i)[1:], func(a, b harness.Figure) int { return cmp.Compare(a.Value, b.Value) })
	if best.Value-ours <= .5 {
		return note
	}
	turnovers := float64(t.results[i].keys) * (100 - ours) / 100 / float64(t.rows[i].capacity)
	switch {
	case turnovers < 30:
		return note + fmt.Sprintf("; the trace turns the cache over %.0f times, which may be too few for the shadows to tell the rules apart", turnovers)
	case t.rows[i].capacity < 600:
		return note + "; in so small a cache the shadows are small too, and what they say may be noise"
	case slices.Contains([]string{peerHashicorp.name, strictOtter.name, strictTheine.name}, best.Name):
		return note + "; a rule like that peer's is among the candidates, and was not followed enough"
	}
	return note + "; none of the candidate rules is that peer's"
}

// A hitSum is a row about all rows of a table.
type hitSum struct {
	spec harness.Spec
	of   func(t *hitTable) (figures []harness.Figure, note string)
}

// emit measures the wanted rows and sums and emits them, the sums last.
// Without all the rows there is no sum, so one that is wanted needs them all.
func (t *hitTable) emit(s *harness.Session, spec func(hitRow) harness.Spec, sums []hitSum) {
	specs := map[hitRow]harness.Spec{}
	for _, h := range t.rows {
		if spec := spec(h); s.Want(spec) {
			specs[h] = spec
		}
	}
	sums = slices.DeleteFunc(sums, func(sum hitSum) bool { return !s.Want(sum.spec) })
	wanted := func(h hitRow) bool { _, ok := specs[h]; return ok || len(sums) > 0 }
	t.measure(s, wanted, func(i int) {
		if spec, ok := specs[t.rows[i]]; ok {
			spec.Note = t.note(i)
			s.Emit(spec, t.rounds, t.figures(i))
		}
	})
	for _, sum := range sums {
		figures, note := sum.of(t)
		sum.spec.Note = note
		s.Emit(sum.spec, 1, figures) // of medians, so that they have no spread of their own
	}
}

// hitRatios emits a row for each trace and capacity with published figures,
// and what they come to.
func hitRatios(s *harness.Session, pkg string) {
	const (
		group = "Hit ratio"
		total = "Hit ratio over all of these"
	)
	rows, real := replayed(s)
	t := &hitTable{rows: rows, rounds: replays(s), makers: []maker{ours(pkg, nil), peerHashicorp, peer2Q, peerARC, strictOtter, strictTheine, strictRistretto}}
	mean := harness.Spec{Group: total, Name: fmt.Sprintf("mean of %d rows", len(rows)), Unit: "%", Higher: true}
	if len(rows) == len(hitRows) && real {
		mean.Bars = []harness.Bar{harness.AtLeast(48.6)}
	}
	none := []harness.Bar{harness.AtMost(0)}
	t.emit(s, func(h hitRow) harness.Spec {
		return harness.Spec{
			Group: group, Name: fmt.Sprintf("%s, %d entries", h.trace, h.capacity), Unit: "%", Higher: true,
			Bars: []harness.Bar{harness.AtLeast(-.5).Above()},
		}
	}, []hitSum{
		{mean, func(t *hitTable) ([]harness.Figure, string) {
			figures, note := t.means()
			if mean.Bars != nil {
				note = "stretch 49.1; " + note
			}
			return figures, note
		}},
		{harness.Spec{Group: total, Name: "rows more than 0.5 under the best strict peer", Unit: "rows", Bars: none}, (*hitTable).behind},
		{harness.Spec{
			Group: total, Name: "worst row against hashicorp's LRU", Unit: "points", Higher: true,
			Bars: []harness.Bar{harness.AtLeast(-.5)},
		}, worstAgainst(peerHashicorp)},
		{harness.Spec{Group: total, Name: "rows in which more than the capacity was held after any call", Unit: "rows", Bars: none}, (*hitTable).overfull},
	})
}

func onlyOurs(value float64) []harness.Figure {
	return []harness.Figure{{Name: harness.Ours, Value: value}}
}

// bestOf returns the best figure of a peer in a row.
func (t *hitTable) bestOf(i int) float64 {
	best := 0.0
	for _, f := range t.figures(i)[1:] {
		best = max(best, f.Value)
	}
	return best
}

// means are the mean hit ratios of all.
func (t *hitTable) means() ([]harness.Figure, string) {
	means := slices.Clone(t.figures(0))
	for k, f := range means {
		means[k] = harness.Figure{Name: f.Name, Published: f.Published}
	}
	n := float64(len(t.rows))
	best, optimum := 0.0, 0.0
	for i := range t.rows {
		for k, f := range t.figures(i) {
			means[k].Value += f.Value / n
		}
		best += t.bestOf(i) / n
		optimum += t.results[i].optimum / n
	}
	return means, fmt.Sprintf("best peer of each row %.2f; optimum %.2f", best, optimum)
}

// behind counts the rows in which the best peer is well ahead.
func (t *hitTable) behind() ([]harness.Figure, string) {
	under, ahead := 0, 0
	for i := range t.rows {
		switch ours, best := t.percent(i, 0), t.bestOf(i); {
		case ours < best-.5:
			under++
		case ours >= best:
			ahead++
		}
	}
	return onlyOurs(float64(under)), fmt.Sprintf("%d rows at or above it", ahead)
}

// overfull counts the rows in which ours held too much.
func (t *hitTable) overfull() ([]harness.Figure, string) {
	over := 0
	for i, h := range t.rows {
		if slices.Max(t.results[i].most) > h.capacity {
			over++
		}
	}
	return onlyOurs(float64(over)), ""
}

// worstAgainst looks for the row in which ours is farthest under a peer, or
// least above it.
func worstAgainst(peer maker) func(t *hitTable) ([]harness.Figure, string) {
	return func(t *hitTable) ([]harness.Figure, string) {
		k := slices.IndexFunc(t.makers, func(m maker) bool { return m.name == peer.name })
		distance := func(i int) float64 { return t.percent(i, 0) - t.percent(i, k) }
		worst := 0
		for i := range t.rows {
			if distance(i) < distance(worst) {
				worst = i
			}
		}
		return onlyOurs(distance(worst)), fmt.Sprintf("%s, %d entries", t.rows[worst].trace, t.rows[worst].capacity)
	}
}

// exactness emits how far from a reference the hit ratio of a policy is: not
// at all on one shard, where the policy is free of chance, and not far below it
// on as many as it chooses. Model returns the hits of the reference.
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
					spec.Name = fmt.Sprintf("%s, %d entries, shards by default, below", name, capacity)
					spec.Bars = []harness.Bar{harness.AtMost(sharded)}
				}
				if s.Want(spec) {
					percent, _ := hitRatio(blind{make(capacity, shards)}, keys())
					spec.Note = fmt.Sprintf("%.2f %%, the reference %.2f %%", percent, exact())
					below := exact() - percent
					if shards == 1 {
						below = max(below, -below)
					}
					s.Emit(spec, 1, onlyOurs(below))
				}
			}
		}
	}
}
