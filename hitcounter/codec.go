package hitcounter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// ErrBadEncoding is what errors of UnmarshalBinary wrap: the bytes are damaged,
// cut short, followed by something, or not of this kind at all.
var ErrBadEncoding = errors.New("hitcounter: bad encoding")

// Everything encoded begins with the kind and the version, and ends with a
// checksum of all before it:
//
//	+---+---+---+---+---------+----------------+
//	| h | c | k | 1 | content | xxHash, 8 bytes |     k: s, b, h or u
//	+---+---+---+---+---------+----------------+
//
// Numbers are varints, those that may be negative zigzag ones, in as few bytes
// as possible: there is one encoding of one content.
//
//	s, a snapshot of slots:   window resolution ledger n, then n times
//	                          slot, less that of the one before - 1, and hits
//	b, a snapshot of buckets: window ledger n, then n times
//	                          first, less that of the one before, last - first, and hits
//	h, a sketch:              precision registers
//	u, unique visitors:       window resolution precision ledger n, then n times
//	                          slot, as above, hits and registers
//	ledger:                   expired late beyond, and where they are not 0
//	                          upTo; 1 and clipped, or 0
//	registers:                n, the number of those that are not 0, and if that is at most a
//	                          quarter of all, n times number of registers skipped, and
//	                          rank; otherwise all ranks, a byte each
const version = '1'

type encoder struct{ dst []byte }

func newEncoder(dst []byte, kind byte) *encoder {
	return &encoder{append(dst, 'h', 'c', kind, version)}
}

func (e *encoder) uint(n int64) { e.dst = binary.AppendUvarint(e.dst, uint64(n)) }
func (e *encoder) int(n int64)  { e.dst = binary.AppendVarint(e.dst, n) }

func (e *encoder) ledger(l *ledger) {
	e.uint(l.expired)
	e.uint(l.late)
	e.uint(l.beyond)
	if l.expired != 0 || l.late != 0 {
		e.int(l.upTo)
	}
	if l.clipped == tooEarly {
		e.uint(0)
	} else {
		e.uint(1)
		e.int(l.clipped)
	}
}

func (e *encoder) registers(s *Sketch) {
	ranks := int64(len(s.registers)) - int64(s.counts[0])
	e.uint(ranks)
	if ranks*4 > int64(len(s.registers)) {
		e.dst = append(e.dst, s.registers...)
		return
	}
	skipped := int64(0)
	for _, rank := range s.registers {
		if rank == 0 {
			skipped++
			continue
		}
		e.uint(skipped)
		e.dst = append(e.dst, rank)
		skipped = 0
	}
}

// sum appends the checksum of what was appended from the start on.
func (e *encoder) sum(start int) []byte {
	return binary.LittleEndian.AppendUint64(e.dst, xxhash.Sum64(e.dst[start:]))
}

// A decoder reads content. After an error it reads zeros.
type decoder struct {
	src []byte
	err error
}

// newDecoder verifies that src is of a kind, and undamaged.
func newDecoder(src []byte, kinds string) (d *decoder, kind byte) {
	const head, tail = 4, 8
	d = &decoder{}
	switch {
	case len(src) < head+tail || string(src[:2]) != "hc":
		d.fail("no encoding of a counter")
	case strings.IndexByte(kinds, src[2]) < 0:
		d.fail("an encoding of another kind")
	case src[3] != version:
		d.fail("unknown version")
	case binary.LittleEndian.Uint64(src[len(src)-tail:]) != xxhash.Sum64(src[:len(src)-tail]):
		d.fail("bad checksum")
	default:
		d.src = src[head : len(src)-tail]
		kind = src[2]
	}
	return d, kind
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrBadEncoding, why)
		d.src = nil
	}
}

// check fails if something that must be so is not.
func (d *decoder) check(ok bool, what string) {
	if !ok {
		d.fail("bad " + what)
	}
}

// end returns the error, which may be that not everything was read.
func (d *decoder) end() error {
	d.check(len(d.src) == 0, "length")
	return d.err
}

