package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var quiet = slog.New(slog.DiscardHandler)

// where answers with what a handler knows of its place.
func where(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s %q %v", r.URL.Path, Base(r), Root(r), Path(r), InGallery(r))
}

func TestMount(t *testing.T) {
	for _, test := range []struct{ base, url, want string }{
		{"/", "/", `/ / ./ "" true`},
		{"/", "/lab/jobs/1", `/lab/jobs/1 / ../../ "lab/jobs/1" true`},
		{"/tide/", "/tide/", `/ /tide/ ./ "" true`},
		{"/tide/", "/tide/lab", `/lab /tide/ ./ "lab" true`},
		{"/tide/", "/tide/lab/", `/lab/ /tide/ ../ "lab/" true`},
	} {
		answer := httptest.NewRecorder()
		Mount(test.base, true, http.HandlerFunc(where)).ServeHTTP(answer, httptest.NewRequest("GET", test.url, nil))
		if got := answer.Body.String(); got != test.want {
			t.Errorf("%s under %s: %s, want %s", test.url, test.base, got, test.want)
		}
	}
	nested := Mount("/tide/", true, http.StripPrefix("/lab", http.HandlerFunc(where)))
	answer := httptest.NewRecorder()
	nested.ServeHTTP(answer, httptest.NewRequest("GET", "/tide/lab/jobs/1", nil))
	require.Equal(t, `/jobs/1 /tide/ ../../ "lab/jobs/1" true`, answer.Body.String(), "a handler that strips a further prefix")
	answer = httptest.NewRecorder()
	where(answer, httptest.NewRequest("GET", "/a/b", nil))
	require.Equal(t, `/a/b / ../ "a/b" false`, answer.Body.String(), "a handler that nobody mounted")
}

func TestRedirectsStayInside(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/own/{id}", func(w http.ResponseWriter, r *http.Request) { Redirect(w, r, "lab/?job=3") })
	mux.HandleFunc("/std", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/lab/", http.StatusFound) })
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://go.dev/", http.StatusFound)
	})
	mux.HandleFunc("/lab/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "lab") })
	for _, base := range []string{"/", "/tide/"} {
		h := Mount(base, false, mux)
		for path, want := range map[string]string{
			"own/7": "../lab/?job=3",
			"std":   base + "lab/",
			"out":   "https://go.dev/",
			"lab":   base + "lab/", // the mux's own
		} {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, httptest.NewRequest("GET", base+path, nil))
			if got := answer.Header().Get("Location"); got != want {
				t.Errorf("%s%s leads to %q, want %q", base, path, got, want)
			}
		}
	}
}

func TestHostIsChecked(t *testing.T) {
	h := Secure(http.HandlerFunc(where), []string{"box.lan"}, quiet)
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "LocalHost.:80": 200, "a.localhost:80": 200,
		"127.0.0.1": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200, "192.168.1.7:80": 200,
		"box.lan": 200, "BOX.lan:8080": 200,
		"evil.example": 421, "evil.example:8080": 421, "127.0.0.1.evil.example": 421, "notlocalhost": 421, "": 421,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if answer.Code != want {
			t.Errorf("Host %q: status %d, want %d", host, answer.Code, want)
		}
	}
}

