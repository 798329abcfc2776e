package commitlog_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

const (
	frames = 4096 // where they begin
	slotA  = 512
	slotB  = 1024
)

// build appends n records of about 200 bytes each and returns the file system
// as a killed process leaves it.
func build(t *testing.T, n int, opts commitlog.Options) (*vfs.Mem, []string) {
	t.Helper()
	m := vfs.NewMem()
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	defer l.Close()
	var want []string
	for i := range n {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("x", 200))
		_, err := l.Append(t.Context(), value(text))
		require.NoError(t, err)
		want = append(want, text)
	}
	return m.Kill(), want
}

// closed is build and Close.
func closed(t *testing.T, n int, opts commitlog.Options) (*vfs.Mem, []string) {
	t.Helper()
	m, want := build(t, n, opts)
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return m, want
}

// edit changes a file as nobody should.
func edit(t *testing.T, m *vfs.Mem, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := m.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, m.WriteFile(name, change(b)))
}

// opens checks what Open finds, that appends go on behind it, and that the
// next Open finds those, too.
func opens(t *testing.T, m *vfs.Mem, opts commitlog.Options, start int, want []string) {
	t.Helper()
	opts.FS = m
	for i := range 2 {
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		gotStart, got, err := contents(l)
		require.NoError(t, err)
		require.Equal(t, start, gotStart)
		require.Equal(t, want, got)
		require.NoError(t, l.Verify(t.Context()))
		text := fmt.Sprint("more ", i)
		_, err = l.Append(t.Context(), value(text))
		require.NoError(t, err)
		want = append(slices.Clone(want), text)
		require.NoError(t, l.Close())
	}
	require.Empty(t, m.Open())
}

// refuses checks that Open returns a CorruptError that says where.
func refuses(t *testing.T, m *vfs.Mem, opts commitlog.Options, want commitlog.CorruptError) {
	t.Helper()
	opts.FS = m
	_, err := commitlog.Open("", &opts)
	require.ErrorIs(t, err, commitlog.ErrCorrupt)
	got, ok := errors.AsType[*commitlog.CorruptError](err)
	require.True(t, ok)
	require.Contains(t, got.Reason, want.Reason)
	want.Reason = got.Reason
	require.Equal(t, want, *got)
	require.Empty(t, m.Open(), "handles and lock are given back")
}

// last returns the name of the last segment.
func last(t *testing.T, m *vfs.Mem) string {
	t.Helper()
	names := segmentFiles(t, m)
	return names[len(names)-1]
}

func segmentFiles(t *testing.T, m *vfs.Mem) []string {
	t.Helper()
	names, err := m.List()
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") })
}

// end returns where the frames of a file that was not closed end.
func end(b []byte) int {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return len(b)
}

// The cases are numbered as in the package doc.
func TestRecoveryCases(t *testing.T) {
	for i, test := range []func(*testing.T){
		0: caseClean, 1: caseEmpty, 2: caseTemporary, 3: caseRemovalInterrupted, 4: caseMergeInterrupted,
		5: caseTruncationInterrupted, 6: caseNotSealed, 7: caseUnsynced, 8: caseTorn, 9: caseCutOff,
		10: caseHeader, 11: caseMissing, 12: caseDamaged, 13: caseVersion,
	} {
		t.Run(fmt.Sprint(i), test)
	}
}

var small = commitlog.Options{SegmentBytes: 8192}

const firstSegment = "00000000000000000000.log"

func caseClean(t *testing.T) {
	m, want := closed(t, 10, small)
	before := m.Count(vfs.OpWrite, vfs.OpTruncate, vfs.OpSync)
	opts := small
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.Equal(t, before, m.Count(vfs.OpWrite, vfs.OpTruncate, vfs.OpSync), "nothing to do")
	require.NoError(t, l.Close())
	opens(t, m, small, 0, want)
}

func caseEmpty(t *testing.T) {
	opens(t, vfs.NewMem(), small, 0, nil)
}

