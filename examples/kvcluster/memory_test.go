package kvcluster

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

const largest = 1 << 20

// scarce makes the budget of each node as small as it may be.
func scarce(s *Settings) { scarceFor(s, largest) }

func scarceFor(s *Settings, largest int64) {
	s.Memory, s.Limits.Command, s.Limits.InFlight = true, largest, 2*largest
	s.Budget, s.Wait, s.Write, s.Timeout = s.leastBudget(), 5*time.Minute, 5*time.Minute, time.Minute
	s.Patience = s.Timeout / 4
}

// large returns a large value that no other key has.
func large(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i)}, largest-1000-i) }

// raw is a connection that does what a test says and no more.
func (c *testCluster) raw(name string) net.Conn {
	c.t.Helper()
	for _, h := range c.Hosts() {
		if h.Name == name {
			conn, err := net.Dial("tcp", h.Redis)
			require.NoError(c.t, err)
			conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			c.t.Cleanup(func() { conn.Close() })
			return conn
		}
	}
	c.t.Fatalf("there is no node %s", name)
	return nil
}

// awaitNothingHeld waits until all nodes have given back what they took, and checks
// that they never had more than they may: beyond the budget what one command needs in
// addition.
func (c *testCluster) awaitNothingHeld() {
	c.t.Helper()
	c.await("nothing is held", func() bool {
		for _, n := range c.running() {
			if n.forClients.Used() != 0 || n.forPeers.Used() != 0 || n.forClients.Waiting() != 0 || n.forPeers.Waiting() != 0 {
				return false
			}
		}
		return true
	})
	for _, n := range c.running() {
		clients, peers := n.config.beyond()
		require.LessOrEqual(c.t, n.forClients.Peak(), n.forClients.Most()+clients, n.config.Name)
		require.LessOrEqual(c.t, n.forPeers.Peak(), n.forPeers.Most()+peers, n.config.Name)
	}
}

// Clients that ask for large values and read none of them do not make a node hold more
// than its budget. Small commands are answered meanwhile, and who reads gets its value.
func TestClientsThatDoNotReadWait(t *testing.T) {
	t.Parallel()
	const clients, keys, more = 6, 2, 6 << 20 // more than sockets take by themselves
	c := newTestCluster(t, 3, func(s *Settings) { scarceFor(s, more) })
	r := c.client("n1")
	value := func(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i)}, more-1000-i) }
	for i := range keys {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("large", i), value(i), 0).Err())
	}
	require.NoError(t, r.Set(t.Context(), "small", "value", 0).Err())
	n := c.nodeOf("n1")
	var conns []net.Conn
	for i := range clients {
		conn := c.raw("n1")
		fmt.Fprintf(conn, "GET large%d\r\n", i%keys)
		conns = append(conns, conn)
	}
	c.await("some wait", func() bool { return n.forClients.Waiting() > 0 })
	require.Equal(t, "PONG", r.Ping(t.Context()).Val())
	require.Equal(t, "value", r.Get(t.Context(), "small").Val())
	require.NoError(t, r.Set(t.Context(), "small", "other", 0).Err())
	require.Contains(t, r.Info(t.Context(), "memory").Val(), "budget_clients_waiting:")
	var reading sync.WaitGroup
	for i, conn := range conns {
		reading.Go(func() {
			want := fmt.Appendf(nil, "$%d\r\n%s\r\n", len(value(i%keys)), value(i%keys))
			got := make([]byte, len(want))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("client %d: %.40q, %v", i, got, err)
			}
		})
	}
	reading.Wait()
	c.awaitNothingHeld()
	require.LessOrEqual(t, n.forClients.Peak(), n.forClients.Most(), "who only reads never goes beyond it")
}

