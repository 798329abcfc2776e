package group

import (
	"iter"
	"slices"
	"time"
)

// A Committed is how far a group has come in a partition.
type Committed struct {
	Offset      int64 // of the next record to read
	LeaderEpoch int32 // of the record before; -1 if not known
	Metadata    string
	Time        time.Time // of the commit, in milliseconds once it was in a log
	Expires     time.Time // by the request itself, as old clients can; zero: as the retention says

	// Position is where the commit is in the log of commits. Of two commits the one
	// with the greater position counts, so that commits that become durable at the
	// same time may be entered in any order.
	Position int64
}

// Offsets is the registry of the committed offsets of one group. The zero
// Offsets is empty.
//
// An Offsets is not safe for concurrent use.
type Offsets struct {
	offsets map[TopicPartition]Committed
}

// Put enters a commit, unless a later one is there; it says whether it did.
func (o *Offsets) Put(p TopicPartition, c Committed) bool {
	if has, ok := o.offsets[p]; ok && has.Position > c.Position {
		return false
	}
	if o.offsets == nil {
		o.offsets = map[TopicPartition]Committed{}
	}
	o.offsets[p] = c
	return true
}

// Get returns what was committed last for a partition.
func (o *Offsets) Get(p TopicPartition) (Committed, bool) {
	c, ok := o.offsets[p]
	return c, ok
}

// Delete removes what was committed for a partition, and says whether there was something.
func (o *Offsets) Delete(p TopicPartition) bool {
	_, ok := o.offsets[p]
	delete(o.offsets, p)
	return ok
}

// Len returns the number of partitions.
func (o *Offsets) Len() int { return len(o.offsets) }

// All returns all partitions with what was committed, sorted, as they were when
// the iteration began. The body may change the registry.
func (o *Offsets) All() iter.Seq2[TopicPartition, Committed] {
	return func(yield func(TopicPartition, Committed) bool) {
		ps := make([]TopicPartition, 0, len(o.offsets))
		all := make(map[TopicPartition]Committed, len(o.offsets))
		for p, c := range o.offsets {
			ps = append(ps, p)
			all[p] = c
		}
		sortPartitions(ps)
		for _, p := range ps {
			if !yield(p, all[p]) {
				return
			}
		}
	}
}

// Expired returns the partitions whose offsets the group g does not need any
// more, sorted; they stay until they are deleted. Offsets are kept for the
// retention,
//
//   - if the group has no members: from when the last one left, or from the commit if
//     that is later, as it is where no member ever was;
//   - if its members are consumers: from the commit, and only of topics to which no
//     member subscribes;
//   - else for ever.
//
// An offset that names its own end ends then, if the group has no members.
func (o *Offsets) Expired(g *Group, now time.Time, retention time.Duration) []TopicPartition {
	var expired []TopicPartition
	for p, c := range o.offsets {
		if g.expired(p, c, now, retention) {
			expired = append(expired, p)
		}
	}
	sortPartitions(expired)
	return expired
}

func (g *Group) expired(p TopicPartition, c Committed, now time.Time, retention time.Duration) bool {
	end := c.Time.Add(retention)
	switch {
	case g.state == Dead:
		return true
	case g.state != Empty:
		return g.protocolType == ConsumerProtocol && due(end, now) && !g.Subscribed(p.Topic)
	case !c.Expires.IsZero():
		return due(c.Expires, now)
	case g.protocolType != "" && g.since.After(c.Time):
		end = g.since.Add(retention)
	}
	return due(end, now)
}

// Subscribed says whether a member reads a topic, or may: if the group's
// members are no consumers, or what they sent for the protocol of the
// generation cannot be read, it is assumed that they do.
func (g *Group) Subscribed(topic string) bool {
	if len(g.order) == 0 {
		return false
	}
	if g.protocolType != ConsumerProtocol {
		return true
	}
	for _, m := range g.order {
		s, err := DecodeSubscription(m.metadata(g.protocol))
		if err != nil || slices.Contains(s.Topics, topic) {
			return true
		}
	}
	return false
}
