package kvstore

import (
	"sync"
	"time"
)

// expiries remembers roughly how many bytes of a segment end when, so that a
// merge finds those that are worth it.
type expiries struct {
	mu      sync.Mutex
	width   int64 // of a bucket, milliseconds
	buckets map[int64]int64
}

const (
	expiryBuckets = 64
	expiryWidth   = 1000
)

// add notes size bytes that end at a time.
func (e *expiries) add(expires int64, size uint32) {
	if expires == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.buckets == nil {
		e.buckets, e.width = map[int64]int64{}, expiryWidth
	}
	e.buckets[expires/e.width] += int64(size)
	for len(e.buckets) > expiryBuckets {
		e.width *= 2
		folded := make(map[int64]int64, expiryBuckets)
		for at, n := range e.buckets {
			folded[at/2] += n
		}
		e.buckets = folded
	}
}

// ended returns how many bytes have ended at a time, but for the last bucket.
func (e *expiries) ended(now int64) (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for at, bytes := range e.buckets {
		if (at+1)*e.width <= now {
			n += bytes
		}
	}
	return n
}

// expiryOf returns when a write ends, in milliseconds, or 0.
func expiryOf(opts *WriteOptions, now func() time.Time) int64 {
	if opts == nil {
		return 0
	}
	if !opts.Expires.IsZero() {
		return max(opts.Expires.UnixMilli(), 1)
	}
	return expiryAfter(opts.TTL, now)
}

func expiryAfter(ttl time.Duration, now func() time.Time) int64 {
	if ttl == 0 {
		return 0
	}
	if ttl < 0 {
		return 1 // long ago
	}
	return max(now().Add(ttl+time.Millisecond-1).UnixMilli(), 1)
}
