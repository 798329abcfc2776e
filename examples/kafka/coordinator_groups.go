package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog/group"
)

// groupAPIs lists what the coordinator understands.
func (b *broker) groupAPIs() map[int16]api {
	return map[int16]api{
		8:  {2, 10, b.offsetCommit},
		9:  {1, 10, b.offsetFetch},
		10: {0, 6, b.findCoordinator},
		11: {0, 9, b.joinGroup},
		12: {0, 4, b.heartbeat},
		13: {0, 5, b.leaveGroup},
		14: {0, 5, b.syncGroup},
		15: {0, 6, b.describeGroups},
		16: {0, 5, b.listGroups},
		42: {0, 2, b.deleteGroups},
		47: {0, 0, b.offsetDelete},
	}
}

// groupError returns a group's error in the terms of the protocol.
func groupError(err error) *kerr.Error {
	for _, known := range []struct {
		err  error
		code *kerr.Error
	}{
		{group.ErrUnknownMember, kerr.UnknownMemberID},
		{group.ErrIllegalGeneration, kerr.IllegalGeneration},
		{group.ErrFencedInstance, kerr.FencedInstanceID},
		{group.ErrRebalanceInProgress, kerr.RebalanceInProgress},
		{group.ErrMemberIDRequired, kerr.MemberIDRequired},
		{group.ErrInconsistentProtocol, kerr.InconsistentGroupProtocol},
		{group.ErrInvalidSessionTimeout, kerr.InvalidSessionTimeout},
		{group.ErrGroupFull, kerr.GroupMaxSizeReached},
		{group.ErrDead, kerr.NotCoordinator},
		{group.ErrNotEmpty, kerr.NonEmptyGroup},
		{group.ErrSubscribed, kerr.GroupSubscribedToTopic},
		{group.ErrInvalidRequest, kerr.InvalidRequest},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return kerr.UnknownServerError
}

func code(err error) int16 {
	if err == nil {
		return 0
	}
	return groupError(err).Code
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// orNil returns nil for "".
func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// findCoordinator tells where groups are looked after.
func (b *broker) findCoordinator(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.FindCoordinatorRequest)
	return func(ctx context.Context) kmsg.Response { // it may create the internal topic
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		keys := req.CoordinatorKeys
		if req.Version < 4 {
			keys = []string{req.CoordinatorKey}
		}
		for _, key := range keys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Port = key, -1, -1
			at, err := b.coordinatorOf(ctx, key, req.CoordinatorType)
			if err != nil {
				c.ErrorCode, c.ErrorMessage = err.Code, &err.Description
			} else {
				c.NodeID, c.Host, c.Port = at.ID, at.Host, at.Port
			}
			resp.Coordinators = append(resp.Coordinators, c)
		}
		if req.Version < 4 {
			c := resp.Coordinators[0]
			resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
			resp.Coordinators = nil
		}
		return resp
	}
}

func (b *broker) coordinatorOf(ctx context.Context, key string, kind int8) (*member, *kerr.Error) {
	switch {
	case kind == 1:
		return nil, kerr.TransactionalIDAuthorizationFailed // there are no transactions here
	case kind != 0:
		return nil, kerr.InvalidRequest
	case key == "":
		return nil, kerr.InvalidGroupID
	}
	m := b.control.Image()
	if m.Topics[offsetsTopic] == nil {
		if err := b.createOffsetsTopic(ctx, m); err != nil {
			b.log.Warn("no topic for groups yet", "error", err)
			return nil, kerr.CoordinatorNotAvailable
		}
		m = b.control.Image()
	}
	t := m.Topics[offsetsTopic]
	if t == nil {
		return nil, kerr.CoordinatorNotAvailable
	}
	leader := m.Brokers[t.Partitions[shardOf(key, len(t.Partitions))].Leader]
	if leader == nil || !leader.Alive {
		return nil, kerr.CoordinatorNotAvailable
	}
	return leader, nil
}

var errFewBrokers = errors.New("kafka: brokers are missing")

