package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

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
		if err := run(args, &out, &errs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("run(%q) = %v, want %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run([]string{"-list"}, &out, &out); err != nil || !strings.Contains(out.String(), "tinylfu") {
		t.Errorf("-list: %v, %q", err, out.String())
	}
}

// From the command line to a line of JSON.
func TestOneRow(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run([]string{"-json", "-short", "-rounds", "1", "-run", "^get, all hits, 2", "lru"}, &out, &errs); err != nil {
		t.Fatal(err)
	}
	var row harness.Row
	if err := json.Unmarshal(out.Bytes(), &row); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if row.Package != "lru" || row.Unit != harness.CPUTime || row.Ours <= 0 || row.Ratio <= 0 || row.BestPeer == "" || len(row.Verdicts) != 1 || row.Rounds != 1 {
		t.Errorf("%+v", row)
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
