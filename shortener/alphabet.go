package shortener

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// An Alphabet is the characters that codes are made of, each with a value, its
// place. A code is a number in its base, with as many digits as is asked for.
//
// An Alphabet is safe for concurrent use by multiple goroutines.
type Alphabet struct {
	chars  string
	values [256]int8 // of characters; -1 for others
	pairs  [][2]byte // of 62 characters, two at a time by their value
}

var (
	// Base62 is digits, small letters, capital letters.
	Base62 = NewAlphabet("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

	// Legible is Base62 without what looks like something else in print or
	// sounds like it on the telephone: 0 and O, 1, l and I.
	Legible = NewAlphabet("23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ")
)

// NewAlphabet returns an alphabet. It panics if there are less than 2
// characters, more than 94, the same one twice, or one that needs to be escaped
// in the path of a URL.
func NewAlphabet(chars string) *Alphabet {
	if len(chars) < 2 {
		panic(fmt.Sprintf("shortener: alphabet of %d characters", len(chars)))
	}
	a := &Alphabet{chars: chars}
	for i := range a.values {
		a.values[i] = -1
	}
	for i := range len(chars) {
		c := chars[i]
		if !isUnreserved(c) {
			panic(fmt.Sprintf("shortener: %q cannot be in an alphabet", c))
		}
		if a.values[c] >= 0 {
			panic(fmt.Sprintf("shortener: %q is in the alphabet twice", c))
		}
		a.values[c] = int8(i)
	}
	if len(chars) == 62 {
		for i := range 62 * 62 {
			a.pairs = append(a.pairs, [2]byte{chars[i/62], chars[i%62]})
		}
	}
	return a
}

// isUnreserved reports whether a character stands for itself in a URL.
func isUnreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_' || c == '~'
}

// String returns the characters.
func (a *Alphabet) String() string { return a.chars }

// Len returns the number of characters.
func (a *Alphabet) Len() int { return len(a.chars) }

// Space returns how many codes of a length there are, and false if more than
// an uint64 can count.
func (a *Alphabet) Space(length int) (uint64, bool) {
	n := uint64(1)
	for range length {
		hi, lo := bits.Mul64(n, uint64(len(a.chars)))
		if hi != 0 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// Append appends the code of a length that stands for n, most significant
// digit first. If n has more digits, those at the front are left out.
func (a *Alphabet) Append(dst []byte, n uint64, length int) []byte {
	from := len(dst)
	dst = slices.Grow(dst, length)[:from+length]
	end := len(dst)
	if a.pairs != nil { // division by a constant takes a fraction of the time
		for ; end-from >= 2; end -= 2 {
			pair := &a.pairs[n%(62*62)]
			dst[end-2], dst[end-1] = pair[0], pair[1]
			n /= 62 * 62
		}
	}
	base := uint64(len(a.chars))
	for i := end - 1; i >= from; i-- {
		dst[i] = a.chars[n%base]
		n /= base
	}
	return dst
}

// Parse returns the number that a code stands for, and false if that has a
// character that is not in the alphabet, is empty, or too long for an uint64.
func (a *Alphabet) Parse(code string) (uint64, bool) {
	n := uint64(0)
	for i := range len(code) {
		v := a.values[code[i]]
		hi, lo := bits.Mul64(n, uint64(len(a.chars)))
		sum, carry := bits.Add64(lo, uint64(v), 0)
		if v < 0 || hi != 0 || carry != 0 {
			return 0, false
		}
		n = sum
	}
	return n, len(code) > 0
}

// Has reports whether all characters of a code are in the alphabet.
func (a *Alphabet) Has(code string) bool {
	return strings.IndexFunc(code, func(r rune) bool { return r > 255 || a.values[byte(r)] < 0 }) < 0
}
