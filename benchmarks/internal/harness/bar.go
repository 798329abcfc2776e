package harness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Bar is what a row has to reach. Make one with [AtMost] or [AtLeast].
type Bar struct {
	limit float64
	least bool
	mode  mode
	peers []string // none means the best
}

type mode uint8

const (
	absolute   mode = iota // our figure
	ratio                  // ours / peer's
	difference             // ours - peer's
)

// AtMost is a bar for our figure, in the unit of the row.
func AtMost(limit float64) Bar { return Bar{limit: limit} }

// AtLeast is a bar for our figure, in the unit of the row.
func AtLeast(limit float64) Bar { return Bar{limit: limit, least: true} }

// Of makes it a bar for our figure divided by that of each of the peers, or of
// the best peer if none is named.
func (b Bar) Of(peers ...string) Bar {
	b.mode, b.peers = ratio, peers
	return b
}

// Above makes it a bar for our figure minus that of each of the peers, or of
// the best peer if none is named.
func (b Bar) Above(peers ...string) Bar {
	b.mode, b.peers = difference, peers
	return b
}

// String says what the bar asks for, for example "≤ 0.40 × hashicorp".
func (b Bar) String() string {
	sign := "≤ "
	if b.least {
		sign = "≥ "
	}
	whom := strings.Join(b.peers, ", ")
	if whom == "" {
		whom = "best peer"
	}
	switch b.mode {
	case ratio:
		return sign + strconv.FormatFloat(b.limit, 'f', -1, 64) + " × " + whom
	case difference:
		switch {
		case b.limit < 0:
			return fmt.Sprintf("%s%s − %g", sign, whom, -b.limit)
		case b.limit > 0:
			return fmt.Sprintf("%s%s + %g", sign, whom, b.limit)
		}
		return sign + whom
	}
	return fmt.Sprintf("%s%g", sign, b.limit)
}

// A Verdict is how a row stands to one of its bars.
type Verdict struct {
	Bar     string  `json:"bar"`
	Reached float64 `json:"reached"` // what the bar limits; the worst, if it names several peers
	Met     bool    `json:"met"`
}

// verdict holds our figure against the bar. It panics if the bar names a peer
// that was not measured, since such a bar would never be missed.
func (b Bar) verdict(ours Figure, peers []Figure, higher bool) Verdict {
	reached := []float64{}
	switch {
	case b.mode == absolute:
		reached = append(reached, ours.Value)
	case len(b.peers) == 0:
		i := best(peers, higher)
		if i < 0 {
			panic("harness: a bar against the best peer in a row without peers")
		}
		reached = append(reached, b.compare(ours, peers[i]))
	default:
		for _, name := range b.peers {
			i := slices.IndexFunc(peers, func(f Figure) bool { return f.Name == name })
			if i < 0 {
				panic("harness: a bar against " + name + ", which the row does not measure")
			}
			reached = append(reached, b.compare(ours, peers[i]))
		}
	}
	v := Verdict{Bar: b.String()}
	if b.least {
		v.Reached = slices.Min(reached)
		v.Met = v.Reached >= b.limit
	} else {
		v.Reached = slices.Max(reached)
		v.Met = v.Reached <= b.limit
	}
	return v
}

func (b Bar) compare(ours, peer Figure) float64 {
	if b.mode == difference {
		return ours.Value - peer.Value
	}
	return ratioOf(ours, peer)
}
