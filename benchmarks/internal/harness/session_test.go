package harness

import (
	"slices"
	"strings"
	"testing"
)

// suite declares a row of each kind and writes down what it measures.
func suite(log *[]string) Suite {
	did := func(what string) { *log = append(*log, what) }
	return Suite{Package: "pkg", Run: func(s *Session) {
		impl := func(name string) Impl {
			return Impl{name, func() (func(int), func()) {
				return func(int) { did("timed " + name) }, func() {}
			}}
		}
		s.Time(Spec{Name: "time"}, 4, []Impl{impl(Ours), impl("peer")})
		s.Value(Spec{Name: "value", Unit: "B", Bars: []Bar{AtMost(41)}}, func() []Figure {
			did("value")
			return []Figure{{Name: Ours, Value: float64(s.Pick(1, 2, 3))}}
		})
		s.Repeated(Spec{Name: "repeated", Unit: "x"}, func(round int) []Figure {
			did("repeated")
			return []Figure{{Name: Ours, Value: float64(round + 1)}, {Name: "peer", Value: float64(2 * (round + 1))}}
		})
		if spec := (Spec{Name: "own"}); s.Want(spec) {
			did("own")
			s.Emit(spec, s.Rounds(), []Figure{{Name: Ours}})
		}
	}}
}

func measure(config Config) (rows []Row, log []string, rounds int) {
	rounds = Measure(suite(&log), config, func(row Row) { rows = append(rows, row) })
	return rows, log, rounds
}

func names(rows []Row) string {
	var all []string
	for _, row := range rows {
		all = append(all, row.Name)
	}
	return strings.Join(all, " ")
}

func TestMeasure(t *testing.T) {
	rows, log, rounds := measure(Config{Rounds: 3})
	if rounds != 3 || names(rows) != "time value repeated own" {
		t.Fatalf("%d rounds of %q", rounds, names(rows))
	}
	for i, want := range []int{3, 1, 3, 3} {
		if rows[i].Rounds != want || rows[i].Package != "pkg" {
			t.Errorf("row %+v, want %d rounds of pkg", rows[i], want)
		}
	}
	if r := rows[0]; r.Unit != CPUTime || r.Figures[0].Timing == nil || r.Figures[1].Name != "peer" {
		t.Errorf("timed row %+v", r)
	}
	if r := rows[2]; r.Ours != 2 || r.Peer != 4 || r.Ratio != .5 {
		t.Errorf("repeated row %+v", r)
	}
	count := map[string]int{}
	for _, what := range log {
		count[what]++
	}
	if count["timed "+Ours] != 4 || count["timed peer"] != 4 || count["value"] != 1 || count["repeated"] != 3 || count["own"] != 1 {
		t.Errorf("measured %v", count)
	}
}

// What is not wanted is not measured.
func TestMeasureWant(t *testing.T) {
	rows, log, _ := measure(Config{Want: func(row string) bool { return row == "value" }})
	if names(rows) != "value" || !slices.Equal(log, []string{"value"}) {
		t.Errorf("rows %q, measured %v", names(rows), log)
	}
}

// A listing measures nothing, and lists what is wanted.
func TestMeasureList(t *testing.T) {
	var listed []string
	rows, log, _ := measure(Config{
		Want: func(row string) bool { return row != "time" },
		List: func(spec Spec) { listed = append(listed, spec.Name) },
	})
	if len(rows) > 0 || len(log) > 0 || !slices.Equal(listed, []string{"value", "repeated", "own"}) {
		t.Errorf("listed %v, rows %q, measured %v", listed, names(rows), log)
	}
}

func TestMeasureSize(t *testing.T) {
	for _, test := range []struct {
		size   Size
		rounds int
		picked float64
	}{{Full, 7, 1}, {Short, 3, 2}, {Tiny, 1, 3}} {
		rows, _, rounds := measure(Config{Size: test.size})
		if rounds != test.rounds || rows[0].Rounds != test.rounds || rows[1].Ours != test.picked {
			t.Errorf("size %d: %d rounds, picked %v, want %d, %v", test.size, rounds, rows[1].Ours, test.rounds, test.picked)
		}
	}
}

func TestRegister(t *testing.T) {
	defer func(old []Suite) { suites = old }(suites)
	suites = nil
	Register(Suite{Package: "tinylfu"})
	Register(Suite{Package: "cache"})
	if !panics(func() { Register(Suite{Package: "cache"}) }) {
		t.Error("two suites of one package: no panic")
	}
	if all := Suites(); len(all) != 2 || all[0].Package != "cache" {
		t.Errorf("%+v, want them by name", all)
	}
	if s, err := Find("tinylfu"); err != nil || s.Package != "tinylfu" {
		t.Errorf("Find: %+v, %v", s, err)
	}
	if _, err := Find("none"); err == nil {
		t.Error("found none")
	}
}
