package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A segment is one file of a log. The last one is written, the others are
// sealed: cut to size and with their index behind the frames.
type segment struct {
	identity
	name string
	dir  vfs.FS
	file vfs.File

	every   int64        // bytes between entries of the index
	written atomic.Int64 // frames before this position of the file can be read

	mu     sync.Mutex // guards what follows
	saved  checkpoint // the last that was written
	head   index      // of the frames that were there when the file was opened
	headTo int64      // the position up to which head goes
	loaded bool       // head is there
	tail   index      // of the frames that were appended since
}

// createSegment makes an empty segment durable under its name.
func createSegment(dir vfs.FS, id identity, every, allocate int64, start int64) (*segment, error) {
	s := &segment{identity: id, name: segmentName(id.base), dir: dir, every: every}
	temporary := s.name + temporarySuffix
	file, err := dir.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("commitlog: create segment: %w", full(err))
	}
	s.file = file
	err = s.begin(allocate, start)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = dir.Rename(temporary, s.name)
	}
	if err != nil {
		file.Close()
		_ = dir.Remove(temporary) // if it stays, the next Open removes it
		return nil, fmt.Errorf("commitlog: create segment: %w", full(err))
	}
	if err := dir.SyncDir(); err != nil {
		file.Close()
		return nil, &unsureError{fmt.Errorf("commitlog: create segment: %w", full(err))}
	}
	return s, nil
}

// begin writes header and first checkpoint into an empty file.
func (s *segment) begin(allocate, start int64) error {
	if err := s.file.Allocate(max(allocate, headerSize)); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(s.identity.append(nil), 0); err != nil {
		return err
	}
	first := checkpoint{position: headerSize, next: s.base, latest: minMillis, start: start}
	if err := s.writeCheckpoint(first); err != nil {
		return err
	}
	s.attach(first)
	return nil
}

// attach sets what is in memory to the state that a checkpoint describes.
func (s *segment) attach(c checkpoint) {
	s.written.Store(c.position)
	s.headTo, s.loaded = c.position, c.position == headerSize
	s.head, s.tail = newIndex(), newIndex()
	s.tail.latest = c.latest
}

// openSegment opens a file and reads header and checkpoints. If they are
// damaged beyond use, the error is a *CorruptError.
func openSegment(dir vfs.FS, name string, every int64) (*segment, error) {
	s := &segment{name: name, dir: dir, every: every}
	base, _ := parseSegmentName(name)
	file, err := dir.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("commitlog: open segment: %w", err)
	}
	s.file = file
	var b [slotB + checkpointSize]byte
	n, err := file.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		file.Close()
		return nil, fmt.Errorf("commitlog: %s: %w", name, err)
	}
	id, reason, version := parseIdentity(b[:n])
	if version > formatVersion {
		file.Close()
		return nil, fmt.Errorf("%w: %s: version %d", ErrVersion, name, version)
	}
	known := reason == ""
	found := false
	for _, slot := range [...]int{slotA, slotB} {
		c, slotID, ok := parseCheckpoint(b[min(slot, n):n])
		if !ok || known && slotID != id {
			continue
		}
		id, known = slotID, true // a damaged header is made good by a checkpoint
		if !found || c.seq > s.saved.seq {
			s.saved, found = c, true
		}
	}
	switch {
	case !known:
	case id.base != base:
		reason = fmt.Sprintf("header is of segment %d", id.base)
	case !found:
		reason = "no checkpoint can be read"
	default:
		reason = ""
	}
	if reason != "" {
		file.Close()
		return nil, &CorruptError{name, 0, base, reason}
	}
	s.identity = id
	s.attach(s.saved)
	return s, nil
}

// writeCheckpoint writes the checkpoint into the slot that does not have the
// last one. It does not sync. The caller holds s.mu or is alone.
func (s *segment) writeCheckpoint(c checkpoint) error {
	c.seq = s.saved.seq + 1
	slot := int64(slotA)
	if c.seq%2 == 0 {
		slot = slotB
	}
	if _, err := s.file.WriteAt(c.append(nil, s.identity), slot); err != nil {
		return err
	}
	s.saved = c
	return nil
}

// checkpoint writes a checkpoint for what is durable.
func (s *segment) checkpoint(position, next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.saved
	c.position, c.next, c.latest = position, next, s.tail.latest
	return s.writeCheckpoint(c)
}

// seal writes the index behind the frames, cuts the file off there, and notes
// it in the checkpoint. All frames must be durable and none may follow.
func (s *segment) seal(next int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	end := s.written.Load()
	whole := index{entries: append(s.head.entries, s.tail.entries...)}
	b := whole.append(nil, s.salt)
	if _, err := s.file.WriteAt(b, end); err != nil {
		return err
	}
	if err := s.file.Truncate(end + int64(len(b))); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	c := s.saved
	c.position, c.next, c.latest, c.index = end, next, s.tail.latest, int64(len(b))
	if err := s.writeCheckpoint(c); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.head.entries, s.headTo, s.tail.entries = whole.entries, end, nil
	return nil
}

