package occ

import (
	"errors"
	"fmt"
)

var (
	// ErrConflict is wrapped by every [ConflictError], and by the error of
	// [Tx.Err] and [Tx.Lock] with which a body ends an attempt that cannot
	// commit any more.
	ErrConflict = errors.New("occ: conflict")

	errRestart = fmt.Errorf("%w: this attempt cannot commit; return the error to have the next", ErrConflict)
	errDead    = errors.New("occ: dead record")
)

// A ConflictError is returned by [Store.Update] when Options.MaxAttempts did not
// suffice. It wraps ErrConflict.
type ConflictError[K comparable] struct {
	Key      K   // where the last attempt met another transaction
	Attempts int // all in vain
}

// Error names the key and the number of attempts.
func (e *ConflictError[K]) Error() string {
	return fmt.Sprintf("occ: conflict on key %v after %d attempts", e.Key, e.Attempts)
}

// Unwrap returns ErrConflict.
func (e *ConflictError[K]) Unwrap() error { return ErrConflict }
