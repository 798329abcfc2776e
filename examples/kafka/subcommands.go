package kafka

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// subcommands are what go run ./examples kafka COMMAND knows.
func subcommands() []system.Command {
	return []system.Command{
		{Name: "mirror", What: "copy topics of one cluster to another", Run: mirrorCommand},
		{Name: "hourly", What: "write topics to files, one directory an hour", Run: hourlyCommand},
		{Name: "compare", What: "run side by side with franz-go's kfake", Run: compare},
		{Name: "kfake", What: "run kfake, as compare does", Run: runKfake},
	}
}

func mirrorCommand(ctx context.Context, args []string, _, stderr io.Writer) error {
	f := flag.NewFlagSet("mirror", flag.ContinueOnError)
	f.SetOutput(stderr)
	from := f.String("from", "", "`brokers` of the source, separated by commas")
	to := f.String("to", "", "`brokers` of the target")
	topics := f.String("topics", "^[^_].*", "regular expression for the names of topics")
	group := f.String("group", "mirror", "consumer group that keeps the offsets, in the source")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *from == "" || *to == "" {
		return fmt.Errorf("mirror needs -from and -to")
	}
	m, err := newMirror(mirrorOptions{
		from: strings.Split(*from, ","), to: strings.Split(*to, ","), topics: *topics, group: *group, log: slog.New(slog.NewTextHandler(stderr, nil)),
	})
	if err != nil {
		return err
	}
	return m.run(ctx)
}

func hourlyCommand(ctx context.Context, args []string, _, stderr io.Writer) error {
	f := flag.NewFlagSet("hourly", flag.ContinueOnError)
	f.SetOutput(stderr)
	brokers := f.String("brokers", "127.0.0.1:9092", "`brokers`, separated by commas")
	dir := f.String("dir", "", "`directory` for the files")
	topics := f.String("topics", "", "topics, separated by commas; none means all")
	every := f.Duration("every", time.Minute, "longest time that a record is in no file")
	most := f.Int("max-bytes", 64<<20, "most `bytes` of records that are in no file")
	grace := f.Duration("grace", 5*time.Minute, "how long after its end an hour may still get records")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return fmt.Errorf("hourly needs -dir")
	}
	o := hourlyOptions{
		brokers: strings.Split(*brokers, ","), dir: *dir, every: *every, most: *most, grace: *grace,
		log: slog.New(slog.NewTextHandler(stderr, nil)), now: time.Now,
	}
	if *topics != "" {
		o.topics = strings.Split(*topics, ",")
	}
	return runHourly(ctx, o)
}
