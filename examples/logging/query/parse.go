package query

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

// Limits of a query.
const (
	MaxLength = 4 << 10 // bytes
	maxDepth  = 32      // parentheses and negations within each other
)

// Parse parses a query. Errors are *SyntaxError.
func Parse(s string) (*Query, error) {
	if len(s) > MaxLength {
		return nil, &SyntaxError{Query: s, At: MaxLength, Reason: "a query may have 4096 bytes"}
	}
	if i := invalid(s); i >= 0 {
		return nil, &SyntaxError{Query: s, At: i, Reason: "not UTF-8"}
	}
	p := parser{text: s}
	p.space()
	if p.at == len(s) {
		return &Query{text: s}, nil
	}
	root, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(s) {
		return nil, p.fail("nothing opened what closes here")
	}
	return &Query{text: s, root: root}, nil
}

func invalid(s string) int {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return i
		}
	}
	return -1
}

type parser struct {
	text string
	at   int
}

func (p *parser) fail(reason string) error {
	return &SyntaxError{Query: p.text, At: p.at, Reason: reason}
}

func (p *parser) space() {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

// keyword takes a word that stands alone, in any case.
func (p *parser) keyword(word string) bool {
	rest := p.text[p.at:]
	if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return false
	}
	if after := rest[len(word):]; after != "" && !strings.ContainsRune(" \t\r\n()", rune(after[0])) {
		return false
	}
	p.at += len(word)
	p.space()
	return true
}

func (p *parser) or(depth int) (node, error) {
	var parts or
	for {
		part, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		if !p.keyword("or") {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts, nil
}

func (p *parser) and(depth int) (node, error) {
	var parts and
	for {
		for p.keyword("and") && len(parts) == 0 {
			return nil, p.fail("nothing stands before and")
		}
		if p.at == len(p.text) || p.text[p.at] == ')' || len(parts) > 0 && p.peekOr() {
			break
		}
		part, err := p.not(depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		p.space()
	}
	switch len(parts) {
	case 0:
		return nil, p.fail("something is missing")
	case 1:
		return parts[0], nil
	}
	return parts, nil
}

func (p *parser) peekOr() bool {
	at := p.at
	defer func() { p.at = at }()
	return p.keyword("or")
}

func (p *parser) not(depth int) (node, error) {
	if depth >= maxDepth {
		return nil, p.fail("too deep")
	}
	negated := p.keyword("not")
	if !negated && p.at+1 < len(p.text) && (p.text[p.at] == '-' || p.text[p.at] == '!') {
		p.at++
		negated = true
	}
	if negated {
		part, err := p.not(depth + 1)
		if err != nil {
			return nil, err
		}
		return not{part}, nil
	}
	if p.at < len(p.text) && p.text[p.at] == '(' {
		p.at++
		p.space()
		part, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.at == len(p.text) || p.text[p.at] != ')' {
			return nil, p.fail("a closing parenthesis is missing")
		}
		p.at++
		return part, nil
	}
	return p.term()
}

func (p *parser) term() (node, error) {
	if p.at == len(p.text) {
		return nil, p.fail("something is missing")
	}
	switch p.text[p.at] {
	case '"':
		s, err := p.quoted('"')
		if err != nil {
			return nil, err
		}
		return newText(s, !beginsWithWord(strings.ToLower(s)), !endsWithWord(strings.ToLower(s))), nil
	case '/':
		s, err := p.quoted('/')
		if err != nil {
			return nil, err
		}
		re, err := p.compile(s)
		if err != nil {
			return nil, err
		}
		return pattern{re}, nil
	}
	start := p.at
	name := p.name()
	if op := p.operator(); op != "" {
		if name == "" {
			p.at = start
			return nil, p.fail("a name is missing before " + op)
		}
		return p.comparison(name, op)
	}
	p.at = start
	return p.word()
}

// name takes the name of a field.
func (p *parser) name() string {
	start := p.at
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.-@/", r) {
			break
		}
		p.at += n
	}
	return p.text[start:p.at]
}

var operators = []string{"!=", "!~", "<=", ">=", "=", "~", "<", ">"}

func (p *parser) operator() string {
	for _, op := range operators {
		if strings.HasPrefix(p.text[p.at:], op) {
			p.at += len(op)
			return op
		}
	}
	return ""
}

// quoted takes what stands between two marks; a backslash takes the mark
// literally.
func (p *parser) quoted(mark byte) (string, error) {
	start := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == mark:
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text) && (p.text[p.at+1] == mark || mark == '"' && p.text[p.at+1] == '\\'):
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	p.at = start
	return "", p.fail("a closing " + string(mark) + " is missing")
}

