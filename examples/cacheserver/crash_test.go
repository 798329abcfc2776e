package cacheserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// kill -9 loses nothing that was acknowledged: the real program is built,
// written to by several clients, killed in the middle, and asked again.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills the real program")
	}
	binary := filepath.Join(t.TempDir(), "examples")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir := t.TempDir()
	acknowledged := map[string]string{} // the last value that a client was told is safe
	attempted := map[string]string{}    // and the one under way when the server died
	for round := range 3 {
		addr := fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
		server := services.Start(t, addr, binary, "cacheserver", "-addr", "127.0.0.1:0", "-redis", addr, "-data", dir, "-sync", "always", "-max-bytes", "64kb")
		check(t, addr, acknowledged, attempted)
		var mu sync.Mutex
		var clients sync.WaitGroup
		enough := make(chan struct{})
		count := 0
		for id := range 6 {
			clients.Go(func() {
				c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
				defer c.Close()
				for i := 0; ; i++ {
					key, value := fmt.Sprintf("c%d:%d", id, i%40), fmt.Sprintf("round %d, write %d", round, i)
					mu.Lock()
					attempted[key] = value
					mu.Unlock()
					var err error
					if i%10 == 9 {
						value = ""
						err = c.Del(context.Background(), key).Err()
					} else {
						err = c.Set(context.Background(), key, value, time.Hour).Err()
					}
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[key] = value
					delete(attempted, key)
					if count++; count == 600 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		server.Kill()
		clients.Wait()
	}
	addr := fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
	services.Start(t, addr, binary, "cacheserver", "-addr", "127.0.0.1:0", "-redis", addr, "-data", dir, "-sync", "always", "-max-bytes", "64kb")
	check(t, addr, acknowledged, attempted)
}

// check reads every key: it must have what was acknowledged, or what was
// under way.
func check(t *testing.T, addr string, acknowledged, attempted map[string]string) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	for key, want := range acknowledged {
		got, err := c.Get(t.Context(), key).Result()
		if errors.Is(err, redis.Nil) {
			got, err = "", nil
		}
		require.NoError(t, err)
		if under, ok := attempted[key]; got != want && !(ok && (got == under || got == "")) {
			t.Errorf("%s is %q, %q was acknowledged", key, got, want)
		}
		if ttl := c.TTL(t.Context(), key).Val(); got != "" && (ttl <= 0 || ttl > time.Hour) {
			t.Errorf("%s has a lifetime of %v", key, ttl)
		}
		acknowledged[key] = got
	}
	clear(attempted)
}

func openLog(t *testing.T, dir string) *fileLog {
	t.Helper()
	l, err := openFileLog(dir, syncAlways)
	require.NoError(t, err)
	return l
}

func appendKeys(t *testing.T, l *fileLog, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		last, err := l.Append(t.Context(), []mutation{{Key: fmt.Sprint("key", i), Value: value{data: []byte("value")}}})
		require.NoError(t, err)
		require.EqualValues(t, i, last)
	}
}

// A crash may leave part of the last write, of any length: it is dropped, and
// the log goes on behind what is whole.
func TestTornEndOfTheLog(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendKeys(t, l, 1, 4)
	require.NoError(t, l.close())
	file := filepath.Join(dir, "log", segmentName(1))
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	frame := len(whole) / 3
	for cut := 2*frame + 1; cut < len(whole); cut++ {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o600))
		l := openLog(t, dir)
		appendKeys(t, l, 3, 4)
		require.NoError(t, l.close())
		again, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, whole, again)
	}
}

// A flipped bit in the middle is damage, which is refused with its place; at
// the end nobody can tell it from a torn write.
func TestDamageInTheLog(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendKeys(t, l, 1, 4)
	require.NoError(t, l.close())
	file := filepath.Join(dir, "log", segmentName(1))
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	frame := len(whole) / 3
	for at := range 2 * frame {
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 0x10
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		_, err := openFileLog(dir, syncAlways)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("a bit flipped at byte %d: %v", at, err)
		}
		require.Equal(t, file, corrupt.File)
		require.EqualValues(t, at/frame*frame, corrupt.Offset)
	}
}