// Many large values at once, from all sides, all arrive.
func TestClientsThatSendMuchWait(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.LastWriterWins, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) {
			c := newTestCluster(t, 3, func(s *Settings) {
				scarce(s)
				s.Policy, s.Sloppy = policy, policy == replica.Siblings
			})
			clients := c.clients()
			const each = 4
			var sending sync.WaitGroup
			for i, r := range clients {
				for j := range each {
					k := i*each + j
					key := fmt.Sprint("key", k)
					sending.Go(func() {
						for _, v := range [][]byte{large(k + 1), large(k)} {
							if err := r.Set(t.Context(), key, v, 0).Err(); err != nil {
								t.Errorf("SET %s: %v", key, err)
							}
						}
						if got, err := clients[(i+1)%3].Get(t.Context(), key).Bytes(); err != nil || !bytes.Equal(got, large(k)) {
							t.Errorf("GET %s: %d bytes, %v", key, len(got), err)
						}
					})
				}
			}
			sending.Wait()
			c.awaitNothingHeld()
		})
	}
}

// Commands that read a large value and write another need more than they began with,
// and so do those that read many; they come to their ends one after the other.
func TestCommandsThatNeedMoreComeToTheirEnds(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) {
			c := newTestCluster(t, 3, func(s *Settings) {
				scarce(s)
				s.Policy, s.Sloppy = policy, policy == replica.Siblings
			})
			clients := c.clients()
			half := strings.Repeat("h", largest/2-1000)
			var running sync.WaitGroup
			for i := range 6 {
				running.Go(func() {
					r, key := clients[i%3], fmt.Sprint("key", i)
					check := func(what string, got, want any, err error) {
						if err != nil || got != want {
							t.Errorf("%s %s: %.40v, %v, want %.40v", what, key, got, err, want)
						}
					}
					check("SET", r.Set(t.Context(), key, half, 0).Val(), "OK", nil)
					length, err := r.Append(t.Context(), key, half).Result()
					check("APPEND", length, int64(2*len(half)), err)
					length, err = r.StrLen(t.Context(), key).Result()
					check("STRLEN", length, int64(2*len(half)), err)
					old, err := r.SetArgs(t.Context(), key, half[1:], redis.SetArgs{Get: true}).Result()
					check("SET GET", old, half+half, err)
					all, err := r.MGet(t.Context(), key, key, "none").Result()
					check("MGET", len(all) == 3 && all[0] == half[1:] && all[1] == half[1:] && all[2] == nil, true, err)
					old, err = r.GetDel(t.Context(), key).Result()
					check("GETDEL", old, half[1:], err)
					check("SET", r.Set(t.Context(), key, half, 0).Val(), "OK", nil)
					gone, err := r.Del(t.Context(), key).Result()
					check("DEL", gone, int64(1), err)
				})
			}
			running.Wait()
			c.awaitNothingHeld()
		})
	}
}

// Who waited for as long as clients wait gets an error that says so, with which nothing
// has happened, and can go on.
func TestPatienceForMemoryEnds(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) {
		scarce(s)
		s.Wait = 50 * time.Millisecond
	})
	r := c.client("n1", func(o *redis.Options) { o.PoolSize = 1 })
	require.NoError(t, r.Set(t.Context(), "key", large(0), 0).Err())
	c.awaitNothingHeld()
	n := c.nodeOf("n1")
	all := n.forClients.Claim()
	require.NoError(t, all.Take(t.Context(), n.forClients.Most()))
	require.EqualError(t, r.Get(t.Context(), "key").Err(), "OOM no memory for large values became free in time, try again later")
	require.EqualError(t, r.Set(t.Context(), "key", large(1), 0).Err(), "OOM too many large commands are being received, try again later")
	require.EqualError(t, r.Append(t.Context(), "key", "x").Err(), "OOM no memory for large values became free in time, try again later")
	require.NoError(t, r.Set(t.Context(), "other", "small", 0).Err())
	require.EqualValues(t, 1, r.PoolStats().TotalConns)
	require.Zero(t, r.PoolStats().StaleConns, "the connection is the first one")
	all.Release()
	got, err := r.Get(t.Context(), "key").Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(large(0), got))
	c.awaitNothingHeld()
}

