package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
)

// State is what has been done to a node of this process.
type State string

// The states of a node.
const (
	Running State = "running"
	Paused  State = "paused" // as by a stop signal: it will go on where it was
	Killed  State = "killed" // as by kill -9: what it had in memory is gone
	Gone    State = "left"   // it has given away what it owned
)

// A Cluster is the nodes of this process and the network between them. Create one
// with newCluster. A Cluster is safe for concurrent use by multiple goroutines.
type Cluster struct {
	settings Settings
	dir      string
	engine   func(dir string) (Engine, error)
	log      *slog.Logger
	latency  *metrics.Histogram
	redis    string // address of the first node for clients; the others follow
	peers    string // address for other nodes; port 0 for any
	moved    bool   // take other ports if those are in use
	join     []string
	Network  *peer.Network

	mu    sync.Mutex
	hosts []*host // in the order in which they came
	past  counts  // of nodes that have ended
}

// A host is where a node runs, or could.
type host struct {
	name  string
	dir   string
	redis string // once it has had one
	addr  string
	state State
	node  *Node // nil while it is killed or gone

	mu sync.Mutex // of kill and revive
}

func newCluster(s Settings, dir string, engine func(string) (Engine, error), log *slog.Logger) *Cluster {
	return &Cluster{settings: s, dir: dir, engine: engine, log: log, redis: "127.0.0.1:0", peers: "127.0.0.1:0", Network: &peer.Network{}}
}

// start starts the first nodes. Where there are data of earlier nodes, those that
// have none join as new ones.
func (c *Cluster) start(names []string) error {
	known := false
	for _, name := range names {
		_, err := os.Stat(filepath.Join(c.dir, name, membersFile))
		known = known || err == nil
	}
	for _, name := range names {
		status := Up
		if known || len(c.join) > 0 {
			status = Joining
		}
		if err := c.add(name, status); err != nil {
			return errors.Join(err, c.close())
		}
	}
	return nil
}

// membersFile has what a node knew of the members last, so that one that starts
// does not take itself for the only one.
const membersFile = "members.json"

// lastMembers returns what the node of a directory knew.
func lastMembers(dir string) ([]Member, error) {
	text, err := os.ReadFile(filepath.Join(dir, membersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	members, err := decodeMembers(text)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, filepath.Join(dir, membersFile))
	}
	return members, nil
}

// add starts a node that this process has not had yet.
func (c *Cluster) add(name string, status Status) error {
	if !validNode.MatchString(name) {
		return fmt.Errorf("kvcluster: %q is no name for a node: want letters in lower case, digits, dots and dashes, at most 63", name)
	}
	c.mu.Lock()
	if slices.ContainsFunc(c.hosts, func(h *host) bool { return h.name == name }) {
		c.mu.Unlock()
		return fmt.Errorf("kvcluster: there is a node %q already", name)
	}
	h := &host{name: name, dir: filepath.Join(c.dir, name), state: Killed, addr: c.peers}
	h.redis = shifted(c.redis, len(c.hosts))
	c.hosts = append(c.hosts, h)
	c.mu.Unlock()
	err := c.startHost(h, status)
	if err != nil {
		c.mu.Lock()
		c.hosts = slices.DeleteFunc(c.hosts, func(o *host) bool { return o == h })
		c.mu.Unlock()
	}
	return err
}

// shifted returns an address whose port is n higher, unless it is 0.
func shifted(addr string, n int) string {
	host, port, err := net.SplitHostPort(addr)
	if p, bad := strconv.Atoi(port); err == nil && bad == nil && p != 0 {
		return net.JoinHostPort(host, strconv.Itoa(p+n))
	}
	return addr
}

// startHost starts the node of a host.
func (c *Cluster) startHost(h *host, status Status) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.node(h) != nil {
		return fmt.Errorf("kvcluster: %s runs already", h.name)
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	members, err := lastMembers(h.dir)
	if err != nil {
		return err
	}
	config := nodeConfig{
		Name: h.name, Dir: h.dir, Listen: h.addr, Redis: h.redis, Status: status, Network: c.Network, Settings: c.settings,
		Engine: c.engine, Log: c.log, Latency: c.latency, moved: c.moved, Join: slices.Clone(c.join), Member: members,
	}
	for _, other := range c.running() {
		if other.config.Name != h.name {
			config.Join = append(config.Join, other.config.Name+"/"+other.endpoint.Addr())
			config.Member = slices.AppendSeq(config.Member, maps.Values(other.roster.placement().members))
		}
	}
	newest := Member{Status: status}
	for _, m := range config.Member {
		if m.Name == h.name && m.Version >= newest.Version {
			newest = m
		}
	}
	config.Status, config.returns = newest.Status, newest.Version > 0 && (newest.Status == Up || newest.Status == Leaving)
	if newest.Status == Left {
		config.Status = Joining // what it has may be old
	}
	if len(config.Join) > 0 && c.Network.Faulty() {
		config.Join = nil // it is found by those it can talk to
	}
	n, err := startNode(config)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.node, h.state, h.addr, h.redis = n, Running, n.endpoint.Addr(), n.server.Addr().String()
	return nil
}

