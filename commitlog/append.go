package commitlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/groupcommit"
)

// An appender is where the next record goes. The committer's lock guards it.
//
// Positions in the committer's stream go on from segment to segment; those in
// the file are less by origin. A batch of the buffer stays open as long as
// records of further appends may join it:
//
//	buffer of the committer
//	┌───────────┬───────────┬───────────────────┐ ◄─ more records join
//	│ batch     │ batch     │ open batch        │
//	└───────────┴───────────┴───────────────────┘
//	                        ▲ open
type appender struct {
	segment    *segment
	origin     int64 // position in the stream of the segment's byte 0
	next       int64 // offset of the next record
	mark       int64 // position in the file up to which the last durable mark goes
	checkpoint int64 // the same of the last checkpoint
	capacity   int64 // size that the file may grow to; 0: not set yet
	reserved   int64 // size of the file, all of it reserved; 0: not known
	limit      int64 // position in the file up to which frames may go

	isOpen    bool  // there is an open batch
	open      int   // index of its frame in the buffer
	base      int64 // of the open batch
	baseTime  int64
	latest    int64
	openCount int32
}

const (
	checkpointEvery = 1 << 20 // bytes of synced frames

	// What is reserved of a segment of which it is not known that it fills: each
	// step costs a sync.
	firstAllocation = 64 << 10
	growth          = 4  // of what is reserved already
	framesAhead     = 16 // of the size that asks for more
)

// errNoRoom makes the caller of the committer begin another segment.
var errNoRoom = errors.New("commitlog: segment is full")

// Append adds the records, in one batch, and returns the offset of the first.
// It returns when they are as safe as Options.Sync says. If ctx has ended
// before, nothing is appended; one that ends later does not take back what has
// its place, and Append waits for the outcome.
//
// The errors are ErrBadBatch if there are no records, ErrTooLarge, ErrFull, that
// of the Codec, ErrPoisoned and ErrClosed. Only with ErrPoisoned it is not known
// whether the records of this call are there when the log is opened again; with
// the others nothing was appended.
//
// Record.Offset is ignored. Append keeps no reference to the records.
func (l *Log) Append(ctx context.Context, records ...Record) (first int64, err error) {
	if err := l.ready(ctx); err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, fmt.Errorf("%w: no records", ErrBadBatch)
	}
	size := 0
	for i := range records {
		size += records[i].fixedLen() + maxRecordOverhead
	}
	live := l.live.Load()
	if size+batchHeader > live.MaxBatchBytes {
		return 0, fmt.Errorf("%w: about %d bytes in a batch, the most is %d", ErrTooLarge, size+batchHeader, live.MaxBatchBytes)
	}
	now := l.stampFor(records)
	if l.opts.Codec != nil {
		batch, err := encodeBatch(nil, 0, 0, l.opts.Codec, records, now)
		if err == nil && len(batch) > live.MaxBatchBytes { // compression can make it larger
			err = fmt.Errorf("%w: %d bytes in a batch, the most is %d", ErrTooLarge, len(batch), live.MaxBatchBytes)
		}
		if err != nil {
			return 0, err
		}
		return l.appendBatch(batch, len(records))
	}
	mark, err := l.place(size+batchHeader, func(buf []byte, at int64) ([]byte, int64, error) {
		first = l.app.next
		return l.addRecords(buf, at, size, records, now)
	})
	if err != nil {
		return 0, err
	}
	l.count(len(records))
	return first, l.acknowledge(mark)
}

// stampFor returns the present time if one of the records needs it.
func (l *Log) stampFor(records []Record) int64 {
	for i := range records {
		if records[i].Timestamp.IsZero() {
			return millis(l.opts.Now())
		}
	}
	return 0
}

// addRecords encodes records into the open batch or a new one.
func (l *Log) addRecords(buf []byte, at int64, size int, records []Record, now int64) ([]byte, int64, error) {
	a := &l.app
	if err := a.number(len(records)); err != nil {
		return nil, 0, err
	}
	if !a.isOpen || len(buf)-a.open+size > min(l.opts.IndexBytes, l.live.Load().MaxBatchBytes) {
		if err := l.room(at, checkSize+batchHeader+size); err != nil {
			return nil, 0, err
		}
		buf = l.closeOpen(buf, at)
		a.isOpen, a.open, a.base = true, len(buf), a.next
		a.baseTime = stamp(&records[0], now)
		a.latest, a.openCount = a.baseTime, 0
		buf = append(buf, 0, 0, 0, 0)
		buf = startBatch(buf, a.base, l.epoch.Load(), a.baseTime)
	} else if err := l.room(at, size); err != nil {
		return nil, 0, err
	}
	for i := range records {
		r := &records[i]
		t := stamp(r, now)
		a.latest = max(a.latest, t)
		buf = appendRecord(buf, r, r.fixedLen(), t-a.baseTime, int64(a.openCount))
		a.openCount++
	}
	a.next += int64(len(records))
	l.end.Store(a.next)
	l.arm()
	return buf, a.next, nil
}

