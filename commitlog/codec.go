package commitlog

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"sync"
)

// A Compression is how the records of a batch are compressed, as bits 0 to 2
// of its attributes say.
type Compression uint8

// The compressions that Kafka knows. This package brings Gzip; a Codec for
// the others can be given to Open.
const (
	None Compression = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns the name that Kafka uses.
func (c Compression) String() string {
	if names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}; int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// A Codec compresses the records of batches. Its methods may be called by
// several goroutines at a time.
type Codec interface {
	// Compression is what batches are marked with.
	Compression() Compression

	// Compress appends the compressed form of src to dst.
	Compress(dst, src []byte) ([]byte, error)

	// Decompress appends what src was compressed from to dst, and fails,
	// without having made more than limit bytes, if there are more.
	Decompress(dst, src []byte, limit int) ([]byte, error)
}

// GzipCodec returns the Codec for Gzip at a level of compress/gzip. It panics
// if there is no such level.
func GzipCodec(level int) Codec {
	if _, err := gzip.NewWriterLevel(io.Discard, level); err != nil {
		panic("commitlog: " + err.Error())
	}
	c := &gzipCodec{}
	c.writers.New = func() any {
		w, _ := gzip.NewWriterLevel(io.Discard, level)
		return w
	}
	c.readers.New = func() any { return new(gzip.Reader) }
	return c
}

type gzipCodec struct{ writers, readers sync.Pool }

func (*gzipCodec) Compression() Compression { return Gzip }

func (c *gzipCodec) Compress(dst, src []byte) ([]byte, error) {
	w := c.writers.Get().(*gzip.Writer)
	defer c.writers.Put(w)
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}

func (c *gzipCodec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	r := c.readers.Get().(*gzip.Reader)
	defer c.readers.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return dst, err
	}
	out := bytes.NewBuffer(dst)
	n, err := out.ReadFrom(io.LimitReader(r, min(int64(limit), math.MaxInt64-1)+1))
	if err != nil {
		return dst, err
	}
	if n > int64(limit) {
		return dst, fmt.Errorf("commitlog: more than %d bytes when decompressed", limit)
	}
	return out.Bytes(), nil
}

// A codecs finds the Codec of a Compression.
type codecs [Zstd + 1]Codec

var builtin = GzipCodec(gzip.DefaultCompression)

func newCodecs(first Codec, more []Codec) (codecs, error) {
	set := codecs{Gzip: builtin}
	for _, c := range append([]Codec{first}, more...) {
		if c == nil {
			continue
		}
		kind := c.Compression()
		if kind == None || int(kind) >= len(set) {
			return set, fmt.Errorf("commitlog: a codec has %v, which batches cannot be marked with", kind)
		}
		set[kind] = c
	}
	return set, nil
}
