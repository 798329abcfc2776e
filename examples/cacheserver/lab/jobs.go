package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/internal/trace"
)

// The limits of the page. The command has none of them.
const (
	maxUpload   = 64 << 20  // bytes of a file
	maxAccesses = 2_000_000 // of a trace; the rest of it is left out
	maxWaiting  = 4         // replays behind the one that runs
	maxKept     = 12        // replays remembered
)

// errBusy says that no replay can be added now.
var errBusy = errors.New("the lab is busy: wait until a replay has ended, or stop one")

// jobs are the replays of a page. One runs at a time, on one processor, so
// that what else the process does goes on.
type jobs struct {
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	slot   chan struct{} // holds one value while a job runs
	tasks  sync.WaitGroup

	mu   sync.Mutex
	next int
	list []*job // the oldest first
}

func newJobs(log *slog.Logger) *jobs {
	j := &jobs{log: log, slot: make(chan struct{}, 1), next: 1}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	return j
}

// close stops all replays and returns when they have ended.
func (j *jobs) close() {
	j.cancel()
	j.tasks.Wait()
}

// state is what becomes of a job.
type state string

const (
	waiting  state = "waiting"
	running  state = "running"
	finished state = "finished"
	stopped  state = "stopped"
	failed   state = "failed"
)

func (s state) active() bool { return s == waiting || s == running }

// A job is one replay.
type job struct {
	id     int
	name   string
	began  time.Time
	cancel context.CancelFunc
	ended  chan struct{}

	watched sync.Once
	live    *sse.Stream // made when somebody first looks

	mu     sync.Mutex
	config Config // its trace is let go when the job ends
	now    status
}

// A status is a job at one moment.
type status struct {
	ID          int
	Name        string
	State       state
	Done, Total int     // accesses
	Report      *Report // of what is finished; nil before the first
	Problem     string  // why it failed
}

// Active reports whether the job waits or runs.
func (s status) Active() bool { return s.State.active() }

// Percent is how much is done.
func (s status) Percent() int {
	if s.Total == 0 {
		return 0
	}
	return int(100 * int64(s.Done) / int64(s.Total))
}

// add starts a replay or returns errBusy. The oldest that has ended makes
// room.
func (j *jobs) add(c Config) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	active := 0
	for _, old := range j.list {
		if old.status().Active() {
			active++
		}
	}
	if active > maxWaiting || j.ctx.Err() != nil {
		return nil, errBusy
	}
	if len(j.list) >= maxKept {
		oldest := slices.IndexFunc(j.list, func(old *job) bool { return !old.status().Active() })
		j.list = slices.Delete(j.list, oldest, oldest+1)
	}
	ctx, cancel := context.WithCancel(j.ctx)
	added := &job{id: j.next, name: c.Trace.Name, began: time.Now(), cancel: cancel, ended: make(chan struct{}), config: c}
	added.now = status{ID: added.id, Name: added.name, State: waiting}
	j.next++
	j.list = append(j.list, added)
	j.tasks.Go(func() {
		defer close(added.ended)
		defer cancel()
		j.run(ctx, added)
	})
	return added, nil
}

// run waits for its turn and replays.
func (j *jobs) run(ctx context.Context, b *job) {
	defer b.end(nil, errors.New("the replay failed; the log has the details")) // unless it has ended before
	defer func() {
		if v := recover(); v != nil {
			j.log.Error("replay panicked", "trace", b.name, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	select {
	case j.slot <- struct{}{}:
		defer func() { <-j.slot }()
	case <-ctx.Done():
		b.end(nil, ctx.Err())
		return
	}
	c := b.begin()
	report, err := Run(ctx, c)
	b.end(report, err)
}

func (b *job) begin() Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.State = running
	c := b.config
	c.Progress = func(done, total int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now.Done, b.now.Total = done, total
	}
	c.Partial = func(r *Report) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now.Report = r
	}
	return c
}

// end settles what became of the job, once.
func (b *job) end(report *Report, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now.State.active() {
		return
	}
	b.config = Config{}
	if report != nil {
		b.now.Report = report
	}
	switch {
	case err == nil:
		b.now.State = finished
	case errors.Is(err, context.Canceled):
		b.now.State = stopped
	default:
		b.now.State, b.now.Problem = failed, err.Error()
	}
}

func (b *job) status() status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// get returns a job, nil if there is none of that id.
func (j *jobs) get(id int) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i := slices.IndexFunc(j.list, func(b *job) bool { return b.id == id }); i >= 0 {
		return j.list[i]
	}
	return nil
}

// remove stops a job and forgets it.
func (j *jobs) remove(b *job) {
	b.cancel()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = slices.DeleteFunc(j.list, func(other *job) bool { return other == b })
}

// all returns the jobs, the newest first.
func (j *jobs) all() []status {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]status, 0, len(j.list))
	for _, b := range slices.Backward(j.list) {
		list = append(list, b.status())
	}
	return list
}

// builtins are the traces that the page offers beside an upload.
var builtins = []struct {
	Name, What string
	make       func() *trace.Trace
}{
	{"mixed", "a shop and its database", Builtin},
	{"zipf", "favourites that stay", func() *trace.Trace { return trace.Zipf(1, 500_000, 50_000, 0.9) }},
	{"phases", "favourites that change all at once", func() *trace.Trace { return trace.Phases(1, 500_000, 50_000, 0.9, 5) }},
	{"scans", "favourites, and scans of keys that never come back", func() *trace.Trace { return trace.Scans(1, 500_000, 20_000, 0.9, 30_000, 10_000) }},
	{"loop", "round and round over 20 000 keys", func() *trace.Trace { return trace.Loop(400_000, 20_000) }},
}

// namedTrace returns a trace that needs no upload, cut to longest accesses: a
// generated one, or one of those shared beside the repository.
func namedTrace(name string, longest int) (*trace.Trace, error) {
	for _, b := range builtins {
		if b.Name == name {
			return b.make(), nil
		}
	}
	if !slices.Contains(sharedTraces(), name) {
		return nil, fmt.Errorf("there is no trace %q", name)
	}
	t, err := trace.Load(name)
	if err == nil && len(t.Keys) > longest {
		cut := *t
		cut.Keys, cut.Trimmed = t.Keys[:longest], true
		if t.Sizes != nil {
			cut.Sizes = t.Sizes[:longest]
		}
		t = &cut
	}
	return t, err
}

// sharedTraces lists what trace.Load knows, looked up once.
var sharedTraces = sync.OnceValue(trace.Names)
