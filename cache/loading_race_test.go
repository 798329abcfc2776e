package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// What is written while a load is under way wins over it, in a plain load and
// in a refresh.
func TestLoadingWritesWinOverLoads(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(l *cache.Loading[string, int])
		held  bool // after the write, and then with the value 100
	}{
		{"Put", func(l *cache.Loading[string, int]) { l.Put("a", 100) }, true},
		{"PutTTL", func(l *cache.Loading[string, int]) { l.PutTTL("a", 100, time.Hour) }, true},
		{"Delete", func(l *cache.Loading[string, int]) { l.Delete("a") }, false},
		{"Clear", func(l *cache.Loading[string, int]) { l.Clear() }, false},
		{"Put and Delete", func(l *cache.Loading[string, int]) { l.Put("a", 100); l.Delete("a") }, false},
		{"Delete and Put", func(l *cache.Loading[string, int]) { l.Delete("a"); l.Put("a", 100) }, true},
	} {
		for _, refresh := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &source{value: 1, takes: time.Second}
					l := newLoading(s.load, nil)
					if refresh {
						l.Put("a", 50)
					}
					first := make(chan int, 1)
					go func() {
						value, err := l.Get(t.Context(), "a")
						if refresh {
							value, err = l.Refresh(t.Context(), "a")
						}
						require.NoError(t, err)
						first <- value
					}()
					synctest.Wait()
					s.set(2, nil)
					test.write(l)
					value, ok := l.Peek("a")
					require.Equal(t, test.held, ok)
					if ok {
						require.Equal(t, 100, value)
						wantValue(t, l, "a", 100)
					} else {
						wantValue(t, l, "a", 2) // a new load, though the old one is still running
					}
					require.Equal(t, 1, <-first, "the caller who came before gets what it waited for")
					time.Sleep(time.Minute)
					value, ok = l.Peek("a")
					require.True(t, ok)
					require.NotEqual(t, 1, value, "the older result is stored")
					require.Equal(t, uint64(1), l.Stats().Superseded)
				})
			})
		}
	}
}

// A slowCache takes a second to store anything, so that a write can come in
// the middle of another.
type slowCache struct {
	cache.Cache[string, cache.Loaded[int]]
}

func (s slowCache) PutTTL(key string, value cache.Loaded[int], ttl time.Duration) {
	time.Sleep(time.Second)
	s.Cache.PutTTL(key, value, ttl)
	time.Sleep(time.Second)
}

// Writes that find the key busy do not wait, and are visible at once.
func TestLoadingWritesDuringAStore(t *testing.T) {
	for _, after := range []time.Duration{time.Second / 2, time.Second + time.Second/2} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{value: 1}
			store := slowCache{lru.New[string, cache.Loaded[int]](100, nil)}
			l := cache.NewLoading(store, s.load, nil)
			go l.Get(t.Context(), "a")
			time.Sleep(after)
			began := time.Now()
			for i := range 5 {
				l.Put("a", 100+i)
				value, ok := l.Peek("a")
				require.True(t, ok)
				require.Equal(t, 100+i, value)
				wantValue(t, l, "a", 100+i)
			}
			for _, forget := range []func(){func() { l.Delete("a") }, l.Clear} {
				forget()
				_, ok := l.Peek("a")
				require.False(t, ok)
				l.Put("a", 200)
			}
			wantValue(t, l, "a", 200)
			require.Zero(t, time.Since(began), "the writes waited")
			time.Sleep(time.Minute)
			wantValue(t, l, "a", 200)
			held, ok := store.Cache.Peek("a")
			require.True(t, ok)
			require.Equal(t, 200, held.Value)
			require.NoError(t, l.CheckIdle())
		})
	}
}

// A staleCache answers a Peek with what it held two seconds ago, finds
// nothing on Get, and takes a second to delete.
type staleCache struct {
	cache.Cache[string, cache.Loaded[int]]
}

func (s staleCache) Get(string) (v cache.Loaded[int], ok bool) { return v, false }

func (s staleCache) Peek(key string) (cache.Loaded[int], bool) {
	value, ok := s.Cache.Peek(key)
	time.Sleep(2 * time.Second)
	return value, ok
}

func (s staleCache) Delete(key string) bool {
	time.Sleep(time.Second)
	return s.Cache.Delete(key)
}

// A caller who finds nothing looks again before it loads. What it finds while
// the key is being deleted must not be passed on to those who come after.
func TestLoadingLooksAgainDuringADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 2}
		l := cache.NewLoading(staleCache{lru.New[string, cache.Loaded[int]](100, nil)}, s.load, nil)
		l.Put("a", 1)
		go l.Delete("a")
		synctest.Wait()
		go l.Get(t.Context(), "a") // looks again from now until in two seconds
		time.Sleep(time.Second + time.Millisecond)
		wantValue(t, l, "a", 2)
		time.Sleep(time.Minute)
		require.NoError(t, l.CheckIdle())
	})
}

