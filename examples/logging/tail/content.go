package tail

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// errNotYet says that a compressed file is not complete.
var errNotYet = errors.New("tail: compressed file is not complete")

// A content is a file that was opened. Of a compressed one there is a stream,
// at its beginning, and it can be begun again.
type content struct {
	name   string
	os     *os.File
	stream io.ReadCloser
	head   []byte // the first bytes, at most 1024
	size   int64
}

func open(name string) (*content, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	c := &content{name: name, os: f, head: make([]byte, headBytes)}
	if info, err := f.Stat(); err == nil {
		c.size = info.Size()
	}
	if compression(name) == "" {
		n, _ := f.ReadAt(c.head, 0)
		c.head = c.head[:n]
		return c, nil
	}
	if err := c.rewind(); err != nil {
		c.close()
		return nil, err
	}
	n, _ := io.ReadFull(c.stream, c.head)
	c.head = c.head[:n]
	if err := c.rewind(); err != nil || n == 0 {
		c.close()
		return nil, errNotYet
	}
	return c, nil
}

func (c *content) close() {
	if c.stream != nil {
		_ = c.stream.Close() // it was only read
	}
	_ = c.os.Close() // it was only read
}

// rewind begins the stream of a compressed file again.
func (c *content) rewind() error {
	if c.stream != nil {
		_ = c.stream.Close() // it was only read
		c.stream = nil
	}
	if _, err := c.os.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(c.os, 64<<10)
	switch compression(c.name) {
	case ".gz":
		z, err := gzip.NewReader(in)
		if err != nil {
			return errNotYet
		}
		c.stream = z
	case ".zst":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return errNotYet
		}
		c.stream = z.IOReadCloser()
	default:
		c.stream = io.NopCloser(bzip2.NewReader(in))
	}
	return nil
}

// end returns the size of a content and its last bytes. A compressed one is
// read for it, as far as it can be.
func (c *content) end() (size int64, tail []byte) {
	if c.stream == nil {
		tail = make([]byte, min(tailBytes, c.size))
		if !readFull(c.os, tail, c.size-int64(len(tail))) {
			return 0, nil
		}
		return c.size, tail
	}
	defer c.rewind()
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(c.stream, buf)
		size += int64(n)
		tail = lastBytes(tail, buf[:n], tailBytes)
		if err != nil {
			return size, tail
		}
	}
}

func markOf(offset int64, head, tail []byte) Mark {
	return Mark{Offset: offset, HeadLen: len(head), Head: xxhash.Sum64(head), TailLen: len(tail), Tail: xxhash.Sum64(tail)}
}

// found reports whether a content agrees with the mark, and returns the bytes
// that were hashed. Of a compressed one the stream is then at the offset;
// otherwise at its beginning.
func (m Mark) found(c *content) (head, tail []byte, ok bool) {
	if c.stream == nil {
		head, tail = make([]byte, m.HeadLen), make([]byte, m.TailLen)
		ok = c.size >= m.Offset && readFull(c.os, head, 0) && readFull(c.os, tail, m.Offset-int64(m.TailLen))
		return head, tail, ok && xxhash.Sum64(head) == m.Head && xxhash.Sum64(tail) == m.Tail
	}
	if m.HeadLen > len(c.head) || xxhash.Sum64(c.head[:m.HeadLen]) != m.Head {
		return nil, nil, false
	}
	if c.rewind() != nil {
		return nil, nil, false
	}
	tail = make([]byte, m.TailLen)
	_, err := io.CopyN(io.Discard, c.stream, m.Offset-int64(m.TailLen))
	if err == nil {
		_, err = io.ReadFull(c.stream, tail)
	}
	if err == nil && xxhash.Sum64(tail) == m.Tail {
		return c.head[:m.HeadLen], tail, true
	}
	_ = c.rewind() // of what could be read before
	return nil, nil, false
}
