package harness

import (
	"math"
	"testing"
)

func TestBars(t *testing.T) {
	peers := []Figure{{Name: "slow", Value: 100}, {Name: "fast", Value: 40}}
	for _, test := range []struct {
		bar     Bar
		ours    float64
		higher  bool
		text    string
		reached float64
		met     bool
	}{
		{AtMost(41), 41, false, "≤ 41", 41, true},
		{AtMost(41), 41.5, false, "≤ 41", 41.5, false},
		{AtMost(0), 0, false, "≤ 0", 0, true},
		{AtLeast(48.6), 48.6, true, "≥ 48.6", 48.6, true},
		{AtLeast(48.6), 48, true, "≥ 48.6", 48, false},

		// A ratio to the best peer: which one that is depends on the direction.
		{AtMost(.5).Of(), 20, false, "≤ 0.5 × best peer", .5, true},
		{AtMost(.5).Of(), 30, false, "≤ 0.5 × best peer", .75, false},
		{AtLeast(1).Of(), 100, true, "≥ 1 × best peer", 1, true},
		{AtLeast(1).Of(), 80, true, "≥ 1 × best peer", .8, false},

		// Peers by name: the worst of them counts.
		{AtMost(.5).Of("slow"), 50, false, "≤ 0.5 × slow", .5, true},
		{AtMost(1).Of("slow", "fast"), 40, false, "≤ 1 × slow, fast", 1, true},
		{AtMost(1).Of("slow", "fast"), 50, false, "≤ 1 × slow, fast", 1.25, false},
		{AtLeast(1).Of("fast", "slow"), 50, true, "≥ 1 × fast, slow", .5, false},

		{AtLeast(-.5).Above(), 99.5, true, "≥ best peer − 0.5", -.5, true},
		{AtLeast(-.5).Above(), 99, true, "≥ best peer − 0.5", -1, false},
		{AtLeast(0).Above("fast"), 40, true, "≥ fast", 0, true},
		{AtLeast(2).Above("fast"), 41, true, "≥ fast + 2", 1, false},
		{AtMost(0).Above("slow", "fast"), 41, false, "≤ slow, fast", 1, false},

		{AtMost(1), math.NaN(), false, "≤ 1", math.NaN(), false},
		{AtLeast(1), math.NaN(), true, "≥ 1", math.NaN(), false},
	} {
		v := test.bar.verdict(Figure{Name: Ours, Value: test.ours}, peers, test.higher)
		same := v.Reached == test.reached || math.IsNaN(v.Reached) && math.IsNaN(test.reached)
		if v.Bar != test.text || !same || v.Met != test.met {
			t.Errorf("%v of ours, higher %v: %+v, want %q, reached %v, met %v", test.ours, test.higher, v, test.text, test.reached, test.met)
		}
	}
}

// A ratio within rounds is what a bar is held against, where there is one.
func TestBarUsesRatioWithinRounds(t *testing.T) {
	v := AtMost(.5).Of().verdict(Figure{Value: 10}, []Figure{{Name: "peer", Value: 100, Ratio: .6}}, false)
	if v.Reached != .6 || v.Met {
		t.Errorf("%+v, want .6, short", v)
	}
}

func TestBarAgainstNobodyPanics(t *testing.T) {
	peers := []Figure{{Name: "peer", Value: 1}}
	for name, verdict := range map[string]func(){
		"best of none, ratio":      func() { AtMost(1).Of().verdict(Figure{}, nil, false) },
		"best of none, difference": func() { AtMost(1).Above().verdict(Figure{}, nil, false) },
		"missing peer":             func() { AtMost(1).Of("peer", "missing").verdict(Figure{}, peers, false) },
	} {
		if !panics(verdict) {
			t.Errorf("%s: no panic", name)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return
}
