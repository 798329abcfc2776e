package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
	"github.com/ashlar-go/ashlar/kvstore/replica"
	"github.com/stretchr/testify/require"
)

// object returns an object with one version.
func object(actor replica.Actor, at replica.Time, data string) replica.Object {
	v := replica.Version{Dot: replica.Dot{Actor: actor, Time: at}, Data: []byte(data)}
	return replica.Siblings.Replace(replica.Object{}, nil, v)
}

func openHints(t *testing.T, opts replica.HintsOptions) *replica.Hints {
	t.Helper()
	h, err := replica.OpenHints("", &opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// A store is what nodes have got, merged.
type store struct {
	mu   sync.Mutex
	down map[string]bool
	got  map[string]replica.Object
	n    int
}

func (s *store) deliver(_ context.Context, h replica.Hint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down[h.Node] {
		return errors.New("away")
	}
	if s.got == nil {
		s.got = map[string]replica.Object{}
	}
	s.n++
	name := h.Node + "/" + string(h.Key)
	s.got[name] = replica.Siblings.Merge(s.got[name], h.Object)
	return nil
}

func (s *store) set(node string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = map[string]bool{}
	}
	s.down[node] = down
}

func TestHintsAreHandedOverWhenTheNodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHints(t, replica.HintsOptions{FS: vfs.NewMem()})
		s := &store{}
		s.set("b", true)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = h.Run(ctx, s.deliver) })
		for i := range 600 {
			key := fmt.Appendf(nil, "k%d", i%300)
			require.NoError(t, h.Add(ctx, "b", key, object(replica.Actor(1+i/300), 1, "x")))
			require.NoError(t, h.Add(ctx, "c/../d", key, object(replica.Actor(1+i/300), 1, "x")))
		}
		synctest.Wait()
		require.Equal(t, map[string]int{"b": 300}, h.Waiting(), "one node's absence holds up no other")
		o, ok := h.Get("b", []byte("k7"))
		require.True(t, ok)
		require.Len(t, o.Versions, 2, "hints for a key are merged")

		s.set("b", false)
		h.Wake("b")
		synctest.Wait()
		require.Empty(t, h.Waiting())
		for i := range 300 {
			for _, node := range []string{"b", "c/../d"} {
				require.Contains(t, slices.Collect(maps.Keys(s.got)), fmt.Sprintf("%s/k%d", node, i))
			}
		}
		for name, o := range s.got {
			require.Len(t, o.Versions, 2, name)
		}
		_, ok = h.Get("b", []byte("k7"))
		require.False(t, ok)

		// Without Wake it is tried again after a time that grows.
		s.set("b", true)
		require.NoError(t, h.Add(ctx, "b", []byte("late"), object(1, 1, "x")))
		time.Sleep(10 * time.Minute)
		s.set("b", false)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, h.Waiting())
		require.Less(t, h.Stats().Failed, uint64(400))
		cancel()
		run.Wait()
	})
}

func TestHintsHaveAnAgeAndASize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		h := openHints(t, replica.HintsOptions{FS: m, MaxBytes: 64 << 10, MaxAge: time.Hour})
		data := string(make([]byte, 1000))
		for i := range 2000 { // one key many times takes no more room than a few
			o := replica.Siblings.Replace(replica.Object{}, nil, replica.Version{Dot: replica.Dot{Actor: 1, Time: replica.Time(i + 1)}})
			require.NoError(t, h.Add(t.Context(), "b", []byte("hot"), o), i)
		}
		require.NoError(t, h.Close())
		h, err := replica.OpenHints("", &replica.HintsOptions{FS: m, MaxBytes: 64 << 10, MaxAge: time.Hour})
		require.NoError(t, err)
		o, _ := h.Get("b", []byte("hot"))
		require.Equal(t, replica.Time(2000), o.Last())
		require.NoError(t, h.Forget("b"))
		require.Empty(t, h.Waiting())
		kept := 0
		for ; err == nil; kept++ {
			err = h.Add(t.Context(), "b", fmt.Appendf(nil, "%d", kept), object(1, 1, data))
		}
		require.ErrorIs(t, err, replica.ErrHintsFull)
		require.Greater(t, kept, 20)
		require.Equal(t, uint64(1), h.Stats().Refused)

		time.Sleep(time.Hour + time.Second)
		_, ok := h.Get("b", []byte("1"))
		require.False(t, ok, "too old")
		ctx, cancel := context.WithCancel(t.Context())
		s := &store{}
		var run sync.WaitGroup
		run.Go(func() { _ = h.Run(ctx, s.deliver) })
		synctest.Wait()
		require.Zero(t, s.n)
		require.Empty(t, h.Waiting())
		require.Equal(t, uint64(kept-1), h.Stats().Expired)
		require.NoError(t, h.Add(ctx, "b", []byte("new"), object(1, 1, "x")))
		synctest.Wait()
		require.Equal(t, 1, s.n)
		cancel()
		run.Wait()
		require.NoError(t, h.Close())
	})
}

