package vfs

import (
	"cmp"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory that knows what a crash would leave of it:
// of each file the bytes that were written and those that were synced, of each
// directory the entries and those that were synced. It behaves as [Dir] does on
// Unix. Mappings are copies that later writes go to as well; the bytes that
// Truncate cuts off a mapping, and all of them when it is unmapped, turn into
// garbage, so that whoever reads them notices. Create one with [NewMem]. A Mem is
// safe for concurrent use by multiple goroutines.
type Mem struct {
	disk *disk
	dir  *directory
	path string // "" for the root

	mu     sync.Mutex
	closed bool
}

// disk is what all handles of one file system share. Its mutex is held for
// moments only, never while a hook runs.
type disk struct {
	mu     sync.Mutex
	root   *directory
	calls  int
	counts [ops]int
	hooks  []Hook
	limit  int64 // of bytes, -1 for none
	used   int64 // by files that have a name or a handle
	open   map[any]string
	locks  map[*inode]bool
}

// node is an *inode or a *directory.
type node any

// directory holds entries, and those that it would still have after a power loss
// if none of the pending changes had come to the disk.
type directory struct {
	entries, durable map[string]node
	pending          []change
}

// change is a change of a directory that was not synced: name now stands for
// the node, or for nothing; if from is set, that name was given up for it.
type change struct {
	name, from string
	to         node
}

// NewMem returns an empty file system without a limit or hooks.
func NewMem() *Mem {
	d := newDisk()
	d.root = newDirectory()
	return &Mem{disk: d, dir: d.root}
}

func newDisk() *disk {
	return &disk{limit: -1, open: map[any]string{}, locks: map[*inode]bool{}}
}

func newDirectory() *directory {
	return &directory{entries: map[string]node{}, durable: map[string]node{}}
}

// begin counts a call and asks the hooks.
func (d *disk) begin(op Op, path string, off int64, length int) error {
	d.mu.Lock()
	d.calls++
	d.counts[op]++
	c, hooks := Call{N: d.calls, Op: op, Path: path, Offset: off, Len: length}, d.hooks
	d.mu.Unlock()
	for _, hook := range hooks {
		if err := hook(c); err != nil {
			return err
		}
	}
	return nil
}

// enter begins a call on the directory about the name in it. If it returns no
// error, the disk is locked.
func (m *Mem) enter(op Op, name string) error {
	at := path.Join(cmp.Or(m.path, "."), name)
	if err := m.disk.begin(op, at, 0, 0); err != nil {
		return failed(op, at, err)
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return &fs.PathError{Op: op.String(), Path: at, Err: fs.ErrClosed}
	}
	m.disk.mu.Lock()
	return nil
}

// leave unlocks the disk and says what was wrong with the name.
func (m *Mem) leave(op Op, name string, err error) error {
	m.disk.mu.Unlock()
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op.String(), Path: path.Join(m.path, name), Err: err}
}

// set changes an entry until a SyncDir makes it durable.
func (dir *directory) set(name string, to node) {
	dir.pending = append(dir.pending, change{name: name, to: to})
	apply(dir.entries, dir.pending[len(dir.pending)-1])
}

func apply(entries map[string]node, c change) {
	if c.from != "" && entries[c.from] == c.to {
		delete(entries, c.from)
	}
	if c.to == nil {
		delete(entries, c.name)
	} else {
		entries[c.name] = c.to
	}
}

// release gives back the space of a file without names and handles.
func (d *disk) release(n *inode) {
	if n.links == 0 && n.handles == 0 {
		d.used -= n.held()
	}
}

// OpenFile implements [FS].
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := cmp.Or(checkName("open", name), checkFlags(name, flag)); err != nil {
		return nil, err
	}
	if err := m.enter(OpOpen, name); err != nil {
		return nil, err
	}
	n, err := m.lookup(name, flag)
	if err != nil {
		return nil, m.leave(OpOpen, name, err)
	}
	if flag&os.O_TRUNC != 0 {
		m.disk.cut(n, 0)
	}
	n.handles++
	f := &memFile{disk: m.disk, inode: n, name: name, path: path.Join(m.path, name), access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}
	m.disk.open[f] = f.path
	return f, m.leave(OpOpen, name, nil)
}

