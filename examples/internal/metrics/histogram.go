package metrics

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A Histogram counts observations in buckets. A Histogram is safe for
// concurrent use by multiple goroutines; each observation is counted once,
// but a reader may see a sum that lags behind the counts.
type Histogram struct {
	bounds []float64       // upper bounds, ascending, inclusive
	counts []atomic.Uint64 // one more than bounds: the last is above them all
	sum    Gauge
}

// Seconds are bounds for latencies: five a decade from a microsecond to ten
// seconds.
var Seconds = decades(1e-6, 7, 1, 1.6, 2.5, 4, 6.3)

func decades(from float64, n int, steps ...float64) []float64 {
	var bounds []float64
	for range n {
		for _, s := range steps {
			// Through text, so that a bound reads 2.5e-05 and not 2.4999999999999998e-05.
			v, _ := strconv.ParseFloat(strconv.FormatFloat(from*s, 'g', 3, 64), 64)
			bounds = append(bounds, v)
		}
		from *= 10
	}
	return append(bounds, from)
}

// Histogram returns the histogram of that name, see [Registry.Counter]. Bounds
// are the ascending upper bounds of the buckets; nil means [Seconds].
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	return r.add(name, help, "histogram", labels, func() metric { return NewHistogram(bounds) }).(*Histogram)
}

// NewHistogram returns a histogram that belongs to no registry. It panics if
// bounds do not ascend.
func NewHistogram(bounds []float64) *Histogram {
	if bounds == nil {
		bounds = Seconds
	}
	for i := 1; i < len(bounds); i++ {
		if bounds[i] <= bounds[i-1] {
			panic("metrics: bounds of a histogram must ascend")
		}
	}
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	h.counts[sort.SearchFloat64s(h.bounds, v)].Add(1)
	h.sum.Add(v)
}

// Since observes the seconds that have passed since start.
func (h *Histogram) Since(start time.Time) { h.Observe(time.Since(start).Seconds()) }

// Count returns how many values were observed.
func (h *Histogram) Count() uint64 {
	n := uint64(0)
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Sum returns the sum of the values observed.
func (h *Histogram) Sum() float64 { return h.sum.Value() }

// Quantile estimates the value that a share q of the observations do not
// exceed, q in [0, 1], by a straight line through its bucket. It is 0 before
// the first observation, and the largest bound where the answer lies above it.
func (h *Histogram) Quantile(q float64) float64 {
	counts := make([]uint64, len(h.counts))
	total := uint64(0)
	for i := range counts {
		counts[i] = h.counts[i].Load()
		total += counts[i]
	}
	return quantile(h.bounds, counts, total, q)
}

func quantile(bounds []float64, counts []uint64, total uint64, q float64) float64 {
	if total == 0 || len(bounds) == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(total)
	below := uint64(0)
	for i, n := range counts {
		if i == len(bounds) {
			break
		}
		if n > 0 && float64(below+n) >= rank {
			low := 0.0
			if i > 0 {
				low = bounds[i-1]
			}
			return low + (bounds[i]-low)*max(rank-float64(below), 0)/float64(n)
		}
		below += n
	}
	return bounds[len(bounds)-1]
}

func (h *Histogram) plotted() float64 { return float64(h.Count()) }

func (h *Histogram) write(b *strings.Builder, name, labels string) {
	separator := ""
	if labels != "" {
		separator = ","
	}
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := math.Inf(1)
		if i < len(h.bounds) {
			bound = h.bounds[i]
		}
		line(b, name+"_bucket", labels+separator+`le="`+format(bound)+`"`, float64(total))
	}
	line(b, name+"_sum", labels, h.Sum())
	line(b, name+"_count", labels, float64(total))
}

func line(b *strings.Builder, name, labels string, v float64) {
	b.WriteString(name)
	if labels != "" {
		b.WriteString("{" + labels + "}")
	}
	b.WriteString(" " + format(v) + "\n")
}

func format(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
