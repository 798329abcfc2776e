package commitlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
	"github.com/stretchr/testify/require"
)

// sweep tries every damage to every file of a log and checks that it is found,
// with a place, or harmless; that no wrong record is ever returned; and that
// after Repair the log is whole. If the log was not closed, the records from
// tail on may be missing without an error.
func sweep(t *testing.T, m *vfs.Mem, opts commitlog.Options, want []string, tail int, step int) (found, harmless int) {
	t.Helper()
	isLog := func(path string) bool { return strings.HasSuffix(path, ".log") }
	lastData := func(_ string, b []byte) int { return end(b) + 700 }
	for d, damaged := range crashtest.Damages(m, crashtest.DamageOptions{Files: isLog, Step: step, End: lastData}) {
		opts.FS = damaged
		got, err := readAll(&opts, want)
		tail := tail
		if tail < len(want) && d.Path == last(t, m) && d.Offset+d.Len >= dataEnd(t, m, d.Path) {
			// Nothing good is left behind it: a torn write, for all that one can know.
			var base int
			fmt.Sscanf(d.Path, "%d", &base)
			tail = min(base+max(d.Offset-frames, 0)/310, tail)
		}
		switch {
		case err != nil && !errors.Is(err, commitlog.ErrCorrupt) && !errors.Is(err, commitlog.ErrVersion):
			t.Fatalf("%v: %v", d, err)
		case err != nil:
			found++
			if step > 1 || found%29 == 0 {
				repairs(t, damaged, opts, want, tail)
			}
		case got < tail || got > len(want):
			t.Fatalf("%v: %d of %d records and no error", d, got, len(want))
		default:
			harmless++
		}
	}
	return found, harmless
}

func dataEnd(t *testing.T, m *vfs.Mem, name string) int {
	b, err := m.ReadFile(name)
	require.NoError(t, err)
	return end(b)
}

// readAll opens a log and reads all records, which must be those of want from
// the first on. It returns how many there are before an error.
func readAll(opts *commitlog.Options, want []string) (n int, err error) {
	l, err := commitlog.Open("", opts)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	verified := l.Verify(context.Background())
	for r, err := range l.Records(0) {
		if err != nil {
			if verified == nil {
				return n, fmt.Errorf("not found by Verify: %v", err)
			}
			if corrupt, ok := errors.AsType[*commitlog.CorruptError](err); ok && corrupt.Offset > int64(n) {
				return n, fmt.Errorf("offset in the error is after %d: %v", n, err)
			}
			return n, err
		}
		if r.Offset != int64(n) || n >= len(want) || string(r.Value) != want[n] {
			return n, fmt.Errorf("wrong record %d at offset %d", n, r.Offset)
		}
		n++
	}
	if verified != nil && n == len(want) {
		return n, verified
	}
	return n, verified
}

// Every byte of every file with a bit flipped, every sector zeroed or written
// over, the file cut at every length, garbage and zeros appended, the file gone.
func TestDamageSweep(t *testing.T) {
	opts := commitlog.Options{SegmentBytes: 8192}
	step := 31
	if *histories > 1 {
		step = 1
	}
	t.Run("closed", func(t *testing.T) {
		m, want := closed(t, 30, opts)
		require.Len(t, segmentFiles(t, m), 3)
		found, harmless := sweep(t, m, opts, want, len(want), step)
		require.Greater(t, found, 50)
		require.Greater(t, harmless, 50)
	})
	t.Run("not closed", func(t *testing.T) {
		m, want := build(t, 30, opts)
		found, harmless := sweep(t, m, opts, want, len(want)-1, step)
		require.Greater(t, found, 50)
		require.Greater(t, harmless, 50)
	})
	t.Run("one byte at a time", func(t *testing.T) {
		m, want := build(t, 3, opts)
		found, harmless := sweep(t, m, opts, want, len(want)-1, 1)
		require.Greater(t, found, 500)
		require.Greater(t, harmless, 500)
	})
}
