// Package logging collects the logs of many servers in one place, finds what
// is in them, and says when somebody should know. README.md is its design.
package logging

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/internal/crowd"
	"github.com/ashlar-go/ashlar/examples/internal/sse"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/logging/agent"
	"github.com/ashlar-go/ashlar/examples/logging/intake"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

//go:embed README.md
var readme string

var info = system.Info{
	Name:   "logging",
	Title:  "Logging system",
	What:   "The logs of many servers in one place: collected without losing a line, searched, watched by rules.",
	Kind:   system.Messaging,
	Hue:    45,
	Blocks: []string{"commitlog", "kvstore", "hitcounter", "observer"},
	Nav:    []system.Link{{Path: "alerts/", Text: "Alerts"}},
	Words:  []string{"syslog", "loki", "otlp", "opentelemetry", "tail", "rotation", "alert", "grep", "elk", "splunk", "search"},
}

// Config are the settings of a system.
type Config struct {
	Env     system.Env
	Syslog  string        // address of syslog, UDP and TCP
	Files   string        // patterns of files on this machine to follow, separated by commas
	Keep    time.Duration // how long entries are kept
	Hot     int64         // MiB of the log before its oldest part goes to the archive
	Archive int64         // MiB of the archive
	Sync    string        // each, interval or never
	Webhook string        // a URL that alerts are posted to
	SMTP    string        // host and port of a mail server
	MailTo  string        // where alerts are mailed to
	Mailer  Mailer        // sends mail; nil uses SMTP
}

func (c *Config) flags(f *flag.FlagSet) {
	f.StringVar(&c.Syslog, "syslog", "127.0.0.1:5514", "address of syslog, over UDP and TCP")
	f.StringVar(&c.Files, "files", "", "follow files of this machine: patterns such as /var/log/nginx/*.log, separated by commas")
	f.DurationVar(&c.Keep, "keep", 30*24*time.Hour, "how long entries are kept")
	f.Int64Var(&c.Hot, "hot", 1024, "MiB of log, above which the oldest part goes to the archive")
	f.Int64Var(&c.Archive, "archive", 4096, "MiB of archive, above which the oldest part is removed")
	f.StringVar(&c.Sync, "sync", "each", "when entries are acknowledged: each (they are synced), interval (synced every second), never")
	f.StringVar(&c.Webhook, "webhook", "", "URL that alerts are posted to")
	f.StringVar(&c.SMTP, "smtp", "", "host:port of a mail server for alerts")
	f.StringVar(&c.MailTo, "mail-to", "", "address that alerts are mailed to")
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
		Commands: []system.Command{{Name: "agent", What: "follow files and ship them to a logging system elsewhere", Run: agentCommand}},
	}
}

// A System is a running logging system.
type System struct {
	config Config
	store  *store.Store
	intake *intake.Server
	alerts *alerting
	fleet  *fleet
	crowd  *crowd.Crowd
	live   *sse.Stream
	tails  gate
	quit   context.Context // ends what pages have begun
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	stuck  atomic.Pointer[string] // why retention does not go on; nil if it does
}

var syncPolicies = map[string]commitlog.SyncPolicy{"each": commitlog.SyncEach, "interval": commitlog.SyncInterval, "never": commitlog.SyncNever}

// New starts a system. It takes entries when New returns.
func New(ctx context.Context, c Config) (_ *System, err error) {
	policy, ok := syncPolicies[c.Sync]
	switch {
	case !ok:
		return nil, fmt.Errorf("-sync: %q is not each, interval or never", c.Sync)
	case c.Hot < 1 || c.Archive < 0:
		return nil, errors.New("-hot must be at least 1, -archive at least 0")
	case c.Keep < time.Minute:
		return nil, errors.New("-keep: less than a minute")
	}
	archive := c.Archive << 20
	if archive == 0 {
		archive = -1
	}
	s := &System{config: c}
	s.quit, s.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.store, err = store.Open(filepath.Join(c.Env.Data, "store"), &store.Options{
		HotBytes: c.Hot << 20, ArchiveBytes: archive, RetainAge: c.Keep, SegmentBytes: min(16<<20, max(c.Hot<<20/16, 1<<20)), Sync: policy, Logger: c.Env.Log,
	})
	if err != nil {
		return nil, err
	}
	s.intake = intake.New(s.store, intake.Options{Metrics: c.Env.Metrics, Logger: c.Env.Log})
	if err = s.intake.ListenSyslog(ctx, c.Syslog, c.Env.Gallery); err != nil {
		return nil, err
	}
	if s.alerts, err = newAlerting(s.store, &c); err != nil {
		return nil, err
	}
	if s.fleet, err = newFleet(s.quit, &c, agent.Local{Store: s.store}); err != nil {
		return nil, err
	}
	s.measure()
	s.live = sse.New(nil)
	s.live.Sample("live", func() any { return s.sample() })
	s.tasks.Go(func() { s.alerts.run(s.quit) })
	s.tasks.Go(func() { s.housekeeping(s.quit) })
	if c.Env.Load > 0 {
		s.crowd = crowd.Start(s.quit, crowd.Options{Users: 8, Rate: 60 * c.Env.Load, Ramp: time.Second, Act: s.fleet.act})
	}
	return s, nil
}

