package browsertest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// serve serves one page, and the style sheet /s.css.
func serve(t *testing.T, html, css string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(html))
		case "/s.css":
			w.Header().Set("Content-Type", "text/css")
			_, _ = w.Write([]byte(css))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestProblemsAreSeen(t *testing.T) {
	b := Start(t)
	for name, test := range map[string]struct{ html, want string }{
		"another machine": {`<img src="http://127.0.0.1:9/x.png" alt="">`, "left the page's own server: http://127.0.0.1:9/x.png"},
		"console":         {`<script>console.error("oh", 7)</script>`, `console: "oh" 7`},
		"exception":       {`<script>nothing()</script>`, "nothing is not defined"},
		"missing file":    {`<script src="gone.js"></script>`, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, serve(t, `<link rel="icon" href="data:,">`+test.html, ""), Options{})
			p.Wait("document.readyState === 'complete'")
			problems := strings.Join(p.Problems(), "\n")
			require.Contains(t, problems, test.want)
			require.Empty(t, p.Problems(), "they are told once")
			p.Close()
		})
	}
}

func TestGoodPageHasNoProblem(t *testing.T) {
	html := `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Good</title><link rel="icon" href="data:,"><main><h1>Good</h1></main></html>`
	Audit(t, Start(t), "good", serve(t, html, ""))
}

func TestBadPageIsSeen(t *testing.T) {
	if os.Getenv("ASHLAR_AXE") == "" {
		services.Missing(t, "ASHLAR_AXE does not name axe.min.js (npm install axe-core)")
	}
	html := `<!doctype html><html lang="en"><title>Bad</title><link rel="icon" href="data:,"><link rel="stylesheet" href="s.css">
		<main><h1>Bad</h1><p>Pale text</p><img src="data:,"><button>x</button><div>wide</div></main></html>`
	css := `:root { color-scheme: light dark } body { background: light-dark(oklch(0.99 0 0), oklch(0.2 0 0)) }
		p { color: light-dark(oklch(0.75 0.02 260), oklch(0.4 0.02 260)) } div { width: 900px } button { height: 20px }`
	b := Start(t)
	address := serve(t, html, css)
	for _, theme := range []string{"light", "dark"} {
		p := b.Open(t, address, Options{Width: 400, Theme: theme})
		found := strings.Join(Violations(p), "\n")
		require.Contains(t, found, "axe color-contrast")
		require.Contains(t, found, "axe image-alt")
		require.Contains(t, Eval[string](p, widest), "<div>wide</div>")
		require.Equal(t, []string{"<button>x</button>"}, Eval[[]string](p, small))
		p.Close()
	}
}
