package intake

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// otlp takes what SDKs and collectors of OpenTelemetry export. The answers are
// those of the specification of OTLP/HTTP: 200 with an empty response, or one
// that tells of a partial success; otherwise a google.rpc.Status, in the
// encoding of the request, where 429 and 503 mean to come again.
func (s *Server) otlp(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	if kind == "application/json" {
		w.Header().Set("Content-Type", "application/json")
	}
	rejected, no := s.takeOTLP(w, r, kind)
	if no == nil {
		s.otlpSuccess(w, kind, rejected)
		return
	}
	if no.reason == Malformed || no.reason == TooLarge {
		s.dropped("otlp", peer(r), no.reason, 1)
	}
	if no.retry {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(no.status)
	code := map[int]int{http.StatusTooManyRequests: 8, http.StatusServiceUnavailable: 14}[no.status]
	if code == 0 {
		code = 3 // INVALID_ARGUMENT
	}
	if kind == "application/json" {
		_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "message": no.Error()}) // the client may be gone
		return
	}
	status := protowire.AppendTag(nil, 1, protowire.VarintType)
	status = protowire.AppendVarint(status, uint64(code))
	status = protowire.AppendTag(status, 2, protowire.BytesType)
	_, _ = w.Write(protowire.AppendString(status, no.Error()))
}

// otlpSuccess answers that all was taken but for some records, which are not
// to be sent again.
func (s *Server) otlpSuccess(w http.ResponseWriter, kind string, rejected int) {
	const why = "records without a body and attributes are not stored"
	if kind == "application/json" {
		answer := map[string]any{}
		if rejected > 0 {
			answer["partialSuccess"] = map[string]any{"rejectedLogRecords": strconv.Itoa(rejected), "errorMessage": why}
		}
		_ = json.NewEncoder(w).Encode(answer) // the client may be gone
		return
	}
	answer := &collector.ExportLogsServiceResponse{}
	if rejected > 0 {
		answer.PartialSuccess = &collector.ExportLogsPartialSuccess{RejectedLogRecords: int64(rejected), ErrorMessage: why}
	}
	data, err := proto.Marshal(answer)
	if err == nil {
		_, _ = w.Write(data)
	}
}

func (s *Server) takeOTLP(w http.ResponseWriter, r *http.Request, kind string) (rejected int, no *refusal) {
	if kind != "application/json" && kind != "application/x-protobuf" {
		return 0, &refusal{http.StatusUnsupportedMediaType, Malformed, fmt.Errorf("content type %q: application/json or application/x-protobuf", kind), false}
	}
	decompress, no := gunzip(r)
	if no != nil {
		return 0, no
	}
	data, no := s.body(w, r, decompress)
	if no != nil {
		return 0, no
	}
	var logs otlpLogs
	if kind == "application/json" {
		if err := json.Unmarshal(data, &logs); err != nil {
			return 0, malformed("not an export of logs in JSON: %w", err)
		}
	} else {
		var request collector.ExportLogsServiceRequest
		if err := proto.Unmarshal(data, &request); err != nil {
			return 0, malformed("not an export of logs in protobuf: %w", err)
		}
		logs = fromProto(&request)
	}
	var g group
	for _, resource := range logs.ResourceLogs {
		rejected += s.otlpResource(&g, &resource)
	}
	s.dropped("otlp", peer(r), Malformed, rejected)
	return rejected, s.store(r.Context(), "otlp", peer(r), g.packets)
}

// resourceLabels are the attributes of a resource that become labels; those
// have few values. All others become fields.
var resourceLabels = map[string]string{
	"service.name": "app", "host.name": "host", "service.namespace": "namespace", "deployment.environment": "environment", "deployment.environment.name": "environment",
	"k8s.namespace.name": "namespace", "k8s.pod.name": "pod", "k8s.container.name": "container",
}

