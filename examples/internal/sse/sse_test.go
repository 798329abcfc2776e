package sse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A listener is a client of a stream that collects what it gets.
type listener struct {
	mu     sync.Mutex
	text   bytes.Buffer
	header http.Header
	stuck  bool // writes fail, as after their deadline
	cancel context.CancelFunc
	done   chan struct{}
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(int)     {}
func (l *listener) Flush()              {}
func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck {
		return 0, errors.New("i/o timeout")
	}
	return l.text.Write(p)
}

// take returns the events since the last call, without the first line of a
// stream.
func (l *listener) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimPrefix(l.text.String(), "retry: 1000\n\n")
	l.text.Reset()
	return text
}

// connect starts a client in the test's bubble.
func connect(t *testing.T, s *Stream, lastEventID string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{header: http.Header{}, cancel: cancel, done: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/live", nil)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	go func() {
		defer close(l.done)
		s.ServeHTTP(l, r)
	}()
	synctest.Wait()
	return l
}

func (l *listener) close() {
	l.cancel()
	<-l.done
}

func event(name, data string) string { return fmt.Sprintf("event: %s\ndata: %s\n\n", name, data) }

func TestStatesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Second})
		s.Show("level", 1)
		l := connect(t, s, "")
		defer l.close()
		require.Equal(t, event("level", "1"), l.take(), "the present state comes at once")
		for i := range 100 {
			s.Show("level", i)
			time.Sleep(5 * time.Millisecond)
		}
		require.Empty(t, l.take())
		time.Sleep(time.Second)
		require.Equal(t, event("level", "99"), l.take(), "one event for a hundred changes")
		s.Show("level", 99)
		time.Sleep(5 * time.Second)
		require.Empty(t, l.take(), "nothing has changed")
	})
}

func TestSampleIsCalledOncePerIntervalForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Second})
		var calls atomic.Int64
		s.Sample("n", func() any { return min(calls.Add(1), 11) })
		time.Sleep(10 * time.Second)
		require.Zero(t, calls.Load(), "nobody is watching")
		var listeners []*listener
		for range 10 {
			listeners = append(listeners, connect(t, s, ""))
		}
		require.EqualValues(t, 1, calls.Load())
		// Who comes by while another is calling gets the value an interval later.
		time.Sleep(11*time.Second + time.Millisecond)
		require.EqualValues(t, 12, calls.Load())
		for _, l := range listeners {
			require.True(t, strings.HasSuffix(l.take(), event("n", "11")), "all see the same")
			l.close()
		}
	})
}

func TestPanickingSamplerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Second})
		broken := true
		s.Sample("n", func() any {
			if broken {
				panic("not yet")
			}
			return 1
		})
		request := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		require.Panics(t, func() { s.ServeHTTP(httptest.NewRecorder(), request) })
		require.Zero(t, s.Clients())
		broken = false
		time.Sleep(time.Second)
		l := connect(t, s, "")
		defer l.close()
		require.Equal(t, event("n", "1"), l.take())
	})
}

func TestMessagesComeAtOnceAndAreReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Hour, Keep: 3})
		s.Send("said", "before")
		l := connect(t, s, "")
		require.Empty(t, l.take(), "a new client starts with the present")
		s.Send("said", "one\ntwo")
		synctest.Wait()
		got := l.take()
		require.Equal(t, "id: "+s.epoch+"-2\n"+event("said", `"one\ntwo"`), got)
		l.close()

		s.Send("said", "3")
		s.Send("said", "4")
		l = connect(t, s, s.epoch+"-2")
		require.Equal(t, "id: "+s.epoch+"-3\n"+event("said", `"3"`)+"id: "+s.epoch+"-4\n"+event("said", `"4"`), l.take())
		l.close()

		for i := range 5 {
			s.Send("said", i)
		}
		for name, last := range map[string]string{"fallen out of the ring": s.epoch + "-4", "an earlier run": "abc-4", "from the future": s.epoch + "-99"} {
			l = connect(t, s, last)
			if got := l.take(); !strings.HasPrefix(got, event("gap", "{}")) {
				t.Errorf("%s: got %q, want a gap first", name, got)
			}
			l.close()
		}
		l = connect(t, s, "nonsense")
		require.Empty(t, l.take())
		l.close()
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Second, Heartbeat: 10 * time.Second})
		l := connect(t, s, "")
		defer l.close()
		l.take()
		time.Sleep(9 * time.Second)
		require.Empty(t, l.take())
		time.Sleep(2 * time.Second)
		require.Equal(t, ": still here\n\n", l.take())
	})
}

func TestStuckClientIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Every: time.Second})
		l := connect(t, s, "")
		require.Equal(t, 1, s.Clients())
		l.mu.Lock()
		l.stuck = true
		l.mu.Unlock()
		s.Send("x", 1)
		<-l.done
		require.Zero(t, s.Clients())
	})
}

func TestTooManyClientsAreTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(&Options{Clients: 1})
		l := connect(t, s, "")
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		l.close()
		connect(t, s, "").close()
	})
}

func TestMistakesOfTheProgramPanic(t *testing.T) {
	s := New(nil)
	require.Panics(t, func() { s.Send("a\nb", 1) })
	require.Panics(t, func() { s.Show("", 1) })
	require.Panics(t, func() { s.Show("a", func() {}) })
}

// Real connections, whose limits are for short answers: the stream outlives
// them.
func TestStreamOutlivesTheServersTimeouts(t *testing.T) {
	s := New(&Options{Every: 10 * time.Millisecond})
	n := 0
	s.Sample("n", func() any { n++; return n })
	server := httptest.NewUnstartedServer(s)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	server.Start()
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	require.NoError(t, err)
	answer, err := server.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, "text/event-stream; charset=utf-8", answer.Header.Get("Content-Type"))
	seen, buffer := "", make([]byte, 4096)
	for !strings.Contains(seen, "data: 20\n") { // at least 200 ms
		k, err := answer.Body.Read(buffer)
		require.NoError(t, err, "after %q", seen)
		seen += string(buffer[:k])
	}
}

func TestConcurrentSafe(t *testing.T) {
	s := New(&Options{Every: time.Millisecond, Keep: 8})
	s.Sample("sampled", func() any { return time.Now() })
	server := httptest.NewServer(s)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 4 {
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
		require.NoError(t, err)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		users.Go(func() {
			defer answer.Body.Close()
			var last bytes.Buffer
			_, _ = last.ReadFrom(answer.Body) // until cancelled
			if !strings.Contains(last.String(), "event: ") {
				t.Errorf("a client got no event: %q", last.String())
			}
		})
		users.Go(func() {
			for i := range 500 {
				s.Show("state", i)
				s.Send("message", i)
			}
		})
	}
	require.Eventually(t, func() bool { return s.lastSent() == 2000 }, time.Minute, time.Millisecond)
	cancel()
	users.Wait()
	require.Eventually(t, func() bool { return s.Clients() == 0 }, time.Minute, time.Millisecond)
}

func (s *Stream) lastSent() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastID
}
