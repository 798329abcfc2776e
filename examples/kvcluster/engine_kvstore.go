package kvcluster

import (
	"context"
	"iter"
	"log/slog"
	"path/filepath"

	"github.com/ashlar-go/ashlar/kvstore"
)

// disk is an engine on a store of package kvstore. What it has put is synced.
type disk struct{ store *kvstore.Store }

// openDisk opens the store of a node, with compression and a read cache of so
// many bytes.
func openDisk(dir string, cacheBytes int64, log *slog.Logger) (*disk, error) {
	s, err := kvstore.Open(filepath.Join(dir, "store"), &kvstore.Options{
		Durability: kvstore.Synced, Codec: kvstore.LZ4, CacheBytes: cacheBytes, Logger: log,
		SegmentBytes: 16 << 20, // several nodes share a machine here
	})
	if err != nil {
		return nil, err
	}
	return &disk{s}, nil
}

func (d *disk) Get(key []byte) ([]byte, bool, error) { return d.store.Get(key) }
func (d *disk) Put(key, value []byte) error          { return d.store.Put(key, value, nil) }
func (d *disk) Delete(key []byte) error              { return d.store.Delete(key, nil) }
func (d *disk) Close() error                         { return d.store.Close() }

func (d *disk) Scan(min []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range d.store.Scan(min, nil) {
			if !yield(Entry{e.Key, e.Value}, err) {
				return
			}
		}
	}
}

// Merge compresses all that is not yet, and gives the space of what was replaced back.
func (d *disk) Merge(ctx context.Context) error { return d.store.Merge(ctx) }

func (d *disk) Backup(ctx context.Context, dir string) error {
	return WriteBackup(ctx, dir, d.Scan(nil))
}

func (d *disk) Stats() EngineStats {
	s := d.store.Stats()
	return EngineStats{Name: "kvstore", Keys: d.store.Len(), Bytes: s.LiveBytes, Disk: s.LiveBytes + s.DeadBytes + s.HintBytes,
		Raw: s.RawBytes, Packed: s.PackedBytes, Hits: uint64(s.CacheHits), Misses: uint64(s.CacheMisses)}
}
