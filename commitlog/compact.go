package commitlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"
)

// Compact removes from the sealed segments the records whose key has a later
// record there. Offsets stay, so there are gaps after it. What remains:
//
//   - of each key the last record, but not a tombstone for longer than
//     Options.TombstoneGrace after the Compact that has met it first;
//   - records without a key;
//   - of each producer the last batch that has sequence numbers, even if it is empty
//     then, so that the next one can be told from the log; an empty one before which
//     nothing of its producer is left not for longer than Options.TombstoneGrace
//     after the Compact that has emptied it or met it first;
//   - control and transactional batches as they are, and those that cannot be
//     taken apart, whoever has made them; while there are some, but for control
//     batches, all tombstones remain too.
//
// Segments that have become small are merged. Only sealed segments are
// touched; Retain with Options.SegmentAge sees to it that segments are sealed.
// If there is a compressed batch without a codec, the error is a *CodecError
// and nothing was changed; if there is no space for the new files it is ErrFull,
// and the log goes on. For the others see ReadBatches and ErrPoisoned.
//
// Each segment is exchanged in one step, from the oldest on, so a crash leaves
// the log partly compacted and otherwise the same. Appends and reads go on.
// Compact reads the sealed segments up to three times, more if there are more
// keys and producers than Options.CompactKeys; then some that the next one removes
// may stay. Only one Compact runs at a time.
func (l *Log) Compact(ctx context.Context) error {
	return l.CompactBefore(ctx, math.MaxInt64)
}

// CompactBefore is Compact for those segments only that end at the offset or
// before it. A replica whose log may still be truncated down to an offset
// compacts before that, or a truncation could take the last record of a key of
// which compaction has removed the others.
func (l *Log) CompactBefore(ctx context.Context, offset int64) error {
	now := l.opts.Now()
	l.compacting.Lock()
	defer l.tell()
	defer l.compacting.Unlock()
	for {
		err := l.compact(ctx, offset, now)
		if !errors.Is(err, ErrOutOfRange) {
			return err
		} // else retention or truncation was faster
	}
}

func (l *Log) compact(ctx context.Context, offset int64, now time.Time) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	if err := l.sealFull(ctx, now); err != nil {
		return err
	}
	l.mu.RLock()
	cuts := l.cuts
	l.mu.RUnlock()
	opaque := false
	for from := l.start.Load(); ; {
		c := &compaction{l: l, ctx: ctx, now: now, start: l.start.Load(), before: offset, cuts: cuts, last: map[keyHash]int64{}, producers: map[int64]lastBatch{}, opaque: opaque}
		upto, more, err := c.collect(from)
		if err != nil {
			return err
		}
		if err := c.clean(upto); err != nil || !more {
			return err
		}
		from, opaque = upto, c.opaque
	}
}

// sealFull seals all segments that are full.
func (l *Log) sealFull(ctx context.Context, now time.Time) error {
	if err := l.Sync(ctx); err != nil {
		return err
	}
	from := l.askRetainFrom()
	l.structure.Lock()
	defer l.structure.Unlock()
	l.now, l.retainFrom = now, from
	if err := l.Err(); err != nil {
		return err
	}
	l.sealPending()
	return nil
}

// A keyHash stands for a key. Its 128 bits of SHA-256 are the same for two
// keys only if somebody has broken SHA-256, or by a chance of 1 in 2¹²⁸ a pair.
type keyHash [16]byte

func hashKey(key []byte) keyHash {
	sum := sha256.Sum256(key)
	return keyHash(sum[:16])
}

// A compaction is one round over the log.
type compaction struct {
	l      *Log
	ctx    context.Context
	now    time.Time
	start  int64             // records before it are deleted
	before int64             // segments that end after it stay as they are
	cuts   int               // of the log when this began
	last   map[keyHash]int64 // the last offset of each key, of those collected
	opaque bool              // there are transactional batches, or some that cannot be taken apart

	producers map[int64]lastBatch // by ID, of those collected

	keys    []keyHash // of one batch, and the offsets of its records
	offsets []int64
}

// A lastBatch is the last one of a producer that has sequence numbers: markers of
// transactions have none.
type lastBatch struct {
	offset  int64 // its last
	follows bool  // another, from which one would tell an old number, is left before it
}

