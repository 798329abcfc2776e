// Package sse sends live data to browsers as server-sent events.
//
// A Stream carries two sorts of event. A state is what something looks like
// now: only its newest value matters, and it is sent at most once per
// interval however often it changes. A message is something that happened:
// each is sent at once, in order, and a browser that comes back after a lost
// connection gets what it missed.
//
//	          Show("seats", v) ──> newest value per name ──┐
//	Sample("stats", f) ──> f(), once per interval for all ─┼──> each client, at its own pace
//	          Send("alert", v) ──> ring of recent messages ┘
//
// Nothing is queued per client: a slow one skips states, is told of a gap when
// messages have left the ring before it read them, and is dropped when a write
// stays stuck. A Stream has no goroutine of its own; with nobody watching,
// Sample costs nothing.
package sse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options are the settings of a Stream; zero fields mean the default.
type Options struct {
	Every     time.Duration // least time between two values of a state; default 500 ms
	Keep      int           // messages remembered for those who come back; default 256
	Heartbeat time.Duration // longest silence; default 15 s
	Stuck     time.Duration // a write that takes longer ends the connection; default 10 s
	Clients   int           // most connections at a time, beyond which 503; default 256
}

// A Stream is an http.Handler that sends events to every client. Create one
// with [New]. A Stream is safe for concurrent use by multiple goroutines.
type Stream struct {
	options Options

	mu       sync.Mutex
	clients  int
	wake     chan struct{}     // closed and replaced by Send
	messages []message         // the last Keep, in order of id
	lastID   uint64            // of the newest message
	epoch    string            // tells this run's ids from an earlier run's
	states   map[string]*state // by event name
	order    []string          // names of states, in order of appearance
}

type message struct {
	id   uint64
	text []byte
}

type state struct {
	version uint64
	data    []byte
	sample  func() any // nil for a state set by Show
	taken   time.Time  // when sample was called last
	busy    bool       // sample is being called
}

// New returns a stream. A nil opts means the defaults.
func New(opts *Options) *Stream {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Every = orDefault(o.Every, 500*time.Millisecond)
	o.Heartbeat = orDefault(o.Heartbeat, 15*time.Second)
	o.Stuck = orDefault(o.Stuck, 10*time.Second)
	o.Keep = orDefault(o.Keep, 256)
	o.Clients = orDefault(o.Clients, 256)
	return &Stream{
		options: o,
		wake:    make(chan struct{}),
		states:  map[string]*state{},
		epoch:   strconv.FormatInt(time.Now().UnixNano(), 36),
	}
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// Show makes v, encoded as JSON, the value of the state called event. Clients
// get it at their next interval, new ones at once. It panics if v cannot be
// encoded, as does Send.
func (s *Stream) Show(event string, v any) {
	data := encode(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state(event)
	if !bytes.Equal(st.data, data) {
		st.data = data
		st.version++
	}
}

// Sample makes what f returns, encoded as JSON, the value of the state called
// event. f is called once per interval for all clients together, only while
// there are any, never twice at a time, and with no lock held.
func (s *Stream) Sample(event string, f func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state(event).sample = f
}

func (s *Stream) state(event string) *state {
	checkName(event)
	st := s.states[event]
	if st == nil {
		st = &state{}
		s.states[event] = st
		s.order = append(s.order, event)
	}
	return st
}

// Send gives v, encoded as JSON, to every client as a message called event.
func (s *Stream) Send(event string, v any) {
	checkName(event)
	data := encode(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	text := fmt.Appendf(nil, "id: %s-%d\nevent: %s\ndata: %s\n\n", s.epoch, s.lastID, event, data)
	if len(s.messages) == s.options.Keep {
		copy(s.messages, s.messages[1:])
		s.messages = s.messages[:len(s.messages)-1]
	}
	s.messages = append(s.messages, message{s.lastID, text})
	close(s.wake)
	s.wake = make(chan struct{})
}

func checkName(event string) {
	if event == "" || strings.ContainsAny(event, "\r\n") {
		panic("sse: bad event name " + strconv.Quote(event))
	}
}

func encode(v any) []byte {
	data, err := json.Marshal(v) // one line: JSON escapes line breaks
	if err != nil {
		panic("sse: " + err.Error())
	}
	return data
}

// Clients returns how many are connected.
func (s *Stream) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients
}

// ServeHTTP streams events until the client goes away, a write is stuck, or
// the context of the request ends.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many live connections", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	c := &client{stream: s, w: w, control: http.NewResponseController(w), seen: map[string]uint64{}}
	// The server's own limits are for short answers. A writer of a test has
	// no deadlines, which is no reason to fail.
	_ = c.control.SetReadDeadline(time.Time{})
	c.resume(r.Header.Get("Last-Event-ID"))
	c.out.WriteString("retry: 1000\n\n")
	ticker := time.NewTicker(s.options.Every)
	defer ticker.Stop()
	tick := true
	for {
		wake := c.collect(tick)
		if !c.flush() {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-wake:
			tick = false
		case <-ticker.C:
			tick = true
		}
	}
}

func (s *Stream) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients >= s.options.Clients {
		return false
	}
	s.clients++
	return true
}

