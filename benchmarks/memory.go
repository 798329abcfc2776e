package main

import (
	"sync"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

// footprint is what a cache of many entries costs beside time.
type footprint struct {
	filled, churned        float64 // bytes an entry
	collection             float64 // ms
	get, update, insertion float64 // allocations
}

// A memoryRow is one of the figures of a footprint, as a row.
type memoryRow struct {
	spec      harness.Spec
	of        func(footprint) float64
	published []harness.Figure
}

// Published figures of caches that the module proxy refuses, 1 M entries of
// int64 to int64.
var (
	publishedFilled  = []harness.Figure{{Name: "phuslu", Value: 40.9, Published: true}, {Name: "freelru", Value: 52.0, Published: true}, {Name: "s3-fifo", Value: 157.8, Published: true}}
	publishedChurned = []harness.Figure{{Name: "phuslu", Value: 40.9, Published: true}, {Name: "freelru", Value: 52.0, Published: true}, {Name: "s3-fifo", Value: 251.7, Published: true}}
)

// memory emits what a million entries cost. The bar is for bytes an entry, 0
// for none.
func memory(s *harness.Session, makers []maker, perEntry float64) {
	var bytes []harness.Bar
	if perEntry > 0 {
		bytes = []harness.Bar{harness.AtMost(perEntry)}
	}
	nothing := []harness.Bar{harness.AtMost(0)}
	row := func(name, unit string, bars []harness.Bar, of func(footprint) float64, published ...harness.Figure) memoryRow {
		return memoryRow{harness.Spec{Group: "Memory", Name: name, Unit: unit, Bars: bars}, of, published}
	}
	rows := []memoryRow{
		row("1M int64 to int64, after filling", "B/entry", bytes, func(f footprint) float64 { return f.filled }, publishedFilled...),
		row("1M int64 to int64, after 3M more inserts", "B/entry", bytes, func(f footprint) float64 { return f.churned }, publishedChurned...),
		row("forced collection with 1M entries", "ms", []harness.Bar{harness.AtMost(2)}, func(f footprint) float64 { return f.collection }),
		row("allocations, get", "allocs/op", nothing, func(f footprint) float64 { return f.get }),
		row("allocations, update", "allocs/op", nothing, func(f footprint) float64 { return f.update }),
		row("allocations, insert with eviction", "allocs/op", nothing, func(f footprint) float64 { return f.insertion }),
	}
	entries := s.Pick(1_000_000, 1_000_000, 10_000)
	all := sync.OnceValue(func() []footprint {
		all := make([]footprint, len(makers))
		for i, m := range makers {
			all[i] = measureFootprint(m, entries)
		}
		return all
	})
	for _, row := range rows {
		s.Value(row.spec, func() []harness.Figure {
			var figures []harness.Figure
			for i, f := range all() {
				figures = append(figures, harness.Figure{Name: makers[i].name, Value: row.of(f)})
			}
			return append(figures, row.published...)
		})
	}
}

func measureFootprint(m maker, entries int) footprint {
	var f footprint
	before := harness.Heap()
	c, stop := m.make(entries)
	defer stop()
	next := int64(0)
	insert := func(n int) {
		for range n {
			c.Put(next, next)
			next++
		}
	}
	insert(entries)
	f.filled = (harness.Heap() - before) / float64(held(c, 0, next))
	f.collection = harness.Collection()
	n := entries / 5
	get := func(n int) {
		for i := range n {
			c.Get(int64(i))
		}
	}
	get(n / 4)
	f.get = harness.Allocs(n, get)
	update := func(n int) {
		for i := range n {
			c.Put(next-1-int64(i%1000), 1)
		}
	}
	update(n / 4)
	f.update = harness.Allocs(n, update)
	insert(3 * entries)
	f.churned = (harness.Heap() - before) / float64(held(c, 0, next))
	f.insertion = harness.Allocs(n, insert)
	return f
}

// held returns how many entries a cache holds, of those in [from, to) if it
// cannot tell.
func held(c bounded, from, to int64) int {
	if c, ok := c.(interface{ Len() int }); ok {
		return max(1, c.Len())
	}
	n := 0
	for key := from; key < to; key++ {
		if _, ok := c.Get(key); ok {
			n++
		}
	}
	return max(1, n)
}
