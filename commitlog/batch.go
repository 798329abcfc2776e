package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
	"time"
)

// A Batch is the bytes of one record batch, Kafka's format v2 ("magic 2"):
//
//	byte  0  base offset          8   of the first record
//	      8  length               4   of what follows this field
//	     12  leader epoch         4
//	     16  magic                1   2
//	     17  checksum             4   CRC-32C of all from byte 21 on
//	     21  attributes           2   bits 0-2 compression, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//	     23  last offset delta    4   last offset minus base offset
//	     27  base timestamp       8   milliseconds
//	     35  max timestamp        8
//	     43  producer id          8   -1: none
//	     51  producer epoch       2
//	     53  base sequence        4
//	     57  count                4   of records
//	     61  records                  compressed as one block
//
// Numbers are big-endian. The base offset and the leader epoch lie outside the
// checksum, so that a broker can set them without computing it again.
//
// The methods for single fields do not check anything but that the header is
// there; get a Batch from NextBatch, which checks the rest.
//
// A Batch is safe for concurrent use as long as nobody changes its bytes.
type Batch []byte

const (
	batchHeader = 61 // bytes before the records
	batchPrefix = 12 // bytes that the length does not count
	batchMagic  = 2

	attrCompression   = 0x07
	attrAppendTime    = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
	attrHorizon       = 1 << 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BaseOffset returns the offset of the first record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b)) }

// LastOffset returns the offset of the last record that the batch had when it
// was made; compaction may have removed it.
func (b Batch) LastOffset() int64 {
	return b.BaseOffset() + int64(int32(binary.BigEndian.Uint32(b[23:])))
}

// Len returns the size of the batch in bytes as its header says it.
func (b Batch) Len() int { return batchPrefix + int(int32(binary.BigEndian.Uint32(b[8:]))) }

// LeaderEpoch returns the epoch of the leader that stored the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// Attributes returns the flags.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[21:])) }

// Compression returns how the records are compressed.
func (b Batch) Compression() Compression { return Compression(b.Attributes() & attrCompression) }

// LogAppendTime reports whether a broker has set MaxTimestamp to the time of
// the append; all records then have that timestamp.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrAppendTime != 0 }

// Transactional reports whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.Attributes()&attrTransactional != 0 }

// Control reports whether the records are markers and not data. Readers of
// records skip such batches.
func (b Batch) Control() bool { return b.Attributes()&attrControl != 0 }

// BaseTimestamp returns the time from which the timestamps of the records are
// counted: that of the first record, or, if DeleteHorizon has one, that.
func (b Batch) BaseTimestamp() time.Time { return time.UnixMilli(b.baseMillis()) }

func (b Batch) baseMillis() int64 { return int64(binary.BigEndian.Uint64(b[27:])) }

// MaxTimestamp returns the latest timestamp of the records, or, of an empty batch,
// of those that compaction has removed last.
func (b Batch) MaxTimestamp() time.Time { return time.UnixMilli(b.maxMillis()) }

func (b Batch) maxMillis() int64 { return int64(binary.BigEndian.Uint64(b[35:])) }

// latestMillis is maxMillis for searches by time, which find nothing in an empty batch.
func (b Batch) latestMillis() int64 {
	if b.Count() == 0 {
		return minMillis
	}
	return b.maxMillis()
}

// setMaxMillis changes the latest timestamp in place, and the checksum with it.
func (b Batch) setMaxMillis(latest int64) {
	if latest == b.maxMillis() {
		return
	}
	binary.BigEndian.PutUint64(b[35:], uint64(latest))
	binary.BigEndian.PutUint32(b[17:], b.checksum())
}

// DeleteHorizon returns the time from which on compaction may remove the
// tombstones of this batch, or the batch if it is empty, if a compaction has met
// it before.
func (b Batch) DeleteHorizon() (t time.Time, ok bool) {
	if b.Attributes()&attrHorizon == 0 {
		return time.Time{}, false
	}
	return b.BaseTimestamp(), true
}

// ProducerID returns the id of an idempotent producer, or -1.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[43:])) }

// ProducerEpoch returns the epoch of an idempotent producer.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[51:])) }

// BaseSequence returns the producer's number of the first record, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[53:])) }

// Count returns the number of records.
func (b Batch) Count() int { return int(int32(binary.BigEndian.Uint32(b[57:]))) }

