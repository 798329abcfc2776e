// Package system says what a system of the launcher is: how it describes
// itself, what it is given when it starts, and what it hands back.
//
// A system is a package with New(ctx, Config) (*System, error). What puts it
// behind the launcher is one function that returns a [Definition], and one
// line in the registry beside main.go that names that function.
package system

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// A System is a running system.
type System interface {
	// Handler serves the system's pages and HTTP interfaces. It is mounted
	// with its prefix removed, at / when the system runs alone and at
	// /<name>/ in the gallery, so every link in a page is relative. The paths
	// /_kit/…, /metrics…, /healthz and /readme belong to the launcher.
	Handler() http.Handler

	// Close ends what New started and returns when it has ended. What was
	// acknowledged is durable afterwards. It is called once.
	Close() error
}

// A Glancer has one number that shows at a glance how it is doing. The
// launcher asks about once a second and draws the last minutes in the gallery.
type Glancer interface {
	Glance() Glance
}

// A Glance is the number that a system shows in the gallery.
type Glance struct {
	Label string  // what it is, in lower case: "hit ratio"
	Value float64 // in Unit
	Unit  string  // "%", "/s", "" …
}

// An Endpointer listens on protocols other than the launcher's HTTP.
type Endpointer interface {
	Endpoints() []Endpoint
}

// An Endpoint is an address where a system speaks a protocol.
type Endpoint struct {
	Protocol string // "Redis (RESP)"
	Addr     string // "127.0.0.1:6380"
	Try      string // a command to copy: "redis-cli -p 6380"
}

// A Checker reports on its health at /healthz. A system without one is
// healthy as long as it runs.
type Checker interface {
	// Check returns why the system cannot do its work, or nil.
	Check(ctx context.Context) error
}

// A Kind groups systems in the gallery.
type Kind string

// The kinds, in the order of the gallery.
const (
	Storage   Kind = "Storage and caches"
	Messaging Kind = "Messages and logs"
	Social    Kind = "Social and media"
	Commerce  Kind = "Selling and booking"
	Moving    Kind = "Places and motion"
	Playing   Kind = "Games"
	Web       Kind = "Web services"
)

// Kinds lists the kinds in the order of the gallery.
var Kinds = []Kind{Storage, Messaging, Web, Social, Commerce, Moving, Playing}

// Info is how a system describes itself.
type Info struct {
	Name   string   // folder, path and command: "cacheserver"
	Title  string   // "Cache server"
	What   string   // one sentence with a full stop
	Kind   Kind     // one of Kinds
	Hue    int      // hue of the accent colour, 0 to 359 degrees of OKLCH
	Blocks []string // root packages it uses: "tinylfu"
	Words  []string // other words that a visitor may search for
	Nav    []Link   // the pages of the system beside its first one
}

// A Link is an entry of a system's navigation.
type Link struct {
	Path string // relative to the system's root: "lab/"
	Text string
}

// A Command is a sub-command of a system: go run ./examples NAME COMMAND.
type Command struct {
	Name string // "lab"
	What string // one line for -h
	// Run does the work; args are those after the command's name. An error
	// that is flag.ErrHelp means that Run has printed its usage.
	Run func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

// A Definition is a system as the registry knows it.
type Definition struct {
	Info

	// Flags registers the flags that only this system has. In the gallery
	// they all keep their defaults. It may be nil. The names addr, data,
	// host, load and v are taken.
	Flags func(*flag.FlagSet)

	// New starts the system; the context ends when the process is asked to
	// stop. It is called after Flags and the parsing of arguments.
	New func(ctx context.Context, env Env) (System, error)

	// Commands are the system's sub-commands.
	Commands []Command

	// README is the text of the system's README.md, which the footer of each
	// page leads to; empty if there is none.
	README string
}

// An Env is what the launcher gives to a system.
type Env struct {
	// Data is a directory that exists and belongs to this system and this
	// process alone.
	Data string

	// Load is how large the simulated crowd is, as a multiple of what the
	// system calls normal; 0 means no crowd.
	Load float64

	// Gallery tells that the system is one of several in the process. A
	// protocol listener should then take another port when its own is in
	// use, see web.Listen.
	Gallery bool

	// Log is the system's logger; its records carry the system's name.
	Log *slog.Logger

	// Metrics is the system's registry, served at /metrics and sampled once
	// a second for plots.
	Metrics *metrics.Registry
}

// Discard returns an Env for a test: it logs nothing and keeps data in dir.
func Discard(dir string) Env {
	return Env{Data: dir, Log: slog.New(slog.DiscardHandler), Metrics: metrics.New()}
}
