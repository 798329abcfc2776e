package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A Level is how many replicas a connection's reads and writes wait for.
type Level struct {
	Name   string
	R, W   int
	Strict bool // reads never go back behind what was read or written before
}

// The levels that have a name. What quorum means depends on the number of owners.
func namedLevel(name string, n int) (Level, bool) {
	switch name {
	case "one":
		return Level{Name: name, R: 1, W: 1}, true
	case "quorum":
		return Level{Name: name, R: n/2 + 1, W: n/2 + 1}, true
	case "all":
		return Level{Name: name, R: n, W: n}, true
	case "linearizable":
		return Level{Name: name, R: n/2 + 1, W: n/2 + 1, Strict: true}, true
	}
	return Level{}, false
}

// levelNames are those that namedLevel knows.
var levelNames = []string{"one", "quorum", "all", "linearizable"}

// An operation is a read or a write of package replica.
type operation interface {
	Step(now time.Time, replies ...replica.Reply) []replica.Request
	Next() time.Time
	Done() bool
	Finished() bool
	Err() error
}

// coordinator returns the rules for an operation of a level.
func (n *Node) coordinator(l Level) *replica.Coordinator {
	self := n.config.Name
	if n.config.NoHints {
		self = ""
	}
	return &replica.Coordinator{
		Self: self, NoRepair: n.config.NoRepair, Policy: n.config.Policy, R: l.R, W: l.W, Strict: l.Strict, Sloppy: n.config.Sloppy && !l.Strict,
		Actor: n.actor, Clock: &n.clock, Timeout: n.config.Timeout, Patience: n.config.Patience,
		Down: func(name string) bool { return !n.gossip.isAlive(name) },
	}
}

// prefer returns who keeps a key.
func (p *placement) prefer(key []byte) replica.Preference { return replica.Prefer(p.ring, key, p.n) }

// fit makes a level fit a ring with fewer nodes than a key should have owners:
// a cluster of one is its own quorum.
func (l Level) fit(owners int) Level {
	if l.Name != "" && owners > 0 {
		if named, ok := namedLevel(l.Name, owners); ok {
			named.Strict = l.Strict
			return named
		}
	}
	return l
}

// maxKey is how long a key may be: what a store of package kvstore takes, less the
// hash before it.
const maxKey = 32<<10 - hashSize

var errKey = fmt.Errorf("the key is longer than %d bytes", maxKey)

// read reads a key. It keeps a copy of that, since what is left to do goes on
// when the caller has its answer. Of a large object it takes room for so many copies
// from the claim of ctx, and returns how much that was; with copiesRead, what the
// answer does not need is given back once all owners have answered.
func (n *Node) read(ctx context.Context, l Level, key []byte, copies int64) (object replica.Object, taken int64, err error) {
	n.counts.reads.Add(1)
	key = slices.Clone(key)
	claim := budget.From(ctx)
	err = n.again(ctx, copies, func(ctx context.Context, room int64) error {
		p := n.roster.placement()
		prefer := p.prefer(key)
		op := n.coordinator(l.fit(len(prefer.Owners))).Read(prefer, key)
		err := n.drive(ctx, &drive{place: p, strict: l.Strict, op: op, room: room}, func() {
			n.counts.repaired.Add(uint64(op.Repaired()))
			if copies == n.config.copiesRead() {
				claim.Give((copies - 1) * room)
			}
		})
		object, taken = op.Object(), copies*room
		return err
	})
	return object, taken, err
}

// readBare reads what there is under a key without the values, for somebody who is
// going to write. It repairs nothing.
func (n *Node) readBare(ctx context.Context, l Level, key []byte) (object replica.Object, err error) {
	n.counts.reads.Add(1)
	key = slices.Clone(key)
	err = n.again(ctx, 0, func(ctx context.Context, _ int64) error {
		p := n.roster.placement()
		prefer := p.prefer(key)
		rules := n.coordinator(l.fit(len(prefer.Owners)))
		rules.NoRepair, rules.Strict = true, false // or it would write what it has not read
		op := rules.Read(prefer, key)
		err := n.drive(ctx, &drive{place: p, strict: l.Strict, op: op, bare: true}, func() {})
		object = op.Object()
		return err
	})
	return object, err
}

