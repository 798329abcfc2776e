// The examples command runs the systems that are built from ashlar's packages.
//
//	go run ./examples                     all of them, behind a gallery
//	go run ./examples cacheserver -h      one of them
//
// It listens on the loopback interface unless told otherwise.
package main

import (
	"context"
	"os"

	"github.com/ashlar-go/ashlar/examples/internal/launcher"
)

func main() {
	os.Exit(launcher.Main(context.Background(), systems, os.Args[1:], os.Stdout, os.Stderr))
}
