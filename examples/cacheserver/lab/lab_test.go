package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/trace"
)

func small() *trace.Trace {
	t := trace.Mixed(1, 12_000)
	t.Name = "small"
	return t
}

func run(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.True(t, r.Complete)
	return r
}

// all returns every result, also those at twice the capacities.
func all(r *Report) []Result { return slices.Concat(r.Results, r.More) }

// Stack distances give the hits of an LRU without replaying it.
func TestLRUIsThatOfStackDistances(t *testing.T) {
	tr := small()
	r := run(t, Config{Trace: tr, Policies: []string{"lru"}, Untimed: true})
	checked := 0
	for _, x := range all(r) {
		if x.Policy != "lru" {
			continue
		}
		checked++
		if want := trace.LRUCurve(tr.Keys, []int{x.Capacity})[0]; x.Hits != want {
			t.Errorf("lru at %d has %d hits, want %d", x.Capacity, x.Hits, want)
		}
	}
	require.GreaterOrEqual(t, checked, len(r.Capacities))
}

func TestNoPolicyIsAboveTheCeiling(t *testing.T) {
	for _, byBytes := range []bool{false, true} {
		for _, tr := range []*trace.Trace{small(), sized(trace.Loop(6000, 300)), sized(trace.Scans(1, 8000, 1000, 0.9, 900, 300))} {
			r := run(t, Config{Trace: tr, ByBytes: byBytes, Untimed: true})
			require.Equal(t, append(Policies(byBytes), map[bool]string{false: Optimum, true: Bound}[byBytes]), r.Policies)
			require.Len(t, r.Results, len(r.Policies)*len(r.Capacities))
			ceiling := map[int]Result{}
			for _, x := range all(r) {
				if IsCeiling(x.Policy) {
					ceiling[x.Capacity] = x
				}
			}
			for _, x := range all(r) {
				top := ceiling[x.Capacity]
				if x.Hits > top.Hits || byBytes && x.ByteHit > top.ByteHit {
					t.Errorf("%s: %s at %d %s has %d hits and a byte hit ratio of %v, above the ceiling of %d and %v",
						tr.Name, x.Policy, x.Capacity, r.Unit(), x.Hits, x.ByteHit, top.Hits, top.ByteHit)
				}
			}
		}
	}
}

func sized(t *trace.Trace) *trace.Trace {
	t.Sizes = trace.Lognormal(1, t.Keys, 3000, 1.2)
	return t
}

func TestReportAddsUp(t *testing.T) {
	tr := small()
	var done []int
	total := 0
	partial := 0
	r := run(t, Config{
		Trace: tr, Capacities: []int{200, 100, 100, 50}, Policies: []string{"tinylfu", "lru"}, Workers: 2,
		Progress: func(d, all int) { done, total = append(done, d), all },
		Partial: func(r *Report) {
			partial++
			if r.Complete {
				t.Error("a partial report says that it is complete")
			}
		},
	})
	require.Equal(t, []int{50, 100, 200}, r.Capacities)
	require.True(t, slices.IsSorted(done))
	require.Equal(t, total, done[len(done)-1], "all of it was done")
	// Three capacities, twice the largest, and the timings.
	require.Equal(t, (4*3+3*2)*len(tr.Keys), total)
	require.Equal(t, 4*3+3*2, partial)
	for _, x := range r.Results {
		if ratio := float64(x.Hits) / float64(len(tr.Keys)); x.HitRatio != ratio {
			t.Errorf("%+v: the hit ratio should be %v", x, ratio)
		}
		i := slices.IndexFunc(all(r), func(y Result) bool { return y.Policy == x.Policy && y.Capacity == 2*x.Capacity })
		if twice := all(r)[i].HitRatio; x.Twice != twice {
			t.Errorf("%+v: twice the capacity gives %v", x, twice)
		}
		if timed := x.NsPerOp > 0; timed == IsCeiling(x.Policy) {
			t.Errorf("%+v: an access took %v ns", x, x.NsPerOp)
		}
		if (x.ByteHit > 0) == (x.Policy == Optimum) {
			t.Errorf("%+v: wrong byte hit ratio", x)
		}
	}
	unique, _ := tr.Unique()
	require.Equal(t, unique, r.Unique)
}

// The cache that predicts is not far off on traffic that does not change.
func TestForecast(t *testing.T) {
	r := run(t, Config{Trace: trace.Zipf(1, 200_000, 20_000, 0.9), Capacities: []int{1000}, Policies: []string{"tinylfu", "lru"}, Untimed: true})
	x, _ := r.Result("tinylfu", 1000)
	if x.Foretold < x.Twice-0.1 || x.Foretold > x.Twice+0.1 {
		t.Errorf("tinylfu foretold %v at twice the capacity, where it has %v", x.Foretold, x.Twice)
	}
	x, _ = r.Result("lru", 1000)
	require.Zero(t, x.Foretold)
	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "foretold")
}

