// Package intake takes log entries from programs that know nothing of this
// system, in the protocols that they speak:
//
//	POST /loki/api/v1/push   Loki: JSON, or protobuf compressed with snappy
//	POST /v1/logs            OTLP/HTTP: JSON or protobuf, with or without gzip
//	POST /lines              text, a line an entry; labels in the query: /lines?app=shop&host=web-1
//	POST /ship               agents of this system, see package agent
//	syslog                   RFC 5424 and RFC 3164, over UDP and TCP with octet counting or line breaks
//
// What can be answered is answered when it is stored: success means that the
// entries are synced. What is not stored is told to those who can repeat it
// (429, 503, a TCP connection that is not read), and counted for those who
// cannot (UDP): by protocol, source and reason.
package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// A Sink stores packets: a [store.Store].
type Sink interface {
	Append(ctx context.Context, packets ...entry.Packet) error
	AppendFrom(ctx context.Context, source string, packets []store.Numbered) error
}

// Options are the settings of a Server; zero fields mean the default.
type Options struct {
	MaxBody    int64 // bytes of a request as it comes, and decompressed; default 16 MiB
	MaxMessage int   // bytes of a syslog message; default 64 KiB
	MaxConns   int   // TCP connections of syslog; default 1000
	Metrics    *metrics.Registry
	Now        func() time.Time
	Logger     *slog.Logger
}

// A Server takes log entries. Create one with [New]. A Server is safe for
// concurrent use by multiple goroutines.
type Server struct {
	options Options
	sink    Sink

	mu      sync.Mutex
	sources map[sourceKey]*Source

	syslog syslogServer
}

type sourceKey struct{ protocol, address string }

// A Source is what came from an address in a protocol.
type Source struct {
	Protocol string
	Address  string
	Accepted uint64            // entries
	Dropped  map[string]uint64 // entries, messages or requests that are gone, by reason
	Latest   time.Time
}

// Reasons why something was dropped or refused.
const (
	Malformed = "malformed"
	TooLarge  = "too large"
	Full      = "store full"
	Down      = "store down"
	Streams   = "too many streams"
	Overrun   = "came too fast"
	Clipped   = "cut to the limits"
)

// maxSources is how many sources are told apart; the rest is one.
const maxSources = 1000

// New returns a server that gives what it takes to a sink.
func New(sink Sink, o Options) *Server {
	if o.MaxBody <= 0 {
		o.MaxBody = 16 << 20
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 10
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 1000
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{options: o, sink: sink, sources: map[sourceKey]*Source{}}
}

// Register adds the HTTP interfaces to a mux.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /loki/api/v1/push", s.loki)
	mux.HandleFunc("POST /v1/logs", s.otlp)
	mux.HandleFunc("POST /lines", s.lines)
	mux.HandleFunc("POST /ship", s.ship)
}

// Sources returns what came from where, the largest first.
func (s *Server) Sources() []Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Source, 0, len(s.sources))
	for _, src := range s.sources {
		c := *src
		c.Dropped = map[string]uint64{}
		maps.Copy(c.Dropped, src.Dropped)
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Accepted, a.Accepted), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address))
	})
	return list
}

func (s *Server) source(protocol, address string) *Source {
	key := sourceKey{protocol, address}
	src := s.sources[key]
	if src == nil {
		if len(s.sources) >= maxSources {
			key.address = "others"
		}
		if src = s.sources[key]; src == nil {
			src = &Source{Protocol: key.protocol, Address: key.address, Dropped: map[string]uint64{}}
			s.sources[key] = src
		}
	}
	return src
}

