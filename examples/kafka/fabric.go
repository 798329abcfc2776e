package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A fabric is the network between the brokers of one process: its links can
// be cut, and brokers held as if their machines stood still. Brokers that are
// processes of their own have none; a nil fabric dials and listens as usual. A
// fabric is safe for concurrent use by multiple goroutines.
type fabric struct {
	mu    sync.Mutex
	cuts  map[[2]int32]bool
	held  map[int32]chan struct{} // closed when the broker goes on
	links map[*link]struct{}
}

func newFabric() *fabric {
	return &fabric{cuts: map[[2]int32]bool{}, held: map[int32]chan struct{}{}, links: map[*link]struct{}{}}
}

// outside is the end of a link that is no broker.
const outside = -1

// A link is one end of a connection: that of the broker that dialed, or of the
// one that accepted.
type link struct {
	net.Conn
	fabric   *fabric
	from, to int32
	owner    int32 // whose end it is, which stands still with it
	done     chan struct{}
	once     sync.Once
}

func pair(a, b int32) [2]int32 { return [2]int32{min(a, b), max(a, b)} }

var errCut = errors.New("kafka: the link is cut")

// dial connects a broker with another.
func (f *fabric) dial(ctx context.Context, from, to int32, addr string) (net.Conn, error) {
	var d net.Dialer
	if f == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	if f.isCut(from, to) {
		return nil, fmt.Errorf("dial broker %d: %w", to, errCut)
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return f.add(c, from, to, from)
}

func (f *fabric) isCut(a, b int32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cuts[pair(a, b)]
}

func (f *fabric) add(c net.Conn, from, to, owner int32) (net.Conn, error) {
	l := &link{Conn: c, fabric: f, from: from, to: to, owner: owner, done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cuts[pair(from, to)] {
		return nil, errors.Join(fmt.Errorf("dial broker %d: %w", to, errCut), c.Close())
	}
	f.links[l] = struct{}{}
	return l, nil
}

// listen lets what broker id accepts stand still with it.
func (f *fabric) listen(id int32, ln net.Listener) net.Listener {
	if f == nil {
		return ln
	}
	return &heldListener{ln, f, id}
}

type heldListener struct {
	net.Listener
	fabric *fabric
	id     int32
}

// Accept implements [net.Listener].
func (l *heldListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.fabric.add(c, outside, l.id, l.id)
}

// cut ends the connections between two brokers and lets none begin.
func (f *fabric) cut(a, b int32) {
	f.mu.Lock()
	f.cuts[pair(a, b)] = true
	var gone []*link
	for l := range f.links {
		if pair(l.from, l.to) == pair(a, b) {
			gone = append(gone, l)
		}
	}
	f.mu.Unlock()
	for _, l := range gone {
		l.Close()
	}
}

// heal mends all links.
func (f *fabric) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.cuts)
}

// pause holds a broker: it reads and sends nothing.
func (f *fabric) pause(id int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[id] == nil {
		f.held[id] = make(chan struct{})
	}
}

// resume lets a broker go on.
func (f *fabric) resume(id int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.held[id]; c != nil {
		close(c)
		delete(f.held, id)
	}
}

// wait returns once the broker whose end this is goes on, or the link is closed.
func (l *link) wait() {
	for {
		l.fabric.mu.Lock()
		c := l.fabric.held[l.owner]
		l.fabric.mu.Unlock()
		if c == nil {
			return
		}
		select {
		case <-c:
		case <-l.done:
			return
		}
	}
}

// Read implements [net.Conn].
func (l *link) Read(b []byte) (int, error) {
	l.wait()
	n, err := l.Conn.Read(b)
	l.wait() // what arrived meanwhile waits, too
	return n, err
}

// Write implements [net.Conn].
func (l *link) Write(b []byte) (int, error) {
	l.wait()
	return l.Conn.Write(b)
}

// Close implements [net.Conn].
func (l *link) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.fabric.mu.Lock()
		delete(l.fabric.links, l)
		l.fabric.mu.Unlock()
	})
	return l.Conn.Close()
}
