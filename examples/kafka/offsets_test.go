package kafka

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
)

// stamped returns records with these times in milliseconds.
func stamped(millis ...int64) []commitlog.Record {
	var records []commitlog.Record
	for _, at := range millis {
		records = append(records, commitlog.Record{Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(at)})
	}
	return records
}

// packed builds a batch that is compressed.
func packed(t *testing.T, codec commitlog.Codec, records ...commitlog.Record) []byte {
	t.Helper()
	data, err := commitlog.AppendBatchTo(nil, 0, codec, records...)
	require.NoError(t, err)
	return data
}

// claimed builds a batch that says it is compressed and cannot be unpacked.
func claimed(t *testing.T, records ...commitlog.Record) []byte {
	data := newBatch(t, -1, -1, -1, records...)
	data[22] |= byte(commitlog.Gzip)
	seal(data)
	return data
}

// The offset with the largest timestamp is that of the first such record, of
// those that a consumer can read now (KIP-734).
func TestOffsetOfTheLargestTimestamp(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks))
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(addrOf(b))))
	plain := func(millis ...int64) []byte { return newBatch(t, -1, -1, -1, stamped(millis...)...) }
	for name, test := range map[string]struct {
		config  map[string]string
		batches [][]byte
		after   func(t *testing.T, p *partition)
		offset  int64
		stamp   int64
	}{
		"empty":                     {offset: -1, stamp: -1},
		"the last":                  {batches: [][]byte{plain(1, 2), plain(3)}, offset: 2, stamp: 3},
		"within a batch":            {batches: [][]byte{plain(1, 9, 3)}, offset: 1, stamp: 9},
		"in an earlier batch":       {batches: [][]byte{plain(1, 9), plain(2, 3)}, offset: 1, stamp: 9},
		"several in a batch":        {batches: [][]byte{plain(1, 9, 9)}, offset: 1, stamp: 9},
		"several in batches":        {batches: [][]byte{plain(1, 9), plain(9, 9)}, offset: 1, stamp: 9},
		"at the epoch":              {batches: [][]byte{plain(0, 0)}, offset: 0, stamp: 0},
		"no times":                  {batches: [][]byte{plain(-1, -1)}, offset: -1, stamp: -1},
		"in another age":            {batches: [][]byte{plain(1<<62, 1)}, offset: 0, stamp: 1 << 62},
		"at the end of time":        {batches: [][]byte{plain(1), plain(math.MaxInt64, 1)}, offset: 1, stamp: math.MaxInt64},
		"gzip":                      {batches: [][]byte{packed(t, commitlog.GzipCodec(1), stamped(1, 9, 9, 2)...)}, offset: 1, stamp: 9},
		"snappy":                    {batches: [][]byte{packed(t, snappyCodec{}, stamped(1, 9, 9, 2)...)}, offset: 1, stamp: 9},
		"lz4":                       {batches: [][]byte{packed(t, lz4Codec{}, stamped(1, 9, 9, 2)...)}, offset: 1, stamp: 9},
		"zstd":                      {batches: [][]byte{packed(t, zstdCodec{}, stamped(1, 9, 9, 2)...)}, offset: 1, stamp: 9},
		"the same, compressed":      {batches: [][]byte{plain(5, 9), packed(t, zstdCodec{}, stamped(9, 1)...)}, offset: 1, stamp: 9},
		"cannot be read, earlier":   {batches: [][]byte{claimed(t, stamped(1, 5)...), plain(9)}, offset: 2, stamp: 9},
		"cannot be read, the first": {batches: [][]byte{plain(1), claimed(t, stamped(1, 9)...), plain(3)}, offset: 1, stamp: 9},
		"deleted": {
			batches: [][]byte{plain(9), plain(1), plain(3), plain(2)}, after: deletes(1), offset: 2, stamp: 3,
		},
		"deleted in a batch": {
			batches: [][]byte{plain(9, 1, 5, 5, 2)}, after: deletes(1), offset: 2, stamp: 5,
		},
		"the first of several deleted": {
			batches: [][]byte{plain(9, 9, 9, 1)}, after: deletes(2), offset: 2, stamp: 9,
		},
		"all deleted": {
			batches: [][]byte{plain(9, 1)}, after: deletes(2), offset: -1, stamp: -1,
		},
		"retention removed it": {
			config:  map[string]string{"segment.bytes": "16384", "retention.bytes": "20000", "retention.ms": "-1"},
			batches: [][]byte{large(t, 9), large(t, 1), large(t, 4), large(t, 2), large(t, 4), large(t, 3)},
			after:   func(t *testing.T, p *partition) { require.NoError(t, p.retain(t.Context())) },
			offset:  4, stamp: 4,
		},
		"compaction removed it": {
			config:  map[string]string{"segment.bytes": "16384", "cleanup.policy": "compact"},
			batches: [][]byte{large(t, 9), large(t, 1), large(t, 4), large(t, 2)},
			after: func(t *testing.T, p *partition) {
				require.NoError(t, p.retain(t.Context()))
				require.NoError(t, p.retain(t.Context()))
			},
			offset: 2, stamp: 4, // not from the segment that is written
		},
		"not yet at the high watermark": {
			batches: [][]byte{plain(1, 5), plain(9), plain(3)},
			after:   func(t *testing.T, p *partition) { p.mu.Lock(); defer p.mu.Unlock(); p.setHigh(2) },
			offset:  1, stamp: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			topic := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			id := newTopic(t, b, topic, test.config)
			w := dial(t, b)
			for _, data := range test.batches {
				require.Zero(t, produceTo(w, id, -1, append([]byte(nil), data...)).ErrorCode)
			}
			if test.after != nil {
				test.after(t, b.partition(partitionKey{id, 0}))
			}
			listed, err := admin.ListMaxTimestampOffsets(t.Context(), topic)
			require.NoError(t, err)
			got, ok := listed.Lookup(topic, 0)
			require.True(t, ok)
			require.NoError(t, got.Err)
			require.Equal(t, []int64{test.offset, test.stamp}, []int64{got.Offset, got.Timestamp})
		})
	}
}

