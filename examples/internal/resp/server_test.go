package resp

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipes is a listener to which connections are given by dial.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// echoes is a session that knows what concerns the connection, and VALUE, which is large.
type echoes struct{ *Conn }

var echoing = NewTable(Command[echoes]{Name: "value", Arity: 1, Run: func(c echoes, _ [][]byte) {
	c.Claim().Take(c.server.ctx, 4<<20)
	c.Value(bytes.Repeat([]byte("v"), 4<<20))
}})

func (e echoes) Run(args [][]byte) {
	if cmd := echoing.Find(e.Conn, args); cmd != nil {
		cmd.Run(e, args)
	}
}

func serveEchoes(p *pipes) *Server {
	return Serve(p, Options{
		Limits:     Limits{Args: 64, Inline: 16<<10 - 1, Command: 1 << 20, InFlight: 8 << 20},
		MaxClients: 10, Log: slog.New(slog.DiscardHandler), Open: func(c *Conn) Session { return echoes{c} },
	})
}

// A client has a minute for each command, and not for all that it sends without a
// pause.
func TestPipelinesMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		defer serveEchoes(p).Close()
		conn := p.dial()
		defer conn.Close()
		go func() {
			// What is written at once never ends where a command does.
			const echo = "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n"
			io.WriteString(conn, "*2\r\n$4\r\nEC")
			for range 20 {
				time.Sleep(10 * time.Second)
				io.WriteString(conn, "HO\r\n$1\r\na\r\n*2\r\n$4\r\nEC")
			}
			io.WriteString(conn, "HO\r\n$1\r\na\r\n"+echo)
		}()
		got := make([]byte, 22*7)
		n, err := io.ReadFull(conn, got)
		require.NoError(t, err, "%q", got[:n])
		require.Equal(t, strings.Repeat("$1\r\na\r\n", 22), string(got))
		io.WriteString(conn, "*2\r\n$4\r\nEC")
		start := time.Now()
		rest, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "-ERR the command did not arrive in time\r\n", string(rest))
		require.Equal(t, readTimeout, time.Since(start), "and not longer")
	})
}

// A client on a slow line gets large values, and loses the connection only when it
// takes nothing.
func TestSlowClientsGetLargeValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := serveEchoes(p)
		defer s.Close()
		conn := p.dial()
		defer conn.Close()
		go io.WriteString(conn, "VALUE\r\nVALUE\r\n")
		got, piece := 0, make([]byte, 64<<10)
		start := time.Now()
		for got < 4<<20 {
			time.Sleep(time.Second)
			n, err := conn.Read(piece)
			got += n
			require.NoError(t, err, "after %v and %d bytes", time.Since(start), got)
		}
		require.Greater(t, time.Since(start), 2*writeTimeout)
		time.Sleep(2 * writeTimeout)
		require.Zero(t, s.Stats().Clients)
		require.Zero(t, s.options.Budget.Used())
	})
}

// What a client says of itself is kept, so it has to be short.
func TestNamesOfClientsAreShort(t *testing.T) {
	p := newPipes()
	s := serveEchoes(p)
	defer s.Close()
	most, long := strings.Repeat("n", maxName), strings.Repeat("n", maxName+1)
	for _, test := range []struct{ line, want string }{
		{"CLIENT SETNAME " + most, "OK"},
		{"CLIENT SETNAME " + long, "(error) ERR Client names cannot be longer than 256 bytes."},
		{"HELLO 2 SETNAME " + long, "(error) ERR Client names cannot be longer than 256 bytes."},
		{"CLIENT SETNAME \"a b\"", "(error) ERR Client names cannot contain spaces, newlines or special characters."},
		{"CLIENT SETINFO lib-name " + most, "OK"},
		{"CLIENT SETINFO lib-ver " + long, "(error) ERR Names of libraries and their versions cannot be longer than 256 bytes."},
		{"CLIENT SETINFO " + long + " x", fmt.Sprintf("(error) ERR Unrecognized option '%.128s'", long)},
	} {
		got, err := s.RunLine(test.line, nil)
		require.NoError(t, err)
		require.Equal(t, test.want, got, "%.40s", test.line)
	}
}
