package commitlog_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files of the present version")

// What version 1 has written is read by every later version: sealed segments
// with an index, marks, a compressed batch, headers, a deleted beginning, gaps,
// and a last segment that was not closed.
func TestGoldenVersion1(t *testing.T) {
	const dir = "testdata/v1"
	opts := commitlog.Options{SegmentBytes: 8192, Now: func() time.Time { return time.UnixMilli(1_000_000) }}
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		m := vfs.NewMem()
		opts.FS = m
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		for i := range 40 {
			_, err := l.Append(t.Context(), value(fmt.Sprintf("%d %s", i, strings.Repeat("g", 150))))
			require.NoError(t, err)
		}
		require.NoError(t, l.DeleteBefore(5))
		gap, err := commitlog.AppendBatchTo(nil, 50, commitlog.GzipCodec(9), samples...)
		require.NoError(t, err)
		_, err = l.AppendReplica(t.Context(), gap)
		require.NoError(t, err)
		_, err = l.Append(t.Context(), samples[0])
		require.NoError(t, err)
		killed := m.Kill()
		require.NoError(t, l.Close())
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for _, name := range segmentFiles(t, killed) {
			b, err := killed.ReadFile(name)
			require.NoError(t, err)
			b = b[:end(b)]
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		}
	}
	m, err := vfs.Load(os.DirFS(dir))
	require.NoError(t, err)
	opts.FS = m
	l, err := commitlog.Open("", &opts)
	require.NoError(t, err)
	require.Equal(t, []int64{5, 55}, []int64{l.Start(), l.End()})
	require.NoError(t, l.Verify(t.Context()))
	next := int64(5)
	for r, err := range l.Records(5) {
		require.NoError(t, err)
		if next == 40 {
			next = 50
		}
		require.Equal(t, next, r.Offset)
		switch {
		case next < 40:
			require.Equal(t, fmt.Sprintf("%d %s", next, strings.Repeat("g", 150)), string(r.Value))
		default:
			want := samples[(next-50)%4]
			want.Offset = next
			require.Equal(t, want, r)
		}
		next++
	}
	require.Equal(t, int64(55), next)
	offset, ok, err := l.OffsetAt(samples[0].Timestamp)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(50), offset)
	require.NoError(t, l.Close())
}
