package observer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func publish(t *testing.T, s *Stream[int], from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, s.Publish(t.Context(), i))
	}
}

// rest reads what a reader has without waiting.
func rest(r *Reader[int]) (events []int, err error) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		event, err := r.Next(over)
		if err != nil {
			return events, err
		}
		events = append(events, event)
	}
}

func seq(from, to int) (list []int) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

func TestStreamPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for policy, want := range map[Policy]struct {
			events  []int
			dropped uint64
			err     error
		}{
			DropOldest: {seq(6, 10), 6, context.Canceled},
			DropNewest: {seq(0, 4), 6, context.Canceled},
			Disconnect: {nil, 0, ErrLagged},
		} {
			s := NewStream[int](4)
			r := s.Reader(&ReaderOptions{OnFull: policy})
			quick := s.Reader(nil)
			for i := range 10 {
				publish(t, s, i, i+1)
				event, err := quick.Next(t.Context())
				require.NoError(t, err)
				require.Equal(t, i, event)
			}
			events, err := rest(r)
			require.Equal(t, want.events, events, "%v", policy)
			require.ErrorIs(t, err, want.err)
			require.Equal(t, want.dropped, r.Stats().Dropped)
			require.EqualValues(t, len(events), r.Stats().Delivered)
			require.Zero(t, r.Stats().Lag)
			if want.err == context.Canceled { // it goes on
				publish(t, s, 10, 12)
				events, _ = rest(r)
				require.Equal(t, seq(10, 12), events)
			}
		}
	})
}

// A reader with DropNewest gets events again as soon as it has taken some.
func TestDropNewestMakesRoom(t *testing.T) {
	s := NewStream[int](3)
	r := s.Reader(&ReaderOptions{OnFull: DropNewest})
	publish(t, s, 0, 5) // 3 and 4 are dropped
	event, err := r.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, 0, event) // and has 1 and 2 in hand
	publish(t, s, 5, 9)        // 8 is dropped
	require.Equal(t, ReaderStats{Delivered: 3, Dropped: 3, Lag: 3}, r.Stats())
	events, _ := rest(r)
	require.Equal(t, []int{1, 2, 5, 6, 7}, events)
	publish(t, s, 9, 10)
	events, _ = rest(r)
	require.Equal(t, []int{9}, events)
	require.Equal(t, ReaderStats{Delivered: 7, Dropped: 3}, r.Stats())
	require.Equal(t, ReaderStats{Delivered: 4, Dropped: 0}, r.Stats().Sub(ReaderStats{Delivered: 3, Dropped: 3}))
}

// A disconnected reader has what it took before.
func TestDisconnectAfterABatch(t *testing.T) {
	s := NewStream[int](2)
	r := s.Reader(&ReaderOptions{OnFull: Disconnect})
	publish(t, s, 0, 2)
	event, err := r.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, 0, event)
	publish(t, s, 2, 5)
	events, err := rest(r)
	require.Equal(t, []int{1}, events)
	require.ErrorIs(t, err, ErrLagged)
	require.Zero(t, s.Stats().Readers)
	r.Close()
	_, err = r.Next(t.Context())
	require.ErrorIs(t, err, ErrLagged)
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](2)
		r := s.Reader(nil)
		published := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 7 {
				require.NoError(t, s.Publish(t.Context(), i))
				published++
			}
		}()
		synctest.Wait()
		require.Equal(t, 2, published)
		event, err := r.Next(t.Context())
		require.NoError(t, err)
		require.Zero(t, event)
		synctest.Wait()
		require.Equal(t, 4, published, "a batch is in hand")

		// A context ends the waiting, and the event is not in the stream.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Publish(ctx, 100), context.Canceled)
		var got []int
		for range 6 {
			event, err := r.Next(t.Context())
			require.NoError(t, err)
			got = append(got, event)
		}
		<-done
		require.Equal(t, seq(1, 7), got)
		stats := s.Stats()
		require.EqualValues(t, 7, stats.Published)
		require.Positive(t, stats.Blocked)
		require.Equal(t, 1, stats.Readers)
		require.Zero(t, stats.Sub(stats).Published)
		r.Close()
		publish(t, s, 7, 100) // nobody is in the way
	})
}

