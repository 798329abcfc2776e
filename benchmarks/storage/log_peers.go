package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/tidwall/wal"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// logOpeners open the logs, by name.
var logOpeners = map[string]logOpener{
	"tidwall/wal":    openTidwall,
	"raft-wal":       openRaftWAL,
	"etcd wal":       openEtcd,
	"write":          openPlain(0),
	"buffered write": openPlain(64 << 10),
}

type tidwallLog struct {
	mu    sync.Mutex
	log   *wal.Log
	last  uint64
	batch wal.Batch
}

func openTidwall(dir string, durable bool) recordLog {
	log := must(wal.Open(dir, &wal.Options{NoSync: !durable, NoCopy: true}))
	return &tidwallLog{log: log, last: must(log.LastIndex())}
}

func (l *tidwallLog) append(records [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(records) == 1 {
		l.last++
		check(l.log.Write(l.last, records[0]))
		return
	}
	for _, record := range records {
		l.last++
		l.batch.Write(l.last, record)
	}
	check(l.log.WriteBatch(&l.batch))
}

// read begins without the segments in memory, but for the last, which it always holds.
func (l *tidwallLog) read(visit func([]byte)) error {
	check(l.log.ClearCache())
	for i := uint64(1); i <= l.last; i++ {
		record, err := l.log.Read(i)
		if err != nil {
			return err
		}
		visit(record)
	}
	return nil
}

func (l *tidwallLog) flush() {}
func (l *tidwallLog) close() { check(l.log.Close()) }

type raftWALLog struct {
	mu   sync.Mutex
	log  *raftwal.WAL
	last uint64
}

func openRaftWAL(dir string, _ bool) recordLog {
	check(os.MkdirAll(dir, 0o750))
	log := must(raftwal.Open(dir))
	return &raftWALLog{log: log, last: must(log.LastIndex())}
}

func (l *raftWALLog) append(records [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	logs := make([]*raft.Log, len(records))
	for i, record := range records {
		l.last++
		logs[i] = &raft.Log{Index: l.last, Term: 1, Data: record}
	}
	check(l.log.StoreLogs(logs))
}

func (l *raftWALLog) read(visit func([]byte)) error {
	var entry raft.Log
	for i := uint64(1); i <= l.last; i++ {
		if err := l.log.GetLog(i, &entry); err != nil {
			return err
		}
		visit(entry.Data)
	}
	return nil
}

func (l *raftWALLog) flush() {}
func (l *raftWALLog) close() { check(l.log.Close()) }

// etcdLog reads what it holds as etcd does: all of it, when it is opened.
type etcdLog struct {
	mu      sync.Mutex
	dir     string
	durable bool
	log     *etcdwal.WAL
	last    uint64
	found   []*raftpb.Entry
}

func openEtcd(dir string, durable bool) recordLog {
	l := &etcdLog{dir: dir, durable: durable}
	if etcdwal.Exist(dir) {
		check(l.reopen())
		return l
	}
	l.log = must(etcdwal.Create(zap.NewNop(), dir, nil))
	l.mode()
	return l
}

func (l *etcdLog) mode() {
	if !l.durable {
		l.log.SetUnsafeNoFsync()
	}
}

// reopen repairs a log whose end is torn, as etcd does when it starts.
func (l *etcdLog) reopen() (err error) {
	for attempt := 0; ; attempt++ {
		if l.log, err = etcdwal.Open(zap.NewNop(), l.dir, &walpb.Snapshot{}); err != nil {
			return err
		}
		l.mode()
		if _, _, l.found, err = l.log.ReadAll(); err == nil {
			break
		}
		if attempt > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := l.log.Close(); err != nil || !etcdwal.Repair(zap.NewNop(), l.dir) {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	l.last = uint64(len(l.found))
	return nil
}

func (l *etcdLog) append(records [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := make([]*raftpb.Entry, len(records))
	for i, record := range records {
		l.last++
		entries[i] = &raftpb.Entry{Index: new(l.last), Term: new(uint64(1)), Data: record}
	}
	check(l.log.Save(&raftpb.HardState{}, entries))
}

func (l *etcdLog) read(visit func([]byte)) error {
	if l.found == nil {
		if err := errors.Join(l.log.Close(), l.reopen()); err != nil {
			return err
		}
	}
	for _, entry := range l.found {
		visit(entry.Data)
	}
	return nil
}

func (l *etcdLog) flush() {}
func (l *etcdLog) close() { check(l.log.Close()) }

// plainLog is no log: records one after the other in a file, without anything
// that would find them again.
type plainLog struct {
	mu      sync.Mutex
	dir     vfs.FS
	file    vfs.File
	at      int64
	durable bool
	buffer  *bufio.Writer // nil for a write each
}

func openPlain(buffer int) logOpener {
	return func(path string, durable bool) recordLog {
		l := &plainLog{durable: durable, dir: must(vfs.Dir(path))}
		l.file = must(l.dir.OpenFile("plain", os.O_RDWR|os.O_CREATE, 0o600))
		l.at = must(l.file.Size())
		if buffer > 0 {
			l.buffer = bufio.NewWriterSize(l, buffer)
		}
		return l
	}
}

// Write appends to the file.
func (l *plainLog) Write(p []byte) (int, error) {
	n, err := l.file.WriteAt(p, l.at)
	l.at += int64(n)
	return n, err
}

func (l *plainLog) append(records [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buffer != nil {
		for _, record := range records {
			must(l.buffer.Write(record))
		}
	} else {
		for _, record := range records {
			must(l.Write(record))
		}
	}
	if l.durable {
		l.flush()
		check(l.file.Sync())
	}
}

func (l *plainLog) flush() {
	if l.buffer != nil {
		check(l.buffer.Flush())
	}
}

func (l *plainLog) read(visit func([]byte)) error {
	buffer := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := l.file.ReadAt(buffer, at)
		if visit(buffer[:n]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		at += int64(n)
	}
}

func (l *plainLog) close() {
	l.flush()
	check(errors.Join(l.file.Close(), l.dir.Close()))
}

// logFiles returns the files of a log, with their contents.
func logFiles(dir string) map[string][]byte {
	files := map[string][]byte{}
	check(filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files[path] = must(os.ReadFile(path))
		}
		return err
	}))
	return files
}
