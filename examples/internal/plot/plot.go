// Package plot draws lines, sparklines and bars as SVG, on the server.
//
// A plot in a page keeps its text at one size whatever its width: positions
// along x are percentages, and only the lines themselves stretch. Its colours
// come from the page's style sheet, since pages allow no inline style; the
// same plot can also be written as a file that stands alone. With the page's
// script a pointer or the arrow keys read values off it.
package plot

import (
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A Point is a place in a plot.
type Point struct{ X, Y float64 }

// A Series is a line. A point whose Y is NaN leaves a gap.
type Series struct {
	Name   string
	Points []Point // ascending by X
	Dashed bool    // a reference, such as an optimum or a limit
}

// An Axis is how one dimension is shown.
type Axis struct {
	Label string // "capacity"
	Unit  string // "%", "entries"; empty for a plain number

	// Min and Max are the ends. Where both are 0 they come from the data: the
	// y axis then starts at zero unless values are negative.
	Min, Max float64

	// Log makes the axis logarithmic; all its values must be positive.
	Log bool

	// Format writes a value on the axis, without the unit; nil means Number.
	Format func(float64) string
}

// A Line is a plot of series over a common x axis.
type Line struct {
	Title  string
	X, Y   Axis
	Series []Series
	Height int // of the plotting area in pixels; default 220
	// Table adds the values as a table that opens on demand. Without it the
	// text alternative is a sentence with first, last, least and greatest.
	Table bool
}

// Palette is the number of series with a colour of their own; beyond it the
// colours repeat.
const Palette = 6

// width is the x extent of the part that stretches, in its own units.
const width = 1000

// HTML returns the plot as a figure for a page.
func (l Line) HTML() template.HTML {
	f := l.frame()
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="plot" tabindex="0" data-plot="%s">`, html.EscapeString(l.data()))
	fmt.Fprintf(&b, `<figcaption><b>%s</b> <span>%s</span></figcaption>`, esc(l.Title), esc(l.axes()))
	if f.empty {
		b.WriteString(`<p class="empty">Nothing measured yet. The line starts with the first value.</p></figure>`)
		return template.HTML(b.String())
	}
	fmt.Fprintf(&b, `<div class="plot-grid"><svg class="plot-y" height="%d" aria-hidden="true">`, f.height)
	for _, tick := range f.yTicks {
		fmt.Fprintf(&b, `<text x="100%%" y="%s">%s</text>`, num(f.y(tick)+4), esc(l.Y.text(tick)))
	}
	fmt.Fprintf(&b, `</svg><svg class="plot-area" height="%d" role="img" aria-label="%s">`, f.height, esc(l.summary()))
	for _, tick := range f.yTicks {
		y := num(f.y(tick))
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="100%%" y1="%s" y2="%s"/>`, y, y)
	}
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" width="100%%" height="%d" preserveAspectRatio="none">`, width, f.height, f.height)
	for i, s := range l.Series {
		fmt.Fprintf(&b, `<path class="%s" vector-effect="non-scaling-stroke" d="%s"/>`, s.class(i), f.path(s.Points))
	}
	b.WriteString(`</svg><line class="cursor" x1="0" x2="0" y1="0" y2="100%" visibility="hidden"/></svg><span></span><svg class="plot-x" height="20" aria-hidden="true">`)
	for i, tick := range f.xTicks {
		anchor := "middle"
		switch {
		case f.x(tick) < width/20:
			anchor = "start"
		case f.x(tick) > width-width/20 || i == len(f.xTicks)-1 && f.x(tick) > width*9/10:
			anchor = "end"
		}
		fmt.Fprintf(&b, `<text x="%s%%" y="14" text-anchor="%s">%s</text>`, num(f.x(tick)*100/width), anchor, esc(l.X.text(tick)))
	}
	b.WriteString(`</svg></div><ul class="legend">`)
	for i, s := range l.Series {
		fmt.Fprintf(&b, `<li><svg width="20" height="12" aria-hidden="true"><path class="%s" d="M0 6H20"/></svg>%s <b>%s</b></li>`, s.class(i), esc(s.Name), esc(l.last(s)))
	}
	b.WriteString(`</ul><p class="plot-read" aria-live="polite"></p>`)
	if l.Table {
		l.table(&b)
	}
	b.WriteString(`</figure>`)
	return template.HTML(b.String())
}

func (s Series) class(i int) string {
	class := "s" + strconv.Itoa(i%Palette)
	if s.Dashed {
		class += " dashed"
	}
	return class
}

// axes says what the two axes are, in the caption.
func (l Line) axes() string {
	y := l.Y.Label
	if l.Y.Unit != "" {
		y = strings.TrimSpace(y + " in " + l.Y.Unit)
	}
	x := l.X.Label
	if l.X.Unit != "" {
		x = strings.TrimSpace(x + " in " + l.X.Unit)
	}
	switch {
	case x == "":
		return y
	case y == "":
		return "over " + x
	}
	return y + " over " + x
}

func (l Line) last(s Series) string {
	for i := len(s.Points) - 1; i >= 0; i-- {
		if y := s.Points[i].Y; !math.IsNaN(y) {
			return l.Y.value(y)
		}
	}
	return ""
}

// summary is the plot in one sentence a series.
func (l Line) summary() string {
	parts := []string{l.Title + "."}
	for _, s := range l.Series {
		low, high := math.Inf(1), math.Inf(-1)
		for _, p := range s.Points {
			if !math.IsNaN(p.Y) {
				low, high = min(low, p.Y), max(high, p.Y)
			}
		}
		if low > high {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: last %s, from %s to %s.", s.Name, l.last(s), l.Y.value(low), l.Y.value(high)))
	}
	return strings.Join(parts, " ")
}

func (l Line) table(b *strings.Builder) {
	b.WriteString(`<details class="plot-table"><summary>The values</summary><div class="scroll" tabindex="0" role="region" aria-label="The values of the plot"><table><thead><tr>`)
	fmt.Fprintf(b, `<th scope="col" class="num">%s</th>`, esc(strings.TrimSpace(l.X.Label+" "+l.X.Unit)))
	for _, s := range l.Series {
		fmt.Fprintf(b, `<th scope="col" class="num">%s</th>`, esc(s.Name))
	}
	b.WriteString(`</tr></thead><tbody>`)
	for _, x := range l.xs() {
		fmt.Fprintf(b, `<tr><th scope="row" class="num">%s</th>`, esc(l.X.text(x)))
		for _, s := range l.Series {
			fmt.Fprintf(b, `<td class="num">%s</td>`, esc(at(s.Points, x, l.Y.value)))
		}
		b.WriteString(`</tr>`)
	}
	b.WriteString(`</tbody></table></div></details>`)
}

func at(points []Point, x float64, format func(float64) string) string {
	for _, p := range points {
		if p.X == x && !math.IsNaN(p.Y) {
			return format(p.Y)
		}
	}
	return "–"
}

// readable is what the page's script reads values from.
type readable struct {
	X     []float64  `json:"x"`     // positions, 0 to 1
	Label []string   `json:"label"` // of each position
	Lines []readLine `json:"lines"`
}

type readLine struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

func (l Line) data() string {
	f := l.frame()
	r := readable{X: []float64{}, Label: []string{}, Lines: []readLine{}}
	xs := l.xs()
	for _, x := range xs {
		r.X = append(r.X, math.Round(f.x(x))/width)
		r.Label = append(r.Label, l.X.value(x))
	}
	for _, s := range l.Series {
		line := readLine{Name: s.Name}
		for _, x := range xs {
			line.Values = append(line.Values, at(s.Points, x, l.Y.value))
		}
		r.Lines = append(r.Lines, line)
	}
	data, err := json.Marshal(r)
	if err != nil {
		panic("plot: " + err.Error()) // positions are finite: frame made them
	}
	return string(data)
}

func esc(s string) string { return html.EscapeString(s) }
