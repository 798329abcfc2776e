// Package agent runs beside the programs that log: it tails their files, keeps
// what it reads in a queue on disk, and ships the queue to the store.
//
//	files ──► tail ──► queue (commitlog, synced) ──► shipper ──► store
//	           ▲         │ a packet, and the position in its file
//	           └─────────┘ full: ErrFull, tail reads no more and goes on looking
//
// # Guarantees
//
//  1. A line is read from its file at most once into the queue, and at least
//     once: the position travels in the record that the lines are in, so after
//     a crash the queue itself says how far the files were read.
//  2. A packet is removed from the queue when the store has acknowledged it. Its
//     offset in the queue is its sequence number, by which the store knows what
//     it has already, so that a lost answer makes no duplicate.
//  3. The queue is bounded. While it is full nothing is read; rotated files are
//     held open, see package tail.
package agent

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
	"github.com/ashlar-go/ashlar/examples/logging/store"
	"github.com/ashlar-go/ashlar/examples/logging/tail"
)

// ErrRejected is wrapped by errors of a Shipper for packets that will never be
// taken.
var ErrRejected = errors.New("agent: the store rejects this")

// A Shipper brings packets to the store. It returns nil once they are stored.
// After an error that wraps [ErrRejected] the packets are sent one by one, and
// dropped where that fails so too; after others the same packets come again.
type Shipper interface {
	Ship(ctx context.Context, source string, packets []store.Numbered) error
}

// Options are the settings of an Agent; zero fields mean the default.
type Options struct {
	Name       string                         // of this agent; required
	Dir        string                         // for the queue and the state; required
	Shipper    Shipper                        // required
	Labels     entry.Labels                   // of all its streams
	FileLabels func(path string) entry.Labels // of a file's stream; default app, the name without endings, and file, the path
	Tail       tail.Options                   // Patterns is required
	QueueBytes int64                          // on disk; default 64 MiB
	Linger     time.Duration                  // how long a packet waits for others, to be shipped with them; default 100 ms
	Save       time.Duration                  // how often the state is saved; default 1 s
	Now        func() time.Time
	Logger     *slog.Logger
}

// An Agent tails files and ships them. Create one with [Start]. An Agent is
// safe for concurrent use by multiple goroutines.
type Agent struct {
	options Options
	source  string
	queue   *commitlog.Log
	tail    *tail.Tailer
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	killed  atomic.Bool
	once    sync.Once
	closed  error

	acked    atomic.Int64 // offset in the queue up to which the store has everything
	mu       sync.Mutex
	stats    Stats
	saved    string
	appended int64 // offset in the queue behind the last packet
	covered  int64 // offset below which the tailer knows that the queue has it
}

// Stats are counts of an Agent.
type Stats struct {
	Tail     tail.Stats
	Queued   int64  // packets in the queue that are not acknowledged
	Bytes    int64  // of the queue on disk
	Limit    int64  // of these
	Shipped  uint64 // packets
	Failed   uint64 // attempts that failed and were repeated
	Rejected uint64 // packets that the store did not want and that are gone
	Err      string // of the last attempt, empty if it went well
}

// state is what an agent keeps in its directory.
type state struct {
	Epoch    string // tells this queue from earlier ones of the same name
	Tail     tail.State
	QueueEnd int64 // positions in records below are in Tail
	Acked    int64
}

const positionHeader = "position"