func (s *Server) accepted(protocol, address string, n int) {
	s.options.Metrics.Counter("logging_accepted_total", "Entries that were taken, by protocol.", "protocol", protocol).Add(uint64(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.source(protocol, address)
	src.Accepted += uint64(n)
	src.Latest = s.options.Now()
}

func (s *Server) dropped(protocol, address, reason string, n int) {
	if n <= 0 {
		return
	}
	s.options.Metrics.Counter("logging_dropped_total", "Entries, messages or requests that were not taken, by protocol and reason.", "protocol", protocol, "reason", reason).Add(uint64(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source(protocol, address).Dropped[reason] += uint64(n)
}

// reason says why a sink has not taken something.
func reason(err error) string {
	switch {
	case errors.Is(err, store.ErrFull):
		return Full
	case errors.Is(err, store.ErrStreams):
		return Streams
	case errors.Is(err, commitlog.ErrTooLarge):
		return TooLarge
	}
	return Down
}

// peer is where a request comes from.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// A refusal is an answer other than success.
type refusal struct {
	status int
	reason string
	err    error
	retry  bool // the same may be taken later
}

func (r *refusal) Error() string { return r.err.Error() }

func malformed(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, Malformed, fmt.Errorf(format, args...), false}
}

// store gives packets to the sink and says how to answer: nil for success.
func (s *Server) store(ctx context.Context, protocol, address string, packets []entry.Packet) *refusal {
	n, cut := 0, 0
	for i := range packets {
		cut += packets[i].Clip()
		n += len(packets[i].Entries)
	}
	s.dropped(protocol, address, Clipped, cut)
	if n == 0 {
		return nil
	}
	if err := s.sink.Append(ctx, packets...); err != nil {
		return s.refuse(protocol, address, n, err)
	}
	s.accepted(protocol, address, n)
	return nil
}

func (s *Server) refuse(protocol, address string, n int, err error) *refusal {
	why := reason(err)
	if why == TooLarge { // whoever answers counts the request
		return &refusal{http.StatusRequestEntityTooLarge, why, err, false}
	}
	s.dropped(protocol, address, why, n)
	if why == Down {
		return &refusal{http.StatusServiceUnavailable, why, err, true}
	}
	return &refusal{http.StatusTooManyRequests, why, err, why == Full}
}

// body reads the whole body of a request, decompressed if it says that it is
// compressed with gzip.
func (s *Server) body(w http.ResponseWriter, r *http.Request, decompress func(io.Reader) (io.Reader, error)) ([]byte, *refusal) {
	var in io.Reader = web.Body(w, r, s.options.MaxBody, time.Minute)
	var err error
	if decompress != nil {
		if in, err = decompress(in); err != nil {
			return nil, s.unreadable(err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(in, s.options.MaxBody+1))
	if err != nil {
		return nil, s.unreadable(err)
	}
	if int64(len(data)) > s.options.MaxBody {
		return nil, s.tooLarge()
	}
	return data, nil
}

func (s *Server) tooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, TooLarge, fmt.Errorf("a request may have %d bytes, also when it is decompressed", s.options.MaxBody), false}
}

func (s *Server) unreadable(err error) *refusal {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return s.tooLarge()
	}
	return malformed("the body cannot be read: %w", err)
}

// packetBytes is how much goes into a packet, before the next entry begins
// another: a batch of the log, which a packet must fit in, has 8 MiB.
const packetBytes = 1 << 20

// group collects entries of many streams into packets, one a stream as long as
// that is not too large.
type group struct {
	packets []entry.Packet
	sizes   []int // of the packets
	index   map[string]int
}

func (g *group) add(labels entry.Labels, e entry.Entry) {
	key := labels.String()
	if g.index == nil {
		g.index = map[string]int{}
	}
	i, ok := g.index[key]
	if !ok || len(g.packets[i].Entries) >= entry.MaxEntries || g.sizes[i] >= packetBytes {
		i = len(g.packets)
		g.index[key] = i
		g.packets = append(g.packets, entry.Packet{Labels: labels})
		g.sizes = append(g.sizes, 0)
	}
	e.Labels = g.packets[i].Labels
	g.sizes[i] += e.Size()
	g.packets[i].Entries = append(g.packets[i].Entries, e)
}
