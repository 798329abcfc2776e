package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
	"github.com/stretchr/testify/require"
)

// Every call fails once, or once and ever after, writes are cut short, the disk
// is full: what was acknowledged is there, and the log opens.
func TestFaultAtEveryCall(t *testing.T) {
	for name, opts := range policies {
		t.Run(name, func(t *testing.T) {
			opts.SegmentBytes = max(opts.SegmentBytes, 8192)
			every := 3
			if *histories > 1 {
				every = 1
			}
			for seed := range uint64(*histories) {
				report, err := crashtest.Faults(crashtest.Options{Every: every, Draws: 1}, func(m *vfs.Mem) crashtest.Check {
					h := newHistory(7+seed, opts)
					err := h.run(m, 25)
					if err != nil && errors.Is(err, commitlog.ErrCorrupt) {
						t.Errorf("seed %d: a fault was taken for damage: %v", seed, err)
					}
					return h.promise()
				})
				require.NoError(t, err, "seed %d", seed)
				require.Greater(t, report.Crashes, 100)
			}
		})
	}
}

// A disk that is full refuses; nothing that was acknowledged is lost, reading
// goes on, and appends do when there is space again.
func TestDiskFull(t *testing.T) {
	for name, opts := range policies {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			m.Limit(64 << 10)
			opts.FS, opts.SegmentBytes = m, 16<<10
			l, err := commitlog.Open("", &opts)
			require.NoError(t, err)
			var want []string
			appendUntilFull := func() {
				for {
					text := fmt.Sprintf("%d %s", len(want), strings.Repeat("x", 100))
					_, err := l.Append(t.Context(), value(text))
					if err != nil {
						require.ErrorIs(t, err, commitlog.ErrFull)
						require.ErrorIs(t, err, syscall.ENOSPC)
						require.NotErrorIs(t, err, commitlog.ErrPoisoned, "space is reserved before something is written")
						return
					}
					want = append(want, text)
				}
			}
			appendUntilFull()
			require.Equal(t, want, values(t, l, 0))
			require.Greater(t, len(want), 100)
			require.NoError(t, l.Sync(t.Context()))
			_, err = l.Append(t.Context(), value("no"))
			if err == nil { // it may fit into what a larger one did not
				want = append(want, "no")
			}
			m.Limit(128 << 10)
			before := len(want)
			appendUntilFull()
			require.Greater(t, len(want), before+100)

			half := int64(len(want) / 2)
			require.NoError(t, l.DeleteBefore(half), "a full disk can be tidied up")
			before = len(want)
			appendUntilFull()
			require.Greater(t, len(want), before)
			require.NoError(t, l.Close())
			l, err = commitlog.Open("", &opts)
			require.NoError(t, err)
			require.Equal(t, want[half:], values(t, l, half))
			require.NoError(t, l.Close())
		})
	}
}

// Where space cannot be reserved a write can fail: then the log is poisoned,
// can be read, and goes on when it is opened again.
func TestPoison(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		t.Run(op.String(), func(t *testing.T) {
			m := vfs.NewMem()
			opts := &commitlog.Options{FS: m}
			l, err := commitlog.Open("", opts)
			require.NoError(t, err)
			want := fill(t, l, 0, 10)
			broken := errors.New("broken")
			m.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == op }, broken))
			_, err = l.Append(t.Context(), value("lost"))
			require.ErrorIs(t, err, broken)
			require.ErrorIs(t, err, commitlog.ErrPoisoned)
			m.Hook()
			syncs := m.Count(vfs.OpSync, vfs.OpWrite)
			_, err = l.Append(t.Context(), value("refused"))
			require.ErrorIs(t, err, commitlog.ErrPoisoned)
			require.ErrorIs(t, l.Sync(t.Context()), commitlog.ErrPoisoned)
			require.ErrorIs(t, l.Wait(t.Context(), 10, true), commitlog.ErrPoisoned)
			require.ErrorIs(t, l.TruncateFrom(5), commitlog.ErrPoisoned)
			require.ErrorIs(t, l.Err(), broken)
			require.Equal(t, syncs, m.Count(vfs.OpSync, vfs.OpWrite), "no second try")
			got, err := l.ReadBatches(nil, 9, 1, true)
			require.NoError(t, err)
			require.NotEmpty(t, got)
			require.Equal(t, int64(10), l.Durable())
			require.ErrorIs(t, l.Close(), broken)
			require.NoError(t, l.Close())
			require.Empty(t, m.Open())
			l, err = commitlog.Open("", opts)
			require.NoError(t, err)
			require.Equal(t, want, values(t, l, 0)[:10])
			fill(t, l, int(l.End()), 1)
			require.NoError(t, l.Close())
		})
	}
}

