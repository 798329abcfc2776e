package kafka

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// An image is what the brokers of a cluster agree on: who they are, which
// topics exist, and which broker leads which partition.
//
//	command ──► log of the cluster (raft, or one broker's file) ──► apply ──► next image
//
// Every broker applies the same commands in the same order and gets the same
// images. An image never changes once it is published, so that a request can
// work with one from its beginning to its end without a lock. What apply
// changes it copies first. An image is safe for concurrent use by multiple
// goroutines.
type image struct {
	Version    uint64            `json:"version"` // commands applied
	ClusterID  string            `json:"clusterID"`
	Brokers    map[int32]*member `json:"brokers"`
	Topics     map[string]*topic `json:"topics"`
	ProducerID int64             `json:"producerID"` // the next that nobody has
	Placed     int               `json:"placed"`     // partitions placed so far, where the next round begins

	names map[topicID]string
}

// A topicID tells a topic from an earlier one of the same name.
type topicID [16]byte

// MarshalText writes the ID in hexadecimal.
func (id topicID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *topicID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("kafka: %q is no topic ID", text)
	}
	_, err := hex.Decode(id[:], text)
	return err
}

func (id topicID) String() string { return hex.EncodeToString(id[:]) }

// A member is a broker as the cluster knows it.
type member struct {
	ID    int32  `json:"id"`
	Host  string `json:"host"`
	Port  int32  `json:"port"`
	Alive bool   `json:"alive"`
}

// A topic and its partitions, by number.
type topic struct {
	Name       string            `json:"name"`
	ID         topicID           `json:"id"`
	Internal   bool              `json:"internal,omitempty"` // made by the brokers for themselves
	Config     map[string]string `json:"config,omitempty"`   // what differs from the defaults
	Partitions []assignment      `json:"partitions"`
}

// An assignment says which brokers have a partition. Leader is one of ISR, the
// in-sync replicas, or -1 while none of them is alive; ISR are some of
// Replicas and at least one.
type assignment struct {
	Leader   int32   `json:"leader"`
	Epoch    int32   `json:"epoch"`   // grows with every change of the leader
	Version  int32   `json:"version"` // grows with every change of the assignment
	Replicas []int32 `json:"replicas"`
	ISR      []int32 `json:"isr"`
	Empty    []int32 `json:"empty,omitempty"` // those who came back with nothing and were not in sync since
}

func newImage(clusterID string) *image {
	return &image{ClusterID: clusterID, Brokers: map[int32]*member{}, Topics: map[string]*topic{}, ProducerID: 1, names: map[topicID]string{}}
}

// decodeImage reads an image that was written as JSON.
func decodeImage(data []byte) (*image, error) {
	m := newImage("")
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("kafka: image of the cluster: %w", err)
	}
	for name, t := range m.Topics {
		m.names[t.ID] = name
	}
	return m, nil
}

// byID returns the topic with an ID, or nil.
func (m *image) byID(id topicID) *topic { return m.Topics[m.names[id]] }

// partition returns the assignment of a partition, or nil.
func (m *image) partition(name string, index int32) *assignment {
	t := m.Topics[name]
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return nil
	}
	return &t.Partitions[index]
}

// alive lists the brokers that are, by ID.
func (m *image) alive() []*member {
	var list []*member
	for _, id := range slices.Sorted(maps.Keys(m.Brokers)) {
		if b := m.Brokers[id]; b.Alive {
			list = append(list, b)
		}
	}
	return list
}

func (m *image) isAlive(id int32) bool {
	b := m.Brokers[id]
	return b != nil && b.Alive
}

// A command changes the image; exactly one of its fields is set.
type command struct {
	Topic      *createTopic   `json:"topic,omitempty"`
	Delete     *deleteTopic   `json:"delete,omitempty"`
	Partitions *addPartitions `json:"partitions,omitempty"`
	Config     *setConfig     `json:"config,omitempty"`
	Producers  *producerIDs   `json:"producers,omitempty"`
	ISR        *alterISR      `json:"isr,omitempty"`
	Register   *registration  `json:"register,omitempty"` // a broker that is there, or there again
	Fence      *fence         `json:"fence,omitempty"`    // one that is gone
	Prefer     *prefer        `json:"prefer,omitempty"`
	Found      *found         `json:"found,omitempty"`
}

