package group

import (
	"encoding/binary"
	"math"
)

// A reader takes Kafka's primitive types off the front of src. The first
// thing that is wrong ends the reading: everything after is zero.
type reader struct {
	src  []byte
	at   int
	what string
	err  error
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &MalformedError{r.what, r.at, reason}
	}
}

func (r *reader) take(n int) []byte {
	if r.err == nil && (n < 0 || n > len(r.src)-r.at) {
		r.fail("truncated")
	}
	if r.err != nil {
		return nil
	}
	b := r.src[r.at : r.at+n : r.at+n]
	r.at += n
	return b
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string reads a string that must not be null.
func (r *reader) string() string {
	s, null := r.nullable()
	if null {
		r.fail("null string")
	}
	return s
}

func (r *reader) nullable() (s string, null bool) {
	n := r.int16()
	if n < 0 {
		if n != -1 {
			r.fail("negative length")
		}
		return "", true
	}
	return string(r.take(int(n))), false
}

// bytes reads bytes that may be null, and shares them with src.
func (r *reader) bytes() []byte {
	n := r.int32()
	if n < 0 {
		if n != -1 {
			r.fail("negative length")
		}
		return nil
	}
	return r.take(int(n))
}

// count reads the length of an array whose elements take at least size bytes:
// no more are allocated than can be there.
func (r *reader) count(size int) int {
	n := int(r.int32())
	if n < 0 || n > (len(r.src)-r.at)/size {
		r.fail("array longer than the input")
		return 0
	}
	return n
}

// end refuses what is left over.
func (r *reader) end() {
	if r.err == nil && r.at != len(r.src) {
		r.fail("bytes left over")
	}
}

func appendString(dst []byte, s string) ([]byte, error) {
	if len(s) > math.MaxInt16 {
		return dst, &MalformedError{"string", 0, "longer than 32767 bytes"}
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...), nil
}

// appendNullable writes "" as null.
func appendNullable(dst []byte, s string) ([]byte, error) {
	if s == "" {
		return binary.BigEndian.AppendUint16(dst, math.MaxUint16), nil
	}
	return appendString(dst, s)
}

// appendBytes writes nil as null.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.BigEndian.AppendUint32(dst, math.MaxUint32)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

func appendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }
