package replica

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/stretchr/testify/require"
)

// A bench has replicas that answer at once, in order, unless the test says
// otherwise.
type bench struct {
	now   time.Time
	c     *Coordinator
	nodes map[string]*simReplica
	hints map[string]Object // by holder and owner
	errs  map[string]error  // what nodes answer
	mute  map[string]bool   // nodes that do not answer
	asked []Request
}

func newBench(rules Coordinator) *bench {
	b := &bench{now: epoch, c: &rules, nodes: map[string]*simReplica{}, hints: map[string]Object{}, errs: map[string]error{}, mute: map[string]bool{}}
	rules.Clock = &Clock{}
	if rules.Policy != Siblings && rules.Actor == 0 {
		rules.Actor = 77
	}
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		b.nodes[name] = &simReplica{Replica: Replica{Policy: rules.Policy, Actor: Actor(i + 1), Clock: &Clock{}}}
	}
	return b
}

var abc = Preference{Owners: []string{"a", "b", "c"}, Fallbacks: []string{"d", "e"}}

// answer is what comes of a request, if anything does.
func (b *bench) answer(q Request) (Reply, bool) {
	b.asked = append(b.asked, q)
	switch node := b.nodes[q.To]; {
	case b.mute[q.To]:
		return Reply{}, false
	case b.errs[q.To] != nil:
		return q.Reply(Object{}, b.errs[q.To]), true
	case q.For != "" && q.Kind == Fetch:
		return q.Reply(b.hints[q.To+" for "+q.For], nil), true
	case q.For != "":
		b.hints[q.To+" for "+q.For] = q.Object
		return q.Reply(Object{}, nil), true
	default:
		next, store, reply := node.Serve(b.now.Add(node.skew), node.have, q)
		if store {
			node.have = next
		}
		return reply, true
	}
}

// run drives an operation until it is finished, with time going on where nobody
// answers.
func (b *bench) run(m machine) {
	requests := m.Step(b.now)
	for !m.Finished() {
		if len(requests) == 0 {
			b.now = m.Next()
			requests = m.Step(b.now)
			continue
		}
		reply, ok := b.answer(requests[0])
		requests = requests[1:]
		if ok {
			requests = append(requests, m.Step(b.now, reply)...)
		}
	}
	for _, q := range requests {
		b.answer(q)
	}
}

func (b *bench) write(c Change) *Write {
	w := b.c.Write(abc, []byte("k"), c)
	b.run(w)
	return w
}

func (b *bench) read() *Read {
	r := b.c.Read(abc, []byte("k"))
	b.run(r)
	return r
}

// values are those that an object has.
func values(o Object) (list []string) {
	for v := range o.Live(epoch) {
		list = append(list, string(v.Data))
	}
	return list
}

func TestRulesHaveToFit(t *testing.T) {
	clock := &Clock{}
	for _, c := range []struct {
		c  Coordinator
		n  int
		ok bool
	}{
		{Coordinator{R: 2, W: 2, Clock: clock}, 3, true},
		{Coordinator{R: 1, W: 1, Clock: clock}, 1, true},
		{Coordinator{R: 0, W: 2, Clock: clock}, 3, false},
		{Coordinator{R: 2, W: 4, Clock: clock}, 3, false},
		{Coordinator{R: 1, W: 1, Clock: clock}, 0, false},
		{Coordinator{R: 1, W: 2, Clock: clock, Strict: true}, 3, false},
		{Coordinator{R: 2, W: 2, Clock: clock, Strict: true, Sloppy: true}, 3, false},
		{Coordinator{R: 2, W: 2, Clock: clock, Policy: LastWriterWins}, 3, false},
		{Coordinator{R: 2, W: 2, Clock: clock, Policy: LastWriterWins, Actor: 1}, 3, true},
		{Coordinator{R: 1, W: 2, Clock: clock, Policy: Consensus, Actor: 1}, 3, false},
		{Coordinator{R: 2, W: 2, Policy: LastWriterWins, Actor: 1}, 3, false},
		{Coordinator{R: 2, W: 2, Clock: clock, Policy: 9, Actor: 1}, 3, false},
	} {
		require.Equal(t, c.ok, c.c.Check(c.n) == nil, "%+v of %d", c.c, c.n)
	}
	b := newBench(Coordinator{R: 1, W: 4})
	require.ErrorIs(t, b.write(Change{}).Err(), ErrRules)
	require.Empty(t, b.asked)
	b = newBench(Coordinator{R: 2, W: 2, Policy: Consensus})
	require.ErrorIs(t, b.read().Err(), ErrRules, "consensus is for Update")
	b = newBench(Coordinator{R: 2, W: 2})
	u := b.c.Update(abc, nil, nil)
	b.run(u)
	require.ErrorIs(t, u.Err(), ErrRules)
}

func TestNothingIsSentWithoutEnoughNodes(t *testing.T) {
	for _, policy := range []Policy{Siblings, LastWriterWins} {
		b := newBench(Coordinator{R: 2, W: 2, Policy: policy, Self: "a", Down: func(n string) bool { return n > "a" }})
		for _, err := range []error{b.write(Change{}).Err(), b.read().Err()} {
			quorum, ok := errors.AsType[*QuorumError](err)
			require.True(t, ok)
			require.False(t, quorum.Maybe)
			require.ErrorIs(t, err, ErrDown)
			require.ErrorIs(t, err, ErrQuorum)
			require.Contains(t, err.Error(), "0 of 2 answers; b: known to be away, c: known to be away")
		}
		require.Empty(t, b.asked)
	}
}

func TestAFailedWriteSaysWhetherItMayTakeEffect(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2, Policy: LastWriterWins})
	b.errs["b"], b.mute["c"] = errors.New("disk full"), true
	err := b.write(Change{}).Err()
	quorum, _ := errors.AsType[*QuorumError](err)
	require.True(t, quorum.Maybe)
	require.Equal(t, 1, quorum.Got)
	require.ErrorIs(t, err, ErrTimeout)
	require.EqualError(t, err, "replica: write: 1 of 2 answers; b: disk full, c: no answer in time (the write may take effect)")

	b = newBench(Coordinator{R: 2, W: 2, Policy: LastWriterWins, Strict: true})
	b.errs["b"], b.mute["c"] = errors.New("disk full"), true
	quorum, _ = errors.AsType[*QuorumError](b.write(Change{}).Err())
	require.False(t, quorum.Maybe, "it was only asked what there is")
}

func TestOwnersThatMissedAWriteGetAHint(t *testing.T) {
	for _, policy := range []Policy{Siblings, LastWriterWins} {
		b := newBench(Coordinator{R: 2, W: 2, Policy: policy, Self: "a"})
		b.mute["c"] = true
		w := b.write(Change{Data: []byte("x")})
		require.NoError(t, w.Err())
		require.Equal(t, []string{"x"}, values(b.hints["a for c"]))
		require.Len(t, b.hints, 1)
	}
	b := newBench(Coordinator{R: 2, W: 2, Policy: Consensus, Self: "a"})
	b.errs["c"] = errors.New("gone")
	u := b.c.Update(abc, []byte("k"), func(Object, time.Time) (Change, bool) { return Change{Data: []byte("x")}, true })
	b.run(u)
	require.NoError(t, u.Err())
	require.Equal(t, []string{"x"}, values(b.hints["a for c"]))
}

func TestStandInsCountWhenTheQuorumIsSloppy(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 3, Sloppy: true, Policy: LastWriterWins, Down: func(n string) bool { return n == "a" || n == "d" }})
	b.mute["b"] = true
	w := b.write(Change{Data: []byte("x")})
	require.ErrorIs(t, w.Err(), ErrQuorum, "e stands in for a, and nobody for b")
	require.Equal(t, []string{"x"}, values(b.hints["e for a"]))

	b.mute["b"] = false
	require.NoError(t, b.write(Change{Data: []byte("y")}).Err())
	require.Equal(t, []string{"y"}, values(b.hints["e for a"]))
	b.errs["b"] = errors.New("gone")
	r := b.read() // c, and e for a
	require.NoError(t, r.Err())
	require.Equal(t, []string{"y"}, values(r.Object()))

	b.hints = map[string]Object{}
	require.ErrorIs(t, b.read().Err(), ErrQuorum, "a stand-in that was not there for the write knows nothing of absence")
}

