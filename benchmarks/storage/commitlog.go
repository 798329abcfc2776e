package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

// logPeers are those that keep records apart and find them again.
var logPeers = []string{"tidwall/wal", "raft-wal", "etcd wal"}

func init() {
	harness.Register(harness.Suite{Package: "commitlog", Doc: command.Elsewhere["commitlog"], Run: func(s *harness.Session) {
		large := s.Pick(1<<30, 64<<20, 1<<20)
		logs(s, job{Keys: s.Pick(2_000_000, 600_000, 1000), Value: 100, Ops: s.Pick(4000, 400, 64), Large: large}, 0)
		logs(s, job{Keys: s.Pick(400_000, 80_000, 1000), Value: 1000, Ops: s.Pick(4000, 400, 64), Large: large}, 1)
		damages(s)
	}})
}

// logPhases says which phases yield a metric.
var logPhases = map[string][]string{
	"append": {"append"}, "append allocations": {"append"}, "append disk": {"append"},
	"append 100": {"append 100"}, "append 100 disk": {"append 100"}, "read": {"read"},
	"durable 1": {"durable 1"}, "durable 1 p50": {"durable 1"}, "durable 1 p99": {"durable 1"},
	"durable 64": {"durable 64"}, "durable 64 p50": {"durable 64"}, "durable 64 p99": {"durable 64"},
	"durable batch": {"durable batch"}, "reopen": {"reopen"}, "reopen killed": {"reopen killed"},
}

// publishedLogs has what was published of logs that the module proxy refuses, for
// 100 B and 1 KB records.
var publishedLogs = map[string]map[string][2]float64{
	"rosedb/wal": {
		"append": {734_000, 340_000}, "append 100": {2_670_000, 345_000}, "durable 1": {6530, 5200}, "durable 1 p99": {266, 326},
		"durable 64": {6250, 4500}, "durable 64 p50": {10_900, 14_400}, "read": {47, 324}, "append disk": {1.11, 1},
	},
	"go-diskqueue": {
		"append": {350_000, 200_000}, "durable 1": {1780, 1770}, "durable 1 p99": {1041, 870},
		"durable 64": {1744, 1636}, "durable 64 p50": {37_000, 39_600}, "read": {66, 344}, "append disk": {1.01, 1},
	},
}

// logNotes say why a bar may be short, and what was tried.
var logNotes = map[string]string{
	"durable 1":  "one write and one sync a record, here as there: the disk decides, and the order changes from run to run; tried: zeros written ahead, which saves the journal of the file system",
	"durable 64": "the more writers wait when a sync begins the better; on a slow disk that is all of them, on two processors some are late",
	"read":       "by Scan, whose slices are good until the next step; those of tidwall/wal alias its cache as well, and it has no checksums: where memory is fast, ours are what is left; tried: decoding by words instead of bytes",
}

const throughNote = "a call of the system a record, here as there; the header of a batch, its checksum and the time of the record come on top"

// logs measures logs with records of one size.
func logs(s *harness.Session, j job, published int) {
	label := fmt.Sprintf("records of %d B", j.Value)
	reopen, killed := j, j
	reopen.Before, killed.Before = "fill", "fill and leave"
	l := lab{
		suite: "commitlog", impls: slices.Concat([]string{harness.Ours, writeThrough}, logPeers, []string{"write", "buffered write"}),
		jobs: map[string]job{"main": j, "reopen": reopen, "reopen killed": killed},
		only: map[string][]string{writeThrough: {"append"}, "buffered write": {"append", "append 100"}},
	}
	var rows []row
	add := func(name, metric, unit string, higher bool, bars ...harness.Bar) {
		r := row{of: "main", metric: metric, spec: harness.Spec{Group: label, Name: name + ", " + label, Unit: unit, Higher: higher, Bars: bars}}
		if strings.HasPrefix(metric, "reopen") {
			r.of = metric
		}
		r.spec.Note = logNotes[metric]
		if strings.HasSuffix(name, "write-through") {
			r.ours, r.spec.Note = writeThrough, throughNote
		}
		for _, name := range []string{"rosedb/wal", "go-diskqueue"} {
			if value, ok := publishedLogs[name][metric]; ok && s.Pick(1, 0, 0) == 1 {
				r.peers = append(r.peers, harness.Figure{Name: name, Value: value[published], Published: true})
			}
		}
		rows = append(rows, r)
	}
	appendRows(add)
	durableRows(add)
	add("sequential read, with checksums where there are any", "read", "MB/s", true, harness.AtLeast(2).Of("tidwall/wal"))
	if published == 0 {
		size := fmt.Sprintf("opening %d MiB", j.Large>>20)
		add(size, "reopen", "ms", false, harness.AtMost(5))
		add(size+" after a killed process", "reopen killed", "ms", false)
	}
	l.measure(s, rows, logPhases)
}

