package consistenthash_test

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ashlar-go/ashlar/consistenthash"
)

func Example() {
	ring, err := consistenthash.NewRing([]string{"cache-1", "cache-2", "cache-3"}, nil)
	if err != nil {
		panic(err)
	}
	for _, key := range []string{"user:17", "user:18", "user:19"} {
		node, _ := ring.Owner(key)
		fmt.Println(key, "is on", node)
	}

	larger, err := ring.With("cache-4")
	if err != nil {
		panic(err)
	}
	moved := 0
	for range consistenthash.Diff(ring, larger, users(10_000)) {
		moved++
	}
	fmt.Printf("a fourth cache takes %d of 10000 keys\n", moved)
	// Output:
	// user:17 is on cache-3
	// user:18 is on cache-2
	// user:19 is on cache-3
	// a fourth cache takes 2415 of 10000 keys
}

// users are keys such as an application has.
func users(n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("user:%04d", i)) {
				return
			}
		}
	}
}

// The host of a resource is its hash modulo the number of hosts, in every
// first design. The trouble begins with another host: nearly everything moves,
// where a quarter would do.
func ExampleModulo() {
	three := []string{"a", "b", "c"}
	modulo, _ := consistenthash.NewModulo(three, nil)
	rendezvous, _ := consistenthash.NewRendezvous(three, nil)
	for _, p := range []consistenthash.Placement[string]{modulo, rendezvous} {
		four, err := p.With("d")
		if err != nil {
			panic(err)
		}
		moved := 0
		for range consistenthash.Diff(p, four, users(10_000)) {
			moved++
		}
		fmt.Printf("%T: %d of 10000 keys move\n", p, moved)
	}
	// Output:
	// *consistenthash.Modulo[string]: 7519 of 10000 keys move
	// *consistenthash.Rendezvous[string]: 2524 of 10000 keys move
}

// Multiplying by 31 and adding the next byte is not enough of a hash: modulo
// 31, all but the last byte of the key is lost. The ten digits have ten hosts,
// and the other twenty-one have nothing.
func ExampleHash31() {
	hosts := make([]int, 31)
	for i := range hosts {
		hosts[i] = i
	}
	modulo, _ := consistenthash.NewModulo(hosts, nil)
	poor, good := map[int]int{}, map[int]int{}
	for key := range users(10_000) {
		host, _ := modulo.OwnerHash(consistenthash.Hash31(key))
		poor[host]++
		host, _ = modulo.Owner(key)
		good[host]++
	}
	fmt.Println("hosts with keys:", len(poor), "with Hash31,", len(good), "with Hash")
	fmt.Println("most keys on one:", slices.Max(slices.Collect(maps.Values(poor))), "and", slices.Max(slices.Collect(maps.Values(good))))
	// Output:
	// hosts with keys: 10 with Hash31, 31 with Hash
	// most keys on one: 1000 and 367
}

// The owner and those that follow it keep a key's replicas, each in a zone of
// its own.
func ExampleRing_Owners() {
	ring, err := consistenthash.NewRing([]string{"eu-1", "eu-2", "eu-3", "us-1", "us-2", "ap-1"}, &consistenthash.Options[string]{
		Zone: func(node string) string { return node[:2] },
	})
	if err != nil {
		panic(err)
	}
	replicas := 3
	for node := range ring.Owners("order:4711") {
		fmt.Println(node)
		if replicas--; replicas == 0 {
			break
		}
	}
	// Output:
	// us-1
	// ap-1
	// eu-1
}

// Nodes may be of any type, and differ in size.
func ExampleNewRendezvous_weights() {
	type server struct {
		Host string
		CPUs int
	}
	r, err := consistenthash.NewRendezvous([]server{{"small", 2}, {"large", 6}}, &consistenthash.Options[server]{
		Name:   func(s server) string { return s.Host },
		Weight: func(s server) float64 { return float64(s.CPUs) },
	})
	if err != nil {
		panic(err)
	}
	counts := map[string]int{}
	for key := range users(10_000) {
		s, _ := r.Owner(key)
		counts[s.Host]++
	}
	fmt.Println(counts)
	// Output:
	// map[large:7564 small:2436]
}

// A backend that fails gives its keys to all others, and has them again when
// it returns.
func ExampleAnchor() {
	up, err := consistenthash.NewAnchor([]string{"a", "b", "c", "d"}, nil)
	if err != nil {
		panic(err)
	}
	down, err := up.Without("b")
	if err != nil {
		panic(err)
	}
	heirs := map[string]int{}
	for move := range consistenthash.Diff(up, down, users(10_000)) {
		heirs[move.From+" to "+move.To]++
	}
	fmt.Println(heirs)
	again, _ := down.With("b")
	fmt.Println("as before:", again.Fingerprint() == up.Fingerprint())
	// Output:
	// map[b to a:823 b to c:831 b to d:857]
	// as before: true
}

// One key that everybody wants cannot drown its owner.
func ExampleBounded() {
	p, err := consistenthash.NewJumpBack([]string{"a", "b", "c", "d"}, nil)
	if err != nil {
		panic(err)
	}
	b := consistenthash.NewBounded(p, nil)
	for range 100 {
		lease, ok := b.Acquire("the final on tv")
		if !ok {
			panic("no nodes")
		}
		_ = lease // work there, then lease.Release()
	}
	for _, load := range b.Loads() {
		fmt.Printf("%s has %d, of at most %d\n", load.Node, load.Leases, load.Cap)
	}
	// Output:
	// a has 31, of at most 32
	// b has 6, of at most 32
	// c has 31, of at most 32
	// d has 32, of at most 32
}

// Requests carry the fingerprint of the placement that routed them; a server
// that knows another one says so, instead of passing them on in a circle.
func ExampleLive() {
	ring, err := consistenthash.NewRing([]string{"a", "b"}, nil)
	if err != nil {
		panic(err)
	}
	live := consistenthash.NewLive(ring)

	sent := live.Placement().Fingerprint() // with the request
	changes := live.Watch(context.Background())
	if err := live.Add("c"); err != nil {
		panic(err)
	}
	if live.Placement().Fingerprint() != sent {
		fmt.Println("the members have changed: look again")
	}
	for change := range changes {
		fmt.Println(change.Before.Len(), "nodes before,", change.After.Len(), "after")
		break
	}
	// Output:
	// the members have changed: look again
	// 2 nodes before, 3 after
}

// Where nodes are numbers there is no need of a placement at all.
func ExampleJumpBackHash() {
	h := consistenthash.Hash("user:19")
	for shards := 1; shards <= 64; shards *= 2 {
		fmt.Println(shards, "shards:", consistenthash.JumpBackHash(h, shards))
	}
	// Output:
	// 1 shards: 0
	// 2 shards: 0
	// 4 shards: 0
	// 8 shards: 4
	// 16 shards: 4
	// 32 shards: 4
	// 64 shards: 4
}
