package kvstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Backup makes a copy of the store, as it is when Backup begins, in a directory
// that must be empty or missing. Open opens it. Reads and writes go on meanwhile.
//
// It ends the active segment, so that all that is copied is immutable, and makes
// hard links where the two directories are on one file system. Linked files share
// their space, and damage, with the store: to keep a backup from that, put it on
// another disk. When Backup returns the copy is durable. If it fails it
// removes what it has copied; if the process dies meanwhile, there is no manifest
// in the directory, and Open refuses what was copied.
func (s *Store) Backup(ctx context.Context, dir string) error {
	to, err := openFS(dir)
	if err != nil {
		return fmt.Errorf("kvstore: backup: %w", err)
	}
	link := func(name string) error {
		if s.path == "" {
			return errors.ErrUnsupported
		}
		return os.Link(filepath.Join(s.path, name), filepath.Join(dir, name))
	}
	return errors.Join(s.backup(ctx, to, link), to.Close())
}

func (s *Store) backup(ctx context.Context, to vfs.FS, link func(name string) error) error {
	if err := checkEmpty(to); err != nil { // before there is a lock file in it
		return err
	}
	lock, err := to.Lock(lockName)
	if err != nil {
		return lockError(err)
	}
	defer lock.Close()
	if err := checkEmpty(to); err != nil {
		return err
	}
	if err := s.copyAll(ctx, to, link); err != nil {
		return errors.Join(err, removeAll(to))
	}
	return nil
}

// filesIn lists a directory, without the lock.
func filesIn(dir vfs.FS) ([]string, error) {
	names, err := dir.List()
	if err != nil {
		return nil, fmt.Errorf("kvstore: backup: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == lockName }), nil
}

func checkEmpty(dir vfs.FS) error {
	names, err := filesIn(dir)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("kvstore: backup: the directory is not empty: it has %s", names[0])
	}
	return err
}

// removeAll removes every file but the lock.
func removeAll(dir vfs.FS) error {
	names, err := filesIn(dir)
	for _, name := range names {
		if failed := dir.Remove(name); failed != nil {
			err = errors.Join(err, fmt.Errorf("kvstore: backup: %w", failed))
		}
	}
	return err
}

// copyAll copies the present state to an empty directory.
func (s *Store) copyAll(ctx context.Context, to vfs.FS, link func(name string) error) error {
	n, err := s.freezeAll()
	if err != nil {
		return err
	}
	defer n.Close()
	m := manifest{next: n.next, durable: n.lsn}
	for _, g := range n.version.segments {
		if g.kind == logSegment && g.base >= n.lsn {
			continue // what is written since
		}
		end := g.end.Load()
		if err := s.copyFile(ctx, to, g.name(), end, link); err != nil {
			return err
		}
		if err := s.copyFile(ctx, to, hintName(g.id), -1, link); err != nil {
			return err
		}
		m.segments = append(m.segments, manifestSegment{g.kind, g.id, end})
	}
	last := &segment{kind: logSegment, id: m.next, salt: n.salt, base: n.lsn}
	m.log = m.next
	m.next++
	if err := createLog(to, last, 0); err != nil {
		return err
	}
	if err := errors.Join(last.file.Sync(), last.file.Close()); err != nil {
		return fmt.Errorf("kvstore: backup: %w", err)
	}
	return m.store(to)
}

// A frozen is a snapshot of which every segment but the last is full and
// sealed.
type frozen struct {
	*Snapshot
	lsn  int64 // end of the log
	salt uint64
	next uint64
}

// freezeAll ends the active segment, takes a snapshot, and seals what is in it.
func (s *Store) freezeAll() (*frozen, error) {
	now := s.opts.Now().UnixMilli()
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if s.log.active.offset(s.log.end) > headerBytes {
		if err := s.log.rotate(0); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	n := &frozen{s.snapshot(now), s.log.end, s.log.active.salt, s.nextID}
	s.mu.Unlock()
	for {
		s.keeper.work.Lock()
		more, err := s.sealFull()
		s.keeper.work.Unlock()
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		if !more {
			return n, nil
		}
	}
}

// copyFile links a file of the store, or copies its first size bytes, all of
// them if size is negative.
func (s *Store) copyFile(ctx context.Context, to vfs.FS, name string, size int64, link func(name string) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("kvstore: backup: %w", err)
	}
	from, err := s.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("kvstore: backup: %w", err)
	}
	defer from.Close()
	if link(name) == nil {
		same, err := sameHeader(to, name, from)
		if same || err != nil {
			return err
		}
		// The directory was renamed, and another has its name now.
		if err := to.Remove(name); err != nil {
			return fmt.Errorf("kvstore: backup: %w", err)
		}
	}
	if size < 0 {
		if size, err = from.Size(); err != nil {
			return fmt.Errorf("kvstore: backup: %w", err)
		}
	}
	f, err := to.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return full(name, err)
	}
	err = copyBytes(ctx, f, from, size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return full(name, err)
	}
	return nil
}

// sameHeader reports whether a file begins as another does, with the same salt,
// which is random.
func sameHeader(to vfs.FS, name string, from vfs.File) (bool, error) {
	f, err := to.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false, fmt.Errorf("kvstore: backup: %w", err)
	}
	defer f.Close()
	var a, b [headerBytes]byte
	_, err1 := f.ReadAt(a[:], 0)
	_, err2 := from.ReadAt(b[:], 0)
	if err := errors.Join(err1, err2); err != nil {
		return false, fmt.Errorf("kvstore: backup: %s: %w", name, err)
	}
	return a == b, nil
}

func copyBytes(ctx context.Context, to, from vfs.File, size int64) error {
	b := make([]byte, 1<<20)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadAt(b[:min(size-at, int64(len(b)))], at)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := to.WriteAt(b[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
