package group

import (
	"time"
)

// A Snapshot is what a coordinator has to know to continue another's work on
// a group. What waits is not in it: clients ask again.
//
// A Snapshot is a value; its slices must not be changed.
type Snapshot struct {
	ProtocolType string
	Generation   int32
	Protocol     string
	Leader       string // "" while the leader has not assigned partitions
	Since        time.Time
	Members      []MemberSnapshot // in the order in which they joined
}

// A MemberSnapshot is a member of a [Snapshot].
type MemberSnapshot struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	RebalanceTimeout     time.Duration
	SessionTimeout       time.Duration
	Metadata             []byte // for the protocol of the generation
	Assignment           []byte
}

// Snapshot returns what has to be in the log before replies are sent, when an
// [Output] says so.
func (g *Group) Snapshot() Snapshot {
	s := Snapshot{ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol, Since: g.since}
	if g.state == Stable {
		s.Leader = g.leader
	}
	for _, m := range g.order {
		if m.fresh {
			continue // not in a generation yet
		}
		s.Members = append(s.Members, MemberSnapshot{
			m.id, m.instance, m.client, m.host, m.rebalance, m.session, m.metadata(g.protocol), m.assignment,
		})
	}
	return s
}

// Restore returns the group that a snapshot describes. Sessions begin anew.
// If the leader had not assigned partitions yet, members have to join again.
func Restore(id string, s Snapshot, now time.Time, opts *Options) *Group {
	g := New(id, now, opts)
	g.protocolType, g.generation, g.protocol, g.leader = s.ProtocolType, s.Generation, s.Protocol, s.Leader
	if !s.Since.IsZero() {
		g.since = s.Since
	}
	for _, ms := range s.Members {
		m := &member{
			id: ms.ID, instance: ms.InstanceID, client: ms.ClientID, host: ms.ClientHost,
			session: ms.SessionTimeout, rebalance: ms.RebalanceTimeout,
			protocolType: s.ProtocolType, protocols: []Protocol{{s.Protocol, ms.Metadata}},
			assignment: ms.Assignment, synced: true,
		}
		m.alive(now)
		g.add(m)
	}
	switch {
	case len(g.order) == 0:
		g.leader = ""
	case g.members[g.leader] == nil:
		g.leader = ""
		g.become(PreparingRebalance, now)
		g.joinUntil = now.Add(g.longest())
	default:
		g.state = Stable
	}
	return g
}
