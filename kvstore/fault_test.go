//go:build linux

package kvstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// noise is a value that is not compressed to nothing.
func noise(i int) []byte {
	b := make([]byte, 500)
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b)
	copy(b, "some of it is compressed, some of it is compressed, some of it is compressed")
	return b
}

// A file that somebody truncates while it is mapped is an error that names it
// and the place, in all that reads, and not the end of the process; what is in
// other files is read as before.
func TestATruncatedMapping(t *testing.T) {
	for _, codec := range []Codec{nil, LZ4} {
		for _, hidden := range []bool{false, true} { // the keys, too, are in the file of a hint
			t.Run(fmt.Sprintf("codec=%v/hidden=%v", codec != nil, hidden), func(t *testing.T) {
				dir := t.TempDir()
				o := &Options{ManualMerge: true, Codec: codec}
				if hidden {
					o.DirectoryKeys = 1
				}
				s, err := Open(dir, o)
				require.NoError(t, err)
				put := func(prefix string) {
					for i := range 200 {
						require.NoError(t, s.Put(fmt.Appendf(nil, "%s-%03d", prefix, i), noise(i), nil))
					}
				}
				put("a")
				sealAll(t, s)
				if codec != nil {
					require.NoError(t, s.Merge(t.Context()))
				}
				g := s.sealedSegments()[0]
				put("b")
				sealAll(t, s)
				n, err := s.Snapshot()
				require.NoError(t, err)
				require.NoError(t, os.Truncate(filepath.Join(dir, g.name()), 4096))

				lost := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, ErrCorrupt)
					corrupt, ok := errors.AsType[*CorruptError](err)
					require.True(t, ok)
					require.Equal(t, g.name(), corrupt.File)
					require.GreaterOrEqual(t, corrupt.Offset, int64(4096))
				}
				value, ok, err := s.AppendGet([]byte("dst"), []byte("a-199"))
				lost(err)
				require.False(t, ok)
				require.Equal(t, "dst", string(value))
				_, err = s.Has([]byte("a-199"))
				lost(err)
				_, _, err = n.Get([]byte("a-199"))
				lost(err)
				var last error
				for _, err := range s.All() {
					last = err
				}
				lost(last)
				lost(s.Verify(t.Context()))
				n.Close()
				for i := range 200 {
					require.NoError(t, s.Delete(fmt.Appendf(nil, "b-%03d", i), nil))
				}
				lost(s.Merge(t.Context()))
				put("b")
				value, ok, err = s.Get([]byte("b-199"))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, noise(199), value)
				require.NoError(t, s.Close())
			})
		}
	}
}

// What is no fault of a mapping is not made an error of the store.
func TestOtherPanicsGoOn(t *testing.T) {
	s := openDir(t, t.TempDir(), nil)
	require.PanicsWithValue(t, "mine", func() {
		var err error
		defer s.catch(false, nil, &err)
		panic("mine")
	})
}

// A read that has a view of before the file was mapped again finds its file, too.
func TestAFaultInTheViewBefore(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, &Options{ManualMerge: true})
	for i := range 200 {
		require.NoError(t, s.Put(fmt.Appendf(nil, "a-%03d", i), noise(i), nil))
	}
	sealAll(t, s)
	g := s.sealedSegments()[0]
	view := *g.view.Load()
	g.remap()
	require.NotSame(t, &view[0], &(*g.view.Load())[0])
	require.NoError(t, os.Truncate(filepath.Join(dir, g.name()), 4096))
	err := s.mapped(func() error { return g.corrupt(0, fmt.Sprint(view[8192])) })
	require.ErrorContains(t, err, g.name())
	require.ErrorContains(t, err, "8192")
}