func TestASlowOwnerMayAnswerAfterItsStandIn(t *testing.T) {
	b := newBench(Coordinator{R: 3, W: 3, Sloppy: true, Policy: LastWriterWins})
	r := b.c.Read(abc, []byte("k"))
	var late Request
	requests := r.Step(b.now)
	for len(requests) > 0 {
		q := requests[0]
		requests = requests[1:]
		if q.To == "c" {
			late = q
			continue
		}
		reply, _ := b.answer(q)
		requests = append(requests, r.Step(b.now, reply)...)
		if len(requests) == 0 && late.Key != nil && b.now == epoch {
			b.now = r.Next()
			requests = r.Step(b.now)
			require.Len(t, requests, 1)
			require.Equal(t, "d", requests[0].To)
			require.Equal(t, "c", requests[0].For)
		}
	}
	require.False(t, r.Done(), "both stand-ins know nothing, and c is waited for")
	reply, _ := b.answer(late)
	r.Step(b.now, reply)
	require.NoError(t, r.Err())
	require.True(t, r.Finished())
}

func TestReadsRepairReplicasThatAreBehind(t *testing.T) {
	for _, c := range []struct {
		strict, off bool
		repaired    int
	}{{false, false, 1}, {true, false, 1}, {false, true, 0}, {true, true, 1}} {
		b := newBench(Coordinator{R: 3, W: 2, Strict: c.strict, NoRepair: c.off})
		b.mute["c"] = true
		require.NoError(t, b.write(Change{Data: []byte("x")}).Err())
		b.mute["c"] = false
		r := b.read()
		require.NoError(t, r.Err())
		require.Equal(t, c.repaired, r.Repaired())
		require.Equal(t, c.repaired == 1, b.nodes["c"].have.Equal(b.nodes["a"].have))
		again := b.read().Repaired()
		require.Zero(t, again, "there is nothing left to repair, or nobody to do it")
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestASecondOwnerMintsOnlyIfTheFirstHasNot(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2})
	b.errs["a"] = errors.New("refused")
	require.NoError(t, b.write(Change{Data: []byte("x")}).Err())
	require.Equal(t, Actor(2), b.nodes["c"].have.Versions[0].Dot.Actor)

	b = newBench(Coordinator{R: 2, W: 2})
	b.mute["a"] = true
	quorum, _ := errors.AsType[*QuorumError](b.write(Change{Data: []byte("x")}).Err())
	require.True(t, quorum.Maybe)
	require.Len(t, b.asked, 1)

	b = newBench(Coordinator{R: 2, W: 2, Self: "b"})
	require.NoError(t, b.write(Change{Data: []byte("x")}).Err())
	require.Equal(t, "b", b.asked[0].To, "an owner mints itself")

	b = newBench(Coordinator{R: 2, W: 1})
	for _, n := range abc.Owners {
		b.errs[n] = errors.New("refused")
	}
	quorum, _ = errors.AsType[*QuorumError](b.write(Change{}).Err())
	require.False(t, quorum.Maybe)
	require.Len(t, quorum.Failures, 3)
}

func TestConditionalWrites(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2})
	first := b.write(Change{Data: []byte("1"), Conditional: true})
	require.NoError(t, first.Err())
	again := b.write(Change{Data: []byte("2"), Conditional: true})
	require.ErrorIs(t, again.Err(), ErrConflict)
	require.Equal(t, []string{"1"}, values(again.Object()), "what is in the way")
	require.NoError(t, b.write(Change{Deleted: true, Conditional: true, Context: first.Object().Context}).Err())
	require.ErrorIs(t, b.write(Change{Conditional: true, Context: first.Object().Context}).Err(), ErrConflict, "a tombstone counts")
	require.Empty(t, values(b.read().Object()))

	// What the first owner missed counts, as the others are asked, too.
	b = newBench(Coordinator{R: 2, W: 2})
	b.mute["a"] = true
	b.c.Down = func(n string) bool { return n == "a" }
	require.NoError(t, b.write(Change{Data: []byte("1")}).Err())
	b.c.Down, b.mute["a"] = nil, false
	require.ErrorIs(t, b.write(Change{Data: []byte("2"), Conditional: true}).Err(), ErrConflict)
	b.errs["a"] = errors.New("gone")
	require.ErrorIs(t, b.write(Change{Data: []byte("2"), Conditional: true, Context: b.read().Object().Context}).Err(), ErrQuorum, "nobody decides in its place")

	b = newBench(Coordinator{R: 2, W: 2, Policy: LastWriterWins})
	require.ErrorIs(t, b.write(Change{Conditional: true}).Err(), ErrConditional)
	require.Empty(t, b.asked)
}

