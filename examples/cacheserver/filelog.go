package cacheserver

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// syncMode says when the log is forced to disk.
type syncMode string

// Writes survive the death of the process in every mode: they are handed to
// the operating system before they are acknowledged. The modes differ in what
// a power failure takes.
const (
	syncAlways   syncMode = "always"   // nothing: each write waits for the disk, together with those beside it
	syncInterval syncMode = "interval" // up to a second
	syncNo       syncMode = "no"       // what the operating system had not written
)

const segmentSize = 16 << 20

// fileLog is the mutation log of the server: a directory of segments, each
// named by the first sequence number in it. Whole segments are removed once
// the store has all that is in them.
type fileLog struct {
	dir  string
	mode syncMode

	mu       sync.Mutex // guards what follows; held during Append, not during a removal of files
	segments []uint64   // first seq of each, ascending; the last is written to
	file     *os.File
	size     int64
	next     uint64
	buf      []byte
	dirty    bool  // written since the last sync
	broken   error // the first failure; the end of the file is unknown from then on

	stop chan struct{}
	done sync.WaitGroup
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d.log", first) }

// openFileLog opens the log in dir/log.
func openFileLog(dir string, mode syncMode) (*fileLog, error) {
	switch mode {
	case syncAlways, syncInterval, syncNo:
	default:
		return nil, fmt.Errorf("cacheserver: unknown -sync %q: always, interval or no", mode)
	}
	l := &fileLog{dir: filepath.Join(dir, "log"), mode: mode, next: 1, stop: make(chan struct{})}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(l.dir, "*.log"))
	if err != nil {
		return nil, err
	}
	for _, name := range names { // Glob sorts
		var first uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%d.log", &first); err != nil {
			return nil, fmt.Errorf("cacheserver: %s is no segment of a log", name)
		}
		l.segments = append(l.segments, first)
	}
	if len(l.segments) == 0 {
		if err := l.rotate(); err != nil {
			return nil, err
		}
	} else if err := l.recover(); err != nil {
		return nil, err
	}
	if mode == syncInterval {
		l.done.Go(l.syncEverySecond)
	}
	return l, nil
}

// recover opens the last segment, finds the next sequence number and cuts a
// torn end off.
func (l *fileLog) recover() error {
	first := l.segments[len(l.segments)-1]
	f, err := os.OpenFile(filepath.Join(l.dir, segmentName(first)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l.file, l.next = f, first
	end, err := scanFrames(f, false, func(seq uint64, _ mutation, _, _ int64) error {
		l.next = seq + 1
		return nil
	})
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return err
	}
	l.size = end
	return nil
}

// rotate begins a segment at the next sequence number.
func (l *fileLog) rotate() error {
	f, err := os.OpenFile(filepath.Join(l.dir, segmentName(l.next)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		f.Close()
		return err
	}
	if l.file != nil {
		if err := l.file.Sync(); err != nil {
			f.Close()
			return err
		}
		l.file.Close()
	}
	l.file, l.size, l.dirty = f, 0, false
	l.segments = append(l.segments, l.next)
	return nil
}

// Append writes the mutations of all clients that wait with one write and, if
// the mode asks for it, one sync.
func (l *fileLog) Append(_ context.Context, mutations []mutation) (last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return 0, l.broken
	}
	defer func() {
		if err != nil {
			l.broken = fmt.Errorf("cacheserver: the log failed and takes nothing more until a restart: %w", err)
			err = l.broken
		}
	}()
	if l.size >= segmentSize {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	if cap(l.buf) > 4<<20 {
		l.buf = nil
	}
	l.buf = l.buf[:0]
	for i := range mutations {
		l.buf = appendFrame(l.buf, l.next+uint64(i), &mutations[i])
	}
	if _, err := l.file.Write(l.buf); err != nil {
		return 0, err
	}
	l.dirty = true
	if l.mode == syncAlways {
		if err := l.file.Sync(); err != nil {
			return 0, err
		}
		l.dirty = false
	}
	l.size += int64(len(l.buf))
	l.next += uint64(len(mutations))
	return l.next - 1, nil
}

// Replay yields everything that the segments have. They may begin before the
// last checkpoint, which does no harm.
func (l *fileLog) Replay(context.Context) iter.Seq2[cache.Record[string, value], error] {
	return func(yield func(cache.Record[string, value], error) bool) {
		next := l.segments[0]
		for i, first := range l.segments {
			var err error
			if first != next {
				err = &CorruptError{File: filepath.Join(l.dir, segmentName(first)), What: fmt.Sprintf("begins with record %d where %d belongs: a file is missing", first, next)}
			} else {
				next, err = l.replaySegment(first, i < len(l.segments)-1, yield)
			}
			if err == errStopped {
				return
			}
			if err != nil {
				yield(cache.Record[string, value]{}, err)
				return
			}
		}
	}
}

var errStopped = fmt.Errorf("stopped")

// replaySegment returns the number of the record that comes after the segment.
func (l *fileLog) replaySegment(first uint64, sealed bool, yield func(cache.Record[string, value], error) bool) (next uint64, err error) {
	f, err := os.Open(filepath.Join(l.dir, segmentName(first)))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	next = first
	_, err = scanFrames(f, sealed, func(seq uint64, m mutation, offset, _ int64) error {
		if seq != next {
			return &CorruptError{File: f.Name(), Offset: offset, What: fmt.Sprintf("record %d where %d belongs", seq, next)}
		}
		next++
		if !yield(cache.Record[string, value]{Seq: seq, Mutation: m}, nil) {
			return errStopped
		}
		return nil
	})
	return next, err
}

// Checkpoint removes the segments that the store needs no longer.
func (l *fileLog) Checkpoint(_ context.Context, seq uint64) error {
	l.mu.Lock()
	var gone []uint64
	for len(l.segments) > 1 && l.segments[1] <= seq+1 {
		gone = append(gone, l.segments[0])
		l.segments = l.segments[1:]
	}
	l.mu.Unlock()
	for _, first := range gone {
		if err := os.Remove(filepath.Join(l.dir, segmentName(first))); err != nil {
			return err
		}
	}
	return nil
}

// clear forgets everything, which the store has to have, so that no Replay
// ever yields it again.
func (l *fileLog) clear() error {
	l.mu.Lock()
	if l.broken != nil {
		defer l.mu.Unlock()
		return l.broken
	}
	var err error
	if l.size > 0 {
		err = l.rotate()
	}
	last := l.next - 1
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.Checkpoint(context.Background(), last); err != nil {
		return err
	}
	return syncDir(l.dir)
}

func (l *fileLog) syncEverySecond() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.sync()
		case <-l.stop:
			return
		}
	}
}

// sync forces what was written to disk, without holding up Append.
func (l *fileLog) sync() {
	l.mu.Lock()
	f, dirty := l.file, l.dirty && l.broken == nil
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return
	}
	if err := f.Sync(); err != nil {
		l.mu.Lock()
		// A file that rotate has closed was synced by it.
		if f == l.file && l.broken == nil {
			l.broken = fmt.Errorf("cacheserver: the log failed and takes nothing more until a restart: %w", err)
		}
		l.mu.Unlock()
	}
}

// err returns the failure that stopped the log.
func (l *fileLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *fileLog) close() error {
	close(l.stop)
	l.done.Wait()
	l.sync()
	return l.file.Close()
}
