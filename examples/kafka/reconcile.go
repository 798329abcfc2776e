package kafka

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/commitlog"
)

// reconcile opens the partitions that this broker should have, ends those
// that it should not, and lets each adopt its assignment. A partition that
// cannot be opened does not keep others from it, and those that are open
// already do not wait for it. Partitions are opened by several goroutines; the
// rest happens in this one, so that changes of a partition are adopted in
// their order.
func (b *broker) reconcile() error {
	m := b.control.Image()
	var failed []error
	var missing []*opening
	wanted := map[partitionKey]bool{}
	for _, t := range m.Topics {
		settings := t.settings()
		for i, a := range t.Partitions {
			if !slices.Contains(a.Replicas, b.ID) {
				continue
			}
			key := partitionKey{t.ID, int32(i)}
			wanted[key] = true
			if p := b.partition(key); p != nil {
				b.assign(p, a, settings)
			} else {
				missing = append(missing, &opening{topic: t, index: int32(i)})
			}
		}
	}
	if err := b.makeDirs(missing); err != nil {
		failed, missing = append(failed, err), nil
	}
	for o := range b.openAll(missing) {
		if o.err != nil {
			failed = append(failed, o.err)
			continue
		}
		b.mu.Lock()
		b.partitions[partitionKey{o.topic.ID, o.index}] = o.p
		b.mu.Unlock()
		b.assign(o.p, o.topic.Partitions[o.index], o.topic.settings())
	}
	for _, p := range b.all() {
		if key := (partitionKey{p.id, p.index}); !wanted[key] {
			b.mu.Lock()
			delete(b.partitions, key)
			b.mu.Unlock()
			failed = append(failed, p.close())
		}
	}
	return errors.Join(append(failed, b.removeDeleted(m))...)
}

// assign tells a partition, and the groups that may be kept in it, what the
// cluster has agreed about it.
func (b *broker) assign(p *partition, a assignment, settings topicSettings) {
	before := p.state().assigned
	if p.adopt(a, settings) {
		p.flushLater() // what it had not synced as a follower
		b.adopted(p, before, a)
	}
}

// removeDeleted removes the data of topics that are no more.
func (b *broker) removeDeleted(m *image) error {
	dirs, err := os.ReadDir(b.logsDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, d := range dirs {
		var id topicID
		if id.UnmarshalText([]byte(d.Name())) != nil || m.byID(id) != nil {
			continue
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(b.logsDir(), d.Name())))
	}
	return err
}

func (b *broker) logsDir() string { return filepath.Join(b.Data, "logs") }

// largestBatch is what max.message.bytes may be at most.
const largestBatch = 64 << 20

// An opening is a partition that is to be opened, and then what came of it.
type opening struct {
	topic *topic
	index int32
	p     *partition
	err   error
}

// topicDir is called after the topic's ID, since another topic may have the
// name one day.
func (b *broker) topicDir(t *topic) string { return filepath.Join(b.logsDir(), t.ID.String()) }

// makeDirs makes the directories of topics, and makes them durable. It does the
// latter also if they were there: a process that died may have come to the
// one and not to the other.
func (b *broker) makeDirs(list []*opening) error {
	if len(list) == 0 {
		return nil
	}
	for _, o := range list {
		o.err = os.MkdirAll(b.topicDir(o.topic), 0o700)
	}
	return errors.Join(syncDir(b.logsDir()), syncDir(b.Data))
}

// openAll opens partitions and sends each when it is done with it, until all
// are or the broker is asked to stop.
func (b *broker) openAll(list []*opening) <-chan *opening {
	done := make(chan *opening, len(list))
	go func() {
		defer close(done)
		several(list, func(o *opening) {
			if !b.open() {
				return
			}
			dir := filepath.Join(b.topicDir(o.topic), strconv.Itoa(int(o.index)))
			if o.err == nil {
				o.p, o.err = b.openPartition(o.topic, o.index, dir)
			}
			if o.err != nil {
				o.err = fmt.Errorf("kafka: %s partition %d in %s: %w", o.topic.Name, o.index, dir, o.err)
			}
			done <- o
		})
	}()
	return done
}

// atATime is how many goroutines open or close partitions, which is to wait
// for a disk more than anything else.
const atATime = 8

// several does something with each of a list, with a few at a time, and
// returns when all is done.
func several[T any](list []T, do func(T)) {
	var working sync.WaitGroup
	defer working.Wait()
	next := make(chan T)
	defer close(next)
	for range min(atATime, len(list)) {
		working.Go(func() {
			for one := range next {
				do(one)
			}
		})
	}
	for _, one := range list {
		next <- one
	}
}

// openPartition opens this broker's replica.
func (b *broker) openPartition(t *topic, index int32, dir string) (*partition, error) {
	settings, high := t.settings(), new(atomic.Int64)
	o := &commitlog.Options{
		Sync:         commitlog.SyncNever,    // partition.commit syncs
		WriteThrough: b.Sync == syncInterval, // a killed process loses nothing
		SegmentBytes: settings.segment, SegmentAge: settings.segmentAge, MaxBatchBytes: largestBatch, Codecs: codecs,
		RetainFrom: high.Load, // nothing, until the partition knows better
		Logger:     b.log.With("topic", t.Name, "partition", index),
	}
	if settings.deletes {
		o.RetainAge, o.RetainBytes = settings.retainAge, settings.retainBytes
	}
	if b.LogOptions != nil {
		b.LogOptions(dir, o)
	}
	log, err := commitlog.Open(dir, o)
	if err != nil {
		return nil, err
	}
	p, err := newPartition(t, index, b.ID, log, high, dir+".state", b.Sync, b.log)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return p, nil
}