// A publisher that waits goes on when the reader that it waits for is closed.
func TestCloseOfAReaderFreesPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](1)
		r := s.Reader(nil)
		publish(t, s, 0, 1)
		done := make(chan error, 1)
		go func() { done <- s.Publish(t.Context(), 1) }()
		synctest.Wait()
		require.Empty(t, done)
		r.Close()
		r.Close()
		require.NoError(t, <-done)
		_, err := r.Next(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestReplay(t *testing.T) {
	s := NewStream[int](4)
	for _, want := range [][]int{nil, seq(0, 1), seq(0, 2), seq(0, 3)} {
		got, _ := rest(s.Reader(&ReaderOptions{Replay: 3, OnFull: DropOldest}))
		require.Equal(t, want, got)
		publish(t, s, int(s.Stats().Published), int(s.Stats().Published)+1)
	}
	publish(t, s, 4, 10)
	r := s.Reader(&ReaderOptions{Replay: 1000, OnFull: DropNewest})
	publish(t, s, 10, 11) // one too many for it
	got, _ := rest(r)
	require.Equal(t, seq(6, 10), got)
	require.NoError(t, s.Close(t.Context()))
	got, err := rest(s.Reader(&ReaderOptions{Replay: 2}))
	require.Equal(t, seq(9, 11), got)
	require.ErrorIs(t, err, ErrClosed)
}

func TestSubscribeAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](8)
		var got [3][]int
		var subs []*StreamSubscription
		for i := range got {
			subs = append(subs, s.Subscribe(func(event int) {
				runtime.Gosched()
				got[i] = append(got[i], event)
			}, nil))
		}
		publish(t, s, 0, 1000)
		require.NoError(t, subs[0].Err())
		require.NoError(t, s.Close(t.Context()))
		for i, sub := range subs {
			<-sub.Done()
			require.Equal(t, seq(0, 1000), got[i])
			require.ErrorIs(t, sub.Err(), ErrClosed)
			require.Equal(t, ReaderStats{Delivered: 1000}, sub.Stats())
		}
		require.NoError(t, s.Close(t.Context()), "again")
		require.ErrorIs(t, s.Publish(t.Context(), 1), ErrClosed)
		late := s.Subscribe(func(event int) { got[0] = append(got[0], -event) }, &ReaderOptions{Replay: 2})
		<-late.Done()
		require.Equal(t, []int{-998, -999}, got[0][1000:])
	})
}

// What waits when the stream is closed returns.
func TestNothingHangsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](1)
		full := s.Reader(nil)
		publish(t, s, 0, 1)
		errs := make(chan error)
		for i := range 3 {
			go func() { errs <- s.Publish(t.Context(), i) }()
		}
		empty := s.Reader(nil)
		go func() { _, err := empty.Next(t.Context()); errs <- err }()
		go func() {
			for range s.Events(t.Context(), nil) {
				t.Error("an event")
			}
			errs <- ErrClosed
		}()
		synctest.Wait()
		require.NoError(t, s.Close(t.Context()))
		for range 5 {
			require.ErrorIs(t, <-errs, ErrClosed)
		}
		got, err := rest(full)
		require.Equal(t, []int{0}, got, "what was there can be read")
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, s.Stats().Readers)
	})
}

func TestCloseWithDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](8)
		release := make(chan struct{})
		n := 0
		stuck := s.Subscribe(func(int) { n++; <-release }, nil)
		publish(t, s, 0, 5)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { synctest.Wait(); cancel() }()
		require.ErrorIs(t, s.Close(ctx), context.Canceled)
		close(release)
		<-stuck.Done()
		require.Equal(t, 1, n, "the other events are not delivered")
		require.NoError(t, s.Close(t.Context()))
	})
}

func TestCancelOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](8)
		var sub *StreamSubscription
		var got []int
		sub = s.Subscribe(func(event int) {
			got = append(got, event)
			if event == 2 {
				sub.Cancel()
				sub.Cancel()
			}
		}, nil)
		publish(t, s, 0, 5)
		<-sub.Done()
		require.Equal(t, seq(0, 3), got, "no more, although they were in hand")
		require.ErrorIs(t, sub.Err(), ErrClosed)

		idle := s.Subscribe(func(int) {}, nil)
		synctest.Wait()
		idle.Cancel()
		<-idle.Done()
		lagging := s.Subscribe(func(int) { synctest.Wait() }, &ReaderOptions{OnFull: Disconnect})
		lagging.Cancel()
		require.NoError(t, s.Close(t.Context()))
	})
}

func TestPanicsOfStreamHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](8)
		cause := errors.New("cause")
		var got []int
		sub := s.Subscribe(func(event int) {
			if event%2 == 0 {
				panic(fmt.Errorf("event %d: %w", event, cause))
			}
			got = append(got, event)
		}, nil)
		other := 0
		s.Subscribe(func(int) { other++ }, nil)
		publish(t, s, 0, 6)
		err := s.Close(t.Context())
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, "event 0")
		_, isPanic := errors.AsType[*PanicError](err)
		require.True(t, isPanic)
		require.Equal(t, []int{1, 3, 5}, got)
		require.Equal(t, 6, other)
		require.EqualValues(t, 3, sub.Stats().Panics)
	})
}

// A handler that ends its goroutine is cancelled by that.
func TestStreamHandlerEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](2)
		sub := s.Subscribe(func(int) { runtime.Goexit() }, nil)
		publish(t, s, 0, 10)
		<-sub.Done()
		require.NoError(t, s.Close(t.Context()))
	})
}

// Handlers of a stream may publish to it, as long as there is room.
func TestStreamReentrancy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](8)
		var got []int
		s.Subscribe(func(event int) {
			got = append(got, event)
			if event < 20 {
				if err := s.Publish(t.Context(), event+1); err != nil {
					t.Error(err)
				}
				s.Subscribe(func(int) {}, nil).Cancel()
			}
		}, nil)
		publish(t, s, 0, 1)
		synctest.Wait()
		require.NoError(t, s.Close(t.Context()))
		require.Equal(t, seq(0, 21), got)
	})
}

func TestStreamEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream[int](4)
		publish(t, s, 0, 3)
		var got []int
		for event := range s.Events(t.Context(), &ReaderOptions{Replay: 2}) {
			if got = append(got, event); len(got) == 2 {
				break
			}
		}
		require.Equal(t, seq(1, 3), got)
		require.Zero(t, s.Stats().Readers)

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for range s.Events(ctx, &ReaderOptions{Replay: 3}) {
			n++
			cancel()
		}
		require.Equal(t, 1, n, "the context has ended")
		later, end := context.WithCancel(t.Context())
		defer end()
		go func() { synctest.Wait(); end() }()
		for range s.Events(later, nil) {
			t.Error("an event")
		}
		require.Zero(t, s.Stats().Readers)
	})
}

func TestBadArguments(t *testing.T) {
	require.Panics(t, func() { NewStream[int](0) })
	s := NewStream[int](1)
	require.Panics(t, func() { s.Reader(&ReaderOptions{Replay: -1}) })
	require.Panics(t, func() { s.Reader(&ReaderOptions{OnFull: 4}) })
	require.Panics(t, func() { s.Reader(&ReaderOptions{OnFull: -1}) })
	require.Panics(t, func() { s.Subscribe(nil, nil) })
}

