package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/cespare/xxhash/v2"
)

var (
	// ErrClosed says that Hints have been closed.
	ErrClosed = errors.New("replica: hints are closed")
	// ErrHintsFull says that a node has as many hints as it may have.
	ErrHintsFull = errors.New("replica: too many hints")
)

// HintsOptions are the settings of Hints. Nil and zero fields mean the
// defaults.
//
// HintsOptions are safe for concurrent use as long as nobody changes them.
type HintsOptions struct {
	// Policy must be that of the replicas.
	Policy Policy
	// MaxAge is how long a hint is kept: 0 stands for 3 hours. It has to be
	// less than the grace of deletes.
	MaxAge time.Duration
	// MaxBytes is what the hints of one node may take on disk: 0 stands for 256
	// MiB. What does not fit is left to anti-entropy.
	MaxBytes int64
	// Parallel is how many hints are handed to a node at a time: 0 stands for
	// 8.
	Parallel int
	// Retry is how long to wait after a hint could not be delivered; the wait
	// doubles each time, up to a minute. 0 stands for a second.
	Retry time.Duration
	// Sync is when a hint is safe: by default once it is synced.
	Sync commitlog.SyncPolicy
	// Now is the clock for ages; the default is time.Now.
	Now func() time.Time
	// Logger hears of hints that are given up; nil discards.
	Logger *slog.Logger
	// FS replaces the directory in tests of this module.
	FS vfs.FS
}

// A Hint is what a node ought to have stored.
//
// A Hint that is not changed is safe for concurrent use by multiple goroutines.
type Hint struct {
	Node   string
	Key    []byte
	Object Object
}

// HintStats are counts of Hints since they were opened, and how many wait.
//
// HintStats are a value and safe for concurrent use.
type HintStats struct {
	Waiting   int    // keys that wait, now
	Added     uint64 // kept
	Merged    uint64 // of Added, how many took the place of one for the same key
	Delivered uint64
	Expired   uint64 // given up for their age
	Refused   uint64 // not kept: too many
	Failed    uint64 // deliveries that failed and will be tried again
}

// Hints keep what nodes have missed, on disk, until they are back: for each
// node a queue in a commitlog of its own.
//
//	Add ──► node B  [ … k1 k7 k1' │ k9 ] ──► Run ──► deliver, in order, at least once
//	        node C  [ k3 ]          ▲
//	                                └ k1' is k1 and what came to it, so k1 is skipped
//
// What Add has returned for is there after a crash. A hint can be delivered
// more than once, which does no harm, as merging is idempotent. Make them with
// OpenHints.
//
// Hints are safe for concurrent use by multiple goroutines.
type Hints struct {
	opts    HintsOptions
	dir     vfs.FS
	owns    bool
	stripes [64]sync.Mutex // by node and key: one Add at a time; before mu and a queue's
	poke    chan struct{}  // there is something to deliver

	mu     sync.Mutex // before a queue's
	queues map[string]*queue
	closed bool

	added, merged, delivered, expired, refused, failed atomic.Uint64
}

// A queue is what one node has missed.
type queue struct {
	node string
	dir  vfs.FS
	log  *commitlog.Log
	wake chan struct{} // the node may be back

	mu     sync.Mutex
	last   map[string]int64 // the offset of the hint for each key that waits
	stale  int              // records since the last compaction that another has taken the place of
	taken  bool             // a goroutine of Run is at it
	closed bool
}

