package kafka

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
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

// newTopic creates a topic with one partition and returns its ID.
func newTopic(t *testing.T, b *broker, name string, config map[string]string) topicID {
	t.Helper()
	r, err := b.create(t.Context(), createTopic{Name: name, Partitions: 1, Replicas: 1, Config: config})
	require.NoError(t, err)
	require.Zero(t, r.Code, r.Message)
	return b.control.Image().Topics[name].ID
}

// newBatch builds a batch of an idempotent producer, or of none if id is -1.
func newBatch(t *testing.T, id int64, epoch int16, sequence int32, records ...commitlog.Record) []byte {
	t.Helper()
	data, err := commitlog.AppendBatchTo(nil, 0, nil, records...)
	require.NoError(t, err)
	binary.BigEndian.PutUint64(data[43:], uint64(id))
	binary.BigEndian.PutUint16(data[51:], uint16(epoch))
	binary.BigEndian.PutUint32(data[53:], uint32(sequence))
	seal(data)
	return data
}

func seal(data []byte) { binary.BigEndian.PutUint32(data[17:], castagnoliSum(data[21:])) }

func values(texts ...string) []commitlog.Record {
	var records []commitlog.Record
	for _, text := range texts {
		records = append(records, commitlog.Record{Key: []byte("k"), Value: []byte(text), Timestamp: time.UnixMilli(1000)})
	}
	return records
}

// produceTo sends one batch over the wire and returns the answer.
func produceTo(w *wire, id topicID, acks int16, data []byte) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	resp := ask[*kmsg.ProduceResponse](w, produceRequest(id, acks, data), 13)
	return resp.Topics[0].Partitions[0]
}

func produceRequest(id topicID, acks int16, data []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 10_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.TopicID, rp.Records = id, data
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// What a producer may not send gets the error that its client understands, and
// stores nothing.
func TestBatchesThatAreRefused(t *testing.T) {
	b := startBroker(t)
	id := newTopic(t, b, "t", map[string]string{"max.message.bytes": "1000"})
	compacted := newTopic(t, b, "c", map[string]string{"cleanup.policy": "compact"})
	good := func() []byte { return newBatch(t, -1, -1, -1, values("a", "b")...) }
	changed := func(at int, v byte) []byte { data := good(); data[at] = v; seal(data); return data }
	zipped := good()
	var plain bytes.Buffer
	z := gzip.NewWriter(&plain)
	_, err := z.Write(zipped[batchHeader:])
	require.NoError(t, err)
	require.NoError(t, z.Close())
	bomb := append(append([]byte(nil), zipped[:batchHeader]...), plain.Bytes()[:plain.Len()/2]...)
	binary.BigEndian.PutUint32(bomb[8:], uint32(len(bomb)-12))
	bomb[22] |= 1
	seal(bomb)
	w := dial(t, b)
	for name, test := range map[string]struct {
		topic topicID
		acks  int16
		data  []byte
		want  *kerr.Error
	}{
		"bad checksum":        {id, -1, append(good()[:40], 99, 99, 99), kerr.CorruptMessage},
		"flipped bit":         {id, -1, func() []byte { d := good(); d[len(d)-1] ^= 1; return d }(), kerr.CorruptMessage},
		"half a header":       {id, -1, good()[:30], kerr.CorruptMessage},
		"nothing":             {id, -1, nil, kerr.CorruptMessage},
		"message set":         {id, -1, changed(16, 1), kerr.UnsupportedForMessageFormat},
		"future format":       {id, -1, changed(16, 3), kerr.CorruptMessage},
		"two batches":         {id, -1, append(good(), good()...), kerr.InvalidRecord},
		"more records said":   {id, -1, changed(60, 3), kerr.InvalidRecord},
		"no records":          {id, -1, changed(60, 0), kerr.InvalidRecord},
		"unknown codec":       {id, -1, changed(22, 7), kerr.UnsupportedCompressionType},
		"control batch":       {id, -1, changed(22, 0x20), kerr.InvalidRecord},
		"transactional":       {id, -1, changed(22, 0x10), kerr.InvalidTxnState},
		"too large":           {id, -1, newBatch(t, -1, -1, -1, values(strings.Repeat("x", 2000))...), kerr.MessageTooLarge},
		"acks 2":              {id, 2, good(), kerr.InvalidRequiredAcks},
		"unknown topic":       {topicID{1}, -1, good(), kerr.UnknownTopicID},
		"no key":              {compacted, -1, newBatch(t, -1, -1, -1, commitlog.Record{Value: []byte("v")}), kerr.InvalidRecord},
		"cannot be unpacked":  {compacted, -1, bomb, kerr.CorruptMessage},
		"sequence, no epoch":  {id, -1, newBatch(t, 5, -1, 0, values("a")...), kerr.InvalidRecord},
		"begins in the midst": {id, -1, newBatch(t, 5, 0, 7, values("a")...), kerr.OutOfOrderSequenceNumber},
	} {
		got := produceTo(w, test.topic, test.acks, test.data)
		if got.ErrorCode != test.want.Code || got.BaseOffset != -1 {
			t.Errorf("%s: %v at %d, want %v", name, kerr.ErrorForCode(got.ErrorCode), got.BaseOffset, test.want)
		}
	}
	for _, topic := range []topicID{id, compacted} {
		require.Zero(t, b.partition(partitionKey{topic, 0}).state().end)
	}
	// A producer that wants no answer is told by a closed connection.
	w.send(produceRequest(id, 0, good()[:30]), 13)
	w.closed()
}

// Sequence numbers: what is sent again is answered as before and stored once,
// also after a restart; gaps and old epochs are refused.
func TestIdempotentProducer(t *testing.T) {
	for _, snapshot := range []bool{true, false} {
		t.Run(fmt.Sprint("snapshot ", snapshot), func(t *testing.T) {
			dir := t.TempDir()
			b := startBroker(t, inDir(dir))
			id := newTopic(t, b, "t", nil)
			w := dial(t, b)
			send := func(epoch int16, sequence int32, texts ...string) (int64, error) {
				got := produceTo(w, id, -1, newBatch(t, 7, epoch, sequence, values(texts...)...))
				return got.BaseOffset, kerr.ErrorForCode(got.ErrorCode)
			}
			check := func(want int64, failure error, epoch int16, sequence int32, texts ...string) {
				t.Helper()
				got, err := send(epoch, sequence, texts...)
				require.Equal(t, failure, err)
				require.Equal(t, want, got)
			}
			for i := range int32(7) {
				check(int64(2*i), nil, 0, 2*i, "a", "b")
			}
			again := func() {
				t.Helper()
				for i := int32(2); i < 7; i++ { // the last five
					check(int64(2*i), nil, 0, 2*i, "a", "b")
				}
				check(-1, kerr.OutOfOrderSequenceNumber, 0, 2, "a", "b")
				check(-1, kerr.OutOfOrderSequenceNumber, 0, 15, "a")
			}
			again()
			require.NoError(t, b.close())
			if !snapshot {
				removeSnapshots(t, dir)
			}
			b = startBroker(t, inDir(dir))
			w = dial(t, b)
			again()
			check(14, nil, 0, 14, "c")
			check(-1, kerr.OutOfOrderSequenceNumber, 1, 3, "d") // another epoch begins at 0
			check(15, nil, 1, 0, "d")
			check(-1, kerr.InvalidProducerEpoch, 0, 15, "e")
			require.EqualValues(t, 16, b.partition(partitionKey{id, 0}).state().end)
		})
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	require.EqualValues(t, 0, lastSequence(1<<31-1, 1))
	require.EqualValues(t, 1, lastSequence(1<<31-2, 3))
	require.EqualValues(t, 9, lastSequence(4, 5))
}

// Offsets by time, in batches and between them, for both kinds of time.
func TestOffsetsByTime(t *testing.T) {
	b := startBroker(t)
	for _, kind := range []string{"CreateTime", "LogAppendTime"} {
		id := newTopic(t, b, kind, map[string]string{"message.timestamp.type": kind})
		w := dial(t, b)
		before := time.Now().UnixMilli()
		for i := range int64(4) {
			var records []commitlog.Record
			for j := range int64(3) {
				records = append(records, commitlog.Record{Value: []byte("v"), Timestamp: time.UnixMilli(1000*i + 100*j)})
			}
			require.EqualValues(t, 3*i, produceTo(w, id, -1, newBatch(t, -1, -1, -1, records...)).BaseOffset)
		}
		at := func(stamp int64) (int64, int64) {
			req := kmsg.NewPtrListOffsetsRequest()
			rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
			rt.Topic, rp.Timestamp = kind, stamp
			rt.Partitions = append(rt.Partitions, rp)
			req.Topics = append(req.Topics, rt)
			got := ask[*kmsg.ListOffsetsResponse](w, req, 8).Topics[0].Partitions[0]
			require.Zero(t, got.ErrorCode)
			return got.Offset, got.Timestamp
		}
		check := func(stamp, offset, found int64) {
			t.Helper()
			o, f := at(stamp)
			require.Equal(t, offset, o, "%s %d", kind, stamp)
			require.Equal(t, found, f, "%s %d", kind, stamp)
		}
		check(offsetEarliest, 0, -1)
		check(offsetLatest, 12, -1)
		if kind == "CreateTime" {
			check(0, 0, 0)
			check(1001, 4, 1100)
			check(1200, 5, 1200)
			check(1201, 6, 2000)
			check(3201, -1, -1)
			check(offsetMaxTime, 11, 3200)
			continue
		}
		offset, found := at(1001)
		require.Zero(t, offset)
		require.GreaterOrEqual(t, found, before)
		check(time.Now().Add(time.Hour).UnixMilli(), -1, -1)
	}
}

// Retention by size and by time, deletion of records and compaction leave what they
// should, and what is gone says so.
func TestOldRecordsGo(t *testing.T) {
	t.Parallel()
	var disks sync.Map // in memory: small segments are many files to sync
	b := startBroker(t, onMem(&disks), func(c *brokerConfig) { c.RetainEvery = 20 * time.Millisecond })
	client, err := kgo.NewClient(kgo.SeedBrokers(addrOf(b)), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	bounded := newTopic(t, b, "bounded", map[string]string{"segment.bytes": "20000", "retention.bytes": "60000"})
	table := newTopic(t, b, "table", map[string]string{"segment.bytes": "20000", "cleanup.policy": "compact"})
	aged := newTopic(t, b, "aged", map[string]string{"segment.bytes": "20000", "retention.ms": "60000"})
	noise := make([]byte, 3000)
	var records []*kgo.Record
	for i := range 200 {
		for j := range noise {
			noise[j] = byte(i*j + j>>3)
		}
		records = append(records, &kgo.Record{Topic: "bounded", Value: fmt.Appendf(nil, "%x", noise[:1500])},
			&kgo.Record{Topic: "table", Key: fmt.Append(nil, "key ", i%10), Value: fmt.Appendf(nil, "%d %x", i, noise[:1500])})
		records = append(records, &kgo.Record{Topic: "aged", Value: records[len(records)-2].Value, Timestamp: time.Now().Add(-time.Hour)})
		if len(records) == 12 { // four of each in a batch
			require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
			records = nil
		}
	}
	p := b.partition(partitionKey{bounded, 0})
	require.Eventually(t, func() bool { return p.state().start > 0 && p.log.Stats().Size < 120_000 }, time.Minute, 5*time.Millisecond)
	old := b.partition(partitionKey{aged, 0})
	require.Eventually(t, func() bool { return old.state().start > 150 }, time.Minute, 5*time.Millisecond)
	start := p.state().start
	starts, err := admin.ListStartOffsets(t.Context(), "bounded")
	require.NoError(t, err)
	got, _ := starts.Lookup("bounded", 0)
	require.GreaterOrEqual(t, got.Offset, start)

	c := b.partition(partitionKey{table, 0})
	require.Eventually(t, func() bool { return c.log.Stats().Size < 100_000 }, time.Minute, 5*time.Millisecond)
	reader, err := kgo.NewClient(kgo.SeedBrokers(addrOf(b)), kgo.ConsumeTopics("table"))
	require.NoError(t, err)
	defer reader.Close()
	last := map[string]string{}
	for done := false; !done; {
		fetches := reader.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			last[string(r.Key)], _, _ = strings.Cut(string(r.Value), " ")
			done = done || r.Offset == 199
		})
	}
	for i := range 10 {
		require.Equal(t, fmt.Sprint(190+i), last[fmt.Sprint("key ", i)])
	}

	var all kadm.Offsets
	all.AddOffset("bounded", 0, 200, -1)
	deleted, err := admin.DeleteRecords(t.Context(), all)
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	require.EqualValues(t, 200, p.state().start)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxBytes = 1 << 20
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.TopicID, fp.FetchOffset, fp.PartitionMaxBytes = bounded, 10, 1<<20
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	answer := ask[*kmsg.FetchResponse](dial(t, b), fetch, 16).Topics[0].Partitions[0]
	require.Equal(t, kerr.OffsetOutOfRange.Code, answer.ErrorCode)
	require.EqualValues(t, 200, answer.LogStartOffset)
}

// Topics, settings and records outlive a restart.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, inDir(dir))
	id := newTopic(t, b, "t", map[string]string{"retention.ms": "123456"})
	w := dial(t, b)
	sent := newBatch(t, -1, -1, -1, values("kept")...)
	require.Zero(t, produceTo(w, id, -1, append([]byte(nil), sent...)).ErrorCode)
	first, err := b.nextProducerID(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.close())

	b = startBroker(t, inDir(dir))
	require.Equal(t, id, b.control.Image().Topics["t"].ID)
	require.Equal(t, "123456", b.control.Image().Topics["t"].Config["retention.ms"])
	next, err := b.nextProducerID(t.Context())
	require.NoError(t, err)
	require.Greater(t, next, first)
	records := readAll(t, b, "t")[0]
	require.Len(t, records, 1)
	require.Equal(t, "kept", string(records[0].Value))
	stored, err := b.partition(partitionKey{id, 0}).log.ReadBatches(nil, 0, 1<<20, true)
	require.NoError(t, err)
	require.Equal(t, sent[16:], stored[16:], "verbatim but for offset and epoch")
}