// While the store fails, writes are acknowledged and readable; when it is
// mended they arrive.
func TestFailingStore(t *testing.T) {
	config := testConfig(t.TempDir())
	config.MaxBytes = "16kb" // so that most are evicted before the store has them
	s := start(t, config)
	c := dial(t, s, 3)
	s.server.keys.store.failing.Store(true)
	for i := range 500 {
		require.NoError(t, c.Set(t.Context(), fmt.Sprint("k", i), fmt.Sprint("v", i), 0).Err())
	}
	for i := range 500 {
		require.Equal(t, fmt.Sprint("v", i), c.Get(t.Context(), fmt.Sprint("k", i)).Val())
	}
	require.Positive(t, s.server.keys.behind.Stats().Pending)
	s.server.keys.heal()
	require.NoError(t, s.server.keys.behind.Flush(t.Context()))
	keys, _ := s.server.keys.store.usage()
	require.Equal(t, 500, keys)
	require.NoError(t, c.FlushAll(t.Context()).Err())
	require.ErrorIs(t, c.Get(t.Context(), "k1").Err(), redis.Nil)
}

// What was flushed stays away: the log holds it no longer, also not in the
// segment that was being written.
func TestFlushedKeysStayAwayOverARestart(t *testing.T) {
	dir := t.TempDir()
	s, err := New(t.Context(), testConfig(dir))
	require.NoError(t, err)
	c := dial(t, s, 3)
	for round := range 3 {
		for i := range 100 {
			require.NoError(t, c.Set(t.Context(), fmt.Sprint("k", i), round, 0).Err())
		}
		require.NoError(t, c.FlushAll(t.Context()).Err())
		require.NoError(t, c.FlushAll(t.Context()).Err(), "with nothing to flush")
	}
	require.NoError(t, c.Set(t.Context(), "after", "kept", 0).Err())
	for record, err := range s.server.keys.log.Replay(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, "after", record.Key)
	}
	require.NoError(t, s.Close())
	s = start(t, testConfig(dir))
	c = dial(t, s, 3)
	require.Equal(t, "kept", c.Get(t.Context(), "after").Val())
	for i := range 100 {
		require.ErrorIs(t, c.Get(t.Context(), fmt.Sprint("k", i)).Err(), redis.Nil)
	}
}

// A segment that is gone from the middle is damage, not an end.
func TestMissingSegmentOfTheLog(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	for from := 1; from < 10; from += 3 {
		appendKeys(t, l, from, from+3)
		require.NoError(t, l.rotate())
	}
	require.NoError(t, l.close())
	require.NoError(t, os.Remove(filepath.Join(dir, "log", segmentName(4))))
	l = openLog(t, dir)
	defer l.close()
	var records int
	var last error
	for _, err := range l.Replay(t.Context()) {
		records++
		last = err
	}
	require.Equal(t, 4, records, "three and the error")
	var corrupt *CorruptError
	require.ErrorAs(t, last, &corrupt)
	require.Contains(t, corrupt.File, segmentName(7))
}

// The store keeps the newest value of each key over a restart and gives the
// room of old ones back.
func TestStoreCompacts(t *testing.T) {
	dir := t.TempDir()
	s, err := openFileStore(dir, 0)
	require.NoError(t, err)
	big := make([]byte, 64<<10)
	for round := range 40 {
		var batch []mutation
		for i := range 10 {
			big[0] = byte(round)
			batch = append(batch, mutation{Key: fmt.Sprint("key", i), Value: value{data: append([]byte(nil), big...)}})
		}
		require.NoError(t, s.Apply(t.Context(), batch))
	}
	keys, size := s.usage()
	require.Equal(t, 10, keys)
	require.Less(t, size, int64(20<<20), "40 rounds wrote 26 MB")
	require.NoError(t, s.close())
	s, err = openFileStore(dir, 0)
	require.NoError(t, err)
	defer s.close()
	for i := range 10 {
		v, _, ok, err := s.Get(t.Context(), fmt.Sprint("key", i))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, byte(39), v.data[0])
	}
}
