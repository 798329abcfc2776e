package lab

import (
	"html/template"
	"net/http"
	"slices"
	"strconv"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
)

// A grid is a table of policies against capacities.
type grid struct {
	Caption  string
	Head     []string // above the first columns
	Policies []string
	Rows     []gridRow
}

type gridRow struct {
	Head  []string
	Cells []gridCell
}

type gridCell struct {
	Text string
	Hint string // below, small
	// Foretold is below that: a prediction of what Hint says.
	Foretold string
	Best     bool
}

// grid puts what text says of each result into a table, without the columns
// that stay empty.
func (r *Report) grid(caption string, text func(Result) gridCell) grid {
	g := grid{Caption: caption, Head: []string{"Entries", "Of all"}}
	size := func(capacity int) string { return page.Count(capacity) }
	if r.ByBytes {
		g.Head[0], size = "Bytes", func(capacity int) string { return page.Bytes(capacity) }
	}
	for _, policy := range r.Policies {
		if slices.ContainsFunc(r.Results, func(x Result) bool { return x.Policy == policy && text(x).Text != "" }) {
			g.Policies = append(g.Policies, policy)
		}
	}
	for _, capacity := range r.Capacities {
		row := gridRow{Head: []string{size(capacity), share(r.Share(capacity))}}
		for _, policy := range g.Policies {
			c := gridCell{}
			if x, ok := r.Result(policy, capacity); ok {
				c = text(x)
			}
			row.Cells = append(row.Cells, c)
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

func share(percent float64) string { return strconv.FormatFloat(percent, 'g', 2, 64) + "\u202f%" }

// A jobView is a replay as its page shows it.
type jobView struct {
	status
	Summary string
	Verdict string
	Trimmed bool
	Sized   bool
	Parts   []part
}

// A part is what a page shows of one measure.
type part struct {
	Title string
	Plot  template.HTML // empty for none
	Grid  grid
}

func view(s status) jobView {
	v := jobView{status: s}
	r := s.Report
	if r == nil {
		return v
	}
	v.Summary, v.Verdict, v.Trimmed, v.Sized = r.Summary(), r.Verdict(), r.Trimmed, r.Sized
	if len(r.Results) == 0 {
		return v
	}
	v.Parts = append(v.Parts, part{"Hit ratio", r.Plot().HTML(), r.grid("In %, and below it what twice the capacity gave, and what a cache that predicts had foretold of that", func(x Result) gridCell {
		c := gridCell{Text: page.Percent(x.HitRatio), Best: !IsCeiling(x.Policy) && x.HitRatio == r.Best(x.Capacity)}
		if x.Twice > 0 {
			c.Hint = "2×: " + page.Percent(x.Twice)
		}
		if x.Foretold > 0 {
			c.Foretold = page.Percent(x.Foretold)
		}
		return c
	})})
	if r.Sized {
		v.Parts = append(v.Parts, part{"Byte hit ratio", r.BytePlot().HTML(), r.grid("In % of the bytes asked for", func(x Result) gridCell {
			if x.Policy == Optimum {
				return gridCell{}
			}
			return gridCell{Text: page.Percent(x.ByteHit)}
		})})
	}
	timing := r.grid(r.timeTitle(), func(x Result) gridCell {
		if x.NsPerOp == 0 {
			return gridCell{}
		}
		return gridCell{Text: strconv.FormatFloat(x.NsPerOp, 'f', 0, 64)}
	})
	if len(timing.Policies) > 0 {
		v.Parts = append(v.Parts, part{Title: "Time", Grid: timing})
	}
	return v
}

func (h *Handler) showJob(w http.ResponseWriter, r *http.Request, b *job) {
	v := view(b.status())
	path := "lab/replays/" + strconv.Itoa(b.id) + "/live"
	if !v.Active() {
		path = "" // nothing changes any more
	}
	h.job.Render(w, r, http.StatusOK, page.View{Title: "Replay of " + b.name, What: "Every policy on one trace, beside the best that is possible.", Stream: path, Data: v})
}

// follow streams a replay to a page that shows it.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, b *job) {
	b.watched.Do(func() {
		b.live = sse.New(nil)
		b.live.Sample("live", func() any {
			return page.Live{HTML: map[string]template.HTML{"replay": h.job.Fragment("replay", view(b.status()))}}
		})
	})
	b.live.ServeHTTP(w, r)
}

func (h *Handler) svg(w http.ResponseWriter, r *http.Request, b *job, draw func(*Report) plot.Line) {
	s := b.status()
	if s.Report == nil || len(s.Report.Results) == 0 {
		page.Error(w, r, h.info, http.StatusNotFound, "There is nothing to draw yet.")
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "no-cache")
	// The file brings its own style sheet, which the policy of pages forbids.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	_, _ = w.Write(draw(s.Report).SVG())
}

func (h *Handler) json(w http.ResponseWriter, r *http.Request, b *job) {
	s := b.status()
	if s.Report == nil {
		page.Error(w, r, h.info, http.StatusNotFound, "There is nothing to report yet.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = s.Report.WriteJSON(w)
}

// A compareView is several replays side by side.
type compareView struct {
	Grid  *grid
	Plots []template.HTML
}

func (h *Handler) showCompare(w http.ResponseWriter, r *http.Request) {
	var reports []*Report
	for _, text := range r.URL.Query()["replay"] {
		id, _ := strconv.Atoi(text)
		if b := h.jobs.get(id); b != nil && len(reports) < maxKept {
			if s := b.status(); s.Report != nil && len(s.Report.Results) > 0 {
				reports = append(reports, s.Report)
			}
		}
	}
	v := compareView{}
	if len(reports) > 0 {
		g := compare(reports)
		v.Grid = &g
	}
	for _, report := range reports {
		l := report.Plot()
		l.Height, l.Table = 200, false
		v.Plots = append(v.Plots, l.HTML())
	}
	h.compare.Render(w, r, http.StatusOK, page.View{Title: "Comparison", What: "The same policies on several traces.", Data: v})
}

// compare puts the hit ratios of all reports into one table, and below it the
// mean of the rows in which every policy has one.
func compare(reports []*Report) grid {
	g := grid{Caption: "Hit ratio in %", Head: []string{"Trace", "Capacity", "Of all"}}
	for _, r := range reports {
		for _, policy := range r.Policies {
			if !slices.Contains(g.Policies, policy) {
				g.Policies = append(g.Policies, policy)
			}
		}
	}
	// The ceilings are the last columns.
	slices.SortStableFunc(g.Policies, func(a, b string) int { return ceilingOrder(a) - ceilingOrder(b) })
	sums, rows := make([]float64, len(g.Policies)), 0
	for _, r := range reports {
		for _, capacity := range r.Capacities {
			row := gridRow{Head: []string{r.Trace, r.Size(capacity), share(r.Share(capacity))}}
			ratios, complete, empty := make([]float64, len(g.Policies)), true, true
			for i, policy := range g.Policies {
				x, ok := r.Result(policy, capacity)
				c := gridCell{}
				if ok {
					ratios[i] = x.HitRatio
					c = gridCell{Text: page.Percent(x.HitRatio), Best: !IsCeiling(policy) && x.HitRatio == r.Best(capacity)}
				}
				complete, empty = complete && ok, empty && !ok
				row.Cells = append(row.Cells, c)
			}
			if empty {
				continue // it was stopped before
			}
			if complete {
				rows++
				for i := range sums {
					sums[i] += ratios[i]
				}
			}
			g.Rows = append(g.Rows, row)
		}
	}
	if rows > 1 {
		mean := gridRow{Head: []string{"Mean of " + strconv.Itoa(rows) + " rows", "", ""}}
		for _, sum := range sums {
			mean.Cells = append(mean.Cells, gridCell{Text: page.Percent(sum / float64(rows))})
		}
		g.Rows = append(g.Rows, mean)
	}
	return g
}

func ceilingOrder(policy string) int {
	if IsCeiling(policy) {
		return 1
	}
	return 0
}
