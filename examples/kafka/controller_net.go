package kafka

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What a connection is for, by its first byte.
const (
	forRaft  = 'R'
	forCalls = 'C'
)

// A callRequest is what a broker says to the leader: a command, or just that it
// lives.
type callRequest struct {
	From    int32    `json:"from"`
	Command *command `json:"command,omitempty"`
}

type callResponse struct {
	Applied  applied `json:"applied"`
	NoLeader bool    `json:"noLeader,omitempty"` // who was asked does not lead
	Error    string  `json:"error,omitempty"`
}

// call asks another broker. The error is errNoLeader if the request was not
// sent.
func (q *quorum) call(ctx context.Context, to int32, req callRequest) (callResponse, error) {
	var resp callResponse
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := q.dial(ctx, to, forCalls)
	if err != nil {
		return resp, fmt.Errorf("%w: %w", errNoLeader, err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := writeCall(c, req); err != nil {
		return resp, err
	}
	return resp, readCall(c, &resp)
}

func (q *quorum) dial(ctx context.Context, to int32, kind byte) (net.Conn, error) {
	addr, ok := q.Book.get(to)
	if !ok {
		return nil, fmt.Errorf("kafka: broker %d is no member of the cluster", to)
	}
	c, err := q.Fabric.dial(ctx, q.ID, to, addr)
	if err != nil {
		return nil, err
	}
	c.SetWriteDeadline(time.Now().Add(callTimeout))
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write([]byte{kind}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.SetWriteDeadline(time.Time{})
	return c, nil
}

func writeCall(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

func readCall(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxCall {
		return fmt.Errorf("kafka: a message of %d bytes between brokers", n)
	}
	return json.NewDecoder(io.LimitReader(r, int64(n))).Decode(v)
}

// accept takes the connections of other brokers.
func (q *quorum) accept() {
	for {
		c, err := q.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !q.pause(retryEvery) {
				return
			}
			continue
		}
		mine := &ownConn{c, &q.conns}
		if !q.conns.add(mine) {
			c.Close()
			return
		}
		q.tasks.Go(func() { q.serve(mine) })
	}
}

// serve answers one connection, or hands it to raft, which reads it until one
// side closes it.
func (q *quorum) serve(c net.Conn) {
	var kind [1]byte
	c.SetReadDeadline(time.Now().Add(callTimeout))
	if _, err := io.ReadFull(c, kind[:]); err != nil {
		c.Close()
		return
	}
	switch kind[0] {
	case forRaft:
		c.SetReadDeadline(time.Time{})
		select {
		case q.layer.incoming <- c:
		case <-q.ctx.Done():
			c.Close()
		}
	case forCalls:
		defer c.Close()
		c.SetDeadline(time.Now().Add(2 * callTimeout))
		var req callRequest
		if readCall(c, &req) == nil {
			_ = writeCall(c, q.answer(req)) // or it asks again
		}
	default:
		c.Close()
	}
}

// answer is what the leader says; others say that they do not lead.
func (q *quorum) answer(req callRequest) callResponse {
	if q.raft.State() != raft.Leader {
		return callResponse{NoLeader: true}
	}
	if _, member := q.Book.get(req.From); !member {
		return callResponse{Error: fmt.Sprintf("kafka: broker %d is no member of the cluster", req.From)}
	}
	q.heard(req.From)
	if req.Command == nil {
		return callResponse{}
	}
	a, err := q.apply(*req.Command)
	switch {
	case errors.Is(err, errNoLeader):
		return callResponse{NoLeader: true}
	case err != nil:
		return callResponse{Error: err.Error()}
	}
	return callResponse{Applied: a}
}

// A connSet closes connections that are still open at the end. A connSet is
// safe for concurrent use by multiple goroutines.
type connSet struct {
	mu     sync.Mutex
	closed bool
	conns  map[*ownConn]struct{}
}

// An ownConn leaves its set when it is closed.
type ownConn struct {
	net.Conn
	set *connSet
}

// Close implements [net.Conn].
func (c *ownConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.conns, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

func (s *connSet) add(c *ownConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = map[*ownConn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *connSet) close() {
	s.mu.Lock()
	s.closed = true
	open := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// A raftLayer is where raft gets its connections from. It implements
// [raft.StreamLayer]; addresses are the numbers of brokers, so that a broker
// may move. A raftLayer is safe for concurrent use by multiple goroutines.
type raftLayer struct {
	quorum   *quorum
	incoming chan net.Conn
	done     <-chan struct{}
}

// Accept implements [net.Listener].
func (l *raftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]; the listener belongs to the quorum.
func (l *raftLayer) Close() error { return nil }

// Addr implements [net.Listener].
func (l *raftLayer) Addr() net.Addr { return brokerAddr(l.quorum.ID) }

// Dial implements [raft.StreamLayer].
func (l *raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := strconv.ParseInt(string(address), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("kafka: %q is no broker", address)
	}
	ctx, cancel := context.WithTimeout(l.quorum.ctx, timeout)
	defer cancel()
	return l.quorum.dial(ctx, int32(id), forRaft)
}

type brokerAddr int32

// Network implements [net.Addr].
func (brokerAddr) Network() string { return "broker" }

// String implements [net.Addr].
func (a brokerAddr) String() string { return strconv.Itoa(int(a)) }

// slogWriter lets raft write to our log, at the level of debugging: what
// matters the brokers say themselves.
type slogWriter struct{ log *slog.Logger }

// Write implements [io.Writer].
func (w slogWriter) Write(b []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}
