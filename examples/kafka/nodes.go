package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// A node is a place for a broker, which may be running or not.
type node struct {
	id   int32
	addr string // where it listens, also after it was away
	data string

	mu     sync.Mutex
	broker *broker // nil while it is away
}

// An addressBook says where the controllers of brokers listen. An addressBook
// is safe for concurrent use by multiple goroutines.
type addressBook struct {
	mu    sync.Mutex
	addrs map[int32]string
}

func newAddressBook(addrs map[int32]string) *addressBook { return &addressBook{addrs: addrs} }

func (a *addressBook) get(id int32) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr, ok := a.addrs[id]
	return addr, ok
}

func (a *addressBook) set(id int32, addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs[id] = addr
}

func (a *addressBook) ids() []int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.addrs))
}

// parsePeers reads "1=host:port,2=host:port".
func parsePeers(text string) (map[int32]string, error) {
	peers := map[int32]string{}
	for part := range strings.SplitSeq(text, ",") {
		id, addr, ok := strings.Cut(part, "=")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("-peers: %q is not like 1=host:port", part)
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("-peers: %w", err)
		}
		if _, twice := peers[int32(n)]; twice {
			return nil, fmt.Errorf("-peers: broker %d is named twice", n)
		}
		peers[int32(n)] = addr
	}
	return peers, nil
}

