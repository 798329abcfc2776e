package kvstore

import (
	"errors"
	"fmt"
)

// Errors of a store. Those that say more are wrapped: use errors.Is.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("kvstore: closed")

	// ErrLocked says that another process, or another Store of this one, has
	// the directory open.
	ErrLocked = errors.New("kvstore: the directory is in use")

	// ErrCorrupt says that what is on disk is not what was written. The error
	// is a [*CorruptError].
	ErrCorrupt = errors.New("kvstore: corrupt")

	// ErrKeyTooLarge is for keys of more than [MaxKeyBytes].
	ErrKeyTooLarge = errors.New("kvstore: key too large")

	// ErrValueTooLarge is for values of more than [MaxValueBytes].
	ErrValueTooLarge = errors.New("kvstore: value too large")

	// ErrBatchTooLarge is for batches of more than [MaxBatchBytes].
	ErrBatchTooLarge = errors.New("kvstore: batch too large")

	// ErrFull says that there is no space on the disk for a write, which has
	// not happened. What was acknowledged before is safe, reads work, and so do
	// writes once there is space: deletes find some in reserve, and merging, for
	// which there is a reserve too, gives back what they free. A disk that was
	// too small for the reserve needs some space first; Merge then says so.
	ErrFull = errors.New("kvstore: no space on the disk")

	// ErrFailed says that a write or a sync of the log has failed. What the disk
	// holds of the writes that were not yet durable is then unknown, so the store
	// takes no more of them until it is opened again; reads go on.
	ErrFailed = errors.New("kvstore: the log has failed")

	// ErrCodec says that a block was compressed by a codec that is neither
	// built in nor in the options.
	ErrCodec = errors.New("kvstore: unknown codec")

	// ErrFormat says that the directory was written by a later version.
	ErrFormat = errors.New("kvstore: unknown format")
)

// A CorruptError says where something is wrong on disk. A CorruptError is
// immutable and so safe for concurrent use by multiple goroutines.
type CorruptError struct {
	File   string // name in the directory
	Offset int64  // position in the file in bytes, -1 if it is about the whole
	Reason string
}

// Error names the file, the position and the reason.
func (e *CorruptError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("kvstore: %s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("kvstore: %s: %s at byte %d", e.File, e.Reason, e.Offset)
}

// Unwrap returns [ErrCorrupt].
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
