package kvstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A segment file begins with a header of 64 bytes:
//
//	 0  8  "ashlarKV"
//	 8  1  version of the format
//	 9  1  kind: log or table
//	16  8  number
//	24  8  salt, random
//	32  8  base: LSN of the first byte after the header (log)
//	40  8  number of the log segment before (log)
//	48  8  bytes of the log segment before (log)
//	60  4  CRC-32C of what precedes
//
// Records follow. A log segment is written in the order of arrival, a table
// by a merge, in the order of keys, without deleted and dead ones.
const (
	headerBytes   = 64
	formatVersion = 1
	segmentMagic  = "ashlarKV"
)

type segmentKind byte

const (
	logSegment   segmentKind = 1
	tableSegment segmentKind = 2
)

func (k segmentKind) String() string {
	if k == tableSegment {
		return "table"
	}
	return "log"
}

// segmentName returns the name of a file of segment id.
func segmentName(id uint64, suffix string) string { return fmt.Sprintf("%016x.%s", id, suffix) }

// A segment is one file of records, full or not.
type segment struct {
	id       uint64
	kind     segmentKind
	salt     uint64
	base     int64 // LSN of the first byte after the header
	prevID   uint64
	prevSize int64
	slot     uint32
	file     vfs.File
	noMap    bool

	end      atomic.Int64 // size in bytes once it is full, else 0
	written  atomic.Int64 // bytes in the file that are valid
	room     atomic.Int64 // bytes that are allocated
	view     atomic.Pointer[[]byte]
	hintView atomic.Pointer[[]byte] // the mapping of its hint, if there is one

	live      atomic.Int64 // bytes of records that the directory points to, or that must stay
	refs      atomic.Int64 // versions that have it
	hint      *hint        // nil until it is full and indexed
	expiry    expiries
	sealed    bool        // in the manifest; the work lock
	cold      atomic.Bool // its keys are in its hint only
	hinted    int64       // how far the hint on the disk goes that Open has found
	hintBytes atomic.Int64
	synced    atomic.Bool // its header is durable
	damaged   bool        // a merge could not read it, or its hint; the work lock
	dropped   atomic.Bool // merged away: its files go with it

	mu     sync.Mutex
	unmaps []func() error
	views  [][]byte // all that are mapped: a read may still have the view before the present one
}

func (g *segment) name() string {
	if g.kind == tableSegment {
		return segmentName(g.id, "tab")
	}
	return segmentName(g.id, "log")
}

// size returns the number of bytes that are in use.
func (g *segment) size() int64 {
	if end := g.end.Load(); end != 0 {
		return end
	}
	return g.written.Load()
}

func (g *segment) corrupt(offset int64, reason string) error {
	return &CorruptError{File: g.name(), Offset: offset, Reason: reason}
}

// header returns the first bytes of the file.
func (g *segment) header() []byte {
	b := make([]byte, headerBytes)
	copy(b, segmentMagic)
	b[8], b[9] = formatVersion, byte(g.kind)
	binary.LittleEndian.PutUint64(b[16:], g.id)
	binary.LittleEndian.PutUint64(b[24:], g.salt)
	binary.LittleEndian.PutUint64(b[32:], uint64(g.base))
	binary.LittleEndian.PutUint64(b[40:], g.prevID)
	binary.LittleEndian.PutUint64(b[48:], uint64(g.prevSize))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// parseHeader reads what header has made.
func (g *segment) parseHeader(b []byte) error {
	if len(b) < headerBytes || string(b[:8]) != segmentMagic {
		return g.corrupt(0, "no header")
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return g.corrupt(0, "bad checksum of the header")
	}
	if b[8] != formatVersion {
		return fmt.Errorf("kvstore: %s: version %d: %w", g.name(), b[8], ErrFormat)
	}
	if segmentKind(b[9]) != g.kind || binary.LittleEndian.Uint64(b[16:]) != g.id {
		return g.corrupt(0, "header of another file")
	}
	g.salt = binary.LittleEndian.Uint64(b[24:])
	g.base = int64(binary.LittleEndian.Uint64(b[32:]))
	g.prevID = binary.LittleEndian.Uint64(b[40:])
	g.prevSize = int64(binary.LittleEndian.Uint64(b[48:]))
	return nil
}

// openSegment opens the file of a segment and reads its header.
func openSegment(fs vfs.FS, id uint64, kind segmentKind, noMap bool) (*segment, error) {
	g := &segment{id: id, kind: kind, noMap: noMap}
	flag := os.O_RDWR
	if kind == tableSegment {
		flag = os.O_RDONLY
	}
	file, err := fs.OpenFile(g.name(), flag, 0)
	if err != nil {
		return nil, fmt.Errorf("kvstore: %w", err)
	}
	g.file = file
	b := make([]byte, headerBytes)
	if n, err := file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("kvstore: %s: %w", g.name(), err), file.Close())
	} else if err := g.parseHeader(b[:n]); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return g, nil
}