func (s *Server) otlpResource(g *group, r *otlpResourceLogs) (rejected int) {
	var labels, fields []entry.Field
	for _, a := range r.Resource.Attributes {
		value := a.Value.text(0)
		if name, ok := resourceLabels[a.Key]; ok {
			labels = append(labels, entry.Field{Name: name, Value: value})
		} else if value != "" {
			fields = append(fields, entry.Field{Name: a.Key, Value: value})
		}
	}
	stream := entry.Normalize(labels)
	if len(stream) == 0 {
		stream = entry.MakeLabels("app", "unknown_service")
	}
	for _, scope := range r.ScopeLogs {
		for _, record := range scope.LogRecords {
			e, ok := s.otlpRecord(&record)
			if !ok {
				rejected++
				continue
			}
			e.Fields = append(e.Fields, fields...)
			if scope.Scope.Name != "" {
				e.Fields = append(e.Fields, entry.Field{Name: "scope", Value: scope.Scope.Name})
			}
			g.add(stream, e)
		}
	}
	return rejected
}

func (s *Server) otlpRecord(r *otlpLogRecord) (e entry.Entry, ok bool) {
	e.Line = r.Body.text(0)
	for _, a := range r.Attributes {
		e.Fields = append(e.Fields, entry.Field{Name: a.Key, Value: a.Value.text(0)})
	}
	if e.Line == "" && len(e.Fields) == 0 {
		return e, false
	}
	if r.TraceID != "" {
		e.Fields = append(e.Fields, entry.Field{Name: "trace_id", Value: r.TraceID})
	}
	if r.SpanID != "" {
		e.Fields = append(e.Fields, entry.Field{Name: "span_id", Value: r.SpanID})
	}
	nanos := uint64(r.TimeUnixNano)
	if nanos == 0 {
		nanos = uint64(r.ObservedTimeUnixNano)
	}
	t := time.Time{}
	if nanos != 0 && nanos < 1<<63 {
		t = time.Unix(0, int64(nanos))
	}
	e.Time = parse.Past(t, s.options.Now())
	switch n := int(r.SeverityNumber); {
	case n >= 1 && n <= 24:
		e.Level = entry.Trace + entry.Level((n-1)/4)
	default:
		if l, ok := entry.ParseLevel(r.SeverityText); ok {
			e.Level = l
		} else {
			e.Level = parse.Level(e.Line)
		}
	}
	return e, true
}

// What follows is an export in the JSON of OTLP, which is protobuf's but for
// ids in hexadecimal and enumerations as numbers.

type otlpLogs struct {
	ResourceLogs []otlpResourceLogs `json:"resourceLogs"`
}

type otlpResourceLogs struct {
	Resource struct {
		Attributes []otlpAttribute `json:"attributes"`
	} `json:"resource"`
	ScopeLogs []struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		LogRecords []otlpLogRecord `json:"logRecords"`
	} `json:"scopeLogs"`
}

type otlpLogRecord struct {
	TimeUnixNano         number          `json:"timeUnixNano"`
	ObservedTimeUnixNano number          `json:"observedTimeUnixNano"`
	SeverityNumber       severity        `json:"severityNumber"`
	SeverityText         string          `json:"severityText"`
	Body                 otlpValue       `json:"body"`
	Attributes           []otlpAttribute `json:"attributes"`
	TraceID              string          `json:"traceId"`
	SpanID               string          `json:"spanId"`
}

type otlpAttribute struct {
	Key   string    `json:"key"`
	Value otlpValue `json:"value"`
}

type otlpValue struct {
	String *string          `json:"stringValue"`
	Bool   *bool            `json:"boolValue"`
	Int    *json.RawMessage `json:"intValue"`
	Double *json.RawMessage `json:"doubleValue"`
	Bytes  *string          `json:"bytesValue"`
	Array  *struct {
		Values []otlpValue `json:"values"`
	} `json:"arrayValue"`
	List *struct {
		Values []otlpAttribute `json:"values"`
	} `json:"kvlistValue"`
}

// number is a number, or one in a string, as protobuf writes those of 64 bits.
type number uint64

// UnmarshalJSON implements [json.Unmarshaler].
func (n *number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		return nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	*n = number(v)
	return err
}

// severity is a number, or its name: SEVERITY_NUMBER_ERROR2.
type severity int

var severityNames = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *severity) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if v, err := strconv.Atoi(text); err == nil {
		*s = severity(v)
		return nil
	}
	name := strings.TrimPrefix(text, "SEVERITY_NUMBER_")
	for i, want := range severityNames {
		if rest, ok := strings.CutPrefix(name, want); ok {
			step, _ := strconv.Atoi(rest) // none is the first
			*s = severity(4*i + max(step, 1))
			return nil
		}
	}
	return nil // unspecified
}