// write writes a key, of which it keeps a copy; the bytes of the change become part
// of what is stored.
func (n *Node) write(ctx context.Context, l Level, key []byte, change replica.Change) (replica.Object, error) {
	n.counts.writes.Add(1)
	if len(key) > maxKey {
		return replica.Object{}, errKey
	}
	key = slices.Clone(key)
	var object replica.Object
	claim, copies := budget.From(ctx), n.config.copiesRead()
	err := n.again(ctx, copies, func(ctx context.Context, room int64) error {
		p := n.roster.placement()
		prefer := p.prefer(key)
		op := n.coordinator(l.fit(len(prefer.Owners))).Write(prefer, key, change)
		err := n.drive(ctx, &drive{place: p, strict: l.Strict, op: op, room: room}, func() { claim.Give(copies * room) })
		object = op.Object()
		if err == nil {
			err = n.storePending(ctx, p, l, key, object)
		}
		return err
	})
	return object, err
}

// update reads a key, or changes it in a way that depends on what is there, under
// the policy that has all writers agree. It returns what decide was given, or what is
// there if decide is nil.
func (n *Node) update(ctx context.Context, key []byte, decide replica.Decide) (basis replica.Object, err error) {
	if len(key) > maxKey {
		return replica.Object{}, errKey
	}
	key = slices.Clone(key)
	if decide == nil {
		n.counts.reads.Add(1)
	} else {
		n.counts.writes.Add(1)
	}
	claim, copies := budget.From(ctx), n.config.copiesChanged()
	if decide == nil {
		copies = n.config.copiesRead()
	}
	err = n.again(ctx, copies, func(ctx context.Context, room int64) error {
		p := n.roster.placement()
		prefer := p.prefer(key)
		level, _ := namedLevel("linearizable", max(len(prefer.Owners), 1))
		leave := n.queue.enter(key, n.config.Patience) // not while it waits for memory
		defer leave()
		op := n.coordinator(level).Update(prefer, key, decide)
		err := n.drive(ctx, &drive{place: p, strict: true, op: op, room: room}, func() {
			claim.Give((copies - 1) * room)
		})
		if decide == nil {
			basis = op.Object()
		} else {
			basis = op.Basis()
		}
		if err == nil && decide != nil {
			err = n.storePending(ctx, p, level, key, op.Object())
		}
		return err
	})
	return basis, err
}

// queue lets the updates of a key that one node coordinates be done one after the
// other, since they would only be in each other's way. They may be, so that nobody has to
// wait long: whoever is at it may itself wait for memory that one who waits here has.
type queue struct{ stripes [256]stripe }

type stripe chan struct{}

func newQueue() *queue {
	q := &queue{}
	for i := range q.stripes {
		q.stripes[i] = make(stripe, 1)
	}
	return q
}

// enter waits for the turn of a key, or until patience ends.
func (q *queue) enter(key []byte, patience time.Duration) (leave func()) {
	s := q.stripe(key)
	leave = func() { <-s }
	select {
	case s <- struct{}{}:
		return leave
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s <- struct{}{}:
		return leave
	case <-timer.C:
		return func() {}
	}
}

func (q *queue) stripe(key []byte) stripe {
	return q.stripes[consistenthash.Hash(string(key))%uint64(len(q.stripes))]
}

