package group

import (
	"slices"
	"time"
)

// rebalance asks all members to join again, or ends a rebalance that only
// waited for a member which now has joined or gone.
func (g *Group) rebalance(now time.Time) {
	switch g.state {
	case PreparingRebalance:
		g.tryEndJoining(now)
		return
	case CompletingRebalance:
		for _, m := range g.order {
			if m.syncing {
				g.answer(m, ErrRebalanceInProgress)
				m.alive(now)
			}
		}
	case Empty, Stable, Dead:
	}
	timeout := time.Duration(0)
	for _, m := range g.order {
		timeout = max(timeout, m.rebalance)
	}
	g.syncUntil = time.Time{}
	g.joinUntil = now.Add(timeout)
	if g.state == Empty && g.opts.InitialDelay > 0 {
		delay := min(g.opts.InitialDelay, timeout)
		g.delaying, g.joined = true, false
		g.delayLeft, g.joinUntil = timeout-delay, now.Add(delay)
	}
	g.become(PreparingRebalance, now)
	g.tryEndJoining(now)
}

// tryEndJoining ends the joining if nobody is missing.
func (g *Group) tryEndJoining(now time.Time) {
	if g.state != PreparingRebalance || g.delaying || len(g.pending) > 0 {
		return
	}
	if !slices.ContainsFunc(g.order, func(m *member) bool { return !m.joining }) {
		g.endJoining(now)
	}
}

// endJoining begins a generation with those who joined. Static members stay
// without having joined: only the end of their session removes them.
func (g *Group) endJoining(now time.Time) {
	if g.delaying && g.joined && g.delayLeft > 0 {
		more := min(g.opts.InitialDelay, g.delayLeft)
		g.joined, g.delayLeft, g.joinUntil = false, g.delayLeft-more, now.Add(more)
		return
	}
	g.delaying = false
	for _, m := range slices.Clone(g.order) {
		if !m.joining && m.instance == "" {
			g.remove(m, nil)
		}
	}
	if len(g.order) > 0 && !g.elect() {
		// All who are left are static and away. Without one that is here, there is
		// nobody who could assign.
		g.joinUntil = now.Add(g.longest())
		return
	}
	g.joinUntil = time.Time{}
	g.generation++
	g.protocol = g.choose()
	g.out.Save = true
	if len(g.order) == 0 {
		g.leader = ""
		g.become(Empty, now)
		return
	}
	g.protocolType = g.order[0].protocolType
	g.become(CompletingRebalance, now)
	g.syncUntil = now.Add(g.longest())
	for _, m := range g.order {
		m.assignment, m.synced = nil, !m.joining
		if m.joining {
			m.joining, m.fresh = false, false
			m.alive(now)
			g.out.Replies = append(g.out.Replies, Reply{Ticket: m.ticket, Join: g.joinReply(m, m.id == g.leader)})
			m.ticket = 0
		}
	}
}

// longest returns the longest rebalance timeout of the members.
func (g *Group) longest() time.Duration {
	var timeout time.Duration
	for _, m := range g.order {
		timeout = max(timeout, m.rebalance)
	}
	return timeout
}

// elect keeps the leader if it has joined, else makes the member that joined
// and is longest in the group the leader; false if nobody has joined.
func (g *Group) elect() bool {
	if m, ok := g.members[g.leader]; ok && m.joining {
		return true
	}
	for _, m := range g.order {
		if m.joining {
			g.leader = m.id
			return true
		}
	}
	return false
}

// A SyncRequest asks for the assignment of a member, and brings those of all
// members if it comes from the leader.
type SyncRequest struct {
	Ticket     Ticket
	MemberID   string
	InstanceID string
	Generation int32

	// ProtocolType and Protocol are checked unless they are "".
	ProtocolType, Protocol string

	// Assignments by member id; the group keeps the slices.
	Assignments map[string][]byte
}

// A SyncReply carries what the leader assigned.
type SyncReply struct {
	ProtocolType, Protocol string
	Assignment             []byte
}

// Sync handles a request for an assignment. It is answered when the leader's
// request has come.
func (g *Group) Sync(now time.Time, r SyncRequest) Output {
	if err := g.sync(now, &r); err != nil {
		g.out.Replies = append(g.out.Replies, Reply{r.Ticket, err, nil, &SyncReply{}})
	}
	return g.flush()
}

