package cacheserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// Log and store write the same frames:
//
//	 0        4        8                                   8+length
//	+--------+--------+-----------------------------------+
//	| length | CRC-32C| seq ends flags key value          |
//	+--------+--------+-----------------------------------+
//
// length and checksum are little-endian, the checksum is that of the length
// and the payload; seq, ends (Unix milliseconds) and the length of the key are
// varints, flags is a byte, the value takes the rest.

type mutation = cache.Mutation[string, value]

const (
	frameHeader = 8
	flagDelete  = 1
	// maxFrame bounds what a damaged length can make a reader allocate.
	maxFrame = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A CorruptError says where a file is damaged.
type CorruptError struct {
	File   string
	Offset int64
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("cacheserver: %s: %s at byte %d", e.File, e.What, e.Offset)
}

// appendFrame appends the frame of m.
func appendFrame(dst []byte, seq uint64, m *mutation) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, seq)
	dst = binary.AppendVarint(dst, m.Value.ends)
	flags := byte(0)
	if m.Delete {
		flags |= flagDelete
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
	dst = append(dst, m.Key...)
	dst = append(dst, m.Value.data...)
	head := dst[start : start+frameHeader]
	binary.LittleEndian.PutUint32(head, uint32(len(dst)-start-frameHeader))
	sum := crc32.Update(crc32.Checksum(head[:4], castagnoli), castagnoli, dst[start+frameHeader:])
	binary.LittleEndian.PutUint32(head[4:], sum)
	return dst
}

var (
	errTorn = errors.New("the frame is cut short")
	errSum  = errors.New("bad checksum")
)

// readFrame reads the frame at offset of a file of that size. The mutation
// has memory of its own.
func readFrame(f io.ReaderAt, offset, size int64) (seq uint64, m mutation, next int64, err error) {
	var head [frameHeader]byte
	if size-offset < frameHeader {
		return 0, m, 0, errTorn
	}
	if _, err := f.ReadAt(head[:], offset); err != nil {
		return 0, m, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n > maxFrame || n > size-offset-frameHeader {
		return 0, m, 0, errTorn
	}
	payload := make([]byte, n)
	if _, err := f.ReadAt(payload, offset+frameHeader); err != nil {
		return 0, m, 0, err
	}
	if crc32.Update(crc32.Checksum(head[:4], castagnoli), castagnoli, payload) != binary.LittleEndian.Uint32(head[4:]) {
		return 0, m, 0, errSum
	}
	seq, m, ok := parsePayload(payload)
	if !ok {
		return 0, m, 0, errSum
	}
	return seq, m, offset + frameHeader + n, nil
}

func parsePayload(p []byte) (seq uint64, m mutation, ok bool) {
	seq, n := binary.Uvarint(p)
	if n <= 0 {
		return 0, m, false
	}
	p = p[n:]
	if m.Value.ends, n = binary.Varint(p); n <= 0 || n >= len(p) {
		return 0, m, false
	}
	m.Delete = p[n]&flagDelete != 0
	p = p[n+1:]
	length, n := binary.Uvarint(p)
	if n <= 0 || length > uint64(len(p)-n) {
		return 0, m, false
	}
	m.Key = string(p[n : n+int(length)])
	m.Value.data = p[n+int(length):]
	if m.Value.ends != 0 {
		m.Expires = time.UnixMilli(m.Value.ends)
	}
	return seq, m, true
}

// scanFrames calls visit for each frame of f and returns where they end. A bad
// frame with a good one anywhere behind it is damage; one without is the torn
// end of a crash, unless sealed says that the file was whole once.
func scanFrames(f *os.File, sealed bool, visit func(seq uint64, m mutation, offset, next int64) error) (end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	for end < size {
		seq, m, next, err := readFrame(f, end, size)
		if errors.Is(err, errTorn) || errors.Is(err, errSum) {
			if sealed || goodFrameAfter(f, end+1, size) {
				return end, &CorruptError{File: f.Name(), Offset: end, What: err.Error()}
			}
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if err := visit(seq, m, end, next); err != nil {
			return end, err
		}
		end = next
	}
	return end, nil
}

// goodFrameAfter looks for an intact frame at any offset. The checksum makes
// a false find unlikely, and the length keeps the search short: it is only
// checked in full where it fits the file.
func goodFrameAfter(f io.ReaderAt, offset, size int64) bool {
	rest := make([]byte, size-offset)
	if _, err := f.ReadAt(rest, offset); err != nil {
		return false
	}
	for at := 0; at+frameHeader <= len(rest); at++ {
		n := int(binary.LittleEndian.Uint32(rest[at:]))
		if n < 4 || n > len(rest)-at-frameHeader {
			continue
		}
		payload := rest[at+frameHeader : at+frameHeader+n]
		if crc32.Update(crc32.Checksum(rest[at:at+4], castagnoli), castagnoli, payload) == binary.LittleEndian.Uint32(rest[at+4:]) {
			return true
		}
	}
	return false
}

// syncDir makes the creation and removal of files in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
