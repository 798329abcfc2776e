package launcher

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// home is how the gallery describes itself; it has no name, as it is not a
// system.
var home = system.Info{Title: "ashlar", What: "Building blocks for large systems, each at work in a system that runs.", Hue: 250}

// A gallery is all systems of the registry behind one address.
type gallery struct {
	instances []*instance
	view      *page.Page
	stream    *sse.Stream
}

// runGallery runs all systems.
func runGallery(ctx context.Context, definitions []system.Definition, args []string, stdout, stderr io.Writer) error {
	c := newFlags(system.Definition{})
	c.load = 1
	if err := c.parse(args, stdout, stderr, func(w io.Writer) { usage(w, definitions) }); err != nil {
		return err
	}
	log := c.logger(stderr)
	ln, err := web.Listen(ctx, c.addr, !c.given("addr"))
	if err != nil {
		return err
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, err := openGallery(ctx, definitions, c, log)
	if err != nil {
		return err
	}
	defer g.close()
	defer cancel()
	fmt.Fprintf(stdout, "ashlar: %s\n  Ctrl-C stops\n", web.URL(ln))
	if !web.Loopback(ln) {
		log.Warn("other machines can reach this server", "addr", ln.Addr())
	}
	return web.Serve(ctx, ln, web.Secure(g.handler(), c.hostList(), log), log)
}

// openGallery starts every system in the background. A system that does not
// start does not keep the others from it.
func openGallery(ctx context.Context, definitions []system.Definition, c *common, log *slog.Logger) (*gallery, error) {
	g := &gallery{view: page.Must(home, nil, templates, "templates/gallery.html"), stream: sse.New(&sse.Options{Every: time.Second})}
	for _, d := range definitions {
		flags := newFlags(d) // sets the defaults
		if err := flags.set.Parse(nil); err != nil {
			return nil, err
		}
		g.instances = append(g.instances, startWithData(ctx, d, c, log))
	}
	g.stream.Sample("live", func() any {
		live := page.Live{HTML: map[string]template.HTML{}}
		for _, in := range g.instances {
			live.HTML[in.definition.Name] = g.view.Fragment("figure", figureOf(in))
		}
		return live
	})
	return g, nil
}

// startWithData starts a system with a data directory that is given back when
// the system has closed.
func startWithData(ctx context.Context, d system.Definition, c *common, log *slog.Logger) *instance {
	asked := c.data
	if asked != "" {
		asked += "/" + d.Name
	}
	release := func() {}
	begin := d.New
	d.New = func(ctx context.Context, env system.Env) (system.System, error) {
		var err error
		if env.Data, release, err = openData(asked, d.Name, log); err != nil {
			release = func() {}
			return nil, err
		}
		return begin(ctx, env)
	}
	in := start(ctx, d, system.Env{Load: float64(c.load), Gallery: true, Log: log, Metrics: metrics.New()})
	in.release = func() { release() }
	return in
}

// close ends all systems at the same time.
func (g *gallery) close() {
	var closing sync.WaitGroup
	for _, in := range g.instances {
		closing.Go(in.close)
	}
	closing.Wait()
}

func (g *gallery) handler() http.Handler {
	infos := []system.Info{home}
	mux := http.NewServeMux()
	for _, in := range g.instances {
		infos = append(infos, in.definition.Info)
		base := "/" + in.definition.Name + "/"
		mux.Handle(base, in.handler(base, true))
	}
	mux.Handle("/_kit/", page.Assets(infos...))
	mux.Handle("GET /live", g.stream)
	mux.HandleFunc("GET /healthz", g.health)
	mux.HandleFunc("GET /{$}", g.page)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		page.Error(w, r, home, http.StatusNotFound, "There is no such page.")
	})
	return web.Mount("/", false, mux)
}

// health answers with one line a system.
func (g *gallery) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	status := http.StatusOK
	var b strings.Builder
	for _, in := range g.instances {
		if in.state() == "failed" {
			status = http.StatusServiceUnavailable
		}
		fmt.Fprintf(&b, "%s %s\n", in.definition.Name, in.state())
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, b.String())
}

// A group is the systems of one kind.
type group struct {
	Kind  system.Kind
	Lines []entry
}

// An entry is one system in the gallery.
type entry struct {
	system.Info
	Figure figure
	Hidden bool // does not fit the query; the page's script can show it again
}

// Any reports whether an entry of the group is shown.
func (g group) Any() bool {
	return slices.ContainsFunc(g.Lines, func(e entry) bool { return !e.Hidden })
}

// A figure is the live number of a system.
type figure struct {
	Name   string
	State  string // "starting", "running" or "failed"
	Label  string
	Value  string
	Unit   string
	Recent []float64
	Wide   int // values that fill the figure
}

func figureOf(in *instance) figure {
	g, recent := in.seen()
	f := figure{Name: in.definition.Name, State: in.state(), Wide: 60}
	if len(recent) == 0 {
		return f
	}
	f.Label, f.Value, f.Unit, f.Recent = g.Label, plot.Number(g.Value), g.Unit, recent[max(0, len(recent)-f.Wide):]
	return f
}

// A block is a root package and the systems that use it.
type block struct {
	Name    string
	Systems []system.Info
}

// A listing is the content of the gallery page.
type listing struct {
	Query  string
	Groups []group
	Shown  int
	All    int
	Blocks []block
}

func (g *gallery) page(w http.ResponseWriter, r *http.Request) {
	query := strings.TrimSpace(r.URL.Query().Get("q"))
	if len(query) > 100 {
		query = query[:100]
	}
	l := listing{Query: query, All: len(g.instances)}
	uses := map[string][]system.Info{}
	byKind := map[system.Kind][]entry{}
	for _, in := range g.instances {
		info := in.definition.Info
		for _, name := range info.Blocks {
			uses[name] = append(uses[name], info)
		}
		fits := matches(info, query)
		byKind[info.Kind] = append(byKind[info.Kind], entry{info, figureOf(in), !fits})
		if fits {
			l.Shown++
		}
	}
	for _, kind := range system.Kinds {
		if lines := byKind[kind]; len(lines) > 0 {
			l.Groups = append(l.Groups, group{kind, lines})
		}
	}
	for name, infos := range uses {
		l.Blocks = append(l.Blocks, block{name, infos})
	}
	slices.SortFunc(l.Blocks, func(a, b block) int { return cmp.Compare(a.Name, b.Name) })
	g.view.Render(w, r, http.StatusOK, page.View{Title: "Running systems", What: home.What, Stream: "live", Data: l})
}

// matches reports whether every word of the query occurs in what a visitor may
// know a system by.
func matches(info system.Info, query string) bool {
	text := strings.ToLower(searchText(info))
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func searchText(info system.Info) string {
	parts := slices.Concat([]string{info.Name, info.Title, info.What, string(info.Kind)}, info.Blocks, info.Words)
	return strings.Join(parts, " ")
}

// Search is the text that the page's script searches, the same as the server.
func (e entry) Search() string { return strings.ToLower(searchText(e.Info)) }
