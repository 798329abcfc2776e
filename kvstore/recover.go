package kvstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Open opens the store in a directory, which is created if it is missing. An empty
// name is an error.
//
// After a crash it drops what was not durable from the end of the log, from the
// first record that is not whole. If that would drop something that was durable,
// it fails with a [*CorruptError] and changes nothing; see [Repair].
func Open(dir string, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	known, err := newCodecs(&o)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, path: dir, fs: o.FS, codecs: known, dir: newTree()}
	s.keeper.stop = make(chan struct{})
	s.keeper.changed.L = &s.keeper.mu
	s.slots.Store(&[]*segment{})
	s.cache = newBlockCache(o.CacheBytes)
	if s.fs == nil {
		if s.fs, err = openFS(dir); err != nil {
			return nil, fmt.Errorf("kvstore: %w", err)
		}
	} else {
		s.path = ""
	}
	if s.lock, err = s.fs.Lock(lockName); err != nil {
		return nil, errors.Join(lockError(err), s.closeFS())
	}
	r := recovery{s: s}
	if err := r.run(); err != nil {
		return nil, errors.Join(err, r.undo(), s.lock.Close(), s.closeFS())
	}
	s.loadBallast()
	s.expectGarbage()
	if len(r.logs) > 1 || !s.opts.ManualMerge && len(s.victims()) > 0 {
		s.wake()
	}
	return s, nil
}

// lockError turns the error of locking into what callers see.
func lockError(err error) error {
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return fmt.Errorf("kvstore: %w", err)
}

// openFS opens a directory. The empty name is more often a setting that was
// forgotten than the current directory, which is ".".
func openFS(dir string) (vfs.FS, error) {
	if dir == "" {
		return nil, errors.New("the name of the directory is empty")
	}
	return vfs.Dir(dir)
}

// closeFS closes the directory if Open has opened it.
func (s *Store) closeFS() error {
	if s.opts.FS == nil {
		return s.fs.Close()
	}
	return nil
}

// A recovery opens what is on the disk.
type recovery struct {
	s       *Store
	m       *manifest
	names   []string
	sealed  []*segment
	logs    []*segment // in their order
	extra   []*segment // log segments after the end of the log
	scans   []scanned
	durable int64         // every LSN below is on the disk, according to manifest and marks
	stop    *CorruptError // why the last of logs ends where it does
	damaged *CorruptError // why the file after it does not continue it
	all     []*segment    // opened
}

// scanned are the records of a log segment that no hint covers.
type scanned struct {
	g    *segment
	from int64
	to   int64
}

func (r *recovery) undo() error {
	var err error
	for _, g := range r.all {
		if g.hint != nil {
			err = errors.Join(err, g.hint.close())
		}
		err = errors.Join(err, g.close())
	}
	return err
}

func (r *recovery) run() error {
	var err error
	s := r.s
	if r.names, err = s.fs.List(); err != nil {
		return fmt.Errorf("kvstore: %w", err)
	}
	r.m, err = loadManifest(s.fs)
	if errors.Is(err, fs.ErrNotExist) {
		return r.create()
	}
	if err != nil {
		return err
	}
	s.nextID = r.m.next
	r.durable = r.m.durable
	if err := r.openSealed(); err != nil {
		return err
	}
	if err := r.openLogs(); err != nil {
		return err
	}
	if err := r.cutLog(); err != nil {
		return err
	}
	if err := r.removeLeftovers(); err != nil {
		return err
	}
	return r.finish()
}

// create makes a new store, if there is none that has lost its manifest.
func (r *recovery) create() error {
	s := r.s
	for _, name := range r.names {
		id, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		lost := &CorruptError{File: manifestName, Offset: -1, Reason: "is missing, but there are segments"}
		if id != 1 || suffix != "log" {
			return lost
		}
		// The first segment is written before the manifest. As long as there is
		// no manifest, there is nothing in it.
		g := &segment{id: id, kind: logSegment, noMap: true}
		empty, err := g.isEmpty(s.fs)
		if err != nil {
			return err
		}
		if !empty {
			return lost
		}
	}
	s.nextID = 1
	g := &segment{kind: logSegment, base: 1, salt: newSalt(), noMap: s.opts.NoMap}
	if err := s.newLog(g); err != nil {
		return err
	}
	if err := createLog(s.fs, g, 0); err != nil {
		return err
	}
	r.all = append(r.all, g)
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("kvstore: %s: %w", g.name(), err)
	}
	r.logs = []*segment{g}
	s.startLog(r.logs, r.logs)
	return s.storeManifest(nil)
}

