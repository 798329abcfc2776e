package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
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

// A source is what a Loading loads from: it counts, takes its time, and can
// be made to fail.
type source struct {
	mu    sync.Mutex
	value int // every key has it
	err   error
	takes time.Duration
	calls int
}

func (s *source) load(ctx context.Context, _ string) (int, error) {
	s.mu.Lock()
	s.calls++
	value, err, takes := s.value, s.err, s.takes
	s.mu.Unlock()
	select {
	case <-time.After(takes):
		return value, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *source) set(value int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.err = value, err
}

func newLoading(load func(context.Context, string) (int, error), opts *cache.LoadingOptions[string, int]) *cache.Loading[string, int] {
	return cache.NewLoading(lru.New[string, cache.Loaded[int]](100, nil), load, opts)
}

func wantValue(t *testing.T, l *cache.Loading[string, int], key string, want int) {
	t.Helper()
	if got, err := l.Get(t.Context(), key); got != want || err != nil {
		t.Errorf("Get(%q) = %d, %v, want %d", key, got, err, want)
	}
}

func wantError(t *testing.T, l *cache.Loading[string, int], key string, want error) {
	t.Helper()
	if got, err := l.Get(t.Context(), key); got != 0 || !errors.Is(err, want) {
		t.Errorf("Get(%q) = %d, %v, want the error %v", key, got, err, want)
	}
}

func (s *source) wantCalls(t *testing.T, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls != want {
		t.Errorf("the loader was called %d times, want %d", s.calls, want)
	}
}

func TestLoadingOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7, takes: time.Second}
		l := newLoading(s.load, nil)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond) // the last come when it is there
				wantValue(t, l, "a", 7)
			})
		}
		wg.Wait()
		s.wantCalls(t, 1)
		st := l.Stats()
		require.Equal(t, uint64(100), st.Hits+st.Misses)
		require.Equal(t, st.Misses-1, st.Coalesced)
		require.Equal(t, uint64(1), st.Loads)
		require.Equal(t, time.Second, st.LoadTime)
	})
}

type ctxKey struct{}

// Callers leave when their own context ends. The load goes on for the others,
// with the values of the first caller's context, and ends with the last.
func TestLoadingWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		calls := 0
		l := newLoading(func(ctx context.Context, _ string) (int, error) {
			calls++
			if ctx.Value(ctxKey{}) != "first" {
				t.Errorf("the loader sees the value %v, want that of the first caller", ctx.Value(ctxKey{}))
			}
			select {
			case <-ctx.Done():
				ended.Store(true)
				return 0, ctx.Err()
			case <-time.After(time.Minute):
				return 7, nil
			}
		}, nil)
		first, cancelFirst := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "first"))
		second, cancelSecond := context.WithCancel(t.Context())
		results := make(chan error, 3)
		get := func(ctx context.Context) {
			_, err := l.Get(ctx, "a")
			results <- err
		}
		go get(first)
		synctest.Wait()
		go get(second)
		go get(t.Context())
		synctest.Wait()
		cancelFirst()
		require.ErrorIs(t, <-results, context.Canceled)
		synctest.Wait()
		require.False(t, ended.Load(), "the load ended with its first caller")
		require.NoError(t, <-results, "of the third caller")
		require.NoError(t, <-results, "of the second caller")
		cancelSecond()

		l.Delete("a")
		first, cancelFirst = context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "first"))
		go get(first)
		synctest.Wait()
		cancelFirst()
		require.ErrorIs(t, <-results, context.Canceled)
		synctest.Wait()
		require.True(t, ended.Load(), "the load goes on although nobody waits")
		require.Equal(t, 2, calls)
		_, err := l.Get(first, "a")
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 2, calls, "a caller whose context is over starts no load")
	})
}

