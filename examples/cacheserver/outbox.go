package cacheserver

import (
	"io"
	"net"
	"time"
)

// An outbox holds replies until they are sent. Commands only fill it, so that
// none waits for a client that does not read while it holds a lock that
// others need.
//
// What is short is copied, one reply behind the other; from outboxCopies bytes
// on, values are only referred to, since a command may ask for one of them a
// million times. Values never change once they are stored.
type outbox struct {
	to    io.Writer // a net.Conn, or for tests and the page's console anything
	parts net.Buffers
	tail  []byte // behind the parts
	size  int    // of all
	err   error  // the first; nothing is sent after it
}

const (
	outboxCopies = 64 << 10
	outboxRefers = 64 // least bytes of a value that is referred to
)

func (o *outbox) Write(b []byte) (int, error) {
	o.tail = append(o.tail, b...)
	o.size += len(b)
	return len(b), nil
}

func (o *outbox) WriteString(s string) {
	o.tail = append(o.tail, s...)
	o.size += len(s)
}

func (o *outbox) WriteByte(c byte) error {
	o.tail = append(o.tail, c)
	o.size++
	return nil
}

// refer is Write of bytes that never change.
func (o *outbox) refer(b []byte) {
	if len(b) < outboxRefers || o.size+len(b) <= outboxCopies {
		o.Write(b)
		return
	}
	n := len(o.tail)
	o.parts = append(o.parts, o.tail[:n:n], b)
	o.tail = o.tail[n:]
	o.size += len(b)
}

// Flush sends everything. A client that takes nothing for writeTimeout gets an
// error, and no more.
func (o *outbox) Flush() error {
	if o.err == nil && o.size > 0 {
		o.err = o.send(append(o.parts, o.tail))
	}
	if o.parts != nil || cap(o.tail) > outboxCopies {
		o.tail = nil
	}
	o.parts, o.tail, o.size = nil, o.tail[:0], 0
	return o.err
}

func (o *outbox) send(parts net.Buffers) error {
	const most = 1 << 20 // bytes for which a client has writeTimeout
	conn, patient := o.to.(net.Conn)
	for len(parts) > 0 {
		n, size := 0, 0
		for n < len(parts) && n < 1024 && size < most {
			size += len(parts[n])
			n++
		}
		if patient {
			if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return err
			}
		}
		batch := parts[:n:n]
		if _, err := batch.WriteTo(o.to); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}