func caseTemporary(t *testing.T) {
	m, want := closed(t, 10, small)
	for _, leftover := range []string{"00000000000000000010.log.tmp", "00000000000000000010.log.compact.tmp", "truncate-00000000000000000003.tmp"} {
		require.NoError(t, m.WriteFile(leftover, []byte("half of it")))
	}
	require.NoError(t, m.WriteFile("notes.tmp", []byte("somebody else's")))
	opens(t, m, small, 0, want)
	names, err := m.List()
	require.NoError(t, err)
	require.Equal(t, []string{firstSegment, "lock", "notes.tmp"}, names)
}

func caseRemovalInterrupted(t *testing.T) {
	m, want := closed(t, 100, small)
	before := m.Crash(nil)
	opts := small
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.NoError(t, l.DeleteBefore(60))
	require.NoError(t, l.Close())
	files := segmentFiles(t, m)
	require.NotEqual(t, firstSegment, files[0])
	for _, lost := range segmentFiles(t, before)[1:3] { // two of the removed ones are back, with a gap before
		b, err := before.ReadFile(lost)
		require.NoError(t, err)
		require.NoError(t, m.WriteFile(lost, b))
	}
	opens(t, m, small, 60, want[60:])
	require.Equal(t, files, segmentFiles(t, m)[:len(files)])
}

// A log whose start is the end of a segment that the next Open removes.
func startsBehindASegment(t *testing.T) (m *vfs.Mem, next string, want []string) {
	t.Helper()
	l, m := openMem(t, small)
	fill(t, l, 0, 3)
	require.NoError(t, l.DeleteBefore(3))
	text := strings.Repeat("x", 5000)
	_, err := l.Append(t.Context(), value(text))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Len(t, segmentFiles(t, m), 2)
	return m, last(t, m), []string{text}
}

// A process is killed while it notes the start in the segment that stays, the next
// one removes the other, and then there is a power loss.
func TestRemovalInterruptedTwice(t *testing.T) {
	m, next, want := startsBehindASegment(t)
	opts := small
	opts.FS = m
	var killed []*vfs.Mem
	m.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpSync && c.Path == next {
			killed = append(killed, m.Kill())
		}
		return nil
	})
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NotEmpty(t, killed)
	for _, m := range killed {
		opts.FS = m
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		lost := m.Crash(nil)
		require.NoError(t, l.Close())
		opens(t, lost, small, 3, want)
	}
}

// An Open that fails as it removes segments gives all handles back.
func TestRemovalFails(t *testing.T) {
	m, next, want := startsBehindASegment(t)
	opts := small
	opts.FS = m
	m.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpWrite && c.Path == next }, syscall.EIO))
	_, err := commitlog.Open("", &opts)
	require.ErrorIs(t, err, syscall.EIO)
	require.Empty(t, m.Open())
	m.Hook()
	opens(t, m, small, 3, want)
}

func caseMergeInterrupted(t *testing.T) {
	m, want := closed(t, 100, small)
	before := m.Crash(nil)
	opts := small
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	l.SetSegments(1<<20, 0)
	require.NoError(t, l.Compact(t.Context()))
	require.NoError(t, l.Close())
	require.Len(t, segmentFiles(t, m), 2)
	for _, merged := range segmentFiles(t, before)[1:3] {
		b, err := before.ReadFile(merged)
		require.NoError(t, err)
		require.NoError(t, m.WriteFile(merged, b))
	}
	opens(t, m, small, 0, want)
	require.Len(t, segmentFiles(t, m), 2)
}