// bare takes characters up to a space or parenthesis.
func (p *parser) bare() string {
	start := p.at
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if unicode.IsSpace(r) || r == '(' || r == ')' || r == '"' {
			break
		}
		p.at += n
	}
	return p.text[start:p.at]
}

func (p *parser) compile(s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, p.fail("not a regular expression (" + strings.TrimPrefix(err.Error(), "error parsing regexp: ") + ")")
	}
	return re, nil
}

// word takes words with or without wildcards at the ends.
func (p *parser) word() (node, error) {
	s := p.bare()
	if s == "" {
		return nil, p.fail("something is missing")
	}
	inner := strings.TrimPrefix(s, "*")
	open := inner != s
	trimmed := strings.TrimSuffix(inner, "*")
	openEnd := trimmed != inner
	if trimmed == "" {
		return and{}, nil // * is anything
	}
	if strings.Contains(trimmed, "*") {
		re, err := p.compile("(?i)" + wildcard(s, open, openEnd))
		if err != nil {
			return nil, err
		}
		return pattern{re}, nil
	}
	lower := strings.ToLower(trimmed)
	return newText(trimmed, open || !beginsWithWord(lower), openEnd || !endsWithWord(lower)), nil
}

// wildcard turns a*b into a regular expression, which begins and ends with
// whole words where it has no wildcard there.
func wildcard(s string, open, openEnd bool) string {
	parts := strings.Split(strings.Trim(s, "*"), "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	expr := strings.Join(parts, `[^\s]*`)
	if !open {
		expr = `(?:^|[^\pL\pN])` + expr
	}
	if !openEnd {
		expr += `(?:$|[^\pL\pN])`
	}
	return expr
}

// comparison takes the value behind an operator.
func (p *parser) comparison(name, op string) (node, error) {
	value, isQuoted := "", false
	if p.at < len(p.text) && (p.text[p.at] == '"' || p.text[p.at] == '/' && strings.HasSuffix(op, "~")) {
		v, err := p.quoted(p.text[p.at])
		if err != nil {
			return nil, err
		}
		value, isQuoted = v, true
	} else {
		value = p.bare()
	}
	if value == "" && !isQuoted {
		return nil, p.fail("a value is missing behind " + op)
	}
	negated := op[0] == '!'
	if op == "!=" {
		op = "="
	} else if op == "!~" {
		op = "~"
	}
	n, err := p.compare(name, op, value, isQuoted)
	if err != nil || !negated {
		return n, err
	}
	return not{n}, nil
}

func (p *parser) compare(name, op, value string, isQuoted bool) (node, error) {
	if name == "level" && op != "~" && (isQuoted || !strings.Contains(value, "*")) {
		l, ok := entry.ParseLevel(value)
		if !ok {
			return nil, p.fail("there is no level " + strconv.Quote(value))
		}
		return level{op, l}, nil
	}
	n := field{name: name, op: op, value: value}
	switch {
	case op == "~":
		re, err := p.compile(value)
		if err != nil {
			return nil, err
		}
		n.re = re
	case op == "=" && !isQuoted && strings.Contains(value, "*"):
		parts := strings.Split(value, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re, err := p.compile("(?s)^" + strings.Join(parts, ".*") + "$")
		if err != nil {
			return nil, err
		}
		n.re = re
	case op == "=":
		n.required = required(name, value)
	default:
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, p.fail(strconv.Quote(value) + " is not a number")
		}
		n.number, n.numeric = v, true
	}
	return n, nil
}

// required returns the tokens that a block must have for a field to have a
// value. What is computed, as the issue is, is in no line.
func required(name, value string) (hashes []uint64) {
	if name == "issue" {
		return nil
	}
	for _, w := range words(strings.ToLower(value)) {
		hashes = append(hashes, hash(w))
	}
	return hashes
}