// collect notes the last offset of the keys from an offset on. It stops before
// a batch when it has enough keys: then more is true, and upto is its offset.
func (c *compaction) collect(from int64) (upto int64, more bool, err error) {
	l := c.l
	l.mu.RLock()
	sealed := l.sealedSegments(c.before)
	end := l.segments[len(sealed)].base
	l.mu.RUnlock()
	var it recordIter
	for from < end {
		begun := from
		for b, err := range l.AllBatches(from, false) {
			if err != nil {
				return 0, false, err
			}
			if b.BaseOffset() >= end {
				return end, false, nil
			}
			if len(c.last)+len(c.producers) >= l.opts.CompactKeys {
				return b.BaseOffset(), true, nil
			}
			from = b.LastOffset() + 1
			if id := b.ProducerID(); id >= 0 && !b.Control() {
				c.producers[id] = lastBatch{offset: b.LastOffset()}
			}
			if c.keeps(b) {
				c.opaque = c.opaque || !b.Control()
				continue
			}
			if err := c.note(&it, b); errors.Is(err, ErrBadBatch) {
				c.opaque = true
				l.say(slog.LevelWarn, "commitlog: batch cannot be compacted", "offset", b.BaseOffset(), "error", err)
			} else if err != nil {
				return 0, false, err
			}
			if err := c.ctx.Err(); err != nil {
				return 0, false, err
			}
		}
		if from == begun {
			break // only gaps are left
		}
	}
	return end, false, nil
}

// note notes the keys of a batch, or none with an error.
func (c *compaction) note(it *recordIter, b Batch) error {
	if err := it.open(b, &c.l.codecs, c.l.opts.MaxDecompressed); err != nil {
		return err
	}
	c.keys, c.offsets = c.keys[:0], c.offsets[:0]
	for it.left > 0 {
		var r Record
		if err := it.next(&r); err != nil {
			return err
		}
		if r.Key != nil {
			c.keys, c.offsets = append(c.keys, hashKey(r.Key)), append(c.offsets, r.Offset)
		}
	}
	for i, key := range c.keys {
		c.last[key] = c.offsets[i]
	}
	return nil
}

// sealedSegments returns those at the beginning that are sealed and end before
// the offset or at it. The caller holds mu.
func (l *Log) sealedSegments(before int64) []*segment {
	for i, s := range l.segments {
		if c := s.state(); !c.sealed() || c.next > before {
			return l.segments[:i]
		}
	}
	return l.segments
}

// keeps reports whether a batch stays as it is whatever is in it.
func (c *compaction) keeps(b Batch) bool { return b.Control() || b.Transactional() }

// clean rewrites the segments below upto that have something to remove, and
// those that are small together with their neighbours.
func (c *compaction) clean(upto int64) error {
	l := c.l
	l.mu.RLock()
	segments := slices.Clone(l.sealedSegments(c.before))
	l.mu.RUnlock()
	limit := l.live.Load().SegmentBytes
	var group []*segment
	size, dirty := int64(0), false
	flush := func() error {
		defer func() { group, size, dirty = nil, 0, false }()
		if len(group) > 1 || dirty {
			return c.replace(group)
		}
		return nil
	}
	for _, s := range segments {
		if s.base >= upto {
			break
		}
		kept, changed, err := c.measure(s)
		if err != nil {
			return err
		}
		if len(group) > 0 && headerSize+size+kept > limit {
			if err := flush(); err != nil {
				return err
			}
		}
		group = append(group, s)
		size += kept
		dirty = dirty || changed
	}
	return flush()
}

