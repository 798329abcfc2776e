package consistenthash

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// check verifies what is said of the fields of a Bounded.
func (b *Bounded[N]) check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := 0
	for i, at := range b.nodes {
		n, last := 0, uint32(0)
		for s := at.first; s != 0; s = b.slots[s].next {
			if b.slots[s].node != int32(i) || b.slots[s].prev != last {
				return fmt.Errorf("slot %d in the list of node %d: %+v", s, i, b.slots[s])
			}
			last = s
			n++
		}
		if n != at.leases || b.number[at.node] != i {
			return fmt.Errorf("node %d has %d leases, counts %d, and is number %d", i, n, at.leases, b.number[at.node])
		}
		total += n
	}
	free := 0
	for s := b.free; s != 0; s = b.slots[s].next {
		if b.slots[s].node != -1 {
			return fmt.Errorf("free slot %d: %+v", s, b.slots[s])
		}
		free++
	}
	if total != b.total || total+free+1 != len(b.slots) || len(b.number) != len(b.nodes) {
		return fmt.Errorf("%d leases and %d free of %d slots; the total is %d", total, free, len(b.slots)-1, b.total)
	}
	return nil
}

// mostLeases is the cap as its definition has it, in whole numbers: epsilon is
// in percent.
func mostLeases(total, nodes, percent int) int {
	return (total*(100+percent) + 100*nodes - 1) / (100 * nodes)
}

func TestBoundedCaps(t *testing.T) {
	for _, percent := range []int{1, 5, 10, 25, 33, 100, 1000} {
		for _, n := range []int{1, 2, 3, 7, 10, 100} {
			b := NewBounded(must(NewRing(names(n), nil)), &BoundedOptions{Epsilon: float64(percent) / 100})
			for i := range 500 {
				// One key is a tenth of all.
				key := fmt.Sprint("key-", i)
				if i%10 == 0 {
					key = "popular"
				}
				lease, ok := b.Acquire(key)
				require.True(t, ok)
				for _, load := range b.Loads() {
					most := mostLeases(i+1, n, percent)
					if load.Cap != most {
						t.Fatalf("ε %d%%, %d nodes, %d leases: the cap is %d, want %d", percent, n, i+1, load.Cap, most)
					}
					if load.Node == lease.Node() && load.Leases > most {
						t.Fatalf("ε %d%%, %d nodes, %d leases: %s got one and has %d", percent, n, i+1, load.Node, load.Leases)
					}
				}
			}
			require.Equal(t, 500, b.Len())
			require.NoError(t, b.check())
		}
	}
}

func TestBoundedDefaults(t *testing.T) {
	b := NewBounded(must(NewRing(names(4), nil)), nil)
	for range 100 {
		b.Acquire("the same key")
	}
	loads := b.Loads()
	require.Equal(t, "node-0", loads[0].Node)
	most := 0
	for _, load := range loads {
		require.Equal(t, 32, load.Cap)
		most = max(most, load.Leases)
	}
	require.Equal(t, 32, most)
}

// A node of twice the weight may have twice as many.
func TestBoundedWeights(t *testing.T) {
	p := must(NewRendezvous([]string{"small", "big"}, &Options[string]{Weight: func(node string) float64 {
		return map[string]float64{"small": 1, "big": 3}[node]
	}}))
	b := NewBounded(p, nil)
	for i := range 800 {
		b.Acquire(fmt.Sprint(i))
	}
	for _, load := range b.Loads() {
		want := map[string]int{"small": 250, "big": 750}[load.Node]
		require.Equal(t, want, load.Cap)
		require.LessOrEqual(t, load.Leases, want)
	}
}

