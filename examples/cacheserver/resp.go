package cacheserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync/atomic"
)

// limits bound what a client may make the server hold.
type limits struct {
	args     int   // arguments of a command
	inline   int   // bytes of an inline command or of a header line
	command  int64 // bytes of all arguments of a command
	inFlight int64 // bytes of all large commands being read, over all clients
}

// A command above largeCommand bytes is counted against limits.inFlight.
const largeCommand = 64 << 10

// argument is what each argument takes beside its bytes.
const argument = 32

// A protocolError is answered and ends the connection.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

var errFlood = errors.New("OOM too many large commands are being received, try again later")

// A reader reads commands in the Redis protocol: arrays of bulk strings, or
// lines of words.
type reader struct {
	in     *bufio.Reader
	limits *limits
	flood  *atomic.Int64 // bytes of large commands, over all clients
	held   int64         // of these, ours
	buf    []byte        // the arguments of the current command, one after the other
	ends   []int
	args   [][]byte
}

// next returns the arguments of the next command, which are valid until the
// next call; an empty command has none.
func (r *reader) next() ([][]byte, error) {
	r.release()
	if cap(r.buf) > largeCommand {
		r.buf = nil
	}
	if cap(r.ends) > largeCommand/argument {
		r.ends, r.args = nil, nil
	}
	r.buf, r.ends, r.args = r.buf[:0], r.ends[:0], r.args[:0]
	first, err := r.in.ReadByte()
	if err != nil {
		return nil, err
	}
	if first != '*' {
		r.in.UnreadByte()
		return r.inline()
	}
	n, err := r.number("invalid multibulk length", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	if n > int64(r.limits.args) {
		return nil, protocolError("invalid multibulk length")
	}
	for range n {
		if err := r.bulk(); err != nil {
			return nil, err
		}
	}
	return r.cut(), nil
}

// release gives back what the last command was counted for.
func (r *reader) release() {
	if r.held > 0 {
		r.flood.Add(-r.held)
		r.held = 0
	}
}

func (r *reader) cut() [][]byte {
	start := 0
	for _, end := range r.ends {
		r.args = append(r.args, r.buf[start:end:end])
		start = end
	}
	return r.args
}

// line reads up to the end of a line and returns it without that.
func (r *reader) line(tooLong string) ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err == bufio.ErrBufferFull || len(line) > r.limits.inline {
		return nil, protocolError(tooLong)
	}
	if err != nil {
		return nil, unexpected(err)
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// number reads the rest of a header line.
func (r *reader) number(what string, most int64) (int64, error) {
	line, err := r.line("too big mbulk count string")
	if err != nil {
		return 0, err
	}
	n, ok := parseInt(line)
	if !ok || n > most {
		return 0, protocolError(what)
	}
	return n, nil
}

// bulk reads one argument. The buffer grows with what arrives, not with what
// the header claims.
func (r *reader) bulk() error {
	c, err := r.in.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if c != '$' {
		return protocolError(fmt.Sprintf("expected '$', got '%c'", printable(c)))
	}
	n, err := r.number("invalid bulk length", r.limits.command)
	if err != nil {
		return err
	}
	if n < 0 || int64(len(r.buf))+n > r.limits.command {
		return protocolError("invalid bulk length")
	}
	if total := int64(len(r.buf)) + n + argument*int64(len(r.ends)+1); total > largeCommand && total > r.held {
		if r.flood.Add(total-r.held) > r.limits.inFlight {
			r.flood.Add(r.held - total)
			return errFlood
		}
		r.held = total
	}
	for n > 0 {
		step := int(min(n, largeCommand))
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, step)...)
		if _, err := io.ReadFull(r.in, r.buf[at:]); err != nil {
			return unexpected(err)
		}
		n -= int64(step)
	}
	r.ends = append(r.ends, len(r.buf))
	for _, want := range []byte("\r\n") {
		if c, err := r.in.ReadByte(); err != nil {
			return unexpected(err)
		} else if c != want {
			return protocolError("expected CRLF after a bulk string")
		}
	}
	return nil
}

func printable(c byte) byte {
	if c < ' ' || c > '~' {
		return '?'
	}
	return c
}

