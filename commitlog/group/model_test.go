package group

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The model explores every interleaving of a few clients with one group:
// requests, answers that arrive or are lost, clients that give up waiting,
// leave, crash and come back, timers in any order, and a coordinator that dies
// and is restored from what it saved. A fault costs one of a budget; everything
// else is free. States are compared up to the names of members, the numbers of
// tickets and generations that are over, so that the space is finite and
// explored to its end.

type phase uint8

const (
	idle    phase = iota // has to join
	joining              // waits for the answer to its join
	joined               // has to sync
	syncing              // waits for the answer to its sync
	reading              // has its assignment
	gone                 // for ever
)

type client struct {
	phase      phase
	id         string
	instance   string
	generation int32
	ticket     Ticket   // of the request it waits for
	inbox      *Reply   // the answer on its way
	lead       []string // whom to assign to, if it leads
	assignment string
}

type world struct {
	g       *Group
	clients []client
	faults  int
	names   int
	tickets Ticket
	waits   map[Ticket]bool   // requests without an answer so far
	roster  map[string]bool   // members of the last generation that was told anybody
	told    int32             // that generation
	given   map[string]string // assignments handed out in it
	saved   Snapshot
	broken  error
}

var epoch = time.Unix(1_000_000, 0)

func newWorld(clients, faults int, static bool, opts *Options) *world {
	w := &world{
		g: New("g", epoch, opts), faults: faults, waits: map[Ticket]bool{},
		roster: map[string]bool{}, given: map[string]string{},
	}
	for i := range clients {
		c := client{generation: -1}
		if static && i == 0 {
			c.instance = "i"
		}
		w.clients = append(w.clients, c)
	}
	return w
}

func (g *Group) clone() *Group {
	c := *g
	c.members, c.order = make(map[string]*member, len(g.members)), make([]*member, len(g.order))
	for i, m := range g.order {
		n := *m
		c.order[i] = &n
		c.members[m.id] = &n
	}
	for id, m := range g.members { // a broken group may have more
		if c.members[id] == nil {
			n := *m
			c.members[id] = &n
		}
	}
	c.static, c.pending = maps.Clone(g.static), maps.Clone(g.pending)
	return &c
}

func (w *world) clone() *world {
	c := *w
	c.g = w.g.clone()
	c.clients = slices.Clone(w.clients)
	c.waits, c.roster, c.given = maps.Clone(w.waits), maps.Clone(w.roster), maps.Clone(w.given)
	return &c
}

func (w *world) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// step applies what a request or timer did: it judges the output, and brings
// answers on their way.
func (w *world) step(before *Group, out Output, mutant mutation) {
	if mutant != nil {
		mutant(before, w.g, &out)
	}
	if w.g.generation < before.generation {
		w.fail("generation went back from %d to %d", before.generation, w.g.generation)
	}
	if out.Save {
		w.saved = w.g.Snapshot()
	}
	for _, r := range out.Replies {
		if !w.waits[r.Ticket] {
			w.fail("answer to ticket %d, which does not wait", r.Ticket)
		}
		delete(w.waits, r.Ticket)
		if r.Err == nil {
			w.judge(r)
		}
		for i := range w.clients {
			c := &w.clients[i]
			if c.ticket == r.Ticket && (c.phase == joining || c.phase == syncing) {
				c.inbox = &r
			}
		}
	}
	w.invariants()
}

// judge checks an answer against all that were given before.
func (w *world) judge(r Reply) {
	if j := r.Join; j != nil {
		if j.Generation < w.told {
			w.fail("told generation %d after %d", j.Generation, w.told)
		}
		if j.Generation > w.told {
			w.told = j.Generation
			clear(w.roster)
			clear(w.given)
		}
		if w.saved.Generation < j.Generation {
			w.fail("told generation %d, but saved %d", j.Generation, w.saved.Generation)
		}
		for _, m := range w.g.order {
			w.roster[m.id] = true
		}
		for id := range w.roster {
			if w.g.members[id] == nil {
				delete(w.roster, id) // another process took its place
			}
		}
		return
	}
	id := ""
	for _, c := range w.clients {
		if c.ticket == r.Ticket {
			id = c.id
		}
	}
	a := string(r.Sync.Assignment)
	if was, ok := w.given[id]; ok && was != a && id != "" {
		w.fail("%s got %q and then %q in generation %d", id, was, a, w.told)
	}
	for other, b := range w.given {
		for _, p := range a {
			if other != id && w.g.members[other] != nil && slices.Contains([]rune(b), p) {
				w.fail("partition %c has the owners %s and %s in generation %d", p, id, other, w.told)
			}
		}
	}
	if id == "" {
		return
	}
	w.given[id] = a
	if !slices.ContainsFunc(w.saved.Members, func(m MemberSnapshot) bool { return m.ID == id && string(m.Assignment) == a }) {
		w.fail("%s got %q, which was not saved", id, a)
	}
}