func (d *decoder) varint() uint64 {
	n, length := binary.Uvarint(d.src)
	if length <= 0 || length > 1 && d.src[length-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.src = d.src[length:]
	return n
}

// uint reads a number that is not above the limit.
func (d *decoder) uint(limit int64, what string) int64 {
	n := d.varint()
	if n > uint64(limit) {
		d.fail("bad " + what)
		return 0
	}
	return int64(n)
}

// int reads a number between two others.
func (d *decoder) int(lowest, highest int64, what string) int64 {
	u := d.varint()
	n := int64(u>>1) ^ -int64(u&1)
	if n < lowest || n > highest {
		d.fail("bad " + what)
		return 0
	}
	return n
}

// bytes reads so many bytes, which remain those of the source.
func (d *decoder) bytes(n int) []byte {
	if n > len(d.src) {
		d.fail("bad length")
		return nil
	}
	b := d.src[:n]
	d.src = d.src[n:]
	return b
}

func (d *decoder) ledger() ledger {
	const last = maxTime + int64(maxWindow) // a slot may end after maxTime
	l := newLedger()
	l.expired = d.uint(tooLate, "hits")
	l.late = d.uint(tooLate, "hits")
	l.beyond = d.uint(tooLate, "hits")
	if l.expired != 0 || l.late != 0 {
		l.upTo = d.int(minTime-1, last, "time")
	}
	if d.uint(1, "mark") == 1 {
		l.clipped = d.int(minTime, last, "time")
	}
	return l
}

// registers reads those of an empty sketch, of which some are not 0.
func (d *decoder) registers(s *Sketch) {
	size := len(s.registers)
	top := 64 - int64(s.precision) + 1
	ranks := d.uint(int64(size), "registers")
	if int(ranks)*4 > size {
		for i, rank := range d.bytes(size) {
			d.check(int64(rank) <= top, "rank")
			if d.err != nil {
				return
			}
			s.raise(i, rank)
		}
		d.check(size-int(s.counts[0]) == int(ranks), "registers")
		return
	}
	at := 0
	for range ranks {
		at += int(d.uint(int64(size), "register"))
		rank := d.uint(top, "rank")
		d.check(rank > 0 && at < size, "register")
		if d.err != nil {
			return
		}
		s.raise(at, uint8(rank))
		at++
	}
}

// AppendBinary appends an encoding of the snapshot to dst. There is exactly one
// encoding of a content. It takes two bytes at least for each slot, and three
// for each bucket. The zero Snapshot cannot be encoded.
func (s *Snapshot) AppendBinary(dst []byte) ([]byte, error) {
	if s.window == 0 {
		return dst, errors.New("hitcounter: the zero Snapshot has no encoding")
	}
	kind := byte('s')
	if s.resolution == 0 {
		kind = 'b'
	}
	e := newEncoder(dst, kind)
	e.uint(s.window)
	if kind == 's' {
		e.uint(s.resolution)
	}
	e.ledger(&s.ledger)
	e.uint(int64(len(s.spans)))
	for i, span := range s.spans {
		switch {
		case i == 0:
			e.int(span.first)
		case kind == 's':
			e.uint(span.first - s.spans[i-1].first - 1)
		default:
			e.uint(span.first - s.spans[i-1].first)
		}
		if kind == 'b' {
			e.uint(span.last - span.first)
		}
		e.uint(span.n)
	}
	return e.sum(len(dst)), nil
}

// MarshalBinary returns AppendBinary(nil).
func (s *Snapshot) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary replaces the snapshot by the one that is encoded in data. If
// data is anything else, down to a single bit, it returns an error that wraps
// [ErrBadEncoding], and changes nothing. It allocates at most 12 times the
// length of data.
func (s *Snapshot) UnmarshalBinary(data []byte) error {
	d, kind := newDecoder(data, "sb")
	var read Snapshot
	shortest := 2
	read.window = d.uint(int64(maxWindow), "window")
	if kind == 's' {
		read.resolution = d.uint(read.window, "resolution")
		d.check(read.resolution > 0, "resolution")
	} else {
		shortest = 3
	}
	d.check(read.window > 0, "window")
	read.ledger = d.ledger()
	n := d.uint(int64(len(d.src)/shortest), "number of entries")
	if d.err != nil {
		return d.err
	}
	lowest, highest := minTime, maxTime
	if kind == 's' {
		read.grid = makeGrid(read.window, read.resolution)
		lowest, highest = read.slot(minTime), read.slot(maxTime)
	}
	read.spans = make([]span, 0, n)
	for i := range n {
		var next, before span
		if i == 0 {
			next.first = d.int(lowest, highest, "time")
		} else {
			before = read.spans[i-1]
			next.first = before.first + d.uint(highest-before.first, "time")
		}
		if kind == 's' && i > 0 {
			next.first++
			d.check(next.first <= highest, "time")
		}
		next.last = next.first
		if kind == 'b' {
			next.last += d.uint(highest-next.first, "time")
		}
		next.n = d.uint(tooLate, "hits")
		d.check(next.n > 0 && (next.n > 1 || next.first == next.last), "hits")
		same := i > 0 && next.first == before.first && next.last == before.last
		d.check(i == 0 || compareSpans(before, next) <= 0 && !(same && next.first == next.last), "order")
		if d.err != nil {
			return d.err
		}
		read.spans = append(read.spans, next)
	}
	if err := d.end(); err != nil {
		return err
	}
	*s = read
	return nil
}

// AppendBinary appends an encoding of the sketch to dst. It takes at most one
// byte for each register and few more, and fewer for few visitors.
func (s *Sketch) AppendBinary(dst []byte) ([]byte, error) {
	if s.precision == 0 {
		return dst, errors.New("hitcounter: the zero Sketch has no encoding")
	}
	e := newEncoder(dst, 'h')
	e.uint(int64(s.precision))
	e.registers(s)
	return e.sum(len(dst)), nil
}

// MarshalBinary returns AppendBinary(nil).
func (s *Sketch) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary replaces the sketch by the one that is encoded in data, with
// its precision; the zero Sketch will do. If data is anything else, it returns
// an error that wraps [ErrBadEncoding], and changes nothing. It allocates 2^18
// bytes at most.
func (s *Sketch) UnmarshalBinary(data []byte) error {
	d, _ := newDecoder(data, "h")
	precision := d.uint(maxPrecision, "precision")
	d.check(precision >= minPrecision, "precision")
	if d.err != nil {
		return d.err
	}
	read := makeSketch(make([]uint8, 1<<precision))
	d.registers(&read)
	if err := d.end(); err != nil {
		return err
	}
	*s = read
	return nil
}

// AppendBinary appends an encoding of what the counter holds to dst.
func (u *Unique) AppendBinary(dst []byte) ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var held []*uniqueSlot
	for i := range u.slots {
		if u.slots[i].slot != empty {
			held = append(held, &u.slots[i])
		}
	}
	slices.SortFunc(held, func(a, b *uniqueSlot) int { return cmp.Compare(a.slot, b.slot) })
	e := newEncoder(dst, 'u')
	e.uint(u.window)
	e.uint(u.resolution)
	e.uint(int64(u.precision))
	e.ledger(&u.ledger)
	e.uint(int64(len(held)))
	for i, row := range held {
		if i == 0 {
			e.int(row.slot)
		} else {
			e.uint(row.slot - held[i-1].slot - 1)
		}
		e.uint(row.hits)
		e.registers(&row.sketch)
	}
	return e.sum(len(dst)), nil
}

