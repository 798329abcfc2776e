package commitlog_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
	"github.com/stretchr/testify/require"
)

var (
	histories = flag.Int("crash.histories", 1, "seeded histories for each setting of the crash tests")
	steps     = flag.Int("crash.steps", 25, "operations of a history that is crashed at every call")
)

// A state is what a log may have: the values from offset 0 on, those below
// start deleted, and how many of them must be there.
type state struct {
	values []string
	start  int
	safe   int
}

// A history drives a log through operations drawn from a seed, and knows at
// every moment which states a crash may leave.
type history struct {
	opts commitlog.Options
	rng  *rand.Rand
	ctx  context.Context

	log *commitlog.Log // nil while it is closed

	mu     sync.Mutex
	states []state // the last is the one that the operation leads to
}

func newHistory(seed uint64, opts commitlog.Options) *history {
	rng := rand.New(rand.NewPCG(seed, 0))
	return &history{opts: opts, rng: rng, ctx: context.Background(), states: []state{{}}}
}

func (h *history) now() state { return h.states[len(h.states)-1] }

// begin says what the next operation leads to, besides what there is.
func (h *history) begin(s state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states = append(h.states, s)
}

// end says that the last operation has returned nil.
func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states = h.states[len(h.states)-1:]
}

// promise implements the function of crashtest.
func (h *history) promise() crashtest.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	states := slices.Clone(h.states)
	if h.log != nil {
		durable := int(h.log.Durable())
		for i := range states {
			s := &states[i]
			s.safe = max(s.safe, min(durable, len(s.values)))
		}
	}
	return func(found *vfs.Mem, at crashtest.Point) error { return h.check(found, states, at) }
}

// check opens what a crash has left.
func (h *history) check(found *vfs.Mem, states []state, at crashtest.Point) error {
	opts := h.opts
	opts.FS = found
	l, err := commitlog.Open("", &opts)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer l.Close()
	start, got, err := contents(l)
	if err != nil {
		return err
	}
	if why := matches(states, start, got); why != "" {
		return errors.New(why)
	}
	got = append(got, "one more")
	if _, err := l.Append(h.ctx, commitlog.Record{Value: []byte("one more")}); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if err := errors.Join(l.Sync(h.ctx), l.Verify(h.ctx)); err != nil {
		return err
	}
	if at.Seed%2 == 0 {
		if err := l.Close(); err != nil {
			return err
		}
	} else {
		opts.FS = found.Crash(nil) // Sync must have been enough
	}
	again, err := commitlog.Open("", &opts)
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer again.Close()
	if _, after, err := contents(again); err != nil || !slices.Equal(after, got) {
		return fmt.Errorf("opened again: %d records, want %d, error %w", len(after), len(got), err)
	}
	return nil
}

// matches returns why no state explains what was found, or "".
func matches(states []state, start int, got []string) (why string) {
	for _, s := range slices.Backward(states) {
		end := start + len(got)
		switch {
		case start != s.start:
			why = fmt.Sprintf("starts at %d, want %d", start, s.start)
		case end < s.safe || end > len(s.values):
			why = fmt.Sprintf("ends at %d, want %d to %d", end, s.safe, len(s.values))
		case !slices.Equal(got, s.values[start:end]):
			why = "wrong records"
		default:
			return ""
		}
	}
	return why
}

// contents reads all there is and checks offsets.
func contents(l *commitlog.Log) (start int, got []string, err error) {
	next := l.Start()
	for r, err := range l.Records(next) {
		if err != nil {
			return 0, nil, err
		}
		if r.Offset != next {
			return 0, nil, fmt.Errorf("offset %d, want %d", r.Offset, next)
		}
		next++
		got = append(got, string(r.Value))
	}
	if next != l.End() {
		return 0, nil, fmt.Errorf("records up to %d, end is %d", next, l.End())
	}
	return int(l.Start()), got, nil
}

func (h *history) text(n int) string {
	size := h.rng.IntN(200)
	if h.rng.IntN(10) == 0 {
		size = h.rng.IntN(6000)
	}
	b := bytes.Repeat([]byte{byte(h.rng.IntN(4) * 85)}, size) // zeros, too
	return fmt.Sprintf("%d %d %s", n, h.rng.IntN(1000), b)
}