// Clients that vanish, and such that take nothing of their answers, leave nothing
// behind.
func TestClientsThatVanishHoldNothing(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) {
		scarce(s)
		s.Write = 500 * time.Millisecond
	})
	r := c.client("n1")
	for i := range 4 {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("large", i), large(i), 0).Err())
	}
	n := c.nodeOf("n1")
	c.awaitNothingHeld()
	// In the middle of a request.
	for range 3 {
		conn := c.raw("n1")
		fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s", largest-100, strings.Repeat("v", 100_000))
		c.await("the node has made room", func() bool { return n.forClients.Used() > 0 })
		conn.Close()
		c.awaitNothingHeld()
	}
	// While they wait.
	all := n.forClients.Claim()
	require.NoError(t, all.Take(t.Context(), n.forClients.Most()))
	for i := range 4 {
		conn := c.raw("n1")
		fmt.Fprintf(conn, "GET large%d\r\n", i)
		c.await("it waits", func() bool { return n.forClients.Waiting() > i })
		conn.Close()
	}
	all.Release()
	c.awaitNothingHeld()
	// In the middle of an answer, with and without a farewell.
	for i := range 4 {
		conn := c.raw("n1")
		io.WriteString(conn, strings.Repeat(fmt.Sprintf("GET large%d\r\n", i), 10))
		line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("$%d\r\n", len(large(i))), line)
		if i%2 == 0 {
			conn.Close()
		}
	}
	c.awaitNothingHeld()
	require.NoError(t, r.Get(t.Context(), "large0").Err())
}

// A budget that is too small for the largest command is refused.
func TestBudgetHasToFit(t *testing.T) {
	config := Config{Nodes: 3, Replicas: 3, Consistency: "quorum", Conflicts: "siblings", Timeout: time.Second, MaxClients: 10, MaxCommand: 32 << 20}
	s, err := config.settings()
	require.NoError(t, err)
	clients, peers := s.budgets()
	require.EqualValues(t, 256<<20, clients)
	require.EqualValues(t, 128<<20, peers)
	config.Budget = 100 << 20
	_, err = config.settings()
	require.EqualError(t, err, "-budget: 104857600 is less than 301989888, what the largest command takes with -max-command 33554432 and -replicas 3")
	config.Budget = 301989888
	_, err = config.settings()
	require.NoError(t, err)
}

// A node tells how large an object is without reading it, and a wrong memory of that
// costs another try and no wrong answer.
func TestSizesAreRemembered(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, scarce)
	r := c.client("n1")
	require.NoError(t, r.Set(t.Context(), "key", large(0), 0).Err())
	require.NoError(t, r.Set(t.Context(), "small", "value", 0).Err())
	for _, n := range c.running() {
		c.await("all owners have it", func() bool { return n.store.sizes.get([]byte("key")) > largest-2000 })
		require.Zero(t, n.store.sizes.get([]byte("small")))
		n.store.sizes.set([]byte("key"), 0)
		n.store.sizes.set([]byte("small"), largest)
	}
	got, err := r.Get(t.Context(), "key").Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(large(0), got))
	require.Equal(t, "value", r.Get(t.Context(), "small").Val())
	c.awaitNothingHeld()
	var s sizes
	for i := range mostSizes + 100 {
		s.set(fmt.Append(nil, i), largest)
	}
	require.Len(t, s.large, mostSizes)
}

// Where writers agree, the commands of a node on a key go one after the other. One that
// waits for memory does not keep those from going on that another key's chance has put
// into the same queue, nor those that have the memory.
func TestWhoWaitsForMemoryHoldsUpNobody(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) {
		scarce(s)
		s.Policy, s.Sloppy = replica.Consensus, false
	})
	r, n := c.client("n1"), c.nodeOf("n1")
	require.NoError(t, r.Set(t.Context(), "key", large(0), 0).Err())
	small := ""
	for i := 0; small == ""; i++ {
		if other := fmt.Sprint("small", i); n.queue.stripe([]byte(other)) == n.queue.stripe([]byte("key")) {
			small = other
		}
	}
	c.awaitNothingHeld()
	all := n.forClients.Claim()
	require.NoError(t, all.Take(t.Context(), n.forClients.Most()))
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := r.Get(t.Context(), "key").Err(); err != nil {
			t.Errorf("GET: %v", err)
		}
	})
	c.await("it waits", func() bool { return n.forClients.Waiting() > 0 })
	require.NoError(t, r.Set(t.Context(), small, "value", 0).Err())
	require.Equal(t, "value", r.Get(t.Context(), small).Val())
	all.Release()
	waiting.Wait()
	// All on one key, of which some have memory and wait for their turn, and some have
	// their turn and wait for memory.
	for i := range 8 {
		waiting.Go(func() {
			for j := range 2 {
				if err := r.Set(t.Context(), "key", large(i+j), 0).Err(); err != nil {
					t.Errorf("SET: %v", err)
				}
				if err := r.MGet(t.Context(), "key", small, "key").Err(); err != nil {
					t.Errorf("MGET: %v", err)
				}
			}
		})
	}
	waiting.Wait()
	c.awaitNothingHeld()
}

