package tinylfu

import (
	"bytes"
	"testing"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/internal/cachecore"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/stretchr/testify/require"
)

func one(int, int) int64 { return 1 }

// A snapshot may say nothing of how often an entry was used: one by a policy
// that does not know, or one by this policy after its counters were halved.
func TestLoadWithoutUses(t *testing.T) {
	from := lru.New[int, int](100, nil)
	for i := range 100 {
		from.Put(i, -i)
	}
	var file bytes.Buffer
	require.NoError(t, from.Save(&file, nil))
	for _, opts := range []*Options[int, int]{nil, {Cost: one}, {Cost: one, Objective: cache.ByteHits}} {
		c := New(100, opts)
		n, err := c.Load(bytes.NewReader(file.Bytes()), nil)
		require.NoError(t, err)
		require.Equal(t, 100, n)
	}

	c := New(100, &Options[int, int]{Cost: one})
	for i := range 100 {
		c.Put(i, -i)
	}
	c.core.Do(0, func(p cachecore.Policy) { p.(*sizedPolicy).uses.clear() })
	file.Reset()
	require.NoError(t, c.Save(&file, nil))
	n, err := c.Load(&file, nil)
	require.NoError(t, err)
	require.Equal(t, 100, n)
}
