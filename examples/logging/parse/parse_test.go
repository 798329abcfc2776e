package parse

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

const (
	accessLine = `192.0.2.7 - alice [28/Nov/2026:19:40:01 +0100] "GET /cart?id=7 HTTP/1.1" 502 1234 "https://example.com/" "Mozilla/5.0 \"x\"" 0.731`
	jsonLine   = `{"time":"2026-11-28T19:40:01.5Z","level":"ERROR","msg":"disk\nfull","http":{"status":502,"deep":{"er":true}},"list":[1,{"a":2}],"none":null,"last":"x"}`
	logfmtLine = `time=2026-11-28T19:40:01.500Z level=warn msg="it \"broke\"" took=12ms empty= url=/a?b=c`
)

func TestFields(t *testing.T) {
	for _, c := range []struct{ line, name, want string }{
		{accessLine, "addr", "192.0.2.7"}, {accessLine, "user", "alice"}, {accessLine, "method", "GET"}, {accessLine, "path", "/cart?id=7"},
		{accessLine, "status", "502"}, {accessLine, "bytes", "1234"}, {accessLine, "agent", `Mozilla/5.0 \"x\"`}, {accessLine, "seconds", "0.731"},
		{`::1 - - [28/Nov/2026:19:40:01 +0100] "-" 400 0 "-" "-"`, "status", "400"},
		{jsonLine, "msg", "disk\nfull"}, {jsonLine, "http.status", "502"}, {jsonLine, "http.deep.er", "true"}, {jsonLine, "last", "x"},
		{logfmtLine, "msg", `it "broke"`}, {logfmtLine, "took", "12ms"}, {logfmtLine, "url", "/a?b=c"},
		{"some words then key=value", "key", "value"},
	} {
		got, ok := Get(c.line, c.name)
		require.True(t, ok, "%s of %s", c.name, c.line)
		require.Equal(t, c.want, got, "%s of %s", c.name, c.line)
	}
	for _, c := range [][2]string{{accessLine, "nothing"}, {`::1 - - [x] "-" 400 0 "-" "-"`, "user"}, {jsonLine, "list"}, {jsonLine, "none"}, {"", "a"}, {"{", "a"}, {`{"a"`, "a"}, {"=", ""}} {
		_, ok := Get(c[0], c[1])
		require.False(t, ok, "%s of %s", c[1], c[0])
	}
	require.Len(t, Fields(strings.Repeat("a=1 ", 500)), entry.MaxFields)
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for line, want := range map[string]string{
		accessLine:                                     "2026-11-28T18:40:01Z",
		jsonLine:                                       "2026-11-28T19:40:01.5Z",
		logfmtLine:                                     "2026-11-28T19:40:01.5Z",
		"2026-11-28 19:40:01,250 ERROR x":              "2026-11-28T19:40:01.25Z",
		"[2026-11-28T19:40:01+02:00] x":                "2026-11-28T17:40:01Z",
		"2026/11/28 19:40:01 [error] 7#7: *1 x":        "2026-11-28T19:40:01Z",
		"Dec 31 23:59:59 host app: x":                  "2025-12-31T23:59:59Z", // of last year, seen on 2 January
		"Jan  3 00:00:00 host app: x":                  "2026-01-03T00:00:00Z",
		`{"ts":1800000000.25}`:                         "2027-01-15T08:00:00.25Z",
		`{"level":"info","timestamp":"1800000000123"}`: "2027-01-15T08:00:00.123Z",
	} {
		got, ok := Time(line, now)
		require.True(t, ok, line)
		require.Equal(t, want, got.UTC().Format(time.RFC3339Nano), line)
	}
	for _, line := range []string{"", "[", "no time", "2026-02-31 19:40:01", "2026-1-1 1:1:1", "Foo 31 23:59:59 x", "12345", `{"time":"soon"}`} {
		_, ok := Time(line, now)
		require.False(t, ok, line)
	}
}

func TestLevel(t *testing.T) {
	for line, want := range map[string]entry.Level{
		accessLine: entry.Error, strings.Replace(accessLine, " 502 ", " 404 ", 1): entry.Warn, strings.Replace(accessLine, " 502 ", " 200 ", 1): entry.Info,
		jsonLine: entry.Error, logfmtLine: entry.Warn, `{"level":50}`: entry.Error, `{"severity":"Critical"}`: entry.Fatal,
		"2026-11-28 19:40:01 ERROR x": entry.Error, "[error] 7#7 x": entry.Error, "warning: low": entry.Warn, "E1128 19:40:00.123456 1 x.go:1] x": entry.Error,
		"panic: boom": entry.Fatal, "Exception in thread \"main\" java.lang.X": entry.Error,
		"no errors found": entry.Unknown, "an error happened": entry.Unknown, "": entry.Unknown, "{": entry.Unknown, "/var/INFO/x": entry.Unknown,
	} {
		require.Equal(t, want, Level(line), line)
	}
}

const traces = `2026-11-28 19:40:01 ERROR request failed
java.lang.IllegalStateException: pool is empty
	at com.shop.Pool.take(Pool.java:42)
	... 12 more
Caused by: java.io.IOException: Disk Full
	at com.shop.Disk.write(Disk.java:7)
2026-11-28 19:40:02 INFO fine
2026-11-28 19:40:03 ERROR python
Traceback (most recent call last):
  File "/app/cart.py", line 7, in total
    return a / b
ZeroDivisionError: division by zero
2026-11-28 19:40:04 INFO fine
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.pick(...)
	/app/main.go:12 +0x1d
main.main()
	/app/main.go:7 +0x2c
exit status 2
2026-11-28 19:40:05 INFO the end`

func TestStackTracesAreOneEvent(t *testing.T) {
	j := NewJoiner(nil)
	var events []string
	for line := range strings.SplitSeq(traces, "\n") {
		if len(events) > 0 && j.Continues(line) {
			events[len(events)-1] += "\n" + line
		} else {
			if len(events) == 0 {
				j.Continues(line)
			}
			events = append(events, line)
		}
	}
	require.Len(t, events, 6, "%q", events)
	require.True(t, strings.HasSuffix(events[0], "Disk.java:7)"), events[0])
	require.True(t, strings.HasSuffix(events[2], "by zero"), events[2])
	require.True(t, strings.HasSuffix(events[4], "exit status 2"), events[4])
	for _, i := range []int{0, 2, 4} {
		require.True(t, Trace(events[i]), events[i])
	}

	j = NewJoiner(regexp.MustCompile(`^\d{4}-`))
	require.False(t, j.Continues("2026-11-28 x"))
	require.True(t, j.Continues("anything"))
}

func TestClean(t *testing.T) {
	require.Equal(t, "a", Clean([]byte("a\r\n")))
	require.Equal(t, "a\ufffdb", Clean([]byte("a\xffb")))
	require.Equal(t, "", Clean(nil))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{accessLine, jsonLine, logfmtLine, traces} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		now := time.Unix(1_800_000_000, 0)
		Level(line)
		Time(line, now)
		for _, field := range Fields(line) {
			if _, ok := Get(line, field.Name); !ok {
				t.Fatalf("%q has a field %q that cannot be got", line, field.Name)
			}
		}
		NewJoiner(nil).Continues(line)
	})
}
