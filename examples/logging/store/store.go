package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/kvstore"
	"github.com/ashlar-go/ashlar/observer"
)

// Errors of a Store.
var (
	ErrClosed  = errors.New("store: closed")
	ErrFull    = errors.New("store: the disk quota is used up")
	ErrStopped = errors.New("store: it takes nothing at the moment")
	ErrStreams = errors.New("store: too many streams; labels must have few values, and belong into fields if they have many")
)

// Options are the settings of a Store; zero fields mean the default.
type Options struct {
	BlockBytes   int           // of entries in a block; default 1 MiB
	BlockEntries int           // default 8192
	SegmentBytes int64         // of the log; default 16 MiB
	HotBytes     int64         // of the log, above which the oldest blocks go to the archive; default 1 GiB
	ArchiveBytes int64         // above which the oldest archives are removed; default 1 GiB; negative: no archive
	RetainAge    time.Duration // after which entries are removed; default 30 days
	MaxStreams   int           // default 10,000
	MaxSources   int           // whose sequence numbers are remembered; default 100,000
	Sync         commitlog.SyncPolicy
	Now          func() time.Time
	Logger       *slog.Logger

	indexFS vfs.FS // in the place of the directory of the index, in tests
}

func (o *Options) defaults() {
	number := func(n *int64, v int64) {
		if *n == 0 {
			*n = v
		}
	}
	if o.BlockBytes <= 0 {
		o.BlockBytes = 1 << 20
	}
	if o.BlockEntries <= 0 {
		o.BlockEntries = 8192
	}
	number(&o.SegmentBytes, 16<<20)
	number(&o.HotBytes, 1<<30)
	number(&o.ArchiveBytes, 1<<30)
	if o.RetainAge <= 0 {
		o.RetainAge = 30 * 24 * time.Hour
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = 10_000
	}
	if o.MaxSources <= 0 {
		o.MaxSources = 100_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// liveArrivals is how many packets a live tail may be behind. They are held in
// memory, of 256 KiB each if they come of agents that have much to read.
const liveArrivals = 256

// An Arrival is a packet that was stored.
type Arrival struct {
	Offset  int64
	Arrived time.Time
	Packet  entry.Packet
}

// A Store keeps log entries. Create one with [Open]. A Store is safe for
// concurrent use by multiple goroutines.
//
// Locks are taken in the order maintain, heading, sourcesMu, mu.
type Store struct {
	options Options
	dir     string
	log     *commitlog.Log
	kv      *kvstore.Store
	live    *observer.Stream[Arrival]
	cancel  context.CancelFunc
	done    sync.WaitGroup
	stopped atomic.Bool
	quota   atomic.Int64 // bytes of the log beyond which nothing is taken; 0 is no quota
	full    atomic.Bool  // the disk has no room for the index: nothing is taken until it has

	sourcesMu sync.Mutex
	sources   map[string]*source // at most MaxSources, but for those in use

	mu      sync.RWMutex
	streams map[uint64]*stream
	blocks  []*block // ascending; replaced, never changed
	head    *head
	indexed int64         // offsets below are in blocks or head
	moved   chan struct{} // closed and replaced when indexed has grown
	err     error         // why the indexer ended
	counts  Stats
	damages map[string]*Damage // by place

	maintain sync.Mutex // one Maintain at a time
	heading  sync.Mutex // held by whoever changes or seals the head
}

// A stream is a set of labels.
type stream struct {
	labels  entry.Labels
	blocks  int // that have entries of it
	entries uint64
	bytes   uint64
	latest  time.Time // of its entries
	arrived time.Time
}

// Stats are counts of a Store since it was opened, and its sizes now.
type Stats struct {
	Entries    uint64 // indexed
	Bytes      uint64 // of their lines and fields
	Packets    uint64
	Duplicates uint64 // packets that their source had sent before
	Refused    uint64 // packets, for want of space or of room for streams
	BadRecords uint64 // records of the log that hold no packet
	Damaged    int    // places that are not what was written, see Damages
	Streams    int
	Blocks     int
	Archived   int   // blocks of these that are in the archive
	LogBytes   int64 // on disk
	Oldest     time.Time
	Log        commitlog.Stats
	IndexKeys  int
}

// Open opens the store in a directory, which is made if it is missing, and
// indexes what the index lacks.
func Open(dir string, opts *Options) (*Store, error) {
	s := &Store{dir: dir, sources: map[string]*source{}, streams: map[uint64]*stream{}, damages: map[string]*Damage{}, moved: make(chan struct{}), live: observer.NewStream[Arrival](liveArrivals)}
	if opts != nil {
		s.options = *opts
	}
	s.options.defaults()
	var err error
	s.kv, err = kvstore.Open(filepath.Join(dir, "index"), &kvstore.Options{Durability: kvstore.Written, Logger: s.options.Logger, FS: s.options.indexFS})
	if err != nil {
		return nil, fmt.Errorf("store: index: %w", err)
	}
	s.log, err = commitlog.Open(filepath.Join(dir, "log"), &commitlog.Options{
		SegmentBytes: s.options.SegmentBytes, Sync: s.options.Sync, Codec: zstdCodec{}, MaxBatchBytes: 8 << 20, Now: s.options.Now, Logger: s.options.Logger,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: log: %w", err), s.kv.Close())
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.log.Close(), s.kv.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	end := s.log.End()
	s.done.Go(func() { s.index(ctx) })
	if err := s.await(ctx, end); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close makes everything durable and closes the store.
func (s *Store) Close() error {
	s.cancel()
	s.done.Wait()
	s.mu.Lock()
	if s.err == nil || errors.Is(s.err, context.Canceled) {
		s.err = ErrClosed
		close(s.moved)
		s.moved = make(chan struct{})
	}
	s.mu.Unlock()
	return errors.Join(s.live.Close(context.Background()), s.log.Close(), s.kv.Close())
}

// KV is where the store keeps its index. Others may keep what belongs to it
// there, under keys that begin with x/.
func (s *Store) KV() *kvstore.Store { return s.kv }

// Live is the stream of what arrives. A reader that is too slow misses some.
func (s *Store) Live() *observer.Stream[Arrival] { return s.live }

// Stop makes the store take nothing, or take things again.
func (s *Store) Stop(stopped bool) { s.stopped.Store(stopped) }

// Stopped reports whether the store takes nothing.
func (s *Store) Stopped() bool { return s.stopped.Load() }

// SetQuota sets how many bytes the log may have on disk before nothing more is
// taken; 0 means no quota. Retention makes room at half a quota.
func (s *Store) SetQuota(bytes int64) { s.quota.Store(bytes) }

// Quota returns the quota.
func (s *Store) Quota() int64 { return s.quota.Load() }

// Check returns why the store cannot do its work, or nil.
func (s *Store) Check() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.err != nil {
		return s.err
	}
	return s.log.Err()
}

// Stats returns what happened so far.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.counts
	c.Streams, c.Blocks, c.Damaged = len(s.streams), len(s.blocks), len(s.damages)
	for _, b := range s.blocks {
		if b.Archive != nil {
			c.Archived++
		}
	}
	if len(s.blocks) > 0 {
		c.Oldest = s.blocks[0].Min
	} else if s.head != nil && s.head.Count > 0 {
		c.Oldest = s.head.Min
	}
	c.Log, c.IndexKeys = s.log.Stats(), s.kv.Len()
	c.LogBytes = c.Log.Size
	return c
}

// A StreamInfo is what is known of a stream.
type StreamInfo struct {
	Labels  entry.Labels
	Entries uint64 // since the store was opened
	Bytes   uint64
	Latest  time.Time // of its entries
	Arrived time.Time // when one came last; zero if none has since the store was opened
}

// Streams returns all streams, in no order.
func (s *Store) Streams() []StreamInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]StreamInfo, 0, len(s.streams))
	for _, st := range s.streams {
		list = append(list, StreamInfo{st.labels, st.entries, st.bytes, st.latest, st.arrived})
	}
	return list
}

