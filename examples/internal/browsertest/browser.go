// Package browsertest looks at pages with a real browser: a headless Chromium,
// driven through its own protocol.
//
// A test starts a [Browser], opens a [Page], acts on it as a user would, and
// ends with [Page.Check], which fails the test if the page wrote an error to
// its console or asked another machine for anything. [Audit] checks what must
// hold for every page.
package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// patience is how long a page may take for anything. It is long because a
// loaded machine is no reason to fail.
const patience = time.Minute

// height is that of a window for which nothing else is said.
const height = 900

// A Browser is a Chromium that ends with the test.
type Browser struct{ ctx context.Context }

// Start starts a browser with a profile of its own. The test skips where none
// is installed, or fails if services are required.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := services.Find(tb, "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
	profile, err := os.MkdirTemp("", "ashlar-browser-")
	if err != nil {
		tb.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", false),
		chromedp.WSURLReadTimeout(patience),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until the browser has ended; how it ended is no matter
		closeBrowser()
		closeAllocator()
		// The last of its processes may still be writing into the profile.
		for range 50 {
			if os.RemoveAll(profile) == nil {
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("start %s: %v", path, err)
	}
	return &Browser{ctx}
}

// A Page is one tab. Its methods fail the test when something goes wrong.
type Page struct {
	tb     testing.TB
	ctx    context.Context
	cancel context.CancelFunc
	still  bool

	mu       sync.Mutex
	problems []string // errors of the console, requests to other machines
	weight   float64  // bytes received
}

// Options are how a page is looked at; zero fields mean the default.
type Options struct {
	Width    int    // of the window; default 1400
	Height   int    // of the window; default 900
	Theme    string // what the user's system prefers: "light" or "dark"; default "light"
	NoScript bool   // JavaScript is off
	Still    bool   // the user's system prefers reduced motion
}

// Open opens address in a new tab and waits until it has loaded.
func (b *Browser) Open(tb testing.TB, address string, o Options) *Page {
	tb.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	tb.Cleanup(cancel)
	p := &Page{tb: tb, ctx: ctx, cancel: cancel}
	if err := chromedp.Do(ctx); err != nil { // opens the tab, which lives as long as this context
		tb.Fatalf("open a tab: %v", err)
	}
	if err := chromedp.Listen(ctx, p.watch(address)); err != nil {
		tb.Fatalf("listen to the page: %v", err)
	}
	p.Resize(orDefault(o.Width, 1400), orDefault(o.Height, height))
	p.still = o.Still
	p.Theme(orDefault(o.Theme, "light"))
	if o.NoScript {
		if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
			tb.Fatalf("turn scripts off: %v", err)
		}
	}
	p.Go(address)
	return p
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// watch notes what a page must not do. It runs in the loop that reads the
// browser's messages.
func (p *Page) watch(address string) func(any) {
	home, err := url.Parse(address)
	if err != nil {
		p.tb.Fatalf("bad address %q: %v", address, err)
	}
	return func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err == nil && u.Host != home.Host && slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) {
				p.problems = append(p.problems, "a request left the page's own server: "+e.Request.URL)
			}
		case *network.EventLoadingFinished:
			p.weight += e.EncodedDataLength
		case *runtime.EventExceptionThrown:
			p.problems = append(p.problems, "exception: "+e.ExceptionDetails.Text+" "+describe(e.ExceptionDetails.Exception))
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
				var text strings.Builder
				text.WriteString("console:")
				for _, arg := range e.Args {
					text.WriteString(" " + describe(arg))
				}
				p.problems = append(p.problems, text.String())
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
				p.problems = append(p.problems, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		}
	}
}

func describe(o *runtime.RemoteObject) string {
	switch {
	case o == nil:
		return ""
	case o.Description != "":
		return o.Description
	}
	return fmt.Sprint(string(o.Value))
}

// act runs actions within the page's patience.
func (p *Page) act(actions ...chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.tb.Fatalf("browser: %v", err)
	}
}

