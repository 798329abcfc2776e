package vfs

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// writes counts the bytes that are written through it.
type writes struct {
	File
	n int
}

func (w *writes) WriteAt(p []byte, off int64) (int, error) {
	w.n += len(p)
	return w.File.WriteAt(p, off)
}

func TestPrewriter(t *testing.T) {
	const room = 3 * prewriteBytes
	inner, err := NewMem().OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, inner.Allocate(room))
	f := &writes{File: inner}
	var p Prewriter
	end := 0
	// write appends and returns how many bytes more than that were written.
	write := func(n int) int {
		before := f.n
		_, err := f.WriteAt(bytes.Repeat([]byte{1}, n), int64(end))
		require.NoError(t, err)
		end += n
		p.Wrote(f, n, int64(end), room)
		return f.n - before - n
	}
	require.Zero(t, write(100), "not synced before")
	p.Synced()
	require.Zero(t, write(prewriteGroup+1), "a large group")
	require.Zero(t, write(100), "not synced since")
	p.Synced()
	require.Equal(t, prewriteBytes, write(100))
	for range 3 {
		p.Synced()
		require.Zero(t, write(100), "there are zeros")
	}
	end = room - 1000
	p.Synced()
	require.Equal(t, 900, write(100), "up to the end of the space")
	p.Synced()
	require.Zero(t, write(900), "no space is left")

	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, room, size)
	other := &writes{File: inner}
	p.Synced()
	p.Wrote(other, 1, room-10, room)
	require.Equal(t, 10, other.n, "another file has none yet")
}

// Zeros that cannot be written change nothing that the caller has to know.
func TestPrewriterFails(t *testing.T) {
	m := NewMem()
	f, err := m.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(1000))
	require.NoError(t, f.Close())
	var p Prewriter
	p.Synced()
	p.Wrote(f, 1, 1, 1000)
	p.Synced()
	p.Wrote(f, 1, 2, 1000) // closed: it is not tried for every write
}
