package cache_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

// A table is a source with a loader for many keys.
type table struct {
	mu    sync.Mutex
	rows  map[string]int
	err   error
	takes time.Duration
	calls []string // the keys of each call, sorted
}

func (b *table) loadAll(ctx context.Context, keys []string) (map[string]int, error) {
	b.mu.Lock()
	b.calls = append(b.calls, strings.Join(slices.Sorted(slices.Values(keys)), " "))
	rows, err, takes := maps.Clone(b.rows), b.err, b.takes
	b.mu.Unlock()
	select {
	case <-time.After(takes):
		return rows, err // also rows that nobody asked for
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *table) load(ctx context.Context, key string) (int, error) {
	rows, err := b.loadAll(ctx, []string{key})
	if value, ok := rows[key]; ok || err != nil {
		return value, err
	}
	return 0, cache.ErrNotFound
}

func (b *table) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.ElementsMatch(t, want, b.calls)
	b.calls = nil
}

func (b *table) loading(opts cache.LoadingOptions[string, int]) *cache.Loading[string, int] {
	opts.LoadAll = b.loadAll
	return newLoading(b.load, &opts)
}

func TestGetAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2, "c": 3, "d": 4}}
		l := b.loading(cache.LoadingOptions[string, int]{NegativeTTL: time.Minute})
		get := func(keys string) map[string]int {
			found, err := l.GetAll(t.Context(), strings.Fields(keys))
			require.NoError(t, err)
			return found
		}
		require.Empty(t, get(""))
		require.Equal(t, map[string]int{"a": 1}, get("a"))
		require.Equal(t, map[string]int{"a": 1, "b": 2, "c": 3}, get("a b c b a"))
		b.wantCalls(t, "a", "b c")
		require.Equal(t, map[string]int{"b": 2}, get("x b y"))
		require.Equal(t, map[string]int{"b": 2}, get("x b y")) // known not to be there
		b.wantCalls(t, "x y")
		_, ok := l.Peek("d")
		require.False(t, ok, "a row that nobody asked for is stored")
		wantError(t, l, "x", cache.ErrNotFound)
		wantValue(t, l, "c", 3)
		require.Empty(t, b.calls)
		st := l.Stats()
		require.Equal(t, uint64(1+3+3+3+1+1), st.Hits+st.Misses+st.Negatives)
	})
}

// A key in flight is waited for, whoever loads it and however.
func TestGetAllJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2, "c": 3}, takes: time.Second}
		l := b.loading(cache.LoadingOptions[string, int]{})
		var wg sync.WaitGroup
		wg.Go(func() { wantValue(t, l, "a", 1) })
		synctest.Wait()
		wg.Go(func() {
			found, err := l.GetAll(t.Context(), []string{"a", "b"})
			require.NoError(t, err)
			require.Equal(t, map[string]int{"a": 1, "b": 2}, found)
		})
		synctest.Wait()
		wg.Go(func() { wantValue(t, l, "b", 2) })
		wg.Go(func() {
			found, err := l.GetAll(t.Context(), []string{"a", "b"}) // nothing left to load
			require.NoError(t, err)
			require.Equal(t, map[string]int{"a": 1, "b": 2}, found)
		})
		wg.Wait()
		b.wantCalls(t, "a", "b")
		require.Equal(t, uint64(4), l.Stats().Coalesced)
	})
}

func TestGetAllErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2}}
		l := b.loading(cache.LoadingOptions[string, int]{TTL: time.Minute, StaleFor: time.Hour})
		wantValue(t, l, "a", 1)
		b.err = errDown
		found, err := l.GetAll(t.Context(), []string{"b", "a"})
		require.ErrorIs(t, err, errDown)
		require.Equal(t, map[string]int{"a": 1}, found)
		time.Sleep(time.Minute)
		found, err = l.GetAll(t.Context(), []string{"a"})
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1}, found, "stale while the source is down")

		panicking := newLoading(nil, &cache.LoadingOptions[string, int]{LoadAll: func(context.Context, []string) (map[string]int, error) { panic("all") }})
		found, err = panicking.GetAll(t.Context(), []string{"a", "b"})
		var panicked *cache.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Empty(t, found)
	})
}

// The load of many ends when nobody waits for any of them.
func TestGetAllLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2}, takes: time.Minute}
		l := b.loading(cache.LoadingOptions[string, int]{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Second / 2)
			wantValue(t, l, "b", 2) // keeps the load going
		}()
		_, err := l.GetAll(ctx, []string{"a", "b"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		b.wantCalls(t, "a b")
		wantValue(t, l, "b", 2)
		require.Zero(t, l.Stats().LoadErrors)

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.GetAll(ctx, []string{"c", "d"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.Equal(t, uint64(1), l.Stats().LoadErrors, "the load was not cancelled")
		_, err = l.GetAll(ctx, []string{"c", "d"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		b.wantCalls(t, "c d")
	})
}

func TestGetAllRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2, "c": 3}}
		l := b.loading(cache.LoadingOptions[string, int]{TTL: time.Hour, RefreshAfter: time.Minute})
		_, err := l.GetAll(t.Context(), []string{"a", "b"})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		b.rows = map[string]int{"a": 10, "b": 20, "c": 30}
		b.takes = time.Second
		found, err := l.GetAll(t.Context(), []string{"a", "b", "c"})
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1, "b": 2, "c": 30}, found)
		synctest.Wait()
		b.wantCalls(t, "a b", "a b", "c")
		found, err = l.GetAll(t.Context(), []string{"a", "b"})
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 10, "b": 20}, found)
		require.Equal(t, uint64(2), l.Stats().Refreshes)
	})
}

// Without LoadAll the keys are loaded one by one, at the same time.
func TestGetAllOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2}, takes: time.Second}
		l := newLoading(b.load, nil)
		began := time.Now()
		found, err := l.GetAll(t.Context(), []string{"a", "b", "x"})
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1, "b": 2}, found)
		require.Equal(t, time.Second, time.Since(began))
		require.Len(t, b.calls, 3)
	})
}

func TestGetAllInvalidated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &table{rows: map[string]int{"a": 1, "b": 2}, takes: time.Second}
		l := b.loading(cache.LoadingOptions[string, int]{})
		go l.GetAll(t.Context(), []string{"a", "b"})
		synctest.Wait()
		l.Put("a", 100)
		l.Delete("b")
		time.Sleep(time.Minute)
		wantValue(t, l, "a", 100)
		_, ok := l.Peek("b")
		require.False(t, ok)
	})
}

// The keys that LoadAll gets are its own: it may sort them for its query.
func TestGetAllWithALoaderThatSorts(t *testing.T) {
	l := cache.NewLoading(lru.New[string, cache.Loaded[int]](100, nil), nil, &cache.LoadingOptions[string, int]{
		LoadAll: func(_ context.Context, keys []string) (map[string]int, error) {
			slices.Sort(keys)
			found := map[string]int{}
			for _, key := range keys {
				found[key] = int(key[0])
			}
			clear(keys)
			return found, nil
		},
	})
	for range 2 {
		got, err := l.GetAll(t.Context(), []string{"c", "b", "a"})
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 'a', "b": 'b', "c": 'c'}, got)
	}
	require.NoError(t, l.CheckIdle())
}
