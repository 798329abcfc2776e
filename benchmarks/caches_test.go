package main

import (
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cache"
)

func allMakers() []maker {
	all := []maker{
		ours("lru", nil), ours("lfu", nil), ours("cache/random", nil), ours("tinylfu", nil), ours("lru", &cache.Options[int64, int64]{TTL: time.Hour}),
		peerHashicorp, peer2Q, peerARC, peerGroupcache, peerOtter, peerTheine, peerRistretto, strictOtter, strictTheine, strictRistretto,
	}
	return append(all, expiring...)
}

// Workloads that are called all hits are, for everybody, and the others begin
// with full caches.
func TestFill(t *testing.T) {
	for _, w := range []workload{workloads[0], workloads[2]} {
		keys := w.keys.draw()[:1<<16]
		var want float64
		for i, m := range allMakers() {
			c, stop := m.make(w.capacity)
			w.fill(c)
			hits := 0
			for _, key := range keys {
				if _, ok := c.Get(key); ok {
					hits++
				}
			}
			stop()
			got := 100 * float64(hits) / float64(len(keys))
			if i == 0 {
				want = got
			}
			if w.keys == small && got < 99.5 || got < want-2 || got > want+2 {
				t.Errorf("%s: %s hits %.2f %%, the first one %.2f %%", w.name, m.name, got, want)
			}
		}
	}
}

// What is stopped leaves nothing behind that a later measurement would find,
// but for the empty tables of a peer that cannot be stopped.
func TestStop(t *testing.T) {
	for _, m := range allMakers() {
		const entries = 50_000
		func() { c, stop := m.make(10); c.Put(1, 1); stop() }() // whatever it makes once
		before := harness.Heap()
		func() {
			c, stop := m.make(entries)
			for key := range int64(entries) {
				c.Put(key, key)
			}
			stop()
		}()
		most := 10.0
		if m.name == "hashicorp-expirable" {
			most = 80
		}
		if left := (harness.Heap() - before) / entries; left > most {
			t.Errorf("%s leaves %.0f bytes an entry", m.name, left)
		}
	}
}
