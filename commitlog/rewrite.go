package commitlog

import (
	"fmt"
	"io"
	"os"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A rewriter makes the file that will take the place of a segment. Nobody sees
// it before publish has renamed it.
type rewriter struct {
	dir       vfs.FS
	name      string
	temporary string // its name until it is complete
	file      vfs.File
	id        identity
	every     int64
	buf       []byte // frames that are not written yet
	position  int64  // in the file, of what comes next
	index     index
}

const rewriteBuffer = 256 << 10

// newRewriter begins a file with a suffix: there may be one with each at a time.
func newRewriter(dir vfs.FS, id identity, every int64, suffix string) (*rewriter, error) {
	name := segmentName(id.base)
	temporary := name + suffix
	file, err := dir.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("commitlog: rewrite segment: %w", full(err))
	}
	return &rewriter{
		dir: dir, name: name, temporary: temporary, file: file,
		id: id, every: every, position: headerSize, index: newIndex(),
	}, nil
}

// add appends a batch.
func (w *rewriter) add(b Batch) error {
	start := len(w.buf)
	w.buf = append(append(w.buf, 0, 0, 0, 0), b...)
	w.id.sealFrame(w.buf[start:], w.position)
	w.index.add(b.BaseOffset(), w.position, b.latestMillis(), w.every)
	w.position += int64(len(w.buf) - start)
	if len(w.buf) < rewriteBuffer {
		return nil
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("commitlog: rewrite segment: %w", full(err))
	}
	return nil
}

// copy adds the batches of a stretch of another segment, all of which are good.
func (w *rewriter) copy(s *segment, from, to int64) error {
	next := s.base
	sc := s.scan(from, to, true)
	for {
		f, at, err := sc.next()
		if err == io.EOF {
			return nil
		}
		if err == nil && f.reason != "" {
			err = s.corrupt(at, next, f.reason)
		}
		if err == nil && f.batch != nil {
			next = f.batch.LastOffset() + 1
			err = w.add(f.batch)
		}
		if err != nil {
			return err
		}
	}
}

func (w *rewriter) flush() error {
	_, err := w.file.WriteAt(w.buf, w.position-int64(len(w.buf)))
	w.buf = w.buf[:0]
	return err
}

// publish completes the file and puts it in the place of the segment.
func (w *rewriter) publish(c checkpoint, sealed bool) error {
	if err := w.complete(c, sealed); err != nil {
		return err
	}
	return w.place()
}

// complete makes all of the file durable. With an error it is gone.
func (w *rewriter) complete(c checkpoint, sealed bool) error {
	c.position, c.index = w.position, 0
	c.latest = w.index.latest
	if sealed {
		end := len(w.buf)
		w.buf = w.index.append(w.buf, w.id.salt)
		c.index = int64(len(w.buf) - end)
		w.position += c.index
	}
	err := w.flush()
	if err == nil {
		err = w.file.Truncate(w.position) // even if there is nothing in it
	}
	if err == nil {
		_, err = w.file.WriteAt(w.id.append(nil), 0)
	}
	s := segment{identity: w.id, file: w.file}
	if err == nil {
		err = s.writeBoth(c) // and with it all that was written before
	}
	if err == nil {
		err = w.file.Close()
		w.file = nil
	}
	if err != nil {
		w.abandon()
		return fmt.Errorf("commitlog: rewrite segment: %w", full(err))
	}
	return nil
}

// place puts the file that is complete durably in the place of the segment of
// its name. With an error that is no *unsureError the segment is as it was.
func (w *rewriter) place() error {
	if err := w.dir.Rename(w.temporary, w.name); err != nil {
		w.abandon()
		return fmt.Errorf("commitlog: rewrite segment: %w", full(err))
	}
	if err := w.dir.SyncDir(); err != nil {
		return &unsureError{fmt.Errorf("commitlog: rewrite segment: %w", full(err))}
	}
	return nil
}

// abandon gives up; what cannot be removed now, the next Open removes.
func (w *rewriter) abandon() {
	if w.file != nil {
		w.file.Close()
	}
	_ = w.dir.Remove(w.temporary)
}
