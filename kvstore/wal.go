package kvstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ashlar-go/ashlar/internal/groupcommit"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A wal is the log: a stream of records, cut into segments. Its positions are
// LSNs. Appending and rotating are for one goroutine at a time.
//
//	          full, synced       full, not yet        active
//	stream   ├──────────────────┼─────────────┼────────────┄┄┄┄┄┄│ allocated
//	                      ▲ durable      ▲ written   ▲ appended
//
// The space of what is appended is allocated before, so that writing it later
// cannot fail for want of it.
type wal struct {
	fs      vfs.FS
	pins    *pins                  // what is written or synced is not closed
	limit   func() int64           // bytes of the next segment
	newSlot func(g *segment) error // gives a segment its number
	giveUp  func(g *segment)       // takes back the slot of one that could not be made
	rotated func(g *segment)
	grown   func() // after more space was allocated
	gc      *groupcommit.Committer
	active  *segment
	end     int64 // LSN of what is appended next
	marked  int64 // durable LSN in the last mark

	durable atomic.Int64

	mu       sync.Mutex
	unsynced []*segment // ascending, the last is the active one
	dirty    bool       // a segment was created since the directory was synced

	taken   []byte // buffer that is being written; the Committer's lock
	takenAt int64

	ahead vfs.Prewriter
}

// Space is allocated in steps: small at first, so that an empty store is small.
const (
	firstStep = 16 << 10
	largeStep = 4 << 20
	// reserve is what writes other than deletes leave of the space that is
	// allocated, so that deletes find some when the disk is full.
	reserveBytes = 16 << 10
)

// start begins to append at the end of the active segment.
func (w *wal) start(unsynced []*segment) {
	w.unsynced = unsynced
	w.active = unsynced[len(unsynced)-1]
	w.end = w.active.lsn(w.active.written.Load())
	w.marked = w.end
	w.durable.Store(w.end)
	at := groupcommit.Mark{Pos: w.end}
	w.gc = groupcommit.New(walSink{w}, at, &groupcommit.Options{
		Limit: bufferLimit,
		Seal: func(buf []byte, at int64, _ groupcommit.Mark) []byte {
			w.taken, w.takenAt = buf, at
			return buf
		},
		Written: func(groupcommit.Mark) { w.taken = nil },
		Synced:  func(m groupcommit.Mark) { w.durable.Store(m.Pos) },
	})
}

// makeRoom sees to it that n bytes can be appended, in a new segment if the
// active one is full.
func (w *wal) makeRoom(n int64, spare int64) error {
	g := w.active
	at := g.offset(w.end)
	limit := w.limit()
	if at+n > limit && at > headerBytes || at+n > 1<<32-1 {
		if err := w.rotate(n); err == nil {
			g, at = w.active, headerBytes
		} else if !errors.Is(err, ErrFull) || at+n+spare > min(g.room.Load(), 1<<32-1) {
			return err // else the reserve of this one is there for what is left of the disk
		}
	}
	need := at + n + spare
	if need <= g.room.Load() {
		return nil
	}
	had := g.room.Load()
	room := max(need, min(had+min(max(had, firstStep), largeStep), limit))
	err := g.file.Allocate(room)
	if err != nil && room > need { // the last of the disk
		room = need
		err = g.file.Allocate(room)
	}
	if err != nil {
		return full(g.name(), err)
	}
	g.room.Store(room)
	w.grown()
	return nil
}

// full turns the error of an allocation into what callers see.
func full(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s: %w", ErrFull, name, err)
	}
	return fmt.Errorf("kvstore: %s: %w", name, err)
}

