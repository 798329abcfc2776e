package kvcluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/btree"
)

// An Engine is where one node keeps its share of the data: the port behind which
// an existing store can stand. Keys are ordered bytewise; key and value are bytes
// that the engine does not look into.
//
// An Engine is safe for concurrent use by multiple goroutines.
type Engine interface {
	// Get returns the value of a key, which the caller does not change.
	Get(key []byte) (value []byte, ok bool, err error)

	// Put stores a value. When it returns, the value is as durable as the
	// engine's settings say. It keeps neither key nor value.
	Put(key, value []byte) error

	// Delete removes a key, if it is there.
	Delete(key []byte) error

	// Scan iterates over the entries with keys from min on, in order. What is
	// written meanwhile may show or not. The error comes once, last.
	Scan(min []byte) iter.Seq2[Entry, error]

	// Stats returns figures for people. Those that the engine has not are zero.
	Stats() EngineStats

	// Backup writes all entries, as they are at some moment during the call, into
	// an empty directory, in the format of [WriteBackup].
	Backup(ctx context.Context, dir string) error

	// Close ends the engine's work. What was stored is durable afterwards.
	Close() error
}

// A Merger is an engine that writes what it has anew when that is worth it, and can be
// told to do so now.
type Merger interface {
	Merge(ctx context.Context) error
}

// An Entry is a key and its value, which are not to be changed and are valid
// until the iteration goes on.
type Entry struct{ Key, Value []byte }

// EngineStats are the figures of an engine.
type EngineStats struct {
	Name   string // of the kind of engine
	Keys   int
	Bytes  int64  // of keys and values
	Disk   int64  // bytes taken on disk
	Raw    int64  // bytes that were compressed
	Packed int64  // and what became of them
	Hits   uint64 // of compressed blocks in the read cache
	Misses uint64 // blocks that had to be decompressed
}

// memory is an engine without a disk, for tests and for clusters of which nothing
// is to stay.
type memory struct {
	mu    sync.RWMutex
	tree  *btree.BTreeG[Entry] // entries are replaced, never changed
	bytes int64
}

func newMemory() *memory {
	return &memory{tree: btree.NewG(32, func(a, b Entry) bool { return bytes.Compare(a.Key, b.Key) < 0 })}
}

func (m *memory) Get(key []byte) ([]byte, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.tree.Get(Entry{Key: key})
	return e.Value, ok, nil
}

func (m *memory) Put(key, value []byte) error {
	e := Entry{bytes.Clone(key), bytes.Clone(value)}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, had := m.tree.ReplaceOrInsert(e)
	m.bytes += int64(len(key) + len(value))
	if had {
		m.bytes -= int64(len(old.Key) + len(old.Value))
	}
	return nil
}

func (m *memory) Delete(key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, had := m.tree.Delete(Entry{Key: key}); had {
		m.bytes -= int64(len(old.Key) + len(old.Value))
	}
	return nil
}

// Scan walks over a copy that shares what does not change.
func (m *memory) Scan(min []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		m.mu.Lock() // Clone changes the tree that it is called on
		tree := m.tree.Clone()
		m.mu.Unlock()
		tree.AscendGreaterOrEqual(Entry{Key: min}, func(e Entry) bool { return yield(e, nil) })
	}
}

func (m *memory) Stats() EngineStats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return EngineStats{Name: "memory", Keys: m.tree.Len(), Bytes: m.bytes}
}

func (m *memory) Backup(ctx context.Context, dir string) error {
	return WriteBackup(ctx, dir, m.Scan(nil))
}

func (m *memory) Close() error { return nil }

// The file that a backup consists of: a magic line, then for each entry the lengths
// of key and value as uvarints and both, then a zero byte and a CRC of all
// before it.
const (
	backupFile  = "entries.akv"
	backupMagic = "ashlar kvcluster backup 1\n"
	maxEntry    = 1 << 30
)

// WriteBackup writes entries into a directory, which it makes. A backup is
// complete when WriteBackup has returned nil: it is synced, and its name is given
// to it last.
func WriteBackup(ctx context.Context, dir string, entries iter.Seq2[Entry, error]) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Stat(backupFile); err == nil {
		return fmt.Errorf("kvcluster: there is a backup in %s already", dir)
	}
	f, err := root.Create(backupFile + ".part")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := newSummed(f)
	w.write([]byte(backupMagic))
	var head []byte
	for e, err := range entries {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		head = binary.AppendUvarint(head[:0], uint64(len(e.Key))+1)
		head = binary.AppendUvarint(head, uint64(len(e.Value)))
		w.write(head)
		w.write(e.Key)
		w.write(e.Value)
	}
	w.write([]byte{0})
	if err := w.finish(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := root.Rename(backupFile+".part", backupFile); err != nil {
		return err
	}
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadBackup iterates over the entries of a backup. A file that is damaged or cut
// short gives an error that says where; what came before it is whole but may
// be too little, so check with [CheckBackup] first.
func ReadBackup(dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		f, err := os.Open(filepath.Join(dir, backupFile))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer f.Close()
		r := newSummedReader(f)
		if err := r.entries(yield); err != nil {
			yield(Entry{}, fmt.Errorf("kvcluster: %s: at byte %d: %w", filepath.Join(dir, backupFile), r.at, err))
		}
	}
}

// CheckBackup reads a backup and returns how many entries it has.
func CheckBackup(dir string) (entries int, err error) {
	for _, err := range ReadBackup(dir) {
		if err != nil {
			return 0, err
		}
		entries++
	}
	return entries, nil
}

var (
	errBackupMagic = errors.New("not a backup")
	errBackupSum   = errors.New("bad checksum")
)

// entries reads everything up to the checksum; after yield returned false it
// returns nil at once.
func (r *summedReader) entries(yield func(Entry, error) bool) error {
	magic, err := r.take(len(backupMagic))
	if err != nil || string(magic) != backupMagic {
		return errors.Join(errBackupMagic, err)
	}
	for {
		n, err := r.uvarint()
		if err != nil {
			return err
		}
		if n == 0 {
			return r.finish()
		}
		size, err := r.uvarint()
		if err != nil {
			return err
		}
		if n > maxEntry || size > maxEntry {
			return fmt.Errorf("an entry of %d and %d bytes", n, size)
		}
		key, err := r.take(int(n) - 1)
		if err != nil {
			return err
		}
		value, err := r.take(int(size))
		if err != nil {
			return err
		}
		if !yield(Entry{key, value}, nil) {
			return nil
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
