// Package kvcluster is a replicated key-value store that speaks the Redis protocol:
// several nodes, each with its share of the data, any of which answers for all. README.md is its
// design.
package kvcluster

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/crowd"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

//go:embed README.md
var readme string

var info = system.Info{
	Name:   "kvcluster",
	Title:  "Key-value cluster",
	What:   "A store on several nodes that goes on when some of them fail, and says what it could not do.",
	Kind:   system.Storage,
	Hue:    155,
	Blocks: []string{"kvstore", "consistenthash", "commitlog", "tinylfu"},
	Words:  []string{"redis", "dynamo", "quorum", "partition", "replication", "gossip", "hinted handoff", "merkle", "vector clock", "siblings"},
}

// Config are the settings of a cluster.
type Config struct {
	Env         system.Env
	Nodes       int
	Redis       string // address of the first node's Redis protocol; the others have the next ports
	Replicas    int
	Consistency string
	Conflicts   string // siblings, lww or consensus
	Strict      bool   // only owners count
	Memory      bool
	Timeout     time.Duration
	Password    string
	MaxClients  int
	MaxCommand  int
	Budget      int    // bytes for large values of a node; 0: a default
	CacheBytes  int    // of each node's read cache
	Engine      string // URL of a Redis server to keep the data; empty for a store of our own

	// One node in this process, others elsewhere.
	Node   string
	Listen string
	Join   string
}

func (c *Config) flags(f *flag.FlagSet) {
	f.IntVar(&c.Nodes, "nodes", 5, "nodes in this process")
	f.StringVar(&c.Redis, "redis", "127.0.0.1:7001", "address of the first node's Redis protocol; the others have the next ports")
	f.IntVar(&c.Replicas, "replicas", 3, "owners of each key, N")
	f.StringVar(&c.Consistency, "consistency", "quorum", "with which connections begin: "+strings.Join(levelNames, ", "))
	f.StringVar(&c.Conflicts, "conflicts", "siblings", "what becomes of concurrent writes: siblings keeps all, lww the latest, and with consensus there are none")
	f.BoolVar(&c.Strict, "strict", false, "let only owners of a key answer for it, nobody in their place")
	f.BoolVar(&c.Memory, "memory", false, "keep nothing on disk")
	f.DurationVar(&c.Timeout, "timeout", time.Second, "for an operation")
	f.StringVar(&c.Password, "requirepass", "", "password that clients must give with AUTH")
	f.IntVar(&c.MaxClients, "max-clients", 10000, "most connections to a node at a time")
	f.IntVar(&c.MaxCommand, "max-command", 32<<20, "most bytes in one command")
	f.IntVar(&c.Budget, "budget", 0, "most bytes that a node holds for large values of clients and other nodes at a time; 0 for 384 MiB, or as many as the largest command needs")
	f.StringVar(&c.Engine, "engine", "", "keep the data at a Redis server, such as redis://127.0.0.1:6379/0")
	f.IntVar(&c.CacheBytes, "cache", 8<<20, "bytes of each node's read cache")
	f.StringVar(&c.Node, "node", "", "run one node of this name, others being processes of their own")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:0", "with -node, address for other nodes")
	f.StringVar(&c.Join, "join", "", "with -node, addresses of other nodes, separated by commas; none for the first")
}

// policies are what -conflicts knows.
var policies = map[string]replica.Policy{"siblings": replica.Siblings, "lww": replica.LastWriterWins, "consensus": replica.Consensus}

