package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A rig drives a group and keeps the answers.
type rig struct {
	t       *testing.T
	g       *Group
	now     time.Time
	tickets Ticket
	replies map[Ticket]Reply
	saves   int
}

func newRig(t *testing.T, opts *Options) *rig {
	return &rig{t: t, g: New("g", epoch, opts), now: epoch, replies: map[Ticket]Reply{}}
}

func (r *rig) took(out Output) {
	r.t.Helper()
	if out.Save {
		r.saves++
	}
	for _, reply := range out.Replies {
		require.NotContains(r.t, r.replies, reply.Ticket, "answered twice")
		r.replies[reply.Ticket] = reply
	}
	require.NoError(r.t, r.g.checkInvariants())
}

// pass lets time go by, with a tick whenever one is due.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for {
		next, ok := r.g.Next()
		if !ok || next.After(end) {
			break
		}
		if next.After(r.now) {
			r.now = next
		}
		r.took(r.g.Tick(r.now))
	}
	r.now = end
}

// through lets time go by until the joining has ended.
func (r *rig) through() {
	r.t.Helper()
	for r.g.State() == PreparingRebalance {
		next, ok := r.g.Next()
		require.True(r.t, ok)
		r.pass(max(0, next.Sub(r.now)))
	}
}

func (r *rig) join(id, newID string, change ...func(*JoinRequest)) Ticket {
	r.t.Helper()
	r.tickets++
	request := JoinRequest{
		Ticket: r.tickets, MemberID: id, NewID: newID, SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		ProtocolType: ConsumerProtocol, Protocols: []Protocol{{"range", []byte("r")}},
	}
	for _, f := range change {
		f(&request)
	}
	r.took(r.g.Join(r.now, request))
	return r.tickets
}

func (r *rig) sync(id string, generation int32, assignments map[string][]byte) Ticket {
	r.t.Helper()
	r.tickets++
	r.took(r.g.Sync(r.now, SyncRequest{Ticket: r.tickets, MemberID: id, Generation: generation, Assignments: assignments}))
	return r.tickets
}

func (r *rig) joined(ticket Ticket) *JoinReply {
	r.t.Helper()
	require.Contains(r.t, r.replies, ticket)
	require.NoError(r.t, r.replies[ticket].Err)
	return r.replies[ticket].Join
}

func (r *rig) refused(ticket Ticket, want error) {
	r.t.Helper()
	require.Contains(r.t, r.replies, ticket)
	require.Equal(r.t, want, r.replies[ticket].Err)
}

func instance(id string) func(*JoinRequest) { return func(r *JoinRequest) { r.InstanceID = id } }

// stable makes a group of members, the first of which leads.
func (r *rig) stable(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		r.join("", id)
	}
	for _, id := range ids[:len(ids)-1] {
		if r.g.members[id].joining {
			continue
		}
		r.join(id, "")
	}
	r.through()
	given := map[string][]byte{}
	for _, id := range ids {
		given[id] = []byte(id)
	}
	for _, id := range ids {
		r.sync(id, r.g.Generation(), given)
	}
	require.Equal(r.t, Stable, r.g.State())
	require.Equal(r.t, len(ids), r.g.Len())
}

func TestInitialDelay(t *testing.T) {
	r := newRig(t, nil)
	a := r.join("", "a")
	r.pass(2 * time.Second)
	b := r.join("", "b") // prolongs it
	r.pass(2 * time.Second)
	require.Empty(t, r.replies, "the delay of 3 s was prolonged by b")
	c := r.join("", "c") // in the second part, so there is a third
	r.pass(2 * time.Second)
	require.Empty(t, r.replies)
	r.pass(3 * time.Second)
	reply := r.joined(a)
	require.Equal(t, int32(1), reply.Generation)
	require.Equal(t, "a", reply.Leader)
	require.Len(t, reply.Members, 3)
	require.Nil(t, r.joined(b).Members)
	require.Equal(t, "c", r.joined(c).MemberID)
	require.Equal(t, 1, r.saves)
}

func TestInitialDelayIsBounded(t *testing.T) {
	r := newRig(t, nil)
	for i := range 100 {
		r.join("", string(rune('A'+i)))
		r.pass(time.Second)
		if r.g.State() == CompletingRebalance {
			require.LessOrEqual(t, i, 60, "the rebalance timeout is a minute")
			return
		}
	}
	t.Fatal("members kept each other waiting")
}

