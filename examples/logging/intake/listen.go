package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// syslogServer is the sockets of syslog.
type syslogServer struct {
	udp   *net.UDPConn
	tcp   net.Listener
	tasks sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
	stop  context.CancelFunc
}

// ListenSyslog takes syslog over UDP and TCP at an address, both at the same
// port, until Close. If another process has the port and move is set, it takes
// another one.
func (s *Server) ListenSyslog(ctx context.Context, addr string, move bool) error {
	g := &s.syslog
	g.conns = map[net.Conn]struct{}{}
	var err error
	for range 20 {
		g.tcp, err = web.Listen(ctx, addr, move)
		if err != nil {
			return err
		}
		at := g.tcp.Addr().(*net.TCPAddr)
		g.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
		if err == nil {
			break
		}
		_ = g.tcp.Close() // it was not used
		if !move {
			return err
		}
	}
	if err != nil {
		return err
	}
	_ = g.udp.SetReadBuffer(4 << 20) // as much of it as the system allows
	ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.tasks.Go(func() { s.serveUDP(ctx) })
	g.tasks.Go(func() { s.serveTCP(ctx) })
	return nil
}

// SyslogAddr returns where syslog is taken.
func (s *Server) SyslogAddr() string { return s.syslog.tcp.Addr().String() }

// Close ends the sockets of syslog. What was read is stored before it returns,
// if the store takes it.
func (s *Server) Close() {
	g := &s.syslog
	if g.tcp == nil {
		return
	}
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return
	}
	g.ended = true
	_ = g.tcp.Close() // accepting ends with an error of its own
	_ = g.udp.SetReadDeadline(time.Now())
	for c := range g.conns {
		_ = c.SetReadDeadline(time.Now()) // what is being stored may end
	}
	g.mu.Unlock()
	timer := time.AfterFunc(2*time.Second, g.stop)
	g.tasks.Wait()
	timer.Stop()
	g.stop()
	_ = g.udp.Close() // nothing is read from it any more
}

func (g *syslogServer) closing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// A datagram is a message and where it came from.
type datagram struct {
	data []byte
	from string
}

const (
	udpQueue = 16384 // datagrams
	batch    = 500   // messages stored together
)

// serveUDP reads datagrams into a queue, so that the system's buffer is empty
// while the store syncs, and counts those that the queue has no room for.
func (s *Server) serveUDP(ctx context.Context) {
	queue := make(chan datagram, udpQueue)
	var storing sync.WaitGroup
	storing.Go(func() { s.storeUDP(ctx, queue) })
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.syslog.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.syslog.closing() || errors.Is(err, net.ErrClosed) {
				break
			}
			continue
		}
		d := datagram{append([]byte(nil), buf[:n]...), from.Addr().Unmap().String()}
		if n > s.options.MaxMessage {
			s.dropped("syslog udp", d.from, TooLarge, 1)
			continue
		}
		select {
		case queue <- d:
		default:
			s.dropped("syslog udp", d.from, Overrun, 1)
		}
	}
	close(queue)
	storing.Wait()
}

// storeUDP stores what is in the queue, in batches. What the store does not
// take is gone, since a sender of datagrams cannot be told.
func (s *Server) storeUDP(ctx context.Context, queue <-chan datagram) {
	parser := newSyslogParser(s.options.Now)
	for d := range queue {
		var g group
		counts := map[string]int{}
		add := func(d datagram) {
			labels, e, sound := parser.message(d.data, d.from)
			if !sound {
				s.dropped("syslog udp", d.from, Malformed, 1)
			}
			g.add(labels, e)
			counts[d.from]++
		}
		add(d)
	fill:
		for range batch {
			select {
			case d, ok := <-queue:
				if !ok {
					break fill
				}
				add(d)
			default:
				break fill
			}
		}
		for i := range g.packets {
			s.dropped("syslog udp", d.from, Clipped, g.packets[i].Clip())
		}
		err := s.sink.Append(ctx, g.packets...)
		for from, n := range counts {
			if err != nil {
				s.dropped("syslog udp", from, reason(err), n)
			} else {
				s.accepted("syslog udp", from, n)
			}
		}
	}
}

