package tail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// A family is the files that a log has been in.
//
//	base app.log   files  those that the directory has: app.log, app.log.1
//	               past   contents that are gone, and where they were left:
//	                      what may turn up again as a copy or compressed
type family struct {
	base  string
	files []*file
	past  []*file
	epoch int // changes whenever a file may be another's copy that was not before
}

// keepPast is how many past contents a family remembers.
const keepPast = 32

func (fam *family) addPast(f *file) {
	fam.epoch++
	fam.past = append(fam.past, f)
	if len(fam.past) > keepPast {
		fam.past = fam.past[1:]
	}
}

// A file is a content and how far it was taken.
//
//	          head       tail  buf
//	┌───────┬──────┬───┬──────┬───────────┬──────────┐
//	│ 1024  │      …   │ 256  │ read, not │ not read │
//	│ bytes │          │ bytes│ yet taken │          │
//	└───────┴──────┴───┴──────┴───────────┴──────────┘
//	0                    mark ▲       pos ▲     size ▲
type file struct {
	id     uint64
	family *family
	name   string // its path when it was seen last
	inode  inode
	os     *os.File      // nil while it is closed
	stream io.ReadCloser // of a compressed file, decompressed, at pos

	mark Mark
	head []byte // the first bytes before the mark
	tail []byte // the last bytes before the mark
	buf  []byte // from the mark to pos
	pos  int64
	size int64 // when seen last, of what is on the disk

	unverified bool      // it comes from a state, and its content was not compared
	eof        bool      // the last read came to the end
	tried      wait      // how far buf was cut in vain
	triedLen   int       // and how long it was
	grown      time.Time // when bytes came last
	gone       time.Time // since when it has no name; zero while it has one
	modified   time.Time // of the name, when seen last
	held       int       // epoch in which it was found to be a copy of a file that is there, or nextRound; 0 if it was not
	original   uint64    // of a held file: the id of the content that it is a copy of,
	copied     int64     // and how many bytes of that it has
	done       bool      // it is not read, whatever it has
}

func (f *file) close() {
	if f.stream != nil {
		_ = f.stream.Close() // it was only read
		f.stream = nil
	}
	if f.os != nil {
		_ = f.os.Close() // it was only read
		f.os = nil
	}
}

// known returns the first bytes of the content, whether taken or only read.
func (f *file) known() []byte {
	if int64(len(f.head)) != min(f.mark.Offset, headBytes) {
		return f.head // of a state, whose bytes were never seen
	}
	room := headBytes - len(f.head)
	return append(bytes.Clone(f.head), f.buf[:min(room, len(f.buf))]...)
}

// same reports whether the bytes before pos are what they were.
func (f *file) same() bool {
	want := lastBytes(f.tail, f.buf, tailBytes)
	got := make([]byte, len(want))
	return readFull(f.os, got, f.pos-int64(len(want))) && bytes.Equal(want, got)
}

// more reports whether an open file has more than was read of it.
func (f *file) more() bool {
	if f.os == nil || f.stream != nil {
		return false
	}
	info, err := f.os.Stat()
	return err == nil && info.Size() > f.pos
}

const chunk = 64 << 10

// errTruncated says that the content is another than before.
var errTruncated = errors.New("tail: file was truncated")

// fill reads on into buf and returns how many bytes came.
func (f *file) fill() (n int, err error) {
	buf := make([]byte, chunk)
	if f.stream != nil {
		n, err = io.ReadFull(f.stream, buf)
		if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
			err = nil
		}
		f.buf, f.pos = append(f.buf, buf[:n]...), f.pos+int64(n)
		return n, err
	}
	n, err = f.os.ReadAt(buf, f.pos)
	if n == 0 {
		return 0, err
	}
	if !f.same() {
		// It was truncated, and is longer than before already. What was read
		// just now may be of either content: what is still in that place is of
		// the new one.
		again := make([]byte, n)
		if !readFull(f.os, again, f.pos) || !bytes.Equal(again, buf[:n]) {
			f.buf, f.pos = append(f.buf, buf[:n]...), f.pos+int64(n)
		}
		return 0, errTruncated
	}
	f.buf, f.pos = append(f.buf, buf[:n]...), f.pos+int64(n)
	return n, err
}

