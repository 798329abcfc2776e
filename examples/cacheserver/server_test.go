package cacheserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
	"github.com/ashlar-go/ashlar/examples/internal/system"
)

func testConfig(dir string) Config {
	return Config{Env: system.Discard(dir), Addr: "127.0.0.1:0", Policy: "tinylfu", MaxBytes: "8mb", Sync: "no", MaxClients: 100, MaxCommand: "1mb"}
}

func start(t *testing.T, c Config) *System {
	t.Helper()
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func dial(t *testing.T, s *System, protocol int) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: protocol, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// go-redis, which we did not write, must find what it expects, in both
// versions of the protocol, with and without a store behind the cache.
func TestGoRedis(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		for _, memory := range []bool{true, false} {
			t.Run(fmt.Sprintf("resp=%d/memory=%v", protocol, memory), func(t *testing.T) {
				config := testConfig(t.TempDir())
				config.Memory = memory
				testGoRedis(t, dial(t, start(t, config), protocol))
			})
		}
	}
}

func testGoRedis(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	require.NoError(t, c.Set(ctx, "a", "1", 0).Err())
	require.Equal(t, "1", c.Get(ctx, "a").Val())
	require.ErrorIs(t, c.Get(ctx, "missing").Err(), redis.Nil)
	require.Equal(t, int64(2), c.Incr(ctx, "a").Val())
	require.InDelta(t, 2.5, c.IncrByFloat(ctx, "a", .5).Val(), 1e-9)
	require.Equal(t, int64(5), c.Append(ctx, "a", "xy").Val())
	require.Equal(t, "2.5xy", c.GetDel(ctx, "a").Val())
	require.Zero(t, c.Exists(ctx, "a").Val())

	require.True(t, c.SetNX(ctx, "nx", "1", time.Minute).Val())
	require.False(t, c.SetNX(ctx, "nx", "2", time.Minute).Val())
	require.InDelta(t, time.Minute, c.TTL(ctx, "nx").Val(), float64(2*time.Second))
	require.NoError(t, c.SetArgs(ctx, "nx", "3", redis.SetArgs{KeepTTL: true}).Err())
	require.Positive(t, c.TTL(ctx, "nx").Val())
	require.True(t, c.Persist(ctx, "nx").Val())
	require.Equal(t, time.Duration(-1), c.TTL(ctx, "nx").Val())
	require.True(t, c.PExpire(ctx, "nx", time.Hour).Val())
	require.True(t, c.ExpireAt(ctx, "nx", time.Unix(1, 0)).Val())
	require.Zero(t, c.Exists(ctx, "nx").Val())

	require.NoError(t, c.MSet(ctx, "m1", "x", "m2", "y").Err())
	require.Equal(t, []any{"x", nil, "y"}, c.MGet(ctx, "m1", "m3", "m2").Val())
	require.False(t, c.MSetNX(ctx, "m1", "z", "m4", "z").Val())
	require.Zero(t, c.Exists(ctx, "m4").Val())
	require.Equal(t, int64(2), c.Del(ctx, "m1", "m2", "m3").Val())

	want := map[string]bool{}
	for i := range 500 {
		key := fmt.Sprintf("scan:%d", i)
		want[key] = true
		require.NoError(t, c.Set(ctx, key, strings.Repeat("v", i), 0).Err())
	}
	iter := c.Scan(ctx, 0, "scan:*", 50).Iterator()
	for iter.Next(ctx) {
		delete(want, iter.Val())
	}
	require.NoError(t, iter.Err())
	require.Empty(t, want)
	require.Equal(t, int64(500), c.DBSize(ctx).Val())
	require.Equal(t, "vvv", c.GetRange(ctx, "scan:100", -3, -1).Val())
	require.Positive(t, c.MemoryUsage(ctx, "scan:100").Val())
	require.Contains(t, c.Info(ctx, "policy").Val(), "policy:tinylfu")
	require.Equal(t, "8388608", c.ConfigGet(ctx, "maxmemory").Val()["maxmemory"])
	require.NoError(t, c.ConfigSet(ctx, "ashlar-policy", "lru").Err())
	require.Equal(t, "vvv", c.GetRange(ctx, "scan:100", -3, -1).Val(), "entries stay when the policy changes")
	require.NoError(t, c.FlushAll(ctx).Err())
	require.Zero(t, c.DBSize(ctx).Val())
	require.ErrorIs(t, c.Get(ctx, "scan:1").Err(), redis.Nil, "what was flushed is not in the store either")
}