func appendRows(add adder) {
	const rate = "records/s"
	add("append, no sync", "append", rate, true, harness.AtLeast(5).Of("tidwall/wal"))
	add("append, no sync, write-through", "append", rate, true, harness.AtLeast(1).Of("tidwall/wal", "etcd wal"))
	add("append: allocations", "append allocations", "allocs/op", false, harness.AtMost(0))
	add("append: disk", "append disk", "× records", false)
	add("append 100 at a time, no sync", "append 100", rate, true)
	add("append 100 at a time: disk", "append 100 disk", "× records", false)
}

func durableRows(add adder) {
	const rate = "records/s"
	add("durable append, 1 writer", "durable 1", rate, true, harness.AtLeast(1).Of("etcd wal"))
	add("durable append, 1 writer, p50", "durable 1 p50", "µs", false)
	add("durable append, 1 writer, p99", "durable 1 p99", "µs", false)
	add("durable append, 64 writers", "durable 64", rate, true, harness.AtLeast(20).Of(logPeers...))
	add("durable append, 64 writers, p50", "durable 64 p50", "µs", false)
	add("durable append, 64 writers, p99", "durable 64 p99", "µs", false)
	add("durable append of 64 at a time", "durable batch", rate, true)
}

// A damageKind is what happens to a log of numbered records, and what is right then.
type damageKind struct {
	name string
	// end says that the damage is what a crash can do: the log opens and has all
	// that is left. Otherwise it has to be reported.
	end   bool
	least int // records that are left
	do    func(data []byte) []byte
}

func damageKinds() []damageKind {
	last, middle := numbered(damaged-1), numbered(damaged/2)
	end := func(data []byte) int { // of what was written, before the zeros that were reserved
		return min(len(data), (len(bytes.TrimRight(data, "\x00"))+7)/8*8)
	}
	over := func(data []byte, at int, with []byte) []byte {
		return append(bytes.Clone(data[:at]), append(bytes.Clone(with), data[min(len(data), at+len(with)):]...)...)
	}
	garbage := make([]byte, 100)
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	return []damageKind{
		{"last record torn", true, damaged - 1, func(data []byte) []byte {
			return data[:bytes.Index(data, last)+len(last)/2]
		}},
		{"end of the last record zeros", true, damaged - 1, func(data []byte) []byte {
			return over(data, bytes.Index(data, last)+len(last)/2, make([]byte, len(last)/2))
		}},
		{"garbage after the end", true, damaged, func(data []byte) []byte { return over(data, end(data), garbage) }},
		{"zeros after the end", true, damaged, func(data []byte) []byte { return over(data, end(data), make([]byte, 4096)) }},
		{"bit flipped in the middle", false, 0, func(data []byte) []byte {
			at := bytes.Index(data, middle) + len(middle)/2
			return over(data, at, []byte{data[at] ^ 4})
		}},
		{"sector zeroed in the middle", false, 0, func(data []byte) []byte {
			return over(data, bytes.Index(data, middle)/512*512, make([]byte, 512))
		}},
	}
}

// damages counts the kinds of damage that each log copes with.
func damages(s *harness.Session) {
	kinds := damageKinds()
	spec := harness.Spec{
		Group: "damage", Name: "kinds of damage handled right", Unit: fmt.Sprint("of ", len(kinds)), Higher: true, Bars: []harness.Bar{harness.AtLeast(float64(len(kinds)))},
		Note: "after 300 durable records: a torn end is cut off with no other record lost or invented, damage below what was durable is reported",
	}
	s.Value(spec, func() (figures []harness.Figure) {
		for _, impl := range slices.Concat([]string{harness.Ours}, logPeers) {
			right := 0.
			for _, kind := range kinds {
				if inScratch(func(dir string) report { return damageOne(dir, impl, kind) })["right"] == 1 {
					right++
				}
			}
			figures = append(figures, harness.Figure{Name: impl, Value: right})
		}
		return figures
	})
}

func damageOne(dir, impl string, kind damageKind) report {
	path := filepath.Join(dir, "log")
	log := logOpeners[impl](path, true)
	for i := range damaged {
		log.append([][]byte{numbered(i)})
	}
	if impl == "raft-wal" {
		defer log.close() // it keeps its lock, so the copy is looked at
	}
	copied := filepath.Join(dir, "copy")
	for name, data := range logFiles(path) {
		if bytes.Contains(data, numbered(damaged-1)) {
			data = kind.do(data)
		}
		to := filepath.Join(copied, "log", must(filepath.Rel(path, name)))
		check(os.MkdirAll(filepath.Dir(to), 0o750))
		check(os.WriteFile(to, data, 0o600))
	}
	if impl != "raft-wal" {
		log.close()
	}
	found, err := tryPerform(job{Suite: "commitlog", Impl: impl, Dir: copied, Phases: []string{"inspect"}})
	refused := err != nil || found["refused"] == 1
	n := int(found["records"])
	if found["wrong"] > 0 || kind.end && (refused || n < kind.least || n > damaged) || !kind.end && !refused {
		return nil
	}
	return report{"right": 1}
}