// Callbacks of the cache may write to the Loading, also to the key that is
// being stored, and may panic.
func TestLoadingCallbacks(t *testing.T) {
	var l *cache.Loading[string, int]
	calls, budget := 0, 0
	angry := false
	store := lru.New(2, &lru.Options[string, cache.Loaded[int]]{OnRemoval: func(key string, _ cache.Loaded[int], reason cache.Reason) {
		if angry {
			panic("callback")
		}
		if calls++; budget == 0 {
			return // to write in answer to every removal would never end
		}
		budget--
		l.Delete(key)
		l.Put(key, 100+calls)
		l.Put("other", 7)
		l.Peek(key)
	}})
	l = cache.NewLoading(store, func(context.Context, string) (int, error) { return 1, nil }, nil)
	for range 20 {
		for _, key := range []string{"a", "b", "c", "d"} {
			budget = 4
			l.Put(key, 1)
			l.Put(key, 2)
			l.Delete(key)
		}
	}
	require.Greater(t, calls, 100)
	budget = 0
	l.Clear()
	angry = true
	l.Put("a", 1)
	require.Panics(t, func() { l.Put("a", 2) })
	require.Panics(t, func() { l.Delete("a") })
	angry = false
	l.Put("a", 3)
	value, ok := l.Peek("a")
	require.True(t, ok)
	require.Equal(t, 3, value)
	held, ok := store.Peek("a")
	require.True(t, ok, "the key was left busy by a panic")
	require.Equal(t, 3, held.Value)
}

// Whoever asks while the value is being stored, or right after, must not load
// it a second time.
func TestLoadingConcurrentSafeOneLoad(t *testing.T) {
	for range 300 {
		var calls atomic.Int32
		l := newLoading(func(context.Context, string) (int, error) { return int(calls.Add(1)), nil }, &cache.LoadingOptions[string, int]{
			LoadAll: func(context.Context, []string) (map[string]int, error) {
				return map[string]int{"a": int(calls.Add(1))}, nil
			},
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				var found map[string]int
				var value int
				var err error
				if i%2 == 0 {
					value, err = l.Get(t.Context(), "a")
				} else {
					found, err = l.GetAll(t.Context(), []string{"a"})
					value = found["a"]
				}
				if value != 1 || err != nil {
					t.Errorf("Get or GetAll = %d, %v, want 1", value, err)
				}
			})
		}
		wg.Wait()
		require.NoError(t, l.Close(t.Context()))
		require.NoError(t, l.CheckIdle())
	}
}

// The source has a version for each key, which its owner raises before it
// says Delete. Nobody who asks after that may get an older one.
func TestLoadingConcurrentSafeInvalidation(t *testing.T) {
	const keys = 4
	names := [keys]string{"a", "b", "c", "d"}
	var versions [keys]atomic.Int64
	index := map[string]int{"a": 0, "b": 1, "c": 2, "d": 3}
	read := func(_ context.Context, key string) (int, error) { return int(versions[index[key]].Load()), nil }
	l := cache.NewLoading(lru.New[string, cache.Loaded[int]](3, nil), read, &cache.LoadingOptions[string, int]{
		TTL: 200 * time.Microsecond, RefreshAfter: 50 * time.Microsecond, StaleFor: time.Millisecond,
		LoadAll: func(ctx context.Context, keys []string) (map[string]int, error) {
			m := map[string]int{}
			for _, key := range keys {
				m[key], _ = read(ctx, key)
			}
			return m, nil
		},
	})
	var wg sync.WaitGroup
	for owner := range keys {
		wg.Go(func() {
			for range 1500 {
				version := versions[owner].Add(1)
				if version%3 == 0 {
					l.Put(names[owner], int(version))
				} else {
					l.Delete(names[owner])
				}
				value, err := l.Get(context.Background(), names[owner])
				if int64(value) < version || err != nil {
					t.Errorf("Get = %d, %v after version %d was announced", value, err, version)
					return
				}
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(owner)))
			for range 1500 {
				ctx, cancel := context.WithCancel(context.Background())
				switch rng.IntN(4) {
				case 0:
					l.Refresh(ctx, names[owner])
				case 1:
					cancel()
					l.Get(ctx, names[owner])
				case 2:
					l.GetAll(ctx, names[:])
				default:
					l.Get(ctx, names[rng.IntN(keys)])
				}
				cancel()
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close(t.Context()))
	require.NoError(t, l.CheckIdle())
}

// A key that no map takes is the caller's mistake and must cost nobody else
// anything: neither a lock that stays held nor a record that no replay gets by.
func TestUnhashableKeysHoldNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := func(context.Context, any) (int, error) { return 1, nil }
		l := cache.NewLoading(lru.New[any, cache.Loaded[int]](10, nil), one, nil)
		log := &cache.MemoryLog[any, int]{}
		w, err := cache.OpenWriteBehind(t.Context(), lru.New[any, int](10, nil), log, anyStore{}, nil)
		require.NoError(t, err)
		bad := any([]int{1})
		for name, call := range map[string]func(){
			"Get":                func() { l.Get(t.Context(), bad) },
			"Peek":               func() { l.Peek(bad) },
			"GetAll":             func() { l.GetAll(t.Context(), []any{1, bad}) },
			"Refresh":            func() { l.Refresh(t.Context(), bad) },
			"Put":                func() { l.Put(bad, 1) },
			"Delete":             func() { l.Delete(bad) },
			"WriteBehind.Get":    func() { w.Get(t.Context(), bad) },
			"WriteBehind.Peek":   func() { w.Peek(bad) },
			"WriteBehind.Put":    func() { w.Put(t.Context(), bad, 1) },
			"WriteBehind.Delete": func() { w.Delete(t.Context(), bad) },
			"WriteBehind.Write":  func() { w.Write(t.Context(), cache.Mutation[any, int]{Key: 1}, cache.Mutation[any, int]{Key: bad}) },
		} {
			require.Panics(t, call, name)
			require.Zero(t, log.Len(), name)
			l.Put(1, 1)
			l.Delete(1)
			got, err := l.Get(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, 1, got)
		}
		require.NoError(t, w.Put(t.Context(), 2, 2))
		require.NoError(t, w.Close(t.Context()))
		require.NoError(t, w.CheckIdle())
		require.NoError(t, l.CheckIdle())
	})
}

