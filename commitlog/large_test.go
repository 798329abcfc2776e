package commitlog_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

// batchOf returns a batch of so many bytes with one record, and its value.
func batchOf(t *testing.T, size int, fill string) (batch []byte, text string) {
	t.Helper()
	for n := max(size-80, 0); ; n++ {
		text = strings.Repeat(fill, n)
		batch, err := commitlog.AppendBatchTo(nil, 77, nil, value(text))
		require.NoError(t, err)
		if len(batch) == size {
			return batch, text
		}
		require.Less(t, len(batch), size, "no value makes a batch of that size")
	}
}

// A write is a range of a file.
type write struct{ from, to int64 }

// writesOf notes the writes of frames from now on.
func writesOf(m *vfs.Mem) *[]write {
	var mu sync.Mutex
	var list []write
	m.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpWrite && c.Offset >= frames {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, write{c.Offset, c.Offset + int64(c.Len)})
		}
		return nil
	})
	return &list
}

// Wherever in its page a large batch begins and ends, it is stored as it is,
// and the part that is written apart begins with a page.
func TestLargeAtEveryPlace(t *testing.T) {
	const buffer = 300
	for _, size := range []int{299, 300, 301, 300 + 4096} {
		batch, text := batchOf(t, size, "x")
		for first := 3600; first < 4150; first += 3 {
			opts := commitlog.Options{FS: vfs.NewMem(), BufferBytes: buffer, Sync: commitlog.SyncNever, SegmentBytes: 1 << 20}
			l, err := commitlog.Open("", &opts)
			require.NoError(t, err)
			writes := writesOf(opts.FS.(*vfs.Mem))
			before, old := batchOf(t, first, "o")
			_, err = l.AppendBatch(t.Context(), before)
			require.NoError(t, err)
			require.NoError(t, l.Sync(t.Context()))
			*writes = nil
			offset, err := l.AppendBatch(t.Context(), bytes.Clone(batch))
			require.NoError(t, err)
			require.EqualValues(t, 1, offset)
			w := *writes
			if size < buffer {
				require.Empty(t, w)
			} else {
				require.Contains(t, []int{1, 2}, len(w))
			}
			for i := 1; i < len(w); i++ {
				require.Zero(t, w[i].from%4096, "%d bytes behind %d", size, first)
			}
			require.Equal(t, []string{old, text}, values(t, l, 0))
			require.NoError(t, l.Verify(t.Context()))
			require.NoError(t, l.Close())
			opens(t, opts.FS.(*vfs.Mem), opts, 0, []string{old, text})
		}
	}
}

// With whatever sectors of the two writes of a large batch, and of those before
// and after it, a crash leaves out: the log opens, and has a prefix.
func TestLargeLosesAnySectors(t *testing.T) {
	const sector = 512
	for _, gap := range []int{20, 30, 60, 500, 530, 700} { // from the frame to the next page
		for _, synced := range []bool{false, true} {
			m := vfs.NewMem()
			opts := commitlog.Options{FS: m, BufferBytes: 300, Sync: commitlog.SyncNever, SegmentBytes: 1 << 20}
			l, err := commitlog.Open("", &opts)
			require.NoError(t, err)
			writes := writesOf(m)
			var want []string
			add := func(size int) {
				batch, text := batchOf(t, size, fmt.Sprint(len(want)))
				_, err := l.AppendBatch(t.Context(), batch)
				require.NoError(t, err)
				want = append(want, text)
			}
			add(4096 - gap - 120 - 4 - 4)
			mark := 0
			if synced {
				require.NoError(t, l.Sync(t.Context()))
				mark = 28
			}
			*writes = nil // what comes before stays
			add(120 - mark)
			add(1300)
			add(100)
			_, err = l.ReadBatches(nil, 3, 1, false) // writes
			require.NoError(t, err)
			add(400)
			file, err := m.ReadFile(firstSegment)
			require.NoError(t, err)
			list := *writes
			require.NoError(t, l.Close())
			m.Hook()
			from, to := list[0].from, list[len(list)-1].to

			// A sector has what one of the writes has made of it, or nothing of them.
			type fate struct {
				at   int64
				cuts []int64 // its bytes from there on are not written
			}
			var fates []fate
			for at := from / sector * sector; at < to; at += sector {
				f := fate{at, []int64{max(at, from)}}
				for _, w := range list {
					if cut := min(w.to, at+sector); w.from < at+sector && w.to > at {
						f.cuts = append(f.cuts, cut)
					}
				}
				fates = append(fates, f)
			}
			tried := 0
			var try func(i int, file []byte)
			try = func(i int, file []byte) {
				if i < len(fates) {
					for _, cut := range fates[i].cuts {
						lost := bytes.Clone(file)
						clear(lost[cut : fates[i].at+sector])
						try(i+1, lost)
					}
					return
				}
				tried++
				opts.FS = vfs.NewMem()
				require.NoError(t, opts.FS.(*vfs.Mem).WriteFile(firstSegment, file))
				l, err := commitlog.Open("", &opts)
				require.NoError(t, err, "gap %d, synced %v", gap, synced)
				_, got, err := contents(l)
				require.NoError(t, err)
				require.NoError(t, l.Close())
				require.NotEmpty(t, got)
				require.Equal(t, want[:len(got)], got)
			}
			try(0, file[:min(len(file), int(to)+2000)])
			require.Greater(t, tried, 30)
		}
	}
}

// With a durable mark due, too, a large batch that just fits, or just does not, is
// written into what is reserved.
func TestLargeStaysInItsSpace(t *testing.T) {
	rolled := map[bool]int{}
	for size := 11_900; size < 12_100; size++ {
		l, m := openMem(t, commitlog.Options{BufferBytes: 300, SegmentBytes: 16 << 10})
		fill(t, l, 0, 1)
		m.Hook(func(c vfs.Call) error {
			if c.Op == vfs.OpWrite && c.Offset >= frames {
				file, err := m.ReadFile(strings.TrimSuffix(c.Path, ".tmp")) // the name that it was made by
				if err != nil || c.Offset+int64(c.Len) > int64(len(file)) {
					t.Errorf("batch of %d bytes: %v of a file of %d", size, c, len(file))
				}
			}
			return nil
		})
		batch, text := batchOf(t, size, "x")
		_, err := l.AppendBatch(t.Context(), batch)
		require.NoError(t, err)
		m.Hook()
		rolled[l.Stats().Segments > 1]++
		require.Equal(t, []string{"record 0", text}, values(t, l, 0))
		require.NoError(t, l.Close())
	}
	require.Greater(t, min(rolled[false], rolled[true]), 20, "both happen")
}
