package kvstore

import (
	"encoding/binary"
	"hash/crc32"
)

// A record is what a segment consists of, after its header:
//
//	0  4  checksum: CRC-32C of all that follows, xor a mask that depends on
//	      the segment and the position, so that a record that is somewhere else,
//	      or a copy of one in a value, is not taken for one
//	4  1  kind, and flags
//	5  …  length of the key, uvarint
//	   …  length of the value, uvarint; not in a delete
//	  [8] expiry, milliseconds since 1970; if flagged
//	  [8] LSN; if flagged
//	   …  key, value
//
// A mark has 8 bytes after the kind, the LSN up to which the log was durable
// when the mark was written. A block has the codec, the lengths before and
// after, and compressed records without checksums:
//
//	 4  1  kind
//	 5  1  codec
//	 6  4  length of the records
//	10  4  length of what follows
//	14  …  compressed records
//
// The LSN of a record is its position in the log, counted over all segments.
// Of two records of a key the one with the larger LSN is valid. In a log
// segment it follows from the position; in a table it is in the record.
type record struct {
	kind    byte
	flags   byte
	expires int64 // milliseconds; 0 for never
	lsn     int64 // 0 if it is not in the record
	key     []byte
	value   []byte
}

const (
	kindPut    = 1
	kindDelete = 2
	kindMark   = 3
	kindBlock  = 4
	kindMask   = 0x0f

	flagMore    = 0x10 // the next record belongs to the same batch
	flagLater   = 0x80 // the one before does
	flagExpires = 0x20
	flagLSN     = 0x40

	crcBytes   = 4
	markBytes  = 13
	blockBytes = 14 // before the compressed records

	maxBlock = 256 << 10 // of records in a block
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mask is what the checksum of a record at offset is combined with.
func mask(salt uint64, offset int64) uint32 {
	x := (salt ^ uint64(offset)) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return uint32(x >> 32)
}

// appendBody appends a record without its checksum to dst.
func appendBody(dst []byte, r *record) []byte {
	flags := r.flags
	if r.expires != 0 {
		flags |= flagExpires
	}
	if r.lsn != 0 {
		flags |= flagLSN
	}
	dst = append(dst, r.kind|flags)
	dst = binary.AppendUvarint(dst, uint64(len(r.key)))
	if r.kind == kindPut {
		dst = binary.AppendUvarint(dst, uint64(len(r.value)))
	}
	if r.expires != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.expires))
	}
	if r.lsn != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.lsn))
	}
	dst = append(dst, r.key...)
	if r.kind == kindPut {
		dst = append(dst, r.value...)
	}
	return dst
}

// appendRecord appends a record to dst, with a checksum that is not yet
// masked.
func appendRecord(dst []byte, r *record) []byte {
	at := len(dst)
	dst = appendBody(append(dst, 0, 0, 0, 0), r)
	binary.LittleEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+crcBytes:], castagnoli))
	return dst
}

// appendMark appends a mark, masked for its place.
func appendMark(dst []byte, durable int64, salt uint64, offset int64) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, kindMark)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(durable))
	binary.LittleEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+crcBytes:], castagnoli)^mask(salt, offset))
	return dst
}

// remask turns an unmasked checksum at the start of b into a masked one.
func remask(b []byte, salt uint64, offset int64) {
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)^mask(salt, offset))
}

// parseMark reads a mark at the start of b.
func parseMark(b []byte, salt uint64, offset int64) (durable int64, ok bool) {
	if len(b) < markBytes || b[crcBytes] != kindMark {
		return 0, false
	}
	sum := crc32.Checksum(b[crcBytes:markBytes], castagnoli) ^ mask(salt, offset)
	return int64(binary.LittleEndian.Uint64(b[crcBytes+1:])), sum == binary.LittleEndian.Uint32(b)
}