func streamKey(labels entry.Labels) uint64 { return xxhash.Sum64String(labels.String()) }

// await waits until everything below an offset is indexed.
func (s *Store) await(ctx context.Context, offset int64) error {
	for {
		s.mu.RLock()
		indexed, moved, err := s.indexed, s.moved, s.err
		s.mu.RUnlock()
		switch {
		case indexed >= offset:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Follow calls f with every packet from an offset on, in order of arrival, the
// past ones first and then those that come, until ctx ends. Offsets that are
// gone are passed over, and so is what is damaged, up to where the log can be
// read on: see Damages. Errors are those of f and of the log.
func (s *Store) Follow(ctx context.Context, from int64, f func(Arrival) error) error {
	return s.Between(ctx, from, math.MaxInt64, f)
}

// Between is Follow for the packets before an offset. It returns nil when there
// are no more of them.
func (s *Store) Between(ctx context.Context, from, to int64, f func(Arrival) error) error {
	r := s.log.NewReader(max(from, s.log.Start()), &commitlog.ReaderOptions{Durable: s.durable()})
	for r.Offset() < to {
		a, err := s.next(ctx, r)
		switch {
		case errors.Is(err, commitlog.ErrOutOfRange):
			r.SeekTo(s.log.Start())
			continue
		case errors.Is(err, errBadRecord):
			continue
		case damage(err):
			s.pass(r, err)
			continue
		case err != nil:
			return err
		}
		if a.Offset >= to {
			return nil
		}
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

var errBadRecord = errors.New("store: record without a packet")

// next reads a record and decodes its packet.
func (s *Store) next(ctx context.Context, r *commitlog.Reader) (Arrival, error) {
	record, err := r.Next(ctx)
	if err != nil {
		return Arrival{}, err
	}
	return arrival(record)
}

// arrival decodes the packet of a record.
func arrival(record commitlog.Record) (Arrival, error) {
	p, err := entry.Decode(record.Value)
	if err != nil {
		return Arrival{Offset: record.Offset, Arrived: record.Timestamp}, fmt.Errorf("%w at offset %d: %w", errBadRecord, record.Offset, err)
	}
	return Arrival{record.Offset, record.Timestamp, p}, nil
}

// End returns the offset that the next packet will have.
func (s *Store) End() int64 { return s.log.End() }

// OffsetAt returns the offset of the first packet that arrived at t or later,
// or End. Where the log is damaged it may be up to a block before that.
func (s *Store) OffsetAt(t time.Time) int64 {
	offset, ok, err := s.log.OffsetAt(t)
	if damage(err) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		for _, b := range s.blocks {
			if b.Archive == nil && !b.Arrived.Before(t) {
				return b.From
			}
		}
		return s.head.From
	}
	if err != nil || !ok {
		return s.log.End()
	}
	return offset
}

// durable reports whether only what is synced is read: with other policies
// than SyncEach, what is acknowledged need not be.
func (s *Store) durable() bool { return s.options.Sync == commitlog.SyncEach }