// lookup finds or creates a file.
func (m *Mem) lookup(name string, flag int) (*inode, error) {
	switch found := m.dir.entries[name].(type) {
	case *directory:
		return nil, errIsDirectory
	case *inode:
		if flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0 {
			return nil, fs.ErrExist
		}
		return found, nil
	}
	if flag&os.O_CREATE == 0 {
		return nil, fs.ErrNotExist
	}
	n := &inode{links: 1, modified: time.Now()}
	m.dir.set(name, n)
	return n, nil
}

// cut changes the size of a file and gives back the space.
func (d *disk) cut(n *inode, size int64) {
	before := n.held()
	n.truncate(size)
	d.used += n.held() - before
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	if err := m.enter(OpRemove, name); err != nil {
		return err
	}
	switch found := m.dir.entries[name].(type) {
	case *directory:
		return m.leave(OpRemove, name, errIsDirectory)
	case *inode:
		m.dir.set(name, nil)
		m.disk.unlink(found)
		return m.leave(OpRemove, name, nil)
	}
	return m.leave(OpRemove, name, fs.ErrNotExist)
}

func (d *disk) unlink(n *inode) {
	n.links--
	d.release(n)
}

// Rename implements [FS].
func (m *Mem) Rename(oldname, newname string) error {
	if err := cmp.Or(checkName("rename", oldname), checkName("rename", newname)); err != nil {
		return err
	}
	if err := m.enter(OpRename, oldname); err != nil {
		return err
	}
	moved, replaced := m.dir.entries[oldname], m.dir.entries[newname]
	_, onto := replaced.(*directory)
	_, isDir := moved.(*directory)
	switch {
	case moved == nil:
		return m.leave(OpRename, oldname, fs.ErrNotExist)
	case oldname == newname:
		return m.leave(OpRename, oldname, nil)
	case onto:
		return m.leave(OpRename, newname, fs.ErrExist)
	case isDir && replaced != nil:
		return m.leave(OpRename, newname, errNotDirectory)
	}
	c := change{name: newname, from: oldname, to: moved}
	m.dir.pending = append(m.dir.pending, c)
	apply(m.dir.entries, c)
	if n, ok := replaced.(*inode); ok {
		m.disk.unlink(n)
	}
	return m.leave(OpRename, oldname, nil)
}

// List implements [FS].
func (m *Mem) List() ([]string, error) { return m.names(OpList, false) }

// Subs implements [FS].
func (m *Mem) Subs() ([]string, error) { return m.names(OpSubs, true) }

func (m *Mem) names(op Op, directories bool) ([]string, error) {
	if err := m.enter(op, ""); err != nil {
		return nil, err
	}
	defer m.disk.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.dir.entries)) {
		if _, isDir := m.dir.entries[name].(*directory); isDir == directories {
			names = append(names, name)
		}
	}
	return names, nil
}

// Stat implements [FS].
func (m *Mem) Stat(name string) (int64, time.Time, error) {
	if err := checkName("stat", name); err != nil {
		return 0, time.Time{}, err
	}
	if err := m.enter(OpStat, name); err != nil {
		return 0, time.Time{}, err
	}
	switch found := m.dir.entries[name].(type) {
	case *inode:
		size, modified := found.size, found.modified
		return size, modified, m.leave(OpStat, name, nil)
	case *directory:
		return 0, time.Time{}, m.leave(OpStat, name, nil)
	}
	return 0, time.Time{}, m.leave(OpStat, name, fs.ErrNotExist)
}

// SyncDir implements [FS].
func (m *Mem) SyncDir() error {
	if err := m.enter(OpSyncDir, ""); err != nil {
		return err
	}
	m.dir.durable, m.dir.pending = maps.Clone(m.dir.entries), nil
	return m.leave(OpSyncDir, "", nil)
}

// Sub implements [FS].
func (m *Mem) Sub(name string) (FS, error) {
	if err := checkName("mkdir", name); err != nil {
		return nil, err
	}
	if err := m.enter(OpSub, name); err != nil {
		return nil, err
	}
	below, isDir := m.dir.entries[name].(*directory)
	if m.dir.entries[name] != nil && !isDir {
		return nil, m.leave(OpSub, name, errNotDirectory)
	}
	if below == nil {
		below = newDirectory()
	}
	m.dir.settle(name, below)
	return &Mem{disk: m.disk, dir: below, path: path.Join(m.path, name)}, m.leave(OpSub, name, nil)
}

