package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/launcher"
	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// asProgram is a variable of the environment that makes the binary of the tests the
// program itself, for nodes that can be killed.
const asProgram = "ASHLAR_KVCLUSTER_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(launcher.Main(context.Background(), launcher.Registry{Define}, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A child is a node in a process of its own.
type child struct {
	name, peers, redis, data string
	process                  *services.Process
}

func (c *child) start(t *testing.T, binary string, others []*child) {
	t.Helper()
	args := []string{"kvcluster", "-addr", "127.0.0.1:0", "-node", c.name, "-listen", c.peers, "-redis", c.redis, "-data", c.data, "-timeout", "5s"}
	var join []string
	for _, o := range others {
		if o != c && o.process != nil {
			join = append(join, o.peers)
		}
	}
	if len(join) > 0 {
		args = append(args, "-join", strings.Join(join, ","))
	}
	c.process = services.Start(t, c.redis, binary, args...)
}

// ledger is what clients have been told.
type ledger struct {
	mu           sync.Mutex
	acknowledged map[string]string   // the last value that a client was told is safe
	attempted    map[string][]string // and those of which it was told nothing, or that they may take effect
}

// kill -9 of nodes, one and then all of them, loses nothing that was acknowledged.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Setenv(asProgram, "1")
	binary, err := os.Executable()
	require.NoError(t, err)
	var nodes []*child
	for i := range 3 {
		c := &child{name: fmt.Sprintf("n%d", i+1), data: t.TempDir()}
		c.peers = fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
		c.redis = fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
		c.start(t, binary, nodes)
		nodes = append(nodes, c)
	}
	ring := func(want int) {
		t.Helper()
		for _, c := range nodes {
			r := redis.NewClient(&redis.Options{Addr: c.redis, DisableIdentity: true})
			defer r.Close()
			require.Eventually(t, func() bool {
				list := r.Do(t.Context(), "NODE", "LIST").String()
				return strings.Count(list, "status=up reachable=true") == want
			}, time.Minute, 50*time.Millisecond)
		}
	}
	ring(3)
	l := &ledger{acknowledged: map[string]string{}, attempted: map[string][]string{}}

	l.write(t, nodes, 300, func() { nodes[1].process.Kill() }) // one of three: the others go on
	nodes[1].start(t, binary, nodes)
	ring(3)
	l.check(t, nodes[1].redis)
	l.write(t, nodes, 300, func() {
		for _, c := range nodes {
			c.process.Kill()
		}
	})
	for _, c := range nodes {
		c.process = nil
	}
	for _, c := range nodes {
		c.start(t, binary, nodes)
	}
	ring(3)
	for _, c := range nodes {
		l.check(t, c.redis)
	}
}

// write lets clients write until enough was acknowledged, does what is to be done in
// the midst of it, and goes on until as much again was, or nobody answers.
func (l *ledger) write(t *testing.T, nodes []*child, enough int, midst func()) {
	t.Helper()
	var clients sync.WaitGroup
	var once sync.Once
	reached := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	count := 0
	for id := range 6 {
		clients.Go(func() {
			r := redis.NewClient(&redis.Options{Addr: nodes[id%3].redis, MaxRetries: -1, DisableIdentity: true})
			defer r.Close()
			for i, failed := 0, 0; failed < 20 && ctx.Err() == nil; i++ {
				key, value := fmt.Sprintf("c%d:%d", id, i%20), fmt.Sprint(time.Now().UnixNano())
				l.mu.Lock()
				l.attempted[key] = append(l.attempted[key], value)
				l.mu.Unlock()
				if err := r.Set(context.Background(), key, value, 0).Err(); err != nil {
					failed++
					time.Sleep(10 * time.Millisecond)
					continue
				}
				l.mu.Lock()
				l.acknowledged[key], l.attempted[key] = value, nil
				if count++; count == enough {
					once.Do(func() { close(reached) })
				}
				if count == 2*enough {
					stop()
				}
				l.mu.Unlock()
			}
		})
	}
	<-reached
	midst()
	clients.Wait()
}

// check reads every key: it must have what was acknowledged last, or what was tried
// after that.
func (l *ledger) check(t *testing.T, addr string) {
	t.Helper()
	r := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer r.Close()
	for key, want := range l.acknowledged {
		got, err := r.Get(t.Context(), key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatalf("%s: %v", key, err)
		}
		ok := got == want
		for _, tried := range l.attempted[key] {
			ok = ok || got == tried
		}
		if !ok {
			t.Errorf("%s is %q, %q was acknowledged, %q tried since", key, got, want, l.attempted[key])
		}
	}
}
