package replica

import (
	"errors"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// An Update is a read, a write, or a write that depends on what is there, of a
// key under Consensus:
//
//	prepare: R promise ──► decide ──► accept: W accept ──► done
//	   ▲                                   │
//	   └──────── wait, another ballot ◄────┴─ too many have promised more to others
//
// An update that only reads asks first, and is done if W replicas have the
// same. What it finds half done, it completes.
//
// An Update is not safe for concurrent use.
type Update struct {
	operation
	decide  Decide
	phase   phase
	round   *round
	objects []Object // what each slot has answered
	ballot  Dot      // of this attempt
	latest  Time     // of ballots of others that were in the way
	object  Object   // what is proposed
	basis   Object   // what the decision that counts was made on
	result  Object   // what there is after it
	made    []proposal
	without []Time // ballots under which what is there was proposed, without a change of ours
	since   time.Time
	resume  time.Time // when the next attempt begins, while pausing
	tries   int
	hinted  map[string]bool
}

// A proposal is a change that may take effect, however late, since a replica
// may have accepted it.
type proposal struct {
	ballots       []Time // under which it was proposed: first of all, and to complete it
	basis, result Object
}

const (
	preparing phase = iota + 10
	accepting
	pausing
)

// A Decide says what to write, if anything, in view of what is there;
// Object.Latest has the value. It is called for every attempt, and any of its
// decisions may be the one that counts, so it should have no effects:
// Update.Basis tells afterwards what it was made on.
type Decide func(current Object, now time.Time) (change Change, write bool)

// Update returns an update of key, which has done nothing yet: the first Step
// starts it. If decide is nil, it reads.
//
// A coordinator should run one update of a key at a time: of two, one may end
// with ErrQuorum where it cannot be told whose write was seen, and they would
// only be in each other's way.
func (c *Coordinator) Update(p Preference, key []byte, decide Decide) *Update {
	return &Update{operation: operation{c: c, key: key, preference: p}, decide: decide}
}

// Object returns what there is after the update, once it is done without an
// error.
func (u *Update) Object() Object { return u.result }

// Basis returns what there was before the update, once it is done without an
// error: what the decision that counts was made on.
func (u *Update) Basis() Object { return u.basis }

// Attempts returns how many ballots the update has used.
func (u *Update) Attempts() int { return u.tries }

// Next returns when Step has to be called although no reply came.
func (u *Update) Next() time.Time {
	t := u.deadline
	switch {
	case u.done || u.phase == 0:
	case u.phase == pausing:
		t = u.resume
	default:
		t = u.since.Add(u.c.patience())
	}
	if t.After(u.deadline) {
		return u.deadline
	}
	return t
}

// Step tells the update the time and what replies have come, and returns what
// is to be sent. Replies may come in any order, twice, or not at all.
func (u *Update) Step(now time.Time, replies ...Reply) []Request {
	if !u.started && u.begin(now, "update", max(u.c.R, u.c.W)) {
		if u.decide == nil {
			u.ask(now, asking)
		} else {
			u.prepare(now)
		}
	}
	for _, r := range replies {
		if !u.finished {
			u.take(now, u.heed(now, r))
		}
	}
	if !u.finished {
		u.late(now)
	}
	return u.drain()
}

// ask begins a phase.
func (u *Update) ask(now time.Time, p phase) {
	u.phase, u.since = p, now
	u.round = newRound(u.c, u.preference)
	u.objects = make([]Object, len(u.round.slots))
	u.round.start(now, u.send)
	u.progress(now)
}

func (u *Update) send(s *slot) {
	q := Request{To: s.holder, Key: u.key}
	switch u.phase {
	case asking:
		q.Kind = Fetch
	case preparing:
		q.Kind, q.Ballot = Prepare, u.ballot
	case accepting:
		q.Kind, q.Ballot, q.Object = Accept, u.ballot, u.object
	}
	u.out = append(u.out, q)
}

// prepare begins an attempt with a ballot later than all that are known.
func (u *Update) prepare(now time.Time) {
	after := u.latest
	for _, o := range u.objects {
		after = max(after, o.Last())
	}
	u.ballot = Dot{u.c.Actor, u.c.Clock.Next(now, after)}
	u.tries++
	u.ask(now, preparing)
}

func (u *Update) take(now time.Time, r Reply) {
	kinds := map[phase]Kind{asking: Fetch, preparing: Prepare, accepting: Accept}
	if r.Kind != kinds[u.phase] || r.Kind.ballots() && r.Ballot != u.ballot {
		return // of an earlier attempt
	}
	s := u.round.find(r)
	if s == nil {
		return
	}
	if r.Err != nil {
		u.latest = max(u.latest, r.Object.Last())
		u.round.fail(now, s, r.Err, u.send)
	} else {
		s.state = answered
		u.objects[slices.IndexFunc(u.round.slots, func(t slot) bool { return t.owner == s.owner })] = r.Object
	}
	u.progress(now)
}

// late looks for what should have come by now.
func (u *Update) late(now time.Time) {
	switch {
	case !now.Before(u.deadline):
		if u.phase == pausing {
			u.lose(max(u.c.R, u.c.W), 0)
			return
		}
		u.round.late(now, u.deadline, u.send)
		u.progress(now)
	case u.done:
	case u.phase == pausing && !now.Before(u.resume),
		u.phase != pausing && !now.Before(u.since.Add(u.c.patience())):
		u.prepare(now)
	}
}

// progress goes on to the next phase, or ends the update, when the round
// allows.
func (u *Update) progress(now time.Time) {
	got, waiting := u.round.count(answered), u.round.count(asked)
	need := u.c.R
	if u.phase == accepting {
		need = u.c.W
	}
	switch {
	case u.done:
	case got >= need && u.phase == asking:
		if current := u.current(); u.settled(current) {
			u.done, u.basis, u.result = true, current, current
		} else if waiting == 0 {
			u.prepare(now)
			return
		}
	case got >= need && u.phase == preparing:
		u.propose(now)
		return
	case got >= need:
		u.done = true
	case got+waiting >= need:
		return
	case u.outbid() && now.Before(u.deadline):
		u.pause(now)
		return
	default:
		u.lose(need, got)
		return
	}
	if u.done {
		u.hint()
		u.finished = waiting == 0 || u.phase != accepting
	}
}

// current returns the latest of what was answered.
func (u *Update) current() Object {
	var o Object
	for _, other := range u.objects {
		o = u.c.Policy.Merge(o, other)
	}
	o.Promised = Dot{}
	return o
}

// settled says whether W replicas have what is current, which then is chosen.
// Of a key that none of R has, nothing is.
func (u *Update) settled(current Object) bool {
	have := 0
	for i, s := range u.round.slots {
		if s.state == answered && u.objects[i].dot() == current.dot() {
			have++
		}
	}
	return have >= u.c.W || len(current.Versions) == 0
}

// propose decides, and begins to have that accepted. If a change of an earlier
// attempt went in, there is nothing more to decide.
func (u *Update) propose(now time.Time) {
	current := u.current()
	applied, known := u.applied(current)
	if !known {
		u.lose(u.c.R, u.c.R)
		return
	}
	var change Change
	write := false
	if u.decide != nil && applied == nil {
		change, write = u.decide(current, now)
	}
	u.basis, u.result = current, current
	if applied != nil {
		u.basis, u.result = applied.basis, applied.result
	}
	// Without a change there is nothing to propose, unless one of an earlier attempt
	// could still go in after all: one that replaced what only a minority had, which
	// this attempt has not seen. What there is, or that there is nothing, has to be
	// chosen above it before anybody is told.
	if !write && u.settled(current) && (applied != nil || len(u.made) == 0) {
		u.end(nil)
		return
	}
	var v Version
	switch {
	case write:
		v = change.version(u.ballot)
	case len(current.Versions) > 0: // complete what may be half done
		v = current.Versions[0]
		v.Dot = u.ballot
	default:
		v = Change{Deleted: true}.version(u.ballot)
	}
	u.object = Object{Context: current.Context.With(u.ballot), Versions: []Version{v}}
	u.object = u.object.Prune(lineage, TimeOf(u.ballot.Time.Wall().Add(-remembered)))
	switch {
	case write:
		u.result = u.object
		u.made = append(u.made, proposal{[]Time{u.ballot.Time}, u.basis, u.result})
	case applied != nil:
		applied.ballots = append(applied.ballots, u.ballot.Time)
	default:
		u.without = append(u.without, u.ballot.Time)
	}
	u.ask(now, accepting)
}

// applied returns which change of an earlier attempt went into what is there,
// if one did. The vector of the version tells: it has the last ballot of each
// coordinator that did.
//
// A change that did not may still do, even if R replicas have promised not to
// accept it any more: who hears of it from another one may adopt it, unless
// this attempt is chosen first. So none is ever forgotten. Two of them cannot
// go in, as each is made on something that the others are not in.
//
// If the vector has another ballot of this coordinator, it made another update
// of the key meanwhile, and it cannot be known what was before.
func (u *Update) applied(current Object) (made *proposal, known bool) {
	if len(u.made) == 0 {
		return nil, true
	}
	last := current.Context.At(u.c.Actor)
	for i := range u.made {
		if slices.Contains(u.made[i].ballots, last) {
			return &u.made[i], true
		}
	}
	return nil, last < u.made[0].ballots[0] || slices.Contains(u.without, last)
}

// A version remembers all coordinators that changed the key of late, and some
// more: whoever still tries to find out whether its change went in has proposed
// it since.
const (
	lineage    = 15
	remembered = 10 * time.Minute
)

// outbid says whether others' ballots are in the way, so that another attempt
// may help.
func (u *Update) outbid() bool {
	return slices.ContainsFunc(u.round.slots, func(s slot) bool { return errors.Is(s.err, ErrBallot) })
}

// pause waits before the next attempt: about as long as this one took, and
// longer the more there were, by a number that coordinators do not share.
func (u *Update) pause(now time.Time) {
	took := max(now.Sub(u.since), time.Millisecond)
	window := uint64(took) << min(u.tries, 5)
	chance := appendDot(nil, u.ballot)
	u.resume = now.Add(time.Duration(xxhash.Sum64(chance) % window))
	u.phase = pausing
}

// lose ends the update for want of a quorum.
func (u *Update) lose(need, got int) {
	u.end(&QuorumError{Op: "update", Need: need, Got: got, Failures: u.round.failures(), Maybe: len(u.made) > 0})
}

// hint makes hints at this node for owners that did not accept what was chosen.
func (u *Update) hint() {
	if u.c.Self == "" || u.phase != accepting {
		return
	}
	for _, s := range u.round.slots {
		if s.state == failed && s.owner != u.c.Self && !u.hinted[s.owner] {
			if u.hinted == nil {
				u.hinted = map[string]bool{}
			}
			u.hinted[s.owner] = true
			u.out = append(u.out, Request{To: u.c.Self, For: s.owner, Kind: Store, Key: u.key, Object: u.object})
		}
	}
}
