package group_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/commitlog/group"
)

// Two consumers join, the first leads and assigns partitions, and one of them
// falls silent.
func Example() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	g := group.New("billing", now, &group.Options{InitialDelay: time.Second})
	subscription, _ := group.AppendSubscription(nil, group.Subscription{Topics: []string{"orders"}})
	for i, id := range []string{"c1", "c2"} {
		g.Join(now, group.JoinRequest{
			Ticket: group.Ticket(i), NewID: id,
			SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
			ProtocolType: group.ConsumerProtocol, Protocols: []group.Protocol{{Name: "range", Metadata: subscription}},
		})
	}
	for g.State() == group.PreparingRebalance { // the initial delay
		now, _ = g.Next()
		for _, r := range g.Tick(now).Replies {
			fmt.Printf("%s: generation %d, leader %s\n", r.Join.MemberID, r.Join.Generation, r.Join.Leader)
		}
	}

	plan := group.Range{}.Assign([]group.Member{
		{ID: "c1", Subscription: group.Subscription{Topics: []string{"orders"}}},
		{ID: "c2", Subscription: group.Subscription{Topics: []string{"orders"}}},
	}, map[string]int32{"orders": 3})
	assignments := map[string][]byte{}
	for id, partitions := range plan {
		assignments[id], _ = group.AppendAssignment(nil, group.Assignment{Partitions: partitions})
	}
	g.Sync(now, group.SyncRequest{Ticket: 2, MemberID: "c2", Generation: 1})
	out := g.Sync(now, group.SyncRequest{Ticket: 3, MemberID: "c1", Generation: 1, Assignments: assignments})
	for _, r := range out.Replies {
		a, _ := group.DecodeAssignment(r.Sync.Assignment)
		fmt.Println("request", r.Ticket, "gets", a.Partitions)
	}

	now = now.Add(9 * time.Second)
	fmt.Println(g.State(), g.Heartbeat(now, "c1", "", 1))
	now, _ = g.Next() // c2 has sent none
	g.Tick(now)
	fmt.Println(g.State(), errors.Is(g.Heartbeat(now, "c1", "", 1), group.ErrRebalanceInProgress))
	// Output:
	// c1: generation 1, leader c1
	// c2: generation 1, leader c1
	// request 3 gets [orders-0 orders-1]
	// request 2 gets [orders-2]
	// Stable <nil>
	// PreparingRebalance true
}

// A sticky plan moves no more than it must when a consumer leaves.
func ExampleSticky() {
	topics := map[string]int32{"clicks": 4, "orders": 2}
	subscribe := func(id string, owned ...group.TopicPartition) group.Member {
		return group.Member{ID: id, Subscription: group.Subscription{Topics: []string{"clicks", "orders"}, Owned: owned}}
	}
	plan := group.Sticky{}.Assign([]group.Member{subscribe("a"), subscribe("b"), subscribe("c")}, topics)
	fmt.Println(plan["a"], plan["b"], plan["c"])
	plan = group.Sticky{}.Assign([]group.Member{subscribe("a", plan["a"]...), subscribe("c", plan["c"]...)}, topics)
	fmt.Println(plan["a"], plan["c"])
	// Output:
	// [clicks-0 clicks-3] [clicks-1 orders-0] [clicks-2 orders-1]
	// [clicks-0 clicks-1 clicks-3] [clicks-2 orders-0 orders-1]
}

// An owner of an earlier generation is fenced by one of a later.
func ExampleOwnership() {
	var owners group.Ownership
	p := group.TopicPartition{Topic: "orders", Partition: 0}
	fmt.Println(owners.Claim(p, group.Owner{Member: "a", Generation: 1}))
	fmt.Println(owners.Claim(p, group.Owner{Member: "b", Generation: 1}))
	fmt.Println(owners.Claim(p, group.Owner{Member: "b", Generation: 2}))
	fmt.Println(owners.Release(p, group.Owner{Member: "a", Generation: 1}))
	// Output:
	// <nil>
	// group: orders-0 is owned by a in generation 1; claimed by b in 1
	// <nil>
	// false
}

// Commits count in the order in which they are in the log.
func ExampleOffsets() {
	var offsets group.Offsets
	p := group.TopicPartition{Topic: "orders", Partition: 0}
	offsets.Put(p, group.Committed{Offset: 20, Position: 8})
	offsets.Put(p, group.Committed{Offset: 10, Position: 7}) // durable later, but before it in the log
	c, _ := offsets.Get(p)
	fmt.Println(c.Offset)
	// Output: 20
}