type createTopic struct {
	Name       string            `json:"name"`
	ID         topicID           `json:"id"`
	Internal   bool              `json:"internal,omitempty"`
	Config     map[string]string `json:"config,omitempty"`
	Partitions int               `json:"count,omitempty"`
	Replicas   int               `json:"replicas,omitempty"`
	Placement  [][]int32         `json:"placement,omitempty"` // chosen by the client, instead of the two above
}

type deleteTopic struct {
	ID topicID `json:"id"`
}

type addPartitions struct {
	Name      string    `json:"name"`
	Count     int       `json:"count"` // in all
	Placement [][]int32 `json:"placement,omitempty"`
}

type setConfig struct {
	Name string            `json:"name"`
	Set  map[string]string `json:"set"` // all that differs from the defaults
}

type producerIDs struct {
	Count int64 `json:"count"`
}

type alterISR struct {
	Topic     topicID `json:"topic"`
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`  // who asks
	Epoch     int32   `json:"epoch"`   // of the leader
	Version   int32   `json:"version"` // that the leader saw
	ISR       []int32 `json:"isr"`
}

// A registration says where a broker is, and whether it has nothing of this
// cluster: its directory is new, or the disk is another.
type registration struct {
	member
	Empty bool `json:"empty,omitempty"`
}

type fence struct {
	ID int32 `json:"id"`
}

// prefer gives partitions back to the first of their replicas where that one
// is in sync again.
type prefer struct{}

// found gives a cluster that has none its ID.
type found struct {
	ClusterID string `json:"clusterID"`
}

// A result is the answer to a command: an error of the protocol, or 0.
type result struct {
	Code    int16  `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	First   int64  `json:"first,omitempty"` // of the producer IDs
}

func refuse(err *kerr.Error, format string, args ...any) result {
	return result{Code: err.Code, Message: fmt.Sprintf(format, args...)}
}

// limits of a cluster, so that no client can make it take all there is.
const (
	maxPartitions = 10_000 // of all topics
	maxTopicName  = 249    // as Kafka has it: the name of a directory
)

// apply returns the image after a command. It depends on nothing but the two.
func (m *image) apply(c command) (*image, result) {
	next := *m
	next.Version++
	var r result
	switch {
	case c.Topic != nil:
		r = next.createTopic(c.Topic)
	case c.Delete != nil:
		r = next.deleteTopic(c.Delete)
	case c.Partitions != nil:
		r = next.addPartitions(c.Partitions)
	case c.Config != nil:
		r = next.setConfig(c.Config)
	case c.Producers != nil:
		r.First = next.ProducerID
		next.ProducerID += max(c.Producers.Count, 0)
	case c.ISR != nil:
		r = next.alterISR(c.ISR)
	case c.Register != nil:
		if next.register(c.Register.member); c.Register.Empty {
			next.forget(c.Register.ID)
		}
	case c.Fence != nil:
		next.fence(c.Fence.ID)
	case c.Prefer != nil:
		next.everyPartition(func(p *assignment) { next.elect(p, true) })
	case c.Found != nil:
		if next.ClusterID == "" {
			next.ClusterID = c.Found.ClusterID
		}
	default:
		r = refuse(kerr.InvalidRequest, "an empty command")
	}
	return &next, r
}

func (m *image) createTopic(c *createTopic) result {
	switch {
	case m.Topics[c.Name] != nil:
		return refuse(kerr.TopicAlreadyExists, "topic %s exists", c.Name)
	case m.names[c.ID] != "":
		return refuse(kerr.InvalidRequest, "topic ID %s is taken", c.ID)
	}
	placement := c.Placement
	if placement == nil {
		var r result
		if placement, r = m.place(c.Partitions, c.Replicas); r.Code != 0 {
			return r
		}
	}
	t := &topic{Name: c.Name, ID: c.ID, Internal: c.Internal, Config: c.Config}
	if r := m.extend(t, placement); r.Code != 0 {
		return r
	}
	m.names = maps.Clone(m.names)
	m.names[t.ID] = t.Name
	return result{}
}

