package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"iter"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
)

const batchHeader = 61 // bytes before the records

// bits of the attributes beside those that commitlog knows
const attrLogAppendTime = 0x08

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkBatch returns why a broker cannot take what a producer sent for one
// partition, or nil. The checksum is left to the log.
//
// The checksum covers everything that the producer wrote, so compressed
// records are not looked at: the broker neither decompresses them nor needs to
// trust them, since offsets come from the header, and a producer that lies
// about its records only spoils its own. A topic that is compacted by key is
// the exception, see checkKeys.
func checkBatch(data []byte) *kerr.Error {
	b := commitlog.Batch(data)
	switch {
	case len(b) < batchHeader:
		return kerr.CorruptMessage
	case b[16] < 2:
		return kerr.UnsupportedForMessageFormat
	case b[16] > 2:
		return kerr.CorruptMessage
	case b.Len() >= batchHeader && b.Len() < len(b):
		return kerr.InvalidRecord // more than one batch, which is for older versions
	case b.Len() != len(b):
		return kerr.CorruptMessage
	}
	b.SetBaseOffset(0) // whatever the producer counts from
	switch {
	case b.Count() < 1 || b.LastOffset() != int64(b.Count())-1:
		return kerr.InvalidRecord
	case b.Compression() > commitlog.Zstd:
		return kerr.UnsupportedCompressionType
	case b.Control():
		return kerr.InvalidRecord
	case b.Transactional():
		return kerr.InvalidTxnState // there are no transactions here
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return kerr.InvalidRecord
	}
	return nil
}

// stamp makes t, in milliseconds, the time of all records of a batch, as
// topics want that keep the time of arrival.
func stamp(b commitlog.Batch, t int64) {
	binary.BigEndian.PutUint16(b[21:], uint16(b.Attributes())|attrLogAppendTime)
	binary.BigEndian.PutUint64(b[35:], uint64(t))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
}

// batches iterates over whole batches that lie behind one another, as they
// come from a log, which has checked them. A part of one at the end is left
// out.
func batches(data []byte) iter.Seq[commitlog.Batch] {
	return func(yield func(commitlog.Batch) bool) {
		for len(data) >= batchHeader {
			b := commitlog.Batch(data)
			size := b.Len()
			if size < batchHeader || size > len(data) || !yield(b[:size:size]) {
				return
			}
			data = data[size:]
		}
	}
}

// checkKeys looks at every record of a batch for a topic that is compacted,
// since compaction has to find a key in each.
func checkKeys(b commitlog.Batch) *kerr.Error {
	for r, err := range b.Records(codecs...) {
		if err != nil {
			return kerr.CorruptMessage
		}
		if r.Key == nil {
			return kerr.InvalidRecord
		}
	}
	return nil
}