// isEmpty reports whether there are only zeros after the header of a file.
func (g *segment) isEmpty(dir vfs.FS) (bool, error) {
	f, err := dir.OpenFile(g.name(), 0, 0)
	if err != nil {
		return false, fmt.Errorf("kvstore: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false, fmt.Errorf("kvstore: %w", err)
	}
	b := make([]byte, max(min(size-headerBytes, 64<<10), 0))
	if _, err := f.ReadAt(b, headerBytes); len(b) > 0 && err != nil {
		return false, fmt.Errorf("kvstore: %w", err)
	}
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }), nil
}

// openSealed opens the segments in the manifest.
func (r *recovery) openSealed() error {
	s := r.s
	for _, m := range r.m.segments {
		g, err := openSegment(s.fs, m.id, m.kind, s.opts.NoMap)
		if errors.Is(err, fs.ErrNotExist) {
			return &CorruptError{File: (&segment{id: m.id, kind: m.kind}).name(), Offset: -1, Reason: "segment is missing"}
		}
		if err != nil {
			return err
		}
		r.all = append(r.all, g)
		size, err := g.file.Size()
		if err != nil {
			return fmt.Errorf("kvstore: %s: %w", g.name(), err)
		}
		if size < m.size {
			return g.corrupt(size, "segment is too short")
		}
		g.end.Store(m.size)
		g.written.Store(m.size)
		g.sealed = true
		g.remap()
		if err := s.takeSlot(g); err != nil {
			return err
		}
		g.hint, err = openHint(s.fs, g)
		if err == nil {
			if g.hint.covers != m.size {
				err = g.hint.corrupt(-1, "hint of another state")
			} else {
				err = g.hint.verify()
			}
			if err != nil {
				err = errors.Join(err, g.hint.close())
				g.hint = nil
			}
		}
		if err != nil {
			s.opts.Logger.Warn("kvstore: making a hint anew", "file", g.name(), "error", err)
			if err := s.makeHint(g, m.size); err != nil {
				return err
			}
		}
		r.sealed = append(r.sealed, g)
	}
	return nil
}

