package commitlog

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/internal/groupcommit"
)

// roll begins a new segment that has room for a batch of size bytes, unless
// another goroutine has done so; if force is set, also if there is room.
func (l *Log) roll(size int, force bool) error {
	l.restructure()
	defer l.restructured()
	return l.rollLocked(size, force)
}

func (l *Log) rollLocked(size int, force bool) error {
	var old *segment
	var oldEnd groupcommit.Mark
	err := l.committer.RotateWritten(func(end groupcommit.Mark) error {
		a := &l.app
		if !force {
			if err := l.room(end.Pos, checkSize+size); !errors.Is(err, errNoRoom) {
				return err // nil: another goroutine was faster
			}
		}
		least := a.segment.sizeFor(int64(headerSize + checkSize + size + markSize))
		capacity := max(l.live.Load().SegmentBytes, least)
		if end.Pos-a.origin == headerSize { // nothing in it
			a.capacity = capacity
			return nil
		}
		fresh, reserved, err := l.freshSegment(a.next, least, capacity, force)
		if err != nil {
			return err
		}
		old, oldEnd = a.segment, end
		l.pending.add(old, l.durable.Load() == end.Seq)
		*a = appender{segment: fresh, next: a.next, origin: end.Pos - headerSize, mark: headerSize, checkpoint: headerSize, capacity: capacity}
		a.reserve(reserved)
		l.mu.Lock()
		l.segments = append(l.segments, fresh)
		l.mu.Unlock()
		return nil
	})
	if err != nil || old == nil {
		return l.failed(err)
	}
	if l.opts.Sync != SyncEach {
		l.sealLater()
		return nil
	}
	// Its last records may not be synced yet; other appends go on meanwhile.
	if err := l.committer.Commit(oldEnd.Pos); err != nil {
		return l.poisoned(err)
	}
	l.sealPending()
	return nil
}

// freshSegment makes a segment for the records from base on, with all of its
// space reserved if the log fills segments, else as much as needed.
func (l *Log) freshSegment(base, least, capacity int64, small bool) (s *segment, reserved int64, err error) {
	least = min(max(least, firstAllocation), capacity)
	reserved = capacity
	if small {
		reserved = least
	}
	for {
		s, err = createSegment(l.dir, newIdentity(base, l.now), l.every(), reserved, 0)
		if err == nil || !errors.Is(err, ErrFull) || reserved == least {
			return s, reserved, err
		}
		reserved = least
	}
}

// A pending is the segments that are full and not yet sealed, the oldest
// first. They may not be synced; then nothing after them is durable.
type pending struct {
	syncing sync.Mutex // held while one of them is synced; taken before mu
	failed  error      // the error of a sync; guarded by syncing

	mu       sync.Mutex // guards what follows
	segments []pendingSegment
	running  bool           // a goroutine seals them
	done     sync.WaitGroup // for that goroutine
}

type pendingSegment struct {
	*segment
	synced bool
}

func (p *pending) add(s *segment, synced bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = append(p.segments, pendingSegment{s, synced})
}

// firstUnsynced returns the oldest segment that is not synced, or nil.
func (p *pending) firstUnsynced() *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.segments {
		if !s.synced {
			return s.segment
		}
	}
	return nil
}

// syncOne syncs the oldest segment that is not. It returns false if there is
// none. After an error there is never another try, by whomever: it might
// succeed and would mean nothing.
func (p *pending) syncOne() (bool, error) {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	s := p.firstUnsynced()
	if s == nil || p.failed != nil {
		return false, p.failed
	}
	if p.failed = s.file.Sync(); p.failed != nil {
		return false, p.failed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.segments {
		if p.segments[i].segment == s {
			p.segments[i].synced = true
		}
	}
	return true, nil
}

// sync syncs those that are not, the oldest first.
func (p *pending) sync() error {
	for {
		if more, err := p.syncOne(); !more {
			return err
		}
	}
}

// takeSynced takes the oldest segment out if it is synced, else it returns nil.
func (p *pending) takeSynced() *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.segments) == 0 || !p.segments[0].synced {
		return nil
	}
	s := p.segments[0].segment
	p.segments = slices.Delete(p.segments, 0, 1)
	return s
}

// drop forgets segments that are removed.
func (p *pending) drop(gone []*segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments = slices.DeleteFunc(p.segments, func(s pendingSegment) bool { return slices.Contains(gone, s.segment) })
}

// sealPending seals what is synced and applies the retention. The caller holds
// structure.
func (l *Log) sealPending() {
	for s := l.pending.takeSynced(); s != nil; s = l.pending.takeSynced() {
		l.mu.RLock()
		i := slices.Index(l.segments, s)
		next := l.segments[i+1].base
		l.mu.RUnlock()
		if err := s.seal(next); err != nil {
			// All records are safe; the next Open seals the segment.
			l.say(slog.LevelWarn, "commitlog: segment could not be sealed", "segment", s.name, "error", err)
		}
	}
	if err := l.retainLocked(); err != nil {
		l.say(slog.LevelWarn, "commitlog: old segments could not be removed", "error", err)
	}
}

// sealLater syncs and seals what is pending in a goroutine that ends when
// nothing is left, so that appends which do not wait for syncs do not wait for
// this one either.
func (l *Log) sealLater() {
	p := &l.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return
	}
	p.running = true
	p.done.Go(func() {
		for l.sealNext() {
		}
	})
}

// sealNext syncs the oldest segment, and seals it with the structure locked. It
// returns false if nothing is left to do.
func (l *Log) sealNext() bool {
	p := &l.pending
	_, err := p.syncOne()
	now := time.Time{}
	if l.live.Load().RetainAge > 0 { // all that the time is for
		now = l.opts.Now()
	}
	from := l.askRetainFrom()
	l.structure.Lock()
	l.now, l.retainFrom = now, from
	defer l.restructured()
	if err != nil {
		if !l.closed.Load() {
			l.committer.Poison(err)
			l.say(slog.LevelError, "commitlog: background sync failed", "error", err)
		}
		p.stop()
		return false
	}
	if l.closed.Load() {
		p.stop()
		return false
	}
	l.sealPending()
	return !p.stopIfEmpty()
}

func (p *pending) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
}

func (p *pending) stopIfEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = len(p.segments) > 0
	return !p.running
}
