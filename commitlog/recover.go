package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// recover brings the directory into the state that the package doc calls
// whole, opens the segments, and sets start, written, durable and end. The
// numbers are those of the cases in the package doc.
func (l *Log) recover() error {
	names, err := l.dir.List()
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	// A process that was killed may have created, renamed or removed what is
	// seen here, and a power loss could still undo it.
	if err := l.dir.SyncDir(); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	var intent string
	for _, name := range names {
		switch _, isSegment := parseSegmentName(name); {
		case isSegment:
			s, err := openSegment(l.dir, name, l.every())
			if err != nil {
				return err // 10
			}
			l.segments = append(l.segments, s)
		case isTemporary(name): // 2
			if err := l.dir.Remove(name); err != nil {
				return fmt.Errorf("commitlog: %w", err)
			}
		case strings.HasPrefix(name, intentPrefix) && !strings.HasSuffix(name, asideSuffix):
			intent = name
		}
	}
	if len(l.segments) == 0 { // 1
		s, err := createSegment(l.dir, newIdentity(0, l.opts.Now()), l.every(), 0, 0)
		if err != nil {
			return err
		}
		l.segments = append(l.segments, s)
	}
	if err := l.dropDeleted(); err != nil {
		return err
	}
	if intent != "" { // 5
		if err := l.redoTruncate(intent); err != nil {
			return err
		}
	}
	if err := l.checkChain(); err != nil {
		return err
	}
	last := l.segments[len(l.segments)-1]
	next, err := last.recoverTail(l)
	if err != nil {
		return err
	}
	start := l.segments[0].base
	for _, s := range l.segments {
		start = max(start, s.saved.start)
	}
	l.start.Store(min(start, next))
	l.end.Store(next)
	l.written.Store(next)
	l.durable.Store(next)
	return nil
}

// isTemporary reports whether a file is one of a log that is not finished, and
// not somebody else's.
func isTemporary(name string) bool {
	final, ok := strings.CutSuffix(name, compactSuffix)
	if !ok {
		final, ok = strings.CutSuffix(name, temporarySuffix)
	}
	_, isSegment := parseSegmentName(final)
	return ok && (isSegment || strings.HasPrefix(final, intentPrefix))
}

