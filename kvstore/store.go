package kvstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Store is an open store. Open one with [Open], and close it. A Store is safe
// for concurrent use by multiple goroutines.
type Store struct {
	opts   Options
	path   string // of the directory, "" if it is not on the disk
	fs     vfs.FS
	lock   io.Closer
	codecs codecs

	dir   *tree
	pins  pins
	slots atomic.Pointer[[]*segment] // by slot; nil where free
	cold  atomic.Pointer[[]*segment] // of the present version
	cache *blockCache

	// mu orders writes: what is appended to the log is in the directory when
	// it is released, in the same order. It is taken before the log's lock.
	mu      sync.Mutex
	log     *wal
	version *version
	nextID  uint64
	closed  atomic.Bool

	slotMu sync.Mutex // the last to be taken
	free   []uint32   // slots

	flushing atomic.Bool // a timer will write what is buffered
	flushes  flushes

	used         atomic.Int64 // bytes of records in all segments
	liveBytes    atomic.Int64 // of records that are the newest of their key
	keys         atomic.Int64
	ballast      int64        // bytes; the work lock
	ballastTried atomic.Int64 // the largest that growBallast has tried
	keeper       keeper
	counters     counters
}

// A version is the list of segments at some time. Whoever holds one keeps its
// segments.
type version struct {
	refs     atomic.Int64
	segments []*segment
}

// segment returns the segment in a slot.
func (s *Store) segment(slot uint32) *segment { return (*s.slots.Load())[slot] }

// Get returns the value of a key, and whether there is one. The value is the
// caller's.
func (s *Store) Get(key []byte) (value []byte, ok bool, err error) {
	return s.AppendGet(nil, key)
}

// AppendGet appends the value of a key to dst, and allocates nothing if it
// fits. Without a value it returns dst as it is.
func (s *Store) AppendGet(dst, key []byte) (value []byte, ok bool, err error) {
	p := s.pins.enter()
	defer p.leave()
	if s.closed.Load() {
		return dst, false, ErrClosed
	}
	b := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(b)
	value = dst
	defer s.catch(debug.SetPanicOnFault(true), b, &err)
	ok, err = s.load(nil, key, b)
	if !ok || err != nil {
		s.counters.misses.Add(1)
		return dst, false, err
	}
	s.counters.hits.Add(1)
	if dst == nil {
		dst = make([]byte, 0, len(b.rec.value)) // so that an empty value is not nil
	}
	return append(dst, b.rec.value...), true, nil
}

// Has reports whether there is a key. It reads the record only to see
// whether it has expired and is sound.
func (s *Store) Has(key []byte) (ok bool, err error) {
	p := s.pins.enter()
	defer p.leave()
	if s.closed.Load() {
		return false, ErrClosed
	}
	b := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(b)
	defer s.catch(debug.SetPanicOnFault(true), b, &err)
	return s.load(nil, key, b)
}

// A readBuffer is what one read needs.
type readBuffer struct {
	rec   record
	raw   []byte
	block []byte // decompressed, of the segment and the offset

	segment *segment
	offset  int64
}

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// load reads the record of a key into b, as of a snapshot, or now. The caller has
// a pin or a version.
func (s *Store) load(snap *Snapshot, key []byte, b *readBuffer) (bool, error) {
	root, cold, now := s.dir.root.Load(), s.coldSegments, int64(0)
	if snap != nil {
		root, cold, now = snap.root, snap.coldSegments, snap.now
	}
	at, size, ok, err := s.newest(root, cold, key)
	if !ok || err != nil {
		return false, err
	}
	if err := s.read(at, size, b); err != nil {
		return false, err
	}
	if !bytes.Equal(b.rec.key, key) {
		return false, s.segment(at.slot()).corrupt(at.offset(), "record of another key")
	}
	if b.rec.expires != 0 {
		if now == 0 {
			now = s.opts.Now().UnixMilli()
		}
		return now < b.rec.expires, nil
	}
	return true, nil
}

