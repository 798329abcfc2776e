package replica

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrQuorum says that too few replicas answered; a QuorumError tells which.
	ErrQuorum = errors.New("replica: no quorum")
	// ErrConflict says that a conditional write was refused: there is a version
	// that the writer has not seen. Nothing was written.
	ErrConflict = errors.New("replica: there is a version the writer has not seen")
	// ErrConditional says that a conditional write cannot be had: under
	// LastWriterWins nobody decides which of two writers comes first.
	ErrConditional = errors.New("replica: conditional writes need siblings")
	// ErrSiblings says that a key has as many siblings, or bytes of them, as it
	// may have, and the write, which does not replace enough of them, would add
	// to that. Nothing was written. A write that replaces them all succeeds.
	ErrSiblings = errors.New("replica: too many siblings")
	// ErrAhead says that a version or context is from further in the future
	// than clocks may be apart.
	ErrAhead = errors.New("replica: from the future: a clock is wrong")
	// ErrBallot says that a replica has promised not to accept the ballot.
	ErrBallot = errors.New("replica: another ballot came first")
	// ErrTimeout is the cause of a QuorumError for replicas that did not answer
	// in time.
	ErrTimeout = errors.New("replica: no answer in time")
	// ErrDown is the cause of a QuorumError for replicas that were not asked
	// because they are known to be away.
	ErrDown = errors.New("replica: known to be away")
	// ErrRefused wraps what another replica said when it refused for a reason
	// of its own.
	ErrRefused     = errors.New("replica: refused")
	errNothingKept = errors.New("replica: nothing kept for the owner")
	// ErrCorrupt says that bytes are not what an Append function makes; a
	// CorruptError tells where.
	ErrCorrupt = errors.New("replica: corrupt")
)

// A QuorumError says why an operation found no quorum. It wraps ErrQuorum and
// the errors of the replicas.
//
// A QuorumError is safe for concurrent use by multiple goroutines.
type QuorumError struct {
	Op       string // what was tried: "read", "write" and so on
	Need     int    // answers needed
	Got      int    // answers received
	Failures []NodeError
	// Maybe says that some replica may have stored the write, which may still
	// take effect or not. Without it, nothing was written.
	Maybe bool
}

// A NodeError is what went wrong at one replica.
//
// A NodeError is safe for concurrent use by multiple goroutines.
type NodeError struct {
	Node string
	Err  error
}

// Error says what was tried, what it needed and what went wrong where.
func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "replica: %s: %d of %d answers", e.Op, e.Got, e.Need)
	for i, f := range e.Failures {
		b.WriteString([]string{"; ", ", "}[min(i, 1)])
		fmt.Fprintf(&b, "%s: %s", f.Node, strings.TrimPrefix(f.Err.Error(), "replica: "))
	}
	if e.Maybe {
		b.WriteString(" (the write may take effect)")
	}
	return b.String()
}

// Unwrap returns ErrQuorum and the errors of the replicas.
func (e *QuorumError) Unwrap() []error {
	errs := []error{ErrQuorum}
	for _, f := range e.Failures {
		errs = append(errs, f.Err)
	}
	return errs
}

// A CorruptError says where bytes are not what an Append function makes, and
// why. It wraps ErrCorrupt.
//
// A CorruptError is safe for concurrent use by multiple goroutines.
type CorruptError struct {
	What   string // what was being decoded
	Offset int    // the byte at which it failed
	Reason string
}

// Error says what is wrong where.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("replica: %s: %s at byte %d", e.What, e.Reason, e.Offset)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