// Updates of a key by many clients at once must not be lost.
func TestUpdatesConcurrentSafe(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	c := dial(t, s, 3)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 200 {
				if err := c.Incr(t.Context(), "n").Err(); err != nil {
					t.Errorf("INCR: %v", err)
				}
				c.Append(t.Context(), "text", "x")
			}
		})
	}
	for _, policy := range []string{"lru", "random", "lfu", "tinylfu"} { // while the policy changes
		require.NoError(t, c.ConfigSet(t.Context(), "ashlar-policy", policy).Err())
	}
	clients.Wait()
	require.Equal(t, "1600", c.Get(t.Context(), "n").Val())
	require.Equal(t, int64(1600), c.StrLen(t.Context(), "text").Val())
}

// Whatever a client sends, it gets the answer that Redis gives, and nothing
// else breaks.
func TestMalformedInput(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	for input, want := range map[string]string{
		"*1\r\n:3\r\n":           "-ERR Protocol error: expected '$', got ':'\r\n",
		"*abc\r\n":               "-ERR Protocol error: invalid multibulk length\r\n",
		"*9999999999\r\n":        "-ERR Protocol error: invalid multibulk length\r\n",
		"*1\r\n$-5\r\n":          "-ERR Protocol error: invalid bulk length\r\n",
		"*1\r\n$99999999999\r\n": "-ERR Protocol error: invalid bulk length\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2000000\r\n": "-ERR Protocol error: invalid bulk length\r\n",
		"get \"a\r\n":                   "-ERR Protocol error: unbalanced quotes in request\r\n",
		strings.Repeat("x", 20000):      "-ERR Protocol error: too big inline request\r\n",
		"\r\n\r\nPING\r\nQUIT\r\n":      "+PONG\r\n+OK\r\n",
		"nosuch a b\r\nQUIT\r\n":        "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n+OK\r\n",
		"GET\r\nQUIT\r\n":               "-ERR wrong number of arguments for 'get' command\r\n+OK\r\n",
		"*0\r\n*-1\r\nPING\r\nQUIT\r\n": "+PONG\r\n+OK\r\n",
	} {
		conn, err := net.Dial("tcp", s.Addr())
		require.NoError(t, err)
		_, err = io.WriteString(conn, input)
		require.NoError(t, err)
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		if string(got) != want {
			t.Errorf("%.60q was answered %q, want %q", input, got, want)
		}
		conn.Close()
	}
	require.NoError(t, dial(t, s, 3).Ping(t.Context()).Err())
}

// Numbers as large as they come are refused, in commands and in settings.
func TestLargeNumbers(t *testing.T) {
	for _, memory := range []bool{true, false} {
		config := testConfig(t.TempDir())
		config.Memory = memory
		c := dial(t, start(t, config), 3)
		const most = math.MaxInt64
		ctx := t.Context()
		require.NoError(t, c.Set(ctx, "a", "1", 0).Err())
		for _, offset := range []int64{most, most - 1, 1 << 40, 1 << 20} {
			require.ErrorContains(t, c.SetRange(ctx, "a", offset, "x").Err(), "exceeds maximum allowed size")
		}
		require.Empty(t, c.GetRange(ctx, "a", most-1, most).Val())
		require.Equal(t, "1", c.GetRange(ctx, "a", -most, most).Val())
		require.ErrorContains(t, c.IncrBy(ctx, "a", most).Err(), "overflow")
		for _, unit := range []string{"EX", "PX", "EXAT", "PXAT"} {
			err := c.Do(ctx, "SET", "b", "x", unit, int64(most)).Err()
			if err != nil {
				require.ErrorContains(t, err, "invalid expire time")
				continue
			}
			require.Equal(t, "x", c.Get(ctx, "b").Val())
			left, err := c.Do(ctx, "PTTL", "b").Int64() // no Duration is that long
			require.NoError(t, err)
			require.Positive(t, left)
		}
		for _, setting := range []string{"maxmemory", "ashlar-max-entries"} {
			for _, n := range []string{"9223372036854775807", "5000000000", "9223372036854775808", "4611686018427387904gb"} {
				if err := c.ConfigSet(ctx, setting, n).Err(); err != nil {
					require.ErrorContains(t, err, setting)
				}
			}
		}
		require.Equal(t, "1", c.Get(ctx, "a").Val())
	}
}

