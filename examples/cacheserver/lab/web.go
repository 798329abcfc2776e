package lab

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/internal/trace"
)

//go:embed *.html
var files embed.FS

// A Handler is the lab as pages: upload a trace, watch it being replayed,
// compare several. It serves every path below /lab/ of a system's root.
//
// Traces and reports are in memory only and go with the Handler. A Handler is
// safe for concurrent use by multiple goroutines.
type Handler struct {
	info    system.Info
	jobs    *jobs
	mux     *http.ServeMux
	live    *sse.Stream   // of the list
	uploads chan struct{} // holds a value for each trace being read
	limit   int64         // bytes of an upload; maxUpload
	longest int           // accesses of a trace; maxAccesses

	list, job, compare *page.Page
}

// NewHandler returns the pages of a lab within the system that info
// describes. Close ends its replays.
func NewHandler(info system.Info, log *slog.Logger) *Handler {
	h := &Handler{
		info: info, jobs: newJobs(log), mux: http.NewServeMux(), live: sse.New(nil), uploads: make(chan struct{}, 2), limit: maxUpload, longest: maxAccesses,
		list:    page.Must(info, nil, files, "lab.html"),
		job:     page.Must(info, nil, files, "replay.html", "grid.html"),
		compare: page.Must(info, nil, files, "compare.html", "grid.html"),
	}
	h.live.Sample("live", func() any {
		return page.Live{HTML: map[string]template.HTML{"replays": h.list.Fragment("replays", h.jobs.all())}}
	})
	h.mux.Handle("GET /lab/live", h.live)
	h.mux.HandleFunc("GET /lab/{$}", func(w http.ResponseWriter, r *http.Request) {
		h.showList(w, r, http.StatusOK, nil, form{})
	})
	h.mux.HandleFunc("POST /lab/replays", h.post)
	h.mux.HandleFunc("GET /lab/compare", h.showCompare)
	h.mux.HandleFunc("GET /lab/replays/{id}/{$}", h.with(h.showJob))
	h.mux.HandleFunc("GET /lab/replays/{id}/live", h.with(h.follow))
	h.mux.HandleFunc("GET /lab/replays/{id}/plot.svg", h.with(func(w http.ResponseWriter, r *http.Request, b *job) {
		h.svg(w, r, b, (*Report).Plot)
	}))
	h.mux.HandleFunc("GET /lab/replays/{id}/bytes.svg", h.with(func(w http.ResponseWriter, r *http.Request, b *job) {
		h.svg(w, r, b, (*Report).BytePlot)
	}))
	h.mux.HandleFunc("GET /lab/replays/{id}/report.json", h.with(h.json))
	h.mux.HandleFunc("POST /lab/replays/{id}/stop", h.with(func(w http.ResponseWriter, r *http.Request, b *job) {
		b.cancel()
		<-b.ended // so that the next page shows it
		web.Redirect(w, r, fmt.Sprintf("lab/replays/%d/", b.id))
	}))
	h.mux.HandleFunc("POST /lab/replays/{id}/remove", h.with(func(w http.ResponseWriter, r *http.Request, b *job) {
		h.jobs.remove(b)
		web.Redirect(w, r, "lab/")
	}))
	h.mux.HandleFunc("/lab/", func(w http.ResponseWriter, r *http.Request) {
		page.Error(w, r, info, http.StatusNotFound, "The lab has no such page.")
	})
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Close stops all replays and returns when they have ended.
func (h *Handler) Close() { h.jobs.close() }

// with finds the job that a path names, or answers that there is none.
func (h *Handler) with(serve func(http.ResponseWriter, *http.Request, *job)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(r.PathValue("id")) // 0 is no job
		if b := h.jobs.get(id); b != nil {
			serve(w, r, b)
			return
		}
		page.Error(w, r, h.info, http.StatusNotFound, fmt.Sprintf("There is no such replay. The last %d are remembered, until the server stops.", maxKept))
	}
}

// A form is what was filled in on the first page, to be shown again when
// something is wrong with it.
type form struct {
	Choice, Format, Key, Size, Sizes, Bound string
}

// listView is the first page.
type listView struct {
	Form     form
	Builtins any
	Shared   []string
	Formats  []formatChoice
	Sizes    string // the default
	Replays  []status
	Limit    string
	Accesses int
}

type formatChoice struct{ Name, What string }

var formatChoices = []formatChoice{
	{"auto", "Go by the first lines"}, {"keys", "One key a line"}, {"sizes", "Key and size"}, {"arc", "ARC: start, count"}, {"lirs", "LIRS: block numbers"}, {"csv", "CSV"},
}

