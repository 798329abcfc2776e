package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHooksSeeEveryCall(t *testing.T) {
	m := NewMem()
	var trace []string
	m.Hook(func(c Call) error {
		trace = append(trace, c.String())
		return nil
	})
	below, err := m.Sub("d")
	require.NoError(t, err)
	f := open(t, below, "x")
	write(t, f, "abc", 7)
	require.NoError(t, f.Allocate(100))
	_, err = f.ReadAt(make([]byte, 2), 1)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(5))
	require.NoError(t, f.Sync())
	_, err = f.Size()
	require.NoError(t, err)
	_, unmap, err := f.Map()
	require.NoError(t, err)
	require.Equal(t, []string{"d/x", "d/x"}, m.Open())
	require.NoError(t, unmap())
	require.NoError(t, f.Close())
	require.NoError(t, below.Rename("x", "y"))
	require.NoError(t, below.SyncDir())
	_, _, err = below.Stat("y")
	require.NoError(t, err)
	_, err = below.List()
	require.NoError(t, err)
	require.NoError(t, below.Remove("y"))
	lock, err := below.Lock("l")
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	_, err = m.Subs()
	require.NoError(t, err)
	require.NoError(t, m.RemoveAll("d"))
	require.NoError(t, m.SyncDir())
	require.Equal(t, []string{"1 sub d", "2 open d/x", "3 write d/x 7+3", "4 allocate d/x 100", "5 read d/x 1+2", "6 truncate d/x 5",
		"7 sync d/x", "8 size d/x", "9 map d/x", "10 close d/x", "11 rename d/x", "12 syncdir d", "13 stat d/y", "14 list d",
		"15 remove d/y", "16 lock d/l", "17 subs .", "18 removeall d", "19 syncdir ."}, trace)
	require.Equal(t, 19, m.Calls())
	require.Equal(t, 3, m.Count(OpSync, OpSyncDir))
	require.Equal(t, "Op(99)", Op(99).String())
}

// Every kind of call fails with the error of the hook, and changes nothing then.
func TestHooksFailEveryCall(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	write(t, f, "content", 0)
	before := m.Kill()
	m.Hook(From(m.Calls()+1, syscall.EIO))
	fails := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, syscall.EIO)
		_, ok := errors.AsType[*fs.PathError](err)
		require.True(t, ok)
	}
	_, err := m.OpenFile("y", create, 0o600)
	fails(err)
	fails(m.Remove("x"))
	fails(m.Rename("x", "y"))
	_, err = m.List()
	fails(err)
	_, err = m.Subs()
	fails(err)
	_, _, err = m.Stat("x")
	fails(err)
	fails(m.SyncDir())
	_, err = m.Sub("d")
	fails(err)
	fails(m.RemoveAll("x"))
	_, err = m.Lock("l")
	fails(err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	fails(err)
	_, err = f.WriteAt([]byte("y"), 0)
	fails(err)
	fails(f.Sync())
	fails(f.Truncate(0))
	_, err = f.Size()
	fails(err)
	fails(f.Allocate(100))
	_, _, err = f.Map()
	fails(err)
	require.True(t, Equal(before, m))
	fails(f.Close())
	require.Empty(t, m.Open(), "closed all the same")
	m.Hook()
	require.ErrorIs(t, f.Close(), fs.ErrClosed)
}

func TestFirstHookWins(t *testing.T) {
	m := NewMem()
	m.Hook(Nth(2, syscall.EIO), Nth(2, syscall.ENOSPC), Nth(3, syscall.ENOSPC))
	require.NoError(t, m.SyncDir())
	require.ErrorIs(t, m.SyncDir(), syscall.EIO)
	require.ErrorIs(t, m.SyncDir(), syscall.ENOSPC)
	require.NoError(t, m.SyncDir())
}

func TestShortWrites(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	m.Hook(When(func(c Call) bool { return c.Op == OpWrite }, Short(3, syscall.EINTR)))
	n, err := f.WriteAt([]byte("abcdef"), 0)
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, syscall.EINTR)
	m.Hook(func(Call) error { return Short(3, syscall.EINTR) })
	require.ErrorIs(t, f.Sync(), syscall.EINTR)
	m.Hook()
	data, err := m.ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, "abc", string(data))
}

