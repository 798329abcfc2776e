package observer

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
)

// A Stream keeps the last events in a log of fixed size, from which each
// reader takes them at its own pace. Create one with NewStream.
//
//	published ─►  ┌────┬────┬────┬────┬────┬────┬────┬────┐
//	              │ e8 │ e9 │ e2 │ e3 │ e4 │ e5 │ e6 │ e7 │   capacity 8, head 10
//	              └────┴────┴────┴────┴────┴────┴────┴────┘
//	                     next of b ▲         ▲ next of a
//
// There is one log however many readers there are. A reader that is a whole
// capacity behind is treated as its [Policy] says; the others do not notice,
// unless it is Block.
//
// Readers take events out in batches of up to 256, or a capacity if that is
// less, so a reader may have that many in hand besides those it has not taken.
// The log keeps the last events reachable for the garbage collector.
//
// A Stream is safe for concurrent use by multiple goroutines.
type Stream[T any] struct {
	mu    sync.Mutex
	news  sync.Cond // for readers: there are events, or it is over
	space sync.Cond // for publishers: a reader has gone on, or it is over

	log    []T
	head   uint64 // events so far: the next is log[head % capacity]
	limit  uint64 // head can grow up to here before readers are looked at
	closed bool

	readers []*Reader[T]
	spilled []*Reader[T] // those of readers that have a backlog
	waiting int          // readers in news.Wait
	blocked int          // publishers in space.Wait
	blocks  uint64       // times that a publisher has waited
	running int          // goroutines of handlers
	errs    []error      // what handlers panicked with, the first of each
}

// A Policy says what happens when a reader is as many events behind as the
// stream has room for.
type Policy int

const (
	Block      Policy = iota // Publish waits for the reader
	DropOldest               // the reader misses the event that it would have read next
	DropNewest               // the reader misses the event that is published
	Disconnect               // the reader gets ErrLagged after what it has in hand
)

// ReaderOptions are the settings of a reader. Nil and zero fields mean the
// defaults.
type ReaderOptions struct {
	OnFull Policy // the default is Block

	// Replay is the number of past events to begin with; fewer if there are
	// not that many in the log.
	Replay int
}

// StreamStats are counts of a Stream.
type StreamStats struct {
	Published uint64
	Blocked   uint64 // times that a publisher had to wait
	Readers   int    // now, those of handlers too
}

// Sub returns what happened since earlier; Readers stays.
func (s StreamStats) Sub(earlier StreamStats) StreamStats {
	s.Published -= earlier.Published
	s.Blocked -= earlier.Blocked
	return s
}

// NewStream returns a stream with room for capacity events. It panics if that
// is not positive.
func NewStream[T any](capacity int) *Stream[T] {
	if capacity <= 0 {
		panic("observer: the capacity of a stream must be positive")
	}
	s := &Stream[T]{log: make([]T, capacity), limit: uint64(capacity)}
	s.news.L, s.space.L = &s.mu, &s.mu
	return s
}

// Publish adds an event to the stream. It waits as long as a reader with the
// policy Block is a capacity behind, and returns the error of ctx if that ends
// meanwhile, or ErrClosed if the stream does; the event is not in the stream
// then. Events of one goroutine stay in order.
func (s *Stream[T]) Publish(ctx context.Context, event T) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.head == s.limit {
		if err := s.makeRoom(ctx); err != nil {
			return err
		}
	}
	for _, r := range s.spilled {
		r.spill(event)
	}
	s.log[s.head%uint64(len(s.log))] = event
	s.head++
	if s.waiting > 0 {
		s.news.Broadcast()
	}
	return nil
}

// makeRoom looks at readers until none with the policy Block is in the way.
func (s *Stream[T]) makeRoom(ctx context.Context) error {
	for s.lookAtReaders() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.blocks++
		stop := context.AfterFunc(ctx, s.wake)
		s.blocked++
		s.space.Wait()
		s.blocked--
		stop()
		if s.closed {
			return ErrClosed
		}
	}
	return nil
}

