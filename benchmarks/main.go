// Command benchmarks measures the packages of ashlar and their peers side by
// side, in one process.
//
//	go run ./benchmarks [flags] package...
//
// It prints a line for each row: our figure, the best peer's, the ratio of the
// two, the bars that were set beforehand and whether they are met. Package
// harness says how the figures come to be.
//
// # Adding a package
//
// One file in this folder, named after the package, with a call of
// harness.Register from its init function:
//
//	func init() {
//		harness.Register(harness.Suite{Package: "hitcounter", Doc: "…", Run: func(s *harness.Session) {
//			s.Time(harness.Spec{Name: "hit", Bars: []harness.Bar{harness.AtMost(1).Of()}}, 1<<20, []harness.Impl{ours, peer})
//			s.Value(harness.Spec{Name: "error after a day", Unit: "%", Bars: []harness.Bar{harness.AtMost(1)}}, measure)
//		}})
//	}
//
// The smoke test runs every row of every suite in its tiny size.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
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
	var selected []harness.Suite
	for _, pkg := range f.Args() {
		suite, err := harness.Find(strings.Trim(filepath.ToSlash(pkg), "./"))
		if err != nil {
			return fmt.Errorf("%w; -list shows what there is", err)
		}
		selected = append(selected, suite)
	}
	path, err := resultsPath()
	if *write && err != nil {
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
	if p.err != nil || !*write {
		return p.err
	}
	return harness.Merge(path, sections)
}

func listPackages(w io.Writer) error {
	for _, suite := range harness.Suites() {
		if _, err := fmt.Fprintf(w, "  %-14s %s\n", suite.Package, suite.Doc); err != nil {
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

// resultsPath is RESULTS.md of this module, from wherever in the repository
// the command runs.
func resultsPath() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, "benchmarks", "RESULTS.md"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("-write: run it inside the repository")
		}
	}
}
