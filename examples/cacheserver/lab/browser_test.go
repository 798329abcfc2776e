package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/browsertest"
)

// The main path, as a visitor takes it: upload a trace, watch it, compare.
func TestLabInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	h, address := serve(t)
	path := filepath.Join(t.TempDir(), "shop.txt")
	require.NoError(t, os.WriteFile(path, lines(small()), 0o600))

	p := b.Open(t, address, browsertest.Options{})
	p.Upload("#trace", path)
	p.Click("button.primary")
	p.Wait(`document.querySelector("h1").textContent === "Replay of shop"`)
	p.Wait(`document.body.innerText.includes("has the most hits") && !document.body.innerText.includes("Stop")`)
	require.Equal(t, 2, browsertest.Eval[int](p, `document.querySelectorAll("figure.plot").length`))
	p.Wait(`document.body.innerText.includes("Processor time of an access")`)
	replay := browsertest.Eval[string](p, "location.href")
	p.Check()

	p.Go(address)
	p.Click("button.primary") // the generated trace that is chosen to begin with
	p.Wait(`document.querySelector("h1").textContent === "Replay of mixed"`)
	p.Wait(`document.querySelector("figure.plot")`)
	p.Click("button.danger")
	p.Wait(`document.body.innerText.includes("Stopped before the end")`)
	p.Check()

	p.Go(address)
	p.Wait(`document.querySelectorAll("[name=replay]").length === 2`)
	browsertest.Eval[bool](p, `document.querySelectorAll("[name=replay]").forEach(box => box.click()), true`)
	browsertest.Eval[bool](p, `document.querySelector("form[action=compare] button").click(), true`)
	p.Wait(`document.querySelector("h1").textContent === "Comparison"`)
	comparison := browsertest.Eval[string](p, "location.href")
	p.Check()
	p.Close()

	browsertest.Audit(t, b, "lab", address)
	browsertest.Audit(t, b, "lab-replay", replay)
	browsertest.Audit(t, b, "lab-compare", comparison)

	// One that waits, and a mistake, which have pages of their own.
	h.jobs.slot <- struct{}{}
	_, waits, _ := upload(t, address, "a", []byte("1\n2\n"), nil)
	browsertest.Audit(t, b, "lab-waiting", waits)
	require.NoError(t, os.WriteFile(path, []byte("this is\nno trace at all\n"), 0o600))
	p = b.Open(t, address, browsertest.Options{Width: 400, NoScript: true})
	p.Upload("#trace", path)
	p.Click("button.primary")
	p.Wait(`document.querySelector(".notice")`)
	require.Contains(t, p.Text(".notice"), "shop.txt cannot be read: line 2:")
	p.Screenshot("lab-mistake")
}
