package movingavg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

var (
	// ErrBadEncoding is what errors of UnmarshalBinary wrap: the bytes are
	// damaged, cut short, or not of this kind of average at all.
	ErrBadEncoding = errors.New("movingavg: bad encoding")

	// ErrMismatch is what errors of UnmarshalBinary wrap where the bytes are of
	// an average with other settings.
	ErrMismatch = errors.New("movingavg: mismatch")
)

// An encoding is
//
//	┌───────┬─────────┬──────┬──────────┬───────┬──────────┐
//	│ "mavg"│ version │ kind │ settings │ state │ CRC-32C  │
//	│ 4     │ 1       │ 1    │          │       │ 4 bytes  │
//	└───────┴─────────┴──────┴──────────┴───────┴──────────┘
//
// where settings and state are numbers of 64 bits, little endian.
const (
	magic   = "mavg"
	version = 1
)

// Kinds of averages.
const (
	kindFloats = 'f'
	kindSigned = 'i'
	kindWhole  = 'u'
	kindExp    = 'e'
	kindTimed  = 't'
	kindWindow = 'w'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A writer appends an encoding to a slice that had begin bytes before.
type writer struct {
	b     []byte
	begin int
}

func newWriter(dst []byte, kind byte) *writer {
	return &writer{append(append(dst, magic...), version, kind), len(dst)}
}

func (w *writer) int(values ...int64) {
	for _, v := range values {
		w.b = binary.LittleEndian.AppendUint64(w.b, uint64(v))
	}
}

func (w *writer) float(values ...float64) {
	for _, v := range values {
		w.int(int64(math.Float64bits(v)))
	}
}

func (w *writer) finish() []byte {
	return binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b[w.begin:], castagnoli))
}

// A reader takes an encoding apart. After the first error it returns zeros.
type reader struct {
	b   []byte
	err error
}

func newReader(data []byte, kind byte) *reader {
	const head = len(magic) + 2
	r := &reader{}
	switch {
	case len(data) < head+4:
		r.bad("%d bytes", len(data))
	case string(data[:len(magic)]) != magic:
		r.bad("it begins with %q", data[:len(magic)])
	case crc32.Checksum(data[:len(data)-4], castagnoli) != binary.LittleEndian.Uint32(data[len(data)-4:]):
		r.bad("bad checksum")
	case data[4] != version:
		r.bad("version %d", data[4])
	case data[5] != kind:
		r.err = fmt.Errorf("%w: kind %q, want %q", ErrMismatch, data[5], kind)
	default:
		r.b = data[head : len(data)-4]
	}
	return r
}

func (r *reader) bad(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrBadEncoding, fmt.Sprintf(format, args...))
	}
}

func (r *reader) int() int64 {
	if len(r.b) < 8 {
		r.bad("cut short")
		r.b = nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return int64(v)
}

func (r *reader) float() float64 { return math.Float64frombits(uint64(r.int())) }

// setting reads a number that has to be what it is here.
func (r *reader) setting(name string, want int64) {
	if got := r.int(); r.err == nil && got != want {
		r.err = fmt.Errorf("%w: %s is %d, want %d", ErrMismatch, name, got, want)
	}
}

// count reads how many things of so many bytes follow, at most.
func (r *reader) count(size int) int {
	n := r.int()
	if n < 0 || n > int64(len(r.b)/size) {
		r.bad("count of %d", n)
		return 0
	}
	return int(n)
}

// in reads a number that lies between two others.
func (r *reader) in(name string, low, high int64) int64 {
	v := r.int()
	if v < low || v > high {
		r.bad("%s of %d", name, v)
		return low
	}
	return v
}

// end returns the error, of which one may be that there is more.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.bad("%d bytes too many", len(r.b))
	}
	return r.err
}

func (m *Simple[T]) kind() byte {
	switch {
	case isFloat[T]():
		return kindFloats
	case T(0)-1 < 0:
		return kindSigned
	}
	return kindWhole
}

// AppendBinary appends an encoding of the average to dst, of 8 bytes for each
// value and few more.
func (m *Simple[T]) AppendBinary(dst []byte) ([]byte, error) {
	w := newWriter(dst, m.kind())
	w.int(int64(m.Window()))
	if f := &m.floats; isFloat[T]() {
		full := int64(0)
		if f.count > 0 {
			full = 1
		}
		w.int(full, int64(f.next), int64(len(f.ring)))
		w.float(f.ring...)
		w.float(f.part, f.young.hi, f.young.lo, f.total.hi, f.total.lo, f.older.hi, f.older.lo)
		return w.finish(), nil
	}
	w.int(int64(m.ints.next), int64(len(m.ints.ring)))
	for _, v := range m.ints.ring {
		w.int(int64(v))
	}
	return w.finish(), nil
}