func TestSiblingsDoNotExplode(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2})
	contexts := make([]Vector, 4) // of clients that read and write in turn
	for i := range 100 {
		w := b.write(Change{Data: fmt.Append(nil, i), Context: contexts[i%4]})
		require.NoError(t, w.Err())
		contexts[i%4] = w.Object().Context
		require.LessOrEqual(t, len(w.Object().Versions), 4)
	}
	blind := 0
	var err error
	for ; err == nil; blind++ {
		err = b.write(Change{Data: []byte("blind")}).Err()
	}
	require.ErrorIs(t, err, ErrSiblings)
	require.InDelta(t, 62, blind, 3)
	require.NoError(t, b.write(Change{Data: []byte("one"), Context: b.read().Object().Context}).Err())
	require.Equal(t, []string{"one"}, values(b.read().Object()))
	require.Len(t, b.read().Object().Context, 1, "all by the store of one owner")
}

// Siblings are bounded in bytes as they are in number: what would add to them is
// refused and nothing is lost, what replaces some of them may take their place, and one
// version may be of any size.
func TestSiblingsAreBoundedInBytes(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2})
	for _, r := range b.nodes {
		r.MaxSiblingBytes = 100
	}
	data := func(c string, n int) []byte { return []byte(strings.Repeat(c, n)) }
	first := b.write(Change{Data: data("a", 60)})
	require.NoError(t, first.Err())
	require.NoError(t, b.write(Change{Data: data("b", 40)}).Err(), "as many as may be")
	require.ErrorIs(t, b.write(Change{Data: data("c", 1)}).Err(), ErrSiblings)
	require.Equal(t, []string{string(data("a", 60)), string(data("b", 40))}, values(b.read().Object()))
	require.ErrorIs(t, b.write(Change{Data: data("d", 61), Context: first.Object().Context}).Err(), ErrSiblings, "more than what it replaces")
	require.NoError(t, b.write(Change{Deleted: true}).Err(), "a delete adds none")
	require.NoError(t, b.write(Change{Data: data("e", 60), Context: first.Object().Context}).Err(), "no more than what it replaces")
	require.NoError(t, b.write(Change{Data: data("f", 500), Context: b.read().Object().Context}).Err(), "all others are replaced")
	require.ErrorIs(t, b.write(Change{Data: []byte("g")}).Err(), ErrSiblings)
	require.NoError(t, b.write(Change{Data: []byte("h"), Context: b.read().Object().Context}).Err())
	require.Equal(t, []string{"h"}, values(b.read().Object()))
}

func TestDeletesAreForgottenAfterAGrace(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2})
	w := b.write(Change{Data: []byte("x"), Expires: epoch.Add(time.Second).UnixMilli()})
	old := w.Object()
	_, ok := old.Latest(epoch)
	require.True(t, ok)
	_, ok = old.Latest(epoch.Add(time.Second))
	require.False(t, ok, "expired")
	kept, ok := old.Collect(epoch.Add(time.Minute), time.Minute)
	require.True(t, ok)
	require.True(t, kept.Equal(old))
	_, ok = old.Collect(epoch.Add(time.Minute+2*time.Second), time.Minute)
	require.False(t, ok)

	gone := b.write(Change{Deleted: true, Data: []byte("ignored"), Context: old.Context}).Object()
	require.Len(t, gone.Versions, 1)
	require.Nil(t, gone.Versions[0].Data)
	_, ok = gone.Collect(epoch.Add(time.Minute), time.Minute)
	require.True(t, ok)
	_, ok = gone.Collect(epoch.Add(time.Minute+2*time.Millisecond), time.Minute)
	require.False(t, ok)

	// A sibling that is dead leaves, and stays known.
	both := Siblings.Replace(gone, nil, Version{Dot: Dot{9, gone.Last() + 1}, Data: []byte("y")})
	kept, ok = both.Collect(epoch.Add(time.Hour), time.Minute)
	require.True(t, ok)
	require.Equal(t, []string{"y"}, values(kept))
	require.True(t, Siblings.Merge(kept, gone).Equal(kept))

	r := Replica{Clock: &Clock{}, Actor: 1, Grace: time.Minute}
	_, store, reply := r.Serve(epoch.Add(time.Hour), Object{}, Request{Kind: Store, Object: gone})
	require.NoError(t, reply.Err)
	require.False(t, store, "two replicas do not give a tombstone back to each other")
	_, store, _ = r.Serve(epoch.Add(time.Second), Object{}, Request{Kind: Store, Object: gone})
	require.True(t, store)
}

