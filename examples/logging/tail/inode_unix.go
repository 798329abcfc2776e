//go:build unix

package tail

import (
	"io/fs"
	"syscall"
)

// An inode is what the file system calls a file.
type inode struct{ dev, ino uint64 }

func identify(_ string, info fs.FileInfo) inode {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return inode{uint64(s.Dev), uint64(s.Ino)}
	}
	return inode{}
}
