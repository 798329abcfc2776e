// Package entry is what the parts of the logging system hand to each other:
// an entry is one event of a log, a packet is a few entries of one stream, and
// a stream is all entries with the same labels.
//
// Labels say where a line comes from (host, app, file) and have few values;
// fields say what is in it and may have any. A packet is encoded as
//
//	┌─────────┬────────────────────┬───────┬───────────────────────────────────────────┐
//	│ version │ labels             │ count │ per entry: time, level, line, fields       │
//	│ 1 byte  │ count, name, value │       │ varint  1 byte  length+bytes  count, pairs │
//	└─────────┴────────────────────┴───────┴───────────────────────────────────────────┘
//
// with numbers as varints, and times as the difference to the entry before, in
// nanoseconds since 1970.
package entry

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Level is how bad what happened is.
type Level uint8

// Levels ascend. Unknown is below them all.
const (
	Unknown Level = iota
	Trace
	Debug
	Info
	Warn
	Error
	Fatal
)

var levelNames = [...]string{"unknown", "trace", "debug", "info", "warn", "error", "fatal"}

// Levels lists all levels, in ascending order.
var Levels = []Level{Unknown, Trace, Debug, Info, Warn, Error, Fatal}

// String returns the name of the level in lower case.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "level" + strconv.Itoa(int(l))
}

// aliases are other names of levels, of syslog and of common libraries.
var aliases = map[string]Level{
	"trc": Trace, "finest": Trace, "verbose": Trace,
	"dbg": Debug, "fine": Debug,
	"information": Info, "informational": Info, "inf": Info, "notice": Info, "note": Info,
	"warning": Warn, "wrn": Warn,
	"err": Error, "severe": Error, "eror": Error,
	"critical": Fatal, "crit": Fatal, "alert": Fatal, "emerg": Fatal, "emergency": Fatal, "panic": Fatal, "ftl": Fatal,
}

// ParseLevel returns the level of that name, in any case, and whether there is
// one.
func ParseLevel(name string) (Level, bool) {
	if len(name) < 3 || len(name) > 13 {
		return Unknown, false
	}
	name = strings.ToLower(name)
	if i := slices.Index(levelNames[:], name); i >= 0 {
		return Level(i), true
	}
	l, ok := aliases[name]
	return l, ok
}

// A Field is a name and a value.
type Field struct{ Name, Value string }

// Labels are fields with different names, sorted by name.
type Labels []Field

// MakeLabels returns labels of pairs of name and value; of two with the same
// name the later one counts, and one with an empty name or value does not. It
// panics if the number of arguments is odd.
func MakeLabels(pairs ...string) Labels {
	if len(pairs)%2 != 0 {
		panic("entry: labels come in pairs of name and value")
	}
	l := make(Labels, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, Field{pairs[i], pairs[i+1]})
	}
	return Normalize(l)
}

// Normalize sorts labels, keeps the last of those with the same name, and
// drops those without a name or a value. It may change fields.
func Normalize(fields []Field) Labels {
	slices.SortStableFunc(fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	l := fields[:0]
	for i, f := range fields {
		if f.Name == "" || f.Value == "" || i+1 < len(fields) && fields[i+1].Name == f.Name {
			continue
		}
		l = append(l, f)
	}
	return Labels(l)
}

// Get returns the value of a label and whether there is one of that name.
func (l Labels) Get(name string) (string, bool) {
	for _, f := range l {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// With returns labels with some more or other values, as MakeLabels takes
// them. It leaves l alone.
func (l Labels) With(pairs ...string) Labels {
	all := slices.Clone(l)
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, Field{pairs[i], pairs[i+1]})
	}
	return Normalize(all)
}

// Clone returns labels that share no memory with l. Those of a packet that was
// decoded hold on to all of it.
func (l Labels) Clone() Labels {
	c := slices.Clone(l)
	for i := range c {
		c[i] = Field{strings.Clone(c[i].Name), strings.Clone(c[i].Value)}
	}
	return c
}

// String writes labels as {app="nginx", host="web-1"}; equal labels have equal
// strings.
func (l Labels) String() string {
	b := make([]byte, 0, 64)
	b = append(b, '{')
	for i, f := range l {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, f.Name...)
		b = append(b, '=')
		b = strconv.AppendQuote(b, f.Value)
	}
	return string(append(b, '}'))
}

// An Entry is one event of a log. Its line may have several lines of text, as
// a stack trace has.
type Entry struct {
	Time   time.Time
	Labels Labels // of its stream, shared with other entries
	Level  Level
	Line   string
	Fields []Field // that came beside the line; what is in the line is not repeated
}

// A Packet is some entries of one stream, whose labels stand once.
type Packet struct {
	Labels  Labels
	Entries []Entry // their Labels are those of the packet
}

// Limits of what a packet may hold, beyond which Decode refuses it.
const (
	MaxLine    = 256 << 10 // bytes of a line
	MaxLabels  = 32        // labels of a stream
	MaxFields  = 128       // fields of an entry
	MaxName    = 128       // bytes of the name of a label or field
	MaxValue   = 8 << 10   // bytes of the value of a label or field
	MaxEntries = 1 << 16   // entries of a packet
)

// ErrBadPacket is wrapped by errors of Decode.
var ErrBadPacket = errors.New("entry: bad packet")

const version = 1

// Size returns about how many bytes the entries of the packet have, without
// the labels.
func (p Packet) Size() (n int) {
	for i := range p.Entries {
		n += p.Entries[i].Size()
	}
	return n
}

