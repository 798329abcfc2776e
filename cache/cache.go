package cache

import (
	"errors"
	"iter"
	"time"
)

// A Cache is what every cache in ashlar offers, and all that the compositions
// in this package ask for. It names no type of ashlar, so a cache from
// elsewhere satisfies it too.
//
// Get counts as a use of the entry and may change what is evicted next; Peek
// does not. Put stores value under key with the cache's default lifetime and
// is visible to the next Get of any goroutine. PutTTL does the same with a
// lifetime of its own: a positive ttl ends after that time, 0 stands for the
// default, and a negative one (see [Forever]) never ends. Delete reports
// whether the key was present. Len counts the entries held, which includes
// expired ones that nothing has touched yet. All iterates in the order that
// the implementation documents; its body may call back into the cache.
type Cache[K comparable, V any] interface {
	Get(key K) (value V, ok bool)
	Peek(key K) (value V, ok bool)
	Put(key K, value V)
	PutTTL(key K, value V, ttl time.Duration)
	Delete(key K) bool
	Len() int
	Clear()
	All() iter.Seq2[K, V]
}

// Forever is the lifetime of an entry that does not expire.
const Forever time.Duration = -1

// Options are the settings that every policy of ashlar understands. A nil
// *Options, like the zero value, is a cache that counts entries and never
// expires them.
type Options[K comparable, V any] struct {
	// TTL is the lifetime of an entry stored without one of its own.
	// 0 means that entries do not expire.
	TTL time.Duration

	// Jitter shortens each default lifetime by a random part of up to this
	// fraction of TTL, so that entries stored together do not expire
	// together. It must be in [0, 1). A lifetime given to PutTTL is taken as
	// it is.
	Jitter float64

	// Cost returns the cost of an entry, for example its size in bytes. The
	// capacity of the cache is then a sum of costs. It is called once for
	// every value stored, outside locks, and a negative result is taken as 0.
	// An entry that costs more than its shard can hold is not kept: it is
	// reported to OnRemoval as Rejected. Nil means that every entry costs 1.
	Cost func(key K, value V) int64

	// Objective is what a policy that weighs cost against use maximises. Of
	// the policies here that is tinylfu; for the others the order of eviction
	// does not depend on cost. It matters only with Cost.
	Objective Objective

	// OnRemoval is called once for every value that leaves the cache, after
	// it has left, with the reason. It runs in the goroutine whose call
	// removed the value, with no lock held, and may call back into the cache.
	OnRemoval func(key K, value V, reason Reason)

	// Shards is the number of independently locked parts, rounded up to a
	// power of two. 1 gives one exact eviction order over the whole cache;
	// 0 chooses by capacity and GOMAXPROCS, which is 1 for a small cache.
	Shards int

	// Now is the clock of a simulation or a test. Nil means the monotonic
	// clock of package time. It is only read for entries that expire, and with
	// a lock held: it must neither call the cache nor panic.
	Now func() time.Time
}

// An Objective is what eviction by cost tries to make as large as it can.
type Objective uint8

const (
	// ObjectHits is the share of requests that are hits: a large entry must
	// be used more often than a small one to keep its place.
	ObjectHits Objective = iota
	// ByteHits is the share of requested cost that is hit: cost does not
	// count against an entry.
	ByteHits
)

// A Reason says why a value left a cache.
type Reason uint8

const (
	// Evicted: the policy made room.
	Evicted Reason = iota
	// Expired: its lifetime was over.
	Expired
	// Deleted: Delete or Take removed it.
	Deleted
	// Replaced: another value was stored under the same key.
	Replaced
	// Cleared: Clear or Load emptied the cache.
	Cleared
	// Rejected: it cost more than the cache may hold and was never stored.
	Rejected
)

// String returns the name of the reason in lower case.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return "unknown"
}

var reasons = [...]string{"evicted", "expired", "deleted", "replaced", "cleared", "rejected"}

// Stats counts what happened in a cache since it was made. The counts add up:
//
//	Hits + Misses                                          = calls of Get
//	Inserts - Evictions - Expirations - Deletes - Clears   = Len
//
// GetOrPut and Take count as a Get too.
type Stats struct {
	Hits        uint64 // Gets that found a live entry
	Misses      uint64 // Gets that did not
	Inserts     uint64 // values stored under a key that was not there
	Updates     uint64 // values stored over another one
	Evictions   uint64 // entries removed to make room
	Expirations uint64 // entries removed because their lifetime was over
	Deletes     uint64 // entries removed by Delete or Take
	Clears      uint64 // entries removed by Clear or Load
	Rejections  uint64 // values not stored because they cost too much
}

// Sub returns what happened between the earlier stats o and s.
func (s Stats) Sub(o Stats) Stats {
	return Stats{
		Hits:        s.Hits - o.Hits,
		Misses:      s.Misses - o.Misses,
		Inserts:     s.Inserts - o.Inserts,
		Updates:     s.Updates - o.Updates,
		Evictions:   s.Evictions - o.Evictions,
		Expirations: s.Expirations - o.Expirations,
		Deletes:     s.Deletes - o.Deletes,
		Clears:      s.Clears - o.Clears,
		Rejections:  s.Rejections - o.Rejections,
	}
}

// HitRatio returns Hits / (Hits + Misses), or 0 before the first Get.
func (s Stats) HitRatio() float64 {
	if s.Hits+s.Misses == 0 {
		return 0
	}
	return float64(s.Hits) / float64(s.Hits+s.Misses)
}

// A Codec turns entries into bytes and back, for snapshots. Append appends
// the encoding of key and value to dst and returns the longer slice; Decode
// reads one entry that fills src exactly. Decode may keep parts of src.
type Codec[K comparable, V any] interface {
	Append(dst []byte, key K, value V) ([]byte, error)
	Decode(src []byte) (key K, value V, err error)
}

// ErrBadSnapshot is wrapped by every error of a Load whose input is not an
// intact snapshot of the same format version.
var ErrBadSnapshot = errors.New("cache: not an intact snapshot")
