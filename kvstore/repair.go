package kvstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Report says what [Repair] found and did. A Report is a value and so safe for
// concurrent use by multiple goroutines.
type Report struct {
	Manifest bool     // the manifest was lost; see Repair
	Missing  []string // segments that the manifest names and that are not there
	Lost     []Range  // what could not be read
	Records  int      // that were copied from damaged segments
	Broken   int      // sound records that were dropped, since others of their batch are lost
	Kept     []string // damaged files, renamed
}

// A Range is a part of a file that is not what was written. A Range is a value and
// so safe for concurrent use by multiple goroutines.
type Range struct {
	File     string
	From, To int64 // bytes
	Reason   string
}

// OK reports whether nothing was wrong.
func (r Report) OK() bool {
	return !r.Manifest && len(r.Missing) == 0 && len(r.Lost) == 0
}

// String lists what was wrong, a line each.
func (r Report) String() string {
	var b strings.Builder
	if r.Manifest {
		fmt.Fprintf(&b, "%s: lost; all segments were taken, also some that may have been merged away\n", manifestName)
	}
	for _, name := range r.Missing {
		fmt.Fprintf(&b, "%s: missing\n", name)
	}
	for _, l := range r.Lost {
		fmt.Fprintf(&b, "%s: bytes %d to %d: %s\n", l.File, l.From, l.To, l.Reason)
	}
	fmt.Fprintf(&b, "%d records copied from damaged segments, %d dropped with their batch\n", r.Records, r.Broken)
	return b.String()
}

// Repair makes a store that Open refuses, or Verify finds fault with, one that
// can be opened, and says what was lost. Nobody may have the store open.
//
// It reads everything. Segments that are sound stay as they are; from others
// it copies what is sound to new ones, and keeps the old with a name that ends in
// ".damaged". Of a key whose newest record is lost an older value may come
// back; of a batch of which a part is lost nothing is kept. Without a manifest
// all segments count, so that keys may come back that were deleted just before.
func Repair(dir string, opts *Options) (Report, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return Report{}, err
	}
	known, err := newCodecs(&o)
	if err != nil {
		return Report{}, err
	}
	s := &Store{opts: o, fs: o.FS, codecs: known, dir: newTree(), nextID: 1}
	s.slots.Store(&[]*segment{})
	if s.fs == nil {
		if s.fs, err = openFS(dir); err != nil {
			return Report{}, fmt.Errorf("kvstore: repair: %w", err)
		}
	}
	lock, err := s.fs.Lock(lockName)
	if err != nil {
		return Report{}, errors.Join(lockError(err), s.closeFS())
	}
	r := repairer{s: s, lsn: 1}
	err = r.run()
	return r.report, errors.Join(err, r.closeAll(), lock.Close(), s.closeFS())
}

// A repairer is one repair.
type repairer struct {
	s      *Store
	m      manifest
	report Report
	opened []*segment
	broken []string // files to be renamed
	lsn    int64    // beyond every record
	logs   []*segment
}

func (r *repairer) closeAll() error {
	var err error
	for _, g := range r.opened {
		err = errors.Join(err, g.close())
		if g.hint != nil {
			err = errors.Join(err, g.hint.close())
		}
	}
	return err
}

