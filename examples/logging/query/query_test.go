package query

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

var (
	labels = entry.MakeLabels("app", "nginx", "host", "web-1")
	access = entry.Entry{Time: time.Unix(1_800_000_000, 0), Labels: labels, Level: entry.Error,
		Line: `192.0.2.7 - - [28/Nov/2026:19:40:01 +0100] "GET /cart?id=7 HTTP/1.1" 502 1234 "-" "curl/8" 0.731`}
	full   = entry.Entry{Labels: labels, Level: entry.Fatal, Line: "Größe: Disk Full on /dev/sda1, diskette ok", Fields: []entry.Field{{Name: "trace_id", Value: "ab-12"}}}
	object = entry.Entry{Labels: labels, Level: entry.Info, Line: `{"msg":"caf\u00e9\nclosed","n":1.5,"deep":{"x":"y z"}}`}
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		query string
		entry entry.Entry
		want  bool
	}{
		{"", access, true}, {"  ", access, true}, {"*", access, true},
		{"disk", full, true}, {"DISK", full, true}, {"dis", full, false}, {"disk*", full, true}, {"isk", full, false}, {"*isk", full, true}, {"*is*", full, true},
		{"disk full", full, true}, {"full disk", full, true}, {`"disk full"`, full, true}, {`"full disk"`, full, false}, {`"isk full"`, full, false},
		{"größe", full, true}, {"GRÖSSE", full, false}, {"GRÖẞE", full, true}, {"grö*", full, true}, {"gr*e:", full, true}, {"d*k", full, true}, {"d*y", full, false},
		{`"/dev/sda1"`, full, true}, {`"/dev/sda"`, full, false}, {`/\/dev\/sd[a-z]/`, full, true}, {"/disk/", full, true}, {"/DISK/", full, false},
		{"app=nginx", access, true}, {"app=ngin", access, false}, {"app=ng*", access, true}, {`app="ng*"`, access, false}, {"app!=nginx", access, false}, {"app!=x", access, true},
		{"app~^ng", access, true}, {"app!~^ng", access, false}, {`app~"^(a|nginx)$"`, access, true}, {"nothing=1", access, false}, {"nothing!=1", access, true},
		{"status>=500", access, true}, {"status<500", access, false}, {"status=502", access, true}, {"status!=502", access, false}, {"seconds>0.7", access, true}, {"method=GET", access, true},
		{"level=error", access, true}, {"level>=warn", access, true}, {"level>error", access, false}, {"level<=info", access, false}, {"level!=fatal", access, true}, {"level~err", access, true},
		{"trace_id=ab-12", full, true}, {"deep.x=\"y z\"", object, true}, {"n>1", object, true}, {"n>=1.5 n<=1.5", object, true}, {"msg~café", object, true},
		{"disk or nothing", full, true}, {"nothing or disk", full, true}, {"nothing or nowhere", full, false}, {"disk AND full", full, true},
		{"disk -full", full, false}, {"disk not empty", full, true}, {"!(disk full)", full, false}, {"not not disk", full, true}, {"-empty -nothing", full, true},
		{"a or disk full", full, true}, {"disk nothing or full", full, true}, {"disk (nothing or full)", full, true}, {"(a or b) disk", full, false},
		{"line~Disk", full, true}, {"issue=0", full, false}, {"issue~^[0-9a-f]{16}$", full, true}, {"issue~.", object, false}, {"order", full, false}, {"android", full, false},
	} {
		q, err := Parse(c.query)
		require.NoError(t, err, c.query)
		require.Equal(t, c.want, q.Match(&c.entry), "%s on %s", c.query, c.entry.Line)
		filtersAgree(t, q, &c.entry)
	}
}

// filtersAgree checks that no filter turns away what matches.
func filtersAgree(t *testing.T, q *Query, e *entry.Entry) {
	t.Helper()
	set := map[uint64]bool{}
	Tokens(e, func(h uint64) { set[h] = true })
	matches := q.Match(e)
	levels := uint8(1) << e.Level
	if matches && !q.MayMatchTokens(func(h uint64) bool { return set[h] }) {
		t.Errorf("the tokens of %q turn %q away", e.Line, q)
	}
	if matches && !q.MayMatchStream(e.Labels, levels) {
		t.Errorf("the labels %v turn %q away", e.Labels, q)
	}
	if !matches && q.ByStream(e.Labels, levels) {
		t.Errorf("the labels %v are enough for %q", e.Labels, q)
	}
}

func TestFilters(t *testing.T) {
	none := func(uint64) bool { return false }
	levels := uint8(1<<entry.Info | 1<<entry.Error)
	for _, c := range []struct {
		query          string
		stream, tokens bool
	}{
		{"app=nginx", true, false}, {"app=x", false, false}, {"not app=nginx", false, true}, {"app=x or disk", true, false}, {"app=x disk", false, false},
		{"level>=warn", true, true}, {"level=fatal", false, true}, {"level!=fatal", true, true}, {"status=500", true, false}, {"status>=500", true, true},
		{"-disk", true, true}, {"disk", true, false}, {"*disk*", true, true}, {"/disk/", true, true}, {"issue=1234", true, true}, {"", true, true},
	} {
		q, err := Parse(c.query)
		require.NoError(t, err)
		require.Equal(t, c.stream, q.MayMatchStream(labels, levels), c.query)
		require.Equal(t, c.tokens, q.MayMatchTokens(none), c.query)
	}
	q, err := Parse("app=nginx level>=info")
	require.NoError(t, err)
	require.True(t, q.ByStream(labels, levels))
	require.False(t, q.ByStream(labels, levels|1<<entry.Debug))
}

func TestErrors(t *testing.T) {
	for query, want := range map[string]string{
		"(a":                             "a closing parenthesis is missing at the end",
		"a)":                             `nothing opened what closes here at character 2: ")"`,
		`"a`:                             `a closing " is missing at character 1`,
		"/a":                             "a closing / is missing",
		"/(/":                            "not a regular expression (missing closing )",
		"a or":                           "something is missing at the end",
		"and a":                          "nothing stands before and",
		"not":                            "something is missing",
		"status>":                        "a value is missing behind >",
		"status>x":                       `"x" is not a number`,
		"level=loud":                     `there is no level "loud"`,
		"=x":                             "a name is missing before =",
		"()":                             "something is missing",
		"ö \xff":                         `not UTF-8 at character 3`,
		strings.Repeat("(", 100) + "a":   "too deep",
		strings.Repeat("a", MaxLength+1): "4096 bytes",
	} {
		_, err := Parse(query)
		require.ErrorContains(t, err, want, query)
		require.ErrorAs(t, err, new(*SyntaxError))
	}
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{"disk full", `a or (b -c)`, "status>=500", `app~"x"`, "*a*b*", "größe", "/x/"} {
		f.Add(q, full.Line)
	}
	f.Fuzz(func(t *testing.T, text, line string) {
		q, err := Parse(text)
		if err != nil {
			return
		}
		e := entry.Entry{Labels: labels, Level: entry.Error, Line: strings.ToValidUTF8(line, "?")}
		filtersAgree(t, q, &e)
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, text := range []string{"disk full", "status>=500", `/disk|full/`} {
		q, err := Parse(text)
		require.NoError(b, err)
		b.Run("impl=ashlar/query="+strings.NewReplacer(" ", "_", "/", "").Replace(text), func(b *testing.B) {
			b.SetBytes(int64(len(access.Line)))
			for b.Loop() {
				q.Match(&access)
			}
		})
	}
}