// createOffsetsTopic waits for all brokers: with fewer, the groups would have
// fewer replicas for ever.
func (b *broker) createOffsetsTopic(ctx context.Context, m *image) error {
	live := len(m.alive())
	if live < len(m.Brokers) && live < b.Defaults.replicas {
		return errFewBrokers
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := b.create(ctx, createTopic{
		Name: offsetsTopic, Internal: true, Partitions: offsetsPartitions, Replicas: min(b.Defaults.replicas, live),
		Config: map[string]string{"cleanup.policy": "compact", "segment.bytes": "16777216", "max.message.bytes": "16777216"},
	})
	if err == nil && r.Code != 0 && r.Code != kerr.TopicAlreadyExists.Code {
		err = errors.New(r.Message)
	}
	return err
}

// wait registers a request that a group will answer, in one of its next steps.
// It is called with the group's mutex held.
func (g *groupOf) wait() (group.Ticket, chan group.Reply) {
	g.tickets++
	c := make(chan group.Reply, 1)
	g.waits[g.tickets] = c
	return g.tickets, c
}

func (b *broker) joinGroup(_ context.Context, c *conn, message kmsg.Request) answer {
	req := message.(*kmsg.JoinGroupRequest)
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.Generation, resp.MemberID = -1, req.MemberID
	g, err := b.groups.find(req.Group, req.MemberID == "")
	if err == nil && g == nil {
		err = kerr.UnknownMemberID
	}
	if err != nil {
		resp.ErrorCode = err.Code
		return now(resp)
	}
	host, _, _ := net.SplitHostPort(c.net.RemoteAddr().String())
	client := *c.client.Load()
	r := group.JoinRequest{
		MemberID: req.MemberID, InstanceID: deref(req.InstanceID),
		NewID:     strings.Trim(client[:min(len(client), 200)]+"-"+rand.Text(), "-"),
		RequireID: req.Version >= 4, CanSkipAssignment: req.Version >= 9,
		ClientID: client, ClientHost: "/" + host,
		SessionTimeout: millis(req.SessionTimeoutMillis), RebalanceTimeout: millis(req.RebalanceTimeoutMillis),
		ProtocolType: req.ProtocolType,
	}
	for _, p := range req.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: slices.Clone(p.Metadata)})
	}
	g.mu.Lock()
	var reply chan group.Reply
	r.Ticket, reply = g.wait()
	g.took(g.group.Join(time.Now(), r))
	g.mu.Unlock()
	return func(ctx context.Context) kmsg.Response {
		select {
		case r := <-reply:
			fillJoin(resp, r)
			return resp
		case <-ctx.Done():
			return nil
		}
	}
}

func fillJoin(resp *kmsg.JoinGroupResponse, r group.Reply) {
	j := r.Join
	resp.ErrorCode, resp.MemberID, resp.Generation = code(r.Err), j.MemberID, j.Generation
	if r.Err != nil {
		if resp.Version < 7 {
			resp.Protocol = new(string)
		}
		return
	}
	resp.ProtocolType, resp.Protocol, resp.LeaderID, resp.SkipAssignment = &j.ProtocolType, &j.Protocol, j.Leader, j.SkipAssignment
	for _, m := range j.Members {
		jm := kmsg.NewJoinGroupResponseMember()
		jm.MemberID, jm.InstanceID, jm.ProtocolMetadata = m.ID, orNil(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, jm)
	}
}

