package observer

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// A Subject tells handlers of events, one after the other, before Publish
// returns. The zero Subject is ready for use and has no handlers; it must not
// be copied after first use.
//
//	Subject ──► list ─ calls    h0  h1  nil  h3      what Publish runs along
//	                   entries  e0  e1  e2   e3      nil: look at the entry
//
// A list never changes: whoever subscribes or cancels puts another in its
// place. So Publish takes no lock, and one that is under way keeps its list.
//
// A Subject is safe for concurrent use by multiple goroutines.
type Subject[T any] struct {
	version atomic.Uint64 // of list, grows with it
	list    atomic.Pointer[list[T]]
	mu      sync.Mutex // of those who make lists
	serial  uint64     // of the last entry
}

// Subscribe makes handle one of the handlers, behind those there are. It is
// called with events published from now on: not with one that is being
// published, but with one that is published by another handler of that.
func (s *Subject[T]) Subscribe(handle func(T)) *Subscription {
	return s.add(&entry[T]{call: handle}, nil)
}

// SubscribeFunc makes handle one of the handlers, with options; nil means the
// defaults. Its errors are for [Subject.PublishErr].
func (s *Subject[T]) SubscribeFunc(handle func(T) error, opts *SubscribeOptions) *Subscription {
	return s.add(&entry[T]{try: handle}, opts)
}

// Publish calls all handlers with an event, and returns when the last of them
// has. Errors that handlers return are dropped.
//
// If handlers panic, the others are called all the same. Then Publish panics
// with a [*PanicError], or with an error that joins several.
func (s *Subject[T]) Publish(event T) {
	if l := s.list.Load(); l != nil {
		if failed := l.publish(event, &s.version); failed != nil {
			failed.raise()
		}
	}
}

// PublishErr is Publish that returns the errors of handlers, joined. A panic is
// one of them, as a [*PanicError].
func (s *Subject[T]) PublishErr(event T) error {
	if l := s.list.Load(); l != nil {
		if failed := l.publish(event, &s.version); failed != nil {
			return failed.err()
		}
	}
	return nil
}

// Events returns an iterator over the events that are published while it runs.
// It ends when ctx does. The handler behind it is there from the beginning of
// the loop to its end, whatever the way out.
//
// Events wait for the loop in a [Stream] of the given capacity; opts say what
// happens when that is full, nil meaning that Publish waits. In that case a
// body must not publish to the subject, since it would wait for itself.
func (s *Subject[T]) Events(ctx context.Context, capacity int, opts *ReaderOptions) iter.Seq[T] {
	return func(yield func(T) bool) {
		stream := NewStream[T](capacity)
		reader := stream.Reader(opts)
		defer reader.Close()
		sub := s.Subscribe(func(event T) { _ = stream.Publish(ctx, event) })
		defer sub.Cancel()
		defer stream.shut()
		for ctx.Err() == nil {
			event, err := reader.Next(ctx)
			if err != nil || !yield(event) {
				return
			}
		}
	}
}

// Len returns the number of handlers.
func (s *Subject[T]) Len() int {
	if l := s.list.Load(); l != nil {
		return len(l.entries)
	}
	return 0
}

// Clear cancels all subscriptions.
func (s *Subject[T]) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.list.Load(); l != nil {
		for _, e := range l.entries {
			e.over.Store(true)
		}
		s.replace(nil)
	}
}

