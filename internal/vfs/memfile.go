package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// memFile is an open file of a Mem.
type memFile struct {
	disk   *disk
	inode  *inode
	name   string
	path   string
	access int
	closed bool // guarded by disk.mu
}

// enter begins a call. If it returns no error, the disk is locked.
func (f *memFile) enter(op Op, off int64, length int) error {
	if err := f.disk.begin(op, f.path, off, length); err != nil {
		return f.wrong(op, err)
	}
	f.disk.mu.Lock()
	if f.closed {
		f.disk.mu.Unlock()
		return f.wrong(op, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) wrong(op Op, err error) error { return failed(op, f.path, err) }

// errOffset is for negative offsets.
var errOffset = errors.New("negative offset")

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter(OpRead, off, len(p)); err != nil {
		return 0, err
	}
	defer f.disk.mu.Unlock()
	switch {
	case off < 0:
		return 0, f.wrong(OpRead, errOffset)
	case len(p) == 0:
		return 0, nil
	case f.access == os.O_WRONLY:
		return 0, f.wrong(OpRead, syscall.EBADF)
	}
	n := int(min(int64(len(p)), max(0, f.inode.size-off)))
	f.inode.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	var short *shortWrite
	if err := f.disk.begin(OpWrite, f.path, off, len(p)); err != nil && !errors.As(err, &short) {
		return 0, f.wrong(OpWrite, err)
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	switch {
	case f.closed:
		return 0, f.wrong(OpWrite, fs.ErrClosed)
	case off < 0:
		return 0, f.wrong(OpWrite, errOffset)
	case len(p) == 0 && short == nil:
		return 0, nil
	case f.access == os.O_RDONLY:
		return 0, f.wrong(OpWrite, syscall.EBADF)
	}
	var err error
	if short != nil {
		p, err = p[:min(max(short.n, 0), len(p))], short.err
	}
	if fits := f.disk.fits(f.inode, off, len(p)); fits < len(p) {
		p, err = p[:fits], syscall.ENOSPC
	}
	if len(p) > 0 {
		f.disk.used += f.inode.unheld(off, int64(len(p)))
		f.inode.hold(off, int64(len(p)))
		f.inode.write(p, off)
	}
	if err != nil {
		return len(p), f.wrong(OpWrite, err)
	}
	return len(p), nil
}

// fits returns how many of n bytes can be written there, up to the end of a sector
// unless it is all.
func (d *disk) fits(f *inode, off int64, n int) int {
	if d.limit < 0 || d.used+f.unheld(off, int64(n)) <= d.limit {
		return n
	}
	fits := 0
	for next := sectorSize - int(off%sectorSize); next < n && d.used+f.unheld(off, int64(next)) <= d.limit; next += sectorSize {
		fits = next
	}
	return fits
}

func (f *memFile) Sync() error {
	if err := f.disk.begin(OpSync, f.path, 0, 0); err != nil {
		f.disk.mu.Lock()
		f.inode.syncFailed()
		f.disk.mu.Unlock()
		return f.wrong(OpSync, err)
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return f.wrong(OpSync, fs.ErrClosed)
	}
	f.inode.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.enter(OpTruncate, size, 0); err != nil {
		return err
	}
	defer f.disk.mu.Unlock()
	if size < 0 || f.access == os.O_RDONLY {
		return f.wrong(OpTruncate, syscall.EINVAL)
	}
	f.disk.cut(f.inode, size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.enter(OpSize, 0, 0); err != nil {
		return 0, err
	}
	defer f.disk.mu.Unlock()
	return f.inode.size, nil
}

func (f *memFile) Allocate(size int64) error {
	if err := f.enter(OpAllocate, size, 0); err != nil {
		return err
	}
	defer f.disk.mu.Unlock()
	switch {
	case f.access == os.O_RDONLY:
		return f.wrong(OpAllocate, syscall.EBADF)
	case size <= 0:
		return nil
	}
	need := f.inode.unheld(0, size)
	if f.disk.limit >= 0 && f.disk.used+need > f.disk.limit {
		return f.wrong(OpAllocate, syscall.ENOSPC)
	}
	f.disk.used += need
	f.inode.hold(0, size)
	if size > f.inode.size {
		f.inode.truncate(size)
	}
	return nil
}

func (f *memFile) Map() ([]byte, func() error, error) {
	if err := f.enter(OpMap, 0, 0); err != nil {
		return nil, nil, err
	}
	defer f.disk.mu.Unlock()
	if f.access == os.O_WRONLY {
		return nil, nil, f.wrong(OpMap, syscall.EACCES)
	}
	if f.inode.size == 0 {
		return nil, func() error { return nil }, nil
	}
	v := f.inode.view()
	f.disk.open[v] = f.path
	return v.data, sync.OnceValue(func() error { f.disk.unmap(f.inode, v); return nil }), nil
}

func (d *disk) unmap(n *inode, v *view) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, v)
	n.forget(v)
	fill(v.data, poison)
}

func (f *memFile) Name() string { return f.name }

// Close closes the file even if a hook lets it fail, as the system does.
func (f *memFile) Close() error {
	injected := f.disk.begin(OpClose, f.path, 0, 0)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return f.wrong(OpClose, fs.ErrClosed)
	}
	f.closed = true
	delete(f.disk.open, f)
	f.inode.handles--
	f.disk.release(f.inode)
	if injected != nil {
		return f.wrong(OpClose, injected)
	}
	return nil
}
