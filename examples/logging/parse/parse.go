// Package parse reads what is in a line of a log: when it happened, how bad it
// is, and the fields of the formats that most programs write. It also tells
// which lines belong together.
//
//	access log   1.2.3.4 - - [28/Nov/2026:19:40:00 +0000] "GET /a HTTP/1.1" 502 17 "-" "curl"
//	JSON         {"time":"2026-11-28T19:40:00Z","level":"error","msg":"…","http":{"status":502}}
//	logfmt       time=2026-11-28T19:40:00Z level=error msg="…" status=502
//	anything     2026-11-28 19:40:00.123 ERROR …
//
// Fields are looked up when somebody asks, not stored: the line is the truth,
// and a question that nobody thought of when the line was written can still be
// asked. Fields of access logs have the names of nginx's variables, shortened:
// addr, user, method, path, protocol, status, bytes, referer, agent, and
// seconds where a request time follows. Those of JSON objects within objects
// have dots: http.status.
//
// Nothing here fails: a line in no known format has no fields and no time of
// its own.
package parse

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

// depth is how many objects within objects are looked into.
const depth = 4

// Fields returns the fields of a line, in their order, at most
// [entry.MaxFields].
func Fields(line string) []entry.Field {
	var fields []entry.Field
	each(line, func(name, value string) bool {
		fields = append(fields, entry.Field{Name: name, Value: value})
		return len(fields) < entry.MaxFields
	})
	return fields
}

// Get returns the field of that name.
func Get(line, name string) (value string, ok bool) {
	each(line, func(n, v string) bool {
		if n == name {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// each calls f with each field of a line until that returns false.
func each(line string, f func(name, value string) bool) {
	text := strings.TrimLeft(line, " \t")
	switch {
	case strings.HasPrefix(text, "{"):
		eachJSON(text, f)
	case strings.Contains(text, `] "`) && eachAccess(text, f):
	case strings.Contains(text, "="):
		eachLogfmt(text, f)
	}
}

// eachJSON reads one object. What is not JSON has no fields.
func eachJSON(text string, f func(name, value string) bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return
	}
	object(d, "", depth, f)
}

// object reads an object whose brace was read, and reports whether to go on.
func object(d *json.Decoder, prefix string, levels int, f func(name, value string) bool) bool {
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		name, _ := key.(string)
		name = prefix + name
		value, err := d.Token()
		if err != nil {
			return false
		}
		switch v := value.(type) {
		case json.Delim:
			if v == '{' && levels > 1 {
				if !object(d, name+".", levels-1, f) {
					return false
				}
			} else if !skip(d) {
				return false
			}
			continue
		case string:
			if !f(name, v) {
				return false
			}
		case json.Number:
			if !f(name, v.String()) {
				return false
			}
		case bool:
			if !f(name, map[bool]string{true: "true", false: "false"}[v]) {
				return false
			}
		}
	}
	_, err := d.Token() // the closing brace
	return err == nil
}

// skip reads to the end of an object or array whose start was read.
func skip(d *json.Decoder) bool {
	for open := 1; open > 0; {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if delim, ok := t.(json.Delim); ok {
			if delim == '{' || delim == '[' {
				open++
			} else {
				open--
			}
		}
	}
	return true
}

// eachLogfmt reads name=value and name="quoted value", and passes over other
// words.
func eachLogfmt(text string, f func(name, value string) bool) {
	for text != "" {
		text = strings.TrimLeft(text, " \t\r\n,")
		n := 0
		for n < len(text) && nameByte(text[n]) {
			n++
		}
		if n == 0 || n == len(text) || text[n] != '=' {
			i := strings.IndexAny(text, " \t\r\n")
			if i < 0 {
				return
			}
			text = text[i:]
			continue
		}
		name := text[:n]
		value, rest := logfmtValue(text[n+1:])
		text = rest
		if !f(name, value) {
			return
		}
	}
}

func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '.' || b == '-' || b == '/' || b == '@'
}

func logfmtValue(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		i := strings.IndexAny(text, " \t\r\n")
		if i < 0 {
			return text, ""
		}
		return text[:i], text[i:]
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return unquote(text[1:i]), text[i+1:]
		}
	}
	return text[1:], ""
}

// unquote undoes the escapes of a quoted value.
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// eachAccess reads a line in the common or combined format and reports whether
// it was one.
func eachAccess(text string, f func(name, value string) bool) bool {
	addr, rest, ok := strings.Cut(text, " ")
	if !ok || !strings.Contains(addr, ".") && !strings.Contains(addr, ":") {
		return false
	}
	open := strings.IndexByte(rest, '[')
	closed := strings.Index(rest, `] "`)
	if open < 0 || closed < open || closed-open > 40 {
		return false
	}
	who := strings.Fields(rest[:open])
	if len(who) != 2 {
		return false
	}
	request, rest, ok := quoted(rest[closed+2:])
	if !ok {
		return false
	}
	status, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if len(status) != 3 || !digits(status) {
		return false
	}
	size, rest, _ := strings.Cut(rest, " ")
	method, path, protocol := splitRequest(request)
	pairs := []string{"addr", addr, "user", who[1], "method", method, "path", path, "protocol", protocol, "status", status, "bytes", size}
	if referer, after, ok := quoted(rest); ok {
		pairs = append(pairs, "referer", referer)
		rest = after
		if agent, after, ok := quoted(rest); ok {
			pairs = append(pairs, "agent", agent)
			rest = after
		}
	}
	if seconds, _, _ := strings.Cut(strings.TrimSpace(rest), " "); decimal(seconds) {
		pairs = append(pairs, "seconds", seconds)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" || pairs[i+1] == "-" {
			continue
		}
		if !f(pairs[i], pairs[i+1]) {
			return true
		}
	}
	return true
}

// quoted returns what stands between the first two quotes.
func quoted(text string) (inner, rest string, ok bool) {
	text = strings.TrimLeft(text, " ")
	if !strings.HasPrefix(text, `"`) {
		return "", text, false
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[1:i], text[i+1:], true
		}
	}
	return "", text, false
}

func splitRequest(request string) (method, path, protocol string) {
	method, rest, ok := strings.Cut(request, " ")
	if !ok {
		return "", request, ""
	}
	if i := strings.LastIndexByte(rest, ' '); i >= 0 {
		return method, rest[:i], rest[i+1:]
	}
	return method, rest, ""
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func decimal(s string) bool {
	whole, part, dot := strings.Cut(s, ".")
	return digits(whole) && (!dot || digits(part))
}

// Clean returns a line as it is stored: without the line break at its end, and
// with bytes that are not UTF-8 replaced by the replacement character.
func Clean(line []byte) string {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if utf8.Valid(line) {
		return string(line)
	}
	return strings.ToValidUTF8(string(line), "\ufffd")
}
