package group

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// A State is a state of a [Group].
type State uint8

// The states of a group, as drawn in the package comment.
const (
	Empty               State = iota // no members; there may be offsets
	PreparingRebalance               // members are waited for to join
	CompletingRebalance              // the leader is waited for to assign partitions
	Stable                           // every member can have its assignment
	Dead                             // deleted; nothing changes any more
)

// String returns Kafka's name of the state.
func (s State) String() string {
	names := [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}
	if int(s) >= len(names) {
		return "Unknown"
	}
	return names[s]
}

// Options are limits of a group. Zero fields mean the defaults.
type Options struct {
	// MinSession and MaxSession bound the session timeouts that members may ask
	// for; 6 s and 30 min.
	MinSession, MaxSession time.Duration

	// InitialDelay is for how long the first rebalance of an empty group waits
	// for more members, so that a fleet that starts needs one rebalance and not
	// one a member. Each member that joins meanwhile prolongs it, up to the
	// rebalance timeout. Default 3 s; negative: none.
	InitialDelay time.Duration

	// NewMemberTimeout is for how long a member that never was in a generation
	// may wait in a join: nothing else tells when such a client has gone. Default
	// 5 min.
	NewMemberTimeout time.Duration

	// MaxMembers bounds the members and the ids given out for new ones; 1000.
	MaxMembers int
}

func (o *Options) withDefaults() Options {
	var v Options
	if o != nil {
		v = *o
	}
	v.MinSession = cmp.Or(v.MinSession, 6*time.Second)
	v.MaxSession = cmp.Or(v.MaxSession, 30*time.Minute)
	v.InitialDelay = max(0, cmp.Or(v.InitialDelay, 3*time.Second))
	v.NewMemberTimeout = cmp.Or(v.NewMemberTimeout, 5*time.Minute)
	v.MaxMembers = cmp.Or(v.MaxMembers, 1000)
	return v
}

// A Ticket names a request that waits for its answer. The caller of the group
// chooses tickets; no two that wait may be the same.
type Ticket uint64

// A Reply answers the request with the ticket. Exactly one of Join and Sync is
// set, also if there is an error.
type Reply struct {
	Ticket Ticket
	Err    error
	Join   *JoinReply
	Sync   *SyncReply
}

// An Output is what a step asks its caller to do.
type Output struct {
	// Save: what [Group.Snapshot] returns has changed. It has to be in the log
	// before the replies are sent. A caller that cannot write it should give the
	// group up: whoever reads the log next continues from what was written.
	Save bool

	// Replies answer this request or others that waited, in this order.
	Replies []Reply
}

// A Group is the coordinator's side of one consumer group: who is in it, in
// which generation, and who waits for what. It has neither goroutines nor a
// clock: every method takes the time, which must not go back, and what happens
// later happens in [Group.Tick], to be called at the time of [Group.Next].
//
//	order    [m1 m2 m3]             members in the order in which they joined
//	members  m1 → {deadline, join | sync waiting, protocols, assignment}
//	static   instance → member id   of those members that have an instance id
//	pending  member id → deadline   given out, not yet joined with
//
// Invariants, which the tests check in every state they reach:
//
//   - order and members hold the same members, static just those with an instance id;
//   - the group has members exactly if it is neither Empty nor Dead, but for
//     PreparingRebalance, in which the last may have left;
//   - the leader is a member, unless the state is PreparingRebalance;
//   - a join waits only in PreparingRebalance, a sync in CompletingRebalance;
//   - joinUntil is set just in PreparingRebalance, syncUntil in no state but
//     CompletingRebalance and Stable;
//   - members have assignments only in Stable, and in PreparingRebalance those of
//     the generation before;
//   - the generation never goes back, and grows when CompletingRebalance begins.
//
// A Group is not safe for concurrent use.
type Group struct {
	id   string
	opts Options

	state        State
	since        time.Time // of the state
	generation   int32
	protocolType string
	protocol     string // chosen for the generation; "" if none
	leader       string

	members map[string]*member
	order   []*member
	static  map[string]string
	pending map[string]time.Time

	joinUntil time.Time     // PreparingRebalance: when those who have not joined are dropped
	delayLeft time.Duration // by which joinUntil can still be put off
	delaying  bool          // the initial delay: all have to wait for joinUntil
	joined    bool          // somebody joined in this part of the initial delay
	syncUntil time.Time     // when those who have not asked for their assignment are dropped

	out Output
}

// A member is what the group knows of one.
type member struct {
	id, instance     string
	client, host     string
	session          time.Duration
	rebalance        time.Duration
	protocolType     string
	protocols        []Protocol
	assignment       []byte
	deadline         time.Time // of its session; if it is fresh, of its join
	fresh            bool      // its process never was in a generation
	synced           bool      // has asked for its assignment in this generation, or was away when it began
	joining, syncing bool      // waits, with the ticket
	ticket           Ticket
}

// New returns an empty group; nil options mean the defaults.
func New(id string, now time.Time, opts *Options) *Group {
	return &Group{
		id: id, opts: opts.withDefaults(), since: now,
		members: map[string]*member{}, static: map[string]string{}, pending: map[string]time.Time{},
	}
}

// ID returns the name of the group.
func (g *Group) ID() string { return g.id }

// State returns the state the group is in.
func (g *Group) State() State { return g.state }

// Since returns when the group came into its state.
func (g *Group) Since() time.Time { return g.since }

// Generation returns the number of the generation, which grows with each
// rebalance that ends; 0 before the first.
func (g *Group) Generation() int32 { return g.generation }

