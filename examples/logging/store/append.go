package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

// A Numbered is a packet with the number that its source gave it, which must
// ascend.
type Numbered struct {
	Sequence int64 // from 0
	Packet   entry.Packet
}

// sourceHeader names the source and the sequence number of a record.
const sourceHeader = "source"

// Append stores packets; when it returns nil they are synced and can be found.
// Packets without entries are passed over. Errors are ErrFull, ErrStopped,
// ErrStreams, of which nothing was stored, those of ctx, and of the log.
func (s *Store) Append(ctx context.Context, packets ...entry.Packet) error {
	records := make([]commitlog.Record, 0, len(packets))
	for _, p := range packets {
		if len(p.Entries) > 0 {
			records = append(records, record(p))
		}
	}
	return s.append(ctx, records, packets, func(int64, int) {})
}

func record(p entry.Packet) commitlog.Record {
	p.Clip()
	return commitlog.Record{Key: binary.BigEndian.AppendUint64(nil, streamKey(p.Labels)), Value: entry.Append(nil, p)}
}

// AppendFrom stores what a source has sent and not sent before: packets whose
// sequence number is not above all those of it that are stored are passed
// over. A source sends one thing at a time; more wait for each other.
//
// A source is remembered as long as one of its packets is kept, and one of
// Options.MaxSources. From one that was forgotten everything is taken: nothing
// is lost, and what it sends for the second time is stored a second time. That
// is the packets whose answer it has not got, and of those that retention has
// removed there is one copy again.
func (s *Store) AppendFrom(ctx context.Context, name string, packets []Numbered) error {
	if name == "" || len(name) > 200 {
		return errors.New("store: the name of a source has 1 to 200 bytes")
	}
	if len(packets) == 0 {
		return nil
	}
	src, err := s.enlist(name)
	if err != nil {
		return err
	}
	defer s.release(name, src)
	src.mu.Lock()
	defer src.mu.Unlock()
	var records []commitlog.Record
	var plain []entry.Packet
	var sequences []int64
	last := src.latest().sequence
	for _, n := range packets {
		if n.Sequence <= last {
			s.count(func(c *Stats) { c.Duplicates++ })
			continue
		}
		last = n.Sequence
		r := record(n.Packet)
		r.Headers = []commitlog.Header{{Key: sourceHeader, Value: append(binary.BigEndian.AppendUint64(nil, uint64(n.Sequence)), name...)}}
		records = append(records, r)
		plain = append(plain, n.Packet)
		sequences = append(sequences, n.Sequence)
	}
	return s.append(ctx, records, plain, func(first int64, n int) {
		src.stored(sequences[n-1], first+int64(n)-1)
		sequences = sequences[n:]
	})
}

func (s *Store) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

// append stores records, and calls stored with the offset of the first and the
// number of those that are in the log, which may be several times.
func (s *Store) append(ctx context.Context, records []commitlog.Record, packets []entry.Packet, stored func(first int64, n int)) error {
	if len(records) == 0 {
		return nil
	}
	if err := s.admit(packets); err != nil {
		s.count(func(c *Stats) { c.Refused += uint64(len(records)) })
		return err
	}
	for len(records) > 0 {
		// A batch of the log holds 8 MiB.
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+len(records[n].Value) < 4<<20) {
			size += len(records[n].Value)
			n++
		}
		first, err := s.log.Append(ctx, records[:n]...)
		switch {
		case errors.Is(err, commitlog.ErrClosed):
			return ErrClosed
		case errors.Is(err, commitlog.ErrFull):
			return fmt.Errorf("%w: %w", ErrFull, err)
		case err != nil:
			return err
		}
		stored(first, n)
		if err := s.await(ctx, first+int64(n)); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// admit says whether packets may be stored.
func (s *Store) admit(packets []entry.Packet) error {
	if s.stopped.Load() {
		return ErrStopped
	}
	if quota := s.quota.Load(); quota > 0 && s.log.Stats().Size >= quota || s.full.Load() {
		return ErrFull
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.err != nil {
		return s.err
	}
	fresh := map[uint64]bool{}
	for _, p := range packets {
		key := streamKey(p.Labels)
		if s.streams[key] == nil {
			fresh[key] = true
		}
	}
	if len(fresh) > 0 && len(s.streams)+len(fresh) > s.options.MaxStreams {
		return ErrStreams
	}
	return nil
}
