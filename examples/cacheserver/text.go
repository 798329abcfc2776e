package cacheserver

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// glob reports whether text matches a pattern of Redis: * ? [a-z] [^x] and \
// before a character that stands for itself. It takes time in proportion to
// the product of both lengths at most.
func glob(pattern []byte, text string) bool {
	p, t := 0, 0
	star, mark := -1, 0
	for t < len(text) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, t
				p++
				continue
			}
			if next, ok := globOne(pattern, p, text[t]); ok {
				p = next
				t++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, t = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globOne matches one character and returns where the pattern goes on.
func globOne(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globSet(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globSet matches c with a set whose [ has been read.
func globSet(pattern []byte, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for p < len(pattern) && pattern[p] != ']' {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			ok = ok || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := pattern[p], pattern[p+2]
			if low > high {
				low, high = high, low
			}
			ok = ok || low <= c && c <= high
			p += 2
		default:
			ok = ok || pattern[p] == c
		}
		p++
	}
	return min(p+1, len(pattern)), ok != not
}

// parseFloat reads a number as INCRBYFLOAT does: no spaces, no NaN.
func parseFloat(b []byte) (float64, bool) {
	s := string(b)
	if s == "" || strings.ContainsAny(s, "_xXpP ") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f)
}

// addFloats adds as Redis does, in more than 64 bits and with 17 digits after
// the point at most, so that 10.5 and 0.1 make 10.6.
func addFloats(a, b float64) (text []byte, ok bool) {
	sum := a + b
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return nil, false
	}
	x, _, err1 := big.ParseFloat(strconv.FormatFloat(a, 'g', -1, 64), 10, 128, big.ToNearestEven)
	y, _, err2 := big.ParseFloat(strconv.FormatFloat(b, 'g', -1, 64), 10, 128, big.ToNearestEven)
	if err1 != nil || err2 != nil {
		return nil, false
	}
	s := new(big.Float).SetPrec(128).Add(x, y).Text('f', 17)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" || s == "" {
		s = "0"
	}
	return []byte(s), true
}
