package kvstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// How much garbage there may be, in hundredths of the live data. Beyond the
// first the keeper merges, beyond the second writers wait for it. Beside
// records there are hints, so that all together stay below one and a half times
// the live data. A small store may have some megabytes, so that it does not merge
// all the time.
const (
	garbageMerge = 20
	garbageWait  = 30
	garbageFloor = 8 << 20
	garbageSlack = 512 << 10
	manySegments = 48
)

// garbageAllowed is the part of what is live, or what a small store may have.
func (s *Store) garbageAllowed(live, percent int64) int64 {
	return max(live*percent/100, min(garbageFloor, 4*s.opts.SegmentBytes+garbageSlack)*percent/garbageWait)
}

// garbage returns how many bytes on disk are not live.
func (s *Store) garbage() int64 { return s.used.Load() - s.liveBytes.Load() }

// crowded reports whether writers have to wait for the keeper.
func (s *Store) crowded() bool {
	return s.garbage() > s.garbageAllowed(s.liveBytes.Load(), garbageWait)
}

// waitForSpace keeps a writer from making garbage faster than it is merged.
func (s *Store) waitForSpace() {
	if s.opts.ManualMerge || !s.crowded() {
		return
	}
	s.wake()
	s.counters.waits.Add(1)
	k := &s.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting++
	defer func() { k.waiting-- }()
	for k.running && k.err == nil && s.crowded() {
		k.changed.Wait()
	}
}

// mergeSome merges the segments that are worth it most; more is false if
// there are none.
func (s *Store) mergeSome() (more bool, err error) {
	s.keeper.work.Lock()
	defer s.keeper.work.Unlock()
	victims := s.victims()
	if len(victims) == 0 {
		return false, nil
	}
	return true, s.mergeAny(context.Background(), victims, s.opts.MergeRate)
}

// sealedSegments returns the segments that a merge may read.
func (s *Store) sealedSegments() []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sealed []*segment
	for _, g := range s.version.segments {
		if g.sealed && !g.damaged {
			sealed = append(sealed, g)
		}
	}
	return sealed
}

// dead returns how many bytes of a full segment a merge would not copy.
func (g *segment) dead(now int64) int64 {
	records := g.end.Load() - headerBytes
	return min(records-g.live.Load()+g.expiry.ended(now), records)
}

// victims chooses segments to merge: all that are dead, then those with the
// largest part of garbage, as much as makes one segment.
func (s *Store) victims() []*segment {
	now := s.opts.Now().UnixMilli()
	sealed := s.sealedSegments()
	var total, dead, small int64
	var victims []*segment
	for _, g := range sealed {
		d := g.dead(now)
		if d == g.end.Load()-headerBytes || s.opts.Codec != nil && g.kind == logSegment {
			victims = append(victims, g)
		}
		total, dead = total+g.end.Load(), dead+d
		if g.end.Load() < s.segmentLimit()/2 {
			small++
		}
	}
	if len(victims) > 0 {
		return victims
	}
	if dead <= s.garbageAllowed(total-dead, garbageMerge) {
		if len(sealed) > manySegments && small > manySegments/2 {
			slices.SortFunc(sealed, func(a, b *segment) int { return cmp.Compare(a.end.Load(), b.end.Load()) })
			return s.upToLimit(sealed[:small], now)
		}
		return nil
	}
	slices.SortFunc(sealed, func(a, b *segment) int {
		x := float64(a.dead(now)) / float64(a.end.Load())
		y := float64(b.dead(now)) / float64(b.end.Load())
		return cmp.Or(-cmp.Compare(x, y), cmp.Compare(a.id, b.id))
	})
	for len(sealed) > 1 && sealed[len(sealed)-1].dead(now)*100 < sealed[len(sealed)-1].end.Load()*garbageMerge/4 {
		sealed = sealed[:len(sealed)-1]
	}
	return s.upToLimit(sealed, now)
}

// upToLimit returns as many of the first segments as make one, or a few if writers
// wait.
func (s *Store) upToLimit(segments []*segment, now int64) []*segment {
	limit := s.segmentLimit()
	if s.crowded() {
		limit *= 4 // the disk has to sync less often
	}
	var copied int64
	for i, g := range segments {
		copied += g.end.Load() - g.dead(now)
		if copied > limit && i > 0 {
			return segments[:i]
		}
	}
	return segments
}

