package parse

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeNames are fields that say when an event was, the usual ones first.
var timeNames = []string{"time", "ts", "timestamp", "@timestamp", "t"}

// Time returns when a line says that it happened. now says which year it is
// for formats without one, and in whose time zone lines without one are.
func Time(line string, now time.Time) (time.Time, bool) {
	text := strings.TrimLeft(line, " \t[")
	if text == "" {
		return time.Time{}, false
	}
	switch c := text[0]; {
	case c == '{':
		return fieldTime(line, now)
	case c >= '0' && c <= '9':
		if t, ok := leading(text, now); ok {
			return t, true
		}
	case c >= 'A' && c <= 'Z':
		if t, ok := syslogTime(text, now); ok {
			return t, true
		}
	}
	if i := strings.IndexByte(text, '['); i >= 0 && i < 200 && len(text) > i+27 {
		if t, err := time.Parse("02/Jan/2006:15:04:05 -0700", text[i+1:i+27]); err == nil {
			return t, true
		}
	}
	for _, name := range timeNames {
		if strings.HasPrefix(text, name+"=") {
			return fieldTime(text, now)
		}
	}
	return time.Time{}, false
}

// ahead is how far a clock may be ahead before it is not believed.
const ahead = 10 * time.Minute

// When returns when a line says that it happened, or now if it does not say,
// or says that it is still to come.
func When(line string, now time.Time) time.Time {
	t, ok := Time(line, now)
	if !ok {
		return now
	}
	return Past(t, now)
}

// Past returns t, or now if t is zero or too far ahead.
func Past(t, now time.Time) time.Time {
	if t.IsZero() || t.Sub(now) > ahead || t.Year() < 1980 {
		return now
	}
	return t
}

func fieldTime(line string, now time.Time) (t time.Time, ok bool) {
	n := 0
	each(line, func(name, value string) bool {
		n++
		if slices.Contains(timeNames, name) {
			t, ok = Stamp(value, now)
			return !ok
		}
		return n < 16
	})
	return t, ok
}

// Stamp reads a time on its own: RFC 3339, the same with a space, or seconds,
// milliseconds, microseconds or nanoseconds since 1970.
func Stamp(s string, now time.Time) (time.Time, bool) {
	if t, ok := leading(s, now); ok {
		return t, true
	}
	whole, part, dot := strings.Cut(s, ".")
	v, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || v <= 0 {
		return time.Time{}, false
	}
	var t time.Time
	switch {
	case v < 1e11:
		t = time.Unix(v, 0)
	case v < 1e14:
		t = time.UnixMilli(v)
	case v < 1e17:
		t = time.UnixMicro(v)
	default:
		t = time.Unix(0, v)
	}
	if dot && v < 1e11 {
		if f, err := strconv.ParseFloat("0."+part, 64); err == nil {
			t = t.Add(time.Duration(f * 1e9))
		}
	}
	return t, true
}

// leading reads 2026-11-28T19:40:00.123Z and its relatives, with - or / in the
// date, a space or T, a point or comma before the fraction, and with or without
// a zone.
func leading(s string, now time.Time) (time.Time, bool) {
	if len(s) < 19 || s[4] != s[7] || s[4] != '-' && s[4] != '/' || s[10] != 'T' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	var parts [6]int
	for i, at := range [6]int{0, 5, 8, 11, 14, 17} {
		n := 2
		if i == 0 {
			n = 4
		}
		if !digits(s[at : at+n]) {
			return time.Time{}, false
		}
		parts[i], _ = strconv.Atoi(s[at : at+n])
	}
	rest := s[19:]
	nanos := 0
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n, scale := 1, 100_000_000
		for ; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			nanos += int(rest[n]-'0') * scale
			scale /= 10
		}
		rest = rest[n:]
	}
	t := time.Date(parts[0], time.Month(parts[1]), parts[2], parts[3], parts[4], parts[5], nanos, zone(rest, now))
	if t.Month() != time.Month(parts[1]) || t.Day() != parts[2] { // the 31st of February
		return time.Time{}, false
	}
	return t, true
}

// zone reads Z, +01:00, +0100 or +01; without one it is that of now.
func zone(s string, now time.Time) *time.Location {
	if strings.HasPrefix(s, "Z") {
		return time.UTC
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' || !digits(s[1:3]) {
		return now.Location()
	}
	hours, _ := strconv.Atoi(s[1:3])
	minutes := 0
	rest := strings.TrimPrefix(s[3:], ":")
	if len(rest) >= 2 && digits(rest[:2]) {
		minutes, _ = strconv.Atoi(rest[:2])
	}
	offset := (hours*60 + minutes) * 60
	if s[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset)
}

// syslogTime reads Nov 28 19:40:00, whose year is that which makes it closest
// to now.
func syslogTime(s string, now time.Time) (time.Time, bool) {
	if len(s) < 15 {
		return time.Time{}, false
	}
	t, err := time.ParseInLocation("Jan _2 15:04:05", s[:15], now.Location())
	if err != nil {
		return time.Time{}, false
	}
	best := time.Time{}
	for year := now.Year() - 1; year <= now.Year()+1; year++ {
		candidate := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if candidate.Day() == t.Day() && (best.IsZero() || candidate.Sub(now).Abs() < best.Sub(now).Abs()) {
			best = candidate
		}
	}
	return best, !best.IsZero()
}
