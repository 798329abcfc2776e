package commitlog

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// waiters are goroutines that wait for news of a log.
type waiters struct {
	count atomic.Int32
	mu    sync.Mutex
	news  chan struct{} // closed by the next wake; nil if nobody waits
}

// any reports whether there are some.
func (w *waiters) any() bool { return w.count.Load() > 0 }

// wake wakes all. To be called after the change that is news.
func (w *waiters) wake() {
	if !w.any() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
}

// next returns a channel that is closed by the next wake. To be called before
// one looks whether there is news, with count raised.
func (w *waiters) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news == nil {
		w.news = make(chan struct{})
	}
	return w.news
}

// Wait returns when the record with the offset can be read, or, if durable is
// set, when it is durable as well; at once if it can already, or if its offset
// is before Start. It does not poll. It returns the error of ctx if that ends
// first, but for a write that it may do itself, ErrClosed or ErrPoisoned if the log does. Under SyncNever a record
// becomes durable by Sync, by Close, and when its segment is full; under
// SyncBytes also by the appends after it.
func (l *Log) Wait(ctx context.Context, offset int64, durable bool) error {
	return l.wait(ctx, offset, durable, false)
}

// wait is Wait, which, if next is set, also returns when the offset is after
// End, as it is for a reader when records were truncated.
func (l *Log) wait(ctx context.Context, offset int64, durable, next bool) error {
	if l.visible(offset, durable) {
		return l.ready(ctx)
	}
	l.waiting.count.Add(1)
	defer l.waiting.count.Add(-1)
	for {
		news := l.waiting.next()
		if err := l.ready(ctx); err != nil {
			return err
		}
		if l.visible(offset, durable) || next && offset > l.end.Load() {
			return nil
		}
		if err := l.Err(); err != nil {
			return err
		}
		if !durable && offset < l.end.Load() {
			if err := l.flush(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// visible reports whether a record can be read from the files.
func (l *Log) visible(offset int64, durable bool) bool { return offset < l.limit(durable) }

// limit is the offset before which records can be read from the files.
func (l *Log) limit(durable bool) int64 {
	if durable {
		return l.durable.Load()
	}
	return l.written.Load()
}

// flush writes what was appended, so that it can be read.
func (l *Log) flush() error {
	return l.poisoned(l.committer.Flush(l.committer.Appended().Pos))
}

// ReadBatches appends to dst whole batches as they are stored, the first being
// the one that has the offset from or, where compaction or a replica has left
// a gap, the next after it. It stops before the batch that would be more than
// maxBytes together, but returns one at least, whatever its size. With
// durableOnly it returns batches that are synced. If there is nothing, it
// returns dst as it is: nothing yet, see Wait, or, if from is before Durable,
// nothing any more up to there. All checksums were verified.
//
// The errors are an *OutOfRangeError if from is before Start or after End, a
// *CorruptError, ErrPoisoned for records that were appended but could not be
// written, ErrClosed, or one of the file system. With an error dst is as it
// was. The cost is a search in the index and one read of maxBytes.
func (l *Log) ReadBatches(dst []byte, from int64, maxBytes int, durableOnly bool) ([]byte, error) {
	out, _, err := l.readFrom(dst, from, maxBytes, durableOnly, false)
	return out, err
}

// readFrom is ReadBatches, or, if raw is set, the same with the frames as they
// are in the file, marks and all, the first of them at the index first: that
// spares moving them.
func (l *Log) readFrom(dst []byte, from int64, maxBytes int, durableOnly, raw bool) (out []byte, first int, err error) {
	for {
		if l.closed.Load() {
			return dst, 0, ErrClosed
		}
		limit := l.durable.Load()
		if !durableOnly {
			if end := l.end.Load(); from >= l.written.Load() && from < end {
				if err := l.flush(); err != nil {
					return dst, 0, err
				}
			}
			limit = l.written.Load()
		}
		if start, end := l.start.Load(), l.end.Load(); from < start || from > end {
			return dst, 0, &OutOfRangeError{from, start, end}
		}
		if from >= limit {
			return dst, len(dst), nil
		}
		out, first, err := l.readBelow(dst, from, durableOnly, maxBytes, raw)
		if !errors.Is(err, errMoved) {
			return out, first, err
		}
	}
}

// errMoved is for a reader that has lost a race with a removal.
var errMoved = errors.New("commitlog: segment was removed")

// readBelow reads what is visible, from the first segment that has something.
func (l *Log) readBelow(dst []byte, from int64, durableOnly bool, maxBytes int, raw bool) (out []byte, first int, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	limit := l.limit(durableOnly) // no truncation can lower it now
	if l.closed.Load() {
		return dst, 0, ErrClosed
	}
	if from < l.start.Load() {
		return dst, 0, errMoved
	}
	for _, s := range l.segments[l.locate(from):] {
		out, first, err := s.read(dst, from, limit, maxBytes, raw)
		if err != nil {
			return dst, 0, err
		}
		if len(out) > len(dst) {
			return out, first, nil
		}
	}
	return dst, len(dst), nil
}

// locate returns the index of the segment in which to begin for an offset. The
// caller holds mu.
func (l *Log) locate(offset int64) int {
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > offset })
	return max(i-1, 0)
}

// read appends batches of the segment that end after from and begin before
// limit. It reads into dst and then, if raw is not set, closes the gaps between
// the batches.
func (s *segment) read(dst []byte, from, limit int64, maxBytes int, raw bool) (out []byte, first int, err error) {
	position, err := s.find(from)
	if err != nil {
		return dst, 0, err
	}
	end := s.written.Load()
	w := window{segment: s, buf: dst, start: len(dst), at: len(dst), position: position, end: end}
	done := len(dst) // where the batches that were found end
	first = -1
	want := int64(max(maxBytes, 0)) + s.every + frameMinimum
	for w.position < end {
		f := s.parse(w.buf[w.at:], w.position, end, true)
		if f.short > 0 {
			if first >= 0 && f.short > frameMinimum && done-first+f.short-checkSize > maxBytes {
				break
			}
			if first < 0 {
				w.forget(w.start)
			} else if !raw {
				w.forget(done)
			}
			if err := w.read(want, f.short, from); err != nil {
				return dst, 0, err
			}
			continue
		}
		if f.reason != "" {
			if first >= 0 {
				break // what came before is good
			}
			return dst, 0, s.corrupt(w.position, from, f.reason)
		}
		if b := f.batch; b != nil && b.LastOffset() >= from {
			if b.BaseOffset() >= limit || first >= 0 && done-first+len(b) > maxBytes {
				break
			}
			from = b.LastOffset() + 1 // before b is moved to the left, over its own beginning
			switch {
			case raw && first < 0:
				first, done = w.at, w.at+f.size
			case raw:
				done = w.at + f.size
			default:
				first = w.start
				done += copy(w.buf[done:], b)
			}
		}
		w.position += int64(f.size)
		w.at += f.size
	}
	if first < 0 {
		return dst, len(dst), nil
	}
	return w.buf[:done], first, nil
}

// A window is a part of a file in memory.
type window struct {
	*segment
	buf      []byte
	start    int   // what is before it is not to be touched
	at       int   // the next frame
	position int64 // of the next frame in the file
	end      int64 // what is to be read
}

// forget moves what is not parsed yet to the index, over what is.
func (w *window) forget(index int) {
	if w.at > index {
		w.buf = w.buf[:index+copy(w.buf[index:], w.buf[w.at:])]
		w.at = index
	}
}

// read reads want bytes from the next frame on, but at least need of them.
func (w *window) read(want int64, need int, offset int64) error {
	have := len(w.buf) - w.at
	size := int(min(max(want, int64(need)), w.end-w.position)) - have
	if size <= 0 {
		return w.corrupt(w.position, offset, "file cut off")
	}
	held := len(w.buf)
	w.buf = slices.Grow(w.buf, size)[:held+size]
	n, err := w.file.ReadAt(w.buf[held:], w.position+int64(have))
	w.buf = w.buf[:held+n]
	switch {
	case n > 0:
		return nil
	case err == io.EOF:
		return w.corrupt(w.position, offset, "file cut off")
	}
	return err
}

// AllBatches iterates over the batches that can be read from an offset on, up
// to the end that the log has when they are reached. Their bytes are good
// until the next step. An error ends it. The body may call the log.
func (l *Log) AllBatches(from int64, durableOnly bool) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		var buf []byte
		for {
			var err error
			visible := l.limit(durableOnly)
			buf, err = l.ReadBatches(buf[:0], from, readChunk, durableOnly)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(buf) == 0 {
				if from >= visible {
					return
				}
				from = visible // there is only a gap
				continue
			}
			for rest := buf; len(rest) > 0; {
				b := Batch(rest[:Batch(rest).Len()])
				rest = rest[len(b):]
				from = b.LastOffset() + 1
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

// readChunk is what readers of records read at a time.
const readChunk = 256 << 10

// OffsetAt returns the offset of the first record, in the order of offsets,
// whose timestamp is not before t; ok is false if there is none. Of a batch
// for which there is no codec, or whose records cannot be read, it is the first
// offset. The errors are those of ReadBatches. It looks into one or two
// stretches of Options.IndexBytes.
func (l *Log) OffsetAt(t time.Time) (offset int64, ok bool, err error) {
	at := millis(t)
	if time.UnixMilli(at).Before(t) {
		at++ // timestamps are whole milliseconds
	}
	if l.written.Load() < l.end.Load() {
		if err := l.flush(); err != nil {
			return 0, false, err
		}
	}
	from := l.start.Load()
	for {
		if l.closed.Load() {
			return 0, false, ErrClosed
		}
		position, found, err := l.seekTime(from, at)
		if err != nil || !found {
			return 0, false, err
		}
		for b, err := range l.AllBatches(position, false) {
			if errors.Is(err, ErrOutOfRange) {
				break // removed meanwhile
			}
			if err != nil {
				return 0, false, err
			}
			if b.latestMillis() < at || b.Control() {
				continue
			}
			if offset, ok, err := l.firstAt(b, from, at); err != nil || ok {
				return offset, ok, err
			}
		}
		if l.start.Load() == from {
			return 0, false, nil
		}
		from = l.start.Load()
	}
}

// seekTime returns an offset from which to look for a time: the earliest that
// can be, or a little before.
func (l *Log) seekTime(from, at int64) (offset int64, found bool, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.segments[l.locate(from):] {
		if s.latestMillis() < at {
			continue
		}
		position, err := s.findTime(at)
		if err != nil {
			return 0, false, err
		}
		sc := s.scan(position, s.written.Load(), false)
		for {
			f, at, err := sc.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return 0, false, err
			}
			if f.reason != "" {
				return 0, false, s.corrupt(at, s.base, f.reason)
			}
			if f.batch != nil {
				return max(f.batch.BaseOffset(), from), true, nil
			}
		}
	}
	return 0, false, nil
}

// firstAt finds the first record of a batch, from an offset on, that is not
// before a time. One batch that cannot be taken apart does not end the search
// for good: its header says that it has such a record.
func (l *Log) firstAt(b Batch, from, at int64) (offset int64, ok bool, err error) {
	var it recordIter
	var r Record
	err = it.open(b, &l.codecs, l.opts.MaxDecompressed)
	for err == nil && it.left > 0 {
		if err = it.next(&r); err != nil {
			break
		}
		if r.Offset >= from && millis(r.Timestamp) >= at {
			return r.Offset, true, nil
		}
	}
	if errors.Is(err, ErrNoCodec) || errors.Is(err, ErrBadBatch) {
		return max(b.BaseOffset(), from), true, nil
	}
	return 0, false, err
}
