package kvstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/cespare/xxhash/v2"
)

// A hint file lists the keys of a segment in order and where their newest
// records in it are, so that opening a store need not read the segments. It
// is an index, too: it can be searched without reading all of it.
//
//	header   64 bytes
//	 0  8  "ashlarKH"
//	 8  1  version of the format
//	 9  1  kind of the segment
//	16  8  number of the segment
//	24  8  salt of the segment
//	32  8  bytes of the segment that the hint covers
//	40  8  number of entries
//	48  8  smallest LSN
//	60  4  CRC-32C of what precedes
//	blocks   of about 4 KiB: entries, 4 bytes of checksum
//	filter   blocked Bloom filter, 4 bytes of checksum
//	index    for each block its offset and its first key, 4 bytes of checksum
//	footer   32 bytes
//	 0  8  offset of the filter
//	 8  8  offset of the index
//	16  8  number of blocks
//	24  4  CRC-32C of what precedes and of the header
//	28  4  "HINT"
//
// An entry is
//
//	length of what the key shares with the one before; in a block's first, 0
//	length of the rest
//	kind and flags, one byte
//	offset, as a signed difference to the end of the entry before
//	[number in the block]
//	bytes that the record takes
//	[expiry]
//	[LSN, in tables]
//	rest of the key
//
// with all numbers as varints. Checksums are masked as those of records.
const (
	hintMagic   = "ashlarKH"
	hintFooter  = 32
	hintEnd     = "HINT"
	hintBlock   = 4 << 10
	filterLine  = 64 // bytes
	filterBits  = 10 // for a key
	filterTests = 6

	flagIndex = 0x10 // in an entry: it has a number in a block
)

// An entry says where the newest record of a key in a segment is.
type entry struct {
	kind    byte
	index   int
	size    uint32
	offset  int64
	expires int64
	lsn     int64
}

// A hint is an open hint file. It is immutable and so safe for concurrent use.
type hint struct {
	g      *segment
	file   vfs.File
	data   []byte // the whole file, if it is mapped
	unmap  func() error
	covers int64
	count  int
	minLSN int64
	size   int64
	filter []byte
	blocks []int64  // offsets, and the end of the last
	firsts [][]byte // first keys
}

func hintName(id uint64) string { return segmentName(id, "hint") }

func (h *hint) corrupt(offset int64, reason string) error {
	return &CorruptError{File: hintName(h.g.id), Offset: offset, Reason: reason}
}

// A hintWriter makes a hint file of entries that come in ascending order.
type hintWriter struct {
	g      *segment
	buf    []byte
	start  int // of the block at hand
	last   []byte
	end    int64 // of the entry before
	count  int
	minLSN int64
	blocks []int64
	index  []byte
	hashes []uint64
}

func newHintWriter(g *segment) *hintWriter {
	return &hintWriter{g: g, buf: make([]byte, headerBytes, 64<<10), start: headerBytes, minLSN: 1<<63 - 1}
}

func (w *hintWriter) add(key []byte, e *entry) {
	if len(w.buf)-w.start >= hintBlock {
		w.flush()
	}
	shared := 0
	if len(w.buf) == w.start {
		w.blocks = append(w.blocks, int64(w.start))
		w.index = binary.AppendUvarint(w.index, uint64(w.start))
		w.index = binary.AppendUvarint(w.index, uint64(len(key)))
		w.index = append(w.index, key...)
		w.end = 0
	} else {
		shared = common(w.last, key)
	}
	flags := e.kind
	if e.index != 0 {
		flags |= flagIndex
	}
	if e.expires != 0 {
		flags |= flagExpires
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(shared))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(key)-shared))
	w.buf = append(w.buf, flags)
	w.buf = binary.AppendVarint(w.buf, e.offset-w.end)
	if e.index != 0 {
		w.buf = binary.AppendUvarint(w.buf, uint64(e.index))
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(e.size))
	if e.expires != 0 {
		w.buf = binary.AppendUvarint(w.buf, uint64(e.expires))
	}
	if w.g.kind == tableSegment {
		w.buf = binary.AppendUvarint(w.buf, uint64(e.lsn))
	}
	w.buf = append(w.buf, key[shared:]...)
	w.last = append(w.last[:0], key...)
	w.end = e.offset + int64(e.size)
	w.minLSN = min(w.minLSN, e.lsn)
	w.count++
	w.hashes = append(w.hashes, xxhash.Sum64(key))
}

