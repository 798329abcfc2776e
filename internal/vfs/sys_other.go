//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package vfs

import (
	"errors"
	"os"
	"slices"
	"sync"
)

const directoriesSync = true

// locked are the lock files of this process, which is all that can be told here.
var locked struct {
	sync.Mutex
	files []os.FileInfo
}

func lockFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	locked.Lock()
	defer locked.Unlock()
	if slices.ContainsFunc(locked.files, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
		return ErrLocked
	}
	locked.files = append(locked.files, info)
	return nil
}

func unlockFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	locked.Lock()
	defer locked.Unlock()
	locked.files = slices.DeleteFunc(locked.files, func(other os.FileInfo) bool { return os.SameFile(info, other) })
	return nil
}

func mapFile(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }
