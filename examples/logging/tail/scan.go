package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (t *Tailer) family(base string) *family {
	fam := t.families[base]
	if fam == nil {
		fam = &family{base: base, epoch: 1}
		t.families[base] = fam
	}
	return fam
}

// order returns all files: those under rotated names first, since their lines
// are the older ones.
func (t *Tailer) order() []*file {
	var old, current []*file
	for _, fam := range t.families {
		for _, f := range fam.files {
			if f.name == fam.base {
				current = append(current, f)
			} else {
				old = append(old, f)
			}
		}
	}
	slices.SortFunc(old, func(a, b *file) int { return a.modified.Compare(b.modified) })
	slices.SortFunc(current, func(a, b *file) int { return strings.Compare(a.name, b.name) })
	return append(old, current...)
}

// inspect looks at the open files: which were truncated.
func (t *Tailer) inspect(now time.Time) {
	for _, fam := range t.families {
		for _, f := range fam.files {
			if f.os == nil || f.stream != nil {
				continue
			}
			info, err := f.os.Stat()
			if err != nil {
				t.errored("stat "+f.name, err)
				continue
			}
			changed := info.Size() != f.size || !info.ModTime().Equal(f.modified)
			f.modified = info.ModTime()
			if info.Size() < f.pos || changed && f.pos > 0 && !f.same() {
				t.truncated(f, now)
			}
			f.size = info.Size()
		}
	}
}

// discover lists the directories: what is new, what has another name, what is
// gone.
func (t *Tailer) discover(now time.Time) {
	first := !t.state.Polled
	seen := map[inode]bool{}
	hidden := map[string]bool{} // directories and files of which it is not known whether they are there
	var unknown []*sight
	for dir, matched := range t.directories() {
		list, err := os.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.errored("list "+dir, err)
				hidden[dir] = true
			}
			continue
		}
		t.watch.add(dir)
		for _, entry := range list {
			name := entry.Name()
			fam, base := t.belongs(dir, name, matched)
			if fam == nil || entry.IsDir() {
				continue
			}
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.errored("stat "+path, err)
				hidden[path] = true
			}
			if err != nil || !info.Mode().IsRegular() {
				continue // it may have gone meanwhile
			}
			id := identify(path, info)
			if seen[id] {
				continue // another name of the same file
			}
			seen[id] = true
			s := &sight{family: t.family(base), path: path, inode: id, info: info, now: now, first: first, matched: matched[name]}
			if !t.meet(s) {
				unknown = append(unknown, s)
			}
		}
	}
	for _, fam := range t.families {
		for _, f := range slices.Clone(fam.files) {
			if seen[f.inode] || !f.gone.IsZero() || hidden[f.name] || hidden[filepath.Dir(f.name)] {
				continue
			}
			f.gone = now
			fam.epoch++
			if f.os == nil { // nothing more can come of it, but it may turn up again
				t.forget(f)
				fam.leave(f)
			}
		}
	}
	// What is new can be told only when it is known what is gone.
	for _, s := range unknown {
		t.adopt(s)
	}
}

// directories returns the directories to list, and in each the names that the
// patterns match.
func (t *Tailer) directories() map[string]map[string]bool {
	dirs := map[string]map[string]bool{}
	in := func(dir string) map[string]bool {
		if dirs[dir] == nil {
			dirs[dir] = map[string]bool{}
		}
		return dirs[dir]
	}
	for _, pattern := range t.options.Patterns {
		paths, _ := filepath.Glob(pattern) // New has checked the pattern
		for _, path := range paths {
			if compression(path) == "" {
				in(filepath.Dir(path))[filepath.Base(path)] = true
			}
		}
		if dir := filepath.Dir(pattern); !strings.ContainsAny(dir, `*?[`) {
			in(dir)
		}
	}
	for base := range t.families {
		in(filepath.Dir(base))
	}
	return dirs
}

// belongs returns the family of a name, or nil: its own if it is the base of
// one, else that of the name that it is a rotated form of, else a new one if a
// pattern matches it. The family is made when the file turns out to be one.
func (t *Tailer) belongs(dir, name string, matched map[string]bool) (*family, string) {
	path := filepath.Join(dir, name)
	if fam := t.families[path]; fam != nil {
		return fam, path
	}
	best := ""
	consider := func(base string) {
		if len(base) > len(best) && rotated(name, base) {
			best = base
		}
	}
	for base := range matched {
		consider(base)
	}
	for base := range t.families {
		if filepath.Dir(base) == dir {
			consider(filepath.Base(base))
		}
	}
	switch {
	case best != "":
		path = filepath.Join(dir, best)
	case !matched[name]:
		return nil, ""
	}
	if fam := t.families[path]; fam != nil {
		return fam, path
	}
	return &family{}, path
}

