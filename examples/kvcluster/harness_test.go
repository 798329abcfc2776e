package kvcluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// A testCluster is a cluster whose nodes and links a test can break. It is closed
// with the test.
type testCluster struct {
	*Cluster
	t testing.TB
}

// testSettings are those of a cluster that does not take a busy machine for a failure.
func testSettings() Settings {
	level, _ := namedLevel("quorum", 3)
	return Settings{
		Cluster: "test", N: 3, Level: level, Policy: replica.Siblings, Sloppy: true, Timeout: 10 * time.Second, Patience: 3 * time.Second, Grace: time.Hour,
		Timing:  Timing{Probe: 500 * time.Millisecond, Patience: 400 * time.Millisecond, Gossip: 50 * time.Millisecond, Reconnect: 200 * time.Millisecond},
		Handoff: 50 * time.Millisecond, Mend: 200 * time.Millisecond, Sweep: 200 * time.Millisecond,
		Limits:     resp.Limits{Args: 1 << 20, Inline: 16<<10 - 1, Command: 32 << 20, InFlight: 128 << 20},
		MaxClients: 1000,
	}
}

// newTestCluster starts n nodes, n1 to nN, and returns when all know each other.
// change, which may be nil, changes the settings.
func newTestCluster(t testing.TB, n int, change func(*Settings)) *testCluster {
	t.Helper()
	return newTestClusterOn(t, n, change, nil)
}

// newTestClusterOn is newTestCluster with engines of another kind.
func newTestClusterOn(t testing.TB, n int, change func(*Settings), engine func(dir string) (Engine, error)) *testCluster {
	t.Helper()
	s := testSettings()
	if change != nil {
		change(&s)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("ASHLAR_VERBOSE") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if engine == nil {
		engine = engineFor("", s.Memory, 1<<20, log)
	}
	c := &testCluster{newCluster(s, t.TempDir(), engine, log), t}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	require.NoError(t, c.start(names))
	t.Cleanup(func() { require.NoError(t, c.close()) })
	c.await("the nodes see each other", c.settled)
	return c
}

// await waits until something is true. It waits long, since a loaded machine is no
// reason to fail.
func (c *testCluster) await(what string, is func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			c.t.Fatalf("it did not come true that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// client returns a client of one node that tries nothing twice.
func (c *testCluster) client(name string, change ...func(*redis.Options)) *redis.Client {
	c.t.Helper()
	for _, h := range c.Hosts() {
		if h.Name == name {
			o := &redis.Options{Addr: h.Redis, MaxRetries: -1, DialTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, DisableIdentity: true}
			for _, f := range change {
				f(o)
			}
			client := redis.NewClient(o)
			c.t.Cleanup(func() { client.Close() })
			return client
		}
	}
	c.t.Fatalf("there is no node %s", name)
	return nil
}

// at makes a client's connections begin with a consistency.
func at(words ...any) func(*redis.Options) {
	return func(o *redis.Options) {
		o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
			return conn.Do(ctx, append([]any{"consistency"}, words...)...).Err()
		}
	}
}

// kill, revive, pause, resume: what can happen to a node. cut: what can happen to
// the network.
func (c *testCluster) kill(name string)   { c.t.Helper(); require.NoError(c.t, c.Kill(name)) }
func (c *testCluster) revive(name string) { c.t.Helper(); require.NoError(c.t, c.Revive(name)) }
func (c *testCluster) pause(name string)  { c.t.Helper(); require.NoError(c.t, c.Pause(name)) }
func (c *testCluster) resume(name string) { c.t.Helper(); require.NoError(c.t, c.Resume(name)) }

// cut parts the network into sides, and heal mends it.
func (c *testCluster) cut(sides ...[]string) { c.Network.Partition(sides...) }
func (c *testCluster) heal()                 { c.Network.Heal() }

// nodeOf returns a running node.
func (c *testCluster) nodeOf(name string) *Node {
	c.t.Helper()
	h, err := c.host(name)
	require.NoError(c.t, err)
	n := c.node(h)
	require.NotNil(c.t, n, "%s does not run", name)
	return n
}

// owners returns the names of the nodes that own a key.
func (c *testCluster) owners(key string) []string {
	return c.running()[0].roster.placement().owners([]byte(key))
}

// removeStore removes what a node has stored, and leaves its backups.
func removeStore(dir, name string) error {
	return os.RemoveAll(filepath.Join(dir, name, "store"))
}
