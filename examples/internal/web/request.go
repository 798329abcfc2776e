// Package web is what stands between the network and a system's handlers: the
// listener, the server with its limits, the security headers, and the prefix
// under which a system is mounted.
package web

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

type contextKey int

const (
	mountKey contextKey = iota
	bodyKey
)

// A mounted is where a request came in.
type mounted struct {
	base    string // of the system: "/" or "/cacheserver/"
	path    string // below base: "lab/jobs/1"
	gallery bool   // the gallery is at "/"
}

// Mount serves h under base, which starts and ends with a slash: it removes
// the prefix from the request's path and puts it back in front of absolute
// paths that h redirects to, so that a handler need not know where it is.
// gallery says whether there is a gallery to go back to.
func Mount(base string, gallery bool, h http.Handler) http.Handler {
	prefix := strings.TrimSuffix(base, "/")
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := mounted{base: base, path: strings.TrimPrefix(r.URL.Path, "/"), gallery: gallery}
		r = r.WithContext(context.WithValue(r.Context(), mountKey, m))
		if prefix == "" {
			h.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(&relocated{ResponseWriter: w, prefix: prefix}, r)
	})
	if prefix == "" {
		return inner
	}
	return http.StripPrefix(prefix, inner)
}

// relocated puts a prefix in front of the Location of a redirect.
type relocated struct {
	http.ResponseWriter
	prefix string
	done   bool
}

func (w *relocated) WriteHeader(status int) {
	if !w.done && status >= 200 {
		w.done = true
		location := w.Header().Get("Location")
		if strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") {
			w.Header().Set("Location", w.prefix+location)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *relocated) Write(p []byte) (int, error) {
	w.done = true // an implicit 200
	return w.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *relocated) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func mount(r *http.Request) mounted {
	if m, ok := r.Context().Value(mountKey).(mounted); ok {
		return m
	}
	return mounted{base: "/", path: strings.TrimPrefix(r.URL.Path, "/")}
}

// Base returns the path of the system's root on this server, "/" or
// "/cacheserver/": the Path of a system's cookies.
func Base(r *http.Request) string { return mount(r).base }

// InGallery reports whether the gallery is one level above the system's root.
func InGallery(r *http.Request) bool { return mount(r).gallery }

// Root returns the relative reference from the page of r to the system's root:
// "./" or some number of "../". It holds inside a handler that strips a further
// prefix too.
func Root(r *http.Request) string {
	if depth := strings.Count(mount(r).path, "/"); depth > 0 {
		return strings.Repeat("../", depth)
	}
	return "./"
}

// Path returns the path of the request below the system's root, without a
// leading slash: "" for the first page.
func Path(r *http.Request) string { return mount(r).path }

// Redirect answers with 303 See Other to path, which is taken from the
// system's root: "", "lab/", "lab/?job=3". It is the end of every form that
// changed something.
func Redirect(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("Location", Root(r)+strings.TrimPrefix(path, "/"))
	w.WriteHeader(http.StatusSeeOther)
}

// BodyLimit is how many bytes of a request's body a handler can read unless it
// asks for more with [Body].
const BodyLimit = 1 << 20

// Body returns the body of r with a limit other than [BodyLimit] and a
// deadline of its own; reading more fails with *http.MaxBytesError. It must
// be called before anything was read. r.Body is replaced too, so that
// r.MultipartReader and r.ParseMultipartForm see the new limit.
func Body(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) io.ReadCloser {
	body, ok := r.Context().Value(bodyKey).(io.ReadCloser)
	if !ok {
		body = r.Body
	}
	deadline := time.Now().Add(within)
	control := http.NewResponseController(w)
	// A writer of a test has no deadlines, which is no reason to fail.
	_ = control.SetReadDeadline(deadline)
	_ = control.SetWriteDeadline(deadline.Add(writeTimeout))
	r.Body = http.MaxBytesReader(w, body, limit)
	return r.Body
}