// invariants checks what must hold in every state.
func (w *world) invariants() {
	if err := w.g.checkInvariants(); err != nil {
		w.fail("%w", err)
	}
	held := map[Ticket]bool{}
	for _, m := range w.g.order {
		if m.joining || m.syncing {
			held[m.ticket] = true
		}
	}
	if !maps.Equal(held, w.waits) {
		w.fail("requests %v wait, and the group holds %v", w.waits, held)
	}
	// Whoever is not in the last generation that was told anybody cannot commit.
	for i := range w.names {
		id := fmt.Sprint("m", i+1)
		for generation := w.told - 1; generation <= w.told+1; generation++ {
			err := w.g.clone().CheckCommit(epoch, id, "", generation)
			if err == nil && (generation != w.told || !w.roster[id]) {
				w.fail("%s can commit in generation %d; the last is %d of %v", id, generation, w.told, w.roster)
			}
		}
	}
}

// checkInvariants returns the first invariant of a Group that does not hold.
func (g *Group) checkInvariants() error {
	statics := 0
	for _, m := range g.order {
		switch {
		case g.members[m.id] != m:
			return fmt.Errorf("%s is in order and not in members", m.id)
		case m.instance != "" && g.static[m.instance] != m.id:
			return fmt.Errorf("%s is not the owner of instance %s", m.id, m.instance)
		case m.joining && g.state != PreparingRebalance:
			return fmt.Errorf("%s waits to join in %v", m.id, g.state)
		case m.syncing && g.state != CompletingRebalance:
			return fmt.Errorf("%s waits to sync in %v", m.id, g.state)
		case m.assignment != nil && g.state == CompletingRebalance:
			return fmt.Errorf("%s has an assignment in %v", m.id, g.state)
		case g.state != PreparingRebalance && !m.knows(g.protocol):
			return fmt.Errorf("%s does not know protocol %s", m.id, g.protocol)
		}
		if m.instance != "" {
			statics++
		}
	}
	switch {
	case len(g.members) != len(g.order) || len(g.static) != statics:
		return fmt.Errorf("%d in order, %d members, %d static of %d", len(g.order), len(g.members), len(g.static), statics)
	case len(g.order) > 0 && (g.state == Empty || g.state == Dead):
		return fmt.Errorf("members in %v", g.state)
	case len(g.order) == 0 && (g.state == Stable || g.state == CompletingRebalance):
		return fmt.Errorf("no members in %v", g.state)
	case g.members[g.leader] == nil && (g.state == Stable || g.state == CompletingRebalance):
		return fmt.Errorf("no leader in %v", g.state)
	case (g.state == PreparingRebalance) == g.joinUntil.IsZero():
		return fmt.Errorf("end of joining at %v in %v", g.joinUntil, g.state)
	case !g.syncUntil.IsZero() && g.state != CompletingRebalance && g.state != Stable:
		return fmt.Errorf("end of syncing at %v in %v", g.syncUntil, g.state)
	}
	return nil
}

// A mutation spoils what a step did.
type mutation func(before, after *Group, out *Output)

// A move is one thing that can happen.
type move struct {
	name  string
	fault bool
	do    func(*world, mutation)
}

func (w *world) ticket() Ticket {
	w.tickets++
	w.waits[w.tickets] = true
	return w.tickets
}

func (c *client) join(w *world, mutant mutation) {
	before := w.g.clone()
	c.ticket, c.phase, c.inbox = w.ticket(), joining, nil
	w.names++
	out := w.g.Join(epoch, JoinRequest{
		Ticket: c.ticket, MemberID: c.id, InstanceID: c.instance, NewID: fmt.Sprint("m", w.names), RequireID: true,
		SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		ProtocolType: ConsumerProtocol, Protocols: []Protocol{{Name: "range"}},
	})
	if c.id != "" {
		w.names--
	}
	w.step(before, out, mutant)
}

func (c *client) sync(w *world, mutant mutation) {
	before := w.g.clone()
	c.ticket, c.phase, c.inbox = w.ticket(), syncing, nil
	r := SyncRequest{Ticket: c.ticket, MemberID: c.id, InstanceID: c.instance, Generation: c.generation}
	if c.lead != nil {
		r.Assignments = map[string][]byte{}
		for p, id := range c.lead {
			r.Assignments[id] = []byte{byte('0' + p)}
		}
	}
	w.step(before, w.g.Sync(epoch, r), mutant)
}

// deliver has a client read the answer it waits for.
func (c *client) deliver(*world) {
	r := c.inbox
	c.inbox = nil
	switch {
	case r.Err != nil:
		c.refused(r.Err)
		if r.Err == ErrMemberIDRequired {
			c.id = r.Join.MemberID
		}
	case r.Join != nil:
		c.phase, c.id, c.generation, c.lead = joined, r.Join.MemberID, r.Join.Generation, nil
		if r.Join.Leader == c.id {
			for _, m := range r.Join.Members {
				c.lead = append(c.lead, m.ID)
			}
		}
	default:
		c.phase, c.assignment = reading, string(r.Sync.Assignment)
	}
}