// Protocol returns the type of the group's protocols, "consumer" for
// consumers, and the protocol of this generation. They are empty as long as
// nobody joined.
func (g *Group) Protocol() (kind, name string) { return g.protocolType, g.protocol }

// Leader returns the member that assigns partitions, "" if there is none.
func (g *Group) Leader() string { return g.leader }

// Len returns the number of members.
func (g *Group) Len() int { return len(g.order) }

// A MemberInfo describes a member of a group. Its slices must not be changed.
//
// A MemberInfo is a value; the slices of several may share memory.
type MemberInfo struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	Metadata             []byte // as sent for the protocol of the generation
	Assignment           []byte // nil if there is none
}

// Members returns the members in the order in which they joined. The body must
// not call methods that change the group.
func (g *Group) Members() iter.Seq[MemberInfo] {
	return func(yield func(MemberInfo) bool) {
		for _, m := range g.order {
			info := MemberInfo{m.id, m.instance, m.client, m.host, m.metadata(g.protocol), m.assignment}
			if !yield(info) {
				return
			}
		}
	}
}

// Next returns when [Group.Tick] has to be called; false if nothing is to
// happen by itself. The time may be later after a heartbeat, earlier after any
// other step. It takes time in proportion to the number of members.
func (g *Group) Next() (time.Time, bool) {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, m := range g.order {
		if m.expires() {
			earlier(m.deadline)
		}
	}
	for _, t := range g.pending {
		earlier(t)
	}
	earlier(g.joinUntil)
	earlier(g.syncUntil)
	return next, !next.IsZero()
}

// Tick does what was to happen until now: it ends sessions, drops who did not
// join or sync in time, and ends the joining of a rebalance. To call it too
// early does nothing.
func (g *Group) Tick(now time.Time) Output {
	for id, t := range g.pending {
		if due(t, now) {
			delete(g.pending, id)
		}
	}
	late := due(g.syncUntil, now)
	gone := false
	for _, m := range slices.Clone(g.order) {
		if m.expires() && due(m.deadline, now) || late && !m.synced {
			g.remove(m, ErrUnknownMember)
			gone = true
		}
	}
	if late {
		g.syncUntil = time.Time{}
	}
	if gone {
		g.rebalance(now)
	}
	if due(g.joinUntil, now) {
		g.endJoining(now)
	} else {
		g.tryEndJoining(now)
	}
	return g.flush()
}

// Delete ends a group without members: it is dead from then on. Its snapshot
// and offsets should be deleted from the log. It returns [ErrNotEmpty] if
// there are members, or ids given out for new ones, and [ErrDead] if it is dead already.
func (g *Group) Delete(now time.Time) error {
	switch {
	case g.state == Dead:
		return ErrDead
	case g.state != Empty || len(g.pending) > 0:
		return ErrNotEmpty
	}
	g.become(Dead, now)
	return nil
}

// Abandon answers all requests that wait with [ErrDead] and makes the group
// dead: another coordinator takes over, and members will look for it.
func (g *Group) Abandon(now time.Time) Output {
	for _, m := range g.order {
		g.answer(m, ErrDead)
	}
	g.become(Dead, now)
	g.joinUntil, g.syncUntil = time.Time{}, time.Time{}
	g.order, g.members, g.leader = nil, map[string]*member{}, ""
	clear(g.static)
	clear(g.pending)
	return g.flush()
}

// due says whether a deadline is over; the zero time is none.
func due(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

// expires says whether the deadline of m counts: a member that waits for an
// answer cannot send heartbeats. For a new one the deadline is that of its join.
func (m *member) expires() bool { return m.fresh || !m.joining && !m.syncing }

// alive starts the session of m anew.
func (m *member) alive(now time.Time) { m.deadline = now.Add(m.session) }

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// flush returns what the steps so far asked for.
func (g *Group) flush() Output {
	out := g.out
	g.out = Output{}
	return out
}

func (g *Group) become(s State, now time.Time) { g.state, g.since = s, now }

// find returns the member that a request speaks of, by its id and, if it has
// one, its instance id.
func (g *Group) find(id, instance string) (*member, error) {
	if instance != "" {
		current, ok := g.static[instance]
		switch {
		case !ok:
			return nil, ErrUnknownMember
		case current != id:
			return nil, ErrFencedInstance
		}
	}
	m, ok := g.members[id]
	if !ok {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// add puts a member into the group.
func (g *Group) add(m *member) {
	g.members[m.id] = m
	g.order = append(g.order, m)
	if m.instance != "" {
		g.static[m.instance] = m.id
	}
}

// remove takes a member out of the group and answers it with err, if it waits.
func (g *Group) remove(m *member, err error) {
	g.answer(m, err)
	delete(g.members, m.id)
	g.order = slices.DeleteFunc(g.order, func(o *member) bool { return o == m })
	if m.instance != "" && g.static[m.instance] == m.id {
		delete(g.static, m.instance)
	}
	if g.leader == m.id {
		g.leader = ""
	}
}

// answer sends err to a member that waits.
func (g *Group) answer(m *member, err error) {
	switch {
	case m.joining:
		g.out.Replies = append(g.out.Replies, Reply{m.ticket, err, &JoinReply{MemberID: m.id, Generation: -1}, nil})
	case m.syncing:
		g.out.Replies = append(g.out.Replies, Reply{m.ticket, err, nil, &SyncReply{}})
	}
	m.joining, m.syncing, m.ticket = false, false, 0
}
