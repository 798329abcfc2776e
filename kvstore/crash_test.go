package kvstore

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
)

// More histories than the few of every run:
//
//	go test -run 'Crash|Fault' ./kvstore -crash.histories=200 -timeout=2h
var (
	crashHistories = flag.Int("crash.histories", 1, "histories of the crash tests")
	crashSteps     = flag.Int("crash.steps", 80, "operations of a history that is crashed at every call")
)

var background = context.Background()

// A write is one atomic change: a nil value is a delete.
type write map[string][]byte

// A history is what was written to a store, and how much of it must survive.
type history struct {
	rng  *rand.Rand
	opts Options
	ops  int

	mu        sync.Mutex
	attempted []write
	synced    int // of attempted, how many are durable
	written   int // survive the process
}

func newHistory(seed uint64, opts Options, ops int) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 1)), opts: opts, ops: ops}
}

func (h *history) open(m *vfs.Mem) (*Store, error) {
	opts := h.opts
	opts.FS = m
	return Open("", &opts)
}

// begin notes that a write is attempted, done that it was acknowledged.
func (h *history) begin(w write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempted = append(h.attempted, w)
}

func (h *history) done(d Durability) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d == Synced {
		h.synced = len(h.attempted)
	}
	if d <= Written {
		h.written = len(h.attempted)
	}
}

// run does the same operations every time, whatever they return, until the
// store has failed.
func (h *history) run(m *vfs.Mem) {
	s, err := h.open(m)
	if err != nil {
		return
	}
	for range h.ops {
		if s = h.step(m, s); s == nil {
			return
		}
	}
	if s.Close() == nil {
		h.done(Synced)
	}
}

func (h *history) step(m *vfs.Mem, s *Store) *Store {
	rng := h.rng
	key := fmt.Appendf(nil, "key-%02d", rng.IntN(12))
	d := Synced + Durability(rng.IntN(3))
	opts := &WriteOptions{Durability: d}
	switch n := rng.IntN(100); {
	case n < 80:
		var b Batch
		w := write{}
		for range 1 + max(0, rng.IntN(8)-4) {
			if rng.IntN(4) == 0 {
				b.Delete(key)
				w[string(key)] = nil
			} else {
				value := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, 1+rng.IntN(30)*rng.IntN(30))
				b.Put(key, value)
				w[string(key)] = value
			}
			key = fmt.Appendf(nil, "key-%02d", rng.IntN(12))
		}
		h.begin(w)
		if err := s.Apply(&b, opts); err == nil {
			h.done(d)
		} else if !errors.Is(err, ErrFailed) {
			h.forget()
		}
	case n < 85:
		if s.Sync() == nil {
			h.done(Synced)
		}
	case n < 92:
		_ = s.Merge(background)
	case n < 95:
		if s.Close() == nil {
			h.done(Synced)
		}
		var err error
		if s, err = h.open(m); err != nil {
			return nil
		}
		h.settle(s)
	default:
		for range s.All() {
		}
	}
	return s
}

// settle forgets writes that failed and are not there when the store is opened
// again.
func (h *history) settle(s *Store) {
	got, err := contents(s)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if match := lastMatch(got, h.attempted, h.written); match >= 0 {
		h.attempted = h.attempted[:match:match]
		h.synced, h.written = match, match // Open syncs what it finds
	}
}

// lastMatch returns the largest number of writes, but no less than least, that
// make a state, or -1.
func lastMatch(got map[string]string, attempted []write, least int) int {
	state := map[string]string{}
	match := -1
	for i := 0; ; i++ {
		if i >= least && maps.Equal(state, got) {
			match = i
		}
		if i == len(attempted) {
			return match
		}
		for k, v := range attempted[i] {
			if delete(state, k); v != nil {
				state[k] = string(v)
			}
		}
	}
}

func stateAfter(writes []write) map[string]string {
	state := map[string]string{}
	for _, w := range writes {
		for k, v := range w {
			if delete(state, k); v != nil {
				state[k] = string(v)
			}
		}
	}
	return state
}

