package kvcluster

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/consistenthash"
)

// The ring is drawn in layers: who owns which part of the circle, the nodes and the
// links between them, and where a key is. Layers are replaced at different times.
const (
	ringSize   = 340
	ringCentre = ringSize / 2
	ringRadius = 156 // of the circle
	nodeRadius = 96  // on which the nodes stand
)

// on returns a point of a circle; turn is the share of it, clockwise from the top.
func on(radius, turn float64) (x, y float64) {
	sin, cos := math.Sincos(2 * math.Pi * turn)
	return ringCentre + radius*sin, ringCentre - radius*cos
}

func layer(label, content string) template.HTML {
	role := `aria-hidden="true"`
	if label != "" {
		role = `role="img" aria-label="` + html.EscapeString(label) + `"`
	}
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" %s>%s</svg>`, ringSize, ringSize, role, content))
}

// colour is the class of a node's colour: by its number in the list of all.
func colour(names []string, name string) string {
	return fmt.Sprintf("k%d", max(0, slices.Index(names, name))%8)
}

// arcs draws who owns what: for each node one path with all its parts.
func arcs(ring *consistenthash.Ring[string], names []string) template.HTML {
	paths := map[string]*strings.Builder{}
	before, owner, began := -1.0, "", 0.0
	draw := func(until float64) {
		if owner == "" || until <= began {
			return
		}
		b := paths[owner]
		if b == nil {
			b = &strings.Builder{}
			paths[owner] = b
		}
		x1, y1 := on(ringRadius, began)
		x2, y2 := on(ringRadius, until)
		fmt.Fprintf(b, "M%.1f %.1fA%d %d 0 %d 1 %.1f %.1f", x1, y1, ringRadius, ringRadius, map[bool]int{true: 1}[until-began > 0.5], x2, y2)
	}
	first := ""
	for at, node := range ring.Points() {
		if first == "" {
			first = node
		}
		// What lies before a point belongs to its node.
		if node != owner {
			if before >= 0 {
				draw(before)
				began = before
			}
			owner = node
		}
		before = float64(at) / (1 << 32)
	}
	draw(before)
	owner, began = first, before
	draw(1 - 1e-6)
	var all strings.Builder
	for _, name := range names {
		if b := paths[name]; b != nil {
			fmt.Fprintf(&all, `<path class="arc %s" d="%s"/>`, colour(names, name), b)
		}
	}
	return layer("", all.String())
}

// discs draws the nodes and the links between them.
func (s *System) discs(hosts []Host, names []string) template.HTML {
	var links, nodes strings.Builder
	var says []string
	network := s.cluster.Network
	for i, a := range hosts {
		x1, y1 := on(nodeRadius, float64(i)/float64(len(hosts)))
		for j := range i {
			b := hosts[j]
			x2, y2 := on(nodeRadius, float64(j)/float64(len(hosts)))
			there, back := network.Rule(a.Name, b.Name), network.Rule(b.Name, a.Name)
			class := ""
			switch {
			case there.Cut || back.Cut:
				class = " cut"
				says = append(says, "no way between "+b.Name+" and "+a.Name)
			case there.Delay > 0 || back.Delay > 0:
				class = " slow"
			case a.State == Killed || a.State == Gone || b.State == Killed || b.State == Gone:
				continue
			}
			fmt.Fprintf(&links, `<line class="link%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
		}
		state := string(a.State)
		if a.State == Running {
			state = ""
		} else {
			says = append(says, a.Name+" is "+state)
		}
		fmt.Fprintf(&nodes, `<g class="%s %s"><circle class="disc" cx="%.1f" cy="%.1f" r="25"/><text x="%.1f" y="%.1f">%s</text><text class="small" x="%.1f" y="%.1f">%s</text></g>`,
			colour(names, a.Name), a.State, x1, y1, x1, y1+map[bool]float64{true: 5, false: 0}[state == ""], a.Name, x1, y1+14, state)
	}
	if len(says) == 0 {
		says = []string{"all run and reach each other"}
	}
	return layer(fmt.Sprintf("%d nodes: %s.", len(hosts), strings.Join(says, ", ")), links.String()+nodes.String())
}

// place draws where a key is and who owns it.
func place(ring *consistenthash.Ring[string], key string, owners, names []string) template.HTML {
	if key == "" {
		return ""
	}
	var b strings.Builder
	turn := float64(ring.Position(key)) / (1 << 32)
	x1, y1 := on(ringRadius-14, turn)
	x2, y2 := on(ringRadius+12, turn)
	fmt.Fprintf(&b, `<line class="place" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x1, y1, x2, y2)
	for _, owner := range owners {
		if i := slices.Index(names, owner); i >= 0 {
			x, y := on(nodeRadius, float64(i)/float64(len(names)))
			fmt.Fprintf(&b, `<circle class="halo" cx="%.1f" cy="%.1f" r="31"/>`, x, y)
		}
	}
	return layer(fmt.Sprintf("The key belongs to %s.", strings.Join(owners, ", ")), b.String())
}

// shares returns the part of the circle that each node has.
func shares(ring *consistenthash.Ring[string]) map[string]float64 {
	share := map[string]float64{}
	before, first := 0.0, ""
	for at, node := range ring.Points() {
		if first == "" {
			first = node
		}
		position := float64(at) / (1 << 32)
		share[node] += position - before
		before = position
	}
	if first != "" {
		share[first] += 1 - before
	}
	return share
}
