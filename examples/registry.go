package main

import (
	"github.com/ashlar-go/ashlar/examples/cacheserver"
	"github.com/ashlar-go/ashlar/examples/internal/launcher"
)

// systems is the registry: one line a system.
var systems = launcher.Registry{
	cacheserver.Define,
}
