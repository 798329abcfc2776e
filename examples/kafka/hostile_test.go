package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// A request to produce may be large, but not many: each of its parts would take
// thirty times its bytes.
func TestPartsOfAProduceRequest(t *testing.T) {
	table := map[int16]api{keyProduce: {3, 13, nil}}
	encode := func(topics, parts int, version int16) []byte {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(version)
		for range topics {
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic = "a"
			for range parts {
				rp := kmsg.NewProduceRequestTopicPartition()
				rp.Records = []byte("records")
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		return formatter.AppendRequest(nil, req, 1)[4:]
	}
	for _, version := range []int16{3, 8, 9, 12, 13} { // first and last of each form of lengths and names
		for _, size := range [][2]int{{0, 0}, {1, 1}, {3, 2}, {2, maxPartitions/2 - 1}, {maxPartitions, 0}} {
			r, err := parseRequest(encode(size[0], size[1], version), table)
			require.NoError(t, err, "version %d, %v", version, size)
			require.Len(t, r.message.(*kmsg.ProduceRequest).Topics, size[0])
		}
		for _, size := range [][2]int{{maxPartitions + 1, 0}, {1, maxPartitions}, {101, 100}} {
			_, err := parseRequest(encode(size[0], size[1], version), table)
			require.ErrorIs(t, err, errMalformed)
		}
		whole := encode(2, 2, version)
		for n := range whole {
			_, err := parseRequest(whole[:n], table)
			require.ErrorIs(t, err, errMalformed, "version %d, %d bytes of %d", version, n, len(whole))
		}
	}
}

// What a request names a thousand times is answered once: the answer may be
// far longer than the question.
func TestNamedAgain(t *testing.T) {
	b := startBroker(t)
	r, err := b.create(t.Context(), createTopic{Name: "t", Partitions: 10, Replicas: 1})
	require.NoError(t, err)
	require.Zero(t, r.Code)
	w := dial(t, b)
	metadata, configs, groups, offsets := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrOffsetFetchRequest()
	dirs, fetch := kmsg.NewPtrDescribeLogDirsRequest(), kmsg.NewPtrFetchRequest()
	fetch.MaxBytes = 1 << 20
	for range 1000 {
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = new("t")
		metadata.Topics = append(metadata.Topics, mt)
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		configs.Resources = append(configs.Resources, rr)
		groups.Groups = append(groups.Groups, "g")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"})
		dt := kmsg.NewDescribeLogDirsRequestTopic()
		dt.Topic, dt.Partitions = "t", []int32{3}
		dirs.Topics = append(dirs.Topics, dt)
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = "t"
		fetch.Topics = append(fetch.Topics, ft)
	}
	require.Len(t, ask[*kmsg.MetadataResponse](w, metadata, 12).Topics, 1)
	require.Len(t, ask[*kmsg.DescribeConfigsResponse](w, configs, 4).Resources, 1)
	require.Len(t, ask[*kmsg.DescribeGroupsResponse](w, groups, 5).Groups, 1)
	require.Len(t, ask[*kmsg.OffsetFetchResponse](w, offsets, 8).Groups, 1)
	require.Len(t, ask[*kmsg.DescribeLogDirsResponse](w, dirs, 4).Dirs[0].Topics, 1)
	require.Len(t, ask[*kmsg.FetchResponse](w, fetch, 12).Topics, 1000)
}

// A consumer that takes records slowly, but takes them, gets them all.
func TestASlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 8 << 20
		here, there := net.Pipe()
		b := &broker{budget: newBudget(size), counters: &counters{}, seconds: metrics.New().Histogram("s", "Seconds.", nil)}
		require.NoError(t, func() error { _, err := b.budget.take(t.Context(), size); return err }())
		c := &conn{broker: b, net: here, queue: make(chan pendingAnswer, 1), held: size}
		c.ctx, c.cancel = context.WithCancel(t.Context())
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 11
		rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		v := &vectored{FetchResponse: resp, records: [][][]byte{{make([]byte, size)}}}
		c.queue <- pendingAnswer{answer: now(v)}
		close(c.queue)
		go c.write()
		var head [4]byte
		_, err := io.ReadFull(there, head[:])
		require.NoError(t, err)
		left := int(binary.BigEndian.Uint32(head[:]))
		require.Greater(t, left, size)
		for begin := time.Now(); left > 0; {
			time.Sleep(time.Second)
			n, err := io.ReadFull(there, make([]byte, min(left, 2*arriveRate)))
			require.NoError(t, err, "after %v, %d bytes before the end", time.Since(begin), left)
			left -= n
		}
		there.Close()
		synctest.Wait()
		require.Zero(t, b.budget.used())
	})
}
