package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/agent"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/tail"
)

// A fleet is the servers whose logs the system itself collects: simulated ones,
// which write real files, each with an agent of its own, and this machine.
//
//	servers/web-1/access.log, app.log ──► agents/web-1 (tail, queue) ──► store
type fleet struct {
	config  *Config
	ctx     context.Context
	shipper agent.Shipper

	mu      sync.Mutex
	servers map[string]*server
	closed  bool
}

// A server is a directory of log files and the agent that follows them.
type server struct {
	name  string
	dir   string
	mu    sync.Mutex // held while its files are written or rotated
	agent *agent.Agent
	err   error // why there is no agent, if it could not start
}

// pageServer is the server that lines of the page are written on.
const pageServer = "page"

// thisMachine is the agent for the files that -files names.
const thisMachine = "this-machine"

func newFleet(ctx context.Context, c *Config, shipper agent.Shipper) (*fleet, error) {
	f := &fleet{config: c, ctx: ctx, shipper: shipper, servers: map[string]*server{}}
	names := []string{pageServer}
	if c.Env.Load > 0 {
		names = append(names, "web-1", "web-2", "db-1")
	}
	for _, name := range names {
		if err := f.add(name); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	if list := patterns(c.Files); len(list) > 0 {
		s := &server{name: thisMachine}
		f.servers[thisMachine] = s
		if err := f.start(s); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

var serverName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// maxServers is how many servers can be added.
const maxServers = 20

// add adds a server, which begins to log when the crowd finds it.
func (f *fleet) add(name string) error {
	if !serverName.MatchString(name) || name == thisMachine {
		return fmt.Errorf("%q cannot be the name of a server: small letters, digits and hyphens, at most 31", name)
	}
	s := &server{name: name, dir: filepath.Join(f.config.Env.Data, "servers", name)}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return errors.New("the system is closing")
	case f.servers[name] != nil:
		return fmt.Errorf("there is a server %s already", name)
	case len(f.servers) >= maxServers:
		return fmt.Errorf("%d servers are enough here", maxServers)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := f.start(s); err != nil {
		return err
	}
	f.servers[name] = s
	return nil
}

// start starts the agent of a server.
func (f *fleet) start(s *server) error {
	o := agent.Options{
		Name: s.name, Dir: filepath.Join(f.config.Env.Data, "agents", s.name), Shipper: f.shipper, Labels: entry.MakeLabels("host", s.name), Logger: f.config.Env.Log.With("agent", s.name),
		Tail: tail.Options{Patterns: []string{filepath.Join(s.dir, "*.log")}, Join: true, JoinTimeout: 300 * time.Millisecond},
	}
	if s.name == thisMachine {
		host, err := os.Hostname()
		if err != nil {
			host = thisMachine
		}
		o.Labels, o.Tail.Patterns = entry.MakeLabels("host", host), patterns(f.config.Files)
	} else {
		o.FileLabels = func(path string) entry.Labels {
			base := filepath.Base(path)
			return entry.MakeLabels("app", base[:len(base)-len(filepath.Ext(base))], "file", base)
		}
	}
	a, err := agent.Start(context.WithoutCancel(f.ctx), o)
	s.agent, s.err = a, err
	return err
}

func (f *fleet) list() []*server {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.servers), func(a, b *server) int { return compareStrings(a.name, b.name) })
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// fleetStats are sums over the agents.
type fleetStats struct {
	queued int64
	lost   uint64
	down   int
}

func (f *fleet) stats() (sum fleetStats) {
	for _, s := range f.list() {
		a := s.running()
		if a == nil {
			sum.down++
			continue
		}
		st := a.Stats()
		sum.queued += st.Queued
		sum.lost += st.Tail.LostBytes
	}
	return sum
}

func (s *server) running() *agent.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent
}

// kill ends all agents as kill -9 would.
func (f *fleet) kill() {
	for _, s := range f.list() {
		s.mu.Lock()
		if s.agent != nil {
			_ = s.agent.Kill() // it is meant to end badly
			s.agent = nil
		}
		s.mu.Unlock()
	}
}

// revive starts the agents that do not run.
func (f *fleet) revive() (err error) {
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return errors.New("the system is closing")
	}
	for _, s := range f.list() {
		s.mu.Lock()
		if s.agent == nil {
			err = errors.Join(err, f.start(s))
		}
		s.mu.Unlock()
	}
	return err
}

// write appends text to a file of a server.
func (f *fleet) write(name, file, text string) error {
	f.mu.Lock()
	s := f.servers[name]
	f.mu.Unlock()
	if s == nil || s.dir == "" {
		return fmt.Errorf("there is no server %s", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := os.OpenFile(filepath.Join(s.dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return errors.Join(err, out.Close())
}

const (
	rotateAt  = 8 << 20 // bytes of a file of a simulated server
	keepFiles = 3       // rotated files
)

// rotateLarge rotates the files that are large.
func (f *fleet) rotateLarge() {
	for _, s := range f.list() {
		if s.dir != "" {
			s.rotate(rotateAt)
		}
	}
}

// rotateAll rotates all files that have something, as logrotate would.
func (f *fleet) rotateAll() {
	for _, s := range f.list() {
		if s.dir != "" {
			s.rotate(1)
		}
	}
}

// rotate rotates the files of at least so many bytes: access logs by copying
// and truncating, all others by renaming.
func (s *server) rotate(least int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths, _ := filepath.Glob(filepath.Join(s.dir, "*.log")) // the pattern is sound
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.Size() < least {
			continue
		}
		_ = os.Remove(fmt.Sprintf("%s.%d", path, keepFiles)) // it need not be there
		for i := keepFiles - 1; i > 0; i-- {
			_ = os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1)) // nor this
		}
		if filepath.Base(path) != "access.log" {
			_ = os.Rename(path, path+".1") // if it fails the file goes on growing
			continue
		}
		if copyFile(path, path+".1") == nil {
			_ = os.Truncate(path, 0) // if it fails the copy is one too many
		}
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// close ends the agents.
func (f *fleet) close() (err error) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	for _, s := range f.list() {
		s.mu.Lock()
		if s.agent != nil {
			err = errors.Join(err, s.agent.Close())
		}
		s.mu.Unlock()
	}
	return err
}
