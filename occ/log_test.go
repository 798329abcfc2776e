package occ_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ashlar-go/ashlar/occ"
	"github.com/stretchr/testify/require"
)

// A commit is in the log before anybody sees it, and before it is
// acknowledged.
func TestInTheLogBeforeItIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(memoryLog[string, int])
		s := open(log)
		put(t, s, "x", 1, "y", 1)
		release := make(chan struct{})
		log.before = func([]occ.Commit[string, int]) error { <-release; return nil }
		acknowledged := false
		go func() {
			put(t, s, "x", 2, "y", 2)
			acknowledged = true
		}()
		synctest.Wait()
		require.Equal(t, "x=1 y=1 ", state(s))
		value, _, _ := s.Load("x")
		require.Equal(t, 1, value)
		require.NoError(t, s.Update(t.Context(), func(tx *tx) error { // an Update that only reads
			for _, value := range tx.All() {
				require.Equal(t, 1, value)
			}
			return nil
		}))
		require.False(t, acknowledged)

		before := log.appends
		for i := range 10 { // others do not wait for each other: they share the next Append
			go put(t, s, fmt.Sprint("z", i), i)
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		require.True(t, acknowledged)
		require.Equal(t, 12, s.Len())
		require.Equal(t, before+1, log.appends, "one for ten")
		require.NoError(t, s.CheckInvariants())
	})
}

// At every moment of a run, what is visible is in the log; and the log alone gives
// the store back, with its versions.
func TestReplayConcurrentSafe(t *testing.T) {
	log := new(memoryLog[int, int])
	var mu sync.Mutex
	appended := map[[2]int]bool{} // key and value
	log.before = func(commits []occ.Commit[int, int]) error {
		runtime.Gosched()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range commits {
			for _, change := range c.Changes {
				appended[[2]int{change.Key, change.Value}] = true
			}
		}
		return nil
	}
	s := open(log)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for i := range 500 {
				err := s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
					key, value := r.IntN(10), worker*1000+i
					switch r.IntN(4) {
					case 0:
						tx.Get(key)
						tx.Delete(r.IntN(10))
					case 1:
						tx.Apply(key, func(n int) int { return value })
					default:
						tx.Get(r.IntN(10))
						tx.Put(key, value)
						tx.Put(r.IntN(10), value)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				_ = s.View(t.Context(), func(tx *occ.Tx[int, int]) error {
					for key, value := range tx.All() {
						mu.Lock()
						if !appended[[2]int{key, value}] {
							t.Errorf("%d = %d is visible and not in the log", key, value)
						}
						mu.Unlock()
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.CheckInvariants())
	again := open(log)
	require.NoError(t, again.CheckInvariants())
	require.Equal(t, s.Len(), again.Len())
	for key := range 10 {
		v1, ver1, ok1 := s.Load(key)
		v2, ver2, ok2 := again.Load(key)
		require.Equal(t, []any{v1, ver1, ok1}, []any{v2, ver2, ok2})
	}
	_, version, _ := again.Load(3)
	next, swapped, err := again.CompareAndSwap(t.Context(), 3, version, 77)
	require.True(t, err == nil && swapped && next > version)

	// A log may leave out what is replaced, down to one change a key.
	newest := map[int]occ.Commit[int, int]{}
	for _, c := range log.commits {
		for _, change := range c.Changes {
			newest[change.Key] = occ.Commit[int, int]{Version: c.Version, Changes: []occ.Change[int, int]{change}}
		}
	}
	compacted := new(memoryLog[int, int])
	byVersion := map[uint64]*occ.Commit[int, int]{}
	for _, c := range log.commits {
		for key, of := range newest {
			if of.Version != c.Version {
				continue
			}
			if byVersion[c.Version] == nil {
				compacted.commits = append(compacted.commits, occ.Commit[int, int]{Version: c.Version})
				byVersion[c.Version] = &compacted.commits[len(compacted.commits)-1]
			}
			last := &compacted.commits[len(compacted.commits)-1]
			last.Changes = append(last.Changes, newest[key].Changes...)
		}
	}
	small := open(compacted)
	require.Equal(t, again.Len(), small.Len())
	for key := range 10 {
		v1, ver1, ok1 := again.Load(key)
		v2, ver2, ok2 := small.Load(key)
		require.Equal(t, []any{v1, ver1, ok1}, []any{v2, ver2, ok2})
	}
}

// A log that fails, or panics, takes nobody with it: no commit of that Append
// is visible, and the next goes on.
func TestFailingLog(t *testing.T) {
	for name, panics := range map[string]bool{"error": false, "panic": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(memoryLog[string, int])
				s := open(log)
				put(t, s, "x", 1)
				full := errors.New("disk full")
				release := make(chan struct{})
				log.before = func([]occ.Commit[string, int]) error {
					<-release
					if panics {
						panic(full)
					}
					return full
				}
				update := func(key string) (err error) {
					defer func() {
						if r := recover(); r != nil {
							err = r.(error)
						}
					}()
					return s.Update(t.Context(), func(tx *tx) error {
						tx.Apply(key, func(n int) int { return n + 1 })
						tx.Put("new "+key, 1)
						return nil
					})
				}
				errs := make(chan error, 4)
				for _, key := range []string{"x", "a", "b", "x"} {
					go func() { errs <- update(key) }()
				}
				synctest.Wait()
				close(release)
				failed := 0
				for range 4 {
					err := <-errs
					require.Error(t, err)
					if errors.Is(err, full) {
						failed++
					}
				}
				require.NotZero(t, failed)
				require.Equal(t, "x=1 ", state(s))
				log.before = nil
				require.NoError(t, update("x"))
				require.Equal(t, "new x=1 x=2 ", state(s))
				require.NoError(t, s.CheckInvariants())
				require.Equal(t, state(s), state(open(log)))
			})
		})
	}
}

