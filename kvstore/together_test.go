package kvstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// signed is a value that says of which key it is.
func signed(key []byte, rng *rand.Rand) []byte {
	n := rng.IntN(400)
	if rng.IntN(10) == 0 {
		n = rng.IntN(6000)
	}
	return fmt.Appendf(nil, "%s=%d=%s", key, sum(key, n), bytes.Repeat([]byte{byte('a' + n%26)}, n))
}

func sum(key []byte, n int) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, string(key), n)
	return h.Sum32()
}

func checkSigned(key, value []byte) error {
	parts := bytes.SplitN(value, []byte("="), 3)
	if len(parts) != 3 || !bytes.Equal(parts[0], key) || string(parts[1]) != fmt.Sprint(sum(key, len(parts[2]))) {
		return fmt.Errorf("key %s has the value %.40q, which nobody wrote", key, value)
	}
	return nil
}

// All that changes a store, and all that reads it, at the same time.
func TestAllAtOnce(t *testing.T) {
	for round, opts := range []Options{
		{SegmentBytes: 32 << 10},
		{SegmentBytes: 16 << 10, Codec: LZ4, CacheBytes: 32 << 10, NoMap: true},
		{SegmentBytes: 64 << 10, Durability: Buffered},
	} {
		dir := t.TempDir()
		s, err := Open(filepath.Join(dir, "store"), &opts)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var writing, others sync.WaitGroup
		models := make([]map[string]string, 3)
		for w := range models {
			models[w] = map[string]string{}
			writing.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for range 200 {
					var b Batch
					for range 1 + rng.IntN(4) {
						key := fmt.Appendf(nil, "%d/%d", w, rng.IntN(150))
						if rng.IntN(4) == 0 {
							b.Delete(key)
							delete(models[w], string(key))
							continue
						}
						value := signed(key, rng)
						b.Put(key, value)
						models[w][string(key)] = string(value)
					}
					if err := s.Apply(&b, &WriteOptions{Durability: Durability(rng.IntN(4))}); err != nil {
						t.Errorf("Apply: %v", err)
						return
					}
					key := fmt.Appendf(nil, "%d/%d", w, rng.IntN(150))
					value, ok, err := s.Get(key)
					if want, there := models[w][string(key)]; err != nil || ok != there || string(value) != want {
						t.Errorf("own key %s: %.40q, %t, %v; want %.40q", key, value, ok, err, want)
						return
					}
				}
			})
		}
		backups := 0
		for name, work := range map[string]func(*rand.Rand) error{
			"Merge":  func(*rand.Rand) error { return s.Merge(ctx) },
			"Verify": func(*rand.Rand) error { return s.Verify(ctx) },
			"Sync":   func(*rand.Rand) error { return s.Sync() },
			"Stats":  func(*rand.Rand) error { _, _ = s.Stats(), s.Len(); return nil },
			"Backup": func(*rand.Rand) error {
				if backups == 5 {
					return nil
				}
				backups++
				return s.Backup(ctx, filepath.Join(dir, fmt.Sprint("backup", backups)))
			},
			"Snapshot": func(rng *rand.Rand) error {
				n, err := s.Snapshot()
				if err != nil {
					return err
				}
				defer n.Close()
				var seen [2][]string
				for pass := range seen {
					for e, err := range n.All() {
						if err := errors.Join(err, checkSigned(e.Key, e.Value)); err != nil {
							return err
						}
						seen[pass] = append(seen[pass], string(e.Key)+string(e.Value))
					}
				}
				if fmt.Sprint(seen[0]) != fmt.Sprint(seen[1]) {
					return errors.New("a snapshot has changed")
				}
				return nil
			},
			"Scan": func(rng *rand.Rand) error {
				var last []byte
				for e, err := range s.Prefix(fmt.Append(nil, rng.IntN(3), "/")) {
					if err := errors.Join(err, checkSigned(e.Key, e.Value)); err != nil {
						return err
					}
					if bytes.Compare(last, e.Key) >= 0 {
						return fmt.Errorf("%s after %s", e.Key, last)
					}
					last = bytes.Clone(e.Key)
				}
				return nil
			},
			"ScanBackward": func(rng *rand.Rand) error {
				for e, err := range s.PrefixBackward(fmt.Append(nil, rng.IntN(3), "/")) {
					if err := errors.Join(err, checkSigned(e.Key, e.Value)); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			others.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(len(name))))
				for ctx.Err() == nil {
					if err := work(rng); err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			})
		}
		writing.Wait()
		cancel()
		others.Wait()
		require.NoError(t, s.Verify(t.Context()))
		same := func() {
			t.Helper()
			got := map[string]string{}
			for e, err := range s.All() {
				require.NoError(t, err)
				got[string(e.Key)] = string(e.Value)
			}
			want := map[string]string{}
			for _, m := range models {
				maps.Copy(want, m)
			}
			require.Equal(t, want, got)
			require.Equal(t, len(want), s.Len())
		}
		same()
		require.NoError(t, s.Close())
		s, err = Open(filepath.Join(dir, "store"), &opts)
		require.NoError(t, err)
		same()
		require.NoError(t, s.Close())
		for i := 1; i <= backups; i++ {
			b, err := Open(filepath.Join(dir, fmt.Sprint("backup", i)), &opts)
			if i == backups && err != nil {
				break // it may have been interrupted
			}
			require.NoError(t, err)
			for e, err := range b.All() {
				require.NoError(t, errors.Join(err, checkSigned(e.Key, e.Value)))
			}
			require.NoError(t, b.Verify(t.Context()))
			require.NoError(t, b.Close())
		}
	}
}
