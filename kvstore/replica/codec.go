package replica

import (
	"encoding/binary"
	"math"
	"slices"
)

// The formats. Numbers of fixed size are little-endian, counts and lengths are
// the shortest possible uvarints, and there is one encoding of a value only.
//
//	object   0x01 | n | n versions | m | m dots
//	         0x05 | promise, a dot | the same, if there is a promise
//	version  actor 8 | time 8 | flags 1 | expires 8, if flagged | length | data, both unless deleted
//	dots     actor 8 | time 8
//	vector   0x02 | m | m dots
//
// Versions are sorted by dot, dots by actor. Of an object's vector those dots
// are left out that say no more than the latest version of their actor does, so
// an object without a past carries none.
const (
	formatObject  = 0x01
	formatVector  = 0x02
	formatPromise = 0x05

	flagDeleted = 1 << 0
	flagExpires = 1 << 1

	dotSize = 16
)

// newest returns the latest of an actor's versions.
func newest(versions []Version, a Actor) Time {
	for _, v := range slices.Backward(versions) {
		if v.Dot.Actor == a {
			return v.Dot.Time
		}
	}
	return 0
}

// extra returns the dots of the vector that do not follow from the versions.
func (o Object) extra() Vector {
	if len(o.Versions) == 1 && len(o.Context) == 1 && o.Context[0] == o.Versions[0].Dot {
		return nil
	}
	var extra Vector
	for _, d := range o.Context {
		if newest(o.Versions, d.Actor) != d.Time {
			extra = append(extra, d)
		}
	}
	return extra
}

// AppendObject appends the encoding of an object to dst.
func AppendObject(dst []byte, o Object) []byte {
	if o.Promised == (Dot{}) {
		dst = append(dst, formatObject)
	} else {
		dst = appendDot(append(dst, formatPromise), o.Promised)
	}
	dst = binary.AppendUvarint(dst, uint64(len(o.Versions)))
	for _, v := range o.Versions {
		dst = appendDot(dst, v.Dot)
		dst = appendValue(dst, v.Data, v.Deleted, v.Expires)
	}
	return appendDots(dst, o.extra())
}

// DecodeObject decodes the object at the beginning of src and returns the
// number of bytes it takes. The data of its versions is that of src, so src
// must not be changed as long as the object is used. What AppendObject does not
// make is a CorruptError. It takes memory in proportion to src.
func DecodeObject(src []byte) (o Object, n int, err error) {
	d := decoder{what: "object", src: src}
	o = d.object()
	return o, d.at, d.err
}

// AppendVector appends the encoding of a vector to dst, for clients that carry
// a context from what they read to what they write.
func AppendVector(dst []byte, v Vector) []byte {
	return appendDots(append(dst, formatVector), v)
}

// DecodeVector decodes the vector at the beginning of src and returns the
// number of bytes it takes. What AppendVector does not make is a CorruptError.
func DecodeVector(src []byte) (v Vector, n int, err error) {
	d := decoder{what: "vector", src: src}
	d.tag(formatVector)
	v = d.dots()
	return v, d.at, d.err
}

func appendDot(dst []byte, d Dot) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Actor))
	return binary.LittleEndian.AppendUint64(dst, uint64(d.Time))
}

func appendDots(dst []byte, v Vector) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for _, d := range v {
		dst = appendDot(dst, d)
	}
	return dst
}

func appendValue(dst, data []byte, deleted bool, expires int64) []byte {
	var flags byte
	if deleted {
		flags |= flagDeleted
	}
	if expires > 0 {
		flags |= flagExpires
	}
	dst = append(dst, flags)
	if expires > 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(expires))
	}
	if !deleted {
		dst = appendBytes(dst, data)
	}
	return dst
}

func appendBytes[B []byte | string](dst []byte, b B) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// A decoder reads from the front of src. After the first error it returns zeros
// and stays where it is.
type decoder struct {
	what string
	src  []byte
	at   int
	err  error
}

