package plot

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Spark returns a line the size of a word, from zero to the greatest value,
// newest at the right. label says what it is to those who cannot see it. n is
// the number of values that fill the width; fewer leave room at the left, so
// that a young line does not stretch. n of 0 means len(values).
func Spark(values []float64, n int, label string) template.HTML {
	const w, h = 120, 24
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`, w, h, esc(label))
	if len(values) > n && n > 0 {
		values = values[len(values)-n:]
	}
	n = max(n, len(values), 2)
	series := make([]Point, len(values))
	for i, v := range values {
		series[i] = Point{float64(n - len(values) + i), v}
	}
	f := frame{height: h, xs: scale{min: 0, max: float64(n - 1)}}
	low, high := extent(values)
	f.ys = scale{min: low, max: high}
	if len(values) > 0 {
		d := sparkPath(series, f, w, h)
		fmt.Fprintf(&b, `<path class="area" d="%sV%dH%sZ"/>`, d, h, num(f.xs.at(series[0].X)*w))
		fmt.Fprintf(&b, `<path class="line" vector-effect="non-scaling-stroke" d="%s"/>`, d)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// extent returns the least and the greatest value, with zero between them, and
// never the same.
func extent(values []float64) (low, high float64) {
	for _, v := range values {
		if finite(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	if low == high {
		high = 1
	}
	return low, high
}

func sparkPath(points []Point, f frame, w, h float64) string {
	var b strings.Builder
	for i, p := range points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		y := p.Y
		if !finite(y) {
			y = 0
		}
		b.WriteString(command + num(f.xs.at(p.X)*w) + " " + num(h-2-f.ys.at(y)*(h-4)))
	}
	return b.String()
}

// Bar returns a horizontal bar filled to a share of its width, 0 to 1. The
// number itself belongs beside it as text; to a screen reader the bar is
// silent.
func Bar(share float64) template.HTML {
	if math.IsNaN(share) {
		share = 0
	}
	return template.HTML(`<svg class="bar" aria-hidden="true"><rect class="all" width="100%" height="100%"/><rect class="part" width="` +
		strconv.FormatFloat(math.Round(min(max(share, 0), 1)*1000)/10, 'f', -1, 64) + `%" height="100%"/></svg>`)
}

// Recent turns values taken once per step seconds, oldest first, into points
// whose x is the seconds before now, 0 at the right.
func Recent(values []float64, step float64) []Point {
	points := make([]Point, len(values))
	for i, v := range values {
		points[i] = Point{-step * float64(len(values)-1-i), v}
	}
	return points
}
