//go:build unix

package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// processes is a cluster of three processes.
type processes struct {
	t      *testing.T
	binary string
	addrs  []string
	peers  string
	dirs   []string
	run    []*services.Process
	admin  *kadm.Client
}

func startProcesses(t *testing.T) *processes {
	c := &processes{t: t, binary: program(t), run: make([]*services.Process, 3)}
	var peers []string
	for i := range 3 {
		c.addrs = append(c.addrs, fmt.Sprintf("127.0.0.1:%d", services.FreePort(t)))
		peers = append(peers, fmt.Sprintf("%d=127.0.0.1:%d", i+1, services.FreePort(t)))
		c.dirs = append(c.dirs, t.TempDir())
	}
	c.peers = strings.Join(peers, ",")
	for i := range 3 {
		c.start(i)
	}
	c.admin = kadm.NewClient(newClient(t, kgo.SeedBrokers(c.addrs...), kgo.RetryTimeout(time.Minute)))
	return c
}

func (c *processes) start(i int) {
	c.run[i] = services.Start(c.t, c.addrs[i], c.binary, "kafka", "-addr", "127.0.0.1:0", "-kafka", c.addrs[i], "-data", c.dirs[i],
		"-id", fmt.Sprint(i+1), "-peers", c.peers, "-session", "1s")
}

// whole says whether a number of brokers live and, if all do, all replicas of
// a topic are in sync.
func (c *processes) whole(topic string, brokers int) bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	m, err := c.admin.Metadata(ctx, topic)
	if err != nil || len(m.Brokers) != brokers || m.Topics[topic].Err != nil || len(m.Topics[topic].Partitions) == 0 {
		return false
	}
	for _, p := range m.Topics[topic].Partitions {
		if p.Leader < 0 || len(p.ISR) != brokers {
			return false
		}
	}
	return true
}

// TestProcessesAreKilledAndFrozen: each of three processes is killed in the
// midst of a load, and started again, and each is frozen, and goes on.
//
//	ASHLAR_LONG=1 go test -run TestProcesses ./kafka
func TestProcessesAreKilledAndFrozen(t *testing.T) {
	if os.Getenv("ASHLAR_LONG") == "" {
		t.Skip("takes a minute: set ASHLAR_LONG=1")
	}
	c := startProcesses(t)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m, err := c.admin.BrokerMetadata(ctx)
		return err == nil && len(m.Brokers) == 3
	}, time.Minute, 50*time.Millisecond)
	two := "2"
	_, err := c.admin.CreateTopic(t.Context(), 3, 3, map[string]*string{"min.insync.replicas": &two}, "t")
	require.NoError(t, err)
	await := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, 90*time.Second, 50*time.Millisecond, what)
	}
	await("the topic is there", func() bool { return c.whole("t", 3) })
	l := newLedger(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var producers sync.WaitGroup
	l.produce(ctx, c.addrs, "t", &producers)
	progress := func() {
		t.Helper()
		from := l.count()
		await("acknowledgements go on", func() bool { return l.count() > from+50 })
	}
	for i := range 3 {
		progress()
		c.run[i].Kill()
		await("the others go on without it", func() bool { return c.whole("t", 2) })
		progress()
		c.start(i)
		await("it is in sync again", func() bool { return c.whole("t", 3) })
	}
	for i := range 3 {
		require.NoError(t, syscall.Kill(c.run[i].PID, syscall.SIGSTOP))
		await("the others go on without it", func() bool { return c.whole("t", 2) })
		progress()
		require.NoError(t, syscall.Kill(c.run[i].PID, syscall.SIGCONT))
		await("it is in sync again", func() bool { return c.whole("t", 3) })
	}
	cancel()
	producers.Wait()
	l.judge(c.addrs, "t")
}