// refused has a client do what an error demands.
func (c *client) refused(err error) {
	c.phase = idle
	switch {
	case errors.Is(err, ErrUnknownMember):
		c.id, c.generation = "", -1
	case errors.Is(err, ErrFencedInstance):
		c.phase = gone
	}
}

func (c *client) heartbeat(w *world) {
	if err := w.g.Heartbeat(epoch, c.id, c.instance, c.generation); err != nil {
		c.refused(err)
	}
}

// moves returns everything that can happen in a state.
func (w *world) moves() []move {
	var moves []move
	add := func(name string, fault bool, do func(*world, mutation)) {
		if !fault || w.faults > 0 {
			moves = append(moves, move{name, fault, do})
		}
	}
	for i, c := range w.clients {
		name := fmt.Sprintf("client %d ", i)
		act := func(what string, fault bool, do func(*client, *world, mutation)) {
			add(name+what, fault, func(w *world, m mutation) { do(&w.clients[i], w, m) })
		}
		switch {
		case c.phase == gone:
			continue
		case c.inbox != nil:
			act("gets its answer", false, func(c *client, w *world, _ mutation) { c.deliver(w) })
		case c.phase == idle:
			act("joins", false, (*client).join)
		case c.phase == joined:
			act("syncs", false, (*client).sync)
		case c.phase == reading:
			act("sends a heartbeat", false, func(c *client, w *world, _ mutation) { c.heartbeat(w) })
			act("wants a rebalance", true, (*client).join)
		}
		switch c.phase {
		case joining:
			act("waits no longer to join", true, func(c *client, _ *world, _ mutation) { c.phase, c.inbox = idle, nil })
		case syncing:
			act("waits no longer to sync", true, func(c *client, _ *world, _ mutation) { c.phase, c.inbox = joined, nil })
		}
		act("crashes", true, func(c *client, _ *world, _ mutation) { *c = client{generation: -1, instance: c.instance} })
		act("is gone", true, func(c *client, _ *world, _ mutation) { *c = client{phase: gone} })
		if c.id != "" && c.phase != joining && c.phase != syncing {
			act("leaves", true, func(c *client, w *world, m mutation) {
				before := w.g.clone()
				out, _ := w.g.Leave(epoch, c.id, c.instance)
				*c = client{generation: -1, instance: c.instance}
				w.step(before, out, m)
			})
		}
	}
	for _, t := range w.timers() {
		add(t.name, t.fault, func(w *world, m mutation) { w.fire(t, m) })
	}
	add("coordinator fails over", true, (*world).failover)
	return moves
}

// A timer is a deadline that can come next.
type timer struct {
	name  string
	fault bool
	at    func(*Group) (*time.Time, string) // the field, or the pending id
}

func (w *world) timers() []timer {
	var ts []timer
	for _, m := range w.g.order {
		if m.expires() {
			lives := slices.ContainsFunc(w.clients, func(c client) bool { return c.phase != gone && c.id == m.id })
			ts = append(ts, timer{"session of " + m.id + " ends", lives || m.joining, func(g *Group) (*time.Time, string) {
				return &g.members[m.id].deadline, ""
			}})
		}
	}
	for _, id := range sortedKeys(w.g.pending) {
		ts = append(ts, timer{"id " + id + " expires", false, func(*Group) (*time.Time, string) { return nil, id }})
	}
	if !w.g.joinUntil.IsZero() {
		ts = append(ts, timer{"joining ends", false, func(g *Group) (*time.Time, string) { return &g.joinUntil, "" }})
	}
	if !w.g.syncUntil.IsZero() {
		ts = append(ts, timer{"syncing ends", false, func(g *Group) (*time.Time, string) { return &g.syncUntil, "" }})
	}
	return ts
}

func (w *world) fire(t timer, mutant mutation) {
	before := w.g.clone()
	if field, id := t.at(w.g); field != nil {
		*field = epoch
	} else {
		w.g.pending[id] = epoch
	}
	if next, ok := w.g.Next(); !ok || next.After(epoch) {
		w.fail("%s: Next is %v %v", t.name, next, ok)
	}
	w.step(before, w.g.Tick(epoch), mutant)
}

// failover replaces the coordinator by one that knows what was saved.
func (w *world) failover(mutation) {
	opts := w.g.opts
	if opts.InitialDelay == 0 {
		opts.InitialDelay = -1
	}
	w.g = Restore("g", w.saved, epoch, &opts)
	clear(w.waits)
	for i := range w.clients {
		switch c := &w.clients[i]; c.phase {
		case joining:
			c.phase, c.inbox = idle, nil
		case syncing:
			c.phase, c.inbox = joined, nil
		}
	}
	w.invariants()
}
