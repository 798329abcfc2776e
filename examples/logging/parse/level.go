package parse

import (
	"strings"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

// levelNames are fields that say how bad an event is.
var levelNames = []string{"level", "severity", "lvl", "log.level", "severity_text"}

// Level tells how bad a line says that it is: by a field of JSON or logfmt, by
// the status of an access log (5xx is an error, 4xx a warning), by a word in
// capitals or brackets among the first, or since it is a stack trace.
func Level(line string) entry.Level {
	text := strings.TrimLeft(line, " \t")
	if l, ok := fieldLevel(text); ok {
		return l
	}
	if strings.HasPrefix(text, "{") {
		return entry.Unknown
	}
	if l, ok := wordLevel(text); ok {
		return l
	}
	if l := klogLevel(text); l != entry.Unknown {
		return l
	}
	if Trace(text) {
		return entry.Error
	}
	return entry.Unknown
}

func fieldLevel(text string) (l entry.Level, ok bool) {
	n := 0
	each(text, func(name, value string) bool {
		n++
		if name == "status" && n <= 7 && strings.Contains(text, `] "`) {
			l, ok = statusLevel(value), true
			return false
		}
		for _, want := range levelNames {
			if strings.EqualFold(name, want) {
				l, ok = entry.ParseLevel(value)
				if !ok {
					l, ok = numberLevel(value)
				}
				return !ok
			}
		}
		return n < 32
	})
	return l, ok
}

func statusLevel(status string) entry.Level {
	switch status[0] {
	case '5':
		return entry.Error
	case '4':
		return entry.Warn
	}
	return entry.Info
}

// numberLevel reads the levels of bunyan and pino: 10 to 60.
func numberLevel(s string) (entry.Level, bool) {
	if len(s) == 2 && s[1] == '0' && s[0] >= '1' && s[0] <= '6' {
		return entry.Trace + entry.Level(s[0]-'1'), true
	}
	return entry.Unknown, false
}

// head is how much of a line is searched for a word that is a level.
const head = 160

// wordLevel finds the first word that is a level, in capitals, in brackets, or
// in front of a colon.
func wordLevel(text string) (entry.Level, bool) {
	if len(text) > head {
		text = text[:head]
	}
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	for i := 0; i < len(text); {
		if !letter(text[i]) {
			i++
			continue
		}
		end := i
		for end < len(text) && letter(text[end]) {
			end++
		}
		word := text[i:end]
		if l, ok := entry.ParseLevel(word); ok && l != entry.Unknown {
			before, after := byte(' '), byte(' ')
			if i > 0 {
				before = text[i-1]
			}
			if end < len(text) {
				after = text[end]
			}
			bracketed := (before == '[' || before == '<' || before == '(' || before == '|') && (after == ']' || after == '>' || after == ')' || after == '|')
			capitals := strings.ToUpper(word) == word && !wordByte(before) && !wordByte(after)
			if bracketed || capitals || after == ':' && !wordByte(before) {
				return l, true
			}
		}
		i = end
	}
	return entry.Unknown, false
}

func letter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

func wordByte(b byte) bool {
	return letter(b) || b >= '0' && b <= '9' || b == '_' || b == '.' || b == '/'
}

// klogLevel reads E1128 19:40:00.123456 of glog and klog.
func klogLevel(text string) entry.Level {
	if len(text) < 14 || !digits(text[1:5]) || text[5] != ' ' || text[8] != ':' {
		return entry.Unknown
	}
	switch text[0] {
	case 'I':
		return entry.Info
	case 'W':
		return entry.Warn
	case 'E':
		return entry.Error
	case 'F':
		return entry.Fatal
	}
	return entry.Unknown
}