// read reads and verifies the record at a place.
func (s *Store) read(at place, size uint32, b *readBuffer) error {
	g, offset := s.segment(at.slot()), at.offset()
	for end := offset + int64(size); ; {
		written := g.written.Load()
		if end <= written {
			break
		}
		raw, ok := s.log.tail(b.raw, g.lsn(offset), int(size))
		if b.raw = raw; ok {
			return s.parse(g, offset, raw, &b.rec)
		}
		if g.written.Load() == written {
			if err := s.log.gc.Err(); err != nil { // and it never will be
				return failed(err)
			}
			return g.corrupt(offset, "record that was never written")
		}
	}
	n := int(size)
	if g.kind == tableSegment {
		n = max(n, blockBytes)
	}
	data, err := s.fetch(g, offset, n, b)
	if err != nil {
		return err
	}
	if len(data) > crcBytes && data[crcBytes] == kindBlock {
		return s.readBlock(g, at, data, b)
	}
	return s.parse(g, offset, data, &b.rec)
}

func (s *Store) parse(g *segment, offset int64, data []byte, r *record) error {
	if _, reason := parseRecord(data, g.salt, offset, r); reason != "" {
		return g.corrupt(offset, reason)
	}
	return nil
}

// Put stores a value for a key.
func (s *Store) Put(key, value []byte, opts *WriteOptions) error {
	if err := checkSizes(key, value); err != nil {
		return err
	}
	e := newEncoder()
	defer e.free()
	e.add(kindPut, false, key, value, expiryOf(opts, s.opts.Now))
	return s.commit(e, opts)
}

// Delete removes a key, if it is there.
func (s *Store) Delete(key []byte, opts *WriteOptions) error {
	if err := checkSizes(key, nil); err != nil {
		return err
	}
	e := newEncoder()
	defer e.free()
	e.add(kindDelete, false, key, nil, 0)
	return s.commit(e, opts)
}

// Apply does everything in a batch or, if it fails or the machine does,
// nothing: no reader and no crash ever separates what is in it. Of several
// operations on one key the last counts.
func (s *Store) Apply(b *Batch, opts *WriteOptions) error {
	if b.err != nil {
		return b.err
	}
	if len(b.ops) == 0 {
		return nil
	}
	e := newEncoder()
	defer e.free()
	if err := e.addBatch(b, opts, s.opts.Now); err != nil {
		return err
	}
	return s.commit(e, opts)
}

// commit appends what is in e to the log, puts it into the directory, and
// waits for what opts ask for.
func (s *Store) commit(e *encoder, opts *WriteOptions) error {
	d := s.opts.Durability
	if opts != nil && opts.Durability != Default {
		d = opts.Durability
	}
	if d > Buffered {
		return errors.New("kvstore: unknown " + d.String())
	}
	s.waitForSpace()
	s.mu.Lock()
	end, err := s.append(e)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.counters.writes.Add(int64(len(e.starts)))
	s.maintain()
	if d == Buffered {
		s.flushLater()
		return nil
	}
	return s.log.wait(end, d)
}

// append is commit under the lock, without waiting.
func (s *Store) append(e *encoder) (end int64, err error) {
	if s.closed.Load() {
		return 0, ErrClosed
	}
	if err := s.log.gc.Err(); err != nil {
		return 0, failed(err)
	}
	spare := int64(reserveBytes)
	if e.deletes {
		spare = 0
	}
	if err := s.log.makeRoom(int64(len(e.buf))+markBytes, spare); err != nil {
		return 0, err
	}
	before := s.log.end
	first, end, err := s.log.append(e.buf, e.starts)
	if err != nil {
		return 0, err
	}
	s.used.Add(end - before)
	s.counters.logBytes.Add(end - before)
	g := s.log.active
	if len(e.starts) > 1 {
		s.dir.begin()
		defer s.dir.publish()
	}
	for i := range e.starts {
		s.index(g, e.kinds[i], e.key(i), g.offset(first+int64(e.starts[i])), e.size(i), e.expires[i])
	}
	return end, nil
}

// index puts a record of the log into the directory. The lock is held.
func (s *Store) index(g *segment, kind byte, key []byte, offset int64, size uint32, expires int64) {
	if kind == kindDelete {
		s.indexDelete(g, key, offset, size)
		return
	}
	old, oldSize, had := s.dir.put(key, newPlace(g.slot, 0, offset), size)
	g.expiry.add(expires, size)
	s.enliven(g, int64(size))
	if !s.bury(key, old, oldSize, had) {
		s.keys.Add(1)
	}
}

