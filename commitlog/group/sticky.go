package group

import (
	"cmp"
	"maps"
	"slices"
)

// Sticky balances as well as subscriptions allow, and among balanced plans
// looks for one in which few partitions change hands: Kafka's "sticky". The
// loads that it reaches are the most even possible: no chain of moves along
// subscriptions makes a larger load smaller by two or more at one end and a
// smaller one larger at the other. If all members read the same topics, no
// plan that even moves fewer partitions. A partition that two members of the same
// generation claim is taken from both; otherwise the later generation has it.
//
// A Sticky is a value without state, safe for concurrent use.
//
// It takes time in proportion to partitions × members, and for uneven
// subscriptions, for each partition that moves, to the sum of all subscriptions.
type Sticky struct{}

// Name returns "sticky".
func (Sticky) Name() string { return "sticky" }

// Assign keeps what members own as far as that is balanced.
func (Sticky) Assign(members []Member, partitions map[string]int32) Plan {
	return newBalance(members, partitions).plan()
}

// CooperativeSticky is [Sticky] for members that go on reading while the group
// rebalances: Kafka's "cooperative-sticky". A partition that changes hands is
// left out of the plan; its owner gives it up, joins again, and the next plan
// gives it to whom it was meant for. So no partition has two owners at any time,
// and those that stay are never interrupted.
//
// A CooperativeSticky is a value without state, safe for concurrent use.
type CooperativeSticky struct{}

// Name returns "cooperative-sticky".
func (CooperativeSticky) Name() string { return "cooperative-sticky" }

// Assign is that of [Sticky], without partitions that another member still owns.
func (CooperativeSticky) Assign(members []Member, partitions map[string]int32) Plan {
	plan := newBalance(members, partitions).plan()
	holders := map[TopicPartition][]string{}
	for _, m := range members {
		owned, _ := m.Subscription.owned()
		for _, p := range owned {
			holders[p] = append(holders[p], m.ID)
		}
	}
	for id, ps := range plan {
		plan[id] = slices.DeleteFunc(ps, func(p TopicPartition) bool {
			return len(holders[p]) > 0 && !slices.Contains(holders[p], id)
		})
	}
	return plan
}

// A balance is a plan in the making.
//
//	members  m0 m1 m2 …            in order; everything else names them by index
//	readers  topic → [0 2]         who may have its partitions
//	owns     0 → topic → {0, 3}    who has what
//	load     0 → 2                 how many
type balance struct {
	members []Member
	topics  []string // sorted
	counts  map[string]int32
	readers map[string][]int
	reads   []map[string]bool
	owns    []map[string]map[int32]bool
	load    []int
	before  map[TopicPartition]int // who owned it when this began
	uneven  bool                   // not all read the same topics
}

func newBalance(members []Member, partitions map[string]int32) *balance {
	b := &balance{
		members: inOrder(members), counts: partitions, readers: map[string][]int{},
		before: map[TopicPartition]int{}, load: make([]int, len(members)),
	}
	for i, m := range b.members {
		b.owns = append(b.owns, map[string]map[int32]bool{})
		b.reads = append(b.reads, map[string]bool{})
		for _, topic := range m.Subscription.Topics {
			if _, ok := partitions[topic]; ok && !b.reads[i][topic] {
				b.reads[i][topic] = true
				b.readers[topic] = append(b.readers[topic], i)
			}
		}
	}
	b.topics = slices.Sorted(maps.Keys(b.readers))
	for _, readers := range b.readers {
		b.uneven = b.uneven || len(readers) < len(members)
	}
	b.keep()
	b.fill()
	switch {
	case b.uneven:
		b.even()
	case len(b.topics) > 0:
		b.level()
	}
	return b
}

// keep gives everybody what it owned, as far as it still may have it.
func (b *balance) keep() {
	type claim struct {
		generation int32
		member     int
		disputed   bool
	}
	claims := map[TopicPartition]claim{}
	for i, m := range b.members {
		owned, generation := m.Subscription.owned()
		for _, p := range owned {
			if p.Partition < 0 || p.Partition >= b.counts[p.Topic] {
				continue
			}
			c, ok := claims[p]
			switch {
			case !ok || generation > c.generation:
				claims[p] = claim{generation, i, false}
			case generation == c.generation && c.member != i:
				c.disputed = true
				claims[p] = c
			}
		}
	}
	for p, c := range claims {
		if !c.disputed && b.reads[c.member][p.Topic] {
			b.give(c.member, p)
			b.before[p] = c.member
		}
	}
}

