package kvcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// listed is a key as one node has it.
type listed struct {
	hash uint64
	key  []byte
	last replica.Time // of what the node has seen of it: of two nodes the later is right
	live bool
}

const (
	listMost  = 10_000  // keys in one answer
	listBytes = 4 << 20 // and bytes of them
)

// list returns the first keys of this node whose hashes are at least hash: limit of
// them and all that have the hash of the last. more is false when there are no
// others.
func (n *Node) list(hash uint64, limit int) (keys []listed, more bool, err error) {
	if n.filling.on.Load() {
		return nil, false, errFilling
	}
	now, size := time.Now(), 0
	for o, err := range n.store.from(hash) {
		if err != nil {
			return nil, false, err
		}
		if len(keys) > 0 && (len(keys) >= limit || size >= listBytes) && o.Hash != keys[len(keys)-1].hash {
			return keys, true, nil
		}
		_, live := o.Object.Latest(now)
		keys = append(keys, listed{o.Hash, slices.Clone(o.Key), o.Object.Last(), live})
		size += len(o.Key) + 32
	}
	return keys, false, nil
}

func (n *Node) handleList(b []byte) ([]byte, error) {
	d := decoder{b: b}
	hash, limit := d.uint64(), d.uvarint()
	if err := d.err(); err != nil || limit == 0 || limit > listMost {
		return nil, errMessage
	}
	keys, more, err := n.list(hash, int(limit))
	if err != nil {
		return nil, err
	}
	var e encoder
	e.byte(map[bool]byte{true: 1}[more])
	for _, k := range keys {
		e.uint64(k.hash)
		e.uint64(uint64(k.last))
		e.byte(map[bool]byte{true: 1}[k.live])
		e.bytes(k.key)
	}
	return e, nil
}

func (n *Node) askList(ctx context.Context, m Member, hash uint64, limit int) (keys []listed, more bool, err error) {
	if m.Name == n.config.Name {
		return n.list(hash, limit)
	}
	var e encoder
	e.uint64(hash)
	e.uvarint(uint64(limit))
	b, err := n.endpoint.Call(ctx, m.node(), methodList, e)
	if err != nil {
		return nil, false, err
	}
	d := decoder{b: b}
	more = d.byte() == 1
	for d.more() {
		keys = append(keys, listed{hash: d.uint64(), last: replica.Time(d.uint64()), live: d.byte() == 1, key: d.bytes()})
	}
	return keys, more, d.err()
}

// errUncovered tells that keys may be missing, since too many nodes are away.
var errUncovered = errors.New("kvcluster: too many nodes are away to see every key")

// everywhere asks all members at once, this one too. It returns an error unless so
// many have answered that each acknowledged write is among what they have: all but
// fewer than w.
//
// Those that are in failed, which may be nil, are not asked, since they have failed
// already; those that fail now are added to it.
func (n *Node) everywhere(ctx context.Context, w int, failed map[string]error, ask func(context.Context, Member) error) error {
	type result struct {
		name string
		err  error
	}
	members := n.roster.placement().members
	results := make(chan result, len(members))
	asked := 0
	for _, m := range members {
		if m.Status == Left || m.Status == Joining {
			continue
		}
		asked++
		n.work.Go(func() {
			err := failed[m.Name]
			switch {
			case err != nil:
			case n.gossip.isAlive(m.Name):
				err = ask(ctx, m)
			default:
				err = replica.ErrDown
			}
			results <- result{m.Name, err}
		})
	}
	var missing []result
	for range asked {
		if r := <-results; r.err != nil {
			missing = append(missing, r)
		}
	}
	slices.SortFunc(missing, func(a, b result) int { return cmp.Compare(a.name, b.name) })
	errs := []error{errUncovered}
	for _, r := range missing {
		if failed != nil {
			failed[r.name] = r.err
		}
		if _, named := errors.AsType[*peer.RemoteError](r.err); !named {
			r.err = fmt.Errorf("%s: %w", r.name, r.err)
		}
		errs = append(errs, r.err)
	}
	if len(missing) >= w {
		return errors.Join(errs...)
	}
	return nil
}

