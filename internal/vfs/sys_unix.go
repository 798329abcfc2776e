//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package vfs

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

const directoriesSync = true

// lockFile locks the open file, not the process, so that a second handle in
// the same process is refused, too.
func lockFile(f *os.File) error {
	err := control(f, func(fd uintptr) error { return syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) }, syscall.EINTR)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func unlockFile(f *os.File) error {
	return control(f, func(fd uintptr) error { return syscall.Flock(int(fd), syscall.LOCK_UN) }, syscall.EINTR)
}

// mapFile refuses on 32 bits, where the address space is soon used up.
func mapFile(f *os.File, size int) (data []byte, err error) {
	if strconv.IntSize < 64 {
		return nil, errors.ErrUnsupported
	}
	err = control(f, func(fd uintptr) (err error) {
		data, err = syscall.Mmap(int(fd), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
		return err
	}, syscall.EINTR)
	return data, err
}

func unmapFile(data []byte) error { return syscall.Munmap(data) }
