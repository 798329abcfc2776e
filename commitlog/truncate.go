package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/internal/groupcommit"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The file that says that a truncation has begun: the offset is in its name,
// and its content is the batch that takes the place of the one that the offset
// would cut in two; it is empty if none is.
const intentPrefix = "truncate-"

func intentName(offset int64) string { return fmt.Sprintf("%s%020d", intentPrefix, offset) }

// TruncateFrom removes the record with the offset and all after it, which
// End then returns. Readers that are beyond it get an *OutOfRangeError, unless
// the log has grown up to them again before they look. When it returns, the removal is durable; if the process ends before, the next Open
// finds the log as it was or removes all of them.
//
// It returns an *OutOfRangeError if the offset is before Start or after End.
// If the offset lies within a compressed batch for which there is no codec,
// the error is a *CodecError and nothing was removed; so it is with a
// *CorruptError if what is to be left is damaged, and with ErrFull if there is
// no space for a copy of what is left of the segment with the offset. After
// other errors of the file system the log may be poisoned. It waits for appends
// that are under way, and holds up new ones.
func (l *Log) TruncateFrom(offset int64) error {
	l.restructure()
	defer l.restructured()
	if l.closed.Load() {
		return ErrClosed
	}
	err := l.committer.Rotate(func(end groupcommit.Mark) error {
		if start, next := l.start.Load(), l.app.next; offset < start || offset > next {
			return &OutOfRangeError{offset, start, next}
		}
		return l.truncateTo(offset, end)
	})
	l.waiting.wake()
	return l.failed(err)
}

// truncateTo removes what there is from the offset on, with appends held up.
func (l *Log) truncateTo(offset int64, end groupcommit.Mark) error {
	if offset == l.app.next {
		return nil
	}
	head, err := l.headOf(offset)
	if err != nil {
		return err
	}
	return l.truncate(offset, head, end)
}

// headOf returns the batch with those records of the batch that the offset
// would cut in two that are before it; nil if the offset cuts none.
func (l *Log) headOf(offset int64) (Batch, error) {
	b, err := l.batchAt(offset)
	if err != nil || b == nil || b.BaseOffset() >= offset {
		return nil, err
	}
	return l.rewrite(b, nil, func(r *Record) bool { return r.Offset < offset }, offset-1)
}

// batchAt returns the batch that has the offset or is the next after it.
func (l *Log) batchAt(offset int64) (Batch, error) {
	out, _, err := l.readBelow(nil, offset, false, 0, false)
	return Batch(out), err
}

// rewrite makes a batch of those records of b that keep returns true for, with
// their offsets, timestamps and the producer of b, compressed as b is if there
// is a codec for it. Last is what LastOffset will be. If horizon is not nil it
// becomes the delete horizon. The result is nil if no record is left.
func (l *Log) rewrite(b Batch, horizon *time.Time, keep func(*Record) bool, last int64) (Batch, error) {
	var it recordIter
	if err := it.open(b, &l.codecs, l.opts.MaxDecompressed); err != nil {
		return nil, err
	}
	baseMillis := b.baseMillis()
	if horizon != nil {
		baseMillis = millis(*horizon)
	}
	out := append(Batch(nil), b[:batchHeader]...)
	latest, count := int64(minMillis), int32(0)
	for it.left > 0 {
		var r Record
		if err := it.next(&r); err != nil {
			return nil, err
		}
		if !keep(&r) {
			continue
		}
		at := millis(r.Timestamp)
		latest = max(latest, at)
		count++
		out = appendRecord(out, &r, r.fixedLen(), at-baseMillis, r.Offset-b.BaseOffset())
	}
	if count == 0 {
		return nil, nil
	}
	if codec := l.codecs[b.Compression()]; b.Compression() != None {
		packed, err := codec.Compress(nil, out[batchHeader:])
		if err != nil {
			return nil, fmt.Errorf("commitlog: compress: %w", err)
		}
		out = append(out[:batchHeader], packed...)
	}
	if horizon != nil {
		out[22] |= attrHorizon
	}
	setBaseMillis(out, baseMillis)
	finishBatch(out, int32(last-b.BaseOffset()), count, latest)
	return out, nil
}

