package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// replay fills the queue with what the log has. What does not fit is applied
// at once.
func (w *WriteBehind[K, V]) replay(ctx context.Context) error {
	for record, err := range w.log.Replay(ctx) {
		switch {
		case err != nil:
			return fmt.Errorf("cache: replay of the log: %w", err)
		case record.Seq <= w.last:
			return fmt.Errorf("cache: replay of the log: record %d comes after record %d", record.Seq, w.last)
		}
		for len(w.queue) >= w.opts.MaxPending {
			if err := w.apply(ctx, w.take()); err != nil {
				return err
			}
		}
		w.held++
		w.add(record.Mutation, record.Seq)
		w.stats.Replayed++
	}
	return nil
}

// write puts mutations into the open commit and sees to it that it is
// appended.
func (w *WriteBehind[K, V]) write(ctx context.Context, mutations ...Mutation[K, V]) error {
	n := len(mutations)
	if n == 0 {
		return nil
	}
	for i := range mutations {
		checkKey(mutations[i].Key)
	}
	w.mu.Lock()
	if err := w.reserve(ctx, n); err != nil {
		w.mu.Unlock()
		return err
	}
	c, first := w.open, w.open == nil
	if first {
		c = &commit[K, V]{done: make(chan struct{})}
		w.open = c
		w.commits++
	}
	c.mutations = append(c.mutations, mutations...)
	w.mu.Unlock()
	if first {
		w.commit(c)
	} else {
		<-c.done
	}
	return c.err
}

// reserve waits for room for n mutations and takes it. The caller holds mu.
func (w *WriteBehind[K, V]) reserve(ctx context.Context, n int) error {
	for {
		switch {
		case w.closed:
			return ErrClosed
		case n > w.opts.MaxPending:
			return fmt.Errorf("%w: %d at once, at most %d", ErrFull, n, w.opts.MaxPending)
		case w.held+n <= w.opts.MaxPending:
			w.held += n
			return nil
		case w.opts.FailWhenFull:
			return ErrFull
		}
		room := w.room
		w.waiting++
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		w.mu.Lock()
		w.waiting--
		if err := ctx.Err(); err != nil && w.held+n > w.opts.MaxPending {
			return err
		}
	}
}

// release gives room back. The caller holds mu.
func (w *WriteBehind[K, V]) release(n int) {
	w.held -= n
	if w.waiting > 0 && !w.closed {
		close(w.room)
		w.room = make(chan struct{})
	}
}

// errAppend is what the others of a commit get if Append panics.
var errAppend = errors.New("cache: Append panicked")

// commit appends c when the commit before is done, and makes it visible. The
// cache is changed only after the next commit may begin, since its callbacks
// may write; the order of changes to a key was fixed by begin before that.
func (w *WriteBehind[K, V]) commit(c *commit[K, V]) {
	c.err = errAppend
	defer close(c.done)
	w.settle(c, w.append(c), 0)
}

// settle makes the changes from i on that are not nil, also if a callback of
// the cache panics.
func (w *WriteBehind[K, V]) settle(c *commit[K, V], changes []*change[V], i int) {
	defer func() {
		if i < len(changes) {
			w.settle(c, changes, i+1)
		}
	}()
	for ; i < len(changes); i++ {
		if changes[i] != nil {
			w.fs.settle(c.mutations[i].Key, changes[i])
		}
	}
}

// append takes c to the log and into the queue. It returns the changes that
// the caller has to settle.
func (w *WriteBehind[K, V]) append(c *commit[K, V]) (mine []*change[V]) {
	w.committing <- struct{}{}
	w.mu.Lock()
	w.open = nil // from here on c is ours
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.commits--
		if c.err != nil {
			w.stats.Rejected += uint64(len(c.mutations))
			w.release(len(c.mutations))
		}
		w.signal()
		w.mu.Unlock()
		<-w.committing
	}()
	last, err := w.log.Append(w.ctx, c.mutations)
	if err != nil {
		c.err = fmt.Errorf("cache: append to the log: %w", err)
		return nil
	}
	c.err = nil
	w.mu.Lock()
	seq := last - uint64(len(c.mutations))
	for _, m := range c.mutations {
		seq++
		w.add(m, seq)
	}
	w.stats.Writes += uint64(len(c.mutations))
	w.stats.Appends++
	w.mu.Unlock()

	mine = make([]*change[V], len(c.mutations))
	w.fs.mu.Lock()
	defer w.fs.mu.Unlock()
	for i, m := range c.mutations {
		w.fs.drop(m.Key)
		if ch := changeOf(stored[V]{m.Value, m.Expires, !m.Delete}); w.fs.begin(m.Key, ch) {
			mine[i] = ch
		}
	}
	return mine
}

// add makes m the newest mutation of its key. The caller holds mu.
func (w *WriteBehind[K, V]) add(m Mutation[K, V], seq uint64) {
	w.last = seq
	if p := w.dirty[m.Key]; p != nil && !p.taken {
		p.Mutation = m
		w.stats.Coalesced++
		w.release(1)
		return
	}
	p := &pending[K, V]{Mutation: m, first: seq}
	if w.opts.Delay > 0 {
		p.since = time.Now()
	}
	w.dirty[m.Key] = p
	w.queue = append(w.queue, p)
}

