package group

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// ConsumerProtocol is the protocol type of consumers.
const ConsumerProtocol = "consumer"

// A TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns the topic and the partition, joined by a hyphen.
func (p TopicPartition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Partition) }

// Compare orders partitions by topic, then by number.
func (p TopicPartition) Compare(q TopicPartition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.Partition, q.Partition))
}

// A Subscription is what a consumer tells the leader of its group: Kafka's
// ConsumerProtocolSubscription.
type Subscription struct {
	Version    int16 // 0 to 3: what is encoded of the fields below
	Topics     []string
	UserData   []byte           // of the assignor
	Owned      []TopicPartition // from version 1
	Generation int32            // in which they were owned; from version 2, else -1
	Rack       string           // from version 3
}

// An Assignment is what the leader tells a consumer: Kafka's
// ConsumerProtocolAssignment.
type Assignment struct {
	Version    int16
	Partitions []TopicPartition
	UserData   []byte
}

// AppendSubscription appends s to dst as its version says, with owned
// partitions grouped by topic. It fails if a string is longer than 32767
// bytes or the version is not known.
func AppendSubscription(dst []byte, s Subscription) ([]byte, error) {
	if s.Version < 0 || s.Version > 3 {
		return dst, &MalformedError{"subscription", 0, "unknown version"}
	}
	dst = appendInt16(dst, s.Version)
	dst = appendInt32(dst, int32(len(s.Topics)))
	var err error
	for _, topic := range s.Topics {
		if dst, err = appendString(dst, topic); err != nil {
			return dst, err
		}
	}
	dst = appendBytes(dst, s.UserData)
	if s.Version >= 1 {
		if dst, err = appendPartitions(dst, s.Owned); err != nil {
			return dst, err
		}
	}
	if s.Version >= 2 {
		dst = appendInt32(dst, s.Generation)
	}
	if s.Version >= 3 {
		return appendNullable(dst, s.Rack)
	}
	return dst, nil
}

// DecodeSubscription reads a subscription. Of versions above 3 it reads what it
// knows; up to that, bytes left over are an error. UserData shares memory with
// src.
func DecodeSubscription(src []byte) (Subscription, error) {
	r := reader{src: src, what: "subscription"}
	s := Subscription{Version: r.int16(), Generation: -1}
	if s.Version < 0 {
		r.fail("negative version")
	}
	for range r.count(2) {
		s.Topics = append(s.Topics, r.string())
	}
	s.UserData = r.bytes()
	if s.Version >= 1 {
		s.Owned = r.partitions()
	}
	if s.Version >= 2 {
		s.Generation = r.int32()
	}
	if s.Version >= 3 {
		s.Rack, _ = r.nullable()
	}
	if s.Version <= 3 {
		r.end()
	}
	if r.err != nil {
		return Subscription{}, r.err
	}
	return s, nil
}

// AppendAssignment appends a to dst, with partitions grouped by topic.
func AppendAssignment(dst []byte, a Assignment) ([]byte, error) {
	dst, err := appendPartitions(appendInt16(dst, a.Version), a.Partitions)
	return appendBytes(dst, a.UserData), err
}

// DecodeAssignment reads an assignment; no bytes at all, which is what a member
// gets that the leader forgot, are an empty one. Bytes left over are an error up
// to version 3, the newest. UserData shares memory with src.
func DecodeAssignment(src []byte) (Assignment, error) {
	if len(src) == 0 {
		return Assignment{}, nil
	}
	r := reader{src: src, what: "assignment"}
	a := Assignment{Version: r.int16()}
	if a.Version < 0 {
		r.fail("negative version")
	}
	a.Partitions = r.partitions()
	a.UserData = r.bytes()
	if a.Version <= 3 {
		r.end()
	}
	if r.err != nil {
		return Assignment{}, r.err
	}
	return a, nil
}

func (r *reader) partitions() []TopicPartition {
	var ps []TopicPartition
	for range r.count(6) {
		topic := r.string()
		for range r.count(4) {
			ps = append(ps, TopicPartition{topic, r.int32()})
		}
	}
	return ps
}

// appendPartitions writes partitions grouped by topic, in the order in which
// topics first appear.
func appendPartitions(dst []byte, ps []TopicPartition) ([]byte, error) {
	var topics []string
	byTopic := map[string][]int32{}
	for _, p := range ps {
		if _, ok := byTopic[p.Topic]; !ok {
			topics = append(topics, p.Topic)
		}
		byTopic[p.Topic] = append(byTopic[p.Topic], p.Partition)
	}
	dst = appendInt32(dst, int32(len(topics)))
	var err error
	for _, topic := range topics {
		if dst, err = appendString(dst, topic); err != nil {
			return dst, err
		}
		dst = appendInt32(dst, int32(len(byTopic[topic])))
		for _, partition := range byTopic[topic] {
			dst = appendInt32(dst, partition)
		}
	}
	return dst, nil
}

// AppendStickyData appends the user data with which a consumer of the [Sticky]
// assignor says what it owns: Kafka's StickyAssignorUserData, version 1.
func AppendStickyData(dst []byte, owned []TopicPartition, generation int32) ([]byte, error) {
	dst, err := appendPartitions(dst, owned)
	return appendInt32(dst, generation), err
}

// DecodeStickyData reads what [AppendStickyData] wrote; of version 0, which has
// no generation, that is -1.
func DecodeStickyData(src []byte) (owned []TopicPartition, generation int32, err error) {
	r := reader{src: src, what: "sticky user data"}
	owned, generation = r.partitions(), -1
	if r.err == nil && r.at < len(src) {
		generation = r.int32()
		r.end()
	}
	if r.err != nil {
		return nil, -1, r.err
	}
	return owned, generation, nil
}

// owned returns what a consumer owned, and in which generation: as its
// subscription says, or what an older client put into the user data.
func (s *Subscription) owned() ([]TopicPartition, int32) {
	if len(s.Owned) > 0 {
		generation := s.Generation
		if generation < 0 && len(s.UserData) == 4 {
			// Version 1 of a cooperative client: the generation alone is there.
			generation = int32(binary.BigEndian.Uint32(s.UserData))
		}
		return s.Owned, generation
	}
	if len(s.UserData) > 4 {
		if owned, generation, err := DecodeStickyData(s.UserData); err == nil {
			return owned, generation
		}
	}
	return nil, -1
}

func sortPartitions(ps []TopicPartition) { slices.SortFunc(ps, TopicPartition.Compare) }
