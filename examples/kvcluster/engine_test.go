package kvcluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// engines are all kinds of engine, each of which must pass the same tests.
func engines(t *testing.T) map[string]func(t *testing.T) Engine {
	return map[string]func(*testing.T) Engine{
		"memory": func(*testing.T) Engine { return newMemory() },
		"kvstore": func(t *testing.T) Engine {
			e, err := openDisk(t.TempDir(), 1<<20, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			return e
		},
		"redis": func(t *testing.T) Engine {
			e, err := openRemote("redis://"+services.Redis(t).Addr, "n1")
			require.NoError(t, err)
			return e
		},
	}
}

// An engine is an ordered map of bytes.
func TestEngineIsAnOrderedMap(t *testing.T) {
	t.Parallel()
	for name, open := range engines(t) {
		t.Run(name, func(t *testing.T) {
			e := open(t)
			model := map[string]string{}
			random := rand.New(rand.NewPCG(1, 2))
			key := func() []byte {
				b := binary.BigEndian.AppendUint64(nil, random.Uint64())
				return append(b[:1:1], fmt.Append(nil, random.IntN(300))...) // with bytes of all kinds
			}
			var keys [][]byte
			for range 1500 {
				k := key()
				keys = append(keys, k)
				if random.IntN(4) == 0 {
					k = keys[random.IntN(len(keys))]
				}
				if random.IntN(4) == 0 {
					require.NoError(t, e.Delete(k))
					delete(model, string(k))
				} else {
					v := bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(300))
					require.NoError(t, e.Put(k, v))
					model[string(k)] = string(v)
				}
				got, ok, err := e.Get(k)
				want, there := model[string(k)]
				require.NoError(t, err)
				require.Equal(t, there, ok)
				require.Equal(t, want, string(got))
			}
			want := slices.Sorted(maps.Keys(model))
			for _, min := range []string{"", want[len(want)/2]} {
				at, _ := slices.BinarySearch(want, min)
				rest := want[at:]
				i := 0
				for entry, err := range e.Scan([]byte(min)) {
					require.NoError(t, err)
					require.Equal(t, rest[i], string(entry.Key))
					require.Equal(t, model[rest[i]], string(entry.Value))
					i++
				}
				require.Equal(t, len(rest), i)
			}
			require.Equal(t, len(model), e.Stats().Keys)
			dir := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, e.Backup(t.Context(), dir))
			n, err := CheckBackup(dir)
			require.NoError(t, err)
			require.Equal(t, len(model), n)
			require.NoError(t, e.Close())
		})
	}
}

// A backup that is damaged anywhere, or cut short, is refused.
func TestDamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	e := newMemory()
	for i := range 5 {
		require.NoError(t, e.Put(fmt.Append(nil, "key", i), []byte("value")))
	}
	dir := t.TempDir()
	require.NoError(t, e.Backup(t.Context(), dir))
	path := filepath.Join(dir, backupFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << (at % 8)
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		_, err := CheckBackup(dir)
		require.Error(t, err, "byte %d", at)
		require.NoError(t, os.WriteFile(path, whole[:at], 0o600))
		_, err = CheckBackup(dir)
		require.Error(t, err, "cut at %d", at)
	}
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(whole), 0), 0o600))
	_, err = CheckBackup(dir)
	require.Error(t, err)
}

// The cluster does the same whatever its nodes keep their data in.
func TestClusterOnRedis(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	c := newTestClusterOn(t, 3, nil, func(dir string) (Engine, error) { return openRemote("redis://"+server.Addr, filepath.Base(dir)) })
	play(t, c.clients(), []step{
		{"SET a 1", "OK"}, {"GET a", "1"}, {"INCR a", "2"}, {"APPEND a x", "2"}, {"MGET a b", "[2x <nil>]"}, {"DEL a", "1"}, {"EXISTS a", "0"},
		{"SET b 1 EX 100", "OK"}, {"TTL b", "100"}, {"DBSIZE", "1"},
	})
	c.kill("n1")
	require.NoError(t, c.client("n2").Set(t.Context(), "b", "2", 0).Err())
	c.revive("n1")
	c.await("the nodes see each other", c.settled)
	require.Equal(t, "2", c.client("n1").Get(t.Context(), "b").Val())
}
