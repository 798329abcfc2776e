package resp

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Lifetime is what the options of a command say of the end of a value.
type Lifetime struct {
	Set  bool
	Ends int64 // Unix milliseconds
	Keep bool  // KEEPTTL
}

// SetOptions are the options of SET.
type SetOptions struct {
	Lifetime
	IfNew, IfThere, Get bool // NX, XX, GET
}

// InvalidExpire is the error for a time that is not one.
func InvalidExpire(command string) string {
	return "ERR invalid expire time in '" + strings.ToLower(command) + "' command"
}

// ParseEnd turns a number after EX, PX, EXAT, PXAT or the like into Unix
// milliseconds. problem is the error to answer, or empty.
func ParseEnd(unit string, b []byte, command string) (ends int64, problem string) {
	n, ok := ParseInt(b)
	if !ok {
		return 0, IntegerError
	}
	if strings.HasPrefix(unit, "EX") {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, InvalidExpire(command)
		}
		n *= 1000
	}
	if !strings.HasSuffix(unit, "AT") {
		now := time.Now().UnixMilli()
		if n > math.MaxInt64-now {
			return 0, InvalidExpire(command)
		}
		n += now
	}
	return n, ""
}

// ParsePositiveEnd is [ParseEnd] where a number that is not positive is an
// error too.
func ParsePositiveEnd(unit string, b []byte, command string) (ends int64, problem string) {
	ends, problem = ParseEnd(unit, b, command)
	if n, ok := ParseInt(b); ok && n <= 0 {
		problem = InvalidExpire(command)
	}
	return ends, problem
}

// ParseSet reads what follows key and value in a SET. problem is the error to
// answer, or empty.
func ParseSet(args [][]byte) (o SetOptions, problem string) {
	for i := 0; i < len(args); i++ {
		option := strings.ToUpper(string(args[i]))
		switch option {
		case "NX":
			o.IfNew = true
		case "XX":
			o.IfThere = true
		case "GET":
			o.Get = true
		case "KEEPTTL":
			o.Keep = true
		case "EX", "PX", "EXAT", "PXAT":
			if o.Set || i+1 == len(args) {
				return o, SyntaxError
			}
			i++
			ends, problem := ParsePositiveEnd(option, args[i], "set")
			if problem != "" {
				return o, problem
			}
			o.Set, o.Ends = true, ends
		default:
			return o, SyntaxError
		}
	}
	if o.IfNew && o.IfThere || o.Keep && o.Set {
		return o, SyntaxError
	}
	return o, ""
}

// ParseSetEX reads the arguments of SETEX or PSETEX: the options of the SET that it
// stands for. problem is the error to answer, or empty.
func ParseSetEX(args [][]byte) (o SetOptions, problem string) {
	name, unit := strings.ToLower(string(args[0])), "EX"
	if name == "psetex" {
		unit = "PX"
	}
	ends, problem := ParsePositiveEnd(unit, args[2], name)
	return SetOptions{Lifetime: Lifetime{Set: true, Ends: ends}}, problem
}

// ScanOptions are the arguments of SCAN.
type ScanOptions struct {
	Cursor  uint64
	Count   int64
	Pattern []byte // nil: all keys
	None    bool   // of a type that no key has
}

// ParseScan reads the arguments of SCAN, where all values are strings. problem is the
// error to answer, or empty.
func ParseScan(args [][]byte) (o ScanOptions, problem string) {
	var err error
	if o.Cursor, err = strconv.ParseUint(string(args[1]), 10, 64); err != nil {
		return o, "ERR invalid cursor"
	}
	o.Count = 10
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			return o, SyntaxError
		}
		switch strings.ToUpper(string(args[i])) {
		case "COUNT":
			var ok bool
			if o.Count, ok = ParseInt(args[i+1]); !ok {
				return o, IntegerError
			}
			if o.Count < 1 {
				return o, SyntaxError
			}
		case "MATCH":
			o.Pattern = args[i+1]
		case "TYPE":
			o.None = !strings.EqualFold(string(args[i+1]), "string")
		default:
			return o, SyntaxError
		}
	}
	return o, ""
}

// Matches reports whether the pattern fits a key.
func (o *ScanOptions) Matches(key string) bool { return o.Pattern == nil || Glob(o.Pattern, key) }

// Settings answers CONFIG GET: those whose names fit one of the patterns.
func (c *Conn) Settings(settings map[string]string, patterns [][]byte) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if slices.ContainsFunc(patterns, func(p []byte) bool { return Glob([]byte(strings.ToLower(string(p))), name) }) {
			names = append(names, name)
		}
	}
	c.Pairs(len(names))
	for _, name := range names {
		c.Text(name)
		c.Text(settings[name])
	}
}
