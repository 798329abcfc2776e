package cacheserver

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/random"
	"github.com/ashlar-go/ashlar/lfu"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
)

// A value is what a key holds. It carries its own end, so that a value that
// was read back from the store still knows it.
type value struct {
	data []byte
	ends int64 // Unix milliseconds, 0 for never
}

func (v value) ttl(now time.Time) time.Duration {
	if v.ends == 0 {
		return cache.Forever
	}
	return max(1, time.UnixMilli(v.ends).Sub(now))
}

func (v value) over(now time.Time) bool { return v.ends != 0 && v.ends <= now.UnixMilli() }

// overhead is what an entry costs beside the bytes of key and value: the
// headers of both, its links, its places in table and heap, its deadline, and
// what the allocator rounds up. A test measures it.
const overhead = 136

func cost(key string, v value) int64 { return int64(len(key)+len(v.data)) + overhead }

// policyCache is what the server needs of a cache; every policy offers it.
type policyCache interface {
	cache.Cache[string, value]
	Scan(cursor uint64, n int, visit func(string, value) bool) (next uint64)
	Stats() cache.Stats
	Cost() int64
	Capacity() int
}

// policies are the names that -policy and CONFIG SET know.
var policies = []string{"tinylfu", "lru", "lfu", "random"}

// keyspace is the cache, the policy of which can change while it is in use,
// and what lies behind it: nothing, or a log and a store on disk.
//
// Writers of a key hold its stripe, so that reading a value, changing it and
// writing it back is one step. Everybody holds world for reading; who holds it
// alone may change the policy or empty everything. Lock order: world, stripes
// in ascending order.
type keyspace struct {
	world   sync.RWMutex
	stripes [512]sync.Mutex
	seed    maphash.Seed

	entries int // capacity in entries, or 0
	bytes   int // or in bytes
	policy  atomic.Pointer[string]
	current atomic.Pointer[policyCache]

	behind *cache.WriteBehind[string, value] // nil without a store
	log    *fileLog
	store  *fileStore

	removals [6]atomic.Uint64 // by reason
	past     cache.Stats      // of the policies before; guarded by world
}

func newKeyspace(policy string, entries, bytes int) (*keyspace, error) {
	k := &keyspace{seed: maphash.MakeSeed(), entries: entries, bytes: bytes}
	c, err := k.make(policy)
	if err != nil {
		return nil, err
	}
	k.policy.Store(&policy)
	k.current.Store(&c)
	return k, nil
}

// maxEntries is what any policy can be asked to hold.
const maxEntries = 1 << 30

// make returns an empty cache with that policy.
func (k *keyspace) make(policy string) (policyCache, error) {
	opts := &cache.Options[string, value]{OnRemoval: func(_ string, _ value, reason cache.Reason) { k.removals[reason].Add(1) }}
	capacity := k.entries
	if capacity == 0 {
		capacity = k.bytes
		opts.Cost = cost
	} else if capacity > maxEntries {
		return nil, fmt.Errorf("%d entries are more than %d", capacity, maxEntries)
	}
	switch policy {
	case "lru":
		return lru.New(capacity, opts), nil
	case "lfu":
		return lfu.NewAgeing(capacity, 10, opts), nil
	case "random":
		return random.New(capacity, opts), nil
	case "tinylfu":
		return tinylfu.New(capacity, opts), nil
	}
	return nil, fmt.Errorf("unknown policy %q, one of %q", policy, policies)
}

func (k *keyspace) cache() policyCache { return *k.current.Load() }

// switchable is the cache as the write-behind sees it: whatever the policy is
// now.
type switchable struct{ k *keyspace }

func (s switchable) Get(key string) (value, bool)  { return s.k.cache().Get(key) }
func (s switchable) Peek(key string) (value, bool) { return s.k.cache().Peek(key) }
func (s switchable) Put(key string, v value)       { s.k.cache().PutTTL(key, v, v.ttl(time.Now())) }
func (s switchable) PutTTL(key string, v value, ttl time.Duration) {
	s.k.cache().PutTTL(key, v, ttl)
}
func (s switchable) Delete(key string) bool        { return s.k.cache().Delete(key) }
func (s switchable) Len() int                      { return s.k.cache().Len() }
func (s switchable) Clear()                        { s.k.cache().Clear() }
func (s switchable) All() iter.Seq2[string, value] { return s.k.cache().All() }

// open puts the log and the store in dir behind the cache.
func (k *keyspace) open(ctx context.Context, dir string, sync syncMode, delay time.Duration, opts *cache.WriteBehindOptions) (err error) {
	if k.store, err = openFileStore(dir, delay); err != nil {
		return err
	}
	if k.log, err = openFileLog(dir, sync); err != nil {
		k.store.close()
		return err
	}
	k.behind, err = cache.OpenWriteBehind(ctx, switchable{k}, k.log, k.store, opts)
	if err != nil {
		k.store.close()
		k.log.close()
	}
	return err
}