func (r *repairer) run() error {
	s := r.s
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("kvstore: repair: %w", err)
	}
	old, err := loadManifest(s.fs)
	if errors.Is(err, ErrFormat) {
		return err
	}
	if err != nil {
		old, r.report.Manifest = nil, true
	}
	for _, name := range names {
		if id, _, ok := parseName(name); ok {
			s.nextID = max(s.nextID, id+1)
		}
	}
	if old != nil {
		s.nextID = max(s.nextID, old.next)
		for _, m := range old.segments {
			name := (&segment{id: m.id, kind: m.kind}).name()
			if !slices.Contains(names, name) {
				r.report.Missing = append(r.report.Missing, name)
				continue
			}
			if err := r.segment(m.kind, m.id, m.size); err != nil {
				return err
			}
		}
	}
	if old != nil && !slices.Contains(names, segmentName(old.log, "log")) {
		r.report.Missing = append(r.report.Missing, segmentName(old.log, "log"))
	}
	for _, name := range names {
		id, suffix, ok := parseName(name)
		if !ok || suffix == "hint" || old != nil && (suffix == "tab" || id < old.log || slices.ContainsFunc(old.segments, func(m manifestSegment) bool { return m.id == id })) {
			continue
		}
		kind := logSegment
		if suffix == "tab" {
			kind = tableSegment
		}
		if err := r.segment(kind, id, -1); err != nil {
			return err
		}
	}
	for _, g := range r.logs {
		for _, last := range r.logs {
			if end := last.end.Load(); last.id == g.prevID && end < g.prevSize {
				r.report.Lost = append(r.report.Lost, Range{last.name(), end, g.prevSize, "file ends early"})
			}
		}
	}
	if old != nil && old.durable > r.lsn {
		reason := fmt.Sprintf("the log was durable up to %d and ends at %d", old.durable, r.lsn)
		r.report.Lost = append(r.report.Lost, Range{manifestName, 0, 0, reason})
	}
	return r.finish()
}

// finish writes a log segment to go on with and the manifest, and renames what
// is damaged.
func (r *repairer) finish() error {
	s := r.s
	r.m.log, r.m.next, r.m.durable = s.nextID, s.nextID+1, r.lsn
	last := &segment{id: r.m.log, kind: logSegment, base: r.lsn, salt: newSalt()}
	if err := createLog(s.fs, last, 0); err != nil {
		return err
	}
	if err := errors.Join(last.file.Sync(), last.file.Close()); err != nil {
		return fmt.Errorf("kvstore: repair: %w", err)
	}
	if err := r.m.store(s.fs); err != nil {
		return err
	}
	for _, name := range r.broken {
		if err := s.fs.Rename(name, name+".damaged"); err != nil {
			return fmt.Errorf("kvstore: repair: %w", err)
		}
		r.report.Kept = append(r.report.Kept, name+".damaged")
	}
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("kvstore: repair: %w", err)
	}
	return nil
}

// A salvaged is a sound record of a damaged segment.
type salvaged struct {
	key    []byte
	offset int64
	index  int
	lsn    int64
}

// segment looks through one segment; size is negative if it is not known.
func (r *repairer) segment(kind segmentKind, id uint64, size int64) error {
	s := r.s
	g, err := openSegment(s.fs, id, kind, true)
	if c, corrupt := errors.AsType[*CorruptError](err); corrupt {
		length, _, err := s.fs.Stat(c.File)
		if err != nil {
			return fmt.Errorf("kvstore: repair: %w", err)
		}
		// Without the salt nothing in it can be told from garbage.
		r.report.Lost = append(r.report.Lost, Range{c.File, 0, length, c.Reason})
		r.broken = append(r.broken, c.File)
		return nil
	}
	if err != nil {
		return err
	}
	r.opened = append(r.opened, g)
	length, err := g.file.Size()
	if err != nil {
		return fmt.Errorf("kvstore: repair: %w", err)
	}
	g.written.Store(length)
	found, end, lost, err := r.scan(g, length, size)
	if err != nil {
		return err
	}
	if kind == logSegment {
		r.lsn = max(r.lsn, g.lsn(end))
		g.end.Store(end)
		r.logs = append(r.logs, g)
	}
	if len(lost) == 0 {
		if end > headerBytes {
			r.m.segments = append(r.m.segments, manifestSegment{kind, id, end})
		}
		return nil
	}
	r.report.Lost = append(r.report.Lost, lost...)
	r.report.Records += len(found)
	r.broken = append(r.broken, g.name())
	return r.copy(g, found)
}

