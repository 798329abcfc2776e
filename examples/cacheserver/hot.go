package cacheserver

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
)

// hotKeys finds the keys that are asked for most, by counting a sample of the
// requests in a table of bounded size (Metwally, Agrawal, El Abbadi:
// Space-Saving, 2005): a key that is not in the full table takes the place of
// the least and inherits its count, so that a count may be too high by what
// the table forgot, never too low.
type hotKeys struct {
	mu     sync.Mutex
	counts map[string]uint64
}

const (
	hotSample = 16  // one request in so many is counted
	hotTable  = 256 // keys
	hotKeyMax = 256 // longer keys are not followed
)

// A hotKey is a key with the number of requests for it, as estimated from the
// sample, in the last while.
type hotKey struct {
	Key      string
	Requests uint64
}

func newHotKeys() *hotKeys { return &hotKeys{counts: make(map[string]uint64, hotTable)} }

// use counts a request for key.
func (h *hotKeys) use(key []byte) {
	if h == nil || rand.Uint32N(hotSample) != 0 || len(key) > hotKeyMax || !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	if n, ok := h.counts[string(key)]; ok {
		h.counts[string(key)] = n + 1
		return
	}
	least := uint64(0)
	if len(h.counts) >= hotTable {
		victim := ""
		least = 1<<64 - 1
		for k, n := range h.counts {
			if n < least {
				victim, least = k, n
			}
		}
		delete(h.counts, victim)
	}
	h.counts[string(key)] = least + 1
}

// top returns the n hottest keys, the hottest first.
func (h *hotKeys) top(n int) []hotKey {
	h.mu.Lock()
	keys := make([]hotKey, 0, len(h.counts))
	for key, count := range h.counts {
		keys = append(keys, hotKey{key, count * hotSample})
	}
	h.mu.Unlock()
	slices.SortFunc(keys, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Key, b.Key))
	})
	return keys[:min(n, len(keys))]
}

// fade halves all counts, so that keys that were hot once make room.
func (h *hotKeys) fade() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, n := range h.counts {
		if n /= 2; n == 0 {
			delete(h.counts, key)
		} else {
			h.counts[key] = n
		}
	}
}