// note adds a batch that was appended to the index.
func (s *segment) note(offset, position, latest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail.add(offset, position, latest, s.every)
}

// latestMillis returns the highest timestamp in the segment.
func (s *segment) latestMillis() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail.latest
}

// state returns the last checkpoint.
func (s *segment) state() checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

// find returns the position from which to look for an offset.
func (s *segment) find(offset int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.tail.entries; len(n) > 0 && n[0].offset <= offset {
		return s.tail.find(offset), nil
	}
	if err := s.load(); err != nil {
		return 0, err
	}
	return s.head.find(offset), nil
}

// findTime returns the position from which to look for a time.
func (s *segment) findTime(millis int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return 0, err
	}
	if n := s.tail.entries; len(n) > 0 && n[0].latest < millis {
		return s.tail.findTime(millis), nil
	}
	return s.head.findTime(millis), nil
}

// load reads the index of the frames before headTo, or makes it anew from the
// headers of the batches if it is not to be trusted. The caller holds s.mu.
func (s *segment) load() error {
	if s.loaded {
		return nil
	}
	if s.saved.sealed() {
		size, err := s.file.Size()
		if err != nil {
			return err
		}
		if s.saved.position+s.saved.index <= size {
			b := make([]byte, s.saved.index)
			if _, err := s.file.ReadAt(b, s.saved.position); err != nil {
				return fmt.Errorf("commitlog: %s: %w", s.name, err)
			}
			if x, ok := parseIndex(b, s.salt, s.saved.position); ok {
				s.head, s.loaded = x, true
				return nil
			}
		}
	}
	x := newIndex()
	sc := s.scan(headerSize, s.headTo, false)
	for {
		f, position, err := sc.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if f.reason != "" {
			break // reading will run into it and report it
		}
		if f.batch != nil {
			x.add(f.batch.BaseOffset(), position, f.batch.latestMillis(), s.every)
		}
	}
	s.head, s.loaded = x, true
	return nil
}

// corrupt makes the error for damage at a position of the segment.
func (s *segment) corrupt(position, offset int64, reason string) *CorruptError {
	return &CorruptError{s.name, position, offset, reason}
}

func (s *segment) close() error { return s.file.Close() }

const (
	temporarySuffix = ".tmp"         // of files that are made with Log.structure held
	compactSuffix   = ".compact.tmp" // of those that Compact makes without
	scanChunk       = 256 << 10
)

// A scanner walks over the frames of a segment.
type scanner struct {
	*segment
	buf      []byte // bytes of the file
	from     int64  // the position of buf[0]
	position int64  // of the next frame
	end      int64
	deep     bool // check the checksums of batches
}

// scan returns a scanner over the frames from one position to another.
func (s *segment) scan(from, end int64, deep bool) *scanner {
	return &scanner{segment: s, from: from, position: from, end: end, deep: deep}
}

// next returns the next frame and its position, or io.EOF at the end. After a
// frame with a reason it stays where it is. The bytes of the frame are good
// until the next call; if the scanner is not deep, only the header is there.
func (sc *scanner) next() (frame, int64, error) {
	if sc.position >= sc.end {
		return frame{}, sc.end, io.EOF
	}
	need := markSize
	for {
		if err := sc.fill(need); err != nil {
			return frame{}, sc.position, err
		}
		f := sc.parse(sc.buf[sc.position-sc.from:], sc.position, sc.end, sc.deep)
		if f.short > 0 {
			if f.short <= need {
				return frame{reason: "file cut off"}, sc.position, nil
			}
			need = f.short
			continue
		}
		at := sc.position
		if f.reason == "" {
			sc.position += int64(f.size)
		}
		return f, at, nil
	}
}

// fill makes at least need bytes from the position on available, fewer only at
// the end of the file.
func (sc *scanner) fill(need int) error {
	if have := sc.from + int64(len(sc.buf)); sc.position >= sc.from && sc.position+int64(need) <= have {
		return nil
	}
	size := int(min(max(int64(need), scanChunk), sc.end-sc.position))
	if cap(sc.buf) < size {
		sc.buf = make([]byte, size)
	}
	n, err := sc.file.ReadAt(sc.buf[:size], sc.position)
	if err != nil && err != io.EOF {
		return fmt.Errorf("commitlog: %s: %w", sc.name, err)
	}
	sc.buf, sc.from = sc.buf[:n], sc.position
	return nil
}

// full adds ErrFull to errors that mean it.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// minMillis is before all timestamps.
const minMillis = -1 << 63

// age is the time since a segment was created.
func (s *segment) age(now time.Time) time.Duration { return now.Sub(time.UnixMilli(s.created)) }
