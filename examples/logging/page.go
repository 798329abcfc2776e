package logging

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
	"github.com/ashlar-go/ashlar/examples/logging/query"
	"github.com/ashlar-go/ashlar/examples/logging/rules"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

//go:embed index.html alerts.html
var files embed.FS

//go:embed static
var static embed.FS

var funcs = template.FuncMap{
	"clock": func(t time.Time) string { return t.Local().Format("15:04:05.000") },
	"day":   func(t time.Time) string { return t.Local().Format("2006-01-02") },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"clip":  func(s string) string { line, _, _ := strings.Cut(s, "\n"); return entry.Cut(line, 100) },
	"list":  func(list ...string) []string { return list },
	"first": func(s string) string { line, _, _ := strings.Cut(s, "\n"); return line },
	"more":  func(s string) string { _, rest, _ := strings.Cut(s, "\n"); return rest },
}

var (
	index  = page.Must(info, funcs, files, "index.html")
	alerts = page.Must(info, funcs, files, "alerts.html")
)

// A span is how far back a search looks.
type span struct {
	Name, Text string
	Length     time.Duration // 0: everything
	On         bool
}

var spans = []span{
	{Name: "15m", Text: "Last 15 minutes", Length: 15 * time.Minute}, {Name: "1h", Text: "Last hour", Length: time.Hour},
	{Name: "24h", Text: "Last 24 hours", Length: 24 * time.Hour}, {Name: "7d", Text: "Last 7 days", Length: 7 * 24 * time.Hour}, {Name: "all", Text: "All there is"},
}

// A question is what the search form asks.
type question struct {
	Query   string
	Spans   []span
	Archive bool
	Cursor  string
	Asked   bool // for something: without a question there are no results
	length  time.Duration
	parsed  *query.Query
	err     error
}

func ask(r *http.Request) question {
	values := r.URL.Query()
	q := question{Query: values.Get("q"), Archive: values.Get("archive") != "", Cursor: values.Get("before"), Asked: len(values) > 0, Spans: slices.Clone(spans)}
	chosen := slices.IndexFunc(q.Spans, func(s span) bool { return s.Name == values.Get("last") })
	chosen = max(chosen, 0)
	q.Spans[chosen].On = true
	q.length = q.Spans[chosen].Length
	q.parsed, q.err = query.Parse(q.Query)
	if q.err != nil {
		q.parsed = new(query.Query)
	}
	return q
}

// Tail is the query of the live tail: everything, as long as the question
// cannot be understood.
func (q question) Tail() string {
	if q.err != nil {
		return ""
	}
	return q.Query
}

// link returns the reference to a page of results.
func (q question) link(before string) string {
	v := url.Values{"q": {q.Query}}
	for _, s := range q.Spans {
		if s.On {
			v.Set("last", s.Name)
		}
	}
	if q.Archive {
		v.Set("archive", "1")
	}
	if before != "" {
		v.Set("before", before)
	}
	return "?" + v.Encode()
}

// A line is an entry as the page shows it.
type line struct {
	Time    time.Time
	Level   string
	Labels  entry.Labels
	Host    string
	App     string
	Text    string
	Fields  []entry.Field
	Cursor  string
	Context string // reference to the search for the lines around it
}

func showLine(e *entry.Entry, cursor string) line {
	host, _ := e.Labels.Get("host")
	app, _ := e.Labels.Get("app")
	return line{Time: e.Time, Level: e.Level.String(), Labels: e.Labels, Host: host, App: app, Text: entry.Cut(e.Line, 4<<10), Fields: e.Fields, Cursor: cursor}
}

// A view is what the first page shows.
type view struct {
	Question  question
	Lines     []line
	Older     string
	Outcome   string // how much was searched
	Histogram template.HTML
	Stats     []page.Stat
	Rate      template.HTML
	Backlog   template.HTML
	Servers   []serverRow
	Sources   []sourceRow
	Firing    int
	Stopped   bool
	Quota     bool
	Down      int
	Endpoints []system.Endpoint
	Written   string
	Blocks    []page.Stat
	Wrong     []wrongRule    // that have alerts which fire, the newest first
	Newest    []line         // that the live tail begins with
	Damages   []store.Damage // the first few
	Damaged   int            // how many there are
	Stuck     string         // why retention and archive do not go on
}

