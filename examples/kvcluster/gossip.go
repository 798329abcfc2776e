package kvcluster

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
)

// gossip spreads the roster and knows who can be reached.
//
// memberlist finds out who is there, by probes. Who owns keys is another question,
// which the roster answers: a node that does not answer keeps its place on the
// ring, since what it owns would else move for each hiccup.
type gossip struct {
	roster *roster
	list   *memberlist.Memberlist
	queue  memberlist.TransmitLimitedQueue
	log    *slog.Logger
	found  func(name string) // called when a node can be reached again
	alive  atomic.Pointer[map[string]bool]
	mu     sync.Mutex // of changes to alive
	stop   chan struct{}
	done   sync.WaitGroup
}

// Timing says how fast failures are noticed.
type Timing struct {
	Probe     time.Duration // between two probes of a node
	Patience  time.Duration // for the answer to a probe
	Gossip    time.Duration // between two rounds of gossip
	Reconnect time.Duration // between two tries to reach those that are away
}

var defaultTiming = Timing{Probe: 500 * time.Millisecond, Patience: 250 * time.Millisecond, Gossip: 100 * time.Millisecond, Reconnect: time.Second}

func startGossip(r *roster, e *peer.Endpoint, t Timing, found func(string), log *slog.Logger) (*gossip, error) {
	g := &gossip{roster: r, log: log, found: found, stop: make(chan struct{})}
	g.alive.Store(&map[string]bool{r.self: true})
	c := memberlist.DefaultLANConfig()
	c.Name = r.self
	c.Transport = e.Transport()
	c.AdvertisePort = 0
	c.ProbeInterval, c.ProbeTimeout, c.GossipInterval = t.Probe, t.Patience, t.Gossip
	c.PushPullInterval = 10 * t.Probe
	c.TCPTimeout = max(2*t.Probe, 2*time.Second)
	c.SuspicionMult = 3
	c.SuspicionMaxTimeoutMult = 2
	c.GossipToTheDeadTime = time.Minute
	c.DeadNodeReclaimTime = time.Millisecond // a node that restarts may have another address
	c.Delegate, c.Events = g, g
	c.Logger = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	g.queue.RetransmitMult = 3
	g.queue.NumNodes = func() int { return len(g.reachable()) }
	var err error
	if g.list, err = memberlist.Create(c); err != nil {
		return nil, err
	}
	g.done.Go(func() { g.reconnect(t.Reconnect) })
	return g, nil
}

// join makes itself known to nodes at these addresses.
func (g *gossip) join(addrs []string) error {
	_, err := g.list.Join(addrs)
	return err
}

// joinTime is how long a node looks for others before it gives up.
const joinTime = 15 * time.Second

// joinAny makes itself known to one node at least. A node that knows members from
// elsewhere need not: it will be found, or find them.
func (g *gossip) joinAny(addrs []string, known bool) error {
	for began := time.Now(); len(addrs) > 0; time.Sleep(50 * time.Millisecond) {
		err := g.join(addrs)
		if err == nil || known {
			return nil
		}
		if time.Since(began) > joinTime {
			return err
		}
	}
	return nil
}

// reconnect looks for members that are away: probes stop when a node is taken
// for dead, so a long partition would not heal by itself.
func (g *gossip) reconnect(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for next := 0; ; next++ {
		select {
		case <-tick.C:
		case <-g.stop:
			return
		}
		alive := *g.alive.Load()
		var away []Member
		for _, m := range g.roster.placement().members {
			if m.Status != Left && m.Name != g.roster.self && !alive[m.Name] {
				away = append(away, m)
			}
		}
		if len(away) == 0 {
			continue
		}
		slices.SortFunc(away, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
		m := away[next%len(away)]
		if err := g.join([]string{m.Name + "/" + m.Addr}); err != nil {
			g.log.Debug("reconnect", "to", m.Name, "error", err)
		}
	}
}

// isAlive reports whether a node can be reached, as far as this one knows.
func (g *gossip) isAlive(name string) bool { return (*g.alive.Load())[name] }

// reachable returns the nodes that can be reached, with this one, sorted.
func (g *gossip) reachable() []string { return slices.Sorted(maps.Keys(*g.alive.Load())) }

func (g *gossip) mark(name string, alive bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := maps.Clone(*g.alive.Load())
	delete(next, name)
	if alive || name == g.roster.self {
		next[name] = true
	}
	g.alive.Store(&next)
}

// spread tells others about a member.
func (g *gossip) spread(m Member) {
	data, err := json.Marshal(m)
	if err != nil {
		panic("kvcluster: " + err.Error()) // strings and numbers can be encoded
	}
	g.queue.QueueBroadcast(&news{m.Name, data})
}

// close ends gossip without a farewell, as a crash does, or with one.
func (g *gossip) close(farewell bool) {
	close(g.stop)
	g.done.Wait()
	if farewell {
		if err := g.list.Leave(time.Second); err != nil {
			g.log.Debug("farewell", "error", err)
		}
	}
	if err := g.list.Shutdown(); err != nil {
		g.log.Debug("end of gossip", "error", err)
	}
}

// news is what is told about one member; newer news replace it.
type news struct {
	name string
	data []byte
}

func (n *news) Invalidates(o memberlist.Broadcast) bool {
	other, ok := o.(*news)
	return ok && other.name == n.name
}
func (n *news) Name() string    { return n.name }
func (n *news) Message() []byte { return n.data }
func (n *news) Finished()       {}

// NodeMeta implements [memberlist.Delegate].
func (g *gossip) NodeMeta(limit int) []byte { return nil }

// NotifyMsg implements [memberlist.Delegate].
func (g *gossip) NotifyMsg(b []byte) {
	var m Member
	if err := json.Unmarshal(b, &m); err != nil {
		g.log.Warn("bad gossip", "error", err)
		return
	}
	if isNews, err := g.roster.learn(m); err != nil {
		g.log.Warn("bad gossip", "error", err)
	} else if isNews && m.Name != g.roster.self {
		g.spread(m)
	}
}

// GetBroadcasts implements [memberlist.Delegate].
func (g *gossip) GetBroadcasts(overhead, limit int) [][]byte {
	return g.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements [memberlist.Delegate].
func (g *gossip) LocalState(bool) []byte { return g.roster.encode() }

// MergeRemoteState implements [memberlist.Delegate].
func (g *gossip) MergeRemoteState(b []byte, _ bool) {
	if err := g.roster.merge(b); err != nil {
		g.log.Warn("bad gossip", "error", err)
	}
}

// NotifyJoin implements [memberlist.EventDelegate].
func (g *gossip) NotifyJoin(n *memberlist.Node) {
	g.mark(n.Name, true)
	g.found(n.Name)
}

// NotifyLeave implements [memberlist.EventDelegate].
func (g *gossip) NotifyLeave(n *memberlist.Node) { g.mark(n.Name, false) }

// NotifyUpdate implements [memberlist.EventDelegate].
func (g *gossip) NotifyUpdate(*memberlist.Node) {}
