package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/kvstore"
)

// A raftLog keeps the entries of raft in a commit log, the offset being the
// index. It implements [raft.LogStore]. A raftLog is safe for concurrent use by
// multiple goroutines.
type raftLog struct {
	mu          sync.RWMutex
	log         *commitlog.Log
	first, last uint64 // 0, 0 without entries
}

func openRaftLog(dir string, opts *commitlog.Options) (*raftLog, error) {
	log, err := commitlog.Open(dir, opts)
	if err != nil {
		return nil, err
	}
	s := &raftLog{log: log}
	if err := s.find(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return s, nil
}

// find looks for the first and the last entry.
func (s *raftLog) find() error {
	s.first, s.last = 0, 0
	data, err := s.log.ReadBatches(nil, s.log.Start(), 1, false)
	if err != nil || len(data) == 0 {
		return err
	}
	b := commitlog.Batch(data)
	s.first, s.last = uint64(max(b.BaseOffset(), s.log.Start())), uint64(s.log.End()-1)
	return nil
}

// FirstIndex implements [raft.LogStore].
func (s *raftLog) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first, nil
}

// LastIndex implements [raft.LogStore].
func (s *raftLog) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last, nil
}

// GetLog implements [raft.LogStore].
func (s *raftLog) GetLog(index uint64, out *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.first == 0 || index < s.first || index > s.last {
		return raft.ErrLogNotFound
	}
	data, err := s.log.ReadBatches(nil, int64(index), 1, false)
	if err != nil {
		return err
	}
	for b := range batches(data) {
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			if r.Offset == int64(index) {
				return decodeEntry(r.Value, index, out)
			}
		}
	}
	return raft.ErrLogNotFound
}

// StoreLog implements [raft.LogStore].
func (s *raftLog) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements [raft.LogStore]: the entries are durable when it returns.
func (s *raftLog) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	var data []byte
	for len(logs) > 0 { // a batch for each run without gaps
		n := 1
		for n < len(logs) && logs[n].Index == logs[0].Index+uint64(n) {
			n++
		}
		records := make([]commitlog.Record, n)
		for i, l := range logs[:n] {
			records[i].Value = appendEntry(nil, l)
		}
		var err error
		if data, err = commitlog.AppendBatchTo(data, int64(logs[0].Index), nil, records...); err != nil {
			return err
		}
		logs = logs[n:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end, err := s.log.AppendReplica(context.Background(), data)
	if err != nil {
		return err
	}
	if s.first == 0 {
		s.first = uint64(commitlog.Batch(data).BaseOffset())
	}
	s.last = uint64(end - 1)
	return nil
}

// DeleteRange implements [raft.LogStore]: raft removes from the front, what is in
// a snapshot, or from the end, what a new leader does not have.
func (s *raftLog) DeleteRange(from, to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == 0 || from > to || to < s.first || from > s.last {
		return nil
	}
	var err error
	switch {
	case to >= s.last:
		err = s.log.TruncateFrom(int64(max(from, s.first)))
	case from <= s.first:
		err = s.log.DeleteBefore(int64(to + 1))
	default:
		return fmt.Errorf("kafka: raft removes %d to %d, from the middle of %d to %d", from, to, s.first, s.last)
	}
	return errors.Join(err, s.find())
}

// Close closes the log.
func (s *raftLog) Close() error { return s.log.Close() }

// appendEntry writes an entry: its type, term, time, extensions with their
// length, data.
func appendEntry(dst []byte, l *raft.Log) []byte {
	dst = append(dst, byte(l.Type))
	dst = binary.BigEndian.AppendUint64(dst, l.Term)
	at := int64(0)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	dst = binary.AppendUvarint(dst, uint64(len(l.Extensions)))
	return append(append(dst, l.Extensions...), l.Data...)
}

var errEntry = errors.New("kafka: malformed entry of raft")

func decodeEntry(src []byte, index uint64, out *raft.Log) error {
	if len(src) < 18 {
		return fmt.Errorf("%w %d: %d bytes", errEntry, index, len(src))
	}
	*out = raft.Log{Index: index, Type: raft.LogType(src[0]), Term: binary.BigEndian.Uint64(src[1:])}
	if at := int64(binary.BigEndian.Uint64(src[9:])); at != 0 {
		out.AppendedAt = time.Unix(0, at)
	}
	n, size := binary.Uvarint(src[17:])
	if src = src[17+max(size, 0):]; size <= 0 || n > uint64(len(src)) {
		return fmt.Errorf("%w %d: extensions", errEntry, index)
	}
	if n > 0 {
		out.Extensions = append([]byte(nil), src[:n]...)
	}
	if len(src) > int(n) {
		out.Data = append([]byte(nil), src[n:]...)
	}
	return nil
}

// A raftStable keeps what raft must not forget, its term and its vote, in a
// key-value store. It implements [raft.StableStore]. A raftStable is safe for
// concurrent use by multiple goroutines.
type raftStable struct{ store *kvstore.Store }

func openRaftStable(dir string) (*raftStable, error) {
	store, err := kvstore.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	return &raftStable{store}, nil
}

// Set implements [raft.StableStore].
func (s *raftStable) Set(key, value []byte) error { return s.store.Put(key, value, nil) }

// Get implements [raft.StableStore].
func (s *raftStable) Get(key []byte) ([]byte, error) {
	value, _, err := s.store.Get(key)
	return value, err
}

// SetUint64 implements [raft.StableStore].
func (s *raftStable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements [raft.StableStore].
func (s *raftStable) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	switch {
	case err != nil || len(value) == 0:
		return 0, err
	case len(value) != 8:
		return 0, fmt.Errorf("kafka: %q has %d bytes and is no number", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// Close closes the store.
func (s *raftStable) Close() error { return s.store.Close() }

// openRaftStores opens both in a directory.
func openRaftStores(dir string) (*raftLog, *raftStable, error) {
	stable, err := openRaftStable(filepath.Join(dir, "stable"))
	if err != nil {
		return nil, nil, err
	}
	log, err := openRaftLog(filepath.Join(dir, "log"), &commitlog.Options{SegmentBytes: 4 << 20})
	if err != nil {
		return nil, nil, errors.Join(err, stable.Close())
	}
	return log, stable, nil
}