// settle makes one entry durable, and no other.
func (dir *directory) settle(name string, to node) {
	dir.pending = slices.DeleteFunc(dir.pending, func(c change) bool { return c.name == name || c.to == to })
	for other, n := range dir.durable {
		if n == to {
			delete(dir.durable, other)
		}
	}
	dir.entries[name], dir.durable[name] = to, to
}

// RemoveAll implements [FS].
func (m *Mem) RemoveAll(name string) error {
	if err := checkName("removeall", name); err != nil {
		return err
	}
	if err := m.enter(OpRemoveAll, name); err != nil {
		return err
	}
	m.disk.removeAll(m.dir, name)
	return m.leave(OpRemoveAll, name, nil)
}

func (d *disk) removeAll(dir *directory, name string) {
	found := dir.entries[name]
	if found == nil {
		return
	}
	switch found := found.(type) {
	case *directory:
		for _, name := range slices.Sorted(maps.Keys(found.entries)) {
			d.removeAll(found, name)
		}
		dir.set(name, nil)
	case *inode:
		dir.set(name, nil)
		d.unlink(found)
	}
}

// Lock implements [FS].
func (m *Mem) Lock(name string) (io.Closer, error) {
	if err := checkName("lock", name); err != nil {
		return nil, err
	}
	if err := m.enter(OpLock, name); err != nil {
		return nil, err
	}
	n, err := m.lookup(name, os.O_CREATE)
	if err == nil && m.disk.locks[n] {
		err = ErrLocked
	}
	if err != nil {
		return nil, m.leave(OpLock, name, err)
	}
	m.disk.locks[n] = true
	l := &memLock{disk: m.disk, inode: n}
	m.disk.open[l] = path.Join(m.path, name)
	return l, m.leave(OpLock, name, nil)
}

// memLock is a lock that is held until it is closed.
type memLock struct {
	disk  *disk
	inode *inode
	once  sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.disk.mu.Lock()
		defer l.disk.mu.Unlock()
		delete(l.disk.locks, l.inode)
		delete(l.disk.open, l)
	})
	return nil
}

// Close implements [FS].
func (m *Mem) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	return nil
}

// Hook sets the hooks that see each call from now on, in this order, in place
// of those before. The first that returns an error ends the call.
func (m *Mem) Hook(hooks ...Hook) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.hooks = slices.Clone(hooks)
}

// Limit sets how many bytes of space the files may take up from now on, in
// whole sectors of 512; negative for no limit. Writes that need more are cut
// short and fail with [syscall.ENOSPC], as Allocate does.
func (m *Mem) Limit(bytes int64) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.limit = bytes
}

// Used returns how many bytes of space the files take up, in whole sectors of
// 512: what was written and what was allocated.
func (m *Mem) Used() int64 {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.used
}

// Calls returns how many calls there were.
func (m *Mem) Calls() int {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.calls
}

// Count returns how many calls of these kinds there were.
func (m *Mem) Count(kinds ...Op) (n int) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	for _, op := range kinds {
		n += m.disk.counts[op]
	}
	return n
}

// Open returns the paths of the files, locks and mappings that are not closed
// or unmapped, sorted, each as often as it is open.
func (m *Mem) Open() []string {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return slices.Sorted(maps.Values(m.disk.open))
}

// split returns the directory and the name of a path below this directory.
func (m *Mem) split(name string, create bool) (*directory, string, error) {
	dir := m.dir
	parts := strings.Split(path.Clean(name), "/")
	for _, part := range parts[:len(parts)-1] {
		below, isDir := dir.entries[part].(*directory)
		switch {
		case isDir:
		case dir.entries[part] != nil:
			return nil, "", errNotDirectory
		case !create:
			return nil, "", fs.ErrNotExist
		default:
			below = newDirectory()
			dir.settle(part, below)
		}
		dir = below
	}
	return dir, parts[len(parts)-1], nil
}