// blockError says where a block is that cannot be decompressed.
func (g *segment) blockError(offset int64, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrCodec) {
		return fmt.Errorf("kvstore: %s: block at byte %d: %w", g.name(), offset, err)
	}
	return g.corrupt(offset, "bad block: "+err.Error())
}

// remap maps the file as long as it is now.
func (g *segment) remap() {
	if g.noMap {
		return
	}
	data, unmap, err := g.file.Map()
	if err != nil {
		return // reads use the file
	}
	g.mu.Lock()
	g.unmaps, g.views = append(g.unmaps, unmap), append(g.views, data)
	g.mu.Unlock()
	g.view.Store(&data)
}

// close gives up the mappings and the file. Nobody may be reading.
func (g *segment) close() error {
	var err error
	g.view.Store(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, unmap := range g.unmaps {
		err = errors.Join(err, unmap())
	}
	g.unmaps, g.views = nil, nil
	return errors.Join(err, g.file.Close())
}

// bytes returns n bytes at offset, or fewer at the end of what is written. They
// are in the mapping or in scratch, which grows as needed.
func (g *segment) bytes(offset int64, n int, scratch *[]byte) ([]byte, error) {
	if left := g.written.Load() - offset; int64(n) > left {
		n = int(max(left, 0))
	}
	if view := g.view.Load(); view != nil && offset+int64(n) <= int64(len(*view)) {
		return (*view)[offset : offset+int64(n)], nil
	}
	if cap(*scratch) < n {
		*scratch = make([]byte, n+n/4)
	}
	b := (*scratch)[:n]
	if _, err := g.file.ReadAt(b, offset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, g.corrupt(offset, "file is too short")
		}
		return nil, fmt.Errorf("kvstore: %s: read at byte %d: %w", g.name(), offset, err)
	}
	return b, nil
}

// walk calls visit for every put and delete in the segment up to limit, in
// the order of the file, also for those in blocks, and mark for every mark. The
// record is valid until visit returns. It returns where the first record is that
// is not valid, or limit, and what is wrong with it.
//
// To visit, index is the number of the record in its block, size what it takes
// in the segment.
func (g *segment) walk(from, limit int64, known codecs, visit func(offset int64, index int, size uint32, r *record) error, mark func(durable int64)) (end int64, reason string, err error) {
	w := window{g: g, limit: limit}
	var block []byte
	var r record
	for at := from; at < limit; {
		b, err := w.record(at)
		if err != nil {
			return at, "", err
		}
		n := 0
		switch {
		case len(b) < crcBytes+1:
			return at, "cut record", nil
		case b[crcBytes] == kindMark:
			durable, ok := parseMark(b, g.salt, at)
			if !ok {
				return at, "bad checksum", nil
			}
			if mark != nil {
				mark(durable)
			}
			n = markBytes
		case b[crcBytes] == kindBlock:
			h, packed, reason := parseBlock(b, g.salt, at)
			if reason != "" {
				return at, reason, nil
			}
			if block, err = known.decode(block[:0], h, packed); err != nil {
				return at, "", g.blockError(at, err)
			}
			n = blockBytes + h.packed
			if err := g.walkBlock(block, at, n, visit); err != nil {
				return at, "", err
			}
		default:
			if n, reason = parseRecord(b, g.salt, at, &r); reason != "" {
				return at, reason, nil
			}
			if err := visit(at, 0, uint32(n), &r); err != nil {
				return at, "", err
			}
		}
		at += int64(n)
	}
	return limit, "", nil
}