// Every acknowledgement is checked against what the disk had synced by then:
// an append that returned must be in a file system that lost all else.
func TestNoAcknowledgementBeforeItsSync(t *testing.T) {
	m := vfs.NewMem()
	l, err := commitlog.Open("", &commitlog.Options{FS: m, SegmentBytes: 8192})
	require.NoError(t, err)
	for i := range 120 {
		batch, err := commitlog.AppendBatchTo(nil, 0, nil, value(fmt.Sprint(i)), value(strings.Repeat("y", 150)))
		require.NoError(t, err)
		switch i % 3 {
		case 0:
			_, err = l.Append(t.Context(), value(fmt.Sprint(i)), value(strings.Repeat("y", 150)))
		case 1:
			_, err = l.AppendBatch(t.Context(), batch)
		case 2:
			commitlog.Batch(batch).SetBaseOffset(l.End())
			_, err = l.AppendReplica(t.Context(), batch)
		}
		require.NoError(t, err)
		lost := m.Crash(nil)
		found, err := commitlog.Open("", &commitlog.Options{FS: lost})
		require.NoError(t, err)
		require.Equal(t, l.End(), found.End(), "acknowledged %d", i)
		require.Equal(t, l.End(), l.Durable())
		require.NoError(t, found.Close())
	}
	require.NoError(t, l.Close())
}

// The first sync is held up; the 64 writers that come meanwhile share one.
func TestWritersShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		l, err := commitlog.Open("", &commitlog.Options{FS: m})
		require.NoError(t, err)
		fill(t, l, 0, 1) // so that the space is reserved
		hold := make(chan struct{})
		var held atomic.Bool
		m.Hook(func(c vfs.Call) error {
			if c.Op == vfs.OpSync && !held.Swap(true) {
				<-hold
			}
			return nil
		})
		before := m.Count(vfs.OpSync)
		var all sync.WaitGroup
		write := func(i int) {
			if _, err := l.Append(t.Context(), value(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		}
		all.Go(func() { write(0) })
		synctest.Wait()
		for i := range 64 {
			all.Go(func() { write(i) })
		}
		synctest.Wait()
		require.Equal(t, int64(1), l.Durable())
		close(hold)
		all.Wait()
		require.Equal(t, int64(66), l.Durable())
		require.Equal(t, 2, m.Count(vfs.OpSync)-before)
		require.NoError(t, l.Close())
	})
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	_, err := commitlog.Open(dir, nil)
	require.ErrorIs(t, err, commitlog.ErrLocked)
	_, err = commitlog.Repair(dir, nil)
	require.ErrorIs(t, err, commitlog.ErrLocked)
	require.NoError(t, l.Close())
	open(t, dir, nil)
}

// A segment whose entry in the directory may not be durable must not be gone on
// with, nor around: it would lie in the middle of the one before.
func TestPoisonedByTheSyncOfTheDirectory(t *testing.T) {
	m := vfs.NewMem()
	opts := &commitlog.Options{FS: m, SegmentBytes: 16 << 10}
	l, err := commitlog.Open("", opts)
	require.NoError(t, err)
	want := fill(t, l, 0, 10)
	m.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpSyncDir }, syscall.EIO))
	_, err = l.Append(t.Context(), value(strings.Repeat("x", 15<<10)))
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, err, commitlog.ErrPoisoned)
	m.Hook()
	_, err = l.Append(t.Context(), value("small enough for the segment before"))
	require.ErrorIs(t, err, commitlog.ErrPoisoned)
	require.ErrorIs(t, l.Close(), syscall.EIO)
	opens(t, m, *opts, 0, want)
}

