package kvcluster

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
)

// A nodeRow is a node in the table.
type nodeRow struct {
	Name, Class, State, Share, Objects, Hints, Cache, Disk string
	Bad, Side                                              bool
}

// names returns the nodes of this process, in the order in which they came.
func (s *System) names() []string {
	var names []string
	for _, h := range s.cluster.Hosts() {
		names = append(names, h.Name)
	}
	return names
}

// everyone returns the nodes of this process and, if it is one of several, those
// elsewhere.
func (s *System) everyone() []string {
	names := s.names()
	for _, r := range s.others(names, nil) {
		names = append(names, r.Name)
	}
	return names
}

// placement returns the placement that most of the nodes see, which is that of the first
// that runs.
func (s *System) placement() *placement {
	for _, n := range s.cluster.running() {
		return n.roster.placement()
	}
	return nil
}

func (s *System) view(f form) view {
	hosts, names := s.cluster.Hosts(), s.names()
	if f.Level == "" {
		f.Level = s.config.Consistency
	}
	if f.Backup == "" {
		f.Backup = time.Now().Format("2006-01-02-150405")
	}
	v := view{form: f, Names: names, Levels: levelNames, Endpoints: s.Endpoints(), Discs: s.discs(hosts, names)}
	v.Nodes = s.rows(hosts, names, f.Sides)
	v.Stats = s.stats(hosts)
	v.Catching, v.Rate = s.plots()
	if p := s.placement(); p != nil {
		v.Arcs = arcs(p.ring, names)
		if f.Key != "" {
			v.Place = place(p.ring, f.Key, p.owners([]byte(f.Key)), names)
		}
	}
	return v
}

func (s *System) rows(hosts []Host, names, sides []string) []nodeRow {
	share := map[string]float64{}
	if p := s.placement(); p != nil {
		share = shares(p.ring)
	}
	rows := make([]nodeRow, len(hosts))
	for i, h := range hosts {
		r := nodeRow{Name: h.Name, Class: colour(names, h.Name), State: string(h.State), Bad: h.State != Running, Side: slices.Contains(sides, h.Name),
			Share: "–", Objects: "–", Hints: "–", Cache: "–", Disk: "–"}
		if part := share[h.Name]; part > 0 {
			r.Share = page.Percent(part) + " %"
		}
		if h.Node != nil {
			if status := h.Node.roster.own().Status; status != Up {
				r.State = string(status)
			} else if h.State == Running && h.Node.filling.on.Load() {
				r.State = "being filled"
			}
			r.fill(h.Node.figures())
		}
		rows[i] = r
	}
	return append(rows, s.others(names, share)...)
}

// others are members in other processes.
func (s *System) others(names []string, share map[string]float64) []nodeRow {
	p := s.placement()
	if p == nil || s.config.Node == "" {
		return nil
	}
	s.mu.Lock()
	elsewhere := s.elsewhere
	s.mu.Unlock()
	var rows []nodeRow
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		m := p.members[name]
		if slices.Contains(names, name) || m.Status == Left {
			continue
		}
		f, known := elsewhere[name]
		r := nodeRow{Name: name, Class: colour(names, name), State: "elsewhere", Share: "–", Objects: "–", Hints: "–", Cache: "–", Disk: "–"}
		if part := share[name]; part > 0 {
			r.Share = page.Percent(part) + " %"
		}
		if known {
			r.fill(f)
		} else {
			r.State, r.Bad = "away", true
		}
		rows = append(rows, r)
	}
	return rows
}

func (r *nodeRow) fill(f Figures) {
	r.Objects, r.Hints = page.Count(f.Keys), page.Count(f.Hints)
	if reads := f.Engine.Hits + f.Engine.Misses; reads > 0 {
		r.Cache = page.Percent(float64(f.Engine.Hits)/float64(reads)) + " %"
	}
	if f.Engine.Disk > 0 {
		r.Disk = page.Bytes(f.Engine.Disk)
	}
}

func (s *System) stats(hosts []Host) []page.Stat {
	running, objects, hints, differ := 0, int64(0), 0, 0
	var raw, packed int64
	for _, h := range hosts {
		if h.Node == nil {
			continue
		}
		if h.State == Running {
			running++
		}
		f := h.Node.figures()
		objects += f.Keys
		hints += f.Hints
		differ += f.Differ
		raw += f.Engine.Raw
		packed += f.Engine.Packed
	}
	m := s.config.Env.Metrics
	saved := "–"
	if raw > 0 {
		saved = page.Percent(max(0, 1-float64(packed)/float64(raw))) + " %"
	}
	return []page.Stat{
		{Key: "running", Label: "Nodes that run", Value: fmt.Sprint(running), Unit: fmt.Sprintf("of %d", len(hosts))},
		{Key: "rate", Label: "Commands", Value: page.Count(uint64(latest(m.Series("kvcluster_commands_total")))), Unit: "/s"},
		{Key: "p99", Label: "99 of 100 take under", Value: page.Duration(time.Duration(s.cluster.latency.Quantile(.99) * 1e9))},
		{Key: "failed", Label: "No quorum", Value: page.Count(uint64(latest(m.Series("kvcluster_no_quorum_total")))), Unit: "/s"},
		{Key: "objects", Label: "Copies of objects", Value: page.Count(objects)},
		{Key: "hints", Label: "Hints waiting", Value: page.Count(hints)},
		{Key: "differ", Label: "Parts that differ", Value: page.Count(differ)},
		{Key: "saved", Label: "Saved by compression", Value: saved},
	}
}

func latest(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

func (s *System) plots() (catching, rate template.HTML) {
	m := s.config.Env.Metrics
	x := plot.Axis{Label: "seconds before now", Min: -120, Max: 0}
	line := func(name, series string) plot.Series {
		return plot.Series{Name: name, Points: plot.Recent(m.Series(series), 1)}
	}
	catching = plot.Line{
		Title: "Catching up", X: x, Y: plot.Axis{Label: "keys and parts"}, Height: 160,
		Series: []plot.Series{line("hints waiting", "kvcluster_hints_waiting"), line("parts that differ", "kvcluster_differences")},
	}.HTML()
	rate = plot.Line{
		Title: "Commands a second", X: x, Y: plot.Axis{Label: "commands", Unit: "/s"}, Height: 160,
		Series: []plot.Series{line("commands", "kvcluster_commands_total"), line("without a quorum", "kvcluster_no_quorum_total")},
	}.HTML()
	return catching, rate
}

// sample is what the page's stream carries.
func (s *System) sample() page.Live {
	v := s.view(form{})
	live := page.Live{Text: map[string]string{}, HTML: map[string]template.HTML{
		"discs": v.Discs, "nodes": index.Fragment("nodes", v.Nodes), "catching": v.Catching, "rate": v.Rate,
	}}
	if p := s.placement(); p != nil && s.ringIsNew(p) {
		live.HTML["arcs"] = v.Arcs
	}
	for _, stat := range v.Stats {
		live.Text[stat.Key] = stat.Value
	}
	return live
}

// ringIsNew reports whether the ring has changed within the last seconds: it is sent
// only then, since it is large.
func (s *System) ringIsNew(p *placement) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := p.ring.Fingerprint(); f != s.ring {
		s.ring, s.ringSince = f, time.Now()
	}
	return time.Since(s.ringSince) < 5*time.Second
}
