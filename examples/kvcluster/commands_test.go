package kvcluster

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// step is a command and what it must answer, as fmt.Sprint shows it.
type step struct{ command, want string }

// play runs commands one after the other at changing nodes.
func play(t *testing.T, clients []*redis.Client, steps []step) {
	t.Helper()
	for i, s := range steps {
		var args []any
		for word := range strings.FieldsSeq(s.command) {
			args = append(args, word)
		}
		got, err := clients[i%len(clients)].Do(t.Context(), args...).Result()
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != s.want {
			t.Errorf("%s: %s, want %s", s.command, text, s.want)
		}
	}
}

func (c *testCluster) clients(change ...func(*redis.Options)) []*redis.Client {
	var list []*redis.Client
	for _, h := range c.Hosts() {
		list = append(list, c.client(h.Name, change...))
	}
	return list
}

// What Redis answers, the cluster does, whichever node is asked.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) { testCommands(t, policy) })
	}
}

func testCommands(t *testing.T, policy replica.Policy) {
	c := newTestCluster(t, 5, func(s *Settings) { s.Policy, s.Sloppy = policy, policy != replica.Consensus })
	play(t, c.clients(), []step{
		{"PING", "PONG"}, {"NODE MERGE", "OK"}, {"ECHO hello", "hello"}, {"SELECT 0", "OK"}, {"SELECT 1", "ERR DB index is out of range"},
		{"GET a", "redis: nil"}, {"SET a 1", "OK"}, {"GET a", "1"}, {"EXISTS a b a", "2"}, {"TYPE a", "string"}, {"TYPE b", "none"},
		{"SET a 2 NX", "redis: nil"}, {"GET a", "1"}, {"SET b 2 XX", "redis: nil"}, {"SET b 2 NX", "OK"}, {"SET b 3 XX GET", "2"}, {"GET b", "3"},
		{"SETNX b 4", "0"}, {"SETNX c 4", "1"}, {"MGET a b c d", "[1 3 4 <nil>]"}, {"MSET a x b y", "OK"}, {"MGET a b", "[x y]"}, {"MSET a", "ERR wrong number of arguments for 'mset' command"},
		{"GETDEL b", "y"}, {"GETDEL b", "redis: nil"}, {"GETSET b z", "redis: nil"}, {"GETSET b w", "z"}, {"DEL a b c d", "3"}, {"DEL a", "0"}, {"EXISTS a b c", "0"},
		{"TTL a", "-2"}, {"SET a 1 EX 100", "OK"}, {"TTL a", "100"}, {"SET a 2 KEEPTTL", "OK"}, {"TTL a", "100"}, {"SET a 3", "OK"}, {"TTL a", "-1"},
		{"EXPIRE a 50", "1"}, {"TTL a", "50"}, {"EXPIRE a 40 GT", "0"}, {"EXPIRE a 60 GT", "1"}, {"PERSIST a", "1"}, {"PERSIST a", "0"}, {"TTL a", "-1"}, {"EXPIRE a 0", "1"}, {"EXISTS a", "0"},
		{"EXPIRE a 10", "0"}, {"SET a 1 EX 0", "ERR invalid expire time in 'set' command"}, {"SET a 1 EX x", "ERR value is not an integer or out of range"}, {"SET a 1 NX XX", "ERR syntax error"},
		{"INCR n", "1"}, {"INCRBY n 41", "42"}, {"DECR n", "41"}, {"SET n x", "OK"}, {"INCR n", "ERR value is not an integer or out of range"},
		{"APPEND s hello", "5"}, {"APPEND s world", "10"}, {"GET s", "helloworld"}, {"STRLEN s", "10"}, {"STRLEN none", "0"},
		{"SIBLINGS s", "[helloworld]"}, {"CONSISTENCY", "quorum R=2 W=2"}, {"CONSISTENCY two", "ERR unknown consistency, want one, quorum, all, linearizable, or R and W"},
		{"CONSISTENCY 4 1", "ERR R and W are numbers from 1 to 3"}, {"NOSUCH a", "ERR unknown command 'NOSUCH', with args beginning with: 'a' "},
		{"GET", "ERR wrong number of arguments for 'get' command"}, {"CONFIG GET save", "map[save:]"},
	})
}

