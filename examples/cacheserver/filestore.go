package cacheserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// fileStore is the slow store behind the cache: one file of frames that grows
// at its end, and an index in memory of where the newest frame of each key
// is. When most of the file is out of date it is written anew. The index
// bounds it to what fits into memory; the file holds the values.
type fileStore struct {
	dir     string
	delay   time.Duration // of each Get, to play a slow store
	failing atomic.Bool   // makes Apply fail, to show what then happens

	applying sync.Mutex   // held by who writes the file; taken before mu
	mu       sync.RWMutex // guards what follows; a reader never waits for the disk of a writer
	file     *os.File
	index    map[string]place
	size     int64
	live     int64 // bytes of the frames that the index points at
}

type place struct {
	offset int64
	length int64
}

const (
	storeName = "values.dat"
	// compactFrom is the size below which a file is never written anew.
	compactFrom = 16 << 20
)

func openFileStore(dir string, delay time.Duration) (*fileStore, error) {
	s := &fileStore{dir: filepath.Join(dir, "store"), delay: delay, index: map[string]place{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(s.temporary()); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, storeName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s.file = f
	// A torn end is a batch whose Apply did not return: the log still has it.
	end, err := scanFrames(f, false, func(_ uint64, m mutation, offset, next int64) error {
		s.enter(&m, offset, next-offset)
		return nil
	})
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.size = end
	return s, nil
}

func (s *fileStore) path() string      { return filepath.Join(s.dir, storeName) }
func (s *fileStore) temporary() string { return s.path() + ".new" }

// enter points the index at a frame.
func (s *fileStore) enter(m *mutation, offset, length int64) {
	if old, ok := s.index[m.Key]; ok {
		s.live -= old.length
		delete(s.index, m.Key)
	}
	if !m.Delete {
		s.index[m.Key] = place{offset, length}
		s.live += length
	}
}

// Get reads the value of key.
func (s *fileStore) Get(ctx context.Context, key string) (v value, expires time.Time, ok bool, err error) {
	if s.delay > 0 {
		timer := time.NewTimer(s.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return v, expires, false, ctx.Err()
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, ok := s.index[key]
	if !ok {
		return v, expires, false, nil
	}
	_, m, _, err := readFrame(s.file, at.offset, at.offset+at.length)
	if err != nil {
		return v, expires, false, &CorruptError{File: s.path(), Offset: at.offset, What: err.Error()}
	}
	if m.Key != key {
		return v, expires, false, &CorruptError{File: s.path(), Offset: at.offset, What: fmt.Sprintf("key %q where %q belongs", m.Key, key)}
	}
	return m.Value, m.Expires, true, nil
}

var errFailing = errors.New("cacheserver: the store was told to fail")

// Apply writes a batch and syncs it.
func (s *fileStore) Apply(_ context.Context, batch []mutation) error {
	if s.failing.Load() {
		return errFailing
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	var buf []byte
	lengths := make([]int64, len(batch))
	for i := range batch {
		before := len(buf)
		buf = appendFrame(buf, 0, &batch[i])
		lengths[i] = int64(len(buf) - before)
	}
	if _, err := s.file.WriteAt(buf, s.size); err != nil {
		return err // the next try writes over what this one left
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.mu.Lock()
	for i := range batch {
		s.enter(&batch[i], s.size, lengths[i])
		s.size += lengths[i]
	}
	s.mu.Unlock()
	if s.size > compactFrom && s.live < s.size/2 {
		return s.compact()
	}
	return nil
}

// compact writes the frames that count to a new file, leaving expired ones
// out, and puts it in the place of the old one. The caller holds applying, so
// the index does not change meanwhile.
func (s *fileStore) compact() error {
	f, err := os.OpenFile(s.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	index := make(map[string]place, len(s.index))
	var size int64
	now := time.Now()
	buf := make([]byte, 0, 1<<20)
	flush := func() error {
		_, err := f.Write(buf)
		buf = buf[:0]
		return err
	}
	for key, at := range s.index {
		_, m, _, err := readFrame(s.file, at.offset, at.offset+at.length)
		if err != nil {
			f.Close()
			return &CorruptError{File: s.path(), Offset: at.offset, What: err.Error()}
		}
		if m.Value.over(now) {
			continue
		}
		before := len(buf)
		buf = appendFrame(buf, 0, &m)
		index[key] = place{size, int64(len(buf) - before)}
		size += int64(len(buf) - before)
		if len(buf) >= 1<<20 {
			if err := flush(); err != nil {
				f.Close()
				return err
			}
		}
	}
	return s.replace(f, firstError(flush(), f.Sync()), index, size)
}

// replace puts the file f in the place of the current one, unless err.
func (s *fileStore) replace(f *os.File, err error, index map[string]place, size int64) error {
	if err == nil {
		err = os.Rename(s.temporary(), filepath.Join(s.dir, storeName))
	}
	if err != nil {
		f.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Close()
	s.file, s.index, s.size, s.live = f, index, size, size
	return syncDir(s.dir)
}

// clear forgets everything.
func (s *fileStore) clear() error {
	s.applying.Lock()
	defer s.applying.Unlock()
	f, err := os.OpenFile(s.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return s.replace(f, f.Sync(), map[string]place{}, 0)
}

// usage returns the number of keys and the size of the file.
func (s *fileStore) usage() (keys int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index), s.size
}

func (s *fileStore) close() error { return s.file.Close() }
