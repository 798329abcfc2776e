package logging

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/agent"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/tail"
)

// agentCommand is go run ./examples logging agent: an agent alone, which ships
// to a system elsewhere.
func agentCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	f := flag.NewFlagSet("logging agent", flag.ContinueOnError)
	f.SetOutput(stderr)
	files := f.String("files", "", "patterns of the files to follow, separated by commas; required")
	to := f.String("to", "http://127.0.0.1:8080/", "address of the logging system")
	name := f.String("name", host, "name of this agent, and its host label")
	data := f.String("data", "", "directory for the queue and the state; required")
	queue := f.Int64("queue", 64, "MiB that the queue may have on disk")
	poll := f.Duration("poll", 250*time.Millisecond, "how often to look")
	pollOnly := f.Bool("poll-only", false, "do not ask the system for changes, as file systems in a network need")
	end := f.Bool("end", false, "at the first start, begin at the end of the files there are")
	if err := f.Parse(args); err != nil {
		return err
	}
	if len(patterns(*files)) == 0 || *data == "" {
		return errors.New("logging agent: -files and -data are required")
	}
	o := tail.Options{Patterns: patterns(*files), Interval: *poll, PollOnly: *pollOnly, Join: true}
	if *end {
		o.Start = tail.End
	}
	a, err := agent.Start(ctx, agent.Options{
		Name: *name, Dir: *data, QueueBytes: *queue << 20, Labels: entry.MakeLabels("host", *name), Tail: o,
		Shipper: &agent.HTTPShipper{URL: *to, Client: &http.Client{Timeout: 30 * time.Second}}, Logger: slog.New(slog.NewTextHandler(stderr, nil)),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "agent %s follows %s and ships to %s\n", *name, *files, *to)
	<-ctx.Done()
	return a.Close()
}