// number returns an error if there are not so many offsets left.
func (a *appender) number(records int) error {
	if a.next > math.MaxInt64-int64(records) {
		return fmt.Errorf("%w: %d records at offset %d", ErrTooLarge, records, a.next)
	}
	return nil
}

// closeOpen finishes the open batch, if there is one, which ends where buf
// does, at the position at of the stream.
func (l *Log) closeOpen(buf []byte, at int64) []byte {
	a := &l.app
	if !a.isOpen {
		return buf
	}
	a.isOpen = false
	frame := buf[a.open:]
	finishBatch(Batch(frame[checkSize:]), a.openCount-1, a.openCount, a.latest)
	position := at - a.origin - int64(len(frame))
	a.segment.sealFrame(frame, position)
	a.segment.note(a.base, position, a.latest)
	return buf
}

// AppendBatch adds a record batch that somebody else has encoded, which it
// checks and stores as it is but for the base offset, the leader epoch and, if
// it is not that of the records, the latest timestamp: those it changes in batch
// itself. Compressed records are not looked at; what their batch says of the
// latest timestamp is believed. It returns the offset of the first record.
// The batch must have as many offsets as records, and no delete horizon. For
// the errors see Append; if the batch is not sound it is a *BatchError, and
// nothing was appended. AppendBatch keeps no reference to batch.
func (l *Log) AppendBatch(ctx context.Context, batch []byte) (first int64, err error) {
	if err := l.ready(ctx); err != nil {
		return 0, err
	}
	b := Batch(batch)
	if most := l.live.Load().MaxBatchBytes; len(b) > most {
		return 0, fmt.Errorf("%w: batch of %d bytes, the most is %d", ErrTooLarge, len(b), most)
	}
	if len(b) >= batchHeader { // whatever the producer has counted from
		b.SetBaseOffset(0)
	}
	if err := b.Verify(); err != nil {
		return 0, err
	}
	if int64(b.Count()) != b.LastOffset()+1 {
		return 0, b.bad(fmt.Sprintf("%d records in %d offsets", b.Count(), b.LastOffset()+1))
	}
	if b.Attributes()&attrHorizon != 0 {
		return 0, b.bad("a delete horizon, which only a compaction sets")
	}
	latest, err := checkRecords(b)
	if err != nil {
		return 0, err
	}
	b.setMaxMillis(latest)
	return l.appendBatch(b, b.Count())
}

// appendBatch adds a sound batch of that many offsets.
func (l *Log) appendBatch(b Batch, records int) (first int64, err error) {
	mark, err := l.placeBatch(b, func() error {
		first = l.app.next
		if err := l.app.number(records); err != nil {
			return err
		}
		b.SetBaseOffset(first)
		b.SetLeaderEpoch(l.epoch.Load())
		return nil
	})
	if err != nil {
		return 0, err
	}
	l.count(records)
	return first, l.acknowledge(mark)
}

// placeBatch adds a batch as it is after prepare, which is called with the
// committer locked, again in each segment that is tried. A batch that would fill
// the buffer is not copied into it.
func (l *Log) placeBatch(b Batch, prepare func() error) (groupcommit.Mark, error) {
	begin := func(buf []byte, at int64) ([]byte, error) {
		if err := prepare(); err != nil {
			return nil, err
		}
		if err := l.room(at, checkSize+len(b)); err != nil {
			return nil, err
		}
		return l.closeOpen(buf, at), nil
	}
	if len(b) < l.opts.BufferBytes {
		return l.place(len(b), func(buf []byte, at int64) ([]byte, int64, error) {
			buf, err := begin(buf, at)
			if err != nil {
				return nil, 0, err
			}
			buf = l.addFrame(buf, at-l.app.origin, b, len(b))
			return buf, l.app.next, nil
		})
	}
	return l.placed(len(b), func() (groupcommit.Mark, error) {
		return l.committer.AppendLarge(func(buf []byte, at int64, durable groupcommit.Mark) ([]byte, []byte, int64, error) {
			before := at - int64(len(buf))
			buf, err := begin(buf, at)
			if err != nil {
				return nil, nil, 0, err
			}
			buf = l.addMark(buf, before, durable)
			position := before + int64(len(buf)) - l.app.origin
			head := b.head(position)
			l.aheadRoom = 0 // what comes after buf are no zeros but the tail
			buf = l.addFrame(buf, position, b, head)
			return buf, b[head:], l.app.next, nil
		})
	})
}

