package kvcluster

import (
	"context"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
)

// What a node holds of large values, those above [peer.Large], is bounded by two budgets.
//
//	clients  the command of a client in all its copies: what it was read into, what
//	         goes to other nodes, what they answer, and the answer until it has been
//	         sent
//	peers    requests of other nodes and the answers to them, until they have been sent
//
// They are two so that commands of different nodes do not wait for each other in a
// circle: what waits for peers waits for the disk and for nodes that read, and for no
// client. How large a value is that a command asks for, the owners say before they send
// it; then the command takes room for all copies and asks again.
//
// What holds: the bytes counted are never more than the budget and, in each of both,
// what one command at a time needs in addition to what it has (see package budget):
//
//	GET, SCAN                                       nothing
//	SET, DEL of what is large already               2 values, as the node may own the key
//	INCR, APPEND, GETDEL, SET with options          3N+5 values
//	SET, DEL where those are conditional            likewise, one key after the other
//	MGET, EXISTS                                    Limits.InFlight, and N values
//	a request of another node                       2 values
//
// where a value has at most Limits.Command bytes, and so have all siblings of a key
// together, unless several owners have made them at the same time, or a network that was
// cut has left more. Where the last writer wins and a write does not look first, MSET
// may have 2 values for each of 16 keys. Not counted are, of each connection, a command
// and its answers of up to peer.Large bytes; an object for each of store.readers, while
// a node looks how large it is; the reply that each link is receiving for a command that
// has ended; batches of the mender and the mover, one of each at a time, and their
// answers; and what the engine needs for itself.

// peerWait is how long a request of another node waits for room. It is shorter than the
// time for which that node tries to send.
const peerWait = 5 * time.Second

// budgets returns the sizes of both budgets. The clients' is twice the peers'.
func (s Settings) budgets() (clients, peers int64) {
	total := s.Budget
	if total == 0 {
		total = max(defaultBudget, s.leastBudget())
	}
	return total - total/3, total / 3
}

const defaultBudget = 384 << 20

// leastBudget is what lets the largest command go on alone, here and at an owner.
func (s Settings) leastBudget() int64 {
	return max(int64(3*s.copiesWritten()+1)/2, 9) * s.Limits.Command
}

// copiesWritten is how many copies of a command that writes a node has at a time: as it
// was read, as it is kept, in the answer of the one who made the version, and in a
// message to each owner.
func (s Settings) copiesWritten() int { return s.N + 3 }

// The copies of an object that a command which reads it, or reads and writes it, has.
func (s Settings) copiesRead() int64    { return int64(s.N) }
func (s Settings) copiesChanged() int64 { return int64(2*s.N + 3) }

// beyond is how much more than the budgets may be taken.
func (s Settings) beyond() (clients, peers int64) {
	value := s.Limits.Command + peer.Large
	return max(int64(3*s.N+5)*value, s.Limits.InFlight+int64(s.N)*value), 2 * value
}

// admit lets a large request of another node in.
func (n *Node) admit(ctx context.Context, bytes int) (context.Context, func(), error) {
	claim := n.forPeers.Claim()
	if err := claim.Take(ctx, 2*int64(bytes)); err != nil { // the engine gets it anew
		claim.Release()
		return nil, nil, err
	}
	return budget.With(ctx, claim), claim.Release, nil
}

// scans is how many clients of a node list keys at a time.
const scans = 4
