package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Errors of calls. ErrClosed, ErrRefused and ErrTooLarge tell that the handler
// did not run; after any other but a [RemoteError] it may have.
var (
	ErrClosed   = errors.New("peer: endpoint is closed")
	ErrRefused  = errors.New("peer: no connection")
	ErrLost     = errors.New("peer: connection lost")
	ErrTooLarge = errors.New("peer: message too large")
)

// A RemoteError is what the handler at the other node returned.
type RemoteError struct {
	Node string
	Code byte // that the handler chose, see [Coded]
	Text string
}

// Error implements error.
func (e *RemoteError) Error() string { return fmt.Sprintf("%s: %s", e.Node, e.Text) }

// Coded lets an error of a handler carry a code to the caller. Others have 0.
type Coded interface {
	error
	Code() byte
}

const (
	greeting    = "ashlar-kv1"
	maxName     = 64
	handlers    = 1024 // at work at a time; further requests wait unread
	handleTime  = time.Minute
	dialTime    = 2 * time.Second
	packetsOut  = 64 // packets on their way; more are dropped, as memberlist expects
	methodSize  = 8 + 1 + 4
	replySize   = 8 + 1
	packetCall  = 0 // the call's number of a packet, which has no reply
	statusOK    = 0
	statusError = 1
)

// A Handler answers calls of other nodes. The request is its own. The context
// ends when the caller's patience or the endpoint does.
type Handler func(ctx context.Context, from string, method byte, request []byte) (reply []byte, err error)

// Options are the settings of an endpoint. Handle must be given.
type Options struct {
	Name       string   // of this node
	Cluster    string   // nodes of another cluster are turned away
	Network    *Network // nil: one without faults
	MaxMessage int      // bytes; default 64 MiB
	Handle     Handler
	Log        *slog.Logger // nil discards

	// Admit is asked before a request of more than [Large] bytes is received, and may
	// wait. With an error the request is passed over, and the caller gets that. The
	// handler gets the context, and release is called when the reply has left or is
	// lost. nil admits all.
	Admit func(ctx context.Context, bytes int) (admitted context.Context, release func(), err error)
}

// Large is up to how many bytes requests share one connection to a node. Longer ones
// have another, so that others do not wait for what they wait for.
const Large = 64 << 10

// AfterReply has f called when the reply of the call that a handler's context is of
// has left, or is lost. It must be called before the handler returns.
func AfterReply(ctx context.Context, f func()) {
	after := ctx.Value(afterKey{}).(*[]func())
	*after = append(*after, f)
}

type afterKey struct{}

// An Endpoint is one node's place in the network. Start one with [Listen]. An
// Endpoint is safe for concurrent use by multiple goroutines.
type Endpoint struct {
	options Options
	listen  net.Listener
	ctx     context.Context
	cancel  context.CancelFunc
	gate    gate
	slots   chan struct{} // one for each handler at work
	packets chan *memberlist.Packet
	streams chan net.Conn
	sending chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	out    map[lane]*link
	in     map[net.Conn]struct{}  // accepted
	dials  map[lane]chan struct{} // under way
}

