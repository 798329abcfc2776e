package kafka

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A wire is a connection on which a test says what it wants.
type wire struct {
	t    *testing.T
	conn net.Conn
	next int32
}

func dial(t *testing.T, b *broker) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addrOf(b))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &wire{t: t, conn: conn}
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))

func (w *wire) send(req kmsg.Request, version int16) int32 {
	w.t.Helper()
	req.SetVersion(version)
	w.next++
	_, err := w.conn.Write(formatter.AppendRequest(nil, req, w.next))
	require.NoError(w.t, err)
	return w.next
}

// receive reads a response: its correlation and what follows.
func (w *wire) receive() (int32, []byte) {
	w.t.Helper()
	var head [4]byte
	_, err := io.ReadFull(w.conn, head[:])
	require.NoError(w.t, err)
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err = io.ReadFull(w.conn, body)
	require.NoError(w.t, err)
	return int32(binary.BigEndian.Uint32(body)), body[4:]
}

// read reads the response to a request.
func (w *wire) read(want int32, resp kmsg.Response) {
	w.t.Helper()
	got, body := w.receive()
	require.Equal(w.t, want, got)
	if resp.IsFlexible() && resp.Key() != keyApiVersions {
		require.Zero(w.t, body[0])
		body = body[1:]
	}
	require.NoError(w.t, resp.ReadFrom(body))
}

// closed waits until the broker has closed the connection.
func (w *wire) closed() {
	w.t.Helper()
	n, err := w.conn.Read(make([]byte, 1))
	if n != 0 || err == nil {
		w.t.Fatal("the broker answers")
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		w.t.Fatal("the broker keeps the connection")
	}
}

func ask[T kmsg.Response](w *wire, req kmsg.Request, version int16) T {
	w.t.Helper()
	id := w.send(req, version)
	resp := req.ResponseKind().(T)
	w.read(id, resp)
	return resp
}

// A version of ApiVersions that is not known is answered in one that is, so
// that the client can ask again.
func TestVersionsOfAClientFromTheFuture(t *testing.T) {
	b := startBroker(t)
	w := dial(t, b)
	_, err := w.conn.Write([]byte{0, 0, 0, 10, 0, keyApiVersions, 0, 99, 0, 0, 0, 7, 0, 0})
	require.NoError(t, err)
	resp := kmsg.NewPtrApiVersionsResponse()
	w.read(7, resp)
	require.Equal(t, kerr.UnsupportedVersion.Code, resp.ErrorCode)
	require.Len(t, resp.ApiKeys, len(b.apis))
	for version := range int16(6) {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
		resp := ask[*kmsg.ApiVersionsResponse](w, req, version)
		require.Zero(t, resp.ErrorCode)
		require.Len(t, resp.ApiKeys, len(b.apis))
	}
}

// Whatever a connection sends, the broker answers or closes it, gives the
// memory back, and goes on with the others.
func TestMalformedRequests(t *testing.T) {
	b := startBroker(t)
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.SetVersion(12)
	good := formatter.AppendRequest(nil, metadata, 1)
	tests := map[string][]byte{
		"negative length":    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"length too large":   {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"length too small":   {0, 0, 0, 1, 0, 0, 0, 0},
		"unknown key":        {0, 0, 0, 10, 0x03, 0xff, 0, 0, 0, 0, 0, 1, 0, 0},
		"negative key":       {0, 0, 0, 10, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0, 0},
		"unknown version":    {0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0, 0},
		"negative version":   {0, 0, 0, 10, 0, 3, 0xff, 0xff, 0, 0, 0, 1, 0, 0},
		"client ID too long": {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff},
		"endless tags":       {0, 0, 0, 15, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"array too long":     {0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff},
		"HTTP":               []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"),
		"large metadata":     append([]byte{0, 0x20, 0, 0, 0, 3, 0, 1}, make([]byte, 100)...),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			w := dial(t, b)
			_, err := w.conn.Write(data)
			require.NoError(t, err)
			w.closed()
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 { // every part of a request may be damaged
		data := append([]byte(nil), good...)
		for range 1 + random.IntN(3) {
			data[4+random.IntN(len(data)-4)] = byte(random.Uint32())
		}
		w := dial(t, b)
		_, err := w.conn.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.conn.(*net.TCPConn).CloseWrite())
		_, err = io.Copy(io.Discard, w.conn)
		if err != nil {
			require.NotContains(t, err.Error(), "timeout")
		}
	}
	require.NotEmpty(t, ask[*kmsg.MetadataResponse](dial(t, b), metadata, 12).Brokers)
	require.Eventually(t, func() bool { return b.budget.used() == 0 }, 20*time.Second, 10*time.Millisecond)
}

// The answers have the order of the questions, also if a later one is ready
// before.
func TestPipelinedRequestsKeepTheirOrder(t *testing.T) {
	b := startBroker(t)
	w := dial(t, b)
	metadata := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new("t")
	metadata.Topics, metadata.AllowAutoTopicCreation = append(metadata.Topics, topic), true
	id := ask[*kmsg.MetadataResponse](w, metadata, 12).Topics[0].TopicID

	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes = 300, 1, 1<<20
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.TopicID, fp.PartitionMaxBytes = id, 1<<20
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	first := w.send(fetch, 16)
	for range 20 {
		w.send(metadata, 12)
	}
	resp := fetch.ResponseKind().(*kmsg.FetchResponse)
	w.read(first, resp)
	require.Empty(t, resp.Topics[0].Partitions[0].RecordBatches)
	for i := range int32(20) {
		got, _ := w.receive()
		require.Equal(t, first+1+i, got)
	}
}

// Connections that promise much and send little get no more memory than they
// send, and those beyond the limit are turned away.
func TestFloodIsBounded(t *testing.T) {
	b := startBroker(t, func(c *brokerConfig) {
		c.Limits.conns = 50
		c.Limits.inFlight = 32 << 20
	})
	var wires []*wire
	for range 45 {
		w := dial(t, b)
		_, err := w.conn.Write([]byte{0x03, 0xff, 0xff, 0xff, 0, keyProduce, 0, 9, 0, 0})
		require.NoError(t, err)
		wires = append(wires, w)
	}
	metadata := kmsg.NewPtrMetadataRequest()
	wires = append(wires, dial(t, b))
	ask[*kmsg.MetadataResponse](wires[45], metadata, 12)
	require.LessOrEqual(t, b.budget.used(), int64(45*firstRead+1<<20))
	for range 20 {
		wires = append(wires, dial(t, b))
	}
	require.Eventually(t, func() bool { return b.refused.Load() >= 15 }, 20*time.Second, 10*time.Millisecond)
	require.LessOrEqual(t, b.connections(), 50)
	for _, w := range wires {
		w.conn.Close()
	}
	require.Eventually(t, func() bool { return b.budget.used() == 0 && b.connections() == 0 }, 20*time.Second, 10*time.Millisecond)
}

func TestIdleConnectionsEnd(t *testing.T) {
	b := startBroker(t, func(c *brokerConfig) { c.Limits.idle = 50 * time.Millisecond })
	dial(t, b).closed()
}
