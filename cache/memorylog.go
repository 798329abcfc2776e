package cache

import (
	"context"
	"iter"
	"slices"
	"sync"
)

// A MemoryLog is a [Log] in memory: a [WriteBehind] over it loses what is
// pending when the process ends. It is for tests, and for those who want the
// batches and can do without the rest. The zero value is an empty log.
//
// A MemoryLog is safe for concurrent use by multiple goroutines.
type MemoryLog[K comparable, V any] struct {
	mu      sync.Mutex
	records []Record[K, V]
	last    uint64
}

// Append implements [Log]. It never fails.
func (l *MemoryLog[K, V]) Append(_ context.Context, mutations []Mutation[K, V]) (last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range mutations {
		l.last++
		l.records = append(l.records, Record[K, V]{l.last, m})
	}
	return l.last, nil
}

// Replay implements [Log]. It iterates over what the log holds when the loop
// begins.
func (l *MemoryLog[K, V]) Replay(ctx context.Context) iter.Seq2[Record[K, V], error] {
	return func(yield func(Record[K, V], error) bool) {
		l.mu.Lock()
		records := slices.Clone(l.records)
		l.mu.Unlock()
		for _, r := range records {
			if err := ctx.Err(); err != nil {
				yield(Record[K, V]{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Checkpoint implements [Log]. It never fails.
func (l *MemoryLog[K, V]) Checkpoint(_ context.Context, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, _ := slices.BinarySearchFunc(l.records, seq, func(r Record[K, V], seq uint64) int {
		if r.Seq <= seq {
			return -1
		}
		return 1
	})
	l.records = slices.Delete(l.records, 0, n)
	return nil
}

// Len returns the number of mutations since the last checkpoint.
func (l *MemoryLog[K, V]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}