// A load that does not mind its context and that everybody has left is
// neither joined nor stored.
func TestLoadingAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		l := newLoading(func(context.Context, string) (int, error) {
			value := calls.Add(1)
			time.Sleep(time.Minute)
			return int(value), nil
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := l.Get(ctx, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		wantValue(t, l, "a", 2)
		time.Sleep(time.Hour)
		wantValue(t, l, "a", 2)
	})
}

func TestLoadingPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("cause")
		var how func()
		l := newLoading(func(context.Context, string) (int, error) {
			time.Sleep(time.Second)
			how()
			return 7, nil
		}, nil)
		both := func() (errs [2]error) {
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { _, errs[i] = l.Get(t.Context(), "a") })
			}
			wg.Wait()
			return errs
		}

		how = func() { panic(cause) }
		for _, err := range both() {
			var panicked *cache.PanicError
			require.ErrorAs(t, err, &panicked)
			require.ErrorIs(t, err, cause)
			require.Contains(t, err.Error(), "TestLoadingPanic", "the stack of the loader")
		}
		how = func() { panic("not an error") }
		for _, err := range both() {
			require.ErrorContains(t, err, "not an error")
			require.Nil(t, errors.Unwrap(err))
		}
		how = runtime.Goexit
		for _, err := range both() {
			require.ErrorContains(t, err, "Goexit")
		}
		how = func() {}
		for _, err := range both() {
			require.NoError(t, err)
		}
		require.Equal(t, uint64(3), l.Stats().LoadErrors)
		require.Equal(t, uint64(4), l.Stats().Loads)
	})
}

func TestLoadingFailureIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errDown}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{NegativeTTL: time.Hour})
		wantError(t, l, "a", errDown)
		wantError(t, l, "a", errDown)
		s.wantCalls(t, 2)
		s.set(7, nil)
		wantValue(t, l, "a", 7)
	})
}

var errDown = errors.New("the source is down")

func TestLoadingNegative(t *testing.T) {
	errNoRows := errors.New("no rows")
	for _, test := range []struct {
		name  string
		err   error
		opts  cache.LoadingOptions[string, int]
		calls int // for three Gets within the time
	}{
		{"not kept by default", cache.ErrNotFound, cache.LoadingOptions[string, int]{}, 3},
		{"kept", cache.ErrNotFound, cache.LoadingOptions[string, int]{NegativeTTL: time.Minute}, 1},
		{"wrapped", fmt.Errorf("user 7: %w", cache.ErrNotFound), cache.LoadingOptions[string, int]{NegativeTTL: time.Minute}, 1},
		{"an error of the user's", errNoRows, cache.LoadingOptions[string, int]{
			NegativeTTL: time.Minute, IsNegative: func(err error) bool { return errors.Is(err, errNoRows) },
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{err: test.err}
				l := newLoading(s.load, &test.opts)
				for range 3 {
					wantError(t, l, "a", test.err)
				}
				s.wantCalls(t, test.calls)
				_, ok := l.Peek("a")
				require.False(t, ok)
				st := l.Stats()
				require.Equal(t, uint64(3), st.Hits+st.Negatives+st.Misses)
				require.Zero(t, st.LoadErrors)

				s.set(7, nil)
				time.Sleep(time.Minute)
				wantValue(t, l, "a", 7)
			})
		})
	}
}

func TestLoadingNegativeReplacesTheValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Minute, StaleFor: time.Hour})
		wantValue(t, l, "a", 7)
		s.set(0, cache.ErrNotFound)
		time.Sleep(2 * time.Minute)
		wantError(t, l, "a", cache.ErrNotFound) // an answer, no reason to serve a stale value
		s.set(0, errDown)
		wantError(t, l, "a", errDown)
	})
}

func TestLoadingLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Minute})
		wantValue(t, l, "a", 7)
		s.set(8, nil)
		time.Sleep(time.Minute - 1)
		wantValue(t, l, "a", 7)
		time.Sleep(time.Nanosecond)
		wantValue(t, l, "a", 8)

		l.PutTTL("a", 9, time.Second)
		l.PutTTL("b", 10, cache.Forever)
		l.PutTTL("c", 11, 0)
		time.Sleep(time.Second)
		wantValue(t, l, "a", 8)
		time.Sleep(59 * time.Second)
		wantValue(t, l, "b", 10)
		wantValue(t, l, "c", 8)

		perValue := newLoading(s.load, &cache.LoadingOptions[string, int]{
			TTL: time.Minute, Lifetime: func(_ string, v int) time.Duration { return time.Duration(v) * time.Second },
		})
		wantValue(t, perValue, "a", 8)
		s.set(3, nil)
		time.Sleep(8*time.Second - 1)
		wantValue(t, perValue, "a", 8)
		time.Sleep(time.Nanosecond)
		wantValue(t, perValue, "a", 3)
	})
}

func TestLoadingJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7}
		l := cache.NewLoading(lru.New[string, cache.Loaded[int]](1000, nil), s.load, &cache.LoadingOptions[string, int]{
			TTL: 100 * time.Second, Jitter: 0.2, RefreshAfter: 50 * time.Second,
		})
		const n = 500
		get := func() {
			for i := range n {
				wantValue(t, l, fmt.Sprint(i), 7)
			}
			synctest.Wait()
		}
		get()
		time.Sleep(40*time.Second - 1)
		get()
		require.Zero(t, l.Stats().Refreshes, "before RefreshAfter less its jitter")
		time.Sleep(5 * time.Second)
		get()
		require.InDelta(t, n/2, l.Stats().Refreshes, n/4, "in the middle of the jitter")
		time.Sleep(5*time.Second + 1)
		get()
		require.GreaterOrEqual(t, l.Stats().Refreshes, uint64(n))
		require.Equal(t, uint64(n), l.Stats().Misses)
	})
}

func TestLoadingRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: 10 * time.Minute, RefreshAfter: time.Minute})
		wantValue(t, l, "a", 1)
		s.takes = time.Second
		s.set(2, nil)
		time.Sleep(time.Minute)
		began := time.Now()
		for range 5 {
			wantValue(t, l, "a", 1) // at once
		}
		require.Zero(t, time.Since(began))
		time.Sleep(time.Second)
		synctest.Wait()
		s.wantCalls(t, 2)
		wantValue(t, l, "a", 2)
		require.Equal(t, uint64(1), l.Stats().Refreshes)

		// A refresh that fails is tried again after a pause, and the value
		// stays to its end.
		s.set(0, errDown)
		time.Sleep(time.Minute)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if time.Since(began) < 10*time.Minute {
				wantValue(t, l, "a", 2)
			}
		}
		s.mu.Lock()
		calls := s.calls
		s.mu.Unlock()
		require.Greater(t, calls, 3)
		require.Less(t, calls, 15, "for a minute of asking, with doubling pauses")
		time.Sleep(10 * time.Minute)
		wantError(t, l, "a", errDown)
	})
}

// Callers who join a background refresh and leave do not cancel it.
func TestLoadingRefreshOutlivesCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Hour, RefreshAfter: time.Minute})
		wantValue(t, l, "a", 1)
		s.set(2, nil)
		s.takes = time.Minute
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		value, err := l.Get(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, 1, value)
		_, err = l.Refresh(ctx, "a") // joins
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
		wantValue(t, l, "a", 2)
		s.wantCalls(t, 2)
	})
}

// A due value joins the load under way and does not hold on to it: that ends
// when those who wait for it have left.
func TestLoadingRefreshHoldsNoOther(t *testing.T) {
	for name, ask := range map[string]func(l *cache.Loading[string, int]){
		"Get":    func(l *cache.Loading[string, int]) { wantValue(t, l, "a", 1) },
		"GetAll": func(l *cache.Loading[string, int]) { l.GetAll(t.Context(), []string{"a"}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{value: 1}
				l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: 24 * time.Hour, RefreshAfter: time.Minute})
				wantValue(t, l, "a", 1)
				s.takes = time.Hour
				time.Sleep(time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				go l.Refresh(ctx, "a")
				synctest.Wait()
				ask(l)
				time.Sleep(time.Second)
				synctest.Wait()
				require.NoError(t, l.CheckIdle())
			})
		})
	}
}

