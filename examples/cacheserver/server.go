package cacheserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// server speaks the Redis protocol over a keyspace.
type server struct {
	keys     *keyspace
	log      *slog.Logger
	limits   limits
	password string
	maxConns int
	started  time.Time
	hot      *hotKeys

	flood    atomic.Int64
	commands atomic.Uint64
	hits     atomic.Uint64
	misses   atomic.Uint64
	accepted atomic.Uint64
	refused  atomic.Uint64
	latency  *metrics.Histogram

	mu      sync.Mutex
	conns   map[*client]struct{}
	nextID  int64
	closing bool
	done    sync.WaitGroup
	listen  net.Listener
	ctx     context.Context
}

const (
	readTimeout  = time.Minute // within a command; between commands a client may wait for ever
	writeTimeout = 30 * time.Second
)

// A client is one connection.
type client struct {
	server *server
	conn   net.Conn
	reader reader
	writer
	id      int64
	name    string
	library [2]string
	authed  bool
	quit    bool
	noTouch bool
	since   time.Time
	last    atomic.Pointer[string] // the last command, for CLIENT LIST
}

// serve accepts connections until the listener is closed.
func (s *server) serve() {
	for {
		conn, err := s.listen.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("accept", "error", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		s.admit(conn)
	}
}

func (s *server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= s.maxConns {
		s.refused.Add(1)
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(conn, "-ERR max number of clients reached\r\n")
		conn.Close()
		return
	}
	s.accepted.Add(1)
	s.nextID++
	c := &client{server: s, conn: conn, id: s.nextID, authed: s.password == "", since: time.Now()}
	c.reader = reader{in: bufio.NewReaderSize(conn, 16<<10), limits: &s.limits, flood: &s.flood}
	c.writer = writer{out: &outbox{to: conn}, version: 2}
	s.conns[c] = struct{}{}
	s.done.Go(c.serve)
}

// serve answers commands until the client leaves.
func (c *client) serve() {
	s := c.server
	defer func() {
		if value := recover(); value != nil { // a defect costs one connection, not all
			s.log.Error("panic", "value", value, "stack", string(debug.Stack()))
			c.error("ERR internal error")
			c.out.Flush()
		}
		c.reader.release()
		c.conn.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for !c.quit {
		if c.reader.in.Buffered() == 0 || c.out.size >= 16<<10 {
			if c.out.Flush() != nil {
				return
			}
		}
		if c.reader.in.Buffered() == 0 {
			c.conn.SetReadDeadline(time.Time{})
			if _, err := c.reader.in.Peek(1); err != nil {
				return
			}
			c.conn.SetReadDeadline(time.Now().Add(readTimeout))
		}
		args, err := c.reader.next()
		if err != nil {
			c.fail(err)
			break
		}
		if len(args) > 0 {
			c.run(args)
		}
	}
	c.out.Flush()
}

// fail answers a client that cannot be understood.
func (c *client) fail(err error) {
	var protocol protocolError
	switch {
	case errors.As(err, &protocol):
		c.errorf("ERR %v", err)
	case errors.Is(err, errFlood):
		c.error(err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.error("ERR the command did not arrive in time")
	default:
		return
	}
	c.out.Flush()
	// A client in the middle of sending would lose the answer to a reset.
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		tcp.CloseWrite()
		c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		io.CopyN(io.Discard, c.conn, 1<<20)
	}
}

// run runs one command.
func (c *client) run(args [][]byte) {
	s := c.server
	start := time.Now()
	s.commands.Add(1)
	var upper [32]byte
	cmd, known := commands[string(upperCase(upper[:0], args[0]))]
	switch {
	case !known:
		c.errorf("ERR unknown command '%s', with args beginning with: %s", clip(args[0], 128), quoted(args[1:]))
		return
	case !cmd.takes(len(args)):
		c.errorf("ERR wrong number of arguments for '%s' command", cmd.name)
		return
	case !c.authed && !cmd.open:
		c.error("NOAUTH Authentication required.")
		return
	}
	c.last.Store(&cmd.name)
	if !cmd.alone {
		s.keys.world.RLock()
		defer s.keys.world.RUnlock()
	}
	cmd.run(c, args)
	s.latency.Since(start)
}

// upperCase appends b in upper case, or nothing if it is too long for the
// name of a command.
func upperCase(dst, b []byte) []byte {
	if len(b) > cap(dst) {
		return dst
	}
	for _, ch := range b {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		dst = append(dst, ch)
	}
	return dst
}

func clip(b []byte, n int) []byte { return b[:min(len(b), n)] }

// quoted lists arguments as Redis does in its errors.
func quoted(args [][]byte) string {
	var b strings.Builder
	for _, arg := range args {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%s' ", clip(arg, 128-b.Len()))
	}
	return b.String()
}

// storage answers a failure of the store or the log.
func (c *client) storage(err error) {
	c.server.log.Warn("storage", "error", err)
	c.errorf("MISCONF %v", err)
}

// close ends all connections.
func (s *server) close() {
	s.mu.Lock()
	s.closing = true
	s.listen.Close()
	for c := range s.conns {
		c.conn.SetReadDeadline(time.Now()) // wakes it up; what it is doing ends first
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		s.mu.Lock()
		for c := range s.conns {
			c.conn.Close()
		}
		s.mu.Unlock()
		<-ended
	}
}