// A delete meets a value that one replica alone has, and only that one accepts it;
// the next attempt meets the other two, who have nothing. It may say so only when
// what the first has can no longer be taken for the latest.
func TestNothingIsSaidWhileAProposalMayGoIn(t *testing.T) {
	b := newBench(Coordinator{R: 2, W: 2, Policy: Consensus})
	x := Change{Data: []byte("x")}.version(Dot{50, TimeOf(epoch) - 1000})
	b.nodes["a"].have = Object{Context: Vector{x.Dot}, Versions: []Version{x}}
	u := b.c.Update(abc, []byte("k"), func(current Object, now time.Time) (Change, bool) {
		_, there := current.Latest(now)
		return Change{Deleted: true}, there
	})
	requests := u.Step(b.now)
	for !u.Finished() {
		if len(requests) == 0 {
			b.now = u.Next()
			requests = u.Step(b.now)
			continue
		}
		q := requests[0]
		requests = requests[1:]
		lost := q.To == "a"
		if u.Attempts() == 1 {
			lost = q.To == "c" || q.To == "b" && q.Kind == Accept
		}
		if !lost {
			reply, _ := b.answer(q)
			requests = append(requests, u.Step(b.now, reply)...)
		}
	}
	require.NoError(t, u.Err())
	require.Equal(t, 2, u.Attempts())
	require.Empty(t, u.Basis().Versions)
	proposed := b.nodes["a"].have.dot()
	require.EqualValues(t, 77, proposed.Actor)
	for _, name := range []string{"b", "c"} {
		require.Positive(t, b.nodes[name].have.dot().Compare(proposed), name)
	}
}

// A replica that forgot what it has promised of a key that nobody has written yet
// would let two updates be the first.
func TestPromisesAreKeptThroughTheGrace(t *testing.T) {
	now := epoch
	promise := Object{Promised: Dot{7, TimeOf(now)}}
	deleted := Object{Context: Vector{{8, TimeOf(now) - 1}}, Versions: []Version{Change{Deleted: true}.version(Dot{8, TimeOf(now) - 1})}, Promised: promise.Promised}
	for _, o := range []Object{promise, deleted} {
		kept, ok := o.Collect(now.Add(time.Hour), time.Hour)
		require.True(t, ok)
		require.Equal(t, promise.Promised, kept.Promised)
		_, ok = o.Collect(now.Add(time.Hour+time.Second), time.Hour)
		require.False(t, ok)
	}
}

func TestWhatComesFromTheFutureIsRefused(t *testing.T) {
	r := Replica{Clock: &Clock{}, Actor: 1}
	ahead := Dot{5, TimeOf(epoch.Add(2 * time.Minute))}
	for _, q := range []Request{
		{Kind: Store, Object: Siblings.Replace(Object{}, nil, Version{Dot: ahead})},
		{Kind: Mint, Change: Change{Context: Vector{ahead}}},
		{Kind: Prepare, Ballot: ahead},
	} {
		_, store, reply := r.Serve(epoch, Object{}, q)
		require.ErrorIs(t, reply.Err, ErrAhead)
		require.False(t, store)
	}
	r.MaxAhead = time.Hour
	_, store, reply := r.Serve(epoch, Object{}, Request{Kind: Mint, Change: Change{Context: Vector{ahead}}})
	require.NoError(t, reply.Err)
	require.True(t, store)
	require.Greater(t, reply.Object.Versions[0].Dot.Time, ahead.Time, "later than what the writer has seen")
}

