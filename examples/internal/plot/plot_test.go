package plot

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wellFormed fails the test if text is not XML, which inline SVG must be too.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err, text)
	}
}

var wave = Line{
	Title: `Ratio <of> "hits"`,
	X:     Axis{Label: "capacity", Unit: "entries", Log: true},
	Y:     Axis{Label: "hit ratio", Unit: "%"},
	Series: []Series{
		{Name: "lru", Points: []Point{{100, 10}, {1000, 20}, {10000, 61.5}}},
		{Name: "optimum", Dashed: true, Points: []Point{{100, 15}, {1000, math.NaN()}, {10000, 70}}},
	},
	Table: true,
}

func TestLineIsWellFormedAndSaysItsValues(t *testing.T) {
	page := string(wave.HTML())
	wellFormed(t, page)
	require.Contains(t, page, "Ratio &lt;of&gt; &#34;hits&#34;")
	require.Contains(t, page, "hit ratio in % over capacity in entries")
	require.Contains(t, page, "lru: last 61.5\u202f%, from 10\u202f% to 61.5\u202f%.", "the text alternative")
	require.Contains(t, page, `<th scope="row" class="num">1k</th><td class="num">20`+"\u202f"+`%</td><td class="num">–</td>`, "the table")
	require.NotContains(t, page, "style=", "pages allow no inline style")
	require.NotContains(t, page, "NaN")
	require.Equal(t, 2, strings.Count(page, `class="s1 dashed"`), "line and legend")
}

func TestLineDataIsForTheScript(t *testing.T) {
	page := string(wave.HTML())
	_, rest, _ := strings.Cut(page, `data-plot="`)
	text, _, _ := strings.Cut(rest, `"`)
	var data readable
	require.NoError(t, json.Unmarshal([]byte(html.UnescapeString(text)), &data))
	require.Equal(t, []float64{0, 0.5, 1}, data.X, "a logarithmic axis")
	require.Equal(t, "1k\u202fentries", data.Label[1])
	require.Equal(t, []readLine{{"lru", []string{"10\u202f%", "20\u202f%", "61.5\u202f%"}}, {"optimum", []string{"15\u202f%", "–", "70\u202f%"}}}, data.Lines)
}

func TestFileStandsAlone(t *testing.T) {
	file := string(wave.SVG())
	wellFormed(t, file)
	require.True(t, strings.HasPrefix(file, `<svg xmlns="http://www.w3.org/2000/svg"`))
	require.Contains(t, file, "light-dark(", "colours for either theme")
	require.NotContains(t, file, "http://www.w3.org/1999/xlink")
	for _, name := range []string{">lru</text>", ">optimum</text>", ">10k</text>"} {
		require.Contains(t, file, name)
	}
}

