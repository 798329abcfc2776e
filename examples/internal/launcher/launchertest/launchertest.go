// Package launchertest starts systems as their users do, for tests of their pages.
package launchertest

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/launcher"
)

// Serve runs the command line of the launcher, whose first argument names one of the
// registry's systems, on a free port and with a directory of its own, until the test
// ends. It returns the address of the system's page.
func Serve(t *testing.T, registry launcher.Registry, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	status := make(chan int, 1)
	go func() {
		args := append([]string{args[0], "-addr", "127.0.0.1:0", "-data", t.TempDir()}, args[1:]...)
		status <- launcher.Main(ctx, registry, args, writer, t.Output())
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	require.True(t, lines.Scan(), "no output")
	_, url, _ := strings.Cut(lines.Text(), ": ")
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, reader)
		close(drained)
	}()
	t.Cleanup(func() {
		cancel()
		require.Zero(t, <-status)
		<-drained
	})
	return strings.TrimSuffix(url, "/") + "/"
}
