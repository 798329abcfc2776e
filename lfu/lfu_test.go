package lfu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// twin finds the victim by looking at everything.
type twin struct {
	capacity int
	clock    int
	entries  map[int]*twinEntry
}

type twinEntry struct{ uses, last int }

func (t *twin) use(key int) (hit bool) {
	t.clock++
	if e := t.entries[key]; e != nil {
		e.uses++
		e.last = t.clock
		return true
	}
	if len(t.entries) == t.capacity {
		victim, least := 0, (*twinEntry)(nil)
		for k, e := range t.entries {
			if least == nil || e.uses < least.uses || e.uses == least.uses && e.last < least.last {
				victim, least = k, e
			}
		}
		delete(t.entries, victim)
	}
	t.entries[key] = &twinEntry{1, t.clock}
	return false
}

func TestExactFrequencies(t *testing.T) {
	for _, capacity := range []int{1, 2, 7, 100} {
		r := rand.New(rand.NewPCG(uint64(capacity), 1))
		c := New[int, int](capacity, &Options[int, int]{Shards: 1})
		want := &twin{capacity: capacity, entries: map[int]*twinEntry{}}
		for i := range 5000 {
			key := int(r.ExpFloat64() * float64(capacity))
			hit := want.use(key)
			if _, ok := c.Get(key); ok != hit {
				t.Fatalf("capacity %d, access %d: Get(%d) = %v, want %v", capacity, i, key, ok, hit)
			}
			if !hit {
				c.Put(key, i)
			}
			if uses, ok := c.Frequency(key); !ok || uses != want.entries[key].uses {
				t.Fatalf("capacity %d, access %d: Frequency(%d) = %d, want %d", capacity, i, key, uses, want.entries[key].uses)
			}
		}
	}
}

// check verifies the invariants in the comment of policy.
func (p *policy) check() error {
	slots, last := 0, uint64(0)
	for n := p.nodes[0].next; n != 0; n = p.nodes[n].next {
		at := &p.nodes[n]
		if at.uses <= last {
			return fmt.Errorf("node %d has %d uses, the one before it %d", n, at.uses, last)
		}
		last = at.uses
		if p.nodes[at.next].prev != n || p.nodes[at.prev].next != n {
			return fmt.Errorf("node %d is linked one way", n)
		}
		if at.first == 0 {
			return fmt.Errorf("node %d is empty", n)
		}
		for s := at.first; ; {
			slots++
			if p.slots[s].node != n || p.slots[p.slots[s].next].prev != s {
				return fmt.Errorf("slot %d is not where it belongs", s)
			}
			if s = p.slots[s].next; s == at.first {
				break
			}
			if slots > p.count {
				return fmt.Errorf("the ring of node %d does not close", n)
			}
		}
	}
	if slots != p.count {
		return fmt.Errorf("nodes hold %d slots of %d", slots, p.count)
	}
	return nil
}

func FuzzPolicy(f *testing.F) {
	f.Add(uint8(0), []byte("insert and use and age"))
	f.Add(uint8(3), []byte{1, 2, 3, 4, 5, 1, 1, 1, 2, 2, 70, 71, 130, 131, 200, 201})
	f.Fuzz(func(t *testing.T, period uint8, ops []byte) {
		p := newPolicy(int(period % 8)).(*policy)
		p.Grow(32)
		in := map[uint32]bool{}
		for i, op := range ops {
			slot := uint32(op%32) + 1
			switch {
			case !in[slot]:
				p.Insert(slot, 0, 1)
				in[slot] = true
			case op < 128:
				p.Hit(slot, 0)
			case op < 160:
				p.Remove(slot)
				delete(in, slot)
			case op < 192:
				v := p.Victim(0, 1)
				if !in[v] {
					t.Fatalf("victim %d is not there", v)
				}
				p.Remove(v)
				delete(in, v)
			case op < 224:
				p.SetWeight(slot, 0, uint64(op%16))
			default:
				for to := uint32(1); to <= 32; to++ {
					if !in[to] {
						p.Move(slot, to)
						delete(in, slot)
						in[to] = true
						break
					}
				}
			}
			if err := p.check(); err != nil {
				t.Fatalf("after operation %d (%d): %v", i, op, err)
			}
		}
	})
}

// Old fame fades with ageing and not without.
func TestAgeing(t *testing.T) {
	for _, ageing := range []bool{false, true} {
		c := New[int, int](10, nil)
		if ageing {
			c = NewAgeing[int, int](10, 5, nil)
		}
		for key := range 10 {
			c.Put(key, 0)
			for range 100 {
				c.Get(key)
			}
		}
		for i := range 4000 { // others are popular now
			key := 100 + i%10
			if _, ok := c.Get(key); !ok {
				c.Put(key, 0)
			}
		}
		old := 0
		for key := range 10 {
			if _, ok := c.Peek(key); ok {
				old++
			}
		}
		if ageing && old > 1 || !ageing && old < 9 {
			t.Errorf("ageing %v: %d of the old favourites are left", ageing, old)
		}
	}
}

func TestNewAgeingPanics(t *testing.T) {
	require.PanicsWithValue(t, "lfu: period 0 is not positive", func() { NewAgeing[int, int](1, 0, nil) })
}

// An update is a use of the entry, whether or not others have to leave for it.
func TestFrequencyOfAnEntryThatGrows(t *testing.T) {
	c := New(10, &Options[int, int]{Cost: func(_, value int) int64 { return int64(value) }})
	for i := range 10 {
		c.Put(i, 1)
	}
	for range 5 {
		c.Get(9)
	}
	for i, cost := range []int{1, 3, 6} {
		c.Put(9, cost)
		uses, ok := c.Frequency(9)
		require.True(t, ok)
		require.Equal(t, 7+i, uses)
	}
	require.EqualValues(t, 10, c.Cost())
	require.Equal(t, 5, c.Len())
}

// A period that no cache lives to see is the same as none.
func TestAgeingWithAHugePeriod(t *testing.T) {
	c := NewAgeing[int, int](10, math.MaxInt, nil)
	for i := range 10 {
		c.Put(i, i)
	}
	for range 100 {
		c.Get(3)
	}
	uses, _ := c.Frequency(3)
	require.Equal(t, 101, uses)
}
