package kvstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// TestSyncsHoldUpNobodyElse lets a sync hang, and does everything that is said not
// to wait for one.
func TestSyncsHoldUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		s, err := Open("", &Options{FS: m, SegmentBytes: 64 << 10})
		require.NoError(t, err)
		gate := make(chan struct{})
		var hangs atomic.Bool
		hangs.Store(true)
		m.Hook(func(c vfs.Call) error {
			if hangs.Load() && (c.Op == vfs.OpSync || c.Op == vfs.OpSyncDir) {
				<-gate
			}
			return nil
		})
		synced := make(chan error, 1)
		go func() { synced <- s.Put([]byte("a"), []byte("1"), nil) }()
		synctest.Wait()
		// From here on a call that waits for the sync ends the test: all
		// goroutines wait.
		value, ok, err := s.Get([]byte("a"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "1", string(value))
		for i := range 300 { // over several segments
			require.NoError(t, s.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 1000), buffered))
		}
		require.NoError(t, s.Put([]byte("w"), nil, &WriteOptions{Durability: Written}))
		n, err := s.Snapshot()
		require.NoError(t, err)
		count := 0
		for _, err := range n.All() {
			require.NoError(t, err)
			count++
		}
		require.Equal(t, 302, count)
		require.NoError(t, n.Close())
		require.Empty(t, synced)
		hangs.Store(false)
		close(gate)
		require.NoError(t, <-synced)
		require.NoError(t, s.Close())
	})
}

// TestRateGivesWayToWriters has a rate at which a merge would take days.
func TestRateGivesWayToWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("", &Options{FS: vfs.NewMem(), SegmentBytes: minSegment, MergeRate: 1})
		require.NoError(t, err)
		start := time.Now()
		for i := range 2000 {
			require.NoError(t, s.Put(fmt.Appendf(nil, "%d", i%50+i%2*i), make([]byte, 1000), buffered))
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // the merge begins to wait before a writer does
			}
		}
		require.Positive(t, s.Stats().Waits)
		require.Less(t, time.Since(start), time.Minute)
		require.NoError(t, s.Close())
	})
}

// TestCloseLeavesNoTimer relies on synctest: time does not pass while a goroutine
// runs, and the hour of the timer is over when it does.
func TestCloseLeavesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		s, err := Open("", &Options{FS: m, FlushAfter: time.Hour})
		require.NoError(t, err)
		require.NoError(t, s.Put([]byte("k"), nil, buffered))
		require.NoError(t, s.Close())
		require.False(t, s.flushes.timer.Stop(), "the timer still runs")
	})
}

// TestWhatWasNeverWrittenIsNotCorrupt reads a record that came while the log
// failed, so that it was never written.
func TestWhatWasNeverWrittenIsNotCorrupt(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m, FlushAfter: time.Hour})
	require.NoError(t, err)
	var n *Snapshot
	m.Hook(func(c vfs.Call) error {
		if c.Op != vfs.OpWrite {
			return nil
		}
		require.NoError(t, s.Put([]byte("k"), []byte("v"), buffered))
		var err error
		n, err = s.Snapshot()
		require.NoError(t, err)
		return syscall.EIO
	})
	require.ErrorIs(t, s.Put([]byte("first"), nil, nil), ErrFailed)
	value, ok, err := n.Get([]byte("k")) // it is still in memory
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", string(value))
	require.ErrorIs(t, s.Close(), ErrFailed)
	_, _, err = n.Get([]byte("k"))
	require.ErrorIs(t, err, ErrFailed)
	require.NotErrorIs(t, err, ErrCorrupt)
	require.NoError(t, n.Close())
}

// TestLaterVersions has files of a format that does not exist yet: they are
// neither opened nor repaired, and nothing is changed.
func TestLaterVersions(t *testing.T) {
	for _, c := range []struct{ suffix, from, to string }{
		{"MANIFEST", "ashlar kvstore 1", "ashlar kvstore 2"},
		{".log", segmentMagic + "\x01", segmentMagic + "\x02"},
		{".tab", segmentMagic + "\x01", segmentMagic + "\x02"},
	} {
		m := vfs.NewMem()
		sample(t, m, Options{SegmentBytes: minSegment})
		names, err := m.List()
		require.NoError(t, err)
		for _, name := range names {
			if !bytes.HasSuffix([]byte(name), []byte(c.suffix)) {
				continue
			}
			later := m.Kill()
			data, err := later.ReadFile(name)
			require.NoError(t, err)
			data = bytes.Replace(data, []byte(c.from), []byte(c.to), 1)
			if body, _, found := bytes.Cut(data, []byte("sum ")); found {
				data = fmt.Appendf(body, "sum %08x\n", crc32.Checksum(body, castagnoli))
			} else {
				binary.LittleEndian.PutUint32(data[60:], crc32.Checksum(data[:60], castagnoli))
			}
			require.NoError(t, later.WriteFile(name, data))
			before, err := later.List()
			require.NoError(t, err)
			_, err = Open("", &Options{FS: later})
			require.ErrorIs(t, err, ErrFormat)
			require.ErrorContains(t, err, name)
			_, err = Repair("", &Options{FS: later})
			require.ErrorIs(t, err, ErrFormat)
			after, err := later.List()
			require.NoError(t, err)
			require.Equal(t, before, after)
			require.Empty(t, later.Open(), "files left open")
		}
	}
}

// TestMergeSetsAsideWhatItCannotRead has a bad sector in a segment, or in its hint:
// the first merge says so, later ones give back what others have.
func TestMergeSetsAsideWhatItCannotRead(t *testing.T) {
	for _, bad := range []string{"0000000000000001.log", "0000000000000001.hint"} {
		m := vfs.NewMem()
		s, err := Open("", &Options{FS: m, SegmentBytes: minSegment, NoMap: true, ManualMerge: true})
		require.NoError(t, err)
		want := map[string]string{}
		for i := range 200 {
			key, value := fmt.Sprint(i%20+max(20-i, 0)*100), fmt.Sprintf("%0100d", i)
			require.NoError(t, s.Put([]byte(key), []byte(value), buffered))
			want[key] = value
		}
		sealAll(t, s)
		require.Greater(t, s.Stats().DeadBytes, int64(4*minSegment))
		m.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpRead && c.Path == bad }, syscall.EIO))
		require.ErrorIs(t, s.Merge(t.Context()), syscall.EIO)
		require.NoError(t, s.Merge(t.Context()))
		require.Less(t, s.Stats().DeadBytes, int64(minSegment))
		m.Hook()
		got, err := contents(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, s.Close())
	}
}
