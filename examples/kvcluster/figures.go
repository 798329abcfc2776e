package kvcluster

import (
	"context"
	"encoding/json"
)

// Figures are what a node says about itself.
type Figures struct {
	Keys      int64          `json:"keys"` // objects, tombstones with them
	Hints     int            `json:"hints"`
	HintsFor  map[string]int `json:"hintsFor,omitempty"`
	Differ    int            `json:"differ"` // parts of the key space in which this node was found to differ from another
	Commands  uint64         `json:"commands"`
	Reads     uint64         `json:"reads"`
	Writes    uint64         `json:"writes"`
	NoQuorum  uint64         `json:"noQuorum"`
	Maybe     uint64         `json:"maybe"`
	Repaired  uint64         `json:"repaired"`
	Hinted    uint64         `json:"hinted"`
	Handed    uint64         `json:"handed"`
	Mended    uint64         `json:"mended"`
	Received  uint64         `json:"received"`
	Pushed    uint64         `json:"pushed"`
	Ring      uint64         `json:"ring"`
	Reachable []string       `json:"reachable"`
	Engine    EngineStats    `json:"engine"`
}

func (n *Node) figures() Figures {
	c := &n.counts
	hints, per := n.mend.waiting()
	return Figures{
		Keys: n.store.keys.Load(), Hints: hints, HintsFor: per, Differ: n.mend.differing(),
		Commands: c.commands.Load(), Reads: c.reads.Load(), Writes: c.writes.Load(), NoQuorum: c.noQuorum.Load(), Maybe: c.maybe.Load(),
		Repaired: c.repaired.Load(), Hinted: c.hinted.Load(), Handed: c.handed.Load(), Mended: c.mended.Load(), Received: c.received.Load(), Pushed: c.pushed.Load(),
		Ring: n.roster.placement().ring.Fingerprint(), Reachable: n.gossip.reachable(), Engine: n.store.engine.Stats(),
	}
}

func (n *Node) handleStats() ([]byte, error) { return json.Marshal(n.figures()) }

// askFigures returns what another member says about itself.
func (n *Node) askFigures(ctx context.Context, m Member) (f Figures, err error) {
	if m.Name == n.config.Name {
		return n.figures(), nil
	}
	b, err := n.endpoint.Call(ctx, m.node(), methodStats, nil)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}
