package logging

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/query"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// config is a system at free ports, which keeps its data in dir.
func config(dir string) Config {
	return Config{Env: system.Discard(dir), Syslog: "127.0.0.1:0", Keep: 24 * time.Hour, Hot: 64, Archive: 64, Sync: "never"}
}

// serve starts a system behind the launcher's security, below a prefix.
func serve(t *testing.T, c Config) (*System, string) {
	t.Helper()
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	server := httptest.NewServer(web.Secure(web.Mount("/logging/", true, s.Handler()), nil, c.Env.Log))
	server.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		require.NoError(t, s.Close())
	})
	return s, server.URL + "/logging/"
}

// eventually waits without a limit that a slow machine would meet.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("it did not come to be that %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A place on the disk that cannot be read costs what is in it: the system
// starts, finds and watches the rest, and says on its page and to /metrics
// what is missing.
func TestDamageIsShown(t *testing.T) {
	dir := t.TempDir()
	s, err := New(t.Context(), config(dir))
	require.NoError(t, err)
	for i := range 60 {
		require.NoError(t, s.store.Append(t.Context(), entry.Packet{Labels: entry.MakeLabels("app", "x"), Entries: []entry.Entry{{
			Time: time.Now(), Line: fmt.Sprintf("line number %d %s", i, strings.Repeat("abc", 100+i)),
		}}}))
	}
	require.NoError(t, s.Close())
	segments, err := filepath.Glob(filepath.Join(dir, "store", "log", "*.log"))
	require.NoError(t, err)
	require.Len(t, segments, 1)
	data, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	at := -1
	for range 21 { // each line is a batch of its own, which zstd begins so
		next := bytes.Index(data[at+1:], []byte("\x28\xb5\x2f\xfd"))
		require.GreaterOrEqual(t, next, 0)
		at += 1 + next
	}
	data[at+10] ^= 1
	require.NoError(t, os.WriteFile(segments[0], data, 0o600))

	s, base := serve(t, config(dir))
	eventually(t, "the rules have passed it", func() bool { return s.alerts.behind() == 0 })
	lines := found(t, s, "app=x")
	require.Less(t, len(lines), 60)
	require.Contains(t, strings.Join(lines, "\n"), "line number 59 ")
	_, body := get(t, base)
	require.Contains(t, body, "1 place on the disk cannot be read, and is passed over: 00000000000000000000.log at byte ")
	require.Contains(t, body, ", packets 20 to ")
}

// found are the lines that a query finds.
func found(t testing.TB, s *System, text string) (lines []string) {
	t.Helper()
	q, err := query.Parse(text)
	require.NoError(t, err)
	r := store.Request{Query: q, Limit: 1000}
	for {
		result, err := s.store.Search(t.Context(), r)
		require.NoError(t, err)
		for _, h := range result.Hits {
			lines = append(lines, h.Line)
		}
		if result.Next == nil {
			return lines
		}
		r.Before = result.Next
	}
}

