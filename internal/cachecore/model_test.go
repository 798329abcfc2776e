package cachecore_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/lru"
	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	c := lru.New[int, int](100, nil)
	for i := range 1000 {
		c.Put(i, i)
		v, ok := c.Get(i)
		require.True(t, ok)
		require.Equal(t, i, v)
		require.LessOrEqual(t, c.Len(), 100)
	}
	k, _, _ := c.Oldest()
	require.Equal(t, 900, k)
}