func TestMemberIDRequired(t *testing.T) {
	require1 := func(r *JoinRequest) { r.RequireID = true }
	r := newRig(t, noDelay)
	first := r.join("", "a", require1)
	r.refused(first, ErrMemberIDRequired)
	require.Equal(t, "a", r.replies[first].Join.MemberID)
	require.Equal(t, Empty, r.g.State())
	require.Equal(t, ErrNotEmpty, r.g.Delete(r.now))
	require.Equal(t, "a", r.joined(r.join("a", "", require1)).Leader)
	r.refused(r.join("nobody", ""), ErrUnknownMember)

	r.refused(r.join("", "late", require1), ErrMemberIDRequired)
	r.pass(10 * time.Second) // a has no heartbeats either
	r.refused(r.join("late", ""), ErrUnknownMember)
}

func TestSessionEnds(t *testing.T) {
	r := newRig(t, noDelay)
	r.stable("a", "b")
	generation := r.g.Generation()
	for range 3 {
		r.pass(6 * time.Second)
		if err := r.g.Heartbeat(r.now, "a", "", generation); err != nil {
			require.Equal(t, ErrRebalanceInProgress, err)
		}
	}
	require.Equal(t, PreparingRebalance, r.g.State(), "b sent no heartbeat")
	require.Equal(t, ErrUnknownMember, r.g.Heartbeat(r.now, "b", "", generation))
	require.NoError(t, r.g.CheckCommit(r.now, "a", "", generation), "a may commit before it joins again")
	require.Equal(t, generation+1, r.joined(r.join("a", "")).Generation)
	require.Equal(t, ErrIllegalGeneration, r.g.CheckCommit(r.now, "a", "", generation))
	require.Equal(t, ErrRebalanceInProgress, r.g.CheckCommit(r.now, "a", "", generation+1), "not before partitions are assigned")
	r.refused(r.sync("a", generation, nil), ErrIllegalGeneration)
	r.sync("a", generation+1, nil)
	require.NoError(t, r.g.CheckCommit(r.now, "a", "", generation+1))
}

func TestWhoDoesNotJoinInTimeIsDropped(t *testing.T) {
	r := newRig(t, noDelay)
	r.stable("a", "b")
	c := r.join("", "c")
	a := r.join("a", "")
	for range 12 { // b sends heartbeats, but does not join
		r.pass(5 * time.Second)
		_ = r.g.Heartbeat(r.now, "b", "", r.g.Generation())
	}
	require.Len(t, r.joined(a).Members, 2)
	r.joined(c)
	require.Equal(t, ErrUnknownMember, r.g.Heartbeat(r.now, "b", "", r.g.Generation()))
}

func TestWhoDoesNotSyncInTimeIsDropped(t *testing.T) {
	r := newRig(t, noDelay)
	r.stable("a", "b")
	r.join("b", "")
	r.join("a", "") // the leader: rebalances
	r.join("b", "")
	generation := r.g.Generation()
	waiting := r.sync("b", generation, nil)
	for range 12 {
		r.pass(5 * time.Second)
		_ = r.g.Heartbeat(r.now, "a", "", generation)
	}
	r.refused(waiting, ErrRebalanceInProgress)
	require.Equal(t, PreparingRebalance, r.g.State())
	require.Equal(t, "b", r.joined(r.join("b", "")).Leader)
}

func TestLostAnswersAreGivenAgain(t *testing.T) {
	r := newRig(t, noDelay)
	first := r.joined(r.join("", "a"))
	again := r.joined(r.join("a", ""))
	require.Equal(t, first, again, "same generation, and a still leads")
	given := map[string][]byte{"a": []byte("x")}
	r.sync("a", 1, given)
	require.Equal(t, "x", string(r.replies[r.sync("a", 1, nil)].Sync.Assignment))
	require.Equal(t, int32(2), r.joined(r.join("a", "")).Generation, "a leader that joins wants a rebalance")
}

func TestASecondRequestAnswersTheFirst(t *testing.T) {
	r := newRig(t, nil)
	first := r.join("", "a")
	second := r.join("a", "")
	r.refused(first, ErrRebalanceInProgress)
	r.through()
	r.joined(second)
}

func TestFollowerThatChangedNothing(t *testing.T) {
	r := newRig(t, nil)
	r.stable("a", "b")
	reply := r.joined(r.join("b", ""))
	require.Equal(t, r.g.Generation(), reply.Generation)
	require.Nil(t, reply.Members)
	require.Equal(t, Stable, r.g.State())
	r.join("b", "", func(r *JoinRequest) { r.Protocols = []Protocol{{"range", []byte("other topics")}} })
	require.Equal(t, PreparingRebalance, r.g.State())
}

