package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listen starts an endpoint that answers by handle and is closed with the test.
func listen(t testing.TB, name string, network *Network, handle Handler) *Endpoint {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := Listen(ln, Options{Name: name, Cluster: "test", Network: network, MaxMessage: 1 << 20, Handle: handle})
	t.Cleanup(e.Close)
	return e
}

func echo(_ context.Context, from string, method byte, request []byte) ([]byte, error) {
	switch method {
	case 1:
		return append([]byte(from+":"), request...), nil
	case 2:
		panic("a defect")
	case 3:
		return make([]byte, 2<<20), nil
	}
	return nil, errors.New("no such method")
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Calls of many goroutines share a connection, and each gets its own answer.
func TestCallsShareAConnectionConcurrentSafe(t *testing.T) {
	a, b := listen(t, "a", nil, echo), listen(t, "b", nil, echo)
	to := Node{"b", b.Addr()}
	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			request := bytes.Repeat([]byte{byte(i)}, i*1000)
			reply, err := a.Call(within(t, time.Minute), to, 1, request)
			if err != nil || !bytes.Equal(reply, append([]byte("a:"), request...)) {
				t.Errorf("call %d: %d bytes, %v", i, len(reply), err)
			}
		})
	}
	calls.Wait()
	a.mu.Lock()
	require.Len(t, a.out, 1)
	a.mu.Unlock()
}

// Errors say where they come from and whether the handler ran.
func TestErrorsOfCalls(t *testing.T) {
	a, b := listen(t, "a", nil, echo), listen(t, "b", nil, echo)
	to := Node{"b", b.Addr()}
	_, err := a.Call(within(t, time.Minute), to, 9, nil)
	remote, ok := errors.AsType[*RemoteError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "b: no such method", remote.Error())
	_, err = a.Call(within(t, time.Minute), to, 2, nil)
	require.ErrorContains(t, err, "internal error", "a panic costs one call")
	_, err = a.Call(within(t, time.Minute), to, 3, nil)
	require.ErrorContains(t, err, "too large")
	_, err = a.Call(within(t, time.Minute), to, 1, make([]byte, 2<<20))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = a.Call(within(t, time.Minute), to, 1, nil)
	require.NoError(t, err, "the connection outlives all of these")
	b.Close()
	_, err = a.Call(within(t, time.Minute), to, 1, nil)
	require.True(t, errors.Is(err, ErrLost) || errors.Is(err, ErrRefused), "%v", err)
	a.Close()
	_, err = a.Call(within(t, time.Minute), to, 1, nil)
	require.ErrorIs(t, err, ErrClosed)
}

