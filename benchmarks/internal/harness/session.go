package harness

import (
	"fmt"
	"slices"
	"strings"
)

// A Suite is what is measured of one package.
type Suite struct {
	Package string // its import path below the module's
	Doc     string // one line
	// Run declares the rows by calling methods of the session, in the order
	// in which they shall be shown. Whatever is expensive belongs into the
	// functions that the session calls back, or behind Want.
	Run func(s *Session)
}

var suites []Suite

// Register adds a suite. It panics if there is one of that package.
func Register(s Suite) {
	if slices.ContainsFunc(suites, func(o Suite) bool { return o.Package == s.Package }) {
		panic("harness: two suites of " + s.Package)
	}
	suites = append(suites, s)
	slices.SortFunc(suites, func(a, b Suite) int { return strings.Compare(a.Package, b.Package) })
}

// Suites returns what is registered, in the order of the packages' names.
func Suites() []Suite { return slices.Clone(suites) }

// Find returns the suite of a package.
func Find(pkg string) (Suite, error) {
	i := slices.IndexFunc(suites, func(s Suite) bool { return s.Package == pkg })
	if i < 0 {
		return Suite{}, fmt.Errorf("no benchmarks of package %q", pkg)
	}
	return suites[i], nil
}

// A Size says how much work a run may be.
type Size int

const (
	Full  Size = iota
	Short      // about a minute a package
	Tiny       // just enough to see that every row can be measured
)

// Config are the settings of a run.
type Config struct {
	Rounds int // of every timing; 0 means 7, with Short 3, with Tiny 1
	Size   Size
	Want   func(row string) bool // nil wants every row
	List   func(Spec)            // if set, rows are told to it instead of being measured
}

// A Session is one run of one suite.
type Session struct {
	pkg    string
	config Config
	emit   func(Row)
}

// Measure runs a suite, calls emit with each row as soon as it is there, and
// returns the number of rounds that timings were repeated.
func Measure(suite Suite, config Config, emit func(Row)) (rounds int) {
	if config.Rounds <= 0 {
		config.Rounds = []int{Full: 7, Short: 3, Tiny: 1}[config.Size]
	}
	suite.Run(&Session{pkg: suite.Package, config: config, emit: emit})
	return config.Rounds
}

// Pick returns the value for the size of the run.
func (s *Session) Pick(full, short, tiny int) int {
	return []int{Full: full, Short: short, Tiny: tiny}[s.config.Size]
}

// Rounds returns how often timings are repeated.
func (s *Session) Rounds() int { return s.config.Rounds }

// Want reports whether a row is to be measured. A suite that measures several
// rows at once, or sums some up, asks first and calls Emit afterwards.
func (s *Session) Want(spec Spec) bool {
	if s.config.Want != nil && !s.config.Want(spec.Name) {
		return false
	}
	if s.config.List != nil {
		s.config.List(spec)
		return false
	}
	return true
}

// Emit reports a row whose figures, one of them ours, were taken in that
// number of rounds.
func (s *Session) Emit(spec Spec, rounds int, figures []Figure) {
	s.emit(newRow(s.pkg, spec, rounds, figures))
}

// Value reports a row whose figures are taken once: a count, a size, a share
// that hardly depends on chance.
func (s *Session) Value(spec Spec, measure func() []Figure) {
	if s.Want(spec) {
		s.Emit(spec, 1, measure())
	}
}

// Repeated reports a row whose figures are taken in every round. Measure
// returns the same names in the same order each time.
func (s *Session) Repeated(spec Spec, measure func(round int) []Figure) {
	if !s.Want(spec) {
		return
	}
	var names []string
	var values [][]float64
	for round := range s.config.Rounds {
		for i, f := range measure(round) {
			if round == 0 {
				names = append(names, f.Name)
				values = append(values, nil)
			}
			values[i] = append(values[i], f.Value)
		}
	}
	s.Emit(spec, s.config.Rounds, figures(names, values))
}

// Time reports a row of processor time per operation, of n operations a turn.
// Unit, if empty, becomes "CPU ns/op".
func (s *Session) Time(spec Spec, n int, impls []Impl) {
	if spec.Unit == "" {
		spec.Unit = CPUTime
	}
	if s.Want(spec) {
		s.Emit(spec, s.config.Rounds, Timings(Interleave(s.config.Rounds, n, impls)))
	}
}

// CPUTime is the unit of rows of processor time.
const CPUTime = "CPU ns/op"