func TestLoadingStaleWhileError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{
			TTL: time.Minute, StaleFor: time.Hour, RetryMin: 10 * time.Second, RetryMax: 10 * time.Second,
		})
		wantValue(t, l, "a", 1)
		s.set(0, errDown)
		time.Sleep(time.Minute)
		_, ok := l.Peek("a")
		require.False(t, ok, "Peek of a stale value")
		wantValue(t, l, "a", 1)
		s.wantCalls(t, 2)
		for range 49 {
			wantValue(t, l, "a", 1) // the pause after a failure is between 5 and 10 seconds
			time.Sleep(100 * time.Millisecond)
		}
		s.wantCalls(t, 2)
		require.Equal(t, uint64(50), l.Stats().Stale)
		time.Sleep(6 * time.Second)
		wantValue(t, l, "a", 1)
		s.wantCalls(t, 3)

		s.set(2, nil)
		time.Sleep(10 * time.Second)
		wantValue(t, l, "a", 2)

		s.set(0, errDown)
		time.Sleep(time.Hour + time.Minute - 1)
		wantValue(t, l, "a", 2)
		time.Sleep(time.Nanosecond)
		wantError(t, l, "a", errDown)
		wantError(t, l, "b", errDown) // never had a value
	})
}

// A source that hangs is the usual failure: whoever has a deadline and a
// stale value gets the value.
func TestLoadingStaleWhileSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Minute, StaleFor: time.Hour})
		wantValue(t, l, "a", 1)
		s.takes = 10 * time.Minute
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		value, err := l.Get(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, 1, value)
	})
}

func TestLoadingTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1, takes: time.Hour}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{Timeout: time.Second})
		began := time.Now()
		wantError(t, l, "a", context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestLoadingRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, nil)
		wantValue(t, l, "a", 1)
		s.set(2, nil)
		s.takes = time.Second
		done := make(chan struct{})
		go func() {
			defer close(done)
			value, err := l.Refresh(t.Context(), "a")
			require.NoError(t, err)
			require.Equal(t, 2, value)
		}()
		synctest.Wait()
		wantValue(t, l, "a", 1)
		<-done
		wantValue(t, l, "a", 2)
		s.set(0, errDown)
		_, err := l.Refresh(t.Context(), "a")
		require.ErrorIs(t, err, errDown)
		wantValue(t, l, "a", 2)
	})
}

func TestLoadingGetOrLoad(t *testing.T) {
	s := &source{value: 1}
	l := newLoading(s.load, nil)
	value, err := l.GetOrLoad(t.Context(), "a", func(_ context.Context, key string) (int, error) {
		require.Equal(t, "a", key)
		return 2, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, value)
	wantValue(t, l, "a", 2)
	s.wantCalls(t, 0)
}

func TestLoadingClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 1}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Hour, RefreshAfter: time.Minute})
		wantValue(t, l, "a", 1)
		s.set(2, nil)
		s.takes = 10 * time.Second
		time.Sleep(time.Minute)
		wantValue(t, l, "a", 1)
		began := time.Now()
		require.NoError(t, l.Close(t.Context()))
		require.Equal(t, 10*time.Second, time.Since(began), "Close waits for the refresh")
		require.NoError(t, l.Close(t.Context()))
		wantValue(t, l, "a", 2)
		wantError(t, l, "b", cache.ErrClosed)
		_, err := l.GetAll(t.Context(), []string{"a", "b"})
		require.ErrorIs(t, err, cache.ErrClosed)
		_, err = l.Refresh(t.Context(), "a")
		require.ErrorIs(t, err, cache.ErrClosed)
		time.Sleep(time.Minute)
		wantValue(t, l, "a", 2) // due, but there are no refreshes any more

		l = newLoading(s.load, nil)
		s.takes = time.Hour
		go l.Get(t.Context(), "a")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.Close(ctx), context.DeadlineExceeded)
		synctest.Wait() // the load saw its context end; no goroutine stays
	})
}

