package launcher

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/crowd"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed testdata/demo.html
var demoFiles embed.FS

// demo is a system with a bit of everything: a tide gauge that visitors can
// pour water into.
type demo struct {
	env    system.Env
	info   system.Info
	view   *page.Page
	stream *sse.Stream
	crowd  *crowd.Crowd
	level  atomic.Int64
	closed atomic.Bool
}

func demoInfo(name, title string, kind system.Kind, hue int) system.Info {
	return system.Info{
		Name: name, Title: title, Kind: kind, Hue: hue,
		What:   "A tide gauge that fills and empties while you watch, and that you can pour water into.",
		Blocks: []string{"movingavg", "hitcounter"},
		Words:  []string{"sea", "water"},
		Nav:    []system.Link{{Path: "deep/est/", Text: "Depths"}},
	}
}

// define returns the definition of a demo.
func define(info system.Info) func() system.Definition {
	return func() system.Definition {
		var start int
		return system.Definition{
			Info: info,
			Flags: func(f *flag.FlagSet) {
				f.IntVar(&start, "level", 40, "`percent` that the gauge begins with")
			},
			New: func(ctx context.Context, env system.Env) (system.System, error) {
				if start > 100 {
					return nil, errors.New("the gauge overflows")
				}
				d := &demo{env: env, info: info, view: page.Must(info, nil, demoFiles, "testdata/demo.html"), stream: sse.New(nil)}
				d.level.Store(int64(start))
				pours := env.Metrics.Counter("demo_pours_total", "Times that somebody poured.")
				took := env.Metrics.Histogram("demo_pour_seconds", "Time that pouring took.", nil)
				env.Metrics.GaugeFunc("demo_level", "Percent filled.", func() float64 { return float64(d.level.Load()) }, "gauge", "main")
				if env.Load > 0 {
					d.crowd = crowd.Start(ctx, crowd.Options{Users: 4, Rate: 50 * env.Load, Act: func(_ context.Context, _ int, random *rand.Rand) error {
						defer took.Since(time.Now())
						pours.Inc()
						d.pour(random.Int64N(5) - 2)
						return nil
					}})
				}
				d.stream.Sample("live", func() any {
					return page.Live{
						Text: map[string]string{"level": fmt.Sprint(d.level.Load())},
						HTML: map[string]template.HTML{"plot": d.plot()},
					}
				})
				return d, nil
			},
			README: "# Tide gauge\n",
			Commands: []system.Command{{
				Name: "forecast", What: "prints the next tide",
				Run: func(_ context.Context, args []string, stdout, _ io.Writer) error {
					_, err := fmt.Fprintln(stdout, "high tide for", len(args), "harbours")
					return err
				},
			}},
		}
	}
}

func (d *demo) pour(n int64) int64 {
	for {
		old := d.level.Load()
		if level := min(max(old+n, 0), 100); d.level.CompareAndSwap(old, level) {
			return level
		}
	}
}

func (d *demo) plot() template.HTML {
	line := plot.Line{
		Title: "Level", X: plot.Axis{Label: "time", Unit: "s"}, Y: plot.Axis{Label: "filled", Unit: "%", Max: 100}, Table: true,
	}
	for i, name := range []string{"measured", "forecast", "last spring tide"} {
		points := make([]plot.Point, 61)
		for t := range points {
			points[t] = plot.Point{X: float64(t - 60), Y: 50 + 30*math.Sin(float64(t)/9+float64(i))/float64(i+1)}
		}
		line.Series = append(line.Series, plot.Series{Name: name, Points: points, Dashed: i == 2})
	}
	return line.HTML()
}

// demoView is what the page of a demo shows.
type demoView struct {
	Stats     []page.Stat
	Plot      template.HTML
	Harbours  []harbour
	Endpoints []system.Endpoint
}

type harbour struct {
	Name  string
	Depth float64
	Share float64
}

func (d *demo) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /live", d.stream)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		v := page.View{Stream: "live", Data: demoView{
			Stats: []page.Stat{
				{Key: "level", Label: "Level", Value: fmt.Sprint(d.level.Load()), Unit: "%"},
				{Label: "Visitors", Value: page.Count(12345)}, {Label: "Median wait", Value: page.Duration(1250 * time.Microsecond)},
				{Label: "Water", Value: page.Bytes(123456789)},
			},
			Plot:      d.plot(),
			Harbours:  []harbour{{"Dover", 6.8, 0.91}, {"Saint-Malo", 12.2, 0.64}, {"Burntcoat Head", 16.3, 0.12}},
			Endpoints: d.Endpoints(),
		}}
		if done := r.URL.Query().Get("poured"); done == "yes" {
			v.Notice = &page.Notice{Text: "Poured. Watch the level."}
		}
		d.view.Render(w, r, http.StatusOK, v)
	})
	mux.HandleFunc("POST /pour", func(w http.ResponseWriter, r *http.Request) {
		var n int64
		if _, err := fmt.Sscan(r.PostFormValue("litres"), &n); err != nil {
			page.Error(w, r, d.info, http.StatusBadRequest, "The amount must be a whole number.")
			return
		}
		d.pour(n)
		web.Redirect(w, r, "?poured=yes")
	})
	mux.HandleFunc("GET /deep/est/", func(w http.ResponseWriter, r *http.Request) {
		d.view.Render(w, r, http.StatusOK, page.View{Title: "Depths", What: "Far below.", Data: demoView{}})
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/deep/est/", http.StatusFound)
	})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("too deep") })
	return mux
}

func (d *demo) Close() error {
	if d.crowd != nil {
		d.crowd.Close()
	}
	if d.closed.Swap(true) {
		return errors.New("closed twice")
	}
	return nil
}

func (d *demo) Glance() system.Glance {
	return system.Glance{Label: "filled", Value: float64(d.level.Load()), Unit: "%"}
}

func (d *demo) Endpoints() []system.Endpoint {
	return []system.Endpoint{{Protocol: "Tides (TIDEP)", Addr: "127.0.0.1:1234", Try: "tide-cli -p 1234"}}
}

// broken is a system that does not start.
func broken() system.Definition {
	return system.Definition{
		Info: system.Info{Name: "leaky", Title: "Leaky bucket", What: "Does not start.", Kind: system.Web, Hue: 30},
		New: func(context.Context, system.Env) (system.System, error) {
			return nil, errors.New("no water at 127.0.0.1:1")
		},
	}
}

var tide = demoInfo("tide", "Tide gauge", system.Moving, 200)

// many is a registry as large as it will get.
func many() Registry {
	registry := Registry{define(tide), broken}
	for i, title := range []string{"Cache server", "Key-value cluster", "Log store", "Message broker", "Devices", "Short links", "Hit counter",
		"Microblog", "Video", "Chat", "Shop", "Tickets", "Rides", "Arena"} {
		name := fmt.Sprintf("s%d", i)
		registry = append(registry, define(demoInfo(name, title, system.Kinds[i%len(system.Kinds)], (20+i*137)%360)))
	}
	return registry
}

// serveGallery runs a gallery in an httptest server and returns its address.
func serveGallery(t *testing.T, registry Registry) string {
	t.Helper()
	c := newFlags(system.Definition{})
	c.load, c.data = 1, t.TempDir()
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	g, err := openGallery(ctx, registry.Definitions(), c, log)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(web.Secure(g.handler(), nil, log))
	server.Config.BaseContext = nil
	server.Start()
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		g.close()
	})
	return server.URL + "/"
}
