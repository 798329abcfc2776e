package replica

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

// epoch is the wall clock of tests that stand still.
var epoch = time.UnixMilli(1_000_000)

// A machine is what Read and Write have in common for those who drive them.
type machine interface {
	Step(time.Time, ...Reply) []Request
	Next() time.Time
	Done() bool
	Finished() bool
	Err() error
	Object() Object
}

// A world is a few replicas of one key, clients that do one operation after the
// other, and all messages on their way. Each client has a coordinator of its
// own.
type world struct {
	rules    Coordinator
	nodes    []string
	have     []Object
	flying   []flight
	clients  []client
	events   []event
	moment   int
	replicas Replica
	tries    int // ballots for an update
}

// A flight is a message on its way: a request to a replica, or a reply to
// operation op of a client.
type flight struct {
	client, op int
	request    Request
	reply      Reply
	answer     bool
}

type client struct {
	coordinator *Coordinator
	script      []string // values to write; "" is a read; under Consensus they are appended
	ops         []machine
	events      []int // where in events each operation is
}

func newWorld(rules Coordinator, n int, scripts ...[]string) *world {
	w := &world{rules: rules, replicas: Replica{Policy: rules.Policy, Actor: 1, Clock: &Clock{}}}
	for i := range n {
		w.nodes = append(w.nodes, string(rune('A'+i)))
	}
	w.have = make([]Object, n)
	for i, script := range scripts {
		c := rules
		c.Actor, c.Clock = Actor(100+i), &Clock{}
		w.clients = append(w.clients, client{coordinator: &c, script: script})
	}
	return w
}

// clone returns a world that can go another way.
func (w *world) clone() *world {
	c := *w
	c.have, c.flying, c.events = slices.Clone(w.have), slices.Clone(w.flying), slices.Clone(w.events)
	c.clients = slices.Clone(w.clients)
	for i := range c.clients {
		k := &c.clients[i]
		coordinator := *k.coordinator
		coordinator.Clock = &Clock{}
		coordinator.Clock.Seen(Time(k.coordinator.Clock.last.Load()))
		k.coordinator, k.events = &coordinator, slices.Clone(k.events)
		k.ops = slices.Clone(k.ops)
		for j := range k.ops {
			k.ops[j] = cloneOp(k.ops[j], &coordinator)
		}
	}
	return &c
}

func cloneOp(m machine, c *Coordinator) machine {
	cloneRound := func(r *round) *round {
		if r == nil {
			return nil
		}
		return &round{c, slices.Clone(r.slots), r.spare}
	}
	switch op := m.(type) {
	case *Read:
		o := *op
		o.c, o.round, o.objects, o.back = c, cloneRound(op.round), slices.Clone(op.objects), slices.Clone(op.back)
		return &o
	case *Write:
		o := *op
		o.c, o.round, o.refused = c, cloneRound(op.round), slices.Clone(op.refused)
		return &o
	case *Update:
		o := *op
		o.c, o.round, o.objects = c, cloneRound(op.round), slices.Clone(op.objects)
		o.made, o.without = slices.Clone(op.made), slices.Clone(op.without)
		for i := range o.made {
			o.made[i].ballots = slices.Clone(o.made[i].ballots)
		}
		return &o
	}
	panic("unknown machine")
}

// options returns how many things can happen next.
func (w *world) options() int {
	n := len(w.flying) + len(w.pausing())
	for _, c := range w.clients {
		if w.idle(c) {
			n++
		}
	}
	return n
}

// pausing returns the operations that will make a second attempt.
func (w *world) pausing() (ops [][2]int) {
	for i, c := range w.clients {
		for j, m := range c.ops {
			if u, ok := m.(*Update); ok && u.phase == pausing && u.tries < w.tries {
				ops = append(ops, [2]int{i, j})
			}
		}
	}
	return ops
}

// idle says whether a client can begin its next operation.
func (w *world) idle(c client) bool {
	return len(c.ops) < len(c.script) && (len(c.ops) == 0 || c.ops[len(c.ops)-1].Done())
}

