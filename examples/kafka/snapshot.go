package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A snapshot is a tracker in a file, with its checksum.
type snapshot struct {
	Sum     uint32          `json:"crc32c"`
	Tracker json.RawMessage `json:"tracker"`
}

// snapshot returns the tracker as it is to be in a file.
func (t *tracker) snapshot() ([]byte, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return json.Marshal(snapshot{crc32.Checksum(data, castagnoli), data})
}

// loadTracker reads a snapshot. One that is missing, damaged or not of a log
// from start to end is worth nothing and no error: the tracker is nil.
func loadTracker(path string, start, end int64) (*tracker, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: snapshot: %w", err)
	}
	var s snapshot
	t := newTracker(0)
	if json.Unmarshal(data, &s) != nil || crc32.Checksum(s.Tracker, castagnoli) != s.Sum ||
		json.Unmarshal(s.Tracker, t) != nil || t.End > end || t.End < start {
		return nil, nil
	}
	// What a leader of which there is no record began with is in no batch.
	t.Epochs = slices.DeleteFunc(t.Epochs, func(e epochStart) bool { return e.Start >= t.End })
	t.deletedBefore(start)
	return t, nil
}

// snapshots are the files with them, the last one first. The one before it is
// there for truncate: it tells of nothing that the high watermark had not
// passed.
func (p *partition) snapshots() [2]string { return [2]string{p.file, p.file + ".before"} }

// recall makes the tracker the one of the last snapshot that tells of nothing
// from end on, or a new one if there is none, and removes those of no use.
func (p *partition) recall(end int64) error {
	start := p.log.Start()
	recalled := newTracker(start)
	for _, path := range p.snapshots() {
		t, err := loadTracker(path, start, end)
		if err != nil {
			return err
		}
		if t != nil {
			recalled = t
			break
		}
		if err := removeFile(path); err != nil {
			return err
		}
	}
	p.tracker, p.saved, p.before = recalled, recalled.End, 0
	return nil
}

// catchUp lets the tracker see what is in the log behind its end. Retention
// does not wait for mu: if it was faster, what begins anew with the log is the
// tracker.
func (p *partition) catchUp() error {
	for {
		err := p.seeRest()
		start := p.log.Start()
		if !errors.Is(err, commitlog.ErrOutOfRange) || p.tracker.End >= start {
			return err
		}
		p.tracker = newTracker(start)
	}
}

func (p *partition) seeRest() error {
	for b, err := range p.log.AllBatches(p.tracker.End, false) {
		if err != nil {
			return err
		}
		p.tracker.see(b)
	}
	p.tracker.End = p.log.End() // compaction may have removed the last
	return nil
}

// checkpoint writes a snapshot if there is something new to tell.
func (p *partition) checkpoint(ctx context.Context) error {
	p.mu.Lock()
	t, cuts := *p.tracker, p.cuts
	t.High = p.high
	if p.closed || p.failure != nil || t.End == p.saved && p.tracker.High == t.High {
		p.mu.Unlock()
		return nil
	}
	data, err := t.snapshot()
	p.mu.Unlock()
	if err != nil {
		return err
	}
	// The snapshot may not tell of batches that a crash could take back.
	if p.log.Durable() < t.End {
		if err := p.syncLog(ctx); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.failure != nil || p.cuts != cuts {
		return nil
	}
	files := p.snapshots()
	if p.saved <= p.high && p.saved < t.End {
		if err := os.Rename(files[0], files[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		p.before = p.saved
	}
	if err := replaceFile(files[0], data); err != nil {
		return err
	}
	p.saved, p.tracker.High = t.End, t.High
	return nil
}