func (s *Subject[T]) add(e *entry[T], opts *SubscribeOptions) *Subscription {
	e.configure(opts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	e.serial = s.serial
	e.remove = func() { s.remove(e) }
	var entries []*entry[T]
	if l := s.list.Load(); l != nil {
		entries = l.entries
	}
	at, _ := slices.BinarySearchFunc(entries, e, compareEntries)
	s.replace(slices.Insert(slices.Clip(entries), at, e))
	return &Subscription{&e.ticket}
}

func (s *Subject[T]) remove(e *entry[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.list.Load(); l != nil {
		if at, ok := slices.BinarySearchFunc(l.entries, e, compareEntries); ok {
			s.replace(slices.Concat(l.entries[:at], l.entries[at+1:]))
		}
	}
}

// replace puts another list in place. The version comes first: who finds the
// old one unchanged knows that none of its entries was removed.
func (s *Subject[T]) replace(entries []*entry[T]) {
	version := s.version.Add(1)
	if len(entries) == 0 {
		s.list.Store(nil)
		return
	}
	s.list.Store(newList(entries, version))
}

// SubscribeOptions are the settings of a handler. Nil and zero fields mean the
// defaults.
type SubscribeOptions struct {
	Once     bool // cancel before the first call; it is called once even if several goroutines publish
	Priority int  // handlers with more are called first; the default is 0
}

// A Subscription is a handler's place among the others.
//
// A Subscription is safe for concurrent use by multiple goroutines.
type Subscription struct{ *ticket }

// A ticket is the part of an entry that has nothing to do with events.
type ticket struct {
	over   atomic.Bool // cancelled, or a Once that was called
	remove func()      // takes the entry from its list
}

// Cancel ends the subscription: the handler is not called any more, also not
// with an event that is being published now. It may be called again, and by the
// handler. It does not wait for calls in other goroutines: one that was begun,
// or is just about to be, goes on.
func (t *ticket) Cancel() {
	if t.over.CompareAndSwap(false, true) {
		t.remove()
	}
}

// Active reports whether the handler is still called.
func (t *ticket) Active() bool { return !t.over.Load() }

// An entry is a handler with what belongs to it. One of call and try is set.
type entry[E any] struct {
	ticket
	call     func(E)
	try      func(E) error
	once     bool
	priority int
	serial   uint64
}

func (e *entry[E]) configure(opts *SubscribeOptions) {
	if e.call == nil && e.try == nil {
		panic("observer: nil handler")
	}
	if opts != nil {
		e.once, e.priority = opts.Once, opts.Priority
	}
}

func compareEntries[E any](a, b *entry[E]) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.serial, b.serial))
}

// A list is the handlers of an event in the order in which they are called.
type list[E any] struct {
	version uint64
	calls   []func(E)   // nil where the entry has to be looked at
	entries []*entry[E] // as many
}

func newList[E any](entries []*entry[E], version uint64) *list[E] {
	l := &list[E]{version: version, entries: entries, calls: make([]func(E), len(entries))}
	for i, e := range entries {
		if !e.once {
			l.calls[i] = e.call
		}
	}
	return l
}

// publish calls all handlers. Version is that of the newest list: while it is
// that of this one, no entry was removed.
//
// This is the way of an event when handlers are functions, do not change and
// do not panic. From where that ends, it goes on as a publication.
func (l *list[E]) publish(event E, version *atomic.Uint64) (failed *failures) {
	next := 0 // handler to be called; -1 if that is nobody's concern any more
	defer func() {
		if next >= 0 {
			p := publication[E]{list: l, event: event, next: next}
			p.unwound(recover())
			failed = p.finish()
		}
	}()
	calls := l.calls
	for next < len(calls) {
		call := calls[next]
		if version.Load() != l.version || call == nil {
			break
		}
		next++
		call(event)
	}
	from := next
	next = -1
	if from < len(calls) {
		p := publication[E]{list: l, event: event, next: from}
		return p.finish()
	}
	return nil
}

// A publication is an event on its way through a list, of which every entry
// is looked at.
type publication[E any] struct {
	list   *list[E]
	event  E
	next   int
	failed *failures
}

// finish calls the handlers that are left.
func (p *publication[E]) finish() *failures {
	for p.next < len(p.list.entries) {
		p.run()
	}
	return p.failed
}

// run calls handlers up to the first that panics. If one ends its goroutine,
// run calls the others before that happens.
func (p *publication[E]) run() {
	ended := false
	defer func() {
		if !ended {
			p.unwound(recover())
		}
	}()
	for p.next < len(p.list.entries) {
		e := p.list.entries[p.next]
		p.next++
		if e.over.Load() {
			continue
		}
		if err := e.handle(p.event); err != nil {
			p.failed = p.failed.add(err)
		}
	}
	ended = true
}

// unwound is called when a handler has not returned, with what it panicked
// with; with nil if its goroutine is about to end.
func (p *publication[E]) unwound(value any) {
	if value != nil {
		p.failed = p.failed.add(newPanicError(value))
		return
	}
	if failed := p.finish(); failed != nil {
		failed.raise()
	}
}

// handle calls a handler that is not just a function.
func (e *entry[E]) handle(event E) error {
	if e.once {
		if !e.over.CompareAndSwap(false, true) {
			return nil
		}
		e.remove()
	}
	if e.try != nil {
		return e.try(event)
	}
	e.call(event)
	return nil
}