// signal makes the worker look again. The caller holds mu.
func (w *WriteBehind[K, V]) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// work takes batches to the store until the WriteBehind is closed and empty,
// or Close has given up.
func (w *WriteBehind[K, V]) work() {
	defer close(w.done)
	for {
		w.mu.Lock()
		pause, finished := w.pause()
		var batch []*pending[K, V]
		if !finished && pause == 0 {
			batch = w.take()
		}
		w.mu.Unlock()
		switch {
		case finished:
			return
		case batch != nil:
			if w.apply(w.ctx, batch) != nil {
				return
			}
		case !w.sleep(w.ctx, pause, w.wake):
			return
		}
	}
}

// pause returns how long the worker has to wait for the next batch, negative
// for a signal, or that there will be none. The caller holds mu.
func (w *WriteBehind[K, V]) pause() (d time.Duration, finished bool) {
	switch {
	case len(w.queue) == 0:
		return -1, w.closed && w.commits == 0
	case w.opts.Delay == 0 || len(w.queue) >= w.opts.MaxBatch || w.queue[0].first <= w.urgent:
		return 0, false
	}
	return max(0, w.opts.Delay-time.Since(w.queue[0].since)), false
}

// sleep waits for d, or without end if d is negative, or for a signal. It
// reports false if ctx ended.
func (w *WriteBehind[K, V]) sleep(ctx context.Context, d time.Duration, signal <-chan struct{}) bool {
	var timeout <-chan time.Time
	if d >= 0 {
		timeout = time.After(d)
	}
	select {
	case <-timeout:
	case <-signal:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// take returns the head of the queue. The caller holds mu.
func (w *WriteBehind[K, V]) take() []*pending[K, V] {
	n := min(len(w.queue), w.opts.MaxBatch)
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	for _, p := range batch {
		p.taken = true
	}
	return batch
}

// apply brings a batch to the store, however often it takes, and moves the
// checkpoint. It fails only if ctx ends.
func (w *WriteBehind[K, V]) apply(ctx context.Context, batch []*pending[K, V]) error {
	mutations := make([]Mutation[K, V], len(batch))
	for n := 0; ; n++ {
		for i, p := range batch { // each time, since the store may sort them, or worse
			mutations[i] = p.Mutation
		}
		err := w.store.Apply(ctx, mutations)
		w.mu.Lock()
		w.err = err
		if err == nil {
			break
		}
		w.stats.Failures++
		held := w.held
		w.mu.Unlock()
		pause := backoff(w.opts.RetryMin, w.opts.RetryMax, n)
		w.opts.Logger.Warn("cache: the store does not take mutations", "error", err, "pending", held, "retry", pause)
		if !w.sleep(ctx, pause, nil) {
			return fmt.Errorf("cache: apply to the store: %w", err)
		}
	}
	w.stats.Applied += uint64(len(batch))
	w.stats.Batches++
	for _, p := range batch {
		if w.dirty[p.Key] == p {
			delete(w.dirty, p.Key)
		}
	}
	w.release(len(batch))
	// What is on its way from the log into the queue is above last.
	checkpoint := w.last
	if len(w.queue) > 0 {
		checkpoint = w.queue[0].first - 1
	}
	w.mu.Unlock()

	if err := w.log.Checkpoint(ctx, checkpoint); err != nil {
		// The log replays more than it has to, nothing else.
		w.opts.Logger.Warn("cache: the log does not take a checkpoint", "error", err, "seq", checkpoint)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = checkpoint
	close(w.moved)
	w.moved = make(chan struct{})
	return nil
}

// read gets key from the mutations that the store lacks, or from the store.
func (w *WriteBehind[K, V]) read(ctx context.Context, key K) (value V, ok bool, err error) {
	if s, found := w.lacking(key); found {
		value, ok = s.live()
		return value, ok, nil
	}
	if err := ctx.Err(); err != nil {
		return value, false, err
	}
	f, _, err := w.fs.start(ctx, key, 0, func(settled bool) (stored[V], error, bool) {
		if s, found := w.lacking(key); found {
			return s, nil, true
		}
		value, ok := w.fs.peek(key)
		return stored[V]{value: value, ok: ok}, nil, ok && settled
	}, func(ctx context.Context) (s stored[V], err error) {
		w.mu.Lock()
		w.stats.StoreReads++
		w.mu.Unlock()
		s.value, s.expires, s.ok, err = w.store.Get(ctx, key)
		return s, err
	})
	if err != nil {
		return value, false, err
	}
	s, err := w.fs.wait(ctx, key, f)
	if err != nil {
		return value, false, err
	}
	value, ok = s.live()
	return value, ok, nil
}

// lacking returns the mutation of key that the store lacks.
func (w *WriteBehind[K, V]) lacking(key K) (s stored[V], found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.dirty[key]
	if p == nil {
		return s, false
	}
	w.stats.PendingHits++
	return stored[V]{p.Value, p.Expires, !p.Delete}, true
}

// outcome is what a read of the store changes in the cache.
func (w *WriteBehind[K, V]) outcome(_ K, s stored[V], err error) *change[V] {
	if err != nil || !s.ok {
		return nil
	}
	return changeOf(s)
}

// changeOf makes a cache hold s.
func changeOf[V any](s stored[V]) *change[V] {
	if !s.ok {
		return &change[V]{}
	}
	ch := &change[V]{put: true, value: s.value}
	if !s.expires.IsZero() {
		if ch.ttl = time.Until(s.expires); ch.ttl <= 0 {
			return &change[V]{}
		}
	}
	return ch
}
