package commitlog

import (
	"context"
	"iter"
)

// A Reader returns the records of a log one by one and waits at its end for
// more. Make one with Log.NewReader. It holds no file open and needs no Close.
//
// A Reader is not safe for concurrent use; any number of Readers of a Log are.
type Reader struct {
	log     *Log
	opts    ReaderOptions
	offset  int64 // of the next record
	buf     []byte
	chunk   int    // bytes to read at a time
	rest    []byte // frames of buf that are to be read
	records recordIter
	after   int64 // the offset after the batch of records
	headers []Header
}

// ReaderOptions are the settings of a Reader. Nil and zero fields mean the
// defaults. ReaderOptions are safe for concurrent use as long as nobody
// changes them.
type ReaderOptions struct {
	// Durable makes the reader see records only when they are synced.
	Durable bool

	// Reuse makes the slices of a record good only until the next call, which
	// saves the reader an allocation for each chunk. By default they stay good.
	Reuse bool

	// ChunkBytes is the number of bytes that are read at a time; the default
	// is 256 KiB.
	ChunkBytes int
}

// NewReader returns a Reader that begins with the offset.
func (l *Log) NewReader(from int64, opts *ReaderOptions) *Reader {
	r := &Reader{log: l, offset: from}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.ChunkBytes <= 0 {
		r.opts.ChunkBytes = readChunk
	}
	return r
}

// Offset returns the offset from which the next record is looked for.
func (r *Reader) Offset() int64 { return r.offset }

// SeekTo makes the reader go on with the offset.
func (r *Reader) SeekTo(offset int64) {
	r.offset, r.rest, r.records.left, r.after = offset, nil, 0, 0
}

// Next returns the next record, and waits for it if the log has none yet. The
// error is that of ctx if it ends first, ErrClosed, ErrPoisoned, an *OutOfRangeError if
// retention or truncation has taken the offset away (SeekTo its Start goes
// on), a *CorruptError, or a *CodecError if there is no codec for the batch.
// After an error Next tries the same offset again. Records of control batches
// are skipped.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	var rec Record
	for {
		ok, err := r.next(&rec)
		if ok || err != nil {
			return rec, err
		}
		if err := r.log.wait(ctx, r.offset, r.opts.Durable, true); err != nil {
			return Record{}, err
		}
	}
}

// next sets rec to the next record if there is one.
func (r *Reader) next(rec *Record) (ok bool, err error) {
	rec.Headers = r.headers
	for {
		for r.records.left > 0 {
			if err := r.records.next(rec); err != nil {
				r.SeekTo(r.offset)
				*rec = Record{}
				return false, err
			}
			if rec.Offset >= r.offset {
				r.offset = rec.Offset + 1
				if r.opts.Reuse {
					r.headers = rec.Headers
				}
				return true, nil
			}
		}
		r.offset = max(r.offset, r.after) // compaction may have removed the last ones
		if len(r.rest) > 0 {
			err = r.openBatch()
		} else {
			ok, err = r.fill()
			if !ok && err == nil {
				return false, nil
			}
		}
		if err != nil {
			*rec = Record{}
			return false, err
		}
	}
}

// fill reads frames. It returns false if there are none up to the end. The
// first time it does not read much, in case that nobody wants more.
func (r *Reader) fill() (bool, error) {
	var buf []byte
	if r.opts.Reuse {
		buf = r.buf[:0]
	}
	if r.chunk < r.opts.ChunkBytes {
		r.chunk = min(max(4*r.chunk, firstChunk), r.opts.ChunkBytes)
	}
	visible := r.log.limit(r.opts.Durable)
	buf, first, err := r.log.readFrom(buf, r.offset, r.chunk, r.opts.Durable, true)
	if err != nil {
		return false, err
	}
	if len(buf) == 0 {
		if r.offset >= visible {
			return false, nil
		}
		r.offset = visible // there is only a gap
		return true, nil
	}
	r.buf, r.rest = buf, buf[first:]
	return true, nil
}

const firstChunk = 16 << 10

// openBatch begins with the next batch of the rest.
func (r *Reader) openBatch() error {
	b := Batch(r.rest[checkSize:])
	if b.BaseOffset() < 0 { // a mark
		r.rest = r.rest[markSize:]
		return nil
	}
	b = b[:b.Len():b.Len()]
	r.rest = r.rest[checkSize+len(b):]
	if b.Control() || b.Count() == 0 {
		r.after = b.LastOffset() + 1
		return nil
	}
	if !r.opts.Reuse {
		r.records.scratch = nil
	}
	if err := r.records.open(b, &r.log.codecs, r.log.opts.MaxDecompressed); err != nil {
		r.SeekTo(max(r.offset, b.BaseOffset()))
		return err
	}
	r.after = b.LastOffset() + 1
	return nil
}

// Records iterates over the records from an offset on, up to the end that the
// log has when they are reached. The slices of a record stay good. An error,
// which is as for Reader.Next, ends it. The body may call the log.
func (l *Log) Records(from int64) iter.Seq2[Record, error] {
	return l.NewReader(from, nil).all
}

// Scan is Records without an allocation for each chunk that is read: the
// slices of a record are good until the next step. Clone what you keep.
func (l *Log) Scan(from int64) iter.Seq2[Record, error] {
	return l.NewReader(from, &ReaderOptions{Reuse: true}).all
}

// all yields what there is.
func (r *Reader) all(yield func(Record, error) bool) {
	var rec Record
	for {
		ok, err := r.next(&rec)
		if err != nil {
			yield(Record{}, err)
		}
		if !ok || !yield(rec, nil) {
			return
		}
	}
}
