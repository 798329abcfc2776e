package kvcluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// faultTime is how long the clients of a history go on:
//
//	go test ./examples/kvcluster -run Linearizable -fault.time 60s
var faultTime = flag.Duration("fault.time", 2*time.Second, "how long each history under faults is")

// An input is a command as a client sent it.
type input struct {
	verb  string // get, set, del, setnx, append, getdel; remove is a DEL of which several may say that they did it
	key   string
	value string
}

// An output is what the client learned. Commands whose outcome it never learned
// have none, and may take effect at any time after they were sent, or never.
type output struct {
	unknown bool
	text    string
	found   bool  // get, getdel
	n       int64 // del, setnx, append
}

// A register is the state of one key in the model.
type register struct {
	value string
	there bool
}

// registers says what a key is: a register with the commands of Redis.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(input).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		s, i, o := state.(register), in.(input), out.(output)
		next, want := apply(s, i)
		if i.verb == "remove" && o.n == 1 {
			return true, next
		}
		return o.unknown || o == want, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v %+v", in, out) },
}

// apply returns what a command makes of a register, and what its client is
// told.
func apply(s register, i input) (register, output) {
	was := output{text: s.value, found: s.there}
	switch i.verb {
	case "get":
		return s, was
	case "set":
		return register{i.value, true}, output{}
	case "del", "remove":
		if !s.there {
			return s, output{}
		}
		return register{}, output{n: 1}
	case "getdel":
		return register{}, was
	case "setnx":
		if s.there {
			return s, output{}
		}
		return register{i.value, true}, output{n: 1}
	case "append":
		s = register{s.value + i.value, true}
		return s, output{n: int64(len(s.value))}
	}
	panic(i.verb)
}

// send sends a command, and says what came of it; sent is false if it did not
// take effect for sure.
func send(ctx context.Context, r *redis.Client, i input) (o output, sent bool, err error) {
	switch i.verb {
	case "get":
		o.text, err = r.Get(ctx, i.key).Result()
	case "getdel":
		o.text, err = r.GetDel(ctx, i.key).Result()
	case "set":
		err = r.Set(ctx, i.key, i.value, 0).Err()
	case "del", "remove":
		o.n, err = r.Del(ctx, i.key).Result()
	case "append":
		o.n, err = r.Append(ctx, i.key, i.value).Result()
	case "setnx":
		o.n, err = r.Do(ctx, "SETNX", i.key, i.value).Int64()
	}
	if i.verb == "get" || i.verb == "getdel" {
		if errors.Is(err, redis.Nil) {
			return output{}, true, nil
		}
		o.found = err == nil
	}
	if err == nil {
		return o, true, nil
	}
	dial, refused := errors.AsType[*net.OpError](err)
	certain := refused && dial.Op == "dial" || strings.HasPrefix(err.Error(), "CLUSTERDOWN") || errors.Is(err, redis.ErrPoolTimeout)
	return output{unknown: true}, !certain && i.verb != "get", err
}

// A recorder collects the history of several clients.
type recorder struct {
	begin time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	good  int
	fails map[string]int
}

func newRecorder() *recorder { return &recorder{begin: time.Now(), fails: map[string]int{}} }

// do sends a command and records it.
func (h *recorder) do(ctx context.Context, client int, r *redis.Client, i input) (output, error) {
	call := time.Since(h.begin).Nanoseconds()
	o, sent, err := send(ctx, r, i)
	ret := time.Since(h.begin).Nanoseconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.good++
	} else {
		ret = math.MaxInt64
		h.fails[strings.SplitN(err.Error(), " ", 2)[0]]++
	}
	if sent {
		h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: i, Call: call, Output: o, Return: ret})
	}
	return o, err
}

// answered returns how many commands were.
func (h *recorder) answered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.good
}

// check fails the test if the history cannot be explained by registers, and
// leaves a picture of it.
func (h *recorder) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := slices.Clone(h.ops)
	result, info := porcupine.CheckOperationsVerbose(registers, ops, time.Minute)
	t.Logf("%d commands, %d answered, errors %v: %v", len(ops), h.good, h.fails, result)
	if result == porcupine.Illegal {
		name := filepath.Join(t.ArtifactDir(), "history.html")
		if file, err := os.Create(name); err == nil {
			_ = porcupine.Visualize(registers, info, file)
			_ = file.Close()
		}
		t.Fatalf("no order explains the history; it is in %s (go test -artifacts keeps it)", name)
	}
	require.NotEqual(t, porcupine.Unknown, result, "the history is too long to be checked")
}

func TestTheModelKnowsRegisters(t *testing.T) {
	op := func(call, ret int64, i input, o output) porcupine.Operation {
		return porcupine.Operation{Input: i, Output: o, Call: call, Return: ret}
	}
	set, get := input{"set", "k", "a"}, input{verb: "get", key: "k"}
	app := input{"append", "k", "a"}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"read what was written", []porcupine.Operation{op(1, 2, set, output{}), op(3, 4, get, output{text: "a", found: true})}, true},
		{"read nothing after a write", []porcupine.Operation{op(1, 2, set, output{}), op(3, 4, get, output{})}, false},
		{"seen and gone", []porcupine.Operation{op(1, math.MaxInt64, set, output{unknown: true}), op(2, 3, get, output{text: "a", found: true}), op(4, 5, get, output{})}, false},
		{"append twice", []porcupine.Operation{op(1, 2, app, output{n: 1}), op(3, 4, app, output{n: 2})}, true},
		{"append lost", []porcupine.Operation{op(1, 2, app, output{n: 1}), op(3, 4, app, output{n: 1})}, false},
		{"deleted twice", []porcupine.Operation{
			op(1, 2, set, output{}), op(3, 4, input{verb: "getdel", key: "k"}, output{text: "a", found: true}),
			op(5, 6, input{verb: "getdel", key: "k"}, output{text: "a", found: true}),
		}, false},
		{"two were first", []porcupine.Operation{op(1, 4, input{"setnx", "k", "a"}, output{n: 1}), op(2, 3, input{"setnx", "k", "b"}, output{n: 1})}, false},
	} {
		require.Equal(t, c.want, porcupine.CheckOperations(registers, c.ops), c.name)
	}
}

// breakThings does to a cluster what happens to clusters, until ctx ends, and
// mends it then.
func breakThings(ctx context.Context, c *testCluster, rng *rand.Rand, names []string) {
	killed, paused := map[string]bool{}, map[string]bool{}
	defer func() {
		c.heal()
		for name := range paused {
			c.resume(name)
		}
		for name := range killed {
			c.revive(name)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(50+rng.IntN(300)) * time.Millisecond):
		}
		name := names[rng.IntN(len(names))]
		switch what := rng.IntN(8); {
		case what <= 1:
			c.heal()
		case what == 2:
			shuffled := slices.Clone(names)
			rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			n := 1 + rng.IntN(len(names)/2)
			c.cut(shuffled[:n], shuffled[n:])
		case what == 3:
			c.Slow(name, time.Duration(rng.IntN(50))*time.Millisecond)
		case what <= 5 && killed[name]:
			c.revive(name)
			delete(killed, name)
		case what <= 5 && len(killed) == 0 && !paused[name]:
			c.kill(name)
			killed[name] = true
		case paused[name]:
			c.resume(name)
			delete(paused, name)
		case len(paused) == 0 && !killed[name]:
			c.pause(name)
			paused[name] = true
		}
	}
}

// value is one that nobody else writes.
func value(client, n int) string { return strconv.Itoa(client) + "." + strconv.Itoa(n) + " " }

// quiet keeps the client library from telling that nodes which were killed do
// not answer.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }
