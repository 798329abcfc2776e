package commitlog

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by methods of a Log or Topic that was closed.
	ErrClosed = errors.New("commitlog: closed")

	// ErrLocked is returned by Open and Repair if somebody else, in this
	// process or another, has the log open.
	ErrLocked = errors.New("commitlog: log is open elsewhere")

	// ErrCorrupt is what every CorruptError is.
	ErrCorrupt = errors.New("commitlog: corrupt")

	// ErrOutOfRange is what every OutOfRangeError is.
	ErrOutOfRange = errors.New("commitlog: offset out of range")

	// ErrTooLarge is returned for records that do not fit into a batch of
	// Options.MaxBatchBytes. Nothing of the call was appended.
	ErrTooLarge = errors.New("commitlog: too large")

	// ErrBadBatch is what every BatchError is.
	ErrBadBatch = errors.New("commitlog: bad batch")

	// ErrFull is returned when the disk has no space for more records. If the
	// space could not be reserved, nothing was appended and the log goes on as
	// soon as there is space; if a write failed, see ErrPoisoned too.
	ErrFull = errors.New("commitlog: no space left on device")

	// ErrPoisoned is returned by appends, and by all else that changes the log,
	// after a write or sync has failed, or a change of its files that had begun.
	// The log can still be read up to what was written. Close it and open it
	// again to go on with what the disk has kept.
	ErrPoisoned = errors.New("commitlog: a write or sync has failed")

	// ErrNoCodec is what every CodecError is.
	ErrNoCodec = errors.New("commitlog: no codec")

	// ErrVersion is returned for a segment that a later version of this
	// package has written.
	ErrVersion = errors.New("commitlog: unknown version of the format")
)

// A CorruptError says where the bytes on disk are not what was written.
type CorruptError struct {
	Segment  string // the name of the file
	Position int64  // in the file, in bytes
	Offset   int64  // of the first record that may be missing or wrong
	Reason   string
}

// Error returns the place and the reason.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("commitlog: %s: %s at byte %d (offset %d)", e.Segment, e.Reason, e.Position, e.Offset)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// An OutOfRangeError says which offsets there are.
type OutOfRangeError struct {
	Offset     int64 // that was asked for
	Start, End int64 // Start is the first that there is, End the next to be written
}

// Error returns the three offsets.
func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("commitlog: offset %d out of range: the log has %d up to %d", e.Offset, e.Start, e.End)
}

// Unwrap returns ErrOutOfRange.
func (e *OutOfRangeError) Unwrap() error { return ErrOutOfRange }

// A BatchError says why bytes are not a record batch that can be stored or
// read.
type BatchError struct {
	Offset int64 // base offset as the batch says it
	Reason string
}

// Error returns the reason.
func (e *BatchError) Error() string {
	return fmt.Sprintf("commitlog: bad batch: %s (base offset %d)", e.Reason, e.Offset)
}

// Unwrap returns ErrBadBatch.
func (e *BatchError) Unwrap() error { return ErrBadBatch }

// A CodecError says that a batch is compressed in a way for which there is no
// Codec. The batch itself is sound and can be read by ReadBatches.
type CodecError struct {
	Compression Compression
	Offset      int64 // base offset of the batch
}

// Error returns the compression and the offset.
func (e *CodecError) Error() string {
	return fmt.Sprintf("commitlog: no codec for %v (batch at offset %d)", e.Compression, e.Offset)
}

// Unwrap returns ErrNoCodec.
func (e *CodecError) Unwrap() error { return ErrNoCodec }
