package group

import (
	"bytes"
	"slices"
	"time"
)

// A Protocol is a way to assign partitions that a member knows, with what it
// tells the leader for it; for consumers, the name of an [Assignor] and a
// [Subscription].
type Protocol struct {
	Name     string
	Metadata []byte
}

// A JoinRequest asks to be a member of the next generation. The group keeps
// its slices.
type JoinRequest struct {
	Ticket     Ticket
	MemberID   string // "" if it has none yet
	InstanceID string // "" unless static: a member that keeps its place over restarts
	NewID      string // the id for a member that has none, drawn by the caller, never used before
	RequireID  bool   // send a new id back first, and let the client join with that

	// CanSkipAssignment: the client understands JoinReply.SkipAssignment.
	CanSkipAssignment bool

	ClientID, ClientHost string

	SessionTimeout   time.Duration // without a heartbeat for so long it is dropped
	RebalanceTimeout time.Duration // it joins within that time when there is a rebalance

	ProtocolType string
	Protocols    []Protocol // the one it likes best comes first
}

// A JoinReply tells a member what generation it is in.
type JoinReply struct {
	Generation   int32
	ProtocolType string
	Protocol     string
	Leader       string // a member id
	MemberID     string // of who asked

	// SkipAssignment: the member leads, but shall not assign partitions, since
	// they are as they were.
	SkipAssignment bool

	// Members are those whose partitions the leader assigns; nil for all others.
	Members []JoinedMember
}

// A JoinedMember is what the leader gets to know of a member.
type JoinedMember struct {
	ID, InstanceID string
	Metadata       []byte // of the protocol that was chosen
}

// Join handles a request to join. It is answered at once if it is refused or
// changes nothing, else when all members have joined or the time for that is
// over.
func (g *Group) Join(now time.Time, r JoinRequest) Output {
	if err := g.join(now, &r); err != nil {
		g.refuse(&r, err)
	}
	return g.flush()
}

func (g *Group) refuse(r *JoinRequest, err error) {
	id := r.MemberID
	if err == ErrMemberIDRequired {
		id = r.NewID
	}
	g.out.Replies = append(g.out.Replies, Reply{r.Ticket, err, &JoinReply{MemberID: id, Generation: -1}, nil})
}

// join returns the error to answer with; nil if the request waits or has its
// answer.
func (g *Group) join(now time.Time, r *JoinRequest) error {
	switch {
	case g.state == Dead:
		return ErrDead
	case r.SessionTimeout < g.opts.MinSession || r.SessionTimeout > g.opts.MaxSession:
		return ErrInvalidSessionTimeout
	case r.ProtocolType == "" || len(r.Protocols) == 0:
		return ErrInconsistentProtocol
	case r.MemberID == "" && r.NewID == "", r.RebalanceTimeout < 0:
		return ErrInvalidRequest
	}
	if r.RebalanceTimeout == 0 {
		r.RebalanceTimeout = r.SessionTimeout // as before clients could say
	}
	if r.MemberID == "" {
		return g.joinNew(now, r)
	}
	if _, ok := g.pending[r.MemberID]; ok && r.InstanceID == "" {
		if !g.agrees(r, nil) {
			return ErrInconsistentProtocol
		}
		delete(g.pending, r.MemberID)
		g.enter(now, r, r.MemberID)
		return nil
	}
	m, err := g.find(r.MemberID, r.InstanceID)
	if err != nil {
		return err
	}
	if !g.agrees(r, m) {
		return ErrInconsistentProtocol
	}
	g.rejoin(now, r, m)
	return nil
}

// joinNew handles a join without a member id.
func (g *Group) joinNew(now time.Time, r *JoinRequest) error {
	if r.InstanceID != "" {
		if id, ok := g.static[r.InstanceID]; ok {
			old := g.members[id]
			if !g.agrees(r, old) {
				return ErrInconsistentProtocol
			}
			g.takeOver(now, r, old)
			return nil
		}
	}
	switch {
	case !g.agrees(r, nil):
		return ErrInconsistentProtocol
	case len(g.order)+len(g.pending) >= g.opts.MaxMembers:
		return ErrGroupFull
	case r.InstanceID == "" && r.RequireID:
		g.pending[r.NewID] = now.Add(r.SessionTimeout)
		return ErrMemberIDRequired
	}
	g.enter(now, r, r.NewID)
	return nil
}

// enter makes the sender of r a new member and has the group rebalance.
func (g *Group) enter(now time.Time, r *JoinRequest, id string) {
	m := &member{id: id, instance: r.InstanceID, fresh: true, deadline: now.Add(g.opts.NewMemberTimeout)}
	g.add(m)
	g.joined = true
	g.wait(r, m)
	g.rebalance(now)
}

// rejoin handles the join of a member of the group.
func (g *Group) rejoin(now time.Time, r *JoinRequest, m *member) {
	switch {
	case g.state == PreparingRebalance:
		g.wait(r, m)
		g.tryEndJoining(now)
	case g.state == CompletingRebalance && m.same(r):
		g.tell(now, r, m) // the answer to its last join was lost
	case g.state == Stable && m.same(r) && m.id != g.leader:
		g.tell(now, r, m)
	default: // it subscribes to something else, or leads and wants a rebalance
		g.wait(r, m)
		g.rebalance(now)
	}
}

