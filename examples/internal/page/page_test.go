package page

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

var info = system.Info{
	Name: "tide", Title: "Tide gauge", What: "Fills and empties.", Hue: 200, Blocks: []string{"movingavg"},
	Nav: []system.Link{{Path: "lab/", Text: "Lab"}},
}

var files = fstest.MapFS{
	"two.html":   {Data: []byte(`{{define "do"}}<b>{{.Data}}</b>{{end}}{{define "learn"}}{{template "row" "x"}}{{end}}{{define "row"}}<i>{{.}}</i>{{end}}`)},
	"body.html":  {Data: []byte(`{{define "head"}}<link rel="stylesheet" href="{{.Root}}own.css">{{end}}{{define "body"}}free{{end}}`)},
	"fails.html": {Data: []byte(`{{define "body"}}before{{.Data.Missing}}{{end}}`)},
}

// get renders a page as it is at address, mounted at base.
func get(p *Page, base, address string, v View) string {
	answer := httptest.NewRecorder()
	web.Mount(base, base != "/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Render(w, r, http.StatusOK, v)
	})).ServeHTTP(answer, httptest.NewRequest("GET", address, nil))
	return answer.Body.String()
}

func TestPageShowsItsSectionsInOrder(t *testing.T) {
	p := Must(info, nil, files, "two.html")
	text := get(p, "/", "/", View{Data: "<pour>", Titles: map[string]string{"do": "Pour water"}, Notice: &Notice{Error: true, Text: "Full."}})
	for _, want := range []string{"<title>Tide gauge · ashlar</title>", "<h1>Tide gauge</h1>", "Fills and empties.", "Full.", "Pour water</h2>",
		"<b>&lt;pour&gt;</b>", "How it works</h2>", "<i>x</i>", "Built from", "</html>"} {
		_, rest, found := strings.Cut(text, want)
		require.True(t, found, "%q is missing or out of order in\n%s", want, text)
		text = rest
	}
	require.NotContains(t, text, "Watch</h2>")
}

func TestBodyOfItsOwnShape(t *testing.T) {
	text := get(Must(info, nil, files, "body.html"), "/", "/lab/", View{Title: "Lab"})
	require.Contains(t, text, "<title>Lab · Tide gauge</title>")
	require.Contains(t, text, "free")
	require.Contains(t, text, `href="../own.css"`)
	require.NotContains(t, text, "<section")
}

func TestLinksAreRelative(t *testing.T) {
	p := Must(info, nil, files, "two.html")
	for _, test := range []struct{ base, address, root string }{
		{"/", "/", "./"}, {"/", "/lab/jobs/3", "../../"}, {"/tide/", "/tide/lab/", "../"},
	} {
		text := get(p, test.base, test.address, View{Stream: "live"})
		for attribute := range strings.SplitSeq(text, `="`) {
			value, _, _ := strings.Cut(attribute, `"`)
			if strings.HasPrefix(value, "/") {
				t.Errorf("%s: link to %s leaves the mount", test.address, value)
			}
		}
		require.Contains(t, text, `data-stream="`+test.root+`live"`)
		require.Contains(t, text, `href="`+test.root+`_kit/kit.css?v=`)
		require.Equal(t, test.base != "/", strings.Contains(text, `class="brand" href="`+test.root+`../"`), "the way to the gallery")
	}
	require.Contains(t, get(p, "/", "/lab/jobs/3", View{}), `<a href="../../lab/" aria-current="page">Lab</a>`)
	require.Contains(t, get(p, "/", "/", View{}), `<a href="./" aria-current="page">Tide gauge</a>`)
}

func TestFailingTemplateGivesNoHalfPage(t *testing.T) {
	p := Must(info, nil, files, "fails.html")
	h := web.Secure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.Render(w, r, 200, View{Data: 1}) }), nil, slog.New(slog.DiscardHandler))
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "http://localhost/", nil))
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.NotContains(t, answer.Body.String(), "before")
}

func TestErrorPage(t *testing.T) {
	answer := httptest.NewRecorder()
	Error(answer, httptest.NewRequest("GET", "/lab/x", nil), info, http.StatusNotFound, "There is no <x>.")
	require.Equal(t, http.StatusNotFound, answer.Code)
	require.Contains(t, answer.Body.String(), "There is no &lt;x&gt;.")
	require.Contains(t, answer.Body.String(), `href="../">Back to Tide gauge`)
}

func TestFragmentIsTheSameAsOnThePage(t *testing.T) {
	require.EqualValues(t, "<i>&lt;</i>", Must(info, nil, files, "two.html").Fragment("row", "<"))
}

