package harness

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	peers := []Figure{{Name: "slow", Value: 100}, {Name: "fast", Value: 40}}
	for _, test := range []struct {
		ours  float64
		bar   Bar
		best  string
		ratio float64
		met   bool
	}{
		{20, Bar{}, "fast", .5, true},
		{20, Bar{Ratio: .5}, "fast", .5, true},
		{30, Bar{Ratio: .5}, "fast", .75, false},
		{30, Bar{Ratio: .5, Against: "slow"}, "slow", .3, true},
		{30, Bar{Value: 41}, "fast", .75, true},
		{42, Bar{Value: 41}, "fast", 1.05, false},
		{99, Bar{Value: 48.6, AtLeast: true}, "slow", .99, true},
		{48, Bar{Value: 48.6, AtLeast: true}, "slow", .48, false},
		{110, Bar{Ratio: 1, Against: "slow", AtLeast: true}, "slow", 1.1, true},
		{0, Zero, "fast", 0, true},
		{1, Zero, "fast", .025, false},
	} {
		row := Row{Ours: test.ours, Peers: peers}
		row.Judge(test.bar)
		if row.BestPeer != test.best || math.Abs(row.Ratio-test.ratio) > 1e-9 || row.Met != test.met {
			t.Errorf("%v against bar %q: %s %.3f met %v, want %s %.3f met %v", test.ours, test.bar, row.BestPeer, row.Ratio, row.Met, test.best, test.ratio, test.met)
		}
	}
	row := Row{}
	row.Judge(Bar{Ratio: .5})
	if row.Met {
		t.Error("a bar against peers is met without any")
	}
}

func TestMedianAndSpread(t *testing.T) {
	if m := Median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("Median = %v", m)
	}
	if m := Median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("Median = %v", m)
	}
	if s := Spread([]float64{1, 2, 4}); s != 1.5 {
		t.Errorf("Spread = %v", s)
	}
}

// Every implementation takes its turns, and the work is counted.
func TestTime(t *testing.T) {
	ran := map[string]int{}
	impl := func(name string) Impl {
		return Impl{Name: name, Start: func() (func(int), func()) {
			return func(n int) { ran[name] += n }, func() { ran[name+" stopped"]++ }
		}}
	}
	row := Time(Env{Rounds: 3}, "pkg", "row", 400, []Impl{impl(Ours), impl("peer")}, Bar{})
	if ran[Ours] != 3*400+100 || ran["peer"] != 3*400+100 || ran["peer stopped"] != 1 {
		t.Errorf("ran %v", ran)
	}
	if row.Rounds != 3 || row.BestPeer != "peer" {
		t.Errorf("row %+v", row)
	}
}

func TestJSONIsOneLineWithTheKeysPromised(t *testing.T) {
	var b bytes.Buffer
	row := Row{Package: "lru", Name: "get", Peers: []Figure{{Name: "x", Value: 1}}}
	row.WriteJSON(&b)
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("%q", b.String())
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"package", "row", "unit", "ours", "peer", "best_peer", "ratio", "bar", "met", "rounds", "spread"} {
		if _, ok := got[key]; !ok {
			t.Errorf("no key %q in %s", key, b.String())
		}
	}
}

// Writing one package leaves the sections of the others as they are.
func TestMerge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "RESULTS.md")
	section := func(pkg, name string) string { return Section(pkg, "cmd", 3, []Row{{Package: pkg, Name: name}}) }
	for _, step := range []map[string]string{{"lru": section("lru", "old")}, {"cache": section("cache", "kept")}, {"lru": section("lru", "new")}} {
		if err := Merge(path, step); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.Contains(text, "| old |") || !strings.Contains(text, "| new |") || !strings.Contains(text, "| kept |") || strings.Index(text, "## cache") > strings.Index(text, "## lru") {
		t.Errorf("RESULTS.md:\n%s", text)
	}
}

func TestAllocsAndHeap(t *testing.T) {
	var sink []byte
	if a := Allocs(1000, func(n int) {
		for range n {
			sink = make([]byte, 64)
		}
	}); a < .9 || a > 1.5 {
		t.Errorf("Allocs = %v of one each", a)
	}
	_ = sink
	if b, _ := HeapAfter(func() any { return make([]byte, 1<<20) }); b < 1<<20 || b > 2<<20 {
		t.Errorf("HeapAfter = %v of 1 MiB", b)
	}
}
