package lfu_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/cachetest"
	"github.com/ashlar-go/ashlar/lfu"
)

var conformance = cachetest.Config{
	New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
		return lfu.New(capacity, opts)
	},
	Complete:  true,
	ZeroAlloc: true,
}

var ageing = cachetest.Config{
	New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
		return lfu.NewAgeing(capacity, 10, opts)
	},
	Complete:  true,
	ZeroAlloc: true,
}

func TestConformanceAgeing(t *testing.T) { cachetest.Run(t, ageing) }

func TestConformance(t *testing.T) { cachetest.Run(t, conformance) }

func FuzzModel(f *testing.F) { cachetest.Fuzz(f, conformance) }