// A node whose clock is wrong by more than clocks may be apart stands alone: it
// does not carry the others with it.
func TestOneWrongClockLeavesTheOthersAlone(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		for _, rules := range []Coordinator{
			{Policy: Siblings, R: 2, W: 2}, {Policy: LastWriterWins, R: 2, W: 2}, {Policy: LastWriterWins, R: 2, W: 2, Strict: true}, {Policy: Consensus, R: 2, W: 2},
		} {
			b := newBench(rules)
			b.nodes["a"].skew = skew
			owners := abc
			if skew > 0 {
				owners.Owners = []string{"b", "a", "c"} // what the first owner makes, it makes by its clock
			}
			// What it has made by itself has not reached anybody.
			alien := Dot{9, TimeOf(b.now.Add(skew)) + 1}
			b.nodes["a"].have = Object{Context: Vector{alien}, Versions: []Version{{Dot: alien, Data: []byte("alien")}}}
			for i := range 3 {
				value := fmt.Sprint("value", i)
				if rules.Policy == Consensus {
					u := b.c.Update(abc, []byte("k"), func(Object, time.Time) (Change, bool) { return Change{Data: []byte(value)}, true })
					b.run(u)
					require.NoError(t, u.Err(), "%v, %v", rules.Policy, skew)
				} else {
					w := b.c.Write(owners, []byte("k"), Change{Data: []byte(value)})
					b.run(w)
					require.NoError(t, w.Err(), "%v, %v", rules.Policy, skew)
				}
				if rules.Policy != Consensus {
					r := b.c.Read(owners, []byte("k"))
					b.run(r)
					require.NoError(t, r.Err(), "%v, %v", rules.Policy, skew)
					require.Contains(t, values(r.Object()), value)
				}
				b.now = b.now.Add(time.Second)
			}
			require.Less(t, b.c.Clock.Next(b.now, 0), TimeOf(b.now.Add(time.Minute)), "%v, %v", rules.Policy, skew)
			for _, name := range []string{"b", "c"} {
				require.Less(t, b.nodes[name].have.Last(), TimeOf(b.now.Add(time.Minute)))
				require.Contains(t, values(b.nodes[name].have), "value2")
			}
		}
	}
}

// A replica whose clock was set back makes nothing that all others refuse.
func TestAClockThatWasSetBackMintsNothingFromTheFuture(t *testing.T) {
	clock := &Clock{}
	r := Replica{Actor: 1, Clock: clock}
	change := Change{Data: []byte("x")}
	have, _, reply := r.Serve(epoch.Add(time.Hour), Object{}, Request{Kind: Mint, Change: change})
	require.NoError(t, reply.Err)
	r.Clock = &Clock{} // it starts again, with the right time
	_, store, reply := r.Serve(epoch, have, Request{Kind: Mint, Change: change})
	require.False(t, store)
	require.ErrorIs(t, reply.Err, ErrAhead)
	_, _, reply = r.Serve(epoch, Object{}, Request{Kind: Mint, Change: change})
	require.NoError(t, reply.Err)
	require.Less(t, reply.Object.Last(), TimeOf(epoch.Add(time.Second)), "other keys are not concerned")
}

func TestPruningForgetsAndLosesNothing(t *testing.T) {
	var o Object
	for i := range Actor(20) {
		o = Siblings.Replace(o, o.Context, Version{Dot: Dot{i + 1, Time(100 + i)}, Data: []byte{byte(i)}})
	}
	require.Len(t, o.Context, 20)
	pruned := o.Prune(5, 1000)
	require.Len(t, pruned.Context, 6)
	require.Equal(t, o.Versions, pruned.Versions)
	require.True(t, pruned.Context.Covers(Dot{19, 118}), "the latest stay")
	require.False(t, pruned.Context.Covers(Dot{1, 100}))
	require.Len(t, o.Prune(5, 110).Context, 10, "young ones stay in any case")
	require.Equal(t, o, o.Prune(30, 1000))
	require.Equal(t, o.Digest(), pruned.Digest(), "trees do not see it")
}

