package vfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// dirPerm is the permission of directories that are created here.
const dirPerm = 0o750

// dir is a directory on the disk. Every name is resolved below root, so that
// a symbolic link cannot lead out of it.
type dir struct {
	root *os.Root
}

// Dir opens a directory on the disk, and creates it, with the directories
// above it, if it is missing. What it creates is durable when it returns. The
// directory may be renamed while it is open.
func Dir(path string) (FS, error) {
	path = filepath.Clean(path)
	if err := makeDurably(path); err != nil {
		return nil, fmt.Errorf("vfs: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("vfs: %w", err)
	}
	return &dir{root: root}, nil
}

// makeDurably creates a directory, after those above it, and syncs the one
// above. It syncs that also if there is nothing to create: a process that died
// may have created the directory and not come to the sync.
func makeDurably(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "open", Path: path, Err: errNotDirectory}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if err != nil {
		if parent != path {
			if err := makeDurably(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(path, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	err = syncDirectory(func() (*os.File, error) { return os.Open(parent) })
	if errors.Is(err, fs.ErrPermission) {
		return nil // who may not read the parent has not made this directory
	}
	return err
}

// errNotDirectory is for a file where a directory should be.
var errNotDirectory = errors.New("not a directory")

func (d *dir) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := cmp.Or(checkName("open", name), checkFlags(name, flag)); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{f: f, name: name}, nil
}

func (d *dir) Remove(name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	if info, err := d.root.Lstat(name); err == nil && info.IsDir() {
		return &fs.PathError{Op: "remove", Path: name, Err: errIsDirectory}
	}
	return d.root.Remove(name)
}

// errIsDirectory is for a directory where a file should be.
var errIsDirectory = errors.New("is a directory")

func (d *dir) Rename(oldname, newname string) error {
	if err := cmp.Or(checkName("rename", oldname), checkName("rename", newname)); err != nil {
		return err
	}
	return d.root.Rename(oldname, newname)
}

func (d *dir) List() ([]string, error) { return d.names(false) }

func (d *dir) Subs() ([]string, error) { return d.names(true) }

// names lists either the directories or everything else.
func (d *dir) names(directories bool) ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() == directories {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *dir) Stat(name string) (int64, time.Time, error) {
	if err := checkName("stat", name); err != nil {
		return 0, time.Time{}, err
	}
	info, err := d.root.Stat(name)
	if err != nil {
		return 0, time.Time{}, err
	}
	return info.Size(), info.ModTime(), nil
}

func (d *dir) SyncDir() error {
	return syncDirectory(func() (*os.File, error) { return d.root.Open(".") })
}

// syncDirectory syncs a directory that open opens, where systems have that.
func syncDirectory(open func() (*os.File, error)) error {
	if !directoriesSync {
		return nil
	}
	f, err := open()
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dir) Sub(name string) (FS, error) {
	if err := checkName("mkdir", name); err != nil {
		return nil, err
	}
	if err := d.root.Mkdir(name, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Also if it was there before: a process that died may have made it and not
	// come to the sync.
	if err := d.SyncDir(); err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &dir{root: root}, nil
}

func (d *dir) RemoveAll(name string) error {
	if err := checkName("removeall", name); err != nil {
		return err
	}
	return d.root.RemoveAll(name)
}

func (d *dir) Lock(name string) (io.Closer, error) {
	if err := checkName("lock", name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
	}
	return &lock{f: f}, nil
}

// lock is a lock that is held until it is closed.
type lock struct {
	f    *os.File
	once sync.Once
	err  error
}

func (l *lock) Close() error {
	l.once.Do(func() { l.err = errors.Join(unlockFile(l.f), l.f.Close()) })
	return l.err
}

func (d *dir) Close() error { return d.root.Close() }

// file is a file on the disk.
type file struct {
	f    *os.File
	name string
}

func (f *file) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *file) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f *file) Sync() error                              { return syncData(f.f) }
func (f *file) Close() error                             { return f.f.Close() }
func (f *file) Name() string                             { return f.name }

func (f *file) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *file) Allocate(size int64) error {
	before, err := f.Size()
	if err != nil {
		return err
	}
	switch err := reserve(f.f, size); {
	case err == nil:
		return nil
	case !errors.Is(err, errors.ErrUnsupported):
		// Some file systems keep what they could get.
		return errors.Join(err, f.f.Truncate(before))
	case before < size:
		return f.f.Truncate(size)
	}
	return nil
}

func (f *file) Map() ([]byte, func() error, error) {
	size, err := f.Size()
	if err != nil {
		return nil, nil, err
	}
	if size == 0 {
		return nil, func() error { return nil }, nil
	}
	if size != int64(int(size)) {
		return nil, nil, &fs.PathError{Op: "map", Path: f.name, Err: errors.ErrUnsupported}
	}
	data, err := mapFile(f.f, int(size))
	if err != nil {
		return nil, nil, &fs.PathError{Op: "map", Path: f.name, Err: err}
	}
	return data, sync.OnceValue(func() error { return unmapFile(data) }), nil
}

// control calls f's descriptor while nobody can close it, again as long as
// interrupted says that a signal came in between.
func control(f *os.File, call func(fd uintptr) error, interrupted error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) {
		for {
			if result = call(fd); result == nil || result != interrupted {
				return
			}
		}
	}); err != nil {
		return fs.ErrClosed // nothing else makes it fail
	}
	return result
}
