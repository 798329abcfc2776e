package cachetest

import (
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// Fuzz turns bytes into operations on a cache that config.New makes, and
// compares it after each with a model: a plain map of what OnRemoval has not
// reported. Call it from a fuzz target:
//
//	func FuzzCache(f *testing.F) { cachetest.Fuzz(f, cachetest.Config{New: …}) }
//
// The first two bytes choose the capacity, the shards and the options; each
// operation takes two more.
func Fuzz(f *testing.F, config Config) {
	if config.Without&Callbacks != 0 {
		f.Skip("the model follows OnRemoval, which the cache does not have")
	}
	f.Add([]byte("\x04\x00a1b2c3d4e5f6g7h8i9j0"))
	f.Add([]byte("\x01\x07\x00\x01\x20\x02\x41\x03\x62\x04\x83\x05\xa4\x06\xc5\x07\xe6\x08\x00\x09"))
	f.Add([]byte("\x10\x03aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 4096 {
			return
		}
		r := newReplay(t, config, data[0], data[1])
		for i := 2; i+1 < len(data) && !t.Failed(); i += 2 {
			r.step(data[i], int(data[i+1]))
			if t.Failed() {
				t.Fatalf("step %d: operation %d with %d", i/2, data[i]%16, data[i+1])
			}
		}
	})
}

// A replay is one run of operations against the model.
type replay struct {
	t        *testing.T
	config   Config
	c        ints
	clock    clock
	capacity int
	costs    bool
	ttl      time.Duration
	model    ledger
	ends     map[int]time.Time // by value; none for ever
	serial   int
}

// costOf is at most 4, so that entries fit where a capacity of 16 or more is
// split in four.
func costOf(value int) int64 { return int64(value % 5) }

func newReplay(t *testing.T, config Config, size, flags byte) *replay {
	r := &replay{t: t, config: config, capacity: 1 + int(size)%64, ends: map[int]time.Time{}}
	r.model = ledger{t: t, in: map[int]int{}}
	opts := options{Now: r.clock.now, OnRemoval: func(key, value int, reason cache.Reason) {
		if reason == cache.Expired && !r.expired(value) {
			t.Errorf("OnRemoval(%d, %d, %v) before its end", key, value, reason)
		}
		r.model.removed(key, value, reason)
		delete(r.ends, value)
	}, Shards: 1}
	if flags&1 != 0 {
		opts.Shards = 4
	}
	if flags&2 != 0 && config.Without&Costs == 0 {
		r.costs = true
		r.capacity += 16
		opts.Cost = func(_, value int) int64 { return costOf(value) }
	}
	if flags&4 != 0 && config.Without&Expiry == 0 {
		r.ttl = 20
		opts.TTL = r.ttl
	}
	r.c = config.New(r.capacity, &opts)
	return r
}

func (r *replay) expired(value int) bool {
	end, ends := r.ends[value]
	return ends && !r.clock.now().Before(end)
}

// step does one operation. Keys are few, so that they collide.
func (r *replay) step(op byte, arg int) {
	key := arg % 96
	switch op % 16 {
	case 0, 1, 2, 3:
		r.put(key, 0, func(value int) { r.c.Put(key, value) })
	case 4:
		ttl := time.Duration(arg%30) - 1
		if r.config.Without&Expiry != 0 {
			ttl = 0
		}
		r.put(key, ttl, func(value int) { r.c.PutTTL(key, value, ttl) })
	case 5, 6, 7, 8:
		r.look(key, "Get", r.c.Get)
	case 9:
		r.look(key, "Peek", r.c.Peek)
	case 10:
		_, live := r.live(key)
		if got := r.c.Delete(key); got != live {
			r.t.Errorf("Delete(%d) = %v, want %v", key, got, live)
		}
		r.gone(key)
	case 11:
		r.clock.advance(time.Duration(arg % 16))
	case 12:
		if has, ok := r.c.(resizer); ok && arg%4 == 0 {
			r.capacity = 16 + arg
			has.Resize(r.capacity)
		}
	case 13:
		if arg%8 == 0 {
			r.c.Clear()
			if len(r.model.in) != 0 || r.c.Len() != 0 {
				r.t.Errorf("%d values are unreported and Len() = %d after Clear", len(r.model.in), r.c.Len())
			}
		}
	case 14:
		if has, ok := r.c.(taker); ok {
			r.look(key, "Take", has.Take)
			r.gone(key)
		}
	case 15:
		if has, ok := r.c.(sweeper); ok {
			has.DeleteExpired()
			for value, key := range r.model.in {
				if r.expired(value) {
					r.t.Errorf("%d = %d is still held after DeleteExpired", key, value)
				}
			}
		}
	}
	r.check()
}

// live returns the value that the model has under key, if it has not expired.
func (r *replay) live(key int) (int, bool) {
	for value, k := range r.model.in {
		if k == key && !r.expired(value) {
			return value, true
		}
	}
	return 0, false
}

func (r *replay) put(key int, ttl time.Duration, put func(value int)) {
	r.serial++
	value := r.serial
	if ttl == 0 {
		ttl = r.ttl
	}
	r.model.put(key, value)
	if ttl > 0 {
		r.ends[value] = r.clock.now().Add(ttl)
	}
	put(value)
	if got, ok := r.c.Peek(key); !ok || got != value {
		r.t.Errorf("Peek(%d) = %d, %v right after %d was put", key, got, ok, value)
	}
}

func (r *replay) look(key int, name string, get func(int) (int, bool)) {
	want, live := r.live(key)
	if got, ok := get(key); got != want || ok != live {
		r.t.Errorf("%s(%d) = %d, %v, want %d, %v", name, key, got, ok, want, live)
	}
}

func (r *replay) gone(key int) {
	if _, live := r.live(key); live {
		r.t.Errorf("OnRemoval was not told that %d was deleted", key)
	}
	if v, ok := r.c.Peek(key); ok {
		r.t.Errorf("Peek(%d) = %d after it was deleted", key, v)
	}
}

// check compares the whole cache with the model.
func (r *replay) check() {
	r.model.check(r.c, true)
	cost := int64(0)
	for value, key := range r.model.in {
		_, ok := r.c.Peek(key)
		if ok == r.expired(value) {
			r.t.Errorf("Peek(%d) = %v, expired: %v", key, ok, r.expired(value))
		}
		cost += costOf(value)
	}
	held := int64(r.c.Len())
	if r.costs {
		held = cost
	}
	if held > int64(r.capacity) {
		r.t.Errorf("the cache holds %d, its capacity is %d", held, r.capacity)
	}
	if has, ok := r.c.(coster); ok && has.Cost() != held {
		r.t.Errorf("Cost() = %d, want %d", has.Cost(), held)
	}
	if has, ok := r.c.(stater); ok {
		wantSum(r.t, r.c, has.Stats())
	}
}
