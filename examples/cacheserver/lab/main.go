package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/internal/trace"
)

// arguments are what the command is told.
type arguments struct {
	trace, format, key, size string
	limit                    int
	sizes, policies          string
	byBytes                  bool
	out                      string
	json, untimed            bool
}

func (a *arguments) flags(stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&a.trace, "trace", "", "trace `file`, plain or gzip; without one a generated trace is replayed")
	f.StringVar(&a.format, "format", "auto", "its `format`: keys, sizes, arc, lirs or csv; auto goes by the first lines")
	f.StringVar(&a.key, "key", "", "`column` of the key in a CSV, by name or by number from 1")
	f.StringVar(&a.size, "size", "", "`column` of the size in a CSV, by name or by number from 1")
	f.IntVar(&a.limit, "limit", 0, "read this many `accesses` at most; 0 means 100 million")
	f.StringVar(&a.sizes, "sizes", DefaultSizes, "`capacities`: percentages of the different keys, or numbers such as 500 or 64k")
	f.StringVar(&a.policies, "policies", "", "`policies` to replay; default: "+strings.Join(Policies(false), ","))
	f.BoolVar(&a.byBytes, "bytes", false, "capacities are in bytes, for a trace with sizes")
	f.StringVar(&a.out, "out", "", "`file` for the plot, replaced if it is there; default: a new one in the directory for temporary files")
	f.BoolVar(&a.json, "json", false, "print JSON in place of tables, and write no plot unless -out says where")
	f.BoolVar(&a.untimed, "untimed", false, "do not measure the time of an access")
	f.Usage = func() {
		fmt.Fprint(stderr, `Replays a trace of cache accesses through every policy at several capacities,
beside the best that is possible.

	go run ./examples cacheserver lab
	go run ./examples cacheserver lab -trace FILE -sizes 1%,5%,20%

Formats: one key a line; key and size; the traces of the ARC and LIRS papers;
CSV. Hit ratios come from replays that run beside each other, in caches of one
shard; times from others that run alone.

`)
		f.PrintDefaults()
	}
	return f
}

// Main is the command: it replays a trace, prints tables to stdout, and writes
// a plot. While it works it shows how far it is if stderr is a terminal. If
// ctx ends it prints what is finished.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var a arguments
	f := a.flags(stderr)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("lab takes no argument %q; name a trace with -trace", f.Arg(0))
	}
	bar := newBar(stderr)
	c, err := a.config(bar)
	if err != nil {
		return err
	}
	c.Progress = bar.of("replaying")
	report, err := Run(ctx, c)
	bar.clear()
	stopped := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if err != nil && !stopped {
		return err
	}
	if a.json {
		err = report.WriteJSON(stdout)
	} else {
		err = report.WriteText(stdout)
	}
	if err != nil {
		return err
	}
	return a.plots(report, stdout)
}

// config reads the trace.
func (a *arguments) config(bar *bar) (Config, error) {
	c := Config{Trace: Builtin(), ByBytes: a.byBytes, Untimed: a.untimed}
	if a.trace != "" {
		var err error
		if c.Trace, err = a.read(bar.of("reading")); err != nil {
			return c, err
		}
		bar.clear()
	}
	if a.byBytes && c.Trace.Sizes == nil {
		return c, fmt.Errorf("-bytes: trace %s has no sizes", c.Trace.Name)
	}
	if a.policies != "" {
		for name := range strings.SplitSeq(a.policies, ",") {
			name = strings.TrimSpace(name)
			if _, err := policyNamed(name, a.byBytes); err != nil {
				return c, fmt.Errorf("-policies: %w", err)
			}
			c.Policies = append(c.Policies, name)
		}
	}
	unique, whole := c.Trace.Unique()
	if !a.byBytes {
		whole = int64(unique)
	}
	var err error
	if c.Capacities, err = ParseSizes(a.sizes, whole); err != nil {
		return c, fmt.Errorf("-sizes: %w", err)
	}
	return c, nil
}

func (a *arguments) read(progress func(done, total int)) (*trace.Trace, error) {
	format, err := trace.ParseFormat(a.format)
	if err != nil {
		return nil, fmt.Errorf("-format: %w", err)
	}
	file, err := os.Open(a.trace)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	o := &trace.Options{Name: trace.NameOf(a.trace), Format: format, Key: a.key, Size: a.size, Limit: a.limit}
	if info, err := file.Stat(); err == nil && info.Size() > 0 && progress != nil {
		o.Progress = func(read int64) { progress(int(read>>10), int(info.Size()>>10)+1) }
	}
	t, err := trace.Read(file, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.trace, err)
	}
	return t, nil
}

// plots writes the plot to a file and says to which.
func (a *arguments) plots(r *Report, stdout io.Writer) error {
	if len(r.Results) == 0 || a.json && a.out == "" {
		return nil
	}
	path := a.out
	if path == "" {
		file, err := os.CreateTemp("", "ashlar-lab-*.svg")
		if err != nil {
			return err
		}
		path = file.Name()
		if err := file.Close(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, r.Plot().SVG(), 0o644); err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintf(stdout, "\nPlot: %s\n", path)
	}
	return nil
}

// A bar shows progress on a terminal.
type bar struct {
	w    io.Writer // nil if it is no terminal
	last time.Time
}

func newBar(w io.Writer) *bar {
	file, ok := w.(*os.File)
	if !ok {
		return &bar{}
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("TERM") == "dumb" {
		return &bar{}
	}
	return &bar{w: file}
}

// of returns what draws the bar, nil if there is no terminal to draw it on.
func (b *bar) of(what string) func(done, total int) {
	if b.w == nil {
		return nil
	}
	return func(done, total int) {
		if now := time.Now(); now.Sub(b.last) >= 100*time.Millisecond && total > 0 {
			b.last = now
			const long = 40
			full := long * min(done, total) / total
			fmt.Fprintf(b.w, "\r%-9s [%s%s] %3d%%", what, strings.Repeat("=", full), strings.Repeat(" ", long-full), 100*min(done, total)/total)
		}
	}
}

func (b *bar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