// step lets the i-th of the things happen that can.
func (w *world) step(i int) {
	if i < len(w.flying) {
		f := w.flying[i]
		w.flying = slices.Delete(w.flying, i, i+1)
		w.deliver(f)
		return
	}
	i -= len(w.flying)
	if ops := w.pausing(); i < len(ops) {
		w.tell(ops[i][0], ops[i][1])
		return
	} else {
		i -= len(ops)
	}
	for n := range w.clients {
		if !w.idle(w.clients[n]) {
			continue
		}
		if i == 0 {
			w.begin(n)
			return
		}
		i--
	}
}

func (w *world) begin(n int) {
	c := &w.clients[n]
	value := c.script[len(c.ops)]
	op := begin(c.coordinator, Preference{Owners: w.nodes}, value)
	c.ops, c.events = append(c.ops, op), append(c.events, len(w.events))
	w.moment++
	w.events = append(w.events, event{write: value != "" && w.rules.Policy != Consensus, add: value != "" && w.rules.Policy == Consensus,
		value: value, call: w.moment, ret: math.MaxInt})
	w.tell(n, len(c.ops)-1)
}

// begin returns a read, or a write, or under Consensus an append.
func begin(c *Coordinator, p Preference, value string) machine {
	key := []byte("k")
	switch {
	case c.Policy == Consensus && value == "":
		return c.Update(p, key, nil)
	case c.Policy == Consensus:
		return c.Update(p, key, func(current Object, now time.Time) (Change, bool) {
			v, _ := current.Latest(now)
			return Change{Data: slices.Concat(v.Data, []byte(value))}, true
		})
	case value == "":
		return c.Read(p, key)
	}
	return c.Write(p, key, Change{Data: []byte(value)})
}

// tell steps an operation and notes what its client learns.
func (w *world) tell(n, number int, replies ...Reply) {
	c := &w.clients[n]
	op, e := c.ops[number], &w.events[c.events[number]]
	before := op.Done()
	now := epoch
	if u, ok := op.(*Update); ok && u.phase == pausing && len(replies) == 0 {
		now = u.Next()
	}
	for _, q := range op.Step(now, replies...) {
		w.flying = append(w.flying, flight{client: n, op: number, request: q})
	}
	if before || !op.Done() || op.Err() != nil {
		return
	}
	w.moment++
	e.ret = w.moment
	e.learn(op.Object(), epoch)
}

// learn notes what an operation has returned.
func (e *event) learn(o Object, now time.Time) {
	v, _ := o.Latest(now)
	switch {
	case e.add:
		e.result = string(v.Data)
	case !e.write:
		e.value = string(v.Data)
	}
}

func (w *world) deliver(f flight) {
	if f.answer {
		w.tell(f.client, f.op, f.reply)
		return
	}
	i := slices.Index(w.nodes, f.request.To)
	r := w.replicas
	r.MaxAhead = -1
	next, store, reply := r.Serve(epoch, w.have[i], f.request)
	if store {
		w.have[i] = next
	}
	f.answer, f.reply, f.request = true, reply, Request{}
	w.flying = append(w.flying, f)
}

// key returns a number for all that matters for what can happen next and for
// whether that can be explained.
func (w *world) key() [2]uint64 {
	var b []byte
	object := func(b []byte, o Object) []byte { return AppendObject(b, o) }
	for _, o := range w.have {
		b = object(b, o)
	}
	var flying [][]byte
	for _, f := range w.flying {
		m := []byte{byte(f.client), byte(f.op), byte(f.request.Kind), byte(f.reply.Kind)}
		m = append(append(m, f.request.To...), f.reply.From...)
		m = appendDot(appendDot(m, f.request.Ballot), f.reply.Ballot)
		if f.reply.Err != nil {
			m = append(m, 1)
		}
		flying = append(flying, object(object(m, f.request.Object), f.reply.Object))
	}
	slices.SortFunc(flying, bytes.Compare)
	for _, m := range flying {
		b = append(b, m...)
	}
	for _, c := range w.clients {
		b = binary.LittleEndian.AppendUint64(b, c.coordinator.Clock.last.Load())
		for _, m := range c.ops {
			b = keyOf(b, m)
		}
	}
	for _, e := range w.events {
		b = fmt.Appendf(b, "%v", e)
	}
	return [2]uint64{xxhash.Sum64(b), xxhash.Sum64(append(b, 1))}
}

