package tail

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	headBytes = 1024 // of the first bytes that make a mark
	tailBytes = 256  // of the last ones
)

// A Mark is a place in a file, with enough of what is before it to tell
// whether a file is still that one. It grows with the file.
type Mark struct {
	Offset  int64
	HeadLen int    // the first bytes, at most 1024 and Offset
	Head    uint64 // their hash
	TailLen int    // the last bytes before Offset, at most 256
	Tail    uint64 // their hash
}

// A Position is a mark in a file.
type Position struct {
	ID   uint64 // of the content: a file that is truncated gets another
	Base string // path of the base name of the family
	Name string // path of the file itself
	Dev  uint64
	Ino  uint64
	Mark Mark
	Past bool // the content is in no file that is followed any more
}

// State is how far a Tailer is. It is JSON for whoever keeps it.
type State struct {
	Since  time.Time  // of the first run: older files under rotated names are not read
	Polled bool       // there was a round: what appears from now on is new
	NextID uint64     // IDs from here on are free
	Files  []Position // in order of ID
}

// Apply brings a state up to date with a position that a sink got after the
// state was saved: at a restart an agent applies what its queue has.
func (s *State) Apply(p Position) {
	s.NextID = max(s.NextID, p.ID+1)
	i, ok := slices.BinarySearchFunc(s.Files, p.ID, func(f Position, id uint64) int { return compare(f.ID, id) })
	switch {
	case !ok:
		s.Files = slices.Insert(s.Files, i, p)
	case s.Files[i].Mark.Offset <= p.Mark.Offset:
		s.Files[i] = p
	}
	// An inode belongs to the newest content that it had.
	for j := range s.Files {
		if f := &s.Files[j]; f.ID < p.ID && !f.Past && f.Dev == p.Dev && f.Ino == p.Ino {
			f.Past = true
		}
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// State returns how far the sink has taken what there is.
func (t *Tailer) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state
	s.Files = nil
	for _, fam := range t.families {
		for _, f := range fam.files {
			if f.held == 0 && !f.done { // of those it is decided again
				s.Files = append(s.Files, f.position(false))
			}
		}
		for _, f := range fam.past {
			s.Files = append(s.Files, f.position(true))
		}
	}
	slices.SortFunc(s.Files, func(a, b Position) int { return compare(a.ID, b.ID) })
	return s
}

func (f *file) position(past bool) Position {
	return Position{ID: f.id, Base: f.family.base, Name: f.name, Dev: f.inode.dev, Ino: f.inode.ino, Mark: f.mark, Past: past}
}

// restore takes over a state. Files are looked at in the first round.
func (t *Tailer) restore(s *State) {
	t.state = *s
	t.state.Files = nil
	for _, p := range s.Files {
		fam := t.family(p.Base)
		f := &file{id: p.ID, family: fam, name: p.Name, inode: inode{p.Dev, p.Ino}, mark: p.Mark, pos: p.Mark.Offset, unverified: true}
		if _, taken := t.byInode[f.inode]; p.Past || taken {
			f.gone = t.options.Now()
			fam.addPast(f)
			continue
		}
		fam.files = append(fam.files, f)
		t.byInode[f.inode] = f
	}
}

func readFull(r io.ReaderAt, p []byte, at int64) bool {
	if len(p) == 0 {
		return true
	}
	n, _ := r.ReadAt(p, at)
	return n == len(p)
}

// advance moves the mark behind n bytes of buf, which it drops.
func (f *file) advance(n int) {
	taken := f.buf[:n]
	if room := headBytes - len(f.head); room > 0 && int64(len(f.head)) == f.mark.Offset {
		f.head = append(f.head, taken[:min(room, n)]...)
	}
	f.tail = lastBytes(f.tail, taken, tailBytes)
	f.mark = Mark{
		Offset:  f.mark.Offset + int64(n),
		HeadLen: len(f.head), Head: xxhash.Sum64(f.head),
		TailLen: len(f.tail), Tail: xxhash.Sum64(f.tail),
	}
	f.buf = f.buf[n:]
	if len(f.buf) == 0 {
		f.buf = nil
	}
}

// lastBytes returns the last n bytes of a and b together, as a new slice.
func lastBytes(a, b []byte, n int) []byte {
	if len(b) >= n {
		return bytes.Clone(b[len(b)-n:])
	}
	a = a[max(0, len(a)-(n-len(b))):]
	return slices.Concat(a, b)
}
