package kafka

import (
	"context"
	"time"
)

const (
	checkpointEvery = 30 * time.Second
	syncEvery       = time.Second
)

// syncByTheClock syncs what nobody waits for, however long housekeep takes.
func (b *broker) syncByTheClock() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.closing:
			return
		case <-tick.C:
			b.each(func(p *partition) error {
				if p.log.Durable() < p.log.End() {
					p.syncLog(b.ctx)
				}
				return nil
			})
		}
	}
}

// housekeep does what else nobody asks for: it writes snapshots, deletes what
// is too old and compacts.
func (b *broker) housekeep() {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	go func() { // a long compaction ends with the broker
		select {
		case <-b.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	checkpoints, retention := time.NewTicker(checkpointEvery), time.NewTicker(b.RetainEvery)
	defer checkpoints.Stop()
	defer retention.Stop()
	for {
		select {
		case <-b.closing:
			return
		case <-checkpoints.C:
			b.each(func(p *partition) error { return p.checkpoint(ctx) })
		case <-retention.C:
			b.each(func(p *partition) error { return p.retain(ctx) })
		}
	}
}

// each does f with all partitions; what fails is logged.
func (b *broker) each(f func(*partition) error) {
	for _, p := range b.all() {
		if err := f(p); err != nil && b.open() {
			b.log.Error("housekeeping", "topic", p.name, "partition", p.index, "error", err)
		}
	}
}

// retain deletes old segments and compacts, as the topic's settings say. Neither
// goes beyond the high watermark.
func (p *partition) retain(ctx context.Context) error {
	p.mu.Lock()
	settings, usable := p.settings, !p.closed && p.failure == nil
	p.mu.Unlock()
	if !usable {
		return nil
	}
	p.log.SetSegments(settings.segment, settings.segmentAge)
	if settings.deletes {
		p.log.SetRetention(settings.retainAge, settings.retainBytes)
	} else {
		p.log.SetRetention(0, 0)
	}
	if err := p.log.Retain(ctx); err != nil {
		return err
	}
	if settings.compacts {
		if err := p.compact(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracker.deletedBefore(p.log.Start())
	return nil
}

// compact removes the records whose key has a later one. It stays below the
// high watermark: a record above it may be taken back, and then the earlier
// one is what counts. It also stays below the end of the snapshot that is left
// after that, since all that a producer wrote last may be removed.
func (p *partition) compact(ctx context.Context) error {
	if err := p.checkpoint(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	end := min(p.high, p.saved)
	if p.saved > p.high {
		end = p.before
	}
	p.mu.Unlock()
	return p.log.CompactBefore(ctx, end)
}
