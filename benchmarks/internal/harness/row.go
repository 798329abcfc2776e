package harness

import (
	"math"
	"strings"
)

// Ours is the name under which implementations and figures of ashlar take part.
const Ours = "ashlar"

// A Spec says what a row is about, before anything is measured.
type Spec struct {
	Group  string // rows of one group, emitted together, form one table
	Name   string
	Unit   string
	Higher bool // more is better
	Bars   []Bar
	Note   string
}

// A Figure is what one implementation reached in a row: the median over rounds.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`

	// Ratio is ours to this one, in the same round: the median over rounds.
	// 0 stands for the ratio of the values, for figures taken once.
	Ratio float64 `json:"ratio,omitempty"`
	// Spread is (max-min)/median over rounds, of Ratio for a peer's figure
	// and of Value for ours.
	Spread float64 `json:"spread,omitempty"`

	Timing *Timing `json:"timing,omitempty"` // where the figure is a time

	// Published marks a figure that was not measured in this run but by
	// others, for an implementation that cannot be had.
	Published bool `json:"published,omitempty"`
}

// A Timing is what else was measured where time was, all per operation.
type Timing struct {
	CPUMin  float64 `json:"cpu_min"`  // least processor time in ns
	Wall    float64 `json:"wall"`     // median elapsed time in ns
	WallMin float64 `json:"wall_min"` // least elapsed time in ns
	Allocs  float64 `json:"allocs"`   // allocations
	Bytes   float64 `json:"bytes"`    // bytes allocated
}

// A Row is one line of a report.
type Row struct {
	Package  string  `json:"package"`
	Group    string  `json:"group,omitempty"`
	Name     string  `json:"row"`
	Unit     string  `json:"unit"`
	Higher   bool    `json:"higher,omitempty"` // more is better
	Ours     float64 `json:"ours"`
	Peer     float64 `json:"peer"` // figure of the best peer
	BestPeer string  `json:"best_peer"`
	Ratio    float64 `json:"ratio"` // ours / peer; 0 without a peer
	Bar      string  `json:"bar"`   // what is asked for, empty for a figure that is only shown
	Met      bool    `json:"met"`   // every bar is met; true without any
	Rounds   int     `json:"rounds"`
	Spread   float64 `json:"spread"` // (max-min)/median over rounds of Ratio, or of Ours without a peer
	Note     string  `json:"note,omitempty"`

	Verdicts []Verdict `json:"verdicts,omitempty"`
	Figures  []Figure  `json:"figures"` // of all, ours first
}

// newRow judges the figures, of which one is ours.
func newRow(pkg string, spec Spec, rounds int, figures []Figure) Row {
	r := Row{
		Package: pkg, Group: spec.Group, Name: spec.Name, Unit: spec.Unit, Higher: spec.Higher,
		Note: spec.Note, Rounds: rounds, Met: true,
	}
	var ours Figure
	var peers []Figure
	found := false
	for _, f := range figures {
		if f.Name == Ours {
			ours, found = f, true
		} else {
			peers = append(peers, f)
		}
	}
	if !found {
		panic("harness: row " + spec.Name + " of " + pkg + " has no figure of ours")
	}
	r.Figures = append([]Figure{ours}, peers...)
	r.Ours, r.Spread = ours.Value, ours.Spread
	if i := best(peers, spec.Higher); i >= 0 {
		r.Peer, r.BestPeer = peers[i].Value, peers[i].Name
		r.Ratio = ratioOf(ours, peers[i])
		if peers[i].Ratio != 0 {
			r.Spread = peers[i].Spread
		}
	}
	var bars []string
	for _, bar := range spec.Bars {
		v := bar.verdict(ours, peers, spec.Higher)
		r.Verdicts = append(r.Verdicts, v)
		r.Met = r.Met && v.Met
		bars = append(bars, v.Bar)
	}
	r.Bar = strings.Join(bars, "; ")
	return r
}

// best returns the index of the best figure, -1 if there is none.
func best(figures []Figure, higher bool) int {
	found := -1
	for i, f := range figures {
		if found < 0 || higher && f.Value > figures[found].Value || !higher && f.Value < figures[found].Value {
			found = i
		}
	}
	return found
}

// ratioOf returns how much of the peer's figure ours is: 1 where both are 0,
// and where only the peer's is, as much as JSON can say, which knows no
// infinity.
func ratioOf(ours, peer Figure) float64 {
	switch {
	case peer.Ratio != 0:
		return peer.Ratio
	case peer.Value != 0:
		return ours.Value / peer.Value
	case ours.Value == 0:
		return 1
	}
	return math.Copysign(math.MaxFloat64, ours.Value)
}