// maxDepth is how many values within values are written out.
const maxDepth = 8

// text writes a value: a string as it is, anything else as JSON.
func (v *otlpValue) text(depth int) string {
	switch {
	case v.String != nil:
		return strings.ToValidUTF8(*v.String, "\ufffd")
	case v.Bool != nil:
		return strconv.FormatBool(*v.Bool)
	case v.Int != nil:
		return strings.Trim(string(*v.Int), `"`)
	case v.Double != nil:
		return strings.Trim(string(*v.Double), `"`)
	case v.Bytes != nil:
		return *v.Bytes
	case v.Array == nil && v.List == nil:
		return ""
	}
	data, err := json.Marshal(v.plain(depth))
	if err != nil {
		return ""
	}
	return string(data)
}

// plain returns a value as encoding/json takes it.
func (v *otlpValue) plain(depth int) any {
	switch {
	case depth > maxDepth:
		return "…"
	case v.Array != nil:
		list := make([]any, len(v.Array.Values))
		for i := range v.Array.Values {
			list[i] = v.Array.Values[i].plain(depth + 1)
		}
		return list
	case v.List != nil:
		m := map[string]any{}
		for i := range v.List.Values {
			m[v.List.Values[i].Key] = v.List.Values[i].Value.plain(depth + 1)
		}
		return m
	case v.Bool != nil:
		return *v.Bool
	case v.Int != nil || v.Double != nil:
		if text := v.text(depth); json.Valid([]byte(text)) {
			return json.Number(text)
		}
	}
	return v.text(depth)
}

// fromProto turns an export in protobuf into the other form.
func fromProto(request *collector.ExportLogsServiceRequest) (logs otlpLogs) {
	for _, r := range request.GetResourceLogs() {
		var out otlpResourceLogs
		out.Resource.Attributes = attributes(r.GetResource().GetAttributes(), 0)
		for _, scope := range r.GetScopeLogs() {
			out.ScopeLogs = append(out.ScopeLogs, struct {
				Scope struct {
					Name string `json:"name"`
				} `json:"scope"`
				LogRecords []otlpLogRecord `json:"logRecords"`
			}{})
			last := &out.ScopeLogs[len(out.ScopeLogs)-1]
			last.Scope.Name = scope.GetScope().GetName()
			for _, l := range scope.GetLogRecords() {
				last.LogRecords = append(last.LogRecords, otlpLogRecord{
					TimeUnixNano: number(l.GetTimeUnixNano()), ObservedTimeUnixNano: number(l.GetObservedTimeUnixNano()),
					SeverityNumber: severity(l.GetSeverityNumber()), SeverityText: l.GetSeverityText(),
					Body: value(l.GetBody(), 0), Attributes: attributes(l.GetAttributes(), 0),
					TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId()),
				})
			}
		}
		logs.ResourceLogs = append(logs.ResourceLogs, out)
	}
	return logs
}

func attributes(list []*common.KeyValue, depth int) (out []otlpAttribute) {
	for _, a := range list {
		out = append(out, otlpAttribute{Key: a.GetKey(), Value: value(a.GetValue(), depth)})
	}
	return out
}

func value(v *common.AnyValue, depth int) (out otlpValue) {
	if v == nil || depth > maxDepth {
		return out
	}
	switch x := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		out.String = &x.StringValue
	case *common.AnyValue_BoolValue:
		out.Bool = &x.BoolValue
	case *common.AnyValue_IntValue:
		out.Int = new(json.RawMessage(strconv.FormatInt(x.IntValue, 10)))
	case *common.AnyValue_DoubleValue:
		out.Double = new(json.RawMessage(strconv.FormatFloat(x.DoubleValue, 'g', -1, 64)))
	case *common.AnyValue_BytesValue:
		out.Bytes = new(hex.EncodeToString(x.BytesValue))
	case *common.AnyValue_ArrayValue:
		out.Array = new(struct {
			Values []otlpValue `json:"values"`
		})
		for _, e := range x.ArrayValue.GetValues() {
			out.Array.Values = append(out.Array.Values, value(e, depth+1))
		}
	case *common.AnyValue_KvlistValue:
		out.List = new(struct {
			Values []otlpAttribute `json:"values"`
		})
		out.List.Values = attributes(x.KvlistValue.GetValues(), depth+1)
	}
	return out
}
