package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noOperations says that a response does not tell what the client may do:
// there are no access rules here.
const noOperations = math.MinInt32

// metadata tells clients which broker leads which partition.
func (b *broker) metadata(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.MetadataRequest)
	return func(ctx context.Context) kmsg.Response { // it may create topics
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		if create := req.Version < 4 || req.AllowAutoTopicCreation; create && b.Defaults.create {
			b.createAsked(ctx, req.Topics)
		}
		m := b.control.Image()
		for _, l := range m.alive() {
			resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: l.ID, Host: l.Host, Port: l.Port})
		}
		resp.ClusterID = &m.ClusterID
		resp.ControllerID = b.control.Leader()
		resp.AuthorizedOperations = noOperations
		if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
			for _, name := range slices.Sorted(maps.Keys(m.Topics)) {
				resp.Topics = append(resp.Topics, describeTopic(m, m.Topics[name]))
			}
		}
		for _, t := range once(req.Topics, func(t kmsg.MetadataRequestTopic) topicName { return topicName{deref(t.Topic), t.TopicID} }) {
			resp.Topics = append(resp.Topics, find(m, t))
		}
		return resp
	}
}

type topicName struct {
	name string
	id   topicID
}

// once leaves out what a request asks for again: an answer may be thousands of
// times as long as the question.
func once[T any, K comparable](asked []T, key func(T) K) []T {
	seen := make(map[K]bool, min(len(asked), maxPartitions))
	return slices.DeleteFunc(asked, func(one T) bool {
		k := key(one)
		again := seen[k]
		seen[k] = true
		return again
	})
}

// find describes a topic that was asked for by name or by ID.
func find(m *image, want kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	missing := kmsg.NewMetadataResponseTopic()
	missing.Topic, missing.TopicID, missing.AuthorizedOperations = want.Topic, want.TopicID, noOperations
	var t *topic
	switch {
	case want.TopicID != [16]byte{}:
		t = m.byID(want.TopicID)
		missing.ErrorCode = kerr.UnknownTopicID.Code
	case want.Topic == nil || checkTopicName(*want.Topic) != nil:
		missing.ErrorCode = kerr.InvalidTopicException.Code
	default:
		t = m.Topics[*want.Topic]
		missing.ErrorCode = kerr.UnknownTopicOrPartition.Code
	}
	if t == nil {
		return missing
	}
	return describeTopic(m, t)
}

func describeTopic(m *image, t *topic) kmsg.MetadataResponseTopic {
	mt := kmsg.NewMetadataResponseTopic()
	mt.Topic, mt.TopicID, mt.IsInternal, mt.AuthorizedOperations = &t.Name, t.ID, t.Internal, noOperations
	for i, a := range t.Partitions {
		mp := kmsg.NewMetadataResponseTopicPartition()
		mp.Partition, mp.Leader, mp.LeaderEpoch, mp.Replicas, mp.ISR = int32(i), a.Leader, a.Epoch, a.Replicas, a.ISR
		for _, id := range a.Replicas {
			if !m.isAlive(id) {
				mp.OfflineReplicas = append(mp.OfflineReplicas, id)
			}
		}
		if a.Leader < 0 {
			mp.ErrorCode = kerr.LeaderNotAvailable.Code
		}
		mt.Partitions = append(mt.Partitions, mp)
	}
	return mt
}

// createAsked creates the topics among those asked for that do not exist. A
// topic that cannot be is missing from the response, which says so.
func (b *broker) createAsked(ctx context.Context, topics []kmsg.MetadataRequestTopic) {
	ctx, cancel := withTimeout(ctx, 5000) // there may be no majority
	defer cancel()
	for _, t := range topics {
		if t.Topic == nil || b.control.Image().Topics[*t.Topic] != nil || checkTopicName(*t.Topic) != nil {
			continue
		}
		r, err := b.create(ctx, createTopic{
			Name: *t.Topic, Partitions: b.Defaults.partitions, Replicas: min(b.Defaults.replicas, len(b.control.Image().alive())),
		})
		if err != nil {
			b.log.Warn("create a topic that was asked for", "topic", *t.Topic, "error", err)
		}
		if err != nil || r.Code == kerr.InvalidPartitions.Code {
			return // nor would the others be: the cluster has no room
		}
	}
}

// create makes a topic and waits until this broker has its partitions. While
// nobody knows whether the cluster has taken the command, it is given again:
// the ID tells whether a topic that exists is this one.
func (b *broker) create(ctx context.Context, c createTopic) (result, error) {
	_, _ = rand.Read(c.ID[:]) // never fails
	r, err := b.control.Propose(ctx, command{Topic: &c})
	for err != nil && ctx.Err() == nil && b.open() {
		pause(ctx, retryEvery)
		r, err = b.control.Propose(ctx, command{Topic: &c})
	}
	if made := b.control.Image().byID(c.ID); err == nil && made != nil {
		r = result{}
	}
	if err == nil && r.Code == 0 {
		b.settle(ctx, c.ID)
	}
	return r, err
}

// settle waits a moment until this broker has its replicas of a topic, so
// that a client which created it does not have to try twice.
func (b *broker) settle(ctx context.Context, id topicID) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !b.settled(id) {
		select {
		case <-tick.C:
		case <-b.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (b *broker) settled(id topicID) bool {
	t := b.control.Image().byID(id)
	if t == nil {
		return true
	}
	for i, a := range t.Partitions {
		if a.Leader == b.ID {
			if p := b.partition(partitionKey{id, int32(i)}); p == nil || !p.state().leading {
				return false
			}
		}
	}
	return true
}

// checkTopicName returns why a topic cannot be called that.
func checkTopicName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name for a topic", name)
	case len(name) > maxTopicName:
		return fmt.Errorf("the name has %d bytes, more than %d", len(name), maxTopicName)
	case strings.ContainsFunc(name, notInTopicName):
		return fmt.Errorf("%q has characters other than letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

func notInTopicName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

// describeCluster tells clients which brokers there are.
func (b *broker) describeCluster(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DescribeClusterRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	m := b.control.Image()
	resp.ClusterID, resp.ControllerID, resp.ClusterAuthorizedOperations, resp.EndpointType = m.ClusterID, b.control.Leader(), noOperations, max(req.EndpointType, 1)
	if req.EndpointType == 2 {
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
		return now(resp)
	}
	for _, id := range slices.Sorted(maps.Keys(m.Brokers)) {
		if l := m.Brokers[id]; l.Alive || req.IncludeFencedBrokers {
			resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: l.ID, Host: l.Host, Port: l.Port, IsFenced: !l.Alive})
		}
	}
	return now(resp)
}

// apiVersions tells clients what this broker understands.
func (b *broker) apiVersions(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.ApiVersionsRequest)
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	switch named := req.ClusterID != nil; {
	case named != (req.NodeID != -1):
		resp.ErrorCode = kerr.InvalidRequest.Code
	case named && (*req.ClusterID != b.control.Image().ClusterID || req.NodeID != b.ID):
		resp.ErrorCode = kerr.RebootstrapRequired.Code // the client took us for another
	default:
		resp.ApiKeys = b.versions
	}
	return now(resp)
}
