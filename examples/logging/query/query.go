package query

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/issue"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// A Query decides which entries to show. The zero Query matches everything.
// Create one with [Parse]. A Query is safe for concurrent use by multiple
// goroutines.
type Query struct {
	text string
	root node // nil matches everything
}

// String returns the text that the query was parsed from.
func (q *Query) String() string { return q.text }

// All reports whether the query matches everything.
func (q *Query) All() bool { return q.root == nil }

// Match reports whether the query matches an entry.
func (q *Query) Match(e *entry.Entry) bool { return q.root == nil || q.root.match(e) }

// MayMatchStream reports whether the query can match an entry with those
// labels and one of the levels in the set, whose bit n is that of level n.
func (q *Query) MayMatchStream(labels entry.Labels, levels uint8) bool {
	return q.root == nil || q.root.stream(labels, levels) != never
}

// ByStream reports whether the query matches all entries of a stream with
// those labels and levels, whatever is in them.
func (q *Query) ByStream(labels entry.Labels, levels uint8) bool {
	return q.root == nil || q.root.stream(labels, levels) == always
}

// MayMatchTokens reports whether the query can match an entry of a block whose
// tokens has knows; has may say yes too often. See [Tokens].
func (q *Query) MayMatchTokens(has func(hash uint64) bool) bool {
	return q.root == nil || q.root.tokens(has)
}

// A verdict is what can be said without looking at an entry.
type verdict int

const (
	never verdict = iota - 1
	maybe
	always
)

// A node is a part of a query.
type node interface {
	match(e *entry.Entry) bool
	stream(labels entry.Labels, levels uint8) verdict
	tokens(has func(uint64) bool) bool
}

type and []node

func (n and) match(e *entry.Entry) bool {
	for _, part := range n {
		if !part.match(e) {
			return false
		}
	}
	return true
}

func (n and) stream(labels entry.Labels, levels uint8) verdict {
	v := always
	for _, part := range n {
		v = min(v, part.stream(labels, levels))
	}
	return v
}

func (n and) tokens(has func(uint64) bool) bool {
	for _, part := range n {
		if !part.tokens(has) {
			return false
		}
	}
	return true
}

type or []node

func (n or) match(e *entry.Entry) bool {
	for _, part := range n {
		if part.match(e) {
			return true
		}
	}
	return false
}

func (n or) stream(labels entry.Labels, levels uint8) verdict {
	v := never
	for _, part := range n {
		v = max(v, part.stream(labels, levels))
	}
	return v
}

func (n or) tokens(has func(uint64) bool) bool {
	for _, part := range n {
		if part.tokens(has) {
			return true
		}
	}
	return false
}

type not struct{ part node }

func (n not) match(e *entry.Entry) bool { return !n.part.match(e) }

func (n not) stream(labels entry.Labels, levels uint8) verdict {
	return -n.part.stream(labels, levels)
}

func (n not) tokens(func(uint64) bool) bool { return true }

// text is words in the line, one behind the other.
type text struct {
	words    string // in lower case
	open     bool   // *at the beginning: what is before is no matter
	openEnd  bool   // at the end*
	required []uint64
}

func newText(s string, open, openEnd bool) text {
	n := text{words: strings.ToLower(s), open: open, openEnd: openEnd}
	list := words(n.words)
	if open && len(list) > 0 && beginsWithWord(n.words) {
		list = list[1:]
	}
	if openEnd && len(list) > 0 && endsWithWord(n.words) {
		list = list[:len(list)-1]
	}
	for _, w := range list {
		n.required = append(n.required, hash(w))
	}
	return n
}

func (n text) match(e *entry.Entry) bool { return contains(e.Line, n.words, n.open, n.openEnd) }

func (n text) stream(entry.Labels, uint8) verdict { return maybe }

func (n text) tokens(has func(uint64) bool) bool {
	for _, h := range n.required {
		if !has(h) {
			return false
		}
	}
	return true
}

type pattern struct{ re *regexp.Regexp }

func (n pattern) match(e *entry.Entry) bool          { return n.re.MatchString(e.Line) }
func (n pattern) stream(entry.Labels, uint8) verdict { return maybe }
func (n pattern) tokens(func(uint64) bool) bool      { return true }

// level compares the level.
type level struct {
	op    string
	level entry.Level
}

func (n level) match(e *entry.Entry) bool {
	return compareNumbers(n.op, float64(e.Level), float64(n.level))
}

func (n level) stream(_ entry.Labels, levels uint8) verdict {
	yes, no := false, false
	for _, l := range entry.Levels {
		if levels&(1<<l) == 0 {
			continue
		}
		if compareNumbers(n.op, float64(l), float64(n.level)) {
			yes = true
		} else {
			no = true
		}
	}
	switch {
	case yes && !no:
		return always
	case no && !yes:
		return never
	}
	return maybe
}

func (n level) tokens(func(uint64) bool) bool { return true }

// field compares a label or field.
type field struct {
	name, op, value string
	number          float64
	numeric         bool
	re              *regexp.Regexp // of ~ and of values with wildcards
	required        []uint64
}

func (n field) match(e *entry.Entry) bool {
	value, ok := Lookup(e, n.name)
	return ok && n.compare(value)
}

func (n field) compare(value string) bool {
	switch {
	case n.re != nil:
		return n.re.MatchString(value)
	case n.op == "=":
		return value == n.value
	case n.numeric:
		v, err := strconv.ParseFloat(value, 64)
		return err == nil && compareNumbers(n.op, v, n.number)
	}
	return false
}

func (n field) stream(labels entry.Labels, _ uint8) verdict {
	value, ok := labels.Get(n.name)
	switch {
	case !ok:
		return maybe
	case n.compare(value):
		return always
	}
	return never
}

func (n field) tokens(has func(uint64) bool) bool {
	for _, h := range n.required {
		if !has(h) {
			return false
		}
	}
	return true
}

func compareNumbers(op string, a, b float64) bool {
	switch op {
	case "=":
		return a == b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	}
	return false
}

// Lookup returns what an entry has under a name: a label, a field, a field of
// its line, or level, line or issue.
func Lookup(e *entry.Entry, name string) (string, bool) {
	switch name {
	case "level":
		return e.Level.String(), true
	case "line":
		return e.Line, true
	}
	if v, ok := e.Labels.Get(name); ok {
		return v, true
	}
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value, true
		}
	}
	if name == "issue" {
		if e.Level < entry.Error {
			return "", false
		}
		return issue.Fingerprint(e.Line), true
	}
	return parse.Get(e.Line, name)
}

// A SyntaxError says where a query cannot be understood.
type SyntaxError struct {
	Query  string
	At     int // byte
	Reason string
}

// Error returns the reason, the place, and the rest of the query from there.
func (e *SyntaxError) Error() string {
	rest := entry.Cut(e.Query[min(e.At, len(e.Query)):], 24)
	if rest == "" {
		return fmt.Sprintf("query: %s at the end", e.Reason)
	}
	return fmt.Sprintf("query: %s at character %d: %q", e.Reason, len([]rune(e.Query[:e.At]))+1, rest)
}