func TestLoadingOptions(t *testing.T) {
	type options = cache.LoadingOptions[string, int]
	for _, opts := range []options{
		{TTL: -1}, {RefreshAfter: -1}, {StaleFor: -1}, {RetryMin: -1}, {RetryMax: -1}, {NegativeTTL: -1}, {Timeout: -1},
		{TTL: 1, Jitter: 1}, {Jitter: -0.1}, {TTL: time.Minute, RefreshAfter: time.Minute}, {StaleFor: time.Second},
	} {
		require.Panics(t, func() { newLoading(nil, &opts) }, "%+v", opts)
	}
	require.NotPanics(t, func() { newLoading(nil, &options{RefreshAfter: time.Minute}) })
}

// Peek tells nobody of a value whose lifetime is over, whether or not Get
// serves it because loading it again has failed.
func TestLoadingPeekIsNeverStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Second, StaleFor: time.Hour, RetryMin: time.Minute})
		wantValue(t, l, "a", 7)
		s.set(0, errors.New("down"))
		time.Sleep(2 * time.Second)
		for range 3 {
			got, ok := l.Peek("a")
			require.False(t, ok, "Peek = %d", got)
			wantValue(t, l, "a", 7)
		}
		s.wantCalls(t, 2)
	})
}

// The largest StaleFor means for ever.
func TestLoadingStaleForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{value: 7}
		l := newLoading(s.load, &cache.LoadingOptions[string, int]{TTL: time.Second, StaleFor: math.MaxInt64})
		wantValue(t, l, "a", 7)
		s.set(0, errors.New("down"))
		for range 10 {
			time.Sleep(365 * 24 * time.Hour)
			wantValue(t, l, "a", 7)
		}
		s.wantCalls(t, 11)
	})
}

// A snapshot of the cache under a Loading keeps what is known to be missing
// apart from values.
func TestLoadingSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		calls := 0
		load := func(_ context.Context, key string) (*int, error) {
			calls++
			switch key {
			case "missing":
				return nil, cache.ErrNotFound
			case "wrapped":
				return nil, fmt.Errorf("row 7: %w", cache.ErrNotFound)
			case "gone":
				return nil, gone
			case "nil":
				return nil, nil
			}
			return new(7), nil
		}
		opts := &cache.LoadingOptions[string, *int]{TTL: time.Hour, NegativeTTL: time.Hour, StaleFor: time.Hour, IsNegative: func(err error) bool { return err == gone }}
		store := lru.New[string, cache.Loaded[*int]](10, nil)
		l := cache.NewLoading(store, load, opts)
		keys := []string{"missing", "wrapped", "gone", "nil", "there"}
		for _, key := range keys {
			l.Get(t.Context(), key)
		}
		var file bytes.Buffer
		require.NoError(t, store.Save(&file, nil))

		store = lru.New[string, cache.Loaded[*int]](10, nil)
		n, err := store.Load(&file, nil)
		require.NoError(t, err)
		require.Equal(t, len(keys), n)
		l = cache.NewLoading(store, load, opts)
		for key, text := range map[string]string{"missing": "cache: not found", "wrapped": "row 7: cache: not found", "gone": "gone"} {
			_, err := l.Get(t.Context(), key)
			require.ErrorIs(t, err, cache.ErrNotFound)
			require.EqualError(t, err, text)
		}
		value, err := l.Get(t.Context(), "nil")
		require.NoError(t, err)
		require.Nil(t, value)
		value, err = l.Get(t.Context(), "there")
		require.NoError(t, err)
		require.Equal(t, 7, *value)
		require.Equal(t, len(keys), calls)

		// The knowledge ends when it would have.
		time.Sleep(time.Hour)
		_, err = l.Get(t.Context(), "gone")
		require.Equal(t, gone, err)
	})
}