func (h *Handler) showList(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, f form) {
	h.list.Render(w, r, status, page.View{
		Title: "Policy lab", What: "Replay a trace of what was asked of a cache through every policy, and see which one fits it best.",
		Stream: "lab/live", Notice: notice,
		Titles: map[string]string{"do": "Replay a trace", "watch": "Replays", "learn": "How to read it"},
		Data: listView{
			Form: f, Builtins: builtins, Shared: sharedTraces(), Formats: formatChoices, Sizes: DefaultSizes, Replays: h.jobs.all(),
			Limit: page.Bytes(h.limit), Accesses: h.longest,
		},
	})
}

// post reads the trace of a form and starts to replay it.
func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	select {
	case h.uploads <- struct{}{}:
		defer func() { <-h.uploads }()
	default:
		w.Header().Set("Retry-After", "5")
		h.showList(w, r, http.StatusServiceUnavailable, &page.Notice{Error: true, Text: "Two traces are being read already. Try again in a moment."}, form{})
		return
	}
	web.Body(w, r, h.limit+1<<20, 2*time.Minute) // the fields beside the file are small
	err := r.ParseMultipartForm(1 << 20)         // what is beyond goes to temporary files
	if errors.Is(err, http.ErrNotMultipart) {
		err = r.ParseForm()
	}
	if r.MultipartForm != nil {
		defer r.MultipartForm.RemoveAll()
	}
	f := form{r.PostFormValue("choice"), r.PostFormValue("format"), r.PostFormValue("key"), r.PostFormValue("size"), r.PostFormValue("sizes"), r.PostFormValue("bound")}
	fail := func(status int, text string) {
		h.showList(w, r, status, &page.Notice{Error: true, Text: text}, f)
	}
	var c Config
	if err == nil {
		c, err = f.config(r, h.longest)
	}
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			fail(http.StatusRequestEntityTooLarge, "The file is larger than "+page.Bytes(h.limit)+". Compress it, cut it, or use the command, which has no limit.")
			return
		}
		fail(http.StatusBadRequest, sentence(err))
		return
	}
	b, err := h.jobs.add(c)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		fail(http.StatusServiceUnavailable, sentence(err))
		return
	}
	web.Redirect(w, r, fmt.Sprintf("lab/replays/%d/", b.id))
}

// sentence turns an error into what a person reads.
func sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), "trace: ")
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// config reads the trace and the settings.
func (f form) config(r *http.Request, longest int) (Config, error) {
	t, err := f.trace(r, longest)
	if err != nil {
		return Config{}, err
	}
	c := Config{Trace: t, ByBytes: f.Bound == "bytes", Workers: 1}
	if c.ByBytes && t.Sizes == nil {
		return c, fmt.Errorf("the trace %s has no sizes, so choose capacities in entries", t.Name)
	}
	unique, whole := t.Unique()
	if !c.ByBytes {
		whole = int64(unique)
	}
	sizes := f.Sizes
	if strings.TrimSpace(sizes) == "" {
		sizes = DefaultSizes
	}
	if c.Capacities, err = ParseSizes(sizes, whole); err != nil {
		return c, err
	}
	if len(c.Capacities) > 20 {
		return c, fmt.Errorf("%d capacities are too many; expected 20 at most", len(c.Capacities))
	}
	return c, nil
}

// trace reads the file of a form or, without one, returns the trace chosen.
func (f form) trace(r *http.Request, longest int) (*trace.Trace, error) {
	file, header, err := r.FormFile("trace")
	switch {
	case errors.Is(err, http.ErrMissingFile), errors.Is(err, http.ErrNotMultipart):
		if f.Choice == "" {
			return Builtin(), nil
		}
		return namedTrace(f.Choice, longest)
	case err != nil:
		return nil, err
	}
	defer file.Close()
	format, err := trace.ParseFormat(f.Format)
	if err != nil {
		return nil, err
	}
	name := trace.NameOf(strings.ReplaceAll(header.Filename, "\\", "/"))
	if runes := []rune(name); len(runes) > 60 {
		name = string(runes[:59]) + "…"
	}
	t, err := trace.Read(file, &trace.Options{Name: name, Format: format, Key: f.Key, Size: f.Size, Limit: longest})
	if err != nil {
		return nil, fmt.Errorf("the file %s cannot be read: %s", header.Filename, strings.TrimPrefix(err.Error(), "trace: "))
	}
	return t, nil
}
