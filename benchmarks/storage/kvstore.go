package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func init() {
	harness.Register(harness.Suite{Package: "kvstore", Doc: command.Elsewhere["kvstore"], Run: func(s *harness.Session) {
		stores(s, job{Keys: s.Pick(1_000_000, 50_000, 2000), Value: 100, Ops: s.Pick(100_000, 10_000, 100)}, 0)
		stores(s, job{Keys: s.Pick(200_000, 10_000, 500), Value: 1000, Ops: s.Pick(50_000, 2000, 100)}, 1)
		linked(s)
	}})
}

// phasesOf says which phases yield a metric.
var kvPhases = map[string][]string{
	"load": {"load"}, "load CPU": {"load"}, "peak": {"load"}, "empty": {"empty"},
	"disk loaded": {"reopen"}, "reopen": {"reopen"}, "memory": {"reopen"}, "goroutines": {"reopen"},
	"put": {"put"}, "put CPU": {"put"}, "get": {"get"}, "get CPU": {"get"}, "get allocations": {"get"}, "get 8": {"get"}, "miss": {"get"},
	"scan": {"scan"}, "range": {"range"}, "overwrite": {"overwrite"}, "disk overwritten": {"overwrite"},
	"durable 1": {"durable 1"}, "durable 1 p99": {"durable 1"}, "durable 64": {"durable 64"}, "durable 64 p99": {"durable 64"}, "durable batch": {"durable batch"},
	"reopen killed": {"reopen killed"},
}

// rosedb has what was published of rosedb, for 100 B and 1 KB values. The module
// proxy refuses it. It is of the full size.
var rosedb = map[string][2]float64{
	"load": {552_000, 219_000}, "put": {171_000, 155_000}, "overwrite": {218_000, 156_000},
	"durable 1": {3700, 4400}, "durable 64": {4300, 3600}, "durable batch": {295_000, 135_000},
	"get": {60_000, 67_000}, "get 8": {109_000, 117_000}, "miss": {220_000, 465_000},
	"scan": {103_000, 89_000}, "range": {1000, 920},
	"disk loaded": {1.36, 1.08}, "disk overwritten": {2.36, 2.07}, "reopen": {3080, 934},
}

// stores measures the stores with values of one size.
func stores(s *harness.Session, j job, published int) {
	label := fmt.Sprintf("%d k keys × %d B", j.Keys/1000, j.Value)
	full := s.Pick(1, 0, 0) == 1
	killed := j
	killed.Before = "leave"
	l := lab{
		suite: "kvstore", impls: []string{harness.Ours, compressed, "pebble", "badger", "bbolt", "goleveldb", rawLoop},
		jobs: map[string]job{"main": j, "killed": killed}, only: map[string][]string{rawLoop: {"durable 1"}, compressed: {"load", "reopen", "get", "scan", "overwrite"}},
	}
	var rows []row
	add := func(name, metric, unit string, higher bool, bars ...harness.Bar) {
		r := row{of: "main", metric: metric, spec: harness.Spec{Group: label, Name: name + ", " + label, Unit: unit, Higher: higher, Bars: bars}}
		if value, ok := rosedb[metric]; ok && full {
			r.peers = []harness.Figure{{Name: "rosedb", Value: value[published], Published: true}}
		}
		if metric == "reopen killed" {
			r.of = "killed"
		}
		if strings.HasSuffix(name, "LZ4") {
			r.ours = compressed
		}
		rows = append(rows, r)
	}
	writes(add)
	reads(add)
	space(add, j)
	l.measure(s, rows, kvPhases)
}

type adder func(name, metric, unit string, higher bool, bars ...harness.Bar)

func writes(add adder) {
	const rate, cpu = "keys/s", "CPU ns/op"
	add("load in order, batches of 1000, no sync", "load", rate, true)
	add("load in order: processor time with what follows", "load CPU", cpu, false)
	add("load in order: processor time with what follows, LZ4", "load CPU", cpu, false)
	add("random put, no sync", "put", rate, true, harness.AtLeast(1.3).Of("pebble"))
	add("random put: processor time with what follows", "put CPU", cpu, false)
	add("random overwrite, batches of 100, no sync", "overwrite", rate, true)
	add("durable put, 1 writer", "durable 1", rate, true, harness.AtLeast(.91).Of(rawLoop))
	add("durable put, 1 writer, p99", "durable 1 p99", "µs", false)
	add("durable put, 64 writers", "durable 64", rate, true, harness.AtLeast(1).Of("pebble"), harness.AtLeast(10).Of("badger", "bbolt"))
	add("durable put, 64 writers, p99", "durable 64 p99", "µs", false)
	add("durable batch of 1000", "durable batch", rate, true)
}

func reads(add adder) {
	const rate = "keys/s"
	add("random get", "get", rate, true, harness.AtLeast(1.2).Of("bbolt"))
	add("random get: processor time", "get CPU", "CPU ns/op", false)
	add("random get: allocations", "get allocations", "allocs/op", false, harness.AtMost(0))
	add("random get, LZ4", "get", rate, true)
	add("random get, 8 goroutines", "get 8", rate, true, harness.AtLeast(1.5).Of("bbolt"))
	add("random get of what is not there", "miss", rate, true, harness.AtLeast(1.2).Of("pebble", "badger", "bbolt", "goleveldb"))
	add("full scan", "scan", rate, true, harness.AtLeast(1.5).Of("pebble"))
	add("full scan, LZ4", "scan", rate, true)
	add("range of 100", "range", "ranges/s", true, harness.AtLeast(1.5).Of("pebble"))
}

func space(add adder, j job) {
	add("disk after load", "disk loaded", "× live", false)
	add("disk after load, LZ4", "disk loaded", "× live", false, harness.AtMost(1))
	add("disk after overwriting all", "disk overwritten", "× live", false, harness.AtMost(1.5))
	add("disk after overwriting all, LZ4", "disk overwritten", "× live", false, harness.AtMost(1.5))
	add("opening it again", "reopen", "ms", false, harness.AtMost(100))
	add("opening it after a killed process", "reopen killed", "ms", false, harness.AtMost(1000))
	add("memory when opened again", "memory", "B/key", false, harness.AtMost(40+keySize))
	add("peak of memory during the load", "peak", "MB", false)
	if j.Value == 100 {
		add("disk of a store with one key", "empty", "KiB", false, harness.AtMost(64))
		add("goroutines of an idle store", "goroutines", "goroutines", false, harness.AtMost(0))
	}
}

// linked measures what a program grows by.
func linked(s *harness.Session) {
	spec := harness.Spec{Group: "footprint", Name: "linked program that opens, puts and gets", Unit: "MB", Bars: []harness.Bar{harness.AtMost(3)}}
	s.Value(spec, func() (figures []harness.Figure) {
		for _, name := range []string{harness.Ours, "pebble", "badger", "bbolt", "goleveldb"} {
			figures = append(figures, harness.Figure{Name: name, Value: linkedSize(name)})
		}
		return figures
	})
}

func linkedSize(name string) float64 {
	report := inScratch(func(dir string) report {
		c := goCommand("build", "-ldflags=-s -w", "-o", dir+"/program", fmt.Sprint("./internal/link/", name))
		if out, err := c.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("linking with %s: %v: %s", name, err, out))
		}
		return report{"size": float64(must(os.Stat(dir+"/program")).Size()) / 1e6}
	})
	return report["size"]
}