// All readers see one order, in which each publisher's events are in its own,
// without gaps where nothing is dropped.
func TestStreamConcurrentSafe(t *testing.T) {
	type event struct{ publisher, number int }
	s := NewStream[event](16)
	const publishers, events = 4, 2000
	var got [4][]event
	policies := []Policy{Block, Block, DropOldest, DropNewest}
	for i := range got {
		s.Subscribe(func(e event) { got[i] = append(got[i], e) }, &ReaderOptions{OnFull: policies[i]})
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range events {
				if err := s.Publish(t.Context(), event{p, i}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range events / 10 {
				r := s.Reader(&ReaderOptions{OnFull: Policy(i % 4), Replay: i % 20})
				if i%4 != 0 {
					_, _ = r.Next(t.Context())
				}
				_ = r.Stats()
				r.Close()
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.Close(t.Context()))
	require.Len(t, got[0], publishers*events)
	require.Equal(t, got[0], got[1])
	for i, list := range got {
		at := 0
		for _, e := range list {
			j := slices.Index(got[0][at:], e)
			if j < 0 {
				t.Fatalf("reader %d: %v is not in order", i, e)
			}
			at += j + 1
		}
	}
	next := [publishers]int{}
	for _, e := range got[0] {
		require.Equal(t, next[e.publisher], e.number)
		next[e.publisher]++
	}
}

// FuzzStream holds readers against lists of all events: what each policy lets
// them have when they read now and then.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 4, 8, 12, 1, 1, 1, 1, 1, 1, 1, 2, 2, 6, 10, 14}, uint8(3))
	f.Add([]byte("a stream of events and readers"), uint8(2))
	f.Fuzz(func(t *testing.T, program []byte, room uint8) {
		capacity := int(room)%9 + 1
		s := NewStream[int](capacity)
		type twin struct {
			reader  *Reader[int]
			policy  Policy
			pending []int
			hand    []int
			dropped int
			lagged  bool
		}
		var twins []*twin
		log := []int{}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, op := range program {
			switch op % 4 {
			case 0:
				if len(twins) == 8 {
					break
				}
				tw := &twin{policy: Policy(op / 4 % 4)}
				replay := int(op / 16)
				tw.reader = s.Reader(&ReaderOptions{OnFull: tw.policy, Replay: replay})
				tw.pending = slices.Clone(log[max(0, len(log)-min(replay, capacity)):])
				twins = append(twins, tw)
			case 1:
				event := len(log)
				blocked := slices.ContainsFunc(twins, func(tw *twin) bool { return tw.policy == Block && len(tw.pending) == capacity })
				err := s.Publish(ctx, event)
				if blocked != (err != nil) {
					t.Fatalf("Publish: %v, blocked %t", err, blocked)
				}
				// Readers that are full and do not block are treated so even
				// if another blocks.
				for _, tw := range twins {
					full := len(tw.pending) == capacity && !tw.lagged
					if full && tw.policy == Disconnect {
						tw.lagged, tw.pending = true, nil
						continue
					}
					if err != nil || tw.lagged {
						continue
					}
					switch {
					case full && tw.policy == DropNewest:
						tw.dropped++
						continue
					case full:
						tw.dropped++
						tw.pending = tw.pending[1:]
					}
					tw.pending = append(tw.pending, event)
				}
				if err == nil {
					log = append(log, event)
				}
			default:
				if len(twins) == 0 {
					break
				}
				i := int(op/4) % len(twins)
				tw := twins[i]
				if op%4 == 3 && op >= 128 {
					tw.reader.Close()
					if _, err := tw.reader.Next(ctx); err == nil {
						t.Fatal("Next after Close")
					}
					twins = slices.Delete(twins, i, i+1)
					break
				}
				event, err := tw.reader.Next(ctx)
				if len(tw.hand) == 0 {
					tw.hand, tw.pending = tw.pending, nil
				}
				switch {
				case len(tw.hand) > 0:
					if err != nil || event != tw.hand[0] {
						t.Fatalf("Next of reader %d with policy %d: %d, %v, want %d", i, tw.policy, event, err, tw.hand[0])
					}
					tw.hand = tw.hand[1:]
				case tw.lagged && err != ErrLagged, !tw.lagged && err != context.Canceled:
					t.Fatalf("Next of an empty reader: %v", err)
				}
			}
			for i, tw := range twins {
				stats := tw.reader.Stats()
				if int(stats.Dropped) != tw.dropped || int(stats.Lag) != len(tw.pending) {
					t.Fatalf("reader %d with policy %d: %+v, want %d dropped and a lag of %d", i, tw.policy, stats, tw.dropped, len(tw.pending))
				}
			}
		}
	})
}
