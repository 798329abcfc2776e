package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func init() {
	harness.Register(harness.Suite{Package: "examples/kafka", Doc: command.Elsewhere["examples/kafka"], Run: brokers})
}

// A brokerResult is a line of what the system's own comparison prints.
type brokerResult struct {
	Broker                  string
	Round                   int
	Produce100, Produce1000 float64
	Consume100, Consume1000 float64
	OneByOne                float64
	RSS                     float64
}

const (
	ourBroker   = "ashlar, sync before acknowledgement"
	fakeBroker  = "kfake, data directory"
	fakeSyncing = "kfake, SyncWrites"
)

// brokers has the system measure itself beside franz-go's fake broker: a process
// for each, under the same client.
func brokers(s *harness.Session) {
	type row struct {
		spec  harness.Spec
		value func(brokerResult) float64
	}
	var rows []row
	add := func(name, unit, note string, higher bool, value func(brokerResult) float64, bars ...harness.Bar) {
		spec := harness.Spec{Group: "one broker, 6 partitions, franz-go as the client, acks=all, synced before it acknowledges", Name: name, Unit: unit, Higher: higher, Bars: bars, Note: note}
		if s.Want(spec) {
			rows = append(rows, row{spec, value})
		}
	}
	const (
		rate    = "records/s"
		syncing = "here every acknowledgement waits for a sync, which the fake with a data directory never makes; the client takes most of the processors, and the copy into the page cache, which both make, most of ours; gained by batches of 256 KiB and more that are written from where they were received; tried without gain: a goroutine that receives ahead, writing during the sync before"
		single  = "a sync and a round trip a record: the slower the sync, the nearer the two"
	)
	bar := harness.AtLeast(1).Of(fakeBroker)
	add("produce records of 100 B", rate, syncing, true, func(r brokerResult) float64 { return r.Produce100 }, bar)
	add("produce records of 1000 B", rate, syncing, true, func(r brokerResult) float64 { return r.Produce1000 }, bar)
	add("consume records of 100 B", rate, "", true, func(r brokerResult) float64 { return r.Consume100 }, bar)
	add("consume records of 1000 B", rate, "", true, func(r brokerResult) float64 { return r.Consume1000 }, bar)
	add("produce one record of 100 B at a time", rate, single, true, func(r brokerResult) float64 { return r.OneByOne }, harness.AtLeast(3).Of(fakeSyncing))
	add("resident memory after that", "MB", "", false, func(r brokerResult) float64 { return r.RSS })
	if len(rows) == 0 {
		return
	}
	results := compareBrokers(s.Rounds(), s.Pick(800, 100, 1), s.Pick(2000, 1000, 50))
	for _, r := range rows {
		s.Repeated(r.spec, func(round int) (figures []harness.Figure) {
			for _, name := range []string{ourBroker, fakeBroker, fakeSyncing} {
				i := slices.IndexFunc(results, func(r brokerResult) bool { return r.Broker == name && r.Round == round })
				if i < 0 {
					panic(fmt.Sprintf("no result of %q in round %d", name, round))
				}
				figures = append(figures, harness.Figure{Name: name, Value: r.value(results[i])})
			}
			figures[0].Name = harness.Ours
			return figures
		})
	}
}

func compareBrokers(rounds, megabytes, milliseconds int) (results []brokerResult) {
	inScratch(func(dir string) report {
		program := filepath.Join(dir, "examples")
		build := goCommand("build", "-o", program, ".")
		build.Dir = filepath.Join(build.Dir, "..", "..", "examples")
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("build the examples: %v: %s", err, out))
		}
		compare := goCommand()
		compare.Path, compare.Err = program, nil
		compare.Args = []string{program, "kafka", "compare", "-json", "-dir", dir, fmt.Sprint("-rounds=", rounds), fmt.Sprint("-mb=", megabytes), fmt.Sprintf("-single=%dms", milliseconds)}
		var stderr bytes.Buffer
		compare.Stderr = &stderr
		out, err := compare.Output()
		if err != nil {
			panic(fmt.Sprintf("kafka compare: %v: %s", err, stderr.Bytes()))
		}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var r brokerResult
			if err := d.Decode(&r); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				panic(err)
			}
			results = append(results, r)
		}
	})
	return results
}
