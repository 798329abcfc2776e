package hitcounter

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// A Keyed counts hits by key, in bounded memory: it holds so many keys at most,
// and forgets the one that was not hit for the longest time to make room.
// Create one with [NewKeyed].
//
// A Keyed is safe for concurrent use by multiple goroutines.
type Keyed[K comparable] struct {
	clock
	grid
	seed  maphash.Seed
	parts []*part[K]
}

// A part holds the keys of some hashes.
//
//	index    key -> number of its entry
//	entries  0 <-> hit most recently <-> ... <-> hit longest ago <-> 0
//	cells    those of entry 0, those of entry 1, ...
//	lost     hits of keys that were forgotten
//
// Invariants: index has the entries of the list that begins at entry 0, and
// capacity of them at most; all others are in free. Hits of a key that were
// lost before its entry was made are not after its since; no lost hits are
// after the part's.
type part[K comparable] struct {
	grid     grid
	width    int // cells of an entry
	capacity int

	mu      sync.Mutex
	index   map[K]int32
	entries []keyEntry[K]
	cells   cells
	free    []int32
	lost    cells
	ledger  ledger // of lost, and for keys that have no entry
	since   int64
	strange int64 // hits of keys that are not equal to themselves
	forgot  int64 // keys
}

type keyEntry[K comparable] struct {
	key        K
	next, prev int32
	ledger     ledger
	since      int64
}

// KeyedStats are counts of what happened since a Keyed was made or cleared.
type KeyedStats struct {
	Stats
	Forgotten int64 // keys that had to make room, or were idle
}

// Sub returns what happened since earlier.
func (s KeyedStats) Sub(earlier KeyedStats) KeyedStats {
	return KeyedStats{s.Stats.Sub(earlier.Stats), s.Forgotten - earlier.Forgotten}
}

// NewKeyed returns a counter of the hits in a window by key, which holds as
// many keys as capacity says at most. A key takes 16 bytes for each slot of a
// window and a quarter more of them, up to the next power of two, and about 100
// bytes and its own size twice. It panics if capacity is not positive or above
// 2^30, if there are more stripes than keys or more than 4096, and where
// [NewRing] does.
func NewKeyed[K comparable](window time.Duration, capacity int, opts *Options) *Keyed[K] {
	if opts == nil {
		opts = &Options{}
	}
	if capacity <= 0 || capacity > 1<<30 {
		panic(fmt.Sprintf("hitcounter: NewKeyed with a capacity of %d", capacity))
	}
	k := &Keyed[K]{clock: newClock(opts), grid: newGrid("NewKeyed", window, opts, 10), seed: maphash.MakeSeed()}
	n := opts.stripes("NewKeyed", min(max(1, capacity/256), 16))
	if n > capacity {
		panic(fmt.Sprintf("hitcounter: NewKeyed with %d stripes for %d keys", n, capacity))
	}
	width := k.rows("NewKeyed")
	for i := range n {
		p := &part[K]{grid: k.grid, width: width, capacity: (capacity + i) / n}
		p.clear()
		k.parts = append(k.parts, p)
	}
	return k
}

// Hit counts a hit of a key at the present.
func (k *Keyed[K]) Hit(key K) { k.part(key).add(k.clock.instant(), key, 1) }

// HitAt counts a hit of a key at t. If that is older than the latest hit of the
// key by a window and a quarter, it may be dropped.
func (k *Keyed[K]) HitAt(t time.Time, key K) { k.part(key).add(instant(t), key, 1) }

// AddAt counts n hits of a key at t, as HitAt does. It panics if n is negative.
func (k *Keyed[K]) AddAt(t time.Time, key K, n int64) {
	if n <= 0 {
		atLeastZero(n)
		return
	}
	k.part(key).add(instant(t), key, n)
}

// Count returns CountAt of the present.
func (k *Keyed[K]) Count(key K) int64 { return k.part(key).count(k.clock.instant(), key) }

// CountAt estimates the hits of a key in the window that ends at t, as that of
// a [Ring] does. Hits from before the key was forgotten are not among them.
func (k *Keyed[K]) CountAt(t time.Time, key K) int64 { return k.part(key).count(instant(t), key) }

