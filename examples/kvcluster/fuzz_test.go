package kvcluster

import (
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// FuzzPeer gives a node whatever another might send it. It must answer or refuse, and
// what it has must stay readable.
func FuzzPeer(f *testing.F) {
	c := newTestCluster(f, 1, func(s *Settings) { s.Memory = true })
	n := c.nodeOf("n1")
	var e encoder
	e.uint64(n.roster.placement().ring.Fingerprint())
	e.byte(1)
	e.uvarint(0)
	f.Add(byte(methodReplica), []byte(replica.AppendRequest(e, replica.Request{Kind: replica.Mint, Key: []byte("k"), Change: replica.Change{Data: []byte("v")}})))
	var list encoder
	list.uint64(0)
	list.uvarint(10)
	f.Add(byte(methodList), []byte(list))
	var objects encoder
	objects.bytes([]byte("key"))
	objects.bytes(replica.AppendObject(nil, replica.Object{}))
	f.Add(byte(methodObjects), []byte(objects))
	f.Add(byte(methodTree), []byte{1, 2, 3, 4, 5, 6, 7, 8, 2, 0})
	f.Fuzz(func(t *testing.T, method byte, request []byte) {
		if method == methodBackup || method == methodRestore {
			return // these write files of the names that they are given
		}
		claim := n.forPeers.Claim()
		_, _ = n.handle(budget.With(t.Context(), claim), "n2", method, request)
		claim.Release()
		if n.forPeers.Used() != 0 {
			t.Fatalf("%d bytes are held", n.forPeers.Used())
		}
		for _, err := range n.store.from(0) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzRoster gives a roster whatever gossip might. It must stay one that others can
// read.
func FuzzRoster(f *testing.F) {
	f.Add([]byte(`[{"name":"n2","addr":"127.0.0.1:1","status":"up","version":3},{"name":"n1","addr":"x","status":"left","version":9}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := newRoster(Member{Name: "n1", Addr: "127.0.0.1:1", Status: Up, Version: 1}, 3)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.merge(data)
		other, err := newRoster(Member{Name: "n1", Addr: "127.0.0.1:1", Status: Up, Version: 1}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.merge(r.encode()); err != nil {
			t.Fatal(err)
		}
	})
}