// settings checks the configuration.
func (c *Config) settings() (Settings, error) {
	level, ok := namedLevel(c.Consistency, c.Replicas)
	policy, known := policies[c.Conflicts]
	switch {
	case c.Nodes < 1 || c.Nodes > 64:
		return Settings{}, fmt.Errorf("-nodes: %d is not from 1 to 64", c.Nodes)
	case c.Replicas < 1 || c.Replicas > 16:
		return Settings{}, fmt.Errorf("-replicas: %d is not from 1 to 16", c.Replicas)
	case !ok:
		return Settings{}, fmt.Errorf("-consistency: %q is none of %s", c.Consistency, strings.Join(levelNames, ", "))
	case !known:
		return Settings{}, fmt.Errorf("-conflicts: %q is none of siblings, lww, consensus", c.Conflicts)
	case c.Timeout < 10*time.Millisecond:
		return Settings{}, fmt.Errorf("-timeout: %v is less than 10ms", c.Timeout)
	case c.MaxClients < 1:
		return Settings{}, fmt.Errorf("-max-clients: %d is not positive", c.MaxClients)
	case c.MaxCommand < 1<<10 || c.MaxCommand > 48<<20:
		return Settings{}, fmt.Errorf("-max-command: %d is not from 1 KiB to 48 MiB, which is what nodes send each other", c.MaxCommand)
	case c.Engine != "" && c.Memory:
		return Settings{}, errors.New("-engine and -memory exclude each other")
	case c.Join != "" && c.Node == "":
		return Settings{}, errors.New("-join is for one node: give it a name with -node")
	}
	s := Settings{
		Cluster: "ashlar", N: c.Replicas, Level: level, Policy: policy, Sloppy: !c.Strict && policy != replica.Consensus, Timeout: c.Timeout, Patience: c.Timeout / 4, Grace: 24 * time.Hour, Memory: c.Memory,
		Timing: defaultTiming, Handoff: 300 * time.Millisecond, Mend: 2 * time.Second, Sweep: 5 * time.Second,
		Limits: resp.Limits{Args: 1 << 20, Inline: 16<<10 - 1, Command: int64(c.MaxCommand), InFlight: 2 * int64(c.MaxCommand)},
		Budget: int64(c.Budget), MaxClients: c.MaxClients, Password: c.Password,
	}
	if least := s.leastBudget(); c.Budget != 0 && s.Budget < least {
		return Settings{}, fmt.Errorf("-budget: %d is less than %d, what the largest command takes with -max-command %d and -replicas %d", c.Budget, least, c.MaxCommand, c.Replicas)
	}
	return s, nil
}

// Define describes the system to the launcher.
func Define() system.Definition {
	var c Config
	return system.Definition{
		Info:   info,
		Flags:  c.flags,
		README: readme,
		New: func(ctx context.Context, env system.Env) (system.System, error) {
			config := c
			config.Env = env
			return New(ctx, config)
		},
	}
}

// A System is a running cluster, or one node of one.
type System struct {
	config  Config
	cluster *Cluster
	live    *sse.Stream
	crowd   *crowd.Crowd
	load    *load
	cancel  context.CancelFunc

	watching  sync.WaitGroup
	mu        sync.Mutex
	elsewhere map[string]Figures // what members in other processes say about themselves
	ring      uint64             // that the page's stream has seen last
	ringSince time.Time
}

