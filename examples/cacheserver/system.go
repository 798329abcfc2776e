// Package cacheserver is a cache server that speaks the Redis protocol: one
// node with a choice of eviction policies, a bound in entries or bytes, and
// behind it a mutation log and a store on disk. README.md is its design.
package cacheserver

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/examples/cacheserver/lab"
	"github.com/ashlar-go/ashlar/examples/internal/crowd"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed README.md
var readme string

var info = system.Info{
	Name:   "cacheserver",
	Title:  "Cache server",
	What:   "A cache that speaks the Redis protocol, with an eviction policy that you can change while it works.",
	Kind:   system.Storage,
	Hue:    200,
	Blocks: []string{"cache", "lru", "lfu", "tinylfu"},
	Nav:    []system.Link{{Path: "lab/", Text: "Policy lab"}},
	Words:  []string{"redis", "memcached", "eviction", "lab", "trace", "write-behind"},
}

// Config are the settings of a server.
type Config struct {
	Env        system.Env
	Addr       string // of the Redis protocol
	Policy     string // tinylfu, lru, lfu or random
	MaxEntries int    // bound in entries; 0 means MaxBytes
	MaxBytes   string // bound in bytes, such as 64mb
	Memory     bool   // no log and no store: what is evicted is gone
	Sync       string // always, interval or no
	StoreDelay time.Duration
	Password   string
	MaxClients int
	MaxCommand string // bytes of one command
}

func (c *Config) flags(f *flag.FlagSet) {
	f.StringVar(&c.Addr, "redis", "127.0.0.1:6380", "address of the Redis protocol")
	f.StringVar(&c.Policy, "policy", "tinylfu", "what to evict: tinylfu, lru, lfu or random")
	f.IntVar(&c.MaxEntries, "max-entries", 0, "most entries held; 0 leaves the bound to -max-bytes")
	f.StringVar(&c.MaxBytes, "max-bytes", "8mb", "most memory for entries, such as 512mb")
	f.BoolVar(&c.Memory, "memory", false, "keep nothing on disk: what is evicted is gone")
	f.StringVar(&c.Sync, "sync", string(syncInterval), "when the log is forced to disk: always, interval (each second) or no")
	f.DurationVar(&c.StoreDelay, "store-delay", 0, "make each read of the store take this long")
	f.StringVar(&c.Password, "requirepass", "", "password that clients must give with AUTH")
	f.IntVar(&c.MaxClients, "max-clients", 10000, "most connections at a time")
	f.StringVar(&c.MaxCommand, "max-command", "32mb", "most bytes in one command")
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
		Commands: subcommands(),
	}
}

// A System is a running cache server.
type System struct {
	config Config
	server *server
	live   *sse.Stream
	crowd  *crowd.Crowd
	load   *load
	lab    *lab.Handler
	cancel context.CancelFunc
	faded  chan struct{}
}

// New starts a server. It answers clients when New returns.
func New(ctx context.Context, c Config) (*System, error) {
	bytes, err := parseBytes(c.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("-max-bytes: %w", err)
	}
	largest, err := parseBytes(c.MaxCommand)
	if err != nil || largest == 0 {
		return nil, fmt.Errorf("-max-command: argument must be a memory value, not %q", c.MaxCommand)
	}
	switch {
	case c.MaxEntries < 0:
		return nil, fmt.Errorf("-max-entries: %d is negative", c.MaxEntries)
	case c.MaxEntries > 0:
		bytes = 0
	case bytes == 0:
		return nil, errors.New("-max-bytes: a cache needs a bound")
	case c.MaxClients < 1:
		return nil, fmt.Errorf("-max-clients: %d is not positive", c.MaxClients)
	}
	keys, err := newKeyspace(c.Policy, c.MaxEntries, bytes)
	if err != nil {
		return nil, fmt.Errorf("-policy: %w", err)
	}
	s := &System{config: c, faded: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	if !c.Memory {
		opts := &cache.WriteBehindOptions{Logger: c.Env.Log, Delay: 10 * time.Millisecond, RetryMin: 50 * time.Millisecond, RetryMax: 2 * time.Second}
		if err := keys.open(ctx, c.Env.Data, syncMode(c.Sync), c.StoreDelay, opts); err != nil {
			s.cancel()
			return nil, err
		}
	}
	s.server = &server{
		keys: keys, log: c.Env.Log, maxConns: c.MaxClients, started: time.Now(), hot: newHotKeys(),
		limits: resp.Limits{Args: 1 << 20, Inline: 16<<10 - 1, Command: int64(largest), InFlight: 4 * int64(largest)},
		// A stop ends the connections first: what they are doing may finish.
		ctx:     context.WithoutCancel(ctx),
		latency: c.Env.Metrics.Histogram("cacheserver_command_seconds", "Time to run a command, without the network.", nil),
	}
	listen, err := web.Listen(ctx, c.Addr, c.Env.Gallery)
	if err != nil {
		s.cancel()
		keys.close(context.Background())
		return nil, err
	}
	s.server.Server = resp.Serve(listen, resp.Options{
		Limits: s.server.limits, MaxClients: c.MaxClients, Password: c.Password, Log: c.Env.Log,
		Open: func(conn *resp.Conn) resp.Session { return &client{Conn: conn, server: s.server} },
	})
	s.measure()
	s.lab = lab.NewHandler(info, c.Env.Log)
	s.live = sse.New(nil)
	s.live.Sample("live", func() any { return s.sample() })
	if c.Env.Load > 0 {
		s.load = newLoad(s.server.Addr().String(), c.Password)
		s.crowd = crowd.Start(ctx, crowd.Options{Users: 16, Rate: 3000 * c.Env.Load, Ramp: time.Second, Act: s.load.act})
	}
	go s.fade(ctx)
	return s, nil
}

// fade lets the hot keys of long ago make room.
func (s *System) fade(ctx context.Context) {
	defer close(s.faded)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.server.hot.fade()
		case <-ctx.Done():
			return
		}
	}
}

