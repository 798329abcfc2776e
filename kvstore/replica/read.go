package replica

import "time"

// A Read is one read:
//
//	         ask all, R answers ──► done ──► all have answered ──► store at those behind
//	strict   ask all, R answers ──► store at those behind, until W have it ──► done
//
// What a strict read finds at W replicas already it need not store, so while
// nobody writes, it takes one round of messages.
//
// A Read is not safe for concurrent use.
type Read struct {
	operation
	round    *round
	objects  []Object   // what each slot has answered
	back     []progress // the store at each slot, when the read is strict
	merged   Object     // of all answers
	object   Object     // the answer
	decided  bool       // object is what the read returns
	repaired int
}

// Read returns a read of key, which has done nothing yet: the first Step starts
// it.
func (c *Coordinator) Read(p Preference, key []byte) *Read {
	return &Read{operation: operation{c: c, key: key, preference: p}}
}

// Object returns what was read, once the read is done without an error. It is
// zero if none of those who answered knows of the key; deleted and expired
// versions are part of it: see Object.Live.
func (r *Read) Object() Object { return r.object }

// Repaired returns how many replicas were sent what they did not have.
func (r *Read) Repaired() int { return r.repaired }

// Next returns when Step has to be called although no reply came.
func (r *Read) Next() time.Time {
	if r.round == nil {
		return r.deadline
	}
	return r.round.next(r.deadline)
}

// Step tells the read the time and what replies have come, and returns what is
// to be sent. Replies may come in any order, twice, or not at all.
func (r *Read) Step(now time.Time, replies ...Reply) []Request {
	if !r.started {
		r.start(now)
	}
	for _, reply := range replies {
		if !r.finished {
			r.take(now, r.heed(now, reply))
		}
	}
	if !r.finished {
		r.late(now)
	}
	return r.drain()
}

func (r *Read) start(now time.Time) {
	if !r.begin(now, "read", r.c.R) {
		return
	}
	r.round = newRound(r.c, r.preference)
	r.objects, r.back = make([]Object, len(r.round.slots)), make([]progress, len(r.round.slots))
	r.round.start(now, r.fetch)
	r.progress()
}

func (r *Read) fetch(s *slot) {
	r.out = append(r.out, Request{To: s.holder, For: standsFor(s), Kind: Fetch, Key: r.key})
}

func (r *Read) take(now time.Time, reply Reply) {
	if reply.Kind == Store {
		r.takeStore(reply)
		return
	}
	s := r.round.find(reply)
	if s == nil || reply.Kind != Fetch {
		return
	}
	if reply.Err == nil && reply.For != "" && reply.Object.IsZero() {
		reply.Err = errNothingKept // a stand-in that was not there for a write knows nothing of absence
	}
	if reply.Err != nil {
		r.round.fail(now, s, reply.Err, r.fetch)
	} else {
		s.state, s.holder = answered, reply.From
		r.objects[r.index(s)] = reply.Object
		r.merged = r.c.Policy.Merge(r.merged, reply.Object)
		r.c.Clock.Seen(reply.Object.Last())
	}
	r.progress()
}

// index returns the number of a slot.
func (r *Read) index(s *slot) int {
	for i := range r.round.slots {
		if &r.round.slots[i] == s {
			return i
		}
	}
	return -1
}

// takeStore takes what came of writing back.
func (r *Read) takeStore(reply Reply) {
	for i, s := range r.round.slots {
		if s.owner == reply.From && reply.For == "" && r.back[i] == asked {
			r.back[i] = answered
			if reply.Err != nil {
				r.back[i], r.round.slots[i].err = failed, reply.Err
			}
		}
	}
	r.progress()
}

// late looks for what should have come by now.
func (r *Read) late(now time.Time) {
	r.round.late(now, r.deadline, r.fetch)
	if !now.Before(r.deadline) {
		for i, back := range r.back {
			if back == asked {
				r.back[i], r.round.slots[i].err = failed, ErrTimeout
			}
		}
	}
	r.progress()
}

// progress answers, repairs and ends when the answers allow.
func (r *Read) progress() {
	got, waiting := r.round.count(answered), r.round.count(asked)
	if !r.decided && got >= r.c.R {
		r.decided, r.object = true, r.merged
	}
	switch {
	case !r.decided && !r.done && got+waiting < r.c.R:
		r.done, r.err = true, &QuorumError{Op: "read", Need: r.c.R, Got: got, Failures: r.round.failures()}
	case r.decided && r.c.Strict:
		waiting += r.writeBack()
	case r.decided:
		r.done = true
	}
	r.finished = r.done && waiting == 0
	if r.finished && r.decided && !r.c.Strict && !r.c.NoRepair {
		r.repair()
	}
}

// writeBack sees to it that W replicas have what is to be returned, and returns
// how many it waits for besides those that have not answered at all.
func (r *Read) writeBack() (waiting int) {
	have, hope := 0, 0
	for i, s := range r.round.slots {
		if s.state == answered && r.back[i] == idle {
			if r.c.Policy.Merge(r.objects[i], r.object).Equal(r.objects[i]) {
				r.back[i] = answered
			} else {
				r.back[i] = asked
				r.send(s.owner, r.object)
			}
		}
		switch {
		case r.back[i] == answered:
			have++
		case r.back[i] == asked:
			waiting++
			hope++
		case s.state == asked:
			hope++
		}
	}
	switch {
	case r.done:
	case have >= r.c.W || r.object.IsZero():
		r.done = true // that nothing is there need not be told to anybody
	case have+hope < r.c.W:
		r.done, r.object = true, Object{}
		r.err = &QuorumError{Op: "write back what was read", Need: r.c.W, Got: have, Failures: r.round.failures()}
	}
	return waiting
}

// repair sends to all owners that have answered and are behind what all
// together know.
func (r *Read) repair() {
	for i, s := range r.round.slots {
		if s.state == answered && s.holder == s.owner && !r.c.Policy.Merge(r.objects[i], r.merged).Equal(r.objects[i]) {
			r.send(s.owner, r.merged)
		}
	}
}

func (r *Read) send(owner string, o Object) {
	r.repaired++
	r.out = append(r.out, Request{To: owner, Kind: Store, Key: r.key, Object: o})
}