func TestLimit(t *testing.T) {
	m := NewMem()
	m.Limit(4 * sectorSize)
	f := open(t, m, "x")
	n, err := f.WriteAt(make([]byte, 5*sectorSize), 100)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 4*sectorSize-100, n)
	require.EqualValues(t, 4*sectorSize, m.Used())
	write(t, f, "rewriting takes no space", 0)
	g := open(t, m, "y")
	_, err = g.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	size, err := g.Size()
	require.NoError(t, err)
	require.Zero(t, size)
	require.NoError(t, f.Truncate(sectorSize+1))
	require.ErrorIs(t, g.Allocate(3*sectorSize), syscall.ENOSPC)
	require.NoError(t, g.Allocate(2*sectorSize))
	write(t, g, strings.Repeat("y", 2*sectorSize), 0)
	require.EqualValues(t, 4*sectorSize, m.Used())

	require.NoError(t, m.Remove("y"))
	require.EqualValues(t, 4*sectorSize, m.Used(), "an open file keeps its space")
	require.NoError(t, g.Close())
	require.EqualValues(t, 2*sectorSize, m.Used())
	_, err = f.WriteAt(make([]byte, 2*sectorSize), 4*sectorSize)
	require.NoError(t, err)
	checkInvariants(t, m)
	m.Limit(-1)
	write(t, f, strings.Repeat("z", 9*sectorSize), 0)
	checkInvariants(t, m)
}

func TestMappingsTurnIntoGarbage(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	write(t, f, strings.Repeat("a", 1000), 0)
	data, unmap, err := f.Map()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(500))
	require.Equal(t, strings.Repeat("a", 500)+strings.Repeat("\xDB", 500), string(data))
	write(t, f, "bbb", 600)
	require.Equal(t, "bbb", string(data[600:603]))
	require.NoError(t, unmap())
	require.Equal(t, bytes.Repeat([]byte{0xDB}, 1000), data)
	write(t, f, "c", 0)
	require.EqualValues(t, 0xDB, data[0])
}

func TestFilesPastTheCalls(t *testing.T) {
	m, err := Load(fstest.MapFS{"a": {Data: []byte("of a")}, "d/e/f": {Data: []byte("deep")}})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "d/e/f"}, m.Paths())
	require.True(t, Equal(m, m.Crash(nil)), "all is durable")
	require.Zero(t, m.Calls())
	require.NoError(t, m.WriteFile("d/e/f", []byte("changed")))
	require.Equal(t, []string{"a", "d/e/f"}, m.Paths())
	require.Equal(t, "changed", string(must(m.Crash(nil).ReadFile("d/e/f"))))
	for _, name := range []string{"b", "d", "d/x", "a/b", "x/y"} {
		_, err := m.ReadFile(name)
		require.Error(t, err)
	}
	for _, name := range []string{"d", "a/b", ".", ".."} {
		require.Error(t, m.WriteFile(name, nil))
	}
	checkInvariants(t, m)
	_, err = Load(os.DirFS("does-not-exist"))
	require.Error(t, err)
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// Long random histories are the same on the disk and in memory.
func TestMemIsADir(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		ops := make([]byte, 4*60)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		d, err := Dir(t.TempDir())
		require.NoError(t, err)
		onDisk, inMemory := &script{d: d}, &script{d: NewMem()}
		onDisk.run(ops)
		inMemory.run(ops)
		require.Equal(t, onDisk.notes, inMemory.notes)
		onDisk.close()
		inMemory.close()
	}
}

func TestMemConcurrentSafe(t *testing.T) {
	m := NewMem()
	m.Hook(func(c Call) error {
		if c.N%17 == 0 {
			found := m.Crash(rand.New(rand.NewPCG(uint64(c.N), 0)))
			if _, err := found.List(); err != nil {
				return err
			}
		}
		return nil
	})
	shared := open(t, m, "shared")
	require.NoError(t, shared.Truncate(1<<16))
	view, unmap, err := shared.Map()
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("own", g)
			f, err := m.OpenFile(name, create, 0o600)
			if err != nil {
				t.Errorf("OpenFile: %v", err)
				return
			}
			for i := range 50 {
				p := bytes.Repeat([]byte{byte(i)}, 100)
				at := int64(g<<14 + i*100)
				_, err1 := shared.WriteAt(p, at)
				_, err2 := f.WriteAt(p, int64(i)*100)
				if !bytes.Equal(view[at:at+100], p) {
					t.Errorf("the mapping does not show what was written at %d", at)
				}
				if err := errors.Join(err1, err2, f.Sync(), m.SyncDir()); err != nil {
					t.Errorf("%v", err)
				}
				m.Kill()
			}
			if err := errors.Join(f.Close(), m.Rename(name, name+"x")); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, unmap())
	require.NoError(t, shared.Close())
	require.Empty(t, m.Open())
	require.Len(t, m.Paths(), 5)
	checkInvariants(t, m)
}