// place spreads partitions over the brokers that are alive, one after the
// other, so that each leads its share.
func (m *image) place(partitions, replicas int) ([][]int32, result) {
	live := m.alive()
	switch {
	case partitions < 1 || partitions > maxPartitions:
		return nil, refuse(kerr.InvalidPartitions, "%d partitions: a topic has from 1 to %d", partitions, maxPartitions)
	case replicas < 1 || replicas > len(live):
		return nil, refuse(kerr.InvalidReplicationFactor, "%d replicas: %d brokers are alive", replicas, len(live))
	}
	placement := make([][]int32, partitions)
	for i := range placement {
		for r := range replicas {
			placement[i] = append(placement[i], live[(m.Placed+i+r)%len(live)].ID)
		}
	}
	return placement, result{}
}

// extend publishes a copy of t with further partitions.
func (m *image) extend(t *topic, placement [][]int32) result {
	total := len(placement)
	for _, other := range m.Topics {
		total += len(other.Partitions)
	}
	if total > maxPartitions {
		return refuse(kerr.InvalidPartitions, "%d partitions in all: a cluster has up to %d", total, maxPartitions)
	}
	for i, replicas := range placement {
		if len(replicas) == 0 || len(replicas) != len(placement[0]) {
			return refuse(kerr.InvalidReplicaAssignment, "partition %d has %d replicas", len(t.Partitions)+i, len(replicas))
		}
		for j, id := range replicas {
			if m.Brokers[id] == nil || slices.Contains(replicas[:j], id) {
				return refuse(kerr.InvalidReplicaAssignment, "partition %d on broker %d, which is not there or named twice", len(t.Partitions)+i, id)
			}
		}
	}
	grown := *t
	grown.Partitions = slices.Clone(t.Partitions)
	for _, replicas := range placement {
		isr := slices.DeleteFunc(slices.Clone(replicas), func(id int32) bool { return !m.isAlive(id) })
		if len(isr) == 0 {
			return refuse(kerr.InvalidReplicaAssignment, "no broker of %v is alive", replicas)
		}
		grown.Partitions = append(grown.Partitions, assignment{Leader: isr[0], Replicas: slices.Clone(replicas), ISR: isr})
	}
	m.Placed += len(placement)
	m.Topics = maps.Clone(m.Topics)
	m.Topics[t.Name] = &grown
	return result{}
}

func (m *image) deleteTopic(c *deleteTopic) result {
	name, ok := m.names[c.ID]
	if !ok {
		return refuse(kerr.UnknownTopicID, "no topic has the ID %s", c.ID)
	}
	m.Topics, m.names = maps.Clone(m.Topics), maps.Clone(m.names)
	delete(m.Topics, name)
	delete(m.names, c.ID)
	return result{}
}

func (m *image) addPartitions(c *addPartitions) result {
	t := m.Topics[c.Name]
	switch {
	case t == nil:
		return refuse(kerr.UnknownTopicOrPartition, "no topic %s", c.Name)
	case c.Count <= len(t.Partitions):
		return refuse(kerr.InvalidPartitions, "topic %s has %d partitions, which can only grow", c.Name, len(t.Partitions))
	}
	placement := c.Placement
	if placement == nil {
		var r result
		replicas := min(len(t.Partitions[0].Replicas), len(m.alive()))
		if placement, r = m.place(c.Count-len(t.Partitions), replicas); r.Code != 0 {
			return r
		}
	} else if len(placement) != c.Count-len(t.Partitions) {
		return refuse(kerr.InvalidReplicaAssignment, "%d assignments for %d new partitions", len(placement), c.Count-len(t.Partitions))
	}
	return m.extend(t, placement)
}

func (m *image) setConfig(c *setConfig) result {
	t := m.Topics[c.Name]
	if t == nil {
		return refuse(kerr.UnknownTopicOrPartition, "no topic %s", c.Name)
	}
	changed := *t
	changed.Config = c.Set
	m.Topics = maps.Clone(m.Topics)
	m.Topics[c.Name] = &changed
	return result{}
}

