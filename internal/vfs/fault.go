package vfs

import (
	"fmt"
	"io/fs"
)

// Op is the kind of a [Call].
type Op uint8

// The kinds of calls, named after the methods of [FS] and [File].
const (
	OpOpen Op = iota
	OpRemove
	OpRename
	OpList
	OpStat
	OpSyncDir
	OpSub
	OpSubs
	OpRemoveAll
	OpLock
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpSize
	OpAllocate
	OpMap
	OpClose
	ops
)

var opNames = [ops]string{"open", "remove", "rename", "list", "stat", "syncdir", "sub", "subs", "removeall", "lock",
	"read", "write", "sync", "truncate", "size", "allocate", "map", "close"}

// String returns the name of the method in lower case.
func (op Op) String() string {
	if op < ops {
		return opNames[op]
	}
	return fmt.Sprintf("Op(%d)", uint8(op))
}

// Changes says whether calls of this kind change what a crash may find: all
// that create, write, cut, rename, remove or sync.
func (op Op) Changes() bool {
	switch op {
	case OpOpen, OpRemove, OpRename, OpSyncDir, OpSub, OpRemoveAll, OpLock, OpWrite, OpSync, OpTruncate, OpAllocate:
		return true
	}
	return false
}

// Call is a call on a [Mem] that is about to happen.
type Call struct {
	N      int    // the how many-th call this is, from 1
	Op     Op     // what it does
	Path   string // to which file or directory: its path below the root, "." for the root
	Offset int64  // OpRead and OpWrite: where; OpTruncate and OpAllocate: the size
	Len    int    // OpRead and OpWrite: how many bytes
}

// String returns the call as a line of a trace: "12 write 00.log 4096+128".
func (c Call) String() string {
	switch c.Op {
	case OpRead, OpWrite:
		return fmt.Sprintf("%d %s %s %d+%d", c.N, c.Op, c.Path, c.Offset, c.Len)
	case OpTruncate, OpAllocate:
		return fmt.Sprintf("%d %s %s %d", c.N, c.Op, c.Path, c.Offset)
	}
	return fmt.Sprintf("%d %s %s", c.N, c.Op, c.Path)
}

// A Hook sees each call on a [Mem] before it happens, in the goroutine that
// makes it, and with no lock of the file system held: it may take a
// [Mem.Crash]. If it returns an error, the call fails with that and does
// nothing; see [Short] for writes that do something. A Hook must be safe for
// concurrent use if the calls are.
type Hook func(Call) error

// When is a hook that lets the calls fail that match.
func When(match func(Call) bool, err error) Hook {
	return func(c Call) error {
		if match(c) {
			return err
		}
		return nil
	}
}

// Nth is a hook that lets the n-th call fail, counting from 1 as [Call.N] does.
func Nth(n int, err error) Hook {
	return When(func(c Call) bool { return c.N == n }, err)
}

// From is a hook that lets the n-th call and all after it fail, as on a disk
// that has gone away.
func From(n int, err error) Hook {
	return When(func(c Call) bool { return c.N >= n }, err)
}

// shortWrite is what Short returns.
type shortWrite struct {
	n   int
	err error
}

func (s *shortWrite) Error() string { return s.err.Error() }
func (s *shortWrite) Unwrap() error { return s.err }

// Short is an error for a [Hook] to return for OpWrite: the first n bytes are
// written before the call fails with err. Other calls just fail with err.
func Short(n int, err error) error { return &shortWrite{n: n, err: err} }

// failed puts an injected error into what the real calls return.
func failed(op Op, path string, err error) error {
	if short, ok := err.(*shortWrite); ok {
		err = short.err
	}
	return &fs.PathError{Op: op.String(), Path: path, Err: err}
}