func (g *Group) sync(now time.Time, r *SyncRequest) error {
	m, err := g.check(r.MemberID, r.InstanceID, r.Generation)
	switch {
	case err != nil:
		return err
	case r.ProtocolType != "" && r.ProtocolType != g.protocolType, r.Protocol != "" && r.Protocol != g.protocol:
		return ErrInconsistentProtocol
	case g.state == PreparingRebalance:
		return ErrRebalanceInProgress
	}
	m.synced = true
	m.alive(now)
	if g.state == CompletingRebalance {
		g.answer(m, ErrRebalanceInProgress) // an earlier request of it
		m.syncing, m.ticket = true, r.Ticket
		if m.id == g.leader {
			g.assign(now, r.Assignments)
		}
		g.allSynced()
		return nil
	}
	g.allSynced()
	g.out.Replies = append(g.out.Replies, Reply{Ticket: r.Ticket, Sync: g.syncReply(m)})
	return nil
}

// allSynced stops the clock for those who have not asked for their assignment
// when there are none left.
func (g *Group) allSynced() {
	if !slices.ContainsFunc(g.order, func(m *member) bool { return !m.synced }) {
		g.syncUntil = time.Time{}
	}
}

// assign hands out what the leader assigned. Members it forgot get nothing.
func (g *Group) assign(now time.Time, assignments map[string][]byte) {
	g.become(Stable, now)
	g.out.Save = true
	for _, m := range g.order {
		m.assignment = assignments[m.id]
		if m.syncing {
			g.out.Replies = append(g.out.Replies, Reply{Ticket: m.ticket, Sync: g.syncReply(m)})
			m.syncing, m.ticket = false, 0
			m.alive(now)
		}
	}
}

func (g *Group) syncReply(m *member) *SyncReply {
	return &SyncReply{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// check returns the member of the present generation that a request speaks of.
func (g *Group) check(id, instance string, generation int32) (*member, error) {
	if g.state == Dead {
		return nil, ErrDead
	}
	m, err := g.find(id, instance)
	switch {
	case err != nil:
		return nil, err
	case m.fresh:
		return nil, ErrUnknownMember // it has no generation yet
	case generation != g.generation:
		return nil, ErrIllegalGeneration
	}
	return m, nil
}

// Heartbeat keeps the session of a member alive. It returns
// [ErrRebalanceInProgress] if the member has to join again, and other errors as
// for a sync.
func (g *Group) Heartbeat(now time.Time, memberID, instanceID string, generation int32) error {
	m, err := g.check(memberID, instanceID, generation)
	if err != nil {
		return err
	}
	m.alive(now)
	if g.state == PreparingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}

// Leave removes a member. A static member may be named by its instance id alone.
func (g *Group) Leave(now time.Time, memberID, instanceID string) (Output, error) {
	if g.state == Dead {
		return Output{}, ErrDead
	}
	if _, ok := g.pending[memberID]; ok && instanceID == "" {
		delete(g.pending, memberID)
		g.tryEndJoining(now)
		return g.flush(), nil
	}
	if memberID == "" && instanceID != "" {
		memberID = g.static[instanceID]
	}
	m, err := g.find(memberID, instanceID)
	if err != nil {
		return Output{}, err
	}
	g.remove(m, ErrUnknownMember)
	g.rebalance(now)
	return g.flush(), nil
}

// CheckCommit says whether offsets may be committed by a member in a
// generation: it returns [ErrUnknownMember], [ErrFencedInstance] or
// [ErrIllegalGeneration] if it may not, [ErrRebalanceInProgress] in
// CompletingRebalance, when its partitions may have another owner already. A
// commit without a member id and with a negative generation is one by an
// administrator or by a consumer that manages its partitions by itself; it
// needs a group without members.
func (g *Group) CheckCommit(now time.Time, memberID, instanceID string, generation int32) error {
	if g.state == Dead {
		return ErrDead
	}
	if memberID == "" && instanceID == "" && generation < 0 {
		if len(g.order) > 0 {
			return ErrUnknownMember
		}
		return nil
	}
	m, err := g.check(memberID, instanceID, generation)
	if err != nil {
		return err
	}
	m.alive(now)
	if g.state == CompletingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}