// What goes over a cut link is swallowed, in either direction.
func TestCutLinks(t *testing.T) {
	var ran sync.Map
	network := &Network{}
	handle := func(_ context.Context, from string, _ byte, request []byte) ([]byte, error) {
		ran.Store(string(request), true)
		return nil, nil
	}
	a, b := listen(t, "a", network, handle), listen(t, "b", network, handle)
	to := Node{"b", b.Addr()}
	network.Set("a", "b", Rule{Cut: true})
	_, err := a.Call(within(t, 30*time.Millisecond), to, 1, []byte("there"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, reached := ran.Load("there")
	require.False(t, reached)
	network.Heal()
	network.Set("b", "a", Rule{Cut: true})
	_, err = a.Call(within(t, 300*time.Millisecond), to, 1, []byte("back"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { _, reached := ran.Load("back"); return reached }, time.Minute, time.Millisecond, "the request arrived, its reply did not")
	network.Partition([]string{"a", "c"}, []string{"b"})
	require.True(t, network.Rule("a", "b").Cut && network.Rule("b", "c").Cut && !network.Rule("a", "c").Cut)
	network.Heal()
	require.False(t, network.Faulty())
	_, err = a.Call(within(t, time.Minute), to, 1, nil)
	require.NoError(t, err)
}

// A paused endpoint does what it was asked when it is resumed, however late.
func TestPausedEndpointGoesOnLater(t *testing.T) {
	ran := make(chan string, 1)
	a := listen(t, "a", nil, echo)
	b := listen(t, "b", nil, func(_ context.Context, _ string, _ byte, request []byte) ([]byte, error) {
		ran <- string(request)
		return nil, nil
	})
	b.Pause()
	require.True(t, b.Paused())
	_, err := a.Call(within(t, 50*time.Millisecond), Node{"b", b.Addr()}, 1, []byte("late"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	b.Resume()
	require.Equal(t, "late", <-ran)
}

// Whoever is no node of the cluster is turned away, and what is no message ends the
// connection and nothing else.
func TestBadInput(t *testing.T) {
	a, b := listen(t, "a", nil, echo), listen(t, "b", nil, echo)
	request := bytes.Join(requestMessage(1, 1, time.Second, []byte("x")), nil)
	hello := appendGreeting(nil, kindCalls, "test", "a")
	large := bytes.Clone(request)
	binary.BigEndian.PutUint32(large, 1<<31)
	small := bytes.Clone(request)
	binary.BigEndian.PutUint32(small, 3)
	for name, input := range map[string][]byte{
		"nothing": nil, "another protocol": []byte("GET / HTTP/1.1\r\n\r\n"), "another cluster": append(appendGreeting(nil, kindCalls, "other", "a"), request...),
		"a long name": append([]byte(greeting+"c"), 255), "too large": append(bytes.Clone(hello), large...), "too small": append(bytes.Clone(hello), small...),
		"cut short": append(bytes.Clone(hello), request[:len(request)-1]...),
	} {
		conn, err := net.Dial("tcp", b.Addr())
		require.NoError(t, err)
		_, err = conn.Write(input)
		require.NoError(t, err)
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		got, err := io.ReadAll(conn)
		if len(got) != 0 {
			t.Errorf("%s: answered %q, %v", name, got, err)
		}
		conn.Close()
	}
	_, err := a.Call(within(t, time.Minute), Node{"b", b.Addr()}, 1, nil)
	require.NoError(t, err)
}

// A large request that has to wait for room holds up no small one, and comes to an end
// with what Admit says: it is received, or passed over and the connection goes on.
func TestLargeRequestsAreAdmitted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var released, sent atomic.Int64
	answers := make(chan error)
	b := Listen(ln, Options{Name: "b", Cluster: "test", MaxMessage: 1 << 20, Handle: echo, Admit: func(ctx context.Context, n int) (context.Context, func(), error) {
		select {
		case err := <-answers:
			return ctx, func() { released.Add(1) }, err
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}})
	t.Cleanup(b.Close)
	a, to := listen(t, "a", nil, echo), Node{"b", b.Addr()}
	for i, want := range []error{nil, errors.New("no room"), nil} {
		large := bytes.Repeat([]byte{byte(i)}, 500_000)
		done := make(chan struct{})
		go func() {
			defer close(done)
			reply, err := a.Call(within(t, time.Minute), to, 1, large, func() { sent.Add(1) })
			if want == nil && (err != nil || !bytes.Equal(reply, append([]byte("a:"), large...))) || want != nil && (err == nil || err.Error() != "b: no room") {
				t.Errorf("call %d: %d bytes, %v", i, len(reply), err)
			}
		}()
		_, err := a.Call(within(t, time.Minute), to, 1, []byte("small"))
		require.NoError(t, err, "it does not wait behind the large one")
		answers <- want
		<-done
	}
	require.Eventually(t, func() bool { return released.Load() == 2 && sent.Load() == 3 }, time.Minute, time.Millisecond)
	// What cannot be sent any more has left, too.
	go a.Call(within(t, time.Minute), to, 1, make([]byte, 500_000), func() { sent.Add(1) })
	b.Close()
	_, err = a.Call(within(t, time.Minute), to, 1, nil, func() { sent.Add(1) })
	require.Error(t, err)
	require.Eventually(t, func() bool { return sent.Load() == 5 }, time.Minute, time.Millisecond)
}

// A reply that nobody waits for any more is passed over.
func TestLateRepliesArePassedOver(t *testing.T) {
	late := make(chan struct{})
	a := listen(t, "a", nil, echo)
	b := listen(t, "b", nil, func(ctx context.Context, _ string, method byte, _ []byte) ([]byte, error) {
		if method == 1 {
			<-late
		}
		return make([]byte, 500_000), nil
	})
	to := Node{"b", b.Addr()}
	_, err := a.Call(within(t, 20*time.Millisecond), to, 1, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(late)
	reply, err := a.Call(within(t, time.Minute), to, 2, nil)
	require.NoError(t, err)
	require.Len(t, reply, 500_000)
}