// inline reads a command that a person typed: words, which quotes may hold
// together.
func (r *reader) inline() ([][]byte, error) {
	line, err := r.line("too big inline request")
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
			i++
		default:
			n, err := r.word(line[i:])
			if err != nil {
				return nil, err
			}
			i += n
		}
	}
	return r.cut(), nil
}

var errQuotes = protocolError("unbalanced quotes in request")

// word reads one word and returns how much of src it took.
func (r *reader) word(src []byte) (n int, err error) {
	quote := byte(0)
	for n < len(src) {
		c := src[n]
		n++
		switch {
		case quote == 0 && (c == ' ' || c == '\t'):
			r.ends = append(r.ends, len(r.buf))
			return n, nil
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			if n < len(src) && src[n] != ' ' && src[n] != '\t' {
				return 0, errQuotes
			}
			quote = 0
		case quote == '"' && c == '\\' && n < len(src):
			n += r.escape(src[n:])
		case quote == '\'' && c == '\\' && n < len(src) && src[n] == '\'':
			r.buf = append(r.buf, '\'')
			n++
		default:
			r.buf = append(r.buf, c)
		}
	}
	if quote != 0 {
		return 0, errQuotes
	}
	r.ends = append(r.ends, len(r.buf))
	return n, nil
}

// escape reads what follows a backslash and returns how long that was.
func (r *reader) escape(src []byte) int {
	if src[0] == 'x' && len(src) >= 3 {
		if b, err := strconv.ParseUint(string(src[1:3]), 16, 8); err == nil {
			r.buf = append(r.buf, byte(b))
			return 3
		}
	}
	c := src[0]
	switch c {
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'b':
		c = '\b'
	case 'a':
		c = '\a'
	}
	r.buf = append(r.buf, c)
	return 1
}

// parseInt reads a decimal number as Redis does: no sign but a minus, no
// leading zeros, no spaces.
func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	if b[0] == '+' || b[0] == '0' && len(b) > 1 || b[0] == '-' && (len(b) == 1 || b[1] == '0') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// A writer writes replies in version 2 or 3 of the protocol.
type writer struct {
	out     *outbox
	version int
	scratch []byte
}

func (w *writer) header(kind byte, n int64) {
	w.scratch = append(w.scratch[:0], kind)
	w.scratch = strconv.AppendInt(w.scratch, n, 10)
	w.scratch = append(w.scratch, '\r', '\n')
	w.out.Write(w.scratch)
}

func (w *writer) int(n int64)     { w.header(':', n) }
func (w *writer) array(n int)     { w.header('*', int64(n)) }
func (w *writer) status(s string) { w.line('+', s) }
func (w *writer) ok()             { w.out.WriteString("+OK\r\n") }

func (w *writer) line(kind byte, s string) {
	w.out.WriteByte(kind)
	w.out.WriteString(s)
	w.out.WriteString("\r\n")
}

// error writes an error; its first word is its code.
func (w *writer) error(s string) {
	clean := []byte(s)
	for i, c := range clean {
		if c == '\r' || c == '\n' {
			clean[i] = ' '
		}
	}
	w.line('-', string(clean))
}

func (w *writer) errorf(format string, args ...any) { w.error(fmt.Sprintf(format, args...)) }

func (w *writer) bulk(b []byte) {
	w.header('$', int64(len(b)))
	w.out.Write(b)
	w.out.WriteString("\r\n")
}

// value writes the bytes of a value, which never change.
func (w *writer) value(b []byte) {
	w.header('$', int64(len(b)))
	w.out.refer(b)
	w.out.WriteString("\r\n")
}

func (w *writer) text(s string) {
	w.header('$', int64(len(s)))
	w.out.WriteString(s)
	w.out.WriteString("\r\n")
}

// verbatim writes a text for people.
func (w *writer) verbatim(s string) {
	if w.version < 3 {
		w.text(s)
		return
	}
	w.header('=', int64(len(s)+4))
	w.out.WriteString("txt:")
	w.out.WriteString(s)
	w.out.WriteString("\r\n")
}

func (w *writer) null() {
	if w.version >= 3 {
		w.out.WriteString("_\r\n")
	} else {
		w.out.WriteString("$-1\r\n")
	}
}

// pairs begins a map of n entries, in version 2 an array of twice as many.
func (w *writer) pairs(n int) {
	if w.version >= 3 {
		w.header('%', int64(n))
	} else {
		w.array(2 * n)
	}
}
