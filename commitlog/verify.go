package commitlog

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
)

// Verify reads the whole log and checks every checksum and the order of the
// offsets, and that batches which are not compressed can be taken apart. It
// returns the first *CorruptError, or the error of ctx. Appends and reads go on
// meanwhile, and what they, retention and compaction do at the same time is not
// taken for damage.
func (l *Log) Verify(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	for after := int64(-1); ; {
		s, following := l.segmentAfter(after)
		if s == nil {
			return nil
		}
		err := l.verify(ctx, s, following)
		if err == errMoved {
			continue // with what is in its place
		}
		if err != nil {
			return err
		}
		after = s.base
	}
}

// segmentAfter returns the first segment whose base is after an offset, or nil,
// and the base of the one that follows.
func (l *Log) segmentAfter(offset int64) (s *segment, following int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.base > offset })
	if i < 0 {
		return nil, 0
	}
	if i+1 == len(l.segments) {
		return l.segments[i], math.MaxInt64
	}
	return l.segments[i], l.segments[i+1].base
}

// verify checks one segment, whose offsets must be below following.
func (l *Log) verify(ctx context.Context, s *segment, following int64) error {
	next := s.base
	sc := s.scan(headerSize, s.written.Load(), true)
	for {
		f, at, err := l.step(s, sc)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if b := f.batch; f.reason == "" && b != nil {
			if b.BaseOffset() < next {
				f.reason = fmt.Sprintf("offset %d after %d", b.BaseOffset(), next-1)
			} else if b.LastOffset() >= following {
				f.reason = fmt.Sprintf("offset %d before %d", b.LastOffset(), following)
			} else if _, err := checkRecords(b); err != nil {
				f.reason = err.Error()
			}
			next = b.LastOffset() + 1
		}
		if f.reason != "" {
			return s.corrupt(at, next, f.reason)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// step reads the next frame with a lock that it does not keep, or returns
// errMoved if the segment is gone.
func (l *Log) step(s *segment, sc *scanner) (frame, int64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed.Load() {
		return frame{}, 0, ErrClosed
	}
	if !slices.Contains(l.segments, s) {
		return frame{}, 0, errMoved
	}
	return sc.next()
}

// checkRecords takes a batch that is not compressed apart, and returns the latest
// timestamp of the records: what the header says of those that are.
func checkRecords(b Batch) (latest int64, err error) {
	if b.Compression() != None || b.Count() == 0 {
		return b.maxMillis(), nil
	}
	var it recordIter
	if err := it.open(b, nil, 0); err != nil {
		return 0, err
	}
	latest = math.MinInt64
	for it.left > 0 {
		millis, err := it.skip()
		if err != nil {
			return 0, err
		}
		latest = max(latest, millis)
	}
	if it.stamped {
		latest = b.maxMillis()
	}
	return latest, nil
}