// Merge ends the active segment and merges every segment that has something to
// give back: dead records, expired ones, or, with a codec, uncompressed ones. Writers
// and readers go on. When it returns nil the disk holds little but live data.
// On a full disk the reserve of the store gives it room to begin; without one the
// error is [ErrFull], and Merge works again when there is some space.
func (s *Store) Merge(ctx context.Context) error {
	full := s.endSegment()
	if errors.Is(full, ErrFull) {
		full = s.endWithBallast(full)
	}
	if full != nil && !errors.Is(full, ErrFull) {
		return full // on a full disk, the segments before give some space back
	}
	err := s.mergeAll(ctx)
	if err == nil {
		err = full // what is in the segment that could not be ended is not merged
	}
	if errors.Is(err, ErrFull) {
		return fmt.Errorf("kvstore: merge: it needs some free space to give back more: make some on the disk, and merge again: %w", err)
	}
	return err
}

// endWithBallast ends the active segment in the room that the ballast has. It
// returns the error that there was if it has none.
func (s *Store) endWithBallast(err error) error {
	s.keeper.work.Lock()
	defer s.keeper.work.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if !s.dropBallast() {
		return err
	}
	return s.endSegment()
}

// mergeAll seals what is full and merges what has something to give back.
func (s *Store) mergeAll(ctx context.Context) error {
	for {
		s.keeper.work.Lock()
		more, err := s.sealFull()
		s.keeper.work.Unlock()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	s.keeper.work.Lock()
	defer s.keeper.work.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	now := s.opts.Now().UnixMilli()
	victims := slices.DeleteFunc(s.sealedSegments(), func(g *segment) bool {
		return g.dead(now) == 0 && (s.opts.Codec == nil || g.kind == tableSegment)
	})
	if len(victims) == 0 {
		return nil
	}
	return s.mergeAny(ctx, victims, 0)
}

// mergeAny merges all of the segments or, if there is no space for that, one by
// one those for which there is. The work lock is held.
func (s *Store) mergeAny(ctx context.Context, victims []*segment, rate int64) error {
	err := s.withBallast(func() error { return s.merge(ctx, victims, rate) })
	if !errors.Is(err, ErrFull) || len(victims) == 1 {
		return err
	}
	now := s.opts.Now().UnixMilli()
	slices.SortFunc(victims, func(a, b *segment) int {
		return cmp.Compare(a.end.Load()-a.dead(now), b.end.Load()-b.dead(now))
	})
	for _, g := range victims {
		one := s.withBallast(func() error { return s.merge(ctx, []*segment{g}, rate) })
		if one == nil {
			err = nil
			s.keepBallast()
		} else if !errors.Is(one, ErrFull) {
			return one
		}
	}
	return err
}

// endSegment rotates the log if there is anything in the active segment.
func (s *Store) endSegment() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if s.log.active.offset(s.log.end) == headerBytes {
		return nil
	}
	return s.log.rotate(0)
}

// merge replaces segments by tables of what is live in them. The work lock is
// held. The steps, after each of which a crash leaves a sound store:
//
//  1. Write tables, and their hints, and sync them. Nothing names them yet.
//  2. Sync the log: what made a record dead must be durable before the record
//     is gone.
//  3. Replace the manifest: the tables are in it and the segments are not.
//  4. Point the directory to the tables.
//  5. When no reader is in the segments any more, remove their files.
func (s *Store) merge(ctx context.Context, victims []*segment, rate int64) (err error) {
	m := &merger{s: s, ctx: ctx, victims: victims, slots: map[uint32]bool{}, now: s.opts.Now().UnixMilli(), rate: rate, begun: time.Now()}
	for _, g := range victims {
		m.slots[g.slot] = true
	}
	if err := m.copyLive(); err != nil {
		return errors.Join(err, m.abandon(true))
	}
	if err := s.log.wait(s.log.gc.Appended().Pos, Synced); err != nil {
		return errors.Join(err, m.abandon(true))
	}
	for _, t := range m.tables {
		t.sealed = true
	}
	if err := s.storeManifest(victims, m.tables...); err != nil {
		// The old manifest or the new one is on the disk: what either names
		// must stay.
		return errors.Join(err, m.abandon(false))
	}
	s.mu.Lock()
	old := s.newVersion(slices.Concat(s.version.segments, m.tables))
	s.mu.Unlock()
	s.release(old)
	for _, t := range m.tables {
		s.used.Add(t.end.Load() - headerBytes)
		if err := m.repoint(t); err != nil {
			return err
		}
	}
	s.mu.Lock()
	old = s.newVersion(m.without(s.version.segments))
	if m.chill(); len(m.gone) > 0 {
		m.forget()
	}
	s.mu.Unlock()
	for _, g := range victims {
		g.dropped.Store(true)
		s.used.Add(headerBytes - g.end.Load())
		s.counters.mergedBytes.Add(g.end.Load())
		s.liveBytes.Add(-g.live.Swap(0))
	}
	s.counters.merges.Add(1)
	s.pins.drain()
	s.release(old)
	return nil
}

