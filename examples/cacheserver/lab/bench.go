package lab

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/trace"
	"github.com/ashlar-go/ashlar/tinylfu"
)

// A bench is one call of Run at work.
type bench struct {
	config   Config
	trace    *trace.Trace
	empty    Report               // without results
	replays  []replay             // in the order in which they begin
	rows     int                  // how many of replays are rows; the others are for twice the capacity
	oracle   func() *trace.Oracle // of the keys, made by who needs it first
	policies map[string]policy

	replayed atomic.Int64 // accesses
	total    int64

	mu    sync.Mutex // of what follows, and while Progress or Partial run
	found map[replay]Result
}

// A replay is a policy, or a ceiling, at a capacity.
type replay struct {
	policy   string
	capacity int
}

// step is the number of accesses between two looks at the context.
const step = 1 << 14

// timed is how many accesses are timed, at most.
const timed = 2_000_000

func newBench(c Config) (*bench, error) {
	t := c.Trace
	unique, whole := t.Unique()
	if !c.ByBytes {
		whole = int64(unique)
	}
	b := &bench{config: c, trace: t, policies: map[string]policy{}, found: map[replay]Result{}}
	b.oracle = sync.OnceValue(func() *trace.Oracle { return trace.NewOracle(t.Keys) })
	b.empty = Report{
		Trace: t.Name, Format: t.Format.String(), Accesses: len(t.Keys), Trimmed: t.Trimmed, Unique: unique, Whole: whole,
		ByBytes: c.ByBytes, Sized: t.Sizes != nil, Policies: slices.Clone(c.Policies), Capacities: slices.Clone(c.Capacities),
	}
	r := &b.empty
	if len(r.Policies) == 0 {
		r.Policies = Policies(c.ByBytes)
	}
	for _, name := range r.Policies {
		p, err := policyNamed(name, c.ByBytes)
		if err != nil {
			return nil, err
		}
		b.policies[name] = p
	}
	if len(r.Capacities) == 0 {
		var err error
		if r.Capacities, err = ParseSizes(DefaultSizes, whole); err != nil {
			return nil, err
		}
	}
	slices.Sort(r.Capacities)
	r.Capacities = slices.Compact(r.Capacities)
	if least, largest := r.Capacities[0], r.Capacities[len(r.Capacities)-1]; least < 1 || largest > most {
		return nil, fmt.Errorf("capacities from %d to %d; expected 1 to %d", least, largest, most)
	}
	if c.ByBytes {
		r.Policies = append(r.Policies, Bound)
	} else {
		r.Policies = append(r.Policies, Optimum)
	}
	b.plan()
	return b, nil
}

// plan lists the replays.
func (b *bench) plan() {
	for _, capacity := range b.empty.Capacities {
		for _, policy := range b.empty.Policies {
			b.replays = append(b.replays, replay{policy, capacity})
		}
	}
	b.rows = len(b.replays)
	for _, capacity := range b.empty.Capacities {
		if twice := b.twice(capacity); !slices.Contains(b.empty.Capacities, twice) {
			for _, policy := range b.empty.Policies {
				b.replays = append(b.replays, replay{policy, twice})
			}
		}
	}
	b.total = int64(len(b.replays)) * int64(len(b.trace.Keys))
	if !b.config.Untimed {
		b.total += int64(len(b.policies)*len(b.empty.Capacities)) * int64(min(timed, len(b.trace.Keys)))
	}
}

// twice returns the double of capacity. Where percentages were rounded down, a
// row may be one more than that, which is near enough.
func (b *bench) twice(capacity int) int {
	if capacity >= 50 && slices.Contains(b.empty.Capacities, 2*capacity+1) {
		return 2*capacity + 1
	}
	return 2 * capacity
}

// replayAll does the replays, some at a time.
func (b *bench) replayAll(ctx context.Context) error {
	workers := b.config.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	var group sync.WaitGroup
	panics := make(chan any, workers)
	for range min(workers, len(b.replays)) {
		group.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panics <- fmt.Sprintf("%v\n%s", v, debug.Stack())
				}
			}()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.replays) {
					return
				}
				result, ok := b.replay(ctx, b.replays[i])
				if !ok {
					return
				}
				b.keep(b.replays[i], result)
			}
		})
	}
	group.Wait()
	select {
	case v := <-panics:
		panic(v) // where the caller of Run can recover
	default:
		return ctx.Err()
	}
}

// keep adds a result to those found.
func (b *bench) keep(x replay, result Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found[x] = result
	if b.config.Partial != nil {
		b.config.Partial(b.reportLocked())
	}
}