// OpenHints opens the hints in a directory, which is created if it is missing.
// It reads all that wait. Errors are those of commitlog.Open, with the node's
// name; a log that is damaged is at the node's name in the directory, for
// commitlog.Repair.
func OpenHints(dir string, opts *HintsOptions) (*Hints, error) {
	var o HintsOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 3 * time.Hour
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 256 << 20
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Retry <= 0 {
		o.Retry = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hints{opts: o, dir: o.FS, queues: map[string]*queue{}, poke: make(chan struct{}, 1)}
	if h.dir == nil {
		fs, err := vfs.Dir(dir)
		if err != nil {
			return nil, fmt.Errorf("replica: hints: %w", err)
		}
		h.dir, h.owns = fs, true
	}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// load opens the queues that there are, and removes those in which nothing
// waits.
func (h *Hints) load() error {
	names, err := h.dir.Subs()
	if err != nil {
		return fmt.Errorf("replica: hints: %w", err)
	}
	for _, name := range names {
		node, ok := nodeOf(name)
		if !ok {
			continue // not of ours
		}
		q, err := h.open(node)
		if err != nil {
			return err
		}
		h.queues[node] = q
		if len(q.last) == 0 {
			if err := h.drop(node); err != nil {
				return err
			}
		}
	}
	return nil
}

// The directory of a node is its name, escaped, behind a prefix, so that no
// name is special.
const prefix = "for-"

func directory(node string) string { return prefix + url.PathEscape(node) }

func nodeOf(directory string) (string, bool) {
	rest, ok := strings.CutPrefix(directory, prefix)
	node, err := url.PathUnescape(rest)
	return node, ok && err == nil
}

// open opens the queue of a node.
func (h *Hints) open(node string) (*queue, error) {
	dir, err := h.dir.Sub(directory(node))
	if err != nil {
		return nil, fmt.Errorf("replica: hints for %s: %w", node, err)
	}
	log, err := commitlog.Open("", &commitlog.Options{
		FS: dir, MaxBatchBytes: int(min(max(h.opts.MaxBytes, 4<<20), 1<<30)), SegmentBytes: min(4<<20, max(h.opts.MaxBytes/8, 8<<10)), Sync: h.opts.Sync, Now: h.opts.Now, Logger: h.opts.Logger,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replica: hints for %s: %w", node, err), dir.Close())
	}
	q := &queue{node: node, dir: dir, log: log, wake: make(chan struct{}, 1), last: map[string]int64{}}
	for r, err := range log.Records(log.Start()) {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("replica: hints for %s: %w", node, err), q.close())
		}
		if _, again := q.last[string(r.Key)]; again {
			q.stale++
		}
		q.last[string(r.Key)] = r.Offset
	}
	return q, nil
}

func (q *queue) close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	return errors.Join(q.log.Close(), q.dir.Close())
}

// drop closes the queue of a node and removes its directory.
func (h *Hints) drop(node string) error {
	err := h.queues[node].close()
	delete(h.queues, node)
	return errors.Join(err, h.dir.RemoveAll(directory(node)))
}

// queue returns the queue of a node; if there is none, it makes one or returns
// nil.
func (h *Hints) queue(node string, create bool) (*queue, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	q := h.queues[node]
	if q == nil && create {
		var err error
		if q, err = h.open(node); err != nil {
			return nil, err
		}
		h.queues[node] = q
	}
	return q, nil
}

// lock keeps others from adding to a key of a node.
func (h *Hints) lock(node string, key []byte) *sync.Mutex {
	mu := &h.stripes[(xxhash.Sum64(key)^xxhash.Sum64String(node))%uint64(len(h.stripes))]
	mu.Lock()
	return mu
}

// Add keeps an object for a node that did not get it, and returns when the hint
// is as safe as Options.Sync says. What waits for the same key is merged with
// it. The errors are ErrHintsFull, ErrClosed and those of commitlog.Log.Append.
func (h *Hints) Add(ctx context.Context, node string, key []byte, o Object) error {
	q, err := h.queue(node, true)
	if err != nil {
		return err
	}
	defer h.lock(node, key).Unlock()
	now := h.opts.Now()
	before, since, waits := h.waiting(q, key)
	if waits && now.Sub(since) <= h.opts.MaxAge {
		o = h.opts.Policy.Merge(before, o)
		now = since // a hint that others are added to does not live longer
		if o.Equal(before) {
			return nil
		}
	}
	o.Promised = Dot{}
	record := commitlog.Record{Timestamp: now, Key: key, Value: AppendObject(nil, o)}
	if err := h.fits(ctx, q, len(key)+len(record.Value)); err != nil {
		h.refused.Add(1)
		return err
	}
	offset, err := q.log.Append(ctx, record)
	if err != nil {
		return fmt.Errorf("replica: hint for %s: %w", node, err)
	}
	h.added.Add(1)
	q.mu.Lock()
	if _, again := q.last[string(key)]; again {
		q.stale++
		h.merged.Add(1)
	}
	q.last[string(key)] = offset
	q.mu.Unlock()
	signal(h.poke)
	return nil
}