// indexDelete is index for a delete. If keys can become cold, the directory
// keeps it until its segment does: the segments with older records may before.
func (s *Store) indexDelete(g *segment, key []byte, offset int64, size uint32) {
	var live, unsure bool
	if s.opts.DirectoryKeys == 0 {
		old, oldSize, had := s.dir.delete(key)
		live = had && s.bury(key, old, oldSize, had)
	} else {
		_, _, hot := find(s.dir.top, key)
		if !hot {
			live, unsure = s.uncover(key)
		}
		if hot || live || unsure {
			old, oldSize, _ := s.dir.put(key, newPlace(g.slot, buried, offset), size)
			live = live || hot && s.bury(key, old, oldSize, true)
		}
	}
	if live {
		s.keys.Add(-1)
	}
}

// bury notes that the record that the directory had of a key, or a cold
// segment if it had none, is dead. It reports whether there was a put.
func (s *Store) bury(key []byte, old place, oldSize uint32, had bool) bool {
	if !had {
		live, _ := s.uncover(key)
		return live
	}
	if old.dead() {
		return false
	}
	s.enliven(s.segment(old.slot()), -int64(oldSize))
	return true
}

// enliven notes that so many bytes of a segment are live, or no longer.
func (s *Store) enliven(g *segment, n int64) {
	g.live.Add(n)
	s.liveBytes.Add(n)
}

// flushLater arranges that what is buffered is written.
func (s *Store) flushLater() {
	if s.flushing.Load() || !s.flushing.CompareAndSwap(false, true) {
		return
	}
	s.flushes.after(s.opts.FlushAfter, func() {
		s.flushing.Store(false)
		if err := s.log.wait(s.log.gc.Appended().Pos, Written); err != nil && !errors.Is(err, ErrClosed) {
			s.opts.Logger.Error("kvstore: buffered writes are lost", "error", err)
		}
	})
}

// flushes are the timer that writes what is buffered, and what it has started.
type flushes struct {
	mu     sync.Mutex
	timer  *time.Timer
	closed bool
	wg     sync.WaitGroup
}

// after calls flush later, unless close comes first. There is one timer at a time.
func (f *flushes) after(d time.Duration, flush func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.wg.Add(1)
	f.timer = time.AfterFunc(d, func() {
		defer f.wg.Done()
		flush()
	})
}

// close stops the timer, or waits for what it has started.
func (f *flushes) close() {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil && f.timer.Stop() {
		f.wg.Done()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// Sync returns when every write that was acknowledged before is durable.
func (s *Store) Sync() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.log.gc.Err(); err != nil {
		return failed(err)
	}
	return s.log.wait(s.log.gc.Appended().Pos, Synced)
}

// Len returns the number of keys, with those that have expired and were not
// yet merged away.
func (s *Store) Len() int { return int(s.keys.Load()) }

// segmentLimit returns how large the next segment becomes.
func (s *Store) segmentLimit() int64 {
	return min(s.opts.SegmentBytes, max(s.liveBytes.Load()/8, startSegment))
}

// Close writes what is buffered, makes everything durable, waits for what is at
// work in the background, and gives up the directory. Snapshots go on working until
// they are closed. Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed.Swap(true) {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	k := &s.keeper
	k.mu.Lock()
	k.closed = true
	close(k.stop)
	k.changed.Broadcast()
	k.mu.Unlock()
	k.wg.Wait()
	s.flushes.close()
	k.work.Lock()
	defer k.work.Unlock()
	err := failed(s.log.gc.Close())
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	if err == nil {
		err = s.leaveTidy()
	}
	s.pins.drain()
	s.mu.Lock()
	v := s.version
	s.mu.Unlock()
	s.release(v)
	return errors.Join(err, s.lock.Close(), s.closeFS())
}

// leaveTidy indexes the end of the log, so that the next Open need not read
// it, and gives back what is allocated.
func (s *Store) leaveTidy() error {
	s.mu.Lock()
	segments := s.version.segments
	s.mu.Unlock()
	for _, g := range segments {
		if g.sealed {
			continue
		}
		end := g.size()
		if err := g.file.Truncate(end); err != nil {
			return fmt.Errorf("kvstore: %s: %w", g.name(), err)
		}
		if end == headerBytes || end == g.hinted {
			continue
		}
		data, err := s.buildHint(g, end)
		if err != nil {
			return err
		}
		if err := writeHint(s.fs, g.id, data); err != nil {
			return err
		}
	}
	return s.storeManifest(nil)
}
