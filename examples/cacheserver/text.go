package cacheserver

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

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