// A window reads a segment from its beginning to its end.
type window struct {
	g     *segment
	limit int64
	buf   []byte // from the offset at
	at    int64
	space []byte
}

// windowBytes is what a window reads at a time; records may be larger.
const windowBytes = 128 << 10

// record returns at least the record at an offset, or what there is of it.
func (w *window) record(at int64) ([]byte, error) {
	const enough = 64 // for the lengths of a record
	b, err := w.bytes(at, enough, windowBytes)
	if err != nil {
		return nil, err
	}
	if n := recordBytes(b); n > len(b) {
		return w.bytes(at, n, n)
	}
	return b, nil
}

// bytes returns need bytes from the offset, or what there is, and reads want
// if it has to.
func (w *window) bytes(at int64, need, want int) ([]byte, error) {
	left := w.limit - at
	need = int(min(int64(need), left))
	if skip := at - w.at; skip >= 0 && skip+int64(need) <= int64(len(w.buf)) {
		return w.buf[skip:], nil
	}
	var err error
	w.at = at
	w.buf, err = w.g.bytes(at, int(min(int64(max(need, want)), left)), &w.space)
	return w.buf, err
}

// recordBytes returns how long the record or block is that begins with b,
// according to its unverified lengths, or 0.
func recordBytes(b []byte) int {
	if len(b) > crcBytes && b[crcBytes] == kindBlock {
		h, reason := parseBlockHeader(b)
		if reason != "" {
			return 0
		}
		return blockBytes + h.packed
	}
	if len(b) < crcBytes+1 {
		return 0
	}
	flags := b[crcBytes]
	at := crcBytes + 1
	total := uint64(0)
	keyLen, n := binary.Uvarint(b[at:])
	if n <= 0 || keyLen > MaxKeyBytes {
		return 0
	}
	at += n
	if flags&kindMask == kindPut {
		valueLen, n := binary.Uvarint(b[at:])
		if n <= 0 || valueLen > MaxValueBytes {
			return 0
		}
		at += n
		total += valueLen
	}
	if flags&flagExpires != 0 {
		at += 8
	}
	if flags&flagLSN != 0 {
		at += 8
	}
	return at + int(total+keyLen)
}

// walkBlock visits the records of a block of n bytes at offset.
func (g *segment) walkBlock(block []byte, offset int64, n int, visit func(offset int64, index int, size uint32, r *record) error) error {
	var r record
	total := len(block)
	for index := 0; len(block) > 0; index++ {
		length, reason := parseBody(block, &r)
		if reason != "" || index == maxInBlock {
			return g.corrupt(offset, "bad block: "+reason)
		}
		if err := visit(offset, index, share(length, n, total), &r); err != nil {
			return err
		}
		block = block[length:]
	}
	return nil
}

// share returns what a record of length bytes takes of a block of n bytes
// that holds total bytes of records.
func share(length, n, total int) uint32 {
	return max(uint32(int64(length)*int64(n)/int64(max(total, 1))), 1)
}

// lsn returns the LSN of the record at an offset in a log segment.
func (g *segment) lsn(offset int64) int64 { return g.base + offset - headerBytes }

// offset returns where the record with an LSN is in a log segment.
func (g *segment) offset(lsn int64) int64 { return lsn - g.base + headerBytes }
