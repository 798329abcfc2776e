package parse

import (
	"regexp"
	"strings"
)

// A Joiner tells which lines belong to the event before them, so that a stack
// trace is one event. It must be given the lines in their order. Create one
// with [NewJoiner]. A Joiner is for one goroutine.
type Joiner struct {
	start *regexp.Regexp // nil: by what traces look like
	open  kind           // of the event before
}

// A kind is what an event that has begun looks like.
type kind int

const (
	plain kind = iota
	python
	golang
)

// NewJoiner returns a joiner. With start, every line that matches it begins an
// event and every other one continues; without, lines continue that look as
// the rest of a stack trace does, in Java, Python, Go, JavaScript or .NET.
func NewJoiner(start *regexp.Regexp) *Joiner { return &Joiner{start: start} }

// Reset makes the next line the first one.
func (j *Joiner) Reset() { j.open = plain }

// Continues reports whether a line belongs to the event before it.
func (j *Joiner) Continues(line string) bool {
	if j.start != nil {
		return !j.start.MatchString(line)
	}
	switch j.open {
	case python:
		if indented(line) || line == "" {
			return true
		}
		// The last line is the exception, not indented; more may follow if
		// another was being handled.
		j.open = plain
		return true
	case golang:
		if goTrace(line) {
			return true
		}
	}
	j.open = plain
	if j.continued(line) {
		return true
	}
	switch {
	case strings.HasSuffix(line, "panic: ") || strings.Contains(line, "panic: ") || strings.HasPrefix(line, "fatal error: "):
		j.open = golang
	case strings.HasPrefix(line, "goroutine ") && strings.HasSuffix(line, "]:"):
		j.open = golang
		return true
	case strings.Contains(line, "Traceback (most recent call last):"):
		j.open = python
	}
	return false
}

// continued knows lines that begin no event whatever came before.
func (j *Joiner) continued(line string) bool {
	if indented(line) {
		return true
	}
	switch {
	case javaException.MatchString(line):
		return true
	case strings.HasPrefix(line, "Caused by: "), strings.HasPrefix(line, "Suppressed: "), strings.HasPrefix(line, "at "):
		return true
	case strings.HasPrefix(line, "During handling of the above exception"), strings.HasPrefix(line, "The above exception was the direct cause"):
		return true
	case line == "Traceback (most recent call last):":
		j.open = python
		return true
	}
	return false
}

// javaException is the first line of a stack trace, behind the line that the
// program logged with it.
var javaException = regexp.MustCompile(`^(?:[a-z_$][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable)(?:: |$)`)

func indented(line string) bool { return line != "" && (line[0] == ' ' || line[0] == '\t') }

var goFunction = regexp.MustCompile(`^[\w./*()\[\]{}\-]+\(.*\)$`)

// goTrace reports whether a line is one that a panic of a Go program prints.
func goTrace(line string) bool {
	return line == "" || indented(line) ||
		strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "created by ") || strings.HasPrefix(line, "[signal ") ||
		strings.HasPrefix(line, "exit status ") || goFunction.MatchString(line)
}

// Trace reports whether a text is, or begins, a stack trace.
func Trace(text string) bool {
	first, _, _ := strings.Cut(text, "\n")
	return strings.Contains(text, "\n\tat ") || strings.Contains(text, "\n    at ") ||
		strings.Contains(text, "Traceback (most recent call last):") || strings.Contains(first, "panic: ") || strings.HasPrefix(first, "fatal error: ") ||
		strings.HasPrefix(first, "Exception in thread ") || strings.HasPrefix(first, "Unhandled exception")
}
