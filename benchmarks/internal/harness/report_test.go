package harness

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// sample are rows of every kind: timed, with and without bars and peers, with
// published figures, infinite and with a note.
func sample() []Row {
	timed := Timings([]Samples{
		{Ours, []Sample{{CPU: 20, Wall: 11}, {CPU: 22, Wall: 12}, {CPU: 30, Wall: 15}}},
		{"peer", []Sample{{CPU: 80, Wall: 41, Allocs: 1, Bytes: 16}, {CPU: 110, Wall: 55, Allocs: 1, Bytes: 16}, {CPU: 100, Wall: 52, Allocs: 1, Bytes: 16}}},
		{"other", []Sample{{CPU: 44, Wall: 24}, {CPU: 55, Wall: 30}, {CPU: 60, Wall: 31}}},
	})
	return []Row{
		newRow("pkg", Spec{Group: "Time", Name: "get, 2 goroutines", Unit: CPUTime, Bars: []Bar{AtMost(.4).Of("peer"), AtMost(.4).Of()}}, 3, timed),
		newRow("pkg", Spec{Group: "Time", Name: "a | b", Unit: CPUTime}, 3, timed),
		newRow("pkg", Spec{Group: "Memory", Name: "filled", Unit: "B/entry", Bars: []Bar{AtMost(41)}}, 1,
			[]Figure{{Name: Ours, Value: 36.93}, {Name: "peer", Value: 117.71}, {Name: "elsewhere", Value: 40.9, Published: true}}),
		newRow("pkg", Spec{Group: "Memory", Name: "allocations", Unit: "allocs/op", Bars: []Bar{AtMost(0)}}, 1,
			[]Figure{{Name: Ours, Value: 1}, {Name: "peer", Value: 0}}),
		newRow("pkg", Spec{Group: "Exactness", Name: "distance", Unit: "points", Note: "3.00 %, the reference 3.00 %"}, 1, []Figure{{Name: Ours, Value: .0035}}),
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not %s, which go test -update would write:\n%s", path, got)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	for _, row := range sample() {
		if err := row.WriteText(&b); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "rows.txt", b.String()+Summary(sample())+"\n")
}

func TestSection(t *testing.T) {
	about := About{
		Command: "go run ./benchmarks -write pkg", Rounds: 3, Go: "go1.26.0 linux/amd64", Processors: 2, Model: "Abacus",
		When: time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC),
	}
	golden(t, "section.md", Section("pkg", about, sample()))
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		x    float64
		want string
	}{
		{0, "0"},
		{12, "12"},
		{-3, "-3"},
		{.5, "0.50"},
		{-.5, "-0.50"},
		{99.999, "100.00"},
		{123.45, "123.5"},
		{12345.6, "12346"},
		{.00346, "0.0035"},
		{1.7976931348623157e308, "∞"},
		{-1.7976931348623157e308, "-∞"},
	} {
		if got := number(test.x); got != test.want {
			t.Errorf("number(%v) = %q, want %q", test.x, got, test.want)
		}
	}
}
