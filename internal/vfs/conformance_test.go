package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const create = os.O_RDWR | os.O_CREATE

// everywhere runs a test on the disk and in memory.
func everywhere(t *testing.T, test func(t *testing.T, d FS)) {
	t.Helper()
	t.Run("dir", func(t *testing.T) {
		d, err := Dir(t.TempDir())
		require.NoError(t, err)
		defer d.Close()
		test(t, d)
	})
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		test(t, m)
		require.Empty(t, m.Open(), "left open")
		require.True(t, Equal(m, m.Kill()))
	})
}

func put(t *testing.T, d FS, name, content string) {
	t.Helper()
	f, err := d.OpenFile(name, create|os.O_TRUNC, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func get(t *testing.T, d FS, name string) string {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	require.NoError(t, err)
	return string(data)
}

func TestOpenFlags(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		_, err := d.OpenFile("x", os.O_RDWR, 0)
		require.ErrorIs(t, err, fs.ErrNotExist)
		put(t, d, "x", "content")
		_, err = d.OpenFile("x", create|os.O_EXCL, 0o600)
		require.ErrorIs(t, err, fs.ErrExist)
		_, err = d.OpenFile("x", os.O_RDWR|os.O_APPEND, 0)
		require.ErrorIs(t, err, fs.ErrInvalid)

		f, err := d.OpenFile("x", create, 0o600)
		require.NoError(t, err)
		require.Equal(t, "x", f.Name())
		require.NoError(t, f.Close())
		require.Equal(t, "content", get(t, d, "x"))

		f, err = d.OpenFile("x", os.O_RDONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("y"), 0)
		require.Error(t, err)
		require.Error(t, f.Truncate(0))
		require.Error(t, f.Allocate(100))
		require.NoError(t, f.Close())

		f, err = d.OpenFile("x", os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.ReadAt(make([]byte, 1), 0)
		require.Error(t, err)
		require.NotErrorIs(t, err, io.EOF)
		require.NoError(t, f.Close())

		f, err = d.OpenFile("x", os.O_RDWR|os.O_TRUNC, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Empty(t, get(t, d, "x"))
	})
}

func TestNames(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		for _, name := range []string{"", ".", "..", "a/b", "/a", `a\b`, "a\x00", "c:a"} {
			_, err := d.OpenFile(name, create, 0o600)
			require.ErrorIs(t, err, ErrName)
			require.ErrorIs(t, d.Remove(name), ErrName)
			require.ErrorIs(t, d.Rename(name, "x"), ErrName)
			require.ErrorIs(t, d.Rename("x", name), ErrName)
			_, _, err = d.Stat(name)
			require.ErrorIs(t, err, ErrName)
			_, err = d.Sub(name)
			require.ErrorIs(t, err, ErrName)
			require.ErrorIs(t, d.RemoveAll(name), ErrName)
			_, err = d.Lock(name)
			require.ErrorIs(t, err, ErrName)
			_, ok := errors.AsType[*fs.PathError](err)
			require.True(t, ok)
		}
		names, err := d.List()
		require.NoError(t, err)
		require.Empty(t, names)
	})
}

func TestReadsAndWrites(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		f, err := d.OpenFile("x", create, 0o600)
		require.NoError(t, err)
		p := make([]byte, 8)
		n, err := f.ReadAt(p, 0)
		require.Equal(t, 0, n)
		require.Equal(t, io.EOF, err)
		n, err = f.ReadAt(nil, 99)
		require.Equal(t, 0, n)
		require.NoError(t, err)

		long := strings.Repeat("0123456789", 1000)
		n, err = f.WriteAt([]byte(long), 5000)
		require.NoError(t, err)
		require.Equal(t, len(long), n)
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 15000, size)
		n, err = f.ReadAt(p, 4996)
		require.NoError(t, err)
		require.Equal(t, 8, n)
		require.Equal(t, "\x00\x00\x00\x000123", string(p))
		n, err = f.ReadAt(p, 14997)
		require.Equal(t, io.EOF, err)
		require.Equal(t, "789", string(p[:n]))
		n, err = f.WriteAt(nil, 20000)
		require.NoError(t, err)
		require.Equal(t, 0, n)

		_, err = f.ReadAt(p, -1)
		require.Error(t, err)
		_, err = f.WriteAt(p, -1)
		require.Error(t, err)
		require.Error(t, f.Truncate(-1))
		size, err = f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 15000, size)

		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		_, err = f.ReadAt(p, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.WriteAt(p, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorIs(t, f.Sync(), fs.ErrClosed)
		require.ErrorIs(t, f.Truncate(0), fs.ErrClosed)
		_, err = f.Size()
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorIs(t, f.Allocate(1<<20), fs.ErrClosed)
		_, _, err = f.Map()
		require.ErrorIs(t, err, fs.ErrClosed)
		require.Equal(t, strings.Repeat("\x00", 5000)+long, get(t, d, "x"))
	})
}

func TestTruncateAndAllocate(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		f, err := d.OpenFile("x", create, 0o600)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte(strings.Repeat("x", 10000)), 0)
		require.NoError(t, err)
		check := func(size int, ones int) {
			t.Helper()
			require.Equal(t, strings.Repeat("x", ones)+strings.Repeat("\x00", size-ones), get(t, d, "x"))
		}
		require.NoError(t, f.Truncate(700))
		check(700, 700)
		require.NoError(t, f.Truncate(9000))
		check(9000, 700)
		require.NoError(t, f.Allocate(0))
		require.NoError(t, f.Allocate(5000))
		check(9000, 700)
		require.NoError(t, f.Allocate(12345))
		check(12345, 700)
		require.NoError(t, f.Truncate(0))
		check(0, 0)
		require.NoError(t, f.Allocate(512))
		check(512, 0)
	})
}

