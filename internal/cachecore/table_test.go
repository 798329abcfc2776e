package cachecore

import (
	"hash/maphash"
	"testing"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/stretchr/testify/require"
)

// zeroBytes may take a byte of 1 above a match for another match. A removed
// key leaves its place empty and its slot zero, so that a search for the zero
// key must never be led there: of two keys with one tag, in places next to
// each other, the upper one goes.
func TestSearchIsNotLedToAnEmptyPlace(t *testing.T) {
	seen := map[uint64]bool{}
	for len(seen) < 250 { // of 254 tags
		c := New("test", 8, &cache.Options[int, int]{Shards: 1}, newFIFO)
		s := &c.shards[0]
		mark := markOf(maphash.Comparable(s.seed, 0))
		if seen[tagOf(mark)] {
			continue
		}
		seen[tagOf(mark)] = true
		s.resize(8)
		other := 1
		for ; ; other++ {
			m := markOf(maphash.Comparable(s.seed, other))
			if tagOf(m) == tagOf(mark) && s.table.home(m) == s.table.home(mark) {
				break
			}
		}
		c.Put(other, 1)
		c.Put(0, 1)
		c.Delete(0)
		_, ok := c.Get(0)
		require.False(t, ok, "tag %d", tagOf(mark))
		c.Put(0, 2)
		require.NoError(t, c.CheckInvariants())
	}
}
