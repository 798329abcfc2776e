package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
)

// script turns bytes into calls on a file system and notes what each returned, so
// that two file systems can be compared.
type script struct {
	d     FS
	files [3]File
	notes []string
}

func (s *script) note(op string, result any, err error) {
	kind := "fine"
	for name, is := range map[string]error{"not exist": fs.ErrNotExist, "exist": fs.ErrExist, "closed": fs.ErrClosed} {
		if errors.Is(err, is) {
			kind = name
		}
	}
	if err != nil && kind == "fine" {
		kind = "failed"
	}
	s.notes = append(s.notes, fmt.Sprintf("%s: %v, %s", op, result, kind))
}

func (s *script) run(ops []byte) {
	for ; len(ops) >= 4; ops = ops[4:] {
		name, other := string('a'+ops[1]%3), string('a'+ops[2]%3)
		slot, off := int(ops[1]%3), int64(ops[2])*97
		length := int(ops[3]) * 41
		f := s.files[slot]
		switch op := ops[0] % 12; {
		case op == 0:
			s.open(slot, name, ops[3])
		case op == 1:
			s.note("remove", nil, s.d.Remove(name))
		case op == 2:
			s.note("rename", nil, s.d.Rename(name, other))
		case op == 3:
			names, err := s.d.List()
			s.note("list", names, err)
		case op == 4:
			size, _, err := s.d.Stat(name)
			s.note("stat", size, err)
		case f == nil:
		case op == 5:
			p := make([]byte, length)
			for i := range p {
				p[i] = ops[3] + byte(i)
			}
			n, err := f.WriteAt(p, off)
			s.note("write", n, err)
		case op == 6:
			p := make([]byte, length)
			n, err := f.ReadAt(p, off)
			s.note("read", p[:n], err)
		case op == 7:
			s.note("truncate", nil, f.Truncate(off))
		case op == 8:
			s.note("allocate", nil, f.Allocate(off))
		case op == 9:
			s.note("sync", nil, errors.Join(f.Sync(), s.d.SyncDir()))
		case op == 10:
			size, err := f.Size()
			s.note("size", size, err)
		default:
			data, unmap, err := f.Map()
			s.note("map", append([]byte(nil), data...), err)
			if err == nil {
				s.note("unmap", nil, unmap())
			}
		}
	}
}

func (s *script) open(slot int, name string, how byte) {
	if s.files[slot] != nil {
		s.note("close", nil, s.files[slot].Close())
		s.files[slot] = nil
		return
	}
	flag := os.O_RDWR
	for bit, extra := range []int{os.O_CREATE, os.O_TRUNC, os.O_EXCL} {
		if how>>bit&1 != 0 {
			flag |= extra
		}
	}
	f, err := s.d.OpenFile(name, flag, 0o600)
	if err == nil {
		s.files[slot] = f
	}
	s.note("open", name, err)
}

func (s *script) close() {
	for _, f := range s.files {
		if f != nil {
			f.Close()
		}
	}
	s.d.Close()
}

// Mem does what the disk does.
func FuzzMemIsADir(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x05\x00\x01\x20\x09\x00\x00\x00\x07\x00\x02\x00\x06\x00\x00\xff"))
	f.Add([]byte("\x00\x00\x00\x01\x05\x00\x30\x80\x07\x00\x10\x00\x08\x00\x40\x00\x0b\x00\x00\x00\x02\x00\x01\x00\x03\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x01\x00\x01\x00\x01\x05\x00\x05\xff\x05\x01\x07\xf0\x02\x00\x01\x00\x06\x01\x00\xff\x01\x01\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 4*64 {
			return
		}
		d, err := Dir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m := NewMem()
		onDisk, inMemory := &script{d: d}, &script{d: m}
		onDisk.run(ops)
		inMemory.run(ops)
		for i := range onDisk.notes {
			if i >= len(inMemory.notes) || onDisk.notes[i] != inMemory.notes[i] {
				t.Fatalf("call %d: disk %s, memory %s", i, onDisk.notes[i], inMemory.notes[i])
			}
		}
		checkInvariants(t, m)
		loaded, err := Load(os.DirFS(d.(*dir).root.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !Equal(loaded, m) {
			t.Fatalf("files on disk %v, in memory %v, or their bytes differ", loaded.Paths(), m.Paths())
		}
		onDisk.close()
		inMemory.close()
		if open := m.Open(); len(open) > 0 {
			t.Fatalf("left open: %v", open)
		}
		checkInvariants(t, m)
	})
}

// checkInvariants holds every file against what its comments say.
func checkInvariants(t *testing.T, m *Mem) {
	t.Helper()
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	var used int64
	seen := map[*inode]int{}
	var visit func(dir *directory)
	visit = func(dir *directory) {
		for _, n := range dir.entries {
			switch n := n.(type) {
			case *directory:
				visit(n)
			case *inode:
				seen[n]++
			}
		}
		found := map[string]node{}
		maps.Copy(found, dir.durable)
		for _, c := range dir.pending {
			apply(found, c)
		}
		if !reflect.DeepEqual(names(found), names(dir.entries)) {
			t.Errorf("durable and pending entries make %v, not %v", names(found), names(dir.entries))
		}
	}
	visit(m.disk.root)
	for f := range m.disk.open {
		if f, ok := f.(*memFile); ok {
			seen[f.inode] += 0
		}
	}
	for n, links := range seen {
		used += n.held()
		if n.links != links {
			t.Errorf("%d links, counted %d", links, n.links)
		}
		for i, s := range n.slots {
			if from := n.size - int64(i*pageSize); from >= 0 && from < pageSize && s.current != nil && strings.Trim(string(s.current[from:]), "\x00") != "" {
				t.Errorf("bytes beyond the size %d are not zero", n.size)
			}
			for at := range 8 {
				if (s.dirty|s.lost)>>at&1 == 0 && sectorOf(s.current, at) != sectorOf(s.durable, at) {
					t.Errorf("sector %d differs from its durable content and is not dirty", 8*i+at)
				}
				if end := int64(i*pageSize + at*sectorSize); end >= n.size && sectorOf(s.current, at) != [sectorSize]byte{} {
					t.Errorf("sector %d beyond the size %d is not zero", 8*i+at, n.size)
				}
			}
		}
	}
	if used != m.disk.used {
		t.Errorf("%d bytes held, counted %d", used, m.disk.used)
	}
}

func sectorOf(p *page, at int) (content [sectorSize]byte) {
	if p != nil {
		copy(content[:], p.sector(at))
	}
	return content
}

func names(entries map[string]node) map[string]string {
	found := map[string]string{}
	for name, n := range entries {
		found[name] = fmt.Sprintf("%p", n)
	}
	return found
}