// signal leaves a message in a channel of one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fits says whether the queue has room for so many bytes more, for which it
// gives up records that others have taken the place of.
func (h *Hints) fits(ctx context.Context, q *queue, size int) error {
	full := func() bool { return q.log.Stats().Size+int64(size) > h.opts.MaxBytes }
	if !full() {
		return nil
	}
	q.mu.Lock()
	worth := q.stale > len(q.last)
	if worth {
		q.stale = 0
	}
	q.mu.Unlock()
	if worth {
		if err := q.log.Compact(ctx); err != nil {
			return fmt.Errorf("replica: hints for %s: %w", q.node, err)
		}
	}
	if full() {
		return fmt.Errorf("%w for %s: %d bytes", ErrHintsFull, q.node, q.log.Stats().Size)
	}
	return nil
}

// waiting returns the hint for a key, and since when it is there.
func (h *Hints) waiting(q *queue, key []byte) (o Object, since time.Time, ok bool) {
	offset, ok := q.offset(key)
	if !ok {
		return Object{}, time.Time{}, false
	}
	for r, err := range q.log.Records(offset) {
		if err != nil || r.Offset != offset {
			break // it was delivered meanwhile
		}
		o, _, err = DecodeObject(r.Value)
		return o, r.Timestamp, err == nil
	}
	return Object{}, time.Time{}, false
}

// Get returns what waits for a node under a key, for reads in which this node
// stands in for it.
func (h *Hints) Get(node string, key []byte) (Object, bool) {
	q, err := h.queue(node, false)
	if q == nil || err != nil {
		return Object{}, false
	}
	o, since, ok := h.waiting(q, key)
	if !ok || h.opts.Now().Sub(since) > h.opts.MaxAge {
		return Object{}, false
	}
	return o, true
}

// Serve returns the answer to a request with For: a Store is added, a Fetch
// answered with what waits.
func (h *Hints) Serve(ctx context.Context, q Request) Reply {
	switch q.Kind {
	case Store:
		return q.Reply(Object{}, h.Add(ctx, q.For, q.Key, q.Object))
	case Fetch:
		o, _ := h.Get(q.For, q.Key)
		return q.Reply(o, nil)
	}
	return q.Reply(Object{}, ErrRefused)
}

// Forget gives up all hints for a node that will not be back.
func (h *Hints) Forget(node string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if h.queues[node] == nil {
		return nil
	}
	return h.drop(node)
}

// Waiting returns for how many keys each node has hints; nodes without are left
// out.
func (h *Hints) Waiting() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := map[string]int{}
	for node, q := range h.queues {
		q.mu.Lock()
		if len(q.last) > 0 {
			waiting[node] = len(q.last)
		}
		q.mu.Unlock()
	}
	return waiting
}

// Stats returns the counts.
func (h *Hints) Stats() HintStats {
	s := HintStats{
		Added: h.added.Load(), Merged: h.merged.Load(), Delivered: h.delivered.Load(),
		Expired: h.expired.Load(), Refused: h.refused.Load(), Failed: h.failed.Load(),
	}
	for _, n := range h.Waiting() {
		s.Waiting += n
	}
	return s
}

// Close closes the logs. A Run that is under way has to be ended first. What
// waits is there when the hints are opened again. Closing twice is no error.
func (h *Hints) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	var errs []error
	for q := range maps.Values(h.queues) {
		errs = append(errs, q.close())
	}
	if h.owns {
		errs = append(errs, h.dir.Close())
	}
	return errors.Join(errs...)
}
