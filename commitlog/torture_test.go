package commitlog_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/stretchr/testify/require"
)

var torture = flag.Duration("crash.torture", time.Second, "how long TestKill kills processes that write")

// writerDir makes the test binary a process that writes the log there.
const writerDir = "ASHLAR_COMMITLOG_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		if err := writeForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func tortured(round int) *commitlog.Options {
	opts := &commitlog.Options{SegmentBytes: 64 << 10, SegmentAge: 1}
	if round%2 == 1 {
		opts.Sync, opts.WriteThrough = commitlog.SyncNever, true
	}
	return opts
}

// writeForever appends from several goroutines, says on standard output what
// was acknowledged, and now and then compacts, which merges here.
func writeForever(dir string) error {
	l, err := commitlog.Open(dir, tortured(len(os.Getenv("ASHLAR_ROUND"))))
	if err != nil {
		return err
	}
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf("%d-%d-%d-%s", os.Getpid(), w, i, strings.Repeat("z", rand.IntN(300)))
				first, err := l.Append(context.Background(), value(text), value(text))
				if err == nil && i%500 == 499 && w == 0 {
					err = l.Compact(context.Background())
				}
				if err != nil {
					errs <- err
					return
				}
				fmt.Printf("%d %s\n", first, text) // one write: a line is whole or missing
			}
		}()
	}
	return <-errs
}

// Processes that write are killed at random moments; what they said was
// acknowledged is in the log, and so is nothing that was not attempted.
// Longer: go test ./commitlog -run TestKill -crash.torture=10m
func TestKill(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	acknowledged := map[int64]string{}
	pids := map[string]bool{}
	deadline := time.Now().Add(*torture)
	for round := 0; round < 4 || time.Now().Before(deadline); round++ {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), writerDir+"="+dir, "ASHLAR_ROUND="+strings.Repeat("x", round%2))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		pids[fmt.Sprint(cmd.Process.Pid)] = true
		var lines sync.WaitGroup
		enough := make(chan struct{})
		lines.Go(func() {
			in := bufio.NewReader(out)
			goal := 1 + rand.IntN(300)
			for n := 1; ; n++ {
				line, err := in.ReadString('\n')
				if n == goal || err != nil && n < goal {
					close(enough)
					goal = -1
				}
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					return
				}
				var offset int64
				var text string
				if _, err := fmt.Sscanf(line, "%d %s\n", &offset, &text); err != nil {
					t.Errorf("%q: %v", line, err)
				}
				acknowledged[offset] = text
			}
		})
		<-enough
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // not at a line's end each time
		require.NoError(t, cmd.Process.Kill())
		lines.Wait()
		_ = cmd.Wait() // "signal: killed"

		l, err := commitlog.Open(dir, tortured(round))
		require.NoError(t, err, "round %d", round)
		require.NoError(t, l.Verify(t.Context()))
		found := map[int64]string{}
		for r, err := range l.Records(0) {
			require.NoError(t, err)
			require.Equal(t, int64(len(found)), r.Offset)
			found[r.Offset] = string(r.Value)
			pid, _, _ := strings.Cut(string(r.Value), "-")
			require.True(t, pids[pid], "%q was never attempted", r.Value)
		}
		for offset, text := range acknowledged {
			require.Equal(t, text, found[offset], "round %d, offset %d", round, offset)
			require.Equal(t, text, found[offset+1], "both records of an append")
		}
		require.Zero(t, len(found)%2)
		if len(found) > 20_000 { // so that rounds stay short
			require.NoError(t, l.Reset(0))
			clear(acknowledged)
		}
		require.NoError(t, l.Close())
	}
	require.NotEmpty(t, pids)
	t.Logf("%d processes killed", len(pids))
}
