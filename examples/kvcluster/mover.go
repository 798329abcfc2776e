package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A batcher sends objects to members, many in a message.
type batcher struct {
	node  *Node
	ctx   context.Context
	place *placement
	to    map[string]*batch
	errs  []error
	sent  int
}

type batch struct {
	encoder
	objects int
}

// batchBytes is how much is sent at a time.
const batchBytes = 256 << 10

func (n *Node) newBatcher(ctx context.Context) *batcher {
	return &batcher{node: n, ctx: ctx, place: n.roster.placement(), to: map[string]*batch{}}
}

// add queues an object for a member and sends what has come together.
func (b *batcher) add(to string, key []byte, o replica.Object) {
	q := b.to[to]
	if q == nil {
		q = &batch{}
		b.to[to] = q
	}
	q.bytes(key)
	q.bytes(replica.AppendObject(nil, o))
	q.objects++
	if len(q.encoder) >= batchBytes {
		b.send(to, q)
	}
}

func (b *batcher) send(to string, q *batch) {
	body, objects := q.encoder, q.objects
	delete(b.to, to)
	if err := b.node.sendObjects(b.ctx, b.place, to, body); err != nil {
		b.errs = append(b.errs, fmt.Errorf("%s: %w", to, err))
		return
	}
	b.sent += objects
}

// flush sends the rest and returns what went wrong since the beginning.
func (b *batcher) flush() error {
	for to, q := range b.to {
		b.send(to, q)
	}
	return errors.Join(b.errs...)
}