// SetBaseOffset changes the base offset in place; the checksum stays right.
func (b Batch) SetBaseOffset(offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch changes the leader epoch in place; the checksum stays right.
func (b Batch) SetLeaderEpoch(epoch int32) { binary.BigEndian.PutUint32(b[12:], uint32(epoch)) }

func (b Batch) checksum() uint32 { return crc32.Checksum(b[21:], castagnoli) }

// Verify checks the header and the checksum in time linear in the size. The
// error is a *BatchError.
func (b Batch) Verify() error {
	if reason := b.check(); reason != "" {
		return b.bad(reason)
	}
	return nil
}

func (b Batch) bad(reason string) error {
	e := &BatchError{Reason: reason}
	if len(b) >= 8 {
		e.Offset = b.BaseOffset()
	}
	return e
}

// check returns what is wrong with a batch that should fill b, or "".
func (b Batch) check() string {
	switch {
	case len(b) < batchHeader:
		return fmt.Sprintf("%d bytes are less than a header", len(b))
	case b[16] != batchMagic:
		return fmt.Sprintf("magic is %d, not 2", int8(b[16]))
	case b.Len() != len(b):
		return fmt.Sprintf("length %d in %d bytes", b.Len(), len(b))
	case b.checksum() != binary.BigEndian.Uint32(b[17:]):
		return "bad checksum"
	}
	return b.checkFields()
}

// checkFields returns what is wrong with the fields behind the checksum.
func (b Batch) checkFields() string {
	delta := b.LastOffset() - b.BaseOffset()
	switch {
	case b.BaseOffset() < 0 || b.LastOffset() < 0:
		return "negative offset"
	case b.LastOffset() == math.MaxInt64:
		return "no offset can follow"
	case b.Compression() > Zstd:
		return fmt.Sprintf("unknown %v", b.Compression())
	case delta < 0 || b.Count() < 0 || int64(b.Count()) > delta+1:
		return fmt.Sprintf("%d records in %d offsets", b.Count(), delta+1)
	}
	return ""
}

// NextBatch splits the first batch off b, checks it, and returns the rest. An
// empty b has none: the result is nil, nil, nil. The error is a *BatchError.
func NextBatch(b []byte) (first Batch, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, nil
	}
	if len(b) < batchHeader {
		return nil, nil, Batch(b).bad(fmt.Sprintf("%d bytes are less than a header", len(b)))
	}
	n := Batch(b).Len()
	if n < batchHeader || n > len(b) {
		return nil, nil, Batch(b).bad(fmt.Sprintf("length %d in %d bytes", n, len(b)))
	}
	first = Batch(b[:n:n])
	if err := first.Verify(); err != nil {
		return nil, nil, err
	}
	return first, b[n:], nil
}

// Batches iterates over the batches in b, such as ReadBatches returns. An
// error ends it.
func Batches(b []byte) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for len(b) > 0 {
			first, rest, err := NextBatch(b)
			if !yield(first, err) || err != nil {
				return
			}
			b = rest
		}
	}
}

