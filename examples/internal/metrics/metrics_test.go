package metrics

import (
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTextFormat(t *testing.T) {
	r := New()
	r.Counter("jobs_total", "Jobs done.", "queue", "b").Add(3)
	r.Counter("jobs_total", "Jobs done.", "queue", `a"\`+"\n").Inc()
	r.Gauge("depth", "How deep,\nand \\ more.").Set(-2.5)
	r.GaugeFunc("limit", "A limit.", func() float64 { return math.Inf(1) })
	r.CounterFunc("reads_total", "Reads.", func() float64 { return 1e9 })
	h := r.Histogram("wait_seconds", "Waiting.", []float64{0.1, 1}, "door", "left")
	h.Observe(0.1) // a bound belongs to its bucket
	h.Observe(0.5)
	h.Observe(7)

	want := `# HELP depth How deep,\nand \\ more.
# TYPE depth gauge
depth -2.5
# HELP jobs_total Jobs done.
# TYPE jobs_total counter
jobs_total{queue="a\"\\\n"} 1
jobs_total{queue="b"} 3
# HELP limit A limit.
# TYPE limit gauge
limit +Inf
# HELP reads_total Reads.
# TYPE reads_total counter
reads_total 1e+09
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
wait_seconds_bucket{door="left",le="0.1"} 1
wait_seconds_bucket{door="left",le="1"} 2
wait_seconds_bucket{door="left",le="+Inf"} 3
wait_seconds_sum{door="left"} 7.6
wait_seconds_count{door="left"} 3
`
	require.Equal(t, want, r.Text())

	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, want, answer.Body.String())
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", answer.Header().Get("Content-Type"))
}

func TestAskingAgainReturnsTheSameMetric(t *testing.T) {
	r := New()
	r.Counter("a_total", "", "k", "1").Inc()
	r.Counter("a_total", "", "k", "1").Inc()
	require.EqualValues(t, 2, r.Counter("a_total", "", "k", "1").Value())
	require.EqualValues(t, 0, r.Counter("a_total", "", "k", "2").Value())
}

func TestMistakesOfTheProgramPanic(t *testing.T) {
	for name, mistake := range map[string]func(*Registry){
		"name":           func(r *Registry) { r.Counter("1st", "") },
		"label":          func(r *Registry) { r.Counter("a", "", "b-c", "") },
		"odd labels":     func(r *Registry) { r.Counter("a", "", "b") },
		"two types":      func(r *Registry) { r.Counter("a", ""); r.Gauge("a", "") },
		"falling bounds": func(r *Registry) { r.Histogram("a", "", []float64{2, 1}) },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, func() { mistake(New()) }) })
	}
}

func TestQuantileLiesInTheRightBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	h := NewHistogram(nil)
	values := make([]float64, 10_000)
	for i := range values {
		values[i] = math.Exp(random.NormFloat64()*2 - 8)
		h.Observe(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.99, 1} {
		exact := values[min(int(q*float64(len(values))), len(values)-1)]
		// Two neighbouring bounds are at most a factor of 1.6 apart.
		if got := h.Quantile(q); got < exact/1.61 || got > exact*1.61 {
			t.Errorf("Quantile(%v) = %v, want about %v", q, got, exact)
		}
	}
}

func TestQuantileAtTheEdges(t *testing.T) {
	h := NewHistogram([]float64{1, 2})
	require.Zero(t, h.Quantile(0.5), "nothing observed")
	h.Observe(100)
	require.InDelta(t, 2, h.Quantile(0.5), 0, "above all bounds")
	h = NewHistogram([]float64{1, 2})
	h.Observe(1.5)
	require.InDelta(t, 1.5, h.Quantile(0.5), 0)
	require.InDelta(t, 1, h.Quantile(-3), 0)
	require.InDelta(t, 2, h.Quantile(3), 0)
}

func TestSeriesRemembersRatesOfCountersAndValuesOfGauges(t *testing.T) {
	r := New()
	now := time.Unix(1000, 0)
	c, g := r.Counter("c_total", ""), r.Gauge("g", "", "k", "v")
	require.Empty(t, r.Series("g", "k", "v"))
	require.Empty(t, r.Series("unknown"))
	c.Add(100) // before the first sample: no rate can be known
	g.Set(1)
	r.Sample(now)
	c.Add(30)
	g.Set(2)
	r.Sample(now.Add(2 * time.Second))
	late := r.Histogram("late_seconds", "", nil)
	late.Observe(1)
	r.Sample(now.Add(3 * time.Second))
	require.Equal(t, []float64{0, 15, 0}, r.Series("c_total"))
	require.Equal(t, []float64{1, 2, 2}, r.Series("g", "k", "v"))
	require.Equal(t, []float64{0}, r.Series("late_seconds"))
	for i := range Keep {
		g.Set(float64(i))
		r.Sample(now.Add(time.Duration(4+i) * time.Second))
	}
	series := r.Series("g", "k", "v")
	require.Len(t, series, Keep)
	require.InDelta(t, 0, series[0], 0)
	require.InDelta(t, Keep-1, series[Keep-1], 0)
}

func TestReadings(t *testing.T) {
	r := New()
	r.Histogram("wait_seconds", "Waiting.", []float64{1, 2, 3}).Observe(1.5)
	r.Sample(time.Unix(1, 0))
	readings := r.Readings()
	require.Len(t, readings, 1)
	require.Equal(t, Reading{Name: "wait_seconds", Help: "Waiting.", Kind: "histogram", Value: 1, P50: 1.5, P99: 1.99, Recent: []float64{0}}, readings[0])
}

func TestConcurrentSafe(t *testing.T) {
	r := New()
	// A function may use the registry it is registered in.
	r.GaugeFunc("copy", "", func() float64 { return r.Gauge("x", "").Value() })
	var users sync.WaitGroup
	for user := range 4 {
		users.Go(func() {
			for i := range 200 {
				r.Counter("c_total", "", "user", string(rune('a'+i%5))).Inc()
				r.Histogram("h", "", nil).Observe(float64(i))
				r.Gauge("g", "").Add(1)
				if user == 0 {
					r.Sample(time.Unix(int64(i), 0))
				}
				_ = r.Text()
			}
		})
	}
	users.Wait()
	require.InDelta(t, 800, r.Gauge("g", "").Value(), 0)
	require.EqualValues(t, 800, r.Histogram("h", "", nil).Count())
}