// What is rounded to one more than twice counts as twice.
func TestRoundedDoublesAreNotReplayedAgain(t *testing.T) {
	r := run(t, Config{Trace: small(), Capacities: []int{60, 121, 10, 21}, Policies: []string{"random"}, Untimed: true})
	var more []int
	for _, x := range r.More {
		if x.Policy == "random" {
			more = append(more, x.Capacity)
		}
	}
	require.Equal(t, []int{20, 42, 242}, more)
	x, ok := r.Result("random", 60)
	require.True(t, ok)
	y, _ := r.Result("random", 121)
	require.Equal(t, y.HitRatio, x.Twice)
}

func TestRunStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Run(ctx, Config{Trace: small(), Workers: 1, Partial: func(r *Report) {
		if len(r.Results) == 3 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, r.Complete)
	require.Len(t, r.Results, 3, "what was finished")
	var text strings.Builder
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "Stopped before the end")

	r, err = Run(ctx, Config{Trace: small()})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, r.Results)
	require.Empty(t, r.Verdict())
	require.Contains(t, string(r.Plot().SVG()), "no values")
}

func TestRunRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		"there is no trace to replay":            {},
		"capacities from -1 to 5; expected 1":    {Trace: small(), Capacities: []int{5, -1}},
		"trace loop has no sizes":                {Trace: trace.Loop(9, 3), ByBytes: true},
		`there is no policy "fifo"; expected so`: {Trace: small(), Policies: []string{"lru", "fifo"}},
		`policy "tinylfu-bytes" is for cap`:      {Trace: small(), Policies: []string{"tinylfu-bytes"}},
	} {
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want %q", err, want)
		}
	}
}

func TestParseSizes(t *testing.T) {
	for list, want := range map[string][]int{
		"5%": {50}, "20%, 1%": {10, 200}, "100%,1000": {1000}, "7": {7}, "0.0001%": {1}, "64k,1M,2G": {64_000, 1_000_000, 2_000_000_000}, "1.5k": {1500},
	} {
		got, err := ParseSizes(list, 1000)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseSizes(%q) = %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"", "0", "-1", "5%%", "x", "1,,2", "NaN", "Inf", "1e30", "-5%"} {
		if got, err := ParseSizes(list, 1000); err == nil {
			t.Errorf("ParseSizes(%q) = %v, want an error", list, got)
		}
	}
}