// A merger is one merge.
type merger struct {
	s       *Store
	ctx     context.Context
	victims []*segment
	slots   map[uint32]bool // of the victims
	tables  []*segment
	out     *tableWriter
	now     int64
	rate    int64
	begun   time.Time
	copied  int64
	gone    []ended
}

// An ended is a key of which nothing will be left but, maybe, a delete.
type ended struct {
	key  []byte
	cold bool // it was not in the directory
}

func (m *merger) isVictim(slot uint32) bool { return m.slots[slot] }

// copyLive writes what is live to tables.
func (m *merger) copyLive() error {
	err := m.copyMapped()
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		for _, g := range m.victims { // merge others, and leave it for Verify and Repair
			g.damaged = g.damaged || corrupt.File == g.name() || corrupt.File == hintName(g.id)
		}
	}
	return err
}

func (m *merger) copyMapped() (err error) {
	defer m.s.catch(debug.SetPanicOnFault(true), nil, &err)
	var hints []*hint
	for _, g := range m.victims {
		hints = append(hints, g.hint)
	}
	keys, err := newHintMerge(hints, nil)
	if err != nil {
		keys.g.damaged = true
		return err
	}
	var b readBuffer
	for {
		ok, err := keys.next()
		if err != nil {
			keys.g.damaged = true
			return err
		}
		if !ok {
			return m.closeTable()
		}
		if err := m.copyKey(keys.key, keys.g, &keys.top, &b); err != nil {
			return err
		}
		if err := m.pace(); err != nil {
			return err
		}
	}
}

// copyKey decides what becomes of the newest record that the victims have of
// a key. It is the newest of all if the newest is in a victim: not if it has the
// same place, since a merge that failed half way leaves copies.
func (m *merger) copyKey(key []byte, g *segment, e *entry, b *readBuffer) error {
	s := m.s
	now, _, hot := s.dir.get(key)
	found := hot
	if !hot {
		newest, newer, ok, err := s.findCold(s.coldSegments(), key)
		if err != nil {
			return err
		}
		if found = ok; ok {
			now = newer.place(newest)
		}
	}
	if e.kind == kindPut && (e.expires == 0 || e.expires > m.now) {
		if !found || !m.isVictim(now.slot()) {
			return nil // dead
		}
		if err := s.read(e.place(g), e.size, b); err != nil {
			g.damaged = true // merge others, and leave it for Verify and Repair
			return err
		}
		r := b.rec
		r.lsn, r.flags = e.lsn, 0
		m.copied += int64(e.size)
		return m.write(&r)
	}
	if found && !m.isVictim(now.slot()) {
		return nil // a newer one
	}
	if hot || found && e.kind == kindPut {
		m.gone = append(m.gone, ended{bytes.Clone(key), !hot})
	}
	// Without this record, older ones of the key would come back.
	older, err := m.olderElsewhere(key, e.lsn)
	if err != nil || !older {
		return err
	}
	return m.write(&record{kind: kindDelete, lsn: e.lsn, key: key})
}

// without returns the segments that are no victims.
func (m *merger) without(segments []*segment) []*segment {
	return slices.DeleteFunc(slices.Clone(segments), func(g *segment) bool { return slices.Contains(m.victims, g) })
}

// chill makes the tables cold if a victim was: the directory may not have all of
// their keys. The lock is held.
func (m *merger) chill() {
	cold := m.s.coldSegments()
	left := m.without(cold)
	if len(left) == len(cold) {
		return
	}
	for _, t := range m.tables {
		t.cold.Store(true)
	}
	left = append(left, m.tables...)
	m.s.cold.Store(&left)
}

// forget takes keys out of the directory that have ended. The lock is held.
func (m *merger) forget() {
	s := m.s
	s.dir.begin()
	defer s.dir.publish()
	for _, e := range m.gone {
		at, _, hot := find(s.dir.top, e.key)
		switch {
		case !hot && e.cold:
			s.keys.Add(-1)
		case hot && m.isVictim(at.slot()):
			s.dir.delete(e.key)
			if !at.dead() {
				s.keys.Add(-1)
			}
		}
	}
}

