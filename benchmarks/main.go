// Command benchmarks measures ashlar's packages and their peers side by side.
//
//	go run ./benchmarks [flags] package...
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

// suites are what each package measures. A package is one file, which adds
// itself here; emit takes each row when it is done.
var suites = map[string]func(env harness.Env, emit func(harness.Row)){}

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
	short := f.Bool("short", false, "take about a minute a package")
	write := f.Bool("write", false, "write benchmarks/RESULTS.md")
	rounds := f.Int("rounds", 0, "rounds of each timing; 0 means 7, or 3 with -short")
	only := f.String("run", "", "measure only rows that match this `regexp`")
	list := f.Bool("list", false, "list the packages")
	f.Usage = func() {
		fmt.Fprintf(stderr, "usage: go run ./benchmarks [flags] package...\n\npackages: %s\n\n", strings.Join(packages(), " "))
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	if *list {
		fmt.Fprintln(stdout, strings.Join(packages(), "\n"))
		return nil
	}
	if f.NArg() == 0 {
		f.Usage()
		return errors.New("name a package")
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	env := harness.Env{Rounds: *rounds, Short: *short, Want: pattern.MatchString}
	if env.Rounds <= 0 {
		env.Rounds = 7
		if *short {
			env.Rounds = 3
		}
	}
	sections := map[string]string{}
	for _, pkg := range f.Args() {
		suite, ok := suites[pkg]
		if !ok {
			return fmt.Errorf("there is no package %q; there are %s", pkg, strings.Join(packages(), " "))
		}
		var rows []harness.Row
		suite(env, func(row harness.Row) {
			rows = append(rows, row)
			if *asJSON {
				row.WriteJSON(stdout)
			} else {
				row.WriteText(stdout)
			}
		})
		sections[pkg] = harness.Section(pkg, "go run ./benchmarks "+strings.Join(args, " "), env.Rounds, rows)
	}
	if !*write {
		return nil
	}
	path, err := resultsPath()
	if err != nil {
		return err
	}
	return harness.Merge(path, sections)
}

func packages() []string {
	var names []string
	for name := range suites {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
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
