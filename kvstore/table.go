package kvstore

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"

	"github.com/cespare/xxhash/v2"
)

func newSalt() uint64 { return rand.Uint64() | 1 }

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) }

// A tableWriter writes a table and its hint.
type tableWriter struct {
	s     *Store
	g     *segment
	hint  *hintWriter
	buf   []byte // not yet written
	at    int64  // of buf in the file
	count int

	block   []byte // records that wait for compression
	entries []hintEntry
	packed  []byte
}

// A hintEntry is an entry that is not yet in the hint, with the length of its
// key, which follows those before in keys, and of its record in the block.
type hintEntry struct {
	entry
	key    []byte
	length int
}

const (
	blockTarget = 8 << 10
	tableBuffer = 256 << 10
)

func newTableWriter(s *Store) (*tableWriter, error) {
	g := &segment{kind: tableSegment, salt: newSalt(), noMap: s.opts.NoMap}
	s.mu.Lock()
	err := s.newLog(g)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	w := &tableWriter{s: s, g: g, hint: newHintWriter(g)}
	if g.file, err = s.fs.OpenFile(g.name(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		s.freeSlot(g)
		return nil, full(g.name(), err)
	}
	w.buf = append(w.buf, g.header()...)
	return w, nil
}

// size returns how large the table is, without what waits for compression.
func (w *tableWriter) size() int64 { return w.at + int64(len(w.buf)) + int64(len(w.block)) }

// add appends a record; keys come in ascending order.
func (w *tableWriter) add(r *record) error {
	w.count++
	e := entry{kind: r.kind, expires: r.expires, lsn: r.lsn}
	if w.s.opts.Codec == nil || len(r.value) >= w.s.opts.RawBytes {
		if err := w.flushBlock(); err != nil {
			return err
		}
		return w.addRaw(r, &e)
	}
	before := len(w.block)
	w.block = appendBody(w.block, r)
	w.entries = append(w.entries, hintEntry{entry: e, key: append([]byte(nil), r.key...), length: len(w.block) - before})
	if len(w.block) >= blockTarget || len(w.entries) == buried {
		return w.flushBlock()
	}
	return nil
}

// addRaw appends a record that is not in a block.
func (w *tableWriter) addRaw(r *record, e *entry) error {
	e.offset = w.at + int64(len(w.buf))
	before := len(w.buf)
	w.buf = appendRecord(w.buf, r)
	remask(w.buf[before:], w.g.salt, e.offset)
	e.size = uint32(len(w.buf) - before)
	w.hint.add(r.key, e)
	return w.spill()
}

// flushBlock compresses the records that wait for it, or writes them as they
// are if that does not save an eighth.
func (w *tableWriter) flushBlock() error {
	if len(w.entries) == 0 {
		return nil
	}
	total := len(w.block)
	w.packed = w.s.opts.Codec.Append(w.packed[:0], w.block)
	if len(w.packed) > total-total/8 || len(w.packed) > 2*maxBlock {
		return w.flushRaw()
	}
	offset := w.at + int64(len(w.buf))
	w.buf = appendBlock(w.buf, w.s.opts.Codec.ID(), total, w.packed, w.g.salt, offset)
	n := blockBytes + len(w.packed)
	w.s.counters.rawBytes.Add(int64(total))
	w.s.counters.packedBytes.Add(int64(n))
	for i := range w.entries {
		e := &w.entries[i]
		e.offset, e.index, e.size = offset, i, share(e.length, n, total)
		w.hint.add(e.key, &e.entry)
	}
	w.block, w.entries = w.block[:0], w.entries[:0]
	return w.spill()
}

func (w *tableWriter) flushRaw() error {
	at := 0
	for i := range w.entries {
		e := &w.entries[i]
		e.offset = w.at + int64(len(w.buf))
		before := len(w.buf)
		w.buf = append(w.buf, 0, 0, 0, 0)
		w.buf = append(w.buf, w.block[at:at+e.length]...)
		binary.LittleEndian.PutUint32(w.buf[before:], crc32.Checksum(w.buf[before+crcBytes:], castagnoli))
		remask(w.buf[before:], w.g.salt, e.offset)
		e.size = uint32(e.length + crcBytes)
		at += e.length
		w.hint.add(e.key, &e.entry)
	}
	w.block, w.entries = w.block[:0], w.entries[:0]
	return w.spill()
}

// spill writes the buffer once it is large.
func (w *tableWriter) spill() error {
	if len(w.buf) < tableBuffer {
		return nil
	}
	return w.write()
}

func (w *tableWriter) write() error {
	if _, err := w.g.file.WriteAt(w.buf, w.at); err != nil {
		return full(w.g.name(), err)
	}
	w.at += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// finish makes the table and its hint durable, but for their directory
// entries, and opens the hint.
func (w *tableWriter) finish() error {
	if err := w.flushBlock(); err != nil {
		return err
	}
	if err := w.write(); err != nil {
		return err
	}
	if err := w.g.file.Sync(); err != nil {
		return full(w.g.name(), err)
	}
	w.g.end.Store(w.at)
	w.g.written.Store(w.at)
	w.g.remap()
	if err := writeHint(w.s.fs, w.g.id, w.hint.finish(w.at)); err != nil {
		return err
	}
	var err error
	w.g.hint, err = openHint(w.s.fs, w.g)
	return err
}
