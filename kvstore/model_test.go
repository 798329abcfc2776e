package kvstore

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

// A model is a store and the map that it should be.
type model struct {
	t     testing.TB
	fs    *vfs.Mem
	opts  Options
	s     *Store
	keys  map[string]modelValue
	clock sync.Mutex
	now   time.Time
	snaps []modelSnapshot
}

type modelValue struct {
	value   string
	expires int64
}

type modelSnapshot struct {
	snap *Snapshot
	now  int64
	keys map[string]modelValue
}

func newModel(t testing.TB, opts Options) *model {
	m := &model{t: t, fs: vfs.NewMem(), opts: opts, keys: map[string]modelValue{}, now: time.UnixMilli(1_700_000_000_000)}
	m.opts.Now = func() time.Time {
		m.clock.Lock()
		defer m.clock.Unlock()
		return m.now
	}
	m.open()
	return m
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	m.clock.Lock()
	defer m.clock.Unlock()
	m.now = m.now.Add(d)
}

func (m *model) open() {
	m.t.Helper()
	m.opts.FS = m.fs
	s, err := Open("", &m.opts)
	require.NoError(m.t, err)
	m.s = s
}

func (m *model) close() {
	m.t.Helper()
	for _, n := range m.snaps {
		require.NoError(m.t, n.snap.Close())
	}
	m.snaps = nil
	require.NoError(m.t, m.s.Close())
	require.Empty(m.t, m.fs.Open(), "files left open")
}

// alive returns the sorted keys that have not expired.
func alive(keys map[string]modelValue, now int64) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for k, v := range keys {
			if (v.expires == 0 || v.expires > now) && !yield(k) {
				return
			}
		}
	})
}

// scanner is what a Store and a Snapshot have in common.
type scanner interface {
	Get([]byte) ([]byte, bool, error)
	Has([]byte) (bool, error)
}

func (m *model) checkGet(s scanner, keys map[string]modelValue, now int64, key string) {
	m.t.Helper()
	v, there := keys[key]
	there = there && (v.expires == 0 || v.expires > now)
	got, ok, err := s.Get([]byte(key))
	if err != nil || ok != there || ok && string(got) != v.value {
		m.t.Fatalf("Get(%q) = %.40q, %v, %v, want %.40q, %v", key, got, ok, err, v.value, there)
	}
	has, err := s.Has([]byte(key))
	if err != nil || has != there {
		m.t.Fatalf("Has(%q) = %v, %v, want %v", key, has, err, there)
	}
}

// check compares everything with the model.
func (m *model) check() {
	m.t.Helper()
	now := m.now.UnixMilli()
	want := alive(m.keys, now)
	var got []string
	for e, err := range m.s.All() {
		require.NoError(m.t, err)
		got = append(got, string(e.Key))
		v := m.keys[string(e.Key)]
		if string(e.Value) != v.value || (v.expires != 0) != !e.Expires.IsZero() || v.expires != 0 && e.Expires.UnixMilli() != v.expires {
			m.t.Fatalf("%q = %.40q until %v, want %.40q until %d", e.Key, e.Value, e.Expires, v.value, v.expires)
		}
	}
	require.Equal(m.t, want, got)
	if n := m.s.Len(); n < len(want) || n > len(m.keys) {
		m.t.Fatalf("Len() = %d, want %d to %d", n, len(want), len(m.keys))
	}
	slices.Reverse(want)
	got = got[:0]
	for e, err := range m.s.ScanBackward(nil, nil) {
		require.NoError(m.t, err)
		got = append(got, string(e.Key))
	}
	if !slices.Equal(want, got) {
		m.t.Fatalf("backward: %q, want %q", got, want)
	}
	for _, n := range m.snaps {
		var got []string
		for e, err := range n.snap.All() {
			require.NoError(m.t, err)
			got = append(got, string(e.Key))
			if v := n.keys[string(e.Key)]; string(e.Value) != v.value {
				m.t.Fatalf("snapshot: %q = %.40q, want %.40q", e.Key, e.Value, v.value)
			}
		}
		require.Equal(m.t, alive(n.keys, n.now), got)
	}
	checkStore(m.t, m.s)
}

// checkRange compares a range with the model, both ways.
func (m *model) checkRange(lo, hi []byte) {
	m.t.Helper()
	var want, up, down []string
	for _, k := range alive(m.keys, m.now.UnixMilli()) {
		if k >= string(lo) && (hi == nil || k < string(hi)) {
			want = append(want, k)
		}
	}
	for e, err := range m.s.Scan(lo, hi) {
		require.NoError(m.t, err)
		up = append(up, string(e.Key))
	}
	for e, err := range m.s.ScanBackward(lo, hi) {
		require.NoError(m.t, err)
		down = append(down, string(e.Key))
	}
	slices.Reverse(down)
	if !slices.Equal(up, want) || !slices.Equal(down, want) {
		m.t.Fatalf("range %q to %q: %q and backward %q, want %q", lo, hi, up, down, want)
	}
}

func (m *model) put(key, value []byte, opts *WriteOptions) {
	m.t.Helper()
	require.NoError(m.t, m.s.Put(key, value, opts))
	m.keys[string(key)] = modelValue{string(value), expiryOf(opts, m.opts.Now)}
}

func (m *model) delete(key []byte, opts *WriteOptions) {
	m.t.Helper()
	require.NoError(m.t, m.s.Delete(key, opts))
	delete(m.keys, string(key))
}

