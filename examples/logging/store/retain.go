package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/kvstore"
)

// A place is where a block lies in the archive.
//
//	FILE.zst  ┌─────────────┬─────────────┬───
//	          │ block, zstd │ block, zstd │ …
//	          └─────────────┴─────────────┴───
//	a block is records: offset, milliseconds, key, length, packet
type place struct {
	File  string
	At    int64
	Bytes int64
}

// archiveBytes is how much of the log goes into one archive file.
const archiveBytes = 64 << 20

// Maintain removes what is too old and too much, and moves the oldest blocks of
// a log that is too large to the archive. It is called now and then.
func (s *Store) Maintain(ctx context.Context) error {
	s.maintain.Lock()
	defer s.maintain.Unlock()
	now := s.options.Now()
	hot := s.options.HotBytes
	if quota := s.quota.Load(); quota > 0 {
		hot = min(hot, quota/2)
	}
	if err := s.settle(now.Add(-s.options.RetainAge / blockShare)); err != nil && !errors.Is(err, kvstore.ErrFull) {
		return err // else the rest makes room, and the next time it goes
	}
	if err := s.expire(func(b *block) bool { return b.Arrived.Before(now.Add(-s.options.RetainAge)) }); err != nil {
		return err
	}
	for ctx.Err() == nil && s.log.Stats().Size > hot {
		before := s.log.Stats().Size
		list := s.oldest()
		if len(list) == 0 {
			break
		}
		var err error
		if s.options.ArchiveBytes > 0 {
			err = s.archive(list)
		} else {
			last := list[len(list)-1]
			err = s.expire(func(b *block) bool { return b.To <= last.To })
		}
		if err != nil {
			return err
		}
		// Only whole segments give space back, so it may take some more blocks.
		if len(list) == 1 && s.log.Stats().Size == before && s.log.End() == list[0].To {
			break
		}
	}
	if err := s.trimArchive(); err != nil {
		return err
	}
	return s.forgetOld()
}

// blockShare of the retention is the longest time that a block spans: it is
// removed when its last record is too old.
const blockShare = 16

// settle seals the head if its first record arrived before a time, though the
// head is not full: what nothing follows is forgotten too. So it does if there
// was no room to seal it before.
func (s *Store) settle(before time.Time) error {
	s.heading.Lock()
	defer s.heading.Unlock()
	s.mu.RLock()
	h := s.head
	s.mu.RUnlock()
	if len(h.packets) == 0 || !h.packets[0].Arrived.Before(before) && !s.full.Load() {
		return nil
	}
	return s.seal(h)
}

// oldest returns blocks at the beginning of the log, enough to give a segment
// back.
func (s *Store) oldest() (list []*block) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	size := 0
	for _, b := range s.blocks {
		if b.Archive == nil && size < archiveBytes {
			list = append(list, b)
			size += b.Bytes
			if len(list) >= 8 {
				break
			}
		}
	}
	return list
}

// expire removes blocks. Those in the log go from its beginning on: one behind
// a block that stays waits for that.
func (s *Store) expire(gone func(*block) bool) error {
	s.mu.RLock()
	blocks := s.blocks
	s.mu.RUnlock()
	var removed []*block
	stays := false
	for _, b := range blocks {
		switch {
		case !gone(b):
			stays = stays || b.Archive == nil
		case b.Archive != nil || !stays:
			removed = append(removed, b)
		}
	}
	if len(removed) == 0 {
		return nil
	}
	s.replace(func(b *block) *block {
		if slices.Contains(removed, b) {
			return nil
		}
		return b
	})
	var batch kvstore.Batch
	to := int64(0)
	for _, b := range removed {
		batch.Delete(numberKey(blockPrefix, uint64(b.From)))
		batch.Delete(numberKey(filterPrefix, uint64(b.From)))
		if b.Archive == nil {
			to = max(to, b.To)
		}
	}
	if err := s.kv.Apply(&batch, nil); err != nil {
		return fmt.Errorf("store: index: %w", err)
	}
	if to > s.log.Start() {
		if err := s.log.DeleteBefore(to); err != nil {
			return err
		}
	}
	return s.forgetStreams(removed)
}

// replace puts another list in the place of the blocks. It calls with with mu
// held.
func (s *Store) replace(with func(*block) *block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*block
	for _, b := range s.blocks {
		if b = with(b); b != nil {
			list = append(list, b)
		}
	}
	s.blocks = list
}

// forgetStreams forgets the streams that only removed blocks had.
func (s *Store) forgetStreams(removed []*block) error {
	var batch kvstore.Batch
	s.mu.Lock()
	for _, b := range removed {
		for key := range b.Streams {
			st := s.streams[key]
			if st == nil {
				continue
			}
			_, inHead := s.head.Streams[key]
			if st.blocks--; st.blocks <= 0 {
				batch.Delete(numberKey(streamPrefix, key))
				if !inHead {
					delete(s.streams, key)
				}
			}
		}
	}
	s.mu.Unlock()
	if batch.Len() == 0 {
		return nil
	}
	return s.kv.Apply(&batch, nil)
}

