package tail

import (
	"bytes"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// A splitter cuts bytes into events. It keeps nothing between two calls: what
// it gets begins where an event does.
type splitter struct {
	joiner      *parse.Joiner // nil joins nothing
	maxLine     int
	maxEvent    int
	batchBytes  int
	batchEvents int
}

// A wait says what an end of the bytes means.
type wait int

const (
	forAll   wait = iota // more may come of the line and of the event
	forLines             // no more lines of the event will come
	forNone              // nothing more will come
)

// cut returns the events at the beginning of buf and the bytes they take,
// which ends with a batch.
func (s *splitter) cut(buf []byte, w wait) (events []Event, used int) {
	if s.joiner != nil {
		s.joiner.Reset()
	}
	c := cutting{splitter: s, buf: buf, begun: -1}
	for at := 0; at < len(buf); {
		l, ok := s.line(buf, at, w)
		if !ok {
			break
		}
		if s.joiner == nil || l.piece {
			if c.finish(at) {
				return c.events, c.used
			}
			c.begun, c.last, c.partial = at, l.end, l.piece || l.open
			if c.finish(l.next) {
				return c.events, c.used
			}
			at = l.next
			continue
		}
		continues := s.joiner.Continues(string(buf[at:l.end])) // the joiner must see the first one too
		if (!continues || l.end-c.begun > s.maxEvent) && c.finish(at) {
			return c.events, c.used
		}
		if c.begun < 0 {
			c.begun = at
		}
		c.last, c.partial, at = l.end, l.open, l.next
		c.next = at
	}
	if w != forAll {
		c.finish(c.next)
	}
	return c.events, c.used
}

// cutting is the state of one cut.
type cutting struct {
	*splitter
	buf     []byte
	events  []Event
	used    int
	size    int  // bytes of the events
	begun   int  // where the event that may go on begins, or -1
	last    int  // where its text ends
	next    int  // where its last line break ends
	partial bool // it is a piece or lacks a break
}

// finish ends the event that has begun, if one has; bytes up to used are done.
// It reports whether the batch is full.
func (c *cutting) finish(used int) bool {
	if c.begun < 0 {
		return false
	}
	c.events = append(c.events, Event{Text: c.buf[c.begun:c.last], Partial: c.partial})
	c.size += c.last - c.begun
	c.used, c.begun = used, -1
	return c.size >= c.batchBytes || len(c.events) >= c.batchEvents
}

// A line is a place in bytes.
type line struct {
	end, next int  // of its text, and behind its break
	piece     bool // of a longer line
	open      bool // without a break
}

// line finds the line that begins at a place. It is not ok if the line is not
// complete and may become so.
func (s *splitter) line(buf []byte, at int, w wait) (line, bool) {
	limit := min(len(buf), at+s.maxLine+1)
	if i := bytes.IndexByte(buf[at:limit], '\n'); i >= 0 {
		l := line{end: at + i, next: at + i + 1}
		if l.end > at && buf[l.end-1] == '\r' {
			l.end--
		}
		return l, true
	}
	if limit-at > s.maxLine {
		end := at + s.maxLine
		for back := end; back > end-utf8.UTFMax && back > at; back-- {
			if utf8.RuneStart(buf[back]) {
				end = back
				break
			}
		}
		return line{end: end, next: end, piece: true}, true
	}
	return line{end: limit, next: limit, open: true}, w == forNone
}
