package kvstore

import (
	"bytes"
	"iter"
	"runtime/debug"
	"sync"
	"time"
)

// An Entry is a key and its value. The bytes are valid until the iteration goes
// on; clone what is to be kept.
type Entry struct {
	Key     []byte
	Value   []byte
	Expires time.Time // zero if never
}

// A Snapshot is the store as it was at one moment. It takes constant time, and
// until it is closed keeps two things: on the disk the segments that it has, also
// those that are merged away, and in memory the leaves of the directory that are
// changed after it, at most one directory for each snapshot. A Snapshot is safe for concurrent use by multiple goroutines.
type Snapshot struct {
	s       *Store
	root    *node
	version *version
	cold    []*segment
	now     int64

	mu     sync.Mutex
	users  int
	closed bool
}

// Snapshot returns the present state. Close it. What has expired by now is not in
// it; what expires later stays.
func (s *Store) Snapshot() (*Snapshot, error) {
	now := s.opts.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return s.snapshot(now), nil
}

// snapshot returns the present state. The lock is held.
func (s *Store) snapshot(now int64) *Snapshot {
	s.version.refs.Add(1)
	return &Snapshot{s: s, root: s.dir.freeze(), version: s.version, cold: s.coldSegments(), now: now}
}

func (n *Snapshot) coldSegments() []*segment { return n.cold }

// Close gives up the snapshot. Reads under way end as they would have. Closing
// twice is no error.
func (n *Snapshot) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.closed = true
		n.leave()
	}
	return nil
}

// leave releases the segments when nobody needs them any more. The lock is
// held.
func (n *Snapshot) leave() {
	if n.closed && n.users == 0 {
		n.s.release(n.version)
	}
}

// enter begins a read, which exit ends.
func (n *Snapshot) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	n.users++
	return nil
}

func (n *Snapshot) exit() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users--
	n.leave()
}

// Get returns the value that a key had, and whether there was one.
func (n *Snapshot) Get(key []byte) (value []byte, ok bool, err error) {
	return n.AppendGet(nil, key)
}

// AppendGet appends the value that a key had to dst.
func (n *Snapshot) AppendGet(dst, key []byte) (value []byte, ok bool, err error) {
	if err := n.enter(); err != nil {
		return dst, false, err
	}
	defer n.exit()
	b := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(b)
	value = dst
	defer n.s.catch(debug.SetPanicOnFault(true), b, &err)
	ok, err = n.s.load(n, key, b)
	if !ok || err != nil {
		return dst, false, err
	}
	if dst == nil {
		dst = make([]byte, 0, len(b.rec.value))
	}
	return append(dst, b.rec.value...), true, nil
}

// Has reports whether there was a key.
func (n *Snapshot) Has(key []byte) (ok bool, err error) {
	if err := n.enter(); err != nil {
		return false, err
	}
	defer n.exit()
	b := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(b)
	defer n.s.catch(debug.SetPanicOnFault(true), b, &err)
	return n.s.load(n, key, b)
}

// Scan iterates over the keys from min up to, but without, max in ascending
// order; nil is no bound. The error, if there is one, comes last, with an empty
// Entry. The body may call anything.
func (n *Snapshot) Scan(min, max []byte) iter.Seq2[Entry, error] { return n.scan(min, max, false) }

// ScanBackward is Scan in descending order: from below max down to min.
func (n *Snapshot) ScanBackward(min, max []byte) iter.Seq2[Entry, error] {
	return n.scan(min, max, true)
}

// Prefix iterates over the keys that begin with prefix, in ascending order.
func (n *Snapshot) Prefix(prefix []byte) iter.Seq2[Entry, error] {
	return n.scan(prefix, after(prefix), false)
}

// PrefixBackward is Prefix in descending order.
func (n *Snapshot) PrefixBackward(prefix []byte) iter.Seq2[Entry, error] {
	return n.scan(prefix, after(prefix), true)
}

// All iterates over all keys in ascending order.
func (n *Snapshot) All() iter.Seq2[Entry, error] { return n.scan(nil, nil, false) }

// after returns the smallest key that is larger than all with a prefix, or
// nil if there is none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

