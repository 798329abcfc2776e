package kvstore

import "fmt"

// A Codec compresses blocks. The numbers below 64 are this package's; choose
// another, and do not change it while there are blocks that have it.
//
// A Codec is called by several goroutines at a time.
type Codec interface {
	// ID is the number that blocks on disk have.
	ID() byte

	// Append appends src, compressed, to dst. The store keeps a block as it is
	// if that does not save an eighth.
	Append(dst, src []byte) []byte

	// Decode appends what src was compressed from, which is length bytes long,
	// to dst. It must fail, not panic, on whatever else src may be.
	Decode(dst, src []byte, length int) ([]byte, error)
}

// LZ4 is the block format of that name: compression at the speed of copying,
// to about half of what is text.
var LZ4 Codec = lz4Codec{}

const (
	codecNone = 0
	codecLZ4  = 1
	codecUser = 64 // first of those that users may take
)

// codecs finds a codec by its number.
type codecs map[byte]Codec

func newCodecs(opts *Options) (codecs, error) {
	known := codecs{codecLZ4: LZ4}
	for _, c := range append([]Codec{opts.Codec}, opts.Codecs...) {
		if c == nil || c == LZ4 {
			continue
		}
		if c.ID() < codecUser {
			return nil, fmt.Errorf("kvstore: number %d of a codec is below %d", c.ID(), codecUser)
		}
		known[c.ID()] = c
	}
	return known, nil
}

// decode appends the records of a block to dst.
func (known codecs) decode(dst []byte, h blockHeader, packed []byte) ([]byte, error) {
	if h.codec == codecNone {
		if len(packed) != h.length {
			return dst, fmt.Errorf("%d bytes in place of %d", len(packed), h.length)
		}
		return append(dst, packed...), nil
	}
	c := known[h.codec]
	if c == nil {
		return dst, fmt.Errorf("%w %d", ErrCodec, h.codec)
	}
	at := len(dst)
	dst, err := c.Decode(dst, packed, h.length)
	if err == nil && len(dst)-at != h.length {
		err = fmt.Errorf("%d bytes in place of %d", len(dst)-at, h.length)
	}
	return dst, err
}