func TestBoundedArguments(t *testing.T) {
	p := must(NewRing(names(2), nil))
	for _, epsilon := range []float64{-.1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		require.Panics(t, func() { NewBounded(p, &BoundedOptions{Epsilon: epsilon}) }, epsilon)
	}
	require.PanicsWithValue(t, "consistenthash: a Bounded of a nil placement", func() { NewBounded[string](nil, nil) })
	b := NewBounded(p, &BoundedOptions{Epsilon: math.MaxFloat64})
	b.Acquire("a")
	require.Equal(t, math.MaxInt, b.Loads()[0].Cap)
	b = NewBounded(p, &BoundedOptions{Epsilon: math.SmallestNonzeroFloat64})
	for range 100 {
		b.Acquire("a")
	}
	require.Equal(t, 50, b.Loads()[0].Leases)
}

func TestLease(t *testing.T) {
	b := NewBounded(must(NewRing([]string{"a"}, nil)), nil)
	lease, ok := b.Acquire("key")
	require.True(t, ok)
	require.Equal(t, "a", lease.Node())
	require.Equal(t, Hash("key"), lease.Hash())
	require.True(t, lease.Held())
	dup := lease
	require.True(t, lease.Release())
	require.False(t, lease.Held())
	require.False(t, dup.Release(), "a copy")
	again, _ := b.Acquire("key") // takes the same slot
	require.False(t, lease.Held())
	require.False(t, lease.Release())
	require.True(t, again.Held())
	require.Equal(t, 1, b.Len())

	var zero Lease[string]
	require.False(t, zero.Held())
	require.False(t, zero.Release())
}

// Without nodes there are no leases; those of a node that leaves end, and are
// not those of a node of that name that comes later.
func TestBoundedWithoutNodes(t *testing.T) {
	b := NewBounded(must(NewRing([]string{"a"}, nil)), nil)
	lease, _ := b.Acquire("key")
	ended, err := b.Remove("a")
	require.NoError(t, err)
	require.Equal(t, []Lease[string]{lease}, ended)
	require.False(t, lease.Held())
	_, ok := b.Acquire("key")
	require.False(t, ok)
	require.Empty(t, b.Loads())
	require.NoError(t, b.Add("a"))
	other, ok := b.Acquire("key")
	require.True(t, ok)
	require.False(t, lease.Release())
	require.True(t, other.Held())
	_, err = b.Remove("b")
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, b.Add("a"), ErrDuplicate)
	require.NoError(t, b.check())
}

// Leases move little: on balanced placements with little load to spare, few
// keys are not with their owner, and they are spread.
func TestBoundedKeepsKeysWithTheirOwners(t *testing.T) {
	p := must(NewJumpBack(names(100), nil))
	b := NewBounded(p, &BoundedOptions{Epsilon: .05})
	away := map[string]int{}
	n := 0
	for i := range 100_000 {
		key := fmt.Sprint("key-", i)
		lease, _ := b.Acquire(key)
		if lease.Node() != owner(p, key) {
			n++
			away[lease.Node()]++
		}
	}
	require.Less(t, n, 2500)
	for node, k := range away {
		if k > n/10 {
			t.Errorf("%d of %d keys that found their owner full are on %s", k, n, node)
		}
	}
}

// Rebalance ends as few leases as it takes, the last given first, until every
// node is within its cap.
func TestRebalance(t *testing.T) {
	b := NewBounded(must(NewRing(names(10), nil)), nil)
	leases := make([]Lease[string], 1000)
	for i := range leases {
		leases[i], _ = b.Acquire(fmt.Sprint(i))
	}
	require.Empty(t, b.Rebalance())
	for _, lease := range leases { // all but one node are nearly left alone
		if lease.Node() != "node-7" {
			lease.Release()
		}
	}
	held := b.Len()
	ended := b.Rebalance()
	require.NotEmpty(t, ended)
	require.Equal(t, held-len(ended), b.Len())
	for i, lease := range ended {
		require.False(t, lease.Held())
		require.Equal(t, "node-7", lease.Node())
		at := slices.Index(leases, lease)
		if i > 0 && at > slices.Index(leases, ended[i-1]) {
			t.Errorf("lease %d ended before one given later", at)
		}
	}
	for _, lease := range ended {
		_, ok := b.AcquireHash(lease.Hash())
		require.True(t, ok)
	}
	require.Equal(t, held, b.Len())
	for _, load := range b.Loads() {
		require.LessOrEqual(t, load.Leases, load.Cap)
	}
	require.NoError(t, b.check())
}

