package cacheserver

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an entry is said to cost must be near what it takes.
func TestCostIsMeasured(t *testing.T) {
	const entries = 100_000
	for _, policy := range policies {
		k, err := newKeyspace(policy, 0, 1<<30)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range entries {
			require.NoError(t, k.put(t.Context(), fmt.Sprintf("key:%010d", i), value{data: make([]byte, 100)}))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		real, said := float64(after.HeapAlloc-before.HeapAlloc)/entries, float64(k.cache().Cost())/entries
		t.Logf("%s: %.0f bytes an entry, said to cost %.0f", policy, real, said)
		if real < said/1.6 || real > said*1.6 {
			t.Errorf("%s: an entry takes %.0f bytes and is said to cost %.0f", policy, real, said)
		}
		runtime.KeepAlive(k)
	}
}
