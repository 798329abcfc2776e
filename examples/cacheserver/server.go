package cacheserver

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
)

// server speaks the Redis protocol over a keyspace.
type server struct {
	*resp.Server
	keys     *keyspace
	log      *slog.Logger
	limits   resp.Limits
	maxConns int
	started  time.Time
	hot      *hotKeys

	commands atomic.Uint64
	hits     atomic.Uint64
	misses   atomic.Uint64
	latency  *metrics.Histogram
	ctx      context.Context
}

// A client is one connection.
type client struct {
	*resp.Conn
	server *server
}

// Run runs one command.
func (c *client) Run(args [][]byte) {
	s := c.server
	start := time.Now()
	s.commands.Add(1)
	cmd := commands.Find(c.Conn, args)
	if cmd == nil {
		return
	}
	if !cmd.Alone {
		s.keys.world.RLock()
		defer s.keys.world.RUnlock()
	}
	cmd.Run(c, args)
	s.latency.Since(start)
}

// storage answers a failure of the store or the log.
func (c *client) storage(err error) {
	c.server.log.Warn("storage", "error", err)
	c.Errorf("MISCONF %v", err)
}