func TestVerdict(t *testing.T) {
	report := func(results ...Result) *Report {
		r := &Report{Trace: "t", Whole: 1000, Capacities: []int{100}, Results: results}
		for _, x := range results {
			r.Policies = append(r.Policies, x.Policy)
		}
		return r
	}
	at := func(policy string, hits int) Result {
		return Result{Policy: policy, Capacity: 100, Hits: hits, HitRatio: float64(hits) / 1000}
	}
	best := report(at("tinylfu", 600), at("lru", 500), at(Optimum, 700))
	best.More = []Result{{Policy: "lru", Capacity: 400, HitRatio: 0.7}}
	bytes := report(at("lru", 500), at(Bound, 500))
	bytes.ByBytes = true
	for want, r := range map[string]*Report{
		"At 100 entries (10% of all) tinylfu has the most hits: 60.0%, 10.0 points above lru. An LRU needs 2.0 times the room for as many. The optimum is 70.0%.": best,
		"At 100 entries (10% of all) lru and lfu have the most hits: 50.0%. That is the optimum.":                                                                 report(at("lru", 500), at("lfu", 500), at(Optimum, 500)),
		"At 100 B (10% of all) lru hits 50.0%. No cache has more than 50.0%.":                                                                                     bytes,
	} {
		// Numbers are written with narrow spaces.
		if got := strings.ReplaceAll(r.Verdict(), "\u202f", " "); got != want {
			t.Errorf("Verdict = %q, want %q", got, want)
		}
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	tr := small()
	tr.Name = `<script>&"'`
	for _, byBytes := range []bool{false, true} {
		r := run(t, Config{Trace: tr, ByBytes: byBytes, Untimed: true, Policies: []string{"lru", "random"}})
		for name, svg := range map[string][]byte{"hits": r.Plot().SVG(), "bytes": r.BytePlot().SVG()} {
			requireXML(t, svg)
			require.NotContains(t, string(svg), "<script")
			for _, policy := range r.Policies {
				if policy == Optimum && name == "bytes" {
					continue
				}
				if !bytes.Contains(svg, []byte(">"+policy+"</text>")) {
					t.Errorf("%s: %s is not named at its line", name, policy)
				}
			}
			require.Contains(t, string(svg), "dashed", "the ceiling")
		}
	}
}

func requireXML(t *testing.T, text []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = Main(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), err
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.csv")
	var text strings.Builder
	text.WriteString("when,page,bytes\n")
	for i, key := range small().Keys[:5000] {
		text.WriteString(strings.Join([]string{"1", string(rune('a' + key%26)), []string{"10", "20", "30"}[i%3]}, ",") + "\n")
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	plot := filepath.Join(dir, "plot.svg")

	out, errs, err := command(t, "-trace", path, "-key", "page", "-size", "bytes", "-sizes", "10%,50%", "-policies", "lru, random", "-out", plot)
	require.NoError(t, err)
	require.Empty(t, errs, "there is no terminal to show progress on")
	out = strings.ReplaceAll(out, "\u202f", " ")
	for _, want := range []string{
		"shop: 5 000 accesses to 26 keys, read as csv\n", "Hit ratio in %", "entries  of all      lru    random   optimum", "twice the capacity", "Byte hit ratio",
		"Processor time", "At 13 entries (50% of all) ", "Plot: " + plot,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	svg, err := os.ReadFile(plot)
	require.NoError(t, err)
	requireXML(t, svg)

	// In bytes, as JSON, and without a plot.
	out, _, err = command(t, "-trace", path, "-key", "2", "-size", "3", "-bytes", "-json", "-untimed", "-sizes", "100")
	require.NoError(t, err)
	var r Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.True(t, r.ByBytes && r.Complete && r.Sized)
	require.Equal(t, append(Policies(true), Bound), r.Policies)
	require.Len(t, r.Results, len(r.Policies))

	// By default the plot is a new temporary file.
	t.Setenv("TMPDIR", dir)
	out, _, err = command(t, "-trace", path, "-key", "page", "-untimed")
	require.NoError(t, err)
	found := regexp.MustCompile(`Plot: (\S+)\n`).FindStringSubmatch(out)
	require.NotNil(t, found, out)
	require.FileExists(t, found[1])
}

func TestCommandWithoutATrace(t *testing.T) {
	if testing.Short() {
		t.Skip("replays 600 000 accesses several times")
	}
	out, _, err := command(t, "-json", "-untimed", "-policies", "tinylfu,lru", "-sizes", "5%")
	require.NoError(t, err)
	var r Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, "generated", r.Format)
	if tiny, lru := r.Results[0], r.Results[1]; tiny.HitRatio < lru.HitRatio {
		t.Errorf("on the built-in trace tinylfu has %v, lru %v: it should show what a policy can gain", tiny.HitRatio, lru.HitRatio)
	}
}

func TestCommandSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"file"}, `no argument "file"; name a trace with -trace`},
		{[]string{"-trace", "/does/not/exist"}, "/does/not/exist"},
		{[]string{"-trace", "/dev/null"}, "trace: empty"},
		{[]string{"-trace", "/dev/null", "-format", "xml"}, `-format: trace: there is no format "xml"`},
		{[]string{"-sizes", "x"}, `-sizes: size "x"`},
		{[]string{"-policies", "fifo"}, `-policies: there is no policy "fifo"; expected some of tinylfu`},
		{[]string{"-policies", "tinylfu-bytes"}, "is for capacities in bytes"},
		{[]string{"-nonsense"}, "not defined"},
	} {
		out, _, err := command(t, test.args...)
		if err == nil || !strings.Contains(err.Error(), test.want) || out != "" {
			t.Errorf("lab %v: %v, want %q; printed %q", test.args, err, test.want, out)
		}
	}
	_, usage, err := command(t, "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, usage, "go run ./examples cacheserver lab -trace FILE")
}

// A stop by Ctrl-C is no failure: what is finished is printed.
func TestCommandPrintsWhatIsFinished(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	require.NoError(t, Main(ctx, nil, &out, io.Discard))
	require.Contains(t, out.String(), "Stopped before the end")
	require.NotContains(t, out.String(), "Plot:")
}

func TestBar(t *testing.T) {
	var screen strings.Builder
	b := &bar{w: &screen}
	b.of("reading")(1, 4)
	b.of("reading")(2, 4) // too soon to be drawn
	b.clear()
	require.Equal(t, "\rreading   [==========                              ]  25%\r\x1b[K", screen.String())

	require.Nil(t, newBar(&screen).of("reading"), "no terminal, no bar")
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer file.Close()
	require.Nil(t, newBar(file).of("reading"))
}