func (n *Node) sendObjects(ctx context.Context, p *placement, to string, body []byte) error {
	if to == n.config.Name {
		_, err := n.handleObjects(ctx, body)
		return err
	}
	m, ok := p.members[to]
	if !ok || !n.gossip.isAlive(to) {
		return replica.ErrDown
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := n.endpoint.Call(ctx, m.node(), methodObjects, body)
	return err
}

// handleObjects merges objects that another node sends, some at a time, so that they
// share syncs. It succeeds when all are durable.
func (n *Node) handleObjects(ctx context.Context, b []byte) ([]byte, error) {
	type object struct {
		key []byte
		o   replica.Object
	}
	var list []object
	for d := (decoder{b: b}); len(d.b) > 0; {
		key, value := d.bytes(), d.bytes()
		if d.bad {
			return nil, errMessage
		}
		o, err := decodeObject(key, value)
		if err != nil {
			return nil, err
		}
		list = append(list, object{key, o})
	}
	const atOnce = 16
	errs := make([]error, atOnce)
	var workers sync.WaitGroup
	for w := range atOnce {
		workers.Go(func() {
			for i := w; i < len(list) && errs[w] == nil; i += atOnce {
				errs[w] = n.store.merge(ctx, list[i].key, list[i].o)
			}
		})
	}
	workers.Wait()
	n.counts.received.Add(uint64(len(list)))
	return nil, errors.Join(errs...)
}

// A mover sees to it that keys are where the ring says. When members join or leave,
// those that own a key now send it to those that will, and only then does
// the ring change:
//
//	roster says joining or leaving ─> writes go to the next owners too
//	    ─> each owner pushes what the next owners lack ─> roster says up or left
//
// Afterwards, nodes drop what they no longer own, once its owners have it.
type mover struct {
	node  *Node
	mu    sync.Mutex // one change at a time from this node
	woken chan struct{}
}

func newMover(n *Node) *mover { return &mover{node: n, woken: make(chan struct{}, 1)} }

// wake lets the worker look for keys that are not where they belong.
func (m *mover) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

// pushTime is how long a member pushes before it says where it has got to.
const pushTime = 2 * time.Second

// push sends objects with hashes from hash on that the next owners lack, and returns
// where to go on, or done. It refuses while this node knows another ring than the one
// that the asking node means.
func (m *mover) push(ctx context.Context, next uint64, hash uint64) (from uint64, done bool, err error) {
	n := m.node
	p := n.roster.placement()
	if p.next.Fingerprint() != next {
		return hash, false, errRing
	}
	began, b := time.Now(), n.newBatcher(ctx)
	last := hash
	for o, err := range n.store.from(hash) {
		if err != nil {
			return hash, false, errors.Join(err, b.flush())
		}
		if o.Hash != last && time.Since(began) > pushTime {
			n.counts.pushed.Add(uint64(b.sent))
			return o.Hash, false, b.flush()
		}
		last = o.Hash
		if !p.owns(n.config.Name, o.Key) {
			continue
		}
		for _, owner := range p.pending(o.Key) {
			b.add(owner, o.Key, o.Object)
		}
		if len(b.errs) > 0 {
			break
		}
	}
	err = b.flush()
	n.counts.pushed.Add(uint64(b.sent))
	return 0, err == nil, err
}

func (m *mover) handlePush(ctx context.Context, b []byte) ([]byte, error) {
	d := decoder{b: b}
	next, hash, dry := d.uint64(), d.uint64(), d.byte() == 1
	if err := d.err(); err != nil {
		return nil, err
	}
	var e encoder
	if dry {
		if m.node.roster.placement().next.Fingerprint() != next {
			return nil, errRing
		}
		return nil, nil
	}
	from, done, err := m.push(ctx, next, hash)
	if err != nil {
		return nil, err
	}
	e.uint64(from)
	e.byte(map[bool]byte{true: 1}[done])
	return e, nil
}

// askPush lets a member push, or with dry only asks whether it knows the ring.
func (m *mover) askPush(ctx context.Context, to Member, next, hash uint64, dry bool) (from uint64, done bool, err error) {
	var e encoder
	e.uint64(next)
	e.uint64(hash)
	e.byte(map[bool]byte{true: 1}[dry])
	var b []byte
	if to.Name == m.node.config.Name {
		b, err = m.handlePush(ctx, e)
	} else {
		patient, cancel := context.WithTimeout(ctx, 10*pushTime)
		defer cancel()
		b, err = m.node.endpoint.Call(patient, to.node(), methodPush, e)
	}
	if err != nil || dry {
		return hash, false, err
	}
	d := decoder{b: b}
	from, done = d.uint64(), d.byte() == 1
	return from, done, d.err()
}

// carryOut moves what a change of the roster moves, and returns when the next owners
// have everything that was acknowledged. As long as fewer owners are away than a
// write has copies, every write is with one that pushes.
func (m *mover) carryOut(ctx context.Context, except string) error {
	n := m.node
	p := n.roster.placement()
	next := p.next.Fingerprint()
	copies := n.config.Level.fit(min(n.config.N, p.ring.Len())).W
	var owners []Member
	away := 0
	for name := range p.ring.Nodes() {
		switch {
		case name == except || !n.gossip.isAlive(name):
			away++
		default:
			owners = append(owners, p.members[name])
		}
	}
	if away >= copies && p.ring.Len() > 0 {
		return fmt.Errorf("kvcluster: %d of %d owners are away, too many to move keys without losing writes: %w", away, p.ring.Len(), replica.ErrQuorum)
	}
	slices.SortFunc(owners, byName)
	for _, owner := range owners {
		if err := m.untilAgreed(ctx, owner, next); err != nil {
			return fmt.Errorf("kvcluster: %s: %w", owner.Name, err)
		}
	}
	// Operations that began before everybody knew may still write to the owners
	// alone; they end within the timeout.
	if p.ring.Len() > 1 {
		if err := sleep(ctx, n.config.Timeout); err != nil {
			return err
		}
	}
	for _, owner := range owners {
		for hash, done := uint64(0), false; !done; {
			var err error
			if hash, done, err = m.askPush(ctx, owner, next, hash, false); err != nil {
				return fmt.Errorf("kvcluster: %s pushes: %w", owner.Name, err)
			}
		}
	}
	return nil
}

// untilAgreed waits until a member knows the ring.
func (m *mover) untilAgreed(ctx context.Context, owner Member, next uint64) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, _, err := m.askPush(ctx, owner, next, 0, true)
		if err == nil || !isRing(err) || time.Now().After(deadline) {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// join makes this node an owner.
func (m *mover) join(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node.roster.own().Status != Joining {
		return nil
	}
	if err := m.carryOut(ctx, ""); err != nil {
		return err
	}
	return m.node.roster.set(m.node.config.Name, Up)
}

// leave makes a node give up what it owns: this one, or one that is gone for ever.
func (m *mover) leave(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node
	member, ok := n.roster.member(name)
	switch {
	case !ok || member.Status == Left:
		return fmt.Errorf("kvcluster: there is no node %q on the ring", name)
	case n.roster.placement().ring.Len() == 1:
		return fmt.Errorf("kvcluster: %s is the last node", name)
	}
	if err := n.roster.set(name, Leaving); err != nil {
		return err
	}
	n.tell(name)
	except := ""
	if name != n.config.Name {
		except = name
	}
	if err := m.carryOut(ctx, except); err != nil {
		if back := n.roster.set(name, Up); back != nil {
			err = errors.Join(err, back)
		}
		n.tell(name)
		return err
	}
	if err := n.roster.set(name, Left); err != nil {
		return err
	}
	n.tell(name)
	return nil
}

// tell spreads what this node knows of a member.
func (n *Node) tell(name string) {
	if m, ok := n.roster.member(name); ok {
		n.gossip.spread(m)
	}
}

// sweep sends objects that this node does not own to those that do, and then drops
// them. It also forgets deletes that are older than the grace. It does nothing while
// members come and go.
func (m *mover) sweep(ctx context.Context) error {
	n := m.node
	p := n.roster.placement()
	if p.moving() || p.ring.Len() == 0 || n.roster.own().Status == Joining {
		return nil
	}
	var strays []Stored
	var errs []error
	bytes, now := 0, time.Now()
	for o, err := range n.store.from(0) {
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if _, keep := o.Object.Collect(now, n.config.Grace); !keep {
			if err := n.store.collect(slices.Clone(o.Key), now); err != nil {
				return errors.Join(append(errs, err)...)
			}
			continue
		}
		if p.owns(n.config.Name, o.Key) {
			continue
		}
		strays = append(strays, o.clone())
		if bytes += len(o.Key) + size(o.Object); bytes < batchBytes {
			continue
		}
		if err := m.handAway(ctx, p, strays); err != nil && len(errs) < 8 {
			errs = append(errs, err)
		}
		if n.roster.placement() != p {
			return errors.Join(errs...)
		}
		strays, bytes = strays[:0], 0
	}
	return errors.Join(append(errs, m.handAway(ctx, p, strays))...)
}

// handAway sends objects to those who own them, and drops them once all owners have
// them.
func (m *mover) handAway(ctx context.Context, p *placement, strays []Stored) error {
	b := m.node.newBatcher(ctx)
	for _, o := range strays {
		for _, owner := range p.owners(o.Key) {
			b.add(owner, o.Key, o.Object)
		}
	}
	if err := b.flush(); err != nil || m.node.roster.placement() != p {
		return err
	}
	var errs []error
	for _, o := range strays {
		errs = append(errs, m.node.store.drop(o.Key, o.Object))
	}
	return errors.Join(errs...)
}

// run looks after keys that are not where they belong until the node stops.
func (m *mover) run() {
	n := m.node
	tick := time.NewTicker(n.config.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-m.woken:
			if sleep(n.ctx, 200*time.Millisecond) != nil { // more news may come
				return
			}
		case <-n.ctx.Done():
			return
		}
		if n.wait(n.ctx) != nil {
			return
		}
		if n.roster.own().Status == Joining {
			if err := m.join(n.ctx); err != nil {
				n.log.Info("cannot join yet", "error", err)
				m.wake()
			}
		}
		if err := m.sweep(n.ctx); err != nil {
			n.log.Debug("some keys stay where they do not belong", "error", err)
		}
	}
}

func isRing(err error) bool {
	if errors.Is(err, errRing) {
		return true
	}
	remote, ok := errors.AsType[*peer.RemoteError](err)
	return ok && remote.Code == byte(codeRing)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