func (d *decoder) fail(reason string) {
	if d.err == nil {
		d.err = &CorruptError{d.what, d.at, reason}
	}
}

// take returns the next n bytes, or nil.
func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.src)-d.at {
		d.fail("too short")
	}
	if d.err != nil {
		return nil
	}
	b := d.src[d.at : d.at+n : d.at+n]
	d.at += n
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) tag(want byte) {
	if at := d.at; d.byte() != want && d.err == nil {
		d.at = at
		d.fail("unknown format")
	}
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uvarint reads the shortest encoding of a number below 2^63.
func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	n, width := binary.Uvarint(d.src[d.at:])
	switch {
	case width == 0:
		d.fail("too short")
	case width < 0 || width > 1 && d.src[d.at+width-1] == 0 || n > math.MaxInt64:
		d.fail("bad number")
	default:
		d.at += width
		return n
	}
	return 0
}

// length reads a uvarint for things of size bytes at least, of which no more
// can follow than there are bytes.
func (d *decoder) length(size int) int {
	at := d.at
	n := d.uvarint()
	if n > uint64(len(d.src)-d.at)/uint64(size) {
		d.at = at
		d.fail("length beyond the end")
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.length(1)) }

func (d *decoder) dot() Dot {
	dot := Dot{Actor(d.uint64()), Time(d.uint64())}
	if d.err == nil && (dot.Actor == 0 || dot.Time == 0 || dot.Time == endOfTime) {
		d.at -= dotSize
		d.fail("a dot that names nothing")
	}
	return dot
}

func (d *decoder) dots() Vector {
	n := d.length(dotSize)
	if n == 0 {
		return nil
	}
	v := make(Vector, n)
	for i := range v {
		if v[i] = d.dot(); d.err == nil && i > 0 && v[i-1].Actor >= v[i].Actor {
			d.fail("actors out of order")
		}
	}
	if d.err != nil {
		return nil
	}
	return v
}

func (d *decoder) value() (data []byte, deleted bool, expires int64) {
	flags := d.byte()
	if flags&^(flagDeleted|flagExpires) != 0 {
		d.fail("unknown flags")
	}
	if flags&flagExpires != 0 {
		at := d.uint64()
		if d.err == nil && (at == 0 || at > math.MaxInt64) {
			d.fail("bad expiry")
		}
		expires = int64(at)
	}
	if deleted = flags&flagDeleted != 0; !deleted {
		data = d.bytes()
	}
	return data, deleted, expires
}

func (d *decoder) object() (o Object) {
	if d.at < len(d.src) && d.src[d.at] == formatPromise {
		d.tag(formatPromise)
		o.Promised = d.dot()
	} else {
		d.tag(formatObject)
	}
	if n := d.length(dotSize + 1); n > 0 {
		o.Versions = make([]Version, n)
	}
	for i := range o.Versions {
		v := &o.Versions[i]
		v.Dot = d.dot()
		v.Data, v.Deleted, v.Expires = d.value()
		if d.err == nil && i > 0 && o.Versions[i-1].Dot.Compare(v.Dot) >= 0 {
			d.fail("versions out of order")
		}
		if d.err != nil {
			return Object{}
		}
	}
	o.Context = d.dots()
	for _, dot := range o.Context {
		if dot.Time <= newest(o.Versions, dot.Actor) {
			d.fail("a dot that says nothing")
		}
	}
	if o.Promised != (Dot{}) && o.dot().Compare(o.Promised) >= 0 {
		d.fail("a promise that follows from the version")
	}
	if d.err != nil {
		return Object{}
	}
	if len(o.Versions) == 1 && o.Context == nil {
		o.Context = Vector{o.Versions[0].Dot}
		return o
	}
	for _, v := range o.Versions {
		o.Context = o.Context.With(v.Dot)
	}
	return o
}
