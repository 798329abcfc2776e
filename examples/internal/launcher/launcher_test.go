package launcher

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/system"
)

var demos = Registry{define(tide), broken}

// call runs the command to its end.
func call(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Main(t.Context(), demos, args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		args           string
		status         int
		stdout, stderr string
	}{
		{"-h", 0, "go run ./examples SYSTEM [flags]", ""},
		{"-help", 0, "tide forecast  prints the next tide", ""},
		{"help", 0, "Systems:", ""},
		{"help tide", 0, "-level percent", ""},
		{"tide -h", 0, "go run ./examples tide forecast", ""},
		{"tide forecast a b", 0, "high tide for 2 harbours\n", ""},
		{"tied", 2, "", "Did you mean tide?"},
		{"ti", 2, "", "Did you mean tide?"},
		{"zzzzzzzzzz", 2, "", `There is no system called "zzzzzzzzzz".` + "\n"},
		{"tide froecast", 2, "", `tide has no command "froecast"`},
		{"tide -nonsense", 2, "", "flag provided but not defined: -nonsense"},
		{"tide -level x", 2, "", "invalid value"},
		{"tide -load=-1", 2, "", "want a factor from 0"},
		{"tide -v extra", 2, "", `unexpected argument "extra"`},
		{"-addr", 2, "", "flag needs an argument"},
		{"leaky -addr 127.0.0.1:0", 1, "", "leaky: no water at 127.0.0.1:1"},
		{"tide -level 101 -addr 127.0.0.1:0", 1, "", "tide: the gauge overflows"},
		{"tide -addr nowhere", 1, "", "missing port"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			status, stdout, stderr := call(t, strings.Fields(test.args)...)
			require.Equal(t, test.status, status, stderr)
			require.Contains(t, stdout, test.stdout)
			require.Contains(t, stderr, test.stderr)
		})
	}
}

func TestLoadFlag(t *testing.T) {
	for value, want := range map[string]load{"": 1, "=true": 1, "=false": 0, "=0": 0, "=1": 1, "=2.5": 2.5} {
		c := newFlags(system.Definition{})
		require.NoError(t, c.set.Parse([]string{"-load" + value}))
		require.Equal(t, want, c.load, "-load%s", value)
	}
	for _, value := range []string{"=NaN", "=-1", "=x", "=1e99"} {
		c := newFlags(system.Definition{})
		c.set.SetOutput(io.Discard)
		require.Error(t, c.set.Parse([]string{"-load" + value}), "-load%s", value)
	}
}

// A process is a launcher that runs until it is stopped.
type process struct {
	url    string
	stderr lockedBuffer
	cancel context.CancelFunc
	status chan int
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// launch runs the command until it has printed its address.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, status: make(chan int, 1)}
	reader, writer := io.Pipe()
	go func() {
		p.status <- Main(ctx, demos, args, writer, &p.stderr)
		_ = writer.Close()
	}()
	t.Cleanup(func() { p.stop(t) })
	lines := bufio.NewScanner(reader)
	require.True(t, lines.Scan(), "no output; %s", &p.stderr)
	_, p.url, _ = strings.Cut(lines.Text(), ": ")
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	return p
}

