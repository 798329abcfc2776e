package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/store"
	"github.com/ashlar-go/ashlar/examples/logging/tail"
)

// unreliable is a store that fails now and then, before or after it has stored
// what it was given, so that the answer is lost.
type unreliable struct {
	Local
	mu     sync.Mutex
	random *rand.Rand
	down   atomic.Bool
	calls  atomic.Int64
}

var errDown = errors.New("no answer")

func (u *unreliable) Ship(ctx context.Context, source string, packets []store.Numbered) error {
	u.calls.Add(1)
	u.mu.Lock()
	dice := u.random.IntN(10)
	u.mu.Unlock()
	if u.down.Load() || dice == 0 {
		return errDown
	}
	err := u.Local.Ship(ctx, source, packets)
	if dice == 1 {
		return errDown
	}
	return err
}

func newStore(t *testing.T) *store.Store {
	s, err := store.Open(t.TempDir(), &store.Options{Sync: commitlog.SyncNever})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func options(t *testing.T, dir string, shipper Shipper) Options {
	return Options{
		Name: "web-1", Dir: filepath.Join(dir, "agent"), Shipper: shipper, Labels: entry.MakeLabels("host", "web-1"), Save: 30 * time.Millisecond, Linger: time.Millisecond,
		Tail: tail.Options{Patterns: []string{filepath.Join(dir, "*.log")}, Interval: 5 * time.Millisecond, Grace: 50 * time.Millisecond, JoinTimeout: 20 * time.Millisecond},
	}
}

// lines counts how often the store has each line.
func lines(t *testing.T, s *store.Store) map[string]int {
	counts := map[string]int{}
	r := store.Request{Limit: 1000}
	for {
		result, err := s.Search(t.Context(), r)
		require.NoError(t, err)
		for _, h := range result.Hits {
			counts[h.Line]++
		}
		if result.Next == nil {
			return counts
		}
		r.Before = result.Next
	}
}

// eventually waits without a limit of its own: the test's is enough.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("it did not come to be that %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Bursts, rotations of both kinds, deaths of the agent at any moment, answers
// that get lost: every line is in the store, once.
func TestNothingIsLostOrTwice(t *testing.T) {
	s := newStore(t)
	shipper := &unreliable{Local: Local{s}, random: rand.New(rand.NewPCG(1, 2))}
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	r := rand.New(rand.NewPCG(3, 4))
	a, err := Start(t.Context(), options(t, dir, shipper))
	require.NoError(t, err)
	number := 0
	for round := range 30 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		var text strings.Builder
		for range 100 + r.IntN(400) {
			fmt.Fprintf(&text, "2026-11-28T20:00:00Z INFO this is line %d\n", number)
			number++
		}
		_, err = f.WriteString(text.String())
		require.NoError(t, err)
		require.NoError(t, f.Close())
		switch r.IntN(4) {
		case 0:
			rotate(t, path, false)
		case 1:
			rotate(t, path, true)
		}
		if r.IntN(3) == 0 {
			time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond) // at any moment
			if round%2 == 0 {
				require.NoError(t, a.Kill())
			} else {
				require.NoError(t, a.Close())
			}
			a, err = Start(t.Context(), options(t, dir, shipper))
			require.NoError(t, err)
		}
	}
	eventually(t, "all lines are stored", func() bool { return s.Stats().Entries >= uint64(number) })
	counts := lines(t, s)
	require.Len(t, counts, number)
	twice := 0
	for _, n := range counts {
		twice += n - 1
	}
	t.Logf("%d lines, 0 lost, %d twice; %d shipments, %d repeated packets refused", number, twice, shipper.calls.Load(), s.Stats().Duplicates)
	require.Zero(t, twice)
	require.NoError(t, a.Close())
}

func rotate(t *testing.T, path string, copied bool) {
	for i := 40; i > 0; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1)) // most are not there
	}
	if !copied {
		require.NoError(t, os.Rename(path, path+".1"))
		return
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".1", data, 0o600))
	require.NoError(t, os.Truncate(path, 0))
}

// While the store is down the queue fills to its bound and no further, and
// what is rotated meanwhile is not lost.
func TestBackPressure(t *testing.T) {
	s := newStore(t)
	shipper := &unreliable{Local: Local{s}, random: rand.New(rand.NewPCG(5, 6))}
	shipper.down.Store(true)
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	o := options(t, dir, shipper)
	o.QueueBytes = 1 << 20
	o.Tail.BatchBytes = 64 << 10
	a, err := Start(t.Context(), o)
	require.NoError(t, err)
	number := 0
	for range 6 {
		var text strings.Builder
		for range 1500 {
			fmt.Fprintf(&text, "%d %s\n", number, strings.Repeat("x", 300))
			number++
		}
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
		eventually(t, "the file was met", func() bool { return a.Stats().Tail.Files > 0 })
		time.Sleep(20 * time.Millisecond) // some rounds; none is needed
		rotate(t, path, false)
	}
	eventually(t, "the queue is full", func() bool { return a.Stats().Tail.Full > 0 })
	require.Less(t, a.Stats().Bytes, int64(1<<20+256<<10))
	require.Equal(t, "no answer", a.Stats().Err)
	shipper.down.Store(false)
	eventually(t, "all lines are stored", func() bool { return s.Stats().Entries >= uint64(number) })
	require.Len(t, lines(t, s), number)
	require.NoError(t, a.Close())
}

