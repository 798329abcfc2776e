package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// limits bound what clients can make a broker hold.
type limits struct {
	conns    int           // at a time
	request  int           // bytes of one request
	small    int           // bytes of one that carries no records
	inFlight int64         // bytes of all requests and responses
	pending  int           // requests of one connection that wait for their answer
	idle     time.Duration // a connection that asks nothing is closed after this
	fetch    int           // bytes of records in one response
}

var defaultLimits = limits{
	conns: 2000, request: 64 << 20, small: 1 << 20, inFlight: 256 << 20, pending: 64, idle: 10 * time.Minute, fetch: 32 << 20,
}

const (
	// What is parsed takes more room than its bytes: every element of an
	// array becomes a struct. Requests without records count this often.
	parsedFactor = 32
	arriveBase   = 10 * time.Second // for a request to arrive, and a second more …
	arriveRate   = 64 << 10         // … for so many bytes
	sendTimeout  = 30 * time.Second // for a response to be taken, and as much more by its length
	firstRead    = 64 << 10         // of a request, before the client has shown that it sends more
)

// A conn is one connection of a client.
//
//	socket ─► read: parse ─► handler ─► queue of answers ─► write: wait, encode ─► socket
//
// One goroutine reads and runs the handlers, another runs the answers, so
// that responses keep the order of the requests while the next requests are
// already worked on.
type conn struct {
	broker *broker
	net    net.Conn
	id     int64
	ctx    context.Context
	cancel context.CancelFunc
	queue  chan pendingAnswer
	held   int64 // taken from the budget for the response that is under way

	client  atomic.Pointer[string] // ID, as the last request had it
	asked   atomic.Int64           // requests
	waiting atomic.Int64           // answers in the queue
}

type pendingAnswer struct {
	request
	answer answer
	start  time.Time
	taken  int64 // from the budget
}

// read takes requests until the client leaves or cannot be understood.
func (c *conn) read() {
	defer close(c.queue)
	defer c.guard()
	for {
		if err := c.next(); err != nil {
			if c.broker.open() {
				c.cancel() // nobody waits for the answers
			}
			c.broker.countClose(err)
			if !errors.Is(err, io.EOF) && c.ctx.Err() == nil {
				c.broker.log.Debug("connection ends", "client", c.net.RemoteAddr(), "error", err)
			}
			return
		}
	}
}

// guard keeps a defect to one connection.
func (c *conn) guard() {
	if v := recover(); v != nil {
		c.broker.log.Error("panic", "value", v, "stack", string(debug.Stack()))
		c.cancel()
		c.net.Close()
	}
}

// next reads one request and hands it to its handler.
func (c *conn) next() error {
	var head [4]byte
	c.net.SetReadDeadline(time.Now().Add(c.broker.limits.idle))
	if _, err := io.ReadFull(c.net, head[:]); err != nil {
		return err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:])))
	if size < 8 || size > c.broker.limits.request {
		return fmt.Errorf("%w: a length of %d bytes", errMalformed, size)
	}
	c.net.SetReadDeadline(time.Now().Add(arriveBase + time.Duration(size/arriveRate)*time.Second))
	start := time.Now()
	data, taken, err := c.receive(size)
	if err != nil {
		c.broker.budget.give(taken)
		return err
	}
	r, err := parseRequest(data, c.broker.apis)
	c.client.Store(&r.clientID)
	switch {
	case errors.Is(err, errUnsupported) && r.key == keyApiVersions:
		return c.enqueue(pendingAnswer{request: r, answer: now(c.broker.fallback()), start: start, taken: taken})
	case err != nil:
		c.broker.budget.give(taken)
		return err
	}
	c.asked.Add(1)
	answer := c.broker.apis[r.key].handle(c.ctx, c, r.message)
	if r.key == keyProduce {
		c.broker.budget.give(taken) // the records are in the logs
		taken = 0
		r.message = nil
		giveBuffer(data)
	}
	return c.enqueue(pendingAnswer{request: r, answer: answer, start: start, taken: taken})
}

// receive reads a request of a size. Memory is taken as bytes arrive, so that
// a client cannot have more of it than it sends.
func (c *conn) receive(size int) (data []byte, taken int64, err error) {
	var key [2]byte
	if _, err := io.ReadFull(c.net, key[:]); err != nil {
		return nil, 0, err
	}
	factor := int64(1)
	if binary.BigEndian.Uint16(key[:]) == keyProduce {
		data = takeBuffer()
	} else {
		if size > c.broker.limits.small {
			return nil, 0, fmt.Errorf("%w: key %d with %d bytes", errMalformed, binary.BigEndian.Uint16(key[:]), size)
		}
		factor = parsedFactor
	}
	data = append(data, key[:]...)
	for len(data) < size {
		step := min(size-len(data), max(firstRead, len(data)))
		n, err := c.broker.budget.take(c.ctx, int64(step)*factor)
		taken += n
		if err != nil {
			return nil, taken, err
		}
		from := len(data)
		if cap(data) < from+step {
			grown := make([]byte, from, min(size, max(from+step, 2*cap(data))))
			copy(grown, data)
			data = grown
		}
		data = data[:from+step]
		if _, err := io.ReadFull(c.net, data[from:]); err != nil {
			return nil, taken, err
		}
	}
	return data, taken, nil
}

func (c *conn) enqueue(p pendingAnswer) error {
	c.waiting.Add(1)
	select {
	case c.queue <- p:
		return nil
	case <-c.ctx.Done():
		c.broker.budget.give(p.taken)
		return c.ctx.Err()
	}
}

// write sends the answers in the order of their requests.
func (c *conn) write() {
	defer func() {
		c.cancel()
		c.net.Close()
		c.broker.budget.give(c.held)
		for p := range c.queue { // until the reader has noticed
			c.broker.budget.give(p.taken)
		}
	}()
	defer c.guard()
	var out []byte
	for p := range c.queue {
		resp := p.answer(c.ctx)
		c.broker.budget.give(p.taken)
		c.waiting.Add(-1)
		c.broker.observe(p.key, p.start)
		if resp == nil { // a handler that holds memory has a response
			continue
		}
		var n int64
		var err error
		if v, ok := resp.(*vectored); ok {
			c.allow(c.held)
			n, err = v.send(c.net, p.correlation)
		} else {
			var sent int
			out = appendResponse(out[:0], p.correlation, resp)
			c.allow(int64(len(out)))
			sent, err = c.net.Write(out)
			n = int64(sent)
		}
		c.broker.budget.give(c.held)
		c.held = 0
		c.broker.sent.Add(uint64(n))
		if err != nil {
			return
		}
		if cap(out) > 4<<20 {
			out = nil
		}
	}
}

// allow gives the client time to take a response of a length: a slow one would
// otherwise be cut off in the midst of a large response, and again with the next.
func (c *conn) allow(length int64) {
	c.net.SetWriteDeadline(time.Now().Add(sendTimeout + time.Duration(length/arriveRate)*time.Second))
}

// drop ends the connection without a word, which is the only way to tell a
// client that wants no answers.
func (c *conn) drop() {
	c.cancel()
	c.net.Close()
}
