package page

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/plot"
)

// Funcs are the functions that every template has.
var Funcs = template.FuncMap{
	"count":   Count,
	"number":  plot.Number,
	"percent": Percent,
	"bytes":   Bytes,
	"dur":     Duration,
	"ago":     func(t time.Time) string { return Duration(time.Since(t)) + " ago" },
	"spark":   plot.Spark,
	"bar":     plot.Bar,
	"join":    strings.Join,
	"stat":    func(key, label, value, unit string) Stat { return Stat{key, label, value, unit} },
	"package": func(name string) template.URL {
		return template.URL("https://pkg.go.dev/github.com/ashlar-go/ashlar/" + name)
	},
}

// A Stat is a large number with its label; {{template "stats" list}} shows a
// row of them.
type Stat struct {
	Key   string // of Live.Text; empty if it does not change
	Label string
	Value string
	Unit  string // behind the value, small
}

const narrowSpace = "\u202f"

// Count writes a whole number with narrow spaces between groups of three
// digits. It takes any integer type.
func Count(n any) string {
	s := fmt.Sprint(n)
	sign := ""
	if digits, negative := strings.CutPrefix(s, "-"); negative {
		sign, s = "−", digits
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + narrowSpace + s[i:]
	}
	return sign + s
}

// Percent writes a share, 0 to 1, with one digit behind the point and without
// the sign.
func Percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	return strconv.FormatFloat(share*100, 'f', 1, 64)
}

// Bytes writes a size in units of 1024: 17 B, 4.2 KiB.
func Bytes(n any) string {
	v, err := strconv.ParseFloat(fmt.Sprint(n), 64)
	if err != nil {
		return "–"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; math.Abs(v) >= 999.5 && i < len(units)-1; i++ {
		v /= 1024
	}
	return plot.Number(v) + narrowSpace + units[i]
}

// Duration writes d with about two significant digits in one unit: 850 µs,
// 12 ms, 3.4 s, 5 min, 2 h, 3 d.
func Duration(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "−", -d
	}
	for _, unit := range []struct {
		size, from time.Duration
		name       string
	}{
		{24 * time.Hour, 48 * time.Hour, "d"}, {time.Hour, 2 * time.Hour, "h"}, {time.Minute, 2 * time.Minute, "min"},
		{time.Second, time.Second, "s"}, {time.Millisecond, time.Millisecond, "ms"}, {time.Microsecond, time.Microsecond, "µs"},
	} {
		if d >= unit.from {
			v := float64(d) / float64(unit.size)
			digits := 0
			if v < 10 && unit.size <= time.Second {
				digits = 1
			}
			return sign + strconv.FormatFloat(v, 'f', digits, 64) + narrowSpace + unit.name
		}
	}
	return sign + strconv.FormatInt(d.Nanoseconds(), 10) + narrowSpace + "ns"
}
