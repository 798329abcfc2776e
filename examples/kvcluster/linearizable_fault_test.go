package kvcluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// With the consistency called linearizable, a key is a register, whatever
// happens to nodes and to the network: under each policy, with the commands
// that it has.
func TestLinearizableUnderFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy replica.Policy
		verbs  []string
	}{
		{replica.LastWriterWins, []string{"get", "get", "set", "set", "remove"}},
		{replica.Siblings, []string{"get", "get", "set", "del", "setnx", "append", "getdel"}},
		{replica.Consensus, []string{"get", "get", "set", "del", "setnx", "append", "append", "getdel"}},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			t.Parallel()
			cluster := newTestCluster(t, 5, func(s *Settings) {
				s.Policy, s.Sloppy = c.policy, false
				s.Timeout, s.Patience = time.Second, 250*time.Millisecond
			})
			linearizableUnderFaults(t, cluster, c.verbs)
		})
	}
}

func linearizableUnderFaults(t *testing.T, c *testCluster, verbs []string) {
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	keys := []string{"a", "b", "c", "d"}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	ctx, cancel := context.WithTimeout(t.Context(), *faultTime)
	defer cancel()
	last := time.Now().Add(*faultTime + 2*time.Minute)
	h := newRecorder()
	var clients, faults sync.WaitGroup
	faults.Go(func() { breakThings(ctx, c, rand.New(rand.NewPCG(seed, 0)), names) })
	for i := range 6 {
		rng := rand.New(rand.NewPCG(seed, uint64(i+1)))
		r := c.client(names[i%len(names)], at("linearizable"))
		clients.Go(func() {
			for n := 0; ctx.Err() == nil || h.answered() < 120 && time.Now().Before(last); n++ { // on a slow machine also after the faults
				_, err := h.do(context.Background(), i, r, input{verbs[rng.IntN(len(verbs))], keys[rng.IntN(len(keys))], value(i, n)})
				pause := time.Duration(rng.IntN(20)) * time.Millisecond
				if err != nil {
					pause += 100 * time.Millisecond // so that there are not too many of which nobody knows
				}
				time.Sleep(pause)
			}
		})
	}
	clients.Wait()
	faults.Wait()
	c.await("the cluster is whole again", c.settled)
	for i, name := range names {
		r := c.client(name, at("linearizable"))
		for _, key := range keys {
			c.await(fmt.Sprintf("%s answers for %s", name, key), func() bool {
				_, err := h.do(t.Context(), 100+i, r, input{verb: "get", key: key})
				return err == nil
			})
		}
	}
	h.check(t)
}

// The same look at a history finds out a consistency that promises less: a key
// read at one owner, on the other side of a cut than the one at which it was
// written.
func TestWeakConsistencyIsFoundOut(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5, func(s *Settings) { s.Policy, s.Sloppy = replica.LastWriterWins, false })
	owners := c.owners("k")
	var rest []string
	for _, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
		if name != owners[0] {
			rest = append(rest, name)
		}
	}
	h := newRecorder()
	here, there := c.client(owners[0], at(1, 1)), c.client(owners[1], at(1, 1))
	c.cut(owners[:1], rest)
	_, err := h.do(t.Context(), 0, here, input{"set", "k", "new"})
	require.NoError(t, err)
	o, err := h.do(t.Context(), 1, there, input{verb: "get", key: "k"})
	require.NoError(t, err)
	require.False(t, o.found)
	require.False(t, porcupine.CheckOperations(registers, h.ops))
	c.heal()
	c.await("the cut is healed", func() bool {
		v, err := there.Get(t.Context(), "k").Result()
		return err == nil && v == "new"
	})
}
