package replica

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// histories is how many seeds the simulations try:
//
//	go test ./kvstore/replica -run Faults -histories 2000
var histories = flag.Int("histories", 8, "histories for each kind of simulation")

// A sim is a cluster of one key under a seeded network that delays, reorders,
// duplicates and loses messages, with replicas that crash and return with what
// they had synced, and clocks that differ.
type sim struct {
	rng      *rand.Rand
	now      time.Time
	rules    Coordinator
	nodes    []string
	replicas map[string]*simReplica
	queue    []delivery
	clients  []*simClient
	events   []event
	moment   int
	lose     int // of 100 messages
}

type simReplica struct {
	Replica
	have  Object
	hints map[string]Object
	until time.Time // down until then
	skew  time.Duration
}

type simClient struct {
	coordinator *Coordinator
	op          machine
	event       int
	old         []machine // done, not finished
	left        int
	again       time.Time
	writes      bool
}

type delivery struct {
	at     time.Time
	op     machine
	client *simClient
	q      Request
	r      Reply
	answer bool
}

func newSim(seed uint64, rules Coordinator, owners, spares, clients, ops int) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, rules: rules, replicas: map[string]*simReplica{}}
	for i := range owners + spares {
		name := string(rune('A' + i))
		s.nodes = append(s.nodes, name)
		s.replicas[name] = &simReplica{
			Replica: Replica{Policy: rules.Policy, Actor: Actor(1 + i), Clock: &Clock{}},
			hints:   map[string]Object{}, skew: time.Duration(s.rng.IntN(4000)-2000) * time.Millisecond,
		}
	}
	for i := range clients {
		c := rules
		c.Self = s.nodes[i%len(s.nodes)]
		c.Actor, c.Clock = Actor(1000+i), &Clock{}
		c.Timeout = 300 * time.Millisecond
		s.clients = append(s.clients, &simClient{coordinator: &c, left: ops, again: s.now, writes: i%2 == 0})
	}
	s.rules.R, s.rules.W = rules.R, rules.W
	return s
}

func (s *sim) preference() Preference {
	n := len(s.nodes)
	if s.rules.Sloppy {
		n = 3
	}
	return Preference{s.nodes[:n:n], s.nodes[n:]}
}

// send puts requests on their way.
func (s *sim) send(c *simClient, op machine, requests []Request) {
	for _, q := range requests {
		s.fly(delivery{op: op, client: c, q: q})
	}
}