// olderElsewhere reports whether a segment that stays has an older put of a
// key.
func (m *merger) olderElsewhere(key []byte, lsn int64) (bool, error) {
	hash := hashKey(key)
	for _, g := range m.s.sealedAll() {
		if g.hint == nil || g.hint.minLSN >= lsn || slices.Contains(m.victims, g) {
			continue
		}
		e, ok, err := g.hint.find(key, hash)
		if err != nil {
			return false, err
		}
		if ok && e.kind == kindPut && e.lsn < lsn {
			return true, nil
		}
	}
	return false, nil
}

// sealedAll returns all segments that have a hint.
func (s *Store) sealedAll() []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version.segments
}

// write appends a record to the table at hand, or to a new one.
func (m *merger) write(r *record) error {
	if m.out != nil && m.out.size()+int64(len(r.key)+len(r.value)) > m.s.opts.SegmentBytes && m.out.count > 0 {
		if err := m.closeTable(); err != nil {
			return err
		}
	}
	if m.out == nil {
		var err error
		if m.out, err = newTableWriter(m.s); err != nil {
			return err
		}
	}
	return m.out.add(r)
}

func (m *merger) closeTable() error {
	if m.out == nil {
		return nil
	}
	out := m.out
	if err := out.finish(); err != nil {
		return err
	}
	m.out = nil
	m.tables = append(m.tables, out.g)
	return nil
}

// pace ends the merge if somebody wants that, and slows it down to its rate.
func (m *merger) pace() error {
	if m.s.stopping() {
		return ErrClosed
	}
	if err := m.ctx.Err(); err != nil {
		return fmt.Errorf("kvstore: merge: %w", err)
	}
	if m.rate == 0 {
		return nil
	}
	until := m.begun.Add(time.Duration(float64(m.copied) / float64(m.rate) * float64(time.Second)))
	for !m.s.keeper.anyWaiting() {
		ahead := time.Until(until)
		if ahead < 10*time.Millisecond {
			return nil
		}
		timer := time.NewTimer(min(ahead, 100*time.Millisecond)) // by then a writer may wait
		select {
		case <-timer.C:
		case <-m.ctx.Done():
			timer.Stop()
			return nil
		case <-m.s.keeper.stop:
			timer.Stop()
			return nil
		}
	}
	return nil
}

func (k *keeper) anyWaiting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.waiting > 0
}

// repointAtOnce is how many keys are changed without letting writers in.
const repointAtOnce = 128

// repoint lets the directory point to a table where it points to a victim.
func (m *merger) repoint(t *segment) error {
	s := m.s
	var c hintCursor
	err := s.mapped(func() error { return c.first(t.hint) })
	for err == nil && c.valid() {
		s.mu.Lock()
		for n := 0; n < repointAtOnce && err == nil && c.valid(); n++ {
			m.repointKey(t, &c)
			err = s.mapped(c.next)
		}
		s.mu.Unlock()
	}
	return err
}

// repointKey is repoint for one key. What the directory has in a victim is
// what was copied: nothing is ever added to a victim.
func (m *merger) repointKey(t *segment, c *hintCursor) {
	s := m.s
	old, _, hot := find(s.dir.top, c.key)
	if c.kind == kindDelete {
		s.enliven(t, int64(c.size)) // it stays until what it hides is gone
		if hot && m.isVictim(old.slot()) && len(s.coldSegments()) > 0 {
			s.dir.put(c.key, c.place(t), c.size)
			if !old.dead() {
				s.keys.Add(-1)
			}
		}
		return
	}
	if hot && !m.isVictim(old.slot()) {
		return // written anew
	}
	if hot {
		s.dir.put(c.key, c.place(t), c.size)
	} else if _, e, ok, err := s.findCold(s.coldSegments(), c.key); err != nil || !ok || e.lsn != c.lsn {
		return // deleted
	}
	s.enliven(t, int64(c.size))
	t.expiry.add(c.expires, c.size)
}

// abandon gives up what was written. Without remove the files stay, for the
// next Open to sort out.
func (m *merger) abandon(remove bool) error {
	tables := m.tables
	if m.out != nil {
		tables = append(tables, m.out.g)
	}
	for _, t := range tables {
		t.dropped.Store(remove)
		m.s.discard(t)
	}
	return nil
}