// walk calls visit for each batch of a segment with what becomes of it: the
// batch itself, another, or nil. It holds the log's lock for a batch at a time
// only, and stops without an error if the segment is gone.
func (c *compaction) walk(s *segment, visit func(before, after Batch) error) error {
	sc := s.scan(headerSize, s.written.Load(), true)
	for {
		f, at, err := c.l.step(s, sc)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if f.reason != "" {
			return s.corrupt(at, s.base, f.reason)
		}
		if f.batch == nil {
			continue
		}
		after, err := c.filter(f.batch)
		if err != nil {
			return err
		}
		c.leave(after)
		if err := visit(f.batch, after); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
}

// filter returns what becomes of a batch.
func (c *compaction) filter(b Batch) (Batch, error) {
	if c.keeps(b) {
		return b, nil
	}
	horizon, marked := b.DeleteHorizon()
	switch {
	case b.Count() > 0:
	case b.ProducerID() < 0 || c.isLast(b) && marked && (c.now.Before(horizon) || !c.isOnly(b)):
		return b, nil
	case !marked && c.isLast(b):
		return b.emptied(c.now.Add(c.l.opts.TombstoneGrace)), nil
	default:
		return nil, nil
	}
	due := marked && !c.now.Before(horizon) && !c.opaque
	keep := func(r *Record) bool {
		if r.Offset < c.start {
			return false
		}
		if r.Key == nil {
			return true
		}
		last, ok := c.last[hashKey(r.Key)]
		if ok && r.Offset < last {
			return false
		}
		if r.Value == nil && due {
			return !ok || r.Offset > last // it is for a later round, which first removes what was before it
		}
		return true
	}
	var it recordIter
	if err := it.open(b, &c.l.codecs, c.l.opts.MaxDecompressed); err != nil {
		return b, ignoreBad(err)
	}
	removed, tombstones := false, false
	for it.left > 0 {
		var r Record
		if err := it.next(&r); err != nil {
			return b, ignoreBad(err)
		}
		if !keep(&r) {
			removed = true
		} else if r.Value == nil && r.Key != nil {
			tombstones = true
		}
	}
	if !removed && (marked || !tombstones) {
		return b, nil
	}
	var set *time.Time
	if tombstones && !marked {
		set = new(c.now.Add(c.l.opts.TombstoneGrace))
	}
	after, err := c.l.rewrite(b, set, keep, b.LastOffset())
	if err == nil && after == nil && c.isLast(b) {
		after = b.emptied(c.now.Add(c.l.opts.TombstoneGrace))
	}
	return after, err
}

// isLast reports whether a batch is the last of its producer, or may be.
func (c *compaction) isLast(b Batch) bool {
	last, ok := c.producers[b.ProducerID()]
	return b.ProducerID() >= 0 && b.LastOffset() >= c.start && (!ok || b.LastOffset() >= last.offset)
}

// isOnly reports whether a batch that is the last of its producer is known to be
// all that is left of it.
func (c *compaction) isOnly(b Batch) bool {
	last, ok := c.producers[b.ProducerID()]
	return ok && last.offset == b.LastOffset() && !last.follows
}

// leave notes that a batch stays, unless it is nil. What measure finds of it is
// known when it comes to the batches behind.
func (c *compaction) leave(b Batch) {
	if b == nil || b.Control() || b.LastOffset() < c.start {
		return
	}
	if last, ok := c.producers[b.ProducerID()]; ok && b.LastOffset() < last.offset && !last.follows {
		last.follows = true
		c.producers[b.ProducerID()] = last
	}
}

// measure returns how many bytes of the batches of a segment will be left.
func (c *compaction) measure(s *segment) (kept int64, changed bool, err error) {
	err = c.walk(s, func(before, after Batch) error {
		changed = changed || len(after) != len(before) || after != nil && &after[0] != &before[0]
		kept += int64(len(after))
		return nil
	})
	return kept, changed, ignoreMoved(err)
}

// ignoreBad is for batches that cannot be taken apart.
func ignoreBad(err error) error {
	if errors.Is(err, ErrBadBatch) {
		return nil
	}
	return err
}

func ignoreMoved(err error) error {
	if err == errMoved {
		return nil
	}
	return err
}

// replace puts one new segment in the place of the group.
func (c *compaction) replace(group []*segment) error {
	l := c.l
	first, final := group[0], group[len(group)-1]
	id := newIdentity(first.base, time.UnixMilli(final.created))
	w, err := newRewriter(l.dir, id, l.every(), compactSuffix)
	if err != nil {
		return err
	}
	for _, s := range group {
		err := c.walk(s, func(_, after Batch) error {
			if after == nil {
				return nil
			}
			return w.add(after)
		})
		if err != nil {
			w.abandon()
			return ignoreMoved(err)
		}
	}
	l.structure.Lock()
	defer l.structure.Unlock()
	if err := l.Err(); err != nil {
		w.abandon()
		return err
	}
	return l.failed(c.swap(group, w))
}

// swap exchanges the group for what w has written. The caller holds structure.
func (c *compaction) swap(group []*segment, w *rewriter) error {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	first, final := group[0], group[len(group)-1]
	at := slices.Index(l.segments, first)
	if at < 0 || at+len(group) >= len(l.segments) || !slices.Equal(l.segments[at:at+len(group)], group) || l.cuts != c.cuts {
		w.abandon() // retention or truncation was faster
		return nil
	}
	start := int64(0)
	for _, s := range group {
		start = max(start, s.state().start)
	}
	if err := w.publish(checkpoint{next: final.state().next, start: start}, true); err != nil {
		return err
	}
	// From here on the directory has the new segment: a log that went on with the
	// old ones would leave both in it.
	fresh, err := openSegment(l.dir, w.name, l.every())
	if err != nil {
		return &unsureError{err}
	}
	first.close()
	l.segments = slices.Concat(l.segments[:at], []*segment{fresh}, l.segments[at+len(group):])
	if len(group) == 1 {
		return nil
	}
	if err := l.remove(group[1:]); err != nil {
		return &unsureError{err}
	}
	return nil
}