func TestHintsServeStandIns(t *testing.T) {
	h := openHints(t, replica.HintsOptions{FS: vfs.NewMem()})
	o := object(1, 1, "x")
	store := replica.Request{To: "d", For: "b", Kind: replica.Store, Key: []byte("k"), Object: o}
	require.Equal(t, store.Reply(replica.Object{}, nil), h.Serve(t.Context(), store))
	fetch := replica.Request{To: "d", For: "b", Kind: replica.Fetch, Key: []byte("k")}
	require.True(t, h.Serve(t.Context(), fetch).Object.Equal(o))
	fetch.For = "c"
	require.True(t, h.Serve(t.Context(), fetch).Object.IsZero())
	require.ErrorIs(t, h.Serve(t.Context(), replica.Request{Kind: replica.Mint, For: "b"}).Err, replica.ErrRefused)
	require.NoError(t, h.Close())
	require.ErrorIs(t, h.Serve(t.Context(), store).Err, replica.ErrClosed)
}

// A crash at any call that changes files, also in the midst of handing over:
// what was added and not delivered is there.
func TestHintsSurviveCrashes(t *testing.T) {
	var mu sync.Mutex
	added, delivered := map[string]replica.Time{}, map[string]replica.Time{}
	do := func(m *vfs.Mem) {
		clear(added)
		clear(delivered)
		h, err := replica.OpenHints("", &replica.HintsOptions{FS: m, MaxBytes: 128 << 10})
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 60 {
			node, key := []string{"b", "c"}[rng.IntN(2)], fmt.Sprintf("k%d", rng.IntN(8))
			at := replica.Time(i + 1)
			require.NoError(t, h.Add(t.Context(), node, []byte(key), object(1, at, "data")))
			mu.Lock()
			added[node+"/"+key] = at
			mu.Unlock()
			if i%20 != 19 {
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			_ = h.Run(ctx, func(_ context.Context, hint replica.Hint) error {
				mu.Lock()
				defer mu.Unlock()
				delivered[hint.Node+"/"+string(hint.Key)] = hint.Object.Last()
				if len(delivered)%5 == 4 {
					cancel()
					return errors.New("away")
				}
				if maps.Equal(added, delivered) {
					cancel()
				}
				return nil
			})
			cancel()
		}
		require.NoError(t, h.Close())
	}
	promise := func() crashtest.Check {
		mu.Lock()
		defer mu.Unlock()
		must := map[string]replica.Time{}
		for name, at := range added {
			if delivered[name] < at {
				must[name] = at
			}
		}
		return func(found *vfs.Mem, at crashtest.Point) error {
			h, err := replica.OpenHints("", &replica.HintsOptions{FS: found, MaxBytes: 128 << 10})
			if err != nil {
				return err
			}
			defer h.Close()
			for _, name := range slices.Sorted(maps.Keys(must)) {
				if o, _ := h.Get(name[:1], []byte(name[2:])); o.Last() < must[name] {
					return fmt.Errorf("%s has %v, want %v", name, o.Last(), must[name])
				}
			}
			return h.Add(t.Context(), "z", []byte("k"), object(1, 1, "x"))
		}
	}
	report, err := crashtest.History(crashtest.Options{Every: 3, Draws: 1, Recover: func(found *vfs.Mem) {
		if h, err := replica.OpenHints("", &replica.HintsOptions{FS: found}); err == nil {
			_ = h.Close()
		}
	}}, do, promise)
	require.NoError(t, err)
	require.NotZero(t, report.Crashes)
	t.Log(report)
}

func TestHintsConcurrentSafe(t *testing.T) {
	h := openHints(t, replica.HintsOptions{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	s := &store{}
	var run, adders sync.WaitGroup
	run.Go(func() { _ = h.Run(ctx, s.deliver) })
	want := map[string]int{}
	var mu sync.Mutex
	for g := range replica.Actor(4) {
		adders.Go(func() {
			for i := range 150 {
				node, key := []string{"b", "c"}[i%2], fmt.Sprintf("k%d", i%7)
				s.set(node, i%3 == 0)
				if err := h.Add(ctx, node, []byte(key), object(g+1, replica.Time(i+1), "x")); err != nil {
					t.Errorf("Add: %v", err)
				}
				mu.Lock()
				want[fmt.Sprintf("%s/%s %d", node, key, g+1)] = i + 1
				mu.Unlock()
				h.Wake(node)
				h.Get(node, []byte(key))
			}
		})
	}
	adders.Wait()
	for len(h.Waiting()) > 0 {
		s.set("b", false)
		s.set("c", false)
		h.Wake("b")
		h.Wake("c")
		time.Sleep(time.Millisecond)
	}
	cancel()
	run.Wait()
	for name, at := range want {
		var node, key string
		var actor replica.Actor
		_, err := fmt.Sscanf(name, "%1s/%2s %d", &node, &key, &actor)
		require.NoError(t, err)
		if got := s.got[node+"/"+key].Context.At(actor); got != replica.Time(at) {
			t.Errorf("%s has %v, want %d", name, uint64(got), at)
		}
	}
}
