package main

import (
	"context"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/commitlog"
)

// writeThrough is our log when every append is handed to the system; rows that
// are about it say so.
const writeThrough = harness.Ours + ", write-through"

func init() {
	logOpeners[harness.Ours] = func(dir string, durable bool) recordLog { return openOurLog(dir, durable, &commitlog.Options{}) }
	logOpeners[writeThrough] = func(dir string, durable bool) recordLog {
		return openOurLog(dir, durable, &commitlog.Options{WriteThrough: true})
	}
}

type ourLog struct {
	log  *commitlog.Log
	many []commitlog.Record // for one goroutine that appends several
}

func openOurLog(dir string, durable bool, opts *commitlog.Options) recordLog {
	if !durable {
		opts.Sync = commitlog.SyncNever
	}
	return &ourLog{log: must(commitlog.Open(dir, opts))}
}

func (l *ourLog) append(records [][]byte) {
	if len(records) == 1 {
		must(l.log.Append(context.Background(), commitlog.Record{Value: records[0]}))
		return
	}
	l.many = l.many[:0]
	for _, record := range records {
		l.many = append(l.many, commitlog.Record{Value: record})
	}
	must(l.log.Append(context.Background(), l.many...))
}

func (l *ourLog) read(visit func([]byte)) error {
	for record, err := range l.log.Scan(0) {
		if err != nil {
			return err
		}
		visit(record.Value)
	}
	return nil
}

// flush waits until what was appended is in the system's hands, by asking for the
// last record.
func (l *ourLog) flush() {
	if end := l.log.End(); end > 0 {
		check(l.log.Wait(context.Background(), end-1, false))
	}
}

func (l *ourLog) close() { check(l.log.Close()) }