func TestMap(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		f, err := d.OpenFile("x", create, 0o600)
		require.NoError(t, err)
		data, unmap, err := f.Map()
		if errors.Is(err, errors.ErrUnsupported) {
			require.NoError(t, f.Close())
			t.Skip("no mappings here")
		}
		require.NoError(t, err)
		require.Empty(t, data)
		require.NoError(t, unmap())

		_, err = f.WriteAt([]byte("hello"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(10000))
		data, unmap, err = f.Map()
		require.NoError(t, err)
		require.Len(t, data, 10000)
		require.Equal(t, "hello\x00", string(data[:6]))
		_, err = f.WriteAt([]byte("later"), 9000)
		require.NoError(t, err)
		require.Equal(t, "later\x00", string(data[9000:9006]))
		require.NoError(t, f.Truncate(20000))
		_, err = f.WriteAt([]byte("beyond"), 9998)
		require.NoError(t, err)
		require.Equal(t, "be", string(data[9998:]))

		require.NoError(t, f.Close())
		require.NoError(t, d.Remove("x"))
		require.Equal(t, "hello", string(data[:5]))
		require.NoError(t, unmap())
		require.NoError(t, unmap())
	})
}

func TestEntries(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		require.ErrorIs(t, d.Remove("x"), fs.ErrNotExist)
		require.ErrorIs(t, d.Rename("x", "y"), fs.ErrNotExist)
		_, _, err := d.Stat("x")
		require.ErrorIs(t, err, fs.ErrNotExist)

		put(t, d, "b", "of b")
		put(t, d, "a", "of a")
		below, err := d.Sub("dir")
		require.NoError(t, err)
		defer below.Close()
		names, err := d.List()
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, names)
		size, modified, err := d.Stat("a")
		require.NoError(t, err)
		require.EqualValues(t, 4, size)
		require.WithinDuration(t, time.Now(), modified, time.Minute)

		require.NoError(t, d.Rename("a", "a"))
		require.NoError(t, d.Rename("a", "b"))
		require.NoError(t, d.SyncDir())
		require.Equal(t, "of a", get(t, d, "b"))
		names, err = d.List()
		require.NoError(t, err)
		require.Equal(t, []string{"b"}, names)

		require.Error(t, d.Remove("dir"))
		require.Error(t, d.Rename("b", "dir"))
		_, err = d.OpenFile("dir", os.O_RDWR, 0)
		require.Error(t, err)
		_, err = d.Sub("b")
		require.Error(t, err)
		require.NoError(t, d.Remove("b"))
		require.NoError(t, d.SyncDir())
	})
}

func TestOpenFilesOutliveTheirNames(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		put(t, d, "x", "old")
		f, err := d.OpenFile("x", os.O_RDWR, 0)
		require.NoError(t, err)
		put(t, d, "y", "new")
		if err := d.Rename("y", "x"); err != nil {
			require.NoError(t, f.Close())
			t.Skip("open files keep their names here:", err)
		}
		p := make([]byte, 3)
		_, err = f.ReadAt(p, 0)
		require.NoError(t, err)
		require.Equal(t, "old", string(p))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.Equal(t, "new", get(t, d, "x"))
	})
}

func TestDirectoriesBelow(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		one, err := d.Sub("one")
		require.NoError(t, err)
		put(t, one, "x", "1")
		deep, err := one.Sub("deep")
		require.NoError(t, err)
		put(t, deep, "y", "2")
		require.NoError(t, deep.Close())
		again, err := d.Sub("one")
		require.NoError(t, err)
		require.Equal(t, "1", get(t, again, "x"))
		require.NoError(t, again.Close())
		require.NoError(t, again.Close())
		_, err = again.List()
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = again.OpenFile("x", os.O_RDWR, 0)
		require.ErrorIs(t, err, fs.ErrClosed)

		names, err := one.List()
		require.NoError(t, err)
		require.Equal(t, []string{"x"}, names)
		two, err := d.Sub("two")
		require.NoError(t, err)
		require.NoError(t, two.Close())
		subs, err := d.Subs()
		require.NoError(t, err)
		require.Equal(t, []string{"one", "two"}, subs)
		require.NoError(t, d.Rename("two", "three"))
		require.NoError(t, one.Close())
		require.NoError(t, d.RemoveAll("one"))
		require.NoError(t, d.RemoveAll("one"))
		require.NoError(t, d.SyncDir())
		subs, err = d.Subs()
		require.NoError(t, err)
		require.Equal(t, []string{"three"}, subs)
	})
}

func TestLock(t *testing.T) {
	everywhere(t, func(t *testing.T, d FS) {
		held, err := d.Lock("lock")
		require.NoError(t, err)
		_, err = d.Lock("lock")
		require.ErrorIs(t, err, ErrLocked)
		other, err := d.Lock("other")
		require.NoError(t, err)
		require.NoError(t, other.Close())
		require.NoError(t, held.Close())
		require.NoError(t, held.Close())
		held, err = d.Lock("lock")
		require.NoError(t, err)
		require.NoError(t, held.Close())
		names, err := d.List()
		require.NoError(t, err)
		require.Equal(t, []string{"lock", "other"}, names)
	})
}