// takeOver gives the place of a static member to the process that joined with
// its instance id, under a new id. The old process is fenced.
func (g *Group) takeOver(now time.Time, r *JoinRequest, m *member) {
	g.answer(m, ErrFencedInstance)
	leader := g.leader // as the others know it
	delete(g.members, m.id)
	if g.leader == m.id {
		g.leader = r.NewID
	}
	m.id = r.NewID
	g.members[m.id] = m
	g.static[m.instance] = m.id
	if g.state != Stable || !m.alike(r) {
		m.fresh, m.deadline = true, now.Add(g.opts.NewMemberTimeout)
		g.wait(r, m)
		g.rebalance(now)
		return
	}
	g.out.Save = true
	g.describe(r, m)
	m.alive(now)
	g.out.Replies = append(g.out.Replies, Reply{Ticket: r.Ticket, Join: g.joinReply(m, false)})
	reply := g.out.Replies[len(g.out.Replies)-1].Join
	if m.id == g.leader && r.CanSkipAssignment {
		reply.SkipAssignment, reply.Members = true, g.joinedMembers()
	} else {
		// A client that believes to lead would assign partitions anew, which
		// nobody would get to know.
		reply.Leader = leader
	}
}

// describe copies from r what a member says about itself.
func (g *Group) describe(r *JoinRequest, m *member) {
	m.client, m.host = r.ClientID, r.ClientHost
	m.session, m.rebalance = r.SessionTimeout, r.RebalanceTimeout
	m.protocolType, m.protocols = r.ProtocolType, r.Protocols
}

// wait lets the join of m wait for the end of the rebalance. An earlier request
// of it is answered: its client does not wait for that any more.
func (g *Group) wait(r *JoinRequest, m *member) {
	g.answer(m, ErrRebalanceInProgress)
	g.describe(r, m)
	m.joining, m.ticket = true, r.Ticket
}

// tell answers a join that changes nothing.
func (g *Group) tell(now time.Time, r *JoinRequest, m *member) {
	g.answer(m, ErrRebalanceInProgress)
	g.describe(r, m)
	m.alive(now)
	g.out.Replies = append(g.out.Replies, Reply{Ticket: r.Ticket, Join: g.joinReply(m, m.id == g.leader)})
}

func (g *Group) joinReply(m *member, leads bool) *JoinReply {
	reply := &JoinReply{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: g.leader, MemberID: m.id,
	}
	if leads {
		reply.Members = g.joinedMembers()
	}
	return reply
}

func (g *Group) joinedMembers() []JoinedMember {
	joined := make([]JoinedMember, len(g.order))
	for i, m := range g.order {
		joined[i] = JoinedMember{m.id, m.instance, m.metadata(g.protocol)}
	}
	return joined
}

// same says whether r says what the group knows of m already.
func (m *member) same(r *JoinRequest) bool {
	return slices.EqualFunc(m.protocols, r.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// alike says whether r is as good as what the group knows of m: a consumer
// that comes back owns nothing, so its metadata differs; what counts is which
// topics it reads.
func (m *member) alike(r *JoinRequest) bool {
	return slices.EqualFunc(m.protocols, r.Protocols, func(a, b Protocol) bool {
		if a.Name != b.Name {
			return false
		}
		if bytes.Equal(a.Metadata, b.Metadata) {
			return true
		}
		was, err1 := DecodeSubscription(a.Metadata)
		is, err2 := DecodeSubscription(b.Metadata)
		return m.protocolType == ConsumerProtocol && err1 == nil && err2 == nil &&
			slices.Equal(slices.Sorted(slices.Values(was.Topics)), slices.Sorted(slices.Values(is.Topics)))
	})
}

// agrees says whether the group has a protocol in common with the sender of r,
// which is the member self, or new if that is nil.
func (g *Group) agrees(r *JoinRequest, self *member) bool {
	others := 0
	for _, p := range r.Protocols {
		common := true
		others = 0
		for _, m := range g.order {
			if m == self {
				continue
			}
			others++
			if m.protocolType != r.ProtocolType {
				return false
			}
			common = common && m.knows(p.Name)
		}
		if common {
			return true
		}
	}
	return others == 0
}

func (m *member) knows(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

// choose returns the protocol that all members know and most like best; among
// equals, the one that the member who is longest in the group likes better.
func (g *Group) choose() string {
	if len(g.order) == 0 {
		return ""
	}
	var common []string
	for _, p := range g.order[0].protocols {
		if !slices.ContainsFunc(g.order[1:], func(m *member) bool { return !m.knows(p.Name) }) {
			common = append(common, p.Name)
		}
	}
	best, most := "", 0
	votes := map[string]int{}
	for _, m := range g.order {
		for _, p := range m.protocols {
			if slices.Contains(common, p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, name := range common {
		if votes[name] > most {
			best, most = name, votes[name]
		}
	}
	return best
}