// advance counts accesses, tells about them, and reports whether to go on.
func (b *bench) advance(ctx context.Context, n int) bool {
	b.replayed.Add(int64(n))
	if b.config.Progress != nil {
		b.mu.Lock()
		b.config.Progress(int(b.replayed.Load()), int(b.total))
		b.mu.Unlock()
	}
	return ctx.Err() == nil
}

// replay runs all accesses and reports whether it came to the end.
func (b *bench) replay(ctx context.Context, x replay) (Result, bool) {
	result := Result{Policy: x.policy, Capacity: x.capacity}
	keys := b.trace.Keys
	if ctx.Err() != nil {
		return result, false
	}
	var asked, hit int64
	switch x.policy {
	case Optimum:
		result.Hits = b.oracle().Hits(x.capacity)
		b.advance(ctx, len(keys))
	case Bound:
		result.Hits, hit = b.trace.Bound(int64(x.capacity))
		for _, size := range b.trace.Sizes {
			asked += int64(size)
		}
		b.advance(ctx, len(keys))
	default:
		c := b.policies[x.policy].newCache(x.capacity, b.config.ByBytes)
		var f forecast
		for from := 0; from < len(keys); from += step {
			to := min(from+step, len(keys))
			for i := from; i < to; i++ {
				size := b.size(i)
				asked += int64(size)
				if _, ok := c.Get(keys[i]); ok {
					result.Hits++
					hit += int64(size)
				} else {
					c.Put(keys[i], size)
				}
			}
			f.ask(c, 2*x.capacity)
			if !b.advance(ctx, to-from) {
				return result, false
			}
		}
		result.Foretold = f.mean()
	}
	result.HitRatio = float64(result.Hits) / float64(len(keys))
	if asked > 0 && x.policy != Optimum {
		result.ByteHit = float64(hit) / float64(asked)
	}
	return result, true
}

// A forecast is what a cache says, now and then, that its recent hit ratio
// would have been at another capacity.
type forecast struct {
	sum float64
	n   int
}

func (f *forecast) ask(c replayed, capacity int) {
	predicts, ok := c.(interface{ Curve() []tinylfu.Point })
	if !ok {
		return
	}
	for _, p := range predicts.Curve() {
		if p.Capacity == capacity {
			f.sum += p.HitRatio
			f.n++
		}
	}
}

func (f *forecast) mean() float64 {
	if f.n == 0 {
		return 0
	}
	return f.sum / float64(f.n)
}

// size returns the size of an access, 0 where the trace has none.
func (b *bench) size(i int) uint32 {
	if b.trace.Sizes == nil {
		return 0
	}
	return b.trace.Sizes[i]
}

// timeAll measures the time of an access in replays of their own, one at a
// time.
func (b *bench) timeAll(ctx context.Context) error {
	// The time is that of the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, x := range b.replays[:b.rows] {
		if IsCeiling(x.policy) {
			continue
		}
		runtime.GC() // what earlier replays left behind is not this one's to sweep
		ns, err := b.time(ctx, x)
		if err != nil {
			return err
		}
		result := b.found[x]
		result.NsPerOp = ns
		b.keep(x, result)
	}
	return nil
}

func (b *bench) time(ctx context.Context, x replay) (nsPerAccess float64, err error) {
	keys := b.trace.Keys[:min(timed, len(b.trace.Keys))]
	c := b.policies[x.policy].newCache(x.capacity, b.config.ByBytes)
	var spent int64
	for from := 0; from < len(keys); from += step {
		to := min(from+step, len(keys))
		start := processorTime()
		for i := from; i < to; i++ {
			if _, ok := c.Get(keys[i]); !ok {
				c.Put(keys[i], b.size(i))
			}
		}
		spent += int64(processorTime() - start)
		if !b.advance(ctx, to-from) {
			return 0, ctx.Err()
		}
	}
	return float64(spent) / float64(len(keys)), nil
}

func (b *bench) report() *Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reportLocked()
}

// reportLocked returns a report of what was found so far. mu is held.
func (b *bench) reportLocked() *Report {
	r := b.empty
	for i, x := range b.replays {
		result, ok := b.found[x]
		switch {
		case !ok:
		case i < b.rows:
			result.Twice = b.found[replay{x.policy, b.twice(x.capacity)}].HitRatio
			r.Results = append(r.Results, result)
		default:
			r.More = append(r.More, result)
		}
	}
	return &r
}