func TestHeadersAreOnEveryAnswer(t *testing.T) {
	h := Secure(http.HandlerFunc(where), nil, quiet)
	for _, host := range []string{"localhost", "evil.example"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		header := answer.Header()
		require.Contains(t, header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.NotContains(t, header.Get("Content-Security-Policy"), "unsafe")
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", header.Get("X-Frame-Options"))
	}
}

func TestCrossOriginWritesAreTurnedAway(t *testing.T) {
	h := Secure(http.HandlerFunc(where), nil, quiet)
	for _, test := range []struct {
		method, site, origin string
		want                 int
	}{
		{"POST", "cross-site", "https://evil.example", 403},
		{"POST", "same-site", "http://localhost:9", 403},
		{"POST", "same-origin", "http://localhost", 200},
		{"POST", "", "https://evil.example", 403},
		{"POST", "", "", 200}, // not a browser
		{"GET", "cross-site", "", 200},
	} {
		r := httptest.NewRequest(test.method, "http://localhost/", nil)
		if test.site != "" {
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if answer.Code != test.want {
			t.Errorf("%s from %q %q: status %d, want %d", test.method, test.site, test.origin, answer.Code, test.want)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	h := Secure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := r.Body
		if r.URL.Path == "/large" {
			body = Body(w, r, 3<<20, time.Minute)
		}
		n, err := io.Copy(io.Discard, body)
		var tooLarge *http.MaxBytesError
		fmt.Fprintln(w, n, errors.As(err, &tooLarge))
	}), nil, quiet)
	server := httptest.NewServer(h)
	defer server.Close()
	for _, test := range []struct {
		path string
		size int
		want string
	}{
		{"/", BodyLimit, "1048576 false"},
		{"/", BodyLimit + 1, "1048576 true"},
		{"/large", 3 << 20, "3145728 false"},
		{"/large", 3<<20 + 1, "3145728 true"},
	} {
		answer, err := http.Post(server.URL+test.path, "application/octet-stream", bytes.NewReader(make([]byte, test.size)))
		require.NoError(t, err)
		got, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		if strings.TrimSpace(string(got)) != test.want {
			t.Errorf("%d bytes to %s: %s, want %s", test.size, test.path, got, test.want)
		}
	}
}

func TestPanicBecomesAnAnswerAndALogRecord(t *testing.T) {
	var log bytes.Buffer
	h := Secure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, "half a page")
			panic("late")
		}
		panic("early")
	}), nil, slog.New(slog.NewTextHandler(&log, nil)))
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "http://localhost/", nil))
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.NotContains(t, answer.Body.String(), "early", "the reason is for the log")
	require.Contains(t, log.String(), "panic=early")
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/late", nil))
	}, "a broken answer must not look whole")
}

func TestListen(t *testing.T) {
	first, err := Listen(t.Context(), "127.0.0.1:0", false)
	require.NoError(t, err)
	defer first.Close()
	_, err = Listen(t.Context(), first.Addr().String(), false)
	require.Error(t, err, "the port is taken")
	second, err := Listen(t.Context(), first.Addr().String(), true)
	require.NoError(t, err)
	defer second.Close()
	require.NotEqual(t, first.Addr(), second.Addr())
	require.True(t, Loopback(second))
	require.Equal(t, "http://"+second.Addr().String()+"/", URL(second))
	_, err = Listen(t.Context(), "no address", true)
	require.Error(t, err)
	all, err := Listen(t.Context(), ":0", false)
	require.NoError(t, err)
	defer all.Close()
	require.False(t, Loopback(all))
	require.Equal(t, fmt.Sprintf("http://127.0.0.1:%d/", all.Addr().(*net.TCPAddr).Port), URL(all))
}

func TestShutdownEndsOpenStreamsAndFinishesRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := Listen(ctx, "127.0.0.1:0", false)
	require.NoError(t, err)
	started, finish := make(chan string, 2), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			started <- "stream"
			<-r.Context().Done()
			return
		}
		started <- "request"
		<-finish
		_, _ = io.WriteString(w, "finished")
	})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, h, quiet) }()
	type result struct {
		body string
		err  error
	}
	results := make(chan result, 2)
	get := func(path string) {
		answer, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			results <- result{"", err}
			return
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		results <- result{string(body), err}
	}
	go get("/stream")
	require.Equal(t, "stream", <-started)
	go get("/request")
	require.Equal(t, "request", <-started)
	cancel()
	require.Equal(t, result{"", nil}, <-results, "the stream ends with the signal")
	close(finish)
	require.Equal(t, result{"finished", nil}, <-results)
	require.NoError(t, <-served)
	_, err = net.Dial("tcp", ln.Addr().String())
	require.Error(t, err, "the listener is closed")
}