// MarshalBinary returns AppendBinary(nil).
func (u *Unique) MarshalBinary() ([]byte, error) { return u.AppendBinary(nil) }

// UnmarshalBinary replaces what the counter holds by what is encoded in data,
// which has to come of one with the same window, resolution and precision: if
// not, it returns an error that wraps [ErrMismatch], and one that wraps
// [ErrBadEncoding] if it is anything else. After an error the counter is as it
// was. It allocates as much as the counter has. The counter has to be made with
// [NewUnique].
func (u *Unique) UnmarshalBinary(data []byte) error {
	d, _ := newDecoder(data, "u")
	window := d.uint(int64(maxWindow), "window")
	resolution := d.uint(int64(maxWindow), "resolution")
	precision := d.uint(maxPrecision, "precision")
	if d.err == nil && (window != u.window || resolution != u.resolution || precision != int64(u.precision)) {
		return fmt.Errorf("%w: visitors of a window of %v by %v with precision %d, want %v by %v with %d", ErrMismatch,
			time.Duration(window), time.Duration(resolution), precision, u.Window(), u.Resolution(), u.precision)
	}
	if d.err != nil {
		return d.err
	}
	read := &Unique{grid: u.grid, precision: u.precision}
	read.init()
	read.ledger = d.ledger()
	n := d.uint(int64(len(read.slots)), "number of slots")
	lowest, highest := u.slot(minTime), u.slot(maxTime)
	slot := int64(0)
	for i := range n {
		if i == 0 {
			slot = d.int(lowest, highest, "time")
		} else {
			slot += d.uint(highest-slot, "time") + 1
		}
		d.check(slot <= highest, "time")
		row := read.row(slot)
		d.check(row.slot == empty, "time")
		hits := d.uint(tooLate, "hits")
		d.registers(&row.sketch)
		ranks := int64(len(row.sketch.registers)) - int64(row.sketch.counts[0])
		d.check(ranks > 0 && ranks <= hits, "hits")
		if d.err != nil {
			return d.err
		}
		row.slot, row.hits = slot, hits
	}
	if err := d.end(); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.slots, u.ledger = read.slots, read.ledger
	return nil
}