// forget takes a write back that was refused before it was appended.
func (h *history) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempted = h.attempted[:len(h.attempted)-1]
}

func (h *history) promise() crashtest.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	synced, written := h.synced, h.written
	return func(found *vfs.Mem, at crashtest.Point) error {
		least := synced
		if at.What == "killed" || at.What == "killed, recovered, power loss" || strings.HasSuffix(at.What, ", killed") {
			least = written
		}
		h.mu.Lock()
		attempted := h.attempted[:len(h.attempted):len(h.attempted)]
		h.mu.Unlock()
		return h.check(found, attempted, least)
	}
}

// check opens the store and demands that it is what the first so many of the
// writes make, that it takes more, and that it can be opened again.
func (h *history) check(found *vfs.Mem, attempted []write, least int) error {
	s, err := h.open(found)
	if err != nil {
		return err
	}
	got, err := contents(s)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if lastMatch(got, attempted, least) < 0 {
		return errors.Join(fmt.Errorf("found no state after %d to %d writes, last: %s", least, len(attempted), difference(got, stateAfter(attempted))), s.Close())
	}
	err = errors.Join(s.Verify(background), s.Put([]byte("more"), []byte("more"), nil), s.Merge(background), s.Close())
	if err != nil {
		return err
	}
	if s, err = h.open(found); err != nil {
		return err
	}
	again, err := contents(s)
	got["more"] = "more"
	if err == nil && !maps.Equal(got, again) {
		err = fmt.Errorf("opened again: %s", difference(again, got))
	}
	return errors.Join(err, s.Verify(background), s.Close())
}

// difference lists the keys with different values.
func difference(got, want map[string]string) string {
	var b strings.Builder
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if g, w := got[k], want[k]; g != w {
			fmt.Fprintf(&b, " %s = %.20q (%d bytes), want %.20q (%d bytes);", k, g, len(g), w, len(w))
		}
	}
	return b.String()
}

func contents(s *Store) (map[string]string, error) {
	all := map[string]string{}
	for e, err := range s.All() {
		if err != nil {
			return nil, err
		}
		all[string(e.Key)] = string(e.Value)
	}
	return all, nil
}

var crashOptions = []Options{
	{SegmentBytes: minSegment},
	{SegmentBytes: minSegment, Codec: LZ4, NoMap: true, DirectoryKeys: 4},
}

// TestCrashAtEveryCall loses power and kills the process before every call that
// changes a file, also while the store recovers and while it merges.
func TestCrashAtEveryCall(t *testing.T) {
	for i, opts := range crashOptions {
		for seed := range *crashHistories {
			t.Run(fmt.Sprintf("%d/%d", i, seed), func(t *testing.T) {
				t.Parallel()
				h := newHistory(uint64(seed), opts, *crashSteps)
				report, err := crashtest.History(crashtest.Options{Seed: uint64(seed), Every: 7, Recover: func(found *vfs.Mem) {
					if s, err := h.open(found); err == nil {
						_ = s.Close()
					}
				}}, h.run, h.promise)
				require.NoError(t, err)
				require.Greater(t, report.Recoveries, 0)
				require.Greater(t, len(h.attempted), *crashSteps/8)
			})
		}
	}
}

// TestFaultAtEveryCall lets every call fail, once or for good, writes be
// short, and the disk be full.
func TestFaultAtEveryCall(t *testing.T) {
	for i, opts := range crashOptions {
		for seed := range *crashHistories {
			t.Run(fmt.Sprintf("%d/%d", i, seed), func(t *testing.T) {
				t.Parallel()
				report, err := crashtest.Faults(crashtest.Options{Seed: uint64(seed), Every: 11}, func(m *vfs.Mem) crashtest.Check {
					h := newHistory(uint64(seed), opts, 60)
					h.run(m)
					return h.promise()
				})
				require.NoError(t, err)
				require.Greater(t, report.Calls, 50)
			})
		}
	}
}
