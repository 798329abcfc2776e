// Package metrics counts what a system does, shows it in the text format of
// Prometheus, and remembers the last minutes for plots.
//
// Metrics of one name form a family: same help, same type, different labels.
// Asking for a metric that exists returns it, so the place that counts need
// not be the place that registered.
package metrics

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Keep is the number of samples remembered per metric.
const Keep = 120

// A Registry holds the metrics of one system. Create one with [New].
// A Registry is safe for concurrent use by multiple goroutines.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family
	order    []string
	sampled  time.Time // of the last Sample
	samples  int       // Samples taken
}

type family struct {
	name, help, kind string
	members          []*member
}

type member struct {
	labels string // rendered: policy="lru",shard="3"
	metric metric
	ring   [Keep]float64
	last   float64 // of a counter, at the last sample
	primed bool    // last is set
	since  int     // number of the Registry's sample that was this member's first
}

// A metric writes itself in text form and has a value worth plotting.
type metric interface {
	write(b *strings.Builder, name, labels string)
	plotted() float64
}

// New returns an empty registry.
func New() *Registry {
	return &Registry{families: map[string]*family{}}
}

var (
	validName  = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	validLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// add returns the metric of that name and those labels, made by mk if there is
// none. It panics where the program, not its input, is wrong.
func (r *Registry) add(name, help, kind string, labels []string, mk func() metric) metric {
	if !validName.MatchString(name) {
		panic("metrics: bad name " + name)
	}
	rendered := renderLabels(labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		f = &family{name: name, help: help, kind: kind}
		r.families[name] = f
		r.order = append(r.order, name)
		slices.Sort(r.order)
	}
	if f.kind != kind {
		panic(fmt.Sprintf("metrics: %s is a %s, not a %s", name, f.kind, kind))
	}
	for _, m := range f.members {
		if m.labels == rendered {
			return m.metric
		}
	}
	m := &member{labels: rendered, metric: mk(), since: r.samples}
	f.members = append(f.members, m)
	slices.SortFunc(f.members, func(a, b *member) int { return strings.Compare(a.labels, b.labels) })
	return m.metric
}

func renderLabels(labels []string) string {
	if len(labels)%2 != 0 {
		panic("metrics: labels come in pairs of name and value")
	}
	var b strings.Builder
	for i := 0; i < len(labels); i += 2 {
		if !validLabel.MatchString(labels[i]) {
			panic("metrics: bad label " + labels[i])
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(labels[i])
		b.WriteString(`="`)
		b.WriteString(labelEscaper.Replace(labels[i+1]))
		b.WriteByte('"')
	}
	return b.String()
}

var (
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// A Counter only grows. A Counter is safe for concurrent use by multiple
// goroutines.
type Counter struct{ n atomic.Uint64 }

// Counter returns the counter of that name; by custom the name ends in _total.
// labels are pairs of a name and a value. It panics if the name is not one of
// Prometheus or is in use by another type.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	return r.add(name, help, "counter", labels, func() metric { return &Counter{} }).(*Counter)
}

// Inc adds 1.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value returns the count.
func (c *Counter) Value() uint64 { return c.n.Load() }

func (c *Counter) plotted() float64 { return float64(c.n.Load()) }

func (c *Counter) write(b *strings.Builder, name, labels string) {
	line(b, name, labels, float64(c.n.Load()))
}

// A Gauge goes up and down. A Gauge is safe for concurrent use by multiple
// goroutines.
type Gauge struct{ bits atomic.Uint64 }

// Gauge returns the gauge of that name, see [Registry.Counter].
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	return r.add(name, help, "gauge", labels, func() metric { return &Gauge{} }).(*Gauge)
}

// Set makes v the value.
func (g *Gauge) Set(v float64) { g.bits.Store(math.Float64bits(v)) }

// Add adds v, which may be negative.
func (g *Gauge) Add(v float64) {
	for {
		old := g.bits.Load()
		if g.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Value returns the value.
func (g *Gauge) Value() float64 { return math.Float64frombits(g.bits.Load()) }

func (g *Gauge) plotted() float64 { return g.Value() }

func (g *Gauge) write(b *strings.Builder, name, labels string) { line(b, name, labels, g.Value()) }

type function struct{ f func() float64 }

func (f *function) plotted() float64 { return f.f() }

func (f *function) write(b *strings.Builder, name, labels string) { line(b, name, labels, f.f()) }

// GaugeFunc registers a gauge whose value is what f returns. f is called
// without a lock of the registry held, possibly by several goroutines at once.
// If the gauge exists, the earlier f stays.
func (r *Registry) GaugeFunc(name, help string, f func() float64, labels ...string) {
	r.add(name, help, "gauge", labels, func() metric { return &function{f: f} })
}

// CounterFunc registers a counter whose value is what f returns, which must
// not shrink. See [Registry.GaugeFunc].
func (r *Registry) CounterFunc(name, help string, f func() float64, labels ...string) {
	r.add(name, help, "counter", labels, func() metric { return &function{f: f} })
}

// members returns what is registered, in the order of the text format.
func (r *Registry) list() []family {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]family, 0, len(r.order))
	for _, name := range r.order {
		f := *r.families[name]
		f.members = slices.Clone(f.members)
		list = append(list, f)
	}
	return list
}

// Text returns all metrics in version 0.0.4 of the text format of Prometheus,
// ordered by name and labels.
func (r *Registry) Text() string {
	var b strings.Builder
	for _, f := range r.list() {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, helpEscaper.Replace(f.help), f.name, f.kind)
		for _, m := range f.members {
			m.metric.write(&b, f.name, m.labels)
		}
	}
	return b.String()
}

// ServeHTTP answers with [Registry.Text].
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(r.Text()))
}