// A command that writes many keys holds no more of what it has replaced than of one.
func TestWhatWasReplacedIsGivenBack(t *testing.T) {
	t.Parallel()
	const keys, most = 24, 200_000
	for _, policy := range []replica.Policy{replica.Siblings, replica.LastWriterWins, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) {
			c := newTestCluster(t, 3, func(s *Settings) {
				scarceFor(s, most)
				s.Policy, s.Sloppy = policy, policy == replica.Siblings
			})
			r := c.client("n1", at("linearizable"))
			var names []string
			var pairs []any
			for i := range keys {
				names = append(names, fmt.Sprint("key", i))
				pairs = append(pairs, names[i], "small")
			}
			for _, run := range []func() error{
				func() error { return r.MSet(t.Context(), pairs...).Err() },
				func() error { return r.Del(t.Context(), names...).Err() },
			} {
				for i, name := range names {
					require.NoError(t, r.Set(t.Context(), name, make([]byte, most-1000-i), 0).Err())
				}
				require.NoError(t, run())
				c.awaitNothingHeld()
			}
		})
	}
}

// Hints, which wait for the disk, take no place among those who read.
func TestHintsDoNotHoldUpReaders(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1, nil)
	n := c.nodeOf("n1")
	for range cap(n.store.readers) {
		n.store.readers <- struct{}{}
	}
	dot := replica.Dot{Actor: 1, Time: replica.TimeOf(time.Now())}
	q := replica.Request{To: "n1", For: "away", Kind: replica.Store, Key: []byte("key"), Object: replica.Object{Context: replica.Vector{dot}, Versions: []replica.Version{{Dot: dot, Data: []byte("value")}}}}
	require.NoError(t, n.serve(t.Context(), q, 0, false).Err)
	for range cap(n.store.readers) {
		<-n.store.readers
	}
}

// Keys are counted in parts, each of which takes a fraction of the time for an
// operation, so that a node with many keys is not taken for one that is away.
func TestCountingMayTakeLong(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Memory = true })
	r := c.client("n1", at("all")) // a count is asked of one owner, who may be the last to hear of a write
	const keys = 50
	for i := range keys {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("key", i), i, 0).Err())
	}
	n, p := c.nodeOf("n1"), c.nodeOf("n1").roster.placement()
	all, _, more, err := n.count(p, []string{"n1"}, 0, time.Minute)
	require.NoError(t, err)
	require.False(t, more)
	sum, parts := uint64(0), 0
	for from, more := uint64(0), true; more; parts++ {
		var some uint64
		some, from, more, err = n.count(p, []string{"n1"}, from, 0)
		require.NoError(t, err)
		sum += some
	}
	require.Equal(t, all, sum)
	require.Greater(t, parts, 10, "each as short as it may be")
	total, err := r.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.EqualValues(t, keys, total)
}

