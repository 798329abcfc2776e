package replica

import (
	"errors"
	"slices"
	"time"
)

// A Write is one write, of a value or a tombstone:
//
//	LastWriterWins           ─────────────────────► store at all, W answers
//	LastWriterWins, strict   ask all, R answers ──► store at all, W answers
//	Siblings                 mint at one owner ───► store at the others, W answers with the first
//	Siblings, conditional    ask all, R answers ──► mint at the first owner ──► store at the others
//
// An owner that does not answer whether it has minted ends the write; one that
// is known to be away, or that an error other than ErrTimeout was told of, does
// not: the next is asked. So a transport that cannot tell whether a Mint was
// delivered must say ErrTimeout.
//
// Without a quorum the write has failed, but it may have been stored somewhere,
// and take effect later: nothing is rolled back. QuorumError.Maybe tells.
//
// A Write is not safe for concurrent use.
type Write struct {
	operation
	change  Change
	phase   phase
	round   *round      // of the phase, but for that of minting
	minters []string    // who may mint; the first was asked
	refused []NodeError // who did not
	known   Object      // what replicas have said in the phase of asking
	object  Object      // what is stored
	hinted  map[string]bool
}

type phase uint8

const (
	asking phase = iota + 1
	minting
	storing
)

// Write returns a write of change under key, which has done nothing yet: the
// first Step starts it.
func (c *Coordinator) Write(p Preference, key []byte, change Change) *Write {
	w := &Write{operation: operation{c: c, key: key, preference: p}, change: change}
	if change.Deleted {
		w.change.Data = nil
	}
	return w
}

// Object returns what was written, once the write is done without an error: its
// vector is the context for a write that replaces it. If the error is
// ErrConflict, it is what is in the way.
func (w *Write) Object() Object { return w.object }

// Next returns when Step has to be called although no reply came.
func (w *Write) Next() time.Time {
	if w.round == nil {
		return w.deadline
	}
	return w.round.next(w.deadline)
}

// Step tells the write the time and what replies have come, and returns what is
// to be sent. Replies may come in any order, twice, or not at all.
func (w *Write) Step(now time.Time, replies ...Reply) []Request {
	if !w.started {
		w.start(now)
	}
	for _, r := range replies {
		if !w.finished {
			w.take(now, w.heed(now, r))
		}
	}
	if !w.finished {
		w.late(now)
	}
	return w.drain()
}

func (w *Write) start(now time.Time) {
	if !w.begin(now, "write", w.c.W) {
		return
	}
	switch {
	case w.change.Conditional && w.c.Policy != Siblings:
		w.end(ErrConditional)
	case w.change.Conditional || w.c.Strict && w.c.Policy == LastWriterWins:
		w.ask(now)
	case w.c.Policy == Siblings:
		w.mint(now)
	default:
		w.stamp(now, 0)
	}
}

// ask begins the phase in which owners say what they have.
func (w *Write) ask(now time.Time) {
	if n, away := w.c.reachable(w.preference); n < w.c.R {
		w.end(&QuorumError{Op: "read before write", Need: w.c.R, Failures: away})
		return
	}
	w.phase, w.round = asking, newRound(w.c, w.preference)
	w.round.start(now, w.fetch)
	w.progress(now)
}

func (w *Write) fetch(s *slot) {
	w.out = append(w.out, Request{To: s.holder, For: standsFor(s), Kind: Fetch, Bare: w.c.Policy == LastWriterWins, Key: w.key})
}

// standsFor returns for whom the holder of a slot stands in, or nothing.
func standsFor(s *slot) string {
	if s.holder == s.owner {
		return ""
	}
	return s.owner
}

// stamp makes the version, later than after, and begins to store it.
func (w *Write) stamp(now time.Time, after Time) {
	v := w.change.version(Dot{w.c.Actor, w.c.Clock.Next(now, after)})
	w.store(now, Object{Context: Vector{v.Dot}, Versions: []Version{v}}, "")
}

// mint begins the phase in which an owner makes the version: this node if it is
// one, or the first that is there. A conditional write is for the first owner
// to decide, and for nobody else.
func (w *Write) mint(now time.Time) {
	owners := w.preference.Owners
	if w.change.Conditional {
		w.minters = owners[:1]
	} else {
		w.minters = slices.DeleteFunc(slices.Clone(owners), w.c.down)
		if i := slices.Index(w.minters, w.c.Self); i > 0 {
			w.minters = slices.Insert(slices.Delete(w.minters, i, i+1), 0, w.c.Self)
		}
	}
	w.phase, w.round = minting, nil
	w.mintNext()
}

