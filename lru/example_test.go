package lru_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/lru"
)

func Example() {
	c := lru.New[string, int](2, nil)
	c.Put("a", 1)
	c.Put("b", 2)
	c.Get("a")    // now b is the oldest
	c.Put("c", 3) // and makes room

	_, ok := c.Get("b")
	fmt.Println("b is there:", ok)
	for key, value := range c.All() {
		fmt.Println(key, value)
	}
	// Output:
	// b is there: false
	// c 3
	// a 1
}

// Bound a cache by bytes, and hear of what leaves it.
func ExampleNew_bytes() {
	c := lru.New(10, &lru.Options[string, string]{
		Cost:      func(key, value string) int64 { return int64(len(key) + len(value)) },
		OnRemoval: func(key, value string, reason cache.Reason) { fmt.Println(key, "left:", reason) },
	})
	c.Put("greeting", "hi") // 10 bytes
	c.Put("k", "v")         // 2 more are too many
	c.Put("essay", "far too long")
	fmt.Println(c.Len(), "entry of", c.Cost(), "bytes")
	// Output:
	// greeting left: evicted
	// essay left: rejected
	// 1 entry of 2 bytes
}

// Entries may have a lifetime each.
func ExampleCache_PutTTL() {
	now := time.Unix(0, 0)
	c := lru.New(100, &lru.Options[string, string]{TTL: time.Hour, Now: func() time.Time { return now }})
	c.Put("session", "default lifetime")
	c.PutTTL("code", "1234", time.Minute)
	c.PutTTL("country", "list of countries", cache.Forever)

	now = now.Add(10 * time.Minute)
	_, ok := c.Get("code")
	fmt.Println("code:", ok)
	left, _ := c.TTL("session")
	fmt.Println("session has", left)
	// Output:
	// code: false
	// session has 50m0s
}

// A snapshot brings the entries, their order and what is left of their
// lifetimes over a restart.
func ExampleCache_Save() {
	old := lru.New[string, int](10, nil)
	old.Put("first", 1)
	old.Put("second", 2)
	var file bytes.Buffer
	if err := old.Save(&file, nil); err != nil {
		panic(err)
	}

	c := lru.New[string, int](10, nil)
	n, err := c.Load(&file, nil)
	key, _, _ := c.Oldest()
	fmt.Println(n, err, "oldest:", key)
	// Output: 2 <nil> oldest: first
}