// A queue that was thrown away begins a new epoch: the store does not take new
// packets for old ones.
func TestQueueThrownAway(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	for i := range 3 {
		a, err := Start(t.Context(), options(t, dir, Local{s}))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "%s of %d\n", strings.Repeat("line ", 10*i+1), i), 0o600))
		eventually(t, "it is stored", func() bool { return s.Stats().Entries == uint64(i+1) })
		require.NoError(t, a.Close())
		if i == 0 {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "agent", "queue")))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent", "state.json"), []byte("{"), 0o600))
	_, err := Start(t.Context(), options(t, dir, Local{s}))
	require.ErrorContains(t, err, "state.json")
	_, err = Start(t.Context(), Options{})
	require.Error(t, err)
}

func TestLabelsLevelsAndTimes(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	a, err := Start(t.Context(), options(t, dir, Local{s}))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.access.log"), []byte(
		`192.0.2.7 - - [28/Nov/2025:19:40:01 +0100] "GET /cart HTTP/1.1" 502 1234 "-" "curl/8"`+"\n"), 0o600))
	eventually(t, "it is stored", func() bool { return s.Stats().Entries == 1 })
	result, err := s.Search(t.Context(), store.Request{})
	require.NoError(t, err)
	e := result.Hits[0].Entry
	require.Equal(t, entry.Error, e.Level)
	require.Equal(t, "2025-11-28T18:40:01Z", e.Time.UTC().Format(time.RFC3339))
	app, _ := e.Labels.Get("app")
	host, _ := e.Labels.Get("host")
	require.Equal(t, "shop web-1", app+" "+host)
	require.NoError(t, a.Close())
}

func TestShipments(t *testing.T) {
	packets := []store.Numbered{{Sequence: 0, Packet: entry.Packet{Labels: entry.MakeLabels("a", "b"), Entries: []entry.Entry{{Time: time.Unix(1, 0), Line: "x"}}}}, {Sequence: 77}}
	body := EncodeShipment(packets)
	got, err := DecodeShipment(body)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.EqualValues(t, 77, got[1].Sequence)
	require.Equal(t, "x", got[0].Packet.Entries[0].Line)
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 0x55
		_, _ = DecodeShipment(bad) // an error or another shipment, never a panic
	}
	_, err = DecodeShipment([]byte("no zstd"))
	require.ErrorIs(t, err, ErrBadShipment)
	bomb := compressor.EncodeAll(make([]byte, 2*MaxShipment), nil)
	_, err = DecodeShipment(bomb)
	require.ErrorIs(t, err, ErrBadShipment)
}

func TestHTTPShipper(t *testing.T) {
	status := http.StatusNoContent
	var source string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source = r.Header.Get(SourceHeader) + " " + r.URL.Path
		w.WriteHeader(status)
	}))
	defer server.Close()
	h := &HTTPShipper{URL: server.URL + "/logging/"}
	require.NoError(t, h.Ship(t.Context(), "web-1/X", nil))
	require.Equal(t, "web-1/X /logging/ship", source)
	status = http.StatusTooManyRequests
	require.ErrorContains(t, h.Ship(t.Context(), "a", nil), "429")
	status = http.StatusBadRequest
	require.ErrorIs(t, h.Ship(t.Context(), "a", nil), ErrRejected)
}

// A program that does not append leaves a hole when its file is truncated. The
// hole is no line; what comes behind it is.
func TestHole(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	a, err := Start(t.Context(), options(t, dir, Local{s}))
	require.NoError(t, err)
	f, err := os.Create(filepath.Join(dir, "app.log"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("before\n\nand an empty line\n")
	require.NoError(t, err)
	eventually(t, "the first lines are stored", func() bool { return s.Stats().Entries == 3 })
	require.NoError(t, os.Truncate(f.Name(), 0))
	_, err = f.Seek(1<<20, io.SeekStart)
	require.NoError(t, err)
	_, err = f.WriteString("behind\n")
	require.NoError(t, err)
	eventually(t, "the line behind the hole is stored", func() bool { return lines(t, s)["behind"] == 1 })
	require.Len(t, lines(t, s), 4)
	require.NoError(t, a.Close())
}

// What the store will never take is dropped, alone, and counted.
func TestRejected(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	o := options(t, dir, rejecting{Local{s}})
	a, err := Start(t.Context(), o)
	require.NoError(t, err)
	for _, name := range []string{"a.log", "bad.log", "c.log"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("of "+name+"\n"), 0o600))
	}
	eventually(t, "the others are stored", func() bool { return s.Stats().Entries == 2 && a.Stats().Rejected == 1 })
	require.NoError(t, a.Close())
}

type rejecting struct{ Local }

func (r rejecting) Ship(ctx context.Context, source string, packets []store.Numbered) error {
	for _, n := range packets {
		if app, _ := n.Packet.Labels.Get("app"); app == "bad" {
			return fmt.Errorf("%w: bad", ErrRejected)
		}
	}
	return r.Local.Ship(ctx, source, packets)
}