// A sight is a file that a directory has.
type sight struct {
	family  *family
	path    string
	inode   inode
	info    fs.FileInfo
	now     time.Time
	first   bool  // in the first round ever
	matched bool  // by a pattern
	held    *file // what it was as long as it was held, if it was
}

// meet brings what is known of a file in line with its name. It reports
// whether the file is known.
func (t *Tailer) meet(s *sight) bool {
	f := t.byInode[s.inode]
	if f == nil {
		return false
	}
	if f.family != s.family { // the name of another log: the inode was used again
		t.forget(f)
		f.close()
		f.family.leave(f)
		return false
	}
	if f.name != s.path {
		f.name = s.path
		t.stats.Renames++
		s.family.epoch++
	}
	f.gone = time.Time{}
	if f.os != nil {
		return true // inspect has seen it
	}
	changed := s.info.Size() != f.size || !s.info.ModTime().Equal(f.modified)
	if !changed && !f.unverified && (f.done || f.held == 0 || f.held == s.family.epoch) {
		return true
	}
	f.size, f.modified = s.info.Size(), s.info.ModTime()
	if f.held != 0 { // it may be a copy no longer
		t.forget(f)
		s.held = f
		return false
	}
	return t.reopen(f, s)
}

// reopen opens a file that is known and was closed, since it has changed or
// its content was never compared. It reports whether it is that file still.
func (t *Tailer) reopen(f *file, s *sight) bool {
	c, err := open(f.name)
	if err != nil {
		if !errors.Is(err, errNotYet) {
			t.errored("open "+f.name, err)
		}
		return true
	}
	head, tail, ok := f.mark.found(c)
	if !ok {
		// The inode was used again, or the file was truncated while nobody
		// looked.
		c.close()
		t.forget(f)
		t.stats.Truncations++
		f.gone, f.grown = s.now, s.now
		f.family.leave(f)
		return false
	}
	f.unverified, f.done, f.head, f.tail, f.pos, f.buf = false, false, head, tail, f.mark.Offset, nil
	f.grown = s.now
	f.os, f.stream = c.os, c.stream
	return true
}

// leave makes a file that the directory has no more a past content.
func (fam *family) leave(f *file) {
	if f.held == 0 && !f.done && f.pos > 0 {
		fam.addPast(f)
	}
}

// forget removes a file from the family that has it.
func (t *Tailer) forget(f *file) {
	fam := f.family
	if i := slices.Index(fam.files, f); i >= 0 {
		fam.files = slices.Delete(fam.files, i, i+1)
	}
	if t.byInode[f.inode] == f {
		delete(t.byInode, f.inode)
	}
}

// adopt takes a file into a family that does not know it.
func (t *Tailer) adopt(s *sight) {
	if len(t.byInode) >= t.options.MaxFiles {
		t.stats.Ignored++
		t.errored("follow more files", fmt.Errorf("tail: %s: %d files are followed already", s.path, t.options.MaxFiles))
		return
	}
	if s.path != s.family.base && s.info.Size() == 0 {
		return // a copy that has hardly begun, of what cannot be told yet
	}
	if ending := compression(s.path); ending != "" && !slices.Contains(readable, ending) {
		return
	}
	c, err := open(s.path)
	if err != nil {
		if !errors.Is(err, errNotYet) {
			t.errored("open "+s.path, err)
		}
		return
	}
	f := &file{id: t.newID(), family: s.family, name: s.path, inode: s.inode, os: c.os, size: s.info.Size(), modified: s.info.ModTime(), grown: s.now}
	t.place(f, c, s)
	s.family.files = append(s.family.files, f)
	t.byInode[s.inode] = f
}

// place decides where to begin in a file that was just opened.
func (t *Tailer) place(f *file, c *content, s *sight) {
	defer func() { f.stream = c.stream; f.settle() }()
	fam := s.family
	if s.path == fam.base {
		if s.first && t.options.Start == End {
			t.toEnd(f, c)
		}
		return
	}
	if past, all := fam.continued(c, s.held); all {
		t.toEnd(f, c)
	} else if past != nil {
		t.stats.Continued++
		fam.past = slices.DeleteFunc(fam.past, func(p *file) bool { return p == past })
		f.head, f.tail, _ = past.mark.found(c)
		f.mark, f.pos = past.mark, past.mark.Offset
	} else if original, size, certain := fam.copyOf(c); certain {
		f.held, f.original, f.copied = fam.epoch, original, size
	} else if original != nobody && (s.held == nil || s.held.held != nextRound) {
		f.held = nextRound
	} else if s.info.ModTime().Before(t.state.Since.Add(-10*time.Millisecond)) && !(s.first && s.matched && t.options.Start == Beginning) {
		t.toEnd(f, c) // it was rotated before anybody asked for it
	}
}

