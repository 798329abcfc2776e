package group

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A Member is a consumer that an [Assignor] gives partitions to.
//
// A Member is a value; it is safe for concurrent use as long as nobody changes it.
type Member struct {
	ID, InstanceID string
	Subscription   Subscription
}

// A Plan says who gets which partitions: by member id, sorted. Every member
// that took part is in it, with nil if there is nothing for it.
//
// A Plan is a map, and as such not safe for concurrent writes.
type Plan map[string][]TopicPartition

// An Assignor divides partitions among the consumers of a group. The same
// members and partitions give the same plan, whatever their order. A partition goes to at most one member, and
// only to one that subscribes to its topic; if there is such a member it goes
// to one, but for [CooperativeSticky], which may hold partitions back for a
// generation.
type Assignor interface {
	// Name is the name of the group protocol.
	Name() string
	// Assign divides the partitions of topics, whose numbers of partitions are given;
	// topics that are not there are ignored.
	Assign(members []Member, partitions map[string]int32) Plan
}

// Range gives each member consecutive partitions of each topic: Kafka's
// "range". Topics with the same number of partitions, read by the same members,
// have partitions with the same number in the same hands, so that they can be
// joined. It takes time in proportion to the partitions plus n log n for the members of each
// topic. A Range is a value without state, safe for concurrent use.
type Range struct{}

// Name returns "range".
func (Range) Name() string { return "range" }

// Assign divides each topic by itself: members get as many partitions each, and
// the first ones one more where they do not come out even.
func (Range) Assign(members []Member, partitions map[string]int32) Plan {
	members = inOrder(members)
	plan := newPlan(members)
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		var readers []string
		for _, m := range members {
			if slices.Contains(m.Subscription.Topics, topic) {
				readers = append(readers, m.ID)
			}
		}
		next := int32(0)
		for i, id := range readers {
			// Not (i+1)*n/len: the extra partitions go to the first members.
			n := max(0, partitions[topic]) / int32(len(readers))
			if int32(i) < max(0, partitions[topic])%int32(len(readers)) {
				n++
			}
			for range n {
				plan[id] = append(plan[id], TopicPartition{topic, next})
				next++
			}
		}
	}
	return plan
}

// RoundRobin deals the partitions of all topics, one after the other, to the
// members in turn: Kafka's "roundrobin". It is even where all read the same
// topics. It takes time in proportion to the partitions, times the members
// that do not subscribe to a topic. A RoundRobin is a value without state, safe
// for concurrent use.
type RoundRobin struct{}

// Name returns "roundrobin".
func (RoundRobin) Name() string { return "roundrobin" }

// Assign deals partitions in the order of topics and numbers, passing over
// members that do not subscribe to a topic.
func (RoundRobin) Assign(members []Member, partitions map[string]int32) Plan {
	members = inOrder(members)
	plan := newPlan(members)
	turn := 0
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		reads := make([]bool, len(members))
		for i, m := range members {
			reads[i] = slices.Contains(m.Subscription.Topics, topic)
		}
		if !slices.Contains(reads, true) {
			continue
		}
		for partition := range partitions[topic] {
			for !reads[turn] {
				turn = (turn + 1) % len(members)
			}
			plan[members[turn].ID] = append(plan[members[turn].ID], TopicPartition{topic, partition})
			turn = (turn + 1) % len(members)
		}
	}
	return plan
}

// AssignorByName returns the assignor with a protocol name.
func AssignorByName(name string) (Assignor, bool) {
	for _, a := range []Assignor{Range{}, RoundRobin{}, Sticky{}, CooperativeSticky{}} {
		if a.Name() == name {
			return a, true
		}
	}
	return nil, false
}

// inOrder returns the members sorted as Kafka does: static ones first, by
// instance id, which is the same after a restart, then by member id.
func inOrder(members []Member) []Member {
	return slices.SortedFunc(slices.Values(members), func(a, b Member) int {
		switch {
		case a.InstanceID != "" && b.InstanceID != "":
			return cmp.Or(strings.Compare(a.InstanceID, b.InstanceID), strings.Compare(a.ID, b.ID))
		case a.InstanceID != "":
			return -1
		case b.InstanceID != "":
			return 1
		}
		return strings.Compare(a.ID, b.ID)
	})
}

func newPlan(members []Member) Plan {
	plan := make(Plan, len(members))
	for _, m := range members {
		plan[m.ID] = nil
	}
	return plan
}
