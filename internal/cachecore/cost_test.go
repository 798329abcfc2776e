package cachecore

import (
	"math"
	"testing"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/stretchr/testify/require"
)

func byValue(_ int, value int64) int64 { return value }

// Costs near the largest number must not wrap around into room.
func TestCostsDoNotOverflow(t *testing.T) {
	c := New("test", 100, &cache.Options[int, int64]{Shards: 1, Cost: byValue}, newFIFO)
	c.Put(1, 10)
	c.Put(2, 50)
	c.Put(1, math.MaxInt64)
	require.NoError(t, c.CheckInvariants())
	_, ok := c.Get(1)
	require.False(t, ok, "an entry that costs more than the capacity is held")
	require.EqualValues(t, 50, c.Cost())

	c = New("test", math.MaxInt, &cache.Options[int, int64]{Shards: 1, Cost: byValue}, newFIFO)
	c.Put(1, math.MaxInt)
	c.Put(2, math.MaxInt)
	require.NoError(t, c.CheckInvariants())
	require.Equal(t, 1, c.Len())
}

// A value that grows until others have to leave is still an update: a Scan that
// has not come to its key yet must not miss it.
func TestScanFindsAnEntryThatGrows(t *testing.T) {
	c := New("test", 10, &cache.Options[int, int64]{Shards: 1, Cost: byValue}, newFIFO)
	for i := range 10 {
		c.Put(i, 1)
	}
	seen := map[int]bool{}
	visit := func(key int, _ int64) bool { seen[key] = true; return true }
	cursor := c.Scan(0, 5, visit)
	require.False(t, seen[9])
	c.Put(9, 3)
	require.NoError(t, c.CheckInvariants())
	require.Equal(t, 8, c.Len())
	for cursor != 0 {
		cursor = c.Scan(cursor, 5, visit)
	}
	require.True(t, seen[9], "Scan does not visit 9, which was there all the time")
}
