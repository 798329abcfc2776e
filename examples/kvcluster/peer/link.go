package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A Node is where a node can be found.
type Node struct{ Name, Addr string }

// A lane is one of the two connections to a node, which are apart so that nobody waits
// behind what is large.
type lane struct {
	Node
	large bool
}

// A link is a connection to another node, which calls share.
type link struct {
	endpoint *Endpoint
	to       lane
	conn     net.Conn
	out      *sender

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan answer // nil once the connection is lost
}

type answer struct {
	body []byte
	err  error
}

// Call asks another node and waits for the reply, at most until ctx ends. A reply that
// comes later is passed over and takes no memory. sent, if there is one, is called when
// the request, which nobody may change before, has left or is lost; that may be after
// Call has returned.
func (e *Endpoint) Call(ctx context.Context, to Node, method byte, request []byte, sent ...func()) ([]byte, error) {
	message := outgoing{sent: func() {
		for _, f := range sent {
			f()
		}
	}}
	taken := false
	defer func() {
		if !taken {
			message.sent()
		}
	}()
	if len(request)+methodSize > e.options.MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(request))
	}
	if err := e.gate.wait(ctx); err != nil {
		return nil, err
	}
	if err := e.options.Network.pass(ctx, e.options.Name, to.Name); err != nil {
		return nil, err
	}
	l, err := e.link(ctx, lane{to, len(request) > Large})
	if err != nil {
		return nil, err
	}
	taken = true
	body, err := l.call(ctx, method, request, message)
	if _, said := errors.AsType[*RemoteError](err); err != nil && !said {
		return nil, err
	}
	if err := e.options.Network.pass(ctx, to.Name, e.options.Name); err != nil {
		return nil, err
	}
	if err := e.gate.wait(ctx); err != nil {
		return nil, err
	}
	return body, err
}

