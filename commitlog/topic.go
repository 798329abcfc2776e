package commitlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Topic is a number of logs, its partitions, in directories named 0, 1, 2
// and so on. Records of a partition are in order, those of different partitions
// are not. Open one with OpenTopic.
//
// A Topic is safe for concurrent use by multiple goroutines.
type Topic struct {
	dir        vfs.FS
	own        bool // dir is to be closed
	lock       interface{ Close() error }
	mu         sync.Mutex // guards closed
	closed     bool
	partitions []*Log
	partition  Partitioner
}

// TopicOptions are the settings of a topic. Nil and zero fields mean the
// defaults. TopicOptions are safe for concurrent use as long as nobody changes
// them.
type TopicOptions struct {
	// Log is for each partition; Log.FS replaces the directory of the topic.
	Log Options

	// Partitioner chooses the partition of a record; the default is
	// HashByKey(Sticky(16 KiB)).
	Partitioner Partitioner
}

// maxPartitions bounds what a typing error can do to a file system.
const maxPartitions = 100_000

// OpenTopic opens the topic in a directory, which it creates if needed. More
// partitions than there are are added; fewer are an error, since records would
// be out of reach. Zero means those that there are, or one. For other errors
// see Open.
func OpenTopic(dir string, partitions int, opts *TopicOptions) (*Topic, error) {
	var o TopicOptions
	if opts != nil {
		o = *opts
	}
	t := &Topic{dir: o.Log.FS, partition: o.Partitioner}
	if t.partition == nil {
		t.partition = HashByKey(Sticky(16 << 10))
	}
	if partitions < 0 || partitions > maxPartitions {
		return nil, fmt.Errorf("commitlog: a topic cannot have %d partitions", partitions)
	}
	if t.dir == nil {
		fs, err := vfs.Dir(dir)
		if err != nil {
			return nil, fmt.Errorf("commitlog: %w", err)
		}
		t.dir, t.own = fs, true
	}
	if err := t.open(partitions, o.Log); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Topic) open(partitions int, opts Options) error {
	lock, err := lockDir(t.dir)
	if err != nil {
		return err
	}
	t.lock = lock
	names, err := t.dir.Subs()
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	existing := 0
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < maxPartitions && strconv.Itoa(n) == name {
			existing = max(existing, n+1)
		}
	}
	if partitions == 0 {
		partitions = max(existing, 1)
	}
	if partitions < existing {
		return fmt.Errorf("commitlog: topic has %d partitions, more than %d", existing, partitions)
	}
	for i := range partitions {
		sub, err := t.dir.Sub(strconv.Itoa(i))
		if err != nil {
			return fmt.Errorf("commitlog: %w", err)
		}
		o := opts
		o.FS = sub
		l, err := Open("", &o)
		if err != nil {
			return errors.Join(fmt.Errorf("partition %d: %w", i, err), sub.Close())
		}
		l.owns = true
		t.partitions = append(t.partitions, l)
	}
	return nil
}

// Len returns the number of partitions.
func (t *Topic) Len() int { return len(t.partitions) }

// Partition returns a partition. It panics if there is none of that number.
// The topic closes it.
func (t *Topic) Partition(i int) *Log { return t.partitions[i] }

// Append adds one record to the partition that the Partitioner chooses. For
// the errors see Log.Append.
func (t *Topic) Append(ctx context.Context, r Record) (partition int, offset int64, err error) {
	partition = t.partition.Partition(&r, len(t.partitions))
	if partition < 0 || partition >= len(t.partitions) {
		return partition, 0, fmt.Errorf("commitlog: partitioner chose %d of %d partitions", partition, len(t.partitions))
	}
	offset, err = t.partitions[partition].Append(ctx, r)
	return partition, offset, err
}

// Sync, Retain and Compact do for all partitions what they do for a Log. They
// go on after an error and return all of them.

// Sync returns when all that was appended before is durable.
func (t *Topic) Sync(ctx context.Context) error {
	return t.each(func(l *Log) error { return l.Sync(ctx) })
}

// Retain applies the retention to each partition.
func (t *Topic) Retain(ctx context.Context) error {
	return t.each(func(l *Log) error { return l.Retain(ctx) })
}

// Compact compacts each partition, one after the other.
func (t *Topic) Compact(ctx context.Context) error {
	return t.each(func(l *Log) error { return l.Compact(ctx) })
}

// Verify verifies each partition.
func (t *Topic) Verify(ctx context.Context) error {
	return t.each(func(l *Log) error { return l.Verify(ctx) })
}

func (t *Topic) each(do func(*Log) error) error {
	var errs []error
	for i, l := range t.partitions {
		if err := do(l); err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes all partitions. Closing twice is no error.
func (t *Topic) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	errs := []error{t.each((*Log).Close)}
	if t.lock != nil {
		errs = append(errs, t.lock.Close())
	}
	if t.own {
		errs = append(errs, t.dir.Close())
	}
	return errors.Join(errs...)
}
