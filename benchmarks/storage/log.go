package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// recordLog is a log as the phases use it. Whatever goes wrong panics, except
// for what read returns.
type recordLog interface {
	append(records [][]byte) // many goroutines may do so
	flush()                  // hands what is in buffers to the system
	read(visit func(record []byte)) error
	close()
}

// logOpener opens or makes a log whose appends are durable or not.
type logOpener func(dir string, durable bool) recordLog

// alwaysSync are the logs that cannot do without.
var alwaysSync = map[string]bool{"raft-wal": true}

func init() {
	performers["commitlog"] = func(j job) report {
		if slices.Contains(j.Phases, "inspect") {
			return inspect(j)
		}
		l := &records{stage: newStage(j), open: logOpeners[j.Impl], values: newValues(j.Value)}
		l.run()
		return l.report
	}
}

// records are the phases of a log.
type records struct {
	*stage
	open   logOpener
	values values
}

func (l *records) dir(name string) string { return filepath.Join(l.job.Dir, name) }

func (l *records) run() {
	switch {
	case l.wants("fill", "fill and leave"):
		l.fill(l.wants("fill and leave"))
		return
	case l.wants("reopen", "reopen killed"):
		phase := l.job.Phases[0]
		runtime.GC()
		start := time.Now()
		log := l.open(l.dir("large"), false)
		l.report[phase] = time.Since(start).Seconds() * 1e3
		log.close()
		return
	}
	if l.wants("append") && !alwaysSync[l.job.Impl] {
		l.appends("append", 1)
	}
	if l.wants("append 100") && !alwaysSync[l.job.Impl] {
		l.appends("append 100", 100)
	}
	if l.wants("read") {
		l.reads()
	}
	l.durable()
}

// appends writes the records in calls of that many.
func (l *records) appends(phase string, size int) {
	n := l.job.Keys / size
	dir := l.dir(phase)
	log := l.open(dir, false)
	batch := make([][]byte, size)
	var before, after runtime.MemStats
	l.time(phase, n*size, false, func() {
		runtime.ReadMemStats(&before)
		for i := range n {
			for j := range batch {
				batch[j] = l.values.of(i*size + j)
			}
			log.append(batch)
		}
		log.flush()
		runtime.ReadMemStats(&after)
	})
	l.report[phase+" allocations"] = float64(after.Mallocs-before.Mallocs) / float64(n)
	if l.report[phase+" allocations"] < .01 {
		l.report[phase+" allocations"] = 0
	}
	log.close()
	l.report[phase+" disk"] = onDisk(dir) / float64(n*size*l.job.Value)
	check(os.RemoveAll(dir))
}

// reads reads what was appended in calls of 100.
func (l *records) reads() {
	dir := l.dir("read")
	log := l.open(dir, false)
	batch := make([][]byte, 100)
	for i := 0; i < l.job.Keys; i += len(batch) {
		for j := range batch {
			batch[j] = l.values.of(i + j)
		}
		log.append(batch)
	}
	log.flush()
	n, total := 0, 0
	l.time("read", l.job.Keys*l.job.Value/1e6, false, func() {
		check(log.read(func(record []byte) {
			n++
			total += len(record)
		}))
	})
	if total != l.job.Keys*l.job.Value {
		panic(fmt.Sprintf("%s: read %d bytes in %d records, want %d", l.job.Impl, total, n, l.job.Keys*l.job.Value))
	}
	// For the rate in MB/s, of bytes and not of whole megabytes.
	l.report["read"] *= float64(total) / 1e6 / float64(max(1, l.job.Keys*l.job.Value/1e6))
	log.close()
	check(os.RemoveAll(dir))
}

func (l *records) durable() {
	n := max(l.job.Ops, 64)
	syscall.Sync() // so that nothing of the phases before is written during these
	if l.wants("durable 1") {
		l.durably("durable 1", 1, n, 1)
	}
	if l.wants("durable 64") {
		l.durably("durable 64", 64, max(4, n/16), 1)
	}
	if l.wants("durable batch") {
		l.durably("durable batch", 1, max(2, n/8), 64)
		l.report["durable batch"] *= 64
	}
}

// spread is over how many logs one writer goes: how long the disk takes for a
// sync depends on where a file lies.
const spread = 8

func (l *records) durably(phase string, goroutines, n, size int) {
	logs := make([]recordLog, 1)
	if goroutines == 1 {
		logs = make([]recordLog, spread)
	}
	for i := range logs {
		logs[i] = l.open(l.dir(fmt.Sprint(phase, " ", i)), true)
	}
	l.latencies(phase, goroutines, n, func(g, i int) {
		batch := make([][]byte, size)
		for j := range batch {
			batch[j] = l.values.of((g*n+i)*size + j)
		}
		logs[i*len(logs)/n].append(batch)
	})
	for _, log := range logs {
		log.close()
	}
}

// fill writes a large log of records of 1000 bytes.
func (l *records) fill(leave bool) {
	log := l.open(l.dir("large"), false)
	values := newValues(1000)
	batch := make([][]byte, 1000)
	for written := 0; written < l.job.Large; {
		for j := range batch {
			batch[j] = values.of(written + j)
			written += len(batch[j])
		}
		log.append(batch)
	}
	log.flush()
	if leave {
		must(os.Stdout.WriteString("{}\n"))
		os.Exit(0) // without closing anything
	}
	log.close()
}

// numbered is a record that says which it is.
func numbered(i int) []byte {
	record := fmt.Appendf(nil, "<%06d>", i)
	for len(record) < 200 {
		record = binary.LittleEndian.AppendUint64(record, uint64(i+1)*0x9E3779B97F4A7C15*uint64(len(record)|1))
	}
	return record[:200]
}

const damaged = 300 // records in a log that is damaged

// inspect opens a damaged log and says what it finds.
func inspect(j job) (r report) {
	r = report{}
	defer func() {
		if recover() != nil {
			r["refused"] = 1
		}
	}()
	log := logOpeners[j.Impl](filepath.Join(j.Dir, "log"), true)
	err := log.read(func(record []byte) {
		if string(record) != string(numbered(int(r["records"]))) {
			r["wrong"]++
		}
		r["records"]++
	})
	if err != nil {
		r["refused"] = 1
	}
	return r
}