func (c *Cluster) node(h *host) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.node
}

// host returns the host of that name, or an error.
func (c *Cluster) host(name string) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		if h.name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("kvcluster: there is no node %q in this process", name)
}

// running returns the nodes that are neither killed nor gone, paused ones with
// them.
func (c *Cluster) running() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nodes []*Node
	for _, h := range c.hosts {
		if h.node != nil {
			nodes = append(nodes, h.node)
		}
	}
	return nodes
}

// A Host is a node of this process as the page shows it.
type Host struct {
	Name  string
	Redis string
	State State
	Node  *Node // nil if it does not run
}

// Hosts returns the nodes of this process.
func (c *Cluster) Hosts() []Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Host, len(c.hosts))
	for i, h := range c.hosts {
		list[i] = Host{h.name, h.redis, h.state, h.node}
	}
	return list
}

// Kill ends a node as a crash does.
func (c *Cluster) Kill(name string) error {
	h, err := c.host(name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.mu.Lock()
	n := h.node
	if n != nil {
		h.node, h.state = nil, Killed
		c.retire(n)
	}
	c.mu.Unlock()
	if n == nil {
		return fmt.Errorf("kvcluster: %s does not run", name)
	}
	return n.kill()
}

// retire keeps what a node has counted, and nothing else of it. c.mu is held.
func (c *Cluster) retire(n *Node) {
	for i, past := range c.past.all() {
		past.Add(n.counts.all()[i].Load())
	}
}

// total adds up what all nodes have counted, those that have ended with them.
func (c *Cluster) total(of func(*counts) *atomic.Uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := of(&c.past).Load()
	for _, h := range c.hosts {
		if h.node != nil {
			sum += of(&h.node.counts).Load()
		}
	}
	return sum
}

// Revive starts a node again that was killed or has left.
func (c *Cluster) Revive(name string) error {
	h, err := c.host(name)
	if err != nil {
		return err
	}
	return c.startHost(h, Up)
}

// Wipe removes what a killed node has kept, as if it had got another disk.
func (c *Cluster) Wipe(name string) error {
	h, err := c.host(name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.node(h) != nil {
		return fmt.Errorf("kvcluster: %s runs; kill it first", name)
	}
	return os.RemoveAll(h.dir)
}

// Pause stops a node in its tracks, and Resume lets it go on.
func (c *Cluster) Pause(name string) error { return c.setPaused(name, true) }

// Resume ends a pause.
func (c *Cluster) Resume(name string) error { return c.setPaused(name, false) }

func (c *Cluster) setPaused(name string, paused bool) error {
	h, err := c.host(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case h.node == nil:
		return fmt.Errorf("kvcluster: %s does not run", name)
	case paused:
		h.node.endpoint.Pause()
		h.state = Paused
	default:
		h.node.endpoint.Resume()
		h.state = Running
	}
	return nil
}

// Add starts another node, which joins and gets its share of the keys.
func (c *Cluster) Add(name string) error { return c.add(name, Joining) }

// Leave makes a node give away what it owns and then ends it.
func (c *Cluster) Leave(ctx context.Context, name string) error {
	h, err := c.host(name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := c.node(h)
	if n == nil {
		return fmt.Errorf("kvcluster: %s does not run", name)
	}
	if err := n.move.leave(ctx, name); err != nil {
		return err
	}
	c.mu.Lock()
	h.node, h.state = nil, Gone
	c.retire(n)
	c.mu.Unlock()
	return n.Close()
}

// Slow delays all messages to and from a node; 0 ends that.
func (c *Cluster) Slow(name string, by time.Duration) {
	for _, h := range c.Hosts() {
		if h.Name != name {
			for _, pair := range [][2]string{{name, h.Name}, {h.Name, name}} {
				rule := c.Network.Rule(pair[0], pair[1])
				rule.Delay = by
				c.Network.Set(pair[0], pair[1], rule)
			}
		}
	}
}

// settled reports whether all running nodes see each other and agree about the ring, and
// nobody joins or leaves.
func (c *Cluster) settled() bool {
	nodes := c.running()
	var ring uint64
	for i, n := range nodes {
		p := n.roster.placement()
		if i == 0 {
			ring = p.ring.Fingerprint()
		}
		if p.moving() || p.ring.Fingerprint() != ring {
			return false
		}
		for _, other := range nodes {
			if !n.gossip.isAlive(other.config.Name) {
				return false
			}
		}
	}
	return true
}

// close ends all nodes in order.
func (c *Cluster) close() error {
	var errs []error
	var ending sync.WaitGroup
	var mu sync.Mutex
	c.Network.Heal()
	for _, n := range c.running() {
		ending.Go(func() {
			err := n.Close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	ending.Wait()
	return errors.Join(errs...)
}
