//go:build linux

package kvstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A hint that somebody truncates while it is mapped is an error that names it,
// too: of gets and iterations, of Verify, of a merge. A write goes on.
func TestATruncatedHint(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{ManualMerge: true, DirectoryKeys: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	put := func(prefix string) {
		for i := range 1500 {
			require.NoError(t, s.Put(fmt.Appendf(nil, "%s-%04d", prefix, i), noise(i)[:80], nil))
		}
		sealAll(t, s)
	}
	put("a")
	put("b")
	g := s.sealedSegments()[0]
	name := filepath.Join(dir, hintName(g.id))
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Greater(t, len(whole), 2*4096)
	require.NoError(t, os.Truncate(name, 4096))

	lost := func(err error) {
		t.Helper()
		corrupt, ok := errors.AsType[*CorruptError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, hintName(g.id), corrupt.File)
		require.GreaterOrEqual(t, corrupt.Offset, int64(4096))
	}
	_, _, err = s.Get([]byte("a-1400"))
	lost(err)
	for _, all := range []func() error{
		func() (last error) {
			for _, err := range s.Scan(nil, nil) {
				last = err
			}
			return last
		},
		func() (last error) {
			for _, err := range s.ScanBackward(nil, nil) {
				last = err
			}
			return last
		},
		func() error { return s.Verify(t.Context()) },
	} {
		lost(all())
	}
	require.NoError(t, s.Put([]byte("a-1400"), []byte("new"), nil))
	require.NoError(t, s.Delete([]byte("a-1401"), nil))
	value, ok, err := s.Get([]byte("a-1400"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "new", string(value))
	lost(s.Merge(t.Context()))

	// The page can be read again: what was deleted meanwhile stays so.
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(whole)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, ok, err = s.Get([]byte("a-1401"))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = s.Get([]byte("a-1402"))
	require.NoError(t, err)
	require.True(t, ok)
}
