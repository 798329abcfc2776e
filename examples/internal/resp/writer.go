package resp

import (
	"fmt"
	"strconv"
)

// A Writer writes replies in version 2 or 3 of the protocol. A Writer must not
// be used by several goroutines at once.
type Writer struct {
	Out     *Outbox
	Version int
	scratch []byte
}

func (w *Writer) header(kind byte, n int64) {
	w.scratch = append(w.scratch[:0], kind)
	w.scratch = strconv.AppendInt(w.scratch, n, 10)
	w.scratch = append(w.scratch, '\r', '\n')
	w.Out.Write(w.scratch)
}

// Int writes a number.
func (w *Writer) Int(n int64) { w.header(':', n) }

// Array begins an array of n elements.
func (w *Writer) Array(n int) { w.header('*', int64(n)) }

// Status writes a short text, such as OK.
func (w *Writer) Status(s string) { w.line('+', s) }

// OK writes the status OK.
func (w *Writer) OK() { w.Out.WriteString("+OK\r\n") }

func (w *Writer) line(kind byte, s string) {
	w.Out.WriteByte(kind)
	w.Out.WriteString(s)
	w.Out.WriteString("\r\n")
}

// Error writes an error; its first word is its code.
func (w *Writer) Error(s string) {
	clean := []byte(s)
	for i, c := range clean {
		if c == '\r' || c == '\n' {
			clean[i] = ' '
		}
	}
	w.line('-', string(clean))
}

// Errorf is Error with a format.
func (w *Writer) Errorf(format string, args ...any) { w.Error(fmt.Sprintf(format, args...)) }

// Bulk writes bytes, which it copies.
func (w *Writer) Bulk(b []byte) {
	w.header('$', int64(len(b)))
	w.Out.Write(b)
	w.Out.WriteString("\r\n")
}

// Value writes the bytes of a value, which must never change.
func (w *Writer) Value(b []byte) {
	w.header('$', int64(len(b)))
	w.Out.Refer(b)
	w.Out.WriteString("\r\n")
}

// Text writes a string.
func (w *Writer) Text(s string) {
	w.header('$', int64(len(s)))
	w.Out.WriteString(s)
	w.Out.WriteString("\r\n")
}

// Verbatim writes a text for people.
func (w *Writer) Verbatim(s string) {
	if w.Version < 3 {
		w.Text(s)
		return
	}
	w.header('=', int64(len(s)+4))
	w.Out.WriteString("txt:")
	w.Out.WriteString(s)
	w.Out.WriteString("\r\n")
}

// Null writes the absence of a value.
func (w *Writer) Null() {
	if w.Version >= 3 {
		w.Out.WriteString("_\r\n")
	} else {
		w.Out.WriteString("$-1\r\n")
	}
}

// Pairs begins a map of n entries, in version 2 an array of twice as many.
func (w *Writer) Pairs(n int) {
	if w.Version >= 3 {
		w.header('%', int64(n))
	} else {
		w.Array(2 * n)
	}
}
