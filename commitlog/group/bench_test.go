package group_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog/group"
)

func members(n int, owned group.Plan) []group.Member {
	ms := make([]group.Member, n)
	for i := range ms {
		id := fmt.Sprintf("m%05d", i)
		ms[i] = group.Member{ID: id, Subscription: group.Subscription{Topics: []string{"a", "b", "c", "d"}, Owned: owned[id]}}
	}
	return ms
}

// BenchmarkAssign divides ten partitions a member; for sticky assignors, after
// one member left.
func BenchmarkAssign(b *testing.B) {
	for _, name := range []string{"range", "roundrobin", "sticky", "cooperative-sticky"} {
		for _, size := range []int{10, 1000} {
			b.Run(fmt.Sprintf("impl=ashlar/assignor=%s/members=%d", name, size), func(b *testing.B) {
				by, _ := group.AssignorByName(name)
				n := int32(size * 10 / 4)
				counts := map[string]int32{"a": n, "b": n, "c": n, "d": n}
				ms := members(size, by.Assign(members(size, nil), counts))[1:]
				b.ReportAllocs()
				for b.Loop() {
					by.Assign(ms, counts)
				}
			})
		}
	}
}

// BenchmarkRebalance takes a whole group through one generation.
func BenchmarkRebalance(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/members=%d", size), func(b *testing.B) {
			now := time.Unix(0, 0)
			g := group.New("g", now, &group.Options{InitialDelay: time.Second})
			assignments := map[string][]byte{}
			request := func(i int, id, newID string) group.JoinRequest {
				return group.JoinRequest{
					Ticket: group.Ticket(i), MemberID: id, NewID: newID, SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
					ProtocolType: group.ConsumerProtocol, Protocols: []group.Protocol{{Name: "range"}},
				}
			}
			ids := make([]string, size)
			for i := range ids {
				ids[i] = fmt.Sprint("m", i)
				assignments[ids[i]] = []byte{1}
				g.Join(now, request(i, "", ids[i]))
			}
			for g.State() == group.PreparingRebalance {
				now, _ = g.Next()
				g.Tick(now)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i, id := range ids { // the leader is the first: its join begins a rebalance
					g.Join(now, request(i, id, ""))
				}
				for i, id := range ids {
					g.Sync(now, group.SyncRequest{Ticket: group.Ticket(i), MemberID: id, Generation: g.Generation(), Assignments: assignments})
				}
				if g.State() != group.Stable {
					b.Fatal(g.State())
				}
			}
		})
	}
}

// BenchmarkHeartbeat is what a coordinator does most.
func BenchmarkHeartbeat(b *testing.B) {
	b.Run("impl=ashlar", func(b *testing.B) {
		now := time.Unix(0, 0)
		g := group.New("g", now, &group.Options{InitialDelay: -1})
		g.Join(now, group.JoinRequest{
			NewID: "m", SessionTimeout: time.Minute, ProtocolType: group.ConsumerProtocol, Protocols: []group.Protocol{{Name: "range"}},
		})
		for b.Loop() {
			if err := g.Heartbeat(now, "m", "", 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