// sum appends the checksum of what has been in the buffer since start.
func (w *hintWriter) sum(start int) {
	c := crc32.Checksum(w.buf[start:], castagnoli) ^ mask(w.g.salt, int64(start))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, c)
}

func (w *hintWriter) flush() {
	if len(w.buf) > w.start {
		w.sum(w.start)
		w.start = len(w.buf)
	}
}

// finish returns the file.
func (w *hintWriter) finish(covers int64) []byte {
	w.flush()
	filter := len(w.buf)
	lines := (len(w.hashes)*filterBits + filterLine*8 - 1) / (filterLine * 8)
	w.buf = append(w.buf, make([]byte, lines*filterLine)...)
	for _, hash := range w.hashes {
		filterAdd(w.buf[filter:filter+lines*filterLine], hash)
	}
	w.sum(filter)
	index := len(w.buf)
	w.buf = append(w.buf, w.index...)
	w.sum(index)

	header := w.buf[:headerBytes]
	copy(header, hintMagic)
	header[8], header[9] = formatVersion, byte(w.g.kind)
	binary.LittleEndian.PutUint64(header[16:], w.g.id)
	binary.LittleEndian.PutUint64(header[24:], w.g.salt)
	binary.LittleEndian.PutUint64(header[32:], uint64(covers))
	binary.LittleEndian.PutUint64(header[40:], uint64(w.count))
	binary.LittleEndian.PutUint64(header[48:], uint64(w.minLSN))
	binary.LittleEndian.PutUint32(header[60:], crc32.Checksum(header[:60], castagnoli))

	footer := make([]byte, 0, hintFooter)
	footer = binary.LittleEndian.AppendUint64(footer, uint64(filter))
	footer = binary.LittleEndian.AppendUint64(footer, uint64(index))
	footer = binary.LittleEndian.AppendUint64(footer, uint64(len(w.blocks)))
	c := crc32.Update(crc32.Checksum(footer, castagnoli), castagnoli, header)
	footer = binary.LittleEndian.AppendUint32(footer, c)
	return append(append(w.buf, footer...), hintEnd...)
}

