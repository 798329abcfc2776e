package resp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
)

const (
	readTimeout  = time.Minute // within a command; between commands a client may wait for ever
	writeTimeout = 30 * time.Second
	closeTimeout = 2 * time.Second // for commands under way when a server is closed
)

// Options are the settings of a server. Those that are not said to have a default must be given.
type Options struct {
	Limits     Limits
	MaxClients int
	Password   string // empty by default: there is none
	Log        *slog.Logger

	// Budget is what commands above [Large] bytes, and large answers, are counted
	// against, see [Conn.Claim]. Commands wait for it as long as its patience lasts,
	// and are then refused. Nil: one of Limits.InFlight bytes, without patience.
	Budget *budget.Budget

	// WriteTimeout is how long a client may take for a megabyte of an answer before
	// it loses the connection: 0 stands for half a minute.
	WriteTimeout time.Duration

	// Open returns what runs the commands of a new connection.
	Open func(*Conn) Session
}

// A Session runs the commands of one connection, one after the other.
type Session interface {
	// Run runs a command and writes one reply to the connection. There is at
	// least one argument, the command's name; arguments are valid until Run
	// returns. A panic costs the connection and no more.
	Run(args [][]byte)
}

// A Server accepts connections and feeds sessions with commands. Start one with
// [Serve]. A Server is safe for concurrent use by multiple goroutines.
type Server struct {
	listen   net.Listener
	options  Options
	ctx      context.Context // ends when the server is closed
	cancel   context.CancelFunc
	accepted atomic.Uint64
	refused  atomic.Uint64

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	nextID  int64
	closing bool
	done    sync.WaitGroup
}

