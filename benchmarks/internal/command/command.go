// Package command is the command line of the benchmarks, for both modules that
// have some.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

// Main runs the suites that the arguments name and ends the process if that
// fails.
func Main() {
	err := Run(os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// Elsewhere are the suites of the module benchmarks/storage, with a line on
// each. It is a module of its own and not in the workspace, since hardly anybody
// needs what its peers depend on.
var Elsewhere = map[string]string{
	"commitlog":      "appends, reads and recovery of logs on disk, and what damage does to them",
	"kvstore":        "key-value stores on disk: loads, reads, scans, sizes, footprint",
	"examples/kafka": "the broker beside the fake one of franz-go, with the same client",
}

// module is where the suites of Elsewhere are, below the repository.
const module = "benchmarks/storage"

// Run measures what the arguments say. It has a process of their own do so for the
// suites of [Elsewhere] that are not registered in this one.
func Run(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	f.SetOutput(stderr)
	asJSON := f.Bool("json", false, "print one JSON object a row")
	short := f.Bool("short", false, "take about a minute a package: fewer rows, rounds and operations")
	write := f.Bool("write", false, "put the results into benchmarks/RESULTS.md, in place of those of the same packages")
	rounds := f.Int("rounds", 0, "`rounds` of each timing; 0 means 7, or 3 with -short")
	only := f.String("run", "", "measure only rows that match this `regexp`")
	list := f.Bool("list", false, "list the packages, or the rows and bars of those named")
	f.Usage = func() {
		fmt.Fprint(stderr, "usage: go run ./benchmarks [flags] package...\n\npackages:\n")
		listPackages(stderr)
		fmt.Fprint(stderr, "\nflags:\n")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	switch {
	case err != nil:
		return fmt.Errorf("-run: %w", err)
	case *write && *only != "":
		return errors.New("-write replaces all rows of a package, so it does not go with -run")
	case f.NArg() == 0 && *list:
		return listPackages(stdout)
	case f.NArg() == 0:
		f.Usage()
		return errors.New("name a package")
	}
	selected, elsewhere, err := choose(f.Args())
	if err != nil {
		return err
	}
	root, err := Repository()
	if (*write || len(elsewhere) > 0) && err != nil {
		return err
	}
	config := harness.Config{Rounds: *rounds, Want: pattern.MatchString}
	if *short {
		config.Size = harness.Short
	}
	p := printer{out: stdout, json: *asJSON}
	sections := map[string]string{}
	for _, suite := range selected {
		if *list {
			config.List = p.spec
		}
		p.heading(suite)
		p.rows = nil
		used := harness.Measure(suite, config, p.row)
		if !*list {
			p.summary()
			about := harness.AboutNow("go run ./benchmarks "+strings.Join(args, " "), used)
			sections[suite.Package] = harness.Section(suite.Package, about, p.rows)
		}
	}
	if p.err == nil && *write && len(sections) > 0 {
		p.err = harness.Merge(filepath.Join(root, "benchmarks", "RESULTS.md"), sections)
	}
	if p.err != nil || len(elsewhere) == 0 {
		return p.err
	}
	flags := args[:len(args)-f.NArg()]
	return delegate(root, append(slices.Clone(flags), elsewhere...), stdout, stderr)
}

// choose returns the suites of those packages, and the packages whose suites are
// elsewhere.
func choose(packages []string) (here []harness.Suite, elsewhere []string, err error) {
	for _, pkg := range packages {
		pkg = strings.Trim(filepath.ToSlash(pkg), "./")
		suite, err := harness.Find(pkg)
		switch {
		case err == nil:
			here = append(here, suite)
		case Elsewhere[pkg] != "":
			elsewhere = append(elsewhere, pkg)
		default:
			return nil, nil, fmt.Errorf("%w; -list shows what there is", err)
		}
	}
	return here, elsewhere, nil
}

// delegate runs the command of the other module. It builds that outside of the
// workspace.
func delegate(root string, args []string, stdout, stderr io.Writer) error {
	c := exec.Command("go", append([]string{"run", "-C", filepath.Join(root, filepath.FromSlash(module)), "."}, args...)...)
	c.Env = append(os.Environ(), "GOWORK=off")
	c.Stdout, c.Stderr = stdout, stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	return nil
}

func listPackages(w io.Writer) error {
	all := maps.Clone(Elsewhere)
	for _, suite := range harness.Suites() {
		all[suite.Package] = suite.Doc
	}
	for _, pkg := range slices.Sorted(maps.Keys(all)) {
		if _, err := fmt.Fprintf(w, "  %-14s %s\n", pkg, all[pkg]); err != nil {
			return err
		}
	}
	return nil
}

// A printer shows rows as they come, and keeps the first error of that.
type printer struct {
	out  io.Writer
	json bool
	rows []harness.Row
	err  error
}

func (p *printer) heading(suite harness.Suite) {
	if !p.json {
		p.print(fmt.Fprintf(p.out, "%s: %s\n", suite.Package, suite.Doc))
	}
}

func (p *printer) row(row harness.Row) {
	p.rows = append(p.rows, row)
	if p.json {
		p.print(0, row.WriteJSON(p.out))
	} else {
		p.print(0, row.WriteText(p.out))
	}
}

func (p *printer) summary() {
	if !p.json {
		p.print(fmt.Fprintf(p.out, "%s\n\n", harness.Summary(p.rows)))
	}
}

func (p *printer) spec(spec harness.Spec) {
	bars := make([]string, len(spec.Bars))
	for i, bar := range spec.Bars {
		bars[i] = bar.String()
	}
	p.print(fmt.Fprintf(p.out, "  %-56s %s\n", spec.Name, strings.Join(bars, "; ")))
}

func (p *printer) print(_ int, err error) {
	if p.err == nil {
		p.err = err
	}
}

// Repository returns the folder of the repository, from wherever in it the command
// runs.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository")
		}
	}
}