// create makes the file of a log segment with room for n bytes of records.
func createLog(dir vfs.FS, g *segment, n int64) error {
	f, err := dir.OpenFile(g.name(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return full(g.name(), err)
	}
	g.room.Store(headerBytes + n + reserveBytes)
	if err = f.Allocate(g.room.Load()); err == nil {
		_, err = f.WriteAt(g.header(), 0)
	}
	if err != nil {
		return full(g.name(), errors.Join(err, f.Close(), ignoreMissing(dir.Remove(g.name()))))
	}
	g.file = f
	g.written.Store(headerBytes)
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// nextSalt returns the salt of the log segment id, which follows one with a
// salt. It is known without the header, so that a damaged header does not keep
// recovery from seeing what was durable.
func nextSalt(salt, id uint64) uint64 { return (salt ^ id) * 0xd6e8feb86659fd93 }

// rotate ends the active segment and begins the next.
func (w *wal) rotate(n int64) error {
	old := w.active
	size := old.offset(w.end)
	g := &segment{kind: logSegment, base: w.end, prevID: old.id, prevSize: size, noMap: old.noMap}
	if err := w.newSlot(g); err != nil {
		return err
	}
	g.salt = nextSalt(old.salt, g.id)
	if err := createLog(w.fs, g, n); err != nil {
		w.giveUp(g)
		return err
	}
	w.mu.Lock()
	old.end.Store(size)
	w.unsynced = append(w.unsynced, g)
	w.dirty = true
	w.mu.Unlock()
	w.active = g
	w.rotated(g)
	return nil
}

// append adds records with unmasked checksums, which begin at the positions
// starts in buf, for which makeRoom has made room. It returns the LSN of the
// first and of the end.
func (w *wal) append(buf []byte, starts []int) (first, end int64, err error) {
	g := w.active
	first = w.end
	marked := w.marked
	mark, err := w.gc.Append(func(open []byte, at int64) ([]byte, int64, error) {
		if durable := w.durable.Load(); durable != w.marked {
			open = appendMark(open, durable, g.salt, g.offset(first))
			first += markBytes
			marked = durable
		}
		base := len(open)
		open = append(open, buf...)
		for _, s := range starts {
			remask(open[base+s:], g.salt, g.offset(first+int64(s)))
		}
		return open, 0, nil
	})
	if err != nil {
		return 0, 0, failed(err)
	}
	w.end, w.marked = mark.Pos, marked
	return first, mark.Pos, nil
}

// failed turns the error of the committer into what callers see.
func failed(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, groupcommit.ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// wait returns when the log has what d promises, up to an LSN.
func (w *wal) wait(end int64, d Durability) error {
	switch d {
	case Synced:
		return failed(w.gc.Commit(end))
	case Written:
		return failed(w.gc.Flush(end))
	}
	return nil
}

// tail copies n bytes from an LSN that are not written yet to dst. If they
// have been written meanwhile, ok is false.
func (w *wal) tail(dst []byte, lsn int64, n int) (_ []byte, ok bool) {
	w.gc.Buffered(func(open []byte, at int64) {
		if lsn < at {
			open, at = w.taken, w.takenAt
		}
		if skip := lsn - at; skip >= 0 && skip+int64(n) <= int64(len(open)) {
			dst = append(dst[:0], open[skip:skip+int64(n)]...)
			ok = true
		}
	})
	return dst, ok
}

// A walSink writes the stream to the files.
type walSink struct{ w *wal }

// Write writes what belongs to each segment to its file.
func (s walSink) Write(buf []byte, at int64) error {
	w := s.w
	defer w.pins.enter().leave()
	w.mu.Lock()
	segments := w.unsynced
	w.mu.Unlock()
	for _, g := range segments {
		if end := g.end.Load(); end != 0 && at >= g.lsn(end) {
			continue
		}
		n := int64(len(buf))
		if end := g.end.Load(); end != 0 {
			n = min(n, g.lsn(end)-at)
		}
		if n == 0 {
			break
		}
		if _, err := g.file.WriteAt(buf[:n], g.offset(at)); err != nil {
			return fmt.Errorf("%s: %w", g.name(), err)
		}
		if g.end.Load() == 0 { // else somebody waits to cut it there
			w.ahead.Wrote(g.file, int(n), g.offset(at+n), g.room.Load())
		}
		g.written.Store(g.offset(at + n))
		g.mapWritten()
		buf, at = buf[n:], at+n
	}
	return nil
}

// mapWritten maps the file again when much was written that is not mapped.
func (g *segment) mapWritten() {
	mapped := int64(0)
	if view := g.view.Load(); view != nil {
		mapped = int64(len(*view))
	}
	if g.written.Load()-mapped > max(64<<10, mapped/4) {
		g.remap()
	}
}

// Sync makes all that is written durable.
func (s walSink) Sync() error {
	w := s.w
	defer w.pins.enter().leave()
	w.mu.Lock()
	segments := w.unsynced
	done := 0
	for _, g := range segments {
		if end := g.end.Load(); end == 0 || g.written.Load() < end {
			break
		}
		done++
	}
	dirty := w.dirty
	w.dirty = false
	w.mu.Unlock()
	for _, g := range segments {
		if err := g.file.Sync(); err != nil {
			return fmt.Errorf("%s: sync: %w", g.name(), err)
		}
		g.synced.Store(true)
	}
	if dirty {
		if err := w.fs.SyncDir(); err != nil {
			return fmt.Errorf("sync of the directory: %w", err)
		}
	}
	w.ahead.Synced()
	for _, g := range segments[:done] {
		w.forget(g)
	}
	return nil
}

// keepHeader makes the header of a log segment durable, before the manifest
// names it.
func (w *wal) keepHeader(g *segment) error {
	if g.synced.Load() {
		return nil
	}
	if err := w.gc.Err(); err != nil && !errors.Is(err, groupcommit.ErrClosed) { // a sync that fails is never tried again
		return failed(err)
	}
	if err := g.file.Sync(); err != nil {
		err = fmt.Errorf("%s: sync: %w", g.name(), err)
		w.gc.Poison(err)
		return failed(err)
	}
	g.synced.Store(true)
	return nil
}

// forget takes a segment that is full and durable off the list.
func (w *wal) forget(g *segment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsynced = slices.DeleteFunc(slices.Clone(w.unsynced), func(other *segment) bool { return other == g })
}

// findMark looks for a mark in b, which begins at an offset of a segment, that
// says that more than lsn was durable.
func findMark(b []byte, salt uint64, offset, lsn int64) bool {
	for at := 0; at+markBytes <= len(b); at++ {
		if b[at+crcBytes] != kindMark || int64(binary.LittleEndian.Uint64(b[at+crcBytes+1:])) <= lsn {
			continue
		}
		if _, ok := parseMark(b[at:], salt, offset+int64(at)); ok {
			return true
		}
	}
	return false
}