func caseTruncationInterrupted(t *testing.T) {
	m, want := closed(t, 100, small)
	require.NoError(t, m.WriteFile("truncate-00000000000000000050", nil))
	opens(t, m, small, 0, want[:50])

	m, want = closed(t, 100, small)
	head, err := commitlog.AppendBatchTo(nil, 49, nil, value(want[49]), value("head"))
	require.NoError(t, err)
	require.NoError(t, m.WriteFile("truncate-00000000000000000051", head))
	opens(t, m, small, 0, append(want[:50:50], "head"))

	for name, bad := range map[string]commitlog.CorruptError{
		"truncate-00000000000000000050": {Offset: 50, Reason: "less than a header"},
		"truncate-x":                    {Reason: "not the name"},
	} {
		m, want = closed(t, 100, small)
		require.NoError(t, m.WriteFile(name, []byte("nonsense")))
		bad.Segment = name
		refuses(t, m, small, bad)
		opts := small
		opts.FS = m
		report, err := commitlog.Repair("", &opts)
		require.NoError(t, err)
		require.Len(t, report.Damages, 1)
		require.Equal(t, name+".damaged", report.Damages[0].Aside)
		opens(t, m, small, 0, want)
	}
}

func caseNotSealed(t *testing.T) {
	m, want := closed(t, 100, small)
	edit(t, m, firstSegment, func(b []byte) []byte { // as if the last checkpoint, which says that it is sealed, was not written
		clear(b[slotB : slotB+512])
		return b
	})
	opens(t, m, small, 0, want)

	// Full segments that were not synced yet: a power loss has taken the first.
	opts := commitlog.Options{SegmentBytes: 8192, Sync: commitlog.SyncNever, WriteThrough: true}
	m = vfs.NewMem()
	hold := make(chan struct{})
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	want = nil
	for i := range 40 {
		if i == 1 {
			require.NoError(t, l.Sync(t.Context()))
			m.Hook(func(c vfs.Call) error {
				if c.Op == vfs.OpSync && strings.HasPrefix(c.Path, firstSegment) {
					<-hold
				}
				return nil
			})
		}
		want = append(want, fmt.Sprintf("%d %s", i, strings.Repeat("x", 200)))
		_, err := l.Append(t.Context(), value(want[i]))
		require.NoError(t, err)
	}
	lost, killed := m.Crash(nil), m.Kill()
	close(hold)
	require.NoError(t, l.Close())
	require.Greater(t, len(segmentFiles(t, lost)), 2)
	opens(t, lost, small, 0, want[:1])
	require.Len(t, segmentFiles(t, lost), 1)
	opens(t, killed, small, 0, want)

	// The same bytes are missing, but a later segment says that they were durable.
	m, _ = closed(t, 100, small)
	edit(t, m, firstSegment, func(b []byte) []byte {
		clear(b[slotB : slotB+512])
		clear(b[frames+500:])
		return b
	})
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Position: frames + 276, Offset: 1, Reason: "bad checksum"})
}

func caseUnsynced(t *testing.T) {
	m, want := build(t, 10, commitlog.Options{Sync: commitlog.SyncNever, WriteThrough: true})
	require.Zero(t, m.Count(vfs.OpSync))
	opts := commitlog.Options{FS: m}
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.Equal(t, int64(10), l.Durable())
	powerLoss := m.Crash(nil)
	require.NoError(t, l.Close())
	opens(t, powerLoss, commitlog.Options{}, 0, want)
}

func caseTorn(t *testing.T) {
	m, want := build(t, 10, small)
	edit(t, m, firstSegment, func(b []byte) []byte { // half of the last write
		at := end(b)
		clear(b[at-100:])
		return b
	})
	opens(t, m, small, 0, want[:9])

	m, want = build(t, 10, commitlog.Options{Sync: commitlog.SyncNever, WriteThrough: true})
	edit(t, m, firstSegment, func(b []byte) []byte { // a sector is missing, good frames follow, no mark says more
		clear(b[frames+1024 : frames+1536])
		return b
	})
	opens(t, m, small, 0, want[:3])
}

func caseCutOff(t *testing.T) {
	m, _ := closed(t, 10, small)
	var size int
	edit(t, m, firstSegment, func(b []byte) []byte { size = len(b) - 1; return b[:size] })
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Position: int64(size), Offset: 10, Reason: "file cut off"})
	m, _ = closed(t, 100, small)
	edit(t, m, firstSegment, func(b []byte) []byte { return b[:5000] })
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Position: 5000, Offset: 0, Reason: "file cut off"})
}