// A wrongRule is a rule and how many of its alerts fire.
type wrongRule struct {
	Name   string
	Alerts int
}

type serverRow struct {
	Name    string
	State   string
	Bad     bool
	Files   int
	Behind  string
	Queued  int64
	Events  uint64
	Rotated uint64
	Lost    string
}

type sourceRow struct {
	Protocol, Address string
	Accepted          uint64
	Dropped           string
	Latest            time.Time
}

func (s *System) pages() http.Handler {
	mux := http.NewServeMux()
	s.intake.Register(mux)
	mux.Handle("GET /live", s.live)
	mux.HandleFunc("GET /tail", s.tailStream)
	mux.HandleFunc("GET /api/search", s.apiSearch)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.render(w, r, http.StatusOK, nil, "") })
	mux.HandleFunc("POST /write", s.postWrite)
	mux.HandleFunc("POST /break", s.postBreak)
	mux.HandleFunc("POST /servers", s.postServers)
	s.alertPages(mux)
	return mux
}

func (s *System) render(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, written string) {
	q := ask(r)
	v := s.view()
	v.Question, v.Written = q, written
	if q.err != nil && notice == nil {
		notice = &page.Notice{Error: true, Text: sentence(q.err.Error())}
		status = http.StatusBadRequest
	}
	s.find(r.Context(), &v)
	index.Render(w, r, status, page.View{
		Stream: "live", Data: v, Notice: notice,
		Titles: map[string]string{"do": "Search", "watch": "What comes in", "break": "Make it hard", "learn": "How it works"},
	})
}

// prefixes are what errors begin with that people need not read.
var prefixes = []string{"rules: ", "bad rule: ", "query: ", "logging: ", "store: ", "observer: "}

