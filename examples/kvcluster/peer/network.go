package peer

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A Rule is what the network does to messages on one link.
type Rule struct {
	Cut   bool          // nothing arrives
	Delay time.Duration // of each message
	Drop  float64       // the share of messages that are lost, 0 to 1
}

// A Network holds the rules of the links between nodes, by name and direction. A
// link without a rule works. The zero Network is ready to use. A Network is safe
// for concurrent use by multiple goroutines.
type Network struct {
	mu    sync.RWMutex
	rules map[[2]string]Rule
}

// Set makes rule hold for messages from one node to another.
func (n *Network) Set(from, to string, rule Rule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rule == (Rule{}) {
		delete(n.rules, [2]string{from, to})
		return
	}
	if n.rules == nil {
		n.rules = map[[2]string]Rule{}
	}
	n.rules[[2]string{from, to}] = rule
}

// Rule returns the rule of a link.
func (n *Network) Rule(from, to string) Rule {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.rules[[2]string{from, to}]
}

// Partition cuts all links between nodes on different sides, and mends the cuts
// between those on the same side. Links of nodes that are on no side stay as they are.
func (n *Network) Partition(sides ...[]string) {
	side := map[string]int{}
	for i, names := range sides {
		for _, name := range names {
			side[name] = i
		}
	}
	for a := range side {
		for b := range side {
			if a != b {
				rule := n.Rule(a, b)
				rule.Cut = side[a] != side[b]
				n.Set(a, b, rule)
			}
		}
	}
}

// Heal removes all rules.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.rules)
}

// Faulty reports whether any link has a rule.
func (n *Network) Faulty() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.rules) > 0
}

// pass is the way of one message: it returns when the message has arrived, or
// the context's error when that ended first. What is lost never arrives.
func (n *Network) pass(ctx context.Context, from, to string) error {
	rule := n.Rule(from, to)
	if rule.Cut || rule.Drop > 0 && rand.Float64() < rule.Drop {
		<-ctx.Done()
		return ctx.Err()
	}
	if rule.Delay <= 0 {
		return nil
	}
	timer := time.NewTimer(rule.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A gate lets everybody through unless it is closed.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open; nil: never was shut
}

// shut closes the gate.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil || isClosed(g.open) {
		g.open = make(chan struct{})
	}
}

// free opens the gate.
func (g *gate) free() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil && !isClosed(g.open) {
		close(g.open)
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open != nil && !isClosed(g.open)
}

// wait returns when the gate is open, or the context's error.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if open == nil {
		return nil
	}
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