// Deleting what is not there writes nothing, and is not worth an Append.
func TestEmptyCommitsAreNotLogged(t *testing.T) {
	log := new(memoryLog[string, int])
	s := open(log)
	require.NoError(t, s.Update(t.Context(), func(tx *tx) error { tx.Delete("x"); return nil }))
	require.Zero(t, log.appends)
	put(t, s, "x", 1)
	require.Equal(t, 1, log.appends)
	require.NoError(t, s.CheckInvariants())
}

func TestOpenRefusesWhatIsWrong(t *testing.T) {
	_, err := occ.Open(t.Context(), &memoryLog[string, int]{failed: errors.New("torn")}, nil)
	require.EqualError(t, err, "occ: replay: torn")
	_, err = occ.Open(t.Context(), &memoryLog[string, int]{commits: []occ.Commit[string, int]{{Version: 2}, {Version: 2}}}, nil)
	require.EqualError(t, err, "occ: replay: version 2 after 2")
	_, err = occ.Open(t.Context(), &memoryLog[float64, int]{commits: []occ.Commit[float64, int]{
		{Version: 1, Changes: []occ.Change[float64, int]{{Key: math.NaN()}}},
	}}, nil)
	require.EqualError(t, err, "occ: replay: version 1: a key that is not equal to itself")
}

// Whoever appends for others hands over when his own is done.
func TestNobodyAppendsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(memoryLog[int, int])
		s := open(log)
		log.before = func([]occ.Commit[int, int]) error { time.Sleep(time.Second); return nil }
		var longest time.Duration
		var mu sync.Mutex
		var wg sync.WaitGroup
		for worker := range 20 {
			wg.Go(func() {
				for i := range 20 {
					start := time.Now()
					_ = s.Update(t.Context(), func(tx *occ.Tx[int, int]) error { tx.Put(worker, i); return nil })
					mu.Lock()
					longest = max(longest, time.Since(start))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, longest, 2*time.Second, "the Append under way, and one's own")
		require.True(t, slices.IsSortedFunc(log.commits, func(a, b occ.Commit[int, int]) int { return int(a.Version) - int(b.Version) }))
	})
}