// openLogs opens the log segments that are not in the manifest, in their
// order, and finds out how far the log is whole.
func (r *recovery) openLogs() error {
	s := r.s
	end := int64(0)
	for _, name := range r.names {
		id, suffix, ok := parseName(name)
		if !ok || suffix != "log" || id < r.m.log || slices.ContainsFunc(r.m.segments, func(m manifestSegment) bool { return m.id == id }) {
			continue
		}
		s.nextID = max(s.nextID, id+1)
		g, err := openSegment(s.fs, id, logSegment, s.opts.NoMap)
		if len(r.logs) == 0 {
			if id != r.m.log {
				break
			}
			if err != nil {
				return err
			}
		} else if r.damaged == nil {
			last := r.logs[len(r.logs)-1]
			if c, corrupt := errors.AsType[*CorruptError](err); corrupt {
				r.damage(c.File, c.Reason)
			} else if err == nil && (g.prevID != last.id || g.prevSize != end || g.base != last.lsn(end)) {
				r.damage(g.name(), fmt.Sprintf("does not continue %s at byte %d", last.name(), end))
			}
		}
		if errors.Is(err, ErrCorrupt) {
			if g, err = r.openHeadless(id); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		r.all = append(r.all, g)
		if r.damaged != nil {
			if len(r.extra) == 0 {
				if err := r.checkLast(); err != nil {
					return err
				}
			}
			r.extra = append(r.extra, g)
			if err := r.refuseIfDurable(g, headerBytes); err != nil {
				return err
			}
			continue
		}
		if end, err = r.scanLog(g); err != nil {
			return err
		}
		r.logs = append(r.logs, g)
	}
	if len(r.logs) == 0 {
		return &CorruptError{File: segmentName(r.m.log, "log"), Offset: -1, Reason: "segment is missing"}
	}
	if r.damaged == nil {
		return r.checkLast()
	}
	return nil
}

// openHeadless opens a log segment without a header, as what follows the end
// of the log.
func (r *recovery) openHeadless(id uint64) (*segment, error) {
	last := r.logs[len(r.logs)-1]
	g := &segment{id: id, kind: logSegment, base: last.lsn(last.written.Load()), salt: nextSalt(last.salt, id), noMap: true}
	var err error
	if g.file, err = r.s.fs.OpenFile(g.name(), os.O_RDONLY, 0); err != nil {
		return nil, fmt.Errorf("kvstore: %w", err)
	}
	return g, nil
}

// damage notes that the log ends, since the file that should come next is not
// right.
func (r *recovery) damage(file, reason string) {
	r.damaged = &CorruptError{File: file, Offset: 0, Reason: reason}
}

// scanLog finds out how far a log segment is whole, and returns the end.
func (r *recovery) scanLog(g *segment) (end int64, err error) {
	s := r.s
	size, err := g.file.Size()
	if err != nil {
		return 0, fmt.Errorf("kvstore: %s: %w", g.name(), err)
	}
	g.written.Store(size)
	g.remap()
	if err := s.takeSlot(g); err != nil {
		return 0, err
	}
	from := r.useHint(g)
	end = from
	at, reason, err := g.walk(from, size, s.codecs, func(offset int64, _ int, n uint32, rec *record) error {
		if rec.flags&flagMore == 0 {
			end = offset + int64(n)
		}
		return nil
	}, func(durable int64) { r.durable = max(r.durable, durable) })
	if err != nil {
		return 0, err
	}
	if reason == "" {
		reason = "log ends early"
	}
	g.written.Store(end)
	r.scans = append(r.scans, scanned{g, from, end})
	r.stop = &CorruptError{File: g.name(), Offset: at, Reason: reason}
	return end, nil
}

// checkLast makes sure that what follows the end of the log was not durable.
func (r *recovery) checkLast() error {
	last := r.logs[len(r.logs)-1]
	end := last.written.Load()
	size, err := last.file.Size()
	if err != nil {
		return fmt.Errorf("kvstore: %s: %w", last.name(), err)
	}
	last.written.Store(size)
	err = r.checkDurable(last, last.lsn(end), end, r.stop)
	last.written.Store(end)
	return err
}

// useHint opens the hint that Close has left for a log segment that was not
// full, and returns where the records begin that it does not cover.
func (r *recovery) useHint(g *segment) int64 {
	for _, scan := range r.scans {
		if scan.from < scan.to { // hints are loaded before what is scanned
			return headerBytes
		}
	}
	h, err := openHint(r.s.fs, g)
	if err != nil {
		return headerBytes
	}
	if h.covers > g.written.Load() || g.lsn(h.covers) > r.m.durable || h.verify() != nil {
		_ = h.close()
		return headerBytes
	}
	g.hint, g.hinted = h, h.covers
	return h.covers
}

// checkDurable returns bad if something at or after an LSN was durable, as
// far as the manifest and the bytes of g from an offset say.
func (r *recovery) checkDurable(g *segment, lsn, from int64, bad *CorruptError) error {
	if r.m.durable > lsn {
		return bad
	}
	w := window{g: g, limit: g.written.Load()}
	for at := from; at < w.limit; {
		b, err := w.bytes(at, windowBytes, windowBytes)
		if err != nil {
			return err
		}
		if findMark(b, g.salt, at, lsn) {
			return bad
		}
		if len(b) < markBytes || at+int64(len(b)) >= w.limit {
			break
		}
		at += int64(len(b)) - markBytes + 1
	}
	return nil
}

// refuseIfDurable looks through a log segment after the end of the log for
// signs that the log was durable beyond that end.
func (r *recovery) refuseIfDurable(g *segment, from int64) error {
	size, err := g.file.Size()
	if err != nil {
		return fmt.Errorf("kvstore: %s: %w", g.name(), err)
	}
	g.written.Store(size)
	last := r.logs[len(r.logs)-1]
	return r.checkDurable(g, last.lsn(last.written.Load()), from, r.damaged)
}

// cutLog removes what follows the end of the log, and makes the rest durable:
// a process that was killed may have written it and not synced it.
func (r *recovery) cutLog() error {
	s := r.s
	for _, g := range r.extra {
		r.all = slices.DeleteFunc(r.all, func(other *segment) bool { return other == g })
		if err := errors.Join(g.close(), s.fs.Remove(g.name())); err != nil {
			return fmt.Errorf("kvstore: %w", err)
		}
	}
	for i, g := range r.logs {
		end := g.written.Load()
		size, err := g.file.Size()
		if err == nil && size > end {
			// What a crash has left there must not come back.
			err = g.file.Truncate(end)
		}
		if err == nil {
			err = r.rewrite(g, end)
		}
		if err == nil {
			err = g.file.Sync()
		}
		if err != nil {
			return fmt.Errorf("kvstore: %s: %w", g.name(), err)
		}
		g.synced.Store(true)
		g.room.Store(end)
		if i < len(r.logs)-1 {
			g.end.Store(end)
		}
	}
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("kvstore: %w", err)
	}
	return nil
}