func caseHeader(t *testing.T) {
	for _, sector := range []int{0, slotA, slotB} {
		m, want := closed(t, 10, small)
		edit(t, m, firstSegment, func(b []byte) []byte { clear(b[sector : sector+512]); return b })
		opens(t, m, small, 0, want)
	}
	m, _ := closed(t, 10, small)
	edit(t, m, firstSegment, func(b []byte) []byte { clear(b[:1536]); return b })
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Reason: "not the header"})
	m, _ = closed(t, 10, small)
	edit(t, m, firstSegment, func(b []byte) []byte { clear(b[slotA:1536]); return b })
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Reason: "no checkpoint"})
	m, _ = closed(t, 10, small)
	require.NoError(t, m.Rename(firstSegment, "00000000000000000007.log"))
	refuses(t, m, small, commitlog.CorruptError{Segment: "00000000000000000007.log", Offset: 7, Reason: "header is of segment 0"})
}

func caseMissing(t *testing.T) {
	m, _ := closed(t, 100, small)
	for i, lost := range segmentFiles(t, m) {
		damaged := m.Crash(nil)
		require.NoError(t, damaged.Remove(lost))
		var offset int64
		fmt.Sscanf(lost, "%d.log", &offset)
		refuses(t, damaged, small, commitlog.CorruptError{Segment: lost, Offset: offset, Reason: "missing"})
		require.Less(t, i, 10)
	}
}

func caseDamaged(t *testing.T) {
	m, _ := build(t, 10, small)
	const frame = 4 + 61 + 211 // the fourth batch and the mark behind it
	at := frames + frame + 2*(28+frame)
	for _, damage := range []func(b []byte){
		func(b []byte) { b[at+100] ^= 1 },
		func(b []byte) { clear(b[at+28 : at+540]) },
		func(b []byte) { b[at+30] ^= 1 },
	} {
		damaged := m.Crash(nil)
		edit(t, damaged, firstSegment, func(b []byte) []byte { damage(b); return b })
		opts := small
		opts.FS = damaged
		_, err := commitlog.Open("", &opts)
		corrupt, ok := errors.AsType[*commitlog.CorruptError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, int64(3), corrupt.Offset)
		require.Equal(t, int64(at), corrupt.Position)
	}
	m, _ = build(t, 10, commitlog.Options{Sync: commitlog.SyncNever, WriteThrough: true}) // no marks
	edit(t, m, firstSegment, func(b []byte) []byte { b[frames+100] ^= 1; return b })
	refuses(t, m, small, commitlog.CorruptError{Segment: firstSegment, Position: frames, Reason: "bad checksum"})
}

func caseVersion(t *testing.T) {
	m, _ := closed(t, 10, small)
	edit(t, m, firstSegment, func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[12:], 2)
		binary.BigEndian.PutUint32(b[8:], commitlog.Checksum(b[12:40]))
		return b
	})
	opts := small
	opts.FS = m
	_, err := commitlog.Open("", &opts)
	require.ErrorIs(t, err, commitlog.ErrVersion)
	require.Empty(t, m.Open())
}

