package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/groupcommit"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Log is an append-only sequence of records on disk. Open one with Open.
//
//	        Start                                   Durable   End
//	          ▼                                        ▼       ▼
//	┌─────────────────┬─────────────────┬──────────────────────────── ─ ─
//	│ sealed segment  │ sealed segment  │ segment that is written
//	└─────────────────┴─────────────────┴──────────────────────────── ─ ─
//	00…00.log         00…41.log         00…87.log
//
// Invariants:
//
//   - Start ≤ Durable ≤ End.
//   - Segments are sorted; each begins where the one before says that it ends.
//   - All segments but the last are durable and sealed, except those that are
//     pending; nothing after a segment that is not durable is called so.
//   - Offsets ascend in the order of the bytes.
//
// Locks are taken in this order: structure, the lock of the committer, mu, the
// mutex of a segment.
//
// A Log is safe for concurrent use by multiple goroutines.
type Log struct {
	opts   Options
	live   atomic.Pointer[Options] // opts with what SetRetention and the like have changed
	codecs codecs
	dir    vfs.FS
	lock   io.Closer
	owns   bool // dir is to be closed

	structure  sync.Mutex // roll, truncate, delete, retain, swap of a compaction, close
	now        time.Time  // when it was locked; guarded by it
	retainFrom int64      // the same of what Options.RetainFrom said
	news       news       // for the Logger
	compacting sync.Mutex // one at a time

	committer *groupcommit.Committer
	app       appender // guarded by the committer's lock
	pending   pending  // segments that are full and not yet sealed
	ahead     vfs.Prewriter
	aheadRoom int64 // position in the file up to which ahead may write; set before each write

	mu       sync.RWMutex // readers hold it while they read the files
	segments []*segment
	cuts     int // times that offsets were given up, to be given again
	start    atomic.Int64
	written  atomic.Int64 // offset: all below can be read from the files
	durable  atomic.Int64 // offset: all below is synced
	end      atomic.Int64 // offset: all below is appended
	epoch    atomic.Int32 // leader epoch of new batches

	waiting    waiters
	writeAlarm *alarm // for what was appended and not written
	syncAlarm  *alarm // for SyncInterval
	closed     atomic.Bool
	counts     counts
}

// Open opens the log in a directory, which it creates if needed, and recovers
// what a crash has left, as the package doc says by number. Nil options mean
// the defaults. The errors are ErrLocked, a *CorruptError, ErrVersion, or one
// of the file system. The time depends on the number of segments and on what
// was written since the last checkpoint, not on the size of the log.
func Open(dir string, opts *Options) (*Log, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	set, err := newCodecs(o.Codec, o.Codecs)
	if err != nil {
		return nil, err
	}
	fs := o.FS
	if fs == nil {
		if fs, err = vfs.Dir(dir); err != nil {
			return nil, fmt.Errorf("commitlog: %w", err)
		}
	}
	l := &Log{opts: o, codecs: set, dir: fs, owns: o.FS == nil}
	l.live.Store(&l.opts)
	l.epoch.Store(-1)
	err = l.open()
	l.tell()
	if err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

const lockName = "lock"

func (l *Log) open() error {
	lock, err := lockDir(l.dir)
	if err != nil {
		return err
	}
	l.lock = lock
	if err := l.recover(); err != nil {
		return err
	}
	active := l.segments[len(l.segments)-1]
	next := l.end.Load()
	l.app.segment, l.app.next, l.app.mark = active, next, active.written.Load()
	l.app.checkpoint = l.app.mark
	l.committer = groupcommit.New((*sink)(l), groupcommit.Mark{Pos: l.app.mark, Seq: next}, &groupcommit.Options{
		Limit: l.opts.BufferBytes,
		Seal:  l.sealGroup,
		Written: func(m groupcommit.Mark) {
			l.app.segment.written.Store(m.Pos - l.app.origin)
			l.written.Store(m.Seq)
			l.waiting.wake()
		},
		Synced: func(m groupcommit.Mark) {
			l.durable.Store(m.Seq)
			l.counts.syncs.Add(1)
			l.waiting.wake()
		},
		Failed: func(error) { l.waiting.wake() },
	})
	l.writeAlarm = newAlarm(func() { l.background(l.committer.Flush) })
	l.syncAlarm = newAlarm(func() { l.background(l.committer.Commit) })
	return nil
}

func lockDir(dir vfs.FS) (io.Closer, error) {
	lock, err := dir.Lock(lockName)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("commitlog: %w", err)
	}
	return lock, nil
}

// release closes all handles.
func (l *Log) release() error {
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	if l.owns {
		errs = append(errs, l.dir.Close())
	}
	return errors.Join(errs...)
}

// Close makes all that was appended durable and closes the log. Calls that
// wait return ErrClosed. The error says if something could not be made
// durable. Closing twice is no error.
func (l *Log) Close() error {
	err := l.close()
	l.pending.done.Wait()
	return err
}