// sentence turns the text of an error into one for people.
func sentence(s string) string {
	for _, prefix := range prefixes {
		s = strings.TrimPrefix(s, prefix)
	}
	if s == "" {
		return "That did not work."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// searchTime is how long a search may take.
const searchTime = 3 * time.Second

// newest is how many lines the live tail begins with.
const newest = 8

// find fills in the results and the histogram.
func (s *System) find(ctx context.Context, v *view) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	q := &v.Question
	now := time.Now()
	request := store.Request{Query: q.parsed, Limit: 20, Archive: q.Archive}
	if q.length > 0 {
		request.From = now.Add(-q.length)
	}
	if before, err := store.ParseCursor(q.Cursor); err == nil {
		request.Before = &before
	}
	result, err := s.store.Search(ctx, request)
	if err != nil {
		v.Outcome = "The search has failed: " + err.Error()
		return
	}
	for i := range result.Hits {
		l := showLine(&result.Hits[i].Entry, result.Hits[i].Cursor.String())
		v.Lines = append(v.Lines, l)
		if q.Cursor == "" && len(v.Newest) < newest {
			l.Text, l.Fields = entry.Cut(l.Text, 300), nil
			v.Newest = append(v.Newest, l)
		}
	}
	if result.Next != nil {
		v.Older = q.link(result.Next.String())
	}
	v.Outcome = fmt.Sprintf("Read %s in %d blocks; times, labels and words spared %d.", page.Bytes(result.Read), result.Blocks, result.Skipped)
	if result.Stopped {
		v.Outcome += " That was all the time there was; older lines may match."
	}
	if result.Archived > 0 {
		v.Outcome += fmt.Sprintf(" %d blocks in the archive were left out.", result.Archived)
	}
	if result.Damaged != nil {
		v.Outcome += " Some lines cannot be read, and are left out: " + result.Damaged.Error() + "."
	}
	v.Histogram = s.histogram(ctx, q, request, now)
}

const bars = 60

// histogram draws how many lines matched over time.
func (s *System) histogram(ctx context.Context, q *question, r store.Request, now time.Time) template.HTML {
	r.Before, r.To = nil, now
	if r.From.IsZero() {
		r.From = s.store.Stats().Oldest
		if r.From.IsZero() || !r.From.Before(now) {
			r.From = now.Add(-15 * time.Minute)
		}
	}
	h, err := s.store.Histogram(ctx, r, bars)
	if err != nil {
		return template.HTML(`<p class="empty">The histogram could not be made.</p>`)
	}
	unit, size := "min", time.Minute
	if r.To.Sub(r.From) > 3*time.Hour {
		unit, size = "h", time.Hour
	}
	all, bad := plot.Series{Name: "all lines"}, plot.Series{Name: "error and fatal"}
	for i, counts := range h.Counts {
		x := -float64(now.Sub(h.From.Add(time.Duration(i)*h.Step+h.Step/2))) / float64(size)
		sum := 0
		for _, n := range counts {
			sum += n
		}
		all.Points = append(all.Points, plot.Point{X: x, Y: float64(sum)})
		bad.Points = append(bad.Points, plot.Point{X: x, Y: float64(counts[entry.Error] + counts[entry.Fatal])})
	}
	return plot.Line{
		Title: fmt.Sprintf("%s lines", page.Count(h.Total)), X: plot.Axis{Label: "time before now", Unit: unit, Min: -float64(r.To.Sub(r.From)) / float64(size), Max: 0},
		Y: plot.Axis{Label: "lines in " + page.Duration(h.Step)}, Series: []plot.Series{all, bad}, Height: 120,
	}.HTML()
}

// view returns what is the same for all questions.
func (s *System) view() view {
	m := s.config.Env.Metrics
	st := s.store.Stats()
	fleet := s.fleet.stats()
	v := view{Stopped: s.store.Stopped(), Quota: s.store.Quota() > 0, Firing: s.alerts.firing(), Endpoints: s.Endpoints(), Down: fleet.down}
	v.Damages = s.store.Damages()
	v.Damaged, v.Damages = len(v.Damages), v.Damages[:min(len(v.Damages), 3)]
	if why := s.stuck.Load(); why != nil {
		v.Stuck = *why
	}
	for _, a := range s.alerts.engine.Alerts() {
		if a.State != rules.Firing {
			break
		}
		i := slices.IndexFunc(v.Wrong, func(w wrongRule) bool { return w.Name == a.Rule })
		if i < 0 {
			i = len(v.Wrong)
			v.Wrong = append(v.Wrong, wrongRule{Name: a.Rule})
		}
		v.Wrong[i].Alerts++
	}
	v.Stats = []page.Stat{
		{Key: "rate", Label: "Lines", Value: page.Count(uint64(latest(m.Series("logging_entries_total")))), Unit: "/s"},
		{Key: "entries", Label: "Since the start", Value: page.Count(st.Entries), Unit: "lines"},
		{Key: "queued", Label: "Read, not yet stored", Value: page.Count(fleet.queued), Unit: "packets"},
		{Key: "disk", Label: "Log on disk", Value: page.Bytes(st.LogBytes)},
		{Key: "firing", Label: "Alerts", Value: page.Count(v.Firing)},
	}
	v.Rate = recentPlot("Lines a second", "lines", "/s", m.Series("logging_entries_total"))
	v.Backlog = recentPlot("Read by agents, not yet stored", "packets", "", m.Series("logging_queued"))
	for _, srv := range s.fleet.list() {
		v.Servers = append(v.Servers, showServer(srv))
	}
	for _, src := range s.intake.Sources() {
		if len(v.Sources) == 8 {
			break
		}
		v.Sources = append(v.Sources, sourceRow{src.Protocol, src.Address, src.Accepted, dropped(src.Dropped), src.Latest})
	}
	v.Blocks = []page.Stat{
		{Key: "streams", Label: "Streams", Value: page.Count(st.Streams)},
		{Key: "blocks", Label: "Blocks", Value: page.Count(st.Blocks)},
		{Key: "archived", Label: "In the archive", Value: page.Count(st.Archived)},
		{Key: "ratio", Label: "On disk of what came", Value: page.Percent(share(uint64(st.Log.Bytes), st.Bytes)), Unit: "%"},
		{Key: "syncs", Label: "Syncs", Value: page.Count(st.Log.Syncs)},
	}
	return v
}

func share(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func dropped(m map[string]uint64) string {
	var parts []string
	for reason, n := range m {
		parts = append(parts, fmt.Sprintf("%s %s", page.Count(n), reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func recentPlot(title, label, unit string, values []float64) template.HTML {
	return plot.Line{
		Title: title, X: plot.Axis{Label: "seconds ago", Unit: "s", Min: -120, Max: 0}, Y: plot.Axis{Label: label, Unit: unit},
		Series: []plot.Series{{Name: label, Points: plot.Recent(values, 1)}}, Height: 140,
	}.HTML()
}

func showServer(srv *server) serverRow {
	row := serverRow{Name: srv.name}
	a := srv.running()
	if a == nil {
		row.State, row.Bad = "agent is down", true
		return row
	}
	st := a.Stats()
	behind := int64(0)
	for _, f := range a.Files() {
		behind += f[1] - f[0]
		row.Files++
	}
	row.State = "ships"
	if st.Tail.Err != "" {
		row.State, row.Bad = "reads what it can: "+strings.TrimPrefix(st.Tail.Err, "tail: "), true
	}
	if st.Err != "" {
		row.State, row.Bad = "waits: "+strings.TrimPrefix(st.Err, "store: "), true
	}
	if st.Tail.Full > 0 && st.Bytes >= st.Limit {
		row.State, row.Bad = "its queue is full", true
	}
	row.Behind, row.Queued, row.Events = page.Bytes(behind), st.Queued, st.Tail.Events
	row.Rotated = st.Tail.Renames + st.Tail.Truncations
	row.Lost = page.Bytes(st.Tail.LostBytes)
	if st.Rejected > 0 {
		row.Lost += ", " + page.Count(st.Rejected) + " packets refused"
	}
	return row
}

// sample is what the page's stream carries.
func (s *System) sample() page.Live {
	v := s.view()
	live := page.Live{Text: map[string]string{}, HTML: map[string]template.HTML{
		"rate-plot": v.Rate, "backlog-plot": v.Backlog,
		"servers": index.Fragment("servers", v.Servers), "sources": index.Fragment("sources", v.Sources),
		"trouble": index.Fragment("trouble", v), "wrong": index.Fragment("wrong", v), "firing": alerts.Fragment("firing", s.alertsView()),
	}}
	for _, stat := range append(v.Stats, v.Blocks...) {
		live.Text[stat.Key] = stat.Value
	}
	return live
}

// postWrite writes a line of the visitor into a file, which an agent follows.
func (s *System) postWrite(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimRight(strings.ReplaceAll(r.FormValue("line"), "\r\n", "\n"), "\n ")
	if strings.TrimSpace(text) == "" {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "Type a line first, for example ERROR Disk Full on /dev/sda1."}, text)
		return
	}
	text = entry.Cut(parse.Clean([]byte(text)), 16<<10)
	before := s.store.Stats().Entries
	if err := s.fleet.write(pageServer, "page.log", time.Now().Format(stamp)+" "+text+"\n"); err != nil {
		s.render(w, r, http.StatusInternalServerError, &page.Notice{Error: true, Text: "The line could not be written: " + err.Error()}, text)
		return
	}
	// It takes a moment to come around; whoever looks at once should find it.
	for deadline := time.Now().Add(1500 * time.Millisecond); time.Now().Before(deadline) && s.store.Stats().Entries == before; {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	web.Redirect(w, r, "?q="+url.QueryEscape("host=page"))
}

// postBreak makes trouble.
func (s *System) postBreak(w http.ResponseWriter, r *http.Request) {
	var err error
	switch what := r.FormValue("what"); what {
	case "kill":
		s.fleet.kill()
	case "revive":
		err = s.fleet.revive()
	case "rotate":
		s.fleet.rotateAll()
	case "flood":
		s.tasks.Go(func() {
			if err := s.fleet.flood(s.quit); err != nil && s.quit.Err() == nil {
				s.config.Env.Log.Error("flood", "error", err)
			}
		})
	case "full":
		s.store.SetQuota(max(s.store.Stats().LogBytes, 1))
	case "room":
		s.store.SetQuota(0)
	case "stop", "start":
		s.store.Stop(what == "stop")
	default:
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "There is no such trouble to make here."}, "")
		return
	}
	if err != nil {
		s.render(w, r, http.StatusInternalServerError, &page.Notice{Error: true, Text: "That did not work: " + err.Error()}, "")
		return
	}
	web.Redirect(w, r, "")
}

// postServers plugs a server in.
func (s *System) postServers(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.FormValue("name"))
	if err := s.fleet.add(name); err != nil {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."}, "")
		return
	}
	web.Redirect(w, r, "")
}