// lookAtReaders does what policies say, sets limit, and reports whether a
// reader blocks. Readers with DropOldest find out themselves what they missed.
func (s *Stream[T]) lookAtReaders() (blocked bool) {
	capacity := uint64(len(s.log))
	s.limit = s.head + capacity
	for _, r := range slices.Clone(s.readers) {
		if r.policy == DropOldest || r.spilling {
			continue
		}
		if r.next+capacity == s.head {
			switch r.policy {
			case Block:
				blocked = true
			case DropNewest:
				r.beginSpill()
				continue
			case Disconnect:
				r.end(ErrLagged)
				continue
			}
		}
		s.limit = min(s.limit, r.next+capacity)
	}
	return blocked
}

// wake lets all who wait look again.
func (s *Stream[T]) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news.Broadcast()
	s.space.Broadcast()
}

// Events returns an iterator over the events that are published while it runs,
// and the past ones that opts ask for. It ends when ctx does, or when the
// stream was closed and all is read, or when the reader is disconnected; see
// [Stream.Reader] to tell these apart.
func (s *Stream[T]) Events(ctx context.Context, opts *ReaderOptions) iter.Seq[T] {
	return func(yield func(T) bool) {
		r := s.Reader(opts)
		defer r.Close()
		for ctx.Err() == nil {
			event, err := r.Next(ctx)
			if err != nil || !yield(event) {
				return
			}
		}
	}
}

// Reader returns a reader of the events that are published from now on, and of
// the past ones that opts ask for; nil means the defaults. It must be closed,
// or its policy applies when it is read no more. It panics if Replay is
// negative or OnFull is no policy.
func (s *Stream[T]) Reader(opts *ReaderOptions) *Reader[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reader(opts)
}

func (s *Stream[T]) reader(opts *ReaderOptions) *Reader[T] {
	if opts == nil {
		opts = &ReaderOptions{}
	}
	if opts.Replay < 0 || opts.OnFull < Block || opts.OnFull > Disconnect {
		panic("observer: bad options of a reader")
	}
	back := min(uint64(opts.Replay), s.head, uint64(len(s.log)))
	r := &Reader[T]{stream: s, policy: opts.OnFull, next: s.head - back}
	s.readers = append(s.readers, r)
	if r.policy != DropOldest {
		s.limit = min(s.limit, r.next+uint64(len(s.log)))
	}
	return r
}

// Subscribe calls handle with the events that a reader with these options
// would get, one after the other, in a goroutine of its own. If handle panics
// it goes on with the next event; Close returns what the first panic was. On a
// closed stream it gets what there is to replay.
func (s *Stream[T]) Subscribe(handle func(T), opts *ReaderOptions) *StreamSubscription {
	if handle == nil {
		panic("observer: nil handler")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reader(opts)
	r.handled = true
	done := make(chan struct{})
	s.running++
	go func() {
		defer close(done)
		defer s.handlerEnded()
		defer r.Close()
		r.deliver(handle)
	}()
	return &StreamSubscription{r, r.Stats, r.err, done}
}

func (s *Stream[T]) handlerEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.space.Broadcast()
}

// Close ends the stream: it takes no more events, and publishers that wait
// return. It waits until all handlers were called with all events there are,
// and returns what they panicked with, joined, the first of each. Readers get
// ErrClosed when they have read the rest.
//
// If ctx ends before that, handlers are stopped after the events that they are
// at, and Close returns the error of ctx without waiting for them. Close may be
// called again, to wait again. A handler that calls it waits for itself, until
// ctx ends.
func (s *Stream[T]) Close(ctx context.Context) error {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	stop := context.AfterFunc(ctx, s.wake)
	defer stop()
	for s.running > 0 {
		if err := ctx.Err(); err != nil {
			for _, r := range slices.Clone(s.readers) {
				if r.handled {
					r.stop.Store(true)
					r.end(ErrClosed)
				}
			}
			return errors.Join(append(slices.Clone(s.errs), err)...)
		}
		s.space.Wait()
	}
	return errors.Join(s.errs...)
}

// shut closes the stream without waiting.
func (s *Stream[T]) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.news.Broadcast()
	s.space.Broadcast()
}

// Stats returns what happened so far.
func (s *Stream[T]) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StreamStats{Published: s.head, Blocked: s.blocks, Readers: len(s.readers)}
}