// New starts the nodes. They answer clients when New returns.
func New(ctx context.Context, c Config) (*System, error) {
	settings, err := c.settings()
	if err != nil {
		return nil, err
	}
	s := &System{config: c}
	ctx, s.cancel = context.WithCancel(ctx)
	data := c.Env.Data
	if c.Memory && c.Node == "" {
		data = filepath.Join(data, "memory")
		if err := forget(data); err != nil {
			s.cancel()
			return nil, err
		}
	}
	s.cluster = newCluster(settings, data, engineFor(c.Engine, c.Memory, int64(c.CacheBytes), c.Env.Log), c.Env.Log)
	s.cluster.redis, s.cluster.moved = c.Redis, c.Env.Gallery
	s.cluster.latency = c.Env.Metrics.Histogram("kvcluster_command_seconds", "Time to run a command, without the client's network.", nil)
	names := make([]string, c.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	if c.Node != "" {
		names = []string{c.Node}
		s.cluster.peers = c.Listen
		s.cluster.join = slices.DeleteFunc(strings.Split(c.Join, ","), func(a string) bool { return a == "" })
	}
	if err := s.cluster.start(names); err != nil {
		s.cancel()
		return nil, err
	}
	if c.Node != "" {
		s.watching.Go(func() { s.watch(ctx) })
	}
	s.measure()
	s.live = sse.New(nil)
	s.live.Sample("live", func() any { return s.sample() })
	if c.Env.Load > 0 {
		s.load = newLoad(s.cluster, c.Password)
		s.crowd = crowd.Start(ctx, crowd.Options{Users: 16, Rate: 150 * c.Env.Load, Ramp: time.Second, Act: s.load.act})
	}
	return s, nil
}

// forget removes what nodes that keep nothing have noted of each other, since none of
// them has lost anything that another one counts on. Their backups stay.
func forget(dir string) error {
	var errs []error
	for _, name := range []string{membersFile, hintsDir} {
		paths, err := filepath.Glob(filepath.Join(dir, "*", name))
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// engineFor returns what opens the engine of a node: at a Redis server if there is a
// URL, else in memory or in the node's directory.
func engineFor(url string, memory bool, cacheBytes int64, log *slog.Logger) func(dir string) (Engine, error) {
	return func(dir string) (Engine, error) {
		switch {
		case url != "":
			return openRemote(url, filepath.Base(dir))
		case memory:
			return newMemory(), nil
		}
		return openDisk(dir, cacheBytes, log)
	}
}

// watch asks members in other processes how they are, until ctx ends.
func (s *System) watch(ctx context.Context) {
	for sleep(ctx, time.Second) == nil {
		for _, n := range s.cluster.running() {
			figures := map[string]Figures{}
			for m := range n.peers(n.roster.placement()) {
				asked, cancel := context.WithTimeout(ctx, time.Second)
				if f, err := n.askFigures(asked, m); err == nil {
					figures[m.Name] = f
				}
				cancel()
			}
			s.mu.Lock()
			s.elsewhere = figures
			s.mu.Unlock()
		}
	}
}

// measure registers what /metrics and the plots show.
func (s *System) measure() {
	m := s.config.Env.Metrics
	sum := func(of func(*Node) uint64) func() float64 {
		return func() float64 {
			total := 0.0
			for _, n := range s.cluster.running() {
				total += float64(of(n))
			}
			return total
		}
	}
	count := func(name, help string, of func(*counts) *atomic.Uint64) {
		m.CounterFunc(name, help, func() float64 { return float64(s.cluster.total(of)) })
	}
	count("kvcluster_commands_total", "Commands.", func(c *counts) *atomic.Uint64 { return &c.commands })
	count("kvcluster_no_quorum_total", "Operations for which too few nodes answered.", func(c *counts) *atomic.Uint64 { return &c.noQuorum })
	count("kvcluster_read_repairs_total", "Copies that a read brought up to date.", func(c *counts) *atomic.Uint64 { return &c.repaired })
	count("kvcluster_hinted_total", "Hints taken for nodes that were away.", func(c *counts) *atomic.Uint64 { return &c.hinted })
	count("kvcluster_handed_total", "Hints handed over.", func(c *counts) *atomic.Uint64 { return &c.handed })
	count("kvcluster_mended_total", "Objects that anti-entropy brought up to date.", func(c *counts) *atomic.Uint64 { return &c.mended })
	m.GaugeFunc("kvcluster_objects", "Objects at all nodes of this process, each copy counted.", sum(func(n *Node) uint64 { return uint64(n.store.keys.Load()) }))
	m.GaugeFunc("kvcluster_budget_bytes", "Bytes that all nodes of this process hold for large values, of clients and of other nodes.", sum(func(n *Node) uint64 { return uint64(n.forClients.Used() + n.forPeers.Used()) }))
	m.GaugeFunc("kvcluster_budget_waiting", "Commands and requests that wait for memory.", sum(func(n *Node) uint64 { return uint64(n.forClients.Waiting() + n.forPeers.Waiting()) }))
	m.GaugeFunc("kvcluster_hints_waiting", "Hints that wait for nodes that are away.", sum(func(n *Node) uint64 { hints, _ := n.mend.waiting(); return uint64(hints) }))
	m.GaugeFunc("kvcluster_differences", "Parts of the key space in which nodes were found to differ.", sum(func(n *Node) uint64 { return uint64(n.mend.differing()) }))
}

// Endpoints implements [system.Endpointer].
func (s *System) Endpoints() []system.Endpoint {
	var list []system.Endpoint
	for _, h := range s.cluster.Hosts() {
		host, port := split(h.Redis)
		list = append(list, system.Endpoint{Protocol: "Redis, " + h.Name, Addr: h.Redis, Try: "redis-cli -h " + host + " -p " + port})
	}
	return list
}

// Check implements [system.Checker]: a cluster is healthy if some node runs.
func (s *System) Check(context.Context) error {
	if len(s.cluster.running()) == 0 {
		return errors.New("no node runs; revive one")
	}
	return nil
}

// Handler serves the page.
func (s *System) Handler() http.Handler { return s.pages() }

// Close ends the crowd and the nodes.
func (s *System) Close() error {
	s.cancel()
	s.watching.Wait()
	if s.crowd != nil {
		s.crowd.Close()
		s.load.close()
	}
	return s.cluster.close()
}