// A compaction that fails after its new file is there leaves the old ones in
// the directory: the log must not go on with either.
func TestFaultInCompact(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpRename, vfs.OpSyncDir, vfs.OpRemove} {
		for nth := range 4 {
			for name, next := range map[string]func(*commitlog.Log) error{
				"delete":     func(l *commitlog.Log) error { return l.DeleteBefore(30) },
				"truncate":   func(l *commitlog.Log) error { return l.TruncateFrom(30) },
				"cut in two": func(l *commitlog.Log) error { return l.TruncateFrom(10) },
			} {
				m := vfs.NewMem()
				opts := &commitlog.Options{FS: m, SegmentBytes: 8192}
				l, err := commitlog.Open("", opts)
				require.NoError(t, err)
				for i := range 60 {
					_, err := l.Append(t.Context(), commitlog.Record{Key: []byte{byte(i % 7)}, Value: fmt.Appendf(nil, "%0500d", i)})
					require.NoError(t, err)
				}
				var calls atomic.Int32
				m.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == op && calls.Add(1) == int32(nth+1) }, syscall.EIO))
				failed := l.Compact(t.Context())
				m.Hook()
				case_ := fmt.Sprintf("%v %d, then %s: %v", op, nth, name, failed)
				if err := next(l); err != nil {
					require.ErrorIs(t, err, commitlog.ErrPoisoned, case_)
					_ = l.Close()
					l, err = commitlog.Open("", opts)
					require.NoError(t, err, case_)
					require.NoError(t, next(l), case_)
				}
				start, end, want := l.Start(), l.End(), values(t, l, l.Start())
				require.NoError(t, l.Close(), case_)
				l, err = commitlog.Open("", opts)
				require.NoError(t, err, case_)
				require.Equal(t, []int64{start, end}, []int64{l.Start(), l.End()}, case_)
				require.Equal(t, want, values(t, l, start), case_)
				require.NoError(t, l.Close())
			}
		}
	}
}

// To truncate takes space for a moment; without it nothing has happened.
func TestTruncateOnAFullDisk(t *testing.T) {
	m := vfs.NewMem()
	m.Limit(64 << 10)
	opts := &commitlog.Options{FS: m, SegmentBytes: 32 << 10}
	l, err := commitlog.Open("", opts)
	require.NoError(t, err)
	var want []string
	for {
		text := fmt.Sprintf("%0100d", len(want))
		if _, err := l.Append(t.Context(), value(text)); err != nil {
			require.ErrorIs(t, err, commitlog.ErrFull)
			break
		}
		want = append(want, text)
	}
	last := int64(len(want) - 1)
	require.ErrorIs(t, l.TruncateFrom(last), commitlog.ErrFull)
	require.NoError(t, l.Err())
	require.Equal(t, want, values(t, l, 0))
	require.NoError(t, l.DeleteBefore(last))
	require.NoError(t, l.TruncateFrom(last))
	require.NoError(t, l.Close())
	l, err = commitlog.Open("", opts)
	require.NoError(t, err)
	require.Equal(t, []int64{last, last}, []int64{l.Start(), l.End()})
	require.NoError(t, l.Close())
}

// What is to be left of a truncated log is read; if it is damaged, it is not
// cut off with the rest.
func TestTruncateBehindDamage(t *testing.T) {
	for i, at := range []int64{6, 34, 6, 34} { // in the header of a frame, behind it
		opts := commitlog.Options{IndexBytes: 512}
		if i < 2 {
			opts.SegmentBytes = 8192
		}
		l, m := openMem(t, opts)
		var first int64
		for i := range 100 {
			fill(t, l, i, 1)
			if i == 9 {
				first = l.Stats().Size
			}
		}
		f, err := m.OpenFile(firstSegment, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xee}, first+at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		err = l.TruncateFrom(30)
		corrupt, ok := errors.AsType[*commitlog.CorruptError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, firstSegment, corrupt.Segment)
		require.Equal(t, int64(10), corrupt.Offset)
		require.NoError(t, l.Err())
		require.Equal(t, int64(100), l.End())
		require.NoError(t, l.TruncateFrom(9), "nothing of what is left is damaged")
		fill(t, l, 9, 1)
		require.NoError(t, l.Verify(t.Context()))
		require.NoError(t, l.Close())
	}
}

// So it is with compaction, also if its buffer does not hold all of a segment.
func TestCompactOnAFullDisk(t *testing.T) {
	m := vfs.NewMem()
	l, err := commitlog.Open("", &commitlog.Options{FS: m, SegmentBytes: 1 << 20})
	require.NoError(t, err)
	for i := range 70 {
		_, err := l.Append(t.Context(), commitlog.Record{Key: []byte{byte(i % 60)}, Value: bytes.Repeat([]byte{byte(i)}, 30_000)})
		require.NoError(t, err)
	}
	before := values(t, l, 0)
	m.Limit(m.Used() + 100<<10)
	require.ErrorIs(t, l.Compact(t.Context()), commitlog.ErrFull)
	require.NoError(t, l.Err())
	require.ErrorIs(t, l.TruncateFrom(20), commitlog.ErrFull)
	require.NoError(t, l.Err())
	require.Equal(t, before, values(t, l, 0))
	m.Limit(1 << 30)
	require.NoError(t, l.Compact(t.Context()))
	require.Less(t, len(values(t, l, 0)), 70)
	require.NoError(t, l.TruncateFrom(20))
	require.NoError(t, l.Close())
}
