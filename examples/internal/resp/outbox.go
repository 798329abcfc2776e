package resp

import (
	"io"
	"net"
	"time"
)

// An Outbox holds replies until they are sent. Commands only fill it, so that
// none waits for a client that does not read while it holds a lock that
// others need.
//
// What is short is copied, one reply behind the other; from outboxCopies bytes
// on, values are only referred to, since a command may ask for one of them a
// million times. Values never change once they are stored. An Outbox must not be
// used by several goroutines at once.
type Outbox struct {
	to    io.Writer // a net.Conn, or for tests and the page's console anything
	parts net.Buffers
	tail  []byte // behind the parts
	size  int    // of all
	err   error  // the first; nothing is sent after it
	write time.Duration
}

const (
	outboxCopies = 64 << 10
	outboxRefers = 64 // least bytes of a value that is referred to
)

// NewOutbox returns an empty outbox that sends to a connection or another writer.
func NewOutbox(to io.Writer) *Outbox { return &Outbox{to: to, write: writeTimeout} }

// Size returns the number of bytes that wait.
func (o *Outbox) Size() int { return o.size }

// Write implements [io.Writer]; it cannot fail.
func (o *Outbox) Write(b []byte) (int, error) {
	o.tail = append(o.tail, b...)
	o.size += len(b)
	return len(b), nil
}

// WriteString is Write of a string.
func (o *Outbox) WriteString(s string) {
	o.tail = append(o.tail, s...)
	o.size += len(s)
}

// WriteByte implements [io.ByteWriter]; it cannot fail.
func (o *Outbox) WriteByte(c byte) error {
	o.tail = append(o.tail, c)
	o.size++
	return nil
}

// Refer is Write of bytes that never change.
func (o *Outbox) Refer(b []byte) {
	if len(b) < outboxRefers || o.size+len(b) <= outboxCopies {
		o.Write(b)
		return
	}
	n := len(o.tail)
	o.parts = append(o.parts, o.tail[:n:n], b)
	o.tail = o.tail[n:]
	o.size += len(b)
}

// Flush sends everything. A client that takes longer than writeTimeout for a
// megabyte gets an error, and no more.
func (o *Outbox) Flush() error {
	if o.err == nil && o.size > 0 {
		o.err = o.send(append(o.parts, o.tail))
	}
	if o.parts != nil || cap(o.tail) > outboxCopies {
		o.tail = nil
	}
	o.parts, o.tail, o.size = nil, o.tail[:0], 0
	return o.err
}

func (o *Outbox) send(parts net.Buffers) error {
	const most = 1 << 20 // bytes for which a client has writeTimeout
	conn, patient := o.to.(net.Conn)
	for len(parts) > 0 {
		var batch net.Buffers
		for size := 0; len(parts) > 0 && len(batch) < 1024 && size < most; {
			n := min(len(parts[0]), most-size)
			batch, size = append(batch, parts[0][:n]), size+n
			if parts[0] = parts[0][n:]; len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
		if patient {
			if err := conn.SetWriteDeadline(time.Now().Add(o.write)); err != nil {
				return err
			}
		}
		if _, err := batch.WriteTo(o.to); err != nil {
			return err
		}
	}
	return nil
}
