// Package launcher turns the registry of systems into one command: a gallery
// of them all, or one alone.
package launcher

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// A Registry lists the systems, each as the function that defines it.
type Registry []func() system.Definition

// Definitions calls every function of the registry.
func (r Registry) Definitions() []system.Definition {
	list := make([]system.Definition, len(r))
	for i, define := range r {
		list[i] = define()
	}
	return list
}

const defaultAddr = "127.0.0.1:8080"

// errUsage is an error that was explained on stderr already.
var errUsage = errors.New("bad usage")

// Main runs the command with its arguments, without the program's name, until
// it is interrupted or ctx ends. It returns the exit status: 0, 1 for a
// failure, 2 for a mistake in the arguments.
func Main(ctx context.Context, registry Registry, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, registry.Definitions(), args, stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(stderr, "examples:", err)
	return 1
}

func run(ctx context.Context, definitions []system.Definition, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return runGallery(ctx, definitions, args, stdout, stderr)
	}
	name, rest := args[0], args[1:]
	if name == "help" {
		if len(rest) == 0 {
			usage(stdout, definitions)
			return nil
		}
		name, rest = rest[0], []string{"-h"}
	}
	i := slices.IndexFunc(definitions, func(d system.Definition) bool { return d.Name == name })
	if i < 0 {
		fmt.Fprintf(stderr, "There is no system called %q.%s\n\n", name, suggest(name, definitions))
		usage(stderr, definitions)
		return errUsage
	}
	d := definitions[i]
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		for _, c := range d.Commands {
			if c.Name == rest[0] {
				return c.Run(ctx, rest[1:], stdout, stderr)
			}
		}
		fmt.Fprintf(stderr, "%s has no command %q.\n\n", d.Name, rest[0])
		systemUsage(stderr, d, newFlags(d))
		return errUsage
	}
	return runAlone(ctx, d, rest, stdout, stderr)
}

// common are the flags that every system has.
type common struct {
	addr    string
	data    string
	hosts   string
	load    load
	verbose bool
	set     *flag.FlagSet
}

// newFlags returns the common flags and those of d.
func newFlags(d system.Definition) *common {
	c := &common{set: flag.NewFlagSet(d.Name, flag.ContinueOnError)}
	c.set.StringVar(&c.addr, "addr", defaultAddr, "`address` of the pages; a free port is taken if another process has it and you did not ask for it")
	c.set.StringVar(&c.data, "data", "", "`directory` for data; default: one below the user's cache directory")
	c.set.StringVar(&c.hosts, "host", "", "`names`, separated by commas, that browsers may use for this machine besides localhost and addresses")
	c.set.Var(&c.load, "load", "simulate users: -load for the usual crowd, -load=`factor` for a multiple of it, -load=0 for nobody")
	c.set.BoolVar(&c.verbose, "v", false, "log in detail")
	if d.Flags != nil {
		d.Flags(c.set)
	}
	return c
}

// load is a factor that can be given without a value.
type load float64

func (l *load) String() string   { return strconv.FormatFloat(float64(*l), 'g', -1, 64) }
func (l *load) IsBoolFlag() bool { return true }

func (l *load) Set(s string) error {
	if on, err := strconv.ParseBool(s); err == nil && s != "0" && s != "1" {
		s = map[bool]string{true: "1", false: "0"}[on]
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= 1e6) {
		return errors.New("want a factor from 0 to 1000000")
	}
	*l = load(v)
	return nil
}

// parse reads args and explains what is wrong with them.
func (c *common) parse(args []string, stdout, stderr io.Writer, usage func(io.Writer)) error {
	c.set.SetOutput(io.Discard)
	err := c.set.Parse(args)
	if err == nil && c.set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", c.set.Arg(0))
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return err
	}
	fmt.Fprintf(stderr, "%v\n\n", err)
	usage(stderr)
	return errUsage
}

// given reports whether the user set the flag.
func (c *common) given(name string) bool {
	found := false
	c.set.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func (c *common) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

func (c *common) hostList() []string {
	return strings.FieldsFunc(c.hosts, func(r rune) bool { return r == ',' || r == ' ' })
}

// runAlone runs one system at /.
func runAlone(ctx context.Context, d system.Definition, args []string, stdout, stderr io.Writer) error {
	c := newFlags(d)
	if err := c.parse(args, stdout, stderr, func(w io.Writer) { systemUsage(w, d, c) }); err != nil {
		return err
	}
	log := c.logger(stderr)
	ln, err := web.Listen(ctx, c.addr, !c.given("addr"))
	if err != nil {
		return err
	}
	defer ln.Close()
	data, release, err := openData(c.data, d.Name, log)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running := start(ctx, d, system.Env{Data: data, Load: float64(c.load), Log: log, Metrics: metrics.New()})
	defer running.close()
	<-running.ready
	if running.err != nil {
		return fmt.Errorf("%s: %w", d.Name, running.err)
	}
	announce(stdout, d.Title, web.URL(ln), data, running)
	if !web.Loopback(ln) {
		log.Warn("other machines can reach this server", "addr", ln.Addr())
	}
	return web.Serve(ctx, ln, web.Secure(running.handler("/", false), c.hostList(), log), log)
}

// announce says where to look.
func announce(w io.Writer, title, url, data string, running *instance) {
	fmt.Fprintf(w, "%s: %s\n", title, url)
	for _, e := range running.endpoints() {
		fmt.Fprintf(w, "  %s at %s", e.Protocol, e.Addr)
		if e.Try != "" {
			fmt.Fprintf(w, ", try: %s", e.Try)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  data in %s\n  Ctrl-C stops\n", data)
}

// sampling is how often metrics and glances are remembered.
const sampling = time.Second
