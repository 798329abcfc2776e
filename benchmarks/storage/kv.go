package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// kv is a key-value store as the phases use it. Whatever goes wrong panics.
type kv interface {
	put(key, value []byte, durable bool)
	batch(keys, values [][]byte, durable bool)
	get(dst, key []byte) ([]byte, bool)  // appends the value to dst
	scan(from []byte, limit int) (n int) // visits keys and values in order; no limit if negative
	sync()
	close()
}

// manyWriters is a kv with another way to put durably from many goroutines.
type manyWriters interface{ putShared(key, value []byte) }

// opener opens a store in dir.
type opener func(dir string) kv

func init() {
	performers["kvstore"] = func(j job) report {
		makeKeys(j.Keys)
		if j.Impl == rawLoop {
			return rawWrites(j)
		}
		k := &keyValues{stage: newStage(j), open: openers[j.Impl], values: newValues(j.Value), dir: filepath.Join(j.Dir, "store")}
		k.run()
		return k.report
	}
}

// keyValues are the phases of a store.
type keyValues struct {
	*stage
	open   opener
	values values
	dir    string
	db     kv
}

const keySize = 16

// digits are the keys: every second number is one, those in between are absent.
// They are made beforehand, so that no phase pays for it.
var digits []byte

func makeKeys(n int) {
	for i := range 2 * n {
		digits = fmt.Appendf(digits, "%0*d", keySize, i)
	}
}

func key(i int) []byte       { return digits[2*i*keySize : (2*i+1)*keySize : (2*i+1)*keySize] }
func absentKey(i int) []byte { return digits[(2*i+1)*keySize : (2*i+2)*keySize : (2*i+2)*keySize] }

func (k *keyValues) run() {
	if k.wants("reopen killed") {
		start := time.Now()
		k.db = k.open(k.dir)
		k.expect(0)
		k.report["reopen killed"] = time.Since(start).Seconds() * 1e3
		k.db.close()
		return
	}
	if k.wants("empty") {
		k.empty()
	}
	goroutines := runtime.NumGoroutine()
	k.db = k.open(k.dir)
	k.load()
	if k.wants("leave") {
		must(os.Stdout.WriteString("{}\n"))
		os.Exit(0) // without closing anything
	}
	if k.wants("reopen") {
		k.reopen(goroutines)
	}
	if k.wants("put") {
		k.puts()
	}
	k.reads()
	if k.wants("overwrite") {
		k.overwrite()
	}
	k.durable()
	k.db.close()
}

// empty looks at a store that holds one key.
func (k *keyValues) empty() {
	dir := filepath.Join(k.job.Dir, "empty")
	db := k.open(dir)
	db.put(key(0), k.values.of(0), true)
	db.close()
	k.report["empty"] = onDisk(dir) / 1024
	check(os.RemoveAll(dir))
}

// inBatches puts n keys in batches of the size; at says which.
func (k *keyValues) inBatches(n, size int, durable bool, at func(i int) int) {
	keys, values := make([][]byte, 0, size), make([][]byte, 0, size)
	for i := 0; i < n; i += size {
		keys, values = keys[:0], values[:0]
		for j := i; j < min(n, i+size); j++ {
			keys, values = append(keys, key(at(j))), append(values, k.values.of(at(j)))
		}
		k.db.batch(keys, values, durable)
	}
}

func (k *keyValues) load() {
	k.time("load", k.job.Keys, true, func() {
		k.inBatches(k.job.Keys, 1000, false, func(i int) int { return i })
	})
	k.db.sync()
	k.report["peak"] = k.peak.megabytes()
}

// reopen closes the store, looks at what is on the disk, and opens it again.
func (k *keyValues) reopen(goroutines int) {
	k.db.close()
	k.report["disk loaded"] = onDisk(k.dir) / k.raw()
	k.db = nil
	runtime.GC()
	start := time.Now()
	k.db = k.open(k.dir)
	k.expect(k.job.Keys / 2)
	k.report["reopen"] = time.Since(start).Seconds() * 1e3
	k.settle()
	k.report["goroutines"] = float64(runtime.NumGoroutine() - goroutines)
	k.report["memory"] = k.heapGrowth() / float64(k.job.Keys)
}

// raw returns the bytes of all keys and values.
func (k *keyValues) raw() float64 { return float64(k.job.Keys * (keySize + k.job.Value)) }

// expect reads a key and panics if it has not its value.
func (k *keyValues) expect(i int) {
	if value, ok := k.db.get(nil, key(i)); !ok || !bytes.Equal(value, k.values.of(i)) {
		panic(fmt.Sprintf("%s: key %d: %v, %q", k.job.Impl, i, ok, value))
	}
}

func (k *keyValues) random() int { return k.rng.IntN(k.job.Keys) }

