package metrics

import "time"

// Sample remembers one value of every metric: of a gauge its value, of a
// counter or histogram its growth per second since the last sample. The
// launcher calls it about once a second.
func (r *Registry) Sample(now time.Time) {
	list := r.list()
	values := make([]float64, 0, 64)
	for _, f := range list {
		for _, m := range f.members {
			values = append(values, m.metric.plotted()) // outside the lock: it may call the system
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := now.Sub(r.sampled).Seconds()
	i := 0
	for _, f := range list {
		for _, m := range f.members {
			v := values[i]
			i++
			if f.kind != "gauge" {
				v, m.last = perSecond(v-m.last, elapsed, !m.primed), v
				m.primed = true
			}
			m.ring[r.samples%Keep] = v
		}
	}
	r.sampled = now
	r.samples++
}

func perSecond(growth, elapsed float64, first bool) float64 {
	if first || elapsed <= 0 || growth < 0 {
		return 0
	}
	return growth / elapsed
}

// Series returns the remembered values of a metric, oldest first, at most
// [Keep], one per call of Sample since the metric was registered. It is empty
// for a metric that does not exist.
func (r *Registry) Series(name string, labels ...string) []float64 {
	rendered := renderLabels(labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		return nil
	}
	for _, m := range f.members {
		if m.labels == rendered {
			return m.series(r.samples)
		}
	}
	return nil
}

func (m *member) series(samples int) []float64 {
	from := max(m.since, samples-Keep)
	values := make([]float64, 0, samples-from)
	for i := from; i < samples; i++ {
		values = append(values, m.ring[i%Keep])
	}
	return values
}

// A Reading is one metric as a panel shows it.
type Reading struct {
	Name   string
	Labels string // rendered: policy="lru"
	Help   string
	Kind   string    // "counter", "gauge" or "histogram"
	Value  float64   // a histogram's count
	P50    float64   // of a histogram
	P99    float64   // of a histogram
	Recent []float64 // see [Registry.Series]; of counters and histograms a rate per second
}

// Readings returns every metric with its recent values, ordered by name and
// labels.
func (r *Registry) Readings() []Reading {
	var readings []Reading
	for _, f := range r.list() {
		for _, m := range f.members {
			reading := Reading{Name: f.name, Labels: m.labels, Help: f.help, Kind: f.kind}
			reading.Value = m.metric.plotted()
			if h, ok := m.metric.(*Histogram); ok {
				reading.P50, reading.P99 = h.Quantile(0.5), h.Quantile(0.99)
			}
			r.mu.Lock()
			reading.Recent = m.series(r.samples)
			r.mu.Unlock()
			readings = append(readings, reading)
		}
	}
	return readings
}