// Listen starts an endpoint that owns the listener.
func Listen(listen net.Listener, o Options) *Endpoint {
	if o.Network == nil {
		o.Network = &Network{}
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		options: o, listen: listen, slots: make(chan struct{}, handlers),
		packets: make(chan *memberlist.Packet, 64), streams: make(chan net.Conn), sending: make(chan struct{}, packetsOut),
		out: map[lane]*link{}, in: map[net.Conn]struct{}{}, dials: map[lane]chan struct{}{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.done.Go(e.accept)
	return e
}

// Addr returns the address at which others find this endpoint.
func (e *Endpoint) Addr() string { return e.listen.Addr().String() }

// Pause stops the endpoint in its tracks until Resume.
func (e *Endpoint) Pause() { e.gate.shut() }

// Resume ends a pause.
func (e *Endpoint) Resume() { e.gate.free() }

// Paused reports whether the endpoint is paused.
func (e *Endpoint) Paused() bool { return e.gate.isShut() }

// Wait returns when the endpoint is not paused, or with the context's error.
func (e *Endpoint) Wait(ctx context.Context) error { return e.gate.wait(ctx) }

// Close ends all connections and calls and returns when no handler runs.
func (e *Endpoint) Close() {
	e.mu.Lock()
	e.closed = true
	e.listen.Close()
	for _, l := range e.out {
		l.conn.Close()
	}
	for conn := range e.in {
		conn.Close()
	}
	e.mu.Unlock()
	e.cancel()
	e.done.Wait()
}

// accept takes connections until the listener is closed.
func (e *Endpoint) accept() {
	for {
		conn, err := e.listen.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.options.Log.Warn("accept", "error", err)
			select {
			case <-time.After(10 * time.Millisecond): // out of file descriptors, most likely
			case <-e.ctx.Done():
			}
			continue
		}
		e.mu.Lock()
		if e.closed {
			conn.Close()
		} else {
			e.in[conn] = struct{}{}
			e.done.Go(func() { e.admit(conn) })
		}
		e.mu.Unlock()
	}
}

// admit reads the greeting and serves the connection.
func (e *Endpoint) admit(conn net.Conn) {
	keep := false
	defer func() {
		e.mu.Lock()
		delete(e.in, conn)
		e.mu.Unlock()
		if !keep {
			conn.Close()
		}
	}()
	conn.SetReadDeadline(time.Now().Add(dialTime))
	in := bufio.NewReaderSize(conn, 64<<10)
	kind, cluster, from, err := readGreeting(in)
	if err != nil || cluster != e.options.Cluster {
		e.options.Log.Warn("turned a connection away", "addr", conn.RemoteAddr(), "cluster", cluster, "error", err)
		return
	}
	conn.SetReadDeadline(time.Time{})
	if kind == kindStream {
		if e.gate.wait(e.ctx) != nil || e.options.Network.Rule(from, e.options.Name).Cut {
			return
		}
		select {
		case e.streams <- &stream{Conn: conn, in: in}:
			keep = true // memberlist closes it
		case <-e.ctx.Done():
		}
		return
	}
	e.serve(conn, in, from)
}

// stream is a connection of memberlist, part of which may have been read.
type stream struct {
	net.Conn
	in *bufio.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.in.Read(p) }

const (
	kindCalls  = 'c'
	kindStream = 's'
)

func appendGreeting(dst []byte, kind byte, cluster, from string) []byte {
	dst = append(append(dst, greeting...), kind)
	dst = append(append(dst, byte(len(cluster))), cluster...)
	return append(append(dst, byte(len(from))), from...)
}

func readGreeting(in *bufio.Reader) (kind byte, cluster, from string, err error) {
	head := make([]byte, len(greeting)+1)
	if _, err = io.ReadFull(in, head); err != nil {
		return 0, "", "", err
	}
	if string(head[:len(greeting)]) != greeting {
		return 0, "", "", errors.New("peer: not a node of a cluster")
	}
	var names [2]string
	for i := range names {
		n, err := in.ReadByte()
		if err != nil {
			return 0, "", "", err
		}
		if n > maxName {
			return 0, "", "", errors.New("peer: name too long")
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return 0, "", "", err
		}
		names[i] = string(b)
	}
	return head[len(greeting)], names[0], names[1], nil
}

// serve runs the calls of one connection.
func (e *Endpoint) serve(conn net.Conn, in *bufio.Reader, from string) {
	out := newSender(conn)
	e.done.Go(out.run)
	var running sync.WaitGroup
	defer func() {
		conn.Close()
		running.Wait()
		out.close()
	}()
	for {
		r, err := e.receive(conn, in, out)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && e.ctx.Err() == nil {
				e.options.Log.Info("connection ended", "from", from, "error", err)
			}
			return
		}
		switch {
		case r == nil:
			continue
		case r.call == packetCall:
			e.packet(conn, from, r.payload)
			r.release()
			continue
		}
		select {
		case e.slots <- struct{}{}:
		case <-e.ctx.Done():
			r.release()
			return
		}
		running.Go(func() {
			defer func() { <-e.slots }()
			reply, after := e.handle(from, r)
			after = append(after, r.release)
			sent := func() {
				for _, f := range after {
					f()
				}
			}
			if reply == nil {
				sent()
				return
			}
			out.send(outgoing{reply, sent})
		})
	}
}

// received is a request.
type received struct {
	call     uint64
	method   byte
	patience time.Duration
	payload  []byte
	ctx      context.Context
	release  func()
}

