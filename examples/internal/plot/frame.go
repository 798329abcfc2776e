package plot

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A frame maps values to places.
type frame struct {
	height         int
	xs, ys         scale
	xTicks, yTicks []float64
	empty          bool
}

type scale struct {
	min, max float64 // already logarithms where log is set
	log      bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(v)
	}
	if s.max == s.min {
		return 0.5
	}
	return min(max((v-s.min)/(s.max-s.min), 0), 1)
}

// padding keeps the top line and its label inside the drawing.
const padding = 8

func (f frame) x(v float64) float64 { return f.xs.at(v) * width }

func (f frame) y(v float64) float64 {
	return float64(f.height) - 1 - f.ys.at(v)*float64(f.height-1-padding)
}

func (l Line) frame() frame {
	f := frame{height: l.Height}
	if f.height <= 0 {
		f.height = 220
	}
	var xs, ys []float64
	for _, s := range l.Series {
		for _, p := range s.Points {
			if finite(p.X) && finite(p.Y) {
				xs, ys = append(xs, p.X), append(ys, p.Y)
			}
		}
	}
	f.empty = len(xs) == 0
	if f.empty {
		return f
	}
	f.xs, f.xTicks = l.X.scale(xs, 5, false)
	f.ys, f.yTicks = l.Y.scale(ys, 4, true)
	return f
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// scale returns the axis for those values with about n marks. A vertical axis
// starts at zero and ends on a mark.
func (a Axis) scale(values []float64, n int, vertical bool) (scale, []float64) {
	low, high := slices.Min(values), slices.Max(values)
	if a.Min != 0 || a.Max != 0 {
		low, high = a.Min, a.Max
	} else if vertical && !a.Log {
		low, high = min(low, 0), max(high, 0)
	}
	if a.Log && low > 0 {
		return scale{math.Log10(low), math.Log10(high), true}, logTicks(low, high, n)
	}
	if low == high {
		high = low + 1
	}
	ticks := Ticks(low, high, n)
	if vertical && a.Max == 0 && len(ticks) > 1 {
		if last := ticks[len(ticks)-1]; last < high {
			ticks = append(ticks, last+ticks[1]-ticks[0])
		}
		high = ticks[len(ticks)-1]
	}
	return scale{low, high, false}, ticks
}

// Ticks returns about n round values from low to high: multiples of 1, 2, 2.5
// or 5 times a power of ten.
func Ticks(low, high float64, n int) []float64 {
	if !(high > low) || n < 1 {
		return []float64{low}
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(n))))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if (high-low)/(step*m) <= float64(n)+0.5 {
			step *= m
			break
		}
	}
	var ticks []float64
	// Where steps are finer than float64 can tell apart, i stands still.
	for i := math.Ceil(low/step - 1e-9); i*step <= high+step*1e-9 && len(ticks) <= 2*n; i++ {
		ticks = append(ticks, i*step+0) // the sum of -0 and 0 is 0
	}
	return ticks
}

// logTicks returns powers of ten, with twice and five times those where there
// are few of them.
func logTicks(low, high float64, n int) []float64 {
	for _, steps := range [][]float64{{1}, {1, 2, 5}} {
		var ticks []float64
		for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
			for _, step := range steps {
				if v := step * math.Pow(10, e); v >= low*(1-1e-9) && v <= high*(1+1e-9) {
					ticks = append(ticks, v)
				}
			}
		}
		for len(ticks) > n+2 {
			ticks = everySecond(ticks)
		}
		if len(ticks) >= 3 {
			return ticks
		}
	}
	return slices.Compact([]float64{low, high})
}

func everySecond(ticks []float64) []float64 {
	var half []float64
	for i := 0; i < len(ticks); i += 2 {
		half = append(half, ticks[i])
	}
	return half
}

// path is the d attribute of a line, with a gap where a value is missing and a
// dot where a value stands alone.
func (f frame) path(points []Point) string {
	var b strings.Builder
	drawn := 0 // points of the current stroke
	for i, p := range points {
		if !finite(p.X) || !finite(p.Y) {
			drawn = 0
			continue
		}
		command := "L"
		if drawn == 0 {
			command = "M"
		}
		b.WriteString(command + num(f.x(p.X)) + " " + num(f.y(p.Y)))
		drawn++
		if drawn == 1 && (i+1 == len(points) || !finite(points[i+1].Y)) {
			b.WriteString("h.01") // a stroke of no length shows its round cap
		}
	}
	return b.String()
}

// xs returns the x values of all series, ascending, each once.
func (l Line) xs() []float64 {
	var xs []float64
	for _, s := range l.Series {
		for _, p := range s.Points {
			if finite(p.X) {
				xs = append(xs, p.X)
			}
		}
	}
	slices.Sort(xs)
	return slices.Compact(xs)
}

func num(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

func (a Axis) text(v float64) string {
	if a.Format != nil {
		return a.Format(v)
	}
	return Number(v)
}

func (a Axis) value(v float64) string {
	if a.Unit == "" {
		return a.text(v)
	}
	return a.text(v) + "\u202f" + a.Unit
}

// Number writes v with at most three or four significant digits and a
// multiplier: 0.25, 12.5, 980, 1.2k, 35M.
func Number(v float64) string {
	if !finite(v) {
		return "–"
	}
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size*0.9995 {
			return sign + significant(v/unit.size) + unit.name
		}
	}
	return sign + significant(v)
}

func significant(v float64) string {
	digits := 0
	switch {
	case v >= 99.95:
	case v >= 9.995:
		digits = 1
	case v >= 0.1 || v == 0:
		digits = 2
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