// head returns how many bytes of a batch in a frame at a position are written
// with what comes before it: what is written apart begins where a page of the file
// does. If it did inside of a sector, that sector could be torn by a crash although
// no single write was, and recovery would take it for damage.
func (b Batch) head(position int64) int {
	const page = 4096
	least := position + checkSize + guarded
	return min(int((least+page-1)/page*page-position-checkSize), len(b))
}

// addFrame adds the frame of a batch, for which there is room at a position of the
// file, with so many bytes of it, and notes it.
func (l *Log) addFrame(buf []byte, position int64, b Batch, bytes int) []byte {
	a := &l.app
	start := len(buf)
	buf = append(buf, 0, 0, 0, 0)
	buf = append(buf, b[:bytes]...)
	a.segment.sealFrame(buf[start:], position)
	a.segment.note(b.BaseOffset(), position, b.latestMillis())
	a.next = b.LastOffset() + 1
	l.end.Store(a.next)
	l.arm()
	return buf
}

// AppendReplica adds batches that a leader has stored, as ReadBatches returns
// them, with their offsets and epochs, whatever Options.MaxBatchBytes says.
// Each must begin at or after End; gaps stay. It returns the new End. If a
// batch is not sound the error is a *BatchError or an *OutOfRangeError, and
// those before it were appended and are as safe as Options.Sync says. For other
// errors see Append.
func (l *Log) AppendReplica(ctx context.Context, batches []byte) (end int64, err error) {
	if err := l.ready(ctx); err != nil {
		return 0, err
	}
	var last groupcommit.Mark
	for b, bad := range Batches(batches) {
		if err = bad; err != nil {
			break
		}
		var mark groupcommit.Mark
		mark, err = l.placeBatch(b, func() error {
			if b.BaseOffset() < l.app.next {
				return &OutOfRangeError{b.BaseOffset(), l.start.Load(), l.app.next}
			}
			return nil
		})
		if err != nil {
			break
		}
		last = mark
		l.count(b.Count())
	}
	if last.Pos > 0 {
		if failed := l.acknowledge(last); failed != nil {
			err = failed
		}
	}
	return l.end.Load(), err
}

func (l *Log) count(records int) {
	l.counts.appends.Add(1)
	l.counts.records.Add(uint64(records))
}

// place calls encode with the committer locked, in another segment if there is
// no room in this one.
func (l *Log) place(size int, encode func(buf []byte, at int64) ([]byte, int64, error)) (groupcommit.Mark, error) {
	return l.placed(size, func() (groupcommit.Mark, error) { return l.committer.Append(encode) })
}

// placed calls add, and again in another segment if there is no room in this one.
func (l *Log) placed(size int, add func() (groupcommit.Mark, error)) (groupcommit.Mark, error) {
	for {
		mark, err := add()
		if err == nil {
			return mark, nil
		}
		if !errors.Is(err, errNoRoom) {
			return mark, l.failed(err)
		}
		if err := l.roll(size, false); err != nil {
			return mark, err
		}
	}
}

// acknowledge waits as long as the policy says.
func (l *Log) acknowledge(mark groupcommit.Mark) error {
	var err error
	switch {
	case l.opts.Sync == SyncEach:
		err = l.committer.Commit(mark.Pos)
	case l.opts.Sync == SyncBytes && mark.Pos-l.committer.Durable().Pos >= l.opts.SyncBytes:
		err = l.committer.Commit(mark.Pos)
	case l.opts.WriteThrough || l.waiting.any():
		err = l.committer.Flush(mark.Pos)
	}
	return l.poisoned(err)
}

// An alarm calls a function some time after it was set, once.
type alarm struct {
	set   atomic.Bool
	timer *time.Timer
}

func newAlarm(ring func()) *alarm {
	a := &alarm{}
	a.timer = time.AfterFunc(time.Hour, func() {
		a.set.Store(false)
		ring()
	})
	a.timer.Stop()
	return a
}

// in sets the alarm unless it is set.
func (a *alarm) in(d time.Duration) {
	if !a.set.Load() {
		a.set.Store(true)
		a.timer.Reset(d)
	}
}

// arm sets the alarms that write and sync what no append waits for.
func (l *Log) arm() {
	if l.opts.Sync == SyncEach {
		return
	}
	if !l.opts.WriteThrough {
		l.writeAlarm.in(writeDelay)
	}
	if l.opts.Sync == SyncInterval {
		l.syncAlarm.in(l.opts.SyncInterval)
	}
}

// background does what an alarm is for.
func (l *Log) background(work func(pos int64) error) {
	if err := work(l.committer.Appended().Pos); err != nil && !l.closed.Load() {
		l.opts.Logger.Error("commitlog: background write failed", "error", err)
	}
}

