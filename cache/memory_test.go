package cache_test

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// scannable returns how much of the heap the garbage collector has to look
// through for pointers.
func scannable() int64 {
	sample := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	runtime.GC()
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// A cache of plain keys and values has nothing for the garbage collector to
// follow, however many entries it holds.
func TestPlainEntriesAreNotScanned(t *testing.T) {
	const capacity = 200_000
	for name, make := range policies(nil) {
		before := scannable()
		c := make(capacity)
		for i := range 3 * capacity {
			c.Put(i, i)
			c.Get(i / 2)
		}
		if grown := scannable() - before; grown > capacity {
			t.Errorf("%s: %d bytes to scan for %d entries", name, grown, c.Len())
		}
		runtime.KeepAlive(c)
	}
}