func (l *Log) close() error {
	l.restructure()
	defer l.restructured()
	if l.closed.Load() {
		return nil
	}
	// In one step: an append that finds the committer open is in what it makes
	// durable, every later one is refused.
	failed := l.poisoned(l.committer.Close())
	if failed == nil {
		l.sealPending()
	}
	l.closed.Store(true)
	l.writeAlarm.timer.Stop()
	l.syncAlarm.timer.Stop()
	l.waiting.wake()
	l.mu.Lock()
	defer l.mu.Unlock()
	if failed == nil {
		failed = l.app.segment.finish(l.end.Load())
	}
	return errors.Join(failed, l.release())
}

// finish cuts off the space that was reserved and notes what there is, so that
// the next Open need not look at the frames.
func (s *segment) finish(next int64) error {
	end := s.written.Load()
	err := s.file.Truncate(end)
	if err == nil {
		err = s.checkpoint(end, next)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("commitlog: %s: %w", s.name, err)
	}
	return nil
}

// Start returns the offset of the first record, or End if there is none.
// Compaction may have removed the record itself.
func (l *Log) Start() int64 { return l.start.Load() }

// End returns the offset that the next record will have.
func (l *Log) End() int64 { return l.end.Load() }

// Durable returns the offset up to which all records are synced.
func (l *Log) Durable() int64 { return l.durable.Load() }

// Sync returns when all that was appended before the call is durable. Calls
// that overlap share syncs, and appends go on meanwhile. If ctx has ended
// before, nothing is done; one that ends later does not end the wait, as the
// sync may be one that this call does itself and others wait for. Who must not
// wait longer calls it in a goroutine, and Log.Wait, which ends with its ctx.
func (l *Log) Sync(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	return l.poisoned(l.committer.Commit(l.committer.Appended().Pos))
}

// ready is the check at the beginning of calls that block.
func (l *Log) ready(ctx context.Context) error {
	if l.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// poisoned translates the errors of the committer.
func (l *Log) poisoned(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrClosed):
		return err
	case errors.Is(err, groupcommit.ErrClosed):
		return ErrClosed
	case l.committer.Err() == nil: // refused, and nothing has happened
		return err
	}
	return fmt.Errorf("%w: %w", ErrPoisoned, full(err))
}

// Err returns the error that appends get since a write or sync has failed, or
// ErrClosed, or nil.
func (l *Log) Err() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.poisoned(l.committer.Err())
}

// SetLeaderEpoch sets the leader epoch that batches of Append and AppendBatch
// get from now on; it is -1 after Open.
func (l *Log) SetLeaderEpoch(epoch int32) { l.epoch.Store(epoch) }

// SetRetention changes Options.RetainAge and Options.RetainBytes.
func (l *Log) SetRetention(age time.Duration, bytes int64) {
	l.change(func(o *Options) { o.RetainAge, o.RetainBytes = max(age, 0), max(bytes, 0) })
}

// SetSegments changes Options.SegmentBytes and Options.SegmentAge, for the
// next segment; values that are not positive mean the default.
func (l *Log) SetSegments(bytes int64, age time.Duration) {
	l.change(func(o *Options) {
		o.SegmentBytes = max(orDefault(max(bytes, 0), 64<<20), 2*headerSize)
		o.SegmentAge = max(age, 0)
	})
}

// SetMaxBatchBytes changes Options.MaxBatchBytes; a value that is not positive
// means the default.
func (l *Log) SetMaxBatchBytes(bytes int) {
	l.change(func(o *Options) { o.MaxBatchBytes = min(orDefault(max(bytes, 0), 4<<20), 1<<30) })
}

func (l *Log) change(set func(*Options)) {
	for {
		old := l.live.Load()
		changed := *old
		set(&changed)
		if l.live.CompareAndSwap(old, &changed) {
			return
		}
	}
}

type counts struct {
	appends, records, bytes, writes, syncs, checkpoints atomic.Uint64
}

// Stats are counts of a Log since it was opened, and its size now.
type Stats struct {
	Appends uint64 // calls that were accepted
	Records uint64
	Bytes   uint64 // written, with frames and marks
	Writes  uint64 // calls of the file system
	Syncs   uint64

	Segments int   // now
	Size     int64 // bytes of all segments now, without reserved space
}

// Sub returns what happened since earlier; Segments and Size stay.
func (s Stats) Sub(earlier Stats) Stats {
	s.Appends -= earlier.Appends
	s.Records -= earlier.Records
	s.Bytes -= earlier.Bytes
	s.Writes -= earlier.Writes
	s.Syncs -= earlier.Syncs
	return s
}

// Stats returns the counts.
func (l *Log) Stats() Stats {
	s := Stats{
		Appends: l.counts.appends.Load(), Records: l.counts.records.Load(), Bytes: l.counts.bytes.Load(),
		Writes: l.counts.writes.Load(), Syncs: l.counts.syncs.Load(),
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s.Segments = len(l.segments)
	for _, seg := range l.segments {
		s.Size += seg.size()
	}
	return s
}

// size is what the segment takes, without reserved space.
func (s *segment) size() int64 {
	return s.written.Load() + s.state().index
}
