package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// Settings are those that all nodes of a cluster share.
type Settings struct {
	Cluster    string         // name; nodes of another are turned away
	N          int            // owners of a key
	Level      Level          // with which connections begin
	Policy     replica.Policy // what becomes of concurrent writes
	Sloppy     bool           // others stand in for owners that are away
	Timeout    time.Duration  // for an operation
	Patience   time.Duration  // for an owner before another is asked in its place
	Grace      time.Duration  // for which deletes are remembered
	Memory     bool           // nothing is kept on disk
	Timing     Timing         // of gossip
	Handoff    time.Duration  // between two looks at the hints
	Mend       time.Duration  // between two comparisons with another node; 0 for none
	Sweep      time.Duration  // between two looks for keys that are not where they belong
	NoHints    bool           // for tests: nothing is kept for nodes that are away
	NoRepair   bool           // for tests: reads leave replicas as they are
	Limits     resp.Limits
	Budget     int64         // bytes that a node holds for large values at a time; 0 stands for a default
	Wait       time.Duration // how long a client's command waits for its part of that; 0 stands for 10 seconds
	Write      time.Duration // how long a client may take nothing of an answer; 0 stands for half a minute
	MaxClients int
	Password   string
}

// nodeConfig is what one node is started with.
type nodeConfig struct {
	Name    string
	Dir     string   // for what the node keeps; it exists
	Listen  string   // address for other nodes
	Redis   string   // address for clients
	Member  []Member // known from the beginning
	Join    []string // addresses of nodes to ask for the others
	Status  Status   // with which it begins
	Network *peer.Network
	Settings
	Engine  func(dir string) (Engine, error)
	Log     *slog.Logger
	Latency *metrics.Histogram
	returns bool // others count on it as an owner already
	moved   bool // the client port may be another if its own is in use
}

// A Node is one member of the cluster: its share of the data, a coordinator for
// clients that ask it, and the work that goes on behind them. Start one with
// startNode. A Node is safe for concurrent use by multiple goroutines.
type Node struct {
	config nodeConfig
	log    *slog.Logger

	store    *store
	clock    replica.Clock
	actor    replica.Actor // of what this node coordinates
	endpoint *peer.Endpoint
	roster   *roster
	gossip   *gossip
	server   *resp.Server
	mend     *mender
	move     *mover

	forClients *budget.Budget // of commands; see memory.go
	forPeers   *budget.Budget // of requests of other nodes
	listing    chan struct{}  // one for each client that lists keys

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // operations and workers
	closed atomic.Bool

	keep    sync.Mutex // of what is kept of the members
	queue   *queue
	filling filling
	counts  counts
	started time.Time
}

// counts are what a node has done.
type counts struct {
	commands, reads, writes  atomic.Uint64
	noQuorum, maybe          atomic.Uint64 // operations without a quorum; of those, writes that may take effect
	repaired, ringDisagreed  atomic.Uint64
	hinted, handed           atomic.Uint64
	mended, received, pushed atomic.Uint64 // objects: by anti-entropy; by streaming
}

// all returns the counts in a fixed order.
func (c *counts) all() []*atomic.Uint64 {
	return []*atomic.Uint64{
		&c.commands, &c.reads, &c.writes, &c.noQuorum, &c.maybe, &c.repaired, &c.ringDisagreed,
		&c.hinted, &c.handed, &c.mended, &c.received, &c.pushed,
	}
}

