package kvstore

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// sealAll ends the active segment and seals all that are full.
func sealAll(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.endSegment())
	for more := true; more; {
		var err error
		s.keeper.work.Lock()
		more, err = s.sealFull()
		s.keeper.work.Unlock()
		require.NoError(t, err)
	}
}

func TestRefusedWritesLeaveNothing(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m, SegmentBytes: minSegment, ManualMerge: true})
	require.NoError(t, err)
	m.Limit(64 << 10)
	refused := 0
	for i := range 1000 {
		if err := s.Put(fmt.Appendf(nil, "%d", i), make([]byte, 500), buffered); err != nil {
			require.ErrorIs(t, err, ErrFull)
			refused++
		}
	}
	require.Greater(t, refused, 800)
	require.Less(t, s.Stats().Segments, int64(30), "a refused write has kept a segment's number")
	require.NoError(t, s.Close())
}

// TestDeletesFindTheReserve fills a disk so that the last put is just before
// the end of a segment, where there is no space for the next one.
func TestDeletesFindTheReserve(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m, SegmentBytes: 64 << 10, ManualMerge: true})
	require.NoError(t, err)
	for i := 0; s.log.active.offset(s.log.end) < 63<<10; i++ {
		require.NoError(t, s.Put(fmt.Appendf(nil, "%06d", i), make([]byte, 500), buffered))
	}
	m.Limit(m.Used())
	require.ErrorIs(t, s.Put([]byte("large"), make([]byte, 60<<10), buffered), ErrFull)
	for i := range 120 {
		require.NoError(t, s.Delete(fmt.Appendf(nil, "%06d", i), buffered))
	}
	require.Greater(t, s.log.active.offset(s.log.end), int64(64<<10), "the test does not reach the end of the segment")
	require.NoError(t, s.Close())
}

func TestDeletesWaitForMerges(t *testing.T) {
	s, err := Open("", &Options{FS: vfs.NewMem(), SegmentBytes: 64 << 10})
	require.NoError(t, err)
	s.keeper.work.Lock() // nothing is merged
	done := make(chan error, 1)
	go func() {
		var err error
		for range 2000 {
			if err == nil {
				err = s.Delete(bytes.Repeat([]byte("k"), 1000), buffered)
			}
		}
		done <- err
	}()
	for s.Stats().Waits == 0 && len(done) == 0 {
		runtime.Gosched()
	}
	require.Empty(t, done, "2 MB of deletes and nothing has waited")
	s.keeper.work.Unlock()
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
}

// TestClockThatGoesBack merges a value that was past its end when the store was
// opened, and is not any more, while an older value stays where it is.
func TestClockThatGoesBack(t *testing.T) {
	for _, keys := range []int{0, 1, 10} {
		m := newModel(t, Options{SegmentBytes: minSegment, ManualMerge: true, DirectoryKeys: keys})
		m.put([]byte("k"), []byte("old"), nil)
		sealAll(t, m.s)
		m.put([]byte("k"), []byte("new"), &WriteOptions{TTL: time.Minute})
		sealAll(t, m.s)
		m.pass(time.Hour)
		m.close()
		m.open()
		m.check()
		m.pass(-time.Hour)
		m.check()
		m.s.keeper.work.Lock()
		err := m.s.merge(t.Context(), m.s.sealedSegments()[1:2], 0)
		m.s.keeper.work.Unlock()
		require.NoError(t, err)
		m.check()
		m.close()
		m.open()
		m.check()
		m.close()
	}
}

func TestLenCountsWhatHasExpired(t *testing.T) {
	m := newModel(t, Options{SegmentBytes: minSegment, ManualMerge: true, DirectoryKeys: 50})
	for i := range 40 {
		m.put(fmt.Appendf(nil, "%02d", i), nil, &WriteOptions{TTL: time.Minute})
	}
	sealAll(t, m.s)
	m.pass(time.Hour)
	m.close()
	m.open()
	require.Equal(t, 40, m.s.Len())
	for i := range 100 {
		m.put(fmt.Appendf(nil, "x%02d", i), make([]byte, 300), nil)
	}
	sealAll(t, m.s)
	require.NotEmpty(t, m.s.coldSegments())
	require.Equal(t, 140, m.s.Len())
	for i := range 40 {
		m.delete(fmt.Appendf(nil, "%02d", i), nil)
	}
	require.Equal(t, 100, m.s.Len())
	m.check()
	m.close()
}

func TestNegativeTTL(t *testing.T) {
	m := newModel(t, Options{})
	past := &WriteOptions{TTL: -1}
	m.put([]byte("a"), nil, nil)
	m.put([]byte("a"), nil, past)
	m.check()
	var b Batch
	b.PutWith([]byte("b"), nil, past)
	require.NoError(t, m.s.Apply(&b, nil))
	m.checkGet(m.s, nil, 0, "a")
	m.checkGet(m.s, nil, 0, "b")
	m.close()
}

func TestCacheOfWhatIsNotMapped(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m, NoMap: true, CacheBytes: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.Put([]byte("k"), []byte("first"), nil))
	before := m.Count(vfs.OpRead)
	for range 100 {
		value, ok, err := s.Get([]byte("k"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "first", string(value))
	}
	require.LessOrEqual(t, m.Count(vfs.OpRead)-before, 2)
	require.Greater(t, s.Stats().CacheHits, int64(90))
	require.NoError(t, s.Put([]byte("k"), []byte("second"), nil))
	value, _, err := s.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "second", string(value))
	require.NoError(t, s.Close())
}

func TestFailedBackupLeavesNothing(t *testing.T) {
	s := openDir(t, t.TempDir(), &Options{SegmentBytes: minSegment})
	for i := range 100 {
		require.NoError(t, s.Put(fmt.Appendf(nil, "%d", i), make([]byte, 200), buffered))
	}
	to := filepath.Join(t.TempDir(), "backup")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Backup(ctx, to), context.Canceled)

	full := vfs.NewMem()
	full.Limit(8 << 10)
	unlinked := func(string) error { return vfs.ErrLocked }
	require.ErrorIs(t, s.backup(t.Context(), full, unlinked), ErrFull)
	names, err := filesIn(full)
	require.NoError(t, err)
	require.Empty(t, names)

	require.NoError(t, s.Backup(t.Context(), to), "after one that has failed")
	b := openDir(t, to, nil)
	require.Equal(t, 100, b.Len())
}

func TestEmptyName(t *testing.T) {
	_, err := Open("", nil)
	require.ErrorContains(t, err, "empty")
	_, err = Repair("", nil)
	require.ErrorContains(t, err, "empty")
	s := openDir(t, t.TempDir(), nil)
	err = s.Backup(t.Context(), "")
	require.True(t, err != nil && strings.Contains(err.Error(), "empty"), err)
}

// TestForeignFiles has files in the directory that are not the store's.
func TestForeignFiles(t *testing.T) {
	m := vfs.NewMem()
	want := sample(t, m, Options{SegmentBytes: minSegment})
	foreign := []string{"README.txt", "ffffffffffffffff.log", "00000000000000FF.log", "ff.log", "xyz.hint", "MANIFEST.old"}
	for _, name := range foreign {
		require.NoError(t, m.WriteFile(name, []byte("foreign")))
	}
	for range 2 {
		s, err := Open("", &Options{FS: m})
		require.NoError(t, err)
		got, err := contents(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, s.Close())
	}
	names, err := m.List()
	require.NoError(t, err)
	require.Subset(t, names, foreign)
}
