package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/internal/trace"
)

var testInfo = system.Info{
	Name: "host", Title: "Host", What: "Has a lab.", Hue: 200, Blocks: []string{"lru"}, Nav: []system.Link{{Path: "lab/", Text: "Policy lab"}},
}

// serve returns a lab and the address of its first page, below a prefix as in
// the gallery.
func serve(t *testing.T) (*Handler, string) {
	t.Helper()
	h := NewHandler(testInfo, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	mux.Handle("/lab/", h)
	mux.Handle("/_kit/", page.Assets(testInfo))
	server := httptest.NewServer(web.Secure(web.Mount("/host/", true, mux), nil, slog.New(slog.DiscardHandler)))
	t.Cleanup(h.Close)
	t.Cleanup(server.Close)
	return h, server.URL + "/host/lab/"
}

// upload sends the form of the first page.
func upload(t *testing.T, to, file string, content []byte, fields map[string]string) (status int, at, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if content != nil {
		part, err := w.CreateFormFile("trace", file)
		require.NoError(t, err)
		_, err = part.Write(content)
		require.NoError(t, err)
	}
	for name, value := range fields {
		require.NoError(t, w.WriteField(name, value))
	}
	require.NoError(t, w.Close())
	answer, err := http.Post(to+"replays", w.FormDataContentType(), &b)
	return read(t, answer, err)
}

func get(t *testing.T, address string) (status int, at, body string) {
	t.Helper()
	answer, err := http.Get(address)
	return read(t, answer, err)
}

func post(t *testing.T, address string) (status int, at, body string) {
	t.Helper()
	answer, err := http.PostForm(address, url.Values{})
	return read(t, answer, err)
}

func read(t *testing.T, answer *http.Response, err error) (status int, at, body string) {
	t.Helper()
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Request.URL.String(), string(data)
}

// lines writes a trace as text.
func lines(t *trace.Trace) []byte {
	var b bytes.Buffer
	for i, key := range t.Keys {
		fmt.Fprintf(&b, "%d", key)
		if t.Sizes != nil {
			fmt.Fprintf(&b, " %d", t.Sizes[i])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func TestUploadIsReplayed(t *testing.T) {
	for bound, unit := range map[string]string{"entries": "entries", "bytes": "KiB"} {
		h, address := serve(t)
		status, at, body := upload(t, address, "shop.txt", lines(small()), map[string]string{"sizes": "1%,5%,20%", "bound": bound})
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, address+"replays/1/", at, "it redirects to the replay")
		<-h.jobs.get(1).ended

		_, _, body = get(t, at)
		for _, want := range []string{"Replay of shop", "read as sizes", "has the most hits", unit, "tinylfu", "plot.svg", "bytes.svg", "Byte hit ratio", "Time"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is missing in\n%s", bound, want, body)
			}
		}
		require.NotContains(t, body, "http-equiv", "nothing changes any more")
		for _, file := range []string{"plot.svg", "bytes.svg"} {
			_, _, svg := get(t, at+file)
			requireXML(t, []byte(svg))
		}
		_, _, text := get(t, at+"report.json")
		var r Report
		require.NoError(t, json.Unmarshal([]byte(text), &r))
		require.True(t, r.Complete)
		require.Len(t, r.Capacities, 3)
		require.Equal(t, bound == "bytes", r.ByBytes)

		_, _, body = get(t, address)
		require.Contains(t, body, `href="replays/1/"`)
		require.Contains(t, body, "finished")

		_, at, body = post(t, at+"remove")
		require.Equal(t, address, at)
		require.Contains(t, body, "No trace was replayed yet")
	}
}

func TestUploadThatCannotBeRead(t *testing.T) {
	h, address := serve(t)
	for _, test := range []struct {
		name    string
		content []byte
		fields  map[string]string
		want    string
	}{
		{"a sentence", []byte("1\n2\nthis is no trace\n"), nil, "shop.csv cannot be read: line 3: &#34;this is no trace&#34; does not go with the lines before it"},
		{"binary", []byte("\x00\x01"), nil, "not text"},
		{"nothing", []byte{}, nil, "shop.csv cannot be read: empty; expected one access a line."},
		{"a column that is not there", []byte("a,b\n1,2\n"), map[string]string{"key": "zzz"}, "no key column &#34;zzz&#34;"},
		{"no sizes", []byte("1\n2\n"), map[string]string{"bound": "bytes"}, "The trace shop has no sizes, so choose capacities in entries."},
		{"bad capacities", []byte("1\n2\n"), map[string]string{"sizes": "many"}, "Size &#34;many&#34;; expected a number"},
		{"too many capacities", []byte("1\n2\n"), map[string]string{"sizes": "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21"}, "21 capacities are too many"},
		{"a format that is none", []byte("1\n"), map[string]string{"format": "xml"}, "There is no format"},
		{"a trace that is none", nil, map[string]string{"choice": "../../etc/passwd"}, "There is no trace"},
	} {
		status, _, body := upload(t, address, "shop.csv", test.content, test.fields)
		if status != http.StatusBadRequest || !strings.Contains(body, test.want) {
			t.Errorf("%s: status %d, want %q in\n%s", test.name, status, test.want, body)
		}
		for _, value := range test.fields {
			if len(value) > 3 && test.content != nil && value != "xml" && !strings.Contains(body, value) {
				t.Errorf("%s: what was filled in, %q, is lost", test.name, value)
			}
		}
	}
	require.Empty(t, h.jobs.all())
}

// Whatever becomes of an upload, no file of it stays.
func TestUploadsLeaveNoFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	h, address := serve(t)
	h.limit = 3 << 20
	for _, test := range []struct {
		content []byte
		status  int
	}{
		{bytes.Repeat([]byte("1\n2\n"), 1<<19), http.StatusOK},
		{bytes.Repeat([]byte("x y z\n1\n"), 1<<18), http.StatusBadRequest},
		{bytes.Repeat([]byte("1\n2\n"), 1<<21), http.StatusRequestEntityTooLarge},
	} {
		status, _, body := upload(t, address, "large.txt", test.content, map[string]string{"sizes": "1"})
		require.Equal(t, test.status, status, body)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestLongTracesAreTrimmed(t *testing.T) {
	h, address := serve(t)
	h.longest = 1000
	_, at, _ := upload(t, address, "long.txt", bytes.Repeat([]byte("1\n"), 1001), map[string]string{"sizes": "1"})
	<-h.jobs.get(1).ended
	_, _, body := get(t, at)
	require.Contains(t, body, "The trace goes on; this is about its beginning.")
	require.Contains(t, body, page.Count(1000)+" accesses")
}

func TestBuiltinTraces(t *testing.T) {
	h, address := serve(t)
	h.jobs.slot <- struct{}{} // nothing is replayed: this is about what would be
	names := []string{""}
	for _, b := range builtins {
		names = append(names, b.Name)
	}
	for i, name := range names[:4] {
		answer, err := http.PostForm(address+"replays", url.Values{"choice": {name}})
		_, at, body := read(t, answer, err)
		require.Equal(t, fmt.Sprintf("%sreplays/%d/", address, i+1), at)
		require.Contains(t, body, "Waiting for the replay before it.")
		require.Contains(t, body, `<noscript><meta http-equiv="refresh"`)
	}
	for _, name := range names[1:] {
		tr, err := namedTrace(name, maxAccesses)
		require.NoError(t, err)
		require.Equal(t, name, tr.Name)
		require.LessOrEqual(t, len(tr.Keys), maxAccesses)
	}
	if !slices.Contains(sharedTraces(), "lirs-gli") {
		return
	}
	tr, err := namedTrace("lirs-gli", 1000)
	require.NoError(t, err)
	require.Len(t, tr.Keys, 1000)
	require.True(t, tr.Trimmed)
}

func TestLabIsBusy(t *testing.T) {
	h, address := serve(t)
	h.jobs.slot <- struct{}{} // as if one ran
	trace := []byte("1\n2\n1\n")
	for range maxWaiting + 1 {
		status, _, body := upload(t, address, "a", trace, nil)
		require.Equal(t, http.StatusOK, status, body)
	}
	status, _, body := upload(t, address, "a", trace, nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "The lab is busy: wait until a replay has ended, or stop one.")

	// Stopping one that waits makes room, and frees its trace.
	b := h.jobs.get(2)
	_, at, body := post(t, address+"replays/2/stop")
	require.Equal(t, address+"replays/2/", at)
	require.Contains(t, body, "Stopped before the end.")
	require.Nil(t, b.config.Trace)
	status, _, body = upload(t, address, "a", trace, nil)
	require.Equal(t, http.StatusOK, status, body)

	// Two uploads at a time.
	h.uploads <- struct{}{}
	h.uploads <- struct{}{}
	status, _, body = upload(t, address, "a", trace, nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "Two traces are being read already.")
}

// A replay that runs ends soon after it was stopped, and shows what it has.
func TestStopWhileRunning(t *testing.T) {
	h, address := serve(t)
	tr := trace.Zipf(1, 1_000_000, 50_000, 0.9)
	_, err := h.jobs.add(Config{Trace: tr, Workers: 1, Untimed: true})
	require.NoError(t, err)
	second, err := h.jobs.add(Config{Trace: trace.Loop(100, 10), Workers: 1, Untimed: true})
	require.NoError(t, err)
	follow(t, address+"replays/1/live")("Replaying")
	status, _, body := post(t, address+"replays/1/stop")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "Stopped before the end.")
	<-second.ended
	require.Equal(t, finished, second.status().State, "the next one has its turn")
}

func TestOldReplaysMakeRoom(t *testing.T) {
	h, address := serve(t)
	for i := range maxKept + 2 {
		upload(t, address, "a", []byte("1\n2\n"), nil)
		<-h.jobs.get(i + 1).ended
	}
	require.Len(t, h.jobs.all(), maxKept)
	status, _, body := get(t, address+"replays/1/")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "There is no such replay.")
}

func TestPagesThatAreNot(t *testing.T) {
	_, address := serve(t)
	for _, path := range []string{"replays/7/", "replays/x/", "replays/7/plot.svg", "replays/-1/report.json", "nothing"} {
		if status, _, _ := get(t, address+path); status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, status)
		}
	}
	status, _, _ := post(t, address+"replays/7/stop")
	require.Equal(t, http.StatusNotFound, status)
	_, _, body := get(t, address+"compare?replay=7")
	require.Contains(t, body, "None was chosen")
}

