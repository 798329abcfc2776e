package group

import (
	"iter"
	"slices"
)

// An Owner is a member in a generation.
type Owner struct {
	Member     string
	Generation int32
}

// Ownership is the registry of who owns which partition, as consumers once
// kept it among themselves in ZooKeeper: one entry a partition. A claim succeeds if
// nobody owns the partition, or only somebody of an earlier generation, which
// is over; that one is fenced and cannot release it any more. The zero Ownership is empty.
//
// An Ownership is not safe for concurrent use.
type Ownership struct {
	owners map[TopicPartition]Owner
}

// Claim makes a member the owner of a partition. If a member of the same or a
// later generation owns it, it returns an [OwnedError]; to claim what one owns
// already is no error. It takes constant time.
func (o *Ownership) Claim(p TopicPartition, by Owner) error {
	if has, ok := o.owners[p]; ok && has.Generation >= by.Generation && has != by {
		return &OwnedError{p, has, by}
	}
	if o.owners == nil {
		o.owners = map[TopicPartition]Owner{}
	}
	o.owners[p] = by
	return nil
}

// Release ends that a member owns a partition, and says whether it did.
func (o *Ownership) Release(p TopicPartition, by Owner) bool {
	if has, ok := o.owners[p]; !ok || has != by {
		return false
	}
	delete(o.owners, p)
	return true
}

// Replace makes a plan of a generation the only truth. If the plan gives a
// partition to two members, or an earlier call was for a later generation,
// nothing changes and it returns an [OwnedError].
func (o *Ownership) Replace(generation int32, plan Plan) error {
	next := Ownership{owners: map[TopicPartition]Owner{}}
	for _, member := range sortedKeys(plan) {
		by := Owner{member, generation}
		for _, p := range plan[member] {
			if has, ok := o.owners[p]; ok && has.Generation > generation {
				return &OwnedError{p, has, by}
			}
			if err := next.Claim(p, by); err != nil {
				return err
			}
		}
	}
	o.owners = next.owners
	return nil
}

// Owner returns who owns a partition.
func (o *Ownership) Owner(p TopicPartition) (Owner, bool) {
	owner, ok := o.owners[p]
	return owner, ok
}

// Owned returns what a member owns, sorted. It takes time in proportion to the
// number of all partitions.
func (o *Ownership) Owned(member string) []TopicPartition {
	var ps []TopicPartition
	for p, owner := range o.owners {
		if owner.Member == member {
			ps = append(ps, p)
		}
	}
	sortPartitions(ps)
	return ps
}

// Len returns the number of partitions that have an owner.
func (o *Ownership) Len() int { return len(o.owners) }

// All returns the partitions that have an owner, sorted, as they were when the
// iteration began. The body may change the registry.
func (o *Ownership) All() iter.Seq2[TopicPartition, Owner] {
	return func(yield func(TopicPartition, Owner) bool) {
		owners := make(map[TopicPartition]Owner, len(o.owners))
		var ps []TopicPartition
		for p, owner := range o.owners {
			owners[p] = owner
			ps = append(ps, p)
		}
		sortPartitions(ps)
		for _, p := range ps {
			if !yield(p, owners[p]) {
				return
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