// MarshalBinary returns AppendBinary(nil).
func (m *Simple[T]) MarshalBinary() ([]byte, error) { return m.AppendBinary(nil) }

// UnmarshalBinary replaces what the average holds by what is encoded in data,
// which has to come of one with the same window, and of integers if this is of
// integers. After an error it is as it was.
func (m *Simple[T]) UnmarshalBinary(data []byte) error {
	r := newReader(data, m.kind())
	r.setting("window", int64(m.Window()))
	if isFloat[T]() {
		return m.floats.decode(r)
	}
	n := ints[T]{window: m.ints.window}
	next := r.in("place", 0, int64(n.window)-1)
	count := r.count(8)
	if count > n.window || next > 0 && count < n.window {
		r.bad("%d values, the next at %d", count, next)
		count = 0
	}
	n.ring = make([]T, 0, count)
	for range count {
		v := r.int()
		if int64(T(v)) != v {
			r.bad("%d is out of range", v)
		}
		n.ring = append(n.ring, T(v))
		n.sum = n.sum.plus(widen(T(v)))
	}
	n.next = int(next)
	if err := r.end(); err != nil {
		return err
	}
	m.ints = n
	return nil
}

func (f *floats) decode(r *reader) error {
	g := floats{window: f.window, odd: f.odd}
	both := 2 * (g.half() + g.odd)
	if r.in("state", 0, 1) == 1 {
		g.count = float64(g.window)
	}
	g.next = int(r.in("place", 0, int64(max(both, g.window))-1))
	length := r.count(8)
	if g.window <= few {
		return f.decodeFew(r, g, length)
	}
	start := g.start()
	end := start + g.half()
	need := min(start+((g.next-start)/chunk+1)*chunk, end)
	if need == end {
		need += g.odd
	}
	if g.next >= end || length < need || length > both || g.count > 0 && length < both {
		r.bad("%d places, the next is %d", length, g.next)
		return r.err
	}
	g.ring = make([]float64, length)
	for i := range g.ring {
		g.ring[i] = r.float()
	}
	for _, behind := range []int{g.half(), both - 1} {
		if g.odd > 0 && behind < length && g.ring[behind] != 0 {
			r.bad("place %d holds %v", behind, g.ring[behind])
		}
	}
	g.part = r.float()
	for _, s := range []*sum{&g.young, &g.total, &g.older} {
		*s = sum{r.float(), r.float()}
	}
	if err := r.end(); err != nil {
		return err
	}
	g.stop = min(start+((g.next-start)/chunk+1)*chunk, end)
	g.settled = g.total.merge(g.young).value()
	*f = g
	return nil
}

