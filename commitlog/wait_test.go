package commitlog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

func openMem(t *testing.T, opts commitlog.Options) (*commitlog.Log, *vfs.Mem) {
	t.Helper()
	m := vfs.NewMem()
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	return l, m
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := openMem(t, commitlog.Options{Sync: commitlog.SyncNever})
		woken := make(chan string, 10)
		wait := func(name string, offset int64, durable bool) {
			go func() {
				err := l.Wait(context.Background(), offset, durable)
				woken <- fmt.Sprint(name, " ", err)
			}()
			synctest.Wait()
		}
		wait("first", 0, false)
		wait("second", 1, false)
		wait("durable", 0, true)
		calls := m.Calls()
		time.Sleep(time.Hour)
		require.Equal(t, calls, m.Calls(), "no polling")
		require.Empty(t, woken)
		fill(t, l, 0, 1)
		synctest.Wait()
		require.Equal(t, "first <nil>", <-woken)
		require.Empty(t, woken)
		require.NoError(t, l.Sync(t.Context()))
		synctest.Wait()
		require.Equal(t, "durable <nil>", <-woken)
		require.Empty(t, woken)
		require.NoError(t, l.Wait(t.Context(), 0, true), "at once")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.Wait(ctx, 1, false), context.DeadlineExceeded)
		require.ErrorIs(t, l.Wait(ctx, 0, false), context.DeadlineExceeded)
		require.NoError(t, l.Close())
		synctest.Wait()
		require.Equal(t, "second commitlog: closed", <-woken)
	})
}

// An append that waits for no sync is written because somebody waits for it.
func TestDurableReaderSeesOnlyWhatIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := openMem(t, commitlog.Options{Sync: commitlog.SyncNever})
		got := make(chan string, 100)
		go func() {
			r := l.NewReader(0, &commitlog.ReaderOptions{Durable: true, Reuse: true})
			for {
				rec, err := r.Next(context.Background())
				if err != nil {
					got <- err.Error()
					return
				}
				lost, err := commitlog.Open("", &commitlog.Options{FS: m.Crash(nil)})
				if err != nil || lost.End() <= rec.Offset {
					t.Errorf("read %d, which a power loss would take: %v", rec.Offset, err)
				}
				lost.Close()
				got <- string(rec.Value)
			}
		}()
		want := fill(t, l, 0, 10)
		time.Sleep(time.Second)
		require.Empty(t, got)
		require.Equal(t, want, values(t, l, 0), "others see all")
		require.NoError(t, l.Sync(t.Context()))
		for _, text := range want {
			require.Equal(t, text, <-got)
		}
		require.NoError(t, l.Close())
		require.Equal(t, commitlog.ErrClosed.Error(), <-got)
	})
}

// A reader that waits at the end learns that records before it are gone, though
// nobody has appended others yet.
func TestWaitingReaderHearsOfTruncation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := openMem(t, commitlog.Options{})
		fill(t, l, 0, 10)
		failed := make(chan error, 1)
		go func() {
			_, err := l.NewReader(10, nil).Next(context.Background())
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, l.TruncateFrom(5))
		synctest.Wait()
		require.ErrorIs(t, <-failed, commitlog.ErrOutOfRange)
		require.NoError(t, l.Close())
	})
}

// Offsets that are given again while Verify runs are no damage.
func TestVerifyWhileTruncated(t *testing.T) {
	for n := 0; ; n++ {
		l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192})
		fill(t, l, 0, 300)
		ctx := &countdown{Context: t.Context()}
		ctx.left.Store(int64(n * 20))
		ctx.then = func() {
			if err := l.TruncateFrom(40); err != nil {
				t.Errorf("TruncateFrom: %v", err)
			}
			fill(t, l, 40, 130)
		}
		require.NoError(t, l.Verify(ctx), "truncated at step %d", n*20)
		done := ctx.left.Load() >= 0
		require.NoError(t, l.Close())
		if done {
			require.Greater(t, n, 10)
			return
		}
	}
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := openMem(t, commitlog.Options{Sync: commitlog.SyncInterval, SyncInterval: time.Minute})
		want := fill(t, l, 0, 5)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		opens(t, m.Kill(), commitlog.Options{}, 0, want)
		time.Sleep(time.Minute - 50*time.Millisecond - time.Nanosecond)
		synctest.Wait()
		require.Zero(t, l.Durable())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, int64(5), l.Durable())
		calls := m.Calls()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, calls, m.Calls(), "nothing to do, nothing done")
		require.NoError(t, l.Close())
	})
}

func TestSyncNeverWritesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := openMem(t, commitlog.Options{Sync: commitlog.SyncNever})
		want := fill(t, l, 0, 5)
		before := m.Kill()
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		after := m.Kill()
		opens(t, before, commitlog.Options{}, 0, nil)
		opens(t, after, commitlog.Options{}, 0, want)
		require.Zero(t, l.Durable())
		require.NoError(t, l.Close())

		l, m = openMem(t, commitlog.Options{Sync: commitlog.SyncNever, WriteThrough: true})
		want = fill(t, l, 0, 5)
		opens(t, m.Kill(), commitlog.Options{}, 0, want)
		require.NoError(t, l.Close())
	})
}

func TestSyncBytes(t *testing.T) {
	l, _ := openMem(t, commitlog.Options{Sync: commitlog.SyncBytes, SyncBytes: 1000})
	for i := range 100 {
		_, err := l.Append(t.Context(), commitlog.Record{Value: make([]byte, 100)})
		require.NoError(t, err)
		require.LessOrEqual(t, l.End()-l.Durable(), int64(10), "after %d", i)
	}
	require.Less(t, l.Stats().Syncs, uint64(20))
	require.NoError(t, l.Close())
}

func TestRetain(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192, RetainAge: time.Hour, Now: func() time.Time { return now }})
	for range 100 {
		_, err := l.Append(t.Context(), commitlog.Record{Value: make([]byte, 200)})
		require.NoError(t, err)
		now = now.Add(time.Minute)
	}
	require.NoError(t, l.Retain(t.Context()))
	require.Less(t, l.Start(), int64(41), "nothing younger than an hour is gone")
	require.Greater(t, l.Start(), int64(20))
	now = now.Add(2 * time.Hour)
	require.NoError(t, l.Retain(t.Context()))
	require.Equal(t, []int64{100, 100}, []int64{l.Start(), l.End()}, "the segment that is written is closed for it")
	_, ok, err := l.OffsetAt(time.UnixMilli(0))
	require.NoError(t, err)
	require.False(t, ok)

	l.SetRetention(0, 20_000)
	for range 300 {
		_, err := l.Append(t.Context(), commitlog.Record{Value: make([]byte, 200)})
		require.NoError(t, err)
	}
	require.NoError(t, l.Retain(t.Context()))
	require.GreaterOrEqual(t, l.Stats().Size, int64(20_000))
	require.Less(t, l.Stats().Size, int64(29_000))
	require.NoError(t, l.Verify(t.Context()))
	require.NoError(t, l.Close())
}

// RetainFrom keeps records that age and size give up, when a segment is full
// and when Retain is called.
func TestRetainFrom(t *testing.T) {
	for name, opts := range map[string]commitlog.Options{"age": {RetainAge: time.Hour}, "bytes": {RetainBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			now, from := time.UnixMilli(1_000_000), int64(0)
			opts.SegmentBytes, opts.Now, opts.RetainFrom = 8192, func() time.Time { return now }, func() int64 { return from }
			l, _ := openMem(t, opts)
			for range 100 {
				_, err := l.Append(t.Context(), commitlog.Record{Value: make([]byte, 200)})
				require.NoError(t, err)
				now = now.Add(2 * time.Hour)
			}
			require.Zero(t, l.Start())
			last := int64(0)
			for _, from = range []int64{0, 1, 50, 99} {
				require.NoError(t, l.Retain(t.Context()))
				require.LessOrEqual(t, l.Start(), from)
				require.GreaterOrEqual(t, l.Start(), last)
				last = l.Start()
			}
			require.Greater(t, last, int64(50), "it goes as far as it may")
			from = 100
			require.NoError(t, l.Retain(t.Context()))
			if name == "age" {
				require.EqualValues(t, 100, l.Start())
			}
			require.NoError(t, l.Close())
		})
	}
}

