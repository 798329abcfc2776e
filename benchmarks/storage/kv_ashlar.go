package main

import (
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/kvstore"
)

// compressed is our store with a codec; rows that are about it say so.
const compressed = harness.Ours + ", LZ4"

func init() {
	openers[harness.Ours] = func(dir string) kv { return openOurs(dir, nil) }
	openers[compressed] = func(dir string) kv { return openOurs(dir, &kvstore.Options{Codec: kvstore.LZ4}) }
}

type ourKV struct{ db *kvstore.Store }

func openOurs(dir string, opts *kvstore.Options) kv { return ourKV{must(kvstore.Open(dir, opts))} }

var (
	syncedWrite   = &kvstore.WriteOptions{Durability: kvstore.Synced}
	bufferedWrite = &kvstore.WriteOptions{Durability: kvstore.Buffered}
)

func ourWrite(durable bool) *kvstore.WriteOptions {
	if durable {
		return syncedWrite
	}
	return bufferedWrite
}

func (o ourKV) put(key, value []byte, durable bool) {
	check(o.db.Put(key, value, ourWrite(durable)))
}

func (o ourKV) batch(keys, values [][]byte, durable bool) {
	var b kvstore.Batch
	for i, key := range keys {
		b.Put(key, values[i])
	}
	check(o.db.Apply(&b, ourWrite(durable)))
}

func (o ourKV) get(dst, key []byte) ([]byte, bool) {
	value, found, err := o.db.AppendGet(dst, key)
	check(err)
	return value, found
}

func (o ourKV) scan(from []byte, limit int) (n int) {
	for entry, err := range o.db.Scan(from, nil) {
		check(err)
		if touch(entry.Key, entry.Value); n+1 == limit {
			return limit
		}
		n++
	}
	return n
}

func (o ourKV) sync()  { check(o.db.Sync()) }
func (o ourKV) close() { check(o.db.Close()) }