// close brings everything to the store.
func (k *keyspace) close(ctx context.Context) error {
	if k.behind == nil {
		return nil
	}
	return firstError(k.behind.Close(ctx), k.log.close(), k.store.close())
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keyspace) flush(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := k.behind.Flush(ctx); err != nil {
		return firstError(k.behind.Err(), err)
	}
	return nil
}

func firstErrorOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// get returns the value of key, from the store if need be.
func (k *keyspace) get(ctx context.Context, key []byte) (v value, ok bool, err error) {
	if k.behind == nil {
		v, ok = k.cache().Get(string(key))
	} else {
		v, ok, err = k.behind.Get(ctx, string(key))
	}
	if ok && v.over(time.Now()) {
		return value{}, false, err
	}
	return v, ok, err
}

// peek is get without counting as a use, where the cache has the key.
func (k *keyspace) peek(ctx context.Context, key []byte) (v value, ok bool, err error) {
	if v, ok = k.cache().Peek(string(key)); ok && !v.over(time.Now()) {
		return v, true, nil
	}
	if k.behind == nil {
		return value{}, false, nil
	}
	return k.get(ctx, key)
}

// put stores v under key. It keeps v.data.
func (k *keyspace) put(ctx context.Context, key string, v value) error {
	return k.write(ctx, cache.Mutation[string, value]{Key: key, Value: v})
}

// write makes mutations, all of them or none.
func (k *keyspace) write(ctx context.Context, mutations ...cache.Mutation[string, value]) error {
	now := time.Now()
	for i := range mutations {
		m := &mutations[i]
		if !m.Delete && m.Value.over(now) { // stored for no time at all
			m.Delete, m.Value = true, value{}
		}
		if m.Value.ends != 0 {
			m.Expires = time.UnixMilli(m.Value.ends)
		}
	}
	if k.behind != nil {
		return k.behind.Write(ctx, mutations...)
	}
	c := k.cache()
	for _, m := range mutations {
		if m.Delete {
			c.Delete(m.Key)
		} else {
			c.PutTTL(m.Key, m.Value, m.Value.ttl(now))
		}
	}
	return nil
}

// tooLarge reports whether an entry cannot be cached at all.
func (k *keyspace) tooLarge(key []byte, size int) bool {
	return k.bytes > 0 && int64(len(key)+size)+overhead > int64(k.bytes)
}

// lock takes the stripes of keys and returns what gives them back.
func (k *keyspace) lock(keys ...[]byte) (unlock func()) {
	if len(keys) == 1 {
		mu := &k.stripes[k.stripe(keys[0])]
		mu.Lock()
		return mu.Unlock
	}
	stripes := make([]int, len(keys))
	for i, key := range keys {
		stripes[i] = k.stripe(key)
	}
	slices.Sort(stripes)
	stripes = slices.Compact(stripes)
	for _, i := range stripes {
		k.stripes[i].Lock()
	}
	return func() {
		for _, i := range stripes {
			k.stripes[i].Unlock()
		}
	}
}

func (k *keyspace) stripe(key []byte) int {
	return int(maphash.Bytes(k.seed, key) % uint64(len(k.stripes)))
}

// change moves all entries to a cache with another policy or capacity; 0
// leaves the capacity as it is.
func (k *keyspace) change(policy string, entries, bytes int) error {
	k.world.Lock()
	defer k.world.Unlock()
	oldEntries, oldBytes := k.entries, k.bytes
	if entries > 0 || bytes > 0 {
		k.entries, k.bytes = entries, bytes
	}
	next, err := k.make(policy)
	if err != nil {
		k.entries, k.bytes = oldEntries, oldBytes
		return err
	}
	old := k.cache()
	now := time.Now()
	for key, v := range old.All() {
		if !v.over(now) {
			next.PutTTL(key, v, v.ttl(now))
		}
	}
	// The moves are no work of the clients.
	k.past = k.past.Sub(cache.Stats{}.Sub(old.Stats())).Sub(next.Stats())
	k.policy.Store(&policy)
	k.current.Store(&next)
	return nil
}

// stats returns the counts of all policies so far.
func (k *keyspace) stats() cache.Stats {
	k.world.RLock()
	defer k.world.RUnlock()
	return k.past.Sub(cache.Stats{}.Sub(k.cache().Stats()))
}

// clear empties the cache and what lies behind it. The log goes first, since
// the next start would bring back what it holds; until the store is cleared as
// well, in one step, a crash loses nothing.
//
// A store that takes nothing ends it before everybody has to wait.
func (k *keyspace) clear(ctx context.Context) error {
	if k.behind != nil {
		if err := k.flush(ctx, 10*time.Second); err != nil {
			return err
		}
	}
	k.world.Lock()
	defer k.world.Unlock()
	if k.behind != nil {
		if err := firstErrorOf(
			func() error { return k.flush(ctx, time.Second) }, // what came in meanwhile
			k.log.clear,
			k.store.clear,
		); err != nil {
			return err
		}
	}
	k.cache().Clear()
	return nil
}