// Start starts an agent, which goes on where the one before in that directory
// was.
func Start(ctx context.Context, o Options) (*Agent, error) {
	if o.Name == "" || o.Dir == "" || o.Shipper == nil {
		return nil, errors.New("agent: it needs a name, a directory and a shipper")
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 64 << 20
	}
	if o.Linger <= 0 {
		o.Linger = 100 * time.Millisecond
	}
	if o.Save <= 0 {
		o.Save = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FileLabels == nil {
		o.FileLabels = fileLabels
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	queue, err := commitlog.Open(filepath.Join(o.Dir, "queue"), &commitlog.Options{
		SegmentBytes: min(max(o.QueueBytes/8, 64<<10), 4<<20), MaxBatchBytes: 4 << 20, // segments come and go all the time, of which nobody needs to hear
	})
	if err != nil {
		return nil, fmt.Errorf("agent: queue: %w", err)
	}
	a := &Agent{options: o, queue: queue}
	st, err := a.load()
	if err == nil {
		o.Tail.Logger = o.Logger
		a.tail, err = tail.New(a, st, o.Tail)
	}
	if err != nil {
		return nil, errors.Join(err, queue.Close())
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.tasks.Go(func() { _ = a.tail.Run(ctx) }) // it returns nil
	a.tasks.Go(func() { a.ship(ctx) })
	a.tasks.Go(func() { a.saveAll(ctx) })
	return a, nil
}

// fileLabels are those of a file if nothing else was asked for.
func fileLabels(path string) entry.Labels {
	app, _, _ := strings.Cut(filepath.Base(path), ".")
	return entry.MakeLabels("app", app, "file", path)
}

// load reads the state and brings it up to what the queue has. It returns nil
// for the tailer at the first start.
func (a *Agent) load() (*tail.State, error) {
	var st state
	data, err := os.ReadFile(a.path())
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &st); err != nil {
			return nil, fmt.Errorf("agent: %s: %w", a.path(), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	fresh := st.Epoch == ""
	if fresh || st.QueueEnd > a.queue.End() || st.Acked > a.queue.End() {
		// Sequence numbers begin again, so the store must know that they are
		// others.
		st.Epoch, st.QueueEnd, st.Acked = cryptorand.Text()[:10], a.queue.Start(), a.queue.Start()
	}
	if fresh && st.Tail.Since.IsZero() {
		st.Tail.Since = a.options.Now()
	}
	for r, err := range a.queue.Records(max(st.QueueEnd, a.queue.Start())) {
		if err != nil {
			return nil, fmt.Errorf("agent: queue: %w", err)
		}
		for _, h := range r.Headers {
			var p tail.Position
			if h.Key == positionHeader && json.Unmarshal(h.Value, &p) == nil {
				st.Tail.Apply(p)
				fresh = false
			}
		}
	}
	a.source = a.options.Name + "/" + st.Epoch
	a.acked.Store(max(st.Acked, a.queue.Start()))
	a.appended, a.covered = a.queue.End(), a.queue.End()
	if fresh {
		// Whatever happens next, the epoch must stay that of this queue.
		first := st
		first.Tail = tail.State{Since: st.Tail.Since}
		if err := a.write(first); err != nil {
			return nil, err
		}
		return nil, nil
	}
	return &st.Tail, nil
}

func (a *Agent) path() string { return filepath.Join(a.options.Dir, "state.json") }

// Put implements [tail.Sink].
func (a *Agent) Put(ctx context.Context, b tail.Batch) error {
	a.mu.Lock()
	a.covered = a.appended // it has noted what Put has returned nil for
	a.mu.Unlock()
	if a.queue.Stats().Size >= a.options.QueueBytes {
		return tail.ErrFull
	}
	now := a.options.Now()
	p := entry.Packet{Labels: entry.Normalize(append(a.options.FileLabels(b.Path), a.options.Labels...)), Entries: make([]entry.Entry, 0, len(b.Events))}
	for _, e := range b.Events {
		// A file that was truncated under a program that does not append has a
		// hole up to where the program goes on.
		text := bytes.TrimLeft(e.Text, "\x00")
		if len(text) == 0 && len(e.Text) > 0 {
			continue
		}
		line := parse.Clean(text)
		x := entry.Entry{Time: parse.When(line, now), Level: parse.Level(line), Line: line}
		if e.Partial {
			x.Fields = []entry.Field{{Name: "partial", Value: "true"}}
		}
		p.Entries = append(p.Entries, x)
	}
	p.Clip()
	position, err := json.Marshal(b.After)
	if err != nil {
		return err
	}
	// An append that was begun is waited for: whether it is in the queue must
	// be known.
	first, err := a.queue.Append(context.WithoutCancel(ctx), commitlog.Record{
		Value: entry.Append(nil, p), Headers: []commitlog.Header{{Key: positionHeader, Value: position}},
	})
	if errors.Is(err, commitlog.ErrFull) {
		return tail.ErrFull
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.appended = first + 1
	a.mu.Unlock()
	return nil
}

const (
	shipBytes   = 1 << 20
	shipPackets = 256
	retryMin    = 100 * time.Millisecond
	retryMax    = 5 * time.Second
)

// ship brings the queue to the store until ctx ends.
func (a *Agent) ship(ctx context.Context) {
	r := a.queue.NewReader(a.acked.Load(), &commitlog.ReaderOptions{Durable: true})
	for ctx.Err() == nil {
		packets, err := a.take(ctx, r)
		if err != nil {
			if ctx.Err() == nil {
				a.failed(fmt.Errorf("agent: queue: %w", err))
				pause(ctx, retryMax)
			}
			continue
		}
		if len(packets) > 0 && !a.deliver(ctx, packets) {
			return
		}
		a.acked.Store(r.Offset())
	}
}

// take reads packets from the queue: it waits for one, then a little for more,
// which compress better together, and takes what there is.
func (a *Agent) take(ctx context.Context, r *commitlog.Reader) (packets []store.Numbered, err error) {
	for size := 0; size < shipBytes && len(packets) < shipPackets; {
		if len(packets) > 0 && r.Offset() >= a.queue.Durable() {
			break
		}
		record, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		p, err := entry.Decode(record.Value)
		if err != nil {
			a.options.Logger.Error("record without a packet", "offset", record.Offset, "error", err)
			continue
		}
		if len(packets) == 0 && r.Offset() >= a.queue.Durable() {
			pause(ctx, a.options.Linger)
		}
		size += len(record.Value)
		packets = append(packets, store.Numbered{Sequence: record.Offset, Packet: p})
	}
	return packets, nil
}

// deliver ships packets until the store has them, or has rejected them. It
// reports false when ctx has ended.
func (a *Agent) deliver(ctx context.Context, packets []store.Numbered) bool {
	wait := retryMin
	for {
		err := a.options.Shipper.Ship(ctx, a.source, packets)
		switch {
		case err == nil:
			a.mu.Lock()
			a.stats.Shipped += uint64(len(packets))
			a.stats.Err = ""
			a.mu.Unlock()
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, ErrRejected) && len(packets) > 1:
			for _, p := range packets {
				if !a.deliver(ctx, []store.Numbered{p}) {
					return false
				}
			}
			return true
		case errors.Is(err, ErrRejected):
			a.options.Logger.Error("the store rejects a packet", "labels", packets[0].Packet.Labels.String(), "entries", len(packets[0].Packet.Entries), "error", err)
			a.mu.Lock()
			a.stats.Rejected++
			a.stats.Err = err.Error()
			a.mu.Unlock()
			return true
		}
		a.failed(err)
		if !pause(ctx, wait/2+rand.N(wait)) {
			return false
		}
		wait = min(2*wait, retryMax)
	}
}

func (a *Agent) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Failed++
	a.stats.Err = err.Error()
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// saveAll saves the state now and then.
func (a *Agent) saveAll(ctx context.Context) {
	for pause(ctx, a.options.Save) {
		if err := a.save(); err != nil {
			a.options.Logger.Error("save the state", "error", err)
		}
	}
}

func (a *Agent) save() error {
	a.mu.Lock()
	covered := a.covered
	a.mu.Unlock()
	// The state may be newer than covered, which makes no difference: positions
	// are applied twice without harm. What is removed from the queue must be
	// covered by a state on disk.
	acked := a.acked.Load()
	_, epoch, _ := strings.Cut(a.source[len(a.options.Name):], "/")
	if err := a.write(state{Epoch: epoch, Tail: a.tail.State(), QueueEnd: covered, Acked: acked}); err != nil {
		return err
	}
	return a.queue.DeleteBefore(min(acked, covered))
}

// write makes a state durable, as a whole or not at all.
func (a *Agent) write(st state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if string(data) == a.saved {
		return nil
	}
	temporary := a.path() + ".tmp"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temporary, a.path())
	}
	if err == nil {
		err = syncDir(a.options.Dir) // what the queue has of this state is removed after it
	}
	if err == nil {
		a.saved = string(data)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close ends the agent and saves where it is.
func (a *Agent) Close() error {
	a.once.Do(func() {
		a.cancel()
		a.tasks.Wait()
		if !a.killed.Load() {
			a.closed = a.save()
		}
		a.closed = errors.Join(a.closed, a.queue.Close())
	})
	return a.closed
}

// Kill ends the agent without saving where it is, as the death of its process
// would.
func (a *Agent) Kill() error {
	a.killed.Store(true)
	return a.Close()
}

// Name returns the name.
func (a *Agent) Name() string { return a.options.Name }

// Stats returns what happened so far.
func (a *Agent) Stats() Stats {
	tailed := a.tail.Stats()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Tail = tailed
	s.Queued = max(a.appended-a.acked.Load(), 0)
	s.Bytes, s.Limit = a.queue.Stats().Size, a.options.QueueBytes
	return s
}

// Files returns the files that are followed, see [tail.Tailer.Files].
func (a *Agent) Files() map[string][2]int64 { return a.tail.Files() }
