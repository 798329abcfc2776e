package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/kvstore"
	"github.com/pierrec/lz4/v4"
)

// blocks are texts of all sizes, from what compresses to nothing to what does
// not compress.
func blocks(visit func(name string, data []byte)) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, 4, 5, 12, 13, 14, 15, 16, 17, 31, 64, 255, 256, 270, 300, 4096, 65535, 65536, 65537, 70_000, 1 << 20} {
		noise := make([]byte, size)
		few := make([]byte, size)
		for i := range noise {
			noise[i] = byte(rng.Uint32())
			few[i] = byte('a' + rng.IntN(2))
		}
		visit(fmt.Sprint("noise of ", size), noise)
		visit(fmt.Sprint("two letters, ", size), few)
		visit(fmt.Sprint("one letter, ", size), bytes.Repeat([]byte("a"), size))
		visit(fmt.Sprint("words, ", size), []byte(strings.Repeat("the quick brown fox jumps over the lazy dog, and so on. ", size/50+1))[:size])
		if size > 0 {
			visit(fmt.Sprint("values, ", size), newValues(size).of(size))
			visit(fmt.Sprint("noise, twice, ", size), append(bytes.Clone(noise), noise...))
		}
	}
	for range 300 {
		var mixed []byte
		for range rng.IntN(30) {
			piece := make([]byte, rng.IntN(400))
			for i := range piece {
				piece[i] = byte(rng.IntN(1 + rng.IntN(255)))
			}
			mixed = append(mixed, piece...)
			if len(mixed) > 0 && rng.IntN(2) == 0 {
				from := rng.IntN(len(mixed))
				mixed = append(mixed, mixed[from:from+rng.IntN(len(mixed)-from+1)]...)
			}
		}
		visit(fmt.Sprint("pieces of ", len(mixed)), mixed)
	}
}

// What our codec writes, pierrec/lz4 reads.
func TestLZ4IsReadByPierrec(t *testing.T) {
	blocks(func(name string, data []byte) {
		packed := kvstore.LZ4.Append(nil, data)
		got := make([]byte, len(data))
		n, err := lz4.UncompressBlock(packed, got)
		if len(data) == 0 && len(packed) <= 1 {
			return // the empty block is one zero byte, which pierrec/lz4 refuses where nothing is wanted
		}
		if err != nil || !bytes.Equal(got[:n], data) {
			t.Errorf("%s: %v, %d bytes from %d", name, err, n, len(packed))
		}
	})
}

// What pierrec/lz4 writes, ours reads, of both of its compressors.
func TestLZ4ReadsPierrec(t *testing.T) {
	blocks(func(name string, data []byte) {
		packed := make([]byte, lz4.CompressBlockBound(len(data)))
		for compressor, compress := range map[string]func(src, dst []byte) (int, error){
			"fast": new(lz4.Compressor).CompressBlock, "high": (&lz4.CompressorHC{Level: lz4.Level9}).CompressBlock,
		} {
			n, err := compress(data, packed)
			if err != nil || n == 0 {
				if err != nil {
					t.Errorf("%s, %s: %v", name, compressor, err)
				}
				continue // it does not compress
			}
			got, err := kvstore.LZ4.Decode(nil, packed[:n], len(data))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: %v, %d bytes of %d", name, compressor, err, len(got), len(data))
			}
		}
	})
}

// Damaged blocks end in an error or in bytes, not in a panic, and never in more
// bytes than asked for.
func TestLZ4OfDamagedBlocks(t *testing.T) {
	data := []byte(strings.Repeat("abcdefgh, bcdefgha, ", 40))
	packed := kvstore.LZ4.Append(nil, data)
	for at := range packed {
		for bit := range 8 {
			damaged := bytes.Clone(packed)
			damaged[at] ^= 1 << bit
			if got, err := kvstore.LZ4.Decode(nil, damaged, len(data)); err == nil && len(got) != len(data) {
				t.Errorf("bit %d of byte %d: %d bytes, want %d", bit, at, len(got), len(data))
			}
		}
		if got, err := kvstore.LZ4.Decode(nil, packed[:at], len(data)); err == nil {
			t.Errorf("cut at %d: no error, %d bytes", at, len(got))
		}
	}
}
