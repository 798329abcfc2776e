package kafka

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A response whose records are not copied has the bytes that kmsg writes, in
// every version.
func TestVectoredResponsesAreThoseOfKmsg(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(version)
		v := &vectored{FetchResponse: resp}
		pieces := [][][]byte{{[]byte("first"), []byte("second")}, nil, {bytes.Repeat([]byte("x"), 300)}, nil}
		for i, name := range []string{"a", "another topic"} {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = name, topicID{byte(i), 7}
			for j := range int32(2) {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.RecordBatches = j, 11, 12, 3, []byte{}
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		v.records = pieces
		var got bytes.Buffer
		n, err := v.send(&got, 99)
		require.NoError(t, err)
		require.EqualValues(t, got.Len(), n)
		v.join()
		require.Equal(t, appendResponse(nil, 99, resp), got.Bytes(), "version %d", version)
	}
}