func (b *balance) give(to int, p TopicPartition) {
	if b.owns[to][p.Topic] == nil {
		b.owns[to][p.Topic] = map[int32]bool{}
	}
	b.owns[to][p.Topic][p.Partition] = true
	b.load[to]++
}

func (b *balance) take(from int, p TopicPartition) {
	delete(b.owns[from][p.Topic], p.Partition)
	b.load[from]--
}

// fill gives each partition that nobody has to the member with the least, topics
// with few readers first, since those leave less choice.
func (b *balance) fill() {
	topics := slices.SortedStableFunc(slices.Values(b.topics), func(s, t string) int {
		return cmp.Compare(len(b.readers[s]), len(b.readers[t]))
	})
	for _, topic := range topics {
		taken := map[int32]bool{}
		for _, i := range b.readers[topic] {
			for partition := range b.owns[i][topic] {
				taken[partition] = true
			}
		}
		for partition := range b.counts[topic] {
			if !taken[partition] {
				least := slices.MinFunc(b.readers[topic], func(i, j int) int { return cmp.Compare(b.load[i], b.load[j]) })
				b.give(least, TopicPartition{topic, partition})
			}
		}
	}
}

// level moves partitions from the member with most to that with least until
// they differ by one: each move is one that any even plan needs.
func (b *balance) level() {
	byLoad := func(i, j int) int { return cmp.Compare(b.load[i], b.load[j]) }
	all := b.readers[b.topics[0]]
	for {
		most, least := slices.MaxFunc(all, byLoad), slices.MinFunc(all, byLoad)
		if b.load[most]-b.load[least] < 2 {
			return
		}
		p := b.pick(most, least)
		b.take(most, p)
		b.give(least, p)
	}
}

// even does the same where not every member may have every partition: the way
// from one member to another may lead over others.
func (b *balance) even() {
	byLoad := make([]int, len(b.members))
	for i := range byLoad {
		byLoad[i] = i
	}
	for {
		slices.SortStableFunc(byLoad, func(i, j int) int { return cmp.Compare(b.load[j], b.load[i]) })
		if !slices.ContainsFunc(byLoad, b.relieve) { // stops at the first that could be
			return
		}
	}
}

// relieve takes one partition from member i, if another can do with one more
// and still have less than i has now: the one with the least load that a chain
// of moves reaches, over the fewest moves.
func (b *balance) relieve(i int) bool {
	from := make([]int, len(b.members)) // the member before in the chain
	for j := range from {
		from[j] = -1
	}
	from[i] = i
	best, queue := -1, []int{i}
	seen := map[string]bool{}
	for len(queue) > 0 {
		j := queue[0]
		queue = queue[1:]
		if b.load[j] <= b.load[i]-2 && (best < 0 || b.load[j] < b.load[best]) {
			best = j
		}
		for _, topic := range b.topics {
			if seen[topic] || len(b.owns[j][topic]) == 0 {
				continue
			}
			seen[topic] = true
			for _, k := range b.readers[topic] {
				if from[k] < 0 {
					from[k] = j
					queue = append(queue, k)
				}
			}
		}
	}
	if best < 0 {
		return false
	}
	for to := best; to != i; to = from[to] {
		p := b.pick(from[to], to)
		b.take(from[to], p)
		b.give(to, p)
	}
	return true
}

// pick chooses which partition member i gives to j: one that j had before, else
// one that i did not have, else the last.
func (b *balance) pick(i, j int) TopicPartition {
	var best TopicPartition
	rank := -1
	for _, topic := range b.topics {
		if !b.reads[j][topic] {
			continue
		}
		for partition := range b.owns[i][topic] {
			p := TopicPartition{topic, partition}
			r := 1
			if owner, ok := b.before[p]; ok && owner == j {
				r = 2
			} else if ok && owner == i {
				r = 0
			}
			if r > rank || r == rank && p.Compare(best) > 0 {
				best, rank = p, r
			}
		}
	}
	return best
}

func (b *balance) plan() Plan {
	plan := newPlan(b.members)
	for i, m := range b.members {
		for topic, partitions := range b.owns[i] {
			for partition := range partitions {
				plan[m.ID] = append(plan[m.ID], TopicPartition{topic, partition})
			}
		}
		sortPartitions(plan[m.ID])
	}
	return plan
}
