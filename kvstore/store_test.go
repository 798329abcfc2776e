package kvstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

func openDir(t testing.TB, dir string, opts *Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestLimits(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	long := make([]byte, MaxKeyBytes+1)
	require.ErrorIs(t, s.Put(long, nil, nil), ErrKeyTooLarge)
	require.ErrorIs(t, s.Delete(long, nil), ErrKeyTooLarge)
	require.ErrorIs(t, s.Put([]byte("k"), make([]byte, MaxValueBytes+1), nil), ErrValueTooLarge)
	var b Batch
	b.Put(long, nil)
	b.Put([]byte("k"), nil)
	require.ErrorIs(t, s.Apply(&b, nil), ErrKeyTooLarge)
	require.Zero(t, s.Len())
	_, ok, err := s.Get(long)
	require.NoError(t, err)
	require.False(t, ok)

	require.NoError(t, s.Put(long[1:], []byte("v"), nil))
	require.NoError(t, s.Put(nil, nil, nil)) // the empty key is a key
	value, ok, err := s.Get([]byte{})
	require.NoError(t, err)
	require.True(t, ok)
	require.NotNil(t, value)
	require.Empty(t, value)
	value, ok, err = s.Get(long[1:])
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", string(value))
	require.Error(t, s.Put([]byte("k"), nil, &WriteOptions{Durability: 9}))
}

func TestBadOptions(t *testing.T) {
	for _, opts := range []Options{
		{SegmentBytes: 1}, {SegmentBytes: 1 << 40}, {Durability: 9}, {FlushAfter: -1}, {RawBytes: maxBlock + 1}, {CacheBytes: -1},
		{Codec: badCodec{}},
	} {
		_, err := Open(t.TempDir(), &opts)
		require.Error(t, err)
	}
}

type badCodec struct{}

func (badCodec) ID() byte                                           { return 3 }
func (badCodec) Append(dst, src []byte) []byte                      { return append(dst, src...) }
func (badCodec) Decode(dst, src []byte, length int) ([]byte, error) { return append(dst, src...), nil }

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, nil)
	_, err := Open(dir, nil)
	require.ErrorIs(t, err, ErrLocked)
	_, err = Repair(dir, nil)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.Close())
	openDir(t, dir, nil)
}

func TestClosed(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	require.NoError(t, s.Put([]byte("k"), []byte("v"), nil))
	snap, err := s.Snapshot()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Put(nil, nil, nil), ErrClosed)
	_, _, err = s.Get(nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Snapshot()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Sync(), ErrClosed)
	require.ErrorIs(t, s.Merge(t.Context()), ErrClosed)
	require.ErrorIs(t, s.Verify(t.Context()), ErrClosed)
	for _, err := range s.All() {
		require.ErrorIs(t, err, ErrClosed)
	}
	value, ok, err := snap.Get([]byte("k")) // goes on until it is closed
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", string(value))
	require.NoError(t, snap.Close())
	require.NoError(t, snap.Close())
	_, _, err = snap.Get([]byte("k"))
	require.ErrorIs(t, err, ErrClosed)
}

func TestAnEmptyStoreIsSmall(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, nil)
	size := func() (total int64) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if info, err := d.Info(); err == nil && !d.IsDir() {
				total += info.Size()
			}
			return err
		}))
		return total
	}
	require.LessOrEqual(t, size(), int64(64<<10))
	require.NoError(t, s.Put([]byte("k"), []byte("v"), nil))
	require.LessOrEqual(t, size(), int64(64<<10))
	require.NoError(t, s.Close())
	require.LessOrEqual(t, size(), int64(2<<10))
}

// TestNothingRunsWhenIdle relies on synctest, which fails if a goroutine is left,
// and in which time passes only when all goroutines wait.
func TestNothingRunsWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		s, err := Open("", &Options{FS: m, SegmentBytes: minSegment, FlushAfter: time.Minute})
		require.NoError(t, err)
		for i := range 1000 {
			require.NoError(t, s.Put(fmt.Appendf(nil, "%d", i%10), make([]byte, 100), buffered))
		}
		before := s.log.gc.Written()
		require.NoError(t, s.Put([]byte("k"), []byte("buffered"), buffered))
		synctest.Wait()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.Less(t, before.Pos, s.log.gc.Appended().Pos)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, s.log.gc.Appended(), s.log.gc.Written())
		calls := m.Calls()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, calls, m.Calls(), "something is done on the disk while nobody asks for it")
		require.NoError(t, s.Close())
	})
}

