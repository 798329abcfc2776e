package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// TestRegistryListsEverySystem holds the registry against the folders.
func TestRegistryListsEverySystem(t *testing.T) {
	registered := map[string]bool{}
	for _, d := range systems.Definitions() {
		if registered[d.Name] {
			t.Errorf("%s is registered twice", d.Name)
		}
		registered[d.Name] = true
	}
	folders, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, folder := range folders {
		name := folder.Name()
		if !folder.IsDir() || name == "internal" || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
			continue
		}
		if !registered[name] {
			t.Errorf("the folder examples/%s is not in the registry", name)
		}
		delete(registered, name)
	}
	for name := range registered {
		t.Errorf("the system %s has no folder examples/%s", name, name)
	}
}

func TestSystemsDescribeThemselves(t *testing.T) {
	hues := map[int]string{}
	for _, d := range systems.Definitions() {
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(d.Name) || d.Title == "" || !strings.HasSuffix(d.What, ".") {
			t.Errorf("%q %q %q: want a name in lower case, a title, and a sentence", d.Name, d.Title, d.What)
		}
		if !slices.Contains(system.Kinds, d.Kind) {
			t.Errorf("%s is of the unknown kind %q", d.Name, d.Kind)
		}
		if len(d.Blocks) == 0 {
			t.Errorf("%s names no blocks", d.Name)
		}
		for _, block := range d.Blocks {
			if _, err := os.Stat("../" + block); err != nil {
				t.Errorf("%s is built from %s: %v", d.Name, block, err)
			}
		}
		if other, taken := hues[d.Hue]; taken || d.Hue < 0 || d.Hue > 359 {
			t.Errorf("%s has the hue %d, which is out of range or that of %s", d.Name, d.Hue, other)
		}
		hues[d.Hue] = d.Name
		if d.README == "" {
			t.Errorf("%s has no README", d.Name)
		}
	}
}

// run runs a gallery of the registry and returns its address and the function
// that stops it.
func run(t *testing.T, registry launcher.Registry) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- launcher.Main(ctx, registry, []string{"-addr", "127.0.0.1:0", "-data", t.TempDir()}, writer, t.Output())
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	require.True(t, lines.Scan(), "no output")
	_, url, _ = strings.Cut(lines.Text(), ": ")
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, reader)
		close(drained)
	}()
	return url, func() {
		cancel()
		require.Zero(t, <-status)
		<-drained
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(data)
}

// sample is a line of the text format of Prometheus.
var sample = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? [-+0-9.eInfNa]+$`)

// TestEverySystemStartsAnswersAndStops boots each system under its usual load,
// reads its pages, closes it, and finds no goroutine left behind.
func TestEverySystemStartsAnswersAndStops(t *testing.T) {
	_, stop := run(t, nil)
	stop() // what the first run starts for good, such as the runtime's waiting for signals, is no leak
	for _, define := range systems {
		d := define()
		t.Run(d.Name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			url, stop := run(t, launcher.Registry{define})
			base := url + d.Name + "/"
			paths := []string{"", "metrics/", "readme"}
			for _, link := range d.Nav {
				paths = append(paths, link.Path)
			}
			for _, path := range paths {
				status, body := get(t, base+path)
				if status != http.StatusOK || body == "" {
					t.Errorf("GET /%s: status %d\n%.500s", path, status, body)
				}
			}
			status, body := get(t, base+"healthz")
			require.Equal(t, http.StatusOK, status, body)
			_, body = get(t, base+"metrics")
			for line := range strings.Lines(body) {
				if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "# ") && !sample.MatchString(line) {
					t.Errorf("/metrics has a bad line: %q", line)
				}
			}
			stop()
			if !settles(before) {
				_ = pprof.Lookup("goroutine").WriteTo(t.Output(), 1)
				t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
			}
		})
	}
}

// settles waits a moment until no more goroutines run than before.
func settles(before int) bool {
	deadline := time.After(10 * time.Second)
	for runtime.NumGoroutine() > before {
		select {
		case <-deadline:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

// TestEveryPageInABrowser holds every system's pages to what all pages must
// be.
func TestEveryPageInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	url, stop := run(t, systems)
	defer stop()
	browsertest.Audit(t, b, "gallery", url)
	for _, d := range systems.Definitions() {
		browsertest.Audit(t, b, d.Name, url+d.Name+"/")
		for _, link := range d.Nav {
			browsertest.Audit(t, b, d.Name+"-"+strings.NewReplacer("/", "", "?", "-").Replace(link.Path), url+d.Name+"/"+link.Path)
		}
	}
}
