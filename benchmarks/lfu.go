package main

import "github.com/ashlar-go/ashlar/benchmarks/internal/harness"

func init() {
	suites["lfu"] = func(env harness.Env, emit func(harness.Row)) {
		makers := append([]maker{ours("lfu"), {"random", ours("random").make}}, peers...)
		speed(env, emit, "lfu", makers, map[string]harness.Bar{})
		memory(env, emit, "lfu", makers, 0)
	}
}