// scan finds the sound records of a segment, its end, and what is lost.
func (r *repairer) scan(g *segment, length, size int64) (found []salvaged, end int64, lost []Range, err error) {
	var group []salvaged // of a batch that has not ended
	drop := func() {
		r.report.Broken += len(group)
		group = group[:0]
	}
	visit := func(offset int64, index int, _ uint32, rec *record) error {
		lsn := rec.lsn
		if g.kind == logSegment {
			lsn = g.lsn(offset)
		}
		r.lsn = max(r.lsn, lsn+1)
		if rec.flags&flagLater == 0 {
			drop()
		} else if len(group) == 0 {
			r.report.Broken++
			return nil
		}
		group = append(group, salvaged{bytes.Clone(rec.key), offset, index, lsn})
		if rec.flags&flagMore == 0 {
			found, group = append(found, group...), group[:0]
		}
		return nil
	}
	limit := length
	if size >= 0 {
		limit = min(size, length)
	}
	at := int64(headerBytes)
	for at < limit {
		stop, reason, err := g.walk(at, limit, r.s.codecs, visit, nil)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				return nil, 0, nil, err
			}
			reason = err.Error()
		}
		at = stop
		if reason == "" {
			break
		}
		next, err := g.resync(at+1, limit)
		if err != nil {
			return nil, 0, nil, err
		}
		if next == limit && size < 0 {
			// The end of a log: zeros that were allocated, or a torn record.
			used, err := g.lastUsed(at, limit)
			if err != nil {
				return nil, 0, nil, err
			}
			if limit = at; used > at {
				lost = append(lost, Range{g.name(), at, used, reason})
			}
			break
		}
		lost = append(lost, Range{g.name(), at, next, reason})
		drop()
		at = next
	}
	if len(group) > 0 {
		defer drop()
		lost = append(lost, Range{g.name(), group[0].offset, limit, "cut batch"})
	}
	if size > length {
		lost = append(lost, Range{g.name(), length, size, "file is too short"})
	}
	return found, limit, lost, nil
}

// resync returns where the next sound record begins, or limit.
func (g *segment) resync(from, limit int64) (int64, error) {
	w := window{g: g, limit: limit}
	var r record
	for at := from; at < limit; at++ {
		b, err := w.record(at)
		if err != nil {
			return 0, err
		}
		if len(b) < crcBytes+1 {
			break
		}
		switch kind := b[crcBytes] & kindMask; {
		case kind == kindMark:
			if _, ok := parseMark(b, g.salt, at); ok {
				return at, nil
			}
		case b[crcBytes] == kindBlock:
			if _, _, reason := parseBlock(b, g.salt, at); reason == "" {
				return at, nil
			}
		case kind == kindPut || kind == kindDelete:
			if _, reason := parseRecord(b, g.salt, at, &r); reason == "" {
				return at, nil
			}
		}
	}
	return limit, nil
}

// lastUsed returns the end of the last byte that is not zero, or from.
func (g *segment) lastUsed(from, limit int64) (int64, error) {
	w := window{g: g, limit: limit}
	last := from
	for at := from; at < limit; {
		b, err := w.bytes(at, windowBytes, windowBytes)
		if err != nil {
			return 0, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			last = at + int64(n)
		}
		at += int64(len(b))
	}
	return last, nil
}

// copy writes the newest sound records of a damaged segment to tables.
func (r *repairer) copy(g *segment, found []salvaged) error {
	slices.SortFunc(found, func(a, b salvaged) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(b.lsn, a.lsn))
	})
	var out *tableWriter
	var b readBuffer
	for i, f := range found {
		if i > 0 && bytes.Equal(f.key, found[i-1].key) {
			continue
		}
		if err := r.readSalvaged(g, f, &b); err != nil {
			return err
		}
		rec := b.rec
		rec.lsn, rec.flags = f.lsn, 0
		if out == nil {
			var err error
			if out, err = newTableWriter(r.s); err != nil {
				return err
			}
			r.opened = append(r.opened, out.g)
		}
		if err := out.add(&rec); err != nil {
			return err
		}
	}
	if out == nil {
		return nil
	}
	if err := out.finish(); err != nil {
		return err
	}
	r.m.segments = append(r.m.segments, manifestSegment{tableSegment, out.g.id, out.g.end.Load()})
	return nil
}

func (r *repairer) readSalvaged(g *segment, f salvaged, b *readBuffer) error {
	w := window{g: g, limit: g.written.Load()}
	data, err := w.record(f.offset)
	if err != nil {
		return err
	}
	if data[crcBytes] == kindBlock {
		return r.s.readBlock(g, newPlace(0, f.index, f.offset), data, b)
	}
	return r.s.parse(g, f.offset, data, &b.rec)
}