// Size returns about how many bytes the entry has, without its labels.
func (e *Entry) Size() int {
	n := len(e.Line) + 12
	for _, f := range e.Fields {
		n += len(f.Name) + len(f.Value) + 2
	}
	return n
}

// Append appends the encoding of p to dst.
func Append(dst []byte, p Packet) []byte {
	dst = append(dst, version)
	dst = appendFields(dst, p.Labels)
	dst = binary.AppendUvarint(dst, uint64(len(p.Entries)))
	last := int64(0)
	for i := range p.Entries {
		e := &p.Entries[i]
		t := e.Time.UnixNano()
		dst = binary.AppendVarint(dst, t-last)
		last = t
		dst = append(dst, byte(e.Level))
		dst = appendString(dst, e.Line)
		dst = appendFields(dst, e.Fields)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFields(dst []byte, fields []Field) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for _, f := range fields {
		dst = appendString(appendString(dst, f.Name), f.Value)
	}
	return dst
}

// Decode decodes one packet, which must be all of src. It copies src once and
// keeps no reference to it. Errors wrap [ErrBadPacket] and say where.
func Decode(src []byte) (Packet, error) {
	d := decoder{rest: string(src), size: len(src)}
	if len(src) == 0 || src[0] != version {
		return Packet{}, d.fail("version")
	}
	d.rest = d.rest[1:]
	var p Packet
	p.Labels = Labels(d.fields(MaxLabels, "labels"))
	n := d.number(MaxEntries, "entries")
	// An entry takes at least four bytes, so a lie about the number costs nothing.
	p.Entries = make([]Entry, 0, min(n, len(d.rest)/4+1))
	last := int64(0)
	for i := 0; i < n && d.err == nil; i++ {
		last += d.varint("time")
		level := Level(d.byte("level"))
		if level > Fatal {
			d.fail("level")
		}
		line := d.string(MaxLine, "line")
		fields := d.fields(MaxFields, "fields")
		p.Entries = append(p.Entries, Entry{Time: time.Unix(0, last), Labels: p.Labels, Level: level, Line: line, Fields: fields})
	}
	if d.err == nil && d.rest != "" {
		d.fail("end")
	}
	if d.err != nil {
		return Packet{}, d.err
	}
	return p, nil
}

// A decoder reads what Append wrote. After a failure it returns zeros.
type decoder struct {
	rest string
	size int
	err  error
}

func (d *decoder) fail(what string) error {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s at byte %d of %d", ErrBadPacket, what, d.size-len(d.rest), d.size)
		d.rest = ""
	}
	return d.err
}

func (d *decoder) byte(what string) byte {
	if d.rest == "" {
		d.fail(what)
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// uvarint is binary.Uvarint on a string.
func (d *decoder) uvarint(what string) uint64 {
	var v uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		b := d.rest[i]
		if b < 0x80 {
			if i == binary.MaxVarintLen64-1 && b > 1 {
				break
			}
			d.rest = d.rest[i+1:]
			return v | uint64(b)<<(7*i)
		}
		v |= uint64(b&0x7f) << (7 * i)
	}
	d.fail(what)
	return 0
}

func (d *decoder) varint(what string) int64 {
	u := d.uvarint(what)
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) number(limit int, what string) int {
	v := d.uvarint(what)
	if v > uint64(limit) {
		d.fail("number of " + what)
		return 0
	}
	return int(v)
}

func (d *decoder) string(limit int, what string) string {
	n := d.number(limit, "bytes of "+what)
	if n > len(d.rest) {
		d.fail(what)
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) fields(limit int, what string) []Field {
	n := d.number(limit, what)
	if n == 0 {
		return nil
	}
	fields := make([]Field, 0, min(n, len(d.rest)/2+1))
	for i := 0; i < n && d.err == nil; i++ {
		fields = append(fields, Field{Name: d.string(MaxName, what), Value: d.string(MaxValue, what)})
	}
	return fields
}

// Clip cuts what is too long for a packet, and returns how many things were
// cut: a line above MaxLine, a name or value above its limit, fields and
// labels above their number. A cut text ends with a whole character.
func (p *Packet) Clip() (cut int) {
	if len(p.Labels) > MaxLabels {
		p.Labels, cut = p.Labels[:MaxLabels], cut+len(p.Labels)-MaxLabels
	}
	p.Labels, cut = clipFields(p.Labels, cut)
	for i := range p.Entries {
		e := &p.Entries[i]
		e.Labels = p.Labels
		if len(e.Line) > MaxLine {
			e.Line, cut = Cut(e.Line, MaxLine), cut+1
		}
		if len(e.Fields) > MaxFields {
			e.Fields, cut = e.Fields[:MaxFields], cut+len(e.Fields)-MaxFields
		}
		var fields Labels
		fields, cut = clipFields(e.Fields, cut)
		e.Fields = fields
	}
	return cut
}

func clipFields(fields []Field, cut int) (Labels, int) {
	for i, f := range fields {
		if len(f.Name) <= MaxName && len(f.Value) <= MaxValue {
			continue
		}
		clipped := slices.Clone(fields)
		for j := i; j < len(clipped); j++ {
			f := &clipped[j]
			if len(f.Name) > MaxName {
				f.Name, cut = Cut(f.Name, MaxName), cut+1
			}
			if len(f.Value) > MaxValue {
				f.Value, cut = Cut(f.Value, MaxValue), cut+1
			}
		}
		return clipped, cut
	}
	return fields, cut
}

// Cut returns the first n bytes of s at most, without half a character at the
// end.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-4 && i > 0; i-- {
		if s[i]&0xc0 != 0x80 { // the start of a character
			return s[:i]
		}
	}
	return s[:n]
}
