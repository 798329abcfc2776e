package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrRules says that R, W and the number of owners do not fit together.
var ErrRules = errors.New("replica: rules that do not fit")

// A Coordinator is the half of the protocol that asks. Any node may coordinate
// any operation. Write and Read make one operation each, as a state machine:
//
//	op := coordinator.Read(preference, key)
//	send(op.Step(now))                           the first requests
//	for !op.Finished() {
//	        wait for a reply, or until op.Next()
//	        send(op.Step(now, reply))            tell it, send what comes of it
//	        if op.Done() { answer the client }   once; then go on until it is finished
//	}
//
// An operation is done when the client can have its answer, and finished when
// no replica is waited for any more; in between replicas are repaired and hints
// made. A request that cannot be sent is told to the machine as a reply with an
// error.
//
// A Coordinator that is not changed is safe for concurrent use by multiple
// goroutines, and its operations are independent of each other.
type Coordinator struct {
	// Self is the name of the node: hints for owners that did not store a write
	// are requests to it. Empty: no hints but those that stand-ins keep.
	Self string
	// Policy must be that of the replicas.
	Policy Policy
	// R is how many replicas must answer a read, W how many must have stored a
	// write. The number of owners is N.
	R, W int
	// Strict keeps a read from being answered before W replicas have what it
	// returns, and with LastWriterWins lets a write ask R replicas first what
	// there is. It needs R+W > N. The package comment says what that makes of a
	// key.
	Strict bool
	// Sloppy lets nodes that do not own a key stand in for owners that are
	// away, and counts their answers.
	Sloppy bool
	// NoRepair leaves replicas that a read found behind as they are. It is
	// without effect with Strict.
	NoRepair bool
	// Actor is in the dots of versions that the coordinator makes, which it
	// does unless there are siblings. It must be another one after every start.
	Actor Actor
	// Clock is the clock of the process. It must not be nil.
	Clock *Clock
	// Timeout is how long an operation may take: 0 stands for 2 seconds.
	Timeout time.Duration
	// Patience is how long to wait for a node before another is asked in its
	// place, if there is one: 0 stands for a quarter of Timeout.
	Patience time.Duration
	// MaxAhead is as in Replica: what a replica has from further ahead is as if
	// it had not answered, or one clock that is wrong would carry all others
	// with it, to times at which nobody takes their writes. What that one makes
	// itself, such as a version as the first owner of a key with Siblings, fails
	// until the clock is right.
	MaxAhead time.Duration
	// Down says which nodes are known to be away; they are not asked. nil:
	// none.
	Down func(node string) bool
}

// Check returns an error wrapping ErrRules unless the coordinator can work with
// keys of n owners. Operations do the same for the owners they are given.
func (c *Coordinator) Check(n int) error {
	reason := ""
	switch {
	case c.R < 1 || c.W < 1:
		reason = "R and W must be positive"
	case c.R > n || c.W > n:
		reason = "R and W cannot be more than N"
	case c.Strict && c.R+c.W <= n:
		reason = "strict needs R+W > N"
	case c.Strict && c.Sloppy:
		reason = "strict cannot be sloppy"
	case c.Policy > Consensus:
		reason = "unknown policy"
	case c.Policy == Consensus && (c.R+c.W <= n || c.Sloppy):
		reason = "consensus needs R+W > N and cannot be sloppy"
	case c.Policy != Siblings && c.Actor == 0:
		reason = "the coordinator needs an actor"
	case c.Clock == nil:
		reason = "the coordinator needs a clock"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s (R %d, W %d, N %d)", ErrRules, reason, c.R, c.W, n)
}

func (c *Coordinator) down(node string) bool { return c.Down != nil && c.Down(node) }

func (c *Coordinator) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return 2 * time.Second
}

func (c *Coordinator) patience() time.Duration {
	if c.Patience > 0 {
		return c.Patience
	}
	return c.timeout() / 4
}

// progress is how far a slot is.
type progress uint8

const (
	idle progress = iota
	asked
	answered
	failed
)

// A slot is the place of one owner in a round of requests. It is filled by the
// owner, or by a node that stands in for it.
type slot struct {
	owner  string
	holder string // who is asked: the owner or its stand-in
	state  progress
	open   bool      // the owner was asked and has neither answered nor failed
	since  time.Time // when the holder was asked
	err    error     // why it failed
}

// A round is a request to all owners, of which some number have to answer.
// Owners are asked at once; each that fails is replaced by the next stand-in,
// if the quorum is sloppy.
type round struct {
	c     *Coordinator
	slots []slot
	spare []string // nodes that may stand in, in order
}

func newRound(c *Coordinator, p Preference) *round {
	r := &round{c: c, slots: make([]slot, len(p.Owners))}
	for i, owner := range p.Owners {
		r.slots[i] = slot{owner: owner, holder: owner}
	}
	if c.Sloppy {
		r.spare = p.Fallbacks
	}
	return r
}

// count returns how many slots are in a state.
func (r *round) count(state progress) int {
	n := 0
	for i := range r.slots {
		if r.slots[i].state == state {
			n++
		}
	}
	return n
}