// measure registers what /metrics and the plots show.
func (s *System) measure() {
	m, k := s.config.Env.Metrics, s.server.keys
	count := func(name, help string, f func() uint64, labels ...string) {
		m.CounterFunc(name, help, func() float64 { return float64(f()) }, labels...)
	}
	count("cacheserver_commands_total", "Commands.", s.server.commands.Load)
	count("cacheserver_hits_total", "Reads that the cache answered.", func() uint64 { return k.stats().Hits })
	count("cacheserver_misses_total", "Reads that it did not.", func() uint64 { return k.stats().Misses })
	for reason := range cache.Rejected + 1 {
		count("cacheserver_removals_total", "Values that left the cache.", k.removals[reason].Load, "reason", reason.String())
	}
	m.GaugeFunc("cacheserver_entries", "Entries held.", func() float64 { return float64(k.cache().Len()) })
	m.GaugeFunc("cacheserver_used", "Cost of the entries held: bytes, or entries with -max-entries.", func() float64 { return float64(k.cache().Cost()) })
	m.GaugeFunc("cacheserver_capacity", "What the cache may hold.", func() float64 { return float64(k.cache().Capacity()) })
	m.GaugeFunc("cacheserver_clients", "Connections.", func() float64 { return float64(s.server.Stats().Clients) })
	if k.behind != nil {
		m.GaugeFunc("cacheserver_pending", "Mutations that are in the log and not in the store yet.", func() float64 { return float64(k.behind.Stats().Pending) })
		count("cacheserver_store_reads_total", "Reads of the store.", func() uint64 { return k.behind.Stats().StoreReads })
		count("cacheserver_log_appends_total", "Writes to the log, each for all clients that waited.", func() uint64 { return k.behind.Stats().Appends })
	}
}

// Addr is where the server speaks the Redis protocol.
func (s *System) Addr() string { return s.server.Addr().String() }

// Endpoints implements [system.Endpointer].
func (s *System) Endpoints() []system.Endpoint {
	host, port := split(s.Addr())
	return []system.Endpoint{{Protocol: "Redis (RESP2 and RESP3)", Addr: s.Addr(), Try: "redis-cli -h " + host + " -p " + port}}
}

// Glance implements [system.Glancer]: the hit ratio of the last seconds.
func (s *System) Glance() system.Glance {
	return system.Glance{Label: "hit ratio", Value: 100 * s.recentRatio(5), Unit: "%"}
}

// Check implements [system.Checker].
func (s *System) Check(context.Context) error {
	if s.server.keys.behind == nil {
		return nil
	}
	if err := s.server.keys.log.err(); err != nil {
		return err
	}
	return s.server.keys.behind.Err()
}

// Handler serves the page.
func (s *System) Handler() http.Handler { return s.pages() }

// Close ends the crowd and the connections and brings everything to the store.
func (s *System) Close() error {
	s.cancel()
	if s.crowd != nil {
		s.crowd.Close()
		s.load.close()
	}
	s.lab.Close()
	s.server.Close()
	<-s.faded
	s.server.keys.heal()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.server.keys.close(ctx)
}
