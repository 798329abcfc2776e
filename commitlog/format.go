package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// The file of a segment; doc.go draws it. Numbers are big-endian.
const (
	formatVersion = 1

	sectorSize = 512
	headerSize = 4096           // header, two checkpoints, zeros; frames follow
	slotA      = 1 * sectorSize // the checkpoints lie in sectors of their own,
	slotB      = 2 * sectorSize // so that a torn write harms only one

	checkSize    = 4              // before each batch and mark
	markSize     = checkSize + 24 // check, -1, durable position, offset there
	frameMinimum = checkSize + batchHeader
	guarded      = 21 // bytes of a batch under the check: up to the end of its own checksum

	indexHeader = 16
	entrySize   = 24
)

var segmentMagic = [8]byte{0x89, 'a', 's', 'h', 'l', 'o', 'g', '\n'}

const segmentSuffix = ".log"

func segmentName(base int64) string { return fmt.Sprintf("%020d%s", base, segmentSuffix) }

// parseSegmentName returns the base offset in the name of a segment.
func parseSegmentName(name string) (base int64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0
}

// An identity is what a segment's header says, once for the whole life of the
// file.
type identity struct {
	base    int64  // the lowest offset that a record in it can have
	salt    uint64 // random: frames of another file are not taken for its own
	created int64  // milliseconds
	seed    uint32 // checksum of the salt
}

func newIdentity(base int64, now time.Time) identity {
	return identity{base: base, salt: rand.Uint64(), created: millis(now)}.seeded()
}

func (id identity) seeded() identity {
	id.seed = checksumUint64(0, id.salt)
	return id
}

// checksumUint64 goes on with a checksum over the eight bytes of v.
func checksumUint64(sum uint32, v uint64) uint32 {
	sum = ^sum
	for shift := 56; shift >= 0; shift -= 8 {
		sum = castagnoli[byte(sum)^byte(v>>shift)] ^ sum>>8
	}
	return ^sum
}

// append encodes the header:
//
//	magic 8 │ checksum of the rest 4 │ version 4 │ base 8 │ salt 8 │ created 8
func (id identity) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic[:]...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, formatVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id.base))
	dst = binary.BigEndian.AppendUint64(dst, id.salt)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id.created))
	binary.BigEndian.PutUint32(dst[start+8:], crc32.Checksum(dst[start+12:], castagnoli))
	return dst
}

// parseIdentity decodes what append made.
func parseIdentity(b []byte) (id identity, reason string, version uint32) {
	const size = 40
	switch {
	case len(b) < size:
		return id, "header cut off", 0
	case [8]byte(b) != segmentMagic:
		return id, "not the header of a segment", 0
	case crc32.Checksum(b[12:size], castagnoli) != binary.BigEndian.Uint32(b[8:]):
		return id, "bad checksum of the header", 0
	}
	return identity{
		base:    int64(binary.BigEndian.Uint64(b[16:])),
		salt:    binary.BigEndian.Uint64(b[24:]),
		created: int64(binary.BigEndian.Uint64(b[32:])),
	}.seeded(), "", binary.BigEndian.Uint32(b[12:])
}

// A checkpoint says up to where a segment is durable and what is there. It is
// written after the sync, so it is true whenever it can be read.
type checkpoint struct {
	seq      uint64 // the higher of the two counts
	position int64  // frames before it are durable
	next     int64  // the offset after those frames
	latest   int64  // the highest timestamp in them, in milliseconds
	start    int64  // records below it are deleted
	index    int64  // if the segment is sealed: bytes of the index at position; else 0
}

func (c checkpoint) sealed() bool { return c.index > 0 }

const checkpointSize = 4 + 4 + 9*8

// append encodes the checkpoint together with the identity, so that the file
// can be read when the header cannot:
//
//	checksum of the rest 4 │ version 4 │ base 8 │ salt 8 │ created 8 │
//	seq 8 │ position 8 │ next 8 │ latest 8 │ start 8 │ index 8
func (c checkpoint) append(dst []byte, id identity) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, formatVersion)
	for _, v := range [...]uint64{
		uint64(id.base), id.salt, uint64(id.created),
		c.seq, uint64(c.position), uint64(c.next), uint64(c.latest), uint64(c.start), uint64(c.index),
	} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	binary.BigEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+4:], castagnoli))
	return dst
}

