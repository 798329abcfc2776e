package lru_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/cache/cachetest"
	"github.com/ashlar-go/ashlar/lru"
)

var conformance = cachetest.Config{
	New: func(capacity int, opts *cache.Options[int, int]) cache.Cache[int, int] {
		return lru.New(capacity, opts)
	},
	Complete:  true,
	ZeroAlloc: true,
}

func TestConformance(t *testing.T) { cachetest.Run(t, conformance) }

func FuzzModel(f *testing.F) { cachetest.Fuzz(f, conformance) }
