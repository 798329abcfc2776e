package store

import (
	"errors"

	"github.com/klauspost/compress/zstd"

	"github.com/ashlar-go/ashlar/commitlog"
)

// zstdCodec compresses batches of the log.
type zstdCodec struct{}

var (
	fast, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithEncoderCRC(false))
	dense, _  = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	unpack, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(128<<20))
)

// Compression implements [commitlog.Codec].
func (zstdCodec) Compression() commitlog.Compression { return commitlog.Zstd }

// Compress implements [commitlog.Codec].
func (zstdCodec) Compress(dst, src []byte) ([]byte, error) { return fast.EncodeAll(src, dst), nil }

var errTooMuch = errors.New("store: more than a batch may have")

// Decompress implements [commitlog.Codec].
func (zstdCodec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	var header zstd.Header
	if err := header.Decode(src); err != nil {
		return nil, err
	}
	if header.HasFCS && header.FrameContentSize > uint64(limit) {
		return nil, errTooMuch
	}
	before := len(dst)
	out, err := unpack.DecodeAll(src, dst)
	if err != nil {
		return nil, err
	}
	if len(out)-before > limit {
		return nil, errTooMuch
	}
	return out, nil
}