// writeHint stores a hint file durably, but for its directory entry.
func writeHint(fs vfs.FS, id uint64, data []byte) error {
	f, err := fs.OpenFile(hintName(id), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("kvstore: %w", err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return full(hintName(id), errors.Join(err, fs.Remove(hintName(id))))
	}
	return nil
}

// openHint opens the hint file of a segment. It verifies all but the blocks.
func openHint(fs vfs.FS, g *segment) (*hint, error) {
	f, err := fs.OpenFile(hintName(g.id), os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("kvstore: %w", err)
	}
	h := &hint{g: g, file: f}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// verify reads all blocks.
func (h *hint) verify() error {
	var scratch []byte
	for i := range h.firsts {
		if _, err := h.checked(h.blocks[i], h.blocks[i+1], &scratch); err != nil {
			return err
		}
	}
	return nil
}

func (h *hint) close() error {
	var err error
	if h.unmap != nil {
		h.g.hintView.Store(nil)
		err = h.unmap()
	}
	h.data, h.filter, h.firsts = nil, nil, nil
	return errors.Join(err, h.file.Close())
}

func (h *hint) load() error {
	var err error
	if h.size, err = h.file.Size(); err != nil {
		return fmt.Errorf("kvstore: %w", err)
	}
	if h.size < headerBytes+4+4+hintFooter {
		return h.corrupt(-1, "hint is too short")
	}
	if !h.g.noMap {
		if data, unmap, err := h.file.Map(); err == nil {
			h.data, h.unmap = data, unmap
			h.g.hintView.Store(&data)
		}
	}
	var a, b, c []byte
	header, err := h.read(0, headerBytes, &a)
	if err != nil {
		return err
	}
	footer, err := h.read(h.size-hintFooter, hintFooter, &b)
	if err != nil {
		return err
	}
	sum := crc32.Update(crc32.Checksum(footer[:24], castagnoli), castagnoli, header)
	switch {
	case string(header[:8]) != hintMagic || string(footer[28:]) != hintEnd:
		return h.corrupt(0, "no hint")
	case sum != binary.LittleEndian.Uint32(footer[24:]):
		return h.corrupt(0, "bad checksum of the header")
	case header[8] != formatVersion:
		return fmt.Errorf("kvstore: %s: version %d: %w", hintName(h.g.id), header[8], ErrFormat)
	case segmentKind(header[9]) != h.g.kind, binary.LittleEndian.Uint64(header[16:]) != h.g.id, binary.LittleEndian.Uint64(header[24:]) != h.g.salt:
		return h.corrupt(0, "hint of another segment")
	}
	h.covers = int64(binary.LittleEndian.Uint64(header[32:]))
	h.count = int(binary.LittleEndian.Uint64(header[40:]))
	h.minLSN = int64(binary.LittleEndian.Uint64(header[48:]))
	filter := int64(binary.LittleEndian.Uint64(footer))
	index := int64(binary.LittleEndian.Uint64(footer[8:]))
	blocks := int64(binary.LittleEndian.Uint64(footer[16:]))
	if filter < headerBytes || index < filter+4 || index > h.size-hintFooter-4 || (index-4-filter)%filterLine != 0 || blocks < 0 || blocks > index {
		return h.corrupt(h.size-hintFooter, "bad footer")
	}
	if h.filter, err = h.checked(filter, index, new([]byte)); err != nil {
		return err
	}
	list, err := h.checked(index, h.size-hintFooter, &c)
	if err != nil {
		return err
	}
	h.g.hintBytes.Store(h.size)
	return h.parseIndex(list, filter, int(blocks))
}

func (h *hint) parseIndex(list []byte, end int64, blocks int) error {
	h.blocks, h.firsts = make([]int64, 0, blocks+1), make([][]byte, 0, blocks)
	last := int64(0)
	for range blocks {
		at, n := binary.Uvarint(list)
		length, m := binary.Uvarint(list[max(n, 0):])
		if n <= 0 || m <= 0 || int64(at) < headerBytes || int64(at) <= last || int64(at) >= end || length > uint64(len(list)-n-m) {
			return h.corrupt(-1, "bad index")
		}
		last = int64(at)
		list = list[n+m:]
		h.blocks = append(h.blocks, last)
		h.firsts = append(h.firsts, list[:length])
		list = list[length:]
	}
	h.blocks = append(h.blocks, end)
	return nil
}

// read returns n bytes at an offset, in the mapping or in scratch.
func (h *hint) read(at int64, n int, scratch *[]byte) ([]byte, error) {
	if h.data != nil {
		return h.data[at : at+int64(n)], nil
	}
	if cap(*scratch) < n {
		*scratch = make([]byte, n)
	}
	b := (*scratch)[:n]
	if _, err := h.file.ReadAt(b, at); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, h.corrupt(at, "file is too short")
		}
		return nil, fmt.Errorf("kvstore: %s: %w", hintName(h.g.id), err)
	}
	return b, nil
}

// checked returns what is between two offsets, without the checksum at its
// end, which it verifies.
func (h *hint) checked(from, to int64, scratch *[]byte) ([]byte, error) {
	b, err := h.read(from, int(to-from), scratch)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 {
		return nil, h.corrupt(from, "cut block")
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli)^mask(h.g.salt, from) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, h.corrupt(from, "bad checksum")
	}
	return body, nil
}

// filterAdd sets the bits of a hash in its line.
func filterAdd(filter []byte, hash uint64) {
	line, bits := filterAt(filter, hash)
	for range filterTests {
		filter[line+int(bits>>3&63)] |= 1 << (bits & 7)
		bits >>= 9
	}
}

// filterAt returns the line of a hash and the bits to look at, 9 for each.
func filterAt(filter []byte, hash uint64) (line int, bits uint64) {
	lines := uint64(len(filter) / filterLine)
	return int((hash>>32)*lines>>32) * filterLine, hash * 0x9e3779b97f4a7c15
}

// may reports whether the hint may have the key with that hash; if not, it
// has not.
func (h *hint) may(hash uint64) bool {
	if len(h.filter) == 0 {
		return false
	}
	line, bits := filterAt(h.filter, hash)
	for range filterTests {
		if h.filter[line+int(bits>>3&63)]&(1<<(bits&7)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

// find looks for a key.
func (h *hint) find(key []byte, hash uint64) (e entry, ok bool, err error) {
	if !h.may(hash) {
		return e, false, nil
	}
	var c hintCursor
	if err := c.seek(h, key); err != nil || !c.valid() || !bytes.Equal(c.key, key) {
		return e, false, err
	}
	return c.entry, true, nil
}
