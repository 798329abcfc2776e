package kafka

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/internal/launcher/launchertest"
)

// serve runs the system and returns the address of its page.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	return launchertest.Serve(t, launcher.Registry{Define}, append([]string{"kafka", "-kafka", "127.0.0.1:0"}, args...)...)
}

// press clicks a button of the section that breaks things once the form is not
// busy with the one before: it would not hear the click.
func press(p *browsertest.Page, what string) {
	const idle = `document.querySelector('form[action="break"]:not([aria-busy="true"])')`
	p.Wait(idle)
	p.Click(`form[action="break"] button[value="` + what + `"]`)
	p.Wait(idle)
}

// The main path of a visitor: write a message and read it.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	empty := serve(t)
	browsertest.Audit(t, b, "empty", empty)
	for name, options := range map[string]browsertest.Options{"with scripts": {}, "without": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, empty, options)
			defer p.Close()
			p.Type("#key", "world")
			p.Type("#value", "hello "+name)
			p.Click(`form[action="produce"] button`)
			p.Wait(`document.querySelector(".notice")`)
			require.Contains(t, p.Text(".notice"), "Acknowledged")
			require.Contains(t, p.Text("#do table"), "hello "+name)
			p.Click(`form[method="get"] button`)
			p.Wait(`location.search.includes("read=greetings") && document.querySelector("#do table")`)
			require.Contains(t, p.Text("#do table"), "world")
			p.Screenshot("read")
			p.Check()
		})
	}
}

// What a visitor does to the brokers under load: kill one, start it again,
// flood it.
func TestTroubleInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Start(t)
	busy := serve(t, "-load", "-sync", "interval") // it is the page that is tested, not the disk
	p := b.Open(t, busy, browsertest.Options{})
	p.Wait(`document.querySelector("[data-live-html=groups]").innerText.includes("analytics")`)
	p.Wait(`document.querySelector("[data-live-html=topics]").innerText.includes("clicks")`)
	p.Wait(`parseInt(document.querySelector("[data-live=in]").innerText) > 0`)
	press(p, "kill")
	p.Wait(`document.querySelector("[data-live-html=brokers]").innerText.includes("away")`)
	p.Wait(`document.querySelector("[data-live-html=topics] td.bad")`) // the others have noticed
	p.Wait(`document.querySelector("[data-live-html=brokers] tbody tr td:nth-of-type(2)").innerText === "0"`)
	p.Screenshot("killed")
	press(p, "revive")
	p.Wait(`!document.querySelector("[data-live-html=brokers]").innerText.includes("away")`)
	press(p, "flood")
	p.Wait(`parseInt(document.querySelector("[data-live=turned]").innerText) > 0`)
	p.Screenshot("flooded")
	press(p, "stop")
	press(p, "go")
	p.Close()
	browsertest.Audit(t, b, "busy", busy+"?read=clicks")
}
