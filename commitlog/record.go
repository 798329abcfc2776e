package commitlog

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// A Record is one entry of a log.
//
// A nil Key or Value is not the same as an empty one and is kept apart. In a
// compacted log a record with a key and a nil Value, a tombstone, deletes the
// key. A Record is not safe for concurrent use while somebody changes it.
type Record struct {
	Offset    int64     // given by the log; ignored by Append
	Timestamp time.Time // in milliseconds; zero is replaced by the present time
	Key       []byte
	Value     []byte
	Headers   []Header
}

// A Header is a name and a value that travel with a record. A Header is not
// safe for concurrent use while somebody changes it.
type Header struct {
	Key   string
	Value []byte
}

// One record in a batch, Kafka's format v2. All numbers are zig-zag varints
// except the attributes, one byte that is 0. A length of -1 is nil.
//
//	length │ attributes │ Δ timestamp │ Δ offset │ key length, key │ value length, value │
//	count of headers │ { key length, key, value length, value } …

func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

// bytesLen is the encoded size of a byte string with its length.
func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// fixedLen is the encoded size of key, value and headers, all of a record
// that does not depend on where it is.
func (r *Record) fixedLen() int {
	n := 1 + bytesLen(r.Key) + bytesLen(r.Value) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1) // -1
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

// appendRecord encodes a record whose fixedLen is given.
func appendRecord(dst []byte, r *Record, fixed int, timestampDelta, offsetDelta int64) []byte {
	dst = binary.AppendVarint(dst, int64(fixed+varintLen(timestampDelta)+varintLen(offsetDelta)))
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, timestampDelta)
	dst = binary.AppendVarint(dst, offsetDelta)
	dst = appendBytes(dst, r.Key)
	dst = appendBytes(dst, r.Value)
	dst = binary.AppendVarint(dst, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// varintAt decodes the varint at b[i:] and returns the index behind it, or -1
// if there is none or i is -1: so a chain of calls is checked once at the end.
func varintAt(b []byte, i int) (int64, int) {
	if uint(i) < uint(len(b)) {
		u := uint64(b[i])
		if u < 0x80 { // most are this short
			return int64(u>>1) ^ -int64(u&1), i + 1
		}
		if b := b[i:]; len(b) > 1 && b[1] < 0x80 { // and most others so
			u = u&0x7f | uint64(b[1])<<7
			return int64(u>>1) ^ -int64(u&1), i + 2
		}
	}
	return longVarintAt(b, i)
}

func longVarintAt(b []byte, i int) (int64, int) {
	if i < 0 || i > len(b) {
		return 0, -1
	}
	v, n := binary.Varint(b[i:])
	if n <= 0 {
		return 0, -1
	}
	return v, i + n
}

// bytesAt decodes a length and as many bytes, as varintAt does.
func bytesAt(b []byte, i int) ([]byte, int) {
	n, i := varintAt(b, i)
	switch {
	case n == -1 && i >= 0:
		return nil, i
	case i < 0 || n < 0 || n > int64(len(b)-i):
		return nil, -1
	}
	end := i + int(n)
	return b[i:end:end], end
}

// decodeRecord decodes the record at b[i:] into r, whose slices then point into
// b, and returns the index behind it, or -1 if it is malformed. Headers are
// appended to r.Headers[:0].
func decodeRecord(b []byte, i int, r *Record, base, baseMillis int64) int {
	length, i := varintAt(b, i)
	if i < 0 || length < 0 || length > int64(len(b)-i) {
		return -1
	}
	end := i + int(length)
	b = b[:end]
	i++ // attributes
	millis, i := varintAt(b, i)
	offset, i := varintAt(b, i)
	r.Offset = base + offset
	r.Timestamp = time.UnixMilli(baseMillis + millis)
	r.Key, i = bytesAt(b, i)
	r.Value, i = bytesAt(b, i)
	headers, i := varintAt(b, i)
	r.Headers = r.Headers[:0]
	if headers != 0 {
		if i < 0 || headers < 0 || headers > int64(len(b)-i) { // each has two bytes or more
			return -1
		}
		for range headers {
			var key, value []byte
			key, i = bytesAt(b, i)
			value, i = bytesAt(b, i)
			if i < 0 || key == nil {
				return -1
			}
			r.Headers = append(r.Headers, Header{string(key), value})
		}
	}
	if i != end {
		return -1
	}
	return end
}

// skipRecord is decodeRecord for those who want no record: it returns the index
// behind it, or -1 if it is malformed, and how far its timestamp and its offset
// are from those of the batch.
func skipRecord(b []byte, i int) (end int, millis, offset int64) {
	length, i := varintAt(b, i)
	if i < 0 || length < 0 || length > int64(len(b)-i) {
		return -1, 0, 0
	}
	end = i + int(length)
	b = b[:end]
	millis, i = varintAt(b, i+1) // behind the attributes
	offset, i = varintAt(b, i)
	i = skipBytes(b, i)
	i = skipBytes(b, i)
	headers, i := varintAt(b, i)
	if headers != 0 {
		if i < 0 || headers < 0 || headers > int64(len(b)-i) {
			return -1, 0, 0
		}
		for range headers {
			if n, _ := varintAt(b, i); n < 0 { // a key that is nil
				return -1, 0, 0
			}
			i = skipBytes(b, i)
			i = skipBytes(b, i)
		}
	}
	if i != end {
		return -1, 0, 0
	}
	return end, millis, offset
}

// skipBytes passes over what bytesAt decodes.
func skipBytes(b []byte, i int) int {
	n, i := varintAt(b, i)
	switch {
	case n == -1 && i >= 0:
		return i
	case i < 0 || n < 0 || n > int64(len(b)-i):
		return -1
	}
	return i + int(n)
}

// millis is the timestamp as batches have it.
func millis(t time.Time) int64 { return t.UnixMilli() }
