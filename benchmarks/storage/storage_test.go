package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func TestMain(m *testing.M) {
	if !work() {
		os.Exit(m.Run())
	}
}

// Every row of every suite can be measured, and every implementation takes
// part in it.
func TestEveryRow(t *testing.T) {
	for _, suite := range harness.Suites() {
		t.Run(suite.Package, func(t *testing.T) {
			rows := map[string]bool{}
			harness.Measure(suite, harness.Config{Size: harness.Tiny}, func(row harness.Row) {
				if rows[row.Name] {
					t.Errorf("two rows %q", row.Name)
				}
				rows[row.Name] = true
				var line bytes.Buffer
				if err := row.WriteJSON(&line); err != nil {
					t.Errorf("%s: %v", row.Name, err)
				}
				if row.Package != suite.Package || row.Unit == "" || row.Figures[0].Name != harness.Ours || len(row.Figures) < 2 {
					t.Errorf("row %+v", row)
				}
			})
			if len(rows) == 0 {
				t.Error("no rows")
			}
		})
	}
}

// The command of the other module lists what is here.
func TestSuites(t *testing.T) {
	for _, suite := range harness.Suites() {
		if command.Elsewhere[suite.Package] != suite.Doc || suite.Doc == "" {
			t.Errorf("suite %q is not in command.Elsewhere", suite.Package)
		}
	}
	if len(harness.Suites()) != len(command.Elsewhere) {
		t.Errorf("%d suites, %d in command.Elsewhere", len(harness.Suites()), len(command.Elsewhere))
	}
}
