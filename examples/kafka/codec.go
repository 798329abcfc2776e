package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/ashlar-go/ashlar/commitlog"
)

// codecs are those that commitlog does not bring. The broker needs them to
// compact topics by key, to look for a time within a batch, and for the page.
var codecs = []commitlog.Codec{snappyCodec{}, lz4Codec{}, zstdCodec{}}

var errUnpacked = errors.New("kafka: compressed records cannot be read")

// readUpTo appends what r has to dst, up to limit bytes.
func readUpTo(dst []byte, r io.Reader, limit int) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	n, err := out.ReadFrom(io.LimitReader(r, int64(limit)+1))
	if err == nil && n > int64(limit) {
		err = fmt.Errorf("%w: more than %d bytes", errUnpacked, limit)
	}
	if err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}

type lz4Codec struct{}

func (lz4Codec) Compression() commitlog.Compression { return commitlog.LZ4 }

func (lz4Codec) Compress(dst, src []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w := lz4.NewWriter(out)
	_, err := w.Write(src)
	if err = errors.Join(err, w.Close()); err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}

func (lz4Codec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	return readUpTo(dst, lz4.NewReader(bytes.NewReader(src)), limit)
}

type zstdCodec struct{}

func (zstdCodec) Compression() commitlog.Compression { return commitlog.Zstd }

func (zstdCodec) Compress(dst, src []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return dst, err
	}
	return w.EncodeAll(src, dst), w.Close()
}

func (zstdCodec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(limit, 1<<20))))
	if err != nil {
		return dst, err
	}
	defer r.Close()
	return readUpTo(dst, r, limit)
}

// A snappyCodec reads both forms in which clients use snappy.
type snappyCodec struct{}

// xerial begins what the Java library for snappy writes: blocks with their
// lengths, behind a header of 16 bytes. Others write one block without it.
var xerial = []byte("\x82SNAPPY\x00")

func (snappyCodec) Compression() commitlog.Compression { return commitlog.Snappy }

func (snappyCodec) Compress(dst, src []byte) ([]byte, error) {
	return append(dst, snappy.Encode(nil, src)...), nil
}

func (snappyCodec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	most := len(dst) + limit
	if !bytes.HasPrefix(src, xerial) {
		return appendSnappy(dst, src, most)
	}
	if len(src) < 16 {
		return dst, fmt.Errorf("%w: snappy header of %d bytes", errUnpacked, len(src))
	}
	out := dst
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, fmt.Errorf("%w: %d bytes behind the last snappy block", errUnpacked, len(src))
		}
		n := int(int32(binary.BigEndian.Uint32(src)))
		if src = src[4:]; n < 0 || n > len(src) {
			return dst, fmt.Errorf("%w: snappy block of %d bytes", errUnpacked, n)
		}
		var err error
		if out, err = appendSnappy(out, src[:n], most); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return out, nil
}

// appendSnappy decompresses one block behind dst, which may become most bytes
// long.
func appendSnappy(dst, block []byte, most int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err == nil && n > most-len(dst) {
		err = fmt.Errorf("%w: snappy block of %d bytes", errUnpacked, n)
	}
	if err != nil {
		return dst, err
	}
	plain, err := snappy.Decode(nil, block)
	if err != nil {
		return dst, err
	}
	return append(dst, plain...), nil
}
