package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirCreatesWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := Dir(path)
	require.NoError(t, err)
	defer d.Close()
	f, err := d.OpenFile("x", os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("hello"), 3)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.NoError(t, d.SyncDir())
	data, err := os.ReadFile(filepath.Join(path, "x"))
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00hello", string(data))
}

func TestDirRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := Dir(path)
	require.ErrorIs(t, err, errNotDirectory)
	_, err = Dir(filepath.Join(path, "below"))
	require.Error(t, err)
}

func TestDirStaysInside(t *testing.T) {
	base := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(base, "secret"), []byte("s"), 0o600))
	d, err := Dir(filepath.Join(base, "d"))
	require.NoError(t, err)
	defer d.Close()
	if err := os.Symlink("../secret", filepath.Join(base, "d", "link")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	_, err = d.OpenFile("link", os.O_RDWR, 0)
	require.Error(t, err)
	_, _, err = d.Stat("link")
	require.Error(t, err)
	require.False(t, errors.Is(err, fs.ErrNotExist))
}
