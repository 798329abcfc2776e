package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// search asks the program how often it has each line that a query finds.
func search(t *testing.T, base, query string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	before := ""
	for {
		answer, err := http.Get(base + "api/search?q=" + url.QueryEscape(query) + "&before=" + before)
		require.NoError(t, err)
		var page struct {
			Entries []struct{ Line string }
			Next    string
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		_ = answer.Body.Close()
		require.NoError(t, err)
		for _, e := range page.Entries {
			counts[e.Line]++
		}
		if page.Next == "" {
			return counts
		}
		before = page.Next
	}
}

// kill -9 of the store and of an agent, again and again, under load: whatever
// was acknowledged is found, and every line of the file that the agent follows
// is there once, though the file is rotated meanwhile.
func TestKillLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills the real program")
	}
	binary := filepath.Join(t.TempDir(), "examples")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "..").CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, dir := t.TempDir(), t.TempDir()
	addr := fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
	base := "http://" + addr + "/"
	startStore := func() *services.Process {
		return services.Start(t, addr, binary, "logging", "-addr", addr, "-syslog", "127.0.0.1:0", "-data", filepath.Join(data, "store"))
	}
	startAgent := func() *services.Process {
		return services.Start(t, "", binary, "logging", "agent", "-files", filepath.Join(dir, "*.log"), "-to", base, "-name", "web-9", "-data", filepath.Join(data, "agent"), "-poll", "20ms")
	}
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	written := 0
	path := filepath.Join(dir, "app.log")
	agent := startAgent()
	// What was rotated before an agent ran for the first time is not its business.
	eventually(t, "the agent runs", func() bool { return strings.Contains(agent.Output(), "follows") })
	for round := range 3 {
		store := startStore()
		var clients sync.WaitGroup
		enough := make(chan struct{})
		count := 0
		for id := range 4 {
			clients.Go(func() {
				client := &http.Client{Timeout: time.Minute}
				defer client.CloseIdleConnections()
				for i := 0; ; i++ {
					line := fmt.Sprintf("acknowledged%d of client %d in round %d", i, id, round)
					answer, err := client.Post(base+"lines?app=direct&host=h", "text/plain", strings.NewReader(line))
					if err != nil {
						return
					}
					_ = answer.Body.Close()
					if answer.StatusCode != http.StatusNoContent {
						continue // it was not acknowledged
					}
					mu.Lock()
					acknowledged[line] = true
					if count++; count == 150 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		for burst := range 6 {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			require.NoError(t, err)
			var text strings.Builder
			for range 500 {
				fmt.Fprintf(&text, "tailed%d\n", written)
				written++
			}
			_, err = f.WriteString(text.String())
			require.NoError(t, err)
			require.NoError(t, f.Close())
			if burst == 2 {
				agent.Kill()
			}
			if burst%3 == 1 {
				for n := 12; n > 0; n-- {
					_ = os.Rename(fmt.Sprintf("%s.%d", path, n), fmt.Sprintf("%s.%d", path, n+1)) // most are not there
				}
				require.NoError(t, os.Rename(path, path+".1"))
			}
			if burst == 4 {
				agent = startAgent()
			}
		}
		<-enough
		store.Kill()
		clients.Wait()
	}
	startStore()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var tailed map[string]int
	for tailed = search(t, base, "host=web-9"); len(tailed) < written; tailed = search(t, base, "host=web-9") {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d lines of the file came", len(tailed), written)
		}
		time.Sleep(50 * time.Millisecond)
	}
	twice := 0
	for line, n := range tailed {
		if twice += n - 1; n > 1 {
			t.Errorf("%s came %d times", line, n)
		}
	}
	direct := search(t, base, "app=direct")
	for line := range acknowledged {
		if direct[line] == 0 {
			t.Errorf("%q was acknowledged and is not found", line)
		}
	}
	t.Logf("%d acknowledged lines found; %d lines tailed, 0 lost, %d twice", len(acknowledged), written, twice)
}
