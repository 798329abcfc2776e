package launcher

import (
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

//go:embed templates
var templates embed.FS

// A panel shows a system's metrics as a page.
type panel struct {
	registry *metrics.Registry
	view     *page.Page
	stream   *sse.Stream
}

func newPanel(info system.Info, registry *metrics.Registry) *panel {
	p := &panel{
		registry: registry,
		view:     page.Must(info, nil, templates, "templates/metrics.html"),
		stream:   sse.New(&sse.Options{Every: time.Second}),
	}
	p.stream.Sample("live", func() any {
		return page.Live{HTML: map[string]template.HTML{"metrics": p.view.Fragment("rows", p.rows())}}
	})
	return p
}

func (p *panel) page(w http.ResponseWriter, r *http.Request) {
	p.view.Render(w, r, http.StatusOK, page.View{
		Title: "Metrics", What: "What this system counts, and the last two minutes of it. Prometheus reads the same at /metrics.",
		Stream: "metrics/live", Data: p.rows(),
	})
}

// A row is one metric of the panel.
type row struct {
	metrics.Reading
	Shown string // the value
	Rate  bool   // Recent is per second
}

func (p *panel) rows() []row {
	readings := p.registry.Readings()
	rows := make([]row, len(readings))
	for i, m := range readings {
		rows[i] = row{Reading: m, Rate: m.Kind != "gauge"}
		switch {
		case m.Kind == "histogram" && strings.HasSuffix(m.Name, "_seconds"):
			rows[i].Shown = page.Duration(seconds(m.P50)) + " / " + page.Duration(seconds(m.P99))
		case m.Kind == "histogram":
			rows[i].Shown = plot.Number(m.P50) + " / " + plot.Number(m.P99)
		case strings.HasSuffix(m.Name, "_bytes"):
			rows[i].Shown = page.Bytes(m.Value)
		default:
			rows[i].Shown = plot.Number(m.Value)
		}
	}
	return rows
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
