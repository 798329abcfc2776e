package intake

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/agent"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// memory is a sink.
type memory struct {
	mu      sync.Mutex
	entries []entry.Entry
	err     error
}

func (m *memory) Append(_ context.Context, packets ...entry.Packet) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	for _, p := range packets {
		for _, e := range p.Entries {
			e.Labels = p.Labels
			m.entries = append(m.entries, e)
		}
	}
	return nil
}

func (m *memory) AppendFrom(ctx context.Context, _ string, packets []store.Numbered) error {
	for _, n := range packets {
		if err := m.Append(ctx, n.Packet); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) take() []entry.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.entries
	m.entries = nil
	return list
}

var now = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

func newServer(t *testing.T) (*Server, *memory, string) {
	t.Helper()
	sink := &memory{}
	s := New(sink, Options{MaxBody: 64 << 10, MaxMessage: 1000, Now: func() time.Time { return now }})
	mux := http.NewServeMux()
	s.Register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, sink, server.URL
}

// send posts a body and returns status and answer.
func send(t *testing.T, url, kind, encoding string, body []byte) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", kind)
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, data
}

func zipped(t *testing.T, data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestLines(t *testing.T) {
	_, sink, url := newServer(t)
	body := "2026-11-28T19:59:00Z ERROR failed\njava.lang.XException: y\n\tat a.B(C.java:1)\n{\"level\":\"warn\",\"msg\":\"z\"}\r\n\nplain"
	status, _ := send(t, url+"/lines?app=shop&host=web-1", "text/plain", "gzip", zipped(t, []byte(body)))
	require.Equal(t, http.StatusNoContent, status)
	got := sink.take()
	require.Len(t, got, 3)
	require.Equal(t, `{app="shop", host="web-1"}`, got[0].Labels.String())
	require.True(t, strings.HasSuffix(got[0].Line, "C.java:1)"), got[0].Line)
	require.Equal(t, entry.Error, got[0].Level)
	require.Equal(t, "2026-11-28T19:59:00Z", got[0].Time.UTC().Format(time.RFC3339))
	require.Equal(t, entry.Warn, got[1].Level)
	require.Equal(t, "plain", got[2].Line)
	require.Equal(t, now, got[2].Time)
}

func lokiTag(dst []byte, n protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), value)
}

// lokiPush is a push as promtail encodes it.
func lokiPush(labels, line string, at time.Time) []byte {
	stamp := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(at.Unix()))
	stamp = protowire.AppendVarint(protowire.AppendTag(stamp, 2, protowire.VarintType), uint64(at.Nanosecond()))
	pair := lokiTag(lokiTag(nil, 1, []byte("trace_id")), 2, []byte("ab12"))
	item := lokiTag(lokiTag(lokiTag(nil, 1, stamp), 2, []byte(line)), 3, pair)
	stream := lokiTag(lokiTag(nil, 1, []byte(labels)), 2, item)
	stream = protowire.AppendVarint(protowire.AppendTag(stream, 3, protowire.VarintType), 77)
	return snappy.Encode(nil, lokiTag(nil, 1, stream))
}

func TestLoki(t *testing.T) {
	_, sink, url := newServer(t)
	url += "/loki/api/v1/push"
	status, answer := send(t, url, "application/x-protobuf", "", lokiPush(`{job="nginx", q="a\"b"}`, "Disk Full", now.Add(-5)))
	require.Equal(t, http.StatusNoContent, status, "%s", answer)
	status, answer = send(t, url, "application/json", "gzip", zipped(t, []byte(
		`{"streams":[{"stream":{"job":"nginx","level":"error"},"values":[["1795895999000000123","one"],["1795895999000000124","two",{"user":"u7"}]]},{"stream":{},"values":[]}]}`)))
	require.Equal(t, http.StatusNoContent, status, "%s", answer)
	got := sink.take()
	require.Len(t, got, 3)
	require.Equal(t, `{job="nginx", q="a\"b"}`, got[0].Labels.String())
	require.Equal(t, []entry.Field{{Name: "trace_id", Value: "ab12"}}, got[0].Fields)
	require.True(t, got[0].Time.Equal(now.Add(-5)))
	require.Equal(t, entry.Error, got[1].Level)
	require.Equal(t, int64(1795895999000000123), got[1].Time.UnixNano())
	require.Equal(t, []entry.Field{{Name: "user", Value: "u7"}}, got[2].Fields)

	for name, c := range map[string]struct {
		kind string
		body []byte
		want int
		text string
	}{
		"other type":    {"text/plain", nil, 415, "application/json or"},
		"no JSON":       {"application/json", []byte("{"), 400, "not a push in JSON"},
		"no streams":    {"application/json", []byte("{}"), 400, "streams are missing"},
		"bad time":      {"application/json", []byte(`{"streams":[{"values":[["x","y"]]}]}`), 400, "value 0 of stream 0"},
		"one value":     {"application/json", []byte(`{"streams":[{"values":[["1"]]}]}`), 400, "want a time and a line"},
		"no snappy":     {"application/x-protobuf", []byte("hello"), 400, "snappy"},
		"no protobuf":   {"application/x-protobuf", snappy.Encode(nil, []byte("hello")), 400, "protobuf"},
		"bad labels":    {"application/x-protobuf", lokiPush(`{job=nginx}`, "x", now), 400, "want {name="},
		"no labels":     {"application/x-protobuf", lokiPush(`job`, "x", now), 400, "want {name="},
		"large":         {"application/json", make([]byte, 65<<10), 413, "65536 bytes"},
		"large, packed": {"application/x-protobuf", snappy.Encode(nil, make([]byte, 1<<20)), 413, "65536 bytes"},
		"a lie":         {"application/x-protobuf", []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3}, 413, "65536 bytes"},
	} {
		status, answer := send(t, url, c.kind, "", c.body)
		require.Equal(t, c.want, status, "%s: %s", name, answer)
		require.Contains(t, string(answer), c.text, name)
	}
	require.Empty(t, sink.take())
}

