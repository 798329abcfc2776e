package trace

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// A Format is a way to write a trace.
type Format uint8

// The formats; see the package comment.
const (
	Keys Format = 1 + iota
	Sizes
	ARC
	LIRS
	CSV
)

var formats = [...]struct{ name, expects string }{
	Keys:  {"keys", "one key a line"},
	Sizes: {"sizes", "a key and a size in bytes on each line"},
	ARC:   {"arc", "four numbers on each line: start, count, and two that are ignored"},
	LIRS:  {"lirs", "one block number a line, or a mark that begins with *"},
	CSV:   {"csv", "columns with a key among them"},
}

// String returns the name of the format, "generated" for 0.
func (f Format) String() string {
	switch {
	case f == 0:
		return "generated"
	case int(f) < len(formats):
		return formats[f].name
	}
	return "unknown"
}

func (f Format) expects() string {
	if f == 0 || int(f) >= len(formats) {
		return "a known format"
	}
	return formats[f].expects
}

// ParseFormat returns the format of that name. An empty name, or "auto", is
// 0, which [Read] takes as a wish to guess.
func ParseFormat(name string) (Format, error) {
	if name == "" || name == "auto" {
		return 0, nil
	}
	for f := Keys; int(f) < len(formats); f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("trace: there is no format %q; expected keys, sizes, arc, lirs, csv or auto", name)
}

// Detect guesses the format from the first lines of a trace and says why it
// did.
func Detect(sample []byte) (f Format, why string, err error) {
	s := survey(sample)
	switch {
	case s.lines == 0:
		return 0, "", &SyntaxError{Reason: "empty; expected one access a line"}
	case s.marks > 0 && s.numbers+s.marks == s.lines:
		return LIRS, "numbers, and marks that begin with *", nil
	case s.four == s.lines:
		return ARC, "four numbers on each line", nil
	case s.pairs == s.lines:
		return Sizes, "a key and a number on each line", nil
	case s.single == s.lines:
		return Keys, "one word on each line", nil
	case s.separator != 0:
		return CSV, fmt.Sprintf("%d columns separated by %s on each line", s.columns, separators[s.separator]), nil
	}
	return 0, "", &SyntaxError{Line: s.odd, Reason: fmt.Sprintf("%q does not go with the lines before it; expected one key a line, key and size, "+
		"the formats of ARC or LIRS, or columns. Say which format it is if it is one of them", clip(s.oddText))}
}

// separators of columns, and what to call them.
var separators = map[byte]string{',': "commas", ';': "semicolons", '\t': "tabs", ' ': "spaces"}

// A survey counts what lines look like.
type surveyed struct {
	lines, single, numbers, marks, pairs, four int

	separator byte // that cuts every line into the same number of columns, above 1
	columns   int
	odd       int // number of the first line with another number of words than the first
	oddText   []byte
}

func survey(sample []byte) surveyed {
	var s surveyed
	words, number := 0, 0
	counts := map[byte]int{',': 0, ';': 0, '\t': 0, ' ': 0} // columns by separator, -1 if they differ
	for line := range bytes.Lines(sample) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		s.lines++
		fields := bytes.Fields(line)
		if s.lines == 1 {
			words = len(fields)
		}
		if len(fields) != words && s.odd == 0 {
			s.odd, s.oddText = number, line
		}
		for separator, columns := range counts {
			switch n := len(split(nil, line, separator)); {
			case s.lines == 1:
				counts[separator] = n
			case n != columns:
				counts[separator] = -1
			}
		}
		s.look(line, fields)
	}
	if s.odd == 0 {
		s.odd, s.oddText = 1, firstLine(sample)
	}
	for _, separator := range []byte{'\t', ',', ';', ' '} {
		if counts[separator] > 1 {
			s.separator, s.columns = separator, counts[separator]
			break
		}
	}
	return s
}

