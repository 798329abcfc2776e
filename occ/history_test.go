package occ_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// A history is what transactions did to lists that are only appended to, each
// time by another number. Elle (Kingsbury and Alvaro, 2020) showed that such
// lists tell the order of everything: the longest one read of a key is the
// order of its writers, and a shorter one says where its reader stood.
//
// Attempts that did not commit take part as readers: that is opacity.
type history struct {
	txns []*listTxn
}

type listTxn struct {
	name       string
	reads      map[int][]int // by key
	appends    map[int][]int // by key, in order
	start, end int           // ticks; a transaction that ended before another began precedes it
}

// cycle returns a cycle of transactions of which each must come before the
// next, "" if there is none, so that an order explains the history.
func (h *history) cycle() (string, error) {
	longest := map[int][]int{}
	for _, t := range h.txns {
		for key, list := range t.reads {
			if len(list) > len(longest[key]) {
				longest[key] = list
			}
		}
	}
	writer := map[[2]int]*listTxn{} // by key and number
	for _, t := range h.txns {
		for key, numbers := range t.appends {
			for _, n := range numbers {
				writer[[2]int{key, n}] = t
			}
		}
	}
	type edge struct {
		to  *listTxn
		why string
	}
	edges := map[*listTxn][]edge{}
	add := func(from, to *listTxn, why string, key int) {
		if from != nil && to != nil && from != to {
			edges[from] = append(edges[from], edge{to, fmt.Sprintf("%s on %d", why, key)})
		}
	}
	for key, list := range longest {
		for i, n := range list {
			if writer[[2]int{key, n}] == nil {
				return "", fmt.Errorf("%d of key %d was never committed", n, key)
			}
			if i > 0 {
				add(writer[[2]int{key, list[i-1]}], writer[[2]int{key, n}], "ww", key)
			}
		}
	}
	for _, t := range h.txns {
		for key, read := range t.reads {
			if !slices.Equal(read, longest[key][:len(read)]) {
				return "", fmt.Errorf("%s read %v of key %d, which is %v", t.name, read, key, longest[key])
			}
			if len(read) > 0 {
				add(writer[[2]int{key, read[len(read)-1]}], t, "wr", key)
			}
			if len(read) < len(longest[key]) {
				add(t, writer[[2]int{key, longest[key][len(read)]}], "rw", key)
			}
		}
	}
	// Real time: t precedes whoever began after its end. It is enough to draw
	// that to those who began before the first of these has ended.
	byStart := slices.Clone(h.txns)
	slices.SortFunc(byStart, func(a, b *listTxn) int { return a.start - b.start })
	for _, t := range h.txns {
		from, _ := slices.BinarySearchFunc(byStart, t.end, func(x *listTxn, end int) int { return x.start - end })
		first := -1
		for _, later := range byStart[from:] {
			if first >= 0 && later.start > first {
				break
			}
			if first < 0 || later.end < first {
				first = later.end
			}
			add(t, later, "time", 0)
		}
	}
	const walking, done = 1, 2
	states := map[*listTxn]int{}
	var path []*listTxn
	var walk func(t *listTxn) string
	walk = func(t *listTxn) string {
		states[t] = walking
		path = append(path, t)
		for _, e := range edges[t] {
			if states[e.to] == walking {
				return describe(append(path[slices.Index(path, e.to):], e.to), func(from, to *listTxn) string {
					return edges[from][slices.IndexFunc(edges[from], func(e edge) bool { return e.to == to })].why
				})
			}
			if states[e.to] == 0 {
				if found := walk(e.to); found != "" {
					return found
				}
			}
		}
		states[t] = done
		path = path[:len(path)-1]
		return ""
	}
	for _, t := range h.txns {
		if states[t] == 0 {
			if found := walk(t); found != "" {
				return found, nil
			}
		}
	}
	return "", nil
}

func describe(path []*listTxn, why func(from, to *listTxn) string) string {
	var text strings.Builder
	text.WriteString(path[0].name)
	for i, to := range path[1:] {
		text.WriteString(fmt.Sprintf(" -%s-> %s", why(path[i], to), to.name))
	}
	return text.String()
}

// The checker finds what it is there for.
func TestCheckerFindsAnomalies(t *testing.T) {
	type lists = map[int][]int
	final := &listTxn{name: "final", start: 90, end: 99}
	for name, c := range map[string]struct {
		txns  []*listTxn
		final lists
		want  string
	}{
		"serial": {[]*listTxn{
			{"A", lists{1: nil}, lists{1: {1}}, 1, 2},
			{"B", lists{1: {1}}, lists{1: {2}}, 3, 4},
		}, lists{1: {1, 2}}, ""},
		"lost update": {[]*listTxn{
			{"A", lists{1: nil}, lists{1: {1}}, 1, 9},
			{"B", lists{1: nil}, lists{1: {2}}, 2, 8},
		}, lists{1: {1, 2}}, "rw"},
		"write skew": {[]*listTxn{
			{"A", lists{2: nil}, lists{1: {1}}, 1, 9},
			{"B", lists{1: nil}, lists{2: {2}}, 2, 8},
		}, lists{1: {1}, 2: {2}}, "rw"},
		"read skew": {[]*listTxn{
			{"A", nil, lists{1: {1}, 2: {1}}, 1, 9},
			{"B", lists{1: {1}, 2: nil}, nil, 2, 8},
		}, lists{1: {1}, 2: {1}}, "wr"},
		"stale read": {[]*listTxn{
			{"A", nil, lists{1: {1}}, 1, 2},
			{"B", lists{1: nil}, nil, 3, 4},
		}, lists{1: {1}}, "time"},
		"dirty read": {[]*listTxn{
			{"A", lists{1: {7}}, nil, 1, 2},
		}, lists{}, "never committed"},
		"two orders": {[]*listTxn{
			{"A", nil, lists{1: {1}}, 1, 9},
			{"B", lists{1: {2}}, lists{1: {2}}, 2, 8},
		}, lists{1: {1, 2}}, "which is"},
	} {
		t.Run(name, func(t *testing.T) {
			end := *final
			end.reads = c.final
			found, err := (&history{append(c.txns, &end)}).cycle()
			if err != nil {
				found = err.Error()
			}
			if (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// Random transactions on a few lists, in parallel, leave a history without a
// cycle: reads one by one and in loops, appends by Put and by Apply, keys that
// come into being, locks, and all attempts that did not commit.
func TestHistoriesAreSerializableConcurrentSafe(t *testing.T) {
	type store = occ.Store[int, []int]
	for name, open := range map[string]func() *store{
		"memory":          func() *store { return occ.New[int, []int](nil) },
		"log":             func() *store { return open(new(memoryLog[int, []int])) },
		"escalating soon": func() *store { return occ.New[int, []int](&occ.Options{EscalateAfter: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			const keys, workers, each = 5, 4, 400
			var mu sync.Mutex
			var h history
			tick, number := 0, 0
			now := func() int {
				mu.Lock()
				defer mu.Unlock()
				tick++
				return tick
			}
			record := func(t *listTxn) {
				t.end = now()
				mu.Lock()
				defer mu.Unlock()
				h.txns = append(h.txns, t)
			}
			next := func() int {
				mu.Lock()
				defer mu.Unlock()
				number++
				return number
			}
			var wg sync.WaitGroup
			for worker := range workers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(worker), 1))
					for i := range each {
						script := rand.New(rand.NewPCG(r.Uint64(), 2))
						var current *listTxn
						attempts, begun := 0, now()
						body := func(tx *occ.Tx[int, []int], readonly bool) error {
							if current != nil { // the attempt before was in vain
								current.appends = nil
								record(current)
								begun = current.end // its snapshot is older than this call
							}
							current = &listTxn{name: fmt.Sprintf("%d.%d.%d", worker, i, attempts), reads: map[int][]int{}, appends: map[int][]int{}, start: begun}
							attempts++
							read := func(key int, list []int) {
								if mine := len(current.appends[key]); mine > 0 { // not what it appended itself
									list = list[:len(list)-mine]
								}
								if old, ok := current.reads[key]; ok && !slices.Equal(old, list) {
									mu.Lock()
									defer mu.Unlock()
									t.Errorf("%s read %v and %v of key %d", current.name, old, list, key)
								}
								current.reads[key] = list
							}
							for range 1 + script.IntN(4) {
								key := script.IntN(keys)
								switch op := script.IntN(8); {
								case op < 3:
									list, _ := tx.Get(key)
									read(key, list)
								case op == 3:
									seen := map[int][]int{}
									for key, list := range tx.Range(key, keys) {
										seen[key] = list
										runtime.Gosched()
									}
									for key := key; key < keys; key++ {
										read(key, seen[key])
									}
								case readonly:
								case op == 4 && attempts == 1:
									if err := tx.Lock(key, (key+2)%keys); err != nil {
										return err
									}
								case op < 6:
									list, _ := tx.Get(key)
									read(key, list)
									n := next()
									current.appends[key] = append(current.appends[key], n)
									tx.Put(key, append(slices.Clip(list), n))
								default:
									n := next()
									current.appends[key] = append(current.appends[key], n)
									tx.Apply(key, func(list []int) []int { return append(slices.Clip(list), n) })
								}
								if script.IntN(2) == 0 {
									runtime.Gosched()
								}
							}
							return nil
						}
						var err error
						if script.IntN(4) == 0 {
							err = s.View(t.Context(), func(tx *occ.Tx[int, []int]) error { return body(tx, true) })
						} else {
							err = s.Update(t.Context(), func(tx *occ.Tx[int, []int]) error { return body(tx, false) })
						}
						if err != nil {
							t.Error(err)
						}
						record(current)
					}
				})
			}
			wg.Wait()
			require.NoError(t, s.CheckInvariants())
			final := &listTxn{name: "final", reads: map[int][]int{}, start: now()}
			for key := range keys {
				final.reads[key], _, _ = s.Load(key)
			}
			record(final)
			cycle, err := h.cycle()
			require.NoError(t, err)
			require.Empty(t, cycle)
			total := 0
			for _, t := range h.txns {
				for _, numbers := range t.appends {
					total += len(numbers)
				}
			}
			for _, list := range final.reads {
				total -= len(list)
			}
			require.Zero(t, total, "appended and lost")
			t.Logf("%d attempts, %+v", len(h.txns), s.Stats())
		})
	}
}