// receive reads a request. If it is not admitted, it is passed over and answered, and
// receive returns nil.
func (e *Endpoint) receive(conn net.Conn, in *bufio.Reader, out *sender) (*received, error) {
	n, err := readLength(in, methodSize, e.options.MaxMessage)
	if err != nil {
		return nil, err
	}
	head := make([]byte, methodSize)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	r := &received{
		call: binary.BigEndian.Uint64(head), method: head[8],
		patience: time.Duration(binary.BigEndian.Uint32(head[9:])) * time.Millisecond, ctx: e.ctx, release: func() {},
	}
	if n > Large && e.options.Admit != nil {
		ctx, release, refused := e.options.Admit(e.ctx, n)
		if refused != nil {
			if _, err := io.CopyN(io.Discard, in, int64(n-methodSize)); err != nil {
				return nil, err
			}
			out.send(outgoing{message: failure(r.call, refused)})
			return nil, nil
		}
		r.ctx, r.release = ctx, release
		// Room is not kept for one that has stopped in the middle.
		conn.SetReadDeadline(time.Now().Add(2 * sendTime))
		defer conn.SetReadDeadline(time.Time{})
	}
	r.payload, err = readBody(in, n-methodSize)
	if err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

// handle runs one call and returns the message of its reply, or nil if it is
// lost, and what is to be done after it.
func (e *Endpoint) handle(from string, r *received) (reply net.Buffers, after []func()) {
	// A pause holds a request back however long it takes: its patience is not
	// looked at before.
	if e.gate.wait(e.ctx) != nil || e.options.Network.Rule(from, e.options.Name).Cut {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithValue(r.ctx, afterKey{}, &after), min(max(r.patience, time.Millisecond), handleTime))
	defer cancel()
	defer func() {
		if v := recover(); v != nil { // a defect costs one call, not the node
			e.options.Log.Error("panic", "value", v, "stack", string(debug.Stack()))
			reply = failure(r.call, errors.New("internal error"))
		}
	}()
	body, err := e.options.Handle(ctx, from, r.method, r.payload)
	if e.gate.wait(e.ctx) != nil || e.options.Network.Rule(e.options.Name, from).Cut {
		return nil, after
	}
	if err == nil && len(body)+replySize > e.options.MaxMessage {
		err = ErrTooLarge
	}
	if err != nil {
		return failure(r.call, err), after
	}
	return replyMessage(r.call, statusOK, body), after
}

// failure is the message that tells a caller of an error.
func failure(call uint64, err error) net.Buffers {
	code := byte(0)
	if coded, ok := errors.AsType[Coded](err); ok {
		code = coded.Code()
	}
	return replyMessage(call, statusError, append([]byte{code}, err.Error()...))
}

// A message is a header and a body, which is not copied to be behind it.
func replyMessage(call uint64, status byte, body []byte) net.Buffers {
	m := make([]byte, 0, 4+replySize)
	m = binary.BigEndian.AppendUint32(m, uint32(replySize+len(body)))
	m = binary.BigEndian.AppendUint64(m, call)
	return net.Buffers{append(m, status), body}
}

func requestMessage(call uint64, method byte, patience time.Duration, body []byte) net.Buffers {
	m := make([]byte, 0, 4+methodSize)
	m = binary.BigEndian.AppendUint32(m, uint32(methodSize+len(body)))
	m = binary.BigEndian.AppendUint64(m, call)
	m = binary.BigEndian.AppendUint32(append(m, method), uint32(min(patience.Milliseconds(), 1<<31)))
	return net.Buffers{m, body}
}

// readLength reads the length of a message, which is at least least and at most
// most bytes long.
func readLength(in *bufio.Reader, least, most int) (int, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n < least || n > most {
		return 0, fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
	}
	return n, nil
}

// readBody reads n bytes. Memory grows with what arrives and not with what the
// length claims.
func readBody(in *bufio.Reader, n int) ([]byte, error) {
	const step = 256 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, step))...)
		if _, err := io.ReadFull(in, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// packet hands a packet to memberlist, which gets along without those that it
// has no room for.
func (e *Endpoint) packet(conn net.Conn, from string, b []byte) {
	if e.gate.isShut() || e.options.Network.Rule(from, e.options.Name).Cut {
		return
	}
	select {
	case e.packets <- &memberlist.Packet{Buf: b, From: conn.RemoteAddr(), Timestamp: time.Now()}:
	default:
	}
}
