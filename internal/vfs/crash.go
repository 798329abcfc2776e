package vfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// Crash returns the file system that a machine finds after a power loss at
// this moment, drawn by rng; m goes on as it was.
//
// What was synced is there. Of everything else since, each part survives or
// not, independently:
//
//   - Each sector of 512 bytes has what was last written to it, what was written
//     before that, or its durable content. Where the file had none it has
//     zeros, or now and then garbage.
//   - The size of a file is the durable one, or one it had since or was on the way to.
//   - Of the creations, renames and removals in a directory, a first part is
//     there, in their order, or any of them without regard to order. A rename
//     is one step. To sync a file does not make its name durable.
//
// What was unsynced when a Sync failed stays so, whatever later Syncs say,
// until it is written once more and then synced. With a nil rng nothing but what was
// synced survives. The result has no handles, locks, hooks or limit.
func (m *Mem) Crash(rng *rand.Rand) *Mem { return m.copy(crash{rng: rng}) }

// Kill returns the file system as it is found when the process dies at this
// moment, and with it handles, locks, hooks and limit; m goes on as it was. All that
// was written is there, and what was not synced is still not: a Crash of
// the result may lose it.
func (m *Mem) Kill() *Mem { return m.copy(kill{}) }

// fate decides what of files and directories is in a copy.
type fate interface {
	file(n *inode) *inode
	directory(dir *directory) (entries, durable map[string]node, pending []change)
}

type kill struct{}

func (kill) file(n *inode) *inode { return n.clone() }

func (kill) directory(dir *directory) (entries, durable map[string]node, pending []change) {
	return dir.entries, dir.durable, dir.pending
}

type crash struct{ rng *rand.Rand }

func (c crash) file(n *inode) *inode { return n.crash(c.rng) }

func (c crash) directory(dir *directory) (entries, durable map[string]node, pending []change) {
	entries = maps.Clone(dir.durable)
	if c.rng != nil {
		inOrder := c.rng.IntN(2) == 0
		first := c.rng.IntN(len(dir.pending) + 1)
		for i, change := range dir.pending {
			if inOrder && i < first || !inOrder && c.rng.IntN(2) == 0 {
				apply(entries, change)
			}
		}
	}
	return entries, entries, nil
}

// copy copies the whole file system, and returns the same directory of it as m is of
// the original, or the root if that directory is not there any more.
func (m *Mem) copy(f fate) *Mem {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	d := newDisk()
	c := copier{fate: f, copies: map[node]node{}}
	d.root = c.directory(m.disk.root)
	for _, n := range c.copies {
		if n, ok := n.(*inode); ok && n.links > 0 {
			d.used += n.held()
		}
	}
	if dir, ok := c.copies[m.dir].(*directory); ok {
		return &Mem{disk: d, dir: dir, path: m.path}
	}
	return &Mem{disk: d, dir: d.root}
}

type copier struct {
	fate   fate
	copies map[node]node
}

// node copies a file or directory once, in an order that depends on names only, so that
// equal seeds draw equal fates.
func (c *copier) node(n node) node {
	if n == nil {
		return nil
	}
	if copied, ok := c.copies[n]; ok {
		return copied
	}
	if dir, ok := n.(*directory); ok {
		return c.directory(dir)
	}
	copied := c.fate.file(n.(*inode))
	c.copies[n] = copied
	return copied
}

func (c *copier) directory(dir *directory) *directory {
	copied := newDirectory()
	c.copies[dir] = copied
	entries, durable, pending := c.fate.directory(dir)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		copied.entries[name] = c.node(entries[name])
		if n, ok := copied.entries[name].(*inode); ok {
			n.links++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(durable)) {
		copied.durable[name] = c.node(durable[name])
	}
	for _, change := range pending {
		change.to = c.node(change.to)
		copied.pending = append(copied.pending, change)
	}
	return copied
}

// ReadFile returns the content of the file at the path below this directory,
// past hooks and counters.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	dir, base, err := m.split(name, false)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	n, ok := dir.entries[base].(*inode)
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	data := make([]byte, n.size)
	n.read(data, 0)
	return data, nil
}

// WriteFile makes data the durable content of the file at the path below this
// directory, past hooks, counters and limit. It creates what is missing. Handles
// and mappings of the file stay with the old content.
func (m *Mem) WriteFile(name string, data []byte) error {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	dir, base, err := m.split(name, true)
	if err == nil {
		err = checkName("write", base)
	}
	if _, isDir := dirEntry(dir, base).(*directory); isDir {
		err = errIsDirectory
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	m.disk.removeAll(dir, base)
	n := &inode{links: 1}
	n.hold(0, int64(len(data)))
	n.write(data, 0)
	n.sync()
	m.disk.used += n.held()
	dir.settle(base, n)
	return nil
}

func dirEntry(dir *directory, name string) node {
	if dir == nil {
		return nil
	}
	return dir.entries[name]
}

// Paths returns the paths of all files below this directory, sorted.
func (m *Mem) Paths() []string {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.dir.paths("", nil)
}

func (dir *directory) paths(prefix string, found []string) []string {
	for _, name := range slices.Sorted(maps.Keys(dir.entries)) {
		switch n := dir.entries[name].(type) {
		case *directory:
			found = n.paths(path.Join(prefix, name), found)
		case *inode:
			found = append(found, path.Join(prefix, name))
		}
	}
	return found
}

// Load returns a Mem with the files of fsys, all durable: with os.DirFS, to
// damage what was found on a disk.
func Load(fsys fs.FS) (*Mem, error) {
	m := NewMem()
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return m.WriteFile(name, data)
	})
	if err != nil {
		return nil, fmt.Errorf("vfs: %w", err)
	}
	return m, nil
}

// Equal says whether both have the same files below, with the same bytes.
func Equal(a, b *Mem) bool {
	paths := a.Paths()
	if !slices.Equal(paths, b.Paths()) {
		return false
	}
	for _, name := range paths {
		x, errX := a.ReadFile(name)
		y, errY := b.ReadFile(name)
		if errX != nil || errY != nil || !bytes.Equal(x, y) {
			return false
		}
	}
	return true
}