// dropDeleted removes segments that retention had given up (3) and those that
// a compaction has merged into the one before (4).
func (l *Log) dropDeleted() error {
	start := int64(0)
	for i, s := range l.segments {
		if s.saved.start > s.base || i > 0 && s.saved.start > start { // a process that was killed may not have synced it
			if err := s.writeBoth(s.saved); err != nil {
				return fmt.Errorf("commitlog: %s: %w", s.name, err)
			}
		}
		start = max(start, s.saved.start)
	}
	var drop []*segment
	var keep []*segment
	for i, s := range l.segments {
		deleted := i+1 < len(l.segments) && l.segments[i+1].base <= start
		merged := false
		if len(keep) > 0 {
			before := keep[len(keep)-1].saved
			merged = before.sealed() && s.saved.sealed() && s.base < before.next && s.saved.next <= before.next
		}
		if deleted || merged {
			drop = append(drop, s)
		} else {
			keep = append(keep, s)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	// It may be in one that goes, or in this one and, by a process that was
	// killed here, not synced.
	first := keep[0]
	c := first.saved
	c.start = start
	if err := first.writeBoth(c); err != nil {
		return fmt.Errorf("commitlog: %s: %w", first.name, err)
	}
	l.segments = keep
	return l.remove(drop)
}

// remove closes and removes segments.
func (l *Log) remove(segments []*segment) error {
	l.pending.drop(segments)
	for _, s := range segments {
		s.close()
	}
	for _, s := range segments {
		if err := l.dir.Remove(s.name); err != nil {
			return fmt.Errorf("commitlog: %w", err)
		}
		l.say(slog.LevelInfo, "commitlog: segment removed", "segment", s.name)
	}
	if err := l.dir.SyncDir(); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	return nil
}

// checkChain checks that each segment begins where the one before ends, and
// that the last is not sealed.
func (l *Log) checkChain() error {
	if first := l.segments[0]; first.saved.start < first.base { // 11
		return &CorruptError{segmentName(first.saved.start), 0, first.saved.start,
			fmt.Sprintf("segment with the offsets up to %d is missing", first.base)}
	}
	for i, s := range l.segments {
		if i+1 == len(l.segments) {
			if s.saved.sealed() { // 11
				return &CorruptError{segmentName(s.saved.next), 0, s.saved.next, "segment is missing"}
			}
			return nil
		}
		following := l.segments[i+1].base
		if !s.saved.sealed() { // 6
			torn, err := s.finishSeal(following, l.segments[i+1:])
			if err != nil {
				return err
			}
			if torn {
				dropped := l.segments[i+1:]
				l.segments = l.segments[:i+1]
				return l.remove(dropped)
			}
		}
		size, err := s.file.Size()
		if err != nil {
			return fmt.Errorf("commitlog: %w", err)
		}
		switch {
		case s.saved.next < following: // 11
			return &CorruptError{segmentName(s.saved.next), 0, s.saved.next,
				fmt.Sprintf("segment with the offsets up to %d is missing", following)}
		case s.saved.next > following: // 11
			return s.corrupt(0, following, fmt.Sprintf("segment goes up to offset %d, the next begins with %d", s.saved.next, following))
		case size < s.saved.position: // 9
			return s.corrupt(size, s.base, fmt.Sprintf("file cut off, %d bytes are durable", s.saved.position))
		}
	}
	return nil
}

// finishSeal seals a segment that was full when the process ended. It may not
// have been synced: then torn is true, if nothing says that it was, and
// the later ones are not to be kept.
func (s *segment) finishSeal(following int64, later []*segment) (torn bool, err error) {
	t, err := s.scanTail()
	if err != nil {
		return false, err
	}
	if t.next == following {
		s.adopt(t)
		if err := s.settle(following); err != nil {
			return false, fmt.Errorf("commitlog: %s: %w", s.name, err)
		}
		if err := s.seal(following); err != nil {
			return false, fmt.Errorf("commitlog: %s: %w", s.name, err)
		}
		return false, nil
	}
	if t.reason != "" {
		if err := s.judge(t); err != nil {
			return false, err
		}
	} else {
		t.reason = "records are missing"
	}
	for _, n := range later {
		durable, err := n.saysDurable()
		if err != nil {
			return false, err
		}
		if durable {
			return false, s.corrupt(t.position, t.next, t.reason)
		}
	}
	return true, nil
}

// saysDurable reports whether a checkpoint or a mark says that frames of the
// segment were durable, and with them all segments before.
func (s *segment) saysDurable() (bool, error) {
	if s.saved.position > headerSize || s.saved.sealed() {
		return true, nil
	}
	size, err := s.file.Size()
	if err != nil || size <= headerSize {
		return false, err
	}
	b := make([]byte, size-headerSize)
	n, err := s.file.ReadAt(b, headerSize)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("commitlog: %s: %w", s.name, err)
	}
	_, durable := s.search(b[:n], headerSize, size, 0)
	return durable > headerSize, nil
}

// adopt makes the end of a scan the end of the segment.
func (s *segment) adopt(t tail) {
	s.written.Store(t.position)
	s.headTo, s.loaded = t.position, t.position == headerSize
	s.tail.latest = t.latest
}

// A tail is what lies behind the last checkpoint of a segment.
type tail struct {
	position int64  // the end of the frames that are good
	next     int64  // the offset after them
	latest   int64  // the highest timestamp
	size     int64  // of the file
	reason   string // why the frame at position is not good; "" if there is none
}

// recoverTail finds the end of the segment that was written when the process
// ended, cuts off what is behind it, and returns the next offset.
func (s *segment) recoverTail(l *Log) (next int64, err error) {
	size, err := s.file.Size()
	if err != nil {
		return 0, fmt.Errorf("commitlog: %w", err)
	}
	if size < s.saved.position { // 9
		return 0, s.corrupt(size, s.saved.next, fmt.Sprintf("file cut off, %d bytes are durable", s.saved.position))
	}
	if size == s.saved.position { // 0
		return s.saved.next, nil
	}
	t, err := s.scanTail() // 7
	if err != nil {
		return 0, err
	}
	if t.reason != "" {
		if err := s.judge(t); err != nil { // 8 or 12
			return 0, err
		}
		l.say(slog.LevelWarn, "commitlog: torn tail cut off", "segment", s.name, "position", t.position, "offset", t.next, "reason", t.reason)
		kept, err := s.copyUpTo(t.position, t.next, nil)
		if err != nil {
			return 0, err
		}
		fresh, err := kept.reopen(s.every)
		if err != nil {
			return 0, err
		}
		s.close()
		l.segments[len(l.segments)-1] = fresh
		return t.next, nil
	}
	s.adopt(t)
	if err := s.settle(t.next); err != nil {
		return 0, fmt.Errorf("commitlog: %s: %w", s.name, err)
	}
	return t.next, nil
}

// settle makes what was found behind the checkpoint durable, and nothing else
// follow it. The process that has written it may have been killed before its
// sync, or the sync may have failed: then the system has the bytes in memory
// and thinks that the disk has them, and only a new write makes it try again.
func (s *segment) settle(next int64) error {
	end := s.written.Load()
	if err := s.file.Truncate(end); err != nil {
		return err
	}
	buf := make([]byte, min(scanChunk, end-s.saved.position))
	for at := s.saved.position; at < end; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), end-at)]
		if _, err := s.file.ReadAt(buf, at); err != nil && err != io.EOF {
			return err
		}
		if _, err := s.file.WriteAt(buf, at); err != nil {
			return err
		}
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	return s.checkpoint(end, next)
}