// Where the last writer wins, commands that change what is there are refused.
func TestCommandsWhereTheLastWriterWins(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Policy = replica.LastWriterWins })
	play(t, c.clients(), []step{
		{"SET a 1", "OK"}, {"SET a 2", "OK"}, {"GET a", "2"}, {"DEL a", "1"}, {"GET a", "redis: nil"}, {"SET a 3 PX 100000", "OK"}, {"TTL a", "100"},
		{"SET a 1 NX", needsSiblings}, {"INCR a", needsSiblings}, {"GETDEL a", needsSiblings}, {"EXPIRE a 1", needsSiblings}, {"GET a", "3"},
	})
}

// A key that is too long is refused as such, at the node that is asked, and one that is
// as long as it may be is stored.
func TestKeysHaveALimit(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.Consensus} {
		c := newTestCluster(t, 3, func(s *Settings) { s.Policy, s.Sloppy = policy, false })
		r := c.client("n1")
		longest := strings.Repeat("k", maxKey)
		require.NoError(t, r.Set(t.Context(), longest, "v", 0).Err())
		require.Equal(t, "v", r.Get(t.Context(), longest).Val())
		for _, command := range []string{"SET", "APPEND", "SETNX"} {
			require.ErrorContains(t, r.Do(t.Context(), command, longest+"k", "v").Err(), "ERR the key is longer than 32760 bytes")
		}
	}
}

// The values of one command take bounded memory.
func TestManyLargeValuesAreRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Memory, s.Limits.InFlight = true, 1<<20 })
	r := c.client("n1")
	var keys []string
	for i := range 12 {
		keys = append(keys, fmt.Sprint("key", i))
		require.NoError(t, r.Set(t.Context(), keys[i], strings.Repeat("v", 100_000), 0).Err())
	}
	require.ErrorContains(t, r.MGet(t.Context(), keys...).Err(), "ERR the values are too large together")
	require.NoError(t, r.MGet(t.Context(), keys[:8]...).Err())
}

// A read-modify-write command is one step, at whichever nodes it is done at once.
func TestIncrementsAreNotLost(t *testing.T) {
	t.Parallel()
	for _, policy := range []replica.Policy{replica.Siblings, replica.Consensus} {
		t.Run(conflictName(policy), func(t *testing.T) { testIncrements(t, policy) })
	}
}