// look counts one line.
func (s *surveyed) look(line []byte, words [][]byte) {
	comma := bytes.IndexByte(line, ',') >= 0
	switch {
	case line[0] == '*':
		s.marks++
	case len(words) == 1 && !comma && bytes.IndexByte(line, ';') < 0:
		s.single++
		if isNumber(line) {
			s.numbers++
		}
	case len(words) == 4 && isNumber(words[0]) && isNumber(words[1]) && isNumber(words[2]) && isNumber(words[3]):
		s.four++
	default:
		if _, size, ok := pair(line); ok && isNumber(size) {
			s.pairs++
		}
	}
}

func firstLine(sample []byte) []byte {
	line, _, _ := bytes.Cut(bytes.TrimSpace(sample), []byte("\n"))
	return line
}

// pair cuts a line in two at a comma or at white space; ok is whether there
// are two parts.
func pair(line []byte) (key, size []byte, ok bool) {
	at := bytes.IndexAny(line, ", \t")
	if at <= 0 {
		return nil, nil, false
	}
	key, size = line[:at], bytes.TrimSpace(line[at:])
	size = bytes.TrimSpace(bytes.TrimPrefix(size, []byte(",")))
	return key, size, len(size) > 0 && !bytes.ContainsAny(size, ", \t")
}

func isNumber(b []byte) bool {
	_, ok := number(b)
	return ok
}

// number reads a decimal number without a sign.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

// KeyOf returns the key that stands for a text: the number itself if it is
// one, written in decimal without a sign or zeros in front and below 2^64, and
// a hash of it otherwise.
func KeyOf(text []byte) uint64 {
	if v, ok := number(text); ok && (text[0] != '0' || len(text) == 1) {
		return v
	}
	// FNV-1a, then the finaliser of MurmurHash3, so that texts that differ
	// in their last character only do not become numbers close together.
	h := uint64(14695981039346656037)
	for _, c := range text {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// An access is what a line stands for: count keys from key on.
type access struct {
	key   uint64
	count uint64
	size  uint32
	sized bool
}

// A parser reads one line, which is not empty. reason is what is wrong with it.
type parser func(line []byte) (a access, reason string)

func newParser(f Format, o *Options, sample []byte) (parser, error) {
	switch f {
	case Keys:
		return func(line []byte) (access, string) { return access{key: KeyOf(line), count: 1}, "" }, nil
	case Sizes:
		return parseSizes, nil
	case ARC:
		return parseARC, nil
	case LIRS:
		return parseLIRS, nil
	case CSV:
		return newColumns(o, sample)
	}
	return nil, fmt.Errorf("trace: unknown format %d", f)
}

func parseSizes(line []byte) (access, string) {
	key, text, ok := pair(line)
	if !ok {
		return access{}, fmt.Sprintf("%q; expected a key and a size in bytes", clip(line))
	}
	size, ok := sizeOf(text)
	if !ok {
		return access{}, fmt.Sprintf("the size is %q; expected a number of bytes", clip(text))
	}
	return access{key: KeyOf(key), count: 1, size: size, sized: true}, ""
}

// sizeOf reads a number of bytes. What does not fit a uint32 is taken as the
// largest one that does.
func sizeOf(b []byte) (uint32, bool) {
	v, ok := number(b)
	return uint32(min(v, math.MaxUint32)), ok
}

func parseARC(line []byte) (access, string) {
	var fields [4]uint64
	n := 0
	for word := range bytes.FieldsSeq(line) {
		v, ok := number(word)
		if n == len(fields) || !ok {
			n = 0
			break
		}
		fields[n] = v
		n++
	}
	if n != len(fields) {
		return access{}, fmt.Sprintf("%q; expected four numbers: start, count, and two that are ignored", clip(line))
	}
	return access{key: fields[0], count: fields[1]}, ""
}

func parseLIRS(line []byte) (access, string) {
	if line[0] == '*' {
		return access{}, ""
	}
	v, ok := number(line)
	if !ok {
		return access{}, fmt.Sprintf("%q; expected a block number or *", clip(line))
	}
	return access{key: v, count: 1}, ""
}

// clip shortens what is quoted in an error.
func clip(b []byte) []byte {
	if len(b) > 60 {
		return append(b[:57:57], "..."...)
	}
	return b
}

// columnNumber returns the index of a column given by its number from 1, and
// whether text is one.
func columnNumber(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n - 1, err == nil && n > 0
}
