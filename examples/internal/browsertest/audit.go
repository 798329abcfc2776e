package browsertest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// MaxWeight is how many bytes a page may load.
const MaxWeight = 100 << 10

// Audit checks what must hold for every page: in both themes, on a narrow and
// on a wide screen it has no horizontal scrollbar, no accessibility problem
// that axe-core finds, no problem in its console, asks no other machine for
// anything, and weighs less than [MaxWeight]; without JavaScript it shows its
// title. It writes screenshots called name-WIDTH-THEME.
func Audit(t *testing.T, b *Browser, name, address string) {
	t.Helper()
	p := b.Open(t, address, Options{Still: true})
	p.Wait("document.readyState === 'complete' && document.fonts.status === 'loaded'")
	if weight := p.Weight(); weight > MaxWeight {
		t.Errorf("%s: the page weighs %d bytes, more than %d", name, weight, MaxWeight)
	}
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int{400, 1400} {
			p.Theme(theme)
			p.Resize(width, height)
			label := fmt.Sprintf("%s at %d px, %s", name, width, theme)
			if wide := Eval[int](p, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s: the page is %d px wide: %s", label, wide, Eval[string](p, widest))
			}
			for _, target := range Eval[[]string](p, small) {
				t.Errorf("%s: %s is hard to touch", label, target)
			}
			for _, violation := range Violations(p) {
				t.Errorf("%s: %s", label, violation)
			}
			p.Screenshot(fmt.Sprintf("%s-%d-%s", name, width, theme))
		}
	}
	p.Check()
	p.Close()
	p = b.Open(t, address, Options{NoScript: true})
	if title := p.Text("h1"); title == "" {
		t.Errorf("%s without JavaScript has no title", name)
	}
	p.Check()
	p.Close()
}

// widest names the elements that stick out.
const widest = `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll"))
	.slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join("\n")`

// small lists controls with less than 44 px to touch: buttons and fields, not
// links in running text.
const small = `[...document.querySelectorAll("button, select, input:not([type=checkbox],[type=radio],[type=hidden],[type=range]), summary")]
	.filter(e => e.getClientRects().length && e.getBoundingClientRect().height < 43.5).map(e => e.outerHTML.slice(0, 120))`

// missing says once that axe-core is.
var missing sync.Once

// Violations runs axe-core in the page and returns what it finds against WCAG
// 2.2 A and AA and its best practices. The script's path is in the environment
// variable ASHLAR_AXE; without it there are no findings, unless services are
// required.
func Violations(p *Page) []string {
	p.tb.Helper()
	path := os.Getenv("ASHLAR_AXE")
	if path == "" {
		if services.Required() {
			p.tb.Fatal("ASHLAR_REQUIRE_SERVICES=1, but ASHLAR_AXE does not name axe.min.js (npm install axe-core)")
		}
		missing.Do(func() {
			p.tb.Log("accessibility is not checked: ASHLAR_AXE does not name axe.min.js (npm install axe-core)")
		})
		return nil
	}
	script, err := os.ReadFile(path)
	if err != nil {
		p.tb.Fatalf("ASHLAR_AXE: %v", err)
	}
	if !Eval[bool](p, "!!window.axe") {
		Eval[json.RawMessage](p, string(script)+"\n;null")
	}
	type finding struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	findings := Eval[[]finding](p, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`)
	var list []string
	for _, f := range findings {
		for _, n := range f.Nodes {
			list = append(list, fmt.Sprintf("axe %s (%s): %s: %.200s: %s", f.ID, f.Impact, f.Help, n.HTML, strings.ReplaceAll(n.FailureSummary, "\n", " ")))
		}
	}
	return list
}