// truncate puts head in the place of what there is from the offset on, with
// appends held up.
func (l *Log) truncate(offset int64, head Batch, end groupcommit.Mark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.prepareCut(offset, head)
	if err != nil {
		return err
	}
	if err := l.writeIntent(offset, head); err != nil {
		c.kept.abandon()
		return err
	}
	err = l.finishCut(c)
	if err == nil {
		err = l.removeIntent(intentName(offset))
	}
	if err != nil {
		return &unsureError{err}
	}
	s := l.segments[len(l.segments)-1]
	position := s.written.Load()
	l.app = appender{segment: s, next: offset, origin: end.Pos - position, mark: position, checkpoint: position}
	l.cuts++
	l.committer.Renumber(offset)
	l.end.Store(offset)
	l.written.Store(offset)
	l.durable.Store(offset)
	return nil
}

func (l *Log) writeIntent(offset int64, head Batch) error {
	temporary := intentName(offset) + temporarySuffix
	f, err := l.dir.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("commitlog: truncate: %w", full(err))
	}
	if len(head) > 0 {
		_, err = f.WriteAt(head, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = l.dir.Rename(temporary, intentName(offset))
	}
	if err != nil {
		_ = l.dir.Remove(temporary) // if it stays, the next Open removes it
		return fmt.Errorf("commitlog: truncate: %w", full(err))
	}
	if err := l.dir.SyncDir(); err != nil {
		return &unsureError{fmt.Errorf("commitlog: truncate: %w", full(err))}
	}
	return nil
}

func (l *Log) removeIntent(name string) error {
	if err := l.dir.Remove(name); err != nil {
		return err
	}
	return l.dir.SyncDir()
}

// A cut is a truncation for which all is prepared.
type cut struct {
	at   int       // index of the segment that will be the last
	kept *rewriter // what takes its place
}

// prepareCut changes nothing yet, so it can still fail.
func (l *Log) prepareCut(offset int64, head Batch) (cut, error) {
	i := l.locate(offset)
	if l.segments[i].base >= offset && i > 0 {
		i-- // nothing of it would be left
	}
	s := l.segments[i]
	from := offset
	if head != nil {
		from = head.BaseOffset()
	}
	following := int64(-1)
	if i+1 < len(l.segments) {
		following = l.segments[i+1].base
	}
	position, err := l.endBefore(s, from, following)
	if err != nil {
		return cut{}, err
	}
	kept, err := s.copyUpTo(position, offset, head)
	return cut{i, kept}, err
}

// finishCut removes what is at and after the offset of the cut, and leaves a
// last segment that is not sealed. After it was interrupted at any point both
// can be done again.
func (l *Log) finishCut(c cut) error {
	s := l.segments[c.at]
	fresh, err := c.kept.reopen(s.every)
	if err != nil {
		return err
	}
	l.pending.drop(l.segments[c.at : c.at+1]) // it is the last again
	dropped := l.segments[c.at+1:]
	l.segments = append(l.segments[:c.at:c.at], fresh)
	s.close()
	return l.remove(dropped)
}

// endBefore returns where the batches end that are before an offset.
func (l *Log) endBefore(s *segment, offset, following int64) (position int64, err error) {
	end, known := s.written.Load(), l.committer != nil || s.state().sealed()
	if !known { // Open has not looked at it yet
		if end, err = s.file.Size(); err != nil {
			return 0, fmt.Errorf("commitlog: %w", err)
		}
	}
	position, next := int64(headerSize), s.base
	sc := s.scan(headerSize, end, false)
	for {
		f, _, err := sc.next()
		switch {
		case err == io.EOF || err == nil && f.batch != nil && f.batch.LastOffset() >= offset:
			return position, nil
		case err != nil:
			return 0, err
		case f.reason != "":
			// What is reserved is zero, and a seal that has failed leaves bytes
			// behind the last frame.
			rest := !known && next == following
			if !known && !rest {
				rest, err = s.zeroFrom(position, end)
			}
			if err == nil && !rest {
				err = s.corrupt(position, next, f.reason)
			}
			return position, err
		case f.batch != nil:
			next = f.batch.LastOffset() + 1
		}
		position = sc.position
	}
}

