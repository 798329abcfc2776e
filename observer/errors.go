package observer

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrClosed is returned by methods of a Stream that was closed, and of
	// its readers once they have read all there was.
	ErrClosed = errors.New("observer: stream closed")

	// ErrLagged is returned to a reader with the policy Disconnect that did
	// not keep up.
	ErrLagged = errors.New("observer: reader lagged behind")

	// ErrBadPattern is wrapped by errors of CheckPattern.
	ErrBadPattern = errors.New("observer: bad pattern")
)

// A PanicError is what a handler panicked with.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine, as debug.Stack formats it
}

func newPanicError(value any) *PanicError {
	if again, ok := value.(*PanicError); ok {
		return again // of a handler that published to another subject
	}
	return &PanicError{value, debug.Stack()}
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("observer: handler panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// failures are the errors of the handlers of one event. Nil has none.
type failures struct{ errs []error }

func (f *failures) add(err error) *failures {
	if f == nil {
		f = &failures{}
	}
	f.errs = append(f.errs, err)
	return f
}

func (f *failures) err() error {
	if len(f.errs) == 1 {
		return f.errs[0]
	}
	return errors.Join(f.errs...)
}

// raise panics with those of the errors that are panics, if any.
func (f *failures) raise() {
	var panics failures
	for _, err := range f.errs {
		if p, ok := err.(*PanicError); ok {
			panics.errs = append(panics.errs, p)
		}
	}
	if len(panics.errs) > 0 {
		panic(panics.err())
	}
}