// step runs one operation.
func (h *history) step() error {
	s := h.now()
	n := len(s.values)
	var err error
	switch p := h.rng.IntN(100); {
	case p < 60: // append some records
		count := 1 + h.rng.IntN(3)
		next := state{slices.Clone(s.values), s.start, s.safe}
		records := make([]commitlog.Record, count)
		for i := range records {
			text := h.text(n + i)
			next.values = append(next.values, text)
			records[i].Value = []byte(text)
		}
		h.begin(next)
		if p < 50 != (h.opts.BufferBytes > 0) {
			_, err = h.log.Append(h.ctx, records...)
		} else {
			var batch []byte
			batch, err = commitlog.AppendBatchTo(nil, 77, nil, records...)
			if err == nil {
				_, err = h.log.AppendBatch(h.ctx, batch)
			}
		}
	case p < 75:
		h.begin(state{s.values, s.start, n})
		err = h.log.Sync(h.ctx)
	case p < 80:
		cut := s.start + h.rng.IntN(n-s.start+1)
		if h.rng.IntN(3) > 0 {
			cut = max(s.start, n-h.rng.IntN(4))
		}
		h.begin(state{slices.Clone(s.values[:cut]), s.start, min(s.safe, cut)})
		err = h.log.TruncateFrom(int64(cut))
	case p < 85:
		start := s.start + h.rng.IntN(n-s.start+1)
		h.begin(state{s.values, start, max(s.safe, start)})
		err = h.log.DeleteBefore(int64(start))
	case p < 88:
		h.begin(s)
		err = h.log.Compact(h.ctx) // there are no keys: only merges
	case p < 90:
		h.log.SetSegments(int64(8192+h.rng.IntN(3)*8192), time.Nanosecond)
		h.begin(s)
		err = h.log.Retain(h.ctx)
	default:
		h.begin(state{s.values, s.start, n})
		l := h.log
		h.setLog(nil)
		err = l.Close()
		if err == nil {
			l, err = commitlog.Open("", &h.opts)
			h.setLog(l)
		}
	}
	if err == nil {
		h.end()
	}
	return err
}

func (h *history) setLog(l *commitlog.Log) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = l
}

func (h *history) run(m vfs.FS, steps int) error {
	h.opts.FS = m
	l, err := commitlog.Open("", &h.opts)
	if err != nil {
		return err
	}
	h.setLog(l)
	for range steps {
		if err := h.step(); err != nil {
			if h.log != nil {
				_ = h.log.Close()
			}
			return err
		}
	}
	h.begin(state{h.now().values, h.now().start, len(h.now().values)})
	l = h.log
	h.setLog(nil)
	if err := l.Close(); err != nil {
		return err
	}
	h.end()
	return nil
}

var policies = map[string]commitlog.Options{
	"each":     {Sync: commitlog.SyncEach},
	"bytes":    {Sync: commitlog.SyncBytes, SyncBytes: 1000},
	"never":    {Sync: commitlog.SyncNever},
	"through":  {Sync: commitlog.SyncNever, WriteThrough: true, IndexBytes: 256},
	"large":    {Sync: commitlog.SyncNever, BufferBytes: 100, SegmentBytes: 16 << 10}, // most batches are not copied, some are written in two
	"compress": {Sync: commitlog.SyncEach, Codec: commitlog.GzipCodec(1)},
}

// A crash at every call that changes a file, and in the midst of the recovery
// from it, leaves what was acknowledged, in order, and nothing else.
// Longer: go test ./commitlog -run TestCrash -crash.histories=20, or
// -crash.histories=1000 -crash.steps=4
func TestCrashAtEveryCall(t *testing.T) {
	for name, opts := range policies {
		t.Run(name, func(t *testing.T) {
			crashes := 0
			for seed := range uint64(*histories) {
				opts.SegmentBytes = max(opts.SegmentBytes, 8192)
				h := newHistory(seed, opts)
				report, err := crashtest.History(crashtest.Options{
					Seed: seed,
					Recover: func(found *vfs.Mem) {
						opts := h.opts
						opts.FS = found
						if l, err := commitlog.Open("", &opts); err == nil {
							_ = l.Close()
						}
					},
				}, func(m *vfs.Mem) {
					if err := h.run(m, *steps); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				}, h.promise)
				require.NoError(t, err, "seed %d", seed)
				crashes += report.Crashes
			}
			require.Greater(t, crashes, *histories**steps)
		})
	}
}
