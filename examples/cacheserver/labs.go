package cacheserver

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/cacheserver/lab"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/internal/trace"
)

//go:embed lab.html job.html
var labFiles embed.FS

var (
	labPage = page.Must(info, nil, labFiles, "lab.html")
	jobPage = page.Must(info, nil, labFiles, "job.html")
)

func subcommands() []system.Command {
	return []system.Command{{Name: "lab", What: "replay a trace of accesses through every policy", Run: lab.Main}}
}

const (
	keptJobs    = 8
	runningJobs = 1 // the machine measures time: one at a time
	waitingJobs = 4
	maxUpload   = 64 << 20
	maxAccesses = 5_000_000
)

// labs runs the policy lab for visitors: a few jobs, one at a time, the
// results of the last ones kept.
type labs struct {
	env    system.Env
	live   *sse.Stream
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	slots  chan struct{}

	mu   sync.Mutex
	next int
	jobs []*job // the newest last
}

// A job is one replay.
type job struct {
	ID     int
	Name   string
	cancel context.CancelFunc

	mu      sync.Mutex
	state   string // waiting, running, done, stopped, failed
	done    int
	total   int
	report  *lab.Report
	problem string
}

func newLabs(env system.Env) *labs {
	l := &labs{env: env, slots: make(chan struct{}, runningJobs), live: sse.New(nil), next: 1}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.live.Sample("live", func() any { return l.sample() })
	return l
}

func (l *labs) close() {
	l.cancel()
	l.done.Wait()
}

func (l *labs) mount(mux *http.ServeMux) {
	mux.Handle("GET /lab/live", l.live)
	mux.HandleFunc("GET /lab/{$}", func(w http.ResponseWriter, r *http.Request) { l.show(w, r, http.StatusOK, nil) })
	mux.HandleFunc("POST /lab/run", l.post)
	mux.HandleFunc("GET /lab/{id}/{$}", l.job)
	mux.HandleFunc("GET /lab/{id}/plot.svg", l.plot)
	mux.HandleFunc("POST /lab/{id}/stop", l.stop)
}

func (l *labs) show(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice) {
	labPage.Render(w, r, status, page.View{
		Title: "Policy lab", What: "Replay a trace of accesses through every policy, and see which one suits it.",
		Stream: "lab/live", Notice: notice, Data: l.rows(),
		Titles: map[string]string{"do": "Replay a trace", "watch": "Replays", "learn": "What you see"},
	})
}

// A jobRow is a job as pages show it.
type jobRow struct {
	ID       int
	Key      string // of its fragment on the stream
	Name     string
	State    string
	Done     int // percent
	Running  bool
	Problem  string
	Report   *lab.Report
	Plot     template.HTML
	Policies []string
	Rows     []sizeRow
	Sizes    bool
}

type sizeRow struct {
	Capacity string
	Cells    []cell
}

type cell struct {
	Ratio, Twice, Bytes, Time string
	Best                      bool
}

func (j *job) row() jobRow {
	j.mu.Lock()
	defer j.mu.Unlock()
	row := jobRow{ID: j.ID, Key: "job-" + strconv.Itoa(j.ID), Name: j.Name, State: j.state, Problem: j.problem, Running: j.state == "running" || j.state == "waiting", Report: j.report}
	if j.total > 0 {
		row.Done = 100 * j.done / j.total
	}
	return row
}

// details adds what the page of one job shows.
func (row *jobRow) details() {
	r := row.Report
	if r == nil || len(r.Results) == 0 {
		return
	}
	row.Plot, row.Policies = r.Plot().HTML(), r.Policies
	for _, capacity := range r.Capacities {
		size := sizeRow{Capacity: page.Count(capacity)}
		if r.ByBytes {
			size.Capacity = page.Bytes(capacity)
		}
		best := 0.0
		for _, x := range r.Results {
			if x.Capacity == capacity && x.Policy != lab.Optimum {
				best = max(best, x.HitRatio)
			}
		}
		for _, x := range r.Results {
			if x.Capacity != capacity {
				continue
			}
			c := cell{Ratio: page.Percent(x.HitRatio), Twice: page.Percent(x.Twice), Best: x.HitRatio == best && x.Policy != lab.Optimum}
			if x.ByteHit > 0 {
				c.Bytes, row.Sizes = page.Percent(x.ByteHit), true
			}
			if x.NsPerOp > 0 {
				c.Time = strconv.Itoa(int(x.NsPerOp)) + " ns"
			}
			size.Cells = append(size.Cells, c)
		}
		row.Rows = append(row.Rows, size)
	}
}

func (l *labs) rows() []jobRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rows []jobRow
	for i := len(l.jobs) - 1; i >= 0; i-- {
		rows = append(rows, l.jobs[i].row())
	}
	return rows
}

