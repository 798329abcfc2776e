package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// FuzzWriteBehind turns bytes into writes, reads, outages of the store and of
// the log, and crashes, and checks that what was acknowledged is what is
// read: the model is a map.
func FuzzWriteBehind(f *testing.F) {
	f.Add([]byte("aAbBcCdDeEfFgGhHiIjJ"))
	f.Add([]byte{0, 1, 8, 0, 0, 2, 0, 3, 12, 0, 4, 2, 11, 0, 0, 1, 12, 0, 8, 0, 9, 0, 5, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 512 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			h := &history{t: t, model: map[string]mutation{}, log: &journal{}, store: newDisk(t)}
			h.w = open(t, 3, h.log, h.store, nil)
			for i := 0; i+1 < len(data) && !t.Failed(); i += 2 {
				h.step(data[i], data[i+1])
			}
			h.check()
			h.store.set(0, nil)
			h.log.set(nil, false)
			require.NoError(t, h.w.Close(t.Context()))
			require.NoError(t, h.w.CheckIdle())
			h.checkStore()
		})
	})
}

type history struct {
	t      *testing.T
	model  map[string]mutation // what was acknowledged last
	log    *journal
	store  *disk
	w      *cache.WriteBehind[string, int]
	serial int
}

func (h *history) step(op, arg byte) {
	key := fmt.Sprint(arg % 12)
	h.serial++
	switch op % 13 {
	case 0, 1, 2:
		h.write(mutation{Key: key, Value: h.serial})
	case 3:
		h.write(mutation{Key: key, Value: h.serial, Expires: time.Now().Add(time.Duration(arg) * time.Second)})
	case 4:
		h.write(mutation{Key: key, Delete: true})
	case 5, 6:
		h.read(key)
	case 7:
		h.write(mutation{Key: key, Value: h.serial}, mutation{Key: fmt.Sprint(arg % 7), Value: -h.serial})
	case 8:
		h.store.set(time.Duration(arg%3)*time.Second, errDown)
	case 9:
		h.store.set(time.Duration(arg%3)*time.Second, nil)
	case 10:
		h.log.set(nil, arg%2 == 0)
		if arg%4 == 3 {
			h.log.set(errDown, false)
		}
	case 11:
		time.Sleep(time.Duration(arg) * time.Second)
	case 12:
		crash(h.t, h.w)
		if h.w.Close(h.t.Context()); arg%8 == 0 {
			h.store.set(0, nil) // so that OpenWriteBehind may have to apply
		}
		opts := &cache.WriteBehindOptions{MaxBatch: 1 + int(arg)%5, Delay: time.Duration(arg%2) * time.Minute}
		h.w = open(h.t, 1+int(arg)%20, h.log, h.store, opts)
		h.check()
	}
}

func (h *history) write(mutations ...mutation) {
	err := h.w.Write(h.t.Context(), mutations...)
	if err != nil {
		require.ErrorIs(h.t, err, errDown)
		return
	}
	for _, m := range mutations {
		h.model[m.Key] = m
	}
}

func (h *history) read(key string) {
	got, ok, err := h.w.Get(h.t.Context(), key)
	want := h.model[key]
	// A read of the store takes time, so the end is looked at afterwards.
	live := want.Value != 0 && (want.Expires.IsZero() || time.Now().Before(want.Expires))
	if err != nil || ok != live || ok && got != want.Value {
		h.t.Errorf("Get(%q) = %d, %v, %v, want %+v", key, got, ok, err, want)
	}
}

func (h *history) check() {
	for i := range 12 {
		h.read(fmt.Sprint(i))
	}
}

func (h *history) checkStore() {
	values := h.store.values()
	for key, m := range h.model {
		if got, ok := values[key]; ok == m.Delete || got != m.Value {
			h.t.Errorf("the store has %q = %d, %v, want %+v", key, got, ok, m)
		}
	}
	if h.log.Len() != 0 && len(h.model) > 0 {
		require.NoError(h.t, h.log.MemoryLog.Checkpoint(h.t.Context(), 1<<62))
	}
}

// Each goroutine owns keys and must read what it wrote; all read all keys,
// whose values must only grow. The cache is small, so that the reads come
// from everywhere.
func TestWriteBehindConcurrentSafe(t *testing.T) {
	const owners, each, rounds = 6, 3, 600
	log, store := &cache.MemoryLog[string, int]{}, newDisk(t)
	w := open(t, 4, log, store, &cache.WriteBehindOptions{MaxPending: 8, MaxBatch: 4, RetryMin: 1, RetryMax: 1000})
	stop := make(chan struct{})
	var outages sync.WaitGroup
	outages.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				store.set(0, nil)
				return
			default:
			}
			store.set(0, []error{nil, errDown}[i%2])
			w.Get(context.Background(), "outage")
		}
	})
	name := func(owner, i int) string { return fmt.Sprint(owner, ".", i) }
	var wg sync.WaitGroup
	for owner := range owners {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(owner)))
			seen := map[string]int{}
			for value := 1; value <= rounds; value++ {
				key := name(owner, rng.IntN(each))
				if value%10 == 0 {
					if err := w.Delete(context.Background(), key); err != nil {
						t.Errorf("Delete: %v", err)
					}
					if got, ok, err := w.Get(context.Background(), key); ok || err != nil {
						t.Errorf("Get(%q) = %d, %v, %v after Delete", key, got, ok, err)
					}
				}
				if err := w.Put(context.Background(), key, value); err != nil {
					t.Errorf("Put: %v", err)
				}
				if got, ok, err := w.Get(context.Background(), key); got != value || !ok || err != nil {
					t.Errorf("Get(%q) = %d, %v, %v, want %d, which was put", key, got, ok, err, value)
				}
				other := name(rng.IntN(owners), rng.IntN(each))
				got, ok, err := w.Get(context.Background(), other)
				if ok && got < seen[other] || err != nil {
					t.Errorf("Get(%q) = %d, %v after %d", other, got, err, seen[other])
				}
				if ok {
					seen[other] = got
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	outages.Wait()
	require.NoError(t, w.Close(t.Context()))
	require.NoError(t, w.CheckIdle())
	require.Zero(t, log.Len())
	for key, value := range store.values() {
		if value > rounds {
			t.Errorf("the store has %q = %d", key, value)
		}
	}
	reopened := lru.New[string, int](100, nil)
	again, err := cache.OpenWriteBehind(t.Context(), reopened, log, store, nil)
	require.NoError(t, err)
	require.Zero(t, again.Stats().Replayed)
	require.NoError(t, again.Close(t.Context()))
}
