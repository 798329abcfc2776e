package intake

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/examples/logging/agent"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// gunzip decompresses what a request says to be compressed.
func gunzip(r *http.Request) (func(io.Reader) (io.Reader, error), *refusal) {
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return nil, nil
	case "gzip":
		return func(in io.Reader) (io.Reader, error) { return gzip.NewReader(in) }, nil
	default:
		return nil, &refusal{http.StatusUnsupportedMediaType, Malformed, malformed("content encoding %q: gzip or none", encoding), false}
	}
}

// plain answers in plain text.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, protocol string, no *refusal) {
	if no == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if no.reason == Malformed || no.reason == TooLarge {
		s.dropped(protocol, peer(r), no.reason, 1)
	}
	if no.retry {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, no.Error(), no.status)
}

// lines takes text: each line is an entry, lines of a stack trace are one.
func (s *Server) lines(w http.ResponseWriter, r *http.Request) {
	s.plain(w, r, "lines", s.takeLines(w, r))
}

func (s *Server) takeLines(w http.ResponseWriter, r *http.Request) *refusal {
	decompress, no := gunzip(r)
	if no != nil {
		return no
	}
	data, no := s.body(w, r, decompress)
	if no != nil {
		return no
	}
	query := r.URL.Query()
	var fields []entry.Field
	for name, values := range query {
		if name == "level" || name == "line" {
			return malformed("%s is no label", name)
		}
		fields = append(fields, entry.Field{Name: name, Value: values[0]})
	}
	if query.Get("app") == "" {
		fields = append(fields, entry.Field{Name: "app", Value: "lines"})
	}
	if query.Get("host") == "" {
		fields = append(fields, entry.Field{Name: "host", Value: peer(r)})
	}
	labels := entry.Normalize(fields)
	var g group
	for _, text := range events(data) {
		line := parse.Clean(text)
		e := entry.Entry{Time: parse.When(line, s.options.Now()), Level: parse.Level(line)}
		if len(line) > entry.MaxLine {
			e.Fields = []entry.Field{{Name: "partial", Value: "true"}}
		}
		for len(line) > entry.MaxLine {
			e.Line = entry.Cut(line, entry.MaxLine)
			line = line[len(e.Line):]
			g.add(labels, e)
		}
		e.Line = line
		g.add(labels, e)
	}
	return s.store(r.Context(), "lines", peer(r), g.packets)
}

// events cuts text into events.
func events(data []byte) (list [][]byte) {
	joiner := parse.NewJoiner(nil)
	start, end := -1, 0
	for at := 0; at < len(data); {
		next := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := bytes.TrimRight(data[at:next], "\r\n")
		if continues := joiner.Continues(string(line)); (!continues || next-start > entry.MaxLine) && start >= 0 {
			list = append(list, data[start:end])
			start = -1
		}
		if start < 0 && len(line) > 0 {
			start = at
		}
		at, end = next, at+len(line)
	}
	if start >= 0 {
		list = append(list, data[start:end])
	}
	return list
}

// ship takes what an agent sends.
func (s *Server) ship(w http.ResponseWriter, r *http.Request) {
	s.plain(w, r, "agent", s.takeShipment(w, r))
}

func (s *Server) takeShipment(w http.ResponseWriter, r *http.Request) *refusal {
	source := r.Header.Get(agent.SourceHeader)
	if source == "" || len(source) > 200 {
		return malformed("the header %s must name the agent, in 1 to 200 bytes", agent.SourceHeader)
	}
	data, no := s.body(w, r, nil)
	if no != nil {
		return no
	}
	packets, err := agent.DecodeShipment(data)
	if err != nil {
		return malformed("%w", err)
	}
	n := 0
	for i := range packets {
		p := &packets[i].Packet
		s.dropped("agent", peer(r), Clipped, p.Clip())
		for j := range p.Entries { // the clock of the agent's machine may be ahead
			p.Entries[j].Time = parse.Past(p.Entries[j].Time, s.options.Now())
		}
		n += len(p.Entries)
	}
	name, _, _ := strings.Cut(source, "/")
	if err := s.sink.AppendFrom(r.Context(), source, packets); err != nil {
		no := s.refuse("agent", name, n, err)
		if no.reason == Streams {
			no.status = http.StatusBadRequest // one stream too many must not hold up the others of the agent
		}
		return no
	}
	s.accepted("agent", name, n)
	return nil
}

func unixNano(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