type anyStore struct{}

func (anyStore) Get(context.Context, any) (int, time.Time, bool, error) {
	return 0, time.Time{}, false, nil
}
func (anyStore) Apply(context.Context, []cache.Mutation[any, int]) error { return nil }

// What panics, or ends its goroutine, while a loaded value is being stored is
// an error to those who wait, as if the loader had: there is nobody else to
// tell, and nothing is left behind.
func TestLoadingCallbacksThatPanic(t *testing.T) {
	for _, bad := range []string{"Lifetime", "IsNegative", "Cost", "OnRemoval"} {
		for _, exit := range []bool{false, true} {
			for _, bulk := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/exit=%v/bulk=%v", bad, exit, bulk), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testCallbackThatPanics(t, bad, exit, bulk) })
				})
			}
		}
	}
}

func testCallbackThatPanics(t *testing.T, bad string, exit, bulk bool) {
	angry := true
	fail := func(callback string) {
		switch {
		case callback != bad || !angry:
		case exit:
			runtime.Goexit()
		default:
			panic(callback)
		}
	}
	store := lru.New(1, &lru.Options[string, cache.Loaded[int]]{
		Cost:      func(string, cache.Loaded[int]) int64 { fail("Cost"); return 1 },
		OnRemoval: func(string, cache.Loaded[int], cache.Reason) { fail("OnRemoval") },
	})
	unknown := errors.New("unknown")
	load := func(_ context.Context, key string) (int, error) {
		if key == "unknown" {
			return 0, unknown
		}
		return 7, nil
	}
	l := cache.NewLoading(store, load, &cache.LoadingOptions[string, int]{
		Lifetime:   func(string, int) time.Duration { fail("Lifetime"); return time.Hour },
		IsNegative: func(err error) bool { fail("IsNegative"); return err == unknown },
		LoadAll: func(_ context.Context, keys []string) (map[string]int, error) {
			found := map[string]int{}
			for _, key := range keys {
				found[key] = 7
			}
			return found, nil
		},
	})
	first := "a"
	if bad == "IsNegative" {
		first = "unknown" // that is the callback's only call
	}
	for _, key := range []string{first, "b", "c"} {
		var err error
		if bulk && first == "a" {
			_, err = l.GetAll(t.Context(), []string{key, key + "1", key + "2"})
		} else {
			_, err = l.Get(t.Context(), key)
		}
		if panicked, ok := errors.AsType[*cache.PanicError](err); ok && panicked.Value != bad {
			t.Errorf("Get(%q): the panic is %v, want %s", key, panicked.Value, bad)
		} else if !ok && !exit && key == "unknown" {
			t.Errorf("Get(%q): %v, want a PanicError", key, err)
		}
	}
	synctest.Wait()
	require.NoError(t, l.CheckIdle())
	angry = false
	wantValue(t, l, "a", 7)
	require.NoError(t, l.Close(t.Context()))
}