// place finds an address for each broker.
func (s *System) place() error {
	host, port, err := net.SplitHostPort(s.config.Addr)
	if err != nil {
		return fmt.Errorf("-kafka: %w", err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("-kafka: port %q is not a number", port)
	}
	if s.config.Peers != "" {
		peers, err := parsePeers(s.config.Peers)
		if err != nil {
			return err
		}
		id := int32(s.config.ID)
		if peers[id] == "" || s.config.Brokers != 1 {
			return fmt.Errorf("-peers: needs -brokers 1 and an -id that is in it, not %d", id)
		}
		s.book = newAddressBook(peers)
		s.nodes = []*node{{id: id, addr: s.config.Addr, data: filepath.Join(s.config.Env.Data, fmt.Sprint("broker", id))}}
		return nil
	}
	book := map[int32]string{}
	for i := range s.config.Brokers {
		n := &node{id: int32(i + 1), data: filepath.Join(s.config.Env.Data, fmt.Sprint("broker", i+1))}
		if n.addr = net.JoinHostPort(host, port); first > 0 {
			n.addr = net.JoinHostPort(host, strconv.Itoa(first+i))
		}
		s.nodes = append(s.nodes, n)
		book[n.id] = net.JoinHostPort("127.0.0.1", "0")
	}
	if s.config.Brokers > 1 {
		s.book, s.fabric = newAddressBook(book), newFabric()
	}
	return nil
}

// begin starts all brokers: first their controllers, since a broker registers
// with a majority of those.
func (s *System) begin(ctx context.Context) error {
	controls := make([]controller, len(s.nodes))
	for i, n := range s.nodes {
		var err error
		if controls[i], err = s.control(ctx, n); err != nil {
			for _, c := range controls[:i] {
				err = errors.Join(err, c.Close())
			}
			return err
		}
	}
	if err := firstElection(controls); err != nil {
		s.config.Env.Log.Warn("kafka: the first election has to wait", "error", err)
	}
	for i, n := range s.nodes {
		if err := s.start(ctx, n, controls[i]); err != nil {
			for _, c := range controls[i+1:] {
				err = errors.Join(err, c.Close())
			}
			return err
		}
	}
	return nil
}

// firstElection has the controller stand that has most of the log of commands:
// a later term counts for more than more entries, which may be of a leader that
// nobody followed.
func firstElection(controls []controller) error {
	var most *quorum
	for _, c := range controls {
		if q, ok := c.(*quorum); ok && (most == nil || q.lastEntry().compare(most.lastEntry()) > 0) {
			most = q
		}
	}
	if most == nil {
		return nil // one alone
	}
	return most.stand()
}

// control starts a node's part in agreeing with the others.
func (s *System) control(ctx context.Context, n *node) (controller, error) {
	other, what := "controller", "of a broker among several"
	if s.book != nil {
		other, what = imageFile, "of a broker that was alone"
	}
	if _, err := os.Stat(filepath.Join(n.data, other)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kafka: %s has the data %s, and does not fit to the number of brokers", n.data, what)
	}
	if s.book == nil {
		return openAlone(n.data, n.id)
	}
	addr, _ := s.book.get(n.id)
	ln, err := web.Listen(ctx, addr, s.fabric != nil)
	if err != nil {
		return nil, err
	}
	if s.fabric != nil { // where others connect to, we need to know it
		s.book.set(n.id, ln.Addr().String())
	}
	q, err := openQuorum(quorumConfig{
		ID: n.id, Book: s.book, Listener: s.fabric.listen(n.id, ln), Data: n.data, Fabric: s.fabric, Session: s.session(),
		Log: s.config.Env.Log.With("broker", n.id),
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return q, nil
}

func (s *System) session() time.Duration {
	if s.config.Session > 0 {
		return s.config.Session
	}
	return defaultSession
}

// start starts the broker of a node with its controller, which it closes if
// that fails.
func (s *System) start(ctx context.Context, n *node, control controller) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, err := web.Listen(ctx, n.addr, s.config.Env.Gallery)
	if err != nil {
		return errors.Join(err, control.Close())
	}
	n.addr = ln.Addr().String()
	host, _, _ := net.SplitHostPort(n.addr)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	b, err := newBroker(ctx, brokerConfig{
		ID: n.id, Listener: s.fabric.listen(n.id, ln), Host: host, Data: n.data, Sync: syncMode(s.config.Sync), Limits: s.limits,
		RetainEvery: s.config.Retain, Fabric: s.fabric,
		Defaults: topicDefaults{partitions: s.config.Partitions, replicas: s.config.Replicas, create: s.config.Create},
		Log:      s.config.Env.Log, Metrics: s.config.Env.Metrics, Counters: &s.counters, Control: control,
	})
	if err != nil {
		return errors.Join(err, control.Close())
	}
	n.broker = b
	return nil
}

func (s *System) node(id int32) *node {
	i := slices.IndexFunc(s.nodes, func(n *node) bool { return n.id == id })
	if i < 0 {
		return nil
	}
	return s.nodes[i]
}

// restart starts a broker that was stopped or killed.
func (s *System) restart(ctx context.Context, id int32) error {
	n := s.node(id)
	if n == nil {
		return fmt.Errorf("kafka: there is no broker %d", id)
	}
	n.mu.Lock()
	runs := n.broker != nil
	n.mu.Unlock()
	if runs {
		return nil
	}
	control, err := s.control(ctx, n)
	if err != nil {
		return err
	}
	return s.start(ctx, n, control)
}

// cutOff cuts the links of a broker to all others.
func (s *System) cutOff(id int32) {
	for _, n := range s.nodes {
		if n.id != id {
			s.fabric.cut(id, n.id)
		}
	}
}

// stop ends a broker after others have taken over what it leads.
func (s *System) stop(ctx context.Context, id int32) error { return s.end(ctx, id, true) }

// kill ends a broker in the midst of what it does.
func (s *System) kill(id int32) error { return s.end(context.Background(), id, false) }

func (s *System) end(ctx context.Context, id int32, gracefully bool) error {
	n := s.node(id)
	if n == nil {
		return fmt.Errorf("kafka: there is no broker %d", id)
	}
	n.mu.Lock()
	b := n.broker
	n.broker = nil
	n.mu.Unlock()
	if b == nil {
		return fmt.Errorf("kafka: broker %d is away already", id)
	}
	if s.fabric != nil {
		s.fabric.resume(id)
	}
	if !gracefully {
		return errors.Join(b.control.Close(), b.kill())
	}
	if len(s.nodes) > 1 || s.config.Peers != "" {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		_, _ = b.control.Propose(ctx, command{Fence: &fence{id}}) // else the others notice in a moment
		cancel()
	}
	return errors.Join(b.close(), b.control.Close())
}