func keyOf(b []byte, m machine) []byte {
	slots := func(r *round) {
		for _, s := range r.slots {
			b = append(b, byte(s.state))
		}
	}
	switch op := m.(type) {
	case *Read:
		slots(op.round)
		for i, o := range op.objects {
			b = append(AppendObject(b, o), byte(op.back[i]))
		}
		b = AppendObject(AppendObject(b, op.object), op.merged)
	case *Write:
		b = append(b, byte(op.phase))
		slots(op.round)
		b = AppendObject(AppendObject(b, op.known), op.object)
	case *Update:
		b = append(b, byte(op.phase))
		slots(op.round)
		for _, o := range op.objects {
			b = AppendObject(b, o)
		}
		b = appendDot(AppendObject(b, op.object), op.ballot)
		b = fmt.Appendf(b, "%d %v", op.latest, op.without)
		for _, made := range op.made {
			b = AppendObject(AppendObject(fmt.Appendf(b, "%v", made.ballots), made.basis), made.result)
		}
	}
	return b
}

// explore visits every world that can come of w, and returns how many there are
// and a history that cannot be explained, if there is one. A message that is
// never delivered is one whose turn has not come.
func explore(w *world, limit int) (states int, wrong []event) {
	seen := map[[2]uint64]bool{w.key(): true}
	stack := []*world{w}
	for len(stack) > 0 {
		w := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !linearizable(w.events) {
			return len(seen), w.events
		}
		for i := range w.options() {
			next := w.clone()
			next.step(i)
			if k := next.key(); !seen[k] {
				if len(seen) >= limit {
					panic(fmt.Sprintf("more than %d worlds", limit))
				}
				seen[k] = true
				stack = append(stack, next)
			}
		}
	}
	return len(seen), nil
}

// large adds histories of more clients and attempts. Each is a test of its own.
// Those with N=2 and R=2 have up to half a million states and take up to some
// minutes; those with R=1 or N=3 take longer than eight minutes, so they are
// for a night:
//
//	go test ./kvstore/replica -run 'EveryOrder/.*R=2.W=.*tries=2' -large -v -timeout 0
var large = flag.Bool("large", false, "explore histories with millions of states")

func TestEveryOrderOfMessagesIsLinearizable(t *testing.T) {
	for _, c := range []struct {
		policy  Policy
		n, r, w int
		scripts [][]string
		tries   int
		large   bool
	}{
		{LastWriterWins, 2, 2, 2, [][]string{{"a"}, {"", ""}}, 0, false},
		{LastWriterWins, 2, 2, 1, [][]string{{"a"}, {"b"}}, 0, false},
		{LastWriterWins, 3, 2, 2, [][]string{{"a"}, {""}}, 0, false},
		{LastWriterWins, 2, 2, 1, [][]string{{"a"}, {"b"}, {""}}, 0, true},
		{LastWriterWins, 2, 1, 2, [][]string{{"a"}, {"b"}, {""}}, 0, true},
		{Consensus, 2, 2, 2, [][]string{{"a"}, {""}}, 1, false},
		{Consensus, 2, 2, 1, [][]string{{"a"}, {""}}, 1, false},
		{Consensus, 2, 1, 2, [][]string{{"a"}, {""}}, 1, false},
		{Consensus, 2, 2, 1, [][]string{{"a"}, {"b"}}, 1, false},
		{Consensus, 2, 2, 2, [][]string{{"a"}, {""}}, 2, true},
		{Consensus, 2, 2, 2, [][]string{{"a"}, {"b"}}, 2, true},
		{Consensus, 2, 1, 2, [][]string{{"a"}, {"b"}}, 2, true},
		{Consensus, 3, 2, 2, [][]string{{"a"}, {"b"}}, 1, true},
	} {
		if c.large && !*large || c.n > 2 && raceEnabled {
			continue // the race detector, which finds nothing in one goroutine, makes it ten times as long
		}
		name := fmt.Sprintf("%v N=%d R=%d W=%d %q tries=%d", c.policy, c.n, c.r, c.w, c.scripts, c.tries)
		t.Run(name, func(t *testing.T) {
			rules := Coordinator{Policy: c.policy, R: c.r, W: c.w, Strict: true}
			w := newWorld(rules, c.n, c.scripts...)
			w.tries = c.tries
			states, wrong := explore(w, 100_000_000)
			require.Empty(t, wrong)
			t.Logf("%d states", states)
		})
	}
}