func testIncrements(t *testing.T, policy replica.Policy) {
	c := newTestCluster(t, 5, func(s *Settings) { s.Policy, s.Sloppy = policy, policy != replica.Consensus })
	clients := c.clients()
	const each = 20
	var done sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]bool{}
	for i, r := range clients {
		done.Go(func() {
			for range each {
				n, err := r.Incr(t.Context(), "counter").Result()
				mu.Lock()
				if err != nil || seen[n] {
					t.Errorf("client %d: INCR returned %d, %v; twice: %v", i, n, err, seen[n])
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	done.Wait()
	require.Equal(t, fmt.Sprint(each*len(clients)), clients[0].Get(t.Context(), "counter").Val())
}

// SCAN returns every key once.
func TestScanSeesEveryKeyOnce(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5, nil)
	clients := c.clients()
	var want []string
	for i := range 300 {
		key := fmt.Sprintf("user:%d", i)
		if i%3 == 0 {
			key = fmt.Sprintf("order:%d", i)
		}
		want = append(want, key)
		require.NoError(t, clients[i%5].Set(t.Context(), key, i, 0).Err())
	}
	require.NoError(t, clients[0].Del(t.Context(), want[0]).Err())
	want = want[1:]
	for _, pattern := range []string{"*", "user:*"} {
		var got []string
		for i, cursor := 0, uint64(0); i == 0 || cursor != 0; i++ {
			var keys []string
			var err error
			keys, cursor, err = clients[i%5].Scan(t.Context(), cursor, pattern, 7).Result()
			require.NoError(t, err)
			got = append(got, keys...)
		}
		var fit []string
		for _, key := range want {
			if pattern == "*" || strings.HasPrefix(key, "user:") {
				fit = append(fit, key)
			}
		}
		require.ElementsMatch(t, fit, got, pattern)
	}
	// With one node of three owners away every key is still seen, with two of them
	// nobody can say so.
	c.kill("n2")
	keys, _, err := clients[0].Scan(t.Context(), 0, "*", 1000).Result()
	require.NoError(t, err)
	require.Len(t, keys, len(want))
	c.kill("n3")
	_, _, err = clients[0].Scan(t.Context(), 0, "*", 1000).Result()
	require.ErrorContains(t, err, "CLUSTERDOWN")
}

// A value with an end is gone at its end, and so is what was written before.
func TestExpiry(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, nil)
	clients := c.clients()
	require.NoError(t, clients[0].Set(t.Context(), "a", "kept", 0).Err())
	require.NoError(t, clients[1].Set(t.Context(), "a", "short", 300*time.Millisecond).Err())
	require.Equal(t, "short", clients[2].Get(t.Context(), "a").Val())
	c.await("the value expires at every node", func() bool {
		return !slices.ContainsFunc(clients, func(r *redis.Client) bool { return r.Get(t.Context(), "a").Err() != redis.Nil })
	})
	require.True(t, clients[0].SetNX(t.Context(), "a", "new", 0).Val())
}

// The tools of Redis itself work against every node.
func TestRedisTools(t *testing.T) {
	t.Parallel()
	cli, benchmark := services.Find(t, "redis-cli"), services.Find(t, "redis-benchmark")
	c := newTestCluster(t, 3, func(s *Settings) { s.Memory = true })
	for i, h := range c.Hosts() {
		_, port, err := net.SplitHostPort(h.Redis)
		require.NoError(t, err)
		run := func(path string, args ...string) string {
			out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			return string(out)
		}
		require.Equal(t, "OK\n", run(cli, "-p", port, "SET", "greeting", fmt.Sprint("hello", i)))
		require.Equal(t, fmt.Sprintf("hello%d\n", i), run(cli, "-3", "-p", port, "GET", "greeting"))
		require.Equal(t, "greeting\n", run(cli, "-p", port, "--scan", "--pattern", "g*"))
		require.Contains(t, run(cli, "-p", port, "INFO", "cluster"), "node:"+h.Name)
	}
	_, port, _ := net.SplitHostPort(c.Hosts()[1].Redis)
	out, err := exec.CommandContext(t.Context(), benchmark, "-p", port, "-t", "ping,set,get,mset", "-n", "500", "-c", "10", "-r", "1000", "-P", "4", "-q").CombinedOutput()
	require.NoError(t, err)
	for _, name := range []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "MSET"} {
		require.Contains(t, string(out), name)
	}
	require.NotContains(t, strings.ToLower(string(out)), "error")
}

// A node that does not answer DBSIZE is left out of nothing: another owner counts what
// it would have counted, and where that cannot be, the answer says who is missing.
func TestDBSizeAsksAnotherOwner(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5, func(s *Settings) { s.Memory, s.Mend = true, 0 })
	r := c.client("n1", at("all"))
	const keys = 60
	for i := range keys {
		require.NoError(t, r.Set(t.Context(), fmt.Sprint("key", i), i, 0).Err())
	}
	quorum := c.client("n1")
	require.EqualValues(t, keys, quorum.DBSize(t.Context()).Val())
	c.nodeOf("n2").filling.on.Store(true) // gossip finds it alive, and it has no answer
	n, err := quorum.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.EqualValues(t, keys, n)
	require.ErrorContains(t, c.client("n1", at("one")).DBSize(t.Context()).Err(), "CLUSTERDOWN kvcluster: too many nodes are away to see every key; n2: it has lost its disk")
	c.nodeOf("n4").filling.on.Store(true)
	err = quorum.DBSize(t.Context()).Err()
	require.ErrorContains(t, err, "n2: ")
	require.ErrorContains(t, err, "n4: ")
}

// Siblings of a key are bounded in bytes: who has not read them cannot add to them
// beyond that, nothing that is there is lost, and who has read them replaces them.
func TestSiblingsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(s *Settings) { s.Memory, s.Limits.Command = true, 10_000 })
	n, r := c.nodeOf("n1"), c.client("n1")
	blind := func(size int) error {
		_, err := n.write(t.Context(), n.config.Level, []byte("key"), replica.Change{Data: []byte(strings.Repeat("v", size))})
		return err
	}
	require.NoError(t, blind(6000))
	require.NoError(t, blind(4000))
	require.ErrorIs(t, blind(1), replica.ErrSiblings)
	siblings, err := r.Do(t.Context(), "SIBLINGS", "key").StringSlice()
	require.NoError(t, err)
	require.Len(t, siblings, 2)
	require.NoError(t, r.Set(t.Context(), "key", strings.Repeat("w", 9000), 0).Err())
	require.Len(t, r.Get(t.Context(), "key").Val(), 9000)
}
