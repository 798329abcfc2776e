package kvstore

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"sync"
)

// lz4Codec is the LZ4 block format: sequences of a token, literals, and a
// match of at least 4 bytes at most 65535 bytes back.
//
//	token    literals (high 4 bits) and match-4 (low 4 bits); 15: more follows,
//	         bytes that are added up until one is below 255
//	literals
//	offset   of the match, 2 bytes, little endian; not after the last literals
//
// The last 5 bytes are always literals, and no match begins in the last 12.
type lz4Codec struct{}

const (
	lz4MinMatch = 4
	lz4LastLits = 5
	lz4MFLimit  = 12
	lz4HashBits = 13
	lz4MaxBack  = 65535
)

var errLZ4 = errors.New("kvstore: bad LZ4 block")

// lz4Table maps the hash of 4 bytes to 1 + where they were last seen.
type lz4Table [1 << lz4HashBits]uint32

var lz4Tables = sync.Pool{New: func() any { return new(lz4Table) }}

func (lz4Codec) ID() byte { return codecLZ4 }

func (lz4Codec) Append(dst, src []byte) []byte {
	anchor := 0
	if len(src) > lz4MFLimit {
		table := lz4Tables.Get().(*lz4Table)
		clear(table[:])
		dst, anchor = lz4Matches(dst, src, table)
		lz4Tables.Put(table)
	}
	lits := src[anchor:]
	dst = append(dst, byte(min(len(lits), 15)<<4))
	dst = lz4Length(dst, len(lits))
	return append(dst, lits...)
}

// lz4Matches appends all sequences with a match and returns where the last
// literals begin.
func lz4Matches(dst, src []byte, table *lz4Table) ([]byte, int) {
	anchor, at, misses := 0, 0, 0
	for limit := len(src) - lz4MFLimit; at < limit; {
		v := binary.LittleEndian.Uint32(src[at:])
		h := v * 2654435761 >> (32 - lz4HashBits)
		ref := int(table[h]) - 1
		table[h] = uint32(at + 1)
		if ref < 0 || at-ref > lz4MaxBack || binary.LittleEndian.Uint32(src[ref:]) != v {
			misses++
			at += 1 + misses>>6 // hurry through what does not compress
			continue
		}
		misses = 0
		for at > anchor && ref > 0 && src[at-1] == src[ref-1] {
			at, ref = at-1, ref-1
		}
		match := lz4MinMatch + lz4Common(src[at+lz4MinMatch:len(src)-lz4LastLits], src[ref+lz4MinMatch:])
		lits := at - anchor
		dst = append(dst, byte(min(lits, 15)<<4|min(match-lz4MinMatch, 15)))
		dst = lz4Length(dst, lits)
		dst = append(dst, src[anchor:at]...)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(at-ref))
		dst = lz4Length(dst, match-lz4MinMatch)
		at += match
		anchor = at
		if at < limit {
			table[binary.LittleEndian.Uint32(src[at-2:])*2654435761>>(32-lz4HashBits)] = uint32(at - 1)
		}
	}
	return dst, anchor
}

// lz4Length appends what of a length does not fit into a token.
func lz4Length(dst []byte, n int) []byte {
	if n < 15 {
		return dst
	}
	for n -= 15; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}

// lz4Common returns how long a and b, which is longer, are the same.
func lz4Common(a, b []byte) int {
	i := 0
	for ; i+8 <= len(a); i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i
}

func (lz4Codec) Decode(dst, src []byte, length int) ([]byte, error) {
	base := len(dst)
	if cap(dst)-base < length {
		// The caller has bounded length.
		dst = append(make([]byte, 0, base+length), dst...)
	}
	out := dst[base : base+length]
	n, err := lz4Decode(out, src)
	if err == nil && n != length {
		err = errLZ4
	}
	if err != nil {
		return dst, err
	}
	return dst[:base+n], nil
}

// lz4Decode decodes src into out, which must be large enough, and returns how
// much it is.
func lz4Decode(out, src []byte) (int, error) {
	at, n := 0, 0
	for at < len(src) {
		token := src[at]
		at++
		lits := int(token >> 4)
		if lits == 15 {
			var ok bool
			if lits, at, ok = lz4More(src, at); !ok {
				return 0, errLZ4
			}
		}
		if lits > len(src)-at || lits > len(out)-n {
			return 0, errLZ4
		}
		copy(out[n:], src[at:at+lits])
		at, n = at+lits, n+lits
		if at == len(src) {
			return n, nil
		}
		if len(src)-at < 2 {
			return 0, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(src[at:]))
		at += 2
		match := int(token & 15)
		if match == 15 {
			var ok bool
			if match, at, ok = lz4More(src, at); !ok {
				return 0, errLZ4
			}
		}
		match += lz4MinMatch
		if back == 0 || back > n || match > len(out)-n {
			return 0, errLZ4
		}
		for match > 0 { // an overlapping match doubles what there is
			c := copy(out[n:n+match], out[n-back:n])
			n, match, back = n+c, match-c, back+c
		}
	}
	return 0, errLZ4
}

// lz4More reads the bytes of a length of 15 or more.
func lz4More(src []byte, at int) (n, next int, ok bool) {
	for n = 15; at < len(src); {
		b := src[at]
		at++
		n += int(b)
		if b != 255 {
			return n, at, n < 1<<30
		}
	}
	return 0, at, false
}