// room makes sure that the segment has reserved space for size more bytes and
// for the mark and the index that may follow.
func (l *Log) room(at int64, size int) error {
	a := &l.app
	need := at - a.origin + int64(size) + markSize
	if need <= a.limit {
		return nil
	}
	if a.capacity == 0 { // first append since the log was opened
		a.capacity = max(l.live.Load().SegmentBytes, at-a.origin)
	}
	least := a.segment.sizeFor(need)
	if least > a.capacity {
		return errNoRoom
	}
	reserve := min(max(least, growth*a.reserved, framesAhead*int64(size), firstAllocation), a.capacity)
	err := a.segment.file.Allocate(reserve)
	if err != nil && least < reserve {
		reserve = least
		err = a.segment.file.Allocate(reserve)
	}
	if err != nil {
		return fmt.Errorf("commitlog: %s: %w", a.segment.name, full(err))
	}
	// The zeros must be durable before frames take their place: what a crash
	// leaves out is then zero, and damage can be told from a torn write.
	if err := a.segment.file.Sync(); err != nil {
		return &unsureError{fmt.Errorf("commitlog: %s: %w", a.segment.name, err)}
	}
	a.reserve(reserve)
	return nil
}

// An unsureError is one after which nobody knows what the disk holds: the log
// must not go on.
type unsureError struct{ error }

func (e *unsureError) Unwrap() error { return e.error }

// failed poisons the log if it cannot go on after err, which it translates. The
// committer must not be locked.
func (l *Log) failed(err error) error {
	if unsure, ok := errors.AsType[*unsureError](err); ok {
		l.committer.Poison(unsure.error)
	}
	return l.poisoned(err)
}

func (a *appender) reserve(size int64) {
	a.reserved, a.limit = size, a.segment.framesIn(size)
}

// sizeFor returns the size of a file whose frames end at a position; the index
// has an entry for every s.every bytes at most.
func (s *segment) sizeFor(end int64) int64 {
	return end + indexHeader + (max(end-headerSize, 0)/s.every+2)*entrySize
}

// framesIn is the inverse of sizeFor: where frames may end in a file.
func (s *segment) framesIn(size int64) int64 {
	n, each := size-headerSize-indexHeader-2*entrySize, s.every+entrySize
	return headerSize + n/each*s.every + n%each*s.every/each // in two parts, which cannot overflow
}

// every is the distance of the entries of an index; a frame is not smaller.
func (l *Log) every() int64 { return int64(max(l.opts.IndexBytes, frameMinimum)) }

// sealGroup is called with the committer locked when its buffer is about to be
// written: it finishes the open batch and adds a durable mark if there is news.
func (l *Log) sealGroup(buf []byte, at int64, durable groupcommit.Mark) []byte {
	buf = l.closeOpen(buf, at+int64(len(buf)))
	l.aheadRoom = l.app.limit
	return l.addMark(buf, at, durable)
}

// addMark adds a durable mark to a buffer that begins at the position at of the
// stream, if there is news.
func (l *Log) addMark(buf []byte, at int64, durable groupcommit.Mark) []byte {
	a := &l.app
	if synced := durable.Pos - a.origin; synced > a.mark {
		buf = a.segment.appendMark(buf, at+int64(len(buf))-a.origin, synced, durable.Seq)
		a.mark = synced
	}
	return buf
}

// A sink is the Log as the committer sees it.
type sink Log

// Write writes a group into the segment that is written.
func (s *sink) Write(buf []byte, at int64) error {
	l := (*Log)(s)
	a := &l.app // Rotate, which changes what is used here, does not run now
	if a.segment == nil {
		return ErrClosed
	}
	if err := l.checkpointIfDue(); err != nil {
		return err
	}
	l.counts.writes.Add(1)
	l.counts.bytes.Add(uint64(len(buf)))
	if _, err := a.segment.file.WriteAt(buf, at-a.origin); err != nil {
		return err
	}
	l.ahead.Wrote(a.segment.file, len(buf), at-a.origin+int64(len(buf)), l.aheadRoom)
	return nil
}

// checkpointIfDue writes a checkpoint when much has been synced since the last
// one, so that the next Open has little to look at.
func (l *Log) checkpointIfDue() error {
	a := &l.app
	durable := l.committer.Durable()
	synced := durable.Pos - a.origin
	if synced-a.checkpoint < checkpointEvery {
		return nil
	}
	a.checkpoint = synced
	l.counts.checkpoints.Add(1)
	return a.segment.checkpoint(synced, durable.Seq)
}

// Sync syncs the segment that is written, and before it those that were full
// before they were synced.
func (s *sink) Sync() error {
	l := (*Log)(s)
	if err := l.pending.sync(); err != nil {
		return err
	}
	if err := l.app.segment.file.Sync(); err != nil {
		return err
	}
	l.ahead.Synced()
	return nil
}