func (f *floats) decodeFew(r *reader, g floats, length int) error {
	if g.next >= g.window || length != g.window {
		r.bad("%d places, the next is %d", length, g.next)
		return r.err
	}
	g.ring = make([]float64, length)
	for i := range g.ring {
		g.ring[i] = r.float()
	}
	g.part = r.float()
	for range 6 {
		if r.int() != 0 {
			r.bad("a sum that few values have no use for")
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	g.begin()
	*f = g
	return nil
}

// AppendBinary appends an encoding of the average to dst.
func (e *Exp) AppendBinary(dst []byte) ([]byte, error) {
	w := newWriter(dst, kindExp)
	w.float(e.decay, e.weight, e.mean)
	w.int(int64(e.skipped))
	return w.finish(), nil
}

// MarshalBinary returns AppendBinary(nil).
func (e *Exp) MarshalBinary() ([]byte, error) { return e.AppendBinary(nil) }

// UnmarshalBinary replaces what the average holds by what is encoded in data,
// which has to come of one with the same alpha. After an error it is as it was.
func (e *Exp) UnmarshalBinary(data []byte) error {
	r := newReader(data, kindExp)
	r.setting("1-alpha", int64(math.Float64bits(e.decay)))
	next := Exp{decay: e.decay, weight: r.weight(), mean: r.finite(), skipped: uint64(r.int())}
	next.share = 1 / next.weight
	if err := r.end(); err != nil {
		return err
	}
	*e = next
	return nil
}

func (r *reader) weight() float64 {
	w := r.finite()
	if w < 0 {
		r.bad("weight of %v", w)
	}
	return w
}

func (r *reader) finite() float64 {
	v := r.float()
	if v-v != 0 {
		r.bad("%v", v)
	}
	return v
}

// AppendBinary appends an encoding of the average to dst.
func (e *TimedExp) AppendBinary(dst []byte) ([]byte, error) {
	w := newWriter(dst, kindTimed)
	w.int(int64(e.halfLife), e.last)
	w.float(e.weight, e.mean)
	w.int(int64(e.skipped))
	return w.finish(), nil
}

// MarshalBinary returns AppendBinary(nil).
func (e *TimedExp) MarshalBinary() ([]byte, error) { return e.AppendBinary(nil) }

// UnmarshalBinary replaces what the average holds by what is encoded in data,
// which has to come of one with the same half-life. After an error it is as it
// was.
func (e *TimedExp) UnmarshalBinary(data []byte) error {
	r := newReader(data, kindTimed)
	r.setting("half-life", int64(e.halfLife))
	next := TimedExp{halfLife: e.halfLife, now: e.now}
	next.last = r.in("instant", -1<<62, 1<<62)
	next.weight, next.mean, next.skipped = r.weight(), r.finite(), uint64(r.int())
	if err := r.end(); err != nil {
		return err
	}
	*e = next
	return nil
}

// AppendBinary appends an encoding of the window to dst, of 120 bytes for each
// slot that has values and few more.
func (w *Window) AppendBinary(dst []byte) ([]byte, error) {
	out := newWriter(dst, kindWindow)
	started := int64(0)
	if w.started {
		started = 1
	}
	out.int(int64(w.length), w.resolution, started, w.present, int64(w.dropped), int64(w.mid-w.head), int64(len(w.slots)-w.head))
	for _, s := range w.slots[w.head:] {
		out.int(s.number)
		out.summary(s.values)
		out.summary(s.tail)
	}
	out.summary(w.back)
	return out.finish(), nil
}

// MarshalBinary returns AppendBinary(nil).
func (w *Window) MarshalBinary() ([]byte, error) { return w.AppendBinary(nil) }

// UnmarshalBinary replaces what the window holds by what is encoded in data,
// which has to come of one with the same length and resolution. After an error
// it is as it was.
func (w *Window) UnmarshalBinary(data []byte) error {
	r := newReader(data, kindWindow)
	r.setting("length", int64(w.length))
	r.setting("resolution", w.resolution)
	next := Window{length: w.length, resolution: w.resolution, slotCount: w.slotCount, now: w.now}
	next.started = r.in("state", 0, 1) == 1
	next.present = r.in("slot", -1<<62, 1<<62)
	next.dropped = uint64(r.int())
	mid := r.int()
	count := r.count(slotSize)
	if mid < 0 || mid > int64(count) || count > 0 && !next.started {
		r.bad("%d of %d slots with tails", mid, count)
		return r.err
	}
	next.mid = int(mid)
	next.slots = make([]slot, count)
	least := next.present - w.slotCount + 1
	var all int64
	for i := range next.slots {
		s := slot{number: r.in("slot", least, next.present)}
		least = s.number + 1
		s.values, s.tail = r.summary(), r.summary()
		if s.values.count == 0 || (i < next.mid) != (s.tail.count > 0) {
			r.bad("slot %d has %d values, and %d from there on", s.number, s.values.count, s.tail.count)
		}
		all += s.values.count
		next.slots[i] = s
	}
	next.back = r.summary()
	if err := r.end(); err != nil {
		return err
	}
	if next.all().count != all {
		r.bad("%d values in slots, %d in all", all, next.all().count)
		return r.err
	}
	*w = next
	return nil
}

const slotSize = 8 + 2*56

func (w *writer) summary(s summary) {
	w.int(s.count)
	w.float(s.sum.hi, s.sum.lo, s.mean, s.squares, s.min, s.max)
}

func (r *reader) summary() summary {
	return summary{
		count: r.in("count", 0, math.MaxInt64>>16),
		sum:   sum{r.float(), r.float()}, mean: r.float(), squares: r.float(), min: r.float(), max: r.float(),
	}
}
