package observer

import (
	"context"
	"slices"
	"sync/atomic"
)

// maxBatch is the number of events that a reader takes out at a time.
const maxBatch = 256

// A Reader takes events from a Stream at its own pace. Create one with
// [Stream.Reader].
//
// A Reader may be used by one goroutine at a time; Close and Stats may be
// called by others.
type Reader[T any] struct {
	stream *Stream[T]
	policy Policy

	batch []T // taken, from at on not yet handed out
	at    int

	// What follows is guarded by the mutex of the stream.

	next    uint64 // event to be taken from the log
	dropped uint64 // up to next
	taken   uint64
	ended   error // why there is nothing more to be taken

	// A reader with DropNewest that was full has a backlog of events until it
	// has taken all of them, and takes nothing from the log; those that do
	// not fit into the backlog are dropped.
	spilling bool
	backlog  []T

	handled  bool   // belongs to a handler
	panicked uint64 // times that the handler has

	stop atomic.Bool // ended; for a handler in the midst of a batch
}

// ReaderStats are counts of a reader.
type ReaderStats struct {
	Delivered uint64 // events taken out, which is done in batches
	Dropped   uint64 // events missed since the reader was too far behind
	Lag       uint64 // events published that it has still to take out
	Panics    uint64 // of the handler
}

// Sub returns what happened since earlier; Lag stays.
func (s ReaderStats) Sub(earlier ReaderStats) ReaderStats {
	s.Delivered -= earlier.Delivered
	s.Dropped -= earlier.Dropped
	s.Panics -= earlier.Panics
	return s
}

// Next returns the next event, and waits until there is one. It returns the
// error of ctx if that ends before, ErrClosed when the stream or the reader is
// closed and nothing is left, and ErrLagged when the reader was disconnected.
func (r *Reader[T]) Next(ctx context.Context) (event T, err error) {
	if r.at == len(r.batch) || r.stop.Load() {
		if err := r.fill(ctx); err != nil {
			return event, err
		}
	}
	event = r.batch[r.at]
	clear(r.batch[r.at : r.at+1])
	r.at++
	return event, nil
}

// Close ends the reader, which then returns ErrClosed. It may be called more
// than once, and while Next waits.
func (r *Reader[T]) Close() {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	r.stop.Store(true)
	r.end(ErrClosed)
}

// Stats returns what happened so far.
func (r *Reader[T]) Stats() ReaderStats {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := ReaderStats{Delivered: r.taken, Dropped: r.dropped + r.missed(), Panics: r.panicked}
	switch {
	case r.ended != nil:
	case r.spilling:
		stats.Lag = uint64(len(r.backlog))
	default:
		stats.Lag = s.head - r.next - r.missed()
	}
	return stats
}

// err returns why the reader has ended, or nil.
func (r *Reader[T]) err() error {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	return r.ended
}

// missed returns the number of events from next on that are not in the log
// any more: those that a reader with DropOldest has dropped.
func (r *Reader[T]) missed() uint64 {
	if capacity := uint64(len(r.stream.log)); r.ended == nil && !r.spilling && r.stream.head-r.next > capacity {
		return r.stream.head - r.next - capacity
	}
	return 0
}