// startNode starts a node and returns when it answers clients.
func startNode(c nodeConfig) (_ *Node, err error) {
	if c.Wait == 0 {
		c.Wait = 10 * time.Second
	}
	clients, peers := c.Settings.budgets()
	c.Limits.Copies = c.copiesWritten()
	n := &Node{config: c, forClients: budget.New(clients, c.Wait), forPeers: budget.New(peers, peerWait), listing: make(chan struct{}, scans), queue: newQueue(), log: c.Log.With("node", c.Name), actor: replica.NewActor(), started: time.Now()}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	listen, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("kvcluster: %s: %w", c.Name, err)
	}
	redis, err := n.listenRedis()
	if err != nil {
		listen.Close()
		return nil, fmt.Errorf("kvcluster: %s: %w", c.Name, err)
	}
	defer func() {
		if err != nil {
			listen.Close()
			redis.Close()
			n.stop(false)
		}
	}()
	if err := n.open(); err != nil {
		return nil, err
	}
	self := Member{Name: c.Name, Addr: listen.Addr().String(), Redis: redis.Addr().String(), Status: c.Status, Version: 1}
	if n.roster, err = newRoster(self, c.N); err != nil {
		return nil, err
	}
	for _, m := range c.Member {
		if m.Name != c.Name {
			if _, err := n.roster.learn(m); err != nil {
				return nil, err
			}
		} else if m.Version >= self.Version { // an earlier life of this node
			self.Version = m.Version + 1
			if err := n.roster.force(self); err != nil {
				return nil, err
			}
		}
	}
	n.endpoint = peer.Listen(listen, peer.Options{Name: c.Name, Cluster: c.Cluster, Network: c.Network, Handle: n.handle, Admit: n.admit, Log: n.log})
	if n.gossip, err = startGossip(n.roster, n.endpoint, c.Timing, n.mend.hints.Wake, n.log); err != nil {
		return nil, err
	}
	n.roster.mu.Lock()
	n.roster.changed = n.rosterChanged
	n.roster.mu.Unlock()
	if err := n.gossip.joinAny(c.Join, len(c.Member) > 1); err != nil {
		return nil, fmt.Errorf("kvcluster: %s: no other node answers: %w", c.Name, err)
	}
	n.rosterChanged(n.roster.placement(), n.roster.own())
	n.startWorkers()
	n.server = resp.Serve(redis, resp.Options{
		Limits: c.Limits, MaxClients: c.MaxClients, Password: c.Password, Log: n.log, Budget: n.forClients, WriteTimeout: c.Write,
		Open: func(conn *resp.Conn) resp.Session { return &client{Conn: conn, node: n, level: n.config.Level} },
	})
	return n, nil
}

// rosterChanged is called after each change of what is known of the members.
func (n *Node) rosterChanged(p *placement, m Member) {
	if m.Name == n.config.Name {
		n.gossip.spread(m)
	}
	n.keep.Lock()
	if err := writeSynced(filepath.Join(n.config.Dir, membersFile), n.roster.encode()); err != nil {
		n.log.Warn("cannot keep the members", "error", err)
	}
	n.keep.Unlock()
	n.move.wake()
}

// wait holds back what a paused node would do.
func (n *Node) wait(ctx context.Context) error { return n.endpoint.Wait(ctx) }

// errStopped ends what a node was doing when it was killed.
var errStopped = errors.New("kvcluster: the node has stopped")

// handle answers other nodes.
func (n *Node) handle(ctx context.Context, from string, method byte, request []byte) ([]byte, error) {
	if budget.From(ctx) == nil {
		claim := n.forPeers.Claim()
		peer.AfterReply(ctx, claim.Release)
		ctx = budget.With(ctx, claim)
	}
	switch method {
	case methodReplica:
		return n.handleReplica(ctx, request)
	case methodList:
		return n.handleList(request)
	case methodCount:
		return n.handleCount(request)
	case methodTree:
		return n.mend.handleTree(from, request)
	case methodObjects:
		return n.handleObjects(ctx, request)
	case methodPush:
		return n.move.handlePush(ctx, request)
	case methodBackup:
		return n.handleBackup(ctx, request)
	case methodRestore:
		return n.handleRestore(ctx, request)
	case methodStats:
		return n.handleStats()
	}
	return nil, errMessage
}

