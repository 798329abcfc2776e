package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// A node that stops in the middle of a large request does not keep the room for it.
func TestHalfARequestKeepsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		var admitted, released atomic.Bool
		listener := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
		listener.conns <- theirs
		e := Listen(listener, Options{
			Name: "b", Cluster: "test", Handle: echo,
			Admit: func(ctx context.Context, _ int) (context.Context, func(), error) {
				admitted.Store(true)
				return ctx, func() { released.Store(true) }, nil
			},
		})
		defer e.Close()
		head := appendGreeting(nil, kindCalls, "test", "a")
		head = append(binary.BigEndian.AppendUint32(head, 1<<20), make([]byte, methodSize)...)
		ours.Write(append(head, make([]byte, 1000)...))
		synctest.Wait()
		require.True(t, admitted.Load() && !released.Load())
		time.Sleep(2*sendTime + time.Second)
		require.True(t, released.Load())
		_, err := ours.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

// A node that takes its time for each of many messages gets all of them.
func TestSlowNodesGetTheirMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		s := newSender(theirs)
		go s.run()
		var sent atomic.Int64
		message := bytes.Repeat([]byte("m"), 1<<20)
		for range 5 {
			s.send(outgoing{message: net.Buffers{message}, sent: func() { sent.Add(1) }})
		}
		for i := range 5 {
			time.Sleep(sendTime * 2 / 3)
			_, err := io.ReadFull(ours, make([]byte, len(message)))
			require.NoError(t, err, "message %d", i)
		}
		synctest.Wait()
		require.EqualValues(t, 5, sent.Load())
		ours.Close()
		s.close()
	})
}