// budget is how many bytes are read of a file before the next one has its
// turn.
const budget = 4 << 20

// read reads a file and gives events to the sink. It reports whether the file
// has more.
func (t *Tailer) read(ctx context.Context, f *file, now time.Time) (more bool) {
	if f.held != 0 || f.done || f.os == nil {
		return false
	}
	for done := 0; done < budget; {
		if len(f.buf) >= t.options.MaxEvent+2*t.options.MaxLine {
			f.eof = false // what is there makes an event
		} else if f.eof && f.stream == nil && f.size <= f.pos {
			// It has not grown since the last round, as inspect has seen.
		} else if n, err := f.fill(); n > 0 {
			f.grown, f.eof = now, false
			done += n
		} else {
			switch {
			case errors.Is(err, errTruncated):
				t.truncated(f, now)
				return true
			case err != nil && !errors.Is(err, io.EOF):
				t.errored("read "+f.name, err)
				if f.stream == nil {
					return false
				}
			}
			f.eof = true // for a compressed file that is damaged, too, unless it changes
		}
		if !t.put(ctx, f, f.patience(now, &t.options)) {
			return false
		}
		if f.eof {
			return false
		}
	}
	return true
}

// patience says what may still be waited for.
func (f *file) patience(now time.Time, o *Options) wait {
	quiet := now.Sub(f.grown)
	over := !f.gone.IsZero() || f.stream != nil
	switch {
	case !f.eof:
		return forAll
	case quiet >= o.PartialTimeout || over && quiet >= o.Grace || f.stream != nil:
		return forNone
	case quiet >= o.JoinTimeout:
		return forLines
	}
	return forAll
}

// put cuts buf into events and gives them to the sink, as long as there are
// any. It reports whether to go on with the file.
func (t *Tailer) put(ctx context.Context, f *file, w wait) bool {
	s := splitter{maxLine: t.options.MaxLine, maxEvent: t.options.MaxEvent, batchBytes: t.options.BatchBytes, batchEvents: t.options.BatchEvents}
	if t.options.Join {
		s.joiner = parse.NewJoiner(t.options.JoinStart)
	}
	for len(f.buf) > 0 {
		if f.triedLen == len(f.buf) && f.tried == w {
			return true
		}
		events, used := s.cut(f.buf, w)
		if used == 0 {
			f.tried, f.triedLen = w, len(f.buf)
			return true
		}
		f.triedLen = 0
		next := *f
		next.advance(used)
		b := Batch{Path: f.family.base, Events: events, Bytes: used, After: next.position(false)}
		// Others may look at the state while the sink is busy.
		t.mu.Unlock()
		err := t.sink.Put(ctx, b)
		t.mu.Lock()
		if err != nil {
			if !errors.Is(err, ErrFull) {
				t.errored("sink", err)
			}
			t.full = true
			return false
		}
		f.advance(used)
		t.stats.Events += uint64(len(events))
		t.stats.Bytes += uint64(used)
		for _, e := range events {
			if e.Partial {
				t.stats.Partial++
			}
		}
	}
	return true
}

// truncated makes what was in a file a thing of the past, of which a copy may
// be somewhere, and begins with the file again.
func (t *Tailer) truncated(f *file, now time.Time) {
	t.stats.Truncations++
	t.options.Logger.Debug("truncated", "file", f.name, "at", f.pos)
	fam := f.family
	if f.pos > 0 {
		old := *f
		old.os, old.stream, old.gone, old.grown = nil, nil, now, now
		fam.addPast(&old)
	}
	fam.epoch++
	id := t.newID()
	*f = file{id: id, family: fam, name: f.name, inode: f.inode, os: f.os, size: 0, grown: now, modified: f.modified}
}

func (t *Tailer) newID() uint64 {
	id := t.state.NextID
	t.state.NextID++
	return id
}
