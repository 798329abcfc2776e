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
//
// # Packages whose peers are heavy
//
// commitlog and kvstore are measured by the module benchmarks/storage, which this
// command runs for them.
package main

import "github.com/ashlar-go/ashlar/benchmarks/internal/command"

func main() { command.Main() }
