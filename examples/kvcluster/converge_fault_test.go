package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// Settings that do not promise registers promise this: when faults have ended,
// all owners of a key come to have the same, no write that was acknowledged and
// that nobody replaced is lost, and nothing is there that nobody wrote.
func TestConvergenceUnderFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy replica.Policy
		sloppy bool
	}{{replica.Siblings, true}, {replica.Siblings, false}, {replica.LastWriterWins, true}} {
		t.Run(fmt.Sprintf("%v/sloppy=%t", c.policy, c.sloppy), func(t *testing.T) {
			t.Parallel()
			cluster := newTestCluster(t, 5, func(s *Settings) {
				s.Policy, s.Sloppy = c.policy, c.sloppy
				s.Timeout, s.Patience = time.Second, 250*time.Millisecond
			})
			convergenceUnderFaults(t, cluster)
		})
	}
}

func convergenceUnderFaults(t *testing.T, c *testCluster) {
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	ctx, cancel := context.WithTimeout(t.Context(), *faultTime)
	defer cancel()
	last := time.Now().Add(*faultTime + 2*time.Minute)
	var mu sync.Mutex
	attempted, acknowledged := map[string][]string{}, map[string]string{} // by key; the latter of keys written once
	var clients, faults sync.WaitGroup
	faults.Go(func() { breakThings(ctx, c, rand.New(rand.NewPCG(seed, 0)), names) })
	for i := range 6 {
		rng := rand.New(rand.NewPCG(seed, uint64(i+1)))
		r := c.client(names[i%len(names)])
		clients.Go(func() {
			enough := func() bool { // on a slow machine also after the faults
				mu.Lock()
				defer mu.Unlock()
				return len(acknowledged) > 20
			}
			for n := 0; ctx.Err() == nil || !enough() && time.Now().Before(last); n++ {
				key, value := fmt.Sprintf("own %d %d", i, n), value(i, n)
				own := rng.IntN(2) == 0
				if !own {
					key = fmt.Sprintf("shared %d", rng.IntN(4))
				}
				mu.Lock()
				attempted[key] = append(attempted[key], value)
				mu.Unlock()
				if err := r.Set(context.Background(), key, value, 0).Err(); err == nil && own {
					mu.Lock()
					acknowledged[key] = value
					mu.Unlock()
				}
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			}
		})
	}
	clients.Wait()
	faults.Wait()
	c.await("the cluster is whole again", c.settled)
	c.await("no hint waits, and no node differs from another", func() bool {
		for _, n := range c.running() {
			if waiting, _ := n.mend.waiting(); waiting > 0 {
				return false
			}
		}
		return c.equal()
	})
	t.Logf("%d keys, %d acknowledged that were written once", len(attempted), len(acknowledged))
	for key, values := range attempted {
		var got string
		c.await("it can be read", func() bool {
			var err error
			got, err = c.client(names[len(key)%5]).Get(t.Context(), key).Result()
			return err == nil || errors.Is(err, redis.Nil)
		})
		if want, ok := acknowledged[key]; ok {
			require.Equal(t, want, got, key)
		}
		require.True(t, got == "" || slices.Contains(values, got), "%s has %q, which nobody wrote", key, got)
	}
}
