package tail

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"time"
)

// ErrFull is what a Sink returns that can take no more for now. The same
// events come again later.
var ErrFull = errors.New("tail: sink is full")

// A Sink takes batches of events. When Put has returned nil, the events are
// the sink's and are not read again. After ErrFull, or any other error, the
// same events come again. Put is called by one goroutine at a time and must
// not wait for room: rounds go on while the sink is full.
type Sink interface {
	Put(ctx context.Context, b Batch) error
}

// A Batch is some events of one file, in order.
type Batch struct {
	Path   string // base name of the family: app.log also for events of app.log.1
	Events []Event
	Bytes  int      // of the events
	After  Position // where the file stands once they are taken
}

// An Event is a line, or several that belong together, without the last line
// break.
type Event struct {
	Text    []byte // valid during Put
	Partial bool   // no line break came, or the line is a piece of a longer one
}

// Start is where to begin in files that are there when a Tailer runs for the
// first time.
type Start int

// Files that appear later are always read from their beginning.
const (
	Beginning Start = iota
	End
)

// Options are the settings of a Tailer; zero fields mean the default.
type Options struct {
	Patterns       []string       // of [path/filepath.Match], with directories
	Start          Start          // the default is Beginning
	Interval       time.Duration  // between rounds; default 250 ms
	PollOnly       bool           // never mind what the system tells of changes
	Grace          time.Duration  // a file that is gone is kept open until nothing has come for so long; default 5 s
	PartialTimeout time.Duration  // after which a line without a break is given away; default 10 s
	Join           bool           // join lines of stack traces
	JoinStart      *regexp.Regexp // with Join: what begins an event; nil means what does not look like the rest of a trace
	JoinTimeout    time.Duration  // after which an event that could go on is given away; default 1 s
	MaxLine        int            // bytes of a line; default 64 KiB
	MaxEvent       int            // bytes of joined lines; default 256 KiB
	MaxFiles       int            // files followed; default 4096
	BatchBytes     int            // after which a batch ends; default 256 KiB
	BatchEvents    int            // after which a batch ends; default 1000
	Logger         *slog.Logger   // nil discards
	Now            func() time.Time
}

func (o *Options) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	size := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&o.Interval, 250*time.Millisecond)
	set(&o.Grace, 5*time.Second)
	set(&o.PartialTimeout, 10*time.Second)
	set(&o.JoinTimeout, time.Second)
	size(&o.MaxLine, 64<<10)
	size(&o.MaxEvent, max(256<<10, o.MaxLine))
	size(&o.MaxFiles, 4096)
	size(&o.BatchBytes, 256<<10)
	size(&o.BatchEvents, 1000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// A Tailer follows files. Create one with [New]. Stats and State are safe for
// concurrent use by multiple goroutines; Poll and Run are for one at a time.
type Tailer struct {
	options Options
	sink    Sink

	mu       sync.Mutex // guards what State and Stats read; held by Poll except while the sink runs
	state    State
	families map[string]*family // by path of the base name
	byInode  map[inode]*file
	stats    Stats
	full     bool                 // the sink was, in this round
	trouble  string               // an error of this round
	warned   map[string]time.Time // when it was last logged that something has failed
	watch    *watcher
}

// Stats are counts of a Tailer.
type Stats struct {
	Files       int    // followed now
	Open        int    // descriptors held now
	Events      uint64 // taken by the sink
	Bytes       uint64 // taken by the sink, with line breaks
	Renames     uint64 // names that a file had and has no more
	Truncations uint64
	Continued   uint64 // copies and compressed files in which reading went on
	Partial     uint64 // events that had no line break or were cut
	LostBytes   uint64 // that were seen in a file and were gone, with no copy, before they could be read
	Ignored     uint64 // files that MaxFiles left no room for, counted once a round
	Full        uint64 // rounds that the sink ended
	Errors      uint64 // of the file system
	Err         string // one of the last round that had any, as long as the next has some too
}

// New returns a tailer that goes on where state says; nil means that it runs
// for the first time. Errors are patterns that are malformed.
func New(sink Sink, state *State, opts Options) (*Tailer, error) {
	opts.defaults()
	if err := checkPatterns(opts.Patterns); err != nil {
		return nil, err
	}
	t := &Tailer{options: opts, sink: sink, families: map[string]*family{}, byInode: map[inode]*file{}}
	if state == nil {
		t.state = State{Since: opts.Now()}
	} else {
		t.restore(state)
	}
	return t, nil
}

// Run polls until ctx ends, and then closes the files. It returns nil.
func (t *Tailer) Run(ctx context.Context) error {
	var changes <-chan struct{}
	if !t.options.PollOnly {
		if w, err := newWatcher(); err == nil {
			t.watch, changes = w, w.changes
			defer func() { w.close(); t.watch = nil }()
		}
	}
	defer t.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			// What is written in bursts is read in batches.
			pause := time.NewTimer(min(20*time.Millisecond, t.options.Interval))
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		case <-timer.C:
		}
		if more := t.Poll(ctx); more {
			timer.Reset(0)
		} else {
			timer.Reset(t.options.Interval)
		}
	}
}

// Poll does one round and reports whether there is more to read at once.
func (t *Tailer) Poll(ctx context.Context) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.options.Now()
	t.full, t.trouble = false, ""
	defer func() { t.stats.Err = t.trouble }()
	t.inspect(now)
	t.discover(now)
	for _, f := range t.order() {
		if ctx.Err() != nil {
			return false
		}
		if t.full {
			t.stats.Full++
			return false
		}
		more = t.read(ctx, f, now) || more
	}
	t.retire(ctx, now)
	t.state.Polled = true
	return more && !t.full
}

// Close closes the files. The state stays.
func (t *Tailer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, fam := range t.families {
		for _, f := range fam.files {
			f.close()
		}
	}
}

// Stats returns what happened so far.
func (t *Tailer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	for _, fam := range t.families {
		s.Files += len(fam.files)
		for _, f := range fam.files {
			if f.os != nil {
				s.Open++
			}
		}
	}
	return s
}

// Files returns the paths of the base names that are followed, and of each the
// bytes that were taken and those that its file has.
func (t *Tailer) Files() map[string][2]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	files := map[string][2]int64{}
	for path, fam := range t.families {
		for _, f := range fam.files {
			if f.name == path {
				files[path] = [2]int64{f.mark.Offset, max(f.size, f.mark.Offset)}
			}
		}
	}
	return files
}

// warnEvery is how often it is logged that the same thing fails.
const warnEvery = 10 * time.Minute

// errored counts a failure, which the next round may mend, and logs it when it
// is new.
func (t *Tailer) errored(what string, err error) {
	t.stats.Errors++
	t.trouble = err.Error()
	now := t.options.Now()
	if last, ok := t.warned[what]; ok && now.Sub(last) < warnEvery && now.Sub(last) >= 0 {
		return
	}
	if t.warned == nil || len(t.warned) > t.options.MaxFiles {
		t.warned = map[string]time.Time{}
	}
	t.warned[what] = now
	t.options.Logger.Warn("cannot "+what, "error", err)
}
