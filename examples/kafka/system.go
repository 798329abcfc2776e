// Package kafka is a broker that speaks the Kafka protocol: partitioned,
// replicated logs on disk which producers append to and consumers read at
// their own pace. README.md is its design.
package kafka

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

//go:embed README.md
var readme string

var info = system.Info{
	Name:   "kafka",
	Title:  "Message log",
	What:   "Brokers that speak the Kafka protocol: producers append to partitioned, replicated logs, and consumers read them at their own pace.",
	Kind:   system.Messaging,
	Hue:    285,
	Blocks: []string{"commitlog"},
	Words:  []string{"kafka", "broker", "topic", "partition", "consumer group", "queue", "streaming", "pub/sub", "mirror"},
}

// Config are the settings of a cluster, or of one of its brokers.
type Config struct {
	Env        system.Env
	Addr       string // of the first broker; the others take the ports behind it
	Brokers    int    // in this process
	Sync       string // each or interval
	Partitions int    // of a topic that says nothing itself
	Replicas   int
	Create     bool // topics that are asked for
	MaxConns   int
	MaxRequest int // bytes
	MaxMemory  int // bytes, of requests and responses
	Idle       time.Duration
	Retain     time.Duration // between two looks at what is too old
	ID         int           // of the only broker in this process
	Peers      string        // the controllers of a cluster of several processes, as 1=host:port,2=…
	Session    time.Duration // a broker that is silent for so long is taken for dead; default 2 s
}

func (c *Config) flags(f *flag.FlagSet) {
	f.StringVar(&c.Addr, "kafka", "127.0.0.1:9092", "address of the first broker; the others take the ports behind it")
	f.IntVar(&c.Brokers, "brokers", 3, "brokers in this process")
	f.IntVar(&c.ID, "id", 1, "with -peers, the number of the broker in this process")
	f.StringVar(&c.Peers, "peers", "", "controllers of a cluster of one process each, as `1=host:port,2=host:port`")
	f.DurationVar(&c.Session, "session", defaultSession, "how long a broker may be silent before another leads its partitions")
	f.StringVar(&c.Sync, "sync", string(syncEach), "when the disk has what is acknowledged: each (before) or interval (within a second)")
	f.IntVar(&c.Partitions, "partitions", 3, "partitions of a topic that does not say how many")
	f.IntVar(&c.Replicas, "replicas", 3, "replicas of a topic that does not say how many, or as many as there are brokers")
	f.BoolVar(&c.Create, "auto-create", true, "create topics that are asked for")
	f.IntVar(&c.MaxConns, "max-conns", defaultLimits.conns, "most connections of a broker at a time")
	f.IntVar(&c.MaxRequest, "max-request", defaultLimits.request, "most `bytes` of a request")
	f.IntVar(&c.MaxMemory, "max-memory", int(defaultLimits.inFlight), "most `bytes` of requests and responses that a broker holds")
	f.DurationVar(&c.Idle, "idle", defaultLimits.idle, "how long a connection may say nothing")
	f.DurationVar(&c.Retain, "retain", time.Minute, "time between two looks at what is too old or can be compacted")
}

