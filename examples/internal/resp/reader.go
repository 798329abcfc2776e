package resp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
)

// Limits bound what a client may make the server hold.
type Limits struct {
	Args     int   // arguments of a command
	Inline   int   // bytes of an inline command or of a header line
	Command  int64 // bytes of all arguments of a command
	InFlight int64 // bytes of all large commands being read, over all clients, if there is no budget
	Copies   int   // of a large command that its claim is for; 0 stands for 1
}

// Large is up to how many bytes commands are not counted.
const Large = 64 << 10

// argument is what each argument takes beside its bytes.
const argument = 32

// A ProtocolError is answered and ends the connection.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

// ErrFlood tells that there was no room for a command. It was read to its end, and
// what comes behind it can be read.
var ErrFlood = errors.New("OOM too many large commands are being received, try again later")

// A Reader reads commands in the Redis protocol: arrays of bulk strings, or
// lines of words. Create one with [NewReader]. A Reader must not be used by
// several goroutines at once.
type Reader struct {
	// Claim has what the current command takes, if it is large. Who gives it back
	// sets another for the next one.
	Claim *budget.Claim

	ctx    context.Context
	in     *bufio.Reader
	limits *Limits
	held   int64  // bytes that the claim has for the command
	buf    []byte // the arguments of the current command, one after the other
	ends   []int
	args   [][]byte
}

// NewReader returns a reader of commands within limits. It waits for room for large
// ones until ctx ends.
func NewReader(ctx context.Context, in *bufio.Reader, limits *Limits, claim *budget.Claim) *Reader {
	return &Reader{Claim: claim, ctx: ctx, in: in, limits: limits}
}

// Next returns the arguments of the next command, which are valid until the
// next call; an empty command has none.
func (r *Reader) Next() ([][]byte, error) {
	r.Forget()
	r.buf, r.ends, r.args = r.buf[:0], r.ends[:0], r.args[:0]
	first, err := r.in.ReadByte()
	if err != nil {
		return nil, err
	}
	if first != '*' {
		r.in.UnreadByte()
		return r.Inline()
	}
	n, err := r.number("invalid multibulk length", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	if n > int64(r.limits.Args) {
		return nil, ProtocolError("invalid multibulk length")
	}
	for i := range n {
		err := r.bulk()
		for i++; err == ErrFlood && i < n; i++ {
			if skipped := r.skip(); skipped != nil {
				err = skipped
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return r.cut(), nil
}

// Forget drops what the last command took, if that was much.
func (r *Reader) Forget() {
	if cap(r.buf) > Large {
		r.buf = nil
	}
	if cap(r.ends) > Large/argument {
		r.ends, r.args = nil, nil
	}
	r.held = 0
}

func (r *Reader) cut() [][]byte {
	start := 0
	for _, end := range r.ends {
		r.args = append(r.args, r.buf[start:end:end])
		start = end
	}
	return r.args
}

// line reads up to the end of a line and returns it without that.
func (r *Reader) line(tooLong string) ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err == bufio.ErrBufferFull || len(line) > r.limits.Inline {
		return nil, ProtocolError(tooLong)
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
func (r *Reader) number(what string, most int64) (int64, error) {
	line, err := r.line("too big mbulk count string")
	if err != nil {
		return 0, err
	}
	n, ok := ParseInt(line)
	if !ok || n > most {
		return 0, ProtocolError(what)
	}
	return n, nil
}

// length reads the header of an argument.
func (r *Reader) length() (int64, error) {
	c, err := r.in.ReadByte()
	if err != nil {
		return 0, unexpected(err)
	}
	if c != '$' {
		return 0, ProtocolError(fmt.Sprintf("expected '$', got '%c'", printable(c)))
	}
	n, err := r.number("invalid bulk length", r.limits.Command)
	if err == nil && (n < 0 || int64(len(r.buf))+n > r.limits.Command) {
		err = ProtocolError("invalid bulk length")
	}
	return n, err
}

// bulk reads one argument. The buffer grows with what arrives, not with what
// the header claims. An argument for which there is no room is read and
// forgotten.
func (r *Reader) bulk() error {
	n, err := r.length()
	if err != nil {
		return err
	}
	if total := int64(len(r.buf)) + n + argument*int64(len(r.ends)+1); total > Large && total > r.held {
		more := max(total-r.held, Large) // not for each of many small ones
		if err := r.Claim.Take(r.ctx, more*int64(max(r.limits.Copies, 1))); err != nil {
			if err := r.discard(n); err != nil {
				return err
			}
			return ErrFlood
		}
		r.held += more
	}
	for n > 0 {
		step := int(min(n, Large))
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, step)...)
		if _, err := io.ReadFull(r.in, r.buf[at:]); err != nil {
			return unexpected(err)
		}
		n -= int64(step)
	}
	r.ends = append(r.ends, len(r.buf))
	return r.crlf()
}

// skip reads one argument and forgets it.
func (r *Reader) skip() error {
	n, err := r.length()
	if err != nil {
		return err
	}
	return r.discard(n)
}

func (r *Reader) discard(n int64) error {
	if _, err := io.CopyN(io.Discard, r.in, n); err != nil {
		return unexpected(err)
	}
	return r.crlf()
}

func (r *Reader) crlf() error {
	for _, want := range []byte("\r\n") {
		if c, err := r.in.ReadByte(); err != nil {
			return unexpected(err)
		} else if c != want {
			return ProtocolError("expected CRLF after a bulk string")
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

// Inline reads a line that a person typed: words, which quotes may hold
// together. The words are valid until the next call.
func (r *Reader) Inline() ([][]byte, error) {
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

var errQuotes = ProtocolError("unbalanced quotes in request")

// word reads one word and returns how much of src it took.
func (r *Reader) word(src []byte) (n int, err error) {
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
func (r *Reader) escape(src []byte) int {
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

// ParseInt reads a decimal number as Redis does: no sign but a minus, no
// leading zeros, no spaces.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	if b[0] == '+' || b[0] == '0' && len(b) > 1 || b[0] == '-' && (len(b) == 1 || b[1] == '0') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}
