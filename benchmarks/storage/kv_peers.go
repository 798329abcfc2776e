package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/dgraph-io/badger/v4"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
	"go.etcd.io/bbolt"
)

// Stores that merge sorted files have memtables of 16 MiB, a block cache of 64 MiB and
// Bloom filters of 10 bits a key; Badger has its defaults, of 64 and 256 MiB.
const (
	memtable   = 16 << 20
	blockCache = 64 << 20
	bloomBits  = 10
)

// openers open the stores, by name.
var openers = map[string]opener{
	"pebble":    openPebble,
	"badger":    openBadger,
	"bbolt":     openBolt,
	"goleveldb": openLevel,
}

type pebbleKV struct{ db *pebble.DB }

// quiet is a logger for Pebble that says only what ends the process.
type quiet struct{ pebble.Logger }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

func openPebble(dir string) kv {
	cache := pebble.NewCache(blockCache)
	defer cache.Unref()
	o := &pebble.Options{MemTableSize: memtable, Cache: cache, Logger: quiet{pebble.DefaultLogger}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return pebbleKV{must(pebble.Open(dir, o))}
}

func pebbleWrite(durable bool) *pebble.WriteOptions {
	if durable {
		return pebble.Sync
	}
	return pebble.NoSync
}

func (p pebbleKV) put(key, value []byte, durable bool) {
	check(p.db.Set(key, value, pebbleWrite(durable)))
}

func (p pebbleKV) batch(keys, values [][]byte, durable bool) {
	b := p.db.NewBatch()
	for i, key := range keys {
		check(b.Set(key, values[i], nil))
	}
	check(b.Commit(pebbleWrite(durable)))
}

func (p pebbleKV) get(dst, key []byte) ([]byte, bool) {
	value, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false
	}
	check(err)
	dst = append(dst, value...)
	check(closer.Close())
	return dst, true
}

func (p pebbleKV) scan(from []byte, limit int) (n int) {
	it := must(p.db.NewIter(&pebble.IterOptions{LowerBound: from}))
	for ok := it.First(); ok && n != limit; ok = it.Next() {
		touch(it.Key(), must(it.ValueAndErr()))
		n++
	}
	check(it.Close())
	return n
}

func (p pebbleKV) sync()  { check(p.db.LogData(nil, pebble.Sync)) }
func (p pebbleKV) close() { check(p.db.Close()) }

// touched keeps what scans saw from being left out by the compiler.
var touched int

func touch(key, value []byte) { touched += int(key[len(key)-1]) + int(value[len(value)-1]) }

type badgerKV struct{ db *badger.DB }

func openBadger(dir string) kv {
	return badgerKV{must(badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithMetricsEnabled(false)))}
}

func (b badgerKV) put(key, value []byte, durable bool) {
	check(b.db.Update(func(tx *badger.Txn) error { return tx.Set(key, value) }))
	if durable {
		b.sync()
	}
}

func (b badgerKV) batch(keys, values [][]byte, durable bool) {
	check(b.db.Update(func(tx *badger.Txn) error {
		for i, key := range keys {
			if err := tx.Set(key, values[i]); err != nil {
				return err
			}
		}
		return nil
	}))
	if durable {
		b.sync()
	}
}

func (b badgerKV) get(dst, key []byte) (value []byte, found bool) {
	check(b.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		return item.Value(func(v []byte) error {
			dst = append(dst, v...)
			return nil
		})
	}))
	return dst, found
}

func (b badgerKV) scan(from []byte, limit int) (n int) {
	check(b.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Seek(from); it.Valid() && n != limit; it.Next() {
			item := it.Item()
			if err := item.Value(func(v []byte) error { touch(item.Key(), v); return nil }); err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

func (b badgerKV) sync()  { check(b.db.Sync()) }
func (b badgerKV) close() { check(b.db.Close()) }

type boltKV struct{ db *bbolt.DB }

var bucket = []byte("b")

func openBolt(dir string) kv {
	check(os.MkdirAll(dir, 0o750))
	db := must(bbolt.Open(filepath.Join(dir, "bolt.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true}))
	check(db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	}))
	return boltKV{db}
}

// mode switches between syncing and not; no other goroutine may write.
func (b boltKV) mode(durable bool) {
	if b.db.NoSync == durable {
		b.db.NoSync = !durable
	}
}

func (b boltKV) put(key, value []byte, durable bool) {
	b.mode(durable)
	check(b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) }))
}

// putShared is for many writers: it waits for others to share a transaction with.
func (b boltKV) putShared(key, value []byte) {
	check(b.db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) }))
}

func (b boltKV) batch(keys, values [][]byte, durable bool) {
	b.mode(durable)
	check(b.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucket)
		for i, key := range keys {
			if err := bucket.Put(key, values[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b boltKV) get(dst, key []byte) (value []byte, found bool) {
	check(b.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucket).Get(key); v != nil {
			dst, found = append(dst, v...), true
		}
		return nil
	}))
	return dst, found
}

func (b boltKV) scan(from []byte, limit int) (n int) {
	check(b.db.View(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(bucket).Cursor()
		for key, value := cursor.Seek(from); key != nil && n != limit; key, value = cursor.Next() {
			touch(key, value)
			n++
		}
		return nil
	}))
	return n
}

func (b boltKV) sync()  { check(b.db.Sync()) }
func (b boltKV) close() { check(b.db.Close()) }

type levelKV struct{ db *leveldb.DB }

func openLevel(dir string) kv {
	return levelKV{must(leveldb.OpenFile(dir, &opt.Options{
		WriteBuffer: memtable, BlockCacheCapacity: blockCache, Filter: filter.NewBloomFilter(bloomBits),
	}))}
}

func (l levelKV) put(key, value []byte, durable bool) {
	check(l.db.Put(key, value, &opt.WriteOptions{Sync: durable}))
}

func (l levelKV) batch(keys, values [][]byte, durable bool) {
	var b leveldb.Batch
	for i, key := range keys {
		b.Put(key, values[i])
	}
	check(l.db.Write(&b, &opt.WriteOptions{Sync: durable}))
}

func (l levelKV) get(dst, key []byte) ([]byte, bool) {
	value, err := l.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return dst, false
	}
	check(err)
	return append(dst, value...), true
}

func (l levelKV) scan(from []byte, limit int) (n int) {
	it := l.db.NewIterator(&util.Range{Start: from}, nil)
	for n != limit && it.Next() {
		touch(it.Key(), it.Value())
		n++
	}
	it.Release()
	check(it.Error())
	return n
}

// sync writes one more key, since there is no call for it.
func (l levelKV) sync() {
	key := []byte("sync")
	check(l.db.Put(key, key, &opt.WriteOptions{Sync: true}))
	check(l.db.Delete(key, &opt.WriteOptions{Sync: true}))
}

func (l levelKV) close() { check(l.db.Close()) }