// Serve starts a server, which owns the listener from then on.
func Serve(listen net.Listener, options Options) *Server {
	if options.Budget == nil {
		options.Budget = budget.New(options.Limits.InFlight, 0)
	}
	if options.WriteTimeout == 0 {
		options.WriteTimeout = writeTimeout
	}
	s := &Server{listen: listen, options: options, conns: map[*Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.done.Go(s.serve)
	return s
}

// Addr returns the address at which the server listens.
func (s *Server) Addr() net.Addr { return s.listen.Addr() }

// Stats are what a server has seen.
type Stats struct {
	Clients  int    // connected now
	Accepted uint64 // connections
	Refused  uint64 // connections beyond Options.MaxClients
}

// Stats returns what the server has seen so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Clients: len(s.conns), Accepted: s.accepted.Load(), Refused: s.refused.Load()}
}

// serve accepts connections until the listener is closed.
func (s *Server) serve() {
	for {
		conn, err := s.listen.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.options.Log.Warn("accept", "error", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		s.admit(conn)
	}
}

func (s *Server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= s.options.MaxClients {
		s.refused.Add(1)
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(conn, "-ERR max number of clients reached\r\n")
		conn.Close()
		return
	}
	s.accepted.Add(1)
	s.nextID++
	c := s.conn(conn, conn)
	c.ID = s.nextID
	c.authed = s.options.Password == ""
	s.conns[c] = struct{}{}
	s.done.Go(c.serve)
}

// conn returns a connection that sends replies to out.
func (s *Server) conn(conn net.Conn, out io.Writer) *Conn {
	c := &Conn{
		Writer: Writer{Out: NewOutbox(out), Version: 2}, server: s, net: conn, since: time.Now(),
		reader: NewReader(s.ctx, bufio.NewReaderSize(conn, 16<<10), &s.options.Limits, s.options.Budget.Claim()),
	}
	c.Out.write = s.options.WriteTimeout
	return c
}

// clients describes all connections, sorted.
func (s *Server) clients() string {
	s.mu.Lock()
	var lines []string
	for c := range s.conns {
		lines = append(lines, c.describe())
	}
	s.mu.Unlock()
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Close stops listening and ends all connections; commands under way may end
// first, for a while.
func (s *Server) Close() {
	s.cancel()
	s.mu.Lock()
	s.closing = true
	s.listen.Close()
	for c := range s.conns {
		c.net.SetReadDeadline(time.Now()) // wakes it up; what it is doing ends first
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
		s.mu.Lock()
		for c := range s.conns {
			c.net.Close()
		}
		s.mu.Unlock()
		<-ended
	}
}

// A Conn is one connection of a client: the writer of its replies and what it
// has said about itself. A Conn belongs to its session.
type Conn struct {
	Writer
	ID      int64
	NoTouch bool // the client asked that its reads count for no policy

	server  *Server
	net     net.Conn
	reader  *Reader
	name    string // guarded by the server's mutex
	library [2]string
	authed  bool
	quit    bool
	since   time.Time
	last    atomic.Pointer[string] // the last command, for CLIENT LIST
}

// Base returns the connection itself; a session that embeds it is a [Client].
func (c *Conn) Base() *Conn { return c }

// Claim returns what the current command has taken from the server's budget: what
// it was read into, and what its session takes for its answer. It is given back
// when the answer has been sent, and all others who keep it have released it.
func (c *Conn) Claim() *budget.Claim { return c.reader.Claim }

// settle sends the answer of a command that has taken much, and gives that back.
func (c *Conn) settle() {
	if c.Claim().Held() > 0 {
		c.reader.Forget()
		c.Out.Flush()
		c.release()
	}
}

func (c *Conn) release() {
	c.Claim().Release()
	c.reader.Claim = c.server.options.Budget.Claim()
}

// serve answers commands until the client leaves.
func (c *Conn) serve() {
	s := c.server
	defer func() {
		if value := recover(); value != nil { // a defect costs one connection, not all
			s.options.Log.Error("panic", "value", value, "stack", string(debug.Stack()))
			c.Error("ERR internal error")
			c.Out.Flush()
		}
		c.Claim().Release()
		c.net.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	session := s.options.Open(c)
	var armed time.Time // when the time for the current command began, or nearly so
	for !c.quit {
		if c.reader.in.Buffered() == 0 || c.Out.size >= 16<<10 {
			if c.Out.Flush() != nil {
				return
			}
		}
		if c.reader.in.Buffered() == 0 {
			c.net.SetReadDeadline(time.Time{})
			if s.stopping() {
				return // its wake-up may have come before this connection waited
			}
			if _, err := c.reader.in.Peek(1); err != nil {
				return
			}
			armed = time.Time{}
		}
		if now := time.Now(); now.Sub(armed) > time.Second { // a pipeline may be longer than its time for one command
			armed = now
			c.net.SetReadDeadline(now.Add(readTimeout))
			if s.stopping() {
				c.net.SetReadDeadline(now) // as its wake-up has just been undone
			}
		}
		args, err := c.reader.Next()
		if err == ErrFlood && s.ctx.Err() == nil {
			c.Error(err.Error())
			c.settle()
			continue
		}
		if err != nil {
			c.fail(err)
			break
		}
		if len(args) > 0 {
			session.Run(args)
			c.settle()
		}
	}
	c.Out.Flush()
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// fail answers a client that cannot be understood.
func (c *Conn) fail(err error) {
	switch {
	case errors.Is(err, ErrFlood):
		c.Error("ERR the server is closing")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Error("ERR the command did not arrive in time")
	default:
		if _, ok := errors.AsType[ProtocolError](err); !ok {
			return
		}
		c.Errorf("ERR %v", err)
	}
	c.Out.Flush()
	// A client in the middle of sending would lose the answer to a reset.
	if tcp, ok := c.net.(*net.TCPConn); ok {
		tcp.CloseWrite()
		c.net.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		io.CopyN(io.Discard, c.net, 1<<20)
	}
}

// RunLine runs one command line as if a client that has authenticated had sent
// it, and returns the reply as redis-cli would print it. prepare, which may be
// nil, gets the session first. The error is one of the line: unbalanced
// quotes.
func (s *Server) RunLine(line string, prepare func(Session)) (string, error) {
	var out strings.Builder
	ours, theirs := net.Pipe() // only for its addresses
	defer ours.Close()
	defer theirs.Close()
	c := s.conn(ours, &out)
	c.authed = true
	defer c.Claim().Release()
	in := bufio.NewReaderSize(strings.NewReader(strings.ReplaceAll(line, "\n", " ")+"\n"), 64<<10)
	args, err := NewReader(s.ctx, in, &s.options.Limits, nil).Inline()
	if err != nil {
		return "", err
	}
	if len(args) > 0 {
		session := s.options.Open(c)
		if prepare != nil {
			prepare(session)
		}
		session.Run(args)
	}
	c.Out.Flush()
	return readable(bufio.NewReaderSize(strings.NewReader(out.String()), 64<<10)), nil
}