// alterISR takes what the leader of a partition says about its followers, if
// it is still the leader and has seen the latest assignment.
func (m *image) alterISR(c *alterISR) result {
	t := m.byID(c.Topic)
	if t == nil || c.Partition < 0 || int(c.Partition) >= len(t.Partitions) {
		return refuse(kerr.UnknownTopicID, "no partition %d of topic %s", c.Partition, c.Topic)
	}
	p := t.Partitions[c.Partition]
	switch {
	case p.Leader != c.Leader || p.Epoch != c.Epoch:
		return refuse(kerr.FencedLeaderEpoch, "broker %d in epoch %d leads, not %d in %d", p.Leader, p.Epoch, c.Leader, c.Epoch)
	case p.Version != c.Version:
		return refuse(kerr.InvalidUpdateVersion, "the assignment has version %d, not %d", p.Version, c.Version)
	case !slices.Contains(c.ISR, c.Leader):
		return refuse(kerr.InvalidRequest, "leader %d is not in %v", c.Leader, c.ISR)
	}
	for _, id := range c.ISR {
		if !slices.Contains(p.Replicas, id) || !m.isAlive(id) {
			return refuse(kerr.IneligibleReplica, "broker %d has no replica or is not alive", id)
		}
	}
	p.ISR = slices.Clone(c.ISR)
	p.Empty = slices.DeleteFunc(slices.Clone(p.Empty), func(id int32) bool { return slices.Contains(c.ISR, id) })
	p.Version++
	m.replacePartition(t.Name, c.Partition, p)
	return result{}
}

// register takes a broker in. Partitions without a leader of which it is an
// in-sync replica have one again. A broker that registers although it was
// thought alive has restarted, and may have forgotten what it had not synced:
// what it led begins another epoch.
func (m *image) register(b member) {
	m.fence(b.ID)
	b.Alive = true
	m.Brokers = maps.Clone(m.Brokers)
	m.Brokers[b.ID] = &b
	m.everyPartition(func(p *assignment) { m.elect(p, false) })
}

// forget notes that a broker has nothing of what it had. Where it is the only
// in-sync replica, the others are taken for in sync that have not come back
// with nothing: they may be behind, but what they lack nobody has. If all have
// come back with nothing, it stays.
func (m *image) forget(id int32) {
	m.everyPartition(func(p *assignment) {
		if !slices.Contains(p.Replicas, id) {
			return
		}
		if !slices.Contains(p.Empty, id) {
			p.Empty = append(slices.Clone(p.Empty), id)
			p.Version++
		}
		rest := slices.DeleteFunc(slices.Clone(p.Replicas), func(other int32) bool { return slices.Contains(p.Empty, other) })
		if slices.Contains(p.ISR, id) && len(rest) > 0 {
			p.ISR = rest
			p.Version++
			m.elect(p, false)
		}
	})
}

// fence takes a broker out. It leaves the in-sync replicas of every partition
// that has others, and another of them leads.
func (m *image) fence(id int32) {
	b := m.Brokers[id]
	if b == nil || !b.Alive {
		return
	}
	gone := *b
	gone.Alive = false
	m.Brokers = maps.Clone(m.Brokers)
	m.Brokers[id] = &gone
	m.everyPartition(func(p *assignment) {
		if slices.Contains(p.ISR, id) && len(p.ISR) > 1 {
			p.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(other int32) bool { return other == id })
			p.Version++
		}
		m.elect(p, false)
	})
}

// elect makes an in-sync replica that is alive the leader where the present
// one is not alive, or, if preferred is set, where an earlier replica could
// be. A replica that is not in sync never leads: it would lose what was
// acknowledged.
func (m *image) elect(p *assignment, preferred bool) {
	leader := int32(-1)
	for _, id := range p.Replicas {
		if slices.Contains(p.ISR, id) && m.isAlive(id) {
			leader = id
			break
		}
	}
	stays := m.isAlive(p.Leader) && slices.Contains(p.ISR, p.Leader)
	if leader == p.Leader || stays && !preferred {
		return
	}
	p.Leader = leader
	p.Epoch++
	p.Version++
}

// everyPartition lets f change a copy of each assignment, in the order of
// topics and partitions, and keeps the copies that differ.
func (m *image) everyPartition(f func(*assignment)) {
	for _, name := range slices.Sorted(maps.Keys(m.Topics)) {
		for i := range m.Topics[name].Partitions {
			p := m.Topics[name].Partitions[i]
			before := p.Version
			if f(&p); p.Version != before {
				m.replacePartition(name, int32(i), p)
			}
		}
	}
}

func (m *image) replacePartition(name string, index int32, p assignment) {
	t := *m.Topics[name]
	t.Partitions = slices.Clone(t.Partitions)
	t.Partitions[index] = p
	m.Topics = maps.Clone(m.Topics)
	m.Topics[name] = &t
}