func (s *Stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients--
}

// A client is one connection, used by the goroutine that serves it.
type client struct {
	stream  *Stream
	w       http.ResponseWriter
	control *http.ResponseController
	out     bytes.Buffer      // to be written
	next    uint64            // id of the first message not yet read
	seen    map[string]uint64 // version of each state that was sent
	wrote   time.Time         // when something was written last
}

// resume sets next: after the message that the browser saw last, or, for a new
// browser, after all there are.
func (c *client) resume(lastEventID string) {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	c.next = s.lastID + 1
	epoch, number, ok := strings.Cut(lastEventID, "-")
	if !ok {
		return
	}
	id, err := strconv.ParseUint(number, 10, 64)
	switch {
	case err != nil:
	case epoch != s.epoch || id > s.lastID:
		c.gap() // an earlier run of this process
	default:
		c.next = id + 1
	}
}

// gap tells the client that messages are missing.
func (c *client) gap() { c.out.WriteString("event: gap\ndata: {}\n\n") }

// collect puts what is new into out, states only on a tick, and returns the
// channel that the next message closes.
func (c *client) collect(tick bool) <-chan struct{} {
	s := c.stream
	if tick {
		s.refresh()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) > 0 && c.next < s.messages[0].id {
		c.gap()
		c.next = s.messages[0].id
	}
	for _, m := range s.messages {
		if m.id >= c.next {
			c.out.Write(m.text)
			c.next = m.id + 1
		}
	}
	if tick {
		for _, name := range s.order {
			if st := s.states[name]; st.version != c.seen[name] {
				c.seen[name] = st.version
				fmt.Fprintf(&c.out, "event: %s\ndata: %s\n\n", name, st.data)
			}
		}
	}
	return s.wake
}

// refresh calls the samplers whose value is older than most of an interval.
func (s *Stream) refresh() {
	for name, sample := range s.due() {
		s.call(name, sample)
	}
}

func (s *Stream) call(name string, sample func() any) {
	defer func() { // even if sample panics: the next client may have more luck
		s.mu.Lock()
		defer s.mu.Unlock()
		s.states[name].busy = false
	}()
	s.Show(name, sample())
}

// due takes the samplers that it is time to call.
func (s *Stream) due() map[string]func() any {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	due := map[string]func() any{}
	for name, st := range s.states {
		if st.sample != nil && !st.busy && now.Sub(st.taken) >= s.options.Every*9/10 {
			st.taken, st.busy = now, true
			due[name] = st.sample
		}
	}
	return due
}

// flush writes out, or a heartbeat if it is time for one, and reports whether
// the client still takes it.
func (c *client) flush() bool {
	o := c.stream.options
	if c.out.Len() == 0 {
		if time.Since(c.wrote) < o.Heartbeat {
			return true
		}
		c.out.WriteString(": still here\n\n")
	}
	_ = c.control.SetWriteDeadline(time.Now().Add(o.Stuck))
	if _, err := c.w.Write(c.out.Bytes()); err != nil {
		return false
	}
	if err := c.control.Flush(); err != nil {
		return false
	}
	c.out.Reset()
	if c.out.Cap() > 1<<20 {
		c.out = bytes.Buffer{} // one large burst is not kept for the hour that the page stays open
	}
	c.wrote = time.Now()
	return true
}
