package cacheserver

import (
	"github.com/ashlar-go/ashlar/examples/cacheserver/lab"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// subcommands are what go run ./examples cacheserver COMMAND knows.
func subcommands() []system.Command {
	return []system.Command{
		{Name: "compare", What: "run side by side with redis-server", Run: compare},
		{Name: "lab", What: "replay a trace of accesses through every policy", Run: lab.Main},
	}
}
