package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func reader1(id string, topics ...string) Member {
	return Member{ID: id, Subscription: Subscription{Topics: topics, Generation: -1}}
}

// parts makes partitions of "a0", "b12": a letter or more and one digit.
func parts(names ...string) []TopicPartition {
	var ps []TopicPartition
	for _, n := range names {
		ps = append(ps, TopicPartition{n[:len(n)-1], int32(n[len(n)-1] - '0')})
	}
	return ps
}

// TestKafkasCases holds the results that Kafka's documentation and its tests give.
func TestKafkasCases(t *testing.T) {
	static := func(m Member, instance string) Member { m.InstanceID = instance; return m }
	for _, c := range []struct {
		name    string
		by      Assignor
		members []Member
		counts  map[string]int32
		want    Plan
	}{
		{"range, 2 topics of 3", Range{},
			[]Member{reader1("C0", "a", "b"), reader1("C1", "a", "b")}, map[string]int32{"a": 3, "b": 3},
			Plan{"C0": parts("a0", "a1", "b0", "b1"), "C1": parts("a2", "b2")}},
		{"range, more members than partitions", Range{},
			[]Member{reader1("C1", "a"), reader1("C0", "a")}, map[string]int32{"a": 1},
			Plan{"C0": parts("a0"), "C1": nil}},
		{"range, uneven subscriptions", Range{},
			[]Member{reader1("C0", "a"), reader1("C1", "a", "b"), reader1("C2", "a")}, map[string]int32{"a": 3, "b": 2},
			Plan{"C0": parts("a0"), "C1": parts("a1", "b0", "b1"), "C2": parts("a2")}},
		{"range, static members come first, by instance", Range{},
			[]Member{reader1("C0", "a"), static(reader1("C2", "a"), "i1"), static(reader1("C1", "a"), "i2")}, map[string]int32{"a": 4},
			Plan{"C2": parts("a0", "a1"), "C1": parts("a2"), "C0": parts("a3")}},
		{"round robin, 2 topics of 3", RoundRobin{},
			[]Member{reader1("C0", "a", "b"), reader1("C1", "a", "b")}, map[string]int32{"a": 3, "b": 3},
			Plan{"C0": parts("a0", "a2", "b1"), "C1": parts("a1", "b0", "b2")}},
		{"round robin, uneven subscriptions", RoundRobin{},
			[]Member{reader1("C0", "a"), reader1("C1", "a", "b"), reader1("C2", "a", "b", "c")}, map[string]int32{"a": 1, "b": 2, "c": 3},
			Plan{"C0": parts("a0"), "C1": parts("b0"), "C2": parts("b1", "c0", "c1", "c2")}},
		{"sticky, 4 topics of 2", Sticky{},
			[]Member{reader1("C0", "t0", "t1", "t2", "t3"), reader1("C1", "t0", "t1", "t2", "t3"), reader1("C2", "t0", "t1", "t2", "t3")},
			map[string]int32{"t0": 2, "t1": 2, "t2": 2, "t3": 2},
			Plan{"C0": parts("t00", "t11", "t30"), "C1": parts("t01", "t20", "t31"), "C2": parts("t10", "t21")}},
		{"sticky, uneven subscriptions", Sticky{},
			[]Member{reader1("C0", "t0"), reader1("C1", "t0", "t1"), reader1("C2", "t0", "t1", "t2")}, map[string]int32{"t0": 1, "t1": 2, "t2": 3},
			Plan{"C0": parts("t00"), "C1": parts("t10", "t11"), "C2": parts("t20", "t21", "t22")}},
		{"a topic that is not there", Sticky{}, []Member{reader1("C0", "x")}, map[string]int32{"a": 1}, Plan{"C0": nil}},
		{"nobody", RoundRobin{}, nil, map[string]int32{"a": 1}, Plan{}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.by.Assign(c.members, c.counts)) })
	}
}

func TestStickyAfterAMemberLeft(t *testing.T) {
	counts := map[string]int32{"t0": 2, "t1": 2, "t2": 2, "t3": 2}
	all := []Member{reader1("C0", "t0", "t1", "t2", "t3"), reader1("C1", "t0", "t1", "t2", "t3"), reader1("C2", "t0", "t1", "t2", "t3")}
	plan := Sticky{}.Assign(all, counts)
	next := Sticky{}.Assign(own([]Member{all[0], all[2]}, plan, 1), counts)
	require.Equal(t, Plan{"C0": parts("t00", "t11", "t20", "t30"), "C2": parts("t01", "t10", "t21", "t31")}, next)

	counts = map[string]int32{"t0": 1, "t1": 2, "t2": 3}
	all = []Member{reader1("C0", "t0"), reader1("C1", "t0", "t1"), reader1("C2", "t0", "t1", "t2")}
	plan = Sticky{}.Assign(all, counts)
	next = Sticky{}.Assign(own(all[1:], plan, 1), counts)
	require.Equal(t, Plan{"C1": parts("t00", "t10", "t11"), "C2": parts("t20", "t21", "t22")}, next)
}

func TestStickyReadsWhatOlderClientsSay(t *testing.T) {
	data, err := AppendStickyData(nil, parts("a1"), 3)
	require.NoError(t, err)
	m := reader1("C1", "a")
	m.Subscription.UserData = data
	plan := Sticky{}.Assign([]Member{reader1("C0", "a"), m}, map[string]int32{"a": 2})
	require.Equal(t, Plan{"C0": parts("a0"), "C1": parts("a1")}, plan)
}

func TestStickyClaimsOfTwo(t *testing.T) {
	claim := func(id string, generation int32) Member {
		m := reader1(id, "a")
		m.Subscription.Owned, m.Subscription.Generation = parts("a0", "a1"), generation
		return m
	}
	plan := Sticky{}.Assign([]Member{claim("C0", 1), claim("C1", 2), reader1("C2", "a")}, map[string]int32{"a": 3})
	require.Len(t, plan["C1"], 1, "the later generation keeps one of its two")
	require.NotContains(t, plan["C1"], TopicPartition{"a", 2})
	for _, ps := range (Sticky{}).Assign([]Member{claim("C0", 2), claim("C1", 2)}, map[string]int32{"a": 2}) {
		require.Len(t, ps, 1, "nobody is believed")
	}
}

// own returns the members as they are after they got a plan.
func own(members []Member, plan Plan, generation int32) []Member {
	members = slices.Clone(members)
	for i := range members {
		s := &members[i].Subscription
		s.Owned, s.Generation = plan[members[i].ID], generation
	}
	return members
}

// problem makes a random group; even: all read all topics.
func problem(r *rand.Rand, even bool) ([]Member, map[string]int32) {
	counts := map[string]int32{}
	for i := range 1 + r.IntN(6) {
		counts[fmt.Sprint("t", i)] = int32(r.IntN(9))
	}
	members := make([]Member, 1+r.IntN(7))
	for i := range members {
		members[i] = randomReader(r, fmt.Sprint("m", i), counts, even)
	}
	return members, counts
}

func randomReader(r *rand.Rand, id string, counts map[string]int32, even bool) Member {
	m := reader1(id)
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		if even || r.IntN(2) == 0 {
			m.Subscription.Topics = append(m.Subscription.Topics, topic)
		}
	}
	return m
}

// checkPlan checks what every assignor promises.
func checkPlan(t *testing.T, members []Member, counts map[string]int32, plan Plan, whole bool) {
	t.Helper()
	require.Len(t, plan, len(members))
	owner := map[TopicPartition]string{}
	for _, m := range members {
		for _, p := range plan[m.ID] {
			if other, ok := owner[p]; ok {
				t.Fatalf("%v has two owners, %s and %s", p, m.ID, other)
			}
			owner[p] = m.ID
			if !slices.Contains(m.Subscription.Topics, p.Topic) || p.Partition < 0 || p.Partition >= counts[p.Topic] {
				t.Fatalf("%s got %v", m.ID, p)
			}
		}
		if !slices.IsSortedFunc(plan[m.ID], TopicPartition.Compare) {
			t.Fatalf("not sorted: %v", plan[m.ID])
		}
	}
	for topic, n := range counts {
		read := slices.ContainsFunc(members, func(m Member) bool { return slices.Contains(m.Subscription.Topics, topic) })
		for p := range n {
			if _, ok := owner[TopicPartition{topic, p}]; ok != read && (whole || ok) {
				t.Fatalf("%s-%d has an owner: %v; is read: %v", topic, p, ok, read)
			}
		}
	}
}

func TestAssignorsPromise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		even := r.IntN(2) == 0
		members, counts := problem(r, even)
		for _, name := range []string{"range", "roundrobin", "sticky", "cooperative-sticky"} {
			by, ok := AssignorByName(name)
			require.True(t, ok)
			plan := by.Assign(members, counts)
			checkPlan(t, members, counts, plan, true)
			shuffled := slices.Clone(members)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			require.Equal(t, plan, by.Assign(shuffled, counts), "the order of members must not matter to %s", name)
			if low, high := spread(plan); even && name != "range" && high-low > 1 {
				t.Fatalf("%s: loads from %d to %d", name, low, high)
			}
		}
	}
	_, ok := AssignorByName("best")
	require.False(t, ok)
}