func TestProtocols(t *testing.T) {
	protocols := func(names ...string) func(*JoinRequest) {
		return func(r *JoinRequest) {
			r.Protocols = nil
			for _, n := range names {
				r.Protocols = append(r.Protocols, Protocol{n, []byte(n)})
			}
		}
	}
	r := newRig(t, nil)
	a := r.join("", "a", protocols("range", "sticky"))
	r.join("", "b", protocols("sticky", "range", "mine"))
	r.join("", "c", protocols("sticky", "range"))
	r.refused(r.join("", "d", protocols("mine")), ErrInconsistentProtocol)
	r.refused(r.join("", "d", protocols()), ErrInconsistentProtocol)
	r.refused(r.join("", "d", func(r *JoinRequest) { r.ProtocolType = "connect" }), ErrInconsistentProtocol)
	r.through()
	require.Equal(t, "sticky", r.joined(a).Protocol)
	require.Equal(t, "sticky", string(r.joined(a).Members[0].Metadata))
	r.tickets++
	r.took(r.g.Sync(r.now, SyncRequest{Ticket: r.tickets, MemberID: "a", Generation: 1, Protocol: "range"}))
	r.refused(r.tickets, ErrInconsistentProtocol)
}

func TestLimits(t *testing.T) {
	r := newRig(t, &Options{MaxMembers: 2})
	session := func(d time.Duration) func(*JoinRequest) { return func(r *JoinRequest) { r.SessionTimeout = d } }
	r.refused(r.join("", "a", session(5*time.Second)), ErrInvalidSessionTimeout)
	r.refused(r.join("", "a", session(time.Hour)), ErrInvalidSessionTimeout)
	r.refused(r.join("", ""), ErrInvalidRequest)
	r.join("", "a")
	r.refused(r.join("", "b", func(r *JoinRequest) { r.RequireID = true }), ErrMemberIDRequired)
	r.refused(r.join("", "c"), ErrGroupFull)
	r.join("b", "")
	r.through()
	require.Equal(t, 2, r.g.Len())
}

func TestStaticMemberKeepsItsPlace(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.join("", "a", instance("i")), r.join("", "b")
	r.through()
	require.Equal(t, "a", r.joined(a).Leader)
	r.joined(b)
	r.sync("b", 1, nil)
	r.took(r.g.Sync(r.now, SyncRequest{Ticket: 99, MemberID: "a", InstanceID: "i", Generation: 1, Assignments: map[string][]byte{"a": []byte("x")}}))
	saves := r.saves

	reply := r.joined(r.join("", "a2", instance("i")))
	require.Equal(t, int32(1), reply.Generation, "no rebalance")
	require.Equal(t, "a", reply.Leader, "so that it does not assign")
	require.Equal(t, "a2", r.g.Leader())
	require.Equal(t, saves+1, r.saves, "the new id has to be known after a failover")
	require.Equal(t, "x", string(r.replies[r.sync("a2", 1, nil)].Sync.Assignment))
	require.Equal(t, ErrFencedInstance, r.g.Heartbeat(r.now, "a", "i", 1))
	require.Equal(t, ErrUnknownMember, r.g.CheckCommit(r.now, "a", "", 1))
	require.Equal(t, ErrFencedInstance, r.g.CheckCommit(r.now, "a", "i", 1))
	require.NoError(t, r.g.CheckCommit(r.now, "a2", "i", 1))

	skips := func(r *JoinRequest) { r.CanSkipAssignment = true }
	reply = r.joined(r.join("", "a3", instance("i"), skips))
	require.True(t, reply.SkipAssignment)
	require.Equal(t, "a3", reply.Leader)
	require.Len(t, reply.Members, 2, "it has to watch their topics")

	_, err := r.g.Leave(r.now, "a2", "i")
	require.Equal(t, ErrFencedInstance, err)
	out, err := r.g.Leave(r.now, "", "i")
	require.NoError(t, err)
	r.took(out)
	require.Equal(t, PreparingRebalance, r.g.State())
	_, err = r.g.Leave(r.now, "", "i")
	require.Equal(t, ErrUnknownMember, err)
}

func TestStaticMemberWithOtherTopics(t *testing.T) {
	reads := func(owned []TopicPartition, topics ...string) func(*JoinRequest) {
		return func(r *JoinRequest) {
			b, err := AppendSubscription(nil, Subscription{Version: 1, Topics: topics, Owned: owned})
			require.NoError(t, err)
			r.InstanceID, r.Protocols = "i", []Protocol{{"range", b}}
		}
	}
	r := newRig(t, noDelay)
	r.join("", "a", reads(parts("t0"), "t", "u"))
	r.took(r.g.Sync(r.now, SyncRequest{Ticket: 99, MemberID: "a", Generation: 1}))
	require.Equal(t, int32(1), r.joined(r.join("", "b", reads(nil, "u", "t"))).Generation)
	require.Equal(t, int32(2), r.joined(r.join("", "c", reads(nil, "t"))).Generation)
}

func TestFencedWhileWaiting(t *testing.T) {
	r := newRig(t, nil)
	first := r.join("", "a", instance("i"))
	second := r.join("", "b", instance("i"))
	r.refused(first, ErrFencedInstance)
	r.refused(r.join("a", "", instance("i")), ErrFencedInstance)
	r.through()
	r.joined(second)
}

// TestAbsentStaticMembersDoNotLead: with all of them away, joining goes on
// until a session ends.
func TestAbsentStaticMembersDoNotLead(t *testing.T) {
	r := newRig(t, noDelay)
	r.join("", "a", instance("i"))
	r.sync("a", 1, nil)
	r.join("", "b")
	_, err := r.g.Leave(r.now, "b", "")
	require.NoError(t, err)
	require.Equal(t, PreparingRebalance, r.g.State())
	for range 20 {
		r.pass(5 * time.Second)
		require.Equal(t, ErrRebalanceInProgress, r.g.Heartbeat(r.now, "a", "i", 1))
	}
	r.pass(20 * time.Second)
	require.Equal(t, Empty, r.g.State())
	require.Equal(t, int32(2), r.g.Generation())
}

func TestNewMemberThatNobodyWaitsFor(t *testing.T) {
	r := newRig(t, &Options{NewMemberTimeout: 20 * time.Second, InitialDelay: time.Minute})
	a := r.join("", "a")
	r.pass(20 * time.Second)
	r.refused(a, ErrUnknownMember)
	r.pass(time.Hour)
	require.Equal(t, Empty, r.g.State())
}

func TestDeleteAndAbandon(t *testing.T) {
	r := newRig(t, nil)
	waiting := r.join("", "a")
	require.Equal(t, ErrNotEmpty, r.g.Delete(r.now))
	r.took(r.g.Abandon(r.now))
	r.refused(waiting, ErrDead)
	require.Equal(t, Dead, r.g.State())
	require.Equal(t, "Dead", r.g.State().String())
	r.refused(r.join("", "b"), ErrDead)
	r.refused(r.sync("a", 1, nil), ErrDead)
	require.Equal(t, ErrDead, r.g.Heartbeat(r.now, "a", "", 1))
	require.Equal(t, ErrDead, r.g.CheckCommit(r.now, "", "", -1))
	_, err := r.g.Leave(r.now, "a", "")
	require.Equal(t, ErrDead, err)
	require.Equal(t, ErrDead, r.g.Delete(r.now))
	_, ok := r.g.Next()
	require.False(t, ok)

	r = newRig(t, nil)
	require.NoError(t, r.g.CheckCommit(r.now, "", "", -1), "a consumer without a group protocol")
	require.Equal(t, ErrUnknownMember, r.g.CheckCommit(r.now, "x", "", 1))
	require.NoError(t, r.g.Delete(r.now))
}

func TestRestore(t *testing.T) {
	r := newRig(t, nil)
	r.stable("a", "b")
	b, err := AppendSnapshot(nil, r.g.Snapshot())
	require.NoError(t, err)
	s, err := DecodeSnapshot(b)
	require.NoError(t, err)
	later := r.now.Add(time.Hour)
	g := Restore("g", s, later, nil)
	require.NoError(t, g.checkInvariants())
	require.Equal(t, Stable, g.State())
	require.Equal(t, "a", g.Leader())
	require.NoError(t, g.Heartbeat(later, "b", "", r.g.Generation()))
	require.NoError(t, g.CheckCommit(later, "a", "", r.g.Generation()))
	for m := range g.Members() {
		require.Equal(t, m.ID, string(m.Assignment))
	}
	require.Equal(t, s, g.Snapshot())

	s.Leader = "" // the leader had not assigned
	g = Restore("g", s, later, nil)
	require.Equal(t, PreparingRebalance, g.State())
	require.Equal(t, ErrRebalanceInProgress, g.Heartbeat(later, "b", "", r.g.Generation()))
	next, ok := g.Next()
	require.True(t, ok)
	require.Equal(t, later.Add(10*time.Second), next)
	g.Tick(later.Add(time.Hour))
	require.Equal(t, Empty, g.State())
	require.Greater(t, g.Generation(), s.Generation)
}
