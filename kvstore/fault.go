package kvstore

import (
	"reflect"
	"runtime"
	"runtime/debug"
)

// catch is deferred where mapped files are read, as
//
//	defer s.catch(debug.SetPanicOnFault(true), b, &err)
//
// with the buffer that is read into, if there is one. It makes an error of a page that the disk cannot read, or that somebody who
// has truncated the file has taken away, where the process would end with SIGBUS
// otherwise. It costs a few nanoseconds. No lock may be held that a panic would
// not release.
func (s *Store) catch(before bool, b *readBuffer, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		panic(r)
	}
	at := s.mappedAt(fault.Addr())
	if at == nil {
		panic(r) // it was not one of our files
	}
	if b != nil {
		b.segment = nil // what it has of a block may be half of one
	}
	*err = at
}

// mapped calls a function that reads mapped files, for callers that hold a lock.
func (s *Store) mapped(f func() error) (err error) {
	defer s.catch(debug.SetPanicOnFault(true), nil, &err)
	return f()
}

// mappedAt returns the error of an address in one of the mapped files.
func (s *Store) mappedAt(addr uintptr) error {
	within := func(data []byte) (offset int64, ok bool) {
		begin := reflect.ValueOf(data).Pointer()
		return int64(addr - begin), len(data) > 0 && addr >= begin && addr-begin < uintptr(len(data))
	}
	const reason = "page that cannot be read, of a file that was truncated or on a disk that fails,"
	for _, g := range *s.slots.Load() {
		if g == nil {
			continue
		}
		g.mu.Lock()
		views := g.views
		g.mu.Unlock()
		for _, view := range views {
			if offset, ok := within(view); ok {
				return g.corrupt(offset, reason)
			}
		}
		if view := g.hintView.Load(); view != nil {
			if offset, ok := within(*view); ok {
				return &CorruptError{File: hintName(g.id), Offset: offset, Reason: reason}
			}
		}
	}
	return nil
}