func TestLinesWithoutValues(t *testing.T) {
	for name, line := range map[string]Line{
		"no series": {Title: "A"},
		"no points": {Title: "A", Series: []Series{{Name: "x"}}},
		"only gaps": {Title: "A", Series: []Series{{Name: "x", Points: []Point{{1, math.NaN()}, {math.Inf(1), 2}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			wellFormed(t, string(line.HTML()))
			wellFormed(t, string(line.SVG()))
			require.Contains(t, string(line.HTML()), "Nothing measured yet")
		})
	}
}

func TestVerticalAxisStartsAtZeroAndEndsOnAMark(t *testing.T) {
	for _, test := range []struct {
		name      string
		axis      Axis
		values    []float64
		low, high float64
	}{
		{"positive", Axis{}, []float64{40, 61}, 0, 80},
		{"negative", Axis{}, []float64{-5, 5}, -5, 5},
		{"all zero", Axis{}, []float64{0}, 0, 1},
		{"fixed", Axis{Max: 100}, []float64{40, 61}, 0, 100},
		{"small", Axis{}, []float64{0.0031}, 0, 0.004},
	} {
		s, ticks := test.axis.scale(test.values, 4, true)
		if math.Abs(s.min-test.low) > 1e-12 || math.Abs(s.max-test.high) > 1e-12 {
			t.Errorf("%s: axis from %v to %v, want %v to %v; ticks %v", test.name, s.min, s.max, test.low, test.high, ticks)
		}
	}
}

func TestTicksAreRoundAndInside(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		n         int
		want      []float64
	}{
		{0, 100, 4, []float64{0, 25, 50, 75, 100}},
		{-60, 0, 6, []float64{-60, -50, -40, -30, -20, -10, 0}},
		{0, 1, 2, []float64{0, 0.5, 1}},
		{3, 3, 4, []float64{3}},
		{12, 19, 3, []float64{12, 14, 16, 18}},
		{11, 19, 2, []float64{15}},
	} {
		require.InDeltaSlice(t, test.want, Ticks(test.low, test.high, test.n), 1e-9)
	}
	require.NotEmpty(t, Ticks(1e18, 1e18+256, 4), "and ends")
	for _, tick := range Ticks(-1, 1, 4) {
		require.False(t, tick == 0 && math.Signbit(tick), "a mark at minus zero")
	}
}

func TestLogarithmicTicks(t *testing.T) {
	for _, test := range []struct{ low, high, first, second, last float64 }{
		{100, 10_000, 100, 1000, 10_000},
		{250, 16_000, 500, 1000, 10_000},
		{3, 4, 3, 4, 4},
		{1e-6, 1e12, 1e-6, 1e-2, 1e10},
	} {
		ticks := logTicks(test.low, test.high, 6)
		require.InEpsilon(t, test.first, ticks[0], 1e-9)
		require.InEpsilon(t, test.second, ticks[1], 1e-9, "%v", ticks)
		require.InEpsilon(t, test.last, ticks[len(ticks)-1], 1e-9, "%v", ticks)
		require.LessOrEqual(t, len(ticks), 8)
	}
	require.Equal(t, []float64{7}, logTicks(7, 7, 6))
}

func TestPathLeavesGapsAndShowsLonePoints(t *testing.T) {
	f := frame{height: 100, xs: scale{min: 0, max: 10}, ys: scale{min: 0, max: 1}}
	require.Equal(t, "M0 99L100 8M500 8h.01M800 99L900 99",
		f.path([]Point{{0, 0}, {1, 1}, {2, math.NaN()}, {5, 1}, {6, math.NaN()}, {8, 0}, {9, 0}}))
}

func TestNamesAtLineEndsDoNotCoverEachOther(t *testing.T) {
	line := Line{Y: Axis{Max: 100}}
	for _, y := range []float64{50, 51, 49, 0, 1, 100} {
		line.Series = append(line.Series, Series{Points: []Point{{0, 0}, {1, y}}})
	}
	line.Height = 300
	places := line.ends(line.frame())
	for i := range places {
		if places[i] < 0 || places[i] > 300 {
			t.Errorf("name %d is at %v, outside the drawing", i, places[i])
		}
		for j := range i {
			if math.Abs(places[i]-places[j]) < 17.9 {
				t.Errorf("names %d and %d are at %v and %v", i, j, places[i], places[j])
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.25: "0.25", 12.34: "12.3", 98.7654: "98.8", 100: "100", 999.4: "999", 999.96: "1k", 1234: "1.23k",
		35e6: "35M", 2.5e9: "2.5G", 7e12: "7T", -4200: "−4.2k", 0.00123: "0.0012", math.Inf(1): "–", 50: "50",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestSparkAndBar(t *testing.T) {
	for name, values := range map[string][]float64{"none": nil, "one": {3}, "zeros": {0, 0}, "some": {1, math.NaN(), 3, -1}, "more than fit": make([]float64, 99)} {
		t.Run(name, func(t *testing.T) {
			spark := string(Spark(values, 10, "a <line>"))
			wellFormed(t, spark)
			require.NotContains(t, spark, "NaN")
		})
	}
	young := string(Spark([]float64{1, 2}, 61, ""))
	require.Contains(t, young, "M118 ", "a young line begins at the right")
	wellFormed(t, string(Bar(math.NaN())))
	require.Contains(t, string(Bar(0.5)), `width="50%"`)
	require.Contains(t, string(Bar(7)), `class="part" width="100%"`)
}

func TestRecentEndsNow(t *testing.T) {
	require.Equal(t, []Point{{-2, 5}, {-1, 6}, {0, 7}}, Recent([]float64{5, 6, 7}, 1))
}

func FuzzLine(f *testing.F) {
	f.Add(1.0, 2.0, 3.0, 4.0, false)
	f.Add(math.NaN(), math.Inf(-1), -1e300, 1e-300, true)
	f.Fuzz(func(t *testing.T, a, b, c, d float64, log bool) {
		line := Line{Title: "f", X: Axis{Log: log}, Y: Axis{Log: log}, Table: true, Series: []Series{{Name: "s", Points: []Point{{a, b}, {c, d}}}}}
		wellFormed(t, string(line.HTML()))
		wellFormed(t, string(line.SVG()))
		wellFormed(t, string(Spark([]float64{a, b, c, d}, 3, "")))
		if strings.Contains(string(line.HTML()), "NaN") {
			t.Errorf("NaN in the plot of %v", line.Series)
		}
	})
}