// link returns a connection to a node, which it makes if there is none.
func (e *Endpoint) link(ctx context.Context, to lane) (*link, error) {
	for {
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			return nil, ErrClosed
		}
		if l := e.out[to]; l != nil {
			e.mu.Unlock()
			return l, nil
		}
		if other := e.dials[to]; other != nil {
			e.mu.Unlock()
			select {
			case <-other:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		dialled := make(chan struct{})
		e.dials[to] = dialled
		e.mu.Unlock()
		l, err := e.dial(ctx, to)
		e.mu.Lock()
		delete(e.dials, to)
		close(dialled)
		if err == nil && e.closed {
			l.conn.Close()
			err = ErrClosed
		}
		if err == nil {
			e.out[to] = l
			e.done.Go(l.out.run)
			e.done.Go(l.read)
		}
		e.mu.Unlock()
		return l, err
	}
}

func (e *Endpoint) dial(ctx context.Context, to lane) (*link, error) {
	conn, err := e.connect(ctx, to.Node, kindCalls)
	if err != nil {
		return nil, fmt.Errorf("%w to %s: %w", ErrRefused, to.Name, err)
	}
	return &link{endpoint: e, to: to, conn: conn, out: newSender(conn), waiting: map[uint64]chan answer{}}, nil
}

// connect dials and greets.
func (e *Endpoint) connect(ctx context.Context, to Node, kind byte) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", to.Addr)
	if err != nil {
		return nil, err
	}
	conn.SetWriteDeadline(time.Now().Add(dialTime))
	if _, err := conn.Write(appendGreeting(nil, kind, e.options.Cluster, e.options.Name)); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// call sends a request and waits for its reply. The message, which it fills, is its
// own.
func (l *link) call(ctx context.Context, method byte, request []byte, message outgoing) ([]byte, error) {
	patience := handleTime
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	reply := make(chan answer, 1)
	l.mu.Lock()
	if l.waiting == nil {
		l.mu.Unlock()
		message.sent()
		return nil, fmt.Errorf("%w to %s", ErrLost, l.to.Name)
	}
	l.next++
	id := l.next
	l.waiting[id] = reply
	l.mu.Unlock()
	message.message = requestMessage(id, method, patience, request)
	if !l.out.send(message) {
		l.forget(id)
		return nil, fmt.Errorf("%w to %s", ErrLost, l.to.Name)
	}
	select {
	case a := <-reply:
		return a.body, a.err
	case <-ctx.Done():
		l.forget(id)
		return nil, ctx.Err()
	}
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	delete(l.waiting, id)
	l.mu.Unlock()
}

// waits reports whether somebody waits for a reply.
func (l *link) waits(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[id] != nil
}

// read hands replies to those who wait, until the connection ends.
func (l *link) read() {
	in := bufio.NewReaderSize(l.conn, 64<<10)
	var head [replySize]byte
	for {
		n, err := readLength(in, replySize, l.endpoint.options.MaxMessage)
		if err != nil {
			break
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		id := binary.BigEndian.Uint64(head[:])
		if !l.waits(id) {
			if _, err := io.CopyN(io.Discard, in, int64(n-replySize)); err != nil {
				break
			}
			continue
		}
		body, err := readBody(in, n-replySize)
		if err != nil {
			break
		}
		a := answer{body: body}
		if head[8] != statusOK {
			code := byte(0)
			if len(a.body) > 0 {
				code, a.body = a.body[0], a.body[1:]
			}
			a = answer{err: &RemoteError{l.to.Name, code, string(a.body)}}
		}
		l.mu.Lock()
		reply := l.waiting[id]
		delete(l.waiting, id)
		l.mu.Unlock()
		if reply != nil {
			reply <- a
		}
	}
	l.conn.Close()
	l.out.close()
	e := l.endpoint
	e.mu.Lock()
	if e.out[l.to] == l {
		delete(e.out, l.to)
	}
	e.mu.Unlock()
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, reply := range waiting {
		reply <- answer{err: fmt.Errorf("%w to %s", ErrLost, l.to.Name)}
	}
}

// outgoing is a message on its way. sent, if there is one, is called once, when the
// message has been written or is lost.
type outgoing struct {
	message net.Buffers
	sent    func()
}

func (o outgoing) end() {
	if o.sent != nil {
		o.sent()
	}
}

// A sender writes messages to a connection, those that wait together at once.
type sender struct {
	conn  net.Conn
	more  chan outgoing
	stop  chan struct{}
	once  sync.Once
	queue sync.RWMutex // held for reading by those who queue a message
}

const sendTime = 10 * time.Second // for a message that the other side does not take

func newSender(conn net.Conn) *sender {
	return &sender{conn: conn, more: make(chan outgoing, 128), stop: make(chan struct{})}
}

// send queues a message and reports whether it could.
func (s *sender) send(o outgoing) bool {
	s.queue.RLock()
	defer s.queue.RUnlock()
	select {
	case <-s.stop:
		o.end()
		return false
	default:
	}
	select {
	case s.more <- o:
		return true
	case <-s.stop:
		o.end()
		return false
	}
}

// close ends the sender. What waits in it is lost.
func (s *sender) close() {
	s.once.Do(func() {
		close(s.stop)
		s.queue.Lock() // nobody is about to queue anything any more
		defer s.queue.Unlock()
		for {
			select {
			case o := <-s.more:
				o.end()
			default:
				return
			}
		}
	})
}

func (s *sender) run() {
	defer s.conn.Close() // wakes up the reader
	defer s.close()
	out := bufio.NewWriterSize(s.conn, 64<<10)
	for {
		select {
		case o := <-s.more:
			if !s.write(out, o) {
				return
			}
		case <-s.stop:
			return
		}
	}
}

// write writes a message and those that wait behind it.
func (s *sender) write(out *bufio.Writer, o outgoing) bool {
	var armed time.Time
	for {
		if now := time.Now(); now.Sub(armed) > time.Second {
			armed = now
			s.conn.SetWriteDeadline(now.Add(sendTime))
		}
		var err error
		for _, part := range o.message {
			if err == nil {
				_, err = out.Write(part)
			}
		}
		o.end() // what the writer has of it is a copy
		if err != nil {
			return false
		}
		select {
		case o = <-s.more:
			continue
		default:
		}
		return out.Flush() == nil
	}
}
