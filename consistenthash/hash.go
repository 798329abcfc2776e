package consistenthash

import (
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Hash returns the hash by which placements know a key: XXH64 without a seed,
// the same in every process, on every machine and in every release.
func Hash(key string) uint64 { return xxhash.Sum64String(key) }

// Hash31 is the textbook's hash of a string: it begins with 7 and for each
// byte multiplies by 31 and adds the byte. It is here to be measured and not
// to be used: see the example.
func Hash31(key string) uint64 {
	h := uint64(7)
	for i := range len(key) {
		h = h*31 + uint64(key[i])
	}
	return h
}

// golden is 2^64 divided by the golden ratio: its multiples are spread evenly.
const golden = 0x9e3779b97f4a7c15

// mix is a bijection under which every bit of x matters to every bit of the
// result: mix13 of David Stafford.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fold returns the halves of a product of x, one upon the other. It is half the
// work of mix, and enough for what is random already, or is a serial number.
// Placements apply it to hashes, so that OwnerHash does well with any numbers
// that differ.
func fold(x uint64) uint64 {
	high, low := bits.Mul64(x, golden)
	return high ^ low
}

// negLog returns -ln(1-g) for 0 < g < 1, and no less than g. It is made of
// sums, products and one division, each rounded by itself, so that every
// machine finds the same: the functions of package math differ, and so do
// compilers in where they fuse a product and a sum. That is why each product is
// converted.
func negLog(g float64) float64 {
	m, e := math.Frexp(1 - g) // exact: g has at most 53 bits after the point
	if m < math.Sqrt2/2 {
		m, e = float64(m*2), e-1
	}
	// ln m = 2 atanh s = 2 (s + s^3/3 + s^5/5 + ...), and |s| < 0.172
	s := (m - 1) / (m + 1)
	square := float64(s * s)
	sum := 0.0
	for _, c := range series {
		sum = float64(sum*square) + c
	}
	ln := float64(float64(2*s)*sum) + float64(float64(e)*math.Ln2)
	return max(g, -ln)
}

var series = [...]float64{1. / 21, 1. / 19, 1. / 17, 1. / 15, 1. / 13, 1. / 11, 1. / 9, 1. / 7, 1. / 5, 1. / 3, 1}
