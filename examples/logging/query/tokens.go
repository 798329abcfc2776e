package query

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

func hash(word string) uint64 { return xxhash.Sum64String(word) }

// Tokens calls yield with the hash of every word of an entry, in its line, its
// labels and its fields; a word may come more than once.
func Tokens(e *entry.Entry, yield func(hash uint64)) {
	eachWord(e.Line, yield)
	for _, f := range e.Labels {
		eachWord(f.Value, yield)
	}
	for _, f := range e.Fields {
		eachWord(f.Value, yield)
	}
	if strings.Contains(e.Line, `\`) {
		// Values with escapes have words that the line does not have.
		for _, f := range parse.Fields(e.Line) {
			eachWord(f.Value, yield)
		}
	}
}

// eachWord yields the hashes of the words of s in lower case, without
// allocating for ASCII.
func eachWord(s string, yield func(uint64)) {
	var buf [64]byte
	for i := 0; i < len(s); {
		if !wordAt(s, i) {
			_, n := utf8.DecodeRuneInString(s[i:])
			i += n
			continue
		}
		start, ascii := i, true
		for i < len(s) && wordAt(s, i) {
			if s[i] >= utf8.RuneSelf {
				ascii = false
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			i += n
		}
		word := s[start:i]
		if ascii && len(word) <= len(buf) {
			for j := range len(word) {
				c := word[j]
				if c >= 'A' && c <= 'Z' {
					c += 'a' - 'A'
				}
				buf[j] = c
			}
			yield(xxhash.Sum64(buf[:len(word)]))
			continue
		}
		// Lower case may turn a letter into one that is none, so the words of
		// it are what counts.
		for _, w := range words(strings.ToLower(word)) {
			yield(hash(w))
		}
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

func wordAt(s string, i int) bool {
	if c := s[i]; c < utf8.RuneSelf {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return isWord(r)
}

// words splits into runs of letters, digits and underscores.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return !isWord(r) })
}

func beginsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

// contains reports whether line has want, which is in lower case, in any case,
// and unless open at a side with no letter or digit next to it there.
func contains(line, want string, open, openEnd bool) bool {
	if want == "" {
		return true
	}
	if !ascii(line) || !ascii(want) {
		line = strings.ToLower(line)
	}
	for from := 0; ; {
		i := indexFold(line[from:], want)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(want)
		before := open || i == 0 || !endsWithWord(line[:i])
		after := openEnd || end == len(line) || !wordAt(line, end)
		if before && after {
			return true
		}
		from = i + 1
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// indexFold is strings.Index that takes capitals A to Z of s for small
// letters.
func indexFold(s, want string) int {
	first := want[0]
	upper := first
	if first >= 'a' && first <= 'z' {
		upper -= 'a' - 'A'
	}
	for i := 0; i+len(want) <= len(s); i++ {
		if c := s[i]; c != first && c != upper {
			continue
		}
		j := 1
		for j < len(want) && (s[i+j] == want[j] || s[i+j] >= 'A' && s[i+j] <= 'Z' && s[i+j]+'a'-'A' == want[j]) {
			j++
		}
		if j == len(want) {
			return i
		}
	}
	return -1
}
