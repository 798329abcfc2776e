package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/random"
	"github.com/ashlar-go/ashlar/lfu"
	"github.com/ashlar-go/ashlar/lru"
	"github.com/ashlar-go/ashlar/tinylfu"
)

// The names of the ceilings in a report. They are no policies: they know the
// future.
const (
	Optimum = "optimum" // Belady's, for caches bounded in entries
	Bound   = "bound"   // no cache bounded in bytes is above it; see trace.Bound
)

// IsCeiling reports whether name is one of the ceilings.
func IsCeiling(name string) bool { return name == Optimum || name == Bound }

type (
	replayed = cache.Cache[uint64, uint32] // key to size
	options  = cache.Options[uint64, uint32]
)

// A policy is something to replay a trace through.
type policy struct {
	name, what string
	make       func(capacity int, opts *options) replayed
	sizedOnly  bool // makes sense only where a capacity is in bytes
}

// policies are those that Run knows, in the order of reports.
var policies = []policy{
	{"tinylfu", "adapts to the trace", func(n int, o *options) replayed { return tinylfu.New(n, o) }, false},
	{"lru", "forgets what was used longest ago", func(n int, o *options) replayed { return lru.New(n, o) }, false},
	{"lfu", "forgets what was used least, and old uses", func(n int, o *options) replayed { return lfu.NewAgeing(n, 10, o) }, false},
	{"random", "forgets by chance", func(n int, o *options) replayed { return random.New(n, o) }, false},
	{"tinylfu-bytes", "tinylfu, for the most bytes rather than the most hits", func(n int, o *options) replayed {
		o.Objective = cache.ByteHits
		return tinylfu.New(n, o)
	}, true},
}

// Policies lists the names of the policies that can be replayed with
// capacities in bytes, or in entries.
func Policies(byBytes bool) []string {
	var names []string
	for _, p := range policies {
		if byBytes || !p.sizedOnly {
			names = append(names, p.name)
		}
	}
	return names
}

func policyNamed(name string, byBytes bool) (policy, error) {
	i := slices.IndexFunc(policies, func(p policy) bool { return p.name == name })
	switch {
	case i < 0:
		return policy{}, fmt.Errorf("there is no policy %q; expected some of %s", name, strings.Join(Policies(byBytes), ", "))
	case policies[i].sizedOnly && !byBytes:
		return policy{}, fmt.Errorf("policy %q is for capacities in bytes", name)
	}
	return policies[i], nil
}

// newCache returns an empty cache. It has one shard, so that it evicts in the
// exact order of its policy.
func (p policy) newCache(capacity int, byBytes bool) replayed {
	o := &options{Shards: 1}
	if byBytes {
		o.Cost = func(_ uint64, size uint32) int64 { return max(1, int64(size)) }
	}
	return p.make(capacity, o)
}
