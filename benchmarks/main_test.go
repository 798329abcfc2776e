package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func TestArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"name a package":                nil,
		`no benchmarks of package "no"`: {"no"},
		"-run: error parsing regexp":    {"-run", "(", "lru"},
		"flag provided but not defined": {"-nosuch"},
		"-write replaces all rows":      {"-write", "-run", "x", "lru"},
	} {
		var out, errs bytes.Buffer
		if err := command.Run(args, &out, &errs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run(%q) = %v, want %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := command.Run([]string{"-list"}, &out, &out); err != nil || !strings.Contains(out.String(), "tinylfu") {
		t.Errorf("-list: %v, %q", err, out.String())
	}
}

// From the command line to a line of JSON.
func TestOneRow(t *testing.T) {
	var out, errs bytes.Buffer
	if err := command.Run([]string{"-json", "-short", "-rounds", "1", "-run", "^get, all hits, 2", "lru"}, &out, &errs); err != nil {
		t.Fatal(err)
	}
	var row harness.Row
	if err := json.Unmarshal(out.Bytes(), &row); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if row.Package != "lru" || row.Unit != harness.CPUTime || row.Ours <= 0 || row.Ratio <= 0 || row.BestPeer == "" || len(row.Verdicts) != 1 || row.Figures[0].Timing == nil || row.Figures[0].Timing.Wall <= 0 || row.Rounds != 1 {
		t.Errorf("%+v", row)
	}
}

func init() {
	harness.Register(harness.Suite{Package: "zz-test", Doc: "a suite for the tests", Run: func(s *harness.Session) {
		for _, name := range []string{"one", "two"} {
			s.Value(harness.Spec{Name: name, Unit: "B", Bars: []harness.Bar{harness.AtMost(3)}}, func() []harness.Figure {
				return []harness.Figure{{Name: harness.Ours, Value: 2}, {Name: "peer", Value: 4}}
			})
		}
	}})
}

// Results are written into the repository, from wherever in it.
func TestWrite(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"benchmarks", "lru"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "go.work"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "benchmarks", "RESULTS.md")
	if err := os.WriteFile(path, []byte("## lru\n\nkept\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(root, "lru"))
	var out bytes.Buffer
	if err := command.Run([]string{"-short", "-write", "./zz-test"}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "0.50 of peer 4") || !strings.Contains(got, "2 of 2 rows with a bar meet it") {
		t.Errorf("printed %s", got)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n## lru\n\nkept\n", "\n## zz-test\n\n`go run ./benchmarks -short -write ./zz-test`, 3 rounds, ", "| one | 2 | B | peer | 4 | 0.50 | ≤ 3 | 2 | met |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("RESULTS.md without %q:\n%s", want, text)
		}
	}
	t.Chdir(t.TempDir())
	if err := command.Run([]string{"-write", "zz-test"}, &out, &out); err == nil {
		t.Error("no error outside the repository")
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := command.Run([]string{"-list", "-run", "two", "zz-test"}, &out, &out); err != nil || !strings.Contains(out.String(), "two") || !strings.Contains(out.String(), "≤ 3") || strings.Contains(out.String(), "one") {
		t.Errorf("%v, %q", err, out.String())
	}
}

// Every row of every suite can be measured, and every implementation takes
// part in it.
func TestEveryRow(t *testing.T) {
	for _, suite := range harness.Suites() {
		t.Run(suite.Package, func(t *testing.T) {
			rows := 0
			harness.Measure(suite, harness.Config{Size: harness.Tiny}, func(row harness.Row) {
				rows++
				var line bytes.Buffer
				if err := row.WriteJSON(&line); err != nil {
					t.Errorf("%s: %v", row.Name, err)
				}
				if row.Package != suite.Package || row.Unit == "" || row.Figures[0].Name != harness.Ours {
					t.Errorf("row %+v", row)
				}
			})
			if rows == 0 {
				t.Error("no rows")
			}
		})
	}
}
