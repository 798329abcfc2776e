package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
)

// Best returns the highest hit ratio that a policy has at a capacity.
func (r *Report) Best(capacity int) float64 {
	best := 0.0
	for _, x := range r.Results {
		if x.Capacity == capacity && !IsCeiling(x.Policy) {
			best = max(best, x.HitRatio)
		}
	}
	return best
}

// Summary says in one line what was replayed.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%s: %s accesses to %s keys", r.Trace, page.Count(r.Accesses), page.Count(r.Unique))
	if r.ByBytes {
		s += " of " + page.Bytes(r.Whole)
	}
	if r.Format != "generated" {
		return s + ", read as " + r.Format
	}
	return s + ", generated"
}

// A cell writes one number of a table; "" leaves it empty.
type cell func(Result) string

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 2, 64) }

// WriteText writes the report as tables.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.Summary() + "\n")
	if r.Trimmed {
		b.WriteString("The trace goes on; what follows is about its beginning.\n")
	}
	r.table(&b, "Hit ratio in %, the best policy with a *", func(x Result) string {
		mark := " "
		if !IsCeiling(x.Policy) && x.HitRatio == r.Best(x.Capacity) {
			mark = "*"
		}
		return percent(x.HitRatio) + mark
	})
	r.table(&b, "Hit ratio in % at twice the capacity", func(x Result) string {
		if x.Twice == 0 {
			return ""
		}
		return percent(x.Twice) + " "
	})
	r.table(&b, "The same as the cache itself foretold it, from shadows and the recent accesses", func(x Result) string {
		if x.Foretold == 0 {
			return ""
		}
		return percent(x.Foretold) + " "
	})
	if r.Sized {
		r.table(&b, "Byte hit ratio in %", func(x Result) string {
			if x.Policy == Optimum {
				return ""
			}
			return percent(x.ByteHit) + " "
		})
	}
	r.table(&b, r.timeTitle(), func(x Result) string {
		if x.NsPerOp == 0 {
			return ""
		}
		return strconv.FormatFloat(x.NsPerOp, 'f', 0, 64) + " "
	})
	if verdict := r.Verdict(); verdict != "" {
		b.WriteString("\n" + verdict + "\n")
	}
	if !r.Complete {
		b.WriteString("\nStopped before the end: numbers are missing.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) timeTitle() string {
	title := "Processor time of an access in ns, one replay at a time"
	if r.Accesses > timed {
		title += ", the first " + page.Count(timed) + " accesses"
	}
	return title
}

// table writes the columns in which text finds anything to say.
func (r *Report) table(b *strings.Builder, title string, text cell) {
	policies := slices.DeleteFunc(slices.Clone(r.Policies), func(policy string) bool {
		return !slices.ContainsFunc(r.Results, func(x Result) bool { return x.Policy == policy && text(x) != "" })
	})
	if len(policies) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n%12s %7s", title, r.Unit(), "of all")
	for _, policy := range policies {
		fmt.Fprintf(b, " %*s", width(policy), policy+" ")
	}
	b.WriteString("\n")
	for _, capacity := range r.Capacities {
		fmt.Fprintf(b, "%12s %6s%%", page.Count(capacity), strconv.FormatFloat(r.Share(capacity), 'f', 1, 64))
		for _, policy := range policies {
			s := ""
			if x, ok := r.Result(policy, capacity); ok {
				s = text(x)
			}
			fmt.Fprintf(b, " %*s", width(policy), s)
		}
		b.WriteString("\n")
	}
}

func width(policy string) int { return max(9, len(policy)+1) }

// Share returns what part of all a capacity holds, in percent.
func (r *Report) Share(capacity int) float64 { return 100 * float64(capacity) / float64(r.Whole) }

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Plot draws hit ratio over capacity, the ceiling dashed.
func (r *Report) Plot() plot.Line {
	return r.plot("Hit ratio", func(x Result) (float64, bool) { return x.HitRatio, true })
}

// BytePlot draws byte hit ratio over capacity. It is empty for a trace without
// sizes.
func (r *Report) BytePlot() plot.Line {
	return r.plot("Byte hit ratio", func(x Result) (float64, bool) { return x.ByteHit, r.Sized && x.Policy != Optimum })
}

func (r *Report) plot(what string, value func(Result) (y float64, ok bool)) plot.Line {
	unit, per := r.plotUnit()
	l := plot.Line{
		Title: what + " on " + r.Trace,
		X:     plot.Axis{Label: "capacity", Unit: unit, Log: true},
		Y:     plot.Axis{Label: strings.ToLower(what), Unit: "%"},
		Table: true, Height: 320,
	}
	all := slices.Concat(r.Results, r.More)
	slices.SortStableFunc(all, func(a, b Result) int { return a.Capacity - b.Capacity })
	for _, policy := range r.Policies {
		s := plot.Series{Name: policy, Dashed: IsCeiling(policy)}
		for _, x := range all {
			if y, ok := value(x); ok && x.Policy == policy {
				s.Points = append(s.Points, plot.Point{X: float64(x.Capacity) / per, Y: 100 * y})
			}
		}
		if len(s.Points) > 0 {
			l.Series = append(l.Series, s)
		}
	}
	return l
}

// plotUnit returns a unit for capacities, and how much of them one is.
func (r *Report) plotUnit() (unit string, per float64) {
	largest := 0
	for _, capacity := range r.Capacities {
		largest = max(largest, capacity)
	}
	switch {
	case !r.ByBytes:
		return "entries", 1
	case largest >= 1e9:
		return "GB", 1e9
	case largest >= 1e6:
		return "MB", 1e6
	}
	return "kB", 1e3
}