// parseBody reads the record at the start of b, which has no checksum, and
// returns how long it is, or what is wrong with it. The record points into b.
func parseBody(b []byte, r *record) (n int, reason string) {
	if len(b) == 0 {
		return 0, "cut record"
	}
	r.kind, r.flags = b[0]&kindMask, b[0]&^kindMask
	if r.kind != kindPut && r.kind != kindDelete {
		return 0, "unknown kind of record"
	}
	at := 1
	var keyLen, valueLen uint64
	// Lengths below 128 take one byte; most do.
	if at < len(b) && b[at] < 0x80 {
		keyLen = uint64(b[at])
		at++
	} else {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 || v > MaxKeyBytes {
			return 0, "bad length of a key"
		}
		keyLen = v
		at += n
	}
	if r.kind == kindPut {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 || v > MaxValueBytes {
			return 0, "bad length of a value"
		}
		valueLen = v
		at += n
	}
	r.expires, r.lsn = 0, 0
	extra := 0
	if r.flags&flagExpires != 0 {
		extra += 8
	}
	if r.flags&flagLSN != 0 {
		extra += 8
	}
	if uint64(len(b)-at) < uint64(extra)+keyLen+valueLen {
		return 0, "cut record"
	}
	if r.flags&flagExpires != 0 {
		r.expires = int64(binary.LittleEndian.Uint64(b[at:]))
		at += 8
	}
	if r.flags&flagLSN != 0 {
		r.lsn = int64(binary.LittleEndian.Uint64(b[at:]))
		at += 8
	}
	end := at + int(keyLen)
	r.key = b[at:end:end]
	at, end = end, end+int(valueLen)
	r.value = b[at:end:end]
	return end, ""
}

// parseRecord reads the put or delete at the start of b, which lies at offset
// in a segment with that salt, and verifies it.
func parseRecord(b []byte, salt uint64, offset int64, r *record) (n int, reason string) {
	if len(b) < crcBytes+1 {
		return 0, "cut record"
	}
	n, reason = parseBody(b[crcBytes:], r)
	if reason != "" {
		return 0, reason
	}
	n += crcBytes
	if crc32.Checksum(b[crcBytes:n], castagnoli)^mask(salt, offset) != binary.LittleEndian.Uint32(b) {
		return 0, "bad checksum"
	}
	return n, ""
}

// A blockHeader is what a block begins with.
type blockHeader struct {
	codec  byte
	length int // of the records
	packed int // of the compressed records
}

// parseBlockHeader reads what precedes the compressed records; it does not
// verify them.
func parseBlockHeader(b []byte) (h blockHeader, reason string) {
	if len(b) < blockBytes || b[crcBytes] != kindBlock {
		return h, "cut block"
	}
	h.codec = b[crcBytes+1]
	length, packed := binary.LittleEndian.Uint32(b[6:]), binary.LittleEndian.Uint32(b[10:])
	if length > 2*maxBlock || packed > 2*maxBlock {
		return h, "bad length of a block"
	}
	h.length, h.packed = int(length), int(packed)
	return h, ""
}

// parseBlock verifies the block at the start of b and returns its compressed
// records.
func parseBlock(b []byte, salt uint64, offset int64) (h blockHeader, packed []byte, reason string) {
	h, reason = parseBlockHeader(b)
	if reason != "" {
		return h, nil, reason
	}
	end := blockBytes + h.packed
	if len(b) < end {
		return h, nil, "cut block"
	}
	if crc32.Checksum(b[crcBytes:end], castagnoli)^mask(salt, offset) != binary.LittleEndian.Uint32(b) {
		return h, nil, "bad checksum"
	}
	return h, b[blockBytes:end], ""
}

// appendBlock appends a block to dst, masked for its place.
func appendBlock(dst []byte, codec byte, length int, packed []byte, salt uint64, offset int64) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, kindBlock, codec)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(length))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(packed)))
	dst = append(dst, packed...)
	binary.LittleEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+crcBytes:], castagnoli)^mask(salt, offset))
	return dst
}