func get(t *testing.T, address string) (int, string) {
	t.Helper()
	answer, err := http.Get(address)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func post(t *testing.T, address string, form url.Values) (int, string) {
	t.Helper()
	answer, err := http.PostForm(address, form)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// A line that a visitor writes goes through file, agent, queue and store, is
// found, and fires a rule.
func TestALineGoesAllTheWay(t *testing.T) {
	s, base := serve(t, config(t.TempDir()))
	status, body := post(t, base+"write", url.Values{"line": {"FATAL Disk Full on <b>/dev/sda1</b>"}})
	require.Equal(t, http.StatusOK, status, body)
	eventually(t, "the line is stored", func() bool { return len(found(t, s, `"disk full" host=page`)) == 1 })
	_, body = get(t, base+"?q="+url.QueryEscape(`"disk full"`))
	require.Contains(t, body, "Disk Full on &lt;b&gt;/dev/sda1")
	eventually(t, "the rule has fired", func() bool { return s.alerts.firing() > 0 && len(s.alerts.recent()) > 0 })
	_, body = get(t, base+"alerts/")
	require.Contains(t, body, "Disk full")
	status, body = get(t, base+"api/search?q=disk")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"level":"fatal"`)
}

func TestMistakesOfVisitors(t *testing.T) {
	_, base := serve(t, config(t.TempDir()))
	for _, c := range []struct {
		path string
		form url.Values
		want string
	}{
		{"write", url.Values{"line": {"  "}}, "Type a line first"},
		{"break", url.Values{"what": {"everything"}}, "no such trouble"},
		{"servers", url.Values{"name": {"../x"}}, "cannot be the name of a server"},
		{"servers", url.Values{"name": {"page"}}, "There is a server page already"},
		{"alerts/rule", url.Values{"name": {"x"}, "text": {"most where y"}}, "There is no kind &#34;most&#34;"},
		{"alerts/rule", url.Values{"name": {"x"}, "text": {"any where (y"}}, "A closing parenthesis is missing"},
		{"alerts/receiver", url.Values{"kind": {"webhook"}, "target": {"file:///etc/passwd"}}, "is no address"},
		{"alerts/receiver", url.Values{"kind": {"mail"}, "target": {"a@b.c"}}, "no mail server"},
		{"alerts/receiver", url.Values{"kind": {"webhook"}, "target": {"http://a/"}, "pattern": {"a*"}}, "attern"},
		{"alerts/unregister", url.Values{"id": {"x"}}, "no such receiver"},
		{"alerts/make", url.Values{"what": {"x"}}, "no such trouble"},
	} {
		status, body := post(t, base+c.path, c.form)
		require.Equal(t, http.StatusBadRequest, status, c.path)
		require.Contains(t, body, c.want, c.path)
	}
	status, body := get(t, base+"?q="+url.QueryEscape("(disk"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "A closing parenthesis is missing at the end")
	status, _ = get(t, base+"tail?q="+url.QueryEscape("(disk"))
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = get(t, base+"api/search?before=x")
	require.Equal(t, http.StatusBadRequest, status)
}

// Whatever is broken, what the servers have written is there when it is mended.
func TestBreakingAndMending(t *testing.T) {
	c := config(t.TempDir())
	c.Env.Load = 1
	s, base := serve(t, c)
	s.crowd.Close() // the test writes the lines, to be able to count them
	number := 0
	burst := func() {
		var text strings.Builder
		for range 300 {
			fmt.Fprintf(&text, "INFO counted line %d\n", number)
			number++
		}
		require.NoError(t, s.fleet.write("web-1", "app.log", text.String()))
		require.NoError(t, s.fleet.write("web-2", "access.log", strings.ReplaceAll(text.String(), "counted", "copied")))
	}
	for _, trouble := range [][2]string{{"kill", "revive"}, {"stop", "start"}, {"full", "room"}, {"rotate", "rotate"}} {
		burst()
		for _, what := range []string{trouble[0], "rotate"} {
			status, body := post(t, base+"break", url.Values{"what": {what}})
			require.Equal(t, http.StatusOK, status, body)
			burst()
		}
		status, body := post(t, base+"break", url.Values{"what": {trouble[1]}})
		require.Equal(t, http.StatusOK, status, body)
		// Only three rotated files are kept: an agent that starves must have read
		// them before the next trouble.
		eventually(t, "all lines are stored", func() bool { return len(found(t, s, "counted")) >= number && len(found(t, s, "copied")) >= number })
	}
	for _, word := range []string{"counted", "copied"} {
		seen := map[string]bool{}
		lines := found(t, s, word)
		for _, line := range lines {
			seen[line] = true
		}
		require.Len(t, seen, number, word)
		require.Len(t, lines, number, "%s: none came twice", word)
	}
	require.Zero(t, s.fleet.stats().lost)
}
