package occ

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
)

// A Change is what one commit did to one key.
type Change[K comparable, V any] struct {
	Key    K
	Value  V    // zero for a deletion
	Delete bool // the key was removed
}

// A Commit is what one transaction wrote.
type Commit[K comparable, V any] struct {
	Version uint64 // ascending from commit to commit, with gaps
	Changes []Change[K, V]
}

// A Log keeps the commits of one [Store], or of one [Holds]. A commit is visible
// and acknowledged only after Append has returned nil, so it survives what
// the log survives.
//
// Append is never called concurrently. Commits of a Store that come in while one
// Append runs go into the next together, so a log that syncs once per Append has
// group commit; changes of a Holds go one by one.
type Log[K comparable, V any] interface {
	// Append adds commits in order, all or none: when it returns nil, a later
	// Replay yields them; when it fails, Replay yields none of them, or the
	// log fails every later Append. A log that cannot tell what has reached
	// it must therefore go on failing. It must not keep the slices.
	Append(ctx context.Context, commits []Commit[K, V]) error

	// Replay yields what was appended, in order. Of the changes of a key it
	// may leave out those that a later commit has replaced. An error is
	// yielded once and last.
	Replay(ctx context.Context) iter.Seq2[Commit[K, V], error]
}

// Open returns a store with what the log replays, that appends to the log.
// The log must not be used by anybody else. Open returns the error of
// Replay, and one if a version is not above the one before, or a key is not equal to itself.
// It panics where [New] does, and if log is nil.
func Open[K cmp.Ordered, V any](ctx context.Context, log Log[K, V], opts *Options) (*Store[K, V], error) {
	return OpenFunc(ctx, log, cmp.Compare[K], opts)
}

// OpenFunc is [Open] for keys with an order of their own, see [NewFunc].
func OpenFunc[K comparable, V any](ctx context.Context, log Log[K, V], compare func(a, b K) int, opts *Options) (*Store[K, V], error) {
	if log == nil {
		panic("occ: nil log")
	}
	s := NewFunc[K, V](compare, opts)
	last := uint64(0)
	for c, err := range log.Replay(ctx) {
		if err != nil {
			return nil, fmt.Errorf("occ: replay: %w", err)
		}
		if c.Version <= last {
			return nil, fmt.Errorf("occ: replay: version %d after %d", c.Version, last)
		}
		last = c.Version
		for _, change := range c.Changes {
			if change.Key != change.Key {
				return nil, fmt.Errorf("occ: replay: version %d: a key that is not equal to itself", c.Version)
			}
			s.restore(c.Version, change)
		}
	}
	for r := range s.index.tree.Clone().Ascend {
		s.discardDead(r)
	}
	s.snapshots.clock.Store(last)
	s.queue.last = last
	s.log = log
	return s, nil
}

func (s *Store[K, V]) restore(ver uint64, c Change[K, V]) {
	r, _ := s.index.getOrAdd(c.Key, 0)
	if r.head.Load().alive() != nil {
		s.live.Add(-1)
	}
	if !c.Delete {
		s.live.Add(1)
	}
	r.head.Store(&version[V]{ver: ver, depth: 1, limit: thinThreshold, value: c.Value, gone: c.Delete})
}

// A queue brings commits to the log, in the order of their versions. Who
// finds nobody appending appends, for all who have come meanwhile, and hands
// over to the first of the next batch.
//
//	commit: lock ─► version, validate, join ─► Append ─► install, clock ─► release, return
//	                └───── under mu ──────┘    └─── by one, for its batch ──┘
//
// Until it is installed, what a commit writes is locked as installing, which
// fails the validation of others; the clock is behind its version, so no
// snapshot includes it.
type queue[K comparable, V any] struct {
	mu        sync.Mutex
	last      uint64 // version taken
	appending bool
	batch     []*pending[K, V]
}

type pending[K comparable, V any] struct {
	t      *txn[K, V]
	commit Commit[K, V]
	err    error
	next   chan turn
}

// A turn is what one who waits in the queue is told.
type turn uint8

const (
	over turn = iota // it has been appended and installed, or has failed
	lead             // append your batch
)

// commitLogged is commit for a store with a log.
func (t *txn[K, V]) commitLogged() bool {
	if !t.lockSlow() {
		return false
	}
	t.evaluate()
	p := &pending[K, V]{t: t, next: make(chan turn, 1)}
	for _, i := range t.writes {
		e := &t.entries[i]
		if e.kind == remove && e.rec.head.Load().alive() == nil {
			continue
		}
		change := Change[K, V]{Key: e.key, Delete: e.kind == remove}
		if !change.Delete {
			change.Value = e.value
		}
		p.commit.Changes = append(p.commit.Changes, change)
	}
	q := &t.s.queue
	lead, ok := q.join(p)
	if !ok {
		return false
	}
	t.s.deliver(p, lead)
	if p.err != nil {
		t.wv = 0
		t.err = fmt.Errorf("occ: log: %w", p.err)
		return false
	}
	return true
}

// join gives the commit its version, validates it, and puts it into the batch.
// Lead is true if the caller has to append it.
func (q *queue[K, V]) join(p *pending[K, V]) (lead, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	t := p.t
	t.wv, p.commit.Version = q.last, q.last
	t.markInstalling()
	if !t.validate(true) {
		t.wv = 0
		return false, false
	}
	q.batch = append(q.batch, p)
	lead = !q.appending
	q.appending = true
	return lead, true
}

// deliver returns when p has been appended and installed, or has failed.
func (s *Store[K, V]) deliver(p *pending[K, V], leads bool) {
	if !leads && <-p.next == over {
		return
	}
	q := &s.queue
	q.mu.Lock()
	batch := q.batch
	q.batch = nil
	q.mu.Unlock()

	err := fmt.Errorf("occ: Append has panicked")
	defer func() {
		for _, other := range batch {
			other.err = err
			if err == nil {
				other.t.installAll()
			}
		}
		if err == nil {
			s.snapshots.clock.Store(batch[len(batch)-1].commit.Version)
		}
		for _, other := range batch {
			if other != p {
				other.next <- over
			}
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if len(q.batch) > 0 {
			q.batch[0].next <- lead
		} else {
			q.appending = false
		}
	}()
	var commits []Commit[K, V]
	for _, p := range batch {
		if len(p.commit.Changes) > 0 {
			commits = append(commits, p.commit)
		}
	}
	if len(commits) == 0 {
		err = nil
		return
	}
	err = s.log.Append(context.WithoutCancel(p.t.ctx), commits)
}
