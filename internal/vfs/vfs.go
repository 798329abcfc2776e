package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// ErrLocked is what [FS.Lock] returns when somebody else holds the lock.
var ErrLocked = errors.New("vfs: locked by somebody else")

// ErrName is what a name that is not a single path element leads to.
var ErrName = errors.New("vfs: not the name of a file")

// FS is one directory. Names are single path elements; every error of a call
// with a name is an [*fs.PathError] or [*os.LinkError] around its cause, so
// that errors.Is finds [fs.ErrNotExist], [fs.ErrExist] and the like. An FS is
// safe for concurrent use by multiple goroutines.
type FS interface {
	// OpenFile opens or creates a file as [os.OpenFile] does. O_APPEND is
	// refused: files are written at offsets. A file that was created is there
	// after a power loss once SyncDir has returned.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)

	// Remove removes a file. Open handles of it go on working on Unix.
	Remove(name string) error

	// Rename renames a file and replaces, in one step, the file that had the
	// new name.
	Rename(oldname, newname string) error

	// List returns the names of the files, sorted.
	List() ([]string, error)

	// Stat returns the size of a file in bytes and when it was last written.
	Stat(name string) (size int64, modified time.Time, err error)

	// SyncDir returns when all creations, renames and removals in this
	// directory are durable. It says nothing of the bytes in the files.
	SyncDir() error

	// Sub opens the directory of that name below this one and creates it if
	// it is missing. When it returns, the directory's own entry is durable.
	// The caller closes it.
	Sub(name string) (FS, error)

	// Subs returns the names of the directories below, sorted.
	Subs() ([]string, error)

	// RemoveAll removes the directory of that name and all that is in it. A
	// directory that does not exist is no error.
	RemoveAll(name string) error

	// Lock takes the lock file of that name, creating it if needed, until the
	// result is closed or the process ends. It does not wait: if another
	// process, or somebody in this one, holds it, the error is [ErrLocked].
	// The lock file stays.
	Lock(name string) (io.Closer, error)

	// Close gives up the handle of the directory. Open files and locks are
	// not affected. Closing twice is no error.
	Close() error
}

// File is an open file. Reads and writes are at offsets and may run in
// parallel; what Close does to calls under way is up to the implementation,
// except that they end. A File is safe for concurrent use by multiple
// goroutines.
type File interface {
	// ReadAt fills p from the offset, or returns fewer bytes and the reason,
	// io.EOF at the end of the file.
	io.ReaderAt

	// WriteAt writes p at the offset, or fewer bytes and an error. A gap
	// between the end of the file and the offset reads as zeros.
	io.WriterAt

	// Sync returns when the bytes of the file and its size are durable. After
	// an error nobody knows which of them are, and a second call that
	// succeeds does not change that: give up the file.
	Sync() error

	// Truncate cuts the file to the size in bytes or lengthens it by zeros.
	Truncate(size int64) error

	// Size returns the size in bytes.
	Size() (int64, error)

	// Allocate lengthens the file to at least the size in bytes and reserves
	// the space, so that writing there cannot fail for lack of it. What was
	// added reads as zeros. Where the system or the file system has no call for
	// this, the file is lengthened and nothing is reserved. It never shortens
	// the file. If it fails, the file is as long as before.
	Allocate(size int64) error

	// Map maps the file as long as it is now into memory, for reading only,
	// until unmap is called; closing the file does not end the mapping. Later
	// writes to the file show in it. To touch bytes that have since been cut
	// off by Truncate, or that the disk cannot read, kills the process. The
	// error is [errors.ErrUnsupported] where mappings are not to be had; use
	// ReadAt then. Unmapping twice is no error.
	Map() (data []byte, unmap func() error, err error)

	// Name returns the name that the file was opened by.
	Name() string

	// Close gives up the handle, and makes nothing durable.
	io.Closer
}

// checkName refuses what is not a single path element on some system.
func checkName(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00:") {
		return &fs.PathError{Op: op, Path: name, Err: ErrName}
	}
	return nil
}

// checkFlags refuses flags that contradict writing at offsets.
func checkFlags(name string, flag int) error {
	if flag&os.O_APPEND != 0 {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return nil
}