// deletes returns a function that deletes the records before an offset.
func deletes(offset int64) func(*testing.T, *partition) {
	return func(t *testing.T, p *partition) {
		start, err := p.deleteBefore(offset)
		require.Nil(t, err)
		require.Equal(t, offset, start)
	}
}

// large builds a batch of one record, of which a segment has at most one.
func large(t *testing.T, at int64) []byte {
	t.Helper()
	return newBatch(t, -1, -1, -1, commitlog.Record{Key: []byte("k"), Value: make([]byte, 10_000), Timestamp: time.UnixMilli(at)})
}

// With LogAppendTime a batch has one time, so it is the first of its records,
// whatever time the producer gave them.
func TestOffsetOfTheLargestAppendTime(t *testing.T) {
	b := startBroker(t)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(addrOf(b))))
	for name, codec := range map[string]commitlog.Codec{"plain": nil, "zstd": zstdCodec{}} {
		id := newTopic(t, b, name, map[string]string{"message.timestamp.type": "LogAppendTime"})
		w := dial(t, b)
		for _, last := range []int64{1 << 60, 3} {
			require.Zero(t, produceTo(w, id, -1, packed(t, codec, stamped(1, 2, last)...)).ErrorCode)
			for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; {
				time.Sleep(time.Millisecond) // the batches have different times
			}
		}
		listed, err := admin.ListMaxTimestampOffsets(t.Context(), name)
		require.NoError(t, err)
		got, ok := listed.Lookup(name, 0)
		require.True(t, ok)
		require.NoError(t, got.Err)
		require.EqualValues(t, 3, got.Offset, name)
		b, err := b.partition(partitionKey{id, 0}).log.ReadBatches(nil, 3, 1, false)
		require.NoError(t, err)
		require.Equal(t, commitlog.Batch(b).MaxTimestamp().UnixMilli(), got.Timestamp, name)
	}
}

// A time below zero means something from some version of ListOffsets on; before
// that, or if it never does, it is refused.
func TestTimesWithAMeaning(t *testing.T) {
	b := startBroker(t)
	id := newTopic(t, b, "t", nil)
	w := dial(t, b)
	require.Zero(t, produceTo(w, id, -1, newBatch(t, -1, -1, -1, stamped(1, 7, 2)...)).ErrorCode)
	for _, test := range []struct {
		at      int64
		version int16
		offset  int64
		stamp   int64
		err     *kerr.Error
	}{
		{offsetLatest, 1, 3, -1, nil},
		{offsetEarliest, 1, 0, -1, nil},
		{offsetMaxTime, 6, -1, -1, kerr.UnsupportedVersion},
		{offsetMaxTime, 7, 1, 7, nil},
		{offsetEarliestLocal, 7, -1, -1, kerr.UnsupportedVersion},
		{offsetEarliestLocal, 8, 0, -1, nil},
		{offsetLatestTiered, 8, -1, -1, kerr.UnsupportedVersion},
		{offsetLatestTiered, 9, -1, -1, nil},
		{-6, 10, -1, -1, kerr.UnsupportedVersion},
		{-1 << 63, 10, -1, -1, kerr.UnsupportedVersion},
	} {
		req := kmsg.NewPtrListOffsetsRequest()
		rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
		rt.Topic, rp.Timestamp = "t", test.at
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		got := ask[*kmsg.ListOffsetsResponse](w, req, test.version).Topics[0].Partitions[0]
		code := int16(0)
		if test.err != nil {
			code = test.err.Code
		}
		if got.ErrorCode != code || got.Offset != test.offset || got.Timestamp != test.stamp {
			t.Errorf("version %d, time %d: %v, offset %d of %d, want %v, %d of %d", test.version, test.at, kerr.ErrorForCode(got.ErrorCode), got.Offset, got.Timestamp, test.err, test.offset, test.stamp)
		}
	}
}
