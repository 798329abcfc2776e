package commitlog_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ashlar-go/ashlar/commitlog"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for name, opts := range map[string]commitlog.Options{
			"never":   {Sync: commitlog.SyncNever},
			"through": {Sync: commitlog.SyncNever, WriteThrough: true},
			"each":    {Sync: commitlog.SyncEach},
		} {
			b.Run(fmt.Sprintf("impl=ashlar/sync=%s/size=%d", name, size), func(b *testing.B) {
				l := openBench(b, opts)
				r := commitlog.Record{Value: make([]byte, size)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Append(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("impl=ashlar/sync=each/writers=%d/size=100", writers), func(b *testing.B) {
			l := openBench(b, commitlog.Options{})
			b.SetParallelism(writers)
			var failed atomic.Pointer[error]
			b.RunParallel(func(pb *testing.PB) {
				r := commitlog.Record{Value: make([]byte, 100)}
				for pb.Next() {
					if _, err := l.Append(b.Context(), r); err != nil {
						failed.Store(&err)
					}
				}
			})
			if err := failed.Load(); err != nil {
				b.Fatal(*err)
			}
			b.ReportMetric(float64(b.N)/float64(l.Stats().Syncs), "records/sync")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{100, 1024} {
		for _, reuse := range []bool{false, true} {
			name := map[bool]string{false: "Records", true: "Scan"}[reuse]
			b.Run(fmt.Sprintf("impl=ashlar/by=%s/size=%d", name, size), func(b *testing.B) {
				l := openBench(b, commitlog.Options{Sync: commitlog.SyncNever})
				r := commitlog.Record{Value: make([]byte, size)}
				const n = 100_000
				for range n {
					if _, err := l.Append(b.Context(), r); err != nil {
						b.Fatal(err)
					}
				}
				all := l.Records
				if reuse {
					all = l.Scan
				}
				b.SetBytes(n * int64(size))
				b.ReportAllocs()
				for b.Loop() {
					got := 0
					for _, err := range all(0) {
						if err != nil {
							b.Fatal(err)
						}
						got++
					}
					if got != n {
						b.Fatalf("%d records, want %d", got, n)
					}
				}
			})
		}
	}
}

func BenchmarkReadBatches(b *testing.B) {
	l := openBench(b, commitlog.Options{Sync: commitlog.SyncNever})
	r := commitlog.Record{Value: make([]byte, 1024)}
	const n = 100_000
	for range n {
		if _, err := l.Append(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	var buf []byte
	var total int64
	from := int64(0)
	for b.Loop() {
		var err error
		if buf, err = l.ReadBatches(buf[:0], from, 1<<20, false); err != nil {
			b.Fatal(err)
		}
		total += int64(len(buf))
		for rest := buf; len(rest) > 0; {
			batch := commitlog.Batch(rest[:commitlog.Batch(rest).Len()])
			from, rest = batch.LastOffset()+1, rest[len(batch):]
		}
		if from == n {
			from = 0
		}
	}
	b.SetBytes(total / int64(b.N))
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, err := commitlog.Open(dir, &commitlog.Options{Sync: commitlog.SyncNever})
	if err != nil {
		b.Fatal(err)
	}
	r := commitlog.Record{Value: make([]byte, 64<<10)}
	for range 200 << 20 >> 16 {
		if _, err := l.Append(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		if l, err = commitlog.Open(dir, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

func openBench(b *testing.B, opts commitlog.Options) *commitlog.Log {
	b.Helper()
	l, err := commitlog.Open(b.TempDir(), &opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}