// FuzzBounded gives leases and takes them back while nodes come and go, beside
// a plain count.
func FuzzBounded(f *testing.F) {
	f.Add(uint8(25), []byte{0, 1, 2, 3, 100, 101, 200, 0, 0, 0, 0, 240, 1, 2, 3, 220, 221, 0, 255})
	f.Add(uint8(1), []byte("some leases, and nodes that come and go"))
	f.Fuzz(func(t *testing.T, percent uint8, ops []byte) {
		percent = max(1, percent)
		b := NewBounded(must(NewRendezvous(names(3), nil)), &BoundedOptions{Epsilon: float64(percent) / 100})
		var held, over []Lease[string]
		next := 3
		lose := func(lost []Lease[string]) {
			for _, lease := range lost {
				if !slices.Contains(held, lease) {
					t.Fatalf("a lease on %s ended that was not held", lease.Node())
				}
			}
			held = slices.DeleteFunc(held, func(l Lease[string]) bool { return slices.Contains(lost, l) })
			over = append(over, lost...)
		}
		for i, op := range ops[:min(len(ops), 200)] {
			switch n := b.Placement().Len(); {
			case op < 120: // a few keys are popular
				lease, ok := b.Acquire(fmt.Sprint(op % 16))
				if ok != (n > 0) {
					t.Fatalf("operation %d: Acquire = %v with %d nodes", i, ok, n)
				}
				if !ok {
					break
				}
				held = append(held, lease)
				load := 0
				for _, l := range held {
					if l.Node() == lease.Node() {
						load++
					}
				}
				if most := mostLeases(len(held), n, int(percent)); load > most {
					t.Fatalf("operation %d: %s got a lease and has %d, the cap is %d", i, lease.Node(), load, most)
				}
			case op < 220:
				if len(held) > 0 {
					lease := held[int(op)%len(held)]
					if !lease.Release() {
						t.Fatalf("operation %d: a lease on %s was not held", i, lease.Node())
					}
					lose([]Lease[string]{lease})
				}
			case op < 235:
				if err := b.Add(fmt.Sprint("new-", next)); err != nil {
					t.Fatal(err)
				}
				next++
			case op < 250:
				if n > 0 {
					node := b.Loads()[int(op)%n].Node
					ended, err := b.Remove(node)
					if err != nil {
						t.Fatal(err)
					}
					for _, lease := range held {
						if (lease.Node() == node) != slices.Contains(ended, lease) {
							t.Fatalf("operation %d: %s left; the lease on %s ended: %v", i, node, lease.Node(), lease.Node() != node)
						}
					}
					lose(ended)
				}
			default:
				lose(b.Rebalance())
				for _, load := range b.Loads() {
					if most := mostLeases(len(held), n, int(percent)); load.Leases > most {
						t.Fatalf("operation %d: %+v after Rebalance, want at most %d", i, load, most)
					}
				}
			}
			if err := b.check(); err != nil {
				t.Fatalf("operation %d: %v", i, err)
			}
			counts := map[string]int{}
			for _, lease := range held {
				counts[lease.Node()]++
				if !lease.Held() {
					t.Fatalf("operation %d: a lease on %s is not held", i, lease.Node())
				}
			}
			for _, lease := range over {
				if lease.Held() {
					t.Fatalf("operation %d: a lease on %s is held again", i, lease.Node())
				}
			}
			for _, load := range b.Loads() {
				if load.Leases != counts[load.Node] {
					t.Fatalf("operation %d: %+v, want %d leases", i, load, counts[load.Node])
				}
			}
		}
	})
}

