package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/query"
	"github.com/ashlar-go/ashlar/kvstore"
)

// Keys of the index:
//
//	b/FROM    a block, as JSON; FROM is its first offset, big-endian
//	f/FROM    the filter of its words
//	s/KEY     the labels of a stream
//	q/NAME    the last sequence number of a source, and the offset of its packet
const (
	blockPrefix  = "b/"
	filterPrefix = "f/"
	streamPrefix = "s/"
	sourcePrefix = "q/"
)

func numberKey(prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), n)
}

// A block is what is known of a run of records. It is not changed once it is
// in Store.blocks.
type block struct {
	From    int64     // first offset
	To      int64     // behind the last
	Min     time.Time // of its entries
	Max     time.Time
	Arrived time.Time // the latest of its records
	Count   int       // entries
	Bytes   int
	Streams map[uint64]levels // how many entries of which level
	Archive *place            `json:",omitempty"` // nil: in the log
}

// levels counts entries by level.
type levels [entry.Fatal + 1]uint32

// set returns the levels that there are, bit n for level n.
func (l *levels) set() (bits uint8) {
	for level, n := range l {
		if n > 0 {
			bits |= 1 << level
		}
	}
	return bits
}

// A head is the block that is being filled, with its packets.
type head struct {
	block
	packets []Arrival // ascending by offset; only appended to
	words   map[uint64]struct{}
	sources map[string]sourced // the last packets since the block before
}

func newHead(from int64) *head {
	return &head{block: block{From: from, To: from, Streams: map[uint64]levels{}}, words: map[uint64]struct{}{}, sources: map[string]sourced{}}
}

func (h *head) add(a Arrival) {
	key := streamKey(a.Packet.Labels)
	counts := h.Streams[key]
	for i := range a.Packet.Entries {
		e := &a.Packet.Entries[i]
		if h.Count == 0 || e.Time.Before(h.Min) {
			h.Min = e.Time
		}
		if h.Count == 0 || e.Time.After(h.Max) {
			h.Max = e.Time
		}
		h.Count++
		h.Bytes += e.Size()
		counts[e.Level]++
		query.Tokens(e, func(word uint64) { h.words[word] = struct{}{} })
	}
	h.Streams[key] = counts
	h.packets = append(h.packets, a)
	h.To, h.Arrived = a.Offset+1, later(h.Arrived, a.Arrived)
}

