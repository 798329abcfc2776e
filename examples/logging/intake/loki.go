package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// loki takes what promtail, Alloy, Fluent Bit and other clients of Loki push.
// The answers are Loki's: 204, 400 and a reason, 429 and 5xx to come again.
func (s *Server) loki(w http.ResponseWriter, r *http.Request) {
	s.plain(w, r, "loki", s.takeLoki(w, r))
}

func (s *Server) takeLoki(w http.ResponseWriter, r *http.Request) *refusal {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	var g group
	switch kind {
	case "application/json":
		decompress, no := gunzip(r)
		if no != nil {
			return no
		}
		data, no := s.body(w, r, decompress)
		if no != nil {
			return no
		}
		if err := s.lokiJSON(&g, data); err != nil {
			return malformed("not a push in JSON: %w", err)
		}
	case "application/x-protobuf":
		data, no := s.body(w, r, nil)
		if no != nil {
			return no
		}
		n, err := snappy.DecodedLen(data)
		if err != nil {
			return malformed("not compressed with snappy: %w", err)
		}
		if int64(n) > s.options.MaxBody {
			return s.tooLarge()
		}
		data, err = snappy.Decode(nil, data)
		if err != nil {
			return malformed("not compressed with snappy: %w", err)
		}
		if err := s.lokiProto(&g, data); err != nil {
			return malformed("not a push in protobuf: %w", err)
		}
	default:
		return &refusal{http.StatusUnsupportedMediaType, Malformed, fmt.Errorf("content type %q: application/json or application/x-protobuf", kind), false}
	}
	return s.store(r.Context(), "loki", peer(r), g.packets)
}

// lokiEntry adds an entry. Its level is a field that the client gave, or what
// the line says.
func (s *Server) lokiEntry(g *group, labels entry.Labels, nanos int64, line string, fields []entry.Field) {
	line = strings.ToValidUTF8(line, "\ufffd")
	e := entry.Entry{Time: parse.Past(time.Unix(0, nanos), s.options.Now()), Line: strings.TrimRight(line, "\r\n"), Fields: fields, Level: parse.Level(line)}
	for _, list := range [][]entry.Field{labels, fields} {
		for _, f := range list {
			if f.Name == "level" || f.Name == "detected_level" || f.Name == "severity" {
				if l, ok := entry.ParseLevel(f.Value); ok {
					e.Level = l
				}
			}
		}
	}
	g.add(labels, e)
}

func (s *Server) lokiJSON(g *group, data []byte) error {
	var push struct {
		Streams []struct {
			Stream map[string]string   `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(data, &push); err != nil {
		return err
	}
	if push.Streams == nil {
		return errors.New("streams are missing")
	}
	for i, stream := range push.Streams {
		labels := lokiLabels(stream.Stream)
		for j, v := range stream.Values {
			var stamp, line string
			var fields map[string]string
			err := errors.New("want a time and a line")
			if len(v) == 2 || len(v) == 3 {
				err = errors.Join(json.Unmarshal(v[0], &stamp), json.Unmarshal(v[1], &line))
				if len(v) == 3 {
					err = errors.Join(err, json.Unmarshal(v[2], &fields))
				}
			}
			nanos, ok := unixNano(stamp)
			if err == nil && !ok {
				err = fmt.Errorf("%q is no time in nanoseconds", stamp)
			}
			if err != nil {
				return fmt.Errorf("value %d of stream %d: %w", j, i, err)
			}
			var extra entry.Labels
			for name, value := range fields {
				extra = append(extra, entry.Field{Name: name, Value: value})
			}
			s.lokiEntry(g, labels, nanos, line, entry.Normalize(extra))
		}
	}
	return nil
}

func lokiLabels(m map[string]string) entry.Labels {
	var fields []entry.Field
	for name, value := range m {
		fields = append(fields, entry.Field{Name: name, Value: strings.ToValidUTF8(value, "\ufffd")})
	}
	return entry.Normalize(fields)
}

// each calls f with the fields of a protobuf message: value of those that are
// bytes, number of the others.
func each(data []byte, f func(number protowire.Number, value []byte, n uint64) error) error {
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(data)
		default:
			size = protowire.ConsumeFieldValue(number, kind, data)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
		if err := f(number, value, n); err != nil {
			return err
		}
	}
	return nil
}

// lokiProto reads logproto.PushRequest:
//
//	PushRequest  1 streams: repeated Stream
//	Stream       1 labels: string {a="b"}; 2 entries: repeated Entry
//	Entry        1 timestamp (1 seconds, 2 nanos); 2 line; 3 structured metadata: repeated (1 name, 2 value)
func (s *Server) lokiProto(g *group, data []byte) error {
	return each(data, func(number protowire.Number, stream []byte, _ uint64) error {
		if number != 1 {
			return nil
		}
		var labels entry.Labels
		var entries [][]byte
		err := each(stream, func(number protowire.Number, value []byte, _ uint64) (err error) {
			switch number {
			case 1:
				labels, err = parseLabels(string(value))
			case 2:
				entries = append(entries, value)
			}
			return err
		})
		for i := 0; err == nil && i < len(entries); i++ {
			err = s.lokiProtoEntry(g, labels, entries[i])
		}
		return err
	})
}

func (s *Server) lokiProtoEntry(g *group, labels entry.Labels, data []byte) error {
	var seconds, nanos uint64
	var line string
	var fields []entry.Field
	err := each(data, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case 1:
			return each(value, func(number protowire.Number, _ []byte, n uint64) error {
				if number == 1 {
					seconds = n
				} else if number == 2 {
					nanos = n
				}
				return nil
			})
		case 2:
			line = string(value)
		case 3:
			var f entry.Field
			err := each(value, func(number protowire.Number, value []byte, _ uint64) error {
				if number == 1 {
					f.Name = string(value)
				} else if number == 2 {
					f.Value = strings.ToValidUTF8(string(value), "\ufffd")
				}
				return nil
			})
			fields = append(fields, f)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if seconds > 1<<33 || nanos >= 1e9 {
		return errors.New("the time is out of range")
	}
	s.lokiEntry(g, labels, int64(seconds)*1e9+int64(nanos), line, entry.Normalize(fields))
	return nil
}

// parseLabels reads {a="b", c="d"}.
func parseLabels(text string) (entry.Labels, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if !ok {
		return nil, fmt.Errorf("labels %.60q: want {name=\"value\"}", text)
	}
	var fields []entry.Field
	for {
		rest = strings.TrimLeft(rest, " ,")
		if rest == "}" {
			return entry.Normalize(fields), nil
		}
		name, after, ok := strings.Cut(rest, "=")
		value, err := strconv.QuotedPrefix(after)
		if !ok || err != nil {
			return nil, fmt.Errorf("labels %.60q: want {name=\"value\"}", text)
		}
		rest = after[len(value):]
		value, err = strconv.Unquote(value)
		if err != nil {
			return nil, fmt.Errorf("labels %.60q: %w", text, err)
		}
		fields = append(fields, entry.Field{Name: strings.TrimSpace(name), Value: strings.ToValidUTF8(value, "\ufffd")})
	}
}
