package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

func open(t *testing.T, capacity int, log cache.Log[string, int], store cache.Store[string, int], opts *cache.WriteBehindOptions) *cache.WriteBehind[string, int] {
	t.Helper()
	w, err := cache.OpenWriteBehind(t.Context(), lru.New[string, int](capacity, nil), log, store, opts)
	require.NoError(t, err)
	return w
}

// crash ends a WriteBehind without letting the store have anything more.
func crash(t *testing.T, w *cache.WriteBehind[string, int]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Close(ctx)
	synctest.Wait()
}

func wantHeld(t *testing.T, w *cache.WriteBehind[string, int], key string, want int, wantOK bool) {
	t.Helper()
	if got, ok, err := w.Get(t.Context(), key); got != want || ok != wantOK || err != nil {
		t.Errorf("Get(%q) = %d, %v, %v, want %d, %v", key, got, ok, err, want, wantOK)
	}
}

func TestWriteBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.rows["old"] = mutation{Key: "old", Value: 9}
		store.set(time.Second, nil)
		w := open(t, 100, log, store, nil)
		began := time.Now()
		require.NoError(t, w.Put(t.Context(), "a", 1))
		require.NoError(t, w.Put(t.Context(), "b", 2))
		require.NoError(t, w.Delete(t.Context(), "b"))
		require.NoError(t, w.Write(t.Context(), mutation{Key: "c", Value: 3}, mutation{Key: "d", Value: 4}, mutation{Key: "c", Value: 5}))
		require.NoError(t, w.Write(t.Context()))
		wantHeld(t, w, "a", 1, true)
		wantHeld(t, w, "b", 0, false)
		wantHeld(t, w, "c", 5, true)
		require.Zero(t, time.Since(began), "writes and hits do not wait for the store")
		wantHeld(t, w, "old", 9, true)
		wantHeld(t, w, "old", 9, true)
		store.wantReads(t, 1)
		require.NoError(t, w.Flush(t.Context()))
		require.Equal(t, map[string]int{"old": 9, "a": 1, "c": 5, "d": 4}, store.values())
		require.Zero(t, log.Len(), "the log may forget what the store has")
		st := w.Stats()
		require.Equal(t, uint64(6), st.Writes)
		require.Equal(t, uint64(6), st.Applied+st.Coalesced)
		require.Zero(t, st.Pending)
		require.Zero(t, st.Failures)

		require.NoError(t, w.Put(t.Context(), "a", 10))
		require.NoError(t, w.Close(t.Context()))
		require.NoError(t, w.CheckIdle())
		require.Equal(t, 10, store.values()["a"], "Close leaves nothing behind")
		require.NoError(t, w.Close(t.Context()))
		require.ErrorIs(t, w.Put(t.Context(), "a", 11), cache.ErrClosed)
		require.NoError(t, w.Flush(t.Context()))
		wantHeld(t, w, "a", 10, true)
		_, _, err := w.Get(t.Context(), "z")
		require.ErrorIs(t, err, cache.ErrClosed)
	})
}

// The store is down for an hour. Writes go on, nothing is lost, and what the
// cache evicts is still read.
func TestWriteBehindStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.set(0, errDown)
		w := open(t, 4, log, store, &cache.WriteBehindOptions{MaxBatch: 16})
		want := map[string]int{}
		began := time.Now()
		for i := range 100 {
			key := fmt.Sprint("k", i%40)
			require.NoError(t, w.Put(t.Context(), key, i))
			want[key] = i
			if i%10 == 9 {
				require.NoError(t, w.Delete(t.Context(), key))
				delete(want, key)
			}
			time.Sleep(36 * time.Second)
		}
		require.ErrorIs(t, w.Err(), errDown)
		for i := range 40 {
			key := fmt.Sprint("k", i)
			wantHeld(t, w, key, want[key], want[key] != 0)
		}
		require.Equal(t, time.Hour, time.Since(began), "writes and reads did not wait for the store")
		require.Empty(t, log.checkpointed())
		store.wantReads(t, 0) // the row is older
		_, failed, _ := store.seen()
		require.Less(t, failed, 150, "with pauses of up to a minute")
		require.Greater(t, failed, 50)
		st := w.Stats()
		require.Equal(t, uint64(failed), st.Failures)
		require.LessOrEqual(t, st.Pending, 40+16, "one waiting mutation a key, and the batch that fails")

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, w.Flush(ctx), context.DeadlineExceeded)
		store.set(0, nil)
		require.NoError(t, w.Flush(t.Context()))
		require.NoError(t, w.Err())
		require.Equal(t, want, store.values())
		require.Zero(t, log.Len())
		require.NoError(t, w.Close(t.Context()))
	})
}

func TestWriteBehindCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.set(0, errDown)
		w := open(t, 4, log, store, nil)
		require.NoError(t, w.Put(t.Context(), "a", 1))
		flushed := make(chan error, 1)
		go func() { flushed <- w.Flush(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "1 mutations")
		require.ErrorIs(t, <-flushed, cache.ErrClosed)
		require.Error(t, w.Close(t.Context()))
		require.Equal(t, 1, log.Len())

		store.set(0, nil)
		w = open(t, 4, log, store, nil)
		require.Equal(t, uint64(1), w.Stats().Replayed)
		wantHeld(t, w, "a", 1, true)
		require.NoError(t, w.Close(t.Context()))
		require.Equal(t, map[string]int{"a": 1}, store.values())
	})
}

// A log that fails: nothing is acknowledged, nothing is visible.
func TestWriteBehindLogFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		w := open(t, 4, log, store, &cache.WriteBehindOptions{MaxPending: 2})
		require.NoError(t, w.Put(t.Context(), "a", 1))
		log.set(errDown, false)
		for range 5 { // and takes no room
			require.ErrorIs(t, w.Put(t.Context(), "a", 2), errDown)
			require.ErrorIs(t, w.Delete(t.Context(), "a"), errDown)
		}
		wantHeld(t, w, "a", 1, true)
		log.set(nil, false)
		require.NoError(t, w.Put(t.Context(), "a", 3))
		wantHeld(t, w, "a", 3, true)
		require.Equal(t, uint64(10), w.Stats().Rejected)

		log.set(nil, true) // costs a longer replay, nothing else
		require.NoError(t, w.Put(t.Context(), "b", 4))
		require.NoError(t, w.Close(t.Context()))
		require.Equal(t, map[string]int{"a": 3, "b": 4}, store.values())
		require.NotZero(t, log.Len())
		log.set(nil, false)
		w = open(t, 4, log, store, nil)
		require.NoError(t, w.Close(t.Context()))
		require.Equal(t, map[string]int{"a": 3, "b": 4}, store.values())
		require.Zero(t, log.Len())
	})
}

// Callers who come while the log is busy share the next Append.
func TestWriteBehindGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{takes: time.Millisecond}, newDisk(t)
		w := open(t, 1000, log, store, nil)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := w.Put(t.Context(), fmt.Sprint(i), i); err != nil {
					t.Errorf("Put: %v", err)
				}
			})
			if i == 0 {
				synctest.Wait() // its Append has begun
			}
		}
		wg.Wait()
		require.Equal(t, 2, log.appends, "the first, and all the others together")
		require.Equal(t, uint64(2), w.Stats().Appends)
		require.NoError(t, w.Close(t.Context()))
		require.Len(t, store.values(), 100)
	})
}

// Close lets writes end that are on their way to the log.
func TestWriteBehindCloseDuringAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{takes: time.Second}, newDisk(t)
		w := open(t, 1000, log, store, nil)
		acknowledged := make(chan error, 3)
		for i := range 3 {
			go func() { acknowledged <- w.Put(t.Context(), fmt.Sprint(i), i) }()
		}
		synctest.Wait() // one is being appended, two wait for the next turn
		require.NoError(t, w.Close(t.Context()))
		for range 3 {
			require.NoError(t, <-acknowledged)
		}
		require.Equal(t, map[string]int{"0": 0, "1": 1, "2": 2}, store.values())
		require.NoError(t, w.CheckIdle())
	})
}

func TestWriteBehindBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		w := open(t, 1000, log, store, &cache.WriteBehindOptions{MaxBatch: 10, Delay: time.Minute})
		for i := range 9 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i), i))
			require.NoError(t, w.Put(t.Context(), "0", i))
		}
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		store.wantBatches(t, 0) // before the delay is over
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		first := store.wantBatches(t, 1)[0]
		require.Len(t, first, 9)
		require.Equal(t, mutation{Key: "0", Value: 8}, first[0], "the last write of a key counts")
		require.Equal(t, uint64(9), w.Stats().Coalesced)

		for i := range 25 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i), i))
		}
		synctest.Wait()
		store.wantBatches(t, 3) // full batches do not wait
		require.NoError(t, w.Flush(t.Context()))
		store.wantBatches(t, 4) // Flush does not wait for the delay
		require.NoError(t, w.Put(t.Context(), "a", 1))
		synctest.Wait()
		store.wantBatches(t, 4)
		began := time.Now()
		require.NoError(t, w.Close(t.Context()))
		require.Zero(t, time.Since(began))
		store.wantBatches(t, 5)
	})
}

// A write of a key that is being applied comes in a later batch.
func TestWriteBehindOrderPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.set(time.Second, nil)
		w := open(t, 1, log, store, nil)
		require.NoError(t, w.Put(t.Context(), "a", 1))
		synctest.Wait() // on its way
		require.NoError(t, w.Put(t.Context(), "a", 2))
		require.NoError(t, w.Put(t.Context(), "a", 3))
		require.NoError(t, w.Put(t.Context(), "b", 1)) // evicts a
		wantHeld(t, w, "a", 3, true)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 1, store.values()["a"])
		require.Equal(t, []uint64{1}, log.checkpointed())
		wantHeld(t, w, "a", 3, true) // not the older row
		require.NoError(t, w.Close(t.Context()))
		require.Equal(t, 3, store.values()["a"])
		require.Equal(t, []uint64{1, 4}, log.checkpointed())
	})
}

func TestWriteBehindBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.set(0, errDown)
		w := open(t, 100, log, store, &cache.WriteBehindOptions{MaxPending: 4})
		for i := range 4 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i), i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, w.Put(ctx, "x", 1), context.DeadlineExceeded)
		wantHeld(t, w, "x", 0, false)
		require.Equal(t, 4, log.Len())
		require.ErrorIs(t, w.Write(t.Context(), make([]mutation, 5)...), cache.ErrFull)

		waiting := make(chan error, 3)
		for i := range 3 {
			go func() { waiting <- w.Put(t.Context(), fmt.Sprint("w", i), i) }()
		}
		synctest.Wait()
		require.Empty(t, waiting)
		store.set(0, nil)
		for range 3 {
			require.NoError(t, <-waiting)
		}
		require.NoError(t, w.Flush(t.Context()))
		require.Len(t, store.values(), 7)

		store.set(0, errDown)
		for i := range 4 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i), i))
		}
		go func() { waiting <- w.Put(t.Context(), "late", 1) }()
		synctest.Wait()
		crash(t, w)
		require.ErrorIs(t, <-waiting, cache.ErrClosed)

		w = open(t, 100, &journal{}, store, &cache.WriteBehindOptions{MaxPending: 1, FailWhenFull: true})
		require.NoError(t, w.Put(t.Context(), "a", 1))
		require.ErrorIs(t, w.Put(t.Context(), "b", 1), cache.ErrFull)
		crash(t, w)
	})
}

func TestWriteBehindLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		w := open(t, 2, log, store, nil)
		require.NoError(t, w.PutTTL(t.Context(), "a", 1, time.Minute))
		require.NoError(t, w.PutTTL(t.Context(), "b", 2, cache.Forever))
		require.NoError(t, w.PutTTL(t.Context(), "c", 3, 0))
		require.NoError(t, w.Flush(t.Context()))
		time.Sleep(time.Minute - 1)
		wantHeld(t, w, "a", 1, true) // was evicted, comes back with what is left of its lifetime
		store.wantReads(t, 1)
		time.Sleep(time.Nanosecond)
		wantHeld(t, w, "a", 0, false)
		wantHeld(t, w, "a", 0, false) // the row of the store is over as well
		wantHeld(t, w, "b", 2, true)
		wantHeld(t, w, "c", 3, true)

		store.set(0, errDown) // now in the pending set alone
		require.NoError(t, w.PutTTL(t.Context(), "d", 4, time.Second))
		require.NoError(t, w.Put(t.Context(), "e", 5))
		require.NoError(t, w.Put(t.Context(), "f", 6))
		wantHeld(t, w, "d", 4, true)
		value, ok := w.Peek("d")
		require.True(t, ok)
		require.Equal(t, 4, value)
		time.Sleep(time.Second)
		wantHeld(t, w, "d", 0, false)
		_, ok = w.Peek("d")
		require.False(t, ok)
		crash(t, w)

		store.set(0, nil) // a lifetime goes on over a restart
		_, err := log.Append(t.Context(), []mutation{{Key: "g", Value: 7, Expires: time.Now().Add(time.Hour)}})
		require.NoError(t, err)
		w = open(t, 2, log, store, nil)
		time.Sleep(time.Hour - 1)
		wantHeld(t, w, "g", 7, true)
		time.Sleep(time.Nanosecond)
		wantHeld(t, w, "g", 0, false)
		require.NoError(t, w.Close(t.Context()))
	})
}

func TestWriteBehindReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		store.rows["a"] = mutation{Key: "a", Value: 1}
		store.set(time.Second, nil)
		w := open(t, 100, log, store, nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { wantHeld(t, w, "a", 1, true) })
		}
		wg.Wait()
		store.wantReads(t, 1) // concurrent reads of a key are one

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _, err := w.Get(ctx, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, _, err = w.Get(ctx, "c")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		store.wantReads(t, 2) // nothing is read for a caller whose context is over
		_, ok := w.Peek("b")
		require.False(t, ok)

		store.readErr = errDown
		_, _, err = w.Get(t.Context(), "b")
		require.ErrorIs(t, err, errDown)
		store.readErr = nil
		wantHeld(t, w, "b", 0, false)
		require.NoError(t, w.Close(t.Context()))
	})
}

// A row that was read before a write must not get into the cache after it.
func TestWriteBehindReadLosesAgainstWrite(t *testing.T) {
	for _, del := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, store := &journal{}, newDisk(t)
			store.rows["a"] = mutation{Key: "a", Value: 1}
			w := open(t, 100, log, store, nil)
			store.set(time.Second, nil)
			go w.Get(t.Context(), "a")
			synctest.Wait() // has read the row, is on its way back
			store.set(0, nil)
			if del {
				require.NoError(t, w.Delete(t.Context(), "a"))
			} else {
				require.NoError(t, w.Put(t.Context(), "a", 2))
			}
			require.NoError(t, w.Flush(t.Context()))
			time.Sleep(time.Minute)
			if del {
				wantHeld(t, w, "a", 0, false)
			} else {
				wantHeld(t, w, "a", 2, true)
			}
			require.NoError(t, w.Close(t.Context()))
		})
	}
}

// A hook is a context that does something when it is first asked.
type hook struct {
	context.Context
	do func()
}

func (h *hook) Err() error {
	if do := h.do; do != nil {
		h.do = nil
		do()
	}
	return h.Context.Err()
}

// A write between the moment when a reader finds nothing and the moment when
// it turns to the store is not missed, even if the cache has evicted it.
func TestWriteBehindReadLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newDisk(t)
		store.rows["a"] = mutation{Key: "a", Value: 1}
		store.set(0, errDown)
		w := open(t, 1, &journal{}, store, nil)
		ctx := &hook{Context: t.Context(), do: func() {
			require.NoError(t, w.Put(t.Context(), "a", 2))
			require.NoError(t, w.Put(t.Context(), "b", 3))
		}}
		value, ok, err := w.Get(ctx, "a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 2, value)
		require.Nil(t, ctx.do)
		crash(t, w)
	})
}

func TestWriteBehindReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &journal{}, newDisk(t)
		w := open(t, 100, log, store, nil)
		require.NoError(t, w.Put(t.Context(), "a", 1))
		require.NoError(t, w.Flush(t.Context()))
		store.set(0, errDown)
		for i := range 50 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i%20), i))
		}
		require.NoError(t, w.Delete(t.Context(), "a"))
		crash(t, w)
		require.Equal(t, 51, log.Len())

		// More than fits is applied while opening, for which ctx is the bound.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		full := lru.New[string, int](100, nil)
		full.Put("a", 100) // nobody knows how old
		_, err := cache.OpenWriteBehind(ctx, full, log, store, &cache.WriteBehindOptions{MaxPending: 5})
		require.ErrorIs(t, err, errDown)
		store.set(0, nil)
		w, err = cache.OpenWriteBehind(t.Context(), full, log, store, &cache.WriteBehindOptions{MaxPending: 5})
		require.NoError(t, err)
		wantHeld(t, w, "a", 0, false)
		for i := range 20 {
			want := i + 20
			if i < 10 {
				want = i + 40
			}
			wantHeld(t, w, fmt.Sprint(i), want, true)
		}
		require.NoError(t, w.Close(t.Context()))
		require.Len(t, store.values(), 20)

		log.broken = errors.New("bad checksum at byte 42")
		_, err = cache.OpenWriteBehind(t.Context(), full, log, store, nil)
		require.ErrorIs(t, err, log.broken)
		require.Panics(t, func() {
			cache.OpenWriteBehind(t.Context(), full, log, store, &cache.WriteBehindOptions{MaxBatch: -1})
		})
	})
}

// Callbacks of the cache may write.
func TestWriteBehindCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *cache.WriteBehind[string, int]
		evicted := map[string]int{}
		store := newDisk(t)
		small := lru.New(2, &lru.Options[string, int]{OnRemoval: func(key string, value int, reason cache.Reason) {
			if w == nil || reason != cache.Evicted {
				return
			}
			evicted[key] = value
			require.NoError(t, w.Put(t.Context(), "last evicted", value))
			w.Peek(key)
		}})
		var err error
		w, err = cache.OpenWriteBehind(t.Context(), small, &cache.MemoryLog[string, int]{}, store, nil)
		require.NoError(t, err)
		for i := range 10 {
			require.NoError(t, w.Put(t.Context(), fmt.Sprint(i), i))
			wantHeld(t, w, fmt.Sprint(i), i, true)
		}
		require.NotEmpty(t, evicted)
		require.NoError(t, w.Close(t.Context()))
		require.Len(t, store.values(), 11)
	})
}

func TestMemoryLog(t *testing.T) {
	var log cache.MemoryLog[string, int]
	replayed := func() (seqs []uint64) {
		for record, err := range log.Replay(t.Context()) {
			require.NoError(t, err)
			seqs = append(seqs, record.Seq)
		}
		return seqs
	}
	require.Empty(t, replayed())
	last, err := log.Append(t.Context(), make([]mutation, 3))
	require.NoError(t, err)
	require.Equal(t, uint64(3), last)
	last, _ = log.Append(t.Context(), make([]mutation, 2))
	require.Equal(t, uint64(5), last)
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, replayed())
	require.NoError(t, log.Checkpoint(t.Context(), 3))
	require.Equal(t, []uint64{4, 5}, replayed())
	require.NoError(t, log.Checkpoint(t.Context(), 3))
	require.NoError(t, log.Checkpoint(t.Context(), 9))
	require.Empty(t, replayed())
	last, _ = log.Append(t.Context(), make([]mutation, 1))
	require.Equal(t, uint64(6), last, "numbers go on")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range log.Replay(ctx) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// consuming is a store that strikes off what it has applied.
type consuming struct {
	*disk
	fails int
}

func (c *consuming) Apply(ctx context.Context, batch []mutation) error {
	var err error
	if c.fails--; c.fails >= 0 {
		err = errors.New("down")
	} else {
		err = c.disk.Apply(ctx, batch)
	}
	slices.Reverse(batch)
	clear(batch)
	return err
}

// A batch that is tried again is the same batch, whatever the store did to the
// slice.
func TestWriteBehindBatchIsTheStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &consuming{newDisk(t), 2}
		w := open(t, 10, &cache.MemoryLog[string, int]{}, store, &cache.WriteBehindOptions{Delay: time.Second})
		for i, key := range []string{"a", "b", "c"} {
			require.NoError(t, w.Put(t.Context(), key, i))
		}
		require.NoError(t, w.Close(t.Context()))
		require.Equal(t, map[string]int{"a": 0, "b": 1, "c": 2}, store.values())
	})
}