func (s *Server) serveTCP(ctx context.Context) {
	g := &s.syslog
	for {
		conn, err := g.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		g.mu.Lock()
		if g.ended || len(g.conns) >= s.options.MaxConns {
			g.mu.Unlock()
			_ = conn.Close() // the sender tries again
			continue
		}
		g.conns[conn] = struct{}{}
		g.mu.Unlock()
		g.tasks.Go(func() {
			s.serveConn(ctx, conn)
			g.mu.Lock()
			delete(g.conns, conn)
			g.mu.Unlock()
			_ = conn.Close() // nothing was written to it
		})
	}
}

// serveConn reads messages from a connection and stores them. While the store
// takes nothing, nothing is read, so that the sender waits.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	in := bufio.NewReaderSize(conn, 64<<10)
	f := framer{in: in, limit: s.options.MaxMessage}
	parser := newSyslogParser(s.options.Now)
	for {
		var g group
		n := 0
		var err error
		for n < batch {
			var data []byte
			var cut bool
			data, cut, err = f.next()
			if cut {
				s.dropped("syslog tcp", from, TooLarge, 1)
			}
			if len(data) > 0 {
				labels, e, sound := parser.message(data, from)
				if !sound {
					s.dropped("syslog tcp", from, Malformed, 1)
				}
				g.add(labels, e)
				n++
			}
			if err != nil || in.Buffered() == 0 {
				break
			}
		}
		if n > 0 && !s.storeTCP(ctx, from, &g, n) {
			return
		}
		if err != nil {
			if errors.Is(err, errFraming) {
				s.dropped("syslog tcp", from, Malformed, 1)
			}
			return
		}
	}
}

// storeTCP stores messages, however long that takes. It reports false when ctx
// ends before.
func (s *Server) storeTCP(ctx context.Context, from string, g *group, n int) bool {
	for i := range g.packets {
		s.dropped("syslog tcp", from, Clipped, g.packets[i].Clip())
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := s.sink.Append(ctx, g.packets...)
		if err == nil {
			s.accepted("syslog tcp", from, n)
			return true
		}
		if errors.Is(err, store.ErrStreams) || errors.Is(err, commitlog.ErrTooLarge) || ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			s.dropped("syslog tcp", from, reason(err), n)
			return ctx.Err() == nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// errFraming says that a connection cannot be understood.
var errFraming = errors.New("intake: bad framing")

// A framer cuts a stream into messages, as RFC 6587 says: by octet counting
// where a message begins with a number, a space and the "<" of a priority,
// otherwise at line breaks. So a line that begins with a date is one.
type framer struct {
	in    *bufio.Reader
	limit int
}

// next returns the next message, of at most limit bytes; what is beyond is
// passed over, and cut set.
func (f *framer) next() (data []byte, cut bool, err error) {
	if _, err := f.in.Peek(1); err != nil {
		return nil, false, err
	}
	if f.counting() {
		return f.counted()
	}
	return f.line()
}

// counting reports whether a length comes next. It waits for no more bytes
// than it takes to tell.
func (f *framer) counting() bool {
	const digits = 9
	for n := 1; n <= digits+1; n++ {
		data, err := f.in.Peek(n)
		if err != nil {
			return false
		}
		switch c := data[n-1]; {
		case c >= '1' && c <= '9' || c == '0' && n > 1:
		case c == ' ' && n > 1:
			data, err = f.in.Peek(n + 1)
			return err == nil && data[n] == '<'
		default:
			return false
		}
	}
	return false
}

func (f *framer) counted() (data []byte, cut bool, err error) {
	n := 0
	for {
		b, err := f.in.ReadByte()
		if err != nil {
			return nil, false, err
		}
		if b == ' ' {
			break
		}
		if b < '0' || b > '9' || n > 1<<24 {
			return nil, false, fmt.Errorf("%w: a length is followed by %q", errFraming, b)
		}
		n = 10*n + int(b-'0')
	}
	data = make([]byte, min(n, f.limit))
	if _, err := io.ReadFull(f.in, data); err != nil {
		return nil, false, err
	}
	if n > f.limit {
		cut = true
		if _, err := f.in.Discard(n - f.limit); err != nil {
			return data, true, err
		}
	}
	return data, cut, nil
}

func (f *framer) line() (data []byte, cut bool, err error) {
	for {
		part, err := f.in.ReadSlice('\n')
		room := f.limit - len(data)
		data = append(data, part[:min(len(part), room)]...)
		cut = cut || len(part) > room+1
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err != nil && len(data) > 0 && errors.Is(err, io.EOF) {
				return data, cut, io.EOF
			}
			return data, cut, err
		}
	}
}