// A replica request on the wire: the fingerprint of the sender's ring, whether it
// must be the receiver's, how large the object of the answer may be, and the request.
// The answer is a zero byte and the reply, or a one and how large the object is.
func (n *Node) handleReplica(ctx context.Context, b []byte) ([]byte, error) {
	d := decoder{b: b}
	ring, strict, room := d.uint64(), d.byte() == 1, int64(min(d.uvarint(), 1<<40))
	if d.bad {
		return nil, errMessage
	}
	q, err := replica.DecodeRequest(d.b)
	if err != nil {
		return nil, err
	}
	q.To = n.config.Name
	if ring != n.roster.placement().ring.Fingerprint() {
		n.counts.ringDisagreed.Add(1)
		if strict {
			return nil, errRing
		}
	}
	reply := n.serve(ctx, q, room, false)
	bytes := int64(size(reply.Object))
	if reply.Err != nil && bytes > peer.Large {
		reply.Object = replica.Object{} // what is in the way can be read
	}
	large, tooLarge := errors.AsType[*roomError](reply.Err)
	if !tooLarge && reply.Err == nil && bytes > max(room, peer.Large) {
		large, tooLarge = &roomError{bytes}, true // what was minted, with siblings
	}
	var e encoder
	if tooLarge {
		e.byte(1)
		e.uvarint(uint64(large.bytes))
		return e, nil
	}
	e.byte(0)
	return replica.AppendReply(e, reply), nil
}

// serve answers a request to this node as a replica, or as one that stands in for
// another, as [store.serve] does.
func (n *Node) serve(ctx context.Context, q replica.Request, room int64, own bool) replica.Reply {
	if q.For != "" {
		return n.serveHint(ctx, q, room, own)
	}
	if err := n.mayAnswer(q); err != nil {
		return q.Reply(replica.Object{}, err)
	}
	return n.store.serve(ctx, time.Now(), q, room, own)
}

func (n *Node) serveHint(ctx context.Context, q replica.Request, room int64, own bool) replica.Reply {
	if q.Kind == replica.Store { // which waits for the disk and reads nothing
		return n.mend.serve(q)
	}
	n.store.readers <- struct{}{}
	defer func() { <-n.store.readers }()
	reply := n.mend.serve(q)
	if q.Bare {
		reply.Object.Versions = slices.Clone(reply.Object.Versions)
		for i := range reply.Object.Versions {
			reply.Object.Versions[i].Data = nil
		}
	}
	switch bytes := int64(size(reply.Object)); {
	case bytes <= peer.Large:
	case bytes > room:
		return q.Reply(replica.Object{}, &roomError{bytes})
	case !own && !budget.From(ctx).Try(2*bytes):
		return q.Reply(replica.Object{}, budget.ErrFull)
	}
	return reply
}

// ask sends a request to a replica and returns what came of it, at the latest when ctx
// ends. For an object that is large it takes room from the claim of ctx.
func (n *Node) ask(ctx context.Context, p *placement, strict bool, q replica.Request) replica.Reply {
	reply := n.askWithin(ctx, p, strict, q, 0)
	if large, ok := errors.AsType[*roomError](reply.Err); ok {
		if err := budget.From(ctx).Take(ctx, large.bytes); err != nil {
			return q.Reply(replica.Object{}, err)
		}
		reply = n.askWithin(ctx, p, strict, q, large.bytes)
	}
	return reply
}

// askWithin is ask with room for an object of so many bytes; if that is too little, the
// error is a [roomError], and a request that changes something has done so
// nevertheless.
func (n *Node) askWithin(ctx context.Context, p *placement, strict bool, q replica.Request, room int64) replica.Reply {
	if q.To == n.config.Name {
		if err := n.wait(ctx); err != nil {
			return q.Reply(replica.Object{}, err)
		}
		reply := n.serve(ctx, q, room, true)
		if err := n.wait(ctx); err != nil {
			return q.Reply(replica.Object{}, unknown(err))
		}
		return reply
	}
	m, ok := p.members[q.To]
	if !ok {
		return q.Reply(replica.Object{}, fmt.Errorf("kvcluster: there is no node %q", q.To))
	}
	var e encoder
	e.uint64(p.ring.Fingerprint())
	e.byte(map[bool]byte{true: 1}[strict])
	e.uvarint(uint64(room))
	e = replica.AppendRequest(e, q)
	claim := budget.From(ctx).Keep() // for as long as the message is on its way
	b, err := n.endpoint.Call(ctx, m.node(), methodReplica, e, claim.Release)
	if err != nil {
		return q.Reply(replica.Object{}, unknown(err))
	}
	d := decoder{b: b}
	if d.byte() == 1 {
		return q.Reply(replica.Object{}, &roomError{int64(d.uvarint())})
	}
	reply, err := replica.DecodeReply(d.b)
	if err != nil {
		return q.Reply(replica.Object{}, err)
	}
	reply.From = q.To
	return reply
}