// parseCheckpoint decodes what append made.
func parseCheckpoint(b []byte) (c checkpoint, id identity, ok bool) {
	if len(b) < checkpointSize || crc32.Checksum(b[4:checkpointSize], castagnoli) != binary.BigEndian.Uint32(b) ||
		binary.BigEndian.Uint32(b[4:]) != formatVersion {
		return c, id, false
	}
	field := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8+8*i:])) }
	id = identity{base: field(0), salt: uint64(field(1)), created: field(2)}.seeded()
	c = checkpoint{seq: uint64(field(3)), position: field(4), next: field(5), latest: field(6), start: field(7), index: field(8)}
	sane := c.position >= headerSize && c.next >= id.base && id.base >= 0 && c.index >= 0 && c.index < 1<<40
	return c, id, sane
}

// check is the checksum in front of a batch or mark: of the salt, the position
// of the frame in the file, and the first bytes of what follows. It covers
// what the checksum of a batch leaves out, and tells a frame from bytes that
// look like one because somebody has stored a log in a log.
func (id identity) check(position int64, guardedBytes []byte) uint32 {
	return crc32.Update(checksumUint64(id.seed, uint64(position)), castagnoli, guardedBytes)
}

// appendMark appends a frame for the position that says up to where the
// segment was durable when it was written, and which offset came next there.
func (id identity) appendMark(dst []byte, position, durable, next int64) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(0))
	dst = binary.BigEndian.AppendUint64(dst, uint64(durable))
	dst = binary.BigEndian.AppendUint64(dst, uint64(next))
	binary.BigEndian.PutUint32(dst[start:], id.check(position, dst[start+checkSize:]))
	return dst
}

// sealFrame sets the check in front of a batch.
func (id identity) sealFrame(frame []byte, position int64) {
	binary.BigEndian.PutUint32(frame, id.check(position, frame[checkSize:checkSize+guarded]))
}

// A frame is what parse finds.
type frame struct {
	size    int    // in the file
	batch   Batch  // nil for a mark
	durable int64  // of a mark: the position
	next    int64  // of a mark: the offset
	reason  string // what is wrong, "" if nothing is
	short   int    // more than the given bytes are needed: this many; 0 if not
}

// parse decodes the frame at the beginning of b, which lies at the position of
// the file. No frame reaches beyond limit. If deep is false the bytes after
// the header of a batch are not looked at and need not be there.
func (id identity) parse(b []byte, position, limit int64, deep bool) frame {
	room := limit - position
	if room < markSize {
		return frame{reason: "frame cut off"}
	}
	if len(b) < markSize {
		return frame{short: markSize}
	}
	want := binary.BigEndian.Uint32(b)
	body := b[checkSize:]
	if int64(binary.BigEndian.Uint64(body)) == -1 {
		durable, next := int64(binary.BigEndian.Uint64(body[8:])), int64(binary.BigEndian.Uint64(body[16:]))
		if id.check(position, body[:markSize-checkSize]) != want || durable > position || durable < headerSize {
			return frame{reason: "bad durable mark"}
		}
		return frame{size: markSize, durable: durable, next: next}
	}
	if room < frameMinimum {
		return frame{reason: "frame cut off"}
	}
	if len(b) < frameMinimum {
		return frame{short: frameMinimum}
	}
	if id.check(position, body[:guarded]) != want {
		return frame{reason: "bad frame header"}
	}
	size := checkSize + int64(Batch(body).Len())
	switch {
	case size < frameMinimum || size > room:
		return frame{reason: "bad frame length"}
	case !deep:
		return frame{size: int(size), batch: Batch(body[:min(len(body), int(size)-checkSize)])}
	case int64(len(b)) < size:
		return frame{short: int(size)}
	}
	batch := Batch(body[: size-checkSize : size-checkSize])
	return frame{size: int(size), batch: batch, reason: batch.check()}
}
