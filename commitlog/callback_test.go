package commitlog_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

// An asker calls the log from where the log calls it.
type asker struct {
	log    atomic.Pointer[commitlog.Log]
	errs   chan error
	clocks atomic.Int64
	heard  atomic.Int64
	writes atomic.Bool // it appends what it hears
}

func (a *asker) ask() {
	l := a.log.Load()
	if l == nil {
		return // Open has not returned
	}
	_, _, _, _ = l.Start(), l.End(), l.Durable(), l.Stats()
	for _, err := range l.Records(l.Start()) {
		if err != nil && !errors.Is(err, commitlog.ErrOutOfRange) && !errors.Is(err, commitlog.ErrClosed) {
			a.errs <- err
		}
		break
	}
	if err := l.Sync(context.Background()); err != nil && !errors.Is(err, commitlog.ErrClosed) {
		a.errs <- err
	}
}

// now is an Options.Now.
func (a *asker) now() time.Time {
	a.clocks.Add(1)
	a.ask()
	return time.Now()
}

// An asker is a slog.Handler.
func (a *asker) Enabled(context.Context, slog.Level) bool { return true }
func (a *asker) WithAttrs([]slog.Attr) slog.Handler       { return a }
func (a *asker) WithGroup(string) slog.Handler            { return a }
func (a *asker) Handle(_ context.Context, r slog.Record) error {
	a.heard.Add(1)
	a.ask()
	l := a.log.Load()
	if l == nil || !a.writes.Load() {
		return nil
	}
	for _, err := range []error{l.Retain(context.Background()), l.DeleteBefore(l.Start())} {
		if err != nil && !errors.Is(err, commitlog.ErrClosed) {
			a.errs <- err
		}
	}
	if _, err := l.Append(context.Background(), commitlog.Record{Timestamp: time.Now(), Value: []byte(r.Message)}); err != nil && !errors.Is(err, commitlog.ErrClosed) {
		a.errs <- err
	}
	return nil
}

// Now and Logger are called with no lock held: they may call the log, whatever
// it is doing, and a Logger may write into the log that it hears of.
func TestCallbacksMayCallTheLog(t *testing.T) {
	for _, policy := range []commitlog.SyncPolicy{commitlog.SyncEach, commitlog.SyncNever} {
		a := &asker{errs: make(chan error, 10_000)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			l, err := commitlog.Open("", &commitlog.Options{FS: vfs.NewMem(), SegmentBytes: 8192, Sync: policy, RetainBytes: 32 << 10, Now: a.now, Logger: slog.New(a)})
			if err != nil {
				a.errs <- err
				return
			}
			a.log.Store(l)
			check := func(err error) {
				if err != nil {
					a.errs <- err
				}
			}
			fill := func() {
				for i := range 200 {
					_, err := l.Append(context.Background(), commitlog.Record{Key: []byte{byte(i % 7)}, Value: []byte(strings.Repeat("x", 500))})
					check(err)
				}
			}
			fill() // rolls and removes
			check(l.Compact(context.Background()))
			check(l.Retain(context.Background()))
			check(l.DeleteBefore(l.End() - 30))
			check(l.TruncateFrom(l.End() - 25))
			check(l.Reset(l.End() + 10))
			a.writes.Store(true)
			fill()
			check(l.Compact(context.Background()))
			check(l.DeleteBefore(l.End() - 5))
			check(l.Reset(l.End() + 100)) // its news is written into what is new
			a.writes.Store(false)
			check(l.Close())
		}()
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			t.Fatal("a callback that calls the log has locked it up")
		}
		require.Greater(t, a.clocks.Load(), int64(400))
		require.Greater(t, a.heard.Load(), int64(10))
		close(a.errs)
		for err := range a.errs {
			t.Error(err)
		}
	}
}
