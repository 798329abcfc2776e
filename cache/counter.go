package cache

import (
	"math/rand/v2"
	"sync/atomic"
)

// A counter is added to on the path of every hit. It is spread over cache
// lines, so that processors do not take turns for one.
type counter [16]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counter) Add(n uint64) { c[rand.Uint32()%uint32(len(c))].n.Add(n) }

func (c *counter) Load() (sum uint64) {
	for i := range c {
		sum += c[i].n.Load()
	}
	return sum
}