// archive moves blocks from the log to a file: first the file is made durable,
// then the index says where they are, then the log forgets them. What is
// damaged stays behind, and is gone with the log's file: all that is good of it
// is moved.
func (s *Store) archive(list []*block) error {
	dir := filepath.Join(s.dir, "archive")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%020d.zst", list[0].From)
	var file []byte
	moved := map[*block]*block{}
	var batch kvstore.Batch
	for _, b := range list {
		data, found, err := s.pack(b)
		if err != nil {
			return err
		}
		next := *b
		if found != nil {
			if err := s.widen(&next, found, &batch); err != nil {
				return err
			}
		}
		next.Archive = &place{File: name, At: int64(len(file)), Bytes: int64(len(data))}
		file = append(file, data...)
		meta, err := json.Marshal(&next)
		if err != nil {
			return err
		}
		batch.Put(numberKey(blockPrefix, uint64(b.From)), meta)
		moved[b] = &next
	}
	if err := writeFile(dir, name, file); err != nil {
		return fmt.Errorf("store: archive: %w", err)
	}
	if err := s.kv.Apply(&batch, &kvstore.WriteOptions{Durability: kvstore.Synced}); err != nil {
		return fmt.Errorf("store: index: %w", err)
	}
	s.replace(func(b *block) *block {
		next := moved[b]
		if next == nil {
			return b
		}
		for key := range next.Streams {
			if _, ok := b.Streams[key]; !ok {
				s.streams[key].blocks++
			}
		}
		return next
	})
	return s.log.DeleteBefore(list[len(list)-1].To)
}

// pack returns the records of a block, compressed. If some are damaged, it also
// returns what is known of the others: the index need not have it, as it may
// have been made when they could not be reached.
func (s *Store) pack(b *block) (data []byte, found *head, err error) {
	var raw []byte
	known := newHead(b.From)
	add := func(r commitlog.Record) error {
		raw = binary.AppendUvarint(raw, uint64(r.Offset))
		raw = binary.AppendVarint(raw, r.Timestamp.UnixMilli())
		raw = binary.BigEndian.AppendUint64(raw, keyOf(r.Key))
		raw = binary.AppendUvarint(raw, uint64(len(r.Value)))
		raw = append(raw, r.Value...)
		return nil
	}
	err = s.walk(b, add, func(cause error, at int64) (int64, error) {
		found = known
		return s.salvage(cause, at, b.To, func(r commitlog.Record) error {
			if a, err := arrival(r); err == nil {
				known.add(a)
			}
			return add(r)
		})
	})
	return dense.EncodeAll(raw, nil), found, err
}

// widen adds to a block what was found in it. Its filter goes, so that searches
// read it for every word.
func (s *Store) widen(b *block, found *head, batch *kvstore.Batch) error {
	batch.Delete(numberKey(filterPrefix, uint64(b.From)))
	b.Streams = maps.Clone(b.Streams)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range found.packets {
		key := streamKey(a.Packet.Labels)
		if _, ok := b.Streams[key]; ok {
			continue
		}
		b.Streams[key] = found.Streams[key]
		st := s.streams[key]
		if st == nil {
			st = &stream{labels: a.Packet.Labels.Clone()}
			s.streams[key] = st
		}
		batch.Put(numberKey(streamPrefix, key), entry.Append(nil, entry.Packet{Labels: st.labels}))
	}
	if found.Count > 0 {
		b.Min, b.Max = earlier(b.Min, found.Min), later(b.Max, found.Max)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func keyOf(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

// writeFile writes a file so that it is there as a whole or not at all.
func writeFile(dir, name string, data []byte) error {
	temporary := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temporary, filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var errBadArchive = errors.New("store: archive is damaged")

// An archiveError says which block of which file.
type archiveError struct {
	File  string
	At    int64
	Cause error // nil if it is only too short
}

func (e *archiveError) Error() string {
	text := fmt.Sprintf("%v: %s at byte %d", errBadArchive, e.File, e.At)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *archiveError) Unwrap() []error { return []error{errBadArchive, e.Cause} }

// scanArchive calls f with the packets of a block in the archive whose stream
// can match.
func (v *view) scanArchive(b *block, f func(Arrival) error) error {
	data := make([]byte, b.Archive.Bytes)
	file, err := os.Open(filepath.Join(v.dir, "archive", filepath.Base(b.Archive.File)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	_, err = file.ReadAt(data, b.Archive.At)
	err = errors.Join(err, file.Close())
	if err == nil {
		data, err = unpack.DecodeAll(data, nil)
	}
	damaged := func(cause error) error {
		err := &archiveError{b.Archive.File, b.Archive.At, cause}
		v.note(err, b.From, b.To)
		return err
	}
	if err != nil {
		return damaged(err)
	}
	for r := bytes.NewReader(data); r.Len() > 0; {
		offset, err1 := binary.ReadUvarint(r)
		millis, err2 := binary.ReadVarint(r)
		var key [8]byte
		_, err3 := r.Read(key[:])
		size, err4 := binary.ReadUvarint(r)
		if err := errors.Join(err1, err2, err3, err4); err != nil || size > uint64(r.Len()) {
			return damaged(err)
		}
		at := len(data) - r.Len()
		_, _ = r.Seek(int64(size), 1)
		if !v.wanted(key[:]) {
			continue
		}
		if p, err := entry.Decode(data[at : at+int(size)]); err == nil {
			if err := f(Arrival{int64(offset), time.UnixMilli(millis), p}); err != nil {
				return err
			}
		}
	}
	return nil
}

// trimArchive removes the oldest archive files while there is too much, and
// those that no block is in.
func (s *Store) trimArchive() error {
	dir := filepath.Join(s.dir, "archive")
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sizes, total := map[string]int64{}, int64(0)
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			sizes[e.Name()] = info.Size()
			total += info.Size()
		}
	}
	for _, e := range list {
		if total <= max(s.options.ArchiveBytes, 0) {
			break
		}
		if err := s.expire(func(b *block) bool { return b.Archive != nil && b.Archive.File == e.Name() }); err != nil {
			return err
		}
		total -= sizes[e.Name()]
	}
	used := map[string]bool{}
	s.mu.RLock()
	for _, b := range s.blocks {
		if b.Archive != nil {
			used[b.Archive.File] = true
		}
	}
	s.mu.RUnlock()
	for name := range sizes {
		if !used[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