func TestCompare(t *testing.T) {
	h, address := serve(t)
	for _, name := range []string{"one", "two"} {
		upload(t, address, name, lines(small()), map[string]string{"sizes": "5%"})
	}
	upload(t, address, "three", lines(small()), map[string]string{"sizes": "5%", "bound": "bytes"})
	for id := range 3 {
		<-h.jobs.get(id + 1).ended
	}
	_, _, body := get(t, address+"compare?replay=1&replay=2")
	require.Contains(t, body, "Mean of 2 rows")
	require.Equal(t, 2, strings.Count(body, "<figure"))

	g := compare([]*Report{h.jobs.get(1).status().Report, h.jobs.get(3).status().Report})
	require.Equal(t, []string{"tinylfu", "lru", "lfu", "random", "tinylfu-bytes", Optimum, Bound}, g.Policies)
	require.Len(t, g.Rows, 2, "no row is complete, so there is no mean")
	require.Empty(t, g.Rows[0].Cells[4].Text)
}

// follow opens a stream and returns what waits until it has carried a text.
func follow(t *testing.T, address string) (until func(text string)) {
	t.Helper()
	answer, err := http.Get(address)
	require.NoError(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	require.Equal(t, "text/event-stream; charset=utf-8", answer.Header.Get("Content-Type"))
	var seen strings.Builder
	return func(text string) {
		t.Helper()
		buffer := make([]byte, 32<<10)
		for !strings.Contains(seen.String(), text) {
			n, err := answer.Body.Read(buffer)
			require.NoError(t, err, "%q did not come; seen: %s", text, &seen)
			seen.Write(buffer[:n])
		}
	}
}

// The stream of a replay carries the same fragment as the page.
func TestReplayIsFollowed(t *testing.T) {
	h, address := serve(t)
	h.jobs.slot <- struct{}{}
	upload(t, address, "a", []byte("1\n2\n1\n"), nil)
	until := follow(t, address+"replays/1/live")
	until("Waiting for the replay before it.")
	<-h.jobs.slot
	until("the most hits")

	list := follow(t, address+"live")
	list("finished")
}

// A panic in a policy is a failed replay, not the end of the server.
func TestPanicFailsTheReplayOnly(t *testing.T) {
	h, _ := serve(t)
	b, err := h.jobs.add(Config{Trace: &trace.Trace{Keys: []uint64{1, 2}, Sizes: []uint32{1}}, Workers: 1})
	require.NoError(t, err)
	<-b.ended
	require.Equal(t, failed, b.status().State)
	require.Contains(t, b.status().Problem, "the log has the details")

	// One in a goroutine of its own comes to the caller of Run.
	require.Panics(t, func() {
		_, _ = Run(t.Context(), Config{Trace: small(), Workers: 2, Partial: func(*Report) { panic("no") }})
	})
}

func TestCloseStopsReplays(t *testing.T) {
	h := NewHandler(testInfo, slog.New(slog.DiscardHandler))
	var jobs []*job
	for range 3 {
		b, err := h.jobs.add(Config{Trace: trace.Loop(200_000, 100_000), Workers: 1})
		require.NoError(t, err)
		jobs = append(jobs, b)
	}
	h.Close()
	for _, b := range jobs {
		if s := b.status().State; s != stopped {
			t.Errorf("replay %d is %s", b.id, s)
		}
	}
	_, err := h.jobs.add(Config{Trace: small()})
	require.ErrorIs(t, err, errBusy)
}
