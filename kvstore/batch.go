package kvstore

import (
	"fmt"
	"sync"
	"time"
)

// A Batch is a list of puts and deletes for [Store.Apply]. It copies what it is
// given. The zero value is an empty batch. A Batch is not safe for concurrent
// use.
type Batch struct {
	data []byte
	ops  []batchOp
	err  error
}

type batchOp struct {
	kind     byte
	key, end int // in data: the key begins and ends here
	value    int // the value follows it and ends here
	expires  int64
	ttl      time.Duration
}

// Put adds a put. What is too large is reported by Apply.
func (b *Batch) Put(key, value []byte) { b.add(kindPut, key, value, nil) }

// PutWith adds a put with a lifetime of its own; the durability in opts is
// ignored, since a batch has one for all.
func (b *Batch) PutWith(key, value []byte, opts *WriteOptions) { b.add(kindPut, key, value, opts) }

// Delete adds a delete.
func (b *Batch) Delete(key []byte) { b.add(kindDelete, key, nil, nil) }

func (b *Batch) add(kind byte, key, value []byte, opts *WriteOptions) {
	if err := checkSizes(key, value); err != nil {
		if b.err == nil {
			b.err = err
		}
		return
	}
	op := batchOp{kind: kind, key: len(b.data)}
	b.data = append(b.data, key...)
	op.end = len(b.data)
	b.data = append(b.data, value...)
	op.value = len(b.data)
	if opts != nil {
		op.expires, op.ttl = expiryOf(&WriteOptions{Expires: opts.Expires}, nil), opts.TTL
	}
	b.ops = append(b.ops, op)
}

// Len returns the number of operations.
func (b *Batch) Len() int { return len(b.ops) }

// Clear removes all operations and keeps the memory.
func (b *Batch) Clear() { b.data, b.ops, b.err = b.data[:0], b.ops[:0], nil }

func checkSizes(key, value []byte) error {
	if len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLarge, len(key), MaxKeyBytes)
	}
	if len(value) > MaxValueBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, len(value), MaxValueBytes)
	}
	return nil
}

// An encoder holds the records of one write, ready but for the masks of their
// checksums.
type encoder struct {
	buf     []byte
	starts  []int // of the records in buf
	keys    [][2]int
	kinds   []byte
	expires []int64
	deletes bool // there is nothing else
	rec     record
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// maxPooled is the size of buffers that are worth keeping.
const maxPooled = 1 << 20

func newEncoder() *encoder {
	e := encoders.Get().(*encoder)
	e.buf, e.starts, e.keys, e.kinds, e.expires, e.deletes = e.buf[:0], e.starts[:0], e.keys[:0], e.kinds[:0], e.expires[:0], true
	return e
}

func (e *encoder) free() {
	e.rec = record{}
	if cap(e.buf) <= maxPooled && cap(e.starts) <= maxPooled/64 {
		encoders.Put(e)
	}
}

// add encodes one record.
func (e *encoder) add(kind byte, more bool, key, value []byte, expires int64) {
	e.rec = record{kind: kind, key: key, value: value, expires: expires}
	if more {
		e.rec.flags = flagMore
	}
	if len(e.starts) > 0 {
		e.rec.flags |= flagLater
	}
	start := len(e.buf)
	e.buf = appendRecord(e.buf, &e.rec)
	end := len(e.buf) - len(value)
	e.starts = append(e.starts, start)
	e.keys = append(e.keys, [2]int{end - len(key), end})
	e.kinds = append(e.kinds, kind)
	e.expires = append(e.expires, expires)
	if kind != kindDelete {
		e.deletes = false
	}
}

// size returns the length of record i.
func (e *encoder) size(i int) uint32 {
	if i+1 < len(e.starts) {
		return uint32(e.starts[i+1] - e.starts[i])
	}
	return uint32(len(e.buf) - e.starts[i])
}

func (e *encoder) key(i int) []byte { return e.buf[e.keys[i][0]:e.keys[i][1]] }

// addBatch encodes all of a batch; ops have a lifetime of their own, or that
// of opts.
func (e *encoder) addBatch(b *Batch, opts *WriteOptions, now func() time.Time) error {
	all := expiryOf(opts, now)
	for i, op := range b.ops {
		expires := op.expires
		switch {
		case op.kind == kindDelete:
		case expires == 0 && op.ttl != 0:
			expires = expiryAfter(op.ttl, now)
		case expires == 0:
			expires = all
		}
		e.add(op.kind, i+1 < len(b.ops), b.data[op.key:op.end], b.data[op.end:op.value], expires)
		if len(e.buf) > MaxBatchBytes {
			return fmt.Errorf("%w: more than %d bytes", ErrBatchTooLarge, MaxBatchBytes)
		}
	}
	return nil
}