// fly puts a message on its way: once, twice or not at all.
func (s *sim) fly(d delivery) {
	for range 1 + s.rng.IntN(10)/9 {
		if s.rng.IntN(100) < s.lose {
			continue
		}
		d.at = s.now.Add(time.Duration(1+s.rng.IntN(40)) * time.Millisecond)
		if s.rng.IntN(20) == 0 {
			d.at = d.at.Add(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
		}
		s.queue = append(s.queue, d)
	}
}

// run lets a millisecond pass until everybody has done what they had to do.
func (s *sim) run() {
	for busy := true; busy; {
		s.now = s.now.Add(time.Millisecond)
		due := slices.DeleteFunc(slices.Clone(s.queue), func(d delivery) bool { return d.at.After(s.now) })
		s.queue = slices.DeleteFunc(s.queue, func(d delivery) bool { return !d.at.After(s.now) })
		s.rng.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		for _, d := range due {
			s.deliver(d)
		}
		if s.lose > 0 && s.rng.IntN(200) == 0 {
			s.crash()
		}
		busy = len(s.queue) > 0
		for i, c := range s.clients {
			busy = s.turn(i, c) || busy
		}
	}
}

func (s *sim) crash() {
	r := s.replicas[s.nodes[s.rng.IntN(len(s.nodes))]]
	r.until = s.now.Add(time.Duration(s.rng.IntN(500)) * time.Millisecond)
	r.Clock = &Clock{}
}

func (s *sim) deliver(d delivery) {
	if d.answer {
		s.tell(d.client, d.op, d.r)
		return
	}
	node := s.replicas[d.q.To]
	if s.now.Before(node.until) {
		return
	}
	var reply Reply
	switch {
	case d.q.For != "" && d.q.Kind == Fetch:
		reply = d.q.Reply(node.hints[d.q.For], nil)
	case d.q.For != "":
		node.hints[d.q.For] = node.Policy.Merge(node.hints[d.q.For], d.q.Object)
		reply = d.q.Reply(Object{}, nil)
	default:
		var store bool
		var next Object
		next, store, reply = node.Serve(s.now.Add(node.skew), node.have, d.q)
		if store {
			node.have = next
		}
	}
	d.answer, d.r = true, reply
	s.fly(d)
}

// tell steps an operation, and notes what its client learns.
func (s *sim) tell(c *simClient, op machine, replies ...Reply) {
	before := op.Done()
	s.send(c, op, op.Step(s.now, replies...))
	if op != c.op || before || !op.Done() {
		return
	}
	e := &s.events[c.event]
	s.moment++
	if op.Err() == nil {
		e.ret = s.moment
		e.learn(op.Object(), s.now)
	}
	c.again = s.now.Add(time.Duration(s.rng.IntN(60)) * time.Millisecond)
	c.old = append(c.old, op)
	c.op = nil
}

// turn lets a client go on, and says whether it is not done.
func (s *sim) turn(i int, c *simClient) bool {
	for _, op := range append(slices.Clone(c.old), c.op) {
		if op != nil && !op.Finished() && !s.now.Before(op.Next()) {
			s.tell(c, op)
		}
	}
	c.old = slices.DeleteFunc(c.old, machine.Finished)
	if c.op == nil && c.left > 0 && !s.now.Before(c.again) {
		c.left--
		write := c.writes && s.rng.IntN(3) > 0
		s.moment++
		c.event = len(s.events)
		e := event{call: s.moment, ret: math.MaxInt}
		if write {
			e.value = fmt.Sprintf("%d/%d ", i, c.left)
			e.add = s.rules.Policy == Consensus
			e.write = !e.add
		}
		c.op = begin(c.coordinator, s.preference(), e.value)
		s.events = append(s.events, e)
		s.tell(c, c.op)
	}
	return c.op != nil || c.left > 0 || len(c.old) > 0
}

func TestStrictRegistersAreLinearizableUnderFaults(t *testing.T) {
	for seed := range uint64(*histories) {
		for _, q := range [][3]int{{3, 2, 2}, {3, 1, 3}, {3, 3, 1}, {5, 3, 3}, {4, 2, 3}, {1, 1, 1}} {
			rules := Coordinator{Policy: LastWriterWins, R: q[1], W: q[2], Strict: true}
			s := newSim(seed, rules, q[0], 0, 4, 8)
			s.lose = int(seed%4) * 5
			s.run()
			require.True(t, linearizable(s.events), "seed %d, N %d R %d W %d: %v", seed, q[0], q[1], q[2], s.events)
		}
	}
}

func TestUpdatesAreLinearizableUnderFaults(t *testing.T) {
	acknowledged, attempts := 0, 0
	for seed := range uint64(*histories) {
		for _, q := range [][3]int{{3, 2, 2}, {3, 1, 3}, {3, 3, 1}, {5, 3, 3}, {4, 2, 3}, {1, 1, 1}} {
			s := newSim(seed, Coordinator{Policy: Consensus, R: q[1], W: q[2]}, q[0], 0, 4, 8)
			s.lose = int(seed%4) * 5
			s.run()
			for _, e := range s.events {
				if e.add {
					attempts++
				}
				if e.add && e.ret != math.MaxInt {
					acknowledged++
				}
			}
			require.True(t, linearizable(s.events), "seed %d, N %d R %d W %d: %v", seed, q[0], q[1], q[2], s.events)
		}
	}
	require.Greater(t, acknowledged, attempts/4)
	t.Logf("%d of %d updates acknowledged", acknowledged, attempts)
}

func TestLastWriterWinsWithOverlapAloneIsNotLinearizable(t *testing.T) {
	found := 0
	for seed := range uint64(100) {
		s := newSim(seed, Coordinator{Policy: LastWriterWins, R: 2, W: 2}, 3, 0, 4, 8)
		s.run()
		if !linearizable(s.events) {
			found++
		}
	}
	require.NotZero(t, found, "the checker and the faults ought to tell strict from R+W > N")
}