func (l *labs) sample() page.Live {
	live := page.Live{HTML: map[string]template.HTML{}}
	rows := l.rows()
	live.HTML["jobs"] = labPage.Fragment("jobs", rows)
	for _, row := range rows {
		row.details()
		live.HTML[row.Key] = jobPage.Fragment("job", row)
	}
	return live
}

// post takes a trace, or the generated one, and begins a job.
func (l *labs) post(w http.ResponseWriter, r *http.Request) {
	body := web.Body(w, r, maxUpload+1<<20, 2*time.Minute)
	r.Body = body
	t, err := l.trace(r)
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status, err = http.StatusRequestEntityTooLarge, fmt.Errorf("the file is over %s", page.Bytes(maxUpload))
		}
		l.show(w, r, status, &page.Notice{Error: true, Text: "That trace cannot be replayed: " + err.Error() + "."})
		return
	}
	byBytes := r.FormValue("bound") == "bytes"
	if byBytes && t.Sizes == nil {
		l.show(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "That trace has no sizes, so its caches can only be bounded in entries."})
		return
	}
	j, err := l.start(t, byBytes)
	if err != nil {
		l.show(w, r, http.StatusServiceUnavailable, &page.Notice{Error: true, Text: err.Error()})
		return
	}
	web.Redirect(w, r, fmt.Sprintf("lab/%d/", j.ID))
}

// trace reads the uploaded file while it arrives, or returns the generated
// trace if there is none.
func (l *labs) trace(r *http.Request) (*trace.Trace, error) {
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		return nil, err
	}
	defer r.MultipartForm.RemoveAll()
	file, header, err := r.FormFile("trace")
	if errors.Is(err, http.ErrMissingFile) {
		return lab.Builtin(), nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	format, err := trace.ParseFormat(r.FormValue("format"))
	if err != nil {
		return nil, err
	}
	name := trace.NameOf(strings.ReplaceAll(header.Filename, "\\", "/"))
	return trace.Read(io.Reader(file), &trace.Options{Name: clipText(name, 60), Format: format, Key: r.FormValue("key"), Limit: maxAccesses})
}

var errBusy = errors.New("The lab is busy. Wait until a replay has ended, or stop one.")

// start begins a job, unless too many wait.
func (l *labs) start(t *trace.Trace, byBytes bool) (*job, error) {
	ctx, cancel := context.WithCancel(l.ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	active := 0
	for _, j := range l.jobs {
		if j.row().Running {
			active++
		}
	}
	if active >= runningJobs+waitingJobs {
		cancel()
		return nil, errBusy
	}
	j := &job{ID: l.next, Name: t.Name, cancel: cancel, state: "waiting"}
	l.next++
	l.jobs = append(l.jobs, j)
	for i := 0; len(l.jobs) > keptJobs && i < len(l.jobs); {
		if l.jobs[i].row().Running {
			i++
			continue
		}
		l.jobs = append(l.jobs[:i], l.jobs[i+1:]...)
	}
	l.done.Go(func() { l.run(ctx, j, t, byBytes) })
	return j, nil
}

func (l *labs) run(ctx context.Context, j *job, t *trace.Trace, byBytes bool) {
	defer j.cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
	}
	j.set("running")
	report, err := lab.Run(ctx, lab.Config{Trace: t, ByBytes: byBytes, Progress: func(done, total int) {
		j.mu.Lock()
		j.done, j.total = done, total
		j.mu.Unlock()
	}})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report = report
	switch {
	case errors.Is(err, context.Canceled):
		j.state = "stopped"
	case err != nil:
		j.state, j.problem = "failed", err.Error()
	default:
		j.state = "done"
	}
}

func (j *job) set(state string) {
	j.mu.Lock()
	j.state = state
	j.mu.Unlock()
}

// find returns the job that a request names, or answers that there is none.
func (l *labs) find(w http.ResponseWriter, r *http.Request) *job {
	id, _ := strconv.Atoi(r.PathValue("id"))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.jobs {
		if j.ID == id {
			return j
		}
	}
	page.Error(w, r, info, http.StatusNotFound, "There is no such replay; only the last few are kept.")
	return nil
}

func (l *labs) job(w http.ResponseWriter, r *http.Request) {
	if j := l.find(w, r); j != nil {
		row := j.row()
		row.details()
		jobPage.Render(w, r, http.StatusOK, page.View{Title: "Replay of " + row.Name, What: "Every policy on one trace.", Stream: "lab/live", Data: row})
	}
}

func (l *labs) plot(w http.ResponseWriter, r *http.Request) {
	j := l.find(w, r)
	if j == nil {
		return
	}
	row := j.row()
	if row.Report == nil || len(row.Report.Results) == 0 {
		page.Error(w, r, info, http.StatusNotFound, "There is nothing to draw yet.")
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Write(row.Report.Plot().SVG())
}

func (l *labs) stop(w http.ResponseWriter, r *http.Request) {
	if j := l.find(w, r); j != nil {
		j.cancel()
		web.Redirect(w, r, fmt.Sprintf("lab/%d/", j.ID))
	}
}
