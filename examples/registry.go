package main

import (
	"github.com/ashlar-go/ashlar/examples/cacheserver"
	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/kafka"
	"github.com/ashlar-go/ashlar/examples/kvcluster"
	"github.com/ashlar-go/ashlar/examples/logging"
)

// systems is the registry: one line a system.
var systems = launcher.Registry{
	cacheserver.Define,
	kvcluster.Define,
	kafka.Define,
	logging.Define,
}
