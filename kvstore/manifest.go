package kvstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The manifest is a text file that names the segments. It is replaced as a
// whole, by a rename, so that there is one moment at which the segments that a
// merge has read are gone and the one that it has written is there:
//
//	ashlar kvstore 1
//	next 7                 smallest number that no segment has had
//	log 6                  first log segment that is not full, or was not known to be
//	durable 1048576        every LSN below was durable
//	segment log 3 4194368  full segments: kind, number, bytes
//	segment table 5 901120
//	sum 0a1b2c3d           CRC-32C of the lines above
//
// Log segments with numbers from that in the line "log" are not listed: each
// names the one before and how long it is. Files of other segments are
// leftovers, and removed.
const (
	manifestName  = "MANIFEST"
	manifestTemp  = "MANIFEST.new"
	manifestFirst = "ashlar kvstore 1"
	lockName      = "LOCK"
	maxManifest   = 64 << 20
)

type manifest struct {
	next     uint64
	log      uint64
	durable  int64
	segments []manifestSegment
}

type manifestSegment struct {
	kind segmentKind
	id   uint64
	size int64
}

func (m *manifest) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nnext %d\nlog %d\ndurable %d\n", manifestFirst, m.next, m.log, m.durable)
	for _, s := range m.segments {
		fmt.Fprintf(&b, "segment %v %d %d\n", s.kind, s.id, s.size)
	}
	fmt.Fprintf(&b, "sum %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

// store replaces the manifest, durably, along with all entries of the
// directory.
func (m *manifest) store(dir vfs.FS) error {
	f, err := dir.OpenFile(manifestTemp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return full(manifestName, err)
	}
	_, err = f.WriteAt(m.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		// What the manifest names must be there when it is.
		if err = dir.SyncDir(); err == nil {
			err = dir.Rename(manifestTemp, manifestName)
		}
	}
	if err != nil {
		return full(manifestName, errors.Join(err, dir.Remove(manifestTemp)))
	}
	if err := dir.SyncDir(); err != nil {
		return fmt.Errorf("kvstore: %s: %w", manifestName, err)
	}
	return nil
}

// loadManifest reads the manifest. If there is none the error is
// fs.ErrNotExist.
func loadManifest(dir vfs.FS) (*manifest, error) {
	size, _, err := dir.Stat(manifestName)
	if err != nil {
		return nil, fmt.Errorf("kvstore: %w", err)
	}
	if size > maxManifest {
		return nil, &CorruptError{File: manifestName, Offset: -1, Reason: "too large"}
	}
	f, err := dir.OpenFile(manifestName, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("kvstore: %w", err)
	}
	data := make([]byte, size)
	_, err = f.ReadAt(data, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("kvstore: %s: %w", manifestName, err)
	}
	return parseManifest(string(data))
}

func parseManifest(data string) (*manifest, error) {
	corrupt := func(reason string) error { return &CorruptError{File: manifestName, Offset: -1, Reason: reason} }
	at := strings.LastIndex(data, "sum ")
	if at < 0 || data[at:] != fmt.Sprintf("sum %08x\n", crc32.Checksum([]byte(data[:at]), castagnoli)) {
		return nil, corrupt("bad checksum")
	}
	first, body, _ := strings.Cut(data[:at], "\n")
	if first != manifestFirst {
		return nil, fmt.Errorf("kvstore: %s: %q: %w", manifestName, first, ErrFormat)
	}
	m := &manifest{}
	for line := range strings.Lines(body) {
		var err error
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "next":
			m.next, err = strconv.ParseUint(words[1], 10, 63)
		case len(words) == 2 && words[0] == "log":
			m.log, err = strconv.ParseUint(words[1], 10, 63)
		case len(words) == 2 && words[0] == "durable":
			m.durable, err = strconv.ParseInt(words[1], 10, 64)
		case len(words) == 4 && words[0] == "segment" && (words[1] == "log" || words[1] == "table"):
			s := manifestSegment{kind: logSegment}
			if words[1] == "table" {
				s.kind = tableSegment
			}
			var err2 error
			s.id, err = strconv.ParseUint(words[2], 10, 63)
			s.size, err2 = strconv.ParseInt(words[3], 10, 64)
			if s.size < headerBytes || s.size > 1<<32 {
				err2 = fs.ErrInvalid
			}
			err = errors.Join(err, err2)
			m.segments = append(m.segments, s)
		default:
			err = fs.ErrInvalid
		}
		if err != nil {
			return nil, corrupt("bad line " + strconv.Quote(strings.TrimSpace(line)))
		}
	}
	return m, nil
}

// parseName reads the name of a file of a segment.
func parseName(name string) (id uint64, suffix string, ok bool) {
	number, suffix, found := strings.Cut(name, ".")
	if !found || len(number) != 16 {
		return 0, "", false
	}
	id, err := strconv.ParseUint(number, 16, 63)
	ok = err == nil && (suffix == "log" || suffix == "tab" || suffix == "hint")
	return id, suffix, ok && segmentName(id, suffix) == name // not in capitals
}