// rewrite writes again what is not known to be on the disk. If a sync has failed
// before, the system may take it for written though it is not, and a further sync
// would do nothing.
func (r *recovery) rewrite(g *segment, end int64) error {
	at := max(g.offset(r.durable), 0)
	if r.durable <= g.base {
		at = 0
	}
	b := make([]byte, min(max(end-at, 0), windowBytes))
	for at < end {
		n := min(end-at, int64(len(b)))
		if _, err := g.file.ReadAt(b[:n], at); err != nil {
			return err
		}
		if _, err := g.file.WriteAt(b[:n], at); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// removeLeftovers removes files of segments that merges had not finished, or
// had merged away.
func (r *recovery) removeLeftovers() error {
	known := map[uint64]bool{}
	for _, g := range slices.Concat(r.sealed, r.logs) {
		known[g.id] = true
	}
	for _, name := range r.names {
		id, _, ok := parseName(name)
		if ok && !known[id] || name == manifestTemp {
			if err := ignoreMissing(r.s.fs.Remove(name)); err != nil {
				return fmt.Errorf("kvstore: %w", err)
			}
			r.s.nextID = max(r.s.nextID, id+1)
		}
	}
	return nil
}

// finish fills the directory and starts the log.
func (r *recovery) finish() error {
	s := r.s
	var hints []*hint
	for _, g := range slices.Concat(r.sealed, r.logs) {
		if g.hint != nil {
			hints = append(hints, g.hint)
		}
	}
	if err := s.loadDirectory(hints); err != nil {
		return err
	}
	for _, scan := range r.scans {
		_, _, err := scan.g.walk(scan.from, scan.to, s.codecs, func(offset int64, _ int, size uint32, rec *record) error {
			s.index(scan.g, rec.kind, rec.key, offset, size, rec.expires)
			return nil
		}, nil)
		if err != nil {
			return err
		}
	}
	for _, g := range r.logs { // they are about to grow
		if g.hint != nil {
			if err := g.hint.close(); err != nil {
				return fmt.Errorf("kvstore: %w", err)
			}
			g.hint = nil
		}
	}
	for _, g := range slices.Concat(r.sealed, r.logs) {
		s.used.Add(g.size() - headerBytes)
	}
	s.startLog(slices.Concat(r.sealed, r.logs), r.logs)
	return nil
}

// startLog makes segments the first version, with the log at their end.
func (s *Store) startLog(segments, logs []*segment) {
	s.newVersion(segments)
	s.log = &wal{pins: &s.pins, fs: s.fs, limit: s.segmentLimit, newSlot: s.newLog, giveUp: s.freeSlot, grown: s.growBallast}
	s.log.rotated = func(g *segment) {
		old := s.newVersion(append(slices.Clone(s.version.segments), g))
		s.release(old)
		s.wake()
	}
	s.log.start(slices.Clone(logs))
}
