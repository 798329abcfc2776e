package replica

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
)

// Deliver hands a hint to its node, and returns nil when the node has stored
// it.
type Deliver func(ctx context.Context, h Hint) error

// Run hands hints to their nodes until ctx ends, and returns its error once all
// deliveries have. It has a goroutine for each node with hints, which tries the
// first one; if that fails, it waits as Options.Retry says, or until Wake.
// deliver is called by several goroutines, Options.Parallel of them for one
// node. Only one Run may be under way.
func (h *Hints) Run(ctx context.Context, deliver Deliver) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		for _, q := range h.idle() {
			workers.Go(func() { h.work(ctx, q, deliver) })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.poke:
		}
	}
}

// Wake has Run try a node again without waiting: it seems to be back.
func (h *Hints) Wake(node string) {
	if q, _ := h.queue(node, false); q != nil {
		signal(q.wake)
	}
}

// idle returns the queues in which something waits and that nobody is at, and
// takes them.
func (h *Hints) idle() (free []*queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.queues {
		q.mu.Lock()
		if !q.taken && !q.closed && len(q.last) > 0 {
			q.taken = true
			free = append(free, q)
		}
		q.mu.Unlock()
	}
	return free
}

// work empties a queue.
func (h *Hints) work(ctx context.Context, q *queue, deliver Deliver) {
	wait := h.opts.Retry
	for {
		progress, err := h.round(ctx, q, deliver)
		if progress {
			wait = h.opts.Retry
		}
		if err == nil && q.release() {
			return
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, commitlog.ErrClosed) {
				q.give()
				return
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-q.wake:
				wait = h.opts.Retry
			case <-timer.C:
				wait = min(2*wait, time.Minute)
			}
			timer.Stop()
		}
		if ctx.Err() != nil {
			q.give()
			return
		}
	}
}

// give lets another goroutine take the queue.
func (q *queue) give() {
	q.mu.Lock()
	q.taken = false
	q.mu.Unlock()
}

// release gives the queue up if nothing waits, and says whether it did.
func (q *queue) release() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.last) == 0 || q.closed {
		q.taken = false
		return true
	}
	return false
}

// roundSize is how many records a round hands over before it lets go of what
// they take on disk.
const roundSize = 256

// A task is a record to be handed over.
type task struct {
	hint   Hint
	offset int64
}

// round hands over the first records that wait and removes them. The error is
// that of the first delivery that failed, or of the log.
func (h *Hints) round(ctx context.Context, q *queue, deliver Deliver) (progress bool, err error) {
	tasks, next, err := h.collect(q)
	if err != nil {
		return false, err
	}
	if len(tasks) == 0 {
		q.forgetBefore(next)
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		first error
		work  = make(chan task)
	)
	for range min(h.opts.Parallel, len(tasks)) {
		wg.Go(func() {
			for t := range work {
				err := deliver(ctx, t.hint)
				mu.Lock()
				if err != nil {
					h.failed.Add(1)
					if first == nil {
						first = err
					}
					next = min(next, t.offset)
				} else {
					progress = true
					h.delivered.Add(1)
				}
				mu.Unlock()
				if err == nil {
					q.done(t.hint.Key, t.offset)
				}
			}
		})
	}
	for _, t := range tasks {
		mu.Lock()
		failing := first != nil
		if failing {
			next = min(next, t.offset)
		}
		mu.Unlock()
		if failing {
			break
		}
		work <- t
	}
	close(work)
	wg.Wait()
	if err := q.log.DeleteBefore(next); err != nil && first == nil {
		first = err
	}
	return progress, first
}

// collect returns the next records that wait, and the offset behind those it
// has looked at. What is too old or cannot be read waits no longer.
func (h *Hints) collect(q *queue) (tasks []task, next int64, err error) {
	next = q.log.Start()
	for r, err := range q.log.Records(next) {
		if err != nil {
			return nil, next, err
		}
		if len(tasks) == roundSize {
			break
		}
		next = r.Offset + 1
		if !h.waits(q, r.Key, r.Offset) {
			continue
		}
		o, _, err := DecodeObject(r.Value)
		if age := h.opts.Now().Sub(r.Timestamp); err == nil && age > h.opts.MaxAge {
			h.expired.Add(1)
			q.done(r.Key, r.Offset)
			continue
		}
		if err != nil {
			h.opts.Logger.Error("replica: a hint that cannot be read is given up", "node", q.node, "offset", r.Offset, "error", err)
			q.done(r.Key, r.Offset)
			continue
		}
		tasks = append(tasks, task{Hint{q.node, r.Key, o}, r.Offset})
	}
	return tasks, next, nil
}

// waits says whether the record at an offset is the one that waits for the key.
// If the queue has not heard of it, either it was delivered before one that
// failed, or an Add is about to tell.
func (h *Hints) waits(q *queue, key []byte, offset int64) bool {
	at, ok := q.offset(key)
	if !ok || at < offset {
		h.lock(q.node, key).Unlock()
		at, ok = q.offset(key)
	}
	return ok && at == offset
}

// offset returns where the hint for a key is.
func (q *queue) offset(key []byte) (int64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, ok := q.last[string(key)]
	return at, ok
}

// done says that the record at an offset waits no longer.
func (q *queue) done(key []byte, offset int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.last[string(key)] == offset {
		delete(q.last, string(key))
	}
}

// forgetBefore gives up what is said to wait where no record does any more.
func (q *queue) forgetBefore(offset int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.last, func(_ string, at int64) bool { return at < offset })
}
