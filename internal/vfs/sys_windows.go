package vfs

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// directoriesSync is false: NTFS journals directories by itself, and there is
// no call to wait for it.
const directoriesSync = false

var (
	kernel32     = syscall.NewLazyDLL("kernel32.dll")
	lockFileEx   = kernel32.NewProc("LockFileEx")
	unlockFileEx = kernel32.NewProc("UnlockFileEx")
)

const (
	lockExclusive   = 2
	lockImmediately = 1
	lockViolation   = syscall.Errno(33) // ERROR_LOCK_VIOLATION
)

func lockFile(f *os.File) error {
	err := control(f, func(fd uintptr) error {
		ok, _, err := lockFileEx.Call(fd, lockExclusive|lockImmediately, 0, 1, 0, uintptr(unsafe.Pointer(new(syscall.Overlapped))))
		if ok == 0 {
			return err
		}
		return nil
	}, nil)
	if errors.Is(err, lockViolation) {
		return ErrLocked
	}
	return err
}

func unlockFile(f *os.File) error {
	return control(f, func(fd uintptr) error {
		ok, _, err := unlockFileEx.Call(fd, 0, 1, 0, uintptr(unsafe.Pointer(new(syscall.Overlapped))))
		if ok == 0 {
			return err
		}
		return nil
	}, nil)
}

// mapFile refuses: Windows neither cuts nor removes a file that is mapped.
func mapFile(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }
