package launcher

import (
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// TestPagesInABrowser holds the pages of the launcher to what every page must
// be, with one system and with sixteen.
func TestPagesInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	url := serveGallery(t, many())
	browsertest.Audit(t, b, "gallery", url)
	browsertest.Audit(t, b, "gallery-of-one", serveGallery(t, Registry{define(tide)}))
	browsertest.Audit(t, b, "gallery-empty", serveGallery(t, nil))
	browsertest.Audit(t, b, "gallery-nothing-found", url+"?q=zebra")
	browsertest.Audit(t, b, "system", url+"tide/?poured=yes")
	browsertest.Audit(t, b, "metrics", url+"tide/metrics/")
}

func TestGallerySearchInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	p := b.Open(t, serveGallery(t, many()), browsertest.Options{})
	const shown = `[...document.querySelectorAll("[data-search]")].filter(e => e.checkVisibility()).length`
	require.Equal(t, 16, browsertest.Eval[int](p, shown))

	// The keyboard alone: past the link to the content, brand and theme into the field.
	p.Press(strings.Repeat(browsertest.Tab, 4))
	require.Equal(t, "q", browsertest.Eval[string](p, "document.activeElement.id"))
	p.Press("broker mess")
	p.Wait(shown + " === 1")
	require.Equal(t, "1 of 16 systems", p.Text("#found"))
	require.Contains(t, browsertest.Eval[string](p, "location.search"), "broker", "the address can be kept")
	p.Press("zz")
	p.Wait(shown + " === 0")
	require.Contains(t, p.Text("[data-none]"), "No system fits")
	p.Press(browsertest.Enter)
	require.Equal(t, 0, browsertest.Eval[int](p, shown))

	p.Go(browsertest.Eval[string](p, "location.href.split('?')[0]") + "?q=tide+gauge+sea")
	p.Press(strings.Repeat(browsertest.Tab, 5))
	require.NotEqual(t, "BODY", browsertest.Eval[string](p, "document.activeElement.tagName"))
	p.Click("li.of-tide a")
	p.Wait(`location.pathname === "/tide/"`)
	p.Click(".brand")
	p.Wait(`location.pathname === "/"`)
	p.Check()
}

func TestGalleryIsAlive(t *testing.T) {
	b := browsertest.Start(t)
	p := b.Open(t, serveGallery(t, Registry{define(tide)}), browsertest.Options{})
	p.Wait(`document.querySelector(".glance .spark .line")?.getAttribute("d").split("L").length > 2`)
	require.Contains(t, p.Text(".glance"), "filled")
	// However long the page stays open, it does not grow.
	const elements = `document.getElementsByTagName("*").length`
	before := browsertest.Eval[int](p, elements)
	p.Wait(`document.querySelector(".glance .spark .line").getAttribute("d").split("L").length > 5`)
	require.Equal(t, before, browsertest.Eval[int](p, elements))
	p.Check()
}

func TestThemeIsRemembered(t *testing.T) {
	for name, options := range map[string]browsertest.Options{"with scripts": {Theme: "dark"}, "without": {Theme: "dark", NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			b := browsertest.Start(t)
			url := serveGallery(t, Registry{define(tide)})
			p := b.Open(t, url+"tide/", options)
			const background = "getComputedStyle(document.body).backgroundColor"
			dark := browsertest.Eval[string](p, background)
			p.Click(".theme button") // auto, then light
			p.Wait(background + " !== " + `"` + dark + `"`)
			require.Equal(t, "/tide/", browsertest.Eval[string](p, "location.pathname"))
			light := browsertest.Eval[string](p, background)
			p.Go(url)
			require.Equal(t, light, browsertest.Eval[string](p, background), "on another page too")
			p.Click(".theme button")
			p.Wait(background + " === " + `"` + dark + `"`)
			p.Click(".theme button")
			p.Wait(`document.querySelector("[data-theme-name]").textContent === "auto"`)
			require.Equal(t, dark, browsertest.Eval[string](p, background), "the system's")
			p.Check()
		})
	}
}

func TestFormsWorkWithAndWithoutScripts(t *testing.T) {
	for name, options := range map[string]browsertest.Options{"with scripts": {}, "without": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			b := browsertest.Start(t)
			env := system.Discard(t.TempDir())
			p := b.Open(t, serveAlone(t, env), options)
			require.Equal(t, "40", p.Text("[data-live=level]"))
			p.Type("#litres", "4") // before the 5 that stands there
			p.Click("button.primary")
			p.Wait(`document.querySelector(".notice")?.textContent === "Poured. Watch the level."`)
			p.Wait(`document.querySelector("[data-live=level]").textContent === "85"`)
			if !options.NoScript {
				require.Equal(t, "45", browsertest.Eval[string](p, `document.getElementById("litres").value`), "what was typed stays")
			}
			p.Check()
		})
	}
}

// serveAlone runs the demo alone, without a crowd, at an address of its own.
func serveAlone(t *testing.T, env system.Env) string {
	t.Helper()
	c := newFlags(define(tide)())
	require.NoError(t, c.set.Parse(nil))
	ctx, cancel := context.WithCancel(context.Background())
	d := define(tide)()
	newFlags(d)
	in := start(ctx, d, env)
	<-in.ready
	require.NoError(t, in.err)
	server := httptest.NewServer(web.Secure(in.handler("/", false), nil, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		in.close()
	})
	return server.URL + "/"
}

func TestPlotIsReadWithPointerAndKeyboard(t *testing.T) {
	b := browsertest.Start(t)
	p := b.Open(t, serveAlone(t, system.Discard(t.TempDir())), browsertest.Options{})
	browsertest.Eval[bool](p, `document.querySelector(".plot").focus(), true`)
	p.Press(browsertest.Left)
	p.Wait(`document.querySelector(".plot-read").textContent.startsWith("At 0` + "\u202f" + `s: measured 61.2")`)
	p.Press(browsertest.Left + browsertest.Left)
	p.Wait(`document.querySelector(".plot-read").textContent.startsWith("At −2` + "\u202f" + `s: ")`)
	// The values are replaced every half second; what is being read stays.
	p.Wait(`new Promise(done => new MutationObserver(done).observe(document.querySelector(".plot-read"), {childList: true, characterData: true, subtree: true})).then(() =>
		document.querySelector(".plot-read").textContent.startsWith("At −2") && document.activeElement.matches(".plot"))`)
	p.Press(browsertest.Escape)
	p.Wait(`document.querySelector(".plot-read").textContent === ""`)
	p.Check()
}

func TestLostConnectionIsToldAndRecovers(t *testing.T) {
	b := browsertest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := web.Listen(ctx, "127.0.0.1:0", false)
	require.NoError(t, err)
	d := define(tide)()
	newFlags(d)
	in := start(ctx, d, system.Discard(t.TempDir()))
	defer in.close()
	defer cancel()
	<-in.ready
	require.NoError(t, in.err)
	serve := func(ln net.Listener) (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- web.Serve(ctx, ln, web.Secure(in.handler("/", false), nil, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
		}()
		return func() {
			cancel()
			require.NoError(t, <-done)
		}
	}
	stop := serve(ln)
	p := b.Open(t, web.URL(ln), browsertest.Options{})
	p.Wait(`document.querySelector(".lost").hidden`)
	p.Check()
	stop()
	p.Wait(`!document.querySelector(".lost").hidden`)
	p.Screenshot("lost")
	p.Click("button.primary")
	p.Wait(`document.querySelector(".notice.bad")?.textContent.startsWith("That did not reach the server")`)
	again, err := web.Listen(ctx, ln.Addr().String(), false)
	require.NoError(t, err)
	defer serve(again)()
	p.Wait(`document.querySelector(".lost").hidden`)
	p.Click("button.primary")
	p.Wait(`document.querySelector(".notice")?.textContent === "Poured. Watch the level."`)
}