// housekeeping removes what is old, and lets the simulated servers rotate.
func (s *System) housekeeping(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.store.Maintain(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.config.Env.Log.Error("retention", "error", err)
			s.stuck.Store(new(err.Error()))
		} else {
			s.stuck.Store(nil)
		}
		s.fleet.rotateLarge()
	}
}

// measure registers what /metrics and the plots show.
func (s *System) measure() {
	m := s.config.Env.Metrics
	count := func(name, help string, f func() uint64) {
		m.CounterFunc(name, help, func() float64 { return float64(f()) })
	}
	gauge := func(name, help string, f func() float64) { m.GaugeFunc(name, help, f) }
	count("logging_entries_total", "Entries that were stored and can be found.", func() uint64 { return s.store.Stats().Entries })
	count("logging_entry_bytes_total", "Bytes of their lines and fields.", func() uint64 { return s.store.Stats().Bytes })
	count("logging_duplicates_total", "Packets that an agent had sent before.", func() uint64 { return s.store.Stats().Duplicates })
	count("logging_refused_total", "Packets that the store did not take.", func() uint64 { return s.store.Stats().Refused })
	gauge("logging_damaged", "Places in the log and the archive that were found damaged since the start.", func() float64 { return float64(s.store.Stats().Damaged) })
	gauge("logging_rules_behind", "Packets that are stored and that the rules have not seen.", func() float64 { return float64(s.alerts.behind()) })
	count("logging_rule_matches_total", "Entries that matched a rule.", func() uint64 { return s.alerts.engine.Stats().Matched })
	count("logging_tail_lost_bytes_total", "Bytes that agents saw in files and that were gone before they could be read.", func() uint64 { return s.fleet.stats().lost })
	gauge("logging_streams", "Streams there are.", func() float64 { return float64(s.store.Stats().Streams) })
	gauge("logging_blocks", "Blocks of the index.", func() float64 { return float64(s.store.Stats().Blocks) })
	gauge("logging_log_bytes", "Size of the log on disk.", func() float64 { return float64(s.store.Stats().LogBytes) })
	gauge("logging_queued", "Packets that agents have read and the store has not acknowledged.", func() float64 { return float64(s.fleet.stats().queued) })
	gauge("logging_alerts_firing", "Alerts that fire.", func() float64 { return float64(s.alerts.firing()) })
}

// SyslogAddr is where the system takes syslog.
func (s *System) SyslogAddr() string { return s.intake.SyslogAddr() }

// Store is the store behind the system.
func (s *System) Store() *store.Store { return s.store }

// Endpoints implements [system.Endpointer].
func (s *System) Endpoints() []system.Endpoint {
	host, port, err := net.SplitHostPort(s.SyslogAddr())
	if err != nil {
		return nil
	}
	return []system.Endpoint{{Protocol: "syslog (RFC 5424 and 3164, UDP and TCP)", Addr: s.SyslogAddr(), Try: fmt.Sprintf("logger -n %s -P %s -T --rfc5424 hello", host, port)}}
}

// Glance implements [system.Glancer]: the lines of the last second.
func (s *System) Glance() system.Glance {
	return system.Glance{Label: "lines", Value: latest(s.config.Env.Metrics.Series("logging_entries_total")), Unit: "/s"}
}

// Check implements [system.Checker].
func (s *System) Check(context.Context) error { return s.store.Check() }

// Handler serves the pages and the intake over HTTP.
func (s *System) Handler() http.Handler { return s.pages() }

// Close ends the crowd, the agents and the intake, and makes everything
// durable.
func (s *System) Close() error {
	s.cancel()
	var err error
	if s.crowd != nil {
		s.crowd.Close()
	}
	if s.fleet != nil {
		err = s.fleet.close()
	}
	if s.intake != nil {
		s.intake.Close()
	}
	s.tasks.Wait()
	if s.alerts != nil {
		err = errors.Join(err, s.alerts.close())
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

func latest(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

// patterns splits what -files says.
func patterns(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
