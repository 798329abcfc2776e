package kvcluster

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A mender brings replicas that have missed something up to date: it keeps hints for
// nodes that are away and hands them over, and compares this node's data with
// others'.
type mender struct {
	node  *Node
	hints *replica.Hints
	trees atomic.Pointer[forest]

	mu     sync.Mutex
	differ map[string]int // leaves in which a comparison with a node found differences
}

// hintsDir is where a node keeps its hints, below its own directory.
const hintsDir = "hints"

// openMender opens the hints that the node has kept.
func openMender(n *Node) (*mender, error) {
	hints, err := replica.OpenHints(filepath.Join(n.config.Dir, hintsDir), &replica.HintsOptions{
		Policy: n.config.Policy, MaxAge: n.config.Grace / 2, MaxBytes: 64 << 20, Retry: n.config.Handoff, Logger: n.log,
	})
	if err != nil {
		return nil, err
	}
	return &mender{node: n, hints: hints, differ: map[string]int{}}, nil
}

func (m *mender) close() error { return m.hints.Close() }

// serve answers a request for what is kept for another node.
func (m *mender) serve(q replica.Request) replica.Reply {
	if m.node.config.NoHints && q.Kind == replica.Store {
		return q.Reply(replica.Object{}, replica.ErrRefused)
	}
	reply := m.hints.Serve(m.node.ctx, q)
	if q.Kind == replica.Store && reply.Err == nil {
		m.node.counts.hinted.Add(1)
	}
	return reply
}

// waiting returns how many hints wait, and for whom.
func (m *mender) waiting() (all int, per map[string]int) {
	per = m.hints.Waiting()
	for _, n := range per {
		all += n
	}
	return all, per
}

// handOver hands hints over until the node stops.
func (m *mender) handOver() {
	if err := m.hints.Run(m.node.ctx, m.deliver); m.node.ctx.Err() == nil {
		m.node.log.Error("hints are not handed over any more", "error", err)
	}
}

// deliver hands one hint over. Those for a node that has left go to whoever owns the
// key now.
func (m *mender) deliver(ctx context.Context, h replica.Hint) error {
	n := m.node
	if err := n.wait(ctx); err != nil {
		return err
	}
	p := n.roster.placement()
	if member, ok := p.members[h.Node]; !ok || member.Status == Left {
		b := n.newBatcher(ctx)
		for _, owner := range p.owners(h.Key) {
			b.add(owner, h.Key, h.Object)
		}
		return b.flush()
	}
	if !n.gossip.isAlive(h.Node) {
		return replica.ErrDown
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
	defer cancel()
	reply := n.ask(ctx, p, false, replica.Request{To: h.Node, Kind: replica.Store, Key: h.Key, Object: h.Object})
	if reply.Err == nil {
		n.counts.handed.Add(1)
	}
	return reply.Err
}

// differing returns in how many leaves this node was found to differ from others.
func (m *mender) differing() (leaves int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.differ {
		leaves += n
	}
	return leaves
}

func (m *mender) found(peer string, leaves int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if leaves == 0 {
		delete(m.differ, peer)
	} else {
		m.differ[peer] = leaves
	}
}

// compare compares this node's data with others', one after the other, until the
// node stops.
func (m *mender) compare() {
	n := m.node
	for next := 0; ; next++ {
		pause := n.config.Mend
		if pause == 0 {
			<-n.ctx.Done()
			return
		}
		if n.filling.on.Load() {
			pause = min(pause, 200*time.Millisecond)
		}
		if sleep(n.ctx, jitter(pause)) != nil || n.wait(n.ctx) != nil {
			return
		}
		p := n.roster.placement()
		f := m.grown(p)
		if f == nil {
			continue
		}
		peers := slices.Collect(n.peers(p))
		if len(peers) == 0 {
			continue
		}
		peer := peers[next%len(peers)]
		ctx, cancel := context.WithTimeout(n.ctx, 10*n.config.Timeout)
		err := m.compareWith(ctx, f, peer)
		if err == nil {
			err = n.compared(p, peer.Name)
		}
		if err != nil && n.ctx.Err() == nil {
			n.log.Debug("comparison ended early", "with", peer.Name, "error", err)
		}
		cancel()
	}
}

// peers iterates over the other members with keys that can be reached, by name.
func (n *Node) peers(p *placement) func(func(Member) bool) {
	return func(yield func(Member) bool) {
		for name := range p.ring.Nodes() {
			if name != n.config.Name && n.gossip.isAlive(name) && !yield(p.members[name]) {
				return
			}
		}
	}
}

func byName(a, b Member) int { return strings.Compare(a.Name, b.Name) }