func (b *broker) syncGroup(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.SyncGroupRequest)
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.MemberAssignment = []byte{}
	g, err := b.groups.find(req.Group, false)
	if err == nil && g == nil {
		err = kerr.UnknownMemberID
	}
	if err != nil {
		resp.ErrorCode = err.Code
		return now(resp)
	}
	r := group.SyncRequest{
		MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation,
		ProtocolType: deref(req.ProtocolType), Protocol: deref(req.Protocol), Assignments: map[string][]byte{},
	}
	for _, a := range req.GroupAssignment {
		r.Assignments[a.MemberID] = slices.Clone(a.MemberAssignment)
	}
	g.mu.Lock()
	var reply chan group.Reply
	r.Ticket, reply = g.wait()
	g.took(g.group.Sync(time.Now(), r))
	g.mu.Unlock()
	return func(ctx context.Context) kmsg.Response {
		select {
		case r := <-reply:
			if resp.ErrorCode = code(r.Err); r.Err == nil {
				resp.ProtocolType, resp.Protocol = &r.Sync.ProtocolType, &r.Sync.Protocol
				resp.MemberAssignment = append(resp.MemberAssignment, r.Sync.Assignment...)
			}
			return resp
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *broker) heartbeat(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.HeartbeatRequest)
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	g, err := b.groups.find(req.Group, false)
	switch {
	case err != nil:
		resp.ErrorCode = err.Code
	case g == nil:
		resp.ErrorCode = kerr.UnknownMemberID.Code
	default:
		g.mu.Lock()
		resp.ErrorCode = code(g.group.Heartbeat(time.Now(), req.MemberID, deref(req.InstanceID), req.Generation))
		g.mu.Unlock()
	}
	return now(resp)
}

func (b *broker) leaveGroup(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.LeaveGroupRequest)
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	g, err := b.groups.find(req.Group, false)
	if err != nil {
		resp.ErrorCode = err.Code
		return now(resp)
	}
	leave := func(id, instance string) int16 {
		if g == nil {
			return kerr.UnknownMemberID.Code
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		out, err := g.group.Leave(time.Now(), id, instance)
		g.took(out)
		return code(err)
	}
	if req.Version < 3 {
		resp.ErrorCode = leave(req.MemberID, "")
		return now(resp)
	}
	for _, m := range req.Members {
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID = m.MemberID, m.InstanceID
		rm.ErrorCode = leave(m.MemberID, deref(m.InstanceID))
		resp.Members = append(resp.Members, rm)
	}
	return now(resp)
}

func (b *broker) describeGroups(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DescribeGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, id := range once(req.Groups, func(id string) string { return id }) {
		rg := kmsg.NewDescribeGroupsResponseGroup()
		rg.Group, rg.AuthorizedOperations = id, noOperations
		g, err := b.groups.find(id, false)
		switch {
		case err != nil:
			rg.ErrorCode = err.Code
		case g == nil:
			rg.State = group.Dead.String()
			if req.Version >= 6 {
				rg.ErrorCode = kerr.GroupIDNotFound.Code
			}
		default:
			g.mu.Lock()
			rg.State = g.group.State().String()
			rg.ProtocolType, rg.Protocol = g.group.Protocol()
			for m := range g.group.Members() {
				rm := kmsg.NewDescribeGroupsResponseGroupMember()
				rm.MemberID, rm.InstanceID, rm.ClientID, rm.ClientHost = m.ID, orNil(m.InstanceID), m.ClientID, m.ClientHost
				if g.group.State() == group.Stable {
					rm.ProtocolMetadata, rm.MemberAssignment = m.Metadata, m.Assignment
				}
				rg.Members = append(rg.Members, rm)
			}
			g.mu.Unlock()
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return now(resp)
}

func (b *broker) listGroups(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.ListGroupsRequest)
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	groups, loading := b.groups.all()
	if loading {
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
	}
	wants := func(list []string, value string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, value) })
	}
	for _, g := range groups {
		g.mu.Lock()
		rg := kmsg.NewListGroupsResponseGroup()
		rg.Group, rg.GroupState, rg.GroupType = g.group.ID(), g.group.State().String(), "classic"
		rg.ProtocolType, _ = g.group.Protocol()
		idle := g.idle()
		g.mu.Unlock()
		if !idle && wants(req.StatesFilter, rg.GroupState) && wants(req.TypesFilter, rg.GroupType) {
			resp.Groups = append(resp.Groups, rg)
		}
	}
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	return now(resp)
}

// idle says whether there is nothing to remember of a group: somebody asked
// for it, and that is all. It is called with mu held.
func (g *groupOf) idle() bool {
	_, waits := g.group.Next()
	return g.group.State() == group.Empty && g.group.Generation() == 0 && g.offsets.Len() == 0 && !waits && len(g.queue) == 0 && !g.sending
}