// Records iterates over the records, which point into the bytes of the batch
// or, if it is compressed, into new ones, up to 64 MiB of them. Gzip is
// decompressed without being asked; other codecs must be given. The error, if
// there is one, comes last: a *CodecError or a *BatchError.
func (b Batch) Records(more ...Codec) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		set, err := newCodecs(nil, more)
		var it recordIter
		if err == nil {
			err = it.open(b, &set, defaultDecompressed)
		}
		for err == nil && it.left > 0 {
			var r Record
			if err = it.next(&r); err == nil && !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

const defaultDecompressed = 64 << 20

// A recordIter walks over the records of a batch.
type recordIter struct {
	batch   Batch
	data    []byte // records
	at      int    // index in data of the next
	left    int
	base    int64
	millis  int64
	last    int64  // the offset before
	end     int64  // the last offset of the batch
	stamped bool   // LogAppendTime
	scratch []byte // decompressed
}

// open begins with a batch that was verified.
func (it *recordIter) open(b Batch, set *codecs, limit int) error {
	if len(b) < batchHeader {
		return b.bad("cut off")
	}
	it.batch, it.left, it.base, it.millis = b, b.Count(), b.BaseOffset(), b.baseMillis()
	it.last, it.end, it.stamped = it.base-1, b.LastOffset(), b.LogAppendTime()
	data := []byte(b[batchHeader:])
	if kind := b.Compression(); kind != None {
		codec := set[kind]
		if codec == nil {
			return &CodecError{kind, it.base}
		}
		unpacked, err := codec.Decompress(it.scratch[:0], data, limit)
		if err != nil {
			return b.bad(err.Error())
		}
		it.scratch, data = unpacked, unpacked
	}
	it.data, it.at = data, 0
	return nil
}

// next decodes one record; left must be positive.
func (it *recordIter) next(r *Record) error {
	it.at = decodeRecord(it.data, it.at, r, it.base, it.millis)
	if err := it.took(r.Offset); err != nil {
		return err
	}
	if it.stamped {
		r.Timestamp = it.batch.MaxTimestamp()
	}
	return nil
}

// skip passes over one record, with the checks of next, and returns the
// timestamp that its fields say.
func (it *recordIter) skip() (millis int64, err error) {
	at, millis, offset := skipRecord(it.data, it.at)
	it.at = at
	return it.millis + millis, it.took(it.base + offset)
}

// took checks the record before at, which has an offset.
func (it *recordIter) took(offset int64) error {
	it.left--
	switch {
	case it.at < 0:
		return it.batch.bad("malformed record")
	case offset <= it.last || offset > it.end:
		return it.batch.bad(fmt.Sprintf("offset %d after %d", offset, it.last))
	case it.left == 0 && it.at < len(it.data):
		return it.batch.bad("bytes after the last record")
	}
	it.last = offset
	return nil
}

// startBatch appends the header of a batch without a producer; the fields that
// depend on the records are set by finishBatch.
func startBatch(dst []byte, base int64, epoch int32, baseMillis int64) []byte {
	var h [batchHeader]byte
	b := Batch(h[:])
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(epoch)
	h[16] = batchMagic
	binary.BigEndian.PutUint64(h[27:], uint64(baseMillis))
	binary.BigEndian.PutUint64(h[43:], ^uint64(0)) // no producer
	binary.BigEndian.PutUint16(h[51:], ^uint16(0))
	binary.BigEndian.PutUint32(h[53:], ^uint32(0))
	return append(dst, h[:]...)
}

// finishBatch sets length, counts, the latest timestamp and the checksum.
func finishBatch(b Batch, lastDelta, count int32, maxMillis int64) {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchPrefix))
	binary.BigEndian.PutUint32(b[23:], uint32(lastDelta))
	binary.BigEndian.PutUint64(b[35:], uint64(maxMillis))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	binary.BigEndian.PutUint32(b[17:], b.checksum())
}

// emptied returns the batch without its records, with the same offsets, producer and
// latest timestamp, and a delete horizon.
func (b Batch) emptied(horizon time.Time) Batch {
	out := append(Batch(nil), b[:batchHeader]...)
	out[22] = out[22]&^attrCompression | attrHorizon
	setBaseMillis(out, millis(horizon))
	finishBatch(out, int32(b.LastOffset()-b.BaseOffset()), 0, b.maxMillis())
	return out
}

// AppendBatchTo appends to dst one batch of the records, with the offsets from
// base on whatever Record.Offset says, compressed by codec unless that is nil.
// Records without a Timestamp get the Unix epoch. There must be a record, and
// the records must fit into 2 GiB.
func AppendBatchTo(dst []byte, base int64, codec Codec, records ...Record) ([]byte, error) {
	if len(records) == 0 {
		return dst, fmt.Errorf("%w: no records", ErrBadBatch)
	}
	size := 0
	for i := range records {
		size += records[i].fixedLen() + maxRecordOverhead
	}
	if size > 1<<31-1-batchHeader {
		return dst, fmt.Errorf("%w: %d bytes in one batch", ErrTooLarge, size)
	}
	return encodeBatch(dst, base, -1, codec, records, 0)
}

// maxRecordOverhead is what a record has at most besides its fixedLen.
const maxRecordOverhead = 5 + 10 + 5

// encodeBatch appends a batch. Records without a timestamp get now.
func encodeBatch(dst []byte, base int64, epoch int32, codec Codec, records []Record, now int64) ([]byte, error) {
	start := len(dst)
	first := stamp(&records[0], now)
	latest := first
	dst = startBatch(dst, base, epoch, first)
	for i := range records {
		at := stamp(&records[i], now)
		latest = max(latest, at)
		dst = appendRecord(dst, &records[i], records[i].fixedLen(), at-first, int64(i))
	}
	if codec != nil {
		body := start + batchHeader
		packed, err := codec.Compress(nil, dst[body:])
		if err != nil {
			return dst[:start], fmt.Errorf("commitlog: compress: %w", err)
		}
		dst = append(dst[:body], packed...)
		dst[start+22] |= byte(codec.Compression())
	}
	finishBatch(dst[start:], int32(len(records)-1), int32(len(records)), latest)
	return dst, nil
}

// stamp is the timestamp of a record in milliseconds, now if it has none.
func stamp(r *Record, now int64) int64 {
	if r.Timestamp.IsZero() {
		return now
	}
	return millis(r.Timestamp)
}

func setBaseMillis(b Batch, millis int64) { binary.BigEndian.PutUint64(b[27:], uint64(millis)) }
