package kvcluster

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/internal/launcher/launchertest"
)

// serve runs the system and returns the address of its page.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	return launchertest.Serve(t, launcher.Registry{Define}, append([]string{"kvcluster", "-redis", "127.0.0.1:0"}, args...)...)
}

// press clicks the button of that value and waits for what the page then says.
func press(p *browsertest.Page, form, what, says string) {
	p.Click(`form[action="` + form + `"] button[value="` + what + `"]`)
	p.Wait(`document.querySelector("main").innerText.includes(` + "`" + says + "`" + `)`)
}

// The main path of a visitor: store a value, see where it went, kill a node that
// owns it, read it elsewhere, cut the network, and mend everything.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	url := serve(t)
	browsertest.Audit(t, b, "empty", url)
	for name, options := range map[string]browsertest.Options{"with scripts": {}, "without": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, url, options)
			defer p.Close()
			p.Type("#key", "greeting")
			p.Type("#value", strings.Repeat("hello ", 100))
			press(p, "key", "set", "OK")
			copies := p.Text(".told table")
			require.Equal(t, 3, strings.Count(copies, `"hello hello`), copies)
			if options.NoScript {
				return
			}
			p.Screenshot("stored")
			press(p, "node", "kill", "n1 is dead")
			p.Wait(`document.querySelector("[data-live-html=nodes]").innerText.includes("killed")`)
			p.Screenshot("killed")
			browsertest.Eval[bool](p, `document.querySelector("#key").value = "greeting", document.querySelector("#at").value = "n3", true`)
			press(p, "key", "get", `"hello hello`)
			press(p, "node", "revive", "n1 is back")
			require.Contains(t, p.Text("[data-live=saved]"), "–")
			p.Click(`form[action="merge"] button`)
			p.Wait(`/\d %/.test(document.querySelector("[data-live=saved]").textContent)`)
			browsertest.Eval[bool](p, `document.querySelectorAll("[name=side]").forEach((box, i) => box.checked = i < 2), true`)
			press(p, "network", "cut", "cannot reach")
			p.Wait(`document.querySelectorAll(".ring .cut").length === 6`)
			p.Screenshot("cut")
			press(p, "network", "heal", "The network is whole")
			p.Wait(`document.querySelectorAll(".ring .cut").length === 0`)
			p.Check()
			press(p, "node", "revive", "runs already") // an error is said, with a status of its own
			require.Len(t, p.Problems(), 1)
		})
	}
}

// Under load and with a node away the page is what every page must be.
func TestPageUnderLoadInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	url := serve(t, "-load=0.3")
	p := b.Open(t, url, browsertest.Options{})
	press(p, "node", "kill", "n1 is dead")
	p.Wait(`+document.querySelector("[data-live=hints]").textContent.replace(/\D/g, "") > 10`)
	browsertest.Audit(t, b, "load", url)
	press(p, "node", "revive", "n1 is back")
	p.Wait(`document.querySelector("[data-live=hints]").textContent === "0"`)
	p.Screenshot("caught-up")
	p.Check()
}