// Close closes the tab. A browser keeps at most six connections to a server,
// and every open page with a live stream holds one, so a test with many pages
// closes them.
func (p *Page) Close() {
	p.tb.Helper()
	if err := chromedp.Cancel(p.ctx); err != nil {
		p.tb.Errorf("close the tab: %v", err)
	}
	p.cancel()
}

// Go opens another address in the same tab.
func (p *Page) Go(address string) {
	p.tb.Helper()
	p.act(chromedp.Navigate(address))
}

// Resize changes the size of the window.
func (p *Page) Resize(width, height int) {
	p.tb.Helper()
	p.act(chromedp.EmulateViewport(int64(width), int64(height)))
}

// click presses the element in one step: the place of an element on a live page,
// asked for first and clicked at then, may be another's by that time.
const click = `(selector => {
	const element = document.querySelector(selector);
	if (!element) return "is not there";
	element.scrollIntoView({ block: "center", behavior: "instant" });
	const box = element.getBoundingClientRect();
	const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
	if (!hit || !(element.contains(hit) || hit.closest("label")?.control === element)) return "is hidden or covered by " + hit?.outerHTML.slice(0, 200);
	element.focus();
	element.click();
	return "";
})(%q)`

// Theme makes the user's system prefer a theme, "light" or "dark".
func (p *Page) Theme(theme string) {
	p.tb.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}
	if p.still {
		features = append(features, &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		p.tb.Fatalf("emulate %v: %v", features, err)
	}
}

// Click clicks the first element that fits the CSS selector, once a pointer
// would reach its middle.
func (p *Page) Click(selector string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	gesture := func(params *runtime.EvaluateParams) { params.UserGesture = new(true) }
	for {
		problem, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(click, selector), gesture))
		if err == nil && problem == "" {
			return
		}
		select {
		case <-ctx.Done():
			p.tb.Fatalf("browser: click %s: it %s (%v)", selector, problem, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Type types text into the element that fits the selector.
func (p *Page) Type(selector, text string) {
	p.tb.Helper()
	p.act(chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// Upload chooses files in a file input.
func (p *Page) Upload(selector string, files ...string) {
	p.tb.Helper()
	p.act(chromedp.SetUploadFiles(chromedp.CSS(selector), files))
}

// Keys of Press that are no letter.
const (
	Tab    = kb.Tab
	Enter  = kb.Enter
	Escape = kb.Escape
	Left   = kb.ArrowLeft
	Right  = kb.ArrowRight
	Up     = kb.ArrowUp
	Down   = kb.ArrowDown
)

// Press presses keys, wherever the focus is.
func (p *Page) Press(keys string) {
	p.tb.Helper()
	p.act(chromedp.KeyEvent(keys))
}

// Text returns the visible text of the first element that fits the selector.
func (p *Page) Text(selector string) string {
	p.tb.Helper()
	return Eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(expression string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	// Between two pages there is none to ask, so errors are asked about again.
	var err error
	for ctx.Err() == nil {
		var ok bool
		if ok, err = chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.tb.Fatalf("browser: %s did not become true: %v\nthe page says:\n%s", expression, err, Eval[string](p, "document.body.innerText"))
}

// Eval evaluates a JavaScript expression in the page; a promise is awaited.
func Eval[T any](p *Page, expression string) T {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.tb.Fatalf("browser: evaluate %.200s: %v", expression, err)
	}
	return v
}

// Screenshot writes a picture of the whole page, name.png, into the test's
// artifact directory, which go test -artifacts keeps.
func (p *Page) Screenshot(name string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.tb.Fatalf("browser: screenshot: %v", err)
	}
	path := filepath.Join(p.tb.ArtifactDir(), name+".png")
	if err := os.WriteFile(path, picture, 0o600); err != nil {
		p.tb.Fatal(err)
	}
}

// Weight returns how many bytes were received so far, event streams excepted.
func (p *Page) Weight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.weight)
}

// Problems returns the errors and warnings of the console and the requests to
// other machines so far, and forgets them.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.problems
	p.problems = nil
	return problems
}

// Check fails the test for every problem so far.
func (p *Page) Check() {
	p.tb.Helper()
	for _, problem := range p.Problems() {
		p.tb.Errorf("the page has a problem: %s", problem)
	}
}