// mintNext asks the next owner to mint, or ends the write if none is left. It
// must be certain that those asked before have not done it: two of them would
// make two versions of one write, and whoever replaces one need not have seen
// the other, which would be back.
func (w *Write) mintNext() {
	if len(w.minters) == 0 {
		w.end(&QuorumError{Op: "write at an owner", Need: 1, Failures: w.refused})
		return
	}
	w.out = append(w.out, Request{To: w.minters[0], Kind: Mint, Key: w.key, Object: w.known, Change: w.change})
}

// store begins the phase in which all owners get the object, which one of them
// may have already.
func (w *Write) store(now time.Time, o Object, has string) {
	w.object, w.phase, w.round = o, storing, newRound(w.c, w.preference)
	for i := range w.round.slots {
		if s := &w.round.slots[i]; s.owner == has {
			s.state = answered
		}
	}
	w.round.start(now, w.put)
	w.progress(now)
}

func (w *Write) put(s *slot) {
	w.out = append(w.out, Request{To: s.holder, For: standsFor(s), Kind: Store, Key: w.key, Object: w.object})
}

// take tells the phase what one node has said.
func (w *Write) take(now time.Time, r Reply) {
	switch {
	case w.phase == minting && r.Kind == Mint:
		w.takeMint(now, r)
	case w.phase == asking && r.Kind == Fetch || w.phase == storing && r.Kind == Store:
		s := w.round.find(r)
		if s == nil {
			return
		}
		if r.Err != nil {
			send := w.put
			if w.phase == asking {
				send = w.fetch
			}
			w.round.fail(now, s, r.Err, send)
		} else {
			s.state = answered
			if w.phase == asking {
				w.known = w.c.Policy.Merge(w.known, r.Object)
			}
		}
		w.progress(now)
	}
}

func (w *Write) takeMint(now time.Time, r Reply) {
	if r.From != w.minters[0] {
		return
	}
	if r.Err == nil {
		w.store(now, r.Object, r.From)
		return
	}
	w.refused = append(w.refused, NodeError{r.From, r.Err})
	w.minters = w.minters[1:]
	switch {
	case errors.Is(r.Err, ErrTimeout):
		w.mintLost()
	case errors.Is(r.Err, ErrAhead) && len(w.minters) > 0:
		w.mintNext() // it may be that one's clock
	case errors.Is(r.Err, ErrConflict), errors.Is(r.Err, ErrSiblings), errors.Is(r.Err, ErrAhead), errors.Is(r.Err, ErrConditional):
		w.object = r.Object
		w.end(r.Err)
	default:
		w.mintNext()
	}
}

// mintLost ends the write because an owner may have minted or not.
func (w *Write) mintLost() {
	w.end(&QuorumError{Op: "write at an owner", Need: 1, Failures: w.refused, Maybe: true})
}

// late looks for what should have come by now.
func (w *Write) late(now time.Time) {
	switch w.phase {
	case asking:
		w.round.late(now, w.deadline, w.fetch)
		w.progress(now)
	case storing:
		w.round.late(now, w.deadline, w.put)
		w.progress(now)
	case minting:
		if !now.Before(w.deadline) {
			w.refused = append(w.refused, NodeError{w.minters[0], ErrTimeout})
			w.mintLost()
		}
	}
}

// progress goes on to the next phase, or ends the write, when the round allows.
func (w *Write) progress(now time.Time) {
	got, waiting := w.round.count(answered), w.round.count(asked)
	if w.phase == asking {
		switch {
		case got >= w.c.R && w.change.Conditional:
			w.mint(now)
		case got >= w.c.R:
			w.stamp(now, w.known.Last())
		case got+waiting < w.c.R:
			w.end(&QuorumError{Op: "read before write", Need: w.c.R, Got: got, Failures: w.round.failures()})
		}
		return
	}
	if !w.done && got >= w.c.W {
		w.done = true
	}
	if !w.done && got+waiting < w.c.W {
		w.done = true
		w.err = &QuorumError{Op: "write", Need: w.c.W, Got: got, Failures: w.round.failures(), Maybe: true}
	}
	w.hint()
	w.finished = w.done && waiting == 0
}

// hint makes hints at this node for owners that nobody stands in for.
func (w *Write) hint() {
	if w.c.Self == "" {
		return
	}
	for _, s := range w.round.slots {
		if s.state == failed && s.owner != w.c.Self && !w.hinted[s.owner] {
			if w.hinted == nil {
				w.hinted = map[string]bool{}
			}
			w.hinted[s.owner] = true
			w.out = append(w.out, Request{To: w.c.Self, For: s.owner, Kind: Store, Key: w.key, Object: w.object})
		}
	}
}