func (n *Snapshot) scan(min, max []byte, backward bool) iter.Seq2[Entry, error] {
	min, max = bytes.Clone(min), bytes.Clone(max)
	return func(yield func(Entry, error) bool) {
		if err := n.enter(); err != nil {
			yield(Entry{}, err)
			return
		}
		defer n.exit()
		if max != nil && bytes.Compare(min, max) >= 0 {
			return
		}
		w := walker{n: n}
		if len(n.cold) > 0 {
			w.cold = newColdWalk(n.cold)
		}
		for err := w.start(min, max, backward); w.valid || err != nil; err = w.step(min, max, backward) {
			var entry Entry
			ok := false
			if err == nil {
				entry, ok, err = w.entry()
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if ok && !yield(entry, nil) {
				return
			}
		}
	}
}

// A walker reads the records that a cursor passes, and those of cold segments.
type walker struct {
	cursor
	n     *Snapshot
	cold  *coldWalk // nil if there are no cold segments
	b     readBuffer
	value []byte

	valid bool // what follows is of the present key
	key   []byte
	at    place
	size  uint32
}

// start goes to the first key within the bounds.
func (w *walker) start(min, max []byte, backward bool) (err error) {
	bound := min
	switch {
	case !backward:
		w.seek(w.n.root, min)
	case max == nil:
		w.end(w.n.root)
		w.prev()
	default:
		w.seek(w.n.root, max)
		w.prev()
	}
	if w.cold != nil {
		if backward {
			bound = max
		}
		defer w.n.s.catch(debug.SetPanicOnFault(true), nil, &err)
		if err := w.cold.seek(bound, backward); err != nil {
			return err
		}
		return w.step(min, max, backward)
	}
	w.look(min, max, backward)
	return nil
}

// step goes to the next key within the bounds.
func (w *walker) step(min, max []byte, backward bool) (err error) {
	switch {
	case w.cold != nil:
		defer w.n.s.catch(debug.SetPanicOnFault(true), nil, &err)
		ok, err := w.cold.next(&w.cursor, backward)
		w.key, w.at, w.size = w.cold.key, w.cold.at, w.cold.size
		w.valid = ok && within(w.key, min, max, backward)
		return err
	case backward:
		w.prev()
	default:
		w.next()
	}
	w.look(min, max, backward)
	return nil
}

// look takes the key that the cursor is at.
func (w *walker) look(min, max []byte, backward bool) {
	if w.valid = w.cursor.valid(); w.valid {
		w.key = w.leaf.appendKey(w.key[:0], w.cursor.at)
		w.at, w.size = w.leaf.items[w.cursor.at].at, w.leaf.items[w.cursor.at].size
		w.valid = within(w.key, min, max, backward)
	}
}

// within reports whether a key is before the end of a range.
func within(key, min, max []byte, backward bool) bool {
	if backward {
		return bytes.Compare(key, min) >= 0
	}
	return max == nil || bytes.Compare(key, max) < 0
}

// entry reads the record of the key; ok is false if there is none that lives.
func (w *walker) entry() (e Entry, ok bool, err error) {
	if w.at.dead() {
		return e, false, nil
	}
	defer w.n.s.catch(debug.SetPanicOnFault(true), &w.b, &err)
	if err := w.n.s.read(w.at, w.size, &w.b); err != nil {
		return e, false, err
	}
	r := &w.b.rec
	if !bytes.Equal(r.key, w.key) {
		return e, false, w.n.s.segment(w.at.slot()).corrupt(w.at.offset(), "record of another key")
	}
	if r.expires != 0 {
		if r.expires <= w.n.now {
			return e, false, nil
		}
		e.Expires = time.UnixMilli(r.expires)
	}
	w.value = append(w.value[:0], r.value...)
	e.Key, e.Value = w.key, w.value
	return e, true, nil
}

// scanNow iterates over a snapshot that it takes when the iteration starts.
func (s *Store) scanNow(min, max []byte, backward bool) iter.Seq2[Entry, error] {
	min, max = bytes.Clone(min), bytes.Clone(max)
	return func(yield func(Entry, error) bool) {
		n, err := s.Snapshot()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer n.Close()
		n.scan(min, max, backward)(yield)
	}
}

// Scan iterates over the keys from min up to, but without, max in ascending
// order; nil is no bound. It shows the store as it was when the iteration began.
// The error, if there is one, comes last, with an empty Entry. The body may
// call anything.
func (s *Store) Scan(min, max []byte) iter.Seq2[Entry, error] { return s.scanNow(min, max, false) }

// ScanBackward is Scan in descending order: from below max down to min.
func (s *Store) ScanBackward(min, max []byte) iter.Seq2[Entry, error] {
	return s.scanNow(min, max, true)
}

// Prefix iterates over the keys that begin with prefix, in ascending order.
func (s *Store) Prefix(prefix []byte) iter.Seq2[Entry, error] {
	return s.scanNow(prefix, after(prefix), false)
}

// PrefixBackward is Prefix in descending order.
func (s *Store) PrefixBackward(prefix []byte) iter.Seq2[Entry, error] {
	return s.scanNow(prefix, after(prefix), true)
}

// All iterates over all keys in ascending order.
func (s *Store) All() iter.Seq2[Entry, error] { return s.scanNow(nil, nil, false) }
