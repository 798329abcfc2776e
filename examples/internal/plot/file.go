package plot

import (
	"fmt"
	"strings"
)

// The measures of a plot in a file, in its own units.
const (
	fileWidth  = 840
	fileHeight = 460
	left       = 64
	right      = 150 // for the names at the ends of the lines
	top        = 64
	bottom     = 56
)

// fileStyle gives a file its colours in either theme.
const fileStyle = `:root{color-scheme:light dark}svg{background:light-dark(#fdfdfc,#17191c)}text{font:13px system-ui,sans-serif;fill:light-dark(#5b6068,#a4a9b2)}` +
	`.title{font-size:17px;font-weight:600;fill:light-dark(#1d2126,#e8eaee)}.grid{stroke:light-dark(#e2e3e6,#33363c)}` +
	`path{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:6 5}` +
	`.s0{stroke:light-dark(#2b5fa6,#8fb8f2)}.s1{stroke:light-dark(#b85c1e,#eea46b)}.s2{stroke:light-dark(#8a3f8f,#d698da)}` +
	`.s3{stroke:light-dark(#1f7d68,#6fcdb5)}.s4{stroke:light-dark(#3d424a,#d8dbe0)}.s5{stroke:light-dark(#83888f,#82878f)}`

// SVG returns the plot as a file that stands alone, readable in a light and in
// a dark setting, with the name of each line at its end.
func (l Line) SVG() []byte {
	l.Height = fileHeight - top - bottom
	f := l.frame()
	wide := float64(fileWidth - left - right)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s"><style>%s</style>`, fileWidth, fileHeight, esc(l.summary()), fileStyle)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="28">%s</text><text x="%d" y="48">%s</text>`, left, esc(l.Title), left, esc(l.axes()))
	if f.empty {
		fmt.Fprintf(&b, `<text x="%d" y="%d">no values</text></svg>`, left, fileHeight/2)
		return []byte(b.String())
	}
	for _, tick := range f.yTicks {
		y := f.y(tick) + top
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%s" y2="%s"/>`, left, fileWidth-right, num(y), num(y))
		fmt.Fprintf(&b, `<text x="%d" y="%s" text-anchor="end">%s</text>`, left-8, num(y+4), esc(l.Y.text(tick)))
	}
	for _, tick := range f.xTicks {
		fmt.Fprintf(&b, `<text x="%s" y="%d" text-anchor="middle">%s</text>`, num(left+f.xs.at(tick)*wide), fileHeight-bottom+24, esc(l.X.text(tick)))
	}
	fmt.Fprintf(&b, `<svg x="%d" y="%d" width="%s" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none" overflow="visible">`,
		left, top, num(wide), f.height, width, f.height)
	for i, s := range l.Series {
		fmt.Fprintf(&b, `<path class="%s" vector-effect="non-scaling-stroke" d="%s"/>`, s.class(i), f.path(s.Points))
	}
	b.WriteString(`</svg>`)
	for i, y := range l.ends(f) {
		fmt.Fprintf(&b, `<path class="%s" d="M%d %sh14"/>`, l.Series[i].class(i), fileWidth-right+8, num(y+top))
		fmt.Fprintf(&b, `<text x="%d" y="%s">%s</text>`, fileWidth-right+28, num(y+top+4), esc(l.Series[i].Name))
	}
	b.WriteString(`</svg>`)
	return []byte(b.String())
}

// ends returns where to write the name of each series: at the height of its
// last value, moved apart where names would cover each other.
func (l Line) ends(f frame) []float64 {
	const apart = 18
	places := make([]float64, len(l.Series))
	order := make([]int, 0, len(l.Series))
	for i, s := range l.Series {
		places[i] = float64(f.height)
		for j := len(s.Points) - 1; j >= 0; j-- {
			if finite(s.Points[j].Y) {
				places[i] = f.y(s.Points[j].Y)
				break
			}
		}
		at := len(order)
		for at > 0 && places[order[at-1]] > places[i] {
			at--
		}
		order = append(order[:at], append([]int{i}, order[at:]...)...)
	}
	for k := 1; k < len(order); k++ {
		places[order[k]] = max(places[order[k]], places[order[k-1]]+apart)
	}
	if len(order) == 0 {
		return places
	}
	limit := float64(f.height)
	for k := len(order) - 1; k >= 0; k-- {
		places[order[k]] = min(places[order[k]], limit)
		limit = places[order[k]] - apart
	}
	return places
}