func TestAssets(t *testing.T) {
	h := Assets(info, system.Info{Name: "other", Hue: 7})
	for _, test := range []struct{ path, mime, cache string }{
		{"kit.css?v=" + version, "text/css; charset=utf-8", "public, max-age=31536000, immutable"},
		{"kit.js?v=" + version, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"kit.js?v=older", "text/javascript; charset=utf-8", "no-cache"},
		{"mark.svg", "image/svg+xml", "no-cache"},
		{"accent.css", "text/css; charset=utf-8", "no-cache"},
	} {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest("GET", "/_kit/"+test.path, nil))
		require.Equal(t, http.StatusOK, answer.Code)
		require.Equal(t, test.mime, answer.Header().Get("Content-Type"))
		require.Equal(t, test.cache, answer.Header().Get("Cache-Control"), test.path)
		if test.path == "accent.css" {
			require.Equal(t, ":root{--hue:200}\n.of-tide{--hue:200}\n.of-other{--hue:7}\n", answer.Body.String())
		}
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "/_kit/nothing.css", nil))
	require.Equal(t, http.StatusNotFound, answer.Code)
}

func TestThemeIsRememberedAndLeadsBack(t *testing.T) {
	post := func(theme, referer string) *http.Response {
		r := httptest.NewRequest("POST", "http://localhost/_kit/theme", strings.NewReader(url.Values{"theme": {theme}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Referer", referer)
		answer := httptest.NewRecorder()
		Assets(info).ServeHTTP(answer, r)
		return answer.Result()
	}
	answer := post("dark", "http://localhost/tide/lab/?q=1")
	require.Equal(t, "//localhost/tide/lab/?q=1", answer.Header.Get("Location"))
	require.Equal(t, "dark", answer.Cookies()[0].Value)
	require.Less(t, post("", "").Cookies()[0].MaxAge, 0, "the system's theme again")
	require.Equal(t, http.StatusBadRequest, post("pink", "").StatusCode)
	for _, elsewhere := range []string{"http://evil.example/", "http://localhost//evil.example/", "", "::"} {
		require.Equal(t, "../", post("dark", elsewhere).Header.Get("Location"), "coming from %q", elsewhere)
	}

	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(answer.Cookies()[0])
	page := httptest.NewRecorder()
	Must(info, nil, files, "two.html").Render(page, r, 200, View{})
	require.Contains(t, page.Body.String(), `<html lang="en" data-theme="dark">`)
	r.Header.Set("Cookie", themeCookie+`="><script>`)
	page = httptest.NewRecorder()
	Must(info, nil, files, "two.html").Render(page, r, 200, View{})
	require.Contains(t, page.Body.String(), `<html lang="en">`)
}

// The policy that web sends allows no inline style or script, so a page must
// have none.
func TestPagesHaveNothingInline(t *testing.T) {
	for _, name := range []string{"templates/layout.html", "templates/parts.html", "templates/error.html"} {
		data, err := templates.ReadFile(name)
		require.NoError(t, err)
		for _, bad := range []string{"style=", "<style", "onclick", "onload", "javascript:"} {
			require.NotContains(t, string(data), bad, name)
		}
	}
}

func TestFormatting(t *testing.T) {
	narrow := func(s string) string { return strings.ReplaceAll(s, "_", narrowSpace) }
	for _, test := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(int64(1234567)), "1_234_567"}, {Count(-1234), "−1_234"}, {Count(uint64(100000)), "100_000"},
		{Bytes(0), "0_B"}, {Bytes(999), "999_B"}, {Bytes(1023), "1_KiB"}, {Bytes(1024), "1_KiB"}, {Bytes(int64(5 << 20)), "5_MiB"}, {Bytes(1.5 * (1 << 30)), "1.5_GiB"}, {Bytes("x"), "–"},
		{Percent(0.8721), "87.2"}, {Percent(0), "0.0"}, {Percent(1), "100.0"},
		{Duration(0), "0_ns"}, {Duration(850 * time.Nanosecond), "850_ns"}, {Duration(1250 * time.Microsecond), "1.2_ms"},
		{Duration(12 * time.Millisecond), "12_ms"}, {Duration(3400 * time.Millisecond), "3.4_s"}, {Duration(90 * time.Second), "90_s"},
		{Duration(5 * time.Minute), "5_min"}, {Duration(3 * time.Hour), "3_h"}, {Duration(72 * time.Hour), "3_d"}, {Duration(-time.Second), "−1.0_s"},
	} {
		if test.got != narrow(test.want) {
			t.Errorf("got %q, want %q", test.got, narrow(test.want))
		}
	}
}

func TestDesignSystemIsSmall(t *testing.T) {
	total := 0
	for _, name := range []string{"kit.css", "kit.js", "mark.svg"} {
		f, err := os.Open("assets/" + name)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		total += int(n)
	}
	require.Less(t, total, 40<<10, "a page of 100 KB must have room for what it shows")
}