// again tries an operation anew while the nodes disagree about the ring, of
// which gossip takes care within moments. Only operations that have left nothing
// behind are tried again.
//
// An operation that finds a large object while it has changed nothing is begun anew as
// soon as the claim of ctx has room for so many copies of it, and it is the command's
// turn for that, see [scope].
func (n *Node) again(ctx context.Context, copies int64, try func(ctx context.Context, room int64) error) error {
	ctx, scope := within(ctx)
	defer scope.leave()
	deadline := time.Now().Add(n.config.Timeout)
	claim, room := budget.From(ctx), int64(0)
	for {
		err := try(ctx, room)
		if large, ok := errors.AsType[*roomError](err); ok {
			scope.takeTurn()
			claim.Give(copies * room)
			room = large.bytes
			if err := claim.Take(ctx, copies*room); err != nil {
				return err
			}
			deadline = time.Now().Add(n.config.Timeout)
			continue
		}
		quorum, ok := errors.AsType[*replica.QuorumError](err)
		if ok {
			n.counts.noQuorum.Add(1)
			if quorum.Maybe {
				n.counts.maybe.Add(1)
			}
		}
		disagree := ok && !quorum.Maybe && slices.ContainsFunc(quorum.Failures, func(f replica.NodeError) bool { return isRing(f.Err) })
		if !disagree || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A scope is an operation of a command, or several that belong together: those with one
// of its keys. Of its scopes a command has one at a time that has large objects; it has
// its turn until all that it does has ended, also what is done behind the answer.
type scope struct {
	turn  *sync.Mutex // of the command; nil: it has one scope
	parts atomic.Int64
	mu    sync.Mutex
	held  bool
}

// turnKey is the key of the mutex of a command, scopeKey that of a scope.
type (
	turnKey  struct{}
	scopeKey struct{}
)

// within returns the scope of ctx, or makes one. Who calls it has to leave the scope.
func within(ctx context.Context) (context.Context, *scope) {
	s := scopeOf(ctx)
	if s == nil {
		turn, _ := ctx.Value(turnKey{}).(*sync.Mutex)
		s = &scope{turn: turn}
		ctx = context.WithValue(ctx, scopeKey{}, s)
	}
	s.parts.Add(1)
	return ctx, s
}

func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// takeTurn waits for the turn, unless the scope has it.
func (s *scope) takeTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held && s.turn != nil {
		s.turn.Lock()
	}
	s.held = true
}

// hasTurn reports whether large objects may be read.
func (s *scope) hasTurn() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

func (s *scope) leave() {
	if s.parts.Add(-1) == 0 && s.held && s.turn != nil {
		s.turn.Unlock()
	}
}

// storePending sees to it that nodes which are about to own the key have what was
// written, so that no acknowledged write is missing at its new owners.
func (n *Node) storePending(ctx context.Context, p *placement, l Level, key []byte, o replica.Object) error {
	pending := p.pending(key)
	if len(pending) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
	defer cancel()
	var failed []replica.NodeError
	for _, name := range pending {
		reply := n.ask(ctx, p, false, replica.Request{To: name, Kind: replica.Store, Key: key, Object: o})
		if reply.Err != nil {
			reply = n.mend.serve(replica.Request{To: n.config.Name, For: name, Kind: replica.Store, Key: key, Object: o})
			if l.Strict || reply.Err != nil {
				failed = append(failed, replica.NodeError{Node: name, Err: reply.Err})
			}
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &replica.QuorumError{Op: "write at a node that joins", Need: len(pending), Got: len(pending) - len(failed), Failures: failed, Maybe: true}
}

// drive is an operation under way.
type drive struct {
	node    *Node
	place   *placement
	strict  bool
	bare    bool  // the values are not wanted
	room    int64 // for the object in each answer
	op      operation
	replies chan answered
	ctx     context.Context // of the requests
	sent    int             // requests without a reply yet
	changed bool            // something was sent that may change what there is
	minted  atomic.Int64    // bytes that were taken for what a write led to beside what was written
}

// answered is a request with its reply.
type answered struct {
	request replica.Request
	reply   replica.Reply
}

// drive runs an operation and returns when the client can have its answer. What
// then is left, such as repairs, goes on; finished is called when it is done. The claim
// of ctx is kept until then. The error is a [roomError] if there was no room for what
// is there and nothing was changed.
func (n *Node) drive(ctx context.Context, d *drive, finished func()) error {
	claim, op := budget.From(ctx).Keep(), d.op
	_, scope := within(ctx)
	calls, cancel := context.WithTimeout(context.WithValue(budget.With(n.ctx, claim), scopeKey{}, scope), n.config.Timeout)
	d.node, d.replies, d.ctx = n, make(chan answered, 16), calls
	end := func() {
		d.drain()
		cancel()
		claim.Give(d.minted.Load())
		claim.Release()
		scope.leave()
	}
	d.send(op.Step(time.Now()))
	for !op.Done() {
		if err := d.next(ctx, true); err != nil {
			if _, again := err.(*roomError); again {
				cancel()
			}
			n.work.Go(end)
			return err
		}
	}
	err := op.Err() // after Done nothing changes what the operation has found
	if op.Finished() && d.sent == 0 {
		finished()
		end()
		return err
	}
	n.work.Go(func() {
		for !op.Finished() && d.next(context.Background(), false) == nil {
		}
		finished()
		end()
	})
	return err
}

// send sends requests, and serves the one to this node itself without a message.
func (d *drive) send(requests []replica.Request) {
	for _, q := range requests {
		room := d.room
		switch q.Kind {
		case replica.Fetch:
			q.Bare = d.bare
		case replica.Prepare:
		default:
			d.changed = true
			room = max(room, int64(len(q.Change.Data))+peer.Large)
		}
		d.sent++
		d.node.work.Go(func() { d.replies <- answered{q, d.ask(q, room)} })
	}
}

// ask sends one request. What it leads to may be larger than what was written, by
// siblings.
func (d *drive) ask(q replica.Request, room int64) replica.Reply {
	reply := d.node.askWithin(d.ctx, d.place, d.strict, q, room)
	if q.Kind != replica.Mint {
		return reply
	}
	if _, ok := errors.AsType[*roomError](reply.Err); ok { // it is made, but could not be sent
		reply = d.node.ask(d.ctx, d.place, d.strict, replica.Request{To: q.To, Kind: replica.Fetch, Key: q.Key})
		reply.Kind = replica.Mint
		if reply.Err != nil {
			reply.Err = fmt.Errorf("%w: %w", replica.ErrTimeout, reply.Err)
		}
	}
	if more := int64(size(reply.Object) - len(q.Change.Data)); reply.Err == nil && more > peer.Large {
		if err := budget.From(d.ctx).Take(d.ctx, more*d.node.config.copiesRead()); err != nil {
			return q.Reply(replica.Object{}, fmt.Errorf("%w: %w", replica.ErrTimeout, err))
		}
		d.minted.Add(more * d.node.config.copiesRead())
	}
	return reply
}

// next waits for a reply or the time when the operation has something to do, and
// returns an error if it cannot go on. With waited, somebody waits for an answer.
func (d *drive) next(ctx context.Context, waited bool) error {
	timer := time.NewTimer(time.Until(d.op.Next()))
	defer timer.Stop()
	select {
	case r := <-d.replies:
		d.sent--
		if large, ok := errors.AsType[*roomError](r.reply.Err); ok {
			if waited && !d.changed {
				return large
			}
			if d.bare { // nobody waits for this answer any more, and it repairs nothing
				d.send(d.op.Step(time.Now(), r.request.Reply(replica.Object{}, nil)))
				return nil
			}
			d.sent++ // it is too late to begin anew, so this one takes room for itself
			d.node.work.Go(func() { d.replies <- answered{r.request, d.node.ask(d.ctx, d.place, d.strict, r.request)} })
			return nil
		}
		d.send(d.op.Step(time.Now(), r.reply))
	case <-timer.C:
		d.send(d.op.Step(time.Now()))
	case <-d.node.ctx.Done():
		return errStopped
	case <-ctx.Done():
		if d.node.ctx.Err() != nil {
			return errStopped
		}
		return ctx.Err()
	}
	return nil
}

// drain waits for the requests that are still on their way, so that none of them
// is cut short by the end of the operation.
func (d *drive) drain() {
	for d.sent > 0 {
		<-d.replies
		d.sent--
	}
}