// settle closes a file that is not to be read.
func (f *file) settle() {
	if f.held != 0 || f.done {
		f.close()
	}
}

// toEnd takes everything that is in a file for read.
func (t *Tailer) toEnd(f *file, c *content) {
	if c.stream != nil {
		f.done = true
		return
	}
	size := f.size
	f.head = make([]byte, min(headBytes, size))
	f.tail = make([]byte, min(tailBytes, size))
	if !readFull(f.os, f.head, 0) || !readFull(f.os, f.tail, size-int64(len(f.tail))) {
		f.head, f.tail = nil, nil
		return
	}
	f.pos = size
	f.mark = markOf(size, f.head, f.tail)
}

// continued returns the past content that c is a copy of, if any, of several
// the one of which most was read. held is what c was as long as the original
// was there: of a copy that was made before the last lines came, and was seen
// then, all was read.
func (fam *family) continued(c *content, held *file) (best *file, all bool) {
	for _, p := range fam.past {
		if held != nil && held.original == p.id && held.copied <= p.mark.Offset {
			if size, _ := c.end(); size == held.copied {
				return p, true
			}
		}
		if (best == nil || p.mark.Offset > best.mark.Offset) && p.foundIn(c) {
			best = p
		}
	}
	return best, false
}

// foundIn reports whether c agrees with what was read of f.
func (f *file) foundIn(c *content) bool {
	if f.mark.Offset == 0 {
		return begins(f.known(), c.head)
	}
	_, _, ok := f.mark.found(c)
	return ok
}

// begins reports whether one of two contents begins with the other.
func begins(a, b []byte) bool {
	n := min(len(a), len(b))
	return n > 0 && bytes.Equal(a[:n], b[:n])
}

// nobody is the id of no content, and nextRound the epoch of files that may be
// copies of one that is being truncated at this moment, which the next round
// tells.
const (
	nobody    = ^uint64(0)
	nextRound = -1
)

// copyOf looks for a file that is there and has everything that c has, since
// c is a copy of it. It returns the id of its content, and how many bytes c
// has. It is not certain if the file had all that, and has it no longer.
func (fam *family) copyOf(c *content) (original uint64, size int64, certain bool) {
	original = nobody
	size, tail := c.end()
	for _, f := range fam.files {
		switch {
		case f.held != 0 || f.os == nil && f.name == c.name:
		case f.os != nil && f.stream == nil && within(f.os, c.head, tail, size):
			return f.id, size, true
		case f.os == nil && compression(f.name) == "":
			other, err := os.Open(f.name)
			if err != nil {
				continue
			}
			ok := within(other, c.head, tail, size)
			_ = other.Close() // it was only read
			if ok {
				return f.id, size, true
			}
		case f.foundIn(c):
			original = f.id
		}
	}
	return original, size, false
}

// within reports whether a file begins with what has that size and those first
// and last bytes.
func within(r io.ReaderAt, head, tail []byte, size int64) bool {
	begin, end := make([]byte, len(head)), make([]byte, len(tail))
	return readFull(r, begin, 0) && readFull(r, end, size-int64(len(end))) && bytes.Equal(begin, head) && bytes.Equal(end, tail)
}

// forgetPast is how long the contents of a log are remembered that has no file
// any more.
const forgetPast = time.Hour

// retire lets go of files that are gone or quiet, and of what is left of past
// contents that no copy turned up for.
func (t *Tailer) retire(ctx context.Context, now time.Time) {
	grace := t.options.Grace
	for path, fam := range t.families {
		for _, f := range slices.Clone(fam.files) {
			drained := f.eof && len(f.buf) == 0 || f.os == nil
			quiet := now.Sub(f.grown) >= grace
			switch {
			case !f.gone.IsZero() && drained && quiet:
				if f.more() {
					continue // it was written to in this very round
				}
				f.close()
				t.forget(f)
				fam.leave(f)
			case f.stream != nil && drained:
				f.close() // it does not grow
			case f.os != nil && drained && now.Sub(f.grown) >= 12*grace && !f.more():
				f.close() // it is opened again when it grows
			}
		}
		for _, f := range slices.Clone(fam.past) {
			if t.full || len(f.buf) == 0 && f.size <= f.pos || now.Sub(f.gone) < grace {
				continue
			}
			if lost := f.size - f.pos; lost > 0 && !f.gone.IsZero() {
				t.stats.LostBytes += uint64(lost)
			}
			f.size = f.pos
			t.put(ctx, f, forNone)
		}
		fam.past = slices.DeleteFunc(fam.past, func(f *file) bool { return len(fam.files) == 0 && now.Sub(f.gone) > forgetPast && len(f.buf) == 0 })
		if len(fam.files) == 0 && len(fam.past) == 0 {
			delete(t.families, path)
		}
	}
}