// scanTail reads the frames behind the last checkpoint.
func (s *segment) scanTail() (tail, error) {
	size, err := s.file.Size()
	if err != nil {
		return tail{}, fmt.Errorf("commitlog: %w", err)
	}
	t := tail{position: s.saved.position, next: s.saved.next, latest: s.saved.latest, size: size}
	sc := s.scan(t.position, size, true)
	for {
		f, _, err := sc.next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		if b := f.batch; f.reason == "" && b != nil {
			if b.BaseOffset() < t.next {
				f.reason = fmt.Sprintf("offset %d after %d", b.BaseOffset(), t.next-1)
			} else {
				t.next = b.LastOffset() + 1
				t.latest = max(t.latest, b.latestMillis())
			}
		}
		if f.reason != "" {
			zero, err := s.zeroFrom(t.position, size)
			if !zero {
				t.reason = f.reason
			}
			return t, err
		}
		t.position = sc.position
	}
}

// zeroFrom reports whether there are only zeros in a range: reserved space.
func (s *segment) zeroFrom(from, to int64) (bool, error) {
	buf := make([]byte, scanChunk)
	for from < to {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("commitlog: %s: %w", s.name, err)
		}
		if !allZero(buf[:n]) {
			return false, nil
		}
		if n == 0 {
			return true, nil
		}
		from += int64(n)
	}
	return true, nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// judge decides whether the frame at the end of t is the torn tail of a write
// that nobody was told of, nil, or damage to what was durable. Damage it is
//
//   - if a mark anywhere behind it says that it was durable, or
//   - if good batches follow and the bytes before them are all there: a disk
//     that loses power leaves out whole sectors, which are zero here because
//     the space was reserved.
func (s *segment) judge(t tail) error {
	b := make([]byte, t.size-t.position)
	n, err := s.file.ReadAt(b, t.position)
	if err != nil && err != io.EOF {
		return fmt.Errorf("commitlog: %s: %w", s.name, err)
	}
	b = b[:n]
	firstGood, durable := s.search(b[1:], t.position+1, t.size, t.next)
	if firstGood >= 0 {
		firstGood++
	}
	if durable > t.position || firstGood >= 0 && !missesSector(b[:firstGood], t.position) {
		return s.corrupt(t.position, t.next, t.reason)
	}
	return nil
}

// search looks at every byte of b, which lies at the position, for good frames.
// It returns where the first batch begins that has the offset next or a later
// one, -1 if none has, and the highest position that a mark calls durable.
func (s *segment) search(b []byte, position, limit, next int64) (firstGood int, durable int64) {
	firstGood = -1
	for at := 0; at < len(b); {
		at += candidate(b[at:])
		f := s.parse(b[at:], position+int64(at), limit, true)
		if f.reason != "" || f.short > 0 {
			at++
			continue
		}
		durable = max(durable, f.durable)
		if firstGood < 0 && f.batch != nil && f.batch.BaseOffset() >= next {
			firstGood = at
		}
		at += f.size
	}
	return firstGood, durable
}

// candidate returns the distance to the first byte where a frame can begin.
func candidate(b []byte) int {
	for i := 0; i+markSize <= len(b); i++ {
		switch first := b[i+checkSize]; {
		case first == 0xff:
			return i
		case first == 0 && i+checkSize+16 < len(b) && b[i+checkSize+16] == batchMagic:
			return i
		}
	}
	return len(b)
}

// missesSector reports whether one of the sectors, or the part of one that is
// in b, is zero. The first byte of b has the position in the file.
func missesSector(b []byte, position int64) bool {
	for len(b) > 0 {
		n := min(sectorSize-int(position%sectorSize), len(b))
		if allZero(b[:n]) {
			return true
		}
		b, position = b[n:], position+int64(n)
	}
	return false
}
