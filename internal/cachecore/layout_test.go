package cachecore

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The lock and what every operation counts share the first cache line of a
// shard, and nothing of another shard's.
func TestShardsAreWholeCacheLines(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the padding is for 64 bits")
	}
	var s shard[int, string]
	require.Zero(t, unsafe.Sizeof(s)%64)
	require.Less(t, unsafe.Offsetof(s.stats)+unsafe.Offsetof(s.stats.Misses), uintptr(64))
}
