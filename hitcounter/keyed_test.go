package hitcounter

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// check verifies the invariants in the comment of part.
func (p *part[K]) check() error {
	linked := 0
	for i, before := p.entries[0].next, int32(0); ; i, before = p.entries[i].next, i {
		if p.entries[i].prev != before {
			return fmt.Errorf("entry %d is linked one way", i)
		}
		if i == 0 {
			break
		}
		if at, ok := p.index[p.entries[i].key]; !ok || at != i {
			return fmt.Errorf("entry %d of %v is not in the index", i, p.entries[i].key)
		}
		if linked++; linked > len(p.index) {
			return fmt.Errorf("more entries than %d in the list", len(p.index))
		}
		for j, cell := range p.of(i) {
			if cell.slot != empty && p.of(i).of(cell.slot) != &p.of(i)[j] {
				return fmt.Errorf("cell %d has slot %d", j, cell.slot)
			}
		}
		if p.entries[i].since > p.since {
			return fmt.Errorf("entry %d is since %d, later than %d", i, p.entries[i].since, p.since)
		}
	}
	if linked != len(p.index) || linked > p.capacity || linked+len(p.free)+1 != len(p.entries) || len(p.entries)*p.width != len(p.cells) || len(p.entries) > p.capacity+1 {
		return fmt.Errorf("%d linked of %d, %d free, %d entries", linked, len(p.index), len(p.free), len(p.entries))
	}
	if p.lost.latest(&p.grid) > p.since || p.ledger.upTo > p.since {
		return fmt.Errorf("lost hits after %d", p.since)
	}
	return nil
}

func runKeyedScript(data []byte) error {
	s := script{data: data, now: epoch}
	shape := windows[s.byte()%len(windows)]
	s.grid = shape.resolution
	w := &twin{window: shape.window}
	capacity := 1 + s.byte()%6
	k := NewKeyed[int](shape.window, capacity, &Options{Resolution: shape.resolution, Stripes: 1 + s.byte()%min(capacity, 3)})
	for step := 0; len(s.data) > 0 && step < 300; step++ {
		e := s.next(false)
		w.add(e)
		k.AddAt(e.at, e.key, e.n)
		if step%11 == 10 {
			k.ForgetIdle(e.at)
		}
		for _, p := range k.parts {
			if err := p.check(); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		if step%7 != 0 && len(s.data) > 0 {
			continue
		}
		if got := k.Stats(); w.total() < hitLimit && got.Hits+got.Dropped != w.total() {
			return fmt.Errorf("step %d: Stats() = %+v of %d hits", step, got, w.total())
		}
		for _, t := range s.questions() {
			all := maps.Collect(k.All(t))
			for key := range 7 {
				want := w.count(t, key)
				lo, hi := k.Bounds(t, key)
				n := k.CountAt(t, key)
				if lo < 0 || lo > want || hi < want || n < lo || n > hi || all[key] != n {
					return fmt.Errorf("step %d: Bounds(%v, %d) = %d, %d and CountAt %d, All has %d, true count %d", step, t, key, lo, hi, n, all[key], want)
				}
			}
			top := []int64{}
			for key, n := range k.Top(t, 3) {
				if all[key] != n {
					return fmt.Errorf("Top(%v) has %d for %d, want %d", t, n, key, all[key])
				}
				top = append(top, n)
			}
			counts := slices.Sorted(maps.Values(all))
			slices.Reverse(counts)
			if !slices.Equal(top, counts[:min(3, len(counts))]) {
				return fmt.Errorf("Top(%v, 3) = %v of %v", t, top, counts)
			}
		}
	}
	return nil
}

func FuzzKeyed(f *testing.F) {
	for i := range byte(7) {
		f.Add([]byte{i, i, 1, 2, 50, 3, 4, 18, 7, 4, 0, 3, 200, 2, 9, 4, 0, 4, 0, 8, 60, 12, 3})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := runKeyedScript(data); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKeyedModel(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for i := range 60 {
		data := make([]byte, 500)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		data[0], data[1] = byte(i), byte(i/7)
		require.NoError(t, runKeyedScript(data), "script %d: %x", i, data)
	}
}

// Without evictions bounds are those of a ring.
func TestKeyedIsARingForEachKey(t *testing.T) {
	opts := &Options{Resolution: 10}
	k := NewKeyed[string](100, 3, opts)
	rings := map[string]*Ring{"a": NewRing(100, opts), "b": NewRing(100, opts), "c": NewRing(100, opts)}
	r := rand.New(rand.NewPCG(13, 14))
	at := epoch
	for i := range 2000 {
		at = at.Add(time.Duration(r.IntN(20) - 5))
		key := string(rune('a' + r.IntN(3)))
		k.HitAt(at, key)
		rings[key].HitAt(at)
		for key, ring := range rings {
			lo, hi := k.Bounds(at, key)
			wantLo, wantHi := ring.Bounds(at)
			if lo != wantLo || hi != wantHi || k.CountAt(at, key) != ring.CountAt(at) {
				t.Fatalf("hit %d: %q has %d to %d, want %d to %d", i, key, lo, hi, wantLo, wantHi)
			}
		}
	}
}

func TestKeyedForgets(t *testing.T) {
	k := NewKeyed[string](time.Minute, 2, &Options{Resolution: time.Second})
	k.AddAt(epoch, "old", 5)
	k.AddAt(epoch.Add(time.Second), "new", 7)
	k.HitAt(epoch.Add(2*time.Second), "newer") // in place of old
	now := epoch.Add(3 * time.Second)
	for key, want := range map[string][3]int64{"old": {0, 0, 5}, "new": {7, 7, 7}, "newer": {1, 1, 6}, "never": {0, 0, 5}} {
		lo, hi := k.Bounds(now, key)
		if n := k.CountAt(now, key); n != want[0] || lo != want[1] || hi != want[2] {
			t.Errorf("%s: %d of %d to %d, want %v", key, n, lo, hi, want)
		}
	}
	require.EqualValues(t, 1, k.Stats().Forgotten)

	// What is lost goes out of the window like everything else.
	now = epoch.Add(61 * time.Second)
	k.HitAt(now, "new")
	lo, hi := k.Bounds(now, "old")
	require.Zero(t, lo)
	require.Zero(t, hi)

	require.Equal(t, 2, k.Len())
	require.Equal(t, 1, k.ForgetIdle(now.Add(time.Minute-2*time.Second)), "newer is idle")
	require.Equal(t, 1, k.Len())
	require.Equal(t, 1, k.ForgetIdle(now.Add(time.Minute)))
	require.Equal(t, KeyedStats{Stats{Hits: 14}, 3}, k.Stats().Sub(KeyedStats{}))
	k.Clear()
	require.Zero(t, k.Stats())
}

// A key that is not equal to itself could never be found again.
func TestKeyedDropsNaN(t *testing.T) {
	k := NewKeyed[float64](time.Minute, 10, nil)
	for range 100 {
		k.HitAt(epoch, math.NaN())
	}
	require.Zero(t, k.Len())
	require.EqualValues(t, 100, k.Stats().Dropped)
	require.Zero(t, k.CountAt(epoch, math.NaN()))
}