// Bounds returns the certain interval of the number of hits of a key in the
// window that ends at t, as that of a [Ring] does. If hits of the key may have
// been forgotten, all forgotten hits of its stripe that may be in the window
// count for hi.
func (k *Keyed[K]) Bounds(t time.Time, key K) (lo, hi int64) {
	p := k.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	y := p.tally(instant(t), key)
	return y.bounds()
}

// Top iterates over the n keys with the highest counts in the window that ends
// at t, the highest first, as they were when the iteration began. Keys without
// hits are not among them. It takes time in proportion to Len.
func (k *Keyed[K]) Top(t time.Time, n int) iter.Seq2[K, int64] {
	return func(yield func(K, int64) bool) {
		var best []keyCount[K]
		sort := func() {
			slices.SortStableFunc(best, func(a, b keyCount[K]) int { return cmp.Compare(b.n, a.n) })
			best = best[:min(max(n, 0), len(best))]
		}
		for _, p := range k.parts {
			for _, counted := range p.counts(instant(t)) {
				if best = append(best, counted); len(best)/2 > n {
					sort()
				}
			}
		}
		sort()
		for _, counted := range best {
			if !yield(counted.key, counted.n) {
				return
			}
		}
	}
}

// All iterates over the keys that have hits in the window that ends at t, and
// their counts, in no particular order. It takes one stripe after the other as
// it is then; the body may call the counter.
func (k *Keyed[K]) All(t time.Time) iter.Seq2[K, int64] {
	return func(yield func(K, int64) bool) {
		for _, p := range k.parts {
			for _, counted := range p.counts(instant(t)) {
				if !yield(counted.key, counted.n) {
					return
				}
			}
		}
	}
}

type keyCount[K comparable] struct {
	key K
	n   int64
}

// Len returns the number of keys held, with and without hits in a window.
func (k *Keyed[K]) Len() (n int) {
	for _, p := range k.parts {
		p.mu.Lock()
		n += len(p.index)
		p.mu.Unlock()
	}
	return n
}

// ForgetIdle forgets the keys that have no hits after the start of the window
// that ends at t, and returns how many. There is no need to call it: new keys
// take the places of those that were not hit for the longest time, idle ones
// first.
func (k *Keyed[K]) ForgetIdle(t time.Time) (n int) {
	start := tallyAt(instant(t), k.window).after
	for _, p := range k.parts {
		n += p.forgetIdle(start)
	}
	return n
}

// Stats returns what happened since the counter was made or cleared.
func (k *Keyed[K]) Stats() KeyedStats {
	var sum KeyedStats
	for _, p := range k.parts {
		p.mu.Lock()
		stats := p.ledger.stats(p.lost.held())
		for _, i := range p.index {
			own := p.entries[i].ledger.stats(p.of(i).held())
			stats.Hits = add(stats.Hits, own.Hits)
			stats.Dropped = add(stats.Dropped, own.Dropped)
		}
		sum.Hits = add(sum.Hits, stats.Hits)
		sum.Dropped = add(add(sum.Dropped, stats.Dropped), p.strange)
		sum.Forgotten += p.forgot
		p.mu.Unlock()
	}
	return sum
}

// Clear forgets all keys and hits, the dropped ones too, and gives the memory
// back.
func (k *Keyed[K]) Clear() {
	for _, p := range k.parts {
		p.mu.Lock()
		p.clear()
		p.mu.Unlock()
	}
}

// Window returns the length of the window.
func (k *Keyed[K]) Window() time.Duration { return time.Duration(k.window) }

// Resolution returns the length of a slot.
func (k *Keyed[K]) Resolution() time.Duration { return time.Duration(k.resolution) }

func (k *Keyed[K]) part(key K) *part[K] {
	if len(k.parts) == 1 {
		return k.parts[0]
	}
	i, _ := bits.Mul64(maphash.Comparable(k.seed, key), uint64(len(k.parts)))
	return k.parts[i]
}

func (p *part[K]) clear() {
	p.index, p.free = map[K]int32{}, nil
	p.entries = make([]keyEntry[K], 1)
	p.cells = make(cells, p.width)
	p.lost = make(cells, p.width)
	p.lost.clear()
	p.ledger, p.since, p.strange, p.forgot = newLedger(), tooEarly, 0, 0
}

// of returns the cells of an entry.
func (p *part[K]) of(i int32) cells {
	return p.cells[int(i)*p.width : (int(i)+1)*p.width]
}

