package replica

import (
	"iter"
	"slices"

	"github.com/ashlar-go/ashlar/consistenthash"
)

// A Preference says who keeps a key: its N owners, and who may stand in for
// them, in order.
//
// A Preference that is not changed is safe for concurrent use by multiple
// goroutines.
type Preference struct {
	Owners    []string
	Fallbacks []string
}

// Prefer returns the preference for a key under a placement: its first n nodes
// own it, and all others may stand in, in the order in which they come. With
// Options.Zone of the placement, owners are in as many zones as there are.
func Prefer(p consistenthash.Placement[string], key []byte, n int) Preference {
	var nodes []string
	for node := range p.Owners(string(key)) {
		nodes = append(nodes, node)
	}
	n = min(max(n, 0), len(nodes))
	return Preference{nodes[:n:n], nodes[n:]}
}

// A Move is what a change of placement means for one key: who has it, of whom
// one should send it, and who owns it from now on without having it. Those in
// Left own it no more; they may drop it when all in Joined have it.
//
// A Move that is not changed is safe for concurrent use by multiple goroutines.
type Move struct {
	Key    string
	From   []string // owners before, in order
	Joined []string
	Left   []string
}

// Moves iterates over those of the keys whose n owners under after are others
// than under before. The first of From that is there should send the key to all
// in Joined; a node that goes through its own keys finds with it what it has to
// hand over.
func Moves(before, after consistenthash.Placement[string], n int, keys iter.Seq[string]) iter.Seq[Move] {
	return func(yield func(Move) bool) {
		for key := range keys {
			m := Move{Key: key, From: first(before, key, n)}
			now := first(after, key, n)
			for _, node := range now {
				if !slices.Contains(m.From, node) {
					m.Joined = append(m.Joined, node)
				}
			}
			for _, node := range m.From {
				if !slices.Contains(now, node) {
					m.Left = append(m.Left, node)
				}
			}
			if len(m.Joined)+len(m.Left) > 0 && !yield(m) {
				return
			}
		}
	}
}

// first returns the first n nodes of a key.
func first(p consistenthash.Placement[string], key string, n int) []string {
	nodes := make([]string, 0, n)
	for node := range p.Owners(key) {
		if len(nodes) == n {
			break
		}
		nodes = append(nodes, node)
	}
	return nodes
}