// export is what an exporter of OpenTelemetry sends.
func export() *collector.ExportLogsServiceRequest {
	text := func(s string) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
	}
	return &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: text("shop")}, {Key: "host.name", Value: text("web-1")}, {Key: "process.pid", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 42}}}}},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "cart"}, LogRecords: []*logs.LogRecord{
			{TimeUnixNano: uint64(now.UnixNano()), SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_ERROR, Body: text("checkout failed"), TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: bytes.Repeat([]byte{1}, 8),
				Attributes: []*common.KeyValue{{Key: "http.status", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 502}}}}},
			{ObservedTimeUnixNano: uint64(now.UnixNano()), SeverityText: "Warning", Body: &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: []*common.KeyValue{
				{Key: "a", Value: &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: []*common.AnyValue{text("x"), {Value: &common.AnyValue_BoolValue{BoolValue: true}}, {Value: &common.AnyValue_DoubleValue{DoubleValue: 1.5}}}}}}}}}}}},
			{}, // nothing in it
		}}},
	}}}
}

// The same in the JSON of the specification.
const exportJSON = `{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},{"key":"host.name","value":{"stringValue":"web-1"}},{"key":"process.pid","value":{"intValue":"42"}}]},
"scopeLogs":[{"scope":{"name":"cart"},"logRecords":[
{"timeUnixNano":"1795896000000000000","severityNumber":17,"body":{"stringValue":"checkout failed"},"traceId":"abababababababababababababababab","spanId":"0101010101010101","attributes":[{"key":"http.status","value":{"intValue":502}}],"unknownField":1},
{"observedTimeUnixNano":1795896000000000000,"severityText":"Warning","body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"stringValue":"x"},{"boolValue":true},{"doubleValue":1.5}]}}}]}}},
{}]}]}]}`