func spread(plan Plan) (low, high int) {
	low = 1 << 30
	for _, ps := range plan {
		low, high = min(low, len(ps)), max(high, len(ps))
	}
	return low, high
}

// TestStickyMovesLittle changes a group step by step. With equal subscriptions no even plan
// moves fewer partitions; with others, none can be improved by any chain of moves.
func TestStickyMovesLittle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		even := r.IntN(2) == 0
		members, counts := problem(r, even)
		plan := Sticky{}.Assign(members, counts)
		for step := range 6 {
			before := plan
			members, counts = change(r, members, counts, even)
			members = own(members, before, int32(step))
			plan = Sticky{}.Assign(members, counts)
			checkPlan(t, members, counts, plan, true)
			if want := fewestMoves(members, counts, before); even && moves(before, plan) != want {
				t.Fatalf("%d moves, %d would do:\n%v\n%v", moves(before, plan), want, before, plan)
			}
			if chain := improvable(members, plan); chain != "" {
				t.Fatalf("can be more even, %s: %v", chain, plan)
			}
			require.Equal(t, plan, Sticky{}.Assign(own(members, plan, int32(step)), counts), "nothing changed, nothing moves")
		}
	}
}

// change adds or removes a member, or partitions.
func change(r *rand.Rand, members []Member, counts map[string]int32, even bool) ([]Member, map[string]int32) {
	members, counts = slices.Clone(members), maps.Clone(counts)
	switch {
	case r.IntN(3) == 0:
		counts["t0"] += int32(r.IntN(4))
	case r.IntN(2) == 0 && len(members) > 1:
		i := r.IntN(len(members))
		members = slices.Delete(members, i, i+1)
	default:
		members = append(members, randomReader(r, fmt.Sprint("n", r.IntN(1_000_000)), counts, even))
	}
	return members, counts
}

// moves counts partitions that a member of both plans had to give to another.
func moves(before, after Plan) (n int) {
	for id, ps := range before {
		if _, ok := after[id]; !ok {
			continue
		}
		for _, p := range ps {
			if !slices.Contains(after[id], p) {
				n++
			}
		}
	}
	return n
}

// fewestMoves returns how many partitions must leave members that stay, for
// loads that differ by at most one.
func fewestMoves(members []Member, counts map[string]int32, before Plan) int {
	total := 0
	for topic, n := range counts {
		if slices.ContainsFunc(members, func(m Member) bool { return slices.Contains(m.Subscription.Topics, topic) }) {
			total += int(n)
		}
	}
	high := total % len(members) // so many may have one more
	shed := 0
	for _, m := range members {
		has := len(before[m.ID])
		shed += max(0, has-total/len(members))
		if has > total/len(members) && high > 0 {
			high--
			shed--
		}
	}
	return shed
}

// improvable says how a load could be made more even: along the members that
// can take a partition from each other.
func improvable(members []Member, plan Plan) string {
	for _, m := range members {
		reached := map[string]bool{m.ID: true}
		for queue := []string{m.ID}; len(queue) > 0; queue = queue[1:] {
			if len(plan[queue[0]]) <= len(plan[m.ID])-2 {
				return fmt.Sprintf("from %s to %s", m.ID, queue[0])
			}
			for _, to := range members {
				if !reached[to.ID] && slices.ContainsFunc(plan[queue[0]], func(p TopicPartition) bool {
					return slices.Contains(to.Subscription.Topics, p.Topic)
				}) {
					reached[to.ID] = true
					queue = append(queue, to.ID)
				}
			}
		}
	}
	return ""
}

// TestCooperativeNeverTakesWhatIsHeld runs groups through changes: members give
// up what they must and join again, and then everything has an owner and no plan is more even.
func TestCooperativeNeverTakesWhatIsHeld(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		members, counts := problem(r, r.IntN(2) == 0)
		generation := int32(1)
		plan := CooperativeSticky{}.Assign(members, counts)
		for range 5 {
			members, counts = change(r, members, counts, true)
			members = own(members, plan, generation)
			generation++
			next := CooperativeSticky{}.Assign(members, counts)
			checkPlan(t, members, counts, next, false)
			for _, m := range members {
				for _, p := range next[m.ID] {
					for _, other := range members {
						if other.ID != m.ID && slices.Contains(other.Subscription.Owned, p) {
							t.Fatalf("%v goes to %s while %s holds it", p, m.ID, other.ID)
						}
					}
				}
			}
			members = own(members, next, generation)
			generation++
			plan = CooperativeSticky{}.Assign(members, counts)
			checkPlan(t, members, counts, plan, true)
			if chain := improvable(members, plan); chain != "" {
				t.Fatalf("can be more even after the second round, %s: %v", chain, plan)
			}
		}
	}
}
