package lru_test

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ashlar-go/ashlar/lru"
	"github.com/stretchr/testify/require"
)

// twin is an LRU as textbooks have it.
type twin struct {
	capacity int
	order    *list.List // of keys, the most recent at the front
	at       map[int]*list.Element
}

func (t *twin) use(key int) (hit bool) {
	if e, ok := t.at[key]; ok {
		t.order.MoveToFront(e)
		return true
	}
	if t.order.Len() == t.capacity {
		delete(t.at, t.order.Remove(t.order.Back()).(int))
	}
	t.at[key] = t.order.PushFront(key)
	return false
}

// With one shard every hit and miss is that of the textbook's LRU, and so is
// the order at every moment.
func TestExactOrder(t *testing.T) {
	for _, capacity := range []int{1, 2, 7, 100, 1000} {
		r := rand.New(rand.NewPCG(uint64(capacity), 1))
		c := lru.New[int, int](capacity, &lru.Options[int, int]{Shards: 1})
		want := &twin{capacity, list.New(), map[int]*list.Element{}}
		for i := range 20_000 {
			key := int(r.ExpFloat64() * float64(capacity))
			hit := want.use(key)
			if _, ok := c.Get(key); ok != hit {
				t.Fatalf("capacity %d, access %d: Get(%d) = %v, want %v", capacity, i, key, ok, hit)
			}
			c.Put(key, i)
			if i%997 == 0 {
				var order []int
				for e := want.order.Front(); e != nil; e = e.Next() {
					order = append(order, e.Value.(int))
				}
				require.Equal(t, order, slices.Collect(c.Keys()))
			}
		}
	}
}

func TestOrderIterators(t *testing.T) {
	c := lru.New[int, string](3, nil)
	_, _, ok := c.Oldest()
	require.False(t, ok)
	for i := range 5 {
		c.Put(i, fmt.Sprint(i))
	}
	c.Peek(2) // no use
	c.Get(3)
	var forward, backward []int
	for key := range c.All() {
		forward = append(forward, key)
	}
	for key := range c.Backward() {
		backward = append(backward, key)
	}
	require.Equal(t, []int{3, 4, 2}, forward)
	require.Equal(t, []int{2, 4, 3}, backward)
	key, value, ok := c.Oldest()
	require.True(t, ok)
	require.Equal(t, 2, key)
	require.Equal(t, "2", value)
	key, _, _ = c.Newest()
	require.Equal(t, 3, key)
}

// The loop body may change the cache that it iterates over.
func TestIterateAndChange(t *testing.T) {
	c := lru.New[int, int](100, nil)
	for i := range 100 {
		c.Put(i, i)
	}
	for key := range c.All() {
		c.Delete(key)
		c.Put(key+1000, 0)
	}
	require.Equal(t, 100, c.Len())
}

// A capacity that is no power of two, or small, is taken as it is.
func TestCapacityIsNotRounded(t *testing.T) {
	for _, capacity := range []int{1, 70, 100, 1000} {
		c := lru.New[int, int](capacity, nil)
		for i := range 10 * capacity {
			c.Put(i, i)
		}
		require.Equal(t, capacity, c.Len())
		require.Equal(t, capacity, c.Capacity())
	}
}
