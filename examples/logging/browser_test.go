package logging

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// serveAll is serve with what the launcher adds, which browsers need.
func serveAll(t *testing.T, c Config) (*System, string) {
	t.Helper()
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/_kit/", page.Assets(info))
	mux.Handle("/", s.Handler())
	server := httptest.NewServer(web.Secure(web.Mount("/logging/", true, mux), nil, c.Env.Log))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		require.NoError(t, s.Close())
	})
	return s, server.URL + "/logging/"
}

// sampling does what the launcher does: remember metrics for the plots.
func sampling(t *testing.T, c Config) {
	tick := time.NewTicker(100 * time.Millisecond) // faster than the launcher, so that there is something to see
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-t.Context().Done():
				return
			case now := <-tick.C:
				c.Env.Metrics.Sample(now)
			}
		}
	}()
	t.Cleanup(func() { tick.Stop(); <-done })
}

// The main path, as a visitor takes it: write a line, find it, see it arrive,
// be alarmed, look after it.
func TestInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	c := config(t.TempDir())
	s, address := serveAll(t, c)
	sampling(t, c)
	browsertest.Audit(t, b, "logging-empty", address)
	browsertest.Audit(t, b, "logging-alerts-empty", address+"alerts/")

	p := b.Open(t, address, browsertest.Options{})
	p.Type("#line", "FATAL Disk Full on /dev/sda1")
	p.Press(browsertest.Enter)
	p.Wait(`location.search === "?q=host%3Dpage"`)
	p.Wait(`document.querySelector("ol.lines code")?.textContent.includes("Disk Full on /dev/sda1")`)
	// Somebody else's line arrives in the live tail, if it matches.
	p.Wait(`document.querySelector("#tail-state").textContent.startsWith("Waiting")`)
	require.NoError(t, s.fleet.write(pageServer, "page.log", strings.Repeat("INFO nobody asked\n", 3)+"ERROR <i>seen</i> live\n"))
	p.Wait(`[...document.querySelectorAll("#tail code")].some(e => e.textContent === "ERROR <i>seen</i> live")`)
	p.Click("#tail-pause")
	p.Wait(`document.querySelector("#tail-state").textContent === "Paused."`)
	p.Check()

	p.Go(address + "alerts/")
	p.Wait(`[...document.querySelectorAll(".alerts h3")].some(e => e.textContent.includes("Disk full"))`)
	p.Click(`form[action=acknowledge] button:first-of-type`)
	p.Wait(`[...document.querySelectorAll(".alerts h3")].some(e => e.textContent.includes("acknowledged"))`)
	p.Type("#rule-name", "Mine")
	p.Type("#rule-text", "any where mine")
	p.Click("#rule-form button.primary")
	p.Wait(`[...document.querySelectorAll("tr.rule")].some(e => e.textContent.includes("any where mine"))`)
	p.Type("#rule-name", "Wrong")
	p.Type("#rule-text", "most where mine")
	p.Click("#rule-form button.primary")
	p.Wait(`document.querySelector(".notice.bad")?.textContent.includes("There is no kind")`)
	require.Equal(t, "most where mine", browsertest.Eval[string](p, `document.querySelector("#rule-text").value`), "what was typed is still there")
	p.Problems() // the browser's own note that the answer was 400
	p.Close()

	// Without JavaScript the same forms work.
	p = b.Open(t, address, browsertest.Options{NoScript: true, Width: 400})
	p.Type("#q", "level>=fatal")
	p.Press(browsertest.Enter)
	p.Wait(`document.querySelector("ol.lines code")?.textContent.includes("Disk Full")`)
	p.Check()
	p.Close()
}

// Pages under load, before and after a failure.
func TestUnderLoadInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	c := config(t.TempDir())
	c.Env.Load = 5
	s, address := serveAll(t, c)
	sampling(t, c)
	for range 3 {
		for _, what := range []string{"disk", "exception", "5xx"} {
			status, _ := post(t, address+"alerts/make", map[string][]string{"what": {what}})
			require.Equal(t, http.StatusOK, status)
		}
	}
	eventually(t, "there is something to see", func() bool { return s.store.Stats().Entries > 1500 && s.alerts.firing() > 1 })
	browsertest.Audit(t, b, "logging-load", address)
	browsertest.Audit(t, b, "logging-alerts", address+"alerts/")
	status, _ := post(t, address+"break", map[string][]string{"what": {"stop"}})
	require.Equal(t, http.StatusOK, status)
	eventually(t, "agents wait", func() bool { return s.fleet.stats().queued > 3 })
	browsertest.Audit(t, b, "logging-stopped", address)
	p := b.Open(t, address+"?q=%28oops", browsertest.Options{Width: 400})
	p.Wait(`document.querySelector(".notice.bad")?.textContent === "A closing parenthesis is missing at the end."`)
	p.Screenshot("logging-mistake")
	p.Problems() // the browser's own note that the answer was 400
	p.Go(address)
	p.Wait(`document.body.innerText.includes("waits: it takes nothing at the moment")`)
	p.Click(`button[value=start]`)
	p.Wait(`document.querySelector("button[value=stop]")`)
	p.Check()
	p.Close()
}
