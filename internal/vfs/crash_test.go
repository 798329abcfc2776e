package vfs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func draws(n int) func(yield func(*rand.Rand) bool) {
	return func(yield func(*rand.Rand) bool) {
		for seed := range n {
			if !yield(rand.New(rand.NewPCG(uint64(seed), 7))) {
				return
			}
		}
	}
}

// open opens a file of m and fails the test if it cannot.
func open(t *testing.T, m FS, name string) File {
	t.Helper()
	f, err := m.OpenFile(name, create, 0o600)
	require.NoError(t, err)
	return f
}

func write(t *testing.T, f File, content string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(content), off)
	require.NoError(t, err)
}

func TestWhatWasSyncedSurvives(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	write(t, f, strings.Repeat("durable", 500), 0)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	want, err := m.ReadFile("x")
	require.NoError(t, err)
	for rng := range draws(20) {
		found := m.Crash(rng)
		require.True(t, Equal(m, found))
		require.True(t, Equal(m, found.Crash(rng)))
		checkInvariants(t, found)
	}
	write(t, f, "x", 10000)
	for rng := range draws(20) {
		data, err := m.Crash(rng).ReadFile("x")
		require.NoError(t, err)
		require.Equal(t, want, data[:len(want)])
	}
	data, err := m.Crash(nil).ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, want, data)
}

// Every fate of a sector is drawn, and no other than those that are promised.
func TestFatesOfSectors(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	whole := func(b string) string { return strings.Repeat(b, sectorSize) }
	write(t, f, whole("a")+whole("a"), 0)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	write(t, f, whole("b"), sectorSize)
	write(t, f, whole("c")+whole("c"), sectorSize)
	kinds := [3]map[string]int{{}, {}, {}}
	sizes := map[int]int{}
	for rng := range draws(500) {
		data, err := m.Crash(rng).ReadFile("x")
		require.NoError(t, err)
		sizes[len(data)]++
		for i := range kinds {
			if len(data) < (i+1)*sectorSize {
				continue
			}
			kind := "garbage"
			for _, b := range []string{"a", "b", "c", "\x00"} {
				if string(data[i*sectorSize:(i+1)*sectorSize]) == whole(b) {
					kind = b
				}
			}
			kinds[i][kind]++
		}
	}
	require.Equal(t, map[string]int{"a": 500}, kinds[0])
	require.Len(t, kinds[1], 3, "old, between and new: %v", kinds[1])
	require.NotContains(t, kinds[1], "garbage")
	require.NotContains(t, kinds[1], "\x00")
	require.Len(t, kinds[2], 3, "new, zero and garbage: %v", kinds[2])
	require.NotContains(t, kinds[2], "a")
	require.Contains(t, sizes, 2*sectorSize)
	require.Contains(t, sizes, 3*sectorSize)
	require.Greater(t, len(sizes), 10, "sizes in between")
	for size := range sizes {
		require.GreaterOrEqual(t, size, 2*sectorSize)
	}
}

func TestNothingFromBeforeTheSyncComesBack(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	for _, content := range []string{"a", "b", "c"} {
		write(t, f, content, 0)
	}
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	write(t, f, "d", 0)
	found := map[string]bool{}
	for rng := range draws(100) {
		found[string(must(m.Crash(rng).ReadFile("x")))] = true
	}
	require.Equal(t, map[string]bool{"c": true, "d": true}, found)
}

func TestTruncateIsUnsyncedToo(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	write(t, f, strings.Repeat("a", 2000), 0)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	require.NoError(t, f.Truncate(100))
	sizes := map[int]bool{}
	for rng := range draws(50) {
		data, err := m.Crash(rng).ReadFile("x")
		require.NoError(t, err)
		sizes[len(data)] = true
		require.Equal(t, strings.Repeat("a", 100), string(data[:100]))
	}
	require.Equal(t, map[int]bool{100: true, 2000: true}, sizes)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(3000))
	require.NoError(t, f.Sync())
	for rng := range draws(20) {
		data, err := m.Crash(rng).ReadFile("x")
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("a", 100)+strings.Repeat("\x00", 2900), string(data), "nothing that was cut off comes back")
	}
}

func TestNamesAreUnsyncedToo(t *testing.T) {
	m := NewMem()
	f := open(t, m, "a")
	write(t, f, "of a", 0)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	g := open(t, m, "new")
	write(t, g, "of new", 0)
	require.NoError(t, g.Sync())
	require.NoError(t, m.Rename("a", "b"))
	require.NoError(t, m.Rename("new", "newer"))
	seen := map[string]bool{}
	for rng := range draws(200) {
		found := m.Crash(rng)
		paths := found.Paths()
		seen[strings.Join(paths, " ")] = true
		require.True(t, slices.Contains(paths, "a") != slices.Contains(paths, "b"), "a rename is one step: %v", paths)
		for _, name := range paths {
			content := map[string]string{"a": "of a", "b": "of a", "new": "of new", "newer": "of new"}[name]
			data, err := found.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, content, string(data))
		}
		checkInvariants(t, found)
	}
	for _, want := range []string{"a", "b", "a new", "b new", "b newer", "a newer"} {
		require.Contains(t, seen, want)
	}
	require.Equal(t, []string{"a"}, m.Crash(nil).Paths())
	require.Equal(t, []string{"b", "newer"}, m.Kill().Paths())
	require.Equal(t, []string{"a"}, m.Kill().Crash(nil).Paths(), "a killed process syncs nothing")
	require.NoError(t, m.Remove("b"))
	require.NoError(t, m.SyncDir())
	require.Equal(t, []string{"newer"}, m.Crash(nil).Paths())
}

