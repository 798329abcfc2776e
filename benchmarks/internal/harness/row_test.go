package harness

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestNewRow(t *testing.T) {
	figures := []Figure{{Name: "slow", Value: 100}, {Name: Ours, Value: 20}, {Name: "fast", Value: 40}}
	for _, test := range []struct {
		higher bool
		best   string
		peer   float64
		ratio  float64
	}{
		{false, "fast", 40, .5},
		{true, "slow", 100, .2},
	} {
		row := newRow("pkg", Spec{Name: "row", Higher: test.higher}, 3, figures)
		if row.BestPeer != test.best || row.Peer != test.peer || row.Ratio != test.ratio || row.Ours != 20 || row.Rounds != 3 {
			t.Errorf("higher %v: %+v", test.higher, row)
		}
		if row.Figures[0].Name != Ours || len(row.Figures) != 3 {
			t.Errorf("figures %+v, want ours first and all", row.Figures)
		}
		if !row.Met || row.Bar != "" {
			t.Errorf("a row without bars: %q met %v", row.Bar, row.Met)
		}
	}
}

func TestNewRowNeedsEveryBar(t *testing.T) {
	row := newRow("pkg", Spec{Bars: []Bar{AtMost(30), AtMost(.4).Of("peer")}}, 1, []Figure{{Name: Ours, Value: 20}, {Name: "peer", Value: 40}})
	if row.Met || row.Bar != "≤ 30; ≤ 0.4 × peer" || !row.Verdicts[0].Met || row.Verdicts[1].Met {
		t.Errorf("%+v", row)
	}
}

func TestNewRowWithoutOursPanics(t *testing.T) {
	if !panics(func() { newRow("pkg", Spec{}, 1, []Figure{{Name: "peer"}}) }) {
		t.Error("no panic")
	}
}

// Figures of one round belong together: a machine that is twice as slow in one
// of them changes no ratio.
func TestRatiosWithinARound(t *testing.T) {
	all := figures([]string{Ours, "peer"}, [][]float64{{10, 20, 400}, {20, 40, 100}})
	if f := all[0]; f.Value != 20 || f.Ratio != 0 || f.Spread != 19.5 {
		t.Errorf("ours %+v, want the median, no ratio, the spread of the values", f)
	}
	if f := all[1]; f.Value != 40 || f.Ratio != .5 || f.Spread != 7 {
		t.Errorf("peer %+v, want the medians of values and ratios, the spread of the ratios", f)
	}
	row := newRow("pkg", Spec{Name: "row"}, 3, all)
	if row.Ratio != .5 || row.Spread != 7 {
		t.Errorf("ratio %v spread %v, want those of the best peer", row.Ratio, row.Spread)
	}
	alone := newRow("pkg", Spec{Name: "row"}, 3, all[:1])
	if alone.BestPeer != "" || alone.Ratio != 0 || alone.Spread != 19.5 {
		t.Errorf("a row without peers: %+v", alone)
	}
}

// Nothing that can be measured makes a ratio that JSON cannot say.
func TestRatiosOfZero(t *testing.T) {
	for _, test := range []struct{ ours, peer, ratio float64 }{
		{0, 0, 1},
		{0, 2, 0},
		{3, 0, math.MaxFloat64},
		{-3, 0, -math.MaxFloat64},
	} {
		for name, f := range map[string][]Figure{
			"taken once": {{Name: Ours, Value: test.ours}, {Name: "peer", Value: test.peer}},
			"in rounds":  figures([]string{Ours, "peer"}, [][]float64{{test.ours, test.ours}, {test.peer, test.peer}}),
		} {
			row := newRow("pkg", Spec{Name: "row", Bars: []Bar{AtMost(1).Of("peer")}}, 2, f)
			if row.Ratio != test.ratio || row.Met != (test.ratio <= 1) {
				t.Errorf("%v to %v, %s: ratio %v, met %v, want %v", test.ours, test.peer, name, row.Ratio, row.Met, test.ratio)
			}
			var line bytes.Buffer
			if err := row.WriteJSON(&line); err != nil {
				t.Errorf("%v to %v, %s: %v", test.ours, test.peer, name, err)
			}
		}
	}
	// One round in which the peer took nothing makes ratios within rounds
	// useless; the ratio of the medians is left.
	f := figures([]string{Ours, "peer"}, [][]float64{{1, 1, 1}, {4, 0, 4}})
	if f[1].Ratio != 0 || newRow("pkg", Spec{}, 3, f).Ratio != .25 {
		t.Errorf("%+v", f)
	}
}

func TestJSON(t *testing.T) {
	var line bytes.Buffer
	row := newRow("pkg", Spec{Name: "row", Unit: "ns", Bars: []Bar{AtMost(1).Of()}}, 3, figures([]string{Ours, "peer"}, [][]float64{{1, 2, 3}, {2, 4, 6}}))
	if err := row.WriteJSON(&line); err != nil {
		t.Fatal(err)
	}
	if strings.Count(line.String(), "\n") != 1 {
		t.Errorf("%q is not one line", line.String())
	}
	var got map[string]any
	if err := json.Unmarshal(line.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"package": "pkg", "row": "row", "unit": "ns", "ours": 2.0, "peer": 4.0, "best_peer": "peer", "ratio": .5,
		"bar": "≤ 1 × best peer", "met": true, "rounds": 3.0, "spread": 0.0,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
}