func TestExpiryIsSeenAtOnceAndGivenBack(t *testing.T) {
	m := newModel(t, Options{SegmentBytes: minSegment, ManualMerge: true})
	value := bytes.Repeat([]byte("x"), 100)
	for i := range 200 {
		m.put(fmt.Appendf(nil, "%03d", i), value, &WriteOptions{TTL: time.Duration(i+1) * time.Second})
	}
	m.put([]byte("forever"), value, nil)
	m.put([]byte("over"), value, &WriteOptions{Expires: m.now.Add(-time.Second)})
	m.check()
	m.pass(100 * time.Second)
	require.Len(t, alive(m.keys, m.now.UnixMilli()), 101)
	m.check()
	require.NoError(t, m.s.Merge(t.Context()))
	m.check()
	m.pass(200 * time.Second)
	require.NoError(t, m.s.Merge(t.Context()))
	m.check()
	require.Equal(t, 1, m.s.Len())
	stats := m.s.Stats()
	require.Less(t, stats.LiveBytes+stats.DeadBytes, int64(500), "space of what has expired was not given back")
	m.close()
	m.open()
	m.check()
	m.close()
}

func TestExpiredKeysDoNotUncoverOlderValues(t *testing.T) {
	m := newModel(t, Options{SegmentBytes: minSegment, ManualMerge: true})
	m.put([]byte("k"), []byte("old"), nil)
	require.NoError(t, m.s.endSegment())
	m.put([]byte("k"), []byte("new"), &WriteOptions{TTL: time.Second})
	m.put([]byte("other"), nil, nil)
	require.NoError(t, m.s.endSegment())
	for more := true; more; {
		var err error
		m.s.keeper.work.Lock()
		more, err = m.s.sealFull()
		m.s.keeper.work.Unlock()
		require.NoError(t, err)
	}
	m.pass(time.Hour)
	segments := m.s.sealedSegments()
	require.Len(t, segments, 2)
	m.s.keeper.work.Lock()
	err := m.s.merge(t.Context(), segments[1:], 0)
	m.s.keeper.work.Unlock()
	require.NoError(t, err) // without the one with the old value
	m.check()
	m.close()
	m.open()
	m.check()
	require.NoError(t, m.s.Merge(t.Context()))
	m.close()
	m.open()
	m.check()
	m.close()
}

func TestBackup(t *testing.T) {
	for name, link := range map[string]bool{"linked": true, "copied": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openDir(t, dir, &Options{SegmentBytes: minSegment})
			if !link {
				s.path = filepath.Join(dir, "elsewhere")
			}
			want := map[string]string{}
			for i := range 500 {
				key, value := fmt.Sprint(i%150), strings.Repeat("v", i)
				require.NoError(t, s.Put([]byte(key), []byte(value), buffered))
				want[key] = value
			}
			to := filepath.Join(t.TempDir(), "backup")
			done := make(chan struct{})
			go func() { // writes go on, and are not in the backup
				defer close(done)
				for i := range 300 {
					if err := s.Put(fmt.Appendf(nil, "later-%d", i), make([]byte, 100), buffered); err != nil {
						t.Error(err)
					}
				}
			}()
			require.NoError(t, s.Backup(t.Context(), to))
			<-done
			require.Error(t, s.Backup(t.Context(), to), "not empty")
			require.NoError(t, s.Merge(t.Context()))
			require.NoError(t, s.Put([]byte("1"), []byte("changed"), nil))

			b := openDir(t, to, nil)
			require.NoError(t, b.Verify(t.Context()))
			got, err := contents(b)
			require.NoError(t, err)
			maps.DeleteFunc(got, func(k, _ string) bool { return strings.HasPrefix(k, "later-") })
			require.Equal(t, want, got)
			require.NoError(t, b.Put([]byte("2"), []byte("changed"), nil))
			value, _, err := s.Get([]byte("2"))
			require.NoError(t, err)
			require.Equal(t, want["2"], string(value), "the backup shares what it should not")
		})
	}
}