// fill waits for events and takes out a batch.
func (r *Reader[T]) fill(ctx context.Context) error {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	for waited := false; ; waited = true {
		switch {
		case r.ended != nil:
			return r.ended
		case r.spilling || r.next < s.head:
			r.take()
			return nil
		case s.closed:
			r.end(ErrClosed)
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !waited && ctx.Done() != nil {
			defer context.AfterFunc(ctx, s.wake)()
		}
		s.waiting++
		s.news.Wait()
		s.waiting--
	}
}

// take moves events into the batch.
func (r *Reader[T]) take() {
	s := r.stream
	capacity := uint64(len(s.log))
	if r.batch == nil {
		r.batch = make([]T, 0, min(capacity, maxBatch))
	}
	r.batch, r.at = r.batch[:0], 0
	room := cap(r.batch)
	if r.spilling {
		n := min(room, len(r.backlog))
		r.batch = append(r.batch, r.backlog[:n]...)
		r.backlog = slices.Delete(r.backlog, 0, n)
		if len(r.backlog) == 0 {
			r.endSpill()
		}
	} else {
		missed := r.missed()
		r.dropped += missed
		r.next += missed
		n := min(uint64(room), s.head-r.next)
		from := r.next % capacity
		first := min(n, capacity-from)
		r.batch = append(r.batch, s.log[from:from+first]...)
		r.batch = append(r.batch, s.log[:n-first]...)
		r.next += n
	}
	r.taken += uint64(len(r.batch))
	if s.blocked > 0 {
		s.space.Broadcast()
	}
}

// beginSpill moves what the reader has not taken out of the log's way.
func (r *Reader[T]) beginSpill() {
	s := r.stream
	capacity := uint64(len(s.log))
	from := r.next % capacity
	r.backlog = slices.Grow(r.backlog, len(s.log))
	r.backlog = append(append(r.backlog, s.log[from:]...), s.log[:from]...)
	r.spilling = true
	s.spilled = append(s.spilled, r)
}

// spill adds an event to the backlog, or drops it.
func (r *Reader[T]) spill(event T) {
	if len(r.backlog) == len(r.stream.log) {
		r.dropped++
		return
	}
	r.backlog = append(r.backlog, event)
}

// endSpill lets the reader go on with the log.
func (r *Reader[T]) endSpill() {
	s := r.stream
	r.spilling, r.backlog = false, nil
	s.spilled = slices.DeleteFunc(s.spilled, func(o *Reader[T]) bool { return o == r })
	r.next = s.head
	s.limit = min(s.limit, r.next+uint64(len(s.log)))
}

// end makes the reader return an error instead of events that it has not
// taken.
func (r *Reader[T]) end(err error) {
	s := r.stream
	if r.ended != nil {
		return
	}
	r.dropped += r.missed()
	if r.spilling {
		r.endSpill()
	}
	r.ended = err
	s.readers = slices.DeleteFunc(s.readers, func(o *Reader[T]) bool { return o == r })
	s.news.Broadcast()
	s.space.Broadcast()
}

// deliver calls handle with all events, until the reader ends.
func (r *Reader[T]) deliver(handle func(T)) {
	for {
		err := r.fill(context.Background())
		if err != nil {
			return
		}
		for r.at < len(r.batch) && !r.stop.Load() {
			r.run(handle)
		}
	}
}

// run calls handle with the events of the batch, up to one that it panics on.
func (r *Reader[T]) run(handle func(T)) {
	defer func() {
		if value := recover(); value != nil {
			r.note(newPanicError(value))
		}
	}()
	for r.at < len(r.batch) && !r.stop.Load() {
		event := r.batch[r.at]
		clear(r.batch[r.at : r.at+1])
		r.at++
		handle(event)
	}
}

// note keeps what a handler panicked with.
func (r *Reader[T]) note(err error) {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	if r.panicked++; r.panicked == 1 {
		r.stream.errs = append(r.stream.errs, err)
	}
}

// A StreamSubscription is a handler of a Stream.
//
// A StreamSubscription is safe for concurrent use by multiple goroutines.
type StreamSubscription struct {
	reader interface{ Close() }
	stats  func() ReaderStats
	err    func() error
	done   chan struct{}
}

// Cancel ends the subscription: the handler is not called any more once the
// call that is under way has returned; see Done. It may be called again, and
// by the handler.
func (s *StreamSubscription) Cancel() { s.reader.Close() }

// Done returns a channel that is closed when the handler is not called any more
// and its goroutine has ended.
func (s *StreamSubscription) Done() <-chan struct{} { return s.done }

// Stats returns what happened so far.
func (s *StreamSubscription) Stats() ReaderStats { return s.stats() }

// Err returns nil as long as the handler is called, then ErrLagged if it was
// disconnected and ErrClosed otherwise.
func (s *StreamSubscription) Err() error { return s.err() }
