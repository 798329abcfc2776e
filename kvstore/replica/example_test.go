package replica_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A toy has the objects of one key at three nodes, and a network that always works.
type toy struct {
	now     time.Time
	replica map[string]*replica.Replica
	have    map[string]replica.Object
	down    map[string]bool
	hints   []replica.Request
}

func newToy(policy replica.Policy) *toy {
	t := &toy{now: time.UnixMilli(1_000_000), replica: map[string]*replica.Replica{}, have: map[string]replica.Object{}, down: map[string]bool{}}
	for i, node := range []string{"a", "b", "c"} {
		t.replica[node] = &replica.Replica{Policy: policy, Actor: replica.Actor(i + 1), Clock: &replica.Clock{}}
	}
	return t
}

// deliver is a round trip to a node.
func (t *toy) deliver(q replica.Request) replica.Reply {
	switch {
	case q.For != "":
		t.hints = append(t.hints, q)
		return q.Reply(replica.Object{}, nil)
	case t.down[q.To]:
		return q.Reply(replica.Object{}, replica.ErrDown)
	}
	next, store, reply := t.replica[q.To].Serve(t.now, t.have[q.To], q)
	if store {
		t.have[q.To] = next // and sync it
	}
	return reply
}

// drive runs an operation to its end.
func (t *toy) drive(op interface {
	Step(time.Time, ...replica.Reply) []replica.Request
	Finished() bool
}) {
	requests := op.Step(t.now)
	for len(requests) > 0 {
		reply := t.deliver(requests[0])
		requests = append(requests[1:], op.Step(t.now, reply)...)
	}
}

var owners = replica.Preference{Owners: []string{"a", "b", "c"}}

func Example() {
	t := newToy(replica.Siblings)
	c := &replica.Coordinator{Self: "a", Policy: replica.Siblings, R: 2, W: 2, Clock: t.replica["a"].Clock}
	key := []byte("cart")

	write := c.Write(owners, key, replica.Change{Data: []byte("bread")})
	t.drive(write)
	fmt.Println("written:", write.Err())

	read := c.Read(owners, key)
	t.drive(read)
	for v := range read.Object().Live(t.now) {
		fmt.Printf("read: %s\n", v.Data)
	}

	// Whoever has read that replaces it; whoever has not adds a sibling.
	t.drive(c.Write(owners, key, replica.Change{Data: []byte("bread, milk"), Context: read.Object().Context}))
	t.drive(c.Write(owners, key, replica.Change{Data: []byte("eggs")}))
	read = c.Read(owners, key)
	t.drive(read)
	for v := range read.Object().Live(t.now) {
		fmt.Printf("read: %s\n", v.Data)
	}
	// Output:
	// written: <nil>
	// read: bread
	// read: bread, milk
	// read: eggs
}

// A counter, which takes that writers agree.
func ExampleCoordinator_Update() {
	t := newToy(replica.Consensus)
	c := &replica.Coordinator{Policy: replica.Consensus, R: 2, W: 2, Actor: replica.NewActor(), Clock: &replica.Clock{}}
	increment := func(current replica.Object, now time.Time) (replica.Change, bool) {
		n := 0
		if v, ok := current.Latest(now); ok {
			n, _ = strconv.Atoi(string(v.Data))
		}
		return replica.Change{Data: strconv.AppendInt(nil, int64(n+1), 10)}, true
	}
	for range 3 {
		op := c.Update(owners, []byte("visits"), increment)
		t.drive(op)
		v, _ := op.Object().Latest(t.now)
		fmt.Printf("%s %v\n", v.Data, op.Err())
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

// An owner that is away gets a hint, or is repaired by the next read.
func ExampleCoordinator_Read() {
	t := newToy(replica.LastWriterWins)
	c := &replica.Coordinator{
		Self: "a", Policy: replica.LastWriterWins, R: 2, W: 2, Actor: 1, Clock: &replica.Clock{},
		Down: func(node string) bool { return t.down[node] },
	}
	t.down["c"] = true
	t.drive(c.Write(owners, []byte("k"), replica.Change{Data: []byte("new")}))
	fmt.Printf("hint: %s keeps it for %s\n", t.hints[0].To, t.hints[0].For)

	t.down["c"] = false
	read := c.Read(owners, []byte("k"))
	t.drive(read)
	fmt.Println("repaired:", read.Repaired())
	fmt.Println("c is up to date:", t.have["c"].Equal(t.have["a"]))
	// Output:
	// hint: a keeps it for c
	// repaired: 1
	// c is up to date: true
}

func ExampleMoves() {
	before, _ := consistenthash.NewRendezvous([]string{"a", "b", "c", "d"}, nil)
	after, _ := before.Without("b")
	keys := func(yield func(string) bool) {
		for _, key := range []string{"x", "y", "z", "v"} {
			if !yield(key) {
				return
			}
		}
	}
	for m := range replica.Moves(before, after, 2, keys) {
		fmt.Println(m.Key, "was with", m.From, "and goes to", m.Joined)
	}
	// Output:
	// x was with [b d] and goes to [c]
	// y was with [b a] and goes to [c]
	// z was with [c b] and goes to [d]
}

func ExampleTree() {
	mine, theirs := replica.NewTree(3), replica.NewTree(3)
	for i := range 1000 {
		key := fmt.Appendf(nil, "key %d", i)
		mine.Update(key, 0, 1)
		theirs.Update(key, 0, 1)
	}
	theirs.Update([]byte("key 7"), 1, 2)
	c := mine.Compare()
	exchanges := 0
	for p, more := c.Next(); more; p, more = c.Next() {
		sums, err := theirs.Answer(p) // at the other replica
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := c.Take(sums); err != nil {
			fmt.Println(err)
			return
		}
		exchanges++
	}
	fmt.Println(exchanges, "exchanges,", len(c.Leaves()), "of 4096 leaves:", c.Leaves()[0] == mine.Leaf([]byte("key 7")))
	// Output:
	// 3 exchanges, 1 of 4096 leaves: true
}