func TestFullDisk(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m, SegmentBytes: 64 << 10})
	require.NoError(t, err)
	m.Limit(1 << 20)
	acknowledged := map[string]string{}
	var last error
	for i := 0; last == nil; i++ {
		key, value := fmt.Sprintf("%06d", i), strings.Repeat("v", 500)
		if last = s.Put([]byte(key), []byte(value), buffered); last == nil {
			acknowledged[key] = value
		}
	}
	require.ErrorIs(t, last, ErrFull)
	require.ErrorIs(t, last, syscall.ENOSPC)
	require.Greater(t, len(acknowledged), 1000)
	require.NoError(t, s.Sync(), "what was acknowledged has its space")
	got, err := contents(s)
	require.NoError(t, err)
	require.Equal(t, acknowledged, got)

	crashed, err := Open("", &Options{FS: m.Crash(nil)})
	require.NoError(t, err)
	got, err = contents(crashed)
	require.NoError(t, err)
	require.Equal(t, acknowledged, got)
	require.NoError(t, crashed.Close())

	// Deletes find some space, merges give more back, and in the end there is
	// room for puts.
	for _, key := range slices.Sorted(maps.Keys(acknowledged))[:len(acknowledged)/2] {
		if err := s.Delete([]byte(key), buffered); err != nil {
			require.ErrorIs(t, err, ErrFull)
			// There may be nothing left to merge that fits, since the keeper has
			// just merged it.
			if err := s.Merge(t.Context()); err != nil {
				require.ErrorIs(t, err, ErrFull)
			}
			require.NoError(t, s.Delete([]byte(key), buffered))
		}
		delete(acknowledged, key)
	}
	require.NoError(t, s.Merge(t.Context()))
	for i := range 100 {
		key, value := fmt.Sprintf("again-%06d", i), strings.Repeat("v", 500)
		require.NoError(t, s.Put([]byte(key), []byte(value), nil))
		acknowledged[key] = value
	}
	got, err = contents(s)
	require.NoError(t, err)
	require.Equal(t, acknowledged, got)
	require.NoError(t, s.Verify(t.Context()))
	require.NoError(t, s.Close())
}

func TestFailedSyncEndsWriting(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m})
	require.NoError(t, err)
	require.NoError(t, s.Put([]byte("k"), []byte("v"), nil))
	var broken atomic.Bool
	m.Hook(vfs.When(func(c vfs.Call) bool { return broken.Load() && c.Op == vfs.OpSync }, syscall.EIO))
	broken.Store(true)
	err = s.Put([]byte("k"), []byte("lost"), nil)
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, syscall.EIO)
	broken.Store(false)
	syncs := m.Count(vfs.OpSync)
	require.ErrorIs(t, s.Put([]byte("k2"), nil, nil), ErrFailed)
	require.ErrorIs(t, s.Put([]byte("k2"), nil, buffered), ErrFailed)
	require.ErrorIs(t, s.Sync(), ErrFailed)
	require.ErrorIs(t, s.Merge(t.Context()), ErrFailed)
	require.Equal(t, syncs, m.Count(vfs.OpSync), "a failed sync was tried again")
	_, ok, err := s.Get([]byte("k"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Error(t, s.Close())
	s, err = Open("", &Options{FS: m.Crash(nil)})
	require.NoError(t, err)
	value, _, err := s.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	require.NoError(t, s.Close())
}

// TestDiskStaysSmallWhileOverwriting overwrites the same keys many times and
// looks at all files in between.
func TestDiskStaysSmallWhileOverwriting(t *testing.T) {
	m := vfs.NewMem()
	const keys, size, segment = 2000, 400, 64 << 10
	s, err := Open("", &Options{FS: m, SegmentBytes: segment})
	require.NoError(t, err)
	var largest int64
	for i := range 40_000 {
		require.NoError(t, s.Put(fmt.Appendf(nil, "key-%08d", (i*7919)%keys), make([]byte, size), buffered))
		if i%100 == 0 {
			largest = max(largest, m.Used())
		}
	}
	live := int64(keys * (12 + size))
	// Beside half of the live data, or what a small store may have, there are
	// segments that the log or a merge is writing.
	require.Less(t, largest, live+max(live/2, 4*segment+garbageSlack)+12*segment)
	require.NoError(t, s.Verify(t.Context()))
	s.keeper.wg.Wait()
	require.NoError(t, s.Merge(t.Context()))
	require.Less(t, m.Used(), live*12/10)
	require.NoError(t, s.Close())
}

func TestStats(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	require.NoError(t, s.Put([]byte("a"), []byte("1"), nil))
	before := s.Stats()
	require.NoError(t, s.Put([]byte("a"), []byte("2"), nil))
	require.NoError(t, s.Delete([]byte("b"), nil))
	_, _, err := s.Get([]byte("a"))
	require.NoError(t, err)
	_, _, err = s.Get([]byte("b"))
	require.NoError(t, err)
	d := s.Stats().Sub(before)
	require.Equal(t, int64(2), d.Writes)
	require.Equal(t, int64(1), d.Hits)
	require.Equal(t, int64(1), d.Misses)
	require.Equal(t, int64(1), d.Keys)
	require.Positive(t, d.DeadBytes)
	require.Positive(t, d.LogBytes)
}

func TestReadsAllocateNothing(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	for i := range 1000 {
		require.NoError(t, s.Put(fmt.Appendf(nil, "%04d", i), make([]byte, 100), buffered))
	}
	require.NoError(t, s.Sync())
	key, value := []byte("0500"), make([]byte, 0, 200)
	if n := testing.AllocsPerRun(1000, func() {
		var err error
		if value, _, err = s.AppendGet(value[:0], key); err != nil {
			t.Error(err)
		}
	}); n >= 1 {
		t.Errorf("AppendGet allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.Has(key); err != nil {
			t.Error(err)
		}
	}); n >= 1 {
		t.Errorf("Has allocates %v times", n)
	}
}

