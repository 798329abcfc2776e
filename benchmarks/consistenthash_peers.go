package main

import (
	"github.com/cespare/xxhash/v2"
	"github.com/dgryski/go-jump"
	"github.com/dgryski/go-rendezvous"
	groupcache "github.com/golang/groupcache/consistenthash"
	"github.com/serialx/hashring"

	ch "github.com/ashlar-go/ashlar/consistenthash"
)

// The loops are written out for each, so that what is measured is a direct
// call everywhere. The number of keys is a power of two.

func moduloLoop(nodes []string) lookupLoop {
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			sum += len(nodes[xxhash.Sum64String(keys[i&(len(keys)-1)])%uint64(len(nodes))])
		}
		return sum
	}
}

func anchorLoop(nodes []string) lookupLoop {
	p := must(ch.NewAnchor(nodes, nil))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func maglevLoop(nodes []string) lookupLoop {
	p := must(ch.NewMaglev(nodes, nil))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func jumpBackLoop(nodes []string) lookupLoop {
	p := must(ch.NewJumpBack(nodes, nil))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func jumpLoop(nodes []string) lookupLoop {
	p := must(ch.NewJump(nodes, nil))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func ringLoop(nodes []string) lookupLoop {
	p := must(ch.NewRing(nodes, &ch.Options[string]{Points: points}))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func rendezvousLoop(nodes []string) lookupLoop {
	p := must(ch.NewRendezvous(nodes, nil))
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.Owner(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}

func goJumpLoop(nodes []string) lookupLoop {
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			sum += len(nodes[jump.Hash(xxhash.Sum64String(keys[i&(len(keys)-1)]), len(nodes))])
		}
		return sum
	}
}

func goRendezvousLoop(nodes []string) lookupLoop {
	p := rendezvous.New(nodes, xxhash.Sum64String)
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			sum += len(p.Lookup(keys[i&(len(keys)-1)]))
		}
		return sum
	}
}

func newGroupcache(nodes []string) *groupcache.Map {
	p := groupcache.New(points, nil)
	p.Add(nodes...)
	return p
}

func groupcacheLoop(nodes []string) lookupLoop {
	p := newGroupcache(nodes)
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			sum += len(p.Get(keys[i&(len(keys)-1)]))
		}
		return sum
	}
}

func newSerialx(nodes []string) *hashring.HashRing {
	weights := map[string]int{}
	for _, node := range nodes {
		weights[node] = points
	}
	return hashring.NewWithWeights(weights)
}

func serialxLoop(nodes []string) lookupLoop {
	p := newSerialx(nodes)
	return func(keys []string, start, n int) (sum int) {
		for i := start; i < start+n; i++ {
			node, _ := p.GetNode(keys[i&(len(keys)-1)])
			sum += len(node)
		}
		return sum
	}
}