// unknown marks errors after which nobody knows whether the other node did what it was
// asked.
func unknown(err error) error {
	_, said := errors.AsType[*peer.RemoteError](err)
	if said || errors.Is(err, peer.ErrRefused) || errors.Is(err, peer.ErrClosed) || errors.Is(err, peer.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", replica.ErrTimeout, err)
}

// Close ends the node in order: others hear of it, and what is in memory goes to
// the disk.
func (n *Node) Close() error { return n.stop(true) }

// kill ends the node as a crash does, as far as that can be done in a process that
// lives on: nobody hears of it, nothing that was going on is finished, and
// clients lose their connections without an answer.
func (n *Node) kill() error { return n.stop(false) }

func (n *Node) stop(farewell bool) error {
	if n.closed.Swap(true) {
		return nil
	}
	n.cancel()
	if n.endpoint != nil && !farewell {
		n.endpoint.Close()
	}
	if n.endpoint != nil && farewell {
		n.endpoint.Resume()
	}
	if n.server != nil {
		n.server.Close()
	}
	if n.gossip != nil {
		n.gossip.close(farewell)
	}
	n.work.Wait()
	if n.endpoint != nil {
		n.endpoint.Close()
	}
	return n.closeStores()
}

// open opens what the node keeps.
func (n *Node) open() error {
	engine, err := n.config.Engine(n.config.Dir)
	if err != nil {
		return fmt.Errorf("kvcluster: %s: %w", n.config.Name, err)
	}
	actor, fresh, err := storedActor(engine)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	n.store = newStore(engine, &replica.Replica{
		Policy: n.config.Policy, Actor: actor, Clock: &n.clock, Grace: n.config.Grace,
		MaxSiblingBytes: int(n.config.Limits.Command), // so that all of a key fits a message
	})
	_, half, err := engine.Get([]byte(fillingKey))
	if err != nil {
		return err
	}
	if half {
		n.store.keys.Add(-1)
	}
	if half || fresh && n.config.returns {
		if err := n.beginFilling(); err != nil {
			return err
		}
	}
	n.move = newMover(n)
	if n.mend, err = openMender(n); err != nil {
		return err
	}
	n.store.stored = n.mend.changed
	return nil
}

// storedActor returns the identity of a store, which is made with it and lost with
// it; fresh says that it was just made.
func storedActor(e Engine) (actor replica.Actor, fresh bool, err error) {
	text, ok, err := e.Get([]byte(actorKey))
	if err != nil {
		return 0, false, err
	}
	if ok {
		n, err := strconv.ParseUint(string(text), 16, 64)
		if err != nil || n == 0 {
			return 0, false, fmt.Errorf("kvcluster: not the identity of a store: %q", text)
		}
		return replica.Actor(n), false, nil
	}
	actor = replica.NewActor()
	return actor, true, e.Put([]byte(actorKey), []byte(actor.String()))
}

// writeSynced writes a small file, whole or not at all.
func writeSynced(path string, data []byte) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// merge has the engine merge what it has on disk, where it knows how to.
func (n *Node) merge(ctx context.Context) error {
	if m, ok := n.store.engine.(Merger); ok {
		return m.Merge(ctx)
	}
	return fmt.Errorf("kvcluster: %s: its engine has nothing to merge", n.config.Name)
}

func (n *Node) closeStores() error {
	if n.store == nil {
		return nil
	}
	var err error
	if n.mend != nil {
		err = n.mend.close()
	}
	return errors.Join(err, n.store.engine.Close())
}

func (n *Node) startWorkers() {
	n.work.Go(n.mend.handOver)
	n.work.Go(n.mend.compare)
	n.work.Go(n.move.run)
}

func (n *Node) listenRedis() (net.Listener, error) {
	return web.Listen(n.ctx, n.config.Redis, n.config.moved)
}