// load reads the index, and drops from it what the log does not have.
func (s *Store) load() error {
	for e, err := range s.kv.Prefix([]byte(blockPrefix)) {
		if err != nil {
			return fmt.Errorf("store: index: %w", err)
		}
		b := new(block)
		if err := json.Unmarshal(e.Value, b); err != nil {
			return fmt.Errorf("store: index: block %x: %w", e.Key, err)
		}
		if b.Archive == nil && (b.To <= s.log.Start() || b.To > s.log.End()) {
			continue // it was being removed, or the log lost its end and not the index
		}
		s.blocks = append(s.blocks, b)
	}
	for e, err := range s.kv.Prefix([]byte(streamPrefix)) {
		if err != nil {
			return fmt.Errorf("store: index: %w", err)
		}
		p, err := entry.Decode(e.Value)
		if err != nil {
			return fmt.Errorf("store: index: stream %x: %w", e.Key, err)
		}
		s.streams[streamKey(p.Labels)] = &stream{labels: p.Labels}
	}
	for e, err := range s.kv.Prefix([]byte(sourcePrefix)) {
		if err != nil {
			return fmt.Errorf("store: index: %w", err)
		}
		if p, ok := parseSourced(e.Value, s.log.End()); ok {
			s.sources[string(e.Key[len(sourcePrefix):])] = &source{last: p}
		}
	}
	s.indexed = s.log.Start()
	for _, b := range s.blocks {
		s.indexed = max(s.indexed, b.To)
		for key := range b.Streams {
			if st := s.streams[key]; st != nil {
				st.blocks++
				st.latest = later(st.latest, b.Max)
			}
		}
	}
	s.head = newHead(s.indexed)
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// index follows the log until ctx ends.
func (s *Store) index(ctx context.Context) {
	r := s.log.NewReader(s.indexed, &commitlog.ReaderOptions{Durable: s.durable()})
	for {
		err := s.indexNext(ctx, r)
		if err != nil {
			s.mu.Lock()
			s.err = err
			close(s.moved)
			s.moved = make(chan struct{})
			s.mu.Unlock()
			if !errors.Is(err, context.Canceled) && !errors.Is(err, commitlog.ErrClosed) {
				s.options.Logger.Error("indexing has ended", "error", err)
			}
			return
		}
	}
}

func (s *Store) indexNext(ctx context.Context, r *commitlog.Reader) error {
	record, err := r.Next(ctx)
	if damage(err) {
		s.pass(r, err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reach(r.Offset())
		return nil
	}
	if err != nil {
		return err
	}
	a := Arrival{Offset: record.Offset, Arrived: record.Timestamp}
	bad := false
	if a.Packet, err = entry.Decode(record.Value); err != nil {
		s.options.Logger.Error("record without a packet", "offset", record.Offset, "error", err)
		bad = true
	}
	if err := s.enter(a, record.Headers, bad); err != nil {
		return err
	}
	return s.live.Publish(ctx, a)
}

// enter puts a record into the head, and seals that if it is full.
func (s *Store) enter(a Arrival, headers []commitlog.Header, bad bool) error {
	s.heading.Lock()
	defer s.heading.Unlock()
	name, sequence := sourceOf(headers)
	s.mu.Lock()
	s.take(a)
	if bad {
		s.counts.BadRecords++
	}
	if name != "" {
		s.head.sources[name] = sourced{sequence, a.Offset}
	}
	full := s.head.Bytes >= s.options.BlockBytes || s.head.Count >= s.options.BlockEntries
	h := s.head
	s.mu.Unlock()
	if name != "" {
		if err := s.noted(name, sourced{sequence, a.Offset}); err != nil {
			return err
		}
	}
	if full {
		if err := s.seal(h); err != nil && !errors.Is(err, kvstore.ErrFull) {
			return err // else Maintain tries again
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reach(a.Offset + 1)
	return nil
}

// reach tells those who wait how far the index is. It is called with mu held.
func (s *Store) reach(offset int64) {
	s.indexed = offset
	close(s.moved)
	s.moved = make(chan struct{})
}

func sourceOf(headers []commitlog.Header) (name string, sequence int64) {
	for _, h := range headers {
		if h.Key == sourceHeader && len(h.Value) > 8 {
			return string(h.Value[8:]), int64(binary.BigEndian.Uint64(h.Value))
		}
	}
	return "", 0
}

// take adds a packet to the head. It is called with mu held.
func (s *Store) take(a Arrival) {
	s.head.add(a)
	s.counts.Packets++
	key := streamKey(a.Packet.Labels)
	st := s.streams[key]
	if st == nil {
		st = &stream{labels: a.Packet.Labels.Clone()}
		s.streams[key] = st
	}
	st.arrived = s.options.Now()
	for i := range a.Packet.Entries {
		e := &a.Packet.Entries[i]
		size := uint64(e.Size())
		st.entries, st.bytes = st.entries+1, st.bytes+size
		st.latest = later(st.latest, e.Time)
		s.counts.Entries++
		s.counts.Bytes += size
	}
}

// seal writes the index of a head, and begins another. If the disk has no room
// for it, the head stays, and the store takes nothing until there is some. It is
// called with heading held, so reading the head needs no lock.
func (s *Store) seal(h *head) error {
	err := s.writeIndex(h)
	if full := errors.Is(err, kvstore.ErrFull); full != s.full.Swap(full) && full {
		s.options.Logger.Error("nothing is taken until the disk has room for the index", "error", err)
	}
	return err
}

func (s *Store) writeIndex(h *head) error {
	var batch kvstore.Batch
	meta, err := json.Marshal(&h.block)
	if err != nil {
		return err
	}
	batch.Put(numberKey(blockPrefix, uint64(h.From)), meta)
	batch.Put(numberKey(filterPrefix, uint64(h.From)), newFilter(h.words))
	s.mu.RLock()
	for key := range h.Streams {
		if st := s.streams[key]; st.blocks == 0 {
			batch.Put(numberKey(streamPrefix, key), entry.Append(nil, entry.Packet{Labels: st.labels}))
		}
	}
	s.mu.RUnlock()
	for name, p := range h.sources {
		batch.Put([]byte(sourcePrefix+name), p.append(nil))
	}
	if err := s.kv.Apply(&batch, nil); err != nil {
		return fmt.Errorf("store: index: %w", err)
	}
	sealed := h.block
	sealed.Streams = maps.Clone(h.Streams)
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range h.Streams {
		s.streams[key].blocks++
	}
	s.blocks = append(slices.Clip(s.blocks), &sealed)
	s.head = newHead(h.To)
	return nil
}
