package main

import (
	"slices"
	"testing"

	"github.com/ashlar-go/ashlar/internal/trace"
)

// Held out are all shared traces, at capacities that no other row has.
func TestHeldOutRows(t *testing.T) {
	rows := heldOutRows()
	for _, h := range rows {
		if slices.ContainsFunc(hitRows, func(o hitRow) bool {
			return o.trace == h.trace && max(o.capacity, h.capacity)-min(o.capacity, h.capacity) < h.capacity/4
		}) {
			t.Errorf("%s at %d is close to a row that was not held out", h.trace, h.capacity)
		}
	}
	names := trace.Names()
	if len(names) == 0 {
		t.Skip("no shared traces")
	}
	for _, name := range names {
		i := slices.IndexFunc(distinct, func(d keysOf) bool { return d.trace == name })
		switch {
		case name == "webcdn-adaptsize.sizes": // the same trace, with sizes
		case i < 0:
			t.Errorf("%s is not held out", name)
		case slices.Contains(shortTraces, name):
			if keys, _ := must(trace.Load(name)).Unique(); keys != distinct[i].keys {
				t.Errorf("%s has %d keys, not %d", name, keys, distinct[i].keys)
			}
		}
	}
}