// copyUpTo makes a copy of the segment up to a position, with head behind it, to
// take its place. To cut the file off would not do: after a power loss bytes that
// were cut off can be back when the file grows again, and would be good frames,
// at their place, with the salt of the file. The copy has another.
func (s *segment) copyUpTo(position, next int64, head Batch) (*rewriter, error) {
	w, err := newRewriter(s.dir, newIdentity(s.base, time.UnixMilli(s.created)), s.every, temporarySuffix)
	if err != nil {
		return nil, err
	}
	err = w.copy(s, headerSize, position)
	if err == nil && head != nil {
		err = w.add(head)
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return w, w.complete(checkpoint{next: next, start: min(s.saved.start, next)}, false)
}

// reopen puts the file that is complete in the place of the segment, and opens it.
func (w *rewriter) reopen(every int64) (*segment, error) {
	if err := w.place(); err != nil {
		return nil, err
	}
	return openSegment(w.dir, w.name, every)
}

// writeBoth writes a checkpoint into both slots, each durable before the next
// is touched, so that no older one is left to fall back to.
func (s *segment) writeBoth(c checkpoint) error {
	for range 2 {
		if err := s.writeCheckpoint(c); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// readIntent reads the file that writeIntent has made.
func readIntent(dir vfs.FS, name string) (offset int64, head Batch, err error) {
	offset, err = strconv.ParseInt(strings.TrimPrefix(name, intentPrefix), 10, 64)
	if err != nil || offset < 0 {
		return 0, nil, &CorruptError{name, 0, 0, "not the name of a truncation"}
	}
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("commitlog: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, nil, fmt.Errorf("commitlog: %w", err)
	}
	if size == 0 {
		return offset, nil, nil
	}
	if size > 1<<31 {
		return 0, nil, &CorruptError{name, 0, offset, "too large for a batch"}
	}
	head = make(Batch, size)
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return 0, nil, fmt.Errorf("commitlog: %w", err)
	}
	if reason := head.check(); reason != "" {
		return 0, nil, &CorruptError{name, 0, offset, reason}
	}
	return offset, head, nil
}

// redoTruncate finishes a truncation that was interrupted.
func (l *Log) redoTruncate(name string) error {
	offset, head, err := readIntent(l.dir, name)
	if err != nil {
		return err
	}
	c, err := l.prepareCut(offset, head)
	if err == nil {
		err = l.finishCut(c)
	}
	if err != nil {
		return err
	}
	return l.removeIntent(name)
}

// DeleteBefore removes the records before the offset, which Start then
// returns; the files that hold nothing else are gone when it returns. The
// offset may be up to End. Up to Start it does nothing; after End the error is
// an *OutOfRangeError. When it returns the removal is durable. An error of the
// file system may poison the log.
func (l *Log) DeleteBefore(offset int64) error {
	l.restructure()
	defer l.restructured()
	if err := l.Err(); err != nil {
		return err
	}
	return l.deleteLocked(offset)
}

func (l *Log) deleteLocked(offset int64) error {
	if start, end := l.start.Load(), l.end.Load(); offset <= start || offset > end {
		if offset > end {
			return &OutOfRangeError{offset, start, end}
		}
		return nil
	}
	if l.durable.Load() < offset {
		if err := l.committer.Commit(l.committer.Appended().Pos); err != nil {
			return l.poisoned(err)
		}
	}
	l.mu.RLock()
	i := l.locate(offset)
	s := l.segments[i]
	l.mu.RUnlock()
	s.mu.Lock()
	c := s.saved
	c.start = offset
	err := s.writeBoth(c)
	s.mu.Unlock()
	if err != nil { // of a sync, perhaps, that was to sync records, too
		err = fmt.Errorf("commitlog: %s: %w", s.name, err)
		l.committer.Poison(err)
		return l.poisoned(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start.Store(offset)
	dropped := l.segments[:i:i]
	l.segments = append([]*segment(nil), l.segments[i:]...)
	if len(dropped) == 0 {
		return nil
	}
	return l.remove(dropped)
}

// Reset removes all records and makes the offset both Start and End: what a
// replica does whose leader has no longer what comes next. An offset before
// Start is an *OutOfRangeError. A crash leaves the log as it was, without its
// records from the offset on, or without any. For other errors see
// TruncateFrom.
func (l *Log) Reset(offset int64) error {
	l.restructure()
	defer l.restructured()
	if l.closed.Load() {
		return ErrClosed
	}
	err := l.committer.Rotate(func(end groupcommit.Mark) error {
		if start := l.start.Load(); offset < start {
			return &OutOfRangeError{offset, start, l.app.next}
		}
		if offset <= l.app.next {
			return l.truncateTo(offset, end) // DeleteBefore does the rest
		}
		fresh, err := createSegment(l.dir, newIdentity(offset, l.now), l.every(), 0, offset)
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		dropped := l.segments
		l.segments = []*segment{fresh}
		l.app = appender{segment: fresh, next: offset, origin: end.Pos - headerSize, mark: headerSize, checkpoint: headerSize}
		l.committer.Renumber(offset)
		l.end.Store(offset)
		l.written.Store(offset)
		l.durable.Store(offset)
		l.start.Store(offset)
		return l.remove(dropped)
	})
	l.waiting.wake()
	if err != nil {
		return l.failed(err)
	}
	return l.deleteLocked(offset)
}
