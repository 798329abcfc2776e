package kvstore

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

var update = flag.Bool("update", false, "write the golden store of the present format version anew")

// memFS are files by name.
type memFS map[string][]byte

func (m memFS) fs() fs.FS {
	all := fstest.MapFS{}
	for name, data := range m {
		all[name] = &fstest.MapFile{Data: data}
	}
	return all
}

// TestGolden opens the stores that each version of the format has left in
// testdata: what is on disk stays readable.
func TestGolden(t *testing.T) {
	const dir = "testdata/v1"
	want := map[string]string{}
	for i := range 40 {
		want[fmt.Sprintf("key-%02d", i)] = strings.Repeat(fmt.Sprint(i), 10)
	}
	want["batch-a"], want["batch-b"], want["\x00\xff"] = "1", "2", ""
	if *update {
		writeGolden(t, dir, want)
	}
	m, err := vfs.Load(os.DirFS(dir))
	require.NoError(t, err)
	s, err := Open("", &Options{FS: m})
	require.NoError(t, err)
	got, err := contents(s)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, s.Verify(t.Context()))
	kinds := map[string]bool{}
	for _, path := range m.Paths() {
		_, suffix, _ := strings.Cut(path, ".")
		kinds[suffix] = true
	}
	require.Equal(t, map[string]bool{"log": true, "tab": true, "hint": true, "": true}, kinds)
	require.NoError(t, s.Close())
}

func writeGolden(t *testing.T, dir string, want map[string]string) {
	require.NoError(t, os.RemoveAll(dir))
	s, err := Open(dir, &Options{Codec: LZ4, RawBytes: 20})
	require.NoError(t, err)
	put := func(key string) { require.NoError(t, s.Put([]byte(key), []byte(want[key]), nil)) }
	for i := range 30 {
		put(fmt.Sprintf("key-%02d", i))
		require.NoError(t, s.Put(fmt.Appendf(nil, "gone-%d", i), nil, nil))
	}
	require.NoError(t, s.Merge(t.Context()))
	for i := range 30 {
		require.NoError(t, s.Delete(fmt.Appendf(nil, "gone-%d", i), nil))
	}
	var b Batch
	b.Put([]byte("batch-a"), []byte("1"))
	b.Put([]byte("batch-b"), []byte("2"))
	require.NoError(t, s.Apply(&b, nil))
	put("\x00\xff")
	for i := 30; i < 40; i++ {
		put(fmt.Sprintf("key-%02d", i))
	}
	require.NoError(t, s.Close())
	for _, name := range []string{lockName, ballastName} {
		require.NoError(t, ignoreMissing(os.Remove(dir+"/"+name)))
	}
}