func TestPreferencesAndMoves(t *testing.T) {
	before, err := consistenthash.NewRing([]string{"a", "b", "c", "d", "e"}, nil)
	require.NoError(t, err)
	after, err := before.Without("b")
	require.NoError(t, err)
	keys := func(yield func(string) bool) {
		for i := range 500 {
			if !yield(fmt.Sprint(i)) {
				return
			}
		}
	}
	moved := map[string]Move{}
	for m := range Moves(before, after, 3, keys) {
		moved[m.Key] = m
	}
	for key := range keys {
		was, is := Prefer(before, []byte(key), 3), Prefer(after, []byte(key), 3)
		require.Len(t, was.Owners, 3)
		require.Len(t, was.Fallbacks, 2)
		require.ElementsMatch(t, []string{"a", "b", "c", "d", "e"}, append(slices.Clone(was.Owners), was.Fallbacks...))
		m, ok := moved[key]
		require.Equal(t, slices.Contains(was.Owners, "b"), ok, "just the keys of the one that left move")
		if ok {
			require.Equal(t, []string{"b"}, m.Left)
			require.Len(t, m.Joined, 1)
			require.Contains(t, is.Owners, m.Joined[0])
			require.Equal(t, was.Owners, m.From)
		}
	}
	require.Equal(t, Preference{Owners: was5(before), Fallbacks: []string{}}, Prefer(before, []byte("k"), 9))
}

func was5(p consistenthash.Placement[string]) []string { return slices.Collect(p.Owners("k")) }

func TestClocks(t *testing.T) {
	var c Clock
	wall := epoch
	last := Time(0)
	for i := range 100_000 {
		if i == 50_000 {
			wall = wall.Add(-time.Hour) // set back
		}
		next := c.Next(wall, 0)
		require.Greater(t, next, last)
		last = next
	}
	require.Less(t, last.Wall(), epoch.Add(3*time.Millisecond))
	require.Equal(t, last+1001, c.Next(wall, last+1000))
	c.Seen(TimeOf(epoch.Add(time.Hour)))
	require.Greater(t, c.Next(wall, 0), TimeOf(epoch.Add(time.Hour)))
	c.Seen(math.MaxUint64)
	require.Less(t, c.Next(wall, 0), TimeOf(epoch.Add(2*time.Hour)), "nothing is that late")
	require.Equal(t, Time(0), TimeOf(time.UnixMilli(-5)))
	require.NotEqual(t, NewActor(), NewActor())
	require.Equal(t, "00000000000000ff@1970-01-01T00:16:40.000Z+3", Dot{255, TimeOf(epoch) + 3}.String())
}

// Without faults, all updates of many clients succeed, however much they are in
// each other's way.
func TestContendingUpdatesEndAll(t *testing.T) {
	for seed := range uint64(10) {
		s := newSim(seed, Coordinator{Policy: Consensus, R: 2, W: 2}, 3, 0, 5, 6)
		for _, c := range s.clients {
			c.coordinator.Timeout = 20 * time.Second
			c.coordinator.Patience = 2 * time.Second
		}
		s.run()
		for _, e := range s.events {
			require.NotEqual(t, math.MaxInt, e.ret, "seed %d: %v", seed, s.events)
		}
	}
}

// Whatever happens, no acknowledged write is lost that nobody replaced, and
// after all have merged with all, they have the same.
func TestSiblingsKeepWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(*histories) {
		for _, sloppy := range []bool{false, true} {
			s := newSim(seed, Coordinator{R: 2, W: 2, Sloppy: sloppy}, 3, 2*boolInt(sloppy), 4, 8)
			s.lose = int(seed%4) * 5
			s.run()
			var all Object
			for _, r := range s.replicas {
				all = Siblings.Merge(all, r.have)
				for o := range maps.Values(r.hints) {
					all = Siblings.Merge(all, o)
				}
			}
			got := map[string]bool{}
			for _, v := range all.Versions {
				got[string(v.Data)] = true
			}
			for _, e := range s.events {
				if e.write && e.ret != math.MaxInt {
					require.True(t, got[e.value], "seed %d: %q was acknowledged", seed, e.value)
				}
			}
			for _, r := range s.replicas {
				next, _, _ := r.Serve(s.now, r.have, Request{Kind: Store, Object: all})
				require.True(t, next.Equal(all))
			}
		}
	}
}
