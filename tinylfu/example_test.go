package tinylfu_test

import (
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/tinylfu"
)

func Example() {
	users := tinylfu.New(10_000, &tinylfu.Options[int, string]{TTL: time.Hour, Jitter: 0.1})
	users.Put(42, "Ada")
	name, ok := users.Get(42)
	fmt.Println(name, ok)
	// Output: Ada true
}

// A scan does not push out what is used again and again.
func Example_scan() {
	c := tinylfu.New[int, string](100, nil)
	for range 20 {
		for key := range 50 { // fifty favourites
			if _, ok := c.Get(key); !ok {
				c.Put(key, "favourite")
			}
		}
	}
	for key := 1000; key < 2000; key++ { // a report reads a thousand keys once
		if _, ok := c.Get(key); !ok {
			c.Put(key, "row")
		}
	}
	left := 0
	for key := range 50 {
		if _, ok := c.Peek(key); ok {
			left++
		}
	}
	fmt.Println("most favourites are still there:", left > 40)
	// Output: most favourites are still there: true
}

// Bound a cache by bytes: many small entries may be worth more than a large
// one.
func ExampleNew_bytes() {
	pages := tinylfu.New(64<<20, &tinylfu.Options[string, []byte]{
		Cost:      func(url string, body []byte) int64 { return int64(len(url) + len(body)) },
		Objective: cache.ObjectHits,
	})
	pages.Put("/", []byte("<h1>Hello</h1>"))
	fmt.Println(pages.Len(), pages.Cost())
	// Output: 1 15
}
