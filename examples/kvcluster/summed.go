package kvcluster

import (
	"bufio"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summed writes and keeps a checksum. After the first error it writes nothing.
type summed struct {
	out *bufio.Writer
	sum hash.Hash32
	err error
}

func newSummed(w io.Writer) *summed {
	return &summed{out: bufio.NewWriterSize(w, 1<<20), sum: crc32.New(castagnoli)}
}

func (s *summed) write(b []byte) {
	if s.err == nil {
		_, s.err = s.out.Write(b)
		s.sum.Write(b)
	}
}

// finish writes the checksum and what is left.
func (s *summed) finish() error {
	if s.err == nil {
		_, s.err = s.out.Write(binary.BigEndian.AppendUint32(nil, s.sum.Sum32()))
	}
	if s.err == nil {
		s.err = s.out.Flush()
	}
	return s.err
}

// summedReader reads what summed has written.
type summedReader struct {
	in  *bufio.Reader
	sum hash.Hash32
	at  int64
}

func newSummedReader(r io.Reader) *summedReader {
	return &summedReader{in: bufio.NewReaderSize(r, 1<<20), sum: crc32.New(castagnoli)}
}

// ReadByte implements [io.ByteReader].
func (r *summedReader) ReadByte() (byte, error) {
	c, err := r.in.ReadByte()
	if err == nil {
		r.sum.Write([]byte{c})
		r.at++
	}
	return c, err
}

func (r *summedReader) uvarint() (uint64, error) {
	n, err := binary.ReadUvarint(r)
	return n, unexpected(err)
}

// take reads n bytes. Memory grows with what there is and not with n.
func (r *summedReader) take(n int) ([]byte, error) {
	const step = 1 << 20
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, step))...)
		got, err := io.ReadFull(r.in, b[at:])
		r.at += int64(got)
		if err != nil {
			return nil, unexpected(err)
		}
	}
	r.sum.Write(b)
	return b, nil
}

// finish compares the checksum and finds the end.
func (r *summedReader) finish() error {
	var want [4]byte
	if _, err := io.ReadFull(r.in, want[:]); err != nil {
		return unexpected(err)
	}
	if binary.BigEndian.Uint32(want[:]) != r.sum.Sum32() {
		return errBackupSum
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		return errBackupMagic
	}
	return nil
}
