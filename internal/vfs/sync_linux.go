package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// syncData leaves out what no reader needs, such as the time of the last write.
func syncData(f *os.File) error {
	if err := control(f, func(fd uintptr) error { return syscall.Fdatasync(int(fd)) }, syscall.EINTR); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func reserve(f *os.File, size int64) error {
	if size <= 0 {
		return nil
	}
	err := control(f, func(fd uintptr) error { return syscall.Fallocate(int(fd), 0, 0, size) }, syscall.EINTR)
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
}
