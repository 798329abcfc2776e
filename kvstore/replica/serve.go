package replica

import (
	"math"
	"time"
)

// A Replica is the half of the protocol that answers. It decides what is to be
// stored and said; the caller has the store, and has to do three things:
//
//   - From reading the object to storing the next one, no other request for the
//     same key may come in between.
//   - An object to be stored is synced before the reply goes out.
//   - Requests with For are not for Serve but for Hints.
//
// A Replica that is not changed is safe for concurrent use by multiple
// goroutines.
type Replica struct {
	Policy Policy
	// Actor is the identity of the store; see there what to do when it loses
	// its memory.
	Actor Actor
	// Clock is the clock of the process. It must not be nil.
	Clock *Clock
	// MaxSiblings is how many versions of a key a Mint may lead to: 0 stands
	// for 64. Merging keeps more, if that many are there.
	MaxSiblings int
	// MaxSiblingBytes is how many bytes of data the versions of a key may have
	// together after a Mint: 0 stands for 64 MiB. One version may have any
	// number, and so may what replaces all others. Merging keeps more, if that
	// many are there.
	MaxSiblingBytes int
	// MaxAhead is how far ahead of ours clocks of others may be: 0 stands for a
	// minute, and a negative number for any. What is further ahead is refused,
	// as it could not be replaced for that long.
	MaxAhead time.Duration
	// Grace is how long deletes are remembered; see Object.Collect. Objects of
	// which nothing would be left are not stored any more, so that two replicas
	// do not give one back to each other. 0: for ever.
	Grace time.Duration
}

// Serve returns the answer to a request by a replica that has an object, and,
// if store is true, the object to be stored before the answer goes out.
func (r *Replica) Serve(now time.Time, have Object, q Request) (next Object, store bool, reply Reply) {
	if r.ahead(now, q) {
		return have, false, q.Reply(Object{}, ErrAhead)
	}
	var err error
	switch q.Kind {
	case Fetch:
		if q.Bare {
			return have, false, q.Reply(have.bare(), nil)
		}
		return have, false, q.Reply(have, nil)
	case Store:
		next, reply = r.take(have, q.Object), q.Reply(Object{}, nil)
		if r.Grace > 0 && have.IsZero() {
			if _, keep := next.Collect(now, r.Grace); !keep {
				next = have
			}
		}
	case Mint:
		next, err = r.mint(now, r.Policy.Merge(have, q.Object), q.Change)
		reply = q.Reply(next, err)
	case Prepare:
		next, reply = promise(have, q)
	case Accept:
		next, reply = r.accept(have, q)
	default:
		next, reply = have, q.Reply(Object{}, ErrRefused)
	}
	return next, !next.Equal(have), reply
}

// take returns the object after hearing of another from whomever: with
// Consensus, it is what the coordinator asked to accept, and no promise may be
// broken for it, either.
func (r *Replica) take(have, o Object) Object {
	o.Promised = Dot{}
	if r.Policy == Consensus && o.dot().Compare(have.Promised) < 0 {
		return have
	}
	return r.Policy.Merge(have, o)
}

// promise answers to Prepare. To promise twice is the same promise.
func promise(have Object, q Request) (Object, Reply) {
	if q.Ballot.Compare(have.Promised) < 0 || q.Ballot.Compare(have.dot()) <= 0 {
		return have, q.Reply(have.bare(), ErrBallot)
	}
	next := have
	next.Promised = q.Ballot
	return next, q.Reply(have, nil)
}

// accept answers to Accept. To accept twice is the same vote.
func (r *Replica) accept(have Object, q Request) (Object, Reply) {
	switch {
	case r.Policy != Consensus || len(q.Object.Versions) != 1 || q.Object.dot() != q.Ballot:
		return have, q.Reply(Object{}, ErrRefused)
	case q.Ballot.Compare(have.Promised) < 0 || q.Ballot.Compare(have.dot()) < 0:
		return have, q.Reply(have.bare(), ErrBallot)
	}
	return r.take(have, q.Object), q.Reply(Object{}, nil)
}

// mint returns the object after a change. If it is refused, what was learned of
// other replicas is kept nevertheless.
func (r *Replica) mint(now time.Time, o Object, c Change) (Object, error) {
	if c.Conditional {
		if r.Policy != Siblings {
			return o, ErrConditional
		}
		for _, v := range o.Versions {
			if !c.Context.Covers(v.Dot) {
				return o, ErrConflict
			}
		}
	}
	if beyond(now, r.MaxAhead, o.Last()) {
		return o, ErrAhead // our own clock was set back; all that it gives from now on would be refused elsewhere
	}
	v := c.version(Dot{r.Actor, r.Clock.Next(now, max(o.Last(), c.Context.Last()))})
	limit := r.MaxSiblings
	if limit <= 0 {
		limit = 64
	}
	next := r.Policy.Replace(o, c.Context, v)
	if len(next.Versions) > limit && len(next.Versions) > len(o.Versions) {
		return o, ErrSiblings
	}
	most := r.MaxSiblingBytes
	if most <= 0 {
		most = 64 << 20
	}
	if bytes := next.dataBytes(); len(next.Versions) > 1 && bytes > most && bytes > o.dataBytes() {
		return o, ErrSiblings
	}
	return next, nil
}

// ahead says whether something in the request is from too far in the future.
func (r *Replica) ahead(now time.Time, q Request) bool {
	return beyond(now, r.MaxAhead, max(q.Object.Last(), q.Change.Context.Last(), q.Ballot.Time))
}

// beyond says whether t is more than most ahead of now: 0 stands for a minute,
// and what is negative for any time.
func beyond(now time.Time, most time.Duration, t Time) bool {
	switch {
	case most < 0:
		return false
	case most == 0:
		most = time.Minute
	}
	limit := TimeOf(now.Add(most))
	if limit == 0 { // a wall clock before 1970 says nothing
		limit = math.MaxUint64
	}
	return t > limit
}