func TestOTLP(t *testing.T) {
	s, sink, url := newServer(t)
	url += "/v1/logs"
	packed, err := proto.Marshal(export())
	require.NoError(t, err)
	check := func() {
		got := sink.take()
		require.Len(t, got, 2)
		require.Equal(t, `{app="shop", host="web-1"}`, got[0].Labels.String())
		require.Equal(t, "checkout failed", got[0].Line)
		require.Equal(t, entry.Error, got[0].Level)
		require.True(t, got[0].Time.Equal(now))
		require.Equal(t, []entry.Field{{Name: "http.status", Value: "502"}, {Name: "trace_id", Value: strings.Repeat("ab", 16)}, {Name: "span_id", Value: strings.Repeat("01", 8)}, {Name: "process.pid", Value: "42"}, {Name: "scope", Value: "cart"}}, got[0].Fields)
		require.Equal(t, `{"a":["x",true,1.5]}`, got[1].Line)
		require.Equal(t, entry.Warn, got[1].Level)
	}
	status, answer := send(t, url, "application/x-protobuf", "gzip", zipped(t, packed))
	require.Equal(t, http.StatusOK, status, "%s", answer)
	var response collector.ExportLogsServiceResponse
	require.NoError(t, proto.Unmarshal(answer, &response))
	require.EqualValues(t, 1, response.GetPartialSuccess().GetRejectedLogRecords())
	check()
	status, answer = send(t, url, "application/json", "", []byte(exportJSON))
	require.Equal(t, http.StatusOK, status, "%s", answer)
	require.JSONEq(t, `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"records without a body and attributes are not stored"}}`, string(answer))
	check()
	status, answer = send(t, url, "application/json", "", []byte(`{"resourceLogs":[]}`))
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{}`, string(answer))

	status, answer = send(t, url, "application/json", "", []byte(`{"resourceLogs":1}`))
	require.Equal(t, http.StatusBadRequest, status)
	var problem struct {
		Code    int
		Message string
	}
	require.NoError(t, json.Unmarshal(answer, &problem))
	require.Equal(t, 3, problem.Code)
	require.Contains(t, problem.Message, "not an export of logs")
	status, _ = send(t, url, "application/x-protobuf", "", []byte("hello"))
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = send(t, url, "application/x-protobuf", "br", packed)
	require.Equal(t, http.StatusUnsupportedMediaType, status)
	status, _ = send(t, url, "application/x-protobuf", "gzip", packed)
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = send(t, url, "application/x-protobuf", "gzip", zipped(t, make([]byte, 1<<20)))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	sink.set(store.ErrFull)
	status, answer = send(t, url, "application/json", "", []byte(exportJSON))
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Contains(t, string(answer), `"code":8`)
	for _, src := range s.Sources() {
		if src.Protocol == "otlp" {
			require.EqualValues(t, 4, src.Accepted)
			require.EqualValues(t, 2, src.Dropped[Full])
		}
	}
}

// What the store does not take is told so that the client does the right
// thing, and counted.
func TestBackPressure(t *testing.T) {
	s, sink, url := newServer(t)
	for err, want := range map[error]int{store.ErrFull: 429, store.ErrStopped: 503, store.ErrClosed: 503, store.ErrStreams: 429, errors.New("disk on fire"): 503} {
		sink.set(err)
		status, answer := send(t, url+"/lines", "text/plain", "", []byte("x\n"))
		require.Equal(t, want, status, "%v: %s", err, answer)
		status, _ = send(t, url+"/loki/api/v1/push", "application/x-protobuf", "", lokiPush(`{a="b"}`, "x", now))
		require.Equal(t, want, status, "%v", err)
	}
	for _, src := range s.Sources() {
		require.Zero(t, src.Accepted)
		require.Equal(t, map[string]uint64{Full: 1, Down: 3, Streams: 1}, src.Dropped)
	}
	sink.set(nil)
	status, answer := send(t, url+"/lines?level=x", "text/plain", "", []byte("x\n"))
	require.Equal(t, 400, status, "%s", answer)
	status, answer = send(t, url+"/lines?a="+strings.Repeat("x", entry.MaxValue+5), "text/plain", "", []byte("x\n"))
	require.Equal(t, 204, status, "%s", answer)
	require.Len(t, sink.take(), 1)
}

func TestShip(t *testing.T) {
	_, sink, url := newServer(t)
	shipper := &agent.HTTPShipper{URL: url}
	packets := []store.Numbered{{Sequence: 1, Packet: entry.Packet{Labels: entry.MakeLabels("app", "x"), Entries: []entry.Entry{{Time: now, Line: "y"}}}}}
	require.NoError(t, shipper.Ship(t.Context(), "web-1/E", packets))
	require.Len(t, sink.take(), 1)
	sink.set(store.ErrFull)
	require.ErrorContains(t, shipper.Ship(t.Context(), "web-1/E", packets), "429")
	sink.set(nil)
	require.ErrorIs(t, shipper.Ship(t.Context(), "", packets), agent.ErrRejected)
	status, answer := send(t, url+"/ship", agent.ShipType, "", []byte("x"))
	require.Equal(t, 400, status)
	require.Contains(t, string(answer), agent.SourceHeader)
}

var messages = []struct {
	raw, labels, line string
	level             entry.Level
	time              string
	fields            int
	sound             bool
}{
	{`<165>1 2026-11-28T19:59:00.003Z web-1 shop 8710 ID47 [ex@1 iut="3" eventSource="App"] ` + "\ufeffan event", `{app="shop", host="web-1"}`, "an event", entry.Info, "2026-11-28T19:59:00.003Z", 5, true},
	{`<11>1 2026-11-28T19:59:00Z web-1 shop - - - failed`, `{app="shop", host="web-1"}`, "failed", entry.Error, "2026-11-28T19:59:00Z", 1, true},
	{`<34>Nov 28 19:59:00 web-2 su[42]: 'su root' failed on /dev/pts/8`, `{app="su", host="web-2"}`, "'su root' failed on /dev/pts/8", entry.Fatal, "", 2, true},
	{`<13>2026-11-28T19:59:00+00:00 web-2 tag: hello`, `{app="tag", host="web-2"}`, "hello", entry.Info, "2026-11-28T19:59:00Z", 1, true},
	{`no syslog at all: ERROR x`, `{app="syslog", host="192.0.2.1"}`, "no syslog at all: ERROR x", entry.Error, "2026-11-28T20:00:00Z", 0, false},
	{`<999>1 x`, `{app="syslog", host="192.0.2.1"}`, "<999>1 x", entry.Unknown, "2026-11-28T20:00:00Z", 0, false},
	{"<13>", `{app="syslog", host="192.0.2.1"}`, "<13>", entry.Unknown, "2026-11-28T20:00:00Z", 0, false},
	{"\x00\xff", `{app="syslog", host="192.0.2.1"}`, "\x00\ufffd", entry.Unknown, "2026-11-28T20:00:00Z", 0, false},
}

func TestSyslogMessages(t *testing.T) {
	p := newSyslogParser(func() time.Time { return now })
	for _, m := range messages {
		labels, e, sound := p.message([]byte(m.raw), "192.0.2.1")
		require.Equal(t, m.labels, labels.String(), m.raw)
		require.Equal(t, m.line, e.Line, m.raw)
		require.Equal(t, m.level, e.Level, m.raw)
		require.Equal(t, m.sound, sound, m.raw)
		require.Len(t, e.Fields, m.fields, "%s: %v", m.raw, e.Fields)
		if m.time != "" {
			require.Equal(t, m.time, e.Time.UTC().Format(time.RFC3339Nano), m.raw)
		}
	}
}

func TestFraming(t *testing.T) {
	long := strings.Repeat("x", 1500)
	dated := "2026-11-28 19:59:00 a line\n" + "7\n" + "12345678901 <\n" // that no length begins
	in := "8 <1>hello<13>line\n" + dated + "6 <1>a\nb" + "<13>" + long + "\n1503 <1>" + long + "<13>last"
	for _, size := range []int{16, 64 << 10} {
		f := framer{in: newReader(in, size), limit: 1000}
		var got []string
		cuts := 0
		for {
			data, cut, err := f.next()
			if len(data) > 0 {
				got = append(got, string(bytes.TrimRight(data, "\n")))
			}
			if cut {
				cuts++
			}
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		require.Equal(t, []string{"<1>hello", "<13>line", "2026-11-28 19:59:00 a line", "7", "12345678901 <", "<1>a\nb", ("<13>" + long)[:1000], ("<1>" + long)[:1000], "<13>last"}, got)
		require.Equal(t, 2, cuts)
	}
	f := framer{in: newReader("999999999 <x", 64), limit: 1000}
	_, _, err := f.next()
	require.ErrorIs(t, err, errFraming)
}

// However much comes at once, a packet fits into a batch of the log; what does
// not is refused for good, and does not come again and again.
func TestLargePackets(t *testing.T) {
	var g group
	for i := range 40 {
		g.add(entry.MakeLabels("app", []string{"a", "b"}[i%2]), entry.Entry{Line: fmt.Sprint(i, strings.Repeat("x", 255<<10))})
	}
	got := map[string][]string{}
	for _, p := range g.packets {
		require.Less(t, len(entry.Append(nil, p)), packetBytes+entry.MaxLine+4096)
		for _, e := range p.Entries {
			got[p.Labels.String()] = append(got[p.Labels.String()], strings.TrimRight(e.Line, "x"))
		}
	}
	require.Equal(t, 8, len(g.packets))
	require.Equal(t, []string{"0", "2", "4"}, got[`{app="a"}`][:3], "in order")
	require.Len(t, got[`{app="b"}`], 20)

	s, sink, base := newServer(t)
	sink.set(fmt.Errorf("wrapped: %w", commitlog.ErrTooLarge))
	answer, err := http.Post(base+"/lines", "text/plain", strings.NewReader("x\n"))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, answer.StatusCode)
	require.EqualValues(t, 1, dropped(s, "lines", TooLarge))
}

// A stream too many is refused to an agent for good: it must not hold up the
// agent's other streams.
func TestShipmentOfOneStreamTooMany(t *testing.T) {
	_, sink, base := newServer(t)
	sink.set(store.ErrStreams)
	h := agent.HTTPShipper{URL: base}
	packets := []store.Numbered{{Packet: entry.Packet{Labels: entry.MakeLabels("a", "b"), Entries: []entry.Entry{{Line: "x"}}}}}
	require.ErrorIs(t, h.Ship(t.Context(), "web-1/X", packets), agent.ErrRejected)
	sink.set(store.ErrFull)
	err := h.Ship(t.Context(), "web-1/X", packets)
	require.ErrorContains(t, err, "429")
	require.NotErrorIs(t, err, agent.ErrRejected)
}

// A line that is too long for an entry comes in pieces, and as a whole.
func TestLongLine(t *testing.T) {
	sink := &memory{}
	mux := http.NewServeMux()
	New(sink, Options{}).Register(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	long := strings.Repeat("ä", entry.MaxLine)
	answer, err := http.Post(server.URL+"/lines", "text/plain", strings.NewReader("a\n"+long+"\nb"))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	var lines []string
	for _, e := range sink.take() {
		lines = append(lines, e.Line)
	}
	require.Equal(t, 4, len(lines))
	require.True(t, lines[0] == "a" && lines[1]+lines[2] == long && lines[3] == "b")
}

// The clock of an agent's machine is believed no more than others.
func TestShipmentFromTheFuture(t *testing.T) {
	_, sink, base := newServer(t)
	h := agent.HTTPShipper{URL: base}
	packets := []store.Numbered{{Packet: entry.Packet{Labels: entry.MakeLabels("a", "b"), Entries: []entry.Entry{{Time: now.Add(-time.Hour), Line: "x"}, {Time: now.Add(time.Hour), Line: "y"}}}}}
	require.NoError(t, h.Ship(t.Context(), "web-1/X", packets))
	got := sink.take()
	require.Equal(t, now.Add(-time.Hour).Unix(), got[0].Time.Unix())
	require.Equal(t, now.Unix(), got[1].Time.Unix())
}

func TestSyslogSockets(t *testing.T) {
	s, sink, _ := newServer(t)
	require.NoError(t, s.ListenSyslog(t.Context(), "127.0.0.1:0", true))
	udp, err := net.Dial("udp", s.SyslogAddr())
	require.NoError(t, err)
	defer udp.Close()
	tcp, err := net.Dial("tcp", s.SyslogAddr())
	require.NoError(t, err)
	defer tcp.Close()
	sink.set(store.ErrStopped)
	for i := range 50 {
		_, err := fmt.Fprintf(tcp, "<13>Nov 28 19:59:00 web-2 tag: tcp %d\n", i)
		require.NoError(t, err)
	}
	_, err = udp.Write([]byte("<13>Nov 28 19:59:00 web-2 tag: lost"))
	require.NoError(t, err)
	wait(t, func() bool { return dropped(s, "syslog udp", Down) == 1 })
	sink.set(nil) // a connection has waited, a datagram could not
	for i := range 50 {
		_, err := fmt.Fprintf(udp, "<13>Nov 28 19:59:00 web-2 tag: udp %d", i)
		require.NoError(t, err)
	}
	_, err = udp.Write(make([]byte, 2000))
	require.NoError(t, err)
	var got []entry.Entry
	wait(t, func() bool {
		got = append(got, sink.take()...)
		return len(got) == 100 && dropped(s, "syslog udp", TooLarge) == 1
	})
	_, err = tcp.Write([]byte("999999999 <\n"))
	require.NoError(t, err)
	wait(t, func() bool { return dropped(s, "syslog tcp", Malformed) == 1 })
	_, err = tcp.Read(make([]byte, 1))
	require.Error(t, err, "a connection that cannot be understood is closed")
	s.Close()
	s.Close()
}

func wait(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it did not come to be")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func dropped(s *Server, protocol, reason string) uint64 {
	for _, src := range s.Sources() {
		if src.Protocol == protocol {
			return src.Dropped[reason]
		}
	}
	return 0
}

func FuzzIntake(f *testing.F) {
	f.Add([]byte(exportJSON))
	f.Add(snappy.Encode(nil, []byte("x")))
	for _, m := range messages {
		f.Add([]byte(m.raw))
	}
	packed, _ := proto.Marshal(export())
	f.Add(packed)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(&memory{}, Options{})
		p := newSyslogParser(s.options.Now)
		p.message(data, "192.0.2.1")
		var g group
		_ = s.lokiProto(&g, data)
		_ = s.lokiJSON(&g, data)
		fr := framer{in: newReader(string(data), 16), limit: 100}
		for range 100 {
			if d, _, err := fr.next(); err != nil || len(d) > 100 {
				break
			}
		}
		events(data)
		for i := range g.packets {
			g.packets[i].Clip()
			if _, err := entry.Decode(entry.Append(nil, g.packets[i])); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func newReader(s string, size int) *bufio.Reader {
	return bufio.NewReaderSize(strings.NewReader(s), size)
}