// A client that asks for much and reads nothing holds nobody up, not even who
// needs all the others to be at rest.
func TestClientThatReadsNothing(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Memory, config.MaxBytes = true, "64mb"
	s := start(t, config)
	c := dial(t, s, 3)
	require.NoError(t, c.Set(t.Context(), "large", strings.Repeat("x", 900_000), 0).Err())
	for _, command := range []string{"MGET" + strings.Repeat(" large", 500), "GETSET large x"} {
		conn, err := net.Dial("tcp", s.Addr())
		require.NoError(t, err)
		defer conn.Close()
		before := s.server.commands.Load()
		for range 20 {
			io.WriteString(conn, command+"\r\n")
		}
		for s.server.commands.Load() == before { // until one of them runs
			runtime.Gosched()
		}
	}
	require.NoError(t, c.ConfigSet(t.Context(), "ashlar-policy", "lru").Err())
	require.NoError(t, c.Set(t.Context(), "large", "y", 0).Err())
	require.NoError(t, c.FlushAll(t.Context()).Err())
}

func TestPasswordAndClientLimit(t *testing.T) {
	config := testConfig(t.TempDir())
	config.Password, config.MaxClients = "secret", 1
	s := start(t, config)
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	for _, step := range [][2]string{
		{"GET a", "-NOAUTH Authentication required.\r\n"},
		{"AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"AUTH secret", "+OK\r\n"},
		{"PING", "+PONG\r\n"},
	} {
		fmt.Fprintf(conn, "%s\r\n", step[0])
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, step[1], line)
	}
	second, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	answer, err := io.ReadAll(second)
	require.NoError(t, err)
	require.Equal(t, "-ERR max number of clients reached\r\n", string(answer))
	conn.Close()
	second.Close()
}

// A setting that makes no sense is refused with the name of its flag.
func TestBadConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"-policy":     func(c *Config) { c.Policy = "best" },
		"-max-bytes":  func(c *Config) { c.MaxBytes = "much" },
		"-sync":       func(c *Config) { c.Sync = "sometimes" },
		"-max-client": func(c *Config) { c.MaxClients = 0 },
	} {
		config := testConfig(t.TempDir())
		change(&config)
		_, err := New(context.Background(), config)
		require.ErrorContains(t, err, want)
	}
}

// The tools of Redis itself must work.
func TestRedisTools(t *testing.T) {
	cli, benchmark := services.Find(t, "redis-cli"), services.Find(t, "redis-benchmark")
	s := start(t, testConfig(t.TempDir()))
	_, port, err := net.SplitHostPort(s.Addr())
	require.NoError(t, err)
	require.Equal(t, "OK\n", run(t, cli, "-p", port, "SET", "a", "b"))
	require.Equal(t, "b\n", run(t, cli, "-p", port, "GET", "a"))
	require.Equal(t, "a\n", run(t, cli, "-3", "-p", port, "--scan"))
	out := run(t, benchmark, "-p", port, "-t", "ping,set,get,incr,mset", "-n", "2000", "-P", "16", "-q")
	for _, name := range []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"} {
		require.Contains(t, out, name)
	}
	require.NotContains(t, strings.ToLower(out), "error")
}