func (p *part[K]) add(at int64, key K, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index[key]
	switch {
	case key != key:
		p.strange = add(p.strange, n)
		return
	case at >= minTime && at <= maxTime:
	case ok:
		p.entries[i].ledger.outside(at, n)
		return
	default:
		p.ledger.outside(at, n)
		p.since = max(p.since, minTime-1)
		return
	}
	if !ok {
		i = p.admit(key, at)
	}
	slot := p.grid.slot(at)
	entry := &p.entries[i]
	if !p.of(i).add(&p.grid, &entry.ledger, slot, n) {
		entry.ledger.drop(p.grid.end(slot), n)
		return
	}
	if p.entries[0].next != i {
		p.unlink(i)
		p.link(i)
	}
}

// admit makes an entry for a key, and room for it. It forgets up to two idle
// keys, so that they become fewer as long as new keys come.
func (p *part[K]) admit(key K, at int64) int32 {
	for range 2 {
		oldest := p.entries[0].prev
		if oldest == 0 || p.of(oldest).latest(&p.grid) > at-p.grid.window {
			break
		}
		p.forget(oldest)
	}
	if len(p.index) == p.capacity {
		p.forget(p.entries[0].prev)
	}
	var i int32
	if n := len(p.free); n > 0 {
		i = p.free[n-1]
		p.free = p.free[:n-1]
	} else {
		i = int32(len(p.entries))
		p.entries = append(p.entries, keyEntry[K]{})
		for range p.width {
			p.cells = append(p.cells, cell{})
		}
	}
	p.of(i).clear()
	p.entries[i] = keyEntry[K]{key: key, ledger: newLedger(), since: p.since}
	p.index[key] = i
	p.link(i)
	return i
}

// link puts an entry at the front of the list.
func (p *part[K]) link(i int32) {
	first := p.entries[0].next
	p.entries[i].prev, p.entries[i].next = 0, first
	p.entries[first].prev = i
	p.entries[0].next = i
}

func (p *part[K]) unlink(i int32) {
	e := &p.entries[i]
	p.entries[e.prev].next = e.next
	p.entries[e.next].prev = e.prev
}

// forget removes an entry. What it knew of hits is added to what is lost.
func (p *part[K]) forget(i int32) {
	e := &p.entries[i]
	p.since = max(p.since, p.of(i).latest(&p.grid)) // which is after all that the ledger has
	p.ledger.merge(e.ledger)
	for _, cell := range p.of(i) {
		if cell.slot != empty && !p.lost.add(&p.grid, &p.ledger, cell.slot, cell.n) {
			p.ledger.expire(p.grid.end(cell.slot), cell.n)
		}
	}
	p.unlink(i)
	delete(p.index, e.key)
	*e = keyEntry[K]{}
	p.free = append(p.free, i)
	p.forgot++
}

func (p *part[K]) forgetIdle(start int64) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.entries[0].next; i != 0; {
		next := p.entries[i].next
		if p.of(i).latest(&p.grid) <= start {
			p.forget(i)
			n++
		}
		i = next
	}
	return n
}

func (p *part[K]) count(at int64, key K) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index[key]
	if !ok {
		return 0
	}
	return p.countEntry(at, i)
}

func (p *part[K]) countEntry(at int64, i int32) int64 {
	y := tallyAt(at, p.grid.window)
	p.of(i).tally(&p.grid, &y)
	y.settle(&p.entries[i].ledger)
	return y.count()
}

// counts returns the keys that have hits in a window.
func (p *part[K]) counts(at int64) (list []keyCount[K]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.entries[0].next; i != 0; i = p.entries[i].next {
		if n := p.countEntry(at, i); n > 0 {
			list = append(list, keyCount[K]{p.entries[i].key, n})
		}
	}
	return list
}

func (p *part[K]) tally(at int64, key K) tally {
	y := tallyAt(at, p.grid.window)
	lost := y
	since := p.since
	if i, ok := p.index[key]; ok {
		since = p.entries[i].since
		p.of(i).tally(&p.grid, &y)
		y.settle(&p.entries[i].ledger)
	}
	if y.after < since || y.hidden {
		p.lost.tally(&p.grid, &lost)
		lost.settle(&p.ledger)
		y.partial = add(y.partial, add(lost.certain, lost.partial))
	}
	return y
}