// stop interrupts the command and returns its status.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	p.cancel()
	select {
	case status := <-p.status:
		p.status <- status // for the next one who asks
		return status
	case <-time.After(time.Minute):
		t.Fatal("the launcher does not stop")
		return 0
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func TestOneSystemAlone(t *testing.T) {
	p := launch(t, "tide", "-addr", "127.0.0.1:0", "-data", t.TempDir(), "-load", "-level", "77")
	status, page := get(t, p.url)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<h1>Tide gauge</h1>")
	require.NotContains(t, page, `class="brand" href`, "there is no gallery to go back to")
	_, health := get(t, p.url+"healthz")
	require.Equal(t, "ok\n", health)
	_, text := get(t, p.url+"metrics")
	require.Contains(t, text, `demo_level{gauge="main"} `)
	status, page = get(t, p.url+"metrics/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "demo_pours_total")
	_, text = get(t, p.url+"readme")
	require.Equal(t, "# Tide gauge\n", text)
	status, _ = get(t, p.url+"panic")
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, p.stderr.String(), "too deep")
	require.Zero(t, p.stop(t))
}

func TestGallery(t *testing.T) {
	p := launch(t, "-addr", "127.0.0.1:0", "-data", t.TempDir())
	status, page := get(t, p.url)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, `<a href="tide/">Tide gauge</a>`)

	status, page = get(t, p.url+"tide/")
	require.Equal(t, http.StatusOK, status, "the first request waits until the system runs")
	require.Contains(t, page, `href="./../"`)
	status, page = get(t, p.url+"tide/elsewhere")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<h1>Depths</h1>", "a redirect inside the system")
	status, _ = get(t, p.url+"tide")
	require.Equal(t, http.StatusOK, status, "a forgotten slash")

	status, page = get(t, p.url+"leaky/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, page, "It did not start: no water at 127.0.0.1:1.")
	status, health := get(t, p.url+"healthz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "tide running\nleaky failed\n", health)
	_, health = get(t, p.url+"leaky/healthz")
	require.Equal(t, "did not start: no water at 127.0.0.1:1\n", health)
	status, _ = get(t, p.url+"leaky/readme")
	require.Equal(t, http.StatusNotFound, status)
	status, page = get(t, p.url+"nothing/here")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, page, "There is no such page.")
	require.Zero(t, p.stop(t))
}

func TestGallerySearchWithoutScript(t *testing.T) {
	p := launch(t, "-addr", "127.0.0.1:0", "-data", t.TempDir())
	for query, want := range map[string]bool{
		"": true, "TIDE": true, "sea": true, "movingavg": true, "gauge pour": true, "places": true, "gauge nonsense": false, "%3Cscript%3E": false,
	} {
		_, page := get(t, p.url+"?q="+strings.ReplaceAll(query, " ", "+"))
		_, line, found := strings.Cut(page, `<li class="of-tide"`)
		require.True(t, found)
		line, _, _ = strings.Cut(line, ">")
		if shown := !strings.HasSuffix(line, " hidden"); shown != want {
			t.Errorf("search for %q shows it: %v, want %v", query, shown, want)
		}
		if strings.Contains(page, "<script>") {
			t.Errorf("the query %q is not escaped", query)
		}
	}
}

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", defaultAddr)
	if err == nil { // or another process has it already
		defer taken.Close()
	}
	p := launch(t, "-data", t.TempDir())
	require.NotContains(t, p.url, ":8080/", "another port")
	status, _ := get(t, p.url)
	require.Equal(t, http.StatusOK, status)

	status, _, stderr := call(t, "tide", "-data", t.TempDir(), "-addr", defaultAddr)
	require.Equal(t, 1, status, "whoever asks for a port gets that one or an error")
	require.Contains(t, stderr, "address already in use")
}

func TestShutdownEndsLiveStreams(t *testing.T) {
	p := launch(t, "tide", "-addr", "127.0.0.1:0", "-data", t.TempDir())
	answer, err := http.Get(p.url + "live")
	require.NoError(t, err)
	defer answer.Body.Close()
	events := bufio.NewScanner(answer.Body)
	for events.Scan() && events.Text() != "event: live" {
		continue
	}
	require.Equal(t, "event: live", events.Text())
	require.Zero(t, p.stop(t))
	for events.Scan() {
		continue
	}
	require.NoError(t, events.Err(), "the stream ends, it does not break")
}

func TestDataDirectoryBelongsToOneProcess(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	asked := filepath.Join(t.TempDir(), "new", "place")
	dir, release, err := openData(asked, "tide", log)
	require.NoError(t, err)
	require.Equal(t, asked, dir)
	_, _, err = openData(asked, "tide", log)
	require.ErrorIs(t, err, errInUse)
	release()
	_, release, err = openData(asked, "tide", log)
	require.NoError(t, err)
	release()

	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // of macOS
	first, releaseFirst, err := openData("", "tide", log)
	require.NoError(t, err)
	second, releaseSecond, err := openData("", "tide", log)
	require.NoError(t, err, "a second gallery runs beside the first")
	require.NotEqual(t, first, second)
	releaseSecond()
	require.NoDirExists(t, second, "and leaves nothing behind")
	releaseFirst()
	require.DirExists(t, first)

	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	homeless, release, err := openData("", "tide", log)
	require.NoError(t, err)
	require.DirExists(t, homeless)
	release()

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err = openData(file, "tide", log)
	require.Error(t, err)
}

func TestPanicWhileStartingIsAFailureOfThatSystemOnly(t *testing.T) {
	bad := system.Definition{Info: system.Info{Name: "bad"}, New: func(context.Context, system.Env) (system.System, error) { panic("oh") }}
	env := system.Discard(t.TempDir())
	in := start(t.Context(), bad, env)
	<-in.ready
	require.EqualError(t, in.err, "panic while starting: oh")
	in.close()
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"tide", "tide", 0}, {"tied", "tide", 2}, {"tid", "tide", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