// step does one operation chosen by rng.
func (m *model) step(rng *rand.Rand, makeKey func() []byte) {
	m.t.Helper()
	key := makeKey()
	opts := &WriteOptions{Durability: Durability(rng.IntN(4))}
	switch n := rng.IntN(100); {
	case n < 40:
		if rng.IntN(5) == 0 {
			opts.TTL = time.Duration(1+rng.IntN(100)) * time.Second
		}
		m.put(key, makeValue(rng), opts)
	case n < 55:
		m.delete(key, opts)
	case n < 65:
		var b Batch
		next := maps.Clone(m.keys)
		for range rng.IntN(20) {
			if key := makeKey(); rng.IntN(3) == 0 {
				b.Delete(key)
				delete(next, string(key))
			} else {
				value := makeValue(rng)
				b.Put(key, value)
				next[string(key)] = modelValue{value: string(value)}
			}
		}
		require.NoError(m.t, m.s.Apply(&b, opts))
		m.keys = next
	case n < 85:
		m.checkGet(m.s, m.keys, m.now.UnixMilli(), string(key))
		if len(m.snaps) > 0 {
			snap := m.snaps[rng.IntN(len(m.snaps))]
			m.checkGet(snap.snap, snap.keys, snap.now, string(key))
		}
	case n < 90:
		lo, hi := key, makeKey()
		if bytes.Compare(lo, hi) > 0 {
			lo, hi = hi, lo
		}
		m.checkRange(lo, hi)
	case n < 92:
		if n := len(m.snaps); n == 4 {
			require.NoError(m.t, m.snaps[0].snap.Close())
			m.snaps = m.snaps[1:]
		}
		snap, err := m.s.Snapshot()
		require.NoError(m.t, err)
		m.snaps = append(m.snaps, modelSnapshot{snap, m.now.UnixMilli(), maps.Clone(m.keys)})
	case n < 94:
		m.pass(time.Duration(rng.IntN(10)) * time.Second)
	case n < 95:
		require.NoError(m.t, m.s.Merge(m.t.Context()))
	case n < 96:
		m.check()
	case n < 97:
		m.close()
		m.open()
		m.check()
	case n < 98:
		require.NoError(m.t, m.s.Sync())
	}
}

func makeValue(rng *rand.Rand) []byte {
	n := rng.IntN(200)
	if rng.IntN(40) == 0 {
		n = rng.IntN(40000)
	}
	value := make([]byte, n)
	for i := range value {
		value[i] = byte('a' + rng.IntN(1+n%20))
	}
	return value
}

// checkStore verifies what the documentation of the types says of their
// insides. Nobody may be writing.
func checkStore(t testing.TB, s *Store) {
	t.Helper()
	s.keeper.work.Lock()
	defer s.keeper.work.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	checkTree(t, s.dir)
	live := map[uint32]int64{}
	var c cursor
	var key []byte
	for c.seek(s.dir.root.Load(), nil); c.valid(); c.next() {
		at := c.leaf.items[c.at].at
		if at.dead() {
			continue
		}
		g := s.segment(at.slot())
		if !slices.Contains(s.version.segments, g) {
			t.Fatalf("a key is in a segment that is gone")
		}
		live[at.slot()] += int64(c.leaf.items[c.at].size)
		var b readBuffer
		key = c.leaf.appendKey(key[:0], c.at)
		if err := s.read(at, c.leaf.items[c.at].size, &b); err != nil || !bytes.Equal(b.rec.key, key) {
			t.Fatalf("record of %q: %q, %v", key, b.rec.key, err)
		}
	}
	var total, used int64
	sealed := true
	for _, g := range s.version.segments {
		if g.kind == logSegment {
			if g.sealed && !sealed {
				t.Fatalf("%s is sealed, but one before is not", g.name())
			}
			sealed = g.sealed
		}
		kept := int64(0)
		if g.kind == tableSegment {
			var hc hintCursor
			for err := hc.first(g.hint); hc.valid(); err = hc.next() {
				require.NoError(t, err)
				if hc.kind == kindDelete {
					kept += int64(hc.size)
				}
			}
		}
		// Deletes that a table keeps count until a newer put of the key has been
		// noticed, which is at the next Open.
		if got, want := g.live.Load(), live[g.slot]; len(s.coldSegments()) == 0 && (got < want || got > want+kept) {
			t.Fatalf("%s: %d bytes live, want %d to %d", g.name(), got, want, want+kept)
		}
		total += g.live.Load()
		size := g.size()
		if g == s.log.active {
			size = g.offset(s.log.end)
		}
		used += size - headerBytes
	}
	if total != s.liveBytes.Load() || used != s.used.Load() {
		t.Fatalf("%d bytes live of %d, want %d of %d", s.liveBytes.Load(), s.used.Load(), total, used)
	}
}

var metamorphic = []Options{
	{},
	{SegmentBytes: minSegment},
	{SegmentBytes: minSegment, Codec: LZ4},
	{SegmentBytes: minSegment, Codec: LZ4, CacheBytes: 1 << 20, RawBytes: 100},
	{SegmentBytes: minSegment, NoMap: true},
	{SegmentBytes: minSegment, NoMap: true, Codec: LZ4, CacheBytes: 64 << 10},
	{SegmentBytes: minSegment, ManualMerge: true},
	{SegmentBytes: minSegment, MergeRate: 1 << 30, Durability: Buffered},
	{SegmentBytes: minSegment, DirectoryKeys: 3},
	{SegmentBytes: minSegment, DirectoryKeys: 20, Codec: LZ4, NoMap: true},
}

// TestStoreIsAMap runs the same operations under all kinds of options, each
// against a map.
func TestStoreIsAMap(t *testing.T) {
	for i, opts := range metamorphic {
		for shape := range 4 {
			t.Run(fmt.Sprintf("%d/%d", i, shape), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(7, uint64(shape)))
				m := newModel(t, opts)
				makeKey := keyMaker(shape, rng)
				for range 400 {
					m.step(rng, makeKey)
				}
				m.check()
				m.close()
				m.open()
				m.check()
				m.close()
			})
		}
	}
}
