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
		"name a package":        nil,
		`no package "nosuch"`:   {"nosuch"},
		"-run":                  {"-run", "(", "lru"},
		"flag provided but not": {"-nosuch"},
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

// One quick row of a package, from the command line to the line of JSON.
func TestOneRow(t *testing.T) {
	var out, errs bytes.Buffer
	if err := run([]string{"-json", "-short", "-run", "over exact LRU, 4096 entries, one shard", "lru"}, &out, &errs); err != nil {
		t.Fatal(err)
	}
	var row harness.Row
	if err := json.Unmarshal(out.Bytes(), &row); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if row.Package != "lru" || row.Ours != 0 || !row.Met {
		t.Errorf("one shard must be exact: %+v", row)
	}
}

// Every peer runs every workload: a smoke test of the adapters.
func TestEveryMakerRuns(t *testing.T) {
	for _, m := range append([]maker{ours("lru"), ours("lfu"), ours("random"), ours("tinylfu"), otterSync}, peers...) {
		c, stop := m.make(100)
		for _, w := range workloads {
			w.universe = 1000
			w.work(c, zipfKeys(1, 500, w.universe), 1000)
		}
		stop()
	}
}
