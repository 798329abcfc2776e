package cache_test

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
)

type mutation = cache.Mutation[string, int]

// A disk is a Store that counts, takes its time, and can be made to fail.
type disk struct {
	mu      sync.Mutex
	rows    map[string]mutation
	takes   time.Duration // of every call
	err     error         // of Apply
	readErr error
	reads   int
	batches [][]mutation // that were accepted
	failed  int
	busy    bool
	t       *testing.T
}

func newDisk(t *testing.T) *disk { return &disk{t: t, rows: map[string]mutation{}} }

func (d *disk) Get(ctx context.Context, key string) (value int, expires time.Time, ok bool, err error) {
	d.mu.Lock()
	d.reads++
	m, ok := d.rows[key]
	takes, err := d.takes, d.readErr
	d.mu.Unlock()
	select {
	case <-time.After(takes):
		return m.Value, m.Expires, ok, err
	case <-ctx.Done():
		return 0, time.Time{}, false, ctx.Err()
	}
}

func (d *disk) Apply(ctx context.Context, batch []mutation) error {
	d.mu.Lock()
	if d.busy {
		d.t.Error("Apply is called concurrently with Apply")
	}
	d.busy = true
	takes, err := d.takes, d.err
	d.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		err = ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = false
	seen := map[string]bool{}
	for i, m := range batch {
		if seen[m.Key] {
			d.t.Errorf("%q occurs twice in a batch", m.Key)
		}
		seen[m.Key] = true
		if err != nil && i >= len(batch)/2 {
			break // a batch that fails is applied in part
		}
		if m.Delete {
			delete(d.rows, m.Key)
		} else {
			d.rows[m.Key] = m
		}
	}
	if err != nil {
		d.failed++
		return err
	}
	d.batches = append(d.batches, slices.Clone(batch))
	return nil
}

func (d *disk) set(takes time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takes, d.err = takes, err
}

// seen returns the counts and the accepted batches so far.
func (d *disk) seen() (reads, failed int, batches [][]mutation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads, d.failed, slices.Clone(d.batches)
}

func (d *disk) wantReads(t *testing.T, want int) {
	t.Helper()
	if reads, _, _ := d.seen(); reads != want {
		t.Errorf("the store was read %d times, want %d", reads, want)
	}
}

func (d *disk) wantBatches(t *testing.T, want int) (batches [][]mutation) {
	t.Helper()
	_, _, batches = d.seen()
	require.Len(t, batches, want)
	return batches
}

func (d *disk) values() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	values := map[string]int{}
	for key, m := range d.rows {
		values[key] = m.Value
	}
	return values
}

// A journal is a MemoryLog that counts, takes its time, and can be made to fail.
type journal struct {
	cache.MemoryLog[string, int]
	mu          sync.Mutex
	takes       time.Duration
	err         error
	appends     int
	checkpoints []uint64
	failChecks  bool
	broken      error // of Replay, after its records
}

func (j *journal) Append(ctx context.Context, mutations []mutation) (uint64, error) {
	j.mu.Lock()
	j.appends++
	takes, err := j.takes, j.err
	j.mu.Unlock()
	time.Sleep(takes)
	if err != nil {
		return 0, err
	}
	return j.MemoryLog.Append(ctx, mutations)
}

func (j *journal) Checkpoint(ctx context.Context, seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failChecks {
		return errDown
	}
	j.checkpoints = append(j.checkpoints, seq)
	return j.MemoryLog.Checkpoint(ctx, seq)
}

func (j *journal) set(err error, failChecks bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err, j.failChecks = err, failChecks
}

func (j *journal) checkpointed() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.checkpoints)
}

func (j *journal) Replay(ctx context.Context) iter.Seq2[cache.Record[string, int], error] {
	return func(yield func(cache.Record[string, int], error) bool) {
		for record, err := range j.MemoryLog.Replay(ctx) {
			if !yield(record, err) {
				return
			}
		}
		if j.broken != nil {
			yield(cache.Record[string, int]{}, j.broken)
		}
	}
}
