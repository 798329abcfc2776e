package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/internal/trace"
)

type keysOf struct {
	trace string
	keys  int
}

// distinct are the numbers of keys in the shared traces.
var distinct = []keysOf{
	{"scarab-recs", 258368},
	{"cloudphysics-w106", 42479},
	{"libcachesim-w92", 48974},
	{"arc-oltp", 186880},
	{"arc-p3", 426527},
	{"arc-p6", 326085},
	{"arc-p12", 639186},
	{"cache2k-orm-busy", 60734},
	{"cache2k-orm-night", 56462},
	{"cache2k-web12", 13756},
	{"cache2k-web07", 20484},
	{"webcdn-adaptsize", 36815},
	{"corda-vault", 90468},
	{"lirs-2pools", 9939},
	{"lirs-sprite", 7075},
	{"lirs-multi3", 7454},
	{"lirs-gli", 2529},
	{"lirs-loop", 1011},
}

// leastHeldOut is the capacity below which rows are left out: a handful of
// entries says more about a trace than about a policy.
const leastHeldOut = 64

// heldOutRows are the shared traces at shares of their keys, in thousandths,
// that lie between and beyond those of hitRows, which the policy was chosen
// with. The traces are the same but for lirs-loop, so the rows tell whether
// the policy was fitted to capacities, and not whether to traces.
func heldOutRows() []hitRow {
	var rows []hitRow
	for _, d := range distinct {
		for _, share := range []int{5, 20, 100, 400} {
			if capacity := d.keys * share / 1000; capacity >= leastHeldOut {
				rows = append(rows, hitRow{trace: d.trace, capacity: capacity})
			}
		}
	}
	return rows
}

// heldOut emits a row for each trace and capacity that the policy was not
// chosen with, and what they come to.
func heldOut(s *harness.Session, pkg string) {
	rows := heldOutRows()
	if _, ok := trace.Data("corda-vault"); !ok || s.Pick(0, 0, 1) == 1 {
		n := s.Pick(1, 1, 100)
		rows = []hitRow{{trace: generated, capacity: 200 / n}, {trace: generated, capacity: 1000 / n}, {trace: generated, capacity: 16_000 / n}}
	} else if s.Pick(0, 1, 0) == 1 {
		rows = slices.DeleteFunc(rows, func(h hitRow) bool { return !slices.Contains(shortTraces, h.trace) })
	}
	const (
		group = "Hit ratio, held out"
		total = "Hit ratio, held out, over all of these"
	)
	t := &hitTable{rows: rows, rounds: replays(s), makers: []maker{ours(pkg, nil), peerHashicorp, peer2Q, peerARC, strictOtter}}
	against := func(peer string) harness.Spec {
		return harness.Spec{
			Group: total, Name: "held out, worst row against " + peer, Unit: "points", Higher: true,
			Bars: []harness.Bar{harness.AtLeast(-1.5)},
		}
	}
	t.emit(s, func(h hitRow) harness.Spec {
		return harness.Spec{Group: group, Name: fmt.Sprintf("held out, %s, %d entries", h.trace, h.capacity), Unit: "%", Higher: true}
	}, []hitSum{
		{
			harness.Spec{Group: total, Name: fmt.Sprintf("held out, mean of %d rows", len(rows)), Unit: "%", Higher: true, Bars: []harness.Bar{harness.AtLeast(0).Above()}},
			(*hitTable).means,
		},
		{against("hashicorp's LRU"), worstAgainst(peerHashicorp)},
		{against("otter"), worstAgainst(strictOtter)},
	})
}

// shortTraces are those that a short run replays.
var shortTraces = strings.Fields("lirs-2pools lirs-sprite lirs-multi3 lirs-gli lirs-loop cache2k-web12 cache2k-web07 webcdn-adaptsize corda-vault libcachesim-w92")