// A cluster that keeps nothing begins anew in a directory where another has been, and
// takes its nodes for none that have lost something.
func TestMemoryBeginsAnew(t *testing.T) {
	t.Parallel()
	env := system.Discard(t.TempDir())
	for i := range 2 {
		s, err := New(t.Context(), Config{
			Env: env, Nodes: 3, Redis: "127.0.0.1:0", Replicas: 3, Consistency: "all", Conflicts: "siblings", Timeout: 10 * time.Second,
			MaxClients: 10, MaxCommand: 1 << 20, Memory: true,
		})
		require.NoError(t, err)
		r := redis.NewClient(&redis.Options{Addr: s.cluster.Hosts()[0].Redis, MaxRetries: -1, DisableIdentity: true, ReadTimeout: 30 * time.Second})
		require.ErrorIs(t, r.Get(t.Context(), "key").Err(), redis.Nil)
		require.NoError(t, r.Set(t.Context(), "key", "value", 0).Err())
		require.NoError(t, r.Do(t.Context(), "NODE", "BACKUPALL", fmt.Sprint("monday", i)).Err())
		require.NoError(t, r.Close())
		require.NoError(t, s.Close())
		env.Metrics = metrics.New()
	}
	backups, err := filepath.Glob(filepath.Join(env.Data, "memory", "*", "backups", "monday*"))
	require.NoError(t, err)
	require.Len(t, backups, 6, "backups stay")
}

// Whatever happens to nodes and network, nothing stays counted that is not held, every
// command of a pipeline gets one answer, and all nodes come to the same values.
func TestFaultsLeaveNothingHeld(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.LastWriterWins, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) {
			const most = 100_000
			c := newTestCluster(t, 3, func(s *Settings) {
				scarceFor(s, most)
				s.Policy, s.Sloppy, s.Memory = policy, policy == replica.Siblings, false
				s.Timeout, s.Wait, s.Patience, s.Write = 300*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond, time.Second
			})
			value := func(worker, i int) string {
				size := 10
				if i%3 != 0 {
					size = most - 1000
				}
				return strings.Repeat(string(rune('a'+worker)), size-i)
			}
			shared := value
			if policy == replica.Siblings { // what many write at once is more than what one may write
				shared = func(worker, i int) string { return value(worker, i)[:10-i] }
			}
			var running sync.WaitGroup
			for worker := range 6 {
				running.Go(func() {
					r := c.client([]string{"n1", "n1", "n2"}[worker%3])
					for round := range 5 {
						pipe := r.Pipeline()
						own := fmt.Sprint("own", worker)
						echo := fmt.Sprint("echo", worker, round)
						for i := range 3 {
							pipe.Set(t.Context(), own, value(worker, i), 0)
							pipe.Get(t.Context(), own)
							pipe.MGet(t.Context(), own, "shared", "own0", "own1")
							pipe.Do(t.Context(), "NONSENSE", value(worker, i))
							pipe.Set(t.Context(), "shared", shared(worker, i), 0)
							pipe.Echo(t.Context(), echo)
							pipe.Del(t.Context(), "shared", "gone")
						}
						answers, _ := pipe.Exec(t.Context())
						for i, a := range answers {
							if e, ok := a.(*redis.StringCmd); ok && i%7 == 5 && (e.Err() != nil || e.Val() != echo) {
								t.Errorf("command %d: %.60q, %v", i, e.Val(), e.Err())
							}
							if e, ok := a.(*redis.StringCmd); ok && i%7 == 1 && e.Err() == nil && strings.Trim(e.Val(), string(rune('a'+worker))) != "" {
								t.Errorf("GET %s: %.60q", own, e.Val())
							}
						}
					}
				})
			}
			for i := range 2 {
				c.pause("n3")
				time.Sleep(200 * time.Millisecond)
				c.resume("n3")
				c.cut([]string{"n1", "n2"}, []string{"n3"})
				time.Sleep(200 * time.Millisecond)
				c.heal()
				if i%2 == 0 {
					c.kill("n3")
					time.Sleep(200 * time.Millisecond)
					c.revive("n3")
				}
			}
			running.Wait()
			c.await("the nodes see each other", c.settled)
			c.awaitNothingHeld()
			for worker := range 6 {
				key := fmt.Sprint("own", worker)
				c.await("the nodes have the same", func() bool {
					var objects []replica.Object
					for _, n := range c.running() {
						o, err := n.store.get([]byte(key))
						require.NoError(t, err)
						o.Promised = replica.Dot{}
						objects = append(objects, o)
					}
					return objects[0].Equal(objects[1]) && objects[1].Equal(objects[2])
				})
			}
		})
	}
}