func TestRenamesInAnyOrder(t *testing.T) {
	m := NewMem()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, m.WriteFile(name, []byte("of "+name)))
	}
	require.NoError(t, m.Rename("b", "a"))
	require.NoError(t, m.Rename("a", "c"))
	seen := map[string]bool{}
	for rng := range draws(100) {
		found := m.Crash(rng)
		var content strings.Builder
		for _, name := range found.Paths() {
			content.WriteString(name + " " + string(must(found.ReadFile(name))) + ", ")
		}
		seen[content.String()] = true
		checkInvariants(t, found)
	}
	require.Equal(t, map[string]bool{"a of a, b of b, ": true, "a of b, ": true, "c of b, ": true, "a of a, b of b, c of b, ": true}, seen)
}

func TestDirectoriesCrash(t *testing.T) {
	m := NewMem()
	below, err := m.Sub("below")
	require.NoError(t, err)
	f := open(t, below, "x")
	write(t, f, "content", 0)
	require.NoError(t, f.Sync())
	found := m.Crash(nil)
	require.Empty(t, found.Paths())
	subs, err := found.Subs()
	require.NoError(t, err)
	require.Equal(t, []string{"below"}, subs, "Sub makes its entry durable")
	require.NoError(t, below.SyncDir())
	require.NoError(t, m.RemoveAll("below"))
	require.Empty(t, m.Paths())
	require.Equal(t, []string{"below/x"}, m.Crash(nil).Paths())
	require.NoError(t, m.SyncDir())
	require.Empty(t, m.Crash(nil).Paths())

	below, err = m.Sub("below")
	require.NoError(t, err)
	g := open(t, below, "y")
	require.NoError(t, below.SyncDir())
	copied := below.(*Mem).Kill()
	require.Equal(t, []string{"y"}, copied.Paths(), "the copy of a directory is that directory")
	require.NoError(t, f.Close())
	require.NoError(t, g.Close())
	require.Empty(t, m.Open())
	checkInvariants(t, m)
}

func TestKillKeepsWhatIsUnsynced(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	require.NoError(t, m.SyncDir())
	write(t, f, "written", 0)
	lock, err := m.Lock("lock")
	require.NoError(t, err)
	killed := m.Kill()
	require.True(t, Equal(m, killed))
	require.Empty(t, killed.Open())
	again, err := killed.Lock("lock")
	require.NoError(t, err, "locks die with the process")
	require.NoError(t, again.Close())
	data, err := killed.Crash(nil).ReadFile("x")
	require.NoError(t, err)
	require.Empty(t, data)

	// The two are independent from here on.
	g := open(t, killed, "x")
	write(t, g, "WRITTEN", 0)
	require.NoError(t, g.Sync())
	write(t, f, "w", 0)
	data, err = m.ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, "written", string(data))
	data, err = killed.Crash(nil).ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, "WRITTEN", string(data))
	require.NoError(t, lock.Close())
	checkInvariants(t, m)
	checkInvariants(t, killed)
}

func TestEqualSeedsDrawEqualCrashes(t *testing.T) {
	m := NewMem()
	for _, name := range []string{"a", "b", "c", "d"} {
		f := open(t, m, name)
		write(t, f, strings.Repeat(name, 9000), 0)
	}
	for seed := range uint64(10) {
		one, two := m.Crash(rand.New(rand.NewPCG(seed, 1))), m.Crash(rand.New(rand.NewPCG(seed, 1)))
		require.True(t, Equal(one, two))
	}
}

// A sync that failed loses what it was to write, and the one after it does not
// bring that back.
func TestFailedSync(t *testing.T) {
	m := NewMem()
	f := open(t, m, "x")
	require.NoError(t, f.Truncate(4*sectorSize))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir())
	write(t, f, "lost", 0)
	m.Hook(When(func(c Call) bool { return c.Op == OpSync }, os.ErrDeadlineExceeded))
	require.ErrorIs(t, f.Sync(), os.ErrDeadlineExceeded)
	m.Hook()
	write(t, f, "kept", sectorSize)
	require.NoError(t, f.Sync())
	data, err := m.Crash(nil).ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00", string(data[:4]))
	require.Equal(t, "kept", string(data[sectorSize:sectorSize+4]))
	found := map[string]bool{}
	for rng := range draws(50) {
		data, err := m.Crash(rng).ReadFile("x")
		require.NoError(t, err)
		found[string(data[:4])] = true
	}
	require.Equal(t, map[string]bool{"lost": true, "\x00\x00\x00\x00": true}, found)
	checkInvariants(t, m)
	write(t, f, "once more", 0)
	require.NoError(t, f.Sync())
	data, err = m.Crash(nil).ReadFile("x")
	require.NoError(t, err)
	require.Equal(t, "once more", string(data[:9]))
}

func TestCrashedFilesGoOn(t *testing.T) {
	for rng := range draws(200) {
		m := NewMem()
		model := bytes.Buffer{}
		f := open(t, m, "x")
		require.NoError(t, m.SyncDir())
		for range 30 {
			n := 1 + rng.IntN(3000)
			p := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, n)
			write(t, f, string(p), int64(model.Len()))
			model.Write(p)
			switch rng.IntN(6) {
			case 0, 1:
				require.NoError(t, f.Sync())
			case 2:
				size := model.Len() - rng.IntN(min(n, 700))
				model.Truncate(size)
				require.NoError(t, f.Truncate(int64(size)))
			case 3:
				require.NoError(t, f.Sync())
				m = m.Crash(rng)
				f = open(t, m, "x")
			}
			data, err := m.ReadFile("x")
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, model.Bytes()))
			checkInvariants(t, m)
		}
	}
}