func (k *keyValues) puts() {
	k.time("put", k.job.Ops, true, func() {
		for range k.job.Ops {
			i := k.random()
			k.db.put(key(i), k.values.of(i), false)
		}
	})
	k.db.sync()
}

// reads are all phases that only read.
func (k *keyValues) reads() {
	n := 4 * k.job.Ops
	wanted, absent := make([][]byte, n), make([][]byte, n)
	if k.wants("get", "get 8", "miss", "get allocations") {
		for i := range n {
			wanted[i], absent[i] = key(k.random()), absentKey(k.random())
		}
		k.gets(wanted)
		k.time("miss", n, false, func() {
			for _, key := range absent {
				if _, ok := k.db.get(nil, key); ok {
					panic("found what is not there: " + k.job.Impl)
				}
			}
		})
	}
	if k.wants("scan") {
		k.time("scan", k.job.Keys, false, func() { k.mustScan(0, -1, k.job.Keys) })
	}
	if k.wants("range") {
		ranges := max(1, k.job.Ops/20)
		k.time("range", ranges, false, func() {
			for range ranges {
				from := k.random()
				k.mustScan(from, 100, min(100, k.job.Keys-from))
			}
		})
	}
}

func (k *keyValues) gets(wanted [][]byte) {
	n := len(wanted)
	buffer := make([]byte, 0, 2*k.job.Value)
	get := func(dst, key []byte) {
		if value, ok := k.db.get(dst[:0], key); !ok || len(value) != k.job.Value {
			panic("not found: " + k.job.Impl)
		}
	}
	k.time("get", n, true, func() {
		for _, key := range wanted {
			get(buffer, key)
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, key := range wanted[:n/4] {
		get(buffer, key)
	}
	runtime.ReadMemStats(&after)
	if k.report["get allocations"] = float64(after.Mallocs-before.Mallocs) / float64(n/4); k.report["get allocations"] < 0.01 {
		k.report["get allocations"] = 0
	}
	k.time("get 8", n, false, func() {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				buffer := make([]byte, 0, 2*k.job.Value)
				for i := g; i < n; i += 8 {
					get(buffer, wanted[i])
				}
			})
		}
		wg.Wait()
	})
}

func (k *keyValues) mustScan(from, limit, want int) {
	if n := k.db.scan(key(from), limit); n != want {
		panic(fmt.Sprintf("%s: scan from %d of %d: %d entries, want %d", k.job.Impl, from, limit, n, want))
	}
}

// overwrite writes every key once more, in random order.
func (k *keyValues) overwrite() {
	order := k.rng.Perm(k.job.Keys)
	k.time("overwrite", k.job.Keys, true, func() {
		k.inBatches(k.job.Keys, 100, false, func(i int) int { return order[i] })
	})
	k.db.sync()
	k.settle()
	k.db.close()
	k.report["disk overwritten"] = onDisk(k.dir) / k.raw()
	k.db = k.open(k.dir)
	k.expect(k.job.Keys / 3)
}

func (k *keyValues) durable() {
	n := max(k.job.Ops/25, 64)
	k.db.put(key(0), k.values.of(0), true)
	syscall.Sync() // so that nothing of the phases before is written during these
	if k.wants("durable 1") {
		k.latencies("durable 1", 1, n, func(_, i int) { k.db.put(key(i%k.job.Keys), k.values.of(i%k.job.Keys), true) })
	}
	if k.wants("durable 64") {
		put := func(key, value []byte) { k.db.put(key, value, true) }
		if shared, ok := k.db.(manyWriters); ok {
			put = shared.putShared
		}
		k.latencies("durable 64", 64, max(1, n/5), func(g, i int) { put(key((64*i+g)%k.job.Keys), k.values.of((64*i+g)%k.job.Keys)) })
	}
	if k.wants("durable batch") {
		batches := max(1, n/40)
		k.time("durable batch", 1000*batches, false, func() {
			k.inBatches(1000*batches, 1000, true, func(i int) int { return i * 7919 % k.job.Keys })
		})
	}
}

// rawLoop is no store: it writes records of the size of a key and a value into a
// file that was written before, and syncs each.
const rawLoop = "write+fdatasync, prewritten"

func rawWrites(j job) report {
	s := newStage(j)
	n := max(j.Ops/25, 64)
	record := append(key(1), newValues(j.Value).of(1)...)
	dir := must(vfs.Dir(j.Dir))
	f := must(dir.OpenFile("raw", os.O_RDWR|os.O_CREATE, 0o600))
	must(f.WriteAt(bytes.Repeat(record, n), 0))
	check(f.Sync())
	s.latencies("durable 1", 1, n, func(_, i int) {
		must(f.WriteAt(record, int64(i*len(record))))
		check(f.Sync())
	})
	check(errors.Join(f.Close(), dir.Close()))
	return s.report
}