// TestConcurrentSafe lets writers keep two keys equal in batches while readers,
// snapshots, merges and backups look.
func TestConcurrentSafe(t *testing.T) {
	for _, opts := range []Options{{SegmentBytes: 16 << 10}, {SegmentBytes: 16 << 10, Codec: LZ4, CacheBytes: 32 << 10, NoMap: true}} {
		opts.FS = vfs.NewMem()
		s, err := Open("", &opts)
		require.NoError(t, err)
		const pairs, rounds = 20, 200
		var writers, readers sync.WaitGroup
		var stop atomic.Bool
		for w := range 4 {
			writers.Go(func() {
				for i := range rounds {
					var b Batch
					p := (i*7 + w) % pairs
					value := fmt.Appendf(nil, "%d-%d-%s", w, i, strings.Repeat("x", i))
					b.Put(fmt.Appendf(nil, "left-%d", p), value)
					b.Put(fmt.Appendf(nil, "right-%d", p), value)
					if err := s.Apply(&b, &WriteOptions{Durability: Durability(1 + i%3)}); err != nil {
						t.Error(err)
					}
					own := fmt.Appendf(nil, "own-%d", w)
					if err := s.Put(own, value, buffered); err != nil {
						t.Error(err)
					}
					if got, ok, err := s.Get(own); err != nil || !ok || !bytes.Equal(got, value) {
						t.Errorf("own write: %.20q, %v, %v", got, ok, err)
					}
				}
			})
		}
		check := func(get func([]byte) ([]byte, bool, error), p int) {
			a, _, err1 := get(fmt.Appendf(nil, "left-%d", p))
			b, _, err2 := get(fmt.Appendf(nil, "right-%d", p))
			if err := errors.Join(err1, err2); err != nil || !bytes.Equal(a, b) {
				t.Errorf("pair %d: %.20q and %.20q, %v", p, a, b, err)
			}
		}
		for r := range 4 {
			readers.Go(func() {
				for i := 0; !stop.Load(); i++ {
					n, err := s.Snapshot()
					if err != nil {
						t.Error(err)
						return
					}
					check(n.Get, i%pairs)
					sides := map[string]string{}
					for e, err := range n.All() {
						if err != nil {
							t.Error(err)
						}
						sides[string(e.Key)] = string(e.Value)
					}
					for p := range pairs {
						if sides[fmt.Sprintf("left-%d", p)] != sides[fmt.Sprintf("right-%d", p)] {
							t.Errorf("scan saw half a batch")
						}
					}
					if err := n.Close(); err != nil {
						t.Error(err)
					}
					if r == 0 && i%5 == 0 {
						if err := s.Merge(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		readers.Wait()
		checkStore(t, s)
		require.NoError(t, s.Verify(t.Context()))
		require.NoError(t, s.Close())
	}
}

func TestReadersSeeBatchesAsAWhole(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop.Store(true)
		for i := range 2000 {
			var b Batch
			value := fmt.Appendf(nil, "%06d", i)
			b.Put([]byte("a"), value)
			b.Put([]byte("b"), value)
			if err := s.Apply(&b, buffered); err != nil {
				t.Error(err)
			}
		}
	})
	for !stop.Load() {
		a, _, err1 := s.Get([]byte("a"))
		b, _, err2 := s.Get([]byte("b")) // read later: never older
		if err := errors.Join(err1, err2); err != nil || bytes.Compare(a, b) > 0 {
			t.Errorf("%s, then %s, %v", a, b, err)
		}
	}
	wg.Wait()
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, nil)
	require.NoError(t, s.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, s.Close())
	for _, name := range []string{"0000000000000077.tab", "0000000000000077.hint", manifestTemp} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600))
	s = openDir(t, dir, nil)
	names, err := s.fs.List()
	require.NoError(t, err)
	require.True(t, slices.Contains(names, "notes.txt"))
	require.False(t, slices.Contains(names, "0000000000000077.tab") || slices.Contains(names, manifestTemp))
	require.Greater(t, s.nextID, uint64(0x77))
}

// TestDirectoryKeysBoundsTheDirectory has many times more keys than the
// directory may hold.
func TestDirectoryKeysBoundsTheDirectory(t *testing.T) {
	const keys, limit = 5000, 200
	opts := Options{FS: vfs.NewMem(), SegmentBytes: 8 << 10, DirectoryKeys: limit, Durability: Buffered}
	s, err := Open("", &opts)
	require.NoError(t, err)
	value := make([]byte, 50)
	for i := range keys {
		require.NoError(t, s.Put(fmt.Appendf(nil, "%06d", i), value, nil))
	}
	check := func() {
		s.keeper.wg.Wait()
		perSegment := 8 << 10 / 60
		require.LessOrEqual(t, int(s.dir.count.Load()), limit+2*perSegment)
		require.Equal(t, keys, s.Len())
		require.Positive(t, s.Stats().HintOnly)
		n := 0
		for e, err := range s.All() {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%06d", n), string(e.Key))
			n++
		}
		require.Equal(t, keys, n)
		for _, i := range []int{0, 1, keys / 2, keys - 1} {
			ok, err := s.Has(fmt.Appendf(nil, "%06d", i))
			require.NoError(t, err)
			require.True(t, ok)
		}
		ok, err := s.Has([]byte("missing"))
		require.NoError(t, err)
		require.False(t, ok)
	}
	check()
	require.NoError(t, s.Merge(t.Context()))
	check()
	require.NoError(t, s.Close())
	s, err = Open("", &opts)
	require.NoError(t, err)
	check()
	require.NoError(t, s.Verify(t.Context()))
	require.NoError(t, s.Close())
}

// TestMergeOfCopies merges segments that have the same records twice, as a merge
// leaves them that fails after it has replaced the manifest.
func TestMergeOfCopies(t *testing.T) {
	for _, limit := range []int{0, 3} {
		m := vfs.NewMem()
		opts := Options{FS: m, ManualMerge: true, NoMap: true, SegmentBytes: minSegment, DirectoryKeys: limit}
		s, err := Open("", &opts)
		require.NoError(t, err)
		want := map[string]string{}
		for i := range 50 {
			key := fmt.Sprintf("%02d", i%40)
			want[key] = strings.Repeat("v", 20+i)
			require.NoError(t, s.Put([]byte(key), []byte(want[key]), nil))
		}
		require.NoError(t, s.endSegment())
		var broken atomic.Bool
		m.Hook(vfs.When(func(c vfs.Call) bool { // the repointing reads the hint of the table
			return broken.Load() && c.Op == vfs.OpRead && strings.HasSuffix(c.Path, ".hint")
		}, syscall.EIO), func(c vfs.Call) error {
			if c.Op == vfs.OpRename {
				broken.Store(true)
			}
			return nil
		})
		s.wake()
		s.keeper.wg.Wait() // seals
		broken.Store(false)
		require.ErrorIs(t, s.Merge(t.Context()), syscall.EIO)
		m.Hook()
		broken.Store(false)
		for range 3 {
			require.NoError(t, s.Close())
			s, err = Open("", &opts)
			require.NoError(t, err)
			got, err := contents(s)
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.NoError(t, s.Merge(t.Context()))
			got, err = contents(s)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		require.NoError(t, s.Close())
	}
}