// start asks for every idle slot; send sends the request of a slot.
func (r *round) start(now time.Time, send func(*slot)) {
	for i := range r.slots {
		s := &r.slots[i]
		if s.state != idle {
			continue
		}
		if r.c.down(s.owner) {
			r.fail(now, s, ErrDown, send)
			continue
		}
		s.state, s.since, s.open = asked, now, true
		send(s)
	}
}

// fail gives the slot to the next stand-in. If there is none, it is the owner's
// again, or has failed, if the owner has.
func (r *round) fail(now time.Time, s *slot, err error, send func(*slot)) {
	s.err = err
	if s.holder == s.owner && !errors.Is(err, ErrTimeout) {
		s.open = false
	}
	for len(r.spare) > 0 {
		next := r.spare[0]
		r.spare = r.spare[1:]
		if !r.c.down(next) {
			s.holder, s.state, s.since = next, asked, now
			send(s)
			return
		}
	}
	s.state = failed
	if s.open {
		s.holder, s.state = s.owner, asked
	}
}

// find returns the slot that a reply is for, or nil if it is for none that
// still waits. An owner may answer although somebody stands in for it, or it
// was given up.
func (r *round) find(reply Reply) *slot {
	i := slices.IndexFunc(r.slots, func(s slot) bool {
		if reply.For != "" {
			return s.owner == reply.For && s.holder == reply.From && s.holder != s.owner
		}
		return s.owner == reply.From
	})
	if i < 0 {
		return nil
	}
	s := &r.slots[i]
	switch {
	case s.state == idle || s.state == answered:
		return nil
	case reply.Err != nil && (s.state == failed || s.holder != reply.From):
		s.open = s.open && reply.From != s.owner
		return nil // what failed is known already
	}
	return s
}

// late replaces the nodes that have used up the patience, while there are
// others, and all at the deadline.
func (r *round) late(now, deadline time.Time, send func(*slot)) {
	for i := range r.slots {
		s := &r.slots[i]
		switch {
		case s.state != asked:
		case !now.Before(deadline):
			s.state, s.err = failed, ErrTimeout
		case len(r.spare) > 0 && !now.Before(s.since.Add(r.c.patience())):
			r.fail(now, s, ErrTimeout, send)
		}
	}
}

// next returns when late has something to do: not after the deadline.
func (r *round) next(deadline time.Time) time.Time {
	for i := range r.slots {
		if s := &r.slots[i]; s.state == asked && len(r.spare) > 0 {
			if t := s.since.Add(r.c.patience()); t.Before(deadline) {
				deadline = t
			}
		}
	}
	return deadline
}

// failures returns what went wrong.
func (r *round) failures() []NodeError {
	var all []NodeError
	for _, s := range r.slots {
		if s.err != nil {
			all = append(all, NodeError{s.owner, s.err})
		}
	}
	return all
}

// reachable returns how many slots somebody could fill who is not known to be
// away.
func (c *Coordinator) reachable(p Preference) (n int, away []NodeError) {
	for _, owner := range p.Owners {
		if c.down(owner) {
			away = append(away, NodeError{owner, ErrDown})
			continue
		}
		n++
	}
	if c.Sloppy {
		for _, node := range p.Fallbacks {
			if !c.down(node) {
				n++
			}
		}
	}
	return min(n, len(p.Owners)), away
}

// operation is what Write and Read have in common.
type operation struct {
	c          *Coordinator
	key        []byte
	preference Preference
	deadline   time.Time
	started    bool
	done       bool
	finished   bool
	err        error
	out        []Request
}

// begin checks the rules and that enough nodes are there; if not, the operation
// is over before anything was sent.
func (o *operation) begin(now time.Time, op string, need int) bool {
	o.started = true
	o.deadline = now.Add(o.c.timeout())
	if (op == "update") != (o.c.Policy == Consensus) {
		o.end(fmt.Errorf("%w: %s under the policy %v", ErrRules, op, o.c.Policy))
		return false
	}
	if err := o.c.Check(len(o.preference.Owners)); err != nil {
		o.end(err)
		return false
	}
	if n, away := o.c.reachable(o.preference); n < need {
		o.end(&QuorumError{Op: op, Need: need, Got: 0, Failures: away})
		return false
	}
	return true
}

// end is the end of an operation that has nothing to wait for.
func (o *operation) end(err error) { o.done, o.finished, o.err = true, true, err }

// drain returns the requests that have come together.
func (o *operation) drain() []Request {
	out := o.out
	o.out = nil
	return out
}

// heed returns a reply as an operation takes it: what was found is no answer if
// it is from too far ahead. What was minted is, as others will say what they
// think of it.
func (o *operation) heed(now time.Time, r Reply) Reply {
	if r.Kind == Mint || !beyond(now, o.c.MaxAhead, r.Object.Last()) {
		return r
	}
	r.Object = Object{}
	if r.Err == nil {
		r.Err = ErrAhead
	}
	return r
}

// Done says whether the client can have its answer, be it an error.
func (o *operation) Done() bool { return o.done }

// Finished says whether there is nothing more to be told or sent. It implies
// Done.
func (o *operation) Finished() bool { return o.finished }

// Err returns why the operation failed: ErrConflict, ErrSiblings, ErrAhead,
// ErrConditional, an error wrapping ErrRules, or a QuorumError. It is nil
// before the operation is done.
func (o *operation) Err() error { return o.err }
