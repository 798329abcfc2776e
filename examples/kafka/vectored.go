package kafka

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A vectored response is one to a fetch whose records are not copied into it:
// they go from the buffer that they were read into to the socket.
//
//	header ─┬─ fields of partition 0 ─┬─ fields of partition 1 ─┬─ end
//	        └─ records ───────────────┴─ records ───────────────┘
//
// It writes the same bytes as kmsg, for responses that carry no tagged fields:
// those tell of errors, and then there is little to copy.
type vectored struct {
	*kmsg.FetchResponse
	records [][][]byte // of each partition, in pieces
	buf     []byte     // behind them, to be used again
}

// recordBuffers are buffers for records: of requests to produce, which end
// with their handler, and of responses to fetches, which end when they are
// sent.
var recordBuffers = sync.Pool{New: func() any { return new([]byte) }}

// takeBuffer returns an empty buffer.
func takeBuffer() []byte { return (*recordBuffers.Get().(*[]byte))[:0] }

// giveBuffer gives a buffer back that nobody refers to any more.
func giveBuffer(b []byte) {
	if cap(b) > 0 {
		recordBuffers.Put(&b)
	}
}

// send writes the response and gives the buffer back.
func (v *vectored) send(w io.Writer, correlation int32) (int64, error) {
	defer giveBuffer(v.buf)
	parts := v.buffers(correlation)
	return parts.WriteTo(w)
}

// buffers returns the response in pieces, with its length and header.
func (v *vectored) buffers(correlation int32) net.Buffers {
	head := make([]byte, 8, 256)
	binary.BigEndian.PutUint32(head[4:], uint32(correlation))
	if v.IsFlexible() {
		head = append(head, 0)
	}
	var cuts []int // in head: where the records of each partition go
	head = v.appendFields(head, &cuts)
	size := len(head) - 4
	var parts net.Buffers
	from := 0
	for i, pieces := range v.records {
		if len(pieces) == 0 {
			continue
		}
		parts = append(parts, head[from:cuts[i]])
		from = cuts[i]
		for _, piece := range pieces {
			parts = append(parts, piece)
			size += len(piece)
		}
	}
	binary.BigEndian.PutUint32(head, uint32(size))
	return append(parts, head[from:])
}

// appendFields writes everything but the records, and notes where they belong.
func (v *vectored) appendFields(b []byte, cuts *[]int) []byte {
	be, version, flexible := binary.BigEndian, v.Version, v.IsFlexible()
	count := func(b []byte, n int) []byte {
		if flexible {
			return binary.AppendUvarint(b, uint64(n)+1)
		}
		return be.AppendUint32(b, uint32(n))
	}
	end := func(b []byte) []byte { // no tagged fields
		if flexible {
			return append(b, 0)
		}
		return b
	}
	b = be.AppendUint32(b, uint32(v.ThrottleMillis))
	if version >= 7 {
		b = be.AppendUint16(b, uint16(v.ErrorCode))
		b = be.AppendUint32(b, uint32(v.SessionID))
	}
	b = count(b, len(v.Topics))
	for _, t := range v.Topics {
		switch {
		case version >= 13:
			b = append(b, t.TopicID[:]...)
		case flexible:
			b = append(count(b, len(t.Topic)), t.Topic...)
		default:
			b = append(be.AppendUint16(b, uint16(len(t.Topic))), t.Topic...)
		}
		b = count(b, len(t.Partitions))
		for _, p := range t.Partitions {
			b = be.AppendUint32(b, uint32(p.Partition))
			b = be.AppendUint16(b, uint16(p.ErrorCode))
			b = be.AppendUint64(b, uint64(p.HighWatermark))
			b = be.AppendUint64(b, uint64(p.LastStableOffset))
			if version >= 5 {
				b = be.AppendUint64(b, uint64(p.LogStartOffset))
			}
			b = count(b, -1) // no aborted transactions
			if version >= 11 {
				b = be.AppendUint32(b, uint32(p.PreferredReadReplica))
			}
			size := 0
			for _, piece := range v.records[len(*cuts)] {
				size += len(piece)
			}
			b = count(b, size)
			*cuts = append(*cuts, len(b))
			b = end(b)
		}
		b = end(b)
	}
	return end(b)
}

// join copies the records into the response, for kmsg to write it.
func (v *vectored) join() {
	i := 0
	for t := range v.Topics {
		for p := range v.Topics[t].Partitions {
			for _, piece := range v.records[i] {
				part := &v.Topics[t].Partitions[p]
				part.RecordBatches = append(part.RecordBatches, piece...)
			}
			i++
		}
	}
}
