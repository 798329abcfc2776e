// Package services starts the programs that tests talk to: real servers and
// real clients.
//
// A test that needs a program skips where it is not installed. With
// ASHLAR_REQUIRE_SERVICES=1 it fails instead, so that a gate cannot pass by
// skipping.
package services

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Required reports whether missing programs fail a test.
func Required() bool { return os.Getenv("ASHLAR_REQUIRE_SERVICES") == "1" }

// Missing skips the test, or fails it if programs are required. why says what
// is missing and how to get it.
func Missing(tb testing.TB, why string) {
	tb.Helper()
	if Required() {
		tb.Fatalf("ASHLAR_REQUIRE_SERVICES=1, but %s", why)
	}
	tb.Skipf("skipped: %s", why)
}

// Find returns the path of the first of the programs that is installed.
func Find(tb testing.TB, programs ...string) string {
	tb.Helper()
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(tb, fmt.Sprintf("no %s is installed", strings.Join(programs, " or ")))
	return ""
}

// FreePort returns a port of the loopback interface that was free a moment
// ago.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("no free port: %v", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// A Process is a program that runs until the test ends.
type Process struct {
	Addr string // where it listens, if it does
	Dir  string // its working directory
	PID  int

	command *exec.Cmd
	output  output
	exited  chan struct{}
	err     error // of Wait, once exited is closed
}

// output keeps the end of what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() > 64<<10 {
		o.text.Next(32 << 10)
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// readyWithin is how long a server may take to accept connections. It is long
// because a loaded machine is no reason to fail.
const readyWithin = time.Minute

// Start runs a program in a directory of its own and, if addr is not empty,
// waits until it accepts TCP connections there. The process is ended with the
// test.
func Start(tb testing.TB, addr, path string, args ...string) *Process {
	tb.Helper()
	p := &Process{Addr: addr, Dir: tb.TempDir(), exited: make(chan struct{})}
	p.command = exec.Command(path, args...)
	p.command.Dir = p.Dir
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	if err := p.command.Start(); err != nil {
		tb.Fatalf("start %s: %v", path, err)
	}
	p.PID = p.command.Process.Pid
	go func() {
		p.err = p.command.Wait()
		close(p.exited)
	}()
	tb.Cleanup(func() {
		p.Stop()
		if tb.Failed() {
			tb.Logf("%s said:\n%s", filepath.Base(path), p.Output())
		}
	})
	if addr != "" {
		p.await(tb)
	}
	return p
}

func (p *Process) await(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), readyWithin)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", p.Addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.exited:
			tb.Fatalf("%s ended before it listened at %s: %v\n%s", p.command.Path, p.Addr, p.err, p.Output())
		case <-ctx.Done():
			tb.Fatalf("%s does not listen at %s: %v\n%s", p.command.Path, p.Addr, err, p.Output())
		case <-pause.C:
		}
	}
}

// Output returns what the process has written, standard output and errors
// together; of much, the end.
func (p *Process) Output() string { return p.output.String() }

// Kill ends the process as kill -9 does and waits until it is gone.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.exited
}

// Stop asks the process to end, insists after a while, waits until it is gone
// and returns how it ended.
func (p *Process) Stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
	return p.err
}

// Redis starts a redis-server that keeps nothing on disk, with further
// settings such as "--maxmemory", "100mb".
func Redis(tb testing.TB, settings ...string) *Process {
	tb.Helper()
	path := Find(tb, "redis-server")
	port := FreePort(tb)
	args := append([]string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}, settings...)
	return Start(tb, net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), path, args...)
}
