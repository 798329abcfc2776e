package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Names that files in use give to their columns, the likeliest first.
var (
	keyNames  = []string{"key", "obj_id", "object_id", "objectid", "object", "obj", "id", "url", "uri", "path", "block", "lbn", "lba", "address", "offset", "item"}
	sizeNames = []string{"size", "obj_size", "object_size", "objectsize", "bytes", "value_size", "length", "len"}
)

// columns reads lines that are cut into columns.
type columns struct {
	separator byte
	key, size int // -1 for none
	header    bool
	fields    [][]byte
}

// newColumns chooses the columns from what o says and the first lines.
func newColumns(o *Options, sample []byte) (parser, error) {
	c := &columns{separator: survey(sample).separator}
	if c.separator == 0 {
		c.separator = likeliest(firstLine(sample))
	}
	first := split(nil, firstLine(sample), c.separator)
	names := make([]string, len(first))
	for i, field := range first {
		names[i] = strings.ToLower(string(field))
	}
	// A first line without any number is one of names.
	c.header = !slices.ContainsFunc(first, isNumber)
	var err error
	if c.key, err = c.find(o.Key, "key", names, keyNames); err != nil {
		return nil, err
	}
	if c.size, err = c.find(o.Size, "size", names, sizeNames); err != nil {
		return nil, err
	}
	if c.key < 0 {
		have := "the columns have no names"
		if c.header {
			have = "the columns are " + strings.Join(names, ", ")
		}
		return nil, &SyntaxError{Line: 1, Reason: fmt.Sprintf("no column that is named like a key (%s); say which one is, by name or by number from 1",
			string(clip([]byte(have))))}
	}
	return c.parse, nil
}

// likeliest returns the separator that occurs most often in line.
func likeliest(line []byte) byte {
	best, most := byte(','), 0
	for _, separator := range []byte{'\t', ',', ';', ' '} {
		if n := bytes.Count(line, []byte{separator}); n > most {
			best, most = separator, n
		}
	}
	return best
}

// find returns the index of a column: the one that was asked for, or one with
// one of the usual names, or -1.
func (c *columns) find(asked, what string, names, usual []string) (int, error) {
	if asked == "" {
		if c.header {
			for _, name := range usual {
				if i := slices.Index(names, name); i >= 0 {
					return i, nil
				}
			}
		}
		return -1, nil
	}
	if i := slices.Index(names, strings.ToLower(asked)); c.header && i >= 0 {
		return i, nil
	}
	i, ok := columnNumber(asked)
	switch {
	case !ok && !c.header:
		return 0, &SyntaxError{Line: 1, Reason: fmt.Sprintf("the columns have no names, so there is no %s column %q; expected a number from 1 to %d", what, asked, len(names))}
	case !ok:
		return 0, &SyntaxError{Line: 1, Reason: fmt.Sprintf("no %s column %q; expected one of %s, or a number from 1 to %d", what, asked,
			string(clip([]byte(strings.Join(names, ", ")))), len(names))}
	case i >= len(names):
		return 0, &SyntaxError{Line: 1, Reason: fmt.Sprintf("no %s column %d; expected a number from 1 to %d", what, i+1, len(names))}
	}
	return i, nil
}

func (c *columns) parse(line []byte) (access, string) {
	if c.header {
		c.header = false
		return access{}, ""
	}
	c.fields = split(c.fields[:0], line, c.separator)
	if need := max(c.key, c.size); need >= len(c.fields) {
		return access{}, fmt.Sprintf("%d columns; expected at least %d, separated by %s", len(c.fields), need+1, separators[c.separator])
	}
	a := access{key: KeyOf(c.fields[c.key]), count: 1, sized: c.size >= 0}
	if a.sized {
		var ok bool
		if a.size, ok = sizeOf(c.fields[c.size]); !ok {
			return access{}, fmt.Sprintf("the size, column %d, is %q; expected a number of bytes", c.size+1, clip(c.fields[c.size]))
		}
	}
	return a, ""
}

// split appends the columns of line to dst, without the white space and the
// quotation marks around them. Within quotation marks a separator is text, and
// a doubled mark stays doubled: keys need to be told apart, not printed. Spaces
// separate however many there are in a row.
func split(dst [][]byte, line []byte, separator byte) [][]byte {
	for {
		if separator == ' ' {
			line = bytes.TrimLeft(line, " \t")
		}
		end, quoted := len(line), false
		for i, ch := range line {
			if ch == '"' {
				quoted = !quoted
			} else if !quoted && (ch == separator || separator == ' ' && ch == '\t') {
				end = i
				break
			}
		}
		field := bytes.TrimSpace(line[:end])
		if len(field) >= 2 && field[0] == '"' && field[len(field)-1] == '"' {
			field = field[1 : len(field)-1]
		}
		dst = append(dst, field)
		if end == len(line) {
			return dst
		}
		line = line[end+1:]
	}
}