// limits turns the flags into limits, or says what is wrong with them.
func (c *Config) limits() (limits, error) {
	l := defaultLimits
	l.conns, l.request, l.inFlight, l.idle = c.MaxConns, c.MaxRequest, int64(c.MaxMemory), c.Idle
	switch {
	case !slices.Contains(syncModes, syncMode(c.Sync)):
		return l, fmt.Errorf("-sync: %q is neither each nor interval", c.Sync)
	case c.Session != 0 && c.Session < 100*time.Millisecond:
		return l, fmt.Errorf("-session: %v is less than 100ms", c.Session)
	case c.Brokers < 1 || c.Brokers > 9:
		return l, fmt.Errorf("-brokers: %d is not from 1 to 9", c.Brokers)
	case c.Partitions < 1 || c.Replicas < 1 || c.MaxConns < 1 || c.Idle <= 0 || c.Retain <= 0:
		return l, errors.New("-partitions, -replicas, -max-conns, -idle and -retain must be positive")
	case c.MaxRequest < 1<<10 || c.MaxMemory < c.MaxRequest || c.MaxMemory < parsedFactor<<20:
		return l, fmt.Errorf("-max-request must be at least 1024, -max-memory at least that and %d", parsedFactor<<20)
	}
	l.fetch = min(l.fetch, c.MaxMemory/4)
	return l, nil
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

// A System is a running cluster. A System is safe for concurrent use by
// multiple goroutines.
type System struct {
	config Config
	limits limits
	nodes  []*node
	live   *sse.Stream

	counters counters
	latency  *latency
	desk     *desk
	load     *load // nil without a crowd
	flooding atomic.Bool
	tasks    sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
	book     *addressBook // nil with one broker
	fabric   *fabric      // nil with one broker in this process
}

// New starts the brokers. They answer clients when New returns.
func New(ctx context.Context, c Config) (*System, error) {
	l, err := c.limits()
	if err != nil {
		return nil, err
	}
	s := &System{config: c, limits: l}
	ctx, s.cancel = context.WithCancel(ctx)
	s.ctx = ctx
	if err := s.place(); err != nil {
		s.cancel()
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.desk, err = newDesk(s.Addrs()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.measure()
	if c.Env.Load > 0 {
		if s.load, err = startLoad(ctx, s.Addrs(), loadRate*c.Env.Load, s.latency, c.Env.Log); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.tasks.Go(func() { s.turn(ctx) })
	s.live = sse.New(nil)
	s.live.Sample("live", func() any { return s.sample() })
	return s, nil
}

// brokers lists those that run.
func (s *System) brokers() []*broker {
	var list []*broker
	for _, n := range s.nodes {
		n.mu.Lock()
		if n.broker != nil {
			list = append(list, n.broker)
		}
		n.mu.Unlock()
	}
	return list
}

// measure registers what /metrics and the plots show.
func (s *System) measure() {
	m := s.config.Env.Metrics
	s.latency = newLatency(m)
	count := func(name, help string, n *atomic.Uint64, labels ...string) {
		m.CounterFunc(name, help, func() float64 { return float64(n.Load()) }, labels...)
	}
	count("kafka_records_in_total", "Records that producers wrote.", &s.counters.in.records)
	count("kafka_records_out_total", "Records that consumers read.", &s.counters.out.records)
	count("kafka_bytes_in_total", "Bytes of batches that producers wrote.", &s.counters.in.bytes)
	count("kafka_bytes_out_total", "Bytes of batches that consumers read.", &s.counters.out.bytes)
	count("kafka_batches_in_total", "Batches that producers wrote.", &s.counters.in.batches)
	count("kafka_sent_bytes_total", "Bytes of responses.", &s.counters.sent)
	count("kafka_connections_refused_total", "Connections beyond the limit.", &s.counters.refused)
	count("kafka_connections_broken_total", "Connections closed for what they sent.", &s.counters.broken)
	for key, name := range map[int]string{keyProduce: "Produce", keyFetch: "Fetch", 3: "Metadata", 8: "OffsetCommit", 12: "Heartbeat"} {
		count("kafka_requests_total", "Requests answered.", &s.counters.requests[key], "api", name)
	}
	m.GaugeFunc("kafka_connections", "Connections of clients.", func() float64 { return float64(s.connections()) })
	m.GaugeFunc("kafka_memory_bytes", "Bytes of requests and responses held.", func() float64 {
		sum := int64(0)
		for _, b := range s.brokers() {
			sum += b.budget.used()
		}
		return float64(sum)
	})
	m.GaugeFunc("kafka_partitions", "Replicas of partitions on the brokers of this process.", func() float64 {
		n := 0
		for _, b := range s.brokers() {
			n += len(b.all())
		}
		return float64(n)
	})
	m.GaugeFunc("kafka_lag_records", "Records that consumer groups have before them.", func() float64 { return float64(s.desk.lag()) })
}

// Glance implements [system.Glancer]: the records of the last second.
func (s *System) Glance() system.Glance {
	return system.Glance{Label: "records in", Value: newest(s.config.Env.Metrics.Series("kafka_records_in_total")), Unit: "/s"}
}

// Addrs are where the brokers speak the Kafka protocol.
func (s *System) Addrs() []string {
	var list []string
	for _, n := range s.nodes {
		n.mu.Lock()
		list = append(list, n.addr)
		n.mu.Unlock()
	}
	return list
}

// Endpoints implements [system.Endpointer].
func (s *System) Endpoints() []system.Endpoint {
	addrs := strings.Join(s.Addrs(), ",")
	return []system.Endpoint{{Protocol: "Kafka", Addr: addrs, Try: "kcat -L -b " + addrs}}
}

// Check implements [system.Checker].
func (s *System) Check(context.Context) error {
	for _, b := range s.brokers() {
		if err := b.check(); err != nil {
			return err
		}
	}
	return nil
}

// Handler serves the page.
func (s *System) Handler() http.Handler { return s.pages() }

// Close ends the crowd and the brokers. What they acknowledged is on disk.
func (s *System) Close() error {
	s.cancel()
	if s.load != nil {
		s.load.close()
	}
	s.tasks.Wait()
	if s.desk != nil {
		s.desk.client.Close()
	}
	var err error
	for _, n := range s.nodes {
		n.mu.Lock()
		b := n.broker
		n.broker = nil
		n.mu.Unlock()
		if b != nil {
			err = errors.Join(err, b.close(), b.control.Close())
		}
	}
	return err
}