// Nodes come and go while others acquire and release: what is given is within
// the cap of that moment, nothing is lost and nothing counted twice.
func TestBoundedConcurrentSafe(t *testing.T) {
	for _, percent := range []int{10, 100} {
		b := NewBounded(must(NewRing(names(8), nil)), &BoundedOptions{Epsilon: float64(percent) / 100})
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 1))
				var mine []Lease[string]
				for range 2000 {
					if r.IntN(2) == 0 && len(mine) > 0 {
						i := r.IntN(len(mine))
						mine[i].Release()
						mine = slices.Delete(mine, i, i+1)
					} else {
						mine = append(mine, acquireChecked(t, b, Hash(fmt.Sprint(r.IntN(20)))))
					}
				}
				for _, lease := range mine {
					lease.Release()
				}
			})
			wg.Go(func() {
				mine := fmt.Sprint("mine-", g)
				for range 50 {
					if err := b.Add(mine); err != nil {
						t.Errorf("Add(%s): %v", mine, err)
					}
					ended, err := b.Remove(mine)
					if err != nil {
						t.Errorf("Remove(%s): %v", mine, err)
					}
					for _, lease := range ended {
						if lease.Node() != mine || lease.Held() || lease.Release() {
							t.Errorf("%s left; a lease on %s ended, and is held: %v", mine, lease.Node(), lease.Held())
						}
					}
				}
			})
			wg.Go(func() {
				for range 200 {
					sum := 0 // of one moment
					for _, load := range b.Loads() {
						if load.Leases < 0 || load.Cap < 0 {
							t.Errorf("%+v", load)
						}
						sum += load.Leases
					}
					if sum > 8000 {
						t.Errorf("%d leases", sum)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, b.check())
		require.Zero(t, b.Len())
		require.Equal(t, 8, b.Placement().Len())
	}
}

// acquireChecked is AcquireHash, and looks at the node before others can.
func acquireChecked(t *testing.T, b *Bounded[string], h uint64) Lease[string] {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.choose(h)
	s := b.take(i, h)
	if at := b.nodes[i]; at.leases > b.limit(i, b.total) {
		t.Errorf("%s got a lease and has %d of %d, the cap is %d", at.node, at.leases, b.total, b.limit(i, b.total))
	}
	return Lease[string]{b, b.nodes[i].node, h, s, b.slots[s].version}
}

// While nodes stay and no lease is released, no node is above its cap at any
// moment.
func TestBoundedNeverAboveItsCapConcurrentSafe(t *testing.T) {
	b := NewBounded(must(NewRendezvous(names(5), nil)), nil)
	var wg, watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, load := range b.Loads() {
				if load.Leases > load.Cap {
					t.Errorf("%+v", load)
				}
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				b.Acquire(fmt.Sprint(i % 3))
			}
		})
	}
	wg.Wait()
	close(done)
	watch.Wait()
	require.Equal(t, 4000, b.Len())
}

// A placement of one's own that fails, or forgets nodes, does no harm.
func TestBoundedOfAStrangePlacement(t *testing.T) {
	b := NewBounded(strange{must(NewRing(names(3), nil))}, nil)
	for range 30 {
		_, ok := b.Acquire("key")
		require.True(t, ok)
	}
	require.NoError(t, b.check())
	_, err := b.Update(func(Placement[string]) (Placement[string], error) { return nil, errors.New("no") })
	require.EqualError(t, err, "no")
	require.Panics(t, func() {
		b.Update(func(Placement[string]) (Placement[string], error) { return nil, nil })
	})
	require.Panics(t, func() { b.AcquireHash(0) })
	require.Equal(t, 30, b.Len(), "not locked for ever")
}

// strange owners are not among its nodes.
type strange struct{ Placement[string] }

func (strange) OwnerHash(h uint64) (string, bool) {
	if h == 0 {
		panic("zero")
	}
	return "nobody knows", true
}
