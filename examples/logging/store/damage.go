package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A Damage is a place where the log or the archive is not what was written.
type Damage struct {
	Where string    // the file, and the byte in it
	From  int64     // offset of the first packet that was passed over
	To    int64     // behind the last
	Why   string    // as the error said it
	Found time.Time // first
}

// maxDamages are remembered; a disk that has more of them is to be replaced.
const maxDamages = 1000

// Damages returns what was found damaged since the store was opened, by offset.
func (s *Store) Damages() []Damage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Damage, 0, len(s.damages))
	for _, d := range s.damages {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Damage) int { return int(a.From - b.From) })
	return list
}

// damage reports whether an error says that what is on the disk is not what
// was written.
func damage(err error) bool {
	return errors.Is(err, commitlog.ErrCorrupt) || errors.Is(err, commitlog.ErrBadBatch) || errors.Is(err, errBadArchive)
}

// where names the place of a damage.
func where(err error, from int64) string {
	if c, ok := errors.AsType[*commitlog.CorruptError](err); ok {
		return fmt.Sprintf("%s at byte %d", c.Segment, c.Position)
	}
	if a, ok := errors.AsType[*archiveError](err); ok {
		return fmt.Sprintf("%s at byte %d", a.File, a.At)
	}
	return fmt.Sprintf("batch at offset %d", from)
}

// note remembers and logs a damage for which packets were passed over. The
// indexer, the rules and searches all meet the same one: it counts once.
func (s *Store) note(err error, from, to int64) {
	place := where(err, from)
	s.mu.Lock()
	d := s.damages[place]
	fresh := d == nil
	if fresh && len(s.damages) < maxDamages {
		d = &Damage{Where: place, From: from, To: to, Why: err.Error(), Found: s.options.Now()}
		s.damages[place] = d
	}
	if d != nil {
		d.From, d.To = min(d.From, from), max(d.To, to)
	}
	s.mu.Unlock()
	if fresh && d != nil {
		s.options.Logger.Error("the disk has damaged what was stored", "where", place, "from", from, "to", to, "error", err)
	}
}

// past returns the offset from which the log can be read on behind one that
// cannot be read, at most End. The log finds a batch by an index of every 4 KiB
// and the frames from there, so that is how much may be passed over behind the
// damage.
func (s *Store) past(bad int64) int64 {
	end := s.log.End()
	readable := func(offset int64) bool {
		if offset >= end {
			return true
		}
		for _, err := range s.log.Records(offset) {
			return !damage(err)
		}
		return true
	}
	low, high := bad, bad+1 // low cannot be read
	for step := int64(1); !readable(high); step *= 2 {
		low, high = high, min(high+step, end)
	}
	for high-low > 1 {
		if middle := low + (high-low)/2; readable(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// pass goes on behind a damage that a reader has met.
func (s *Store) pass(r *commitlog.Reader, err error) {
	from := r.Offset()
	to := s.past(from)
	s.note(err, from, to)
	r.SeekTo(to)
}

// walk calls f with the records of a block in the log. Where one cannot be
// read, skip says from which offset on to go on. Other errors are those of f
// and of the log.
func (s *Store) walk(b *block, f func(commitlog.Record) error, skip func(err error, at int64) (int64, error)) error {
	for at := b.From; at < b.To; {
		var err error
		at, err = s.walkTo(at, b.To, f)
		if err == nil {
			return nil
		}
		if !damage(err) {
			return err
		}
		if at, err = skip(err, at); err != nil {
			return err
		}
	}
	return nil
}

// walkTo calls f with records up to an offset, and returns that of the first
// one that it did not get to.
func (s *Store) walkTo(from, to int64, f func(commitlog.Record) error) (at int64, err error) {
	at = from
	for batch, err := range s.log.AllBatches(from, s.durable()) {
		if err != nil {
			return at, err
		}
		if batch.BaseOffset() >= to {
			break
		}
		for r, err := range batch.Records(zstdCodec{}) {
			if err != nil {
				return max(at, batch.BaseOffset()), err
			}
			if r.Offset < from || r.Offset >= to {
				continue
			}
			if err := f(r); err != nil {
				return at, err
			}
			at = r.Offset + 1
		}
		at = max(at, batch.LastOffset()+1)
	}
	return to, nil
}

// salvage calls f with all good records of the segment that an error names,
// from an offset up to another, and returns where the log goes on. It works on
// a copy, from which commitlog.Repair takes what is damaged: so it loses
// nothing but that.
func (s *Store) salvage(cause error, from, to int64, f func(commitlog.Record) error) (int64, error) {
	corrupt, ok := errors.AsType[*commitlog.CorruptError](cause)
	if !ok {
		next := s.past(from)
		s.note(cause, from, next)
		return next, nil
	}
	dir := filepath.Join(s.dir, "salvage")
	next, err := s.salvageIn(dir, corrupt.Segment, from, to, f)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return 0, fmt.Errorf("store: salvage of %s: %w", corrupt.Segment, err)
	}
	if next <= from { // there is nothing good in the file
		next = s.past(from)
	}
	s.note(cause, from, next)
	return next, nil
}

func (s *Store) salvageIn(dir, segment string, from, to int64, f func(commitlog.Record) error) (int64, error) {
	if err := copyFile(dir, segment, filepath.Join(s.dir, "log", segment)); err != nil {
		return 0, err
	}
	o := &commitlog.Options{SegmentBytes: s.options.SegmentBytes, Codec: zstdCodec{}, MaxBatchBytes: 8 << 20, Sync: commitlog.SyncNever}
	if _, err := commitlog.Repair(dir, o); err != nil {
		return 0, err
	}
	l, err := commitlog.Open(dir, o)
	if err != nil {
		return 0, err
	}
	for r, err := range l.Records(max(from, l.Start())) {
		if errors.Is(err, commitlog.ErrOutOfRange) {
			break // nothing good is left from there on
		}
		if err != nil {
			return 0, errors.Join(err, l.Close())
		}
		if r.Offset >= to {
			break
		}
		if err := f(r); err != nil {
			return 0, errors.Join(err, l.Close())
		}
	}
	return min(l.End(), to), l.Close()
}

// copyFile copies a file into a directory that nothing else is in.
func copyFile(dir, name, from string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// scanLog calls f with the packets of a block in the log whose stream can
// match, and returns at its end what was damaged.
func (v *view) scanLog(ctx context.Context, b *block, f func(Arrival) error) error {
	var damaged error
	err := v.walk(b, func(r commitlog.Record) error {
		if !v.wanted(r.Key) {
			return nil
		}
		a, err := arrival(r)
		if err != nil {
			return nil // the indexer has counted it
		}
		return f(a)
	}, func(err error, at int64) (int64, error) {
		if ctx.Err() != nil {
			return 0, errOutOfTime
		}
		next := v.past(at)
		v.note(err, at, min(next, b.To))
		damaged = err
		return next, nil
	})
	if err == nil {
		err = damaged
	}
	return err
}