func TestDamageMatrix(t *testing.T) {
	const n = 300
	opts := commitlog.Options{SegmentBytes: 16 << 10}
	rng := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 1000)
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	tail := func(f func(b []byte, end int) []byte) func(*testing.T, *vfs.Mem) {
		return func(t *testing.T, m *vfs.Mem) {
			edit(t, m, last(t, m), func(b []byte) []byte { return f(b, end(b)) })
		}
	}
	middle := func(f func(b []byte)) func(*testing.T, *vfs.Mem) {
		return func(t *testing.T, m *vfs.Mem) {
			names := segmentFiles(t, m)
			edit(t, m, names[len(names)/2], func(b []byte) []byte { f(b[frames+2000:]); return b })
		}
	}
	lastMiddle := func(f func(b []byte)) func(*testing.T, *vfs.Mem) {
		return tail(func(b []byte, _ int) []byte { f(b[frames+500:]); return b })
	}
	for _, test := range []struct {
		name   string
		damage func(*testing.T, *vfs.Mem)
		want   int // records that are found; -1: Open says where; -2: reading says where
	}{
		{"torn last record", tail(func(b []byte, end int) []byte { return b[:end-50] }), n - 1},
		{"last record with a zeroed tail", tail(func(b []byte, end int) []byte { clear(b[end-50:]); return b }), n - 1},
		{"bit flip in the middle", middle(func(b []byte) { b[0] ^= 4 }), -2},
		{"bit flip in the last file", lastMiddle(func(b []byte) { b[0] ^= 4 }), -1},
		{"512 bytes zeroed in the middle", middle(func(b []byte) { clear(b[:512]) }), -2},
		{"512 bytes zeroed in the last file", lastMiddle(func(b []byte) { clear(b[:512]) }), -1},
		{"garbage behind the last record", tail(func(b []byte, end int) []byte { copy(b[end:], garbage); return b }), n},
		{"garbage appended", tail(func(b []byte, end int) []byte { return append(b[:end], garbage...) }), n},
		{"4 KiB of zeros appended", tail(func(b []byte, end int) []byte { return append(b[:end], make([]byte, 4096)...) }), n},
		{"last directory entry lost", func(t *testing.T, m *vfs.Mem) { require.NoError(t, m.Remove(last(t, m))) }, -1},
		{"first directory entry lost", func(t *testing.T, m *vfs.Mem) { require.NoError(t, m.Remove(segmentFiles(t, m)[0])) }, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, want := build(t, n, opts)
			test.damage(t, m)
			opts := opts
			opts.FS = m
			if test.want >= 0 {
				opens(t, m, opts, 0, want[:test.want])
				return
			}
			l, err := commitlog.Open("", &opts)
			if test.want == -2 {
				require.NoError(t, err)
				require.ErrorIs(t, l.Verify(t.Context()), commitlog.ErrCorrupt)
				got := 0
				for r, err1 := range l.Records(0) {
					if err = err1; err == nil {
						require.Equal(t, want[got], string(r.Value))
						got++
					}
				}
				require.Less(t, got, n)
				require.NoError(t, l.Close())
			}
			require.ErrorIs(t, err, commitlog.ErrCorrupt)
			repairs(t, m, opts, want, n-1)
		})
	}
}

// repairs checks that Repair finds something, that what it leaves are records
// of want with their offsets, all of those below tail that it does not report
// as lost, and that the log goes on.
func repairs(t *testing.T, m *vfs.Mem, opts commitlog.Options, want []string, tail int) {
	t.Helper()
	opts.FS = m
	report, err := commitlog.Repair("", &opts)
	require.NoError(t, err)
	require.NotEmpty(t, report.Damages)
	again, err := commitlog.Repair("", &opts)
	require.NoError(t, err)
	require.Empty(t, again.Damages, "a repaired log is whole")
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Verify(t.Context()))
	lost, given := map[int64]bool{}, int64(0)
	for _, d := range report.Damages {
		to := d.To
		given = max(given, to)
		if to < 0 {
			to = int64(len(want))
		}
		for o := d.From; o < to; o++ {
			lost[o] = true
		}
	}
	found := map[int64]bool{}
	for r, err := range l.Records(l.Start()) {
		require.NoError(t, err)
		require.Equal(t, want[r.Offset], string(r.Value))
		found[r.Offset] = true
	}
	for o := range int64(tail) {
		require.True(t, found[o] || lost[o], "offset %d was lost and not reported", o)
	}
	next, err := l.Append(t.Context(), value("more"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, next, given, "offsets are given once")
	require.NoError(t, l.Close())
	l, err = commitlog.Open("", &opts)
	require.NoError(t, err)
	require.Equal(t, next+1, l.End())
	require.NoError(t, l.Close())
}