// scan returns keys of the whole cluster from a cursor on, about limit of them,
// and the cursor for those behind them, 0 at the end.
func (n *Node) scan(ctx context.Context, w int, cursor uint64, limit int) (keys [][]byte, next uint64, err error) {
	limit = min(max(limit, 1), listMost)
	type share struct {
		keys []listed
		more bool
	}
	var mu sync.Mutex
	var shares []share
	err = n.everywhere(ctx, w, nil, func(ctx context.Context, m Member) error {
		ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
		defer cancel()
		keys, more, err := n.askList(ctx, m, cursor, limit)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			shares = append(shares, share{keys, more})
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	// What lies behind the last key of a node that has more is not known of it, so
	// this is where the answer ends.
	end := uint64(math.MaxUint64)
	var all []listed
	for _, s := range shares {
		all = append(all, s.keys...)
		if s.more {
			end = min(end, s.keys[len(s.keys)-1].hash)
		}
	}
	slices.SortFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), slices.Compare(a.key, b.key), -cmp.Compare(a.last, b.last))
	})
	all = slices.CompactFunc(all, func(a, b listed) bool { return slices.Equal(a.key, b.key) })
	for i, k := range all {
		if k.hash > end || len(keys) >= limit && k.hash != all[i-1].hash {
			end = all[i-1].hash
			break
		}
		if k.live {
			keys = append(keys, k.key)
		}
	}
	if end == math.MaxUint64 {
		return keys, 0, nil
	}
	return keys, end + 1, nil
}

// count returns how many keys this node has that it is to count: those of whose
// owners that can be reached it is the first. It looks at the keys whose hashes are at
// least from, for about as long as slice; more is true if there are others, whose
// hashes are at least next.
func (n *Node) count(p *placement, reachable []string, from uint64, slice time.Duration) (keys, next uint64, more bool, err error) {
	if n.filling.on.Load() {
		return 0, 0, false, errFilling
	}
	now, last := time.Now(), from
	for o, err := range n.store.from(from) {
		if err != nil {
			return 0, 0, false, err
		}
		if o.Hash != last && time.Since(now) > slice {
			return keys, o.Hash, true, nil
		}
		last = o.Hash
		if _, live := o.Object.Latest(now); !live {
			continue
		}
		for _, owner := range p.owners(o.Key) {
			if slices.Contains(reachable, owner) {
				if owner == n.config.Name {
					keys++
				}
				break
			}
		}
	}
	return keys, 0, false, nil
}

func (n *Node) handleCount(b []byte) ([]byte, error) {
	d := decoder{b: b}
	from := d.uint64()
	var reachable []string
	for d.more() {
		reachable = append(reachable, string(d.bytes()))
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	keys, next, more, err := n.count(n.roster.placement(), reachable, from, n.config.Timeout/4)
	var e encoder
	e.uvarint(keys)
	e.uint64(next)
	e.byte(map[bool]byte{true: 1}[more])
	return e, err
}

// askCount asks a member to count some of its keys, as count does.
func (n *Node) askCount(ctx context.Context, m Member, p *placement, counting []string, from uint64) (keys, next uint64, more bool, err error) {
	if m.Name == n.config.Name {
		return n.count(p, counting, from, n.config.Timeout/4)
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
	defer cancel()
	var e encoder
	e.uint64(from)
	for _, name := range counting {
		e.bytes([]byte(name))
	}
	b, err := n.endpoint.Call(ctx, m.node(), methodCount, e)
	if err != nil {
		return 0, 0, false, err
	}
	d := decoder{b: b}
	keys, next, more = d.uvarint(), d.uint64(), d.byte() == 1
	return keys, next, more, d.err()
}

// countAll returns how many keys the cluster has. Each is counted by the first of its
// owners that answers: when one has failed to, all others count again without it,
// so that no share is left out, until too many have failed. A write that an owner has
// not heard of yet is not in its count.
func (n *Node) countAll(ctx context.Context, w int) (int64, error) {
	failed := map[string]error{}
	for {
		p := n.roster.placement()
		counting := slices.DeleteFunc(n.gossip.reachable(), func(name string) bool { return failed[name] != nil })
		// Whoever is found alive only now is in nobody's list, and counts none.
		sum, err := n.countOnce(ctx, w, p, counting, failed)
		if err != nil || !slices.ContainsFunc(counting, func(name string) bool { return failed[name] != nil }) {
			return sum, err
		}
	}
}

// countOnce adds up what the counting nodes have. Those that fail are added to
// failed.
func (n *Node) countOnce(ctx context.Context, w int, p *placement, counting []string, failed map[string]error) (int64, error) {
	var sum atomic.Int64
	err := n.everywhere(ctx, w, failed, func(ctx context.Context, m Member) error {
		for from, more := uint64(0), true; more; {
			var keys uint64
			var err error
			if keys, from, more, err = n.askCount(ctx, m, p, counting, from); err != nil {
				return err
			}
			sum.Add(int64(keys))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return sum.Load(), err
}