// Whoever applies the retention asks RetainFrom for himself: what it said to
// somebody else may be too much by now, when a truncation has lowered it.
func TestRetainFromIsAskedAnew(t *testing.T) {
	from := int64(0)
	l, _ := openMem(t, commitlog.Options{SegmentBytes: 8192, RetainBytes: 1, RetainFrom: func() int64 { return from }})
	for i := range 100 {
		_, err := l.Append(t.Context(), commitlog.Record{Key: []byte{byte(i)}, Value: make([]byte, 200)})
		require.NoError(t, err)
	}
	from = 99
	require.NoError(t, l.DeleteBefore(0))
	from = 0
	require.NoError(t, l.Compact(t.Context()))
	require.Zero(t, l.Start())
	from = 99
	require.NoError(t, l.Compact(t.Context()))
	require.Greater(t, l.Start(), int64(50))
	require.NoError(t, l.Close())
}

// Writers, readers, and everything that changes files, at the same time.
func TestLogConcurrentSafe(t *testing.T) {
	for _, opts := range settings {
		dir := t.TempDir()
		l := open(t, dir, &opts)
		const writers, each = 8, 60
		var all sync.WaitGroup
		offsets := make([][]int64, writers)
		for w := range writers {
			all.Go(func() {
				for i := range each {
					first, err := l.Append(t.Context(), value(fmt.Sprint(w, " ", i)), value("and"))
					if err != nil {
						t.Error(err)
						return
					}
					offsets[w] = append(offsets[w], first)
				}
				if err := l.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		for range 3 {
			all.Go(func() {
				r := l.NewReader(0, &commitlog.ReaderOptions{Durable: rand.IntN(2) == 0, ChunkBytes: 500})
				for next := range int64(2 * writers * each) {
					rec, err := r.Next(t.Context())
					if err != nil || rec.Offset != next {
						t.Errorf("read %d, want %d: %v", rec.Offset, next, err)
						return
					}
					if next%16 == 0 {
						if _, _, err := l.OffsetAt(rec.Timestamp); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Go(func() {
			for range 10 {
				if err := l.Sync(t.Context()); err != nil {
					t.Error(err)
				}
				if err := l.Verify(t.Context()); err != nil {
					t.Error(err)
				}
				_ = l.Stats()
			}
		})
		all.Wait()
		require.NoError(t, l.Close())
		l = open(t, dir, &opts)
		got := values(t, l, 0)
		require.Len(t, got, 2*writers*each)
		for w, firsts := range offsets {
			for i, first := range firsts {
				require.Equal(t, []string{fmt.Sprint(w, " ", i), "and"}, got[first:first+2])
			}
		}
	}
}

// Close while everybody is at work.
func TestCloseConcurrentSafe(t *testing.T) {
	for _, opts := range slices.Repeat(settings, 8) {
		l, m := openMem(t, opts)
		var all sync.WaitGroup
		acknowledged := make([]int64, 8)
		var appended atomic.Int64
		for w := range 8 {
			all.Go(func() {
				for {
					first, err := l.Append(t.Context(), value(fmt.Sprint(w)))
					if err != nil {
						return // ErrClosed: it is not there, see below
					}
					acknowledged[w] = first
					appended.Add(1)
				}
			})
		}
		all.Go(func() {
			for l.Wait(t.Context(), l.End(), true) == nil {
			}
		})
		require.NoError(t, l.Wait(t.Context(), 50, false))
		require.NoError(t, l.Close())
		all.Wait()
		require.Empty(t, m.Open())
		opts.FS = m
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		for _, last := range acknowledged {
			require.Less(t, last, l.End(), "Close makes all that was acknowledged durable")
		}
		require.Len(t, values(t, l, 0), int(l.End()), "and gives no offset to what was refused")
		require.Equal(t, appended.Load(), l.End())
		require.NoError(t, l.Close())
	}
}

// A ctx that has ended before keeps Append and Sync from beginning; one that
// ends while they wait for the disk does not take back what they have begun,
// and they say how it ended.
func TestAContextThatEndsDuringASync(t *testing.T) {
	l, m := openMem(t, commitlog.Options{Sync: commitlog.SyncNever})
	defer l.Close()
	fill(t, l, 0, 3)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	syncs := m.Count(vfs.OpSync)
	require.ErrorIs(t, l.Sync(ended), context.Canceled)
	require.Equal(t, syncs, m.Count(vfs.OpSync))
	require.Zero(t, l.Durable())

	ctx, cancel := context.WithCancel(t.Context())
	m.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpSync {
			cancel()
		}
		return nil
	})
	require.NoError(t, l.Sync(ctx))
	require.Error(t, ctx.Err())
	require.EqualValues(t, 3, l.Durable())
	require.ErrorIs(t, l.Wait(ctx, 3, true), context.Canceled, "this one ends")
}
