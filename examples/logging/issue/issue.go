// Package issue groups exceptions that are the same but for what varies from
// one to the next: numbers, ids, addresses, times, and where in memory things
// lie.
//
// The fingerprint of an event is that of its kind and message, with what
// varies replaced, and of the functions at the top of its stack trace, without
// their line numbers: a fix elsewhere in the file does not make it another
// issue.
package issue

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// frames is how many functions of a stack trace count.
const frames = 5

// Fingerprint returns 16 hexadecimal digits that events of one issue share.
func Fingerprint(line string) string {
	sum := strconv.FormatUint(xxhash.Sum64String(essence(line)), 16)
	return strings.Repeat("0", 16-len(sum)) + sum
}

// Title returns what to call an issue: its message, with what varies replaced,
// on one line of at most 160 bytes.
func Title(line string) string {
	text, _, _ := strings.Cut(essence(line), "\n")
	if len(text) > 160 {
		return entry.Cut(text, 157) + "…"
	}
	return text
}

// essence is what of an event counts: the message on the first line, then
// functions.
func essence(line string) string {
	message, trace := split(line)
	var b strings.Builder
	b.WriteString(Normalize(message))
	n := 0
	for _, f := range trace {
		b.WriteByte('\n')
		b.WriteString(f)
		if n++; n == frames {
			break
		}
	}
	return b.String()
}

// prefix is what stands in front of messages: a time, a level, a process or
// thread, in any order.
var prefix = regexp.MustCompile(`^(?:[\[(<|]*(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[.,]?\d*(?:Z| ?[+-]\d\d:?\d\d)?|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|[IWEF]\d{4} [\d:.]+ +\d+|TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL|SEVERE|\d+#\d+|error|warn|crit)[\])>|]*:?\s+)+`)

// split returns the message of an event and the functions of its trace, from
// the top.
func split(line string) (message string, functions []string) {
	if strings.HasPrefix(line, "{") || strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "level=") {
		if m, rest, ok := structured(line); ok {
			message, line = m, rest
			if line == "" {
				return message, nil
			}
		}
	}
	lines := strings.Split(line, "\n")
	if message == "" {
		message = strings.TrimSpace(prefix.ReplaceAllString(lines[0], ""))
	}
	var kinds []string // of exception, with their messages: the first and its causes
	for i, l := range lines {
		text := strings.TrimSpace(l)
		if f := function(text, lines, i); f != "" {
			functions = append(functions, f)
		} else if i > 0 && kind.MatchString(text) {
			kinds = append(kinds, text)
		}
	}
	if len(functions) > 0 && len(kinds) > 0 {
		// What the program was doing when it happened makes no other issue.
		return strings.Join(kinds, " | "), functions
	}
	return strings.Join(append([]string{message}, kinds...), " | "), functions
}

// structured takes the message of a JSON or logfmt line, and the stack trace
// that a field may hold.
func structured(line string) (message, trace string, ok bool) {
	for _, f := range parse.Fields(line) {
		switch f.Name {
		case "msg", "message", "error", "err", "exception", "error.message":
			if message != "" {
				message += " | "
			}
			message += f.Value
			ok = true
		case "stack", "stacktrace", "stack_trace", "trace", "error.stack":
			trace = f.Value
		}
	}
	return message, trace, ok
}

var (
	// kind is a line of a trace that names an exception.
	kind = regexp.MustCompile(`^(?:Caused by: )?(?:[\w$]+\.)*[\w$]*(?:Error|Exception|Throwable|Warning|Exit|Interrupt)(?::|$)`)

	javaFrame   = regexp.MustCompile(`^at ((?:async )?[\w$.<>\[\]/ ]+?) ?\(`)
	plainFrame  = regexp.MustCompile(`^at ([\w$.<>/]+)(?: in |$|:)`)
	pythonFrame = regexp.MustCompile(`^File "([^"]+)", line \d+, in (\S+)`)
	goFrame     = regexp.MustCompile(`^([\w./*()\[\]{}\-]+)\((?:\.\.\.|[^)]*)\)$`)
)

// function returns the function that a line of a trace is about.
func function(text string, lines []string, i int) string {
	if m := javaFrame.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if m := pythonFrame.FindStringSubmatch(text); m != nil {
		return m[1] + ":" + m[2]
	}
	if m := plainFrame.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	// In Go the file stands on the line below, behind a tab.
	if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "\t") && strings.Contains(lines[i+1], ".go:") {
		if m := goFrame.FindStringSubmatch(text); m != nil {
			return m[1]
		}
	}
	return ""
}

// varying is what differs between two events of one issue, the longest forms
// first.
var varying = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[.,]?\d*(?:Z|[+-]\d\d:?\d\d)?`), "<time>"},
	{regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`), "<id>"},
	{regexp.MustCompile(`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`), "<mail>"},
	{regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`), "<addr>"},
	{regexp.MustCompile(`\[?[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){3,7}\]?(?::\d+)?`), "<addr>"},
	{regexp.MustCompile(`0x[0-9a-fA-F]+`), "<addr>"},
	{regexp.MustCompile(`[-+]?\d+(?:[.,:]\d+)*`), "<n>"},
}

// hex is a word that may be a number in hexadecimal, or a longer one with
// hyphens, which is left to what follows.
var hex = regexp.MustCompile(`\b[0-9a-fA-F][0-9a-fA-F-]{5,}\b`)

// Normalize replaces what varies in a text: times, ids, addresses, numbers.
func Normalize(s string) string {
	s = entry.Cut(s, 2<<10)
	s = hex.ReplaceAllStringFunc(s, func(word string) string {
		if strings.ContainsAny(word, "0123456789") && strings.ContainsAny(word, "abcdefABCDEF") && !strings.Contains(word, "-") {
			return "<id>"
		}
		return word
	})
	for _, v := range varying {
		s = v.re.ReplaceAllLiteralString(s, v.with)
	}
	return strings.Join(strings.Fields(s), " ")
}
